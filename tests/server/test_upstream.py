"""What the gateway makes of a Triton server's words: a server of gRPC that says them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2_grpc

from parsing_rcnn.analyzer import Options
from parsing_rcnn.ensembles import CHANNEL, parameters_of
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from server.engines import shared_memory
from server.engines.shared_memory import PREFIX
from server.engines.triton import TritonEngine
from server.engines.upstream import ServerLost, SlotUnknown, Upstream, infer, infer_shared
from server.errors import Busy
from server.supervisor.probes import Prober

PARAMETERS = parameters_of(Options())
NO_MEMORY = (
    "in ensemble 'human_analysis', Failed to process the request(s) for model instance 'detector_0_0', message: Failed "
    "to increase the shared memory pool size for key 'prcnn_8001_x' to 67108864 bytes. If you run Triton inside "
    "docker, use '--shm-size' flag to control the shared memory region size. Error: No space left on device"
)


class Refusing(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers every inference, and every slot, with the same error."""

    message = ""
    code = grpc.StatusCode.INTERNAL
    asked: Any = None
    left = 0.0  # seconds for which its client waits

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (gRPC's name)
        self.asked, self.left = request, context.time_remaining()
        context.abort(self.code, self.message)

    SystemSharedMemoryRegister = ModelInfer


@pytest.fixture
def refusing() -> Iterator[tuple[str, Refusing]]:
    servicer, server = Refusing(), grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None)


async def ask(url: str) -> None:
    client = triton.InferenceServerClient(url, channel_args=CHANNEL)
    try:
        picture = {"IMAGE": np.array([b"x"], np.object_)}
        await infer(Upstream(url, client), "human_analysis", picture, ("BOXES",), 60.0, PARAMETERS)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (NO_MEMORY, ServerLost),
        (f"Unable to find shared memory region: '{PREFIX}1_0'", SlotUnknown),
        (f"Invalid offset for shared memory region: '{PREFIX}1_0'", SlotUnknown),
        ("in ensemble 'densepose', inference request for sequence is not healthy", ServerLost),
    ],
)
def test_a_server_without_memory_is_lost_and_a_slot_it_does_not_know_is_not(
    refusing: tuple[str, Refusing], message: str, kind: type[Exception]
) -> None:
    url, servicer = refusing
    servicer.message = message
    with pytest.raises(EngineUnavailable) as caught:
        asyncio.run(ask(url))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        ("model: there is no such parameter; there are confidence", ServerLost, "--model .* same|leave --model out"),
        ("max_side: 3 is outside 32..16384", InvalidOptions, "^max_side: 3 is outside"),
    ],
)
def test_a_model_that_a_server_does_not_know_is_not_the_callers_fault(
    refusing: tuple[str, Refusing], message: str, kind: type[Exception], said: str
) -> None:
    url, servicer = refusing
    servicer.message = f"in ensemble 'human_analysis', invalid-options: {message}"
    with pytest.raises(kind, match=said):
        asyncio.run(ask(url))


def test_triton_is_told_in_microseconds_for_how_long_the_answer_is_wanted(refusing: tuple[str, Refusing]) -> None:
    url, servicer = refusing
    with pytest.raises(EngineUnavailable):
        asyncio.run(ask(url))
    assert servicer.asked.parameters["timeout"].int64_param == 60_000_000
    assert servicer.left > 60  # so that Triton's own word for it comes


@pytest.mark.parametrize(
    "message", ["Request for unknown model: 'densepose' has no available versions", "'densepose' is not ready"]
)
def test_a_server_that_starts_or_ends_has_not_failed(refusing: tuple[str, Refusing], message: str) -> None:
    url, servicer = refusing
    servicer.message = message
    with pytest.raises(ServerLost, match="cannot answer now"):
        asyncio.run(ask(url))


def test_a_server_whose_queue_is_full_is_busy_and_well(refusing: tuple[str, Refusing]) -> None:
    url, servicer = refusing
    servicer.code, servicer.message = grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"
    with pytest.raises(Busy, match=f"the queue of {url} is full"):
        asyncio.run(ask(url))


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("INTERNAL", f"Unable to open shared memory region: '/{PREFIX}1_0'", SlotUnknown),  # as Triton elsewhere says
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", EngineUnavailable),
        ("UNAVAILABLE", "failed to connect to all addresses", ServerLost),
    ],
)
def test_a_server_that_is_late_or_away_may_still_share_our_memory(
    refusing: tuple[str, Refusing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str, kind: type
) -> None:
    url, servicer = refusing
    servicer.code, servicer.message = grpc.StatusCode[code], message
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    memory = shared_memory.SharedMemory(1, {"BOXES": 16})
    slot = memory.take(1)
    assert slot is not None

    async def share() -> None:
        client = triton.InferenceServerClient(url, channel_args=CHANNEL)
        try:
            places = memory.places(["BOXES"])
            await infer_shared(Upstream(url, client), slot, places, "human_analysis", b"x", 60.0, PARAMETERS)
        finally:
            await client.close()

    with pytest.raises(EngineUnavailable) as caught:
        asyncio.run(share())
    memory.close()
    assert type(caught.value) is kind


def test_connections_try_again_every_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """gRPC's own pause grows to two minutes while a server is away; a gateway was seen to be 18 s late after 28."""
    given: list[dict[str, Any]] = []

    class Noted:
        def __init__(self, url: str, channel_args: Any = None) -> None:
            given.append(dict(channel_args or ()))

    monkeypatch.setattr("server.engines.triton.triton.InferenceServerClient", Noted)
    monkeypatch.setattr("server.supervisor.probes.triton.InferenceServerClient", Noted)
    Prober.connect("127.0.0.1:1", "127.0.0.1:2", tmp_path)

    async def start() -> None:
        engine = TritonEngine(["127.0.0.1:1"], None, 8, 1.0)
        await engine.start()

    asyncio.run(start())
    assert len(given) == 2
    for options in given:
        assert options["grpc.max_reconnect_backoff_ms"] == 1000
        assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == 2**31 - 1
