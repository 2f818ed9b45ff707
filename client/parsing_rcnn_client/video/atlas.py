"""The picture of a texture atlas, with what is transparent in it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.codecs.image import check, decode
from parsing_rcnn.geometry import turn_upright


def read_atlas(data: bytes) -> NDArray[np.uint8]:
    """Decode an atlas, for `Look.atlas`.

    Args:
        data: an encoded JPEG, PNG or WebP.

    Returns:
        uint8 [H,W,4] RGBA where something in it is transparent, else [H,W,3] RGB, in which black is.

    Raises:
        ParsingRCNNError: as of `parsing_rcnn.codecs.image.decode`.
    """
    header, opaque = check(data), decode(data)  # which says what is wrong, and puts what is transparent on white
    if header.format == "jpeg":
        return opaque
    with Image.open(io.BytesIO(data), formats=(header.format.upper(),)) as picture:
        if not picture.has_transparency_data or picture.mode.startswith("I"):
            return opaque
        atlas = np.asarray(picture.convert("RGBA"), np.uint8)
    return opaque if atlas[:, :, 3].min() == 255 else turn_upright(atlas, header.orientation)
