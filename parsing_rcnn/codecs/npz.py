"""People as npz, their arrays by the names of `People`. No pickles, so no code, inside."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, Taxonomy

_MAPS = ("parts", "part_scores", "iuv", "iuv_scores")


def to_arrays(people: People) -> dict[str, NDArray[np.generic]]:
    """The arrays of the archive; maps that were not computed are left out.

    Returns:
        `boxes` float32 [n,4], `scores` float32 [n], `image_size` int32 [2] (height, width), and of `parts` uint8
        [n,S,S], `part_scores` float32 [n,classes], `iuv` uint8 [n,3,S,S] and `iuv_scores` float32 [n,25] what there is.
    """
    arrays: dict[str, NDArray[np.generic]] = {"boxes": people.boxes, "scores": people.scores}
    arrays |= {name: value for name in _MAPS if (value := getattr(people, name)) is not None}
    arrays["image_size"] = np.array(people.image_size, dtype=np.int32)
    return arrays


def encode(people: People) -> bytes:
    """The bytes of a compressed npz archive."""
    buffer = io.BytesIO()
    # A zip of its own: numpy compresses at level 6, which is five times slower for label maps and hardly smaller.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in to_arrays(people).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def decode(source: bytes | Path, taxonomy: Taxonomy = CIHP) -> People:
    """Read an archive back.

    Args:
        source: its bytes, or its path.
        taxonomy: of `parts`; the archive does not say.

    Raises:
        ValueError: it is no such archive.
        TypeError: an array has a wrong dtype.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with zipfile.ZipFile(file):  # numpy would take anything else for a pickle, and say how to open it unsafely
            pass
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("boxes", "scores", "image_size")}
            maps = {name: archive[name] for name in _MAPS if name in archive}
    except (KeyError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise ValueError(f"not an npz of people ({error}): it holds boxes, scores, image_size and maps") from None
    size = arrays["image_size"]
    if size.shape != (2,):
        raise ValueError(f"image_size: expected shape (2,), got {size.shape}")
    return People(arrays["boxes"], arrays["scores"], (int(size[0]), int(size[1])), taxonomy=taxonomy, **maps)
