"""Options, ports and times that a supervised server could not run with are refused before it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import pytest

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from server.settings import Settings
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor
from tests.server.helpers import spare_ports
from tests.server.triton.conftest import commanded


@pytest.fixture
def anywhere(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "tritonserver", tmp_path / "backends")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--grpc-use-ssl=true",), "--grpc-use-ssl: this command asks the server without encryption"),
        (("--grpc-use-ssl-mutual", "true"), "--grpc-use-ssl-mutual: this command asks the server without encryption"),
        (
            ("--backend-config=python,shm-region-prefix-name=mine",),
            "--backend-config=python,shm-region-prefix-name is what this command gives",
        ),
        (
            ("--log-verbose=1", "--backend-config", "python,shm-region-prefix-name=mine"),
            "--backend-config=python,shm-region-prefix-name is what this command gives",
        ),
        (("--http-restricted-api=health:a=b",), "--http-restricted-api: this command gives it with a key of its own"),
        (("--grpc-restricted-protocol", "trace:a=b"), "--grpc-restricted-protocol: this command gives it with a key"),
        # tritonserver takes the beginning of a name for the name
        (("--grpc-por=21999",), "--grpc-por is --grpc-port to tritonserver"),
        (
            ("--log-verbose=1", "--backend-conf=python,shm-region-prefix-name=mine"),
            "--backend-conf is --backend-config",
        ),
        (("--allow-gr=false",), "--allow-gr is --allow-grpc to tritonserver"),
        (("--http-r", "health:a=b"), "--http-r is --http-restricted-api to tritonserver"),
        (("--model-store=/x",), "--model-store stands for --model-repository, which this command gives"),
        (("--strict-model-config", "false"), "--strict-model-config stands for --disable-auto-complete-config"),
        (("--model-st", "/x"), "--model-st is --model-store to tritonserver"),
        (("--grpc-use",), "--grpc-use is --grpc-use-ssl or --grpc-use-ssl-mutual to tritonserver"),
    ],
)
def test_what_the_command_could_not_work_with_is_refused(
    repository: Path, anywhere: Installation, more: tuple[str, ...], words: str
) -> None:
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics, profile="cpu", more=more)
    with pytest.raises(InvalidOptions, match=re.escape(words)):
        Supervisor(launch, anywhere)


@pytest.mark.parametrize("more", [("--model-config-name=cpu",), ("--model-config-n", "cpu")])
@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_profile_is_the_one_that_is_said(
    repository: Path, anywhere: Installation, profile: Literal["cpu", "gpu"], more: tuple[str, ...]
) -> None:
    """Also where Triton is told none: the engines."""
    (anywhere.backends / "tensorrt").mkdir(parents=True)
    plugin = anywhere.backends / "libprcnn_triton.so"
    plugin.touch()
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, "127.0.0.1", http, grpc, metrics, profile, built=plugin.parent, more=more)
    with pytest.raises(InvalidOptions, match=r"^--model-config-n(ame)? is .*this command gives"):
        Supervisor(launch, anywhere)


@pytest.mark.parametrize(
    "more",
    [
        ("--backend-config=python,stub-timeout-seconds=60",),
        ("--backend-config", "onnxruntime,default-max-batch-size=4"),
        ("--http-thread-count=4",),
        ("--log-verb", "1"),
        ("--id=--grpc-por", "--"),
    ],
)
def test_other_options_are_the_callers(repository: Path, anywhere: Installation, more: tuple[str, ...]) -> None:
    http, grpc, metrics = spare_ports(3)
    Supervisor(Launch(repository, "127.0.0.1", http, grpc, metrics, "cpu", more=more), anywhere)


@pytest.mark.parametrize(("same", "names"), [((0, 0, 1), "http grpc"), ((0, 1, 1), "grpc metrics")])
def test_each_service_has_a_port_of_its_own(
    repository: Path, anywhere: Installation, same: tuple[int, ...], names: str
) -> None:
    ports = spare_ports(2)
    one, other = names.split()
    with pytest.raises(InvalidOptions, match=rf"--{one}-port and --{other}-port are both \d+: give each"):
        Supervisor(Launch(repository, "127.0.0.1", *(ports[which] for which in same)), anywhere)


def test_the_time_for_a_stop_has_a_limit() -> None:
    """The same for the gateway and for Triton, which takes no larger number than 32 bits hold."""
    command = [sys.executable, "-m", "parsing_rcnn", "triton", "--drain-seconds", "99999999999999999999"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 2
    assert "--drain-seconds" in ended.stderr
    assert "less than or equal to 3600" in ended.stderr
    assert Settings(drain_seconds=3600).drain_seconds == 3600
    with pytest.raises(ValueError, match="less than or equal to 3600"):
        Settings(drain_seconds=3601)


@pytest.mark.parametrize(
    "name", ["my models", "it's", 'a"b', "$HOME", "a&b", "a;b", "a|b", "a(1)", "a*", "{a,b}", "a\\b"]
)
def test_a_path_that_a_shell_takes_apart_is_refused(
    tmp_path: Path, repository: Path, anywhere: Installation, name: str
) -> None:
    """Triton would start no model from there, and wait two minutes for it each time."""
    apart, (http, grpc, metrics) = tmp_path / name, spare_ports(3)
    apart.symlink_to(repository)
    with pytest.raises(InvalidOptions, match=f"^{re.escape(str(apart))}: Triton starts no python model .* move"):
        Supervisor(Launch(apart, http_port=http, grpc_port=grpc, metrics_port=metrics), anywhere)
    apart.unlink()
    apart.mkdir()
    backends = apart / "backends"
    with pytest.raises(InvalidOptions, match=f"^{re.escape(str(backends))}: Triton starts no python model"):
        Supervisor(
            Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics),
            Installation(apart / "tritonserver", backends),
        )


def supervised(repository: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """What `parsing-rcnn triton` with these options of tritonserver says; it has ended."""
    named = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), spare_ports(3), strict=True)]
    command = [sys.executable, "-m", "parsing_rcnn", "triton", "--profile", "cpu", "--repository", str(repository)]
    return subprocess.run([*command, *named, "--", *more], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--nonsense=1"], "unrecognized option '--nonsense=1'"),
        (["--log-verbose=loud"], 'Bad option: "--log-verbose". Invalid option value. Got loud'),
        (["--log-verbose=1", "loud"], "Unexpected argument: loud"),
        (["--id"], "option '--id' requires an argument"),
    ],
)
def test_options_that_the_server_does_not_take_end_it(
    repository: Path, installation: Installation, more: list[str], words: str
) -> None:
    """As often as it were started it would end again."""
    ended = supervised(repository, *more)
    assert ended.returncode == 1
    *_, last = ended.stderr.splitlines()
    assert last.startswith("error: tritonserver does not take the options that it got: ")
    assert last.endswith(words)
    assert "is started again" not in ended.stderr


# a server that tells of each start, and says what its program's arguments are
_SAYS = """\
echo started >>{starts}
printf '{words}' >&2
exit 1
"""
_ENTRY = "I1128 13:17:36.910237 21827 server.cc:604] begun"
_USAGE = "Usage: tritonserver [options]\\n  --help\\n\\tPrint usage\\n\\nBad option: that one\\n"


def saying(words: str, folder: Path, repository: Path, *more: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """`parsing-rcnn triton` with a server that says this and ends; each start is a line in folder/starts."""
    return commanded(_SAYS.format(starts=folder / "starts", words=words), folder, repository, *more)


@pytest.mark.parametrize("style", ["console", "json"])
def test_that_it_does_not_take_its_options_is_read_from_its_only_start(
    style: str, repository: Path, tmp_path: Path
) -> None:
    """However long it took to say so."""
    with saying(_USAGE, tmp_path, repository, "--log-format", style) as supervisor:
        assert supervisor.stderr is not None
        said = supervisor.stderr.read()
        assert supervisor.wait() == 1
    assert "tritonserver does not take the options that it got: Bad option: that one" in said.splitlines()[-1]
    assert (tmp_path / "starts").read_text() == "started\n"


def test_what_a_server_says_that_has_begun_is_not_of_its_options(repository: Path, tmp_path: Path) -> None:
    """A model may say it, and work at the next start."""
    with saying(f"{_ENTRY}\\n{_USAGE}", tmp_path, repository) as supervisor:
        assert supervisor.stderr is not None
        for line in supervisor.stderr:
            if line.startswith("error: ") or "is started again" in line:
                break
    assert "is started again" in line


@pytest.mark.parametrize("more", [["--help"], ["--log-verbose=1", "--he"]])
def test_the_servers_help_is_shown(repository: Path, installation: Installation, more: list[str]) -> None:
    ended = supervised(repository, *more)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: tritonserver [options]")
    assert "--http-thread-count" in ended.stdout


# a server that listens where it is told, and says nothing
_LISTENS = """\
#!{python}
import socket, sys, time
(port,) = [part.partition("=")[2] for part in sys.argv if part.startswith("--grpc-port=")]
with socket.create_server(("127.0.0.1", int(port))):
    time.sleep(3600)
