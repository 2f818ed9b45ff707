"""The detector with a fixed number of rows finds whom the other one finds: in torch, on every runtime, to the end."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from export.graphs import DetectorGraph
from export.parity.comparison import answers
from export.quantization.calibration import LIMITS as LIMITS_OF_SERVICE
from export.quantization.calibration import calibrate
from export.rendered.pictures import render_scene
from export.triton_repository import files, read_shapes
from parsing_rcnn.analyzer import Options
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Runtime
from tests.export.conftest import ROWS
from training.model.parsing_rcnn import ParsingRCNN

# minimum score, most people: nobody is sure enough; nobody is wanted; some; as many as rows; more than rows
LIMITS = ((1.1, 64.0), (0.0, 0.0), (0.05, 16.0), (0.0, 3.0), (0.0, 5.0), (0.0, 64.0))


@cache
def whole(model: ParsingRCNN, limits: tuple[float, float], static: bool) -> list[np.ndarray]:
    """The detector's answer to one scene, in torch."""
    canvas = render_scene(3, 256, 320)
    graph = DetectorGraph(model, ROWS if static else 64, static=static)
    with torch.inference_mode():
        return [t.numpy() for t in graph(torch.from_numpy(canvas), torch.tensor(limits))]


@pytest.mark.parametrize("limits", LIMITS)
def test_in_torch(model: ParsingRCNN, limits: tuple[float, float]) -> None:
    boxes, scores, count, features = whole(model, limits, False)
    found = whole(model, limits, True)
    kept = min(int(count[0]), ROWS)
    assert [values.shape[0] for values in found] == [ROWS, ROWS, 1, ROWS]
    assert found[2] == [kept]
    np.testing.assert_allclose(found[0][:kept], boxes[:kept], atol=1e-3)
    np.testing.assert_allclose(found[1][:kept], scores[:kept], atol=1e-5)
    np.testing.assert_allclose(found[3][:kept], features[:kept], atol=1e-3)
    assert not found[0][kept:].any()
    assert not found[1][kept:].any()


def test_the_limits_say_what_they_are_meant_to(model: ParsingRCNN) -> None:
    counts = [int(whole(model, limits, False)[2][0]) for limits in LIMITS]
    assert counts[:2] == [0, 0]
    assert 0 < counts[2] < ROWS
    assert counts[3:5] == [3, 5]
    assert counts[5] > ROWS


@pytest.mark.parametrize("static", [False, True])
def test_whoever_is_just_as_sure_as_the_limit_counts(model: ParsingRCNN, static: bool) -> None:
    third = float(whole(model, (0.0, 64.0), static)[1][2])
    assert whole(model, (third, 64.0), static)[2] == [3]


def test_there_are_no_more_people_than_the_graph_has_been_made_for(model: ParsingRCNN) -> None:
    canvas = torch.from_numpy(render_scene(3, 256, 320))
    with torch.inference_mode():
        boxes, scores, count, features = DetectorGraph(model, ROWS)(canvas, torch.tensor([0.0, 64.0]))
    assert count.tolist() == [ROWS]
    assert len(boxes) == len(scores) == len(features) == ROWS


