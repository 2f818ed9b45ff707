"""A gateway that is started again with a model of other part classes: the SDK goes on with that one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.analyzer import TASKS, Options
from parsing_rcnn.codecs import npz
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy
from parsing_rcnn_client import AsyncClient, Client, GatewayError
from server.settings import Settings
from tests.client.sdk.test_bad_answers import MODEL, Impostor
from tests.client.streams import Ask, Patient, both
from tests.server.conftest import Live


def somebody(taxonomy: Taxonomy) -> People:
    label = np.full((1, 8, 8), len(taxonomy) - 1, np.uint8)
    sure = np.ones((1, len(taxonomy)), np.float32)
    box, score = np.array([[0, 0, 4, 4]], np.float32), np.ones(1, np.float32)
    return People(box, score, (4, 4), parts=label, part_scores=sure, taxonomy=taxonomy)


class Finds(Patient):
    """A model of this taxonomy; it finds one person."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        super().__init__(opened=True)
        tasks = dict.fromkeys(TASKS, True)
        self.info = replace(Patient.info, name=taxonomy.name, classes=taxonomy.classes, tasks=tasks)

    def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        super().analyze(image, options)
        return somebody(CIHP if self.info.classes == CIHP.classes else MHP)


def live(taxonomy: Taxonomy, port: int) -> Live:
    return Live(Settings(drain_seconds=1), lambda: Finds(taxonomy), port=port)


@pytest.mark.parametrize(("before", "after"), [(MHP, CIHP), (CIHP, MHP)], ids=lambda t: t.name)
def test_pictures_after_it(photo_jpeg: bytes, before: Taxonomy, after: Taxonomy, kept_port: int) -> None:
    with live(before, kept_port) as first:
        client = Client.connect(f"http://{first.address}", timeout=30)
        assert client.analyze(photo_jpeg).taxonomy is before
        assert client.info.name == before.name
    with client, live(after, kept_port):
        people = client.analyze(photo_jpeg)
        assert people.taxonomy is after
        assert people.part_scores is not None
        assert people.part_scores.shape == (1, len(after))
        assert (client.info.name, client.info.classes) == (after.name, after.classes)
        assert client.analyze(photo_jpeg).taxonomy is after


def test_pictures_after_it_by_asyncio(photo_jpeg: bytes, kept_port: int) -> None:
    async def ask() -> None:
        with live(MHP, kept_port) as first:
            client = AsyncClient.connect(f"http://{first.address}", timeout=30)
            assert (await client.analyze(photo_jpeg)).taxonomy is MHP
        async with client:
            with live(CIHP, kept_port):
                assert (await client.analyze(photo_jpeg)).taxonomy is CIHP
                assert (await client.info()).name == "cihp"

    asyncio.run(ask())


@both
def test_frames_after_it(photo_jpeg: bytes, ask: Ask, kept_port: int) -> None:
    frames: SimpleQueue[bytes | None] = SimpleQueue()
    with live(MHP, kept_port) as first:
        answers = ask(f"http://{first.address}", iter(frames.get, None), {}, timeout=60)
        frames.put(photo_jpeg)
        found = next(answers).people
        assert isinstance(found, People)
        assert found.taxonomy is MHP
    with live(CIHP, kept_port):
        seen: object = None
        while not isinstance(seen, People):  # the first may be lost with the connection
            frames.put(photo_jpeg)
            seen = next(answers).people
            assert isinstance(seen, People | EngineUnavailable)
        assert seen.taxonomy is CIHP
        frames.put(photo_jpeg)
        again = next(answers).people
        assert isinstance(again, People)
        assert again.taxonomy is CIHP
        frames.put(None)
        assert list(answers) == []


def test_several_models_behind_one_address_are_told(
    serve_app: Callable[..., AbstractContextManager[str]], photo_jpeg: bytes
) -> None:
    """/v1/models is answered by one of them, pictures by the other."""
    says = pytest.raises(GatewayError, match=r"model changed.*the 59 part classes of mhp.*the 20 of cihp.*same model")
    app = Impostor(MODEL, people=npz.encode(somebody(MHP)))
    with serve_app(app) as url, Client.connect(url, timeout=30) as client:
        with says as refused:
            client.analyze(photo_jpeg)
        assert (refused.value.status, refused.value.code) == (502, "other-classes")
        assert app.asked == 3  # what runs, the picture, and once more what runs


def test_an_answer_that_fits_no_model_is_not_asked_about(
    serve_app: Callable[..., AbstractContextManager[str]], photo_jpeg: bytes
) -> None:
    odd = Taxonomy("odd", tuple(map(str, range(33))), np.zeros((33, 3), np.uint8))
    app = Impostor(MODEL, people=npz.encode(somebody(odd)))
    with serve_app(app) as url, Client.connect(url, timeout=30) as client:
        with pytest.raises(GatewayError, match="is this a Parsing R-CNN gateway"):
            client.analyze(photo_jpeg)
        assert app.asked == 2
