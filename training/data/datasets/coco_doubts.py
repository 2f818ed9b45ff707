"""What a COCO file says that can be read and can hardly be right: numbers of another unit, people twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from training.data.datasets.coco_file import CocoFile, numbers

_BEYOND = 0.1  # of a picture's side: genuine boxes and keypoints overhang it by a pixel or two
_UNIT = 2.0  # pixels: numbers of a whole file that end here are fractions of a picture's sides
_KEYPOINT = 3


class _Doubt:
    """Annotations of which one sentence holds: how many, and the first."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, first: str) -> None:
        self.count += 1
        self.first = self.first or first

    def said(self, every: int, kind: str, remedy: str) -> Iterator[str]:
        if self.count:
            yield f"{self.count} of {every} {kind}, the first of {self.first}; {remedy}"


def doubts(coco: CocoFile) -> Iterator[str]:
    """A sentence of each kind, naming the first annotation; what cannot be read at all is left to whoever reads it."""
    boxes, joints, again = _Doubt(), _Doubt(), _Doubt()
    ids: Counter[Any] = Counter()
    everybody = jointed = people = unread = emptied = 0
    furthest = furthest_joint = 0.0
    for about, rows in zip(coco.images, coco.rows, strict=True):
        side = numbers([about.get("width"), about.get("height")])
        seen = set()
        for row in rows:
            ids[row.get("id")] += 1
            box, name = numbers(row.get("bbox", ())), f"annotation {row.get('id')}"
            unread += box.shape != (4,) and not row.get("iscrowd")
            if box.shape != (4,) or coco.flat(row):
                continue
            everybody += 1
            people += not row.get("iscrowd")
            emptied += row.get("dp_I") == []
            ends = np.concatenate([box[:2], box[:2] + box[2:]])
            furthest = max(furthest, float(np.abs(ends).max()))
            if side.shape == (2,) and _beyond(ends.reshape(2, 2), side):
                boxes.add(f"{name}, {row['bbox']} in a picture of {side[0]:.0f}x{side[1]:.0f}")
            if tuple(row["bbox"]) in seen:
                again.add(f"{name}, {row['bbox']} in image {about.get('id')}")
            seen.add(tuple(row["bbox"]))
            found = numbers(row.get("keypoints", ()))
            if found.ndim == 1 and found.size and not found.size % _KEYPOINT and not row.get("iscrowd"):
                places = found.reshape(-1, _KEYPOINT)
                places = places[places[:, 2] > 0, :2]
                jointed += bool(len(places))
                furthest_joint = max(furthest_joint, float(np.abs(places).max(initial=0)))
                if side.shape == (2,) and _beyond(places, side):
                    worst = places[np.abs(places / side - 0.5).max(1).argmax()]
                    joints.add(f"{name}, {worst.tolist()} in a picture of {side[0]:.0f}x{side[1]:.0f}")
    if not people and not unread:
        yield f"{coco.path}: nobody to learn from: all annotations have iscrowd 1, or no box with an extent"
    if emptied and "dp_I" not in coco.keys:
        yield f"{coco.path}: dp_I is empty in all {emptied} annotations that have it: no IUV is learnt from them"
    pixels = "pixels are wanted: multiply x by the picture's width and y by its height"
    if everybody and furthest <= _UNIT:
        yield f"{coco.path}: all boxes lie within {furthest:g} pixels of the corner, like fractions; {pixels}"
    if jointed and furthest_joint <= _UNIT:
        yield f"{coco.path}: all keypoints lie within {furthest_joint:g} pixels of the corner, like fractions; {pixels}"
    for said in (
        boxes.said(
            everybody, "boxes end far outside their picture", "a bbox is x, y, width and height, no two corners"
        ),
        joints.said(jointed, "people have labelled keypoints far outside their picture", "they are in its pixels"),
        again.said(everybody, "boxes are there twice in their picture", "somebody who is there twice counts as two"),
        _repeated(ids),
    ):
        yield from (f"{coco.path}: {text}" for text in said)


def _beyond(places: Any, side: Any) -> bool:
    """Whether one of the places [k,2] is further outside a picture than `_BEYOND` of its sides."""
    return bool(((places < -_BEYOND * side - 1) | (places > (1 + _BEYOND) * side + 1)).any())


def _repeated(ids: Counter[Any]) -> Iterator[str]:
    twice = [number for number, count in ids.items() if count > 1 and number is not None]
    if twice:
        yield f"{len(twice)} annotation ids are there more than once, the first {twice[0]!r}; each needs one of its own"
