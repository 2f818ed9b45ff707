"""One Triton server behind the gateway: its state, one inference on it, and what its answers mean."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from parsing_rcnn.ensembles import MODEL, Trouble, refusal_of, trouble_of
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions, ParsingRCNNError
from server.engines.shared_memory import FOLDER, PREFIX, UNSURE, Slot
from server.errors import Busy

_METADATA = 10.0  # seconds
_LETS_GO = 20  # attempts, within a second, to have a server unmap a slot

log = structlog.get_logger("server")

Arrays = dict[str, NDArray[Any]]
Parameters = Mapping[str, str | int]
TRACE: ContextVar[str | None] = ContextVar("traceparent", default=None)


class ServerLost(EngineUnavailable):
    """This server cannot answer now; another may."""


class SlotUnknown(EngineUnavailable):
    """Triton does not have the shared memory of a request: it was started again, or runs elsewhere."""


@dataclass
class Upstream:
    """One Triton server: its connection, the result of its last probe, and its requests.

    Attributes:
        url: host:port of its gRPC service.
        client: the connection.
        chosen: models that the gateway itself names in requests, whatever its callers ask for.
        name: name and version of the server; empty until it has told them.
        model: the model that answers requests that name none; None until known.
        healthy: whether it gets pictures.
        reason: why it gets none.
        in_flight: pictures on their way (each at each size), and requests that nobody waits for any more.
        late: probes in a row that were late or refused.
        proven: when (`time.monotonic`) a picture last went through every step.
        local: whether shared memory works with it, as far as known.
        registered: names of the shared-memory slots that it knows.
        told: reasons of the present outage that are in the log.
        failed: set when a request failed, so that it is probed at once.
        requests: all requests to its models that have not ended.
    """

    url: str
    client: triton.InferenceServerClient
    chosen: frozenset[str | None] = frozenset({None})
    name: str = ""
    model: str | None = None
    healthy: bool = False
    reason: str = "not asked yet"
    in_flight: int = 0
    late: int = 0
    proven: float = -math.inf
    local: bool = True
    registered: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    requests: set[asyncio.Future[Any]] = field(default_factory=set)

    def begin(self, request: asyncio.Future[Any]) -> None:
        """Keep track of a request until it ends, whether or not somebody waits for it."""
        self.requests.add(request)
        request.add_done_callback(self._end)

    def leave(self, request: asyncio.Future[Any]) -> None:
        """Count a request that nobody waits for any more, but that the server still has."""
        if not request.done():
            self.in_flight += 1
            request.add_done_callback(self._forget)

    def _end(self, request: asyncio.Future[Any]) -> None:
        self.requests.discard(request)
        if not request.cancelled():
            request.exception()  # read it: asyncio warns of exceptions that nobody retrieved

    def _forget(self, _: asyncio.Future[Any]) -> None:
        self.in_flight -= 1


def _trace() -> dict[str, str] | None:
    """W3C trace context of the request, as gRPC metadata."""
    parent = TRACE.get()
    return None if parent is None else {"traceparent": parent}


async def infer(
    upstream: Upstream,
    model: str,
    inputs: Arrays,
    outputs: Sequence[str],
    timeout: float,
    parameters: Parameters,
) -> Arrays:
    """One inference. If the caller is cancelled or late, the request stays in Triton, which drops it if it still waits.

    Args:
        upstream: the server.
        model: name of the model.
        inputs: tensors by name.
        outputs: names of the tensors to return.
        timeout: seconds.
        parameters: of the request, see `parsing_rcnn.ensembles.parameters_of`.

    Raises:
        ServerLost, EngineUnavailable, ParsingRCNNError: by what Triton answered.
    """
    tensors = []
    for name, values in inputs.items():
        kind = "BYTES" if values.dtype == np.object_ else {"uint8": "UINT8", "float32": "FP32"}[values.dtype.name]
        tensor = triton.InferInput(name, list(values.shape), kind)
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    answer = await _ask(upstream, model, tensors, wanted, timeout, parameters)
    return {name: answer.as_numpy(name) for name in outputs}


async def infer_shared(
    upstream: Upstream,
    slot: Slot,
    places: Mapping[str, tuple[int, int]],
    model: str,
    picture: bytes,
    timeout: float,
    parameters: Parameters,
) -> Arrays:
    """One inference of an ensemble through shared memory: `infer` with IMAGE and the outputs of `places`.

    Raises:
        SlotUnknown: Triton does not have this slot, and has computed nothing.
        ServerLost, EngineUnavailable, ParsingRCNNError: by what Triton answered.
    """
    if slot.name not in upstream.registered:
        try:
            await upstream.client.register_system_shared_memory(
                slot.name, f"/{slot.name}", slot.size, client_timeout=timeout
            )
        except InferenceServerException as error:
            status, message = str(error.status()), str(error.message())
            if trouble_of(status, message) is not None:  # late or gone, which says nothing about its memory
                raise _translated(upstream, error, timeout) from None
            if "already in manager" not in message:
                raise SlotUnknown(message) from None
        upstream.registered.add(slot.name)
    tensor = triton.InferInput("IMAGE", [1], "BYTES")
    tensor.set_shared_memory(slot.name, slot.put(picture))
    wanted = []
    for name, (offset, size) in places.items():
        wanted.append(triton.InferRequestedOutput(name))
        wanted[-1].set_shared_memory(slot.name, size, offset)
    answer = await _ask(upstream, model, [tensor], wanted, timeout, parameters, slot)
    found = {}
    for name, (offset, _) in places.items():
        output = answer.get_output(name)
        found[name] = slot.get(offset, np.dtype(triton_to_np_dtype(output.datatype)), output.shape)
    return found


async def rows_of(upstream: Upstream) -> dict[str, int]:
    """Output of the ensembles -> bytes of one person."""
    metadata = await upstream.client.get_model_metadata("human_analysis", client_timeout=_METADATA)
    sizes = {}
    for output in metadata.outputs:
        own = [size for size in output.shape if size > 0]
        sizes[output.name] = math.prod(own) * np.dtype(triton_to_np_dtype(output.datatype)).itemsize
    return sizes


async def orphans(upstream: Upstream) -> list[str]:
    """Slots that the server maps although their file is gone."""
    try:
        found = await upstream.client.get_system_shared_memory_status(client_timeout=_METADATA)
    except InferenceServerException:
        return []
    return [name for name in found.regions if name.startswith(PREFIX) and not (FOLDER / name).exists()]


async def unregister(upstream: Upstream, names: Sequence[str]) -> None:
    """Let the server unmap slots that nothing uses. It may hold one for a moment after its answer, so try again."""
    for name in names:
        for _ in range(_LETS_GO):
            try:
                await upstream.client.unregister_system_shared_memory(name, client_timeout=_METADATA)
            except InferenceServerException as error:
                if error.status() != "StatusCode.INTERNAL":  # the server is gone, and its mapping with it
                    break
                await asyncio.sleep(0.05)
            else:
                break


async def _ask(
    upstream: Upstream,
    model: str,
    tensors: Sequence[triton.InferInput],
    wanted: Sequence[triton.InferRequestedOutput],
    timeout: float,
    parameters: Parameters,
    slot: Slot | None = None,
) -> Any:
    request = asyncio.ensure_future(
        upstream.client.infer(
            model,
            tensors,
            outputs=wanted,
            parameters=dict(parameters),
            timeout=math.ceil(1e6 * timeout),
            client_timeout=timeout + UNSURE,
            headers=_trace(),
        )
    )
    upstream.begin(request)
    if slot is not None:
        slot.request = request
    try:
        # The request itself is never cancelled: cancelling one that is computed kills Triton 2.51 and some later
        # versions, with all requests that they have accepted (triton-inference-server/server, issues 7368 and 8034).
        async with asyncio.timeout(timeout):
            return await asyncio.shield(request)
    except asyncio.CancelledError:
        upstream.leave(request)
        raise
    except TimeoutError:
        upstream.leave(request)
        raise _late(upstream, timeout) from None
    except InferenceServerException as error:
        raise _translated(upstream, error, timeout, parameters.get(MODEL)) from None


def _late(upstream: Upstream, timeout: float) -> EngineUnavailable:
    return EngineUnavailable(f"{upstream.url} has not answered within {timeout:.1f} s: come back later")


def _refused(upstream: Upstream, refusal: ParsingRCNNError, model: object) -> ParsingRCNNError:
    """The refusal of a picture or an option. If the gateway's own model is refused, Triton has older code, or another
    card, and would refuse every picture: then the server counts as lost."""
    if model not in upstream.chosen or not isinstance(refusal, InvalidOptions):
        return refusal
    if not refusal.detail.startswith(f"{MODEL}: "):
        return refusal
    return ServerLost(
        f"{upstream.url} does not take this gateway's --model ({refusal.detail}): run Triton with the gateway's "
        "--repository and version of parsing_rcnn, or leave --model out"
    )


def _translated(
    upstream: Upstream, error: InferenceServerException, timeout: float, model: object = None
) -> ParsingRCNNError:
    status, message = str(error.status()), str(error.message())
    refusal = refusal_of(message)
    if refusal is not None:
        return _refused(upstream, refusal, model)
    # with our prefix: the python backend has a similar message when it lacks memory for itself
    if f"shared memory region: '{PREFIX}" in message:
        return SlotUnknown(message)
    trouble = trouble_of(status, message)
    if trouble is Trouble.LATE:
        return _late(upstream, timeout)
    if trouble is Trouble.FULL:
        return Busy(f"the queue of {upstream.url} is full ({message}): come back later")
    if trouble is not None:  # another server may have the model that this one lacks
        return ServerLost(f"{upstream.url} cannot answer now ({message}): come back later")
    log.error("triton failed", url=upstream.url, status=status, message=message)
    return ServerLost(f"{upstream.url} failed; its log says why: come back later")
