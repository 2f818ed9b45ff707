"""The core of the gateway, which every route uses: bytes and options in, an encoded answer out. It knows no HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog
from fastapi.exceptions import RequestValidationError

from parsing_rcnn import heads
from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import ImageHeader, ImageLimits, check
from parsing_rcnn.errors import BrokenModel, InvalidOptions, OutOfMemory, ParsingRCNNError
from parsing_rcnn.limits import MAX_TILES
from parsing_rcnn.people import People
from server.admission import Admission, Place, TokenBuckets
from server.engines.base import Engine
from server.offload import PIXELS, Offload
from server.requests.call import Call, ClientGone, Route
from server.requests.options import AnalyzeOptions, Format
from server.responses import answers
from server.telemetry import Metrics
from server.tracing import Tracing

log = structlog.get_logger("server")
T = TypeVar("T")

_LONG = 2**20
"""Bytes of a picture whose header is read on a thread: it may have so many parts that this takes 0.1 s."""


@dataclass(frozen=True)
class Answer:
    """An encoded answer.

    Attributes:
        body: the bytes.
        media_type: of the body.
        model: (name, version) of the model that answered.
        stages: stage -> milliseconds.
        warnings: what the maps are not good for.
    """

    body: bytes
    media_type: str
    model: tuple[str, str]
    stages: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Service:
    """Admits callers, analyses their pictures, encodes the answers, and counts all of it.

    Args:
        engine: computes the people.
        limits: of a picture.
        metrics: counts pictures, people and times.
        rates: the limit of each caller.
        tracing: makes a span for each picture.
        max_tiles: the largest `Options.tiles`.
    """

    def __init__(
        self,
        engine: Engine,
        limits: ImageLimits,
        metrics: Metrics,
        rates: TokenBuckets,
        tracing: Tracing,
        max_tiles: int = MAX_TILES,
    ) -> None:
        self.engine, self.limits, self.metrics, self.rates, self.tracing = engine, limits, metrics, rates, tracing
        self.max_tiles = max_tiles
        self.admission = Admission(engine.capacity, engine.busy)
        self.offload = Offload(max(limits.max_pixels, PIXELS))
        metrics.observe_held(lambda: self.admission.held)
        metrics.observe_engine(lambda: engine.not_ready is None, lambda: engine.info, lambda: engine.servers)

    def admit(self, call: Call, pictures: int = 1) -> None:
        """Refuse a call at once, before its body is read, if it cannot be served. Use it within `counting`.

        Raises:
            EngineUnavailable: the engine is not ready.
            Busy: every place is taken.
            RateLimited: the caller has used its share.
        """
        self.engine.check()
        self.admission.check()
        self.rates.take(call.caller, pictures)

    @contextmanager
    def counting(self, route: Route) -> Iterator[None]:
        """Count errors raised in this context: those before `run`, which counts its own."""
        try:
            yield
        except ParsingRCNNError as error:
            self.metrics.requests.labels(route, error.code).inc()
            raise
        except (ClientGone, asyncio.CancelledError):
            self.cancelled(route)
            raise
        except RequestValidationError:  # answered as that by `server.responses.problems`
            self.metrics.requests.labels(route, InvalidOptions.code).inc()
            raise
        except Exception:  # a fault of the gateway
            self.metrics.requests.labels(route, ParsingRCNNError.code).inc()
            raise

    def cancelled(self, route: str, pictures: int = 1) -> None:
        """Count pictures whose caller left before they got to `run`."""
        self.metrics.requests.labels(route, "cancelled").inc(pictures)

    @contextmanager
    def place(self, call: Call) -> Iterator[Place]:
        """Hold one place of the queue for several pictures, which then go through `run` one by one with `placed=True`.

        Raises:
            Busy: every place is taken.
        """
        with self.counting(call.route):
            self.admission.check()
        with self.admission.place() as place:
            yield place

    async def analyze(
        self,
        image: bytes,
        options: AnalyzeOptions,
        wanted: Format,
        call: Call,
        follow: Callable[[People], People] | None = None,
    ) -> Answer:
        """Analyse one picture and encode the answer.

        Args:
            image: encoded.
            options: of the analysis and of the answer.
            wanted: format of the answer.
            call: its deadline is kept.
            follow: changes the people before they are encoded (tracking numbers them); runs on a thread.

        Raises:
            ParsingRCNNError: as of `run`; or `render` or `include` does not fit the tasks.
        """
        with self.counting(call.route):
            info = self.engine.info
            options = answers.settle(options, wanted, info)
        encode = partial(answers.encode, info, self.limits, image, options, wanted)
        work = encode if follow is None else lambda people: encode(follow(people))
        body, stages = await self.run(image, options.core(), work, call)
        model = (info.of(options.model).name, info.version)
        return Answer(body, wanted.value, model, stages, heads.warnings(info, options.tasks))

    async def run(
        self, image: bytes, options: Options, encode: Callable[[People], T], call: Call, *, placed: bool = False
    ) -> tuple[T, dict[str, float]]:
        """Put one picture through the engine and `encode`, which runs on a thread.

        Args:
            image: encoded.
            options: of the analysis.
            encode: makes the answer's body. At the deadline it ends at its next `check_stopped`, and its result is
                dropped, so it must change nothing that others read.
            call: its deadline is kept.
            placed: whether the caller holds a `place` already; if not, this takes one.

        Returns:
            What `encode` returned, milliseconds by stage.

        Raises:
            Busy: every place is taken.
            EngineUnavailable: the engine cannot answer.
            DeadlineExceeded: the call's time is over; steps that have not begun are dropped.
            ParsingRCNNError: the picture, an option, or the engine's state is wrong.
        """
        with self.tracing.picture(call) as span:
            people, body, stages = await self._counted(image, options, encode, span.call, placed)
            span.answered(len(people), stages)
        return body, stages

    async def _checked(self, image: bytes, call: Call) -> ImageHeader:
        if len(image) < _LONG:
            return check(image, self.limits)
        async with call.in_time():
            return await self.offload.run(0, check, image, self.limits)

    async def _counted(
        self, image: bytes, options: Options, encode: Callable[[People], T], call: Call, placed: bool
    ) -> tuple[People, T, dict[str, float]]:
        try:
            if options.tiles > self.max_tiles:
                raise InvalidOptions(
                    f"tiles: {options.tiles} is more than this gateway's {self.max_tiles} (--max-tiles)"
                )
            header = await self._checked(image, call)  # before a place is taken
            with nullcontext() if placed else self.admission.place():
                async with call.in_time():
                    people, queued = await self.engine.analyze(image, options, call)
                    people = heads.mark_untrained(people, self.engine.info)  # whichever engine computed them
                    begin = time.perf_counter()
                    body = await self.offload.run(_pixels(header, people), encode, people)
        except ParsingRCNNError as error:
            self.metrics.requests.labels(call.route, error.code).inc()
            if isinstance(error, BrokenModel | OutOfMemory):  # only the operator can repair it
                log.error("the model cannot be run", reason=error.detail)
            raise
        except asyncio.CancelledError:
            self.cancelled(call.route)
            raise
        except Exception:  # a fault of the gateway, which the route logs
            self.metrics.requests.labels(call.route, ParsingRCNNError.code).inc()
            raise
        own = {stage: milliseconds for stage, milliseconds in people.timings.items() if stage != "total"}
        stages = {"queue": queued, **own, "encode": 1000 * (time.perf_counter() - begin)}
        stages["total"] = stages["queue"] + people.timings.get("total", 0.0) + stages["encode"]
        self.metrics.requests.labels(call.route, "ok").inc()
        self.metrics.observe(people, stages)
        call.noted.answered += 1
        call.noted.people += len(people)
        return people, body, stages


def _pixels(header: ImageHeader, people: People) -> int:
    """What encoding goes by: the pixels of the picture, or of everybody's box where these are more together."""
    width, height = (people.boxes[:, 2:] - people.boxes[:, :2]).T
    return max(header.width * header.height, int(width @ height))
