"""The option `model`: which of the card's models a picture asks for, by every way of asking."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import refused
from tests.server.test_stream import frame, opened
from tests.server.test_v2 import URL as INFER

URL = "/v1/analyze"
ASKED = {"confidence": 0.1, "include": "", "max_side": 320}
CHOICES = "model: light has no 'huge'; choose from fast, large, accurate, or leave it out"


@pytest.fixture(scope="module")
def answers(pipeline: Pipeline, photo_jpeg: bytes) -> dict[str, list[list[float]]]:
    """Boxes of each model: at another size the network puts them elsewhere."""
    found = {}
    for name in ("fast", "large", "accurate"):
        people: People = pipeline.analyze(photo_jpeg, tasks="", confidence=0.1, max_side=320, model=name)
        found[name] = [[round(float(side), 1) for side in box] for box in people.boxes]
    assert found["fast"] != found["large"]
    return found


def boxes(document: Any) -> list[list[float]]:
    return [[round(side, 1) for side in person["bbox"]] for person in document["predictions"]]


@pytest.mark.parametrize("name", ["fast", "large", "accurate"])
def test_every_way_of_asking_takes_it(
    client: TestClient, photo_jpeg: bytes, answers: dict[str, list[list[float]]], name: str
) -> None:
    options = {**ASKED, "model": name}
    image = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    form = {"files": {"file": ("a.jpg", photo_jpeg)}, "data": {"options": json.dumps(options)}}
    found = [
        client.post(URL, params=options, content=photo_jpeg),
        client.post(URL, **form),  # type: ignore[arg-type]
        client.post(URL, json={"image": image, "options": options}),
    ]
    several = [
        client.post(f"{URL}/batch", **form),  # type: ignore[arg-type]
        client.post(f"{URL}/batch", json={"images": [image], "options": options}),
    ]
    assert [answer.headers["X-Model"] for answer in found] == [f"light {name}/7.1"] * 3
    for document in [answer.json() for answer in found] + [answer.json()["results"][0] for answer in several]:
        assert boxes(document) == answers[name]
        assert document["model"] == {"name": f"light {name}", "version": "7.1"}


def test_who_names_none_gets_the_gateways_own(
    client: TestClient, photo_jpeg: bytes, answers: dict[str, list[list[float]]]
) -> None:
    answer = client.post(URL, params=ASKED, content=photo_jpeg)
    assert boxes(answer.json()) == answers["fast"]
    assert answer.json()["model"]["name"] == "light"
    assert answer.headers["X-Model"] == "light/7.1"


def test_frames_of_a_stream_have_the_model_of_its_query(
    live: Live, photo_jpeg: bytes, answers: dict[str, list[list[float]]]
) -> None:
    with opened(live, "?confidence=0.1&include=&max_side=320&model=large") as socket:
        socket.send(frame(1, photo_jpeg))
        answer = json.loads(socket.recv(60))
    assert (boxes(answer), answer["model"]["name"]) == (answers["large"], "light large")


def test_the_protocol_of_triton_takes_it_accurate_too(
    client: TestClient, photo_jpeg: bytes, answers: dict[str, list[list[float]]]
) -> None:
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    document: dict[str, Any] = {
        "inputs": [{**tensor, "data": [base64.b64encode(photo_jpeg).decode()]}],
        "outputs": [{"name": "BOXES"}],
    }
    for name, expected in answers.items():
        document["parameters"] = {"confidence": "0.1", "max_side": 320, "model": name}
        (found,) = client.post(INFER, json=document).json()["outputs"]
        assert np.round(np.reshape(found["data"], (-1, 4)), 1).tolist() == pytest.approx(np.array(expected), abs=0.1)
    document["parameters"] = {"model": "huge"}
    answer = client.post(INFER, json=document)
    assert (answer.status_code, answer.json()) == (422, {"error": CHOICES})


def test_a_name_that_is_none_is_refused_with_the_choices(client: TestClient, live: Live, photo_jpeg: bytes) -> None:
    form = {"files": {"file": ("a.jpg", photo_jpeg)}, "data": {"options": '{"model": "huge"}'}}
    for answer in (
        client.post(f"{URL}?model=huge", content=photo_jpeg),
        client.post(URL, **form),  # type: ignore[arg-type]
        client.post(f"{URL}/batch", **form),  # type: ignore[arg-type]
        client.post(f"{URL}?model=huge", content=photo_jpeg, headers={"Accept": "image/png"}),
        httpx.get(f"http://{live.address}/v1/stream?model=huge", headers=upgrade(), timeout=60),
    ):
        refused(answer, 422, CHOICES)
    form["data"] = {"options": '{"model": 7}'}
    refused(client.post(URL, **form), 422, "model")  # type: ignore[arg-type]
    refused(client.post(f"{URL}?model=fast&model=large", content=photo_jpeg), 422, "model: the query has it 2 times")


def upgrade() -> dict[str, str]:
    """Headers of a handshake, whose refusal has a body then."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    return {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}


