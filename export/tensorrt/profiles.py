"""Shapes that an engine is made for: of canvases by their kind, of people by their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PEOPLE_BUCKETS = (1, 4, 16, 64)
Canvas = tuple[int, int]


@dataclass(frozen=True)
class Profile:
    """Shapes of one input that an engine is made for: the least, the best and the largest."""

    input: str
    least: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


def people_buckets(card: Mapping[str, Any]) -> tuple[int, ...]:
    """Numbers of people that a card's heads are made for."""
    return tuple(int(number) for number in card.get("people_buckets", PEOPLE_BUCKETS))


def canvases(card: Mapping[str, Any]) -> list[Canvas]:
    """(height, width) of all canvases of a model card: its own ones first, then those of its `models`."""
    listed = [card["canvases"], *(model["canvases"] for model in card.get("models", {}).values())]
    found = [(int(h), int(w)) for some in listed for h, w in some]
    return list(dict.fromkeys(found))


def canvas_profiles(sizes: Sequence[Canvas]) -> tuple[Profile, ...]:
    """Of a detector: one for landscape canvases, one for portraits, one for squares, where there are such.

    Best is the first of a kind; between the smallest and the largest of it an engine takes any size.
    """
    kinds = (
        [s for s in sizes if s[1] > s[0]],
        [s for s in sizes if s[1] < s[0]],
        [s for s in sizes if s[1] == s[0]],
    )
    return tuple(
        Profile(
            "CANVAS",
            (min(h for h, _ in kind), min(w for _, w in kind), 3),
            (*kind[0], 3),
            (max(h for h, _ in kind), max(w for _, w in kind), 3),
        )
        for kind in kinds
        if kind
    )


def people_profiles(buckets: Sequence[int], features: tuple[int, int, int]) -> tuple[Profile, ...]:
    """Of a head: one a bucket, from one more than the bucket before."""
    before = (0, *buckets[:-1])
    return tuple(
        Profile("ROI_FEATURES", (low + 1, *features), (high, *features), (high, *features))
        for low, high in zip(before, buckets, strict=True)
    )
