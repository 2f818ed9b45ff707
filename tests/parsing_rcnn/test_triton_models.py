"""Steps of the server that need no server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.ensembles import PROBE
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.inference.compiled import OpenVinoGraph
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.triton_models import Arrays, DensePose, Detector, Preprocess


class Counting(DensePose):
    """Notes how many people each computation is for."""

    def compute(self, features: NDArray[np.float32], names: set[str]) -> Arrays:
        self.seen = [*getattr(self, "seen", []), len(features)]
        return super().compute(features, names)


def test_a_head_is_warm_for_the_numbers_that_the_card_names(tmp_path: Path) -> None:
    shipped = ModelRepository.open().path
    for name in ("detector", "parsing", "densepose_head"):
        shutil.copytree(shipped / name, tmp_path / name)
    card = json.loads((shipped / "model_card.json").read_text()) | {"people_buckets": [1, 3]}
    (tmp_path / "model_card.json").write_text(json.dumps(card))
    head = Counting()
    configuration = {
        "name": "densepose_head",
        "input": [{"name": "ROI_FEATURES", "dims": [64, 32, 32]}],
        "output": [{"name": "IUV", "dims": [3, 128, 128]}, {"name": "IUV_SCORES", "dims": [25]}],
    }
    head.initialize({"model_config": json.dumps(configuration), "model_repository": str(tmp_path / "densepose_head")})
    assert head.seen == [1, 3, 1, 3]  # alone, and beside another


_AT_WORK = """
import os, sys
os.getppid = lambda: int(sys.argv[1])
from parsing_rcnn.inference.contention import Siblings
with Siblings(0, 1).running():
    print("begun", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_at_work() -> Iterator[None]:
    """A process that our models take for one of theirs computes meanwhile."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _AT_WORK, str(os.getppid())], text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "begun\n"
        yield
        process.stdin.close()


@pytest.fixture(scope="module")
def detector() -> Detector:
    """As Triton makes it: all models, and each instance of them, at the same time."""
    step = Detector()
    configuration = {"name": "detector", "output": [{"name": "BOXES", "dims": [-1, 4]}]}
    folder = ModelRepository.open().path / "detector"
    with another_at_work():
        step.initialize({"model_config": json.dumps(configuration), "model_repository": str(folder)})
    return step


@pytest.mark.parametrize("alone", [True, False])
def test_no_picture_of_any_model_of_the_card_waits_for_a_compilation(
    detector: Detector, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_now(*_: object) -> None:
        raise AssertionError("it was not compiled before")

    monkeypatch.setattr(OpenVinoGraph, "_static", compile_now)
    models = ModelRepository.open().card["models"].values()
    canvases = {tuple(sides) for model in models for sides in model["canvases"]}
    assert len(canvases) == 6
    with nullcontext() if alone else another_at_work():
        for height, width in canvases:
            inputs = {"CANVAS": np.zeros((height, width, 3), np.uint8), "LIMITS": np.array([1, 1], np.float32)}
            assert detector.run(inputs, {})["COUNT"].tolist() == [0]


def test_others_make_room_for_a_picture_and_not_for_a_probe(detector: Detector) -> None:
    inputs: Arrays = {"CANVAS": np.zeros((384, 640, 3), np.uint8), "LIMITS": np.array([1, 1], np.float32)}
    for parameters, heard in (({PROBE: True}, False), ({}, True), ({PROBE: True}, False)):
        assert detector.run(inputs, parameters)["COUNT"].tolist() == [0]
        assert detector.contention.visible_to_others is heard


def test_the_detector_takes_no_canvas_but_those_of_the_card_and_of_a_probe(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO would compile each size that anybody sends, and keep it."""
    seen = []

    def note(canvas: NDArray[np.uint8], _: NDArray[np.float32]) -> Arrays:
        seen.append(canvas.shape[:2])
        return {"COUNT": np.array([1], np.int32)}

    monkeypatch.setattr(detector.graph, "detector", note)
    limits = np.array([1, 1], np.float32)
    models = ModelRepository.open().card["models"].values()
    known = list(dict.fromkeys((*sides, 3) for model in models for sides in model["canvases"]))
    assert len(known) == 6
    for shape in [*known, (64, 64, 3)]:
        detector.run({"CANVAS": np.zeros(shape, np.uint8), "LIMITS": limits}, {})
    assert seen == [shape[:2] for shape in [*known, (64, 64, 3)]]
    for shape in ((416, 640, 3), (640, 640, 3), (32, 32, 3), (384, 640, 4), (384, 640), (0, 0, 3)):
        with pytest.raises(InvalidOptions, match=r"CANVAS: shape .*; \[H,W,3\] with HxW one of 384x640, .*672x672$"):
            detector.run({"CANVAS": np.zeros(shape, np.uint8), "LIMITS": limits}, {})
    assert len(seen) == 7


def preprocess(folder: Path, model: str = "") -> Preprocess:
    """With the parameter `model` in its configuration, or without."""
    step = Preprocess()
    said = {"parameters": {"model": {"string_value": model}}} if model else {}
    configuration = {"name": "preprocess", "output": [{"name": "CANVAS"}], **said}
    step.initialize({"model_config": json.dumps(configuration), "model_repository": str(folder / "preprocess")})
    return step


def sides(step: Preprocess, picture: bytes, **parameters: object) -> tuple[int, int]:
    """(height, width) of the canvas of a square picture."""
    canvas = step.run({"IMAGE": np.array([picture], np.object_)}, parameters)["CANVAS"]
    return canvas.shape[0], canvas.shape[1]


@pytest.fixture(scope="module")
def square() -> bytes:
    return cv2.imencode(".png", np.zeros((50, 50, 3), np.uint8))[1].tobytes()


def test_a_request_says_which_models_canvas_it_wants(square: bytes) -> None:
    usual, large = preprocess(ModelRepository.open().path), preprocess(ModelRepository.open().path, "large")
    assert (sides(usual, square), sides(large, square)) == ((512, 512), (672, 672))
    for step in (usual, large):
        assert sides(step, square, model="large", confidence="0.5") == (672, 672)
        assert sides(step, square, model="fast") == (512, 512)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("huge", "model: there is no 'huge' in this repository; choose from fast, large$"),
        ("", "model: there is no '' in this repository; choose from fast, large$"),
        (7, "model: there is no '7' in this repository; choose from fast, large$"),
        ("accurate", "model: 'accurate' .* two requests, whose answers the gateway .* choose from fast, large$"),
    ],
)
def test_a_model_that_no_request_can_have_is_refused(square: bytes, model: object, says: str) -> None:
    with pytest.raises(InvalidOptions, match=says):
        sides(preprocess(ModelRepository.open().path), square, model=model)
    if isinstance(model, str) and model:
        with pytest.raises(InvalidOptions, match=says):
            preprocess(ModelRepository.open().path, model)


def test_a_card_without_models_has_none_to_choose_from(square: bytes, tmp_path: Path) -> None:
    shipped = ModelRepository.open().path
    for name in ("detector", "parsing", "densepose_head"):
        (tmp_path / name).symlink_to(shipped / name)
    card = json.loads((shipped / "model_card.json").read_text())
    (tmp_path / "model_card.json").write_text(json.dumps({k: v for k, v in card.items() if k != "models"}))
    step = preprocess(tmp_path)
    assert sides(step, square) == (512, 512)
    with pytest.raises(InvalidOptions, match="choose from none: the card names no models"):
        sides(step, square, model="large")
