"""JPEG out: the picture for the eye, thin coloured lines included."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from parsing_rcnn.codecs import jpeg
from parsing_rcnn.errors import ImageTooLarge


def test_a_thin_line_keeps_its_colour() -> None:
    image = np.full((40, 60, 3), (40, 90, 40), np.uint8)
    cv2.line(image, (5, 11), (54, 11), (255, 97, 97), 1)
    seen = np.asarray(Image.open(io.BytesIO(jpeg.encode_rgb(image)))).astype(int)
    assert seen.shape == image.shape
    assert np.abs(seen[11, 8:52] - image[11, 8:52]).max() < 40
    assert np.abs(seen[20:] - image[20:]).max() < 10


def test_any_layout_of_the_array_is_the_same_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    assert jpeg.encode_rgb(np.asfortranarray(image)) == jpeg.encode_rgb(image)
    assert jpeg.encode_rgb(image[:, ::-1][:, ::-1]) == jpeg.encode_rgb(image)


def test_what_is_no_picture_or_too_long_is_refused() -> None:
    assert jpeg.encode_rgb(np.zeros((1, 65500, 3), np.uint8)).startswith(b"\xff\xd8")
    for side in (65501, 65536):
        with pytest.raises(ImageTooLarge, match="at most 65500"):
            jpeg.encode_rgb(np.zeros((1, side, 3), np.uint8))
    for shape in ((4, 4), (4, 4, 4), (0, 4, 3)):
        with pytest.raises(ValueError, match="as JPEG"):
            jpeg.encode_rgb(np.zeros(shape, np.uint8))


def test_colours_at_half_the_resolution_are_fewer_bytes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(jpeg.encode_rgb(image, 85, "420")) < 0.8 * len(jpeg.encode_rgb(image, 85))
