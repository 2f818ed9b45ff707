"""Opens the sources and outputs of `parsing-rcnn stream`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parsing_rcnn_client.names import legible

if TYPE_CHECKING:
    from parsing_rcnn_client.video.live import Live
    from parsing_rcnn_client.video.media import Reader, Sink
    from parsing_rcnn_client.video.records import Record
    from parsing_rcnn_client.video.sinks import MjpegPage


def start(
    live: Live, source: str, target: str, page: MjpegPage | None, backend: str, records: Sequence[Record]
) -> None:
    """Begin to read a source and to show it at its target, which `places.targets_of` has checked."""
    from parsing_rcnn_client.video.backends import open_reader
    from parsing_rcnn_client.video.programs import hidden_source, is_endless
    from parsing_rcnn_client.video.sinks import FileSink, LastingSink, WindowSink

    name = legible(hidden_source(source))
    place = page.sink(name) if page is not None and target.startswith("mjpeg:") else None

    def open_sink(reader: Reader) -> Sink:
        if place is not None:
            return place
        if target == "window":
            return WindowSink(name, reader.info)
        if "://" in target and live.reconnects:
            return LastingSink(lambda: FileSink(target, reader.info))
        return FileSink(target, reader.info)

    endless, sink = is_endless(source), None if target == "none" else open_sink
    open_source = lambda: open_reader(source, backend, live=endless, pace=not endless)  # noqa: E731
    live.add(name, open_source, sink, endless=endless, records=records)


def page_of(targets: list[str]) -> MjpegPage | None:
    """The web page, if a target names one.

    Raises:
        InvalidOptions: there is no screen for a window, a port is wrong, or there are two pages.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.sinks import HERE, MjpegPage, WindowSink

    if "window" in targets:
        WindowSink.require_screen()
    pages = {target.removeprefix("mjpeg:") for target in targets if target.startswith("mjpeg:")}
    for page in sorted(pages):
        port = page.rpartition(":")[2]
        if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            raise InvalidOptions(
                f"mjpeg:{page}: the port is no number from 1 to 65535 (0 takes a free one): --out mjpeg:8090"
            )
    if len(pages) > 1:
        raise InvalidOptions("one page shows all sources: --out mjpeg:8090")
    if not pages:
        return None
    host, _, port = pages.pop().rpartition(":")  # an IPv6 address is in brackets, as in addresses of pages
    return MjpegPage(int(port), host.removeprefix("[").removesuffix("]") or HERE)
