"""`parsing-rcnn stream`."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from parsing_rcnn.terminal import say, tell
from parsing_rcnn_client.cli.options import AsJson, EngineChoice, LookChoice, PeopleChoice, wrong
from parsing_rcnn_client.cli.places import check_encoders, check_records, targets_of
from parsing_rcnn_client.cli.stream_sources import page_of, start
from parsing_rcnn_client.cli.stream_status import summary, wait
from parsing_rcnn_client.cli.trained_heads import keep_trained
from parsing_rcnn_client.cli.video_options import (
    SENT_QUALITY,
    Backend,
    InFlight,
    RecordChoice,
    ZoneChoice,
)
from parsing_rcnn_client.signals import ignore_signals, leave, signals_interrupt

if TYPE_CHECKING:
    from parsing_rcnn.analyzer import Analyzer
    from parsing_rcnn_client.video.live import Live, LiveSettings
    from parsing_rcnn_client.video.records import RecordFile
    from parsing_rcnn_client.video.sinks import MjpegPage

_AT_ONCE, _SOON = 0.5, 5.0  # seconds for frames on their way: after an interrupt, and at the end of --seconds


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
            help="window, mjpeg:PORT (mjpeg:0.0.0.0:PORT for others, too), a file, rtsp://, rtmp:// or none; one for "
            "each source (default: mjpeg:8090, a page; with --jsonl or --npz none).",
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
    from parsing_rcnn_client.video.live import Live

    try:
        check(backend)
        recorded.check()
        targets = targets_of(sources, out or (["none"] if recorded.any else ["mjpeg:8090"]))
        check_records(sources, targets, recorded.jsonl, recorded.npz, as_json)
        settings = _live_settings(
            mode, shown, people, recorded, counted, told=set(targets) != {"none"}, reconnect=reconnect
        )
        check_encoders(targets)
        page = page_of(targets)
        # by the time of a second try there is a newer picture
        engine = engine_choice.open(timeout, SENT_QUALITY, retry=False)
        with suppress(EngineUnavailable):  # an engine that is away may come back; its people tell what is untrained
            look, tasks = keep_trained(engine, engine_choice, settings.look, settings.tasks)
            settings = replace(settings, look=look, tasks=tasks)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
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


def _live_settings(
    mode: str,
    shown: LookChoice,
    people: PeopleChoice,
    recorded: RecordChoice,
    counted: ZoneChoice,
    *,
    told: bool,
    reconnect: bool,
) -> LiveSettings:
    """The options of `stream` about analysing and drawing, checked.

    Args:
        mode, shown, people, recorded, counted, reconnect: as given.
        told: whether a picture that is shown or written has the counts.

    Raises:
        InvalidOptions: one of them is wrong.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.live import MODES, LiveSettings
    from parsing_rcnn_client.video.smoothing import Smoothing

    if mode not in MODES:
        raise InvalidOptions(f"mode {mode!r}: choose one of {', '.join(MODES)}")
    return LiveSettings(
        look=shown.look(),
        confidence=people.confidence,
        max_people=people.max_people,
        smoothing=Smoothing() if shown.smooth else None,
        mode=mode,
        reconnect=reconnect,
        tasks=recorded.tasks,
        zones=counted.zones(told=told or recorded.jsonl is not None),
        max_side=people.max_side,
        region=people.where(),
        tiles=people.tiles,
    )


def _end(
    live: Live,
    records: list[RecordFile],
    page: MjpegPage | None,
    engine: Analyzer,
    as_json: bool,
    *,
    within: float,
) -> int:
    """Finish the outputs and say what was done.

    Returns:
        The exit code. A failure is told here where threads are still at work, for the process may end before anybody
        else could tell it; so are options that only the size of the picture shows to be wrong.

    Raises:
        ParsingRCNNError: a source or an output failed, and nothing is at work any more.
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
            tell(json.dumps([vars(source.state) for source in live.sources]))
    if failure is None:
        return 0
    say(f"error: {failure.detail}")
    return 2 if isinstance(failure, InvalidOptions) else 1


def _require_welcome(engine: Analyzer) -> None:
    """Fail before anything is opened if the gateway refuses us, for a wrong key for example. If it is away it may come
    back, and that is no failure.

    Raises:
        ParsingRCNNError: the gateway's refusal.
    """
    from parsing_rcnn.errors import EngineUnavailable

    with suppress(EngineUnavailable):
        _ = engine.info
