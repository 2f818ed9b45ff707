"""Coordinates there and back, the choice of a canvas, and the resize."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsing_rcnn.geometry import PAD_VALUE, Window, choose_canvas, fit, resize, turn_upright, turned_size

CANVASES = [(384, 640), (640, 384), (512, 512)]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1080, 1920, (384, 640)),
        (1920, 1080, (640, 384)),
        (700, 700, (512, 512)),
        (768, 1280, (384, 640)),
        (1, 10000, (384, 640)),
        (10000, 1, (640, 384)),
    ],
)
def test_the_canvas_that_shows_most(height: int, width: int, expected: tuple[int, int]) -> None:
    assert choose_canvas(height, width, CANVASES) == expected


def test_equal_scales_take_the_smaller_canvas() -> None:
    assert choose_canvas(100, 100, [(640, 384), (384, 384), (384, 640)]) == (384, 384)


def test_no_canvas_is_an_error() -> None:
    with pytest.raises(ValueError, match="no canvas"):
        choose_canvas(10, 10, [])


def test_the_grey_of_the_padding_is_the_one_that_networks_were_trained_with() -> None:
    canvas, _ = fit(np.zeros((4, 4, 3), np.uint8), [(4, 8)])
    assert (canvas[:, 4:] == 114).all()


def test_fit_places_the_picture_top_left_and_pads_with_grey() -> None:
    image = np.full((1080, 1920, 3), 7, np.uint8)
    canvas, window = fit(image, CANVASES)
    assert canvas.shape == (384, 640, 3)
    assert (canvas[:360] == 7).all()
    assert (canvas[360:] == PAD_VALUE).all()
    assert window == Window(1 / 3, 1 / 3, 0, 0, 1080, 1920)


@pytest.mark.parametrize("wide", [True, False])
def test_fit_rounds_the_shorter_side_to_the_nearest_pixel(wide: bool) -> None:
    # the scale is 8/15: 11 pixels are 5.87 on the canvas, so 6 and not 5
    canvas, window = fit(np.full((11, 15, 3) if wide else (15, 11, 3), 7, np.uint8), [(8, 8)])
    upright = canvas if wide else canvas.transpose(1, 0, 2)
    assert (upright[:6] == 7).all()
    assert (upright[6:] == PAD_VALUE).all()
    scales = (window.scale_y, window.scale_x)
    assert (scales if wide else scales[::-1]) == (6 / 11, 8 / 15)


@given(st.integers(1, 90), st.integers(1, 90))
def test_fit_fills_one_side_and_boxes_return(height: int, width: int) -> None:
    canvas, window = fit(np.zeros((height, width, 3), np.uint8), [(32, 64), (64, 32)])
    rows, columns = round(window.scale_y * height), round(window.scale_x * width)
    assert rows == canvas.shape[0] or columns == canvas.shape[1]
    assert (canvas[:rows, :columns] == 0).all()
    assert (canvas[rows:] == PAD_VALUE).all()
    assert (canvas[:, columns:] == PAD_VALUE).all()
    boxes = np.array([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]], np.float32)
    on_canvas = boxes * np.array([window.scale_x, window.scale_y] * 2)
    assert np.allclose(window.to_image(on_canvas), boxes, atol=1e-3)


def test_boxes_beyond_the_picture_are_clipped() -> None:
    window = Window(0.5, 0.5, 10, 20, 100, 200)
    boxes = window.to_image(np.array([[0, 0, 1000, 1000], [30, 15, 70, 35]], np.float32))
    assert boxes.tolist() == [[0, 0, 200, 100], [20, 10, 100, 50]]
    assert boxes.dtype == np.float32
    assert window.to_image(np.zeros((0, 4))).shape == (0, 4)


def test_window_tensor_round_trip() -> None:
    window = Window(0.25, 0.5, 1, 2, 300, 400)
    assert window.to_array().tolist() == [0.25, 0.5, 1, 2, 300, 400]
    assert window.to_array().dtype == np.float32
    assert Window.from_array(window.to_array()) == window
    with pytest.raises(ValueError, match="6 numbers"):
        Window.from_array(np.zeros(5))


def test_a_fine_pattern_becomes_grey_and_not_moire() -> None:
    image = np.zeros((800, 800, 3), np.uint8)
    image[:, ::2] = 255
    small = resize(image, 200, 200)
    assert small.shape == (200, 200, 3)
    assert np.abs(small.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("tall", [True, False])
def test_a_very_thin_picture_is_averaged_along_its_length(tall: bool) -> None:
    """Its width needs no halving. The mean sees its bright quarter; between the two pixels in the middle is none."""
    image = np.zeros((64, 2, 3), np.uint8)
    image[:16] = 128
    small = resize(image if tall else np.ascontiguousarray(image.transpose(1, 0, 2)), 1, 1)
    assert small.tolist() == [[[32, 32, 32]]]


def test_resize_keeps_the_centre_of_mass() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    image[100:160, 200:280] = 200
    small = resize(image, 75, 100)[..., 0].astype(float)
    rows, columns = np.indices(small.shape)
    assert (rows * small).sum() / small.sum() + 0.5 == pytest.approx(130 / 4, abs=0.05)
    assert (columns * small).sum() / small.sum() + 0.5 == pytest.approx(240 / 4, abs=0.05)


@pytest.mark.parametrize(
    ("size", "target", "filled"),
    [
        ((41, 61), (40, 60), (40.25 / 41, 60.5 / 61)),  # `cv2.resize` by itself would copy it
        ((41, 61), (30, 35), (40.25 / 41, 60.5 / 61)),
        ((41, 61), (41, 61), (40.25 / 41, 60.5 / 61)),
        ((1, 61), (1, 60), (0.125, 60.5 / 61)),  # a row of which an eighth counts
    ],
)
def test_resize_of_a_picture_that_ends_within_the_last_row_and_column(
    size: tuple[int, int], target: tuple[int, int], filled: tuple[float, float]
) -> None:
    rows, columns = np.indices(size) + 0.5
    y, x = rows / (size[0] * filled[0]), columns / (size[1] * filled[1])  # 0..1 within the picture
    image = np.rint(np.stack([y * 200, x * 200, y * 0], axis=2)).clip(0, 255).astype(np.uint8)
    small = resize(image, *target, filled)
    assert small.shape == (*target, 3)
    assert small.flags.c_contiguous
    expected = (np.indices(target) + 0.5) / np.reshape(target, (2, 1, 1)) * 200
    off = np.abs(small[:, :, :2].astype(float) - np.moveaxis(expected, 0, 2))
    assert off[1:-1, 1:-1].max(initial=0) < 1.5  # rounded twice; beyond the outermost pixels is nothing


# What the orientation tag means: where row 0 and column 0 of the stored picture are on the upright one (EXIF 2.3).
UPRIGHT = {
    1: [[1, 2], [3, 4], [5, 6]],
    2: [[2, 1], [4, 3], [6, 5]],
    3: [[6, 5], [4, 3], [2, 1]],
    4: [[5, 6], [3, 4], [1, 2]],
    5: [[1, 3, 5], [2, 4, 6]],
    6: [[5, 3, 1], [6, 4, 2]],
    7: [[6, 4, 2], [5, 3, 1]],
    8: [[2, 4, 6], [1, 3, 5]],
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns(orientation: int) -> None:
    stored = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)
    turned = turn_upright(stored, orientation)
    assert turned.tolist() == UPRIGHT[orientation]
    assert turned.shape == turned_size(3, 2, orientation)
    assert turned.flags.c_contiguous


def test_a_nonsense_orientation_is_no_turn() -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(3, 2)
    assert turn_upright(stored, 77).tolist() == stored.tolist()
    assert turned_size(3, 2, 0) == (3, 2)
