"""`POST /v1/analyze/batch` and zip answers: each picture has its own answer, or its own error."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.predict.outputs import write_outputs
from server.app import create_app
from server.responses import answers
from server.settings import Settings
from tests.server.clock import Deadlines
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import metric, post, refused, until

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


class Fragile(Slow):
    """An analyzer with a bug that small pictures meet."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        if isinstance(image, bytes) and len(image) < 1000:
            raise ZeroDivisionError("a secret of the inside")
        return People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (512, 512))


def test_a_bug_of_one_picture_does_not_spoil_the_others(photo_jpeg: bytes) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    files = [("file", ("a.jpg", photo_jpeg)), ("file", ("b.png", buffer.getvalue())), ("file", ("c.jpg", photo_jpeg))]
    with TestClient(create_app(Settings(), Fragile)) as client:
        wait_until_ready(client)
        with capture_logs() as lines:
            answer = client.post(URL, files=files)
            packed = client.post(URL, files=files, headers=ZIP)
        said = client.get("/metrics").text
    assert [r["status"] for r in answer.json()["results"]] == [200, 500, 200]
    problem = answer.json()["results"][1]["problem"]
    assert problem["type"] == "urn:parsing-rcnn:internal-error"
    assert problem["request_id"] == answer.headers["x-request-id"]
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert json.loads(archive.read("errors.json"))["b"]["status"] == 500
        assert {"a.json", "c.json"} <= set(archive.namelist())
    assert "secret" not in answer.text
    assert [line["event"] for line in lines] == ["unexpected error", "request"] * 2
    assert 'parsing_rcnn_requests_total{outcome="internal-error",route="batch"} 2.0' in said
    assert 'parsing_rcnn_requests_total{outcome="ok",route="batch"} 4.0' in said


def test_batches_in_json(client: TestClient, photo_jpeg: bytes) -> None:
    good = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    answer = client.post(
        URL, json={"images": [good, {"type": "base64", "value": "&"}], "options": {"tasks": ["parsing"]}}
    )
    assert [r["status"] for r in answer.json()["results"]] == [200, 400]
    refused(client.post(URL, json={"images": []}), 400, "1 to 16")
    refused(client.post(URL, json={"images": [good] * 17}), 400, "1 to 16")
    refused(client.post(URL, json={"pictures": []}), 400, "pictures")
    misspelt = {"images": [good], "option": {"confidence": 1}}
    refused(client.post(URL, json=misspelt), 400, "unknown fields: `option`", "images and options")
    refused(client.post(URL, content=photo_jpeg), 400, "part `file`")
    refused(client.post(URL, files=[("file", (f"{k}.jpg", b"x")) for k in range(17)]), 400, "16")
    refused(client.post(URL, files={"file": ("a", photo_jpeg)}, headers={"Accept": "image/png"}), 406, "zip")


def test_a_picture_without_a_file_has_no_name(client: TestClient, photo_jpeg: bytes) -> None:
    good = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    document = {"images": [good, {**good, "value": "&"}, good], "options": {"tasks": []}}
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n' + photo_jpeg + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for found in (client.post(URL, json=document), client.post(f"{URL}?tasks=", content=form, headers=kind)):
        assert {result["name"] for result in found.json()["results"]} == {""}
    answer = client.post(URL, json=document, headers=ZIP)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = ["photo.json", "photo_overlay.png", "photo_2.json", "photo_2_overlay.png", "errors.json"]
        assert archive.namelist() == names
        assert set(json.loads(archive.read("errors.json"))) == {"photo_1"}


def test_a_batch_knows_tasks_by_what_it_includes(client: TestClient, photo_jpeg: bytes) -> None:
    files = {"file": ("a.jpg", photo_jpeg)}
    (found,) = client.post(URL, params={"include": "iuv"}, files=files).json()["results"]
    assert "densepose" in found["timings_ms"]
    assert "parsing" not in found["timings_ms"]
    clash = {"tasks": "densepose", "include": "parts"}
    refused(client.post(URL, params=clash, files=files), 422, "tasks=densepose", "include=parts", "add it to tasks")


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


def test_every_file_of_an_archive_has_a_name_of_its_own(client: TestClient, photo_jpeg: bytes) -> None:
    names = ("a_1.jpg", "a.jpg", "a.png", "A.webp", "errors.jpg", "bad.jpg")
    files = [("file", (name, b"?" if name == "bad.jpg" else photo_jpeg)) for name in names]
    answer = client.post(URL, params={"tasks": "", "max_people": 1}, files=files, headers=ZIP)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        stems = {name.removesuffix(".json") for name in archive.namelist() if name.endswith(".json")}
        assert stems == {"a_1", "a", "a_2", "A_3", "errors_1", "errors"}
        lower = [name.lower() for name in archive.namelist()]  # as some disks see them
        assert len(set(lower)) == len(lower) == 2 * 5 + 1
        assert set(json.loads(archive.read("errors.json"))) == {"bad"}


@pytest.mark.parametrize("path", [URL, "/v1/analyze"])
def test_a_form_that_ends_early_is_refused(client: TestClient, photo_jpeg: bytes, path: str) -> None:
    """Its last part, whole or not, would be lost without a word."""
    files = 3 if path == URL else 1

    def part(disposition: str, data: bytes) -> bytes:
        return f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"

    body = b"".join(part(f'name="file"; filename="{k}.jpg"', photo_jpeg) for k in range(files))
    options = part('name="options"', b'{"max_people": 1}')
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    def send(body: bytes) -> httpx.Response:
        return client.post(path, content=body, headers=headers)

    for cut in (body, body + options, body[:-100], body[:300], body + b"--x", body + b"--x-", b"--x\r\n", b""):
        refused(send(cut), 400, "before its last boundary", "send it whole")
    for end in (b"--x--", b"--x--\r\n", b"--x--\r\nan epilogue, which is read by nobody"):
        assert send(body + options + end).status_code == 200


