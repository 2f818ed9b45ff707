"""Starting and stopping: profiles, commands, refusals, and a server that drains."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from benchmarks.frames import drawn_person
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions, ModelNotFound
from parsing_rcnn.repository import GRAPHS
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor, forward_signals
from server.supervisor.probes import Prober
from server.supervisor.profiles import choose_profile
from tests.server.helpers import spare_ports, until
from tests.server.triton.conftest import supervised


@pytest.fixture
def anywhere(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "tritonserver", tmp_path / "backends")


def test_without_a_gpu_the_profile_is_the_cpus(repository: Path, anywhere: Installation) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    assert choose_profile(repository, anywhere) == ("cpu", "no NVIDIA device here")


@pytest.fixture
def gpu_and_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a GPU, as its device tells, and a repository with an engine of each graph."""
    real = Path.glob
    monkeypatch.setattr(
        Path, "glob", lambda self, pattern: iter([self / "nvidia0"]) if str(self) == "/dev" else real(self, pattern)
    )
    for graph in GRAPHS:
        plan = tmp_path / "models" / graph / "1" / "model.plan"
        plan.parent.mkdir(parents=True)
        plan.touch()
    return tmp_path / "models"


def test_engines_are_chosen_only_where_triton_can_run_them(gpu_and_engine: Path, anywhere: Installation) -> None:
    """The server of scripts/install_triton.sh has python models alone."""
    profile, why = choose_profile(gpu_and_engine, anywhere)
    assert profile == "cpu"
    assert "no onnxruntime backend" in why
    assert "no tensorrt backend" in why
    (anywhere.backends / "onnxruntime").mkdir(parents=True)
    profile, why = choose_profile(gpu_and_engine, anywhere)
    assert profile == "ort_gpu"
    assert "no tensorrt backend" in why
    (anywhere.backends / "tensorrt").mkdir()
    assert choose_profile(gpu_and_engine, anywhere)[0] == "gpu"
    (gpu_and_engine / "detector" / "1" / "model.plan").unlink()
    assert choose_profile(gpu_and_engine, anywhere)[0] == "ort_gpu"


def test_engines_are_chosen_only_where_every_graph_has_one(gpu_and_engine: Path, anywhere: Installation) -> None:
    """A build that failed leaves those before it, and Triton would load no ensemble."""
    for backend in ("onnxruntime", "tensorrt"):
        (anywhere.backends / backend).mkdir(parents=True)
    assert choose_profile(gpu_and_engine, anywhere) == ("gpu", "a GPU and an engine of every graph")
    for graph in ("densepose_head", "parsing"):
        (gpu_and_engine / graph / "1" / "model.plan").unlink()
        profile, why = choose_profile(gpu_and_engine, anywhere)
        assert profile == "ort_gpu"
        assert f"no {graph}/1/model.plan" in why
    assert "no parsing/1/model.plan, densepose_head/1/model.plan: " in why


@pytest.mark.parametrize(("profile", "backend"), [("gpu", "tensorrt"), ("ort_gpu", "onnxruntime")])
def test_a_profile_that_triton_has_no_backend_for_is_refused(
    repository: Path, anywhere: Installation, profile: Literal["gpu", "ort_gpu"], backend: str
) -> None:
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics, profile=profile)
    with pytest.raises(EngineUnavailable, match=f"--profile {profile} needs Triton's {backend} backend"):
        Supervisor(launch, anywhere)


def test_the_command_names_profile_ports_and_shared_memory(repository: Path, anywhere: Installation) -> None:
    launch = Launch(repository, http_port=1, grpc_port=2, metrics_port=3)
    command = launch.command(anywhere, "cpu")
    assert "--model-config-name=cpu" in command
    assert {"--http-port=1", "--grpc-port=2", "--metrics-port=3", "--http-address=127.0.0.1"} <= set(command)
    assert "--backend-config=python,shm-region-prefix-name=prcnn_2_" in command
    # without a name, Triton reads config.pbtxt: the engines
    assert not any(part.startswith("--model-config-name") for part in launch.command(anywhere, "gpu"))


def test_an_ipv6_address_is_written_as_each_service_wants_it(repository: Path, anywhere: Installation) -> None:
    launch = Launch(repository, "::1", grpc_port=2)
    command = launch.command(anywhere, "cpu")
    assert {"--http-address=ipv6:::1", "--grpc-address=[::1]", "--metrics-address=ipv6:::1"} <= set(command)
    assert launch.address(2) == "[::1]:2"
    assert Launch(repository).address(2) == "127.0.0.1:2"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_it_and_nohup_lets_the_terminal_go(
    repository: Path, anywhere: Installation, sent: signal.Signals
) -> None:
    http, grpc, metrics = spare_ports(3)
    supervisor = Supervisor(Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics), anywhere)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        forward_signals(supervisor)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signal.signal(signal.SIGHUP, lambda *_: None)
        forward_signals(supervisor)
        os.kill(os.getpid(), sent)
        supervisor.run()  # starts nothing: the program is not there
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_stop_does_not_wait_for_a_load(repository: Path, anywhere: Installation) -> None:
    """Loading may take two minutes; here it takes until the test lets it end."""
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics)
    supervisor, ended = Supervisor(launch, anywhere), threading.Event()

    class Slow:
        loaded: ClassVar[list[str]] = []

        def sick(self) -> list[tuple[str, str]]:
            return [("detector", "dead"), ("parsing", "dead")]

        def reload(self, name: str) -> None:
            supervisor.stop()
            ended.wait()
            self.loaded.append(name)

    supervisor._heal(cast(Prober, Slow()))
    assert Slow.loaded == []
    ended.set()


