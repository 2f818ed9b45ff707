"""Lines and textures on a surface whose U and V are known, against `parsing_rcnn.draw`, which works on every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.people import People
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.surface import HALF, Ink, enlarge, lay_over, texels_of, wire_frame
from tests.client.video.conftest import annotated

SIDE = 64
ONE = np.array([1], np.intp)


def smooth(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """U grows to the right and V upwards, over the whole map."""
    y, x = np.mgrid[:SIDE, :SIDE] * np.float32(255 / (SIDE - 1))
    return np.stack([labels, np.rint(x), np.rint(255 - y)]).astype(np.uint8)


@pytest.fixture
def people() -> People:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[8:60, 4:34], labels[8:60, 34:58] = 3, 7
    box = np.array([[20.3, 10.6, 219.9, 290.2]], np.float32)
    return People(box, np.array([0.9], np.float32), (320, 240), iuv=smooth(labels)[None])


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.full((320, 240, 3), 90, np.uint8)


def test_lines_lie_where_u_and_v_reach_a_level() -> None:
    region, window = np.zeros((640, 640, 3), np.uint8), np.array([0, 0, 640, 640], np.float32)
    wire_frame(region, smooth(np.full((SIDE, SIDE), 5, np.uint8)), window, _window(640, 640))
    # cell k holds the byte round(255 k / 63) at its centre, x = 10 k + 5, and level i is the byte 255 i / 9
    places = np.interp(255 * np.arange(1, 9) / 9, np.rint(np.arange(64) * 255 / 63), 10 * np.arange(64) + 5.0)
    row = region[37].astype(int).sum(axis=1)
    found = np.flatnonzero(row > 100) + 0.5
    np.testing.assert_allclose([found[np.abs(found - x) < 5].mean() for x in places], places, atol=1)
    assert np.abs(found[:, None] - places).min(axis=1).max() < 2  # and nowhere else


def test_wide_lines_lie_on_thin_ones() -> None:
    window, box = _window(640, 640), np.array([0, 0, 640, 640], np.float32)
    thin, wide = np.zeros((640, 640, 3), np.uint8), np.zeros((640, 640, 3), np.uint8)
    iuv = smooth(np.full((SIDE, SIDE), 5, np.uint8))
    wire_frame(thin, iuv, box, window)
    wire_frame(wide, iuv, box, window, 2)
    bright = [picture[20:620, 20:620].sum(axis=2) > 200 for picture in (thin, wide)]
    assert 1.4 < bright[1].mean() / bright[0].mean() < 3
    assert (bright[0] & bright[1]).sum() > 0.8 * bright[0].sum()


def test_a_flat_surface_has_no_lines_and_no_blots() -> None:
    iuv = np.full((3, SIDE, SIDE), 0, np.uint8)
    iuv[0], iuv[1], iuv[2] = 5, 85, 170  # exactly levels 3 and 6
    region = np.full((200, 200, 3), 100, np.uint8)
    wire_frame(region, iuv, np.array([0, 0, 200, 200], np.float32), _window(200, 200))
    assert region.min() == region.max()
    assert 60 <= region[0, 0, 0] <= 70  # dimmed by 0.35


def test_lines_are_those_of_the_exact_drawing(image: NDArray[np.uint8], people: People) -> None:
    exact = draw.contours(image, people).astype(int)
    fast = annotated(image, people, ONE, people.boxes, Look(layers=("contours",))).astype(int)
    # away from the edges of parts, where the exact one goes a few pixels further
    inner = (slice(60, 270), slice(45, 115))
    assert np.abs(exact[inner] - fast[inner]).mean() < 9
    lines = [np.abs(picture[inner] - 58).sum(axis=2) > 40 for picture in (exact, fast)]
    assert 0.8 < lines[1].mean() / lines[0].mean() < 1.25
    np.testing.assert_array_equal(fast[:, :28], image[:, :28])


@pytest.mark.parametrize("channels", [3, 4])
def test_a_texture_is_that_of_the_exact_drawing(image: NDArray[np.uint8], people: People, channels: int) -> None:
    y, x = np.mgrid[:96, :64]
    atlas = np.stack([40 + 2 * x, 30 + 2 * y, 60 + (x // 16) * 40 + (y // 16), 255 - 2 * y], 2)[:, :, :channels]
    atlas = atlas.astype(np.uint8)
    exact = draw.texture(image, people, atlas).astype(int)
    fast = annotated(image, people, ONE, people.boxes, Look(layers=("texture",), atlas=atlas)).astype(int)
    assert np.abs(exact - fast)[60:270, 40:195].mean() < 6
    np.testing.assert_array_equal(fast[:, :28], image[:, :28])


def test_black_of_an_atlas_without_alpha_shows_the_photo(image: NDArray[np.uint8], people: People) -> None:
    nothing = np.zeros((24, 16, 3), np.uint8)
    shown = annotated(image, people, ONE, people.boxes, Look(layers=("texture",), atlas=nothing))
    np.testing.assert_array_equal(shown, image)
    with pytest.raises(ValueError, match=r"6 rows of 4 squares.*\(24, 17, 3\)"):
        texels_of(np.zeros((24, 17, 3), np.uint8))


def test_cells_reach_their_own_pixels_even_when_the_box_leaves_the_picture() -> None:
    cells = np.zeros((16, 16), np.float32)
    cells[:, 10:] = 100
    box = np.array([-80, -40, 80, 40], np.float32)  # ten pixels a cell across: the step is at x = 20, a cell wide
    people = People(box[None], np.ones(1, np.float32), (60, 100))
    found = enlarge(cells, box, people.window(0))
    assert found.shape == (40, 80)
    assert found[0, [14, 19, 20, 25]].tolist() == pytest.approx([0, 45, 55, 100])


@pytest.mark.parametrize("height", [40, 300])
def test_mixing_is_that_of_real_numbers(height: int) -> None:
    random = np.random.default_rng(height)
    photo = random.integers(0, 256, (height, 50, 3)).astype(np.uint8)
    photo[:20] = 255
    colours, weights = random.integers(0, 256, (height, 50, 3)), random.integers(0, 257, (height, 50))
    colours[:20], weights[:10] = 255, random.integers(126, 130, (10, 50))
    share = weights[:, :, None] / 256
    expected = photo * (1 - share) + colours * share
    ink = Ink((colours * weights[:, :, None] + HALF).astype(np.uint16), (256 - weights).astype(np.uint16))
    lay_over(photo, ink)
    np.testing.assert_array_equal(photo, np.floor(expected + 0.5))


def test_more_than_white_stays_white() -> None:
    # rounding colours and rest apart from each other may come to more than 65535
    ink = Ink(np.full((4, 4, 3), 255 * 128 + HALF, np.uint16), np.full((4, 4), 129, np.uint16))
    photo = np.full((4, 4, 3), 255, np.uint8)
    lay_over(photo, ink)
    assert photo.min() == 255


def _window(width: int, height: int):  # type: ignore[no-untyped-def]
    box = np.array([[0, 0, width, height]], np.float32)
    return People(box, np.ones(1, np.float32), (height, width)).window(0)
