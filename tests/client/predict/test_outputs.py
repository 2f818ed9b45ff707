"""The files of one picture hold what its People say."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.outputs import is_done, write_outputs

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("exact", [False, True])
def test_exact_is_for_iuv_as_well(tmp_path: Path, exact: bool) -> None:
    """U rises across a box of 4 cells on 40 pixels: in steps, or between the cells where it is to be exact."""
    iuv = np.full((1, 3, 4, 4), 2, np.uint8)
    iuv[0, 1] = [0, 60, 120, 180]
    box = np.array([[0, 0, 40, 40]], np.float32)
    people = People(box, np.ones(1, np.float32), (40, 40), iuv=iuv)
    write_outputs(tmp_path / "a", people, np.zeros((40, 40, 3), np.uint8), exact=exact)
    u = cv2.imread(str(tmp_path / "a_IUV.png"), cv2.IMREAD_COLOR)[20, :, 1]
    assert (len(np.unique(u)) > 20) == exact
    if not exact:
        assert u.tolist() == np.repeat([0, 60, 120, 180], 10).tolist()


BOTH = Options()
PARSING = Options(tasks=frozenset({"parsing"}))
LIGHT, LARGE = (
    ModelInfo(name=name, version="1", runtime="", tasks={}, classes=(), canvases=(), card={})
    for name in ("light", "large")
)


def written(target: Path, options: Options) -> None:
    parts = np.zeros((0, 4, 4), np.uint8) if "parsing" in options.tasks else None
    iuv = np.zeros((0, 3, 4, 4), np.uint8) if "densepose" in options.tasks else None
    people = replace(People.empty((8, 8)), parts=parts, iuv=iuv)
    write_outputs(target, people, np.zeros((8, 8, 3), np.uint8), options=options, model=LIGHT)


def test_done_is_what_has_all_files_of_the_same_options_and_model(tmp_path: Path) -> None:
    target = tmp_path / "a"
    assert not is_done(target, PARSING, model=LIGHT)
    written(target, PARSING)
    assert is_done(target, PARSING, model=LIGHT)
    assert not is_done(target, BOTH, model=LIGHT)
    written(target, BOTH)
    assert is_done(target, BOTH, model=LIGHT)
    assert is_done(target, PARSING, model=LIGHT)  # what is more takes nothing away
    assert not is_done(target, BOTH, model=LARGE)
    assert not is_done(target, BOTH, model=LIGHT, bgr=True)
    assert not is_done(target, BOTH, model=LIGHT, exact=True)
    assert not is_done(target, replace(BOTH, confidence=0.3), model=LIGHT)
    assert not is_done(target, replace(BOTH, max_people=1), model=LIGHT)


@pytest.mark.parametrize("lost", [".npz", "_overlay.png", "_parts.png", "_IUV.png", "_INDS.png", ".json"])
def test_without_one_of_its_files_it_is_not_done(tmp_path: Path, lost: str) -> None:
    written(tmp_path / "a", BOTH)
    (tmp_path / f"a{lost}").unlink()
    assert not is_done(tmp_path / "a", BOTH, model=LIGHT)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"options": 1}', '{"options": {"tasks": 1}}', '{"options": [1]}'])
def test_a_json_of_another_program_is_not_done(tmp_path: Path, text: str) -> None:
    written(tmp_path / "a", BOTH)
    (tmp_path / "a.json").write_text(text)
    assert not is_done(tmp_path / "a", BOTH, model=LIGHT)


@pytest.mark.parametrize("fault", [TypeError, AttributeError, KeyError])
def test_a_fault_of_ours_is_no_picture_that_is_not_done(
    fault: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise fault("a slip")

    written(tmp_path / "a", BOTH)
    monkeypatch.setattr("parsing_rcnn_client.predict.outputs.files_of", broken)
    with pytest.raises(fault, match="a slip"):
        is_done(tmp_path / "a", BOTH, model=LIGHT)


LEAVES = """
import os, sys, threading
from pathlib import Path
import numpy as np
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.outputs import write_outputs
from parsing_rcnn_client import signals

target = Path(sys.argv[1])
labels = np.random.default_rng(0).integers(0, 20, (9, 128, 128), np.uint8)
people = People(np.tile(np.float32([0, 0, 8, 8]), (9, 1)), np.ones(9, np.float32), (8, 8), parts=labels)
pipe = target.with_name("a.npz.part")
os.mkfifo(pipe)  # whoever writes it is at it until all is read
threading.Thread(target=write_outputs, args=(target, people, np.zeros((8, 8, 3), np.uint8))).start()
reader, wait_for = pipe.open("rb"), signals._changed.wait_for


def read_and_wait(*arguments):
    threading.Thread(target=reader.read).start()
    return wait_for(*arguments)


signals._changed.wait_for, signals._LONGEST = read_and_wait, 60
signals.leave(130)
"""


def test_who_leaves_lets_a_file_be_written_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVES, str(tmp_path / "a")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (130, "")
    assert (tmp_path / "a.npz").exists()
    assert list(tmp_path.glob("*.part")) == []
