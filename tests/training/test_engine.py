"""A network in torch sees pictures at the size that its recipe tests at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import InvalidImage
from parsing_rcnn.inference.views import Source
from parsing_rcnn.pipeline import Stopwatch
from training.config import Config, load_config
from training.engine import TorchAnalyzer
from training.model.parsing_rcnn import build_model

TINY = (
    "model.backbone=efficientnet_lite0",
    "model.pretrained=false",
    "model.fpn.channels=8",
    "model.box.channels=8",
    "model.rpn.proposals_test=10",
    "model.branch={roi_size: 8, aspp_channels: 8, channels: 8, non_local_channels: 8, conv_channels: 8, convs: 1}",
)
PAPER = Path(__file__).parents[2] / "training" / "configs" / "paper"


def analyzer(config: Config) -> TorchAnalyzer:
    torch.manual_seed(0)
    return TorchAnalyzer(build_model(config.model), config)


def test_the_papers_recipes_test_at_800_and_at_most_1333() -> None:
    for name in ("cihp_r50_3x", "mhp_x101_3x", "densepose_r50"):
        data = load_config(PAPER / f"{name}.yaml").data
        assert (data.test_short_side, data.test_longest_side) == (800, 1333)


@pytest.mark.parametrize(
    ("height", "width", "shape", "inner"),
    [
        (60, 80, (96, 128), (96, 128)),
        (40, 60, (96, 128), (85, 128)),
        (50, 200, (64, 160), (40, 160)),
        (72, 128, (96, 160), (75, 133)),  # at most 133: it does not fill the canvas, which is larger
    ],
)
def test_every_picture_has_its_own_canvas(
    height: int, width: int, shape: tuple[int, int], inner: tuple[int, int]
) -> None:
    base = load_config(PAPER / "cihp_r50_1x.yaml", TINY)
    short, longest = {200: (96, 160), 128: (80, 133)}.get(width, (96, 128))
    data = base.data.model_copy(update={"test_short_side": short, "test_longest_side": longest})
    engine = analyzer(base.model_copy(update={"data": data.model_copy(update={"test_padding": "mean"})}))
    picture = np.full((height, width, 3), 10, np.uint8)
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    for image in (picture, encoded):
        canvas, window = engine.preprocess(Source(image, engine.limits), Options(), Stopwatch())
        assert canvas.shape == (*shape, 3)
        rows, columns = round(window.scale_y * height), round(window.scale_x * width)
        assert (rows, columns) == inner
        assert (canvas[:rows, :columns] == 10).all()
        beyond = np.concatenate([canvas[rows:].reshape(-1, 3), canvas[:, columns:].reshape(-1, 3)])
        assert (beyond == (124, 116, 104)).all()
    people = engine.analyze(encoded, Options(confidence=0.0, max_people=3))
    assert len(people) > 0
    assert people.image_size == (height, width)
    assert (people.boxes[:, 2:] <= (width, height)).all()


def test_arrays_that_are_no_pictures_are_still_refused() -> None:
    engine = analyzer(load_config(PAPER / "cihp_r50_1x.yaml", TINY))
    with pytest.raises(InvalidImage):
        engine.analyze(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(InvalidImage):
        engine.analyze(np.zeros((4, 4), np.uint8))


def test_only_trained_branches_are_offered() -> None:
    assert analyzer(load_config(PAPER / "densepose_r50.yaml", TINY)).info.tasks == {"parsing": False, "densepose": True}
    assert analyzer(load_config(PAPER / "cihp_r50_1x.yaml", TINY)).info.tasks == {"parsing": True, "densepose": False}
