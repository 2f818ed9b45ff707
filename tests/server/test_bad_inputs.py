"""What is wrong with a request, and what the gateway says: the table of docs/bad_inputs.md, row by row.

`WRITE_DOCS=1 pytest tests/server/test_bad_inputs.py` writes the page anew.
"""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient

from tests.parsing_rcnn.codecs.test_header import flat, in_scans
from tests.server.helpers import encoded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad_inputs.md"
ANALYZE, BATCH = "/v1/analyze", "/v1/analyze/batch"
FEW = "?confidence=0&max_people=1&include=masks"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
INTRODUCTION = """# Bad inputs

Each row is a request that was sent to the gateway, and what it said, word for word. Errors are
`application/problem+json` with `type`, `title`, `status`, `detail` and the request's id.

The limits were lowered for this: to 2,000,000 bytes, 4,000,000 pixels and 4000 pixels a side. The defaults are 32 MiB,
64 million and 16384.

`tests/server/test_bad_inputs.py` sends every row and fails when this page is not what it got; `make fuzz` sends some
ten thousand more by chance.

| what | status | type | detail |
|---|---:|---|---|
"""


@dataclass(frozen=True)
class Row:
    """A request, and what its answer must be. `code` None: it is read as it is."""

    what: str
    status: int
    code: str | None
    body: bytes | Callable[[], Iterator[bytes]] = b""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ANALYZE
    method: str = "POST"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises far more."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def form(name: str, data: bytes, *fields: tuple[str, str]) -> tuple[bytes, dict[str, str]]:
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n\r\n'.encode() + data]
    parts += [f'--x\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{value}'.encode() for n, value in fields]
    return b"\r\n".join(parts) + b"\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def wrong(what: str, status: int, code: str, body: object, **more: Any) -> Row:
    """A row whose body is bytes, a function that yields them, or what is sent as JSON."""
    data = body if isinstance(body, bytes) or callable(body) else json.dumps(body).encode()
    return Row(what, status, code, data, **more)  # type: ignore[arg-type]


def options(jpeg: bytes, what: str, query: str) -> Row:
    return Row(what, 422, "invalid-options", jpeg, query)


def fields(jpeg: bytes, what: str, status: int, code: str, *fields: tuple[str, str], path: str = ANALYZE) -> Row:
    body, headers = form("file", jpeg, *fields)
    return Row(what, status, code, body, headers=headers, path=path)


def as_json(jpeg: bytes) -> dict[str, str]:
    return {"type": "base64", "value": base64.b64encode(jpeg).decode()}


def rows(photo: bytes) -> list[Row]:
    """All rows, in the order of the page."""
    small = Image.open(io.BytesIO(photo)).convert("RGB").resize((128, 128))
    jpeg = encoded(small, "JPEG")
    return [
        *readable(small),
        *bad_images(photo, small),
        *bad_options(jpeg),
        *bad_json(jpeg),
        *bad_forms(jpeg),
        *bad_requests(photo, jpeg),
    ]


def readable(small: Image.Image) -> list[Row]:
    turned = Image.Exif()
    turned[0x0112] = 6
    many = np.random.default_rng(0).integers(0, 65536, (40, 60), np.uint16)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", '{"nodes":[]} ' * 100_000, zip=True)
    return [
        Row(
            "animated WebP: its first picture",
            200,
            None,
            encoded(small, "WEBP", save_all=True, append_images=[small]),
            FEW,
        ),
        Row("CMYK JPEG", 200, None, encoded(small.convert("CMYK"), "JPEG"), FEW),
        Row("grey JPEG", 200, None, encoded(small.convert("L"), "JPEG"), FEW),
        Row("16-bit grey PNG", 200, None, encoded(Image.fromarray(many), "PNG"), FEW),
        Row("PNG with transparency: on white", 200, None, encoded(small.convert("RGBA"), "PNG"), FEW),
        Row("PNG with 1.2 MB of packed text", 200, None, encoded(small, "PNG", pnginfo=texts), FEW),
        Row("PNG with a colour profile of 1.2 MB", 200, None, encoded(small, "PNG", icc_profile=bytes(1_200_000)), FEW),
        Row("palette PNG", 200, None, encoded(small.convert("P"), "PNG"), FEW),
        Row("JPEG turned by EXIF: upright", 200, None, encoded(small, "JPEG", exif=turned), FEW),
        Row("one pixel", 200, None, encoded(small.resize((1, 1)), "PNG"), FEW),
        Row("3000 x 1 pixels", 200, None, encoded(small.resize((3000, 1)), "PNG"), FEW),
    ]


