"""Pictures that every runtime must answer alike: rendered, so they may be shown and anybody can make them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.rendered.pictures import render_scene
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.geometry import fit
from parsing_rcnn.repository import ModelRepository

# below what is ever served: faint people are compared too
_LEAST = 0.05


@dataclass(frozen=True)
class Situation:
    """Canvases of one kind.

    Attributes:
        canvases: uint8 [H,W,3] RGB each. limits: fp32 [2], the minimum score and the most people.
        people: that should be found on all of them together; None: as many as there are.
        rendered: drawn by the project itself; else photos, which are never shown.
    """

    name: str
    canvases: tuple[NDArray[np.uint8], ...]
    limits: NDArray[np.float32]
    people: int | None = None
    rendered: bool = True


def rendered_situations() -> list[Situation]:
    """Nobody, 1, 5 and 20 people, a portrait, a landscape, a tiny and a huge canvas."""
    return [
        _one("nobody", render_scene(0, 384, 640, people=0), people=0, least=0.5),
        _one("1 person", render_scene(0, 640, 384, people=1), people=1),
        _one("5 people", _tiles(0, 1, 5, 384, 640), people=5),
        _one("20 people", _tiles(0, 4, 5, 800, 1280), people=20),
        _one("portrait", render_scene(1, 640, 384, people=2)),
        _one("landscape", render_scene(1, 384, 640, people=4)),
        _one("tiny", render_scene(3, 96, 160, people=2)),
        _one("huge", _tiles(3, 2, 4, 1344, 1344)),
    ]


def chosen_situations(names: Sequence[str]) -> list[Situation]:
    """The rendered situations of these names; none given: all.

    Raises:
        ValueError: there is none of such a name.
    """
    every = {s.name: s for s in rendered_situations()}
    unknown = [name for name in names if name not in every]
    if unknown:
        raise ValueError(f"--situation {unknown[0]!r}: choose from {', '.join(every)}")
    return [every[name] for name in names] or list(every.values())


def photo_situation(repository: ModelRepository, folder: Path, count: int) -> Situation:
    """Up to `count` JPEGs of a folder and those below it, spread over its order of names.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg") and path.is_file())
    if not found:
        raise FileNotFoundError(f"{folder}: no JPEG photos in it; --photos takes a folder of them")
    rows = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    canvases = tuple(fit(decode(found[row].read_bytes()), repository.canvases)[0] for row in rows)
    return Situation("photos", canvases, np.array([_LEAST, 16], np.float32), rendered=False)


def _one(name: str, canvas: NDArray[np.uint8], people: int | None = None, least: float = _LEAST) -> Situation:
    return Situation(name, (canvas,), np.array([least, people or 16], np.float32), people)


def _tiles(seed: int, rows: int, columns: int, height: int, width: int) -> NDArray[np.uint8]:
    """A canvas of scenes with one figure each."""
    scenes = [
        [render_scene(seed + 100 * y + x, height // rows, width // columns, people=1) for x in range(columns)]
        for y in range(rows)
    ]
    return np.ascontiguousarray(np.vstack([np.hstack(row) for row in scenes]))
