"""Cuts, and what looks like them: flashes, pans, somebody close to the camera; all of it between black bars, too."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.tracking.scenes import STILL, Scenes

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


BOXES = {"2.39": (36, 0), "4:3": (0, 64), "1:1": (0, 112), "9:16": (0, 175), "all round": (36, 64)}


def boxed(frame: NDArray[np.uint8], box: str, black: int = 0) -> NDArray[np.uint8]:
    """The frame made smaller, between bars above and below it, or beside it."""
    (high, wide), noise = BOXES[box], np.random.default_rng(int(frame[0, 0, 0]))
    inner = cv2.resize(frame, (WIDTH - 2 * wide, HEIGHT - 2 * high), interpolation=cv2.INTER_AREA)
    picture = (black + noise.integers(0, 4, (HEIGHT, WIDTH, 3))).astype(np.uint8)  # as encoders leave
    picture[high : HEIGHT - high, wide : WIDTH - wide] = inner
    return picture


@pytest.mark.parametrize("black", [0, 16, 240])
@pytest.mark.parametrize("box", BOXES)
def test_places_follow_one_another_between_bars(box: str, black: int) -> None:
    for k in range(20):
        one, other = boxed(place(k), box, black), boxed(place(k + 100), box, black)
        assert moves(one, one, other, other) == [STILL, STILL, None, STILL]
        assert moves(one, boxed(np.zeros_like(place(k)), box, black), other)[1:] == [STILL, None]  # through black


@pytest.mark.parametrize("box", BOXES)
def test_what_is_no_cut_is_none_between_bars(box: str) -> None:
    for k in range(10):
        one = place(k)
        for gain, more in ((1.5, 30), (2.5, 60), (0.4, 0), (0.5, 120), (0, 0), (0, 255)):
            lit = (one * gain + more).clip(0, 255).astype(np.uint8)
            assert moves(*(boxed(frame, box) for frame in (one, lit, one))) == [STILL] * 3
        wide = place(k, 4 * WIDTH)
        turned = moves(*(boxed(view(wide, left), box) for left in range(0, 3 * WIDTH, 50)))
        assert None not in turned
        close = []
        for x in range(-256, WIDTH, 48):
            frame = one.copy()
            frame[:, max(x, 0) : max(x + 256, 0)] = 20
            close.append(boxed(frame, box))
        assert set(moves(*close)) == {STILL}


@pytest.mark.parametrize(("box", "share"), [("2.39", 1.0), ("4:3", 0.75), ("1:1", 0.5625)])
def test_between_bars_a_jump_is_one_of_the_whole_picture(box: str, share: float) -> None:
    wide = place(7, 2 * WIDTH)
    (right, down) = moves(boxed(view(wide, 200), box), boxed(view(wide, 120), box))[1] or (0.0, 0.0)
    assert (right, down) == (pytest.approx(5 / 32 * share, abs=0.02), 0)


def test_somebody_who_moves_on_a_dark_stage_is_no_cut() -> None:
    for step in (20, 40, 80):
        frames = []
        for x in range(40, 400, step):
            frame = np.full((HEIGHT, WIDTH, 3), 5, np.uint8)
            frame[90:260, x : x + 60] = place(3)[90:260, 100:160]
            frames.append(frame)
        assert set(moves(*frames)) == {STILL}
