"""Models before Triton, and the one that is two requests for a picture: servers of gRPC that say what was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from starlette.testclient import TestClient

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository
from server.app import create_app
from server.engines.triton import TritonEngine
from server.requests.call import Call
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import post, refused, until
from tests.server.test_triton import URL, Played, gateway, settings_of

MAPS = {"PARTS": (128, 128), "PART_SCORES": (20,), "IUV": (3, 128, 128), "IUV_SCORES": (25,)}
# in a picture of 512x512, which the canvas of `fast` shows as it is: 400 pixels are that size's, 100 the other one's
PEOPLE = {"fast": ([0, 0, 100, 400], 0.9), "large": ([200, 10, 230, 110], 0.8)}


class Sized(Played):
    """Finds one person at each size.

    Attributes:
        models: the parameter `model` of each picture and of each probe, None where there is none.
        old: knows no such parameter.
        refuses: {model: what it says to pictures of it instead}; held: models whose pictures wait for the gate.
    """

    def __init__(self, photo: bytes) -> None:
        super().__init__(photo)
        self.models: dict[str, list[str | None]] = {"picture": [], "probe": []}
        self.old = False
        self.refuses: dict[str, str] = {}
        self.held = {"fast", "large"}

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (gRPC's name)
        model = request.parameters["model"].string_param if "model" in request.parameters else None
        picture = request.raw_input_contents[0].endswith(self.photo)
        self.models["picture" if picture else "probe"].append(model)
        if self.old and model is not None:
            detail = "model: there is no such parameter; there are confidence, max_people, max_side"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"in ensemble 'human_analysis', invalid-options: {detail}")
        if not picture or model is None:
            return super().ModelInfer(request, context)
        context.add_callback(self.over.set)
        self.begun.release()
        if model in self.held:
            self.gate.wait(120)
        self.lost |= self.dies
        if self.lost:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if model in self.refuses:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refuses[model])
        box, score = PEOPLE[model]
        ones = {name: np.ones((1, *shape)) for name, shape in MAPS.items()}
        return self.answer(request, 1, {**ones, "BOXES": [box], "SCORES": [score]})


@pytest.fixture
def servers(photo_jpeg: bytes) -> Iterator[list[Sized]]:
    """Two of them."""
    found = [Sized(photo_jpeg) for _ in range(2)]
    yield found
    for server in found:
        server.close()


def found_in(answer: Any) -> list[tuple[int, float]]:
    """(height, score) of everybody."""
    assert answer.status_code == 200, answer.text
    return [(round(p["height"]), round(p["confidence"], 3)) for p in answer.json()["predictions"]]


@pytest.mark.parametrize(
    ("model", "asked", "people"),
    [
        (None, [None], []),
        ("fast", ["fast"], [(400, 0.9)]),
        ("large", ["large"], [(100, 0.8)]),
        ("accurate", ["fast", "large"], [(400, 0.9), (100, 0.8)]),
    ],
)
def test_every_request_says_its_size_where_a_model_was_chosen(
    servers: list[Sized], photo_jpeg: bytes, model: str | None, asked: list[str | None], people: list[Any]
) -> None:
    server = servers[0]
    with gateway(server, model=model) as client:
        assert found_in(client.post(URL, content=photo_jpeg)) == people
        info = client.get("/v1/models").json()[0]
        assert info["name"] == ("light" if model is None else f"light {model}")
        assert info["canvases"] == [list(sides) for sides in ModelRepository.open(model=model).canvases]
    assert sorted(server.models["picture"], key=str) == asked
    assert set(server.models["probe"]) == set(asked)


def test_the_options_hold_for_both_sizes_together(servers: list[Sized], photo_jpeg: bytes) -> None:
    with gateway(servers[0], model="accurate") as client:
        assert found_in(client.post(f"{URL}?max_people=1", content=photo_jpeg)) == [(400, 0.9)]
        assert found_in(client.post(f"{URL}?confidence=0.85", content=photo_jpeg)) == [(400, 0.9)]
        answer = client.post(URL, content=photo_jpeg).json()
        assert answer["timings_ms"].keys() == {"triton", "total"}
        assert [len(person["parts"]) for person in answer["predictions"]] == [1, 1]


def test_both_sizes_are_on_their_way_at_once_each_on_the_least_loaded_server(
    servers: list[Sized], photo_jpeg: bytes
) -> None:
    with gateway(*servers, model="accurate") as client, ThreadPoolExecutor(1) as sender:
        for server in servers:
            server.gate.clear()
        answer = sender.submit(client.post, URL, content=photo_jpeg)
        for server in servers:
            assert server.begun.acquire(timeout=60)
        assert sorted(server.models["picture"] for server in servers) == [["fast"], ["large"]]
        for server in servers:
            server.gate.set()
        assert len(found_in(answer.result(120))) == 2


def test_a_size_that_a_server_loses_is_tried_on_another(servers: list[Sized], photo_jpeg: bytes) -> None:
    first, second = servers
    with gateway(*servers, model="accurate") as client:
        first.dies = True
        assert len(found_in(client.post(URL, content=photo_jpeg))) == 2
        assert sorted(first.models["picture"] + second.models["picture"]) in (
            ["fast", "fast", "large"],
            ["fast", "large", "large"],
        )
        assert sorted(second.models["picture"]) == ["fast", "large"]
        second.dies = True
        refused(client.post(URL, content=photo_jpeg), 503, "cannot answer now")


def test_a_server_that_is_lost_before_the_sizes_are_asked_is_no_fault_of_ours(servers: list[Sized]) -> None:
    """Between the check of a picture and its two requests, which begin a round of the loop later."""

    async def lost_in_between() -> str:
        engine = TritonEngine([servers[0].address], None, 4, 30.0, model="accurate")
        await engine.start()
        try:
            async with asyncio.timeout(120):
                while engine.not_ready is not None:
                    await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_soon(engine._eject, engine._upstreams[0], "Connection reset")
            with pytest.raises(EngineUnavailable) as refusal:
                await engine.analyze(b"x", Options(), Call("analyze", "somebody"))
        finally:
            await engine.close()
        return refusal.value.detail

    assert "Connection reset" in asyncio.run(lost_in_between())
    assert servers[0].models["picture"] == []


@pytest.mark.parametrize(("failing", "held"), [("large", "fast"), ("fast", "large")])
def test_what_fails_at_one_size_fails_at_once_and_the_other_request_is_left_and_counted(
    servers: list[Sized], photo_jpeg: bytes, failing: str, held: str
) -> None:
    server = servers[0]
    server.refuses = {failing: "in ensemble 'human_analysis', invalid-image: it ends early"}
    server.held = {held}
    server.gate.clear()
    with gateway(server, model="accurate") as client:
        refused(client.post(URL, content=photo_jpeg), 400, "it ends early")
        engine = client.app.state.engine  # type: ignore[attr-defined]
        (upstream,) = engine._upstreams
        assert engine._held == 0
        assert upstream.healthy
        assert upstream.in_flight == 1
        server.gate.set()
        until(lambda: upstream.in_flight == 0)
        server.refuses = {}
        assert len(found_in(client.post(URL, content=photo_jpeg))) == 2


def test_a_caller_who_goes_leaves_both_requests_to_triton(servers: list[Sized], photo_jpeg: bytes) -> None:
    server = servers[0]
    server.gate.clear()
    with Live(settings_of(server, model="accurate"), None) as live:
        connection = post(live, photo_jpeg)
        for _ in range(2):
            assert server.begun.acquire(timeout=60)
        (upstream,) = live.app.state.engine._upstreams
        connection.close()
        until(lambda: live.app.state.engine._held == 0)
        assert upstream.in_flight == 2
        assert not server.over.wait(0.3)
        server.gate.set()
        until(lambda: upstream.in_flight == 0)
        until(lambda: not upstream.requests)


def test_both_sizes_have_the_time_of_the_picture(servers: list[Sized], photo_jpeg: bytes) -> None:
    server = servers[0]
    server.held = {"large"}
    server.gate.clear()
    with gateway(server, model="accurate") as client:
        answer = client.post(URL, content=photo_jpeg, headers={"X-Timeout-Ms": "500"})
        assert answer.status_code in (503, 504), answer.text
        (upstream,) = client.app.state.engine._upstreams  # type: ignore[attr-defined]
        until(lambda: upstream.in_flight == 1)  # the other size, which is not held, may be late as well
        server.gate.set()
        until(lambda: upstream.in_flight == 0)


@pytest.mark.parametrize("model", ["large", "accurate"])
def test_a_server_whose_code_is_older_than_the_parameter_is_not_ready(
    servers: list[Sized], photo_jpeg: bytes, model: str
) -> None:
    server = servers[0]
    server.old = True
    said = (
        f"{server.address} does not take this gateway's --model (model: there is no such parameter; there are "
        "confidence, max_people, max_side): run Triton with the gateway's --repository and version of parsing_rcnn"
    )
    with TestClient(create_app(settings_of(server, model=model))) as client:
        until(lambda: said in client.get("/readyz").json().get("detail", ""))
        refused(client.post(URL, content=photo_jpeg), 503, said)
        server.old = False
        until(lambda: client.get("/readyz").status_code == 200)
        server.old = True  # it was started again with other code: not the caller's fault
        refused(client.post(URL, content=photo_jpeg), 503, said)
        refused(client.get("/readyz"), 503, said)
    with gateway(server) as client:
        assert client.post(URL, content=photo_jpeg).status_code == 200


def test_sizes_without_a_name_of_their_own_are_refused_at_the_start(tmp_path: Path) -> None:
    shipped = ModelRepository.open()
    for name in GRAPHS:
        (tmp_path / name).symlink_to(shipped.path / name)
    models = {name: model for name, model in shipped.card["models"].items() if name != "fast"}
    (tmp_path / CARD).write_text(json.dumps({**shipped.card, "models": models}))
    with pytest.raises(InvalidOptions, match=r"--model accurate: .* no other model .* has the canvases 384x640, "):
        create_app(Settings(engine="triton", repository=tmp_path, model="accurate"))
    engine = create_app(Settings(engine="triton", repository=tmp_path, model="large")).state.engine
    assert engine._requests.models == {"large": ("large",)}  # nor are they offered to callers


@pytest.mark.parametrize("own", [None, "large", "accurate"])
def test_a_picture_may_ask_for_another_model_than_the_gateways(
    servers: list[Sized], photo_jpeg: bytes, own: str | None
) -> None:
    server = servers[0]
    asked = {"fast": [(400, 0.9)], "large": [(100, 0.8)], "accurate": [(400, 0.9), (100, 0.8)]}
    with gateway(server, model=own) as client:
        for name, people in asked.items():
            answer = client.post(f"{URL}?model={name}", content=photo_jpeg)
            assert found_in(answer) == people
            assert answer.json()["model"]["name"] == f"light {name}"
        assert client.get("/v1/models").json()[0]["models"] == ["fast", "large", "accurate"]
        refused(client.post(f"{URL}?model=huge", content=photo_jpeg), 422, "choose from fast, large, accurate")
    assert sorted(server.models["picture"], key=str) == ["fast", "fast", "large", "large"]
    assert "fast" not in server.models["probe"] or own == "accurate"  # what callers may ask for is not probed


@pytest.mark.parametrize(
    ("own", "name", "people"),
    [(None, "fast", [400]), ("large", "large", [100]), ("accurate", "accurate", [400, 100])],
)
def test_without_a_choice_only_the_gateways_own_may_be_named(
    servers: list[Sized], photo_jpeg: bytes, own: str | None, name: str, people: list[int]
) -> None:
    with gateway(servers[0], model=own, only_model=True) as client:
        answer = client.post(f"{URL}?model={name}", content=photo_jpeg)
        assert [height for height, _ in found_in(answer)] == people
        for other in {"fast", "large", "accurate"} - {name}:
            refused(client.post(f"{URL}?model={other}", content=photo_jpeg), 422, f"only {name!r} runs: leave it out")


def test_a_server_that_knows_no_models_refuses_who_asks_and_answers_the_others(
    servers: list[Sized], photo_jpeg: bytes
) -> None:
    server = servers[0]
    server.old = True
    with gateway(server) as client:
        said = "model: there is no such parameter; there are confidence, max_people, max_side"
        for name in ("large", "accurate"):
            refused(client.post(f"{URL}?model={name}", content=photo_jpeg), 422, said)
        assert client.get("/readyz").status_code == 200
        assert client.post(URL, content=photo_jpeg).status_code == 200
