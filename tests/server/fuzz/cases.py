"""Requests made wrong on purpose. Case n is the same on every machine, so a failure is repeated by its number."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
from PIL import Image

QUERY = "?confidence=0.9&max_people=2"
_NUMBERS = (
    b"\x00",
    b"\xff",
    b"\x7f\xff",
    b"\x80\x00",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
)


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        kind: what was made wrong.
        path: with the query; empty for a frame of a stream.
        raw: `body` is everything that is sent, head included.
    """

    number: int
    kind: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    raw: bool = False


@cache
def pictures() -> tuple[tuple[str, bytes], ...]:
    """Small pictures of every kind that is read, and some that are not, with odd modes and EXIF rotation."""
    random = np.random.default_rng(7)
    small = random.integers(0, 256, (6, 5, 3), np.uint8)
    base = Image.fromarray(small).resize((61, 83), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    made: list[tuple[str, bytes]] = []

    def add(name: str, image: Image.Image, kind: str, **options: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append((name, buffer.getvalue()))

    add("jpeg", base, "JPEG")
    add("progressive", base, "JPEG", progressive=True, quality=50)
    add("grey", base.convert("L"), "JPEG")
    add("cmyk", base.convert("CMYK"), "JPEG")
    add("turned", base, "JPEG", exif=turned)
    add("png", base, "PNG")
    add("palette", base.convert("P"), "PNG")
    add("alpha", base.convert("RGBA"), "PNG", exif=turned)
    add("grey16", Image.fromarray(random.integers(0, 65536, (20, 30), np.uint16)), "PNG")
    add("bilevel", base.convert("1"), "PNG")
    add("webp", base, "WEBP")
    add("lossless", base.convert("RGBA"), "WEBP", lossless=True)
    add("animated", base, "WEBP", save_all=True, append_images=[base.rotate(9), base.rotate(20)])
    add("gif", base, "GIF")
    add("tiff", base, "TIFF")
    add("bmp", base, "BMP")
    made.append(("text", b"no picture at all\n" * 9))
    return tuple(made)


def mutated(data: bytes, random: Random, times: int) -> bytes:
    """Bits flipped, pieces cut, doubled, moved or overwritten."""
    out = bytearray(data)
    for _ in range(times):
        at = random.randrange(len(out) + 1)
        length = min(random.choice((1, 2, 4, 16, 200)), len(out) - at)
        match random.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << random.randrange(8)
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[at : at + length]
            case 3:
                out[at:at] = random.randbytes(length)
            case 4:
                number = random.choice(_NUMBERS)
                out[at : at + len(number)] = number
            case 5 if len(out) > 8:
                del out[at:]
            case _:
                other = random.choice(pictures())[1]
                out[at : at + length] = other[:length]
    return bytes(out)


def _picture(random: Random) -> bytes:
    data = random.choice(pictures())[1]
    head = random.random() < 0.5  # headers are where readers trust what they are told
    times = random.choice((0, 1, 1, 2, 5, 20))
    if head and len(data) > 64:
        return mutated(data[:64], random, times) + data[64:]
    return mutated(data, random, times)


def _raw_picture(number: int, random: Random) -> Case:
    types = ("image/jpeg", "image/png", "application/octet-stream", "text/plain", "image/webp; q=1", "", "x" * 300)
    headers = {"Content-Type": random.choice(types)} if random.random() < 0.3 else {}
    if random.random() < 0.2:
        accepted = (
            "image/png",
            "image/jpeg",
            "application/x-npz",
            "application/zip",
            "*/*",
            "image/*;q=0",
            ",;,",
            "a/b;q=x",
        )
        headers["Accept"] = random.choice(accepted)
    return Case(number, "picture", f"/v1/analyze{QUERY}", _picture(random), headers)


def _form(number: int, random: Random) -> Case:
    mark = "frontier"
    parts = [("file", "a.jpg", _picture(random)), ("options", None, b'{"confidence": 0.9, "max_people": 1}')]
    body = bytearray()
    for name, file, data in parts[: random.choice((1, 2))] * random.choice((1, 1, 1, 2)):
        disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        body += f"--{mark}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    body += f"--{mark}--\r\n".encode()
    sent = mutated(bytes(body), random, random.choice((0, 1, 3, 9)))
    path = random.choice(("/v1/analyze", "/v1/analyze/batch"))
    return Case(number, "form", path, sent, {"Content-Type": f"multipart/form-data; boundary={mark}"})


def _odd(random: Random, depth: int = 0) -> object:
    """A JSON value of any kind."""
    if depth < 3 and random.random() < 0.3:
        if random.random() < 0.5:
            return [_odd(random, depth + 1) for _ in range(random.randrange(4))]
        return {random.choice(("image", "type", "value", "options", "x", "")): _odd(random, depth + 1) for _ in "ab"}
    texts = ("", "base64", "url", "https://127.0.0.1/", "\u0000", "é" * 50, "1e999")
    return random.choice((None, True, False, 0, -1, 2**63, 1e308, 0.5, *texts))


def _document(number: int, random: Random) -> Case:
    image = {"type": "base64", "value": base64.b64encode(_picture(random)).decode()}
    options = {"confidence": 0.9, "max_people": 2}
    batch = random.random() < 0.4
    document: dict[str, object] = {"options": options}
    if batch:
        document["images"] = [image] * random.choice((0, 1, 2))
    else:
        document["image"] = image
    for target in (document, options, image):
        if random.random() < 0.3:
            key = random.choice((*target, "tasks", "include", "mask_format", "max_side", "exact", "render", "y"))
            target[key] = _odd(random)  # type: ignore[index, assignment]
    body = json.dumps(document).encode()
    if random.random() < 0.4:
        body = mutated(body, random, random.choice((1, 3)))
    return Case(number, "JSON", f"/v1/analyze{'/batch' if batch else ''}", body, {"Content-Type": "application/json"})


def _tensor(number: int, random: Random) -> Case:
    picture = _picture(random)
    size = random.choice((len(picture) + 4,) * 5 + (len(picture), 0, 2**31, -1))
    length = random.choice((len(picture),) * 5 + (0, len(picture) + 1, 2**32 - 1))
    tensor: dict[str, object] = {
        "name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size},
    }  # fmt: skip
    document: dict[str, object] = {"id": "7", "inputs": [tensor], "parameters": {"confidence": 0.9}}
    for target in (document, tensor):
        if random.random() < 0.25:
            target[random.choice((*target, "outputs", "data"))] = _odd(random)
    head = json.dumps(document).encode()
    if random.random() < 0.3:
        head = mutated(head, random, 2)
    declared = random.choice((str(len(head)),) * 6 + ("0", "-1", "99999999999999999999", "x", ""))
    body = head + struct.pack("<I", length) + picture
    model = random.choice(("human_analysis", "human_parsing", "densepose", "nobody"))
    return Case(number, "tensor", f"/v2/models/{model}/infer", body, {"Inference-Header-Content-Length": declared})


def _options(number: int, random: Random) -> Case:
    names = ("tasks", "confidence", "max_people", "include", "mask_format", "max_side", "exact", "render", "x")
    values = ("", "0", "-1", "1e9", "nan", "inf", "parsing", "parsing,,densepose", "true", "%00", "%F0%9F", "a" * 500)
    query = "&".join(f"{random.choice(names)}={random.choice(values)}" for _ in range(random.randrange(1, 5)))
    headers = {}
    if random.random() < 0.3:
        headers["X-Timeout-Ms"] = random.choice(("0", "1", "-1", "nan", "600000", "9" * 40))
    if random.random() < 0.3:
        headers[random.choice(("traceparent", "X-Request-ID", "Content-Encoding", "Expect"))] = random.choice(
            ("", "gzip", "100-continue", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "\\", "é", "x" * 2000)
        )
    return Case(number, "options", f"/v1/analyze?{query}", pictures()[0][1], headers)


def _frame(number: int, random: Random) -> Case:
    frame = struct.pack("<II", random.choice((number, 0, 2**32 - 1)), random.choice((0, 0, 1, 2**32 - 1)))
    body = frame + _picture(random)
    return Case(number, "frame", "", body[: random.choice((len(body),) * 4 + (0, 4, 8, 9))])


def _http(number: int, random: Random) -> Case:
    body = pictures()[0][1]
    head = (
        f"POST /v1/analyze{QUERY} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    return Case(number, "HTTP", "", mutated(head, random, random.choice((1, 2, 5))) + body, raw=True)


_MAKERS: tuple[tuple[Callable[[int, Random], Case], int], ...] = (
    (_raw_picture, 8), (_form, 3), (_document, 3), (_tensor, 3), (_options, 1), (_frame, 3), (_http, 2),
)  # fmt: skip


def case(seed: int, number: int) -> Case:
    """Case `number` of a seed."""
    random = Random(f"{seed} {number}")
    makers, weights = zip(*_MAKERS, strict=True)
    maker: Callable[[int, Random], Case] = random.choices(makers, weights)[0]
    return maker(number, random)