def test_what_is_missing_is_named(tmp_path: Path, anywhere: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="install_triton"):
        Installation.find(tmp_path / "nowhere")
    with pytest.raises(ModelNotFound, match="model_card"):
        Supervisor(Launch(tmp_path), anywhere)


def test_who_holds_a_taken_port_is_named(repository: Path, anywhere: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        http, metrics = spare_ports(2)
        holder = rf"by process {os.getpid()} \(.+\): `kill {os.getpid()}` ends it, or"
        with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{port}: .*{holder} choose another with --grpc-port"):
            Supervisor(Launch(repository, http_port=http, grpc_port=port, metrics_port=metrics), anywhere)


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid"])
def test_an_address_that_this_machine_has_not_is_refused_without_a_holder(
    repository: Path, anywhere: Installation, host: str
) -> None:
    """Another port would not help."""
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, host, http_port=http, grpc_port=grpc, metrics_port=metrics)
    with pytest.raises(EngineUnavailable, match=f"{host}:{http}: [^()`]*; choose another with --host$"):
        Supervisor(launch, anywhere)


def test_a_repository_without_configurations_is_refused(
    tmp_path: Path, repository: Path, anywhere: Installation
) -> None:
    for name in ("detector", "parsing", "densepose_head"):
        (tmp_path / name).symlink_to(repository / name)
    (tmp_path / "model_card.json").symlink_to(repository / "model_card.json")
    with pytest.raises(InvalidOptions, match="--target triton"):
        Supervisor(Launch(tmp_path), anywhere)


@pytest.mark.parametrize("more", [("--allow-metrics=false",), ("--allow-grpc", "false"), ("--allow-metrics=true",)])
def test_what_the_server_is_asked_by_stays_on(repository: Path, anywhere: Installation, more: tuple[str, ...]) -> None:
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics, profile="cpu", more=more)
    name = more[0].partition("=")[0]
    with pytest.raises(InvalidOptions, match=f"{name}: .* so it stays on; {name.replace('allow-', '')}-port is where"):
        Supervisor(launch, anywhere)


def test_a_server_that_ends_while_it_is_told_to_stop_is_said_to_have_ended(
    installation: Installation, repository: Path
) -> None:
    """Its time was not over, nor did anybody keep asking."""
    with capture_logs() as lines, supervised(installation, repository, drain_seconds=600) as running:
        server = running.supervisor.pid
        assert server is not None
        os.kill(server, signal.SIGSTOP)  # it would be idle soon
        running.supervisor.stop()
        os.kill(server, signal.SIGKILL)
        running.stop()
    # another test's server may be on its way back at this time
    own = [line for line in lines if line.get("pid", line.get("instead_of", server)) == server]
    said = [(line["event"], line.get("status")) for line in own if line["log_level"] in ("warning", "error")]
    assert said == [("the server ended", -signal.SIGKILL)]


class DiesAfterTheLastLook(Supervisor):
    """Its server dies between the moment when it is looked at for the last time and that when it is told to end."""

    def _say_why(self, process: subprocess.Popen[bytes]) -> None:
        super()._say_why(process)
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize(
    ("supervising", "number"), [(Supervisor, signal.SIGSEGV), (DiesAfterTheLastLook, signal.SIGKILL)]
)
def test_a_server_that_crashes_while_it_ends_is_said_to_have_ended(
    tmp_path: Path, repository: Path, anywhere: Installation, supervising: type[Supervisor], number: signal.Signals
) -> None:
    """What it had accepted is lost."""
    begun = tmp_path / "begun"
    anywhere.program.write_text(f"#!/bin/sh\ntrap 'kill -SEGV $$' TERM\ntouch {begun}\nwhile :; do sleep 0.1; done\n")
    anywhere.program.chmod(0o755)
    http, grpc, metrics = spare_ports(3)
    supervisor = supervising(Launch(repository, "127.0.0.1", http, grpc, metrics, "cpu", drain_seconds=600), anywhere)
    with capture_logs() as lines:
        running = threading.Thread(target=supervisor.run)
        running.start()
        try:
            until(lambda: begun.exists() and supervisor.pid is not None)
            server = supervisor.pid
        finally:
            supervisor.stop()
            running.join(120)
    said = [(line["event"], line["status"]) for line in lines if line.get("pid") == server]
    assert said == [("the server ended", -number)]


