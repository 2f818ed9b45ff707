"""`POST /v1/analyze` with the real model: every way in, every way out, every limit."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from anyio.to_thread import current_default_thread_limiter
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from parsing_rcnn import draw
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.settings import Settings
from tests.conftest import values
from tests.server.conftest import INFO, Slow, wait_until_ready
from tests.server.helpers import encoded, people_of, refused

URL = "/v1/analyze"


def test_the_astronaut_is_one_person_with_a_face(client: TestClient, photo_jpeg: bytes) -> None:
    response = client.post(URL, content=photo_jpeg, headers={"Content-Type": "image/jpeg"})
    best = people_of(response)[0]
    x1, y1, x2, y2 = best["bbox"]
    assert best["confidence"] > 0.5
    assert best["x"] == pytest.approx((x1 + x2) / 2, abs=1e-2)
    assert best["width"] == pytest.approx(x2 - x1, abs=1e-2)
    # she sits left of the middle and reaches the lower edge; her face is near (225, 115)
    assert x1 < 150
    assert x2 > 300
    assert y1 < 90
    assert y2 > 400
    offset = best["offset"]
    labels = np.asarray(Image.open(io.BytesIO(base64.b64decode(best["parts_png"]))))
    assert labels[120 - offset[1], 225 - offset[0]] == 13  # Face
    assert {"Face", "Hair"} <= {part["class"] for part in best["parts"]}
    assert response.json()["image"] == {"width": 512, "height": 512}


def test_a_picture_waits_for_no_thread_but_the_engine_s(photo_jpeg: bytes) -> None:
    """Those of the framework are few, and may be busy with slow disks and forms."""
    slow = Slow()
    slow.gate.set()

    async def take_all() -> None:
        limiter = current_default_thread_limiter()
        while limiter.available_tokens:
            await limiter.acquire_on_behalf_of(object())

    async def give_more() -> None:
        current_default_thread_limiter().total_tokens += 4

    with TestClient(create_app(Settings(), lambda: slow)) as client, ThreadPoolExecutor(1) as pool:
        wait_until_ready(client)
        assert client.portal is not None
        client.portal.call(take_all)
        try:
            assert pool.submit(client.post, URL, content=photo_jpeg).result(120).status_code == 200
            files = [("file", ("a.jpg", photo_jpeg))]
            assert pool.submit(client.post, f"{URL}/batch", files=files).result(120).status_code == 200
        finally:  # whoever waits is let go
            client.portal.call(give_more)


def test_times_are_in_their_units_and_add_up(client: TestClient, photo_jpeg: bytes) -> None:
    answer = client.post(URL, content=photo_jpeg)
    document = answer.json()
    computed = document["timings_ms"]["total"]
    assert document["time"] == pytest.approx(computed / 1000, abs=1e-5)  # seconds
    stages = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"])}
    assert list(stages) == ["queue", *(name for name in document["timings_ms"] if name != "total"), "encode", "total"]
    assert stages["total"] == pytest.approx(stages["queue"] + computed + stages["encode"], abs=0.2)
    assert computed >= document["timings_ms"]["detector"] > 1


def test_every_way_in_gives_the_same_answer(client: TestClient, photo_jpeg: bytes) -> None:
    query = {"confidence": "0.4", "max_people": "3"}
    options = {"confidence": 0.4, "max_people": 3}
    in_json = {"image": {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}, "options": options}
    answers = [
        client.post(URL, params=query, content=photo_jpeg, headers={"Content-Type": "image/jpeg"}),
        client.post(
            URL, params=query, content=photo_jpeg, headers={"Content-Type": "application/x-www-form-urlencoded"}
        ),
        client.post(URL, params=query, content=photo_jpeg),
        client.post(URL, params=query, files={"file": ("photo.jpg", photo_jpeg, "image/jpeg")}),
        client.post(URL, files={"file": ("p", photo_jpeg)}, data={"options": json.dumps(options)}),
        client.post(URL, json=in_json),
    ]
    first = people_of(answers[0])
    assert first
    for answer in answers[1:]:
        assert people_of(answer) == first


def test_png_and_webp(client: TestClient, photo_jpeg: bytes) -> None:
    image = Image.open(io.BytesIO(photo_jpeg))
    want = people_of(client.post(URL, content=photo_jpeg))[0]["bbox"]
    for data in (encoded(image, "PNG"), encoded(image, "WEBP", lossless=True)):
        got = people_of(client.post(URL, content=data))[0]["bbox"]
        np.testing.assert_allclose(got, want, atol=6)


def test_exif_orientation_turns_the_answer(client: TestClient, photo_jpeg: bytes) -> None:
    image = Image.open(io.BytesIO(photo_jpeg)).crop((0, 0, 400, 512))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    lying = image.transpose(Image.Transpose.ROTATE_90)
    turned = client.post(URL, content=encoded(lying, "WEBP", lossless=True, exif=exif)).json()
    upright = client.post(URL, content=encoded(image, "WEBP", lossless=True)).json()
    assert turned["image"] == upright["image"] == {"width": 400, "height": 512}
    assert turned["predictions"] == upright["predictions"]
    jpeg = client.post(URL, content=encoded(lying, "JPEG", quality=95, exif=exif)).json()
    assert jpeg["image"] == {"width": 400, "height": 512}
    assert jpeg["predictions"]


@pytest.mark.parametrize(
    ("render", "mode"),
    [("overlay", "RGB"), ("parts", "P"), ("iuv", "RGB"), ("inds", "L"), ("contour", "RGB"), ("charts", "RGB")],
)
def test_pictures_out(client: TestClient, photo_jpeg: bytes, render: str, mode: str) -> None:
    response = client.post(URL, params={"render": render}, content=photo_jpeg)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.size == (512, 512)
    assert picture.mode == mode


def test_accept_chooses_the_format(client: TestClient, photo_jpeg: bytes) -> None:
    for accept, kind in (
        ("image/png", "image/png"),
        ("application/x-npz", "application/x-npz"),
        ("image/*;q=0.5, application/json;q=0.4", "image/png"),
        ("text/html, */*;q=0.1", "application/json"),
        ("image/png;q=0, */*", "application/json"),
        ("image/jpeg", "image/jpeg"),
        ("image/png;q=0.5, image/jpeg", "image/jpeg"),
        ("image/jpeg, image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/png;q=0, image/*", "image/jpeg"),
        ("application/json, image/jpeg;q=0.9", "application/json"),
        ("*/*", "application/json"),
        ("IMAGE/PNG", "image/png"),
        ("image/png;q=high, application/json;q=0.1", "application/json"),
        ("image/png;q=5, application/json", "application/json"),  # no weight is above 1
        ("application/json;Q=0, image/png;q=0.1", "image/png"),
        ("image/webp\nimage/png", "image/png"),  # several lines
        ("image/webp;q=0.1\n\nimage/png;q=0.2\napplication/json", "application/json"),
    ):
        lines = [("Accept", line) for line in accept.split("\n")]
        response = client.post(URL, content=photo_jpeg, headers=lines)
        assert response.headers["content-type"] == kind, accept
    refused = client.post(URL, content=photo_jpeg, headers={"Accept": "text/html"})
    assert refused.status_code == 406
    assert "image/jpeg, application/x-npz" in refused.json()["detail"]


@pytest.mark.parametrize("render", ["overlay", "contour", "charts"])
def test_a_jpeg_shows_what_the_png_shows(client: TestClient, photo_jpeg: bytes, render: str) -> None:
    def picture(kind: str) -> tuple[Image.Image, int]:
        answer = client.post(URL, params={"render": render}, content=photo_jpeg, headers={"Accept": kind})
        assert answer.headers["content-type"] == kind
        assert answer.headers["vary"] == "Accept"
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.format == kind.removeprefix("image/").upper()
        return picture.convert("RGB"), len(answer.content)

    (exact, large), (lossy, small) = picture("image/png"), picture("image/jpeg")
    assert lossy.size == exact.size == (512, 512)
    assert small < large / 2
    apart = np.abs(np.asarray(lossy).astype(int) - np.asarray(exact))
    assert apart.mean() < 3
    assert np.percentile(apart, 99.9) < 48  # outlines, lines and letters as well: their colours are not halved


def test_numbers_are_never_sent_as_jpeg(client: TestClient, photo_jpeg: bytes) -> None:
    jpeg = {"Accept": "image/jpeg"}
    image = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    for render in ("parts", "iuv", "inds"):
        query = {"render": render}
        refused(client.post(URL, params=query, content=photo_jpeg, headers=jpeg), 406, f"render={render}", "image/png")
        in_body = client.post(URL, json={"image": image, "options": query}, headers=jpeg)
        refused(in_body, 406, f"render={render}", "JPEG")
        for accept, kind in (
            ("image/jpeg, image/png;q=0.1", "image/png"),
            ("image/*", "image/png"),
            ("*/*", "image/png"),
        ):
            answer = client.post(URL, params=query, content=photo_jpeg, headers={"Accept": accept})
            assert answer.headers["content-type"] == kind, accept
    # the body's rendering wins over the query's here, too
    drawn = client.post(
        URL, params={"render": "parts"}, json={"image": image, "options": {"render": "overlay"}}, headers=jpeg
    )
    assert drawn.headers["content-type"] == "image/jpeg"
    for render in ("contour", "charts"):
        without = {"render": render, "tasks": "parsing"}
        refused(client.post(URL, params=without, content=photo_jpeg, headers=jpeg), 422, "densepose")


def test_charts_are_those_of_the_library(client: TestClient, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    answer = client.post(URL, params={"render": "charts"}, content=photo_jpeg)
    drawn = draw.charts(photo_jpeg, pipeline.analyze(photo_jpeg))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), drawn)


def test_a_rendering_may_be_asked_for_in_the_body(client: TestClient, photo_jpeg: bytes) -> None:
    image = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    render = {"render": "parts"}
    want = client.post(URL, params=render, content=photo_jpeg)
    in_json = client.post(URL, json={"image": image, "options": render})
    in_form = client.post(URL, files={"file": ("p", photo_jpeg)}, data={"options": json.dumps(render)})
    over_query = client.post(URL, params={"render": "iuv"}, json={"image": image, "options": render})
    for answer in (in_json, in_form, over_query):
        assert answer.headers["content-type"] == "image/png"
        assert answer.content == want.content
    taken_back = client.post(URL, params={"render": "iuv"}, json={"image": image, "options": {"render": None}})
    narrow = client.post(URL, json={"image": image, "options": render}, headers={"Accept": "application/json"})
    for answer in (taken_back, narrow):
        assert people_of(answer)
    refused(client.post(URL, json={"image": image, "options": {**render, "tasks": []}}), 422, "render=parts")
    refused(client.post(URL, content=b"?", headers={"Accept": "text/html"}), 406, "text/html")


def test_npz_holds_the_arrays(client: TestClient, photo_jpeg: bytes) -> None:
    response = client.post(URL, content=photo_jpeg, headers={"Accept": "application/x-npz"})
    with np.load(io.BytesIO(response.content)) as arrays:
        count = len(arrays["boxes"])
        assert count > 0
        assert arrays["boxes"].dtype == np.float32
        assert arrays["parts"].shape == (count, 128, 128)
        assert arrays["iuv"].shape == (count, 3, 128, 128)
        assert arrays["image_size"].tolist() == [512, 512]


def test_options_do_what_they_say(client: TestClient, photo_jpeg: bytes) -> None:
    none = client.post(URL, params={"confidence": "1"}, content=photo_jpeg)
    assert people_of(none) == []
    many = people_of(client.post(URL, params={"confidence": "0", "max_people": "4"}, content=photo_jpeg))
    assert len(many) == 4
    boxes = people_of(client.post(URL, params={"include": "masks", "mask_format": "none"}, content=photo_jpeg))[0]
    assert not {"rle", "parts", "parts_png", "densepose"} & set(boxes)
    polygon = people_of(client.post(URL, params={"mask_format": "polygon"}, content=photo_jpeg))[0]
    assert len(polygon["points"]) > 10
    parsing = people_of(client.post(URL, params={"tasks": "parsing"}, content=photo_jpeg))[0]
    assert "densepose" not in parsing
    exact = people_of(client.post(URL, params={"exact": "true"}, content=photo_jpeg))[0]
    assert exact["parts_png"] != parsing["parts_png"]
    small = client.post(URL, params={"max_side": "128"}, content=photo_jpeg).json()
    assert small["image"] == {"width": 512, "height": 512}


def test_no_value_of_a_query_is_lost(client: TestClient, photo_jpeg: bytes) -> None:
    form = {"file": ("photo.jpg", photo_jpeg)}
    for query in ("confidence=0.2&confidence=0.99", "max_people=3&exact=true&max_people=3", "render=iuv&render=parts"):
        name = query.partition("=")[0]
        for answer in (
            client.post(f"{URL}?{query}", content=photo_jpeg),
            client.post(f"{URL}?{query}", files=form),
            client.post(f"{URL}/batch?{query}", files=form),
        ):
            refused(answer, 422, f"{name}: the query has it 2 times")
            assert [error["option"] for error in answer.json()["errors"]] == [name]
    lists = client.post(f"{URL}?tasks=densepose&include=iuv&tasks=parsing&include=parts", content=photo_jpeg)
    assert {"parts", "densepose"} <= set(people_of(lists)[0])


HEADS = {"parsing", "densepose"}


@pytest.mark.parametrize(
    ("query", "heads"),
    [
        ({}, HEADS),
        ({"mask_format": "none"}, HEADS),
        ({"include": ""}, set()),
        ({"include": "masks"}, {"parsing"}),
        ({"include": "masks", "mask_format": "none"}, set()),
        ({"include": "masks", "tasks": "densepose"}, {"densepose"}),
        ({"include": "parts,part_masks"}, {"parsing"}),
        ({"include": "label_map"}, {"parsing"}),
        ({"include": "iuv"}, {"densepose"}),
        ({"include": "iuv,masks", "mask_format": "none"}, {"densepose"}),
        ({"include": "iuv,masks"}, HEADS),
        ({"include": "inds"}, {"parsing"}),
        ({"include": "inds,iuv"}, {"densepose"}),
        ({"include": "inds,iuv,parts"}, HEADS),
        ({"include": "inds", "tasks": "densepose"}, {"densepose"}),
        ({"include": "iuv", "exact": "true"}, {"densepose"}),
        ({"include": "parts", "tasks": "parsing,densepose"}, HEADS),
    ],
)
def test_only_the_heads_that_are_asked_for_run(
    client: TestClient, photo_jpeg: bytes, query: dict[str, str], heads: set[str]
) -> None:
    answer = client.post(URL, params=query, content=photo_jpeg).json()
    assert set(answer["timings_ms"]) & HEADS == heads
    everything = {"tasks": "parsing,densepose"} | {name: value for name, value in query.items() if name != "tasks"}
    if "tasks" not in query:  # and the answer lacks nothing
        assert answer["predictions"] == client.post(URL, params=everything, content=photo_jpeg).json()["predictions"]


@pytest.mark.parametrize("exact", ["false", "true"])
@pytest.mark.parametrize("task", ["parsing", "densepose"])
def test_who_has_a_pixel_is_the_same_in_json_and_picture(
    client: TestClient, photo_jpeg: bytes, task: str, exact: str
) -> None:
    query = {"tasks": task, "exact": exact, "confidence": "0", "max_people": "5"}
    document = client.post(URL, params=query | {"include": "inds"}, content=photo_jpeg).json()
    picture = client.post(URL, params=query | {"render": "inds"}, content=photo_jpeg).content
    owners = values(base64.b64decode(document["inds_png"]))
    assert len(np.unique(owners)) > 2
    assert np.array_equal(owners, values(picture))
    assert "inds_png" not in client.post(URL, params=query, content=photo_jpeg).json()  # only where it is asked for
    boxes = client.post(URL, params={"tasks": "", "include": "inds"}, content=photo_jpeg)
    refused(boxes, 422, "tasks= and include=inds", "inds need the task parsing or densepose")


def test_an_archive_and_a_picture_have_what_their_tasks_say_whatever_the_json_includes(
    client: TestClient, photo_jpeg: bytes
) -> None:
    answer = client.post(URL, params={"include": ""}, content=photo_jpeg, headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"photo_parts.png", "photo_IUV.png"} <= set(archive.namelist())
    query = {"render": "iuv", "include": "masks"}
    picture = client.post(URL, params=query, content=photo_jpeg)
    assert picture.content == client.post(URL, params={"render": "iuv"}, content=photo_jpeg).content
    clash = {"tasks": "parsing", "include": "iuv"}
    refused(
        client.post(URL, params=clash, content=photo_jpeg, headers={"Accept": "application/zip"}),
        422, "tasks=parsing", "include=iuv", "needs the task densepose", "leave one of the two out",
    )  # fmt: skip
    image = {"type": "base64", "value": base64.b64encode(photo_jpeg).decode()}
    over_query = client.post(URL, params={"tasks": "parsing"}, json={"image": image, "options": {"include": ["iuv"]}})
    refused(over_query, 422, "tasks=parsing and include=iuv do not go together")


@pytest.mark.parametrize(
    ("render", "tasks"),
    [
        ("parts", "parsing"),
        ("iuv", "densepose"),
        ("inds", "densepose"),
        ("inds", "parsing"),
        ("overlay", "parsing"),
    ],
)
def test_exact_is_for_every_map(client: TestClient, photo_jpeg: bytes, render: str, tasks: str) -> None:
    def picture(**more: str) -> NDArray[np.uint8]:
        answer = client.post(URL, params={"render": render, **more}, content=photo_jpeg)
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(io.BytesIO(answer.content)))

    plain, exact = picture(tasks=tasks), picture(tasks=tasks, exact="true")
    assert 0 < (plain != exact).mean() < 0.2  # edges, and U and V between the cells
    if render == "iuv":  # whatever else is computed
        np.testing.assert_array_equal(picture(exact="true"), exact)


def test_exact_smooths_iuv_in_json_with_one_task_and_with_both(client: TestClient, photo_jpeg: bytes) -> None:
    def chart(**query: str) -> str:
        return str(people_of(client.post(URL, params=query, content=photo_jpeg))[0]["densepose"]["labels_uv_str"])

    exact = chart(tasks="densepose", exact="true")
    assert exact != chart(tasks="densepose")
    assert exact == chart(exact="true")


class Half(Slow):
    """A model whose second head has learnt nothing."""

    info = replace(INFO, tasks={"parsing": True, "densepose": False})


def test_an_untrained_head_is_said(client: TestClient, photo_jpeg: bytes) -> None:
    half = Half()
    half.gate.set()
    with TestClient(create_app(Settings(), lambda: half)) as other:
        wait_until_ready(other)
        both = {"tasks": "parsing,densepose"}
        (warning,) = other.post(URL, params=both, content=photo_jpeg).json()["warnings"]
        assert warning == "the densepose head of this model is not trained: its maps mean nothing"
        assert other.post(URL, content=photo_jpeg).json()["warnings"] == []  # nobody named it, so it is not asked
        assert other.post(URL, params={"tasks": "parsing"}, content=photo_jpeg).json()["warnings"] == []
    assert client.post(URL, content=photo_jpeg).json()["warnings"] == []  # both heads of the shipped one are


def test_nobody_in_a_plain_picture(client: TestClient) -> None:
    grey = encoded(Image.new("RGB", (320, 200), (128, 128, 128)), "PNG")
    assert people_of(client.post(URL, content=grey)) == []
    for render in ("overlay", "parts", "iuv", "inds"):
        picture = client.post(URL, params={"render": render}, content=grey)
        assert Image.open(io.BytesIO(picture.content)).size == (320, 200)
    with np.load(io.BytesIO(client.post(URL, content=grey, headers={"Accept": "application/x-npz"}).content)) as arrays:
        assert arrays["boxes"].shape == (0, 4)
        assert arrays["parts"].shape == (0, 128, 128)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (17, 33)])
def test_odd_sizes(client: TestClient, size: tuple[int, int]) -> None:
    answer = client.post(URL, content=encoded(Image.new("RGB", size, (200, 30, 30)), "PNG"))
    assert answer.status_code == 200
    assert answer.json()["image"] == {"width": size[0], "height": size[1]}
