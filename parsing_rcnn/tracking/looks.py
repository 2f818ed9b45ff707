"""The colours of a silhouette in three bands, by which somebody is recognised after being hidden."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People

_BANDS = (0.0, 0.35, 0.6, 1.0)  # of the silhouette's height: head and shoulders, trunk, legs
_LOW, _HIGH = 64, 192  # of a and b: most clothes lie between, around the grey middle
_BINS, _RANGES = [4, 8, 8], [0, 256, _LOW, _HIGH, _LOW, _HIGH]  # of L, a, b
_FEWEST = 50  # cells of a silhouette that say anything


def look_of(image: NDArray[np.uint8], people: People, index: int) -> NDArray[np.float32] | None:
    """The colours of one person, counted at the cells of the person's map, so that a large picture takes no longer.

    Args:
        image: uint8 [H,W,3] RGB.
        people: in it.
        index: of the person.

    Returns:
        float32 [3,256], square roots of the shares of colours in each band; None where the silhouette is too small.
    """
    maps = people.parts if people.parts is not None else None if people.iuv is None else people.iuv[:, 0]
    if maps is None:
        return None
    window, inside = people.window(index), maps[index] > 0
    rows = np.flatnonzero(inside.any(axis=1))
    if inside.sum() < _FEWEST or 0 in window.shape:
        return None
    crop = cv2.resize(image[window.slices], inside.shape[::-1], interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    # stronger colours count in the outermost bins: left out, a coat of royal blue would have no colour at all
    colours[..., 1:] = np.clip(colours[..., 1:], _LOW, _HIGH - 1)
    edges = np.rint(rows[0] + np.array(_BANDS) * (rows[-1] + 1 - rows[0])).astype(int)
    look = np.zeros((len(_BANDS) - 1, int(np.prod(_BINS))), np.float32)
    for band, (top, bottom) in enumerate(pairwise(edges)):
        mask = np.ascontiguousarray(inside[top:bottom]).view(np.uint8)
        if mask.any():
            counts = cv2.calcHist([colours[top:bottom]], [0, 1, 2], mask, _BINS, _RANGES).ravel()
            look[band] = np.sqrt(counts / max(counts.sum(), 1))
    return look


def distance(look: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """0 for the same colours to 1 for none in common: 1 minus Bhattacharyya's coefficient, mean of the bands."""
    return 1 - float((look * other).sum(axis=1).mean())


def tones_apart(look: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """How far the mean colours lie apart in a and b of Lab, mean of the bands. Light and dark do not count.

    Bands that one of them lacks are left out; 0 where there is no other.
    """
    (tones, seen), (others, also) = _tones(look), _tones(other)
    both = seen & also
    return float(np.linalg.norm(tones - others, axis=1)[both].mean()) if both.any() else 0.0


def _tones(look: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean a and b of each band, [bands,2], from `_LOW` on, and whether the band has any colours, [bands]."""
    shares = (look**2).reshape(len(look), *_BINS).sum(axis=1)
    steps = np.arange(_BINS[1]) * ((_HIGH - _LOW) / _BINS[1])
    total = shares.sum(axis=(1, 2))
    sums = np.stack([shares.sum(axis=2) @ steps, shares.sum(axis=1) @ steps], axis=1)
    return np.asarray(sums / np.maximum(total, 1e-6)[:, None], np.float32), total > 0
