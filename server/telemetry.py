"""Logs and Prometheus metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from parsing_rcnn import __version__
from parsing_rcnn.analyzer import ModelInfo
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn.terminal import printable
from server.requests.call import Route

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters and histograms of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files
        self.requests = Counter(
            "parsing_rcnn_requests", "Pictures by route and outcome.", ["route", "outcome"], registry=self.registry
        )
        self.answers = Counter(
            "parsing_rcnn_answers",
            "Requests but for probes, and what is no request, by the status of the answer.",
            ["status"],
            registry=self.registry,
        )
        for route in Route:  # begin at 0: alerts see no increase in a counter that first appears at 1
            self.requests.labels(route, ParsingRCNNError.code)
        self.answers.labels("500")
        self.stages = Histogram(
            "parsing_rcnn_stage_seconds", "Time by stage.", ["stage"], buckets=_SECONDS, registry=self.registry
        )
        self.people = Histogram(
            "parsing_rcnn_people", "People in a picture.", buckets=(0, 1, 2, 3, 5, 10, 20, 64), registry=self.registry
        )
        self.dropped = Counter(
            "parsing_rcnn_dropped_frames", "Frames of streams that newer ones replaced.", registry=self.registry
        )
        self.streams = Gauge("parsing_rcnn_streams", "Streams that are open.", registry=self.registry)
        self._ready = Gauge("parsing_rcnn_ready", "Whether pictures can be analysed: 1 or 0.", registry=self.registry)
        self._held = Gauge("parsing_rcnn_held", "Pictures in work or waiting.", registry=self.registry)
        self._unread = Gauge(
            "parsing_rcnn_unread_bytes", "Bytes of answers that clients have not read yet.", registry=self.registry
        )

    def observe_held(self, held: Callable[[], float]) -> None:
        """Set the function that returns the number of pictures in work or waiting."""
        self._held.set_function(held)

    def observe_unread(self, unread: Callable[[], float]) -> None:
        """Set the function that returns the bytes of answers that clients have not read."""
        self._unread.set_function(unread)

    def observe_engine(
        self,
        ready: Callable[[], bool],
        info: Callable[[], ModelInfo],
        servers: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        """Set the functions that return whether the engine is ready, what it runs once it is, and which servers get
        pictures (address -> whether)."""
        self._ready.set_function(ready)
        self.registry.register(_Info(ready, info))
        self.registry.register(_Servers(servers))

    def observe(self, people: People, stages: dict[str, float]) -> None:
        """Count one answered picture; `stages` in milliseconds."""
        self.people.observe(len(people))
        for stage, milliseconds in stages.items():
            self.stages.labels(stage).observe(milliseconds / 1000)


class _Info(Collector):
    """The version, the model and the runtime as labels; the latter two are empty until the engine is ready."""

    def __init__(self, ready: Callable[[], bool], info: Callable[[], ModelInfo]) -> None:
        self._ready, self._info = ready, info

    def collect(self) -> Iterator[Metric]:
        model, runtime = "", ""
        if self._ready():
            info = self._info()
            model, runtime = f"{info.name} {info.version}", info.runtime
        gauge = GaugeMetricFamily("parsing_rcnn_info", "What runs.", labels=("version", "model", "runtime"))
        gauge.add_metric((__version__, model, runtime), 1)
        yield gauge


class _Servers(Collector):
    """Which Triton servers get pictures. Without this, the others would hide the loss of one."""

    def __init__(self, servers: Callable[[], Mapping[str, bool]]) -> None:
        self._servers = servers

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(
            "parsing_rcnn_triton_up", "Whether a Triton server gets pictures: 1 or 0.", labels=["url"]
        )
        for url, up in self._servers().items():
            gauge.add_metric([url], float(up))
        yield gauge


def configure_logging(style: str, level: str = "info") -> None:
    """Send structlog and the logs of libraries to standard error.

    Args:
        style: console (lines for people) or json.
        level: the lowest level that is logged: debug, info, warning or error. Libraries are one level quieter.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    rendering: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        # rich tracebacks show the variables of every frame: keys, and whole pictures
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr is not None and sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if style == "json" else _printable,
            rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: _Lines(sys.stderr),  # looked up each time: it may be redirected
    )
    logging.basicConfig(level=min(least + 10, logging.ERROR), handlers=[_Forward()], force=True)


class _Lines(structlog.PrintLogger):
    """Drops lines that cannot be written (full disk, reader of the log gone), so that requests are still answered."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


# what uvicorn logs, beside our own line, about a stream that is refused before it opens
_REFUSED_STREAM = "ASGI callable returned without completing handshake."
# what grpc logs about its own message "Too many open files", which ends in raw bytes; the engine logs that message
_UNREADABLE = ("grpc._cython.cygrpc", "Invalid encoding on %s")


class _Forward(logging.Handler):
    """Sends the log records of libraries through structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == _REFUSED_STREAM or (record.name, record.msg) == _UNREADABLE:
            return
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _printable(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape text from clients (a path, for example), which must not control a terminal or begin a line."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value, "\n\t" if name == "event" else "")  # with a stack
    return event