def test_a_batch_keeps_its_place_among_others(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(workers=1, queue=4), lambda: slow) as live, ThreadPoolExecutor(2) as pool:
        files = [("file", (f"{k}.jpg", photo_jpeg)) for k in range(3)]
        answer = pool.submit(httpx.post, f"http://{live.address}{URL}", files=files, timeout=120)
        assert slow.begun.acquire(timeout=60)
        assert metric(live, "parsing_rcnn_held") == 1
        others = [post(live, photo_jpeg) for _ in range(4)]
        until(lambda: metric(live, "parsing_rcnn_held") == 5)
        beyond = post(live, photo_jpeg)
        assert beyond.recv(4000).startswith(b"HTTP/1.1 503")  # from now on fewer may wait
        late = httpx.post(f"http://{live.address}{URL}", files=files, timeout=60)
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        slow.gate.set()
        assert [result["status"] for result in answer.result().json()["results"]] == [200, 200, 200]
        for other in others:
            assert other.recv(4000).startswith(b"HTTP/1.1 200")
        for each in (beyond, *others):
            each.close()
        until(lambda: metric(live, "parsing_rcnn_held") == 0)


def test_a_batch_whose_client_goes_frees_its_place(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(queue=4), lambda: slow) as live:
        image = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
        body = json.dumps({"images": [image] * 3}).encode()
        head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", live.port), timeout=60) as connection:
            connection.sendall(head.encode() + body)
            assert slow.begun.acquire(timeout=60)
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
        cancelled = 'parsing_rcnn_requests_total{outcome="cancelled",route="batch"}'
        until(lambda: metric(live, cancelled) == 3)  # those that had not begun, too
        slow.gate.set()
        answer = httpx.post(f"http://{live.address}/v1/analyze", content=photo_jpeg, timeout=60)
        assert answer.status_code == 200
        assert metric(live, cancelled) == 3
        assert sum(slow.begun.acquire(blocking=False) for _ in range(3)) == 1  # that one: the batch's rest never began


def test_a_picture_that_is_late_has_no_files_in_the_archive(
    client: TestClient, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its document is written when the deadline comes, and its overlay is drawn after the answer."""
    render, drawing, answered = answers.render, threading.Event(), threading.Event()
    deadlines = Deadlines(monkeypatch)

    def late(image: bytes, *arguments: Any) -> bytes:
        if image == slow:
            drawing.set()
            deadlines.come()
            assert answered.wait(120)
        return render(image, *arguments)

    slow = photo_jpeg + b"\0"
    monkeypatch.setattr(answers, "render", late)
    files = [("file", (f"{name}.jpg", data)) for name, data in {"a": photo_jpeg, "b": slow, "c": photo_jpeg}.items()]
    try:
        answer = client.post(URL, params={"tasks": ""}, files=files, headers={**ZIP, "X-Timeout-Ms": "2000"})
    finally:
        answered.set()
    assert drawing.is_set()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["a.json", "a_overlay.png", "errors.json"]
        errors = json.loads(archive.read("errors.json"))
    assert {stem: problem["status"] for stem, problem in errors.items()} == {"b": 504, "c": 504}


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


@pytest.mark.parametrize(
    ("tasks", "exact"),
    [("parsing,densepose", False), ("parsing,densepose", True), ("parsing", False), ("densepose", False), ("", False)],
)
def test_the_archive_holds_the_pictures_that_predict_writes(
    client: TestClient, pipeline: Pipeline, photo_jpeg: bytes, tmp_path: Path, tasks: str, exact: bool
) -> None:
    people = pipeline.analyze(photo_jpeg, Options(frozenset(filter(None, tasks.split(","))), part_probs=exact))
    image = np.asarray(Image.open(io.BytesIO(photo_jpeg)).convert("RGB"))
    written = write_outputs(tmp_path / "photo", people, image, exact=exact)
    query = {"tasks": tasks, "exact": str(exact)}
    answer = client.post("/v1/analyze", params=query, content=photo_jpeg, headers=ZIP)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        pictures = [path for path in written if path.suffix == ".png"]
        assert {path.name for path in pictures} == {name for name in archive.namelist() if name.endswith(".png")}
        for path in pictures:  # as OpenCV sees them, which knows no palette
            sent = np.frombuffer(archive.read(path.name), np.uint8)
            ours, theirs = cv2.imdecode(sent, cv2.IMREAD_UNCHANGED), cv2.imread(path, cv2.IMREAD_UNCHANGED)
            assert ours.shape == theirs.shape, path.name
            np.testing.assert_array_equal(ours, theirs, path.name)


@pytest.mark.parametrize("exact", [False, True])
def test_inds_is_where_iuv_is(client: TestClient, photo_jpeg: bytes, exact: bool) -> None:
    def picture(render: str, **more: str) -> NDArray[np.uint8]:
        query = {"render": render, "exact": str(exact), **more}
        return np.asarray(Image.open(io.BytesIO(client.post("/v1/analyze", params=query, content=photo_jpeg).content)))

    inds = picture("inds")
    assert inds.any()
    np.testing.assert_array_equal(inds > 0, picture("iuv")[..., 0] > 0)
    # where there is no IUV, the parts say who is where
    np.testing.assert_array_equal(picture("inds", tasks="parsing") > 0, picture("parts", tasks="parsing") > 0)
