"""`parsing-rcnn annotate` and `stream`."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parsing_rcnn_client.engines import (
    AsJson,
    Embedded,
    Model,
    Precision,
    Repository,
    RuntimeName,
    Server,
    Threads,
    TritonServer,
    open_engine,
)

if TYPE_CHECKING:
    from parsing_rcnn.people import Analyzer
    from parsing_rcnn_client.video.annotate import Settings, Summary
    from parsing_rcnn_client.video.layers import Look
    from parsing_rcnn_client.video.live import Live, Sink
    from parsing_rcnn_client.video.media import Reader, Writer
    from parsing_rcnn_client.video.records import Record
    from parsing_rcnn_client.video.sinks import MjpegPage

_JPEG_QUALITY = 95

Layers = Annotated[str, typer.Option(help="parts, iuv, contours, texture, boxes, anonymise: with commas, in order.")]
Atlas = Annotated[Path | None, typer.Option(help="Texture atlas of 6 by 4 squares, for the layer texture.")]
Hide = Annotated[str, typer.Option(help="Whom the layer anonymise hides: heads, faces or people.")]
Style = Annotated[str, typer.Option(help="How it hides them: pixelate or blur.")]
Confidence = Annotated[float, typer.Option(min=0, max=1, help="The lowest score of a person.")]
MostPeople = Annotated[int, typer.Option(min=1, max=64, help="The most people of a frame, by score.")]
Smooth = Annotated[bool, typer.Option(help="Steady boxes, parts and IUV over time.")]
InFlight = Annotated[int, typer.Option(min=1, max=64, help="Frames at the engine at once.")]


def annotate(
    source: Annotated[str, typer.Argument(help="A video file.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The annotated video.")] = None,
    layers: Layers = "parts,boxes",
    atlas: Atlas = None,
    hide: Hide = "heads",
    style: Style = "pixelate",
    confidence: Confidence = 0.5,
    max_people: MostPeople = 64,
    every: Annotated[int, typer.Option(min=1, max=30, help="Analyse every k-th frame, carry people between.")] = 1,
    smooth: Smooth = True,
    in_flight: InFlight = 2,
    jsonl: Annotated[Path | None, typer.Option(help="Also write one JSON line a frame here.")] = None,
    coco: Annotated[Path | None, typer.Option(help="Also write COCO video annotations here.")] = None,
    server: Server = None,
    triton: TritonServer = None,
    embedded: Embedded = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may be away or busy.")] = 120.0,
    repository: Repository = None,
    model: Model = None,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Annotate a video file: every frame with its own result, times and sound as they were.

    Exit code 1 when the source, the engine or the output failed, 2 on wrong options.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.annotate import Settings
    from parsing_rcnn_client.video.ffmpeg import FFmpegReader
    from parsing_rcnn_client.video.smoothing import Smoothing

    try:
        if out is None and jsonl is None and coco is None:
            raise InvalidOptions("nothing to write: name --out, --jsonl or --coco")
        _refuse_overwriting(source, out, jsonl, coco)
        settings = Settings(
            look=_look(layers, atlas, hide, style),
            confidence=confidence,
            max_people=max_people,
            every=every,
            smoothing=Smoothing() if smooth else None,
            in_flight=in_flight,
            tasks=frozenset({"parsing"} if jsonl or coco else ()),
        )
        own = {"repository": repository, "model": model, "runtime": runtime, "precision": precision, "threads": threads}
        engine = open_engine(server, triton, embedded, timeout=timeout, jpeg_quality=_JPEG_QUALITY, **own)  # type: ignore[arg-type]
    except InvalidOptions as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(2) from error
    reader = FFmpegReader(source, live=False)
    try:
        summary = _annotate(engine, reader, source, out, jsonl, coco, settings)
    finally:
        reader.close()
        engine.close()
    if reader.damaged is not None:
        typer.echo(f"note: {source} is damaged ({reader.damaged}); what could be read is done", err=True)
    if as_json:
        typer.echo(json.dumps({**vars(summary), "fps": summary.fps, "damaged": reader.damaged}))
    else:
        typer.echo(f"{summary.frames} frames, {summary.tracks} people, {summary.fps:.1f} fps", err=True)


def _annotate(
    engine: Analyzer,
    reader: Reader,
    source: str,
    out: Path | None,
    jsonl: Path | None,
    coco: Path | None,
    settings: Settings,
) -> Summary:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from parsing_rcnn_client.video.annotate import annotate as run
    from parsing_rcnn_client.video.ffmpeg import FFmpegWriter
    from parsing_rcnn_client.video.records import CocoVideo, JsonLines

    records: list[Record] = [] if jsonl is None else [JsonLines(jsonl)]
    records += [] if coco is None else [CocoVideo(coco, Path(source).name, reader.info)]
    sound = source if reader.info.audio else None
    writer: Writer | None = None if out is None else FFmpegWriter(str(out), reader.info, sound_of=sound)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("frames", total=reader.info.frames)
        try:
            return run(
                engine,
                reader,
                writer,
                settings,
                records=records,
                progress=lambda done: progress.update(bar, completed=done),
            )
        finally:  # an interrupted run leaves what is done, whole and playable
            for finished in (writer, *records):
                if finished is not None:
                    finished.close()


def stream(
    sources: Annotated[
        list[str], typer.Argument(help="Cameras (0, 1, ...), rtsp:// or http:// addresses, files (played live).")
    ],
    out: Annotated[
        list[str] | None,
        typer.Option("-o", "--out", help="window, mjpeg:PORT, a file, rtsp:// or rtmp://; one for each source."),
    ] = None,
    mode: Annotated[str, typer.Option(help="align: each result on its frame; low-latency: on the newest.")] = "align",
    layers: Layers = "parts,boxes",
    atlas: Atlas = None,
    hide: Hide = "heads",
    style: Style = "pixelate",
    confidence: Confidence = 0.5,
    max_people: MostPeople = 64,
    smooth: Smooth = True,
    in_flight: InFlight = 1,
    reconnect: Annotated[bool, typer.Option(help="Open a source again when it is lost.")] = True,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after this time.")] = None,
    server: Server = None,
    triton: TritonServer = None,
    embedded: Embedded = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take for one frame.")] = 5.0,
    repository: Repository = None,
    model: Model = None,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Annotate live: the newest frame counts, late ones are dropped and counted, lost sources come back.

    Ctrl-C stops cleanly: files are finished. Exit code 1 when a source or an output failed, 2 on wrong options.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.live import MODES, Live, LiveSettings
    from parsing_rcnn_client.video.smoothing import Smoothing

    try:
        targets = _targets(sources, out or ["mjpeg:8090"])
        if mode not in MODES:
            raise InvalidOptions(f"mode {mode!r}: choose one of {', '.join(MODES)}")
        look = _look(layers, atlas, hide, style)
        page = _page(targets)
        own = {"repository": repository, "model": model, "runtime": runtime, "precision": precision, "threads": threads}
        engine = open_engine(server, triton, embedded, timeout=timeout, jpeg_quality=_JPEG_QUALITY, **own)  # type: ignore[arg-type]
    except InvalidOptions as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(2) from error
    settings = LiveSettings(look, confidence, max_people, Smoothing() if smooth else None, mode, reconnect)
    if page is not None:
        typer.echo(f"watch at {page.url}", err=True)
    live = Live(engine, settings, in_flight)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for source, target in zip(sources, targets, strict=True):
            _start(live, source, target, page)
        _wait(live, seconds)
    except KeyboardInterrupt:
        typer.echo("stopping", err=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the end of a file
        try:
            live.close()
        finally:
            if page is not None:
                page.close()
            engine.close()
    if as_json:
        typer.echo(json.dumps([vars(source.state) for source in live.sources]))


def _start(live: Live, source: str, target: str, page: MjpegPage | None) -> None:
    from parsing_rcnn_client.video.ffmpeg import FFmpegReader, hidden, is_live
    from parsing_rcnn_client.video.sinks import FileSink, WindowSink

    name = hidden(source)
    place = page.sink(name) if page is not None and target.startswith("mjpeg:") else None

    def open_sink(reader: Reader) -> Sink:
        if place is not None:
            return place
        return WindowSink(name, reader.info) if target == "window" else FileSink(target, reader.info)

    network = is_live(source) or "://" in source
    live.add(name, lambda: FFmpegReader(source, live=network, pace=not network), open_sink, endless=network)


def _wait(live: Live, seconds: float | None) -> None:
    """Show what happens until it ends."""
    from rich.console import Console
    from rich.live import Live as Display
    from rich.table import Table

    def table() -> Table:
        shown = Table("source", "fps in", "fps out", "dropped", "lag ms", "state", box=None)
        passed = max(time.monotonic() - begin, 1e-3)
        for s in (source.state for source in live.sources):
            state = s.problem or ("live" if s.connected else "connecting")
            rates = (f"{s.frames / passed:.1f}", f"{s.shown / passed:.1f}", str(s.dropped), f"{1000 * s.lag:.0f}")
            shown.add_row(s.name, *rates, state)
        return shown

    begin = time.monotonic()
    with Display(table(), console=Console(stderr=True), refresh_per_second=4, transient=True) as display:
        while live.running and (seconds is None or time.monotonic() - begin < seconds):
            time.sleep(0.1)
            display.update(table())


def _targets(sources: list[str], out: list[str]) -> list[str]:
    from parsing_rcnn.errors import InvalidOptions

    if len(out) == 1 and (len(sources) == 1 or out[0] == "window" or out[0].startswith("mjpeg:")):
        out = out * len(sources)
    if len(out) != len(sources):
        raise InvalidOptions(f"{len(sources)} sources and {len(out)} outputs: give one --out for each source")
    return out


def _page(targets: list[str]) -> MjpegPage | None:
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.sinks import MjpegPage

    ports = {target.removeprefix("mjpeg:") for target in targets if target.startswith("mjpeg:")}
    if not ports:
        return None
    if len(ports) > 1 or not (port := ports.pop()).isdecimal() or int(port) > 65535:
        raise InvalidOptions("one page shows all sources: --out mjpeg:8090")
    return MjpegPage(int(port))


def _refuse_overwriting(source: str, *outputs: Path | None) -> None:
    from parsing_rcnn.errors import InvalidOptions

    for path in outputs:
        if path is not None and path.exists() and Path(source).exists() and path.samefile(source):
            raise InvalidOptions(f"{path} is the source itself: choose another name for the result")


def _look(layers: str, atlas: Path | None, hide: str, style: str) -> Look:
    from parsing_rcnn.codecs.image import decode
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.layers import Look

    try:
        picture = None if atlas is None else decode(atlas.read_bytes())
    except OSError as error:
        raise InvalidOptions(f"--atlas {atlas}: {error.strerror}") from None
    names = tuple(name.strip() for name in layers.split(",") if name.strip())
    return Look(layers=names, atlas=picture, hide=hide, style=style)
