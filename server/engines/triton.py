"""Triton servers behind the gateway: sends pictures to the ensembles of the least loaded healthy server, over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from parsing_rcnn.analyzer import TASKS, ModelInfo, Options
from parsing_rcnn.ensembles import OWN_CHANNEL, ensemble_of, names, parameters_of
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions, ParsingRCNNError
from parsing_rcnn.geometry import Window
from parsing_rcnn.maps.framing import framed
from parsing_rcnn.models import default_of
from parsing_rcnn.people import People
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import DENSEPOSE_OUTPUTS, DETECTOR_OUTPUTS, parsing_outputs
from parsing_rcnn.tensors import from_tensors
from server.engines.agreement import check_default, check_weights
from server.engines.shared_memory import UNSURE, SharedMemory
from server.engines.sizes import Requests
from server.engines.tiny import tiny_picture
from server.engines.upstream import (
    TRACE,
    Arrays,
    Parameters,
    ServerLost,
    SlotUnknown,
    Upstream,
    infer,
    infer_shared,
    orphans,
    rows_of,
    unregister,
)
from server.requests.call import Call

_PROBE_EVERY = 2.0  # seconds; a probe costs the detector as much as a picture
_AGAIN = 1.0  # seconds after a probe that failed
_PROBE_DEADLINE = 10.0
_MOST_TOLD = 8  # reasons of one outage that are logged, each once
_TOO_OFTEN = 4  # refused or late probes in a row, after which a server gets no pictures

log = structlog.get_logger("server")


class TritonEngine:
    """Sends pictures to one or several Triton servers.

    A server whose request or probe failed gets no pictures until a tiny inference on it succeeds. If a server fails
    during an inference, it is repeated once on another server; this is safe, as an inference has no effects.

    Args:
        urls: host:port of gRPC services.
        repository: names the classes and sizes; the models themselves are those of the servers.
        limit: the most pictures on their way to Triton; one more is refused at once.
        timeout: seconds for one picture.
        shared: whether pictures and answers go through shared memory, to servers on this machine.
        model: of the card, for pictures whose options name none; None leaves that to the servers. For a model with a
            second size, each picture is two requests side by side.
        choice: whether requests may name a model.

    Raises:
        InvalidOptions: no address, or a size of the model that has no name.
        ModelNotFound: there is no such repository, or no such model in it.
    """

    def __init__(
        self,
        urls: Sequence[str],
        repository: Path | None,
        limit: int,
        timeout: float,
        *,
        shared: bool = False,
        model: str | None = None,
        choice: bool = True,
    ) -> None:
        if not urls:
            raise InvalidOptions("the triton engine needs at least one address: --triton-url 127.0.0.1:8001")
        self._urls = [url.removeprefix("grpc://").rstrip("/") for url in urls]
        self._limit, self._timeout = limit, timeout
        self._repository = ModelRepository.open(repository, model)
        self._of_model = {model: self._repository}  # model -> repository, each with its parsed taxonomy
        self._requests = Requests(self._repository, choice)
        self._upstreams: list[Upstream] = []
        self._probes: list[asyncio.Task[None]] = []
        self._share = shared
        self._memory: SharedMemory | None = None
        self._held = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Connect, and begin to probe the servers."""
        for url in self._urls:
            client = triton.InferenceServerClient(url, channel_args=OWN_CHANNEL)
            upstream = Upstream(url, client, frozenset(self._requests.own))
            self._upstreams.append(upstream)
            self._probes.append(asyncio.create_task(self._watch(upstream)))

    async def _watch(self, upstream: Upstream) -> None:
        """Probe a server for as long as the gateway runs."""
        while True:
            try:
                if not upstream.name:
                    metadata = await upstream.client.get_server_metadata(client_timeout=_PROBE_DEADLINE)
                    upstream.name = f"{metadata.name} {metadata.version}"
                if self._share and self._memory is None:
                    rows = await rows_of(upstream)
                    if self._memory is None:  # again: another server's watcher may have set it meanwhile
                        self._memory = SharedMemory(self._limit * self._requests.most, rows)
                        self._probes.append(asyncio.create_task(self._forget()))
                if not _proven(upstream):
                    await self._probe(upstream)
            except ServerLost as error:
                self._eject(upstream, error.detail)
            except InferenceServerException as error:
                self._eject(upstream, str(error.message()))
            except ParsingRCNNError as error:  # its queue is full, or it is late: it is only busy, unless that goes on
                upstream.late += 1
                if upstream.late >= _TOO_OFTEN or not upstream.healthy:
                    self._eject(upstream, error.detail)
            except Exception as error:  # the probes of a server must not end before the gateway does
                log.error("a probe failed", url=upstream.url, exc_info=error)
                self._eject(upstream, "its probe failed; the log says why")
            else:
                upstream.late = 0
                if not upstream.healthy:
                    log.info("triton answers", url=upstream.url, server=upstream.name)
                    upstream.registered.clear()  # it may be another process now
                    upstream.local = True
                upstream.healthy, upstream.reason = True, ""
                upstream.told.clear()
                upstream.failed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_EVERY if upstream.healthy else _AGAIN):
                    await upstream.failed.wait() if upstream.healthy else await asyncio.sleep(_AGAIN)

    async def _probe(self, upstream: Upstream) -> None:
        """Run a tiny inference through every step, at each size. Then check the number of classes (which the answer has
        even without people), the weights and the default model.

        Raises:
            ServerLost: the server does not answer, or runs another model than that of the model card.
        """
        given, outputs = {"IMAGE": _picture(tiny_picture())}, ("BOXES", "PART_SCORES")
        for model in self._requests.own:
            parameters = parameters_of(Options(max_people=1, model=model))
            found = await infer(upstream, "human_analysis", given, outputs, _PROBE_DEADLINE, parameters)
        theirs, ours = found["PART_SCORES"].shape[-1], len(self._repository.taxonomy)
        if theirs != ours:
            raise ServerLost(
                f"Triton serves {theirs} part classes, this gateway's model card has {ours}: give both the same "
                "--repository"
            )
        await check_weights(upstream, self._repository)
        if self._requests.own == (None,):
            # a generator, so read only after the last answer: at the start, all servers are probed side by side
            others = (other for other in self._upstreams if other.healthy and other is not upstream)
            await check_default(upstream, self._repository, others)

    async def _forget(self) -> None:
        """Let the servers unmap slots of killed gateways, once none of their requests can still be in work."""
        await asyncio.sleep(UNSURE)
        for upstream in self._upstreams:
            await unregister(upstream, await orphans(upstream))

    def _eject(self, upstream: Upstream, reason: str) -> None:
        """Give a server no more pictures, until a probe succeeds."""
        reason = reason.partition("\n")[0]  # grpc leaves raw bytes behind "Too many open files"
        if reason not in upstream.told and len(upstream.told) < _MOST_TOLD:
            upstream.told.add(reason)
            log.warning("triton gets no pictures", url=upstream.url, reason=reason)
        upstream.healthy, upstream.reason = False, reason
        upstream.failed.set()

    @property
    def not_ready(self) -> str | None:
        """Why no server can answer, or None when one can."""
        if any(upstream.healthy for upstream in self._upstreams):
            return None
        reasons = [f"{upstream.url}: {upstream.reason}" for upstream in self._upstreams]
        return "; ".join(reasons) or "the connections are being opened"

    @property
    def info(self) -> ModelInfo:
        """What runs.

        Raises:
            EngineUnavailable: no server answers.
        """
        self.check()
        healthy = [upstream for upstream in self._upstreams if upstream.healthy]
        servers = ", ".join(f"{upstream.name} at {upstream.url}" for upstream in healthy)
        repository, answering = self._repository, healthy[0].model
        if self._requests.own == (None,) and answering != default_of(repository.card):  # as `preprocess` is set there
            repository = self._of_model.setdefault(answering, replace(repository, model=answering))
        return replace(repository.info(servers), models=tuple(self._requests.models))

    @property
    def capacity(self) -> int:
        """Pictures on their way."""
        return self._limit

    @property
    def busy(self) -> int:
        """As many pictures as the heads batch, and some more for the detector meanwhile."""
        return max(4, self._limit // 8)

    @property
    def servers(self) -> Mapping[str, bool]:
        """Address of each server -> whether it gets pictures."""
        return {upstream.url: upstream.healthy for upstream in self._upstreams}

    def check(self) -> None:
        """Refuse before a picture is read.

        Raises:
            EngineUnavailable: no server answers.
        """
        if self.not_ready is not None:
            raise EngineUnavailable(f"not ready: {self.not_ready}")

    async def analyze(self, image: bytes, options: Options, call: Call) -> tuple[People, float]:
        """See `Engine.analyze`. The milliseconds in the queue are 0, as pictures wait in Triton, not here.

        The timings have one stage, `triton`: transport, queues and all steps. Triton's own metrics have more detail.
        """
        self.check()
        begin = time.perf_counter()
        self._held += 1
        self._idle.clear()
        deadline = min(time.monotonic() + self._timeout, call.deadline or math.inf)
        TRACE.set(call.traceparent)
        try:
            people = await self._requests.people(lambda own: self._somewhere(image, own, deadline), image, options)
        finally:
            self._held -= 1
            if not self._held:
                self._idle.set()
        spent = round(1000 * (time.perf_counter() - begin), 3)
        return replace(people, timings={"triton": spent, "total": spent}), 0.0

    async def _somewhere(self, image: bytes, options: Options, deadline: float) -> People:
        """Ask the least loaded server; if that is lost, ask another one, once."""
        self.check()  # again: the last server may have been lost before the task of a size began
        first = min((u for u in self._upstreams if u.healthy), key=lambda u: u.in_flight)
        try:
            return await self._on(first, image, options, deadline)
        except ServerLost:
            others = [u for u in self._upstreams if u.healthy and u is not first]
            if not others:
                raise
            return await self._on(min(others, key=lambda u: u.in_flight), image, options, deadline)

    async def _on(self, upstream: Upstream, image: bytes, options: Options, deadline: float) -> People:
        ask = self._stepwise if options.part_probs else self._ensemble
        upstream.in_flight += 1
        try:
            parameters = parameters_of(options)
            people = await ask(upstream, image, options, parameters, max(deadline - time.monotonic(), 0.001))
        except ServerLost as error:
            self._eject(upstream, error.detail)
            raise
        finally:
            upstream.in_flight -= 1
        upstream.late = 0  # it answers, even if its probes were late
        if options.tasks.issuperset(TASKS) and not options.part_probs:
            upstream.proven = time.monotonic()
        return people

    async def _ensemble(
        self, upstream: Upstream, image: bytes, options: Options, parameters: Parameters, timeout: float
    ) -> People:
        """One request: preprocess, detector, heads and postprocess inside Triton."""
        outputs, model = names(options.tasks), ensemble_of(options.tasks)
        found = await self._through_memory(upstream, model, image, outputs, timeout, parameters)
        if found is None:
            found = await infer(upstream, model, {"IMAGE": _picture(image)}, outputs, timeout, parameters)
        height, width = found["IMAGE_SIZE"].tolist()
        return from_tensors(found, (height, width), taxonomy=self._repository.taxonomy)

    async def _through_memory(
        self,
        upstream: Upstream,
        model: str,
        image: bytes,
        outputs: Sequence[str],
        timeout: float,
        parameters: Parameters,
    ) -> Arrays | None:
        """The answer through shared memory; None if this picture must go over the connection instead."""
        slot = self._memory.take(len(image)) if self._memory is not None and upstream.local else None
        if self._memory is None or slot is None:
            return None
        answered = False
        try:
            found = await infer_shared(upstream, slot, self._memory.places(outputs), model, image, timeout, parameters)
            answered = True
        except SlotUnknown as error:
            answered = True  # nothing was begun, so the slot is free
            if slot.name in upstream.registered:
                upstream.registered.clear()
            else:
                upstream.local = False
                log.warning("triton has no shared memory with us", url=upstream.url, reason=error.detail)
            return None
        except ParsingRCNNError as error:
            answered = not isinstance(error, EngineUnavailable)  # a refusal is an answer
            raise
        finally:
            self._memory.give(slot, answered=answered)
        return found

    async def _stepwise(
        self, upstream: Upstream, image: bytes, options: Options, parameters: Parameters, timeout: float
    ) -> People:
        """Ask the steps one by one, to get class probabilities. The ensembles do not return these, as they are 20 times
        as large as labels."""
        end = time.monotonic() + timeout

        async def ask(model: str, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
            return await infer(upstream, model, inputs, outputs, max(end - time.monotonic(), 0.001), parameters)

        prepared = await ask("preprocess", {"IMAGE": _picture(image)}, ("CANVAS", "WINDOW", "LIMITS"))
        window = Window.from_array(prepared.pop("WINDOW"))
        found = await ask("detector", prepared, DETECTOR_OUTPUTS)
        count = int(found["COUNT"][0])
        features = {"ROI_FEATURES": found["ROI_FEATURES"]}
        heads: list[Awaitable[Arrays]] = []
        if "parsing" in options.tasks:
            heads.append(ask("parsing", features, parsing_outputs(probabilities=options.part_probs)))
        if "densepose" in options.tasks:
            heads.append(ask("densepose_head", features, DENSEPOSE_OUTPUTS))
        maps = {name: array[:count] for answer in await asyncio.gather(*heads) for name, array in answer.items()}
        boxes, maps = framed(window, found["BOXES"][:count], maps, options.region)
        tensors = {**maps, "BOXES": boxes, "SCORES": found["SCORES"][:count]}
        size = int(window.height), int(window.width)
        return from_tensors(tensors, size, taxonomy=self._repository.taxonomy)

    async def close(self) -> None:
        """Wait for the requests on their way, then disconnect."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._idle.wait()
        for probe in self._probes:
            probe.cancel()
        left = [request for upstream in self._upstreams for request in upstream.requests]
        if left:  # closing the connection would cancel them, see `upstream._ask`
            await asyncio.wait(left, timeout=self._timeout)
        for upstream in self._upstreams:
            if self._memory is not None:
                await unregister(upstream, self._memory.unused())
            await upstream.client.close()
        if self._memory is not None:
            self._memory.close()


def _proven(upstream: Upstream) -> bool:
    """Whether a picture went through every step a moment ago, which makes a probe superfluous."""
    return upstream.healthy and time.monotonic() - upstream.proven < _PROBE_EVERY


def _picture(image: bytes) -> NDArray[np.object_]:
    return np.array([image], dtype=np.object_)
