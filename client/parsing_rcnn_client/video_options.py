"""What `annotate` and `stream` write down beside the pictures, as options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from parsing_rcnn_client.video.zones import Zones


@dataclass(frozen=True)
class RecordChoice:
    """Data of every frame."""

    jsonl: Annotated[
        Path | None, typer.Option(help="Also write one JSON line a frame here; - is standard output.", metavar="FILE")
    ] = None
    npz: Annotated[
        Path | None,
        typer.Option(help="Also write boxes, parts and IUV of each frame here: 000000.npz, ...", metavar="FOLDER"),
    ] = None

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.jsonl is not None or self.npz is not None

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that they need."""
        parts = {"parsing"} if self.jsonl or self.npz else set()
        return frozenset(parts | ({"densepose"} if self.npz else set()))


@dataclass(frozen=True)
class ZoneChoice:
    """Where people are counted."""

    zone: Annotated[
        list[str] | None,
        typer.Option(
            help="Count who is in this area: corners in pixels, or percent (50%). Again for more.",
            metavar="NAME=x,y,x,y,x,y...",
        ),
    ] = None
    line: Annotated[
        list[str] | None,
        typer.Option(
            help="Count who passes this line. In is to its right, seen along it: below one from left to right.",
            metavar="NAME=x,y,x,y",
        ),
    ] = None

    def zones(self) -> Zones | None:
        """The same, checked; None where there are none.

        Raises:
            InvalidOptions: what is wrong with one of them.
        """
        from parsing_rcnn_client.video.zones import Line, Zone, Zones

        if not self.zone and not self.line:
            return None
        areas = [Zone.parse(text) for text in self.zone or ()]
        return Zones(areas, [Line.parse(text) for text in self.line or ()])
