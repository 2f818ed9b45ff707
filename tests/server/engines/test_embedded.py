"""The embedded engine: what it has computed before the first picture comes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from parsing_rcnn.analyzer import Options
from parsing_rcnn.card import CARD
from parsing_rcnn.inference.compiled import OpenVinoGraph
from parsing_rcnn.inference.contention import THREADS
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.stopping import Stopped, check_stopped
from server.engines.embedded import EmbeddedEngine
from server.engines.tiny import tiny_picture
from server.requests.call import Call, Route

LARGEST = 12


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """The shipped models with a card that names more people than a blank picture is taken for."""
    shipped = ModelRepository.open().path
    for entry in shipped.iterdir():
        if entry.name != CARD:
            (tmp_path / entry.name).symlink_to(entry)
    card = json.loads((shipped / CARD).read_text()) | {"people_buckets": [1, LARGEST]}
    (tmp_path / CARD).write_text(json.dumps(card))
    return tmp_path


@pytest.mark.parametrize("model", ["fast", "accurate"])
def test_no_first_picture_waits_for_a_compilation(
    crowded: Path, photo_jpeg: bytes, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")

    def compile_now(*_: object) -> None:
        raise AssertionError("it was not compiled before")

    async def first() -> list[People]:
        engine = EmbeddedEngine(lambda: Pipeline(crowded, model=model), workers=2, queue=0)
        await engine.start()
        assert engine.not_ready is None
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(OpenVinoGraph, "_static", compile_now)
            for alone in (True, False):  # graphs are compiled differently for running beside another picture
                for options in (Options(confidence=0, max_people=LARGEST), Options(max_people=1, part_probs=True)):
                    with THREADS.assuming(alone=alone):
                        found.append((await engine.analyze(photo_jpeg, options, Call(Route.ANALYZE, "test")))[0])
        await engine.close()
        return found

    assert [len(people) for people in asyncio.run(first())] == [LARGEST, 1, LARGEST, 1]


def test_an_engine_needs_no_web_framework() -> None:
    """Errors and calls are the engines' own vocabulary; only routes and middleware speak HTTP."""
    program = "import sys, server.engines.triton; sys.exit('fastapi' in sys.modules or 'starlette' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_picture_in_many_tiles_whose_caller_has_gone_frees_its_thread(pipeline: Pipeline) -> None:
    """It ends after the graph that runs, and the next picture need not wait for 17 of them."""
    begun, freed = threading.Event(), threading.Event()

    class Watched:
        info = pipeline.info

        def analyze(self, image: bytes, options: Options) -> People:
            if options.tiles == 1:
                return pipeline.analyze(image, options)
            begun.set()
            try:
                while True:  # as the loop over tiles does between two of them
                    check_stopped()
                    time.sleep(0.01)
            except Stopped:
                freed.set()
                raise

        def close(self) -> None: ...

    async def left(photo: bytes) -> People:
        engine = EmbeddedEngine(Watched, workers=1, queue=2)
        await engine.start()
        work = asyncio.create_task(engine.analyze(photo, Options(tiles=4), Call(Route.ANALYZE, "test")))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        work.cancel()
        people, _ = await engine.analyze(photo, Options(frozenset()), Call(Route.ANALYZE, "test"))
        assert freed.is_set()
        await engine.close()
        return people

    assert len(asyncio.run(asyncio.wait_for(left(tiny_picture()), 120))) == 0
