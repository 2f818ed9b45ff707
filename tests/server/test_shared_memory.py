"""Slots of shared memory without Triton: what is reused, what is not, and what a killed process leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.engines import shared_memory
from server.engines.shared_memory import PICTURE, PREFIX, SharedMemory, sweep

ROWS = {"BOXES": 16, "PARTS": 128 * 128}
OTHER = """
import sys
from pathlib import Path
from server.engines import shared_memory
shared_memory.FOLDER = Path(sys.argv[1])
memory = shared_memory.SharedMemory(1, {"BOXES": 16})
print(memory.take(1).name, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def memory(folder: Path) -> Iterator[SharedMemory]:
    made = SharedMemory(2, ROWS)
    yield made
    made.close()
    assert not list(folder.glob(f"{PREFIX}*"))


def test_an_answer_lies_behind_the_picture(memory: SharedMemory) -> None:
    slot = memory.take(3)
    assert slot is not None
    assert slot.put(b"abc") == 7
    assert slot.memory[:7] == b"\x03\x00\x00\x00abc"
    places = memory.places(["PARTS", "BOXES"])
    (parts, parts_size), (boxes, boxes_size) = places["PARTS"], places["BOXES"]
    assert parts >= PICTURE + 4  # the largest picture and its length fit before it
    assert parts + parts_size <= boxes
    assert boxes + boxes_size <= slot.size
    assert parts_size == 64 * 128 * 128
    slot.memory[boxes : boxes + 16] = np.array([1, 2, 3, 4], np.float32).tobytes()
    found = slot.get(boxes, np.dtype(np.float32), (1, 4))
    slot.memory[boxes : boxes + 16] = bytes(16)
    assert found.tolist() == [[1, 2, 3, 4]]  # a copy
    assert slot.get(parts, np.dtype(np.uint8), (0, 128, 128)).shape == (0, 128, 128)


def test_a_slot_without_an_answer_is_not_given_to_the_next(
    memory: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = memory.take(1)
    assert first is not None
    memory.give(first, answered=True)
    assert memory.take(1) is first
    memory.give(first, answered=False)
    second = memory.take(1)
    assert second is not None
    assert second is not first
    assert memory.take(1) is None  # two at most
    now = shared_memory.time.monotonic()
    monkeypatch.setattr(shared_memory.time, "monotonic", lambda: now + 121)
    assert memory.take(1) is first


def test_a_large_picture_goes_over_the_connection(memory: SharedMemory) -> None:
    assert memory.take(PICTURE + 1) is None
    assert memory.take(PICTURE) is not None


def test_what_a_killed_process_left_is_removed_and_what_lives_is_not(folder: Path) -> None:
    arguments = [sys.executable, "-c", OTHER, str(folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        path = folder / process.stdout.readline().strip()
        sweep()
        assert path.exists()
        process.kill()
    assert path.exists()
    sweep()
    assert not path.exists()
