"""Frames of an animation that Pillow opened: one object, which shows another frame when the next one is taken."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.codecs.picture import Picture, pixels
from parsing_rcnn.errors import InvalidImage, InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client import AsyncClient, Client
from parsing_rcnn_client.sdk.async_client import Threaded
from server.settings import Settings
from tests.client.streams import Ask, Patient, both, one_by_one
from tests.server.conftest import INFO, Live

SHADES = list(range(10, 250, 20))


class Shade:
    """An engine that finds somebody as far from the left as the picture is bright."""

    info: ModelInfo = INFO

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        """Somebody."""
        return somebody(image)

    def close(self) -> None:
        """Nothing is held."""


def somebody(image: Picture) -> People:
    shade = float(pixels(image)[0, 0, 0])
    return People(np.array([[shade, 0, shade + 1, 1]], np.float32), np.ones(1, np.float32), (40, 300))


def animation(kind: str) -> Iterator[Image.Image]:
    frames = [Image.fromarray(np.full((40, 60, 3), shade, np.uint8)) for shade in SHADES]
    buffer = io.BytesIO()
    exact = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **exact)
    return ImageSequence.Iterator(Image.open(buffer))


def shades(answers: list[Any]) -> list[int]:
    assert all(isinstance(people, People) for people in answers), answers
    return [int(people.boxes[0, 0]) for people in answers]


def by_asyncio(pictures: Any, **how: Any) -> list[People | Exception]:
    async def ask() -> list[People | Exception]:
        async with AsyncClient(Threaded(Shade())) as client:
            return [found async for found in client.analyze_many(pictures, **how)]

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("in_flight", [1, 4])
def test_each_frame_has_its_own_people(kind: str, in_flight: int) -> None:
    with Client(Shade()) as client:
        assert shades(list(client.analyze_many(animation(kind), in_flight=in_flight))) == SHADES
    assert shades(by_asyncio(animation(kind), in_flight=in_flight)) == SHADES


def test_what_is_wrong_with_a_picture_of_pillow_is_its_answer() -> None:
    grey = np.full((4, 4, 3), 50, np.uint8)
    pictures = [grey, Image.new("F", (4, 4)), Image.fromarray(grey)]
    with Client(Shade()) as client:
        for found in (list(client.analyze_many(pictures)), by_asyncio(pictures)):
            assert [type(one) for one in found] == [People, InvalidImage, People]
        for found in (list(client.analyze_many(pictures, bgr=True)), by_asyncio(pictures, bgr=True)):
            assert [type(one) for one in found] == [People, InvalidOptions, InvalidOptions]


class Sent(Patient):
    """An engine behind a gateway that says the shade of what came."""

    def analyze(self, image: Any, *options: Any) -> People:
        """Somebody."""
        return somebody(image)


@both
def test_a_stream_has_the_frames_that_were_shown(ask: Ask) -> None:
    with Live(Settings(), lambda: Sent(opened=True)) as live:
        url = f"http://{live.address}"
        found = one_by_one(ask, url, animation("GIF"))
        assert shades([answer.people for answer in found]) == SHADES
        assert [int(pixels(answer.picture)[0, 0, 0]) for answer in found] == SHADES
        (refused,) = one_by_one(ask, url, [Image.new("F", (4, 4))])
        assert isinstance(refused.people, InvalidImage)
        assert isinstance(next(ask(url, animation("GIF"), {"bgr": True})).people, InvalidOptions)


def test_so_has_one_that_is_asynchronous() -> None:
    async def shown() -> AsyncIterator[Picture]:
        for frame in animation("GIF"):
            yield frame

    async def ask(url: str) -> None:
        async with AsyncClient.connect(url) as client:
            async for answer in client.stream(shown()):
                assert isinstance(answer.people, People)
                assert shades([answer.people]) == [int(pixels(answer.picture)[0, 0, 0])]
                assert answer.number == SHADES.index(shades([answer.people])[0])

    with Live(Settings(), lambda: Sent(opened=True)) as live:
        asyncio.run(ask(f"http://{live.address}"))