def test_what_there_is_to_choose_is_listed(client: TestClient) -> None:
    (listed,) = client.get("/v1/models").json()
    assert listed["models"] == list(listed["card"]["models"]) == ["fast", "large", "accurate"]
    assert (listed["name"], listed["model"], listed["max_tiles"]) == ("light", "fast", 4)
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"models", "model", "max_tiles"} <= schemas["Model"]["properties"].keys()
    assert "the names that /v1/models lists" in schemas["AnalyzeOptions"]["properties"]["model"]["description"]


@pytest.fixture(scope="module")
def accurate() -> Iterator[TestClient]:
    """A gateway that was started with another one."""
    settings = Settings(model="accurate", threads=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as running:
        wait_until_ready(running)
        yield running


def test_the_gateways_own_model_is_the_default_and_no_more(
    accurate: TestClient, photo_jpeg: bytes, answers: dict[str, list[list[float]]]
) -> None:
    (listed,) = accurate.get("/v1/models").json()
    assert (listed["name"], listed["model"], len(listed["models"])) == ("light accurate", "accurate", 3)
    for name, query in (("accurate", {}), ("fast", {"model": "fast"})):
        answer = accurate.post(URL, params={**ASKED, **query}, content=photo_jpeg).json()
        assert (boxes(answer), answer["model"]["name"]) == (answers[name], f"light {name}")


def test_an_engine_with_nothing_to_choose_says_so(photo_jpeg: bytes) -> None:
    engine = Slow()
    engine.gate.set()
    with TestClient(create_app(Settings(max_tiles=2), lambda: engine)) as client:
        wait_until_ready(client)
        (listed,) = client.get("/v1/models").json()
        assert (listed["models"], listed["model"], listed["max_tiles"]) == ([], None, 2)
        said = "model: slow has no 'large'; it has none to choose from: leave it out"
        refused(client.post(f"{URL}?model=large", content=photo_jpeg), 422, said)


def test_the_log_says_the_model_where_one_is_named(client: TestClient, photo_jpeg: bytes) -> None:
    with capture_logs() as lines:
        client.post(URL, params={**ASKED, "model": "fast"}, content=photo_jpeg)
        client.post(URL, params=ASKED, content=photo_jpeg)
        client.post(URL, params={"model": 100 * "x"}, content=photo_jpeg)
    said = [line.get("model") for line in lines if line["event"] == "request"]
    assert said == ["fast", None, 60 * "x" + "..."]


def test_a_picture_of_another_canvas_shape_is_no_matter(client: TestClient, photo_jpeg: bytes) -> None:
    """What the gateway has not warmed is compiled when it is asked for."""
    tall = cv2.resize(cv2.imdecode(np.frombuffer(photo_jpeg, np.uint8), cv2.IMREAD_COLOR), (300, 560))
    body = cv2.imencode(".jpg", tall)[1].tobytes()
    answer = client.post(URL, params={"model": "large", "include": ""}, content=body)
    assert (answer.status_code, answer.json()["image"]) == (200, {"width": 300, "height": 560})


def test_a_gateway_with_only_one_model_refuses_the_others(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    app = create_app(Settings(only_model=True), load=lambda: pipeline)
    with TestClient(app, base_url="http://localhost") as only:
        wait_until_ready(only)
        assert (only.get("/v1/models").json()[0]["models"], only.get("/v1/models").json()[0]["model"]) == ([], "fast")
        answer = only.post(URL, params={**ASKED, "model": "large"}, content=photo_jpeg)
        refused(answer, 422, "model: light has no 'large'; only 'fast' runs: leave it out")
        assert only.post(URL, params=ASKED, content=photo_jpeg).json()["model"]["name"] == "light"
        named = only.post(URL, params={**ASKED, "model": "fast"}, content=photo_jpeg)
        assert named.json()["model"]["name"] == "light fast"
        assert "models" not in only.get("/v2/models/human_analysis/config").json()["parameters"]
