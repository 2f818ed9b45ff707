"""A gateway whose model has one trained head, and the embedded engine with it: what clients get by default."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from parsing_rcnn.analyzer import Options
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import AsyncGateway, Gateway
from tests.client.conftest import gateway


def test_who_names_no_task_gets_the_trained_one(charts_pipeline: Pipeline, photo: Path) -> None:
    own = charts_pipeline.analyze(photo)
    assert own.parts is None
    assert own.iuv is not None
    assert charts_pipeline.analyze(photo, tasks="parsing").parts is not None
    with gateway(charts_pipeline) as url:
        engine = Gateway(url)
        for people in (engine.analyze(photo), engine.analyze(photo, confidence=0.4), *streamed(engine, photo)):
            assert people.parts is None
            assert people.iuv is not None
        engine.close()


def test_what_is_named_comes_and_says_what_means_nothing(
    charts_pipeline: Pipeline, photo: Path, tmp_path: Path
) -> None:
    async def asked(url: str) -> frozenset[str]:
        engine = AsyncGateway(url)
        try:
            assert (await engine.analyze(photo)).parts is None
            return (await engine.analyze(photo, Options())).untrained
        finally:
            await engine.close()

    assert charts_pipeline.analyze(photo, Options()).untrained == {"parsing"}
    with gateway(charts_pipeline) as url:
        engine = Gateway(url)
        people = engine.analyze(photo, tasks="parsing,densepose")
        assert people.parts is not None
        assert people.untrained == {"parsing"}
        people.save(tmp_path / "a.npz")
        assert type(people).load(tmp_path / "a.npz").untrained == {"parsing"}
        engine.close()
        assert asyncio.run(asked(url)) == {"parsing"}


def streamed(engine: Gateway, photo: Path) -> list:  # type: ignore[type-arg]
    pytest.importorskip("websockets")
    return [answer.people for answer in engine.stream([photo])]
