"""COCO run lengths: column-major runs of zeros and ones, in the compressed string that pycocotools writes.

A mask of one person's box is placed in the full frame by arithmetic on its runs; the frame is never painted.
"""

from __future__ import annotations

from typing import Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

_COUNT_DIGITS = 7
"""Digits of 5 bits in the longest count: 35 bits, more than any picture has pixels."""


class RLE(TypedDict):
    """A mask as COCO writes it.

    Attributes:
        size: [height, width].
        counts: the compressed string.
    """

    size: list[int]
    counts: str


def encode(mask: NDArray[Any]) -> RLE:
    """Run lengths of a mask.

    Args:
        mask: [H,W]; everything that is not zero counts as one.

    Example:
        >>> encode(np.eye(2))
        {'size': [2, 2], 'counts': '0120'}
    """
    starts, ends = _runs(mask)
    return _pack(starts, ends, mask.shape[0], mask.shape[1])


def encode_classes(labels: NDArray[np.uint8]) -> dict[int, RLE]:
    """Run lengths of every class but 0, in one pass: the same as `encode(labels == k)` for each class k.

    Args:
        labels: uint8 [H,W].

    Example:
        >>> encode_classes(np.array([[1, 2], [1, 0]], np.uint8))
        {1: {'size': [2, 2], 'counts': '022'}, 2: {'size': [2, 2], 'counts': '211'}}
    """
    height, width = labels.shape
    flat = cv2.transpose(labels).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int64) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, flat.size]
    own = flat[starts]
    return {k: _pack(starts[own == k], ends[own == k], height, width) for k in np.unique(own).tolist() if k}


def encode_at(mask: NDArray[Any], offset: tuple[int, int], size: tuple[int, int]) -> RLE:
    """Run lengths of a crop's mask, placed in the full frame.

    Args:
        mask: [h,w] of the crop.
        offset: (x0, y0) of the crop's top left pixel in the frame.
        size: (height, width) of the frame, which must hold the whole crop.

    Raises:
        ValueError: the crop leaves the frame.
    """
    starts, ends = _runs(mask)
    return _place(starts, ends, mask.shape, offset, size)


def shift(rle: RLE, offset: tuple[int, int], size: tuple[int, int]) -> RLE:
    """Place the run lengths of a crop in the full frame.

    Args:
        rle: of the crop.
        offset: (x0, y0) of the crop's top left pixel in the frame.
        size: (height, width) of the frame, which must hold the whole crop.

    Raises:
        ValueError: the crop leaves the frame, or the string is damaged.
    """
    height, width = rle["size"]
    edges = np.cumsum(_counts(rle))
    starts, ends = edges[:-1:2], edges[1::2]
    starts = starts[: len(ends)]
    return _place(starts[ends > starts], ends[ends > starts], (height, width), offset, size)


def decode(rle: RLE) -> NDArray[np.uint8]:
    """The mask that run lengths describe.

    Returns:
        uint8 [H,W] of 0 and 1.

    Raises:
        ValueError: the string is damaged or does not fill the size.
    """
    counts = _counts(rle)
    values = np.arange(len(counts), dtype=np.uint8) & 1
    height, width = rle["size"]
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def area(rle: RLE) -> int:
    """How many pixels of the mask are one.

    Raises:
        ValueError: the string is damaged or does not fill the size.
    """
    return int(_counts(rle)[1::2].sum())


def _runs(mask: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(starts, ends) of the runs of ones, in column-major order of the mask."""
    if mask.ndim != 2:
        raise ValueError(f"a mask is [H,W], got shape {mask.shape}")
    flat = np.zeros(mask.size + 2, dtype=np.int8)
    # OpenCV transposes in blocks, five times faster than numpy's column-major copy.
    flat[1:-1] = cv2.transpose(np.not_equal(mask, 0).view(np.uint8)).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int64)
    return edges[::2], edges[1::2]


def _place(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    crop: tuple[int, ...],
    offset: tuple[int, int],
    size: tuple[int, int],
) -> RLE:
    (left, top), (height, width) = offset, size
    if left < 0 or top < 0 or top + crop[0] > height or left + crop[1] > width:
        raise ValueError(f"a crop of {crop[0]}x{crop[1]} at row {top}, column {left} leaves the {height}x{width} frame")
    if len(starts) == 0:
        return _pack(starts, ends, height, width)
    starts, ends = _split_columns(starts, ends, crop[0])
    column = starts // crop[0]
    moved = (column + left) * height + top - column * crop[0]
    starts, ends = starts + moved, ends + moved
    # A crop as tall as the frame has runs that continue in the next column.
    gap = np.flatnonzero(starts[1:] != ends[:-1])
    return _pack(starts[np.r_[0, gap + 1]], ends[np.r_[gap, len(ends) - 1]], height, width)


def _split_columns(
    starts: NDArray[np.int64], ends: NDArray[np.int64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs where a column ends."""
    pieces = (ends - 1) // height - starts // height + 1
    if (pieces == 1).all():
        return starts, ends
    run = np.repeat(np.arange(len(starts)), pieces)
    nth = np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    column = starts[run] // height + nth
    return np.maximum(starts[run], column * height), np.minimum(ends[run], (column + 1) * height)


def _pack(starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int) -> RLE:
    edges = np.empty(2 * len(starts) + 2, dtype=np.int64)
    edges[0], edges[1:-1:2], edges[2:-1:2], edges[-1] = 0, starts, ends, height * width
    counts = np.diff(edges)
    if len(counts) > 1 and counts[-1] == 0:  # the mask ends with a one
        counts = counts[:-1]
    return {"size": [int(height), int(width)], "counts": _to_string(counts)}


def _to_string(counts: NDArray[np.int64]) -> str:
    """The compressed string: 5 bits a character; counts from the fourth on as differences to the one two before."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    rest = values[:, None] >> (5 * np.arange(_COUNT_DIGITS + 1))  # arithmetic shift: keeps the sign
    digits = (rest[:, :-1] & 31).astype(np.uint8)
    # A number ends at the digit after which all bits equal that digit's sign bit.
    ended = np.where(digits & 16, rest[:, 1:] == -1, rest[:, 1:] == 0)
    last = ended.argmax(axis=1)[:, None]
    place = np.arange(_COUNT_DIGITS)
    characters = digits + 48 + 32 * (place < last).astype(np.uint8)
    return bytes(characters[place <= last]).decode("ascii")


def _counts(rle: RLE) -> NDArray[np.int64]:
    """The counts of the string, checked against the size."""
    text: str | bytes = rle["counts"]
    raw = np.frombuffer(text.encode("ascii", "replace") if isinstance(text, str) else text, dtype=np.uint8)
    height, width = rle["size"]
    codes = raw.astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("COCO run lengths: the string is damaged")
    stops = np.flatnonzero((codes & 32) == 0)
    begins = np.r_[0, stops[:-1] + 1]
    if (stops - begins).max() >= _COUNT_DIGITS:
        raise ValueError("COCO run lengths: the string is damaged (a count of more than 35 bits)")
    place = np.arange(len(codes)) - np.repeat(begins, stops - begins + 1)
    values = np.add.reduceat((codes & 31) << (5 * place), begins)
    values = np.where(codes[stops] & 16, values - (np.int64(1) << 5 * (stops - begins + 1)), values)
    counts = values.copy()
    counts[1::2] = np.cumsum(values[1::2])
    counts[2::2] = np.cumsum(values[2::2])
    if (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(f"COCO run lengths: the runs do not fill {height}x{width} pixels")
    return counts