@pytest.mark.parametrize("least", [0.0, -1.0])  # what Triton is given is not checked
def test_rows_that_fill_up_are_nobody_at_any_limit(model: ParsingRCNN, least: float) -> None:
    """On so small a canvas there are fewer proposals than the 300 that are filled up to, and fewer boxes than rows."""
    canvas, limits = torch.from_numpy(render_scene(3, 64, 96)), torch.tensor([least, 64.0])
    with torch.inference_mode():
        (_, wanted, count, _), (boxes, scores, found, _) = (
            DetectorGraph(model, 64, proposals=300, static=static)(canvas, limits) for static in (False, True)
        )
    assert 0 < int(count) < 64
    assert found.tolist() == count.tolist()
    np.testing.assert_allclose(scores[: int(count)], wanted, atol=1e-5)
    assert not scores[int(count) :].any()
    assert not boxes[int(count) :].any()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_pipelines_give_the_same_people(static_repository: Path, runtime: str) -> None:
    usual, fixed = (Pipeline(path, runtime=runtime, precision="fp32") for path in (None, static_repository))
    scene = render_scene(3, 256, 320)
    numbers = []
    for least, most in ((1.0, 64), (0.05, 64), (0.0, 3), (0.0, ROWS), (0.0, 64)):
        wanted = usual.analyze(scene, Options(confidence=least, max_people=min(most, ROWS)))
        found = fixed.analyze(scene, Options(confidence=least, max_people=most))
        numbers.append(len(found))
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-2)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        assert found.parts is not None
        assert found.iuv is not None
        assert found.parts.shape == (len(found), 128, 128)
        if len(found):
            assert (found.parts == wanted.parts).mean() > 0.999
            assert (found.iuv == wanted.iuv).mean() > 0.999
    assert numbers[0] == 0
    assert 0 < numbers[1] < ROWS
    assert numbers[2:] == [3, ROWS, ROWS]


def test_rows_behind_count_neither_calibrate_nor_are_compared(static_repository: Path, tmp_path: Path) -> None:
    scene = render_scene(3, 384, 640, people=2)
    cv2.imwrite(str(tmp_path / "scene.png"), cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
    fixed = ModelRepository.open(static_repository)
    graphs = Runtime(fixed, "onnxruntime", "fp32", 2)
    assert len(graphs.detector(scene, LIMITS_OF_SERVICE)["BOXES"]) == ROWS
    found = calibrate(fixed, graphs, [tmp_path / "scene.png"])
    assert found.people == len(found.features[0]) == 2
    (answer,) = answers(graphs, [scene], LIMITS_OF_SERVICE)
    assert {len(values) for values in answer.values()} == {2}


def test_triton_is_told_the_number_of_rows(static_repository: Path) -> None:
    written = files(read_shapes(static_repository))
    for path in ("config.pbtxt", "configs/ort_gpu.pbtxt", "configs/cpu.pbtxt"):
        text = written[f"detector/{path}"]
        assert f'name: "BOXES" data_type: TYPE_FP32 dims: [{ROWS}, 4]' in text
        assert f'name: "SCORES" data_type: TYPE_FP32 dims: [{ROWS}]' in text
        assert f'name: "ROI_FEATURES" data_type: TYPE_FP32 dims: [{ROWS}, 64, 32, 32]' in text
    assert 'name: "BOXES" data_type: TYPE_FP32 dims: [-1, 4]' in written["postprocess/config.pbtxt"]
    assert "dims: [64, 32, 32]" in written["parsing/config.pbtxt"]


def test_postprocess_cuts_what_is_behind_count() -> None:
    from parsing_rcnn.geometry import Window
    from parsing_rcnn.triton_models import Postprocess

    rng = np.random.default_rng(0)
    inputs = {
        "BOXES": rng.uniform(0, 60, (ROWS, 4)).astype(np.float32),
        "SCORES": rng.uniform(size=ROWS).astype(np.float32),
        "COUNT": np.array([2], np.int32),
        "WINDOW": Window(1.0, 1.0, 0.0, 0.0, 64, 64).to_array(),
        "PARTS": rng.integers(0, 20, (ROWS, 128, 128), np.uint8),
        "IUV": rng.integers(0, 25, (ROWS, 3, 128, 128), np.uint8),
    }
    found = Postprocess().run(inputs, {})
    assert {name: len(found[name]) for name in ("BOXES", "SCORES", "PARTS", "IUV")} == dict.fromkeys(
        ("BOXES", "SCORES", "PARTS", "IUV"), 2
    )
    np.testing.assert_array_equal(found["PARTS"], inputs["PARTS"][:2])
