"""Pictures that every runtime must answer alike: rendered, so they may be shown and anybody can make them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.rendered.pictures import render_scene
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.geometry import choose_canvas, fit
from parsing_rcnn.repository import ModelRepository

Canvas = tuple[int, int]
"""Height and width of a detector's input, pixels."""

NAMES = ("nobody", "1 person", "5 people", "20 people", "portrait", "landscape", "tiny", "huge")  # the rendered ones
_LEAST = 0.05  # score; below what is ever served, so that faint people are compared too
_CROWD = (800, 1280)  # the smallest canvas on which 20 people are large enough to be found


@dataclass(frozen=True)
class Situation:
    """Pictures of one kind, at the size of the detector's input.

    Attributes:
        canvases: uint8 [H,W,3] RGB each.
        limits: fp32 [2], the detector's LIMITS: the minimum score and the most people.
        people: how many people should be found on all canvases together; None: any number.
        rendered: whether the project drew them itself; photos are never shown in a report.
    """

    name: str
    canvases: tuple[NDArray[np.uint8], ...]
    limits: NDArray[np.float32]
    people: int | None = None
    rendered: bool = True


class UnknownSituation(ValueError):
    """No rendered situation has this name; the message lists those that there are."""


def rendered_situations(canvases: Sequence[Canvas]) -> list[Situation]:
    """Nobody, 1, 5 and 20 people, a portrait, a landscape, a tiny and a huge canvas.

    Args:
        canvases: (height, width) of a model's inputs. A scene is as large as the one that would serve a photo of its
            shape; "tiny" and "huge" are of fixed sizes, and "20 people" is at least 800x1280.
    """
    wide, tall = choose_canvas(3, 5, canvases), choose_canvas(5, 3, canvases)
    crowd = (max(wide[0], _CROWD[0]), max(wide[1], _CROWD[1]))
    return [
        _one("nobody", render_scene(0, *wide, people=0), people=0, least=0.5),
        _one("1 person", render_scene(0, *tall, people=1), people=1),
        _one("5 people", _tiles(0, 1, 5, *wide), people=5),
        _one("20 people", _tiles(0, 4, 5, *crowd), people=20),
        _one("portrait", render_scene(1, *tall, people=2)),
        _one("landscape", render_scene(1, *wide, people=4)),
        _one("tiny", render_scene(3, 96, 160, people=2)),
        _one("huge", _tiles(3, 2, 4, 1344, 1344)),
    ]


def chosen_situations(canvases: Sequence[Canvas], names: Sequence[str]) -> list[Situation]:
    """The rendered situations of these names; of no names: all.

    Raises:
        UnknownSituation: there is none of such a name.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UnknownSituation(f"--situation {unknown[0]!r}: choose from {', '.join(NAMES)}")
    every = {s.name: s for s in rendered_situations(canvases)}
    return [every[name] for name in names or NAMES]


def photo_situation(repository: ModelRepository, folder: Path, count: int) -> Situation:
    """Up to `count` JPEGs of a folder and its subfolders, spread evenly over their names, fitted to its canvases.

    Raises:
        FileNotFoundError: the folder has none.
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
    """A canvas of `rows` x `columns` scenes with one person each; of a tall canvas as many columns x rows."""
    if height > width:
        rows, columns = columns, rows
    edges_y = [height * row // rows for row in range(rows + 1)]
    edges_x = [width * column // columns for column in range(columns + 1)]
    scenes = [
        [
            render_scene(seed + 100 * y + x, edges_y[y + 1] - edges_y[y], edges_x[x + 1] - edges_x[x], people=1)
            for x in range(columns)
        ]
        for y in range(rows)
    ]
    return np.ascontiguousarray(np.vstack([np.hstack(row) for row in scenes]))
