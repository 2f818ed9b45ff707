"""Pictures in base64 are decoded where they stand in the JSON, and nothing else is touched."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from typing import Any

import pytest

from server.requests.json_body import load, put_pictures, take_pictures
from server.requests.pieces import Pieces

PICTURE = random.Random(7).randbytes(100_000)
TEXT = base64.b64encode(PICTURE).decode()


def read(text: str) -> dict[str, Any]:
    rest, found = take_pictures(text.encode())
    document = load(rest, "the body")
    put_pictures(document, found)
    return document


@pytest.mark.parametrize("indent", [None, 2])
def test_long_ones_are_bytes(indent: int | None) -> None:
    images = [{"type": "base64", "value": TEXT}, {"type": "base64", "value": "aaaa"}, {"value": TEXT}]
    document = read(json.dumps({"images": images, "inputs": [{"data": [[TEXT]]}]}, indent=indent))
    assert [image["value"] for image in document["images"]] == [PICTURE, "aaaa", PICTURE]
    assert document["inputs"][0]["data"] == [[PICTURE]]


@pytest.mark.parametrize(
    "value", [TEXT[:-1], TEXT.replace("A", "!", 1), TEXT.replace("/", "\\/"), TEXT + "\\n", "é" + TEXT, TEXT + '\\"']
)
def test_others_stay(value: str) -> None:
    text = f'{{"value": "{value}"}}'
    assert take_pictures(text.encode()) == (text.encode(), {})
    assert read(text) == json.loads(text)


@pytest.mark.parametrize("text", [f'{{"x\\"value":"{TEXT}"}}', f'{{"other": "{TEXT}"}}', f'{{"{TEXT}": "value"}}'])
def test_names_and_other_fields_stay(text: str) -> None:
    document = read(text)
    assert list(document) == list(json.loads(text))
    assert set(document.values()) <= {TEXT, PICTURE, "value"}


def test_what_is_no_json_is_none_after_it() -> None:
    for text in (f'{{"value":"{TEXT}"', f'{{"value":"{TEXT}" 1}}', f'"abc"value":"{TEXT}"', f'{{"value":"{TEXT}'):
        with pytest.raises(Exception, match="is not JSON"):
            read(text)


def test_it_takes_no_more_than_the_picture() -> None:
    data = json.dumps({"value": base64.b64encode(bytes(6_000_000)).decode()}).encode()
    tracemalloc.start()
    rest, found = take_pictures(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rest) < 100
    assert [len(picture) for picture in found.values()] == [6_000_000]
    assert peak < 6_200_000


@pytest.mark.parametrize("size", [0, 1, 1_048_576, 3_000_000])
def test_pieces_make_the_body(size: int) -> None:
    body, pieces, at = random.Random(size).randbytes(size), Pieces(), 0
    while at < size:
        pieces.add(body[at : at + 300_000])
        at += 300_000
    assert pieces.take() == body
    assert pieces.take() == b""
