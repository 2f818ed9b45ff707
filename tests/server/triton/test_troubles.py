"""What a supervisor goes through: signals one upon the other, a system without processes, a server without a model."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

import tritonclient.grpc as library
from structlog.testing import capture_logs

from server.supervisor.installation import Installation
from tests.server.helpers import until
from tests.server.triton.conftest import commanded, supervised
from tests.server.triton.test_launch import Callers

_JSON = ("--log-format", "json")

# from the first signal on, another one comes whenever a function is called
_SIGNALS = """
import signal, sys
from server.supervisor.launch import Supervisor
def again(frame, *_):
    again.begun = again.begun or frame.f_code is Supervisor.stop.__code__
    if again.begun:
        signal.raise_signal(signal.SIGHUP)
def run(supervisor, ready, real=Supervisor.run):
    sys.settrace(again)
    try:
        real(supervisor, ready)
    finally:
        sys.settrace(None)
again.begun, Supervisor.run = False, run
"""


def test_a_signal_may_come_while_another_one_is_handled(tmp_path: Path, repository: Path) -> None:
    """As where a service manager tells a whole group, and a shell in it passes it on."""
    begun = tmp_path / "begun"
    with commanded(f"touch {begun}\nexec sleep 600", tmp_path, repository, *_JSON, before=_SIGNALS) as supervisor:
        until(begun.exists, 120)
        supervisor.send_signal(signal.SIGHUP)
        assert supervisor.stderr is not None
        said = [json.loads(line)["event"] for line in supervisor.stderr]
        assert supervisor.wait() == 0
    assert said == ["profile", "starting"]


# the system starts no process the nth time that it is asked for a server
_REFUSALS = """
import errno, sys
def refuse(event, arguments):
    if event == "subprocess.Popen" and "guard.py" in str(arguments[1]):
        refuse.starts += 1
        if refuse.starts == {nth}:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
refuse.starts = 0
sys.addaudithook(refuse)
"""
_NO_PROCESS = "no tritonserver can be started: [Errno 11] Resource temporarily unavailable"


def test_a_system_that_starts_no_process_for_now_is_asked_again(tmp_path: Path, repository: Path) -> None:
    with commanded("exit 7", tmp_path, repository, *_JSON, before=_REFUSALS.format(nth=2)) as supervisor:
        assert supervisor.stderr is not None
        said: list[tuple[str, str]] = []
        for line in supervisor.stderr:
            entry = json.loads(line)
            said.append((entry["level"], entry["event"]))
            if said.count(("error", "the server ended")) == 2:
                supervisor.terminate()
                break
        supervisor.stderr.read()
        assert supervisor.wait() == 0
    again = ("warning", "the server is started again")
    start = ("info", "starting")
    ended = ("error", "the server ended")
    assert said[1:] == [start, ended, again, start, ("error", _NO_PROCESS), again, start, ended]


def test_a_system_that_starts_no_process_at_first_ends_the_command(tmp_path: Path, repository: Path) -> None:
    with commanded("exit 7", tmp_path, repository, *_JSON, before=_REFUSALS.format(nth=1)) as supervisor:
        assert supervisor.stderr is not None
        *_, last = supervisor.stderr
        assert supervisor.wait() == 1
    assert json.loads(last)["event"] == _NO_PROCESS


def test_a_server_that_lacks_a_model_answers_what_it_has_accepted_before_another_takes_its_place(
    installation: Installation, repository: Path
) -> None:
    """The other models go on: people without a dense pose need two of the three graphs."""
    with (
        capture_logs() as lines,
        supervised(installation, repository, drain_seconds=600, interval=0.5) as running,
        Callers(running.grpc, "human_parsing") as callers,
    ):
        first = running.supervisor.pid
        running.ready.clear()
        with library.InferenceServerClient(running.grpc) as client:

            def is_given_up() -> bool:
                """Whether the server is; if not, the model is unloaded: it may just have been loaded again."""
                with suppress(library.InferenceServerException):
                    client.unload_model("densepose_head", headers=running.headers)
                return any(line["event"] in ("the server lacks models", "the server does not answer") for line in lines)

            until(is_given_up, 120)
        until(running.ready.is_set, 120)
        assert running.supervisor.pid != first
    said = {line["event"]: line for line in lines}
    assert said["the server lacks models"]["models"] == ["densepose_head"]
    assert "the server does not answer" not in said
    assert said.get("the server does not end and is killed", {"idle": True})["idle"]  # nothing was lost by it
    refused = {answer for answer in callers.answers if answer != "answered"}
    assert any("has no available versions" in answer for answer in refused)
    assert not [answer for answer in refused if "in ensemble" in answer or "DEADLINE_EXCEEDED" in answer]
