"""What `annotate` and `stream` write down beside the pictures, as options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from parsing_rcnn_client.video.records import Record, RecordFile
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

    def open_live(self, count: int, opened: list[RecordFile]) -> list[Sequence[Record]]:
        """The records of each of `count` sources; what is to be closed at the end is added to `opened`."""
        from parsing_rcnn_client.places import STANDARD
        from parsing_rcnn_client.video.records import JsonLines, NpzFolder

        each: list[list[Record]] = [[] for _ in range(count)]
        if self.jsonl is not None:
            lines = JsonLines(None if self.jsonl == STANDARD else self.jsonl, live=True)
            opened.append(lines)
            for number, own in enumerate(each):
                own.append(lines if count == 1 else lines.of(number))
        if self.npz is not None:
            for number, own in enumerate(each):
                arrays = NpzFolder(self.npz if count == 1 else self.npz / str(number))
                opened.append(arrays)
                own.append(arrays)
        return list(each)


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

    def zones(self, *, told: bool) -> Zones | None:
        """The same, checked; None where there are none.

        Args:
            told: whether anything that is written or shown has the counts.

        Raises:
            InvalidOptions: what is wrong with one of them, or nobody would hear of them.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.video.zones import Line, Zone, Zones

        if not self.zone and not self.line:
            return None
        if not told:
            raise InvalidOptions(
                f"--{'zone' if self.zone else 'line'}: counts are in --jsonl and in the video: name one"
            )
        areas = [Zone.parse(text) for text in self.zone or ()]
        return Zones(areas, [Line.parse(text) for text in self.line or ()])
