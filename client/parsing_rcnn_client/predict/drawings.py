"""The pictures that `predict` draws besides the maps: overlay, hidden photo, cutout, crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs import jpeg, png
from parsing_rcnn.drawing import hiding
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client.layer_checks import require_known, require_trained

LAYERS = ("parts", "charts", "iuv", "u", "v", "contours", "boxes", "anonymise")
_OF_CHARTS = ("charts", "iuv", "u", "v", "contours")

FORMATS = ("png", "jpg")
"""Types of the picture with the layers."""

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Drawings:
    """Which pictures are written, and how.

    Attributes:
        layers: of `LAYERS`, drawn over the photo in the order given. "anonymise" always comes first: it hides people in
            every picture that is written, and also writes the photo in which they are hidden.
        overlay: type of the picture with the layers, one of `FORMATS`; None leaves it out.
        hide: what "anonymise" hides of people, one of `parsing_rcnn.drawing.hiding.HIDE`.
        style: how, one of `parsing_rcnn.drawing.hiding.STYLES`.
        cutout: write everybody on a transparent background.
        crops: write a picture of each person, cut to the box.

    Raises:
        InvalidOptions: an unknown name.
    """

    layers: Sequence[str] = ("parts", "boxes")
    hide: str = "heads"
    style: str = "pixelate"
    cutout: bool = False
    crops: bool = False
    overlay: str | None = "png"

    def __post_init__(self) -> None:
        require_known(self.layers, LAYERS)
        hiding.check(self.hide, self.style)
        if self.overlay is not None and self.overlay not in FORMATS:
            raise InvalidOptions(f"a picture of the type {self.overlay!r} is not drawn: choose {' or '.join(FORMATS)}")

    @property
    def any(self) -> bool:
        """Whether any picture is drawn, for which the photo is needed."""
        return self.overlay is not None or self.hides or self.cutout or self.crops

    @property
    def hides(self) -> bool:
        """Whether people are to be unrecognisable."""
        return "anonymise" in self.layers

    def require(self, tasks: frozenset[str]) -> None:
        """Check the drawings against the tasks that are computed.

        Raises:
            InvalidOptions: one needs a task that is not asked for.
        """
        for layer in self.layers:
            if layer in _OF_CHARTS and "densepose" not in tasks:
                raise InvalidOptions(f"the layer {layer} needs the task densepose: add it to --tasks")
            if layer == "parts" and not tasks and tuple(self.layers) != Drawings.layers:
                raise InvalidOptions("the layer parts needs the task parsing or densepose: add one to --tasks")
        if self.cutout and not tasks:
            raise InvalidOptions("--cutout needs the task parsing or densepose: add one to --tasks")

    def require_trained(self, untrained: frozenset[str]) -> None:
        """Check the layers against the model.

        Raises:
            InvalidOptions: as of `layer_checks.require_trained`.
        """
        require_trained(self.layers, _OF_CHARTS, charts_trained="densepose" not in untrained)

    def asked(self, options: Options) -> Options:
        """What to ask an engine for: doubtful people as well where people are to be hidden.

        Raises:
            InvalidOptions: as of `hiding.lower_threshold`.
        """
        return hiding.lower_threshold(options) if self.hides else options

    def told(self) -> dict[str, Any]:
        """The fields of the JSON that tell how the files were drawn; defaults are left out."""
        shown = self.layers if self.overlay is not None else ("anonymise",) if self.hides else Drawings.layers
        told: dict[str, Any] = {} if tuple(shown) == Drawings.layers else {"layers": list(shown)}
        return told | ({"hide": self.hide, "style": self.style} if self.hides else {})

    def suffixes(self, count: int) -> list[str]:
        """Suffixes of the files drawn for a picture with `count` people."""
        names = [] if self.overlay is None else [f"_overlay.{self.overlay}"]
        names += [*["_hidden.jpg"] * self.hides, *["_cutout.png"] * self.cutout]
        return names + [crop_suffix(index) for index in range(count * self.crops)]

    def draw(self, image: NDArray[np.uint8], people: People, everybody: People) -> dict[str, bytes]:
        """Draw the pictures: suffix -> encoded file. None carries the photo's metadata.

        Args:
            image: uint8 [H,W,3] RGB, upright.
            people: found in it.
            everybody: with the doubtful people, whom "anonymise" hides as well.
        """
        files = {}
        if self.hides:
            image = draw.anonymise(image, everybody, hide=self.hide, style=self.style)
            files["_hidden.jpg"] = jpeg.encode_rgb(image, _JPEG_QUALITY)
        if self.overlay is not None:
            shown = self._over(image, people)
            whole = png.encode_rgb(shown) if self.overlay == "png" else jpeg.encode_rgb(shown)
            files[f"_overlay.{self.overlay}"] = whole
        if self.cutout:
            files["_cutout.png"] = png.encode_rgba(draw.cutout(image, people))
        if self.crops:
            for index in range(len(people)):
                files[crop_suffix(index)] = jpeg.encode_rgb(people.cut(image, index), _JPEG_QUALITY)
        return files

    def _over(self, image: NDArray[np.uint8], people: People) -> NDArray[np.uint8]:
        bare = replace(people, parts=None, part_probs=None, iuv=None)
        for layer in self.layers:
            if layer == "parts" and not (people.parts is None and people.iuv is None):
                image = draw.overlay(image, people, boxes=False, scores=False)
            elif layer == "charts":
                image = draw.charts(image, people)
            elif layer == "iuv":
                image = draw.iuv(people, image)
            elif layer == "u":
                image = draw.u(image, people)
            elif layer == "v":
                image = draw.v(image, people)
            elif layer == "contours":
                image = draw.contours(image, people)
            elif layer == "boxes":
                image = draw.overlay(image, bare)
        return image


def crop_suffix(index: int) -> str:
    """Suffix of the picture of one person, with their number in _INDS.png."""
    return f"_person{index + 1}.jpg"
