"""Which of the card's models a Triton is asked for: a server of gRPC that notes the parameter and refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client import AsyncClient, Client
from parsing_rcnn_client.options import EngineChoice

grpc = pytest.importorskip("grpc", reason="needs tritonclient[grpc]")
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
from tritonclient.grpc import service_pb2_grpc  # noqa: E402

SAID = "model: there is no 'huge' in this repository; choose from fast, large"


class Refusing(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self) -> None:
        self.models: list[str | None] = []

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.models.append(request.parameters["model"].string_param if "model" in request.parameters else None)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"in ensemble 'human_analysis', invalid-options: {SAID}")


@pytest.fixture
def refusing() -> Iterator[tuple[str, Refusing]]:
    servicer, server = Refusing(), grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}", servicer
    server.stop(None)


async def _asked(url: str, picture: bytes, **given: Any) -> None:
    async with AsyncClient.triton(url, **given) as client:
        await client.analyze(picture)


def test_the_model_goes_with_each_request_where_one_was_chosen(
    refusing: tuple[str, Refusing], photo_jpeg: bytes
) -> None:
    url, servicer = refusing
    for given in ({}, {"model": "large"}):
        with Client.triton(url, **given) as client, pytest.raises(InvalidOptions, match=f"^{SAID}$"):
            client.analyze(photo_jpeg)
        with pytest.raises(InvalidOptions, match=f"^{SAID}$"):
            asyncio.run(_asked(url, photo_jpeg, **given))
    assert servicer.models == [None, None, "large", "large"]  # a refusal is not asked for again


def test_the_commands_choose_a_model_of_triton_and_none_of_a_gateway(
    refusing: tuple[str, Refusing], photo_jpeg: bytes
) -> None:
    url, servicer = refusing
    engine = EngineChoice(triton=url, model="huge").open(5)
    with pytest.raises(InvalidOptions, match=SAID):
        engine.analyze(photo_jpeg)
    engine.close()
    assert servicer.models == ["huge"]
    with pytest.raises(InvalidOptions, match="--model: only for the embedded engine; a server has its own"):
        EngineChoice(server="http://127.0.0.1:9", model="large").open(5)
    with pytest.raises(InvalidOptions, match="--precision: only for the embedded engine"):
        EngineChoice(triton=url, model="large", precision="int8").open(5)
