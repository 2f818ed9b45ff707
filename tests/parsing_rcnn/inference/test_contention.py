"""Whether other inferences run at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from parsing_rcnn.inference import contention as module
from parsing_rcnn.inference.contention import Contention, Siblings, Threads, children_busy

_SIBLING = """
import sys
from parsing_rcnn.inference.contention import Siblings
contention = Siblings(int(sys.argv[1]), int(sys.argv[2]))
contention.visible_to_others = "hidden" not in sys.argv
with contention.running() as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""
# starts two of them, which are siblings, as Triton's models are
_PARENT = """
import subprocess, sys
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
child, first, second = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
one = subprocess.Popen([sys.executable, "-c", child, *first], **pipes)
said = [one.stdout.readline().strip()]
if "killed" in first:
    one.kill()
    one.wait()
other = subprocess.Popen([sys.executable, "-c", child, *second], **pipes)
said.append(other.stdout.readline().strip())
print(*said)
for process in (one, other):
    process.stdin.close()
    process.wait()
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="Triton's models are processes of Linux")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands still, but for what a test adds to `now`."""
    own = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: own.now))
    return own


def test_a_single_inference_is_alone_every_time() -> None:
    contention = Threads()
    for _ in range(3):
        with contention.running() as alone:
            assert alone


def test_threads_see_each_other_and_the_first_was_alone(clock: SimpleNamespace) -> None:
    contention, inside, leave = Threads(), threading.Event(), threading.Event()
    first = []

    def compute() -> None:
        with contention.running() as alone:
            first.append(alone)
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=compute)
    thread.start()
    assert inside.wait(60)
    with contention.running() as second:
        leave.set()
        assert not second
    thread.join(60)
    assert first == [True]
    clock.now += 0.014
    with contention.running() as soon:  # the other one is remembered for a moment
        assert not soon
    clock.now += 0.002
    with contention.running() as later:
        assert later


def test_an_inference_that_fails_leaves() -> None:
    contention = Threads()
    with pytest.raises(RuntimeError), contention.running():
        raise RuntimeError
    with contention.running() as alone:
        assert alone


@pytest.mark.parametrize("contention", [Threads, pytest.param(lambda: Siblings(0, 1), marks=linux)])
def test_contention_can_be_assumed(contention: type[Contention]) -> None:
    mine = contention()
    with mine.assuming(alone=False), mine.running() as alone:
        assert not alone
    with mine.running() as alone:
        assert alone


@pytest.mark.usefixtures("clock")
def test_the_lack_of_contention_can_be_assumed() -> None:
    contention = Threads()
    with contention.running(), contention.running() as alone:
        assert not alone
    with contention.running(), contention.assuming(alone=True), contention.running() as alone:
        assert alone
    with contention.running() as alone:
        assert not alone  # a moment ago there was another one


@linux
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("0 2", "0 2", "True False"),  # two detectors
        ("1 1", "0 2", "True False"),  # a detector beside a head
        ("0 2", "1 1", "True False"),  # a head beside a detector
        ("1 1", "1 1", "True True"),  # two heads, of one picture
        ("0 2 hidden", "0 2", "True True"),
        ("0 2 killed", "0 2", "True True"),
    ],
)
def test_processes_of_one_parent_see_the_ranks_that_they_watch_while_those_live(
    first: str, second: str, said: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _PARENT, _SIBLING, first, second], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == said


@linux
def test_a_child_that_handles_a_request_is_seen_from_outside() -> None:
    child = """
import sys
from parsing_rcnn.inference.contention import Siblings
for _ in range(2):
    with Siblings(0, 1).handling_request():
        print("begun", flush=True)
        sys.stdin.readline()
    print("done", flush=True)
    sys.stdin.readline()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", child], text=True, **pipes) as process:  # type: ignore[call-overload]
        for said in ("begun", "done") * 2:
            assert process.stdout.readline() == f"{said}\n"
            assert children_busy(os.getpid()) == (said == "begun")
            assert not children_busy(process.pid)  # it has no children
            process.stdin.write("\n")
            process.stdin.flush()
    assert not children_busy(process.pid)


@linux
def test_processes_of_another_parent_do_not_contend() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _SIBLING, "0", "1"], text=True, **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == "True\n"
        with Siblings(0, 1).running() as alone:  # we are its parent, and have another one
            assert alone
        child.stdin.close()
