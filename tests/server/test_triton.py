"""Triton servers behind the gateway, played by servers of gRPC that can be held up, lost and looked into."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from tritonclient.grpc import service_pb2, service_pb2_grpc

from parsing_rcnn.ensembles import identity, outputs
from parsing_rcnn.repository import ModelRepository
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import post, refused, until

URL = "/v1/analyze"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Played(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that finds nobody. While it is well, its probes are answered at once.

    Attributes:
        asked: of each picture that is no probe, the request's metadata.
        begun: counts them, too.
        probes: how many of the others there were.
        gate: closed, pictures wait for their answer.
        dies: is lost with the next picture.
        refusal: what it says to every picture instead.
        classes: of its part maps.
        parameters: of its ensembles' configuration; None: it keeps that to itself.
        over: the request of a picture has ended, with an answer or without.
    """

    def __init__(self, photo: bytes) -> None:
        self.photo = photo
        self.asked: list[dict[str, Any]] = []
        self.begun, self.gate, self.over = threading.Semaphore(0), threading.Event(), threading.Event()
        self.gate.set()
        self.dies = self.lost = False
        self.probes = 0
        self.refusal, self.classes = "", 20
        self.parameters: dict[str, str] | None = {}
        self._server = grpc.server(ThreadPoolExecutor(8))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self.gate.set()
        self._server.stop(None).wait()

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.ServerMetadataResponse(name="triton", version="2")

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (gRPC's name)
        if self.parameters is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header 'triton-grpc-x'")
        answer = service_pb2.ModelConfigResponse()
        for key, value in (self.parameters or {}).items():
            answer.config.parameters[key].string_value = value
        return answer

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (gRPC's name)
        if request.raw_input_contents[0].endswith(self.photo):
            self.asked.append(dict(context.invocation_metadata()))
            context.add_callback(self.over.set)
            self.begun.release()
            self.gate.wait(120)
            self.lost |= self.dies
            if self.refusal:
                context.abort(grpc.StatusCode.INTERNAL, self.refusal)
        else:
            self.probes += 1
        if self.lost:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        return self.answer(request, 0, {})

    def answer(self, request: Any, people: int, known: dict[str, Any]) -> Any:
        """So many people with these tensors, and 512 in all others."""
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        every = {output.name: output for output in outputs(("parsing", "densepose"), self.classes, 128)}
        for wanted in request.outputs:
            output = every[wanted.name]
            shape = [people if size < 0 else size for size in output.dims]
            values = np.array(known.get(output.name, np.full(shape, 512))).astype(output.kind)
            kind = {"float32": "FP32", "int32": "INT32", "uint8": "UINT8"}[output.kind]
            answer.outputs.add(name=output.name, datatype=kind, shape=values.shape)
            answer.raw_output_contents.append(values.tobytes())
        return answer


@pytest.fixture
def servers(photo_jpeg: bytes) -> Iterator[list[Played]]:
    """Three of them."""
    found = [Played(photo_jpeg) for _ in range(3)]
    yield found
    for server in found:
        server.close()


def settings_of(*servers: Played, **given: Any) -> Settings:
    """Patient: pictures are held for as long as a test needs."""
    url = ",".join(server.address for server in servers)
    return Settings(engine="triton", triton_url=url, **{"triton_timeout": 120.0, **given})


@contextmanager
def gateway(*servers: Played, **given: Any) -> Iterator[TestClient]:
    """The gateway before them, from when it knows that all are well."""
    with TestClient(create_app(settings_of(*servers, **given))) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        until(lambda: client.get("/v1/models").json()[0]["runtime"].count("127.0.0.1") == len(servers))
        yield client


def counts(servers: list[Played]) -> list[int]:
    return [len(server.asked) for server in servers]


def test_the_least_loaded_server_is_asked(servers: list[Played], photo_jpeg: bytes) -> None:
    first, second, _ = servers
    with gateway(first, second) as client, ThreadPoolExecutor(4) as senders:

        def send() -> int:
            return client.post(URL, content=photo_jpeg, headers={"X-Timeout-Ms": "120000"}).status_code

        first.gate.clear()
        held = senders.submit(send)
        assert first.begun.acquire(timeout=60)
        assert [send() for _ in range(3)] == [200] * 3  # one after the other: each finds the second one idle
        assert counts(servers) == [1, 3, 0]
        second.gate.clear()
        more = [senders.submit(send)]
        until(lambda: counts(servers) == [1, 4, 0])
        more += [senders.submit(send) for _ in range(2)]  # one on each: both get another
        until(lambda: counts(servers) == [2, 5, 0])
        for server in (first, second):
            server.gate.set()
        assert [answer.result(120) for answer in (held, *more)] == [200] * 4


def test_a_picture_that_a_server_loses_is_tried_once_on_another(servers: list[Played], photo_jpeg: bytes) -> None:
    first, second, third = servers
    with gateway(*servers) as client:
        first.dies = True
        assert client.post(URL, content=photo_jpeg).status_code == 200
        assert counts(servers) == [1, 1, 0]
        assert first.address not in client.get("/v1/models").json()[0]["runtime"]  # it gets no more
        assert client.get("/readyz").status_code == 200
        second.dies = third.dies = True
        again = client.post(URL, content=photo_jpeg)
        refused(again, 503, "cannot answer now")
        assert again.headers["retry-after"] == "1"
        assert counts(servers) == [1, 2, 1]
        refused(client.get("/readyz"), 503, *(server.address for server in servers))
        first.lost = first.dies = False  # it is well again, as its probes find out
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post(URL, content=photo_jpeg).status_code == 200
        assert counts(servers) == [2, 2, 1]


def test_what_a_server_loses_goes_to_the_least_loaded_of_the_others(servers: list[Played], photo_jpeg: bytes) -> None:
    first, second, _ = servers
    with gateway(*servers) as client, ThreadPoolExecutor(2) as senders:
        answers = []
        for server in (first, second):
            server.gate.clear()
            answers.append(senders.submit(client.post, URL, content=photo_jpeg, headers={"X-Timeout-Ms": "120000"}))
            assert server.begun.acquire(timeout=60)
        first.dies = True
        first.gate.set()
        assert answers[0].result(120).status_code == 200
        assert counts(servers) == [1, 1, 1]
        second.gate.set()
        assert answers[1].result(120).status_code == 200


def test_a_picture_that_loses_two_servers_is_not_tried_on_a_third(servers: list[Played], photo_jpeg: bytes) -> None:
    with gateway(*servers) as client:
        servers[0].dies = servers[1].dies = True
        refused(client.post(URL, content=photo_jpeg), 503, "cannot answer now")
        assert counts(servers) == [1, 1, 0]
        assert client.post(URL, content=photo_jpeg).status_code == 200
        assert counts(servers) == [1, 1, 1]


def test_a_server_of_another_taxonomy_gets_no_pictures(servers: list[Played], photo_jpeg: bytes) -> None:
    first, second, _ = servers
    first.classes = 59
    said = "Triton serves 59 part classes, this gateway's model card has 20: give both the same --repository"
    with TestClient(create_app(settings_of(first))) as client:
        until(lambda: said in client.get("/readyz").text)
        refused(client.get("/readyz"), 503, said)
        refused(client.post(URL, content=photo_jpeg), 503, said)
        first.classes = 20  # started again with the gateway's
        until(lambda: client.get("/readyz").status_code == 200)
    first.classes = 59
    with TestClient(create_app(settings_of(first, second))) as client:  # the other one serves
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post(URL, content=photo_jpeg).status_code == 200
    assert counts(servers) == [0, 1, 0]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"card.name": "mine"}, "mine 7.1 (cihp; trained: densepose, parsing; weights 52c53f051c53)"),
        ({"card.version": "8"}, "light 8 (cihp; trained: densepose, parsing; weights 52c53f051c53)"),
        ({"card.trained": ""}, "light 7.1 (cihp; trained: nothing; weights 52c53f051c53)"),
    ],
)
def test_a_server_of_other_weights_gets_no_pictures(
    servers: list[Played], photo_jpeg: bytes, said: dict[str, str], shown: str
) -> None:
    digest = "52c53f051c5350fdc1fc2f30bcd8d6928464d751cf1aa1178cf0ee7617f3cb8e"
    card = {"name": "light", "version": "7.1", "taxonomy": "cihp", "weights_sha256": digest}
    own = identity({**card, "tasks": {"densepose": {"trained": True}, "parsing": {"trained": True}}})
    assert own == identity(ModelRepository.open().card)
    server = servers[0]
    server.parameters = {**own, **said}
    ours = "light 7.1 (cihp; trained: densepose, parsing; weights 52c53f051c53)"
    expected = f"Triton serves {shown}, this gateway's model card is of {ours}"
    with TestClient(create_app(settings_of(server))) as client:
        until(lambda: expected in client.get("/readyz").json()["detail"])
        refused(client.post(URL, content=photo_jpeg), 503, expected, "--target triton")
        server.parameters = own
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post(URL, content=photo_jpeg).status_code == 200
    assert counts(servers) == [1, 0, 0]