def bad_images(photo: bytes, small: Image.Image) -> list[Row]:
    jpeg, png, empty = (
        encoded(small, "JPEG"),
        encoded(small, "PNG"),
        struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT")),
    )
    progressive = encoded(small, "JPEG", progressive=True)
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    scans = progressive[:-2] + last * (200 - progressive.count(b"\xff\xda")) + progressive[-2:]
    return [
        wrong("nothing", 400, "invalid-image", b""),
        wrong("half a JPEG", 400, "invalid-image", photo[: len(photo) // 2]),
        wrong("three bytes of a JPEG", 400, "invalid-image", photo[:3]),
        wrong("progressive JPEG of 200 scans", 400, "invalid-image", scans),
        wrong("baseline JPEG of 200 scans", 400, "invalid-image", in_scans(200)),
        wrong("JPEG of 5000 empty comments", 400, "invalid-image", jpeg[:2] + b"\xff\xfe\0\2" * 5000 + jpeg[2:]),
        wrong("JPEG of 5000 restart markers", 400, "invalid-image", jpeg[:2] + b"\xff\xd0" * 5000 + jpeg[2:]),
        wrong("JPEG of 100,000 fill bytes", 400, "invalid-image", jpeg[:2] + b"\xff" * 100_000 + jpeg[2:]),
        wrong("PNG of 70,000 empty chunks", 400, "invalid-image", png[:33] + empty * 70_000 + png[33:]),
        wrong("half a PNG", 400, "invalid-image", png[: len(png) // 2]),
        wrong("lossless JPEG", 415, "unsupported-image", b"\xff\xd8" + flat(0xC3)),
        wrong("text", 415, "unsupported-image", b"hello world"),
        wrong("GIF", 415, "unsupported-image", encoded(small.convert("P"), "GIF")),
        wrong("TIFF", 415, "unsupported-image", encoded(small, "TIFF")),
        wrong("HEIC", 415, "unsupported-image", b"\0\0\0\x18ftypheic" + bytes(100)),
        wrong("SVG", 415, "unsupported-image", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        wrong("base64 as the body", 415, "unsupported-image", base64.b64encode(photo)),
        wrong("a data URL as the body", 415, "unsupported-image", b"data:image/jpeg;base64," + base64.b64encode(photo)),
        wrong(
            "JSON as another type (curl -d says form)", 415, "unsupported-image", {"image": as_json(jpeg)}, headers=FORM
        ),
        wrong("PDF", 415, "unsupported-image", b"%PDF-1.7\n" + bytes(100)),
        wrong("PNG of 80 bytes that says 60000 x 60000", 413, "image-too-large", bomb(60000, 60000)),
        wrong("PNG of 80 bytes that says 2500 x 2500", 413, "image-too-large", bomb(2500, 2500)),
        wrong("3 MB, length declared", 413, "body-too-large", bytes(3_000_000)),
        wrong("4 MB in chunks, no length", 413, "body-too-large", lambda: (bytes(100_000) for _ in range(40))),
    ]


def bad_options(jpeg: bytes) -> list[Row]:
    return [
        options(jpeg, "an option that does not exist", "?confidense=0.5"),
        options(jpeg, "an option twice", "?confidence=0.2&confidence=0.99"),
        options(jpeg, "a score beyond 1", "?confidence=1.5"),
        options(jpeg, "no number", "?confidence=high"),
        options(jpeg, "NaN", "?confidence=nan"),
        options(jpeg, "nobody wanted", "?max_people=0"),
        options(jpeg, "too many people", "?max_people=65"),
        options(jpeg, "a task that does not exist", "?tasks=dancing"),
        options(jpeg, "a mask format that does not exist", "?mask_format=svg"),
        options(jpeg, "a side too small", "?max_side=3"),
        options(jpeg, "a model that does not exist", "?model=huge"),
        options(jpeg, "a rendering that does not exist", "?render=hologram"),
        options(jpeg, "a rendering of what is not computed", "?render=iuv&tasks=parsing"),
        options(jpeg, "instances of boxes alone", "?render=inds&tasks="),
        options(jpeg, "what to hide, and nobody is to be hidden", "?hide=faces"),
        options(jpeg, "parts of DensePose alone", "?tasks=densepose&include=masks,parts"),
        options(jpeg, "IUV of parsing alone", "?tasks=parsing&include=iuv"),
        options(jpeg, "masks of boxes alone", "?tasks=&include=masks"),
    ]


def bad_json(jpeg: bytes) -> list[Row]:
    image = as_json(jpeg)
    return [
        wrong("JSON that ends early", 400, "malformed-request", b"{", headers=JSON),
        wrong("JSON, a list", 400, "malformed-request", b"[]", headers=JSON),
        wrong("JSON, an image that is text", 400, "malformed-request", {"image": image["value"]}, headers=JSON),
        wrong(
            "JSON, an address (off by default)",
            400,
            "malformed-request",
            {"image": {"type": "url", "value": "http://example.com/a.jpg"}},
            headers=JSON,
        ),
        wrong(
            "JSON, no base64",
            400,
            "malformed-request",
            {"image": {"type": "base64", "value": "&&&"}},
            headers=JSON,
        ),
        wrong("JSON, an empty image", 400, "invalid-image", {"image": {**image, "value": ""}}, headers=JSON),
        wrong("JSON, a key that does not exist", 400, "malformed-request", {"image": image, "x": 1}, headers=JSON),
        wrong(
            "JSON, an option that does not exist",
            422,
            "invalid-options",
            {"image": image, "options": {"y": 1}},
            headers=JSON,
        ),
        wrong(
            "JSON, twelve options that do not exist",
            422,
            "invalid-options",
            {"image": image, "options": {f"o{number}": 1 for number in range(12)}},
            headers=JSON,
        ),
        wrong("JSON of 20,000 fields", 400, "malformed-request", {f"f{n}": 1 for n in range(20_000)}, headers=JSON),
        options(jpeg, "forty tasks", "?tasks=" + ",".join(["parsing"] * 40)),
        wrong(
            "JSON, a number as text",
            422,
            "invalid-options",
            {"image": image, "options": {"confidence": "0.5"}},
            headers=JSON,
        ),
    ]


def bad_forms(jpeg: bytes) -> list[Row]:
    whole, of_form = form("file", jpeg)
    no_part = form("photo", jpeg)
    return [
        Row("form without `file`", 400, "malformed-request", no_part[0], headers=no_part[1]),
        fields(jpeg, "form, options that end early", 400, "malformed-request", ("options", "{")),
        fields(jpeg, "form, an option of another type", 422, "invalid-options", ("options", '{"confidence": "high"}')),
        fields(jpeg, "form, an option as a part", 400, "malformed-request", ("confidence", "0.9")),
        fields(jpeg, "form, a misspelt part", 400, "malformed-request", ("option", '{"confidence": 0.9}')),
        fields(jpeg, "form, ten parts", 400, "malformed-request", *((f"p{n}", "1") for n in range(10))),
        fields(jpeg, "form, two parts `options`", 400, "malformed-request", ("options", "{}"), ("options", "{}")),
        wrong(
            "form without its boundary", 400, "malformed-request", b"x", headers={"Content-Type": "multipart/form-data"}
        ),
        Row(
            "form, a file name as `filename*=` alone",
            400,
            "malformed-request",
            whole.replace(b'filename="a.jpg"', b"filename*=utf-8''a.jpg"),
            headers=of_form,
        ),
        Row("form without its last boundary", 400, "malformed-request", whole[: -len("--x--\r\n")], headers=of_form),
        Row(
            "form in another charset",
            400,
            "malformed-request",
            b"x",
            headers={"Content-Type": "multipart/form-data; boundary=x; charset=utf-7"},
        ),
    ]


def bad_requests(photo: bytes, jpeg: bytes) -> list[Row]:
    """Headers, batches, and what is asked of the wrong address or by the wrong page."""
    image = as_json(jpeg)
    return [
        Row("a type that cannot be made", 406, "not-acceptable", photo, headers={"Accept": "video/mp4"}),
        Row("labels as JPEG", 406, "not-acceptable", photo, "?render=parts", {"Accept": "image/jpeg"}),
        Row("transparency as JPEG", 406, "not-acceptable", photo, "?render=cutout", {"Accept": "image/jpeg"}),
        Row("a deadline that is no number", 422, "invalid-options", photo, headers={"X-Timeout-Ms": "soon"}),
        Row(
            "a deadline of 5009 digits", 422, "invalid-options", photo, headers={"X-Timeout-Ms": f"{5:09}" + 5000 * "0"}
        ),
        Row("a body in gzip", 415, "unsupported-coding", photo, headers={"Content-Encoding": "gzip"}),
        wrong("batch of none", 400, "malformed-request", {"images": []}, headers=JSON, path=BATCH),
        wrong("batch of 17", 400, "malformed-request", {"images": [image] * 17}, headers=JSON, path=BATCH),
        fields(jpeg, "batch, an option as a part", 400, "malformed-request", ("tasks", "parsing"), path=BATCH),
        wrong("batch, one picture as the body", 400, "malformed-request", photo, path=BATCH),
        wrong("batch, JSON as another type", 400, "malformed-request", {"images": [image]}, headers=FORM, path=BATCH),
        Row("a page from elsewhere", 403, "foreign-page", photo, headers={"Origin": "https://elsewhere.example"}),
        Row("another method", 405, "method-not-allowed", method="GET"),
        Row("another address", 404, "not-found", path="/v1/analyse"),
    ]


def line(row: Row, answer: Any) -> str:
    """The row of the page: what was got, not what was expected."""
    if answer.status_code == 200:
        return f"| {row.what} | 200 | read | |"
    problem = answer.json()
    detail = problem["detail"].replace("|", "\\|")
    return f"| {row.what} | {answer.status_code} | {problem['type'].removeprefix('urn:parsing-rcnn:')} | {detail} |"


def test_every_row_of_the_page(client: TestClient, photo_jpeg: bytes) -> None:
    lines, faults = [], []
    for row in rows(photo_jpeg):
        body = row.body() if callable(row.body) else row.body
        answer = client.request(row.method, row.path + row.query, content=body, headers=row.headers)
        lines.append(line(row, answer))
        kind = None if answer.status_code == 200 else answer.json()["type"].removeprefix("urn:parsing-rcnn:")
        if (answer.status_code, kind) != (row.status, row.code):
            faults.append(f"{row.what}: {row.status} {row.code} expected; {lines[-1]}")
        assert "Traceback" not in answer.text
        if kind:
            assert answer.headers["content-type"] == "application/problem+json", row.what
            assert answer.json()["request_id"] == answer.headers["x-request-id"], row.what
    assert not faults, "\n".join(faults)
    page = INTRODUCTION + "\n".join(lines) + "\n"
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, f"{PAGE} is not what the gateway says: write it anew (see the top of this file)"


@pytest.mark.parametrize(
    ("charset", "status"),
    [("UTF-8", 200), ('"utf8"', 200), ("us-ascii", 200)]
    + [(other, 400) for other in ("undefined", "punycode", "unicode_escape", "utf-7", "latin-1", "nonsense", '""')],
)
def test_names_are_in_utf_8_whatever_the_charset_is(client: TestClient, charset: str, status: int) -> None:
    names = ["a.png", "\\ud800.png", "+2AA-.png"]  # the last two: half a character, to some charsets
    names += ["caf\u00e9.png"] * ("ascii" not in charset)
    parts = [f'--x\r\nContent-Disposition: form-data; name="file"; filename="{n}"\r\n\r\n?\r\n' for n in names]
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = client.post(BATCH, content="".join([*parts, "--x--\r\n"]).encode(), headers=headers)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert [found["name"] for found in answer.json()["results"]] == names
    else:
        assert charset.strip('"') in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_bytes_are_read_or_refused(client: TestClient, photo_jpeg: bytes, kind: str) -> None:
    data = encoded(Image.open(io.BytesIO(photo_jpeg)).resize((96, 96)), kind)
    rng = np.random.default_rng(0)
    for _ in range(12):
        broken = bytearray(data)
        for position in rng.integers(0, len(data), 6):
            broken[position] = int(rng.integers(256))
        response = client.post(ANALYZE, content=bytes(broken), params={"tasks": "parsing"})
        assert response.status_code in (200, 400, 413, 415), response.text
