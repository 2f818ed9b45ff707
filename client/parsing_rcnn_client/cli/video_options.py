"""Options of `annotate` and `stream`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from parsing_rcnn_client.video.encoding import Encoding
    from parsing_rcnn_client.video.records import Record, RecordFile
    from parsing_rcnn_client.video.span import Span
    from parsing_rcnn_client.video.zones import Zones

SENT_QUALITY = 95
"""Of the JPEGs that frames become on their way to a server."""

Backend = Annotated[str, typer.Option(help="What reads and writes video: ffmpeg (a program) or pyav (a library).")]
InFlight = Annotated[int, typer.Option(min=1, max=64, help="Frames at the engine at once.")]


@dataclass(frozen=True)
class RecordChoice:
    """Records: data about every frame."""

    jsonl: Annotated[
        Path | None, typer.Option(help="Also write one JSON line a frame here; - is standard output.", metavar="FILE")
    ] = None
    npz: Annotated[
        Path | None,
        typer.Option(help="Also write boxes, parts and IUV of each frame here: 000000.npz, ...", metavar="FOLDER"),
    ] = None

    include: Annotated[
        str | None,
        typer.Option(help="Also put this of each person into --jsonl: iuv, the charts of DensePose.", metavar="NAME"),
    ] = None

    def check(self) -> None:
        """Check --include.

        Raises:
            InvalidOptions: an unknown name, or there is no --jsonl.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.video.records import INCLUDE

        if self.include is not None and self.include not in INCLUDE:
            raise InvalidOptions(f"--include {self.include!r}: choose {' or '.join(INCLUDE)}")
        if self.include is not None and self.jsonl is None:
            raise InvalidOptions(f"--include {self.include} is about the lines of --jsonl: name a file, or -")

    @property
    def included(self) -> frozenset[str]:
        """What each line has besides its usual fields."""
        return frozenset() if self.include is None else frozenset({self.include})

    @property
    def any(self) -> bool:
        """Whether any record is asked for."""
        return self.jsonl is not None or self.npz is not None

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that the records need."""
        parts = {"parsing"} if self.jsonl or self.npz else set()
        return frozenset(parts | ({"densepose"} if self.npz or self.include else set()))

    def open_live(self, count: int, opened: list[RecordFile]) -> list[Sequence[Record]]:
        """Open the records of `count` live sources.

        Args:
            count: of sources.
            opened: gets what is to be closed at the end.

        Returns:
            The records of each source.

        Raises:
            InvalidOptions: another run writes one of them; then nothing new is left of the others.
        """
        from parsing_rcnn.errors import InvalidOptions

        try:
            return self._each(count, opened)
        except InvalidOptions:
            for record in opened:
                record.abort()
            raise

    def _each(self, count: int, opened: list[RecordFile]) -> list[Sequence[Record]]:
        from parsing_rcnn_client.places import STANDARD
        from parsing_rcnn_client.video.records import JsonLines, NpzFolder

        each: list[list[Record]] = [[] for _ in range(count)]
        if self.npz is not None:  # first, so that a clash is noticed before the lines of an earlier run are replaced
            for number, own in enumerate(each):
                arrays = NpzFolder(self.npz if count == 1 else self.npz / str(number))
                opened.append(arrays)
                own.append(arrays)
        if self.jsonl is not None:
            lines = JsonLines(None if self.jsonl == STANDARD else self.jsonl, live=True, include=self.included)
            opened.append(lines)
            for number, own in enumerate(each):
                own.append(lines if count == 1 else lines.of(number))
        return list(each)


@dataclass(frozen=True)
class ZoneChoice:
    """Zones and lines in which people are counted."""

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
        """The zones and lines; None where there are none.

        Args:
            told: whether anything that is written or shown has the counts.

        Raises:
            InvalidOptions: one of them is wrong, or nothing would have the counts.
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


@dataclass(frozen=True)
class PieceChoice:
    """Which part of a video to annotate."""

    start: Annotated[
        str | None,
        typer.Option(
            help="Begin at this time of the source: seconds, or HH:MM:SS. The result begins at 0.", metavar="TIME"
        ),
    ] = None
    end: Annotated[str | None, typer.Option(help="Stop before this time of the source.", metavar="TIME")] = None

    def span(self) -> Span | None:
        """The part of the video; None for all of it.

        Raises:
            InvalidOptions: a time cannot be read, or the end is not after the start.
        """
        from parsing_rcnn_client.video.span import Span

        return Span.parse(self.start, self.end)


@dataclass(frozen=True)
class EncodingChoice:
    """How a video is encoded."""

    codec: Annotated[
        str | None, typer.Option(help="h264 (the default) or h265: half the bytes, slower (.mp4, .mov, .mkv).")
    ] = None
    crf: Annotated[
        int | None,
        typer.Option(help="0 (best) to 51 (smallest); default: 20, for h265 24. 6 more halve the bytes."),
    ] = None

    def encoding(self, out: Path | None, backend: str) -> Encoding:
        """The options as an `Encoding`.

        Raises:
            InvalidOptions: a wrong name or number, a codec that cannot be written here, or there is no --out.
            VideoToolMissing: the backend is not installed.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.video.backends import fitted
        from parsing_rcnn_client.video.encoding import Encoding

        encoding = Encoding(self.codec or Encoding.codec, self.crf)
        if out is None:
            for option, value in (("--codec", self.codec), ("--crf", self.crf)):
                if value is not None:
                    raise InvalidOptions(f"{option} {value} is about the video of --out: name one")
            return encoding
        return fitted(encoding, out, backend)
