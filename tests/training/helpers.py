"""What several tests of training use: a run of seconds, an analyzer that knows the truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from tests.training.conftest import write_rendered
from tests.training.tiny import NARROW
from training.config import Config, load_config

LIGHT = Path(__file__).parents[2] / "training" / "configs" / "light.yaml"
SMALL = (
    "data.canvases=[[128,96]]",
    "data.final_canvases=[[128,96]]",
    "train.batch_size=2",
    "train.workers=0",
    "model.branch.rois_per_image=2",
    "train.warmup=2",
    "train.autocast=none",
    "train.densepose=false",
    "data.rendered=null",
    "data.sources={photos: 0.34, crowds: 0.26, groups: 0.26, empty: 0.14}",
    "train.checkpoint_every=3",
)
SIDE = 128
Spoil = Callable[[People], People]


def recipe(*overrides: str) -> Config:
    """The light recipe on tiny pictures and a narrow network, as fast as it goes."""
    return load_config(LIGHT, (*SMALL, *NARROW, *overrides))


def published(root: Path) -> Path:
    """A folder as CIHP's: two pictures to learn from, three to measure on."""
    for split, count in (("Training", 2), ("Validation", 3)):
        write_rendered(root / split)
        for number in range(2, count):
            for folder, suffix in (("Images", "jpg"), ("Category_ids", "png"), ("Human_ids", "png")):
                place = root / split / folder
                shutil.copy(place / f"0000000.{suffix}", place / f"{number:07d}.{suffix}")
    return root


def measuring(data: str | Path, *overrides: str) -> Config:
    """A recipe that learns from published data, of `published` for example."""
    common = (f"data.annotated={data}", "data.sources={annotated: 1}", "model.rpn.proposals_test=4")
    return recipe(*common, *overrides)


def cut(labels: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The labels inside a box (x1, y1, x2, y2), as a network of 128x128 cells would answer."""
    x1, y1, x2, y2 = box
    inside = cv2.resize(labels[y1:y2, x1:x2], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(inside, np.uint8)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class TruthTeller:
    """An Analyzer that looks the picture up in a table of true people, then lets `spoil` change them."""

    def __init__(self, spoil: Spoil = lambda people: people) -> None:
        self.known: dict[bytes, People] = {}
        self.spoil = spoil

    info = ModelInfo("truth", "1", "table", {"parsing": True}, CIHP.classes, ((384, 640),), {})

    def learn(self, picture: Path, boxes: list[tuple[int, int, int, int]], maps: list[NDArray[np.uint8]]) -> None:
        image = cv2.imread(str(picture))
        parts = np.array([cut(m, b) for m, b in zip(maps, boxes, strict=True)], np.uint8).reshape(-1, SIDE, SIDE)
        probs = (np.arange(len(CIHP))[None, :, None, None] == parts[:, None]).astype(np.uint8) * 255
        self.known[picture.read_bytes()] = People(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(len(boxes), 0.9, np.float32),
            image.shape[:2],
            parts=parts,
            part_probs=probs,
        )

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        assert isinstance(image, bytes)
        people = self.spoil(self.known[image])
        people = people.select(people.scores >= options.confidence)
        return people if options.part_probs else replace(people, part_probs=None)

    def close(self) -> None:
        pass
