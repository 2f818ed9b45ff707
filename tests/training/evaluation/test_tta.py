"""The torch engine and its augmented one, on a small network with random weights and on maps drawn by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.inference.views import Source
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import GraphPipeline, Stopwatch
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE_COARSE
from tests.training.tiny import tiny_network, tiny_recipe
from training.config import Config
from training.data.iuv import PointSymmetry, mirror_values
from training.engine import TorchAnalyzer
from training.errors import DatasetError
from training.evaluation.tta import AugmentedAnalyzer, CanvasView, scaled_canvas, unflip_iuv, unflip_parts
from training.model.answers import iuv_answer, part_answer
from training.model.parsing_rcnn import ParsingRCNN

CANVASES = ((96, 128), (128, 96))
EVERYBODY = Options(confidence=0.0, max_people=4, part_probs=True)


def recipe() -> Config:
    return tiny_recipe({"densepose": True})


@pytest.fixture(scope="module")
def model() -> ParsingRCNN:
    network = tiny_network(recipe())
    for head in (network.parsing_head, network.densepose_head):
        torch.nn.init.normal_(head.up.deconv.weight, std=2.0)
        torch.nn.init.normal_(head.up.deconv.bias, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    small = rng.integers(0, 255, (12, 17, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (110, 90), interpolation=cv2.INTER_CUBIC), np.uint8)


def same(a: People, b: People) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    for name in ("parts", "part_scores", "part_probs", "iuv", "iuv_scores"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_one_view_is_the_plain_engine(model: ParsingRCNN, image: NDArray[np.uint8]) -> None:
    plain = TorchAnalyzer(model, recipe(), canvases=CANVASES).analyze(image, EVERYBODY)
    assert len(plain) == 4
    assert plain.parts is not None
    assert len(np.unique(plain.parts)) > 2
    same(AugmentedAnalyzer(model, recipe(), canvases=CANVASES).analyze(image, EVERYBODY), plain)
    jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    same(
        AugmentedAnalyzer(model, recipe(), canvases=CANVASES).analyze(jpeg, EVERYBODY),
        TorchAnalyzer(model, recipe(), canvases=CANVASES).analyze(jpeg, EVERYBODY),
    )


def test_pictures_and_options_are_given_as_to_any_engine(
    model: ParsingRCNN, image: NDArray[np.uint8], tmp_path: Path
) -> None:
    analyzer = AugmentedAnalyzer(model, recipe(), canvases=CANVASES, scales=(64,))
    wanted = analyzer.analyze(image, EVERYBODY)
    keywords = {"confidence": 0.0, "max_people": 4, "part_probs": True}
    same(analyzer.analyze(image, **keywords), wanted)
    same(analyzer.analyze(image[..., ::-1].copy(), EVERYBODY, bgr=True), wanted)
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), image[..., ::-1])
    same(analyzer.analyze(path, EVERYBODY), wanted)
    same(analyzer.analyze(str(path), tasks=("parsing", "densepose"), **keywords), wanted)
    parts_only = analyzer.analyze(image, tasks="parsing", **keywords)
    assert parts_only.iuv is None
    np.testing.assert_array_equal(parts_only.parts, wanted.parts)
    with pytest.raises(TypeError):
        analyzer.analyze(image, EVERYBODY, confidence=0.3)
    with pytest.raises(InvalidOptions):
        analyzer.analyze(image, model="accurate")


def test_the_steps_of_the_plain_engine_are_untouched(model: ParsingRCNN, image: NDArray[np.uint8]) -> None:
    augmented = AugmentedAnalyzer(model, recipe(), canvases=CANVASES, scales=(64,), flip=True)
    plain = TorchAnalyzer(model, recipe(), canvases=CANVASES)
    same(GraphPipeline.analyze(augmented, image, EVERYBODY), plain.analyze(image, EVERYBODY))


def test_flip_makes_the_answer_of_the_mirrored_picture_the_mirrored_answer(
    model: ParsingRCNN, image: NDArray[np.uint8]
) -> None:
    # random weights know no symmetry: only the mean over both views has it
    analyzer = AugmentedAnalyzer(model, recipe(), canvases=CANVASES, scales=(64,), flip=True)
    one, other = analyzer.analyze(image, EVERYBODY), analyzer.analyze(image[:, ::-1].copy(), EVERYBODY)
    assert len(one) == len(other) == 4
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    back = np.stack([110 - other.boxes[:, 2], other.boxes[:, 1], 110 - other.boxes[:, 0], other.boxes[:, 3]], 1)
    np.testing.assert_allclose(one.boxes, back, atol=2e-3)
    assert one.parts is not None
    assert other.parts is not None
    assert one.iuv is not None
    assert other.iuv is not None
    assert (one.parts == CIHP.flip_table()[other.parts[:, :, ::-1]]).mean() > 0.995
    turned = mirror_values(other.iuv[..., ::-1].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert (one.iuv[:, 0] == turned[:, 0]).mean() > 0.995
    agree = one.iuv[:, 0] == turned[:, 0]
    for plane in (1, 2):
        difference = np.abs(one.iuv[:, plane].astype(int) - turned[:, plane])[agree]
        assert (difference <= 1).mean() > 0.99
    # without it the two differ: the test can see a difference
    plain = TorchAnalyzer(model, recipe(), canvases=CANVASES)
    a, b = plain.analyze(image, EVERYBODY), plain.analyze(image[:, ::-1].copy(), EVERYBODY)
    assert np.abs(a.scores - b.scores).max() > 1e-4


def test_scales_change_the_answer_and_boxes_stay_in_the_picture(model: ParsingRCNN, image: NDArray[np.uint8]) -> None:
    analyzer = AugmentedAnalyzer(model, recipe(), canvases=CANVASES, scales=(64, 128))
    people = analyzer.analyze(image, EVERYBODY)
    plain = TorchAnalyzer(model, recipe(), canvases=CANVASES).analyze(image, EVERYBODY)
    assert people.image_size == (90, 110)
    assert (people.boxes >= 0).all()
    assert (people.boxes <= [110, 90, 110, 90]).all()
    assert not np.array_equal(people.boxes, plain.boxes)
    assert analyzer.info.runtime.endswith("short side 64, short side 128")


def test_nobody(model: ParsingRCNN, image: NDArray[np.uint8]) -> None:
    for analyzer in (
        TorchAnalyzer(model, recipe(), canvases=CANVASES),
        AugmentedAnalyzer(model, recipe(), canvases=CANVASES, scales=(64,), flip=True),
    ):
        people = analyzer.analyze(image, Options(confidence=1.0))
        assert len(people) == 0
        assert people.parts is not None
        assert people.parts.shape == (0, 32, 32)
        assert people.iuv is not None
        assert people.iuv.shape == (0, 3, 32, 32)


def test_boxes_move_between_views(model: ParsingRCNN) -> None:
    analyzer = AugmentedAnalyzer(model, recipe(), canvases=CANVASES, scales=(192,), flip=True)
    picture = np.zeros((50, 100, 3), np.uint8)
    picture[10:30, 20:40] = 255
    views = analyzer._all_views(Source(picture, analyzer.limits), Options(), _watch())
    assert [view.canvas.shape[:2] for view in views] == [(96, 128), (192, 384), (96, 128), (192, 384)]
    box = torch.tensor([[20.0, 10.0, 40.0, 30.0]]) * 1.28  # where the bright square lies on the first canvas
    for view in views:
        x1, y1, x2, y2 = views[0].boxes_to(view, box)[0].round().int().tolist()
        inside = view.canvas[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3]
        outline = np.pad(view.canvas, ((4, 4), (4, 4), (0, 0)))[y1:, x1:][: y2 - y1 + 8, : x2 - x1 + 8].copy()
        outline[2:-2, 2:-2] = 0
        assert inside.min() == 255
        assert outline.max() == 0
        torch.testing.assert_close(view.boxes_to(views[0], views[0].boxes_to(view, box)), box)


def _watch() -> Stopwatch:
    return Stopwatch()


def test_views_of_a_short_side() -> None:
    assert scaled_canvas(480, 640, 512) == (512, 704)  # 682.7 is rounded up
    assert scaled_canvas(640, 480, 512) == (704, 512)
    assert scaled_canvas(100, 1000, 512) == (416, 4000)  # the long side is at most 4000
    assert scaled_canvas(512, 512, 512) == (512, 512)


def test_mirrored_twice_is_the_picture() -> None:
    rng = np.random.default_rng(1)
    from parsing_rcnn.geometry import fit

    canvas, window = fit(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8), ((64, 96),))
    once = CanvasView(canvas, window).mirrored()
    assert once.flipped
    np.testing.assert_array_equal(once.canvas[:, 80:], canvas[:, 80:])  # padding
    np.testing.assert_array_equal(once.canvas[:, :80], canvas[:, :80][:, ::-1])
    np.testing.assert_array_equal(once.mirrored().canvas, canvas)


def test_channels_turn_as_labels_do() -> None:
    """Unflipping the maps and reading them is reading them and mirroring the labels, which datasets do."""
    torch.manual_seed(0)
    probabilities = torch.softmax(3 * torch.randn(2, 20, 8, 8), 1)
    parts = part_answer(probabilities.log())[0].numpy()
    turned = part_answer(unflip_parts(probabilities.log(), CIHP.flip_table()))[0].numpy()
    np.testing.assert_array_equal(turned, CIHP.flip_table()[parts[:, :, ::-1]])
    coarse, index = 3 * torch.randn(2, 15, 8, 8), 3 * torch.randn(2, 25, 8, 8)
    u, v = torch.rand(2, 2, 25, 8, 8)
    iuv = iuv_answer(coarse, index, u, v).numpy()
    turned = iuv_answer(*unflip_iuv(coarse, index, u, v)).numpy()
    expected = mirror_values(iuv[..., ::-1].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(turned[:, 0], expected[:, 0])
    body = expected[:, 0] > 0
    assert np.abs(turned.astype(int) - expected)[:, 1:].transpose(0, 2, 3, 1)[body].max() <= 1
    region = unflip_parts(coarse, DENSEPOSE_COARSE.flip_table()).argmax(1).numpy()
    np.testing.assert_array_equal(region, DENSEPOSE_COARSE.flip_table()[coarse.argmax(1).numpy()[:, :, ::-1]])


def test_charts_of_smpl_mirror_by_their_table(tmp_path: Path, model: ParsingRCNN) -> None:
    rng = np.random.default_rng(3)
    stored = rng.random((2, 24, 256, 256)).astype(np.float32)
    as_cells = np.empty((2, 1, 24), object)
    for axis in range(2):
        for part in range(24):
            as_cells[axis, 0, part] = stored[axis, part]
    path = tmp_path / "UV_symmetry_transforms.mat"
    savemat(path, {"U_transforms": as_cells[0], "V_transforms": as_cells[1]})
    coarse, index = 3 * torch.randn(2, 15, 8, 8), 3 * torch.randn(2, 25, 8, 8)
    u, v = torch.rand(2, 2, 25, 8, 8)
    maps = unflip_iuv(coarse, index, u, v, torch.from_numpy(stored))
    # what training does with the annotated points of a mirrored picture, at every cell and of every part
    symmetry = PointSymmetry.read(path)
    for part in range(1, 25):
        numbers = np.full(u[:, part].numel(), part)
        other, wanted_u, wanted_v = symmetry.mirror(numbers, u[:, part].numpy().ravel(), v[:, part].numpy().ravel())
        for turned, wanted in ((maps[2], wanted_u), (maps[3], wanted_v)):
            np.testing.assert_array_equal(turned[:, other[0]].flip(-1).numpy().ravel(), wanted)

    config = recipe()
    named = config.model_copy(update={"data": config.data.model_copy(update={"uv_symmetry": path})})
    assert AugmentedAnalyzer(model, config, flip=True).tables is None
    for analyzer in (
        AugmentedAnalyzer(model, named, flip=True),
        AugmentedAnalyzer(model, config, flip=True, symmetry=path),
    ):
        assert analyzer.tables is not None
        np.testing.assert_array_equal(analyzer.tables.numpy(), stored)
    path.unlink()
    AugmentedAnalyzer(model, named, scales=(96,))  # without a mirror it is not asked for
    with pytest.raises(DatasetError, match=r"UV_symmetry_transforms\.mat: .*--uv-symmetry"):
        AugmentedAnalyzer(model, named, flip=True)
