"""One Triton server behind the gateway: its state, one inference on it, and what its answers mean."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import structlog
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from parsing_rcnn.errors import (
    EngineUnavailable,
    ImageTooLarge,
    InvalidImage,
    InvalidOptions,
    ParsingRCNNError,
    UnsupportedImage,
)
from parsing_rcnn.people import Options

# what the models say before a colon (parsing_rcnn.triton_models)
_REFUSALS = {e.code: e for e in (InvalidImage, InvalidOptions, ImageTooLarge, UnsupportedImage)}
# of a server that may be well a moment later, or a model of it that a supervisor is loading again
_ELSEWHERE = ("UNAVAILABLE", "NOT_FOUND", "is not healthy", "is not ready", "Cancelled", "CANCELLED", "unloaded")
_FULL, _TOO_LATE = "maximum queue size", "Request timeout expired"

log = structlog.get_logger("server")

Arrays = dict[str, NDArray[Any]]
TRACE: ContextVar[str | None] = ContextVar("traceparent", default=None)


class ServerLost(EngineUnavailable):
    """This server cannot answer now; another may."""


@dataclass
class Upstream:
    """One Triton server: its connection, whether its last probe came back, and requests on their way."""

    url: str
    client: triton.InferenceServerClient
    name: str = ""
    healthy: bool = False
    reason: str = "not asked yet"
    in_flight: int = 0
    late: int = 0
    failed: asyncio.Event = field(default_factory=asyncio.Event)


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
    options: Options,
    marks: Mapping[str, int] = MappingProxyType({}),
) -> Arrays:
    """One inference. A cancelled caller cancels it in Triton as well; what waits there longer than its caller is
    dropped.

    Args:
        timeout: seconds; marks: further parameters.

    Raises:
        ServerLost, EngineUnavailable, ParsingRCNNError: by what Triton answered.
    """
    tensors = []
    for name, values in inputs.items():
        kind = "BYTES" if values.dtype == np.object_ else {"uint8": "UINT8", "float32": "FP32"}[values.dtype.name]
        tensor = triton.InferInput(name, list(values.shape), kind)
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    parameters: dict[str, str | int] = {"confidence": repr(options.confidence), "max_people": options.max_people}
    parameters |= marks
    if options.max_side is not None:
        parameters["max_side"] = options.max_side
    wanted = [triton.InferRequestedOutput(name) for name in outputs]
    try:
        answer = await upstream.client.infer(
            model,
            tensors,
            outputs=wanted,
            parameters=parameters,
            timeout=math.ceil(1e6 * timeout),
            client_timeout=timeout,
            headers=_trace(),
        )
    except InferenceServerException as error:
        raise _translated(upstream, error, timeout) from None
    return {name: answer.as_numpy(name) for name in outputs}


def _translated(upstream: Upstream, error: InferenceServerException, timeout: float) -> ParsingRCNNError:
    status, message = str(error.status()), str(error.message())
    # "in ensemble 'human_analysis', invalid-image: the bytes ..."
    for code, kind in _REFUSALS.items():
        before, found, detail = message.partition(f"{code}: ")
        if found and (not before or before.endswith(", ")):
            return kind(detail)
    if "DEADLINE_EXCEEDED" in status or _TOO_LATE in message:
        return EngineUnavailable(f"{upstream.url} has not answered within {timeout:.1f} s: come back later")
    if _FULL in message:
        return EngineUnavailable(f"the queue of {upstream.url} is full ({message}): come back later")
    if any(word in status or word in message for word in _ELSEWHERE):
        return ServerLost(f"{upstream.url} cannot answer now ({message}): come back later")
    log.error("triton failed", url=upstream.url, status=status, message=message)
    return ServerLost(f"{upstream.url} failed; its log says why: come back later")
