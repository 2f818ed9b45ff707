"""Requests of a million names and values: refused in a few words, with others answered meanwhile."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.server.conftest import Live
from tests.server.helpers import refused

URL = "/v1/analyze"
JSON = {"Content-Type": "application/json"}
IMAGE = {"type": "base64", "value": "aaaa"}
SOME, MANY = 3000, 100_000


def names(count: int) -> dict[str, int]:
    return {f"{number:x}_": 0 for number in range(count)}


def short(answer: httpx.Response, status: int, says: str) -> Any:
    refused(answer, status, says)
    assert len(answer.content) < 5000
    return answer.json()


def sent(client: TestClient, document: object) -> httpx.Response:
    return client.post(URL, content=json.dumps(document), headers=JSON)


def test_a_request_of_very_many_values_is_not_read(client: TestClient) -> None:
    many = "more than 10000 values: send the picture"
    short(sent(client, {"image": IMAGE, "options": names(MANY)}), 400, many)
    short(sent(client, {"image": IMAGE, **names(MANY)}), 400, many)
    short(sent(client, {"image": IMAGE, "options": {"tasks": ["a"] * MANY}}), 400, many)
    form = {"options": json.dumps(names(50_000))}
    short(client.post(URL, files={"file": ("a", b"?")}, data=form), 400, many)
    answer = client.post("/v2/models/densepose/infer", content=json.dumps(names(MANY)), headers=JSON)
    assert answer.status_code == 400
    assert many in answer.json()["error"]


def test_eight_of_many_unknown_options_are_named(client: TestClient) -> None:
    query = "?" + "&".join(f"{name}=0" for name in names(SOME))
    form = {"options": json.dumps(names(SOME))}
    for answer in (
        sent(client, {"image": IMAGE, "options": names(SOME) | {"confidence": 7}}),
        client.post(URL, files={"file": ("a", b"?")}, data=form),
        client.post(URL + query, content=b"?"),
    ):
        told = short(answer, 422, "0_: there is no such option")
        assert len(told["errors"]) == 8
        assert told["detail"].endswith("; ...")
    long = sent(client, {"image": IMAGE, "options": {"x" * 100_000: 0}})
    assert short(long, 422, "there is no such option")["errors"][0]["option"] == "x" * 60


def test_eight_of_many_unknown_fields_are_named(client: TestClient) -> None:
    told = short(sent(client, {"image": IMAGE, **names(SOME)}), 400, "`0_`, ")
    assert "..." in told["detail"]


def test_a_list_has_few_values(client: TestClient) -> None:
    says = f"it has {SOME} values, the limit is 32: name each once"
    for value in (["a"] * SOME, ",".join("a" * SOME), [[]] * SOME):
        short(sent(client, {"image": IMAGE, "options": {"tasks": value}}), 422, "tasks: " + says)
    short(client.post(URL + "?" + "&".join(["include=a"] * SOME), content=b"?"), 422, "include: " + says)
    told = short(sent(client, {"image": IMAGE, "options": {"tasks": ["a"] * 32}}), 422, "tasks.7: Input should be")
    assert len(told["errors"]) == 8
    assert told["detail"].endswith("; ...")


def test_a_stream_names_eight(live: Live) -> None:
    query = "&".join(f"{name}=0" for name in names(500))  # a stream's address has 8 KiB
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"ws://{live.address}/v1/stream?{query}", proxy=None, open_timeout=60)
    answer = refusal.value.response
    assert answer.status_code == 422
    assert json.loads(answer.body)["detail"].count("there is no such option") == 8


def test_large_json_is_read_like_small(client: TestClient) -> None:
    padding = " " * 100_000  # beyond what is read at once
    refused(client.post(URL, content="{" + padding, headers=JSON), 400, "the body is not JSON")
    refused(client.post(URL, content="[" + padding + "]", headers=JSON), 400, "JSON, but not an object")
    refused(sent(client, {"image": {"type": "base64", "value": "-" * 100_000}}), 400, "is not base64")
