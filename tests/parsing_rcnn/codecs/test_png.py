"""Label, IUV and INDS PNGs: exact values and channel order, read by Pillow and by OpenCV."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.codecs import png
from parsing_rcnn.taxonomy import CIHP
from tests.conftest import values

sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))
labels = sizes.flatmap(lambda s: arrays(np.uint8, s))
colours = sizes.flatmap(lambda s: arrays(np.uint8, (*s, 3)))


@given(labels)
def test_labels_round_trip(image: NDArray[np.uint8]) -> None:
    data = png.encode_labels(image)
    assert np.array_equal(values(data), image)
    assert Image.open(io.BytesIO(data)).mode == "L"


@given(colours)
def test_iuv_round_trip(image: NDArray[np.uint8]) -> None:
    assert np.array_equal(values(png.encode_iuv(image)), image)


def test_instances_of_16_bits_round_trip() -> None:
    instances = np.arange(300, dtype=np.uint16).reshape(10, 30)
    decoded = values(png.encode_inds(instances))
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, instances)


def test_iuv_is_red_green_blue_and_opencv_reads_it_backwards() -> None:
    data = png.encode_iuv(np.full((2, 2, 3), (24, 100, 200), np.uint8))
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (24, 100, 200)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[0, 0].tolist() == [200, 100, 24]


def test_iuv_in_blue_is_what_scripts_for_the_first_release_read() -> None:
    image = np.random.default_rng(0).integers(0, 25, (3, 5, 3), dtype=np.uint8)
    data = png.encode_iuv(image, bgr=True)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), image)


def test_base64_comes_back_as_opencv_reads_it() -> None:
    image = np.random.default_rng(0).integers(0, 25, (3, 5, 3), dtype=np.uint8)
    assert np.array_equal(png.from_base64(png.to_base64(png.encode_iuv(image))), image[..., ::-1])
    assert np.array_equal(png.from_base64(png.to_base64(png.encode_labels(image[..., 0]))), image[..., 0])


def test_a_palette_png_is_labels_and_colours_at_once() -> None:
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    data = png.encode_palette(image)
    assert np.array_equal(values(data), image)
    seen = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(seen, CIHP.palette[image])


def test_a_picture_keeps_its_colours() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png.encode_rgb(image)))), image)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 4), np.uint8), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64)]
)
def test_what_is_no_label_map_is_not_written(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="cannot write"):
        png.encode_labels(image)
