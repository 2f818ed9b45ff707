"""The shapes that engines are made for: canvases (landscape, portrait, square) and numbers of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Upper ends of the ranges of people that a head's engine is made for: 1, 2-4, 5-16, 17-64. OpenVINO's shapes are fixed:
# its numbers are `parsing_rcnn.runtime.PEOPLE_BUCKETS`.
TENSORRT_PEOPLE = (1, 4, 16, 64)
ENGINE = "model.plan"  # the engine beside a graph, under the name that Triton looks for
Canvas = tuple[int, int]


@dataclass(frozen=True)
class Profile:
    """Shapes of one input that an engine takes, from `least` to `largest`; it is fastest at `best`."""

    input: str
    least: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


def engine_buckets(card: Mapping[str, Any]) -> tuple[int, ...]:
    """Upper ends of the ranges of people that the engines of a card's heads are made for."""
    return tuple(int(number) for number in card.get("people_buckets", TENSORRT_PEOPLE))


def canvas_profiles(sizes: Sequence[Canvas]) -> tuple[Profile, ...]:
    """Profiles of a detector: one each for landscape, portrait and square canvases, where there are such.

    The best shape is the first canvas of its kind. An engine takes any size between the smallest and the largest.
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
    """Profiles of a head: one for each bucket, from one person more than the bucket before.

    Args:
        buckets: see `engine_buckets`.
        features: (C, size, size) of a RoI.
    """
    before = (0, *buckets[:-1])
    return tuple(
        Profile("ROI_FEATURES", (low + 1, *features), (high, *features), (high, *features))
        for low, high in zip(before, buckets, strict=True)
    )
