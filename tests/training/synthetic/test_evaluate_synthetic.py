"""The evaluation on rendered people, of analyzers that know the truth and are spoilt in known ways."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from tests.training.synthetic.conftest import write_people
from training.data.iuv import MIRRORED
from training.data.synthetic.generator import Generator, Source
from training.evaluation.consistency import agreement, measure_consistency
from training.evaluation.evaluate import evaluate
from training.evaluation.report import write_report
from training.evaluation.synthetic import evaluate_synthetic

SIDE = 128
COUNT = 5


def plain(items: Sequence[Any], _: str) -> Iterable[Any]:
    return items


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, generator: Generator, source: Source, surface_file: Path) -> Path:
    out = tmp_path_factory.mktemp("test")
    write_people(out, generator, source, COUNT, 2)
    shutil.copy(surface_file, out)
    return out


class TruthTeller:
    """Looks the picture up in the folder's own maps, then lets `spoil` change the IUV cells [n,3,S,S]."""

    info = ModelInfo("truth", "1", "table", {"parsing": True, "densepose": True}, CIHP.classes, ((384, 640),), {})

    def __init__(self, folder: Path, spoil: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda iuv: iuv) -> None:
        self.folder, self.spoil = folder, spoil
        self.known = {path.read_bytes(): path.stem for path in (folder / "Images").glob("*.jpg")}

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        assert isinstance(image, bytes)
        names = ("Category_ids", "Human_ids", "IUV")
        stem = self.known[image]
        category, human, iuv = (cv2.imread(str(self.folder / n / f"{stem}.png"), cv2.IMREAD_UNCHANGED) for n in names)
        boxes, parts, cells = [], [], []
        for person in range(1, int(human.max()) + 1):
            rows, columns = np.nonzero(human == person)
            if len(rows) < 24:
                continue
            x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            own = (human == person)[y1:y2, x1:x2]
            size = (SIDE, SIDE)
            near = cv2.INTER_NEAREST_EXACT
            parts.append(cv2.resize(category[y1:y2, x1:x2] * own, size, interpolation=near))
            cells.append(cv2.resize(iuv[y1:y2, x1:x2] * own[..., None], size, interpolation=near).transpose(2, 0, 1))
            boxes.append([x1, y1, x2, y2])
        return People(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.linspace(0.9, 0.8, len(boxes)).astype(np.float32),
            category.shape,
            parts=np.array(parts, np.uint8).reshape(-1, SIDE, SIDE),
            iuv=self.spoil(np.array(cells, np.uint8).reshape(-1, 3, SIDE, SIDE)),
        )

    def close(self) -> None:
        pass


def test_the_truth_scores_full_marks(folder: Path) -> None:
    figures, result = evaluate_synthetic(TruthTeller(folder), folder, plain)
    assert figures["pictures"] == COUNT
    assert figures["ap_50"] == 1.0
    assert figures["part_accuracy"] > 0.97
    assert figures["gps_ap_75"] == 1.0
    assert figures["gps_ap"] > 0.9
    assert figures["gpsm_ap"] > 0.85
    assert figures["miou"] > 0.9
    everybody = figures["by_group"]["everybody"]
    assert everybody["people"] == figures["people"] == len(result.people)
    assert everybody["found"] == 1.0
    for pair in (("women", "men"), ("front", "side", "back"), ("sitting", "not sitting")):
        assert sum(figures["by_group"].get(name, {"people": 0})["people"] for name in pair) == figures["people"]
    for row in figures["by_part"].values():
        assert np.isnan(row["accuracy"]) or row["accuracy"] > 0.75
        assert np.isnan(row["median_error_cm"]) or row["median_error_cm"] < 3


def test_sides_swapped_are_wrong(folder: Path) -> None:
    def swap(iuv: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.concatenate([MIRRORED[iuv[:, :1]], iuv[:, 1:]], 1)

    figures, _ = evaluate_synthetic(TruthTeller(folder, swap), folder, plain)
    assert figures["part_accuracy"] < 0.6  # the trunk has no other side
    assert figures["gps_ap_75"] < 0.5


def test_nothing_said_scores_nothing(folder: Path) -> None:
    figures, _ = evaluate_synthetic(TruthTeller(folder, np.zeros_like), folder, plain)
    assert figures["part_accuracy"] == 0
    assert figures["gps_ap"] == 0


class OfOtherClasses(TruthTeller):
    """The same people, whose parts are all the last one of three."""

    own = read_taxonomy({"name": "clothes", "classes": ["Background", "Skin", "Cloth"]})
    info = replace(TruthTeller.info, classes=own.classes)

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        people = super().analyze(image, options)
        assert people.parts is not None
        return replace(people, parts=np.where(people.parts > 0, np.uint8(2), np.uint8(0)), taxonomy=self.own)


def test_what_other_classes_leave_out_is_said(folder: Path, tmp_path: Path) -> None:
    result = evaluate(OfOtherClasses(folder), tmp_path, None, folder)
    assert result.figures["synthetic"]["part_accuracy"] > 0.97  # of DensePose's charts
    assert np.isnan(result.figures["synthetic"]["miou"])
    assert "consistency" not in result.figures
    for name in ("photos", "consistency", "parts of the synthetic people"):
        assert "CIHP's classes, and this model has others" in result.absent[name]
    write_report(result, tmp_path, OfOtherClasses(folder), None)
    assert (
        "parts of the synthetic people left out: the labels are of CIHP's" in (tmp_path / "evaluation.md").read_text()
    )
    known = evaluate(TruthTeller(folder), tmp_path, None, folder)
    assert (
        known.absent["consistency"]
        == known.absent["photos"]
        == f"no {tmp_path / 'ccp/images'}: " + ("--data is the folder that holds ccp")
    )
    assert "parts of the synthetic people" not in known.absent


class Threshold:
    """One person over the whole picture: what is bright is an arm, left where `left` says so by column."""

    info = TruthTeller.info

    def __init__(self, biased: bool) -> None:
        self.biased = biased

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        assert not isinstance(image, bytes)
        height, width = image.shape[:2]
        bright = cv2.resize(image[..., 0], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT) > 128
        half = np.arange(SIDE)[None] >= SIDE // 2
        arm = np.where(half | self.biased, 14, 15)
        part = np.where(half | self.biased, 15, 16)
        parts = np.where(bright, arm, 0).astype(np.uint8)
        iuv = np.stack([np.where(bright, part, 0), np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))]).astype(np.uint8)
        box = np.array([[0, 0, width, height]], np.float32)
        return People(box, np.ones(1, np.float32), (height, width), parts=parts[None], iuv=iuv[None])


def test_consistency(tmp_path: Path) -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[32:96, 32:96] = 255
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    fair = measure_consistency(Threshold(biased=False), [tmp_path / "a.jpg"], plain)
    assert fair["pictures"] == 1
    assert fair["flip_parts"] > 0.97
    assert fair["flip_iuv"] > 0.97
    assert fair["crop_parts"] > 0.9
    # everything is left, in the mirror too: whatever is bright changes its side
    biased = measure_consistency(Threshold(biased=True), [tmp_path / "a.jpg"], plain)
    assert biased["flip_parts"] == 0
    assert biased["flip_iuv"] == 0
    assert biased["crop_iuv"] > 0.9
    assert agreement(np.array([[0, 1, 2]]), np.array([[0, 1, 1]])) == 0.5
