"""Settings by the environment: what is misspelt or empty opens nothing, and Kubernetes' own variables break nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from server import commands
from server.settings import Settings, unknown_variables
from tests.test_architecture import tracked

ROOT = Path(__file__).resolve().parents[2]
INJECTED = {  # by a Service named parsing-rcnn, and one named parsing-rcnn-gateway
    "PARSING_RCNN_SERVICE_HOST": "10.0.0.1",
    "PARSING_RCNN_SERVICE_PORT": "80",
    "PARSING_RCNN_SERVICE_PORT_HTTP": "80",
    "PARSING_RCNN_PORT": "tcp://10.0.0.1:80",
    "PARSING_RCNN_PORT_80_TCP": "tcp://10.0.0.1:80",
    "PARSING_RCNN_PORT_80_TCP_PROTO": "tcp",
    "PARSING_RCNN_PORT_80_TCP_PORT": "80",
    "PARSING_RCNN_PORT_80_TCP_ADDR": "10.0.0.1",
    "PARSING_RCNN_GATEWAY_SERVICE_HOST": "10.0.0.2",
    "PARSING_RCNN_GATEWAY_PORT": "tcp://10.0.0.2:80",
}


def serve(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command, which ends at once where it refuses, and else for want of a model repository."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PARSING_RCNN_")}
    command = [sys.executable, "-m", "parsing_rcnn", "serve", "--repository", str(ROOT / "nowhere")]
    return subprocess.run(
        command, env={**own, **environment}, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_misspelt_variables_are_refused() -> None:
    done = serve(dict.fromkeys(("PARSING_RCNN_KEY", "PARSING_RCNN_QUOTA", "PARSING_RCNN_GATEWAY_PORT"), "80"))
    assert done.returncode == 2
    assert set(done.stderr.splitlines()) == {
        "error: PARSING_RCNN_KEY: there is no such setting; is it PARSING_RCNN_KEYS?",
        "error: PARSING_RCNN_QUOTA: there is no such setting; unset it",
        "error: PARSING_RCNN_GATEWAY_PORT: there is no such setting; unset it",
    }


def test_the_variable_sets_the_log_of_what_is_wrong_with_other_variables() -> None:
    done = serve({"PARSING_RCNN_LOG_FORMAT": "json", "PARSING_RCNN_KEY": "80"})
    assert done.returncode == 2
    assert "PARSING_RCNN_KEY: there is no such setting" in json.loads(done.stderr)["event"]


def test_what_others_read_is_none_of_ours() -> None:
    assert unknown_variables({"PARSING_RCNN_CACHE": "x", "PARSING_RCNN_API_KEY": "x", "parsing_rcnn_keys": "x"}) == []


def test_no_variable_of_the_project_stops_the_gateway() -> None:
    """Variables that scripts and examples name; those of the tests have another prefix."""
    named: set[str] = set()
    for path in tracked():
        if path.suffix != ".h" and path != Path(__file__).resolve():  # headers have guards
            named |= set(re.findall(r"(?<!\w)PARSING_RCNN_\w+", path.read_text(errors="ignore")))
    assert {"PARSING_RCNN_KEYS", "PARSING_RCNN_API_KEY"} <= named
    assert unknown_variables(dict.fromkeys(named, "x")) == []


def test_variables_of_kubernetes_are_passed_over() -> None:
    done = serve(INJECTED)
    assert done.returncode == 1, done.stderr
    assert "nowhere: no such model repository" in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "PARSING_RCNN_PORT" in line]
    assert "tcp://10.0.0.1:80" in line
    assert "warning" in line


def test_of_kubernetes_port_the_default_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSING_RCNN_PORT", "tcp://10.0.0.1:80")
    assert Settings().port == 8080
    assert Settings(port=9000).port == 9000


def test_empty_variables_are_refused() -> None:
    done = serve({f"PARSING_RCNN_{name}": "" for name in ("KEYS", "HOST", "PORT", "RATE")})
    assert done.returncode == 2
    for name in ("keys", "host", "port", "rate"):
        assert f"error: {name}: it is empty: unset it" in done.stderr


def test_what_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSING_RCNN_CORS", "")
    monkeypatch.setenv("PARSING_RCNN_TRUSTED_PROXIES", "")
    assert Settings().origins == Settings().proxies == []


@pytest.mark.parametrize("wrong", ["127.0.0.1:4318", "http://", "https:///v1/traces", "grpc://127.0.0.1:4317"])
def test_a_collector_has_an_address(wrong: str) -> None:
    with pytest.raises(ValueError, match="a collector's address is like"):
        Settings(otlp=wrong)


def test_the_help_of_a_flag_names_the_default_of_its_setting() -> None:
    """The flags repeat it: the command starts without pydantic, so it cannot read the settings."""
    flags = get_type_hints(commands.serve, include_extras=True)
    units = {" MiB": 2**20, " million": 10**6}
    checked = 0
    for name, setting in Settings.model_fields.items():
        stated = re.search(r"\(default ([\w.:]+?)( MiB| million)?\)|(\w+) \(default\)", get_args(flags[name])[1].help)
        if stated is not None:
            value = stated[1] or stated[3]
            default = "none" if setting.default == "" else setting.default
            assert (int(value) * units[stated[2]] if stated[2] else type(default)(value)) == default, name
            checked += 1
    assert checked > 15


def test_the_help_says_whom_a_gateway_believes_and_where() -> None:
    """Who reads it must not think that a gateway that others reach looks at `Host` without being told to."""
    flags = get_type_hints(commands.serve, include_extras=True)
    for said in ("while listening on 127.0.0.1", "* for all", "without --trusted-proxies, else all"):
        assert said in get_args(flags["hosts"])[1].help
    assert "(default none)" in get_args(flags["trusted_proxies"])[1].help
