"""`analyze_many(in_flight=...)` of both clients, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client import AsyncClient, Client
from tests.server.conftest import INFO

PICTURES = [np.zeros((4, 4, 3), np.uint8)] * 12
NOBODY = People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (4, 4))


class Counting:
    """An `AsyncAnalyzer` that knows how many pictures were on their way at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def info(self) -> ModelInfo:
        return INFO

    async def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return NOBODY

    async def close(self) -> None: ...


def most(*, own: int, **keywords: Any) -> int:
    """Pictures that were on their way at once."""

    async def ask() -> int:
        engine = Counting()
        async with AsyncClient(engine, own) as client:
            answers = [answer async for answer in client.analyze_many(PICTURES, **keywords)]
        assert len(answers) == len(PICTURES)
        return engine.most

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("own", "given", "wanted"), [(8, {"in_flight": 2}, 2), (3, {"in_flight": 8}, 3), (4, {}, 4), (8, {"tasks": ()}, 8)]
)
def test_asyncio_takes_it_too(own: int, given: dict[str, Any], wanted: int) -> None:
    assert most(own=own, **given) == wanted


def test_none_in_flight_is_refused_by_both() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"in_flight is {wrong}: at least one"):
            most(own=4, in_flight=wrong)
        with pytest.raises(ValueError, match=f"in_flight is {wrong}: at least one"):
            list(Client(None).analyze_many(PICTURES, in_flight=wrong))  # type: ignore[arg-type]


def test_other_keywords_are_still_options() -> None:
    with pytest.raises(InvalidOptions, match="inflight"):
        most(own=4, inflight=2)
