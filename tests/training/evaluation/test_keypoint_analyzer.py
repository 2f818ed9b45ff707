"""Keypoints out of a checkpoint: from heat maps to places, views that agree, and `evaluate` on COCO's own layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints
from typer.testing import CliRunner

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.cli import build
from parsing_rcnn.people import People
from tests.training.tiny import tiny_network, tiny_recipe
from training.checkpoint import save_weights
from training.config import Config
from training.data.datasets.coco import CocoPeople
from training.data.sample import MIRRORED_KEYPOINTS
from training.evaluation.analyzers import open_analyzer
from training.evaluation.datasets import KeypointLocator, evaluate_dataset
from training.evaluation.keypoint_analyzer import KeypointAnalyzer
from training.model.answers import keypoint_answer
from training.model.parsing_rcnn import ParsingRCNN

CANVASES = ((96, 128),)
EVERYBODY = Options(tasks=frozenset(), confidence=0.0, max_people=4)


def test_places_by_hand() -> None:
    logits = torch.zeros(1, 17, 4, 4)
    logits[0, 0, 1, 2] = 8.0  # row 1, column 2
    logits[0, 1, 3, 0] = 8.0
    # four pixels a side, as many as cells: nothing is interpolated, and a cell's middle is the place
    found = keypoint_answer(logits, torch.tensor([[10.0, 20, 14, 24]]))
    assert found[0, 0, :2].tolist() == [12.5, 21.5]
    assert found[0, 1, :2].tolist() == [10.5, 23.5]
    sure = np.exp(8) / (np.exp(8) + 15)
    np.testing.assert_allclose(found[0, :3, 2], [sure, sure, 1 / 16], rtol=1e-5)
    # 7.5 x 3.5 pixels are read as 8 x 4, each a little smaller than a pixel
    x, y, _ = keypoint_answer(logits, torch.tensor([[0.0, 0, 7.5, 3.5]]))[0, 0].tolist()
    assert y == pytest.approx(1.5 * 3.5 / 4)
    assert x in (pytest.approx(4.5 * 7.5 / 8), pytest.approx(5.5 * 7.5 / 8))  # two pixels share the cell


def test_places_agree_with_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.nn.functional.interpolate(torch.randn(6, 17, 7, 7, generator=generator), size=(32, 32), mode="bicubic")
    low = torch.rand(6, 2, generator=generator) * 40
    size = torch.tensor([[90.3, 160.9], [12.0, 31.5], [0.4, 5.0], [64.0, 64.0], [33.3, 20.1], [128.0, 70.7]])
    boxes = torch.cat([low, low + size], 1)
    theirs, _ = heatmaps_to_keypoints(maps, boxes)
    torch.testing.assert_close(keypoint_answer(maps, boxes)[..., :2], theirs[..., :2], rtol=0, atol=1e-4)


def recipe() -> Config:
    return tiny_recipe({"parsing": False}, keypoints=True)


@pytest.fixture(scope="module")
def model() -> ParsingRCNN:
    network = tiny_network(recipe())
    assert network.keypoint_head is not None
    torch.nn.init.normal_(network.keypoint_head.up.deconv.weight, std=2.0)
    return network.eval()


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    small = np.random.default_rng(5).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_keypoints_lie_in_their_boxes_in_the_picture(model: ParsingRCNN, image: NDArray[np.uint8]) -> None:
    analyzer = KeypointAnalyzer(model, recipe(), canvases=CANVASES)
    assert isinstance(analyzer, KeypointLocator)
    people, keypoints = analyzer.locate(image, EVERYBODY)
    assert len(people) == 4
    assert people.parts is None
    assert people.iuv is None
    assert keypoints.shape == (4, 17, 3)
    assert (keypoints[..., :2] >= people.boxes[:, None, :2]).all()
    assert (keypoints[..., :2] <= people.boxes[:, None, 2:]).all()
    assert len(np.unique(keypoints[0, :, 0])) > 5
    # the same picture twice as large: the same canvas, so the same places at twice the numbers
    double = np.kron(image, np.ones((2, 2, 1), np.uint8))
    large, doubled = analyzer.locate(double, EVERYBODY)
    np.testing.assert_allclose(large.boxes, 2 * people.boxes, atol=0.5)
    assert np.median(np.abs(doubled - 2 * keypoints)[..., :2]) < 1
    with_maps, same = analyzer.locate(image, Options(confidence=0.0, max_people=4))
    assert with_maps.parts is not None
    np.testing.assert_array_equal(same, keypoints)
    nobody, none = analyzer.locate(image, Options(tasks=frozenset(), confidence=1.0))
    assert len(nobody) == 0
    assert none.shape == (0, 17, 3)


def test_flip_makes_the_keypoints_of_the_mirrored_picture_the_mirrored_keypoints(
    model: ParsingRCNN, image: NDArray[np.uint8]
) -> None:
    analyzer = KeypointAnalyzer(model, recipe(), canvases=CANVASES, flip=True)
    people, keypoints = analyzer.locate(image, EVERYBODY)
    turned, mirrored = analyzer.locate(np.ascontiguousarray(image[:, ::-1]), EVERYBODY)
    np.testing.assert_allclose(
        turned.boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (128, 0, 128, 0), people.boxes, atol=0.01
    )
    back = mirrored[:, MIRRORED_KEYPOINTS]
    back[..., 0] = 128 - back[..., 0]
    assert np.median(np.abs(back - keypoints)[..., :2]) < 0.1
    # without exchanging sides it would be another answer
    assert np.median(np.abs(back[:, MIRRORED_KEYPOINTS] - keypoints)[..., :2]) > 1


PERSON = {"category_id": 1, "iscrowd": 0}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO's own layout with three pictures: two people, one of them without keypoints; one person; nobody."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    images = []
    for number in (1, 2, 3):
        name = f"{number:012d}.jpg"
        images.append({"id": number, "file_name": name, "width": 160, "height": 120})
        cv2.imwrite(str(tmp_path / "val2017" / name), np.full((120, 160, 3), 60 * number, np.uint8))
    rows = []
    for number, left in ((1, 10), (2, 60)):
        points = [[left + 2 * k, 10 + 6 * k, 2] for k in range(17)]
        points[16] = [0, 0, 0]
        own = {"bbox": [left, 5, 40, 105], "area": 9500.0, "keypoints": np.ravel(points).tolist(), "num_keypoints": 16}
        rows.append({"id": number, "image_id": number, **PERSON, **own})
    none = {"bbox": [100, 60, 20, 40], "area": 500, "keypoints": [0] * 51, "num_keypoints": 0}
    rows.append({"id": 3, "image_id": 1, **PERSON, **none})
    document = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}
    path = tmp_path / "annotations" / "person_keypoints_val2017.json"
    path.write_text(json.dumps(document))
    return path


class Knowing:
    """A `KeypointLocator` that has seen the answers: those of one person are `off` by so many pixels."""

    info = ModelInfo("truth", "1", "table", {}, ("a", "b"), ((384, 640),), {})

    def __init__(self, path: Path, off: float = 0.0, extra: bool = False) -> None:
        reader = CocoPeople(path, path.parents[1] / "val2017")
        self.known: dict[bytes, tuple[People, NDArray[np.float32]]] = {}
        for index in range(len(reader)):
            record = reader.read(index)
            boxes = np.array([p.box for p in record.people], np.float32).reshape(-1, 4)
            keypoints = np.array([p.keypoints for p in record.people], np.float32).reshape(-1, 17, 3)
            keypoints[:, :, 0] += off if index == 1 else 0
            if not len(boxes) and extra:
                boxes, keypoints = np.float32([[5, 5, 50, 100]]), np.full((1, 17, 3), 30, np.float32)
            # the person without keypoints comes last: where nobody knows them, any are wrong
            scores = np.array([0.95] if index == 2 else [0.9, 0.8], np.float32)[: len(boxes)]
            self.known[record.image.read_bytes()] = People(boxes, scores, record.size), keypoints

    def locate(self, image: bytes, options: Options) -> tuple[People, NDArray[np.float32]]:
        return self.known[image]

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        raise AssertionError("keypoints and boxes come from one look")

    def close(self) -> None:
        pass


def plain(items: object, _: str) -> object:
    return items


def test_a_coco_file_is_measured(coco: Path) -> None:
    reader = CocoPeople(coco, coco.parents[1] / "val2017")
    assert reader.validation
    perfect = evaluate_dataset(Knowing(coco), reader, plain).figures
    assert perfect["keypoint_ap"] == perfect["keypoint_ap_50"] == perfect["keypoint_ap_75"] == perfect["box_ap"] == 1
    assert perfect["people"] == 3
    assert perfect["keypoint_ap_large"] == 1  # by what the file says of silhouettes, though boxes have 4,200 pixels
    assert np.isnan(perfect["keypoint_ap_medium"])
    # one of two found: 51 of 101 recalls
    half = evaluate_dataset(Knowing(coco, off=100), reader, plain)
    assert half.figures["keypoint_ap"] == pytest.approx(51 / 101)
    assert dict(half.pictures)[1] < 0.01 < dict(half.pictures)[0] == dict(half.pictures)[2] == 1
    # somebody surer where nobody is: precision 0, 1/2, 2/3
    extra = evaluate_dataset(Knowing(coco, extra=True), reader, plain).figures
    assert extra["keypoint_ap"] == pytest.approx(2 / 3)


def test_the_command_measures_a_checkpoint(coco: Path, tmp_path: Path, model: ParsingRCNN) -> None:
    weights = tmp_path / "run" / "weights.safetensors"
    save_weights(weights, model, recipe(), {})
    assert isinstance(open_analyzer(checkpoint=weights), KeypointAnalyzer)
    out = tmp_path / "out"
    arguments = ["evaluate", "--checkpoint", str(weights), "--dataset", str(coco), "--out", str(out), "--flip"]
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == 0, result.output
    assert "keypoint_ap_medium" in result.output
    (figures,) = json.loads((out / "datasets.json").read_text())["splits"].values()
    assert 0 <= figures["keypoint_ap"] <= figures["keypoint_ap_50"] <= 1
    assert figures["keypoint_ap_medium"] is None
    assert cv2.imread(str(out / "datasets_worst_0.png")).shape[0] > 200


def test_areas_that_are_none_are_named(coco: Path) -> None:
    document = json.loads(coco.read_text())
    document["annotations"][0]["area"] = "wide"
    coco.write_text(json.dumps(document))
    result = CliRunner().invoke(build(), ["datasets", "check", str(coco)])
    assert result.exit_code == 1
    assert "annotation 1: area wide is no number of pixels" in " ".join(result.output.split())
