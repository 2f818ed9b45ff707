"""Cuts, and what looks like them: flashes, pans, somebody close to the camera."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn_client.video.scenes import STILL, Scenes

HEIGHT, WIDTH = 288, 512  # 16 pixels for each of the detector's cells


def place(seed: int, width: int = WIDTH) -> NDArray[np.uint8]:
    """A place that no other one is like, of soft shapes."""
    shapes = np.random.default_rng(seed).normal(127, 90, (9, width // 32, 3)).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(shapes, (width, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


def moves(*frames: NDArray[np.uint8]) -> list[tuple[float, float] | None]:
    scenes = Scenes()
    return [scenes.moved(frame) for frame in frames]


def view(wide: NDArray[np.uint8], left: int) -> NDArray[np.uint8]:
    return wide[:, left : left + WIDTH]


def test_places_follow_one_another() -> None:
    found = [moves(place(k), place(k), place(k + 100), place(k + 100)) for k in range(20)]
    assert found == [[STILL, STILL, None, STILL]] * 20


@pytest.mark.parametrize(("gain", "more"), [(1.5, 30), (2.5, 60), (0.4, 0), (0.5, 120), (0, 0), (0, 255)])
def test_a_flash_and_darkness_are_no_cuts(gain: float, more: float) -> None:
    for k in range(10):
        lit = (place(k) * gain + more).clip(0, 255).astype(np.uint8)
        assert moves(place(k), lit, place(k)) == [STILL] * 3
        assert moves(place(k), lit, place(k + 100))[2] is None or gain == 0.5  # it hides no cut


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05, 0.1, 0.2])
def test_a_pan_is_no_cut_however_fast(share: float) -> None:
    for k in range(10):
        wide = place(k, 4 * WIDTH)
        turned = moves(*(view(wide, left) for left in range(0, 3 * WIDTH, round(share * WIDTH))))
        assert None not in turned
        assert set(turned) == {STILL} or share > 0.02


@pytest.mark.parametrize("cells", [-8, -5, 5, 8])
def test_a_camera_that_is_turned_faster_jumps_by_so_much(cells: int) -> None:
    for k in range(10):
        wide = place(k, 2 * WIDTH)
        turned = moves(view(wide, 200), view(wide, 200 - 16 * cells), view(wide, 200 - 16 * cells))
        assert turned == [STILL, (cells / 32, 0.0), STILL]
    high = place(3, 2 * WIDTH).transpose(1, 0, 2)[:WIDTH]  # as wide as HEIGHT
    high = np.asarray(cv2.resize(high, (WIDTH, 2 * HEIGHT)), np.uint8)
    assert moves(high[100 : 100 + HEIGHT], high[148 : 148 + HEIGHT]) == [STILL, (0.0, -3 / 18)]


@pytest.mark.parametrize("shade", [20, 128, 235])
def test_somebody_who_passes_close_by_is_no_cut(shade: int) -> None:
    for k in range(10):
        frames = []
        for x in range(-256, WIDTH, 48):  # half of the picture, a tenth of it a frame
            frame = place(k)
            frame[:, max(x, 0) : max(x + 256, 0)] = shade
            frames.append(frame)
        assert set(moves(*frames)) == {STILL}
