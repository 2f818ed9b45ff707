"""Which of the card's models a server is asked for: a Triton of gRPC that notes the parameter, and a gateway."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from typer.testing import CliRunner

from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from parsing_rcnn.ensembles import models_of
from parsing_rcnn.errors import DeadlineExceeded, InvalidOptions, ParsingRCNNError, UnsupportedImage
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import AsyncClient, Client
from parsing_rcnn_client.cli.options import EngineChoice

grpc = pytest.importorskip("grpc", reason="needs tritonclient[grpc]")
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402

Servicer = TypeVar("Servicer")
SAID = "model: there is no 'huge' in this repository; choose from fast, large"


class Answering(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """What Triton says of itself and of its ensembles."""

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["3"], platform="ensemble")


class Refusing(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self) -> None:
        self.models: list[str | None] = []

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.models.append(request.parameters["model"].string_param if "model" in request.parameters else None)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"in ensemble 'human_analysis', invalid-options: {SAID}")


@contextmanager
def serving(servicer: Servicer) -> Iterator[tuple[str, Servicer]]:
    """(its address, itself)."""
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}", servicer
    server.stop(None)


@pytest.fixture
def refusing() -> Iterator[tuple[str, Refusing]]:
    with serving(Refusing()) as served:
        yield served


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


def test_the_model_of_a_call_wins_over_the_clients(refusing: tuple[str, Refusing], photo_jpeg: bytes) -> None:
    url, servicer = refusing
    with Client.triton(url, model="large") as client:
        for given in ({"model": "fast"}, {"options": Options(model="fast")}, {}):
            with pytest.raises(InvalidOptions, match=f"^{SAID}$"):
                client.analyze(photo_jpeg, **given)  # type: ignore[arg-type]
    assert servicer.models == ["fast", "fast", "large"]


class Sized(Answering):
    """Triton with the shipped models, which answers two requests side by side, each at the size that it says.

    Attributes:
        models: the parameter of each request.
        parameters: of its ensembles' configuration.
        held: requests wait until two are there.
        times: the microseconds that each may wait.
        slow: seconds that it thinks over its configuration.
        configurations: how often it was asked for them.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.models = pipeline, []
        self.parameters = models_of(pipeline.repository.card)
        self.configurations, self.slow = 0, 0.0
        self.held = threading.Barrier(2)
        self.times: list[int] = []

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.configurations += 1
        time.sleep(self.slow)
        answer = service_pb2.ModelConfigResponse()
        for key, value in self.parameters.items():
            answer.config.parameters[key].string_value = value
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        model = request.parameters["model"].string_param
        self.models.append(model)
        self.times.append(request.parameters["timeout"].int64_param)
        if model == "accurate":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid-options: model: {model!r} is two requests")
        self.held.wait(30)  # side by side
        raw = request.raw_input_contents[0]
        confidence = float(request.parameters["confidence"].string_param)
        most = request.parameters["max_people"].int64_param
        options = Options("parsing", confidence, most, model=model)
        try:
            people = self.pipeline.analyze(raw[4:], options)
        except ParsingRCNNError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error.code}: {error.detail}")
        arrays = {
            "BOXES": people.boxes,
            "SCORES": people.scores,
            "IMAGE_SIZE": np.array(people.image_size, np.int32),
            "PARTS": people.parts,
            "PART_SCORES": people.part_scores,
        }
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        kinds = {"float32": "FP32", "uint8": "UINT8", "int32": "INT32"}
        for output in request.outputs:
            array = arrays[output.name]
            assert array is not None
            answer.outputs.add(name=output.name, datatype=kinds[array.dtype.name], shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


@pytest.fixture
def sized(pipeline: Pipeline) -> Iterator[tuple[str, Sized]]:
    with serving(Sized(pipeline)) as served:
        yield served


def test_a_model_of_two_sizes_is_two_requests_side_by_side(
    sized: tuple[str, Sized], pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    url, servicer = sized
    expected = pipeline.analyze(photo_jpeg, tasks="parsing", confidence=0.1, model="accurate")
    with Client.triton(url, model="accurate") as client:
        for _ in range(2):
            people = client.analyze(photo_jpeg, tasks="parsing", confidence=0.1)
            np.testing.assert_allclose(people.boxes, expected.boxes, atol=0.01)
            np.testing.assert_allclose(people.scores, expected.scores, atol=1e-5)
            assert people.parts is not None
            assert (people.parts == expected.parts).mean() > 0.999
    assert sorted(servicer.models) == ["fast", "fast", "large", "large"]
    assert servicer.configurations == 1


@pytest.mark.parametrize("parameters", [{}, {"models": "no JSON"}, {"models": '{"accurate": {"canvases": [[1]]}}'}])
def test_of_a_server_that_does_not_say_its_sizes_two_are_refused_as_it_refuses_them(
    sized: tuple[str, Sized], photo_jpeg: bytes, parameters: dict[str, str]
) -> None:
    url, servicer = sized
    servicer.parameters = parameters
    with Client.triton(url) as client, pytest.raises(InvalidOptions, match="model: 'accurate' is two requests"):
        client.analyze(photo_jpeg, tasks="parsing", model="accurate")


def test_of_two_sizes_what_fails_for_one_fails_for_the_picture(sized: tuple[str, Sized]) -> None:
    url, _ = sized
    with Client.triton(url, retry=False) as client, pytest.raises(UnsupportedImage):
        client.analyze(b"junk", tasks="parsing", model="accurate")


def test_a_name_that_is_none_of_the_servers_is_refused_before_any_picture(
    sized: tuple[str, Sized], photo: Path, tmp_path: Path
) -> None:
    url, servicer = sized
    says = "has no 'huge'; choose from fast, large, accurate, or leave it out"
    with Client.triton(url, model="huge") as client:
        with pytest.raises(InvalidOptions, match=f"^model: {url} {says}$"):
            client.analyze(photo)
        with pytest.raises(InvalidOptions, match=says):
            _ = client.info
    for command in (("info",), ("predict", str(photo), "-o", str(tmp_path / "out"))):
        done = CliRunner().invoke(build(), (*command, "--triton", url, "--model", "huge"))
        assert done.exit_code != 0
        assert says in done.stderr + str(done.exception)
        assert "human_analysis" not in done.stdout
    assert not list((tmp_path / "out").iterdir())
    assert servicer.models == []
    with Client.triton(url, model="accurate") as client:
        assert client.info.name == "human_analysis accurate"


def test_a_server_that_has_another_model_since_is_asked_for_it(sized: tuple[str, Sized]) -> None:
    url, servicer = sized
    with Client.triton(url) as client:
        shipped = json.loads(servicer.parameters["models"])
        servicer.parameters = {"models": json.dumps({"fast": shipped["fast"]})}
        with pytest.raises(InvalidOptions, match="has no 'large'; choose from fast, or leave it out"):
            client.analyze(b"junk", tasks="parsing", model="large")
        servicer.parameters = {"models": json.dumps(shipped)}
        servicer.held = threading.Barrier(1)
        with pytest.raises(UnsupportedImage):
            client.analyze(b"junk", tasks="parsing", model="large")
    assert servicer.models == ["large"]


class Mute(Answering):
    """Triton that takes a request and says nothing until `over`."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.over.wait(60)

    ServerMetadata = ModelConfig  # type: ignore[assignment]


def test_of_a_server_that_goes_silent_nothing_is_waited_for_longer_than_allowed(photo_jpeg: bytes) -> None:
    with serving(Mute()) as (url, mute), Client.triton(url, timeout=0.5) as client, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.analyze, photo_jpeg, model="large"), pool.submit(lambda: client.info)]
        try:
            for one in asked:
                with pytest.raises(DeadlineExceeded, match="no answer in time"):
                    one.result(30)
        finally:
            mute.over.set()


def test_what_a_server_says_of_its_models_is_of_the_pictures_time(sized: tuple[str, Sized], photo_jpeg: bytes) -> None:
    url, servicer = sized
    servicer.slow = 0.3
    with Client.triton(url, timeout=60) as client:
        client.analyze(photo_jpeg, tasks="parsing", model="accurate")
    assert len(servicer.times) == 2
    assert all(0 < left <= 59.7e6 for left in servicer.times)


def test_a_gateway_is_asked_for_it_with_each_picture(gateway_url: str, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    expected = {name: pipeline.analyze(photo_jpeg, tasks="", model=name) for name in ("fast", "large")}
    with Client.connect(gateway_url) as client, Client.connect(gateway_url, model="large") as large:
        assert (client.info.name, large.info.name) == ("light", "light large")
        assert client.info.models == ("fast", "large", "accurate")
        people = {
            "large": [client.analyze(photo_jpeg, tasks="", model="large"), large.analyze(photo_jpeg, tasks="")],
            "fast": [client.analyze(photo_jpeg, tasks=""), large.analyze(photo_jpeg, tasks="", model="fast")],
        }
        people["large"] += [*client.analyze_many([photo_jpeg], tasks="", model="large")]  # type: ignore[list-item]
        people["large"] += [a.people for a in client.stream([photo_jpeg], tasks="", model="large")]  # type: ignore[misc]
        with pytest.raises(InvalidOptions, match="light has no 'huge'; choose from fast, large, accurate"):
            client.analyze(photo_jpeg, model="huge")
    for name, found in people.items():
        for one in found:
            np.testing.assert_array_equal(one.boxes, expected[name].boxes)


def test_asyncio_asks_for_it_too(gateway_url: str, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    async def asked() -> tuple[str, list[People]]:
        async with AsyncClient.connect(gateway_url, model="large") as client:
            found = [await client.analyze(photo_jpeg, tasks="")]
            found += [answer.people async for answer in client.stream([photo_jpeg], tasks="")]  # type: ignore[misc]
            return (await client.info()).name, found

    name, found = asyncio.run(asked())
    assert name == "light large"
    for people in found:
        np.testing.assert_array_equal(people.boxes, pipeline.analyze(photo_jpeg, tasks="", model="large").boxes)


def test_predict_sends_it_to_a_gateway(gateway_url: str, photo: Path, tmp_path: Path) -> None:
    common = ("predict", str(photo), "--server", gateway_url, "--write", "json", "-o", str(tmp_path))
    done = CliRunner().invoke(build(), (*common, "--model", "large"))
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "photo.json").read_text())["model"]["name"] == "light large"
    done = CliRunner().invoke(build(), (*common, "--model", "large", "--resume"))
    assert "1 skipped" in done.stderr
    done = CliRunner().invoke(build(), (*common, "--model", "fast", "--resume"))  # another one's results are not these
    assert "skipped" not in done.stderr
    done = CliRunner().invoke(build(), ("info", "--server", gateway_url, "--model", "accurate"))
    assert "light accurate" in done.stdout
    done = CliRunner().invoke(build(), (*common, "--model", "huge"))
    assert done.exit_code != 0
    assert "choose from fast, large, accurate" in done.stderr + str(done.exception)


def test_the_commands_choose_a_model_of_a_server(refusing: tuple[str, Refusing], photo_jpeg: bytes) -> None:
    url, servicer = refusing
    engine = EngineChoice(triton=url, model="huge").open(5)
    with pytest.raises(InvalidOptions, match=SAID):
        engine.analyze(photo_jpeg)
    engine.close()
    assert servicer.models == ["huge"]
    assert EngineChoice(server="http://127.0.0.1:9", model="large").open(5).model == "large"  # type: ignore[attr-defined]
    with pytest.raises(InvalidOptions, match="--precision: only for the embedded engine"):
        EngineChoice(triton=url, model="large", precision="int8").open(5)
