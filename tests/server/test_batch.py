"""`POST /v1/analyze/batch` and zip answers: each picture has its own answer, or its own error."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from tests.server.test_analyze import refused

URL = "/v1/analyze/batch"
ZIP = {"Accept": "application/zip"}


def test_one_bad_picture_does_not_spoil_the_others(client: TestClient, photo_jpeg: bytes) -> None:
    files = [("file", ("a.jpg", photo_jpeg)), ("file", ("notes.txt", b"hello")), ("file", ("b.jpg", photo_jpeg))]
    options = json.dumps({"confidence": 0, "max_people": 2, "include": ["parts"]})
    answer = client.post(URL, files=files, data={"options": options})
    assert answer.status_code == 200
    first, bad, last = answer.json()["results"]
    assert [first["index"], bad["index"], last["index"]] == [0, 1, 2]
    assert [first["name"], bad["name"]] == ["a.jpg", "notes.txt"]
    assert (first["status"], bad["status"], last["status"]) == (200, 415, 200)
    assert bad["problem"]["type"] == "urn:parsing-rcnn:unsupported-image"
    assert first["predictions"] == last["predictions"]
    query = {"confidence": "0", "max_people": "2", "include": "parts"}
    assert client.post("/v1/analyze", params=query, content=photo_jpeg).json()["predictions"] == first["predictions"]


def test_batches_in_json(client: TestClient, photo_jpeg: bytes) -> None:
    good = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    answer = client.post(
        URL, json={"images": [good, {"type": "base64", "value": "&"}], "options": {"tasks": ["parsing"]}}
    )
    assert [r["status"] for r in answer.json()["results"]] == [200, 400]
    refused(client.post(URL, json={"images": []}), 400, "1 to 16")
    refused(client.post(URL, json={"images": [good] * 17}), 400, "1 to 16")
    refused(client.post(URL, json={"pictures": []}), 400, "pictures")
    refused(client.post(URL, content=photo_jpeg), 400, "part `file`")
    refused(client.post(URL, files=[("file", (f"{k}.jpg", b"x")) for k in range(17)]), 400, "16")
    refused(client.post(URL, files={"file": ("a", photo_jpeg)}, headers={"Accept": "image/png"}), 406, "zip")


def test_a_batch_as_an_archive(client: TestClient, photo_jpeg: bytes) -> None:
    files = [("file", ("../../etc/a.jpg", photo_jpeg)), ("file", ("a.png", photo_jpeg)), ("file", ("c.jpg", b"?"))]
    answer = client.post(URL, files=files, headers=ZIP)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        endings = (".json", "_overlay.png", "_parts.png", "_IUV.png", "_INDS.png")
        names = {f"{stem}{ending}" for stem in ("a", "a_1") for ending in endings} | {"errors.json"}
        assert set(archive.namelist()) == names
        assert json.loads(archive.read("errors.json"))["c"]["status"] == 415
        assert Image.open(io.BytesIO(archive.read("a_IUV.png"))).size == (512, 512)


def test_archives_of_boxes_alone(client: TestClient, photo_jpeg: bytes) -> None:
    batch = client.post(URL, params={"tasks": ""}, files={"file": ("photo.jpg", photo_jpeg)}, headers=ZIP)
    single = client.post("/v1/analyze", params={"tasks": ""}, content=photo_jpeg, headers=ZIP)
    for answer in (batch, single):
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert set(archive.namelist()) == {"photo.json", "photo_overlay.png"}
            assert json.loads(archive.read("photo.json"))["predictions"]


def test_the_archive_of_one_picture_holds_what_the_routes_give(client: TestClient, photo_jpeg: bytes) -> None:
    answer = client.post("/v1/analyze", content=photo_jpeg, headers=ZIP)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for render, ending in (("parts", "parts"), ("iuv", "IUV"), ("inds", "INDS")):
            alone = client.post("/v1/analyze", params={"render": render}, content=photo_jpeg)
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(archive.read(f"photo_{ending}.png")))),
                np.asarray(Image.open(io.BytesIO(alone.content))),
            )
        assert json.loads(archive.read("photo.json"))["predictions"]
