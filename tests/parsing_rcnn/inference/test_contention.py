"""Who computes at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from parsing_rcnn.inference.contention import Company, Siblings, Threads, works

_SIBLING = """
import sys
from parsing_rcnn.inference.contention import Siblings
company = Siblings(int(sys.argv[1]), int(sys.argv[2]))
company.heard = "unheard" not in sys.argv
with company.joined() as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""
# two of them are siblings, as Triton's models are
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


def forget() -> None:
    """Until who was met is expected no more."""
    time.sleep(0.05)


def test_who_computes_by_itself_is_alone_again_and_again() -> None:
    company = Threads()
    for _ in range(3):
        with company.joined() as alone:
            assert alone


def test_threads_see_each_other_and_the_first_was_alone() -> None:
    company, inside, leave = Threads(), threading.Event(), threading.Event()
    first = []

    def compute() -> None:
        with company.joined() as alone:
            first.append(alone)
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=compute)
    thread.start()
    assert inside.wait(10)
    with company.joined() as second:
        leave.set()
        assert not second
    thread.join(10)
    assert first == [True]
    with company.joined() as soon:  # who was met is expected for a moment
        assert not soon
    forget()
    with company.joined() as later:
        assert later


def test_an_inference_that_fails_leaves() -> None:
    company = Threads()
    with pytest.raises(RuntimeError), company.joined():
        raise RuntimeError
    with company.joined() as alone:
        assert alone


@pytest.mark.parametrize("company", [Threads, pytest.param(lambda: Siblings(0, 1), marks=linux)])
def test_company_can_be_pretended(company: type[Company]) -> None:
    mine = company()
    with mine.pretended(), mine.joined() as alone:
        assert not alone
    with mine.joined() as alone:
        assert alone


def test_the_lack_of_company_can_be_pretended() -> None:
    company = Threads()
    with company.joined(), company.joined() as alone:
        assert not alone
    with company.joined(), company.pretended(alone=True), company.joined() as alone:
        assert alone
    with company.joined() as alone:
        assert not alone  # a moment ago there was some


@linux
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("0 2", "0 2", "True False"),  # two detectors
        ("1 1", "0 2", "True False"),  # a detector beside a head
        ("0 2", "1 1", "True False"),  # a head beside a detector
        ("1 1", "1 1", "True True"),  # two heads, of one picture
        ("0 2 unheard", "0 2", "True True"),
        ("0 2 killed", "0 2", "True True"),
    ],
)
def test_processes_of_one_parent_take_those_that_they_hear_for_company_while_they_live(
    first: str, second: str, said: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", _PARENT, _SIBLING, first, second], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == said


@linux
def test_who_has_a_request_in_hand_is_seen_from_outside() -> None:
    child = """
import sys
from parsing_rcnn.inference.contention import Siblings
for _ in range(2):
    with Siblings(0, 1).at_work():
        print("begun", flush=True)
        sys.stdin.readline()
    print("done", flush=True)
    sys.stdin.readline()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", child], text=True, **pipes) as process:  # type: ignore[call-overload]
        for said in ("begun", "done") * 2:
            assert process.stdout.readline() == f"{said}\n"
            assert works(os.getpid()) == (said == "begun")
            assert not works(process.pid)  # it has no children
            process.stdin.write("\n")
            process.stdin.flush()
    assert not works(process.pid)


@linux
def test_processes_of_another_parent_are_no_company() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _SIBLING, "0", "1"], text=True, **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == "True\n"
        with Siblings(0, 1).joined() as alone:  # its parent is ours, ours is another
            assert alone
        child.stdin.close()
