"""`parsing-rcnn annotate` and `stream`."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parsing_rcnn.terminal import say
from parsing_rcnn_client.cli.options import AsJson, EngineChoice, LookChoice, PeopleChoice, wrong
from parsing_rcnn_client.cli.places import STANDARD, check_files, check_records, targets_of
from parsing_rcnn_client.cli.signals import INTERRUPTED, ignore_signals, leave, signals_interrupt
from parsing_rcnn_client.cli.stream_sources import page_of, start
from parsing_rcnn_client.cli.stream_status import summary, wait
from parsing_rcnn_client.cli.video_options import EncodingChoice, PieceChoice, RecordChoice, ZoneChoice

if TYPE_CHECKING:
    from parsing_rcnn.people import Analyzer
    from parsing_rcnn_client.video.annotate import Settings, Summary
    from parsing_rcnn_client.video.backends import Video
    from parsing_rcnn_client.video.layers import Look
    from parsing_rcnn_client.video.live import Live
    from parsing_rcnn_client.video.media import Reader, Writer
    from parsing_rcnn_client.video.records import RecordFile
    from parsing_rcnn_client.video.sinks import MjpegPage
    from parsing_rcnn_client.video.span import Span

_JPEG_QUALITY = 95
_AT_ONCE, _SOON = 0.5, 5.0  # seconds for frames that are under way, after an interrupt and at the end of --seconds

Backend = Annotated[str, typer.Option(help="What reads and writes video: ffmpeg (a program) or pyav (a library).")]
InFlight = Annotated[int, typer.Option(min=1, max=64, help="Frames at the engine at once.")]


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
        )
        video = Video(source, backend, piece.span(), encoded.encoding(out, backend))
        engine = engine_choice.open(timeout, _JPEG_QUALITY)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    with signals_interrupt():
        try:
            look, tasks = _of_model(engine, engine_choice, settings.look, settings.tasks)
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
        counts = [f"{name}: {passed['in']} in, {passed['out']} out" for name, passed in summary.lines.items()]
        whom = f"{summary.tracks} {'person' if summary.tracks == 1 else 'people'}"
        said = [f"{summary.frames} frames", whom, f"{summary.fps:.1f} fps", *counts]
        say(", ".join(said))


def _of_model(engine: Analyzer, choice: EngineChoice, look: Look, tasks: frozenset[str]) -> tuple[Look, frozenset[str]]:
    """What to draw, and to compute for the records, with this model: only of trained heads. The rest is said.

    Raises:
        InvalidOptions: a layer shows only what an untrained head says.
        ParsingRCNNError: nobody says what runs.
    """
    from parsing_rcnn import heads
    from parsing_rcnn_client.cli.picture_commands import note_untrained

    if choice.triton is not None:  # which does not say what is trained
        return look, tasks
    info = engine.info
    trained, own = heads.trained(info), look.of(info)
    kept = (tasks & trained) or (trained if tasks else tasks)  # records of one map are better than of none
    note_untrained(info.tasks, own.tasks | kept)
    for task in sorted((look.tasks | tasks) - own.tasks - kept):
        say(f"note: the head of {task} is not trained in this model, so it is left out")
    return own, kept


def _annotate(
    engine: Analyzer,
    video: Video,
    out: Path | None,
    recorded: RecordChoice,
    coco: Path | None,
    settings: Settings,
) -> tuple[Summary, str | None]:
    """Do it, with a progress bar: (what was done, what is damaged in the source)."""
    from parsing_rcnn_client.video.records import CocoVideo, JsonLines, NpzFolder

    jsonl, npz = recorded.jsonl, recorded.npz
    try:
        with ExitStack() as opened:
            reader = video.read()
            opened.callback(reader.close)
            records: list[RecordFile] = []
            writer = None if out is None else video.write(out, reader)
            if writer is not None:
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


def _with_progress(
    engine: Analyzer,
    reader: Reader,
    writer: Writer | None,
    records: list[RecordFile],
    settings: Settings,
    files: list[Path],
    span: Span | None,
) -> Summary:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from parsing_rcnn.errors import EngineUnavailable
    from parsing_rcnn_client.video.annotate import annotate as run
    from parsing_rcnn_client.video.media import SourceLost

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        whole, fps = reader.info.frames, reader.info.fps
        bar = progress.add_task("frames", total=whole if span is None else span.frames(whole, fps))
        try:
            summary = run(
                engine,
                reader,
                writer,
                settings,
                records=records,
                progress=lambda done: progress.update(bar, completed=done),
            )
            ignore_signals()  # all is done: finishing it may take a while
        except (KeyboardInterrupt, EngineUnavailable, SourceLost):
            ignore_signals()
            if frames := int(progress.tasks[bar].completed):  # what is done is left whole and playable
                if writer is not None:
                    writer.close(cut=True)
                for record in records:
                    record.close()
                say(_stopped(frames, files))
            raise
        if writer is not None:
            writer.close(cut=span is not None and span.end is not None)
        for record in records:
            record.close()
        return summary


def _stopped(frames: int, files: list[Path]) -> str:
    names = " and ".join("standard output" if path == STANDARD else str(path) for path in files)
    return f"stopped after {frames} frame{'s' * (frames > 1)}; {names} hold{'s' * (len(files) == 1)} them"


def stream(
    sources: Annotated[
        list[str], typer.Argument(help="Cameras (0, 1, ...), rtsp:// or http:// addresses, files (played live).")
    ],
    recorded: RecordChoice,
    counted: ZoneChoice,
    shown: LookChoice,
    people: PeopleChoice,
    engine_choice: EngineChoice,
    out: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--out",
            help="window, mjpeg:PORT, a file, rtsp://, rtmp:// or none; one for each source (default: mjpeg:8090, a "
            "page; with --jsonl or --npz none).",
            metavar="OUTPUT",
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="align: each result on its frame; low-latency: on the newest.")] = "align",
    in_flight: InFlight = 1,
    reconnect: Annotated[bool, typer.Option(help="Open a source again when it is lost.")] = True,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Stop after this time, and 5 more for what is under way (default: none)."),
    ] = None,
    backend: Backend = "ffmpeg",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take for one frame.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Annotate live: the newest frame counts, late ones are dropped and counted, lost sources come back.

    Ctrl-C, SIGTERM and SIGHUP stop cleanly: files are finished. Exit code 1 when a source or an output failed, 2 on
    wrong options.
    """
    from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
    from parsing_rcnn_client.video.backends import check
    from parsing_rcnn_client.video.live import MODES, Live, LiveSettings
    from parsing_rcnn_client.video.smoothing import Smoothing

    try:
        check(backend)
        recorded.check()
        targets = targets_of(sources, out or (["none"] if recorded.any else ["mjpeg:8090"]))
        check_records(sources, targets, recorded.jsonl, recorded.npz, as_json)
        if mode not in MODES:
            raise InvalidOptions(f"mode {mode!r}: choose one of {', '.join(MODES)}")
        look = shown.look()
        zones = counted.zones(told=recorded.jsonl is not None or set(targets) != {"none"})
        page = page_of(targets)
        # by the time of a second try there is a newer picture
        engine = engine_choice.open(timeout, _JPEG_QUALITY, retry=False)
        tasks = recorded.tasks
        with suppress(EngineUnavailable):  # one that is away may come back, and says by itself what not to believe
            look, tasks = _of_model(engine, engine_choice, look, tasks)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    smoothing = Smoothing() if shown.smooth else None
    settings = LiveSettings(
        look,
        people.confidence,
        people.max_people,
        smoothing,
        mode,
        reconnect,
        tasks=tasks,
        zones=zones,
        max_side=people.max_side,
    )
    if page is not None:
        say(f"watch at {page.url}")
    live = Live(engine, settings, in_flight)
    records: list[RecordFile] = []
    interrupted = False
    with signals_interrupt():
        try:
            if engine_choice.server is not None:
                _require_welcome(engine)
            each = recorded.open_live(len(sources), records)
            for source, target, own in zip(sources, targets, each, strict=True):
                start(live, source, target, page, backend, own)
            wait(live, seconds)
        except InvalidOptions as error:  # another run writes a record
            raise wrong(error.detail) from error
        except KeyboardInterrupt:
            interrupted = True
            say("stopping")
        finally:
            ignore_signals()
            code = _end(live, records, page, engine, as_json, within=_AT_ONCE if interrupted else _SOON)
    if interrupted or live.running:
        leave(code)
    raise typer.Exit(code)