def test_a_server_that_never_gets_pictures_is_told_of_once(servers: list[Played], photo_jpeg: bytes) -> None:
    """Half of what somebody set up is not there, and pictures are answered all the same."""
    well, other = servers[:2]
    other.parameters = {"card.name": "mine"}
    with capture_logs() as logs, TestClient(create_app(settings_of(well, other))) as client:

        def up(server: Played) -> float:
            name = f'parsing_rcnn_triton_up{{url="{server.address}"}} '
            (line,) = (line for line in client.get("/metrics").text.splitlines() if line.startswith(name))
            return float(line.removeprefix(name))

        until(lambda: up(well) == 1)
        until(lambda: other.probes >= 3)
        assert client.post(URL, content=photo_jpeg).status_code == 200
        assert up(other) == 0
        other.parameters = {}
        until(lambda: up(other) == 1)
        other.lost = True
        until(lambda: up(other) == 0)
    told = [(line["event"], line["reason"]) for line in logs if line["log_level"] == "warning"]
    assert [event for event, _ in told] == ["triton gets no pictures"] * 2
    assert "Triton serves mine 7.1" in told[0][1]
    assert "the server is shutting down" in told[1][1]
    assert {line["url"] for line in logs if line["log_level"] == "warning"} == {other.address}


def test_of_servers_of_different_models_that_are_probed_side_by_side_one_gets_pictures(photo_jpeg: bytes) -> None:
    """As at the gateway's start: both are asked for their model before either is known to be well."""
    both = threading.Barrier(2)

    class Sized(Played):
        def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (gRPC's name)
            if request.name == "preprocess" and not self.asked_before:
                self.asked_before = True
                both.wait(120)
            return super().ModelConfig(request, context)

        asked_before = False

    servers = [Sized(photo_jpeg), Sized(photo_jpeg)]
    servers[1].parameters = {"model": "large"}
    reason = "set the parameter `model` of preprocess alike, or start the gateway with --model"
    try:
        with capture_logs() as logs, TestClient(create_app(settings_of(*servers))) as client:
            until(lambda: any(reason in line.get("reason", "") for line in logs))
            until(lambda: client.get("/readyz").status_code == 200)
            probes = [server.probes for server in servers]
            until(lambda: all(server.probes > before for server, before in zip(servers, probes, strict=True)))
            assert client.post(URL, content=photo_jpeg).status_code == 200
    finally:
        for server in servers:
            server.close()
    well = {line["url"] for line in logs if line["event"] == "triton answers"}
    refused = {line["url"] for line in logs if line["event"] == "triton gets no pictures"}
    assert (len(well), len(refused)) == (1, 1)
    assert not well & refused


@pytest.mark.parametrize("parameters", [{}, {"threads": "2"}, None], ids=["none", "others", "restricted"])
def test_a_server_that_does_not_say_whose_weights_it_runs_is_believed(
    servers: list[Played], photo_jpeg: bytes, parameters: dict[str, str] | None
) -> None:
    servers[0].parameters = parameters
    with gateway(servers[0]) as client:
        assert client.post(URL, content=photo_jpeg).status_code == 200


def test_a_refusal_of_the_picture_is_the_same_everywhere(servers: list[Played], photo_jpeg: bytes) -> None:
    for server in servers:
        server.refusal = "in ensemble 'human_analysis', invalid-image: it ends early"
    with gateway(*servers) as client:
        refused(client.post(URL, content=photo_jpeg), 400, "it ends early")
        assert sum(counts(servers)) == 1
        runtime = client.get("/v1/models").json()[0]["runtime"]
        assert all(server.address in runtime for server in servers)


@pytest.mark.parametrize(
    ("given", "passed"),
    [(TRACE, TRACE), (None, None), (TRACE.upper(), None), (TRACE + "-more", None), ("00-x-y-01", None)],
)
def test_the_callers_trace_is_passed_on(
    servers: list[Played], photo_jpeg: bytes, given: str | None, passed: str | None
) -> None:
    headers = {} if given is None else {"traceparent": given}
    with gateway(servers[0]) as client:
        for query in ("", "?tasks=parsing"):
            assert client.post(URL + query, content=photo_jpeg, headers=headers).status_code == 200
    assert [metadata.get("traceparent") for metadata in servers[0].asked] == [passed] * 2


def test_a_proxy_is_not_asked_for_a_server_of_ones_own(
    servers: list[Played], photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker and company machines set http_proxy, which gRPC obeys for 127.0.0.1 as well."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with TestClient(create_app(settings_of(servers[0]))) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.post(URL, content=photo_jpeg).status_code == 200


def test_a_request_whose_client_goes_is_left_to_triton_and_counted_until_it_ends(
    servers: list[Played], photo_jpeg: bytes
) -> None:
    """A request that is cancelled while it is computed kills Triton 2.51."""
    server = servers[0]
    server.gate.clear()
    with Live(settings_of(server), None) as live:
        connection = post(live, photo_jpeg)
        assert server.begun.acquire(timeout=60)
        assert not server.over.is_set()
        (upstream,) = live.app.state.engine._upstreams
        connection.close()
        until(lambda: live.app.state.engine._held == 0)
        assert upstream.in_flight == 1
        assert not server.over.wait(0.3)
        server.gate.set()
        until(lambda: upstream.in_flight == 0)
        assert server.over.wait(60)
        until(lambda: not upstream.requests)
