"""`parsing-rcnn annotate`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parsing_rcnn.interrupt import INTERRUPTED
from parsing_rcnn.terminal import say
from parsing_rcnn_client.cli.options import AsJson, EngineChoice, LookChoice, PeopleChoice, wrong
from parsing_rcnn_client.cli.places import check_files
from parsing_rcnn_client.cli.trained_heads import keep_trained
from parsing_rcnn_client.cli.video_options import (
    SENT_QUALITY,
    Backend,
    EncodingChoice,
    InFlight,
    PieceChoice,
    RecordChoice,
    ZoneChoice,
)
from parsing_rcnn_client.places import STANDARD
from parsing_rcnn_client.signals import ignore_signals, leave, signals_interrupt

if TYPE_CHECKING:
    from parsing_rcnn.analyzer import Analyzer
    from parsing_rcnn_client.video.annotate import Settings, Summary
    from parsing_rcnn_client.video.backends import Video
    from parsing_rcnn_client.video.ffmpeg import FFmpegWriter
    from parsing_rcnn_client.video.media import Reader, Writer
    from parsing_rcnn_client.video.pyav_writer import PyAVWriter
    from parsing_rcnn_client.video.records import RecordFile
    from parsing_rcnn_client.video.span import Span


def annotate(
    source: Annotated[str, typer.Argument(help="A video file, or numbered frames: frames/f%04d.jpg.")],
    piece: PieceChoice,
    encoded: EncodingChoice,
    recorded: RecordChoice,
    counted: ZoneChoice,
    shown: LookChoice,
    people: PeopleChoice,
    engine_choice: EngineChoice,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The annotated video: .mp4, .mov or .mkv.", metavar="FILE"),
    ] = None,
    every: Annotated[int, typer.Option(min=1, max=30, help="Analyse every k-th frame, carry people between.")] = 1,
    in_flight: InFlight = 3,
    coco: Annotated[Path | None, typer.Option(help="Also write COCO video annotations here.", metavar="FILE")] = None,
    backend: Backend = "ffmpeg",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may be away or busy.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Annotate a video file: every frame with its own result, times and sound as they were.

    Ctrl-C, SIGTERM and SIGHUP leave what is done, whole and playable. Exit code 1 when the source, the engine or the
    output failed, 2 on wrong options.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.annotate import Settings
    from parsing_rcnn_client.video.backends import Video, check
    from parsing_rcnn_client.video.smoothing import Smoothing

    try:
        check(backend)
        recorded.check()
        check_files(source, out, recorded.jsonl, coco, recorded.npz, as_json)
        settings = Settings(
            look=shown.look(),
            confidence=people.confidence,
            max_people=people.max_people,
            every=every,
            smoothing=Smoothing() if shown.smooth else None,
            in_flight=in_flight,
            tasks=recorded.tasks | ({"parsing"} if coco else set()),
            zones=counted.zones(told=out is not None or recorded.jsonl is not None or as_json),
            max_side=people.max_side,
            region=people.where(),
            tiles=people.tiles,
        )
        video = Video(source, backend, piece.span(), encoded.encoding(out, backend))
        engine = engine_choice.open(timeout, SENT_QUALITY)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    with signals_interrupt():
        try:
            look, tasks = keep_trained(engine, engine_choice, settings.look, settings.tasks)
            settings = replace(settings, look=look, tasks=tasks)
            summary, damage = _annotate(engine, video, out, recorded, coco, settings)
        except InvalidOptions as error:  # which only the size of the picture shows
            raise wrong(error.detail) from error
        except KeyboardInterrupt:
            leave(INTERRUPTED)
            raise
    if damage is not None:
        say(f"note: {source} is damaged ({damage}); what could be read is done")
    if as_json:
        typer.echo(json.dumps({**vars(summary), "fps": summary.fps, "damaged": damage}))
    else:
        say(_sentence(summary))


def _sentence(summary: Summary) -> str:
    """What `annotate` did, for people."""
    counts = [f"{name}: {passed['in']} in, {passed['out']} out" for name, passed in summary.lines.items()]
    people = f"{summary.tracks} {'person' if summary.tracks == 1 else 'people'}"
    frames = f"{summary.frames} frame{'s' * (summary.frames != 1)}"
    return ", ".join([frames, people, f"{summary.fps:.1f} fps", *counts])


def _annotate(
    engine: Analyzer,
    video: Video,
    out: Path | None,
    recorded: RecordChoice,
    coco: Path | None,
    settings: Settings,
) -> tuple[Summary, str | None]:
    """Open the source and the outputs, and annotate.

    Returns:
        (what was done, what is damaged in the source or None).
    """
    from parsing_rcnn_client.video.records import CocoVideo, JsonLines, NpzFolder

    jsonl, npz = recorded.jsonl, recorded.npz
    try:
        with ExitStack() as opened:
            reader = video.read()
            opened.callback(reader.close)
            records: list[RecordFile] = []
            writer = None if out is None else video.write(out, reader)
            if writer is not None:
                opened.callback(_say_what_is_left_out, writer)
                opened.callback(writer.abort)  # does nothing to what is finished
            if jsonl is not None:
                records.append(JsonLines(None if jsonl == STANDARD else jsonl, include=recorded.included))
                opened.callback(records[-1].abort)
            if coco is not None:
                records.append(CocoVideo(coco, Path(video.source).name, reader.info))
                opened.callback(records[-1].abort)
            if npz is not None:
                records.append(NpzFolder(npz))
                opened.callback(records[-1].abort)
            files = [path for path in (out, jsonl, coco, npz) if path is not None]
            return _with_progress(engine, reader, writer, records, settings, files, video.span), reader.damaged
    finally:
        engine.close()


def _say_what_is_left_out(writer: FFmpegWriter | PyAVWriter) -> None:
    for what in writer.left_out:
        say(f"note: the result is without {what}")


def _with_progress(
    engine: Analyzer,
    reader: Reader,
    writer: Writer | None,
    records: list[RecordFile],
    settings: Settings,
    files: list[Path],
    span: Span | None,
) -> Summary:
    from parsing_rcnn.errors import EngineUnavailable
    from parsing_rcnn_client.cli.annotate_progress import shown
    from parsing_rcnn_client.video.annotate import annotate as run
    from parsing_rcnn_client.video.media import SourceLost

    whole, frames = reader.info.frames, 0

    with ExitStack() as told, shown(whole if span is None else span.frames(whole, reader.info.fps)) as progress:

        def count(done: int) -> None:
            nonlocal frames
            frames = done
            progress(done)

        try:
            summary = run(
                engine,
                reader,
                writer,
                settings,
                records=records,
                progress=count,
            )
            ignore_signals()  # all is done: finishing it may take a while
        except (KeyboardInterrupt, EngineUnavailable, SourceLost):
            ignore_signals()
            if frames:  # what is done is left whole and playable
                if writer is not None:
                    writer.close(cut=True)
                for record in records:
                    record.close()
                told.callback(say, _stopped(frames, files))  # when the bar is gone, or it would be in the bar's line
            raise
        if writer is not None:
            writer.close(cut=span is not None and span.end is not None)
        for record in records:
            record.close()
        return summary


def _stopped(frames: int, files: list[Path]) -> str:
    stopped = f"stopped after {frames} frame{'s' * (frames > 1)}"
    names = " and ".join("standard output" if path == STANDARD else str(path) for path in files)
    return f"{stopped}; {names} hold{'s' * (len(files) == 1)} them" if files else stopped
