"""Pictures that the project renders itself, for checks that must run anywhere."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SKIN = ((224, 182, 150), (160, 110, 80), (92, 60, 44))


def render_scene(seed: int, height: int = 480, width: int = 640, people: int = 2) -> NDArray[np.uint8]:
    """A street-like scene with simple figures: uint8 [height,width,3] RGB, the same for the same seed."""
    rng = np.random.default_rng(seed)
    sky, ground = rng.integers(120, 230, 3), rng.integers(60, 150, 3)
    ramp = np.linspace(0, 1, height)[:, None, None]
    scene = np.broadcast_to(sky * (1 - ramp) + ground * ramp, (height, width, 3)).astype(np.uint8).copy()
    for _ in range(12):  # houses and signs
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(c) for c in rng.integers(30, 220, 3))
        cv2.rectangle(scene, (x, y), (x + int(rng.integers(10, 120)), y + int(rng.integers(10, 160))), colour, -1)
    for person in range(people):
        _figure(scene, rng, (person + 0.5) * width / max(people, 1), height * rng.uniform(0.75, 0.98))
    scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), 0.8), np.uint8)
    noise = rng.normal(0, 4, scene.shape)
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


def _figure(scene: NDArray[np.uint8], rng: np.random.Generator, x: float, feet: float) -> None:
    """A standing figure: legs, coat, arms, face, hair."""
    tall = scene.shape[0] * rng.uniform(0.5, 0.8)
    unit = tall / 8
    skin = _SKIN[int(rng.integers(len(_SKIN)))]
    trousers, coat, hair = (tuple(int(c) for c in rng.integers(20, 200, 3)) for _ in range(3))

    def at(dx: float, up: float) -> tuple[int, int]:
        return round(x + dx * unit), round(feet - up * unit)

    thick = max(2, round(0.8 * unit))
    for side in (-1, 1):
        cv2.line(scene, at(0.35 * side, 4), at(0.5 * side, 0.3), trousers, thick, cv2.LINE_AA)
        cv2.line(scene, at(0.9 * side, 6.2), at(1.2 * side, 4.2), coat, max(2, round(0.6 * unit)), cv2.LINE_AA)
        cv2.circle(scene, at(1.22 * side, 4.0), max(1, round(0.28 * unit)), skin, -1, cv2.LINE_AA)
        cv2.ellipse(
            scene, at(0.6 * side, 0.15), (max(1, round(0.5 * unit)), max(1, round(0.2 * unit))), 0, 0, 360, hair, -1
        )
    cv2.rectangle(scene, at(-0.85, 6.5), at(0.85, 3.7), coat, -1)
    cv2.circle(scene, at(0, 7.35), max(2, round(0.62 * unit)), hair, -1, cv2.LINE_AA)
    cv2.circle(scene, at(0, 7.2), max(2, round(0.5 * unit)), skin, -1, cv2.LINE_AA)
