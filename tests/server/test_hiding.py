"""`render=anonymise` and `render=cutout` with the real model: nobody who is to be hidden is shown."""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from parsing_rcnn import draw
from parsing_rcnn.codecs import image
from parsing_rcnn.pipeline import Pipeline
from tests.server.helpers import encoded, refused

URL = "/v1/analyze"
FACE = (slice(80, 150), slice(195, 255))  # hers


def shown(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def ask(client: TestClient, data: bytes, accept: str = "image/png", **query: str) -> bytes:
    answer = client.post(URL, params=query, content=data, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    return answer.content


@pytest.mark.parametrize("style", ["pixelate", "blur"])
@pytest.mark.parametrize("hide", ["heads", "faces", "people"])
def test_people_are_hidden_as_from_python(
    client: TestClient, pipeline: Pipeline, photo_jpeg: bytes, hide: str, style: str
) -> None:
    picture = shown(ask(client, photo_jpeg, render="anonymise", hide=hide, style=style))
    photo = image.decode(photo_jpeg)
    everybody = pipeline.analyze(photo_jpeg, confidence=0.1)
    np.testing.assert_array_equal(picture, draw.anonymise(photo, everybody, hide=hide, style=style))
    assert np.abs(picture[FACE].astype(int) - photo[FACE]).mean() > 12


def test_heads_are_made_of_squares_unless_something_else_is_said(client: TestClient, photo_jpeg: bytes) -> None:
    plain = ask(client, photo_jpeg, render="anonymise")
    assert plain == ask(client, photo_jpeg, render="anonymise", hide="heads", style="pixelate")
    assert plain != ask(client, photo_jpeg, render="anonymise", hide="faces")


def test_who_is_hidden_does_not_hang_on_confidence_and_number(client: TestClient, photo_jpeg: bytes) -> None:
    """Whoever asks for the surest person wants the others hidden all the same."""
    plain = ask(client, photo_jpeg, render="anonymise", hide="people")
    assert plain == ask(client, photo_jpeg, render="anonymise", hide="people", confidence="1", max_people="1")
    assert plain != ask(client, photo_jpeg, render="anonymise", hide="people", confidence="0.01")  # more are


def test_an_anonymised_jpeg_has_nothing_of_the_original(client: TestClient, photo_jpeg: bytes) -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home with Eileen"
    exif[0x0112] = 1
    thumbnail = photo_jpeg[:2000]
    original = encoded(
        Image.open(io.BytesIO(photo_jpeg)), "JPEG", exif=exif.tobytes() + thumbnail, comment=b"secret", quality=92
    )
    assert original.count(b"\xff\xd8\xff") == 2
    data = ask(client, original, "image/jpeg", render="anonymise")
    assert data.count(b"\xff\xd8\xff") == 1
    for secret in (b"Exif", b"Eileen", b"secret"):
        assert secret in original
        assert secret not in data
    apart = np.abs(shown(data).astype(int) - shown(ask(client, original, render="anonymise")))
    assert apart.mean() < 3


def test_a_cut_out_is_everybody_and_transparent_around_them(
    client: TestClient, pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    picture = shown(ask(client, photo_jpeg, render="cutout"))
    people = pipeline.analyze(photo_jpeg)
    np.testing.assert_array_equal(picture, draw.cutout(image.decode(photo_jpeg), people))
    assert (picture[FACE][..., 3] == 255).all()
    assert not picture[:60, :100].any()
    exact = shown(ask(client, photo_jpeg, render="cutout", exact="true"))
    assert 0 < (exact[..., 3] != picture[..., 3]).mean() < 0.1
    nobody = encoded(Image.new("RGB", (64, 48), (128, 128, 128)), "PNG")
    assert not shown(ask(client, nobody, render="cutout")).any()


def test_a_cut_out_is_no_jpeg_and_needs_a_silhouette(client: TestClient, photo_jpeg: bytes) -> None:
    query = {"render": "cutout"}
    jpeg = client.post(URL, params=query, content=photo_jpeg, headers={"Accept": "image/jpeg"})
    refused(jpeg, 406, "render=cutout has no JPEG, as it is transparent", "image/png")
    either = client.post(URL, params=query, content=photo_jpeg, headers={"Accept": "image/jpeg, image/png;q=0.1"})
    assert either.headers["content-type"] == "image/png"
    refused(client.post(URL, params=query | {"tasks": ""}, content=photo_jpeg), 422, "render=cutout needs the task")


def test_how_to_hide_is_refused_where_nobody_would_be_hidden(client: TestClient, photo_jpeg: bytes) -> None:
    for query in ({"hide": "faces"}, {"style": "blur", "render": "overlay"}):
        for accept in ("image/png", "application/json", "application/zip"):
            answer = client.post(URL, params=query, content=photo_jpeg, headers={"Accept": accept})
            name, value = next(iter(query.items()))
            refused(answer, 422, f"{name}={value} is for render=anonymise")
    picture = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    refused(client.post(URL, json={"image": picture, "options": {"hide": "heads"}}), 422, "render=anonymise")
    refused(client.post(URL, params={"render": "anonymise", "hide": "hands"}, content=photo_jpeg), 422, "'heads'")
    body = {"image": picture, "options": {"render": "anonymise", "hide": "faces"}}
    assert client.post(URL, json=body).content == ask(client, photo_jpeg, render="anonymise", hide="faces")


def test_an_archive_which_shows_everybody_is_refused(client: TestClient, photo_jpeg: bytes) -> None:
    query, archive = {"render": "anonymise"}, {"Accept": "application/zip"}
    refused(client.post(URL, params=query, content=photo_jpeg, headers=archive), 422, "archive shows people as they")
    form = {"file": ("a.jpg", photo_jpeg)}
    refused(client.post(f"{URL}/batch", params=query, files=form, headers=archive), 422, "archive shows people")


def test_json_is_of_whom_it_is_asked_for(client: TestClient, photo_jpeg: bytes) -> None:
    query = {"render": "anonymise", "confidence": "0.6"}
    answer = client.post(URL, params=query, content=photo_jpeg, headers={"Accept": "application/json"}).json()
    assert all(person["confidence"] >= 0.6 for person in answer["predictions"])


def test_a_stream_hides_people_too(client: TestClient, photo_jpeg: bytes) -> None:
    with client.websocket_connect("/v1/stream?render=anonymise&hide=faces&format=png&confidence=0.9") as socket:
        socket.send_bytes(struct.pack("<II", 7, 0) + photo_jpeg)
        answer = socket.receive_bytes()
    assert answer[8:] == ask(client, photo_jpeg, render="anonymise", hide="faces")


def test_openapi_names_the_options(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"anonymise", "cutout"} <= set(schemas["Render"]["enum"])
    assert schemas["Hide"]["enum"] == ["heads", "faces", "people"]
    assert schemas["Style"]["enum"] == ["pixelate", "blur"]
    for path in ("/v1/analyze", "/v1/analyze/batch"):
        parameters = {one["name"]: one for one in document["paths"][path]["post"]["parameters"]}
        assert {"hide", "style"} <= set(parameters)
        assert "default" not in parameters["hide"]["schema"]  # /docs would send it with every picture