def test_a_stop_loses_nothing_that_was_accepted(installation: Installation, repository: Path) -> None:
    import tritonclient.grpc as library

    tensor = library.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([cv2.imencode(".jpg", drawn_person())[1].tobytes()], np.object_))
    done: list[object] = []
    count = 12
    with supervised(installation, repository, drain_seconds=120) as running:
        client = library.InferenceServerClient(running.grpc)
        for _ in range(count):
            client.async_infer("human_analysis", [tensor], lambda result, error: done.append(error or result))
        while not done:  # accepted: the others wait behind the first
            threading.Event().wait(0.01)
        pid = running.supervisor.pid
        running.stop()
    assert len(done) == count
    assert [str(answer) for answer in done if isinstance(answer, Exception)] == []
    assert not subprocess.run(["pgrep", "-g", str(pid)], capture_output=True, text=True, check=False).stdout
    assert not list(Path("/dev/shm").glob(f"{running.launch.prefix}*"))
    client.close()


def test_a_stop_after_a_crash_does_not_wait_for_the_dead(installation: Installation, repository: Path) -> None:
    """Triton would, until all the time is over that it has for its last requests."""

    def processes(*which: str) -> list[str]:
        return subprocess.run(["pgrep", *which], capture_output=True, text=True, check=False).stdout.split()

    with supervised(installation, repository, drain_seconds=600, interval=0.5) as running:
        server = str(running.supervisor.pid)
        parsing = partial(processes, "-P", server, "-f", "parsing_0_0")
        (dead,) = parsing()
        os.kill(int(dead), signal.SIGKILL)
        with Prober.connect(running.grpc, f"http://{running.metrics}/metrics", repository) as prober:
            end = time.monotonic() + 120
            while parsing() in ([], [dead]) or not prober.server_ready():
                assert time.monotonic() < end
                time.sleep(0.1)
        running.stop()
    end = time.monotonic() + 60
    while processes("-g", server):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert not list(Path("/dev/shm").glob(f"{running.launch.prefix}*"))


class Callers:
    """Four who send one picture after the other, until they are told to stop."""

    def __init__(self, address: str, model: str = "human_analysis") -> None:
        self.answers: list[str] = []
        self._address, self._model, self._stop = address, model, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def _run(self) -> None:
        import tritonclient.grpc as library

        client = library.InferenceServerClient(self._address)
        tensor = library.InferInput("IMAGE", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([cv2.imencode(".jpg", drawn_person())[1].tobytes()], np.object_))
        while not self._stop.is_set():
            try:
                client.infer(self._model, [tensor], client_timeout=60)
                self.answers.append("answered")
            except library.InferenceServerException as error:
                self.answers.append(str(error))
                time.sleep(0.1)
        client.close()

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        end = time.monotonic() + 60
        while self.answers.count("answered") < 8:
            assert time.monotonic() < end, self.answers
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_stop_does_not_wait_for_those_who_keep_asking(installation: Installation, repository: Path) -> None:
    """Nor for all the time that Triton has, where somebody asks an ensemble while it is told to end."""
    with supervised(installation, repository, drain_seconds=600) as running, Callers(running.grpc) as callers:
        running.stop()
    refused = {answer for answer in callers.answers if answer != "answered"}
    assert any("has no available versions" in answer for answer in refused)
    # what was accepted is answered: no step of an ensemble failed
    assert not [answer for answer in refused if "in ensemble" in answer or "DEADLINE_EXCEEDED" in answer]


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_killed_supervisor_takes_its_server_along(style: str, installation: Installation, repository: Path) -> None:
    """Under load, and also a server whose words it read: the pipe has no reader then."""
    ports = spare_ports(3)
    named = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "parsing_rcnn", "triton", "--profile", "cpu", "--repository", str(repository), *named,
         "--log-format", style, "--drain-seconds", "600"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pattern = f"bin/tritonserver .*--grpc-port={ports[1]} "  # the supervisor names the port as well

    def found(*which: str) -> list[str]:
        return subprocess.run(["pgrep", *which], capture_output=True, text=True, check=False).stdout.split()

    def within(seconds: float, condition: Callable[[], bool]) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.1)
        return condition()

    def memory() -> list[Path]:
        return list(Path("/dev/shm").glob(f"prcnn_{ports[1]}_*"))

    try:
        with Prober.connect(f"127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}/metrics", repository) as prober:
            assert within(300, prober.server_ready)
        (server,) = found("-f", "--", pattern)
        assert memory()
        with Callers(f"127.0.0.1:{ports[1]}"):
            supervisor.kill()
            supervisor.wait()
            assert within(60, lambda: not found("-g", server))
    finally:
        supervisor.kill()
        supervisor.wait()
    assert within(60, lambda: not memory())
