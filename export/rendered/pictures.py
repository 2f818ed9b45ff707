"""Pictures that the project renders itself, for checks that must run anywhere."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from export.rendered.cutouts import load_people


def render_scene(seed: int, height: int = 480, width: int = 640, people: int = 2) -> NDArray[np.uint8]:
    """People in front of something like a street: uint8 [height,width,3] RGB, always the same for a seed.

    The people are those of `export.rendered.cutouts`, side by side; from the thirteenth on they repeat.
    """
    rng = np.random.default_rng(seed)
    sky, ground = rng.integers(120, 230, 3), rng.integers(60, 150, 3)
    ramp = np.linspace(0, 1, height)[:, None, None]
    scene = np.broadcast_to(sky * (1 - ramp) + ground * ramp, (height, width, 3)).astype(np.uint8).copy()
    for _ in range(12):  # houses and signs
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(c) for c in rng.integers(30, 220, 3))
        cv2.rectangle(scene, (x, y), (x + int(rng.integers(10, 120)), y + int(rng.integers(10, 160))), colour, -1)
    order = rng.permutation(len(_people()))
    for number in range(people):
        person = _people()[order[number % len(order)]]
        feet, tall = height * rng.uniform(0.88, 0.98), height * rng.uniform(0.6, 0.85)
        _paste(scene, person, (number + 0.5) * width / people, feet, tall)
    scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), 0.8), np.uint8)
    noise = rng.normal(0, 4, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


@cache
def _people() -> list[NDArray[np.uint8]]:
    return load_people()


def _paste(scene: NDArray[np.uint8], person: NDArray[np.uint8], x: float, feet: float, tall: float) -> None:
    """Paste a person uint8 [h,w,4] RGBA, `tall` pixels tall, with feet at row `feet` and middle at column `x`.

    What lies beyond the scene is cut off.
    """
    scale = tall / len(person)
    size = (max(1, round(person.shape[1] * scale)), max(1, round(tall)))
    alpha = person[..., 3:] / np.float32(255)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    rgba = cv2.resize(np.dstack([person[..., :3] * alpha, alpha]).astype(np.float32), size, interpolation=kind)
    left, top = round(x - size[0] / 2), round(feet - size[1])
    y, x0 = max(-top, 0), max(-left, 0)
    inside = scene[top + y : top + size[1], left + x0 : left + size[0]]
    rgba = rgba[y : y + inside.shape[0], x0 : x0 + inside.shape[1]]
    inside[:] = np.clip(rgba[..., :3] + inside * (1 - rgba[..., 3:]), 0, 255).astype(np.uint8)
