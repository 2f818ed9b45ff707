"""A picture, or a region of it, on the network's canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import ImageLimits, check, decode, upright_size
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import Region, Window, choose_canvas, fit, resize, shown_size, within


class Source:
    """A picture that is looked at, at one or more sizes.

    Args:
        image: encoded, or an upright uint8 [H,W,3] RGB array.
        limits: which pictures are accepted.

    Attributes:
        height, width: of the upright picture, pixels.

    Raises:
        ParsingRCNNError: as of `parsing_rcnn.codecs.image.check`.
    """

    def __init__(self, image: bytes | NDArray[np.uint8], limits: ImageLimits) -> None:
        self._image, self._limits = image, limits
        self._last: tuple[int | None, NDArray[np.uint8]] | None = None
        if isinstance(image, np.ndarray):
            self.height, self.width = image.shape[:2]
        else:
            check(image, limits)
            self.height, self.width = upright_size(image)

    def decoded(self, side: int | None) -> NDArray[np.uint8]:
        """The picture, scaled down to this longest side where it is encoded. Asked for the same side again, it is not
        decoded again."""
        if isinstance(self._image, np.ndarray):
            return self._image
        if self._last is None or self._last[0] != side:
            self._last = None  # one at a time in memory
            self._last = (side, decode(self._image, self._limits, max_side=side, waits=True))
        return self._last[1]

    def check(self, region: Region) -> None:
        """Check that a region is inside the picture.

        Raises:
            InvalidOptions: it is not.
        """
        if region[2] > self.width or region[3] > self.height:
            said = ",".join(map(str, region))
            size = f"the picture of {self.width}x{self.height} pixels"
            raise InvalidOptions(f"region: {said} reaches beyond {size}: give x1,y1,x2,y2 inside of it")


def useful_side(source: Source, options: Options, canvases: Sequence[tuple[int, int]]) -> int | None:
    """The longest side of the picture of which the canvas can show all, or None for its own: decoding a JPEG beyond it
    is wasted. Of a region, which is scaled once more after it was cut out, twice as much is decoded."""
    whole = max(source.height, source.width)
    if options.region is None:
        shown = max(shown_size(source.height, source.width, choose_canvas(source.height, source.width, canvases)))
    else:
        x1, y1, x2, y2 = options.region
        size = (y2 - y1, x2 - x1)
        shown = math.ceil(2 * whole * max(shown_size(*size, choose_canvas(*size, canvases))) / max(size))
    wanted = shown if options.max_side is None else min(shown, options.max_side)
    return wanted if wanted < whole else None


def placed(
    image: NDArray[np.uint8], source: Source, options: Options, canvases: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.uint8], Window]:
    """The picture, or `options.region` of it, on the canvas that fits it best.

    Args:
        image: uint8 [h,w,3], the picture of `source`, decoded at any size.
        source: which says how large it is.
        options: of the analysis; their region is inside the picture.
        canvases: (height, width) of the network inputs.

    Returns:
        (uint8 [H,W,3], where the upright original lies on it).

    """
    smaller = within(image.shape[0], image.shape[1], options.max_side)
    if smaller is not None:
        image = resize(image, *smaller)
    scale_y, scale_x = image.shape[0] / source.height, image.shape[1] / source.width
    top, left = 0, 0
    if options.region is not None:
        x1, y1, x2, y2 = options.region
        top, left = math.floor(y1 * scale_y), math.floor(x1 * scale_x)
        image = image[top : math.ceil(y2 * scale_y), left : math.ceil(x2 * scale_x)]
    canvas, inner = fit(image, canvases)
    exact = Window(
        inner.scale_y * scale_y,
        inner.scale_x * scale_x,
        inner.pad_top - top * inner.scale_y,
        inner.pad_left - left * inner.scale_x,
        source.height,
        source.width,
    )
    return canvas, Window.from_array(exact.to_array())  # as precise as the tensor that a server's steps hand on
