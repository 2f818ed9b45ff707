"""The options `region` and `tiles`, by every way of asking."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from export.rendered.pictures import render_scene
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, wait_until_ready
from tests.server.helpers import refused
from tests.server.test_stream import frame, opened
from tests.server.test_v2 import URL as INFER

URL = "/v1/analyze"
REGION = [100, 0, 640, 480]
ASKED: dict[str, Any] = {"confidence": 0.3, "include": "", "tiles": 2, "region": REGION}


@pytest.fixture(scope="module")
def street() -> bytes:
    return cv2.imencode(".png", render_scene(3, 480, 640, 4)[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def found(pipeline: Pipeline, street: bytes) -> np.ndarray:
    """Boxes of those in the region."""
    people = pipeline.analyze(street, tasks="", confidence=0.3, tiles=2, region=tuple(REGION))
    assert len(people) >= 3
    assert people.boxes[:, 0].min() >= 100 > pipeline.analyze(street, tasks="").boxes[:, 0].min()
    return people.boxes


def boxes(document: Any) -> list[list[float]]:
    return [person["bbox"] for person in document["predictions"]]


def test_every_way_of_asking_takes_them(client: TestClient, live: Live, street: bytes, found: np.ndarray) -> None:
    image = {"type": "base64", "value": base64.b64encode(street).decode()}
    form = {"files": {"file": ("a.png", street)}, "data": {"options": json.dumps(ASKED)}}
    text = {**ASKED, "region": "100,0,640,480"}
    answers = [
        client.post(URL, params=text, content=street),
        client.post(URL, params=ASKED, content=street),  # as a generated client writes it: region=100&region=0&...
        client.post(URL, **form),  # type: ignore[arg-type]
        client.post(URL, json={"image": image, "options": ASKED}),
        client.post(URL, json={"image": image, "options": text}),
    ]
    for answer in answers:
        np.testing.assert_allclose(boxes(answer.json()), found, atol=0.1)
    batch = client.post(f"{URL}/batch", json={"images": [image], "options": ASKED}).json()["results"]
    np.testing.assert_allclose(boxes(batch[0]), found, atol=0.1)
    with opened(live, "?confidence=0.3&include=&tiles=2&region=100,0,640,480") as socket:
        socket.send(frame(1, street))
        np.testing.assert_allclose(boxes(json.loads(socket.recv(60))), found, atol=0.1)


def test_the_protocol_of_triton_takes_them(client: TestClient, street: bytes, found: np.ndarray) -> None:
    document: dict[str, Any] = {
        "inputs": [
            {
                "name": "IMAGE",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"content_type": "base64"},
                "data": [base64.b64encode(street).decode()],
            }
        ],
        "outputs": [{"name": "BOXES"}],
        "parameters": {"confidence": "0.3", "tiles": 2, "region": "100,0,640,480"},
    }
    (output,) = client.post(INFER, json=document).json()["outputs"]
    np.testing.assert_allclose(np.reshape(output["data"], (-1, 4)), found, atol=0.1)
    document["parameters"]["region"] = "100,0,641,480"
    answer = client.post(INFER, json=document)
    assert answer.status_code == 422
    assert "reaches beyond the picture of 640x480 pixels" in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("region=1,2,3", ("region: ", "is not x1,y1,x2,y2 in whole pixels of the picture, such as 0,0,640,360")),
        ("region=9,9,9,9", ("region: 9,9,9,9 has no pixels", "left, upper, right and lower edge")),
        ("region=0,0,1,1&region=0,0,2,2", ("region: ", "is not x1,y1,x2,y2")),
        ("region=0,0,641,480", ("region: 0,0,641,480 reaches beyond the picture of 640x480 pixels",)),
        ("tiles=5", ("tiles: ", "less than or equal to 4")),
        ("tiles=2&tiles=3", ("tiles: the query has it 2 times",)),
    ],
)
def test_wrong_ones_are_refused_with_the_remedy(
    client: TestClient, street: bytes, query: str, words: tuple[str, ...]
) -> None:
    refused(client.post(f"{URL}?{query}", content=street), 422, *words)


def test_the_gateway_has_a_largest_number_of_tiles(pipeline: Pipeline, street: bytes) -> None:
    with TestClient(create_app(Settings(max_tiles=2), lambda: pipeline)) as client:
        wait_until_ready(client)
        assert client.post(f"{URL}?tiles=2&tasks=", content=street).status_code == 200
        says = "tiles: 3 is more than this gateway's 2 (--max-tiles)"
        refused(client.post(f"{URL}?tiles=3", content=street), 422, says)
        image = {"type": "base64", "value": base64.b64encode(street).decode()}
        batch = client.post(f"{URL}/batch", json={"images": [image], "options": {"tiles": 3}}).json()["results"]
        assert batch[0]["problem"]["detail"] == says


@pytest.mark.parametrize("region", [[0, 0, 1.5, 9], [0, 0, True, 9], {"x1": 0}, 7, ["0", "0", "9", "9"]])
def test_json_has_whole_numbers(client: TestClient, street: bytes, region: object) -> None:
    image = {"type": "base64", "value": base64.b64encode(street).decode()}
    refused(client.post(URL, json={"image": image, "options": {"region": region}}), 422, "region")


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_people_beside_a_region_are_not_left_uncovered(client: TestClient, street: bytes, kind: str) -> None:
    asked = {"render": "anonymise", "region": "0,0,320,480"}
    answer = client.post(URL, params=asked, content=street, headers={"Accept": kind})
    refused(answer, 422, "region: nobody outside of it is looked for", "leave it out where people are hidden")
