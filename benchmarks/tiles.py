"""Small people in large pictures: how many are found, and how long it takes, in the whole picture and in tiles.

The pictures are mosaics of held-out group photos, none of them scaled: with three a side their people are a third as
large on the network's input as in the photo alone.

    python -m benchmarks.tiles --data DATA --side 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.pipeline import Pipeline
from training.data.groups import GroupPhotos
from training.metrics.detection import PictureBoxes, average_precision

CELL = 448
"""Pixels of a square of the mosaic. The longer side of the group photos is no longer."""
_LEAST = 0.05
"""The lowest score of a box that is ranked."""
_WAYS = (("fast", 1), ("accurate", 1), ("fast", 2), ("fast", 3), ("fast", 4))

Photo = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
"""uint8 [H,W,3]; the boxes [n,4] of people, and of what is neither right nor wrong."""


def mosaic(photos: Sequence[Photo], side: int) -> Photo:
    """Photos on a grid of side x side squares, on grey; what does not fit a square is cut off."""
    picture = np.full((side * CELL, side * CELL, 3), 114, np.uint8)
    people: list[NDArray[np.float32]] = []
    ignored: list[NDArray[np.float32]] = []
    for number, (photo, boxes, crowd) in enumerate(photos):
        top, left = (CELL * index for index in divmod(number, side))
        cut = photo[:CELL, :CELL]
        picture[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
        for own, found in ((boxes, people), (crowd, ignored)):
            found.append(np.minimum(own, CELL) + np.array([left, top, left, top], np.float32))
    return picture, np.concatenate(people), np.concatenate(ignored)


def mosaics(data: Path, side: int) -> list[Photo]:
    """Of all held-out group photos, in the order of their names; a last mosaic that would not be full is left out."""
    photos = GroupPhotos.open(data / "groups", validation=True)
    several = side * side
    found = []
    for first in range(0, len(photos.images) - several + 1, several):
        some = range(first, first + several)
        of = [(decode(photos.images[i].read_bytes()), photos.boxes[i], photos.ignore[i]) for i in some]
        found.append(mosaic(of, side))
    return found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds groups")
    parser.add_argument("--side", type=int, default=3, help="photos along a side of a mosaic (3)")
    asked = parser.parse_args()
    pictures = mosaics(asked.data, asked.side)
    size = asked.side * CELL
    print(f"{len(pictures)} mosaics of {size}x{size} pixels, {sum(len(boxes) for _, boxes, _ in pictures)} people\n")
    print("| model | tiles | person AP50, 64 pixels and taller | 32 and taller | ms a picture, boxes alone |")
    print("|---|---:|---:|---:|---:|")
    pipeline = Pipeline()
    judged: dict[tuple[str, int], list[PictureBoxes]] = {way: [] for way in _WAYS}
    took: dict[tuple[str, int], list[float]] = {way: [] for way in _WAYS}
    for model, tiles in _WAYS:  # compiled before the clock runs
        pipeline.analyze(pictures[0][0], Options(frozenset(), _LEAST, model=model, tiles=tiles))
    for picture, boxes, ignored in pictures:
        for way in _WAYS:
            begin = time.perf_counter()
            people = pipeline.analyze(picture, Options(frozenset(), _LEAST, model=way[0], tiles=way[1]))
            took[way].append(1000 * (time.perf_counter() - begin))
            judged[way].append(PictureBoxes(people.boxes, people.scores, boxes, ignored))
    for way in _WAYS:
        tall, small = (100 * average_precision(judged[way], min_height=height) for height in (64, 32))
        print(f"| `{way[0]}` | {way[1]} | {tall:.1f} % | {small:.1f} % | {median(took[way]):.0f} |")


if __name__ == "__main__":
    main()