def _end(
    live: Live,
    records: list[RecordFile],
    page: MjpegPage | None,
    engine: Analyzer,
    as_json: bool,
    *,
    within: float,
) -> int:
    """Finish the outputs and say what was done. Returns the exit code.

    Raises:
        ParsingRCNNError: a source or an output failed. Where something is still under way it is said here: the process
            may end before others could say it. So are options that only the size of the picture shows to be wrong.
    """
    from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError

    failure = None
    try:
        with ExitStack() as closing:
            for record in records:
                closing.callback(record.close)  # they are left as they are, whatever failed
            live.close(within=within)
    except ParsingRCNNError as error:
        if not live.running and not isinstance(error, InvalidOptions):
            raise
        failure = error
    finally:
        if page is not None:
            page.close()
        engine.close()
        for each in live.sources:
            say(summary(each.state))
        if as_json:  # also when a source failed
            typer.echo(json.dumps([vars(source.state) for source in live.sources]))
    if failure is None:
        return 0
    say(f"error: {failure.detail}")
    return 2 if isinstance(failure, InvalidOptions) else 1


def _require_welcome(engine: Analyzer) -> None:
    """End before anything is opened where a gateway refuses, a wrong key for example; one that is away may come back.

    Raises:
        ParsingRCNNError: what it says.
    """
    from parsing_rcnn.errors import EngineUnavailable

    with suppress(EngineUnavailable):
        _ = engine.info
