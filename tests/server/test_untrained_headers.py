"""Models of which only one head is trained: the routes beside `POST /v1/analyze`, and what its pictures say."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from parsing_rcnn.codecs import npz
from parsing_rcnn.convert import person_rle
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.responses.headers import answer_headers
from server.settings import Settings
from tests.server.conftest import wait_until_ready
from tests.server.helpers import people_of
from tests.server.test_stream import frame

URL = "/v1/analyze"
WARNING = "the parsing head of this model is not trained: its maps mean nothing"


@pytest.fixture(scope="module")
def charts(charts_pipeline: Pipeline) -> Iterator[TestClient]:
    """A client of a gateway whose model has a trained head of DensePose alone."""
    with TestClient(create_app(Settings(), lambda: charts_pipeline)) as running:
        wait_until_ready(running)
        yield running


def test_what_is_not_json_says_so_in_a_header(charts: TestClient, photo_jpeg: bytes) -> None:
    kinds = ("application/json", "image/png", "image/jpeg", "application/x-npz", "application/zip")
    for kind in kinds:
        named = charts.post(URL, params={"tasks": "parsing"}, content=photo_jpeg, headers={"Accept": kind})
        assert named.headers["x-warnings"] == WARNING
        assert "x-warnings" not in charts.post(URL, content=photo_jpeg, headers={"Accept": kind}).headers
    assert "x-warnings" in charts.post(URL, params={"render": "parts"}, content=photo_jpeg).headers


def test_every_kind_of_answer_says_whose_it_is(charts: TestClient, photo_jpeg: bytes) -> None:
    said = charts.post(URL, content=photo_jpeg).json()["model"]
    for kind in ("application/json", "image/png", "application/x-npz", "application/zip"):
        answer = charts.post(URL, content=photo_jpeg, headers={"Accept": kind})
        assert answer.headers["x-model"] == f"{said['name']}/{said['version']}"
    assert answer_headers(("人/a b", "1"), {}, [])["X-Model"] == "%E4%BA%BA%2Fa b/1"


def test_pages_from_elsewhere_may_read_the_header(charts_pipeline: Pipeline, photo_jpeg: bytes) -> None:
    page = "http://localhost:3000"
    with TestClient(create_app(Settings(cors=page), lambda: charts_pipeline)) as running:
        wait_until_ready(running)
        answer = running.post(URL, content=photo_jpeg, headers={"Origin": page})
        assert {"X-Warnings", "X-Model"} <= set(answer.headers["access-control-expose-headers"].split(", "))


def test_arrays_know_which_of_them_mean_nothing(charts: TestClient, photo_jpeg: bytes) -> None:
    both = {"tasks": "parsing,densepose"}
    answer = charts.post(URL, params=both, content=photo_jpeg, headers={"Accept": "application/x-npz"})
    people = npz.decode(answer.content)
    assert people.untrained == {"parsing"}
    with np.load(io.BytesIO(answer.content)) as arrays:
        assert arrays["untrained"].tolist() == [True, False]


def test_masks_are_of_the_trained_head_also_where_both_are_named(
    charts: TestClient, pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    people = pipeline.analyze(photo_jpeg, tasks="densepose")
    for query in ({}, {"include": "masks,inds,parts"}):
        answer = charts.post(URL, params={"tasks": "parsing,densepose", **query}, content=photo_jpeg)
        assert [one["rle"] for one in people_of(answer)] == [person_rle(people, i) for i in range(len(people))]


def test_a_batch_and_a_stream_ask_the_trained_head(charts: TestClient, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    people = pipeline.analyze(photo_jpeg, tasks="densepose")
    rles = [person_rle(people, index) for index in range(len(people))]
    for query in ({}, {"include": "masks"}):
        batch = charts.post(f"{URL}/batch", params=query, files={"file": ("a.jpg", photo_jpeg)})
        (result,) = batch.json()["results"]
        with charts.websocket_connect(f"/v1/stream?{'&'.join(f'{k}={v}' for k, v in query.items())}") as socket:
            socket.send_bytes(frame(7, photo_jpeg))
            streamed = json.loads(socket.receive_text())
        for document in (result, streamed):
            assert document["warnings"] == []
            assert [one["rle"] for one in document["predictions"]] == rles