"""


@pytest.fixture
def supervised_elsewhere(tmp_path: Path, repository: Path) -> Iterator[tuple[int, int]]:
    """(process, gRPC port) of another `parsing-rcnn triton` whose server listens."""
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text(_LISTENS.format(python=sys.executable))
    program.chmod(0o755)
    http, grpc, metrics = spare_ports(3)
    named = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    command = [sys.executable, "-m", "parsing_rcnn", "triton", "--profile", "cpu", "--repository", str(repository)]
    environment = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([*command, *named], env=environment, stderr=subprocess.DEVNULL) as supervisor:
        try:
            yield supervisor.pid, grpc
        finally:
            supervisor.kill()


def test_of_a_supervised_server_the_supervisor_is_what_ends_it(
    supervised_elsewhere: tuple[int, int], repository: Path, anywhere: Installation
) -> None:
    """It would start its server again."""
    supervisor, port = supervised_elsewhere
    http, metrics = spare_ports(2)
    wanted = f"which `parsing-rcnn triton` keeps as process {supervisor}: `kill {supervisor}` ends both, or choose"
    end, said = time.monotonic() + 120, ""
    while wanted not in said:
        assert time.monotonic() < end, said
        try:
            Supervisor(Launch(repository, "127.0.0.1", http, port, metrics), anywhere)
        except EngineUnavailable as error:
            said = error.detail
        threading.Event().wait(0.1)
    assert "--grpc-port" in said
