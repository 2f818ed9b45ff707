"""Every client over a model with one trained head: what comes by default, and what is told of the other head."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.cli import build
from parsing_rcnn.ensembles import identity
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP, MHP
from parsing_rcnn_client import AsyncClient, Client
from tests.client.conftest import gateway

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
from tests.client.sdk.test_triton import Ensembles, OtherClasses, grpc, service_pb2, serving

KINDS = ("gateway", "embedded", "triton", "another engine")


class Telling(Ensembles):
    """Triton whose ensembles say what `parameters` hold, and note which of them were asked for."""

    def __init__(self, pipeline: Pipeline, parameters: dict[str, str]) -> None:
        super().__init__(pipeline)
        self.parameters, self.configurations, self.asked = parameters, 0, []  # type: ignore[var-annotated]

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.configurations += 1
        answer = service_pb2.ModelConfigResponse()
        for key, text in self.parameters.items():
            answer.config.parameters[key].string_value = text
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request.model_name)
        return super().ModelInfer(request, context)


class Protocol:
    """Somebody's own `Analyzer`, which takes an `Options` and no keywords."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.info = pipeline, pipeline.info

    def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        return self.pipeline.analyze(image, options)

    def close(self) -> None: ...


class AsyncProtocol:
    """Somebody's own `AsyncAnalyzer`, likewise."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    async def info(self) -> ModelInfo:
        return self.pipeline.info

    async def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        return await asyncio.to_thread(self.pipeline.analyze, image, options)

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
def parts_pipeline(parts_repository: Path) -> Pipeline:
    return Pipeline(parts_repository, threads=1)


@pytest.fixture(scope="module")
def addresses(parts_pipeline: Pipeline) -> Iterator[dict[str, str]]:
    with ExitStack() as opened:
        triton = serving(Telling(parts_pipeline, identity(parts_pipeline.info.card)))
        yield {"triton": opened.enter_context(triton), "gateway": opened.enter_context(gateway(parts_pipeline))}


def client(kind: str, addresses: dict[str, str], repository: Path, pipeline: Pipeline) -> Client:
    made: dict[str, Callable[[], Client]] = {
        "gateway": lambda: Client.connect(addresses["gateway"]),
        "embedded": lambda: Client.embedded(repository, threads=1),
        "triton": lambda: Client.triton(addresses["triton"]),
        "another engine": lambda: Client(Protocol(pipeline)),
    }
    return made[kind]()


def async_client(kind: str, addresses: dict[str, str], repository: Path, pipeline: Pipeline) -> AsyncClient:
    made: dict[str, Callable[[], AsyncClient]] = {
        "gateway": lambda: AsyncClient.connect(addresses["gateway"]),
        "embedded": lambda: AsyncClient.embedded(repository, threads=1),
        "triton": lambda: AsyncClient.triton(addresses["triton"]),
        "another engine": lambda: AsyncClient(AsyncProtocol(pipeline)),
    }
    return made[kind]()


def require_parts_alone(people: Any) -> None:
    assert people.parts is not None
    assert people.iuv is None


def require_both(people: Any) -> None:
    assert people.parts is not None
    assert people.iuv is not None
    assert people.untrained == {"densepose"}


@pytest.mark.parametrize("kind", KINDS)
def test_without_tasks_the_trained_head_is_asked(
    kind: str, addresses: dict[str, str], parts_repository: Path, parts_pipeline: Pipeline, photo: Path
) -> None:
    with client(kind, addresses, parts_repository, parts_pipeline) as each:
        require_parts_alone(each.analyze(photo))
        require_parts_alone(each.analyze(photo, confidence=0.4))
        for people in (*each.analyze_many([photo]), *each.analyze_many([photo], confidence=0.4)):
            require_parts_alone(people)
        require_both(each.analyze(photo, tasks="parsing,densepose"))
        require_both(each.analyze(photo, Options()))
        require_both(next(each.analyze_many([photo], Options())))
        assert dict(each.info.tasks) == {"parsing": True, "densepose": False}


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_is_with_asyncio(
    kind: str, addresses: dict[str, str], parts_repository: Path, parts_pipeline: Pipeline, photo: Path
) -> None:
    async def ask() -> None:
        async with async_client(kind, addresses, parts_repository, parts_pipeline) as each:
            require_parts_alone(await each.analyze(photo))
            require_parts_alone(await each.analyze(photo, confidence=0.4))
            many: AsyncIterator[People | Exception]
            for many in (each.analyze_many([photo]), each.analyze_many([photo], confidence=0.4)):
                require_parts_alone(await anext(many))
            require_both(await each.analyze(photo, tasks="parsing,densepose"))
            require_both(await each.analyze(photo, Options()))

    asyncio.run(ask())


def test_triton_is_asked_for_its_card_once_and_then_for_the_cheapest_ensemble(
    parts_pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    servicer = Telling(parts_pipeline, identity(parts_pipeline.info.card))
    with serving(servicer) as url, Client.triton(url) as each:
        for _ in range(2):
            each.analyze(photo_jpeg)
    assert servicer.asked == ["human_parsing", "human_parsing"]
    assert servicer.configurations == 1


def test_a_triton_that_tells_no_trained_heads_is_asked_for_both(
    parts_pipeline: Pipeline, photo_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(Telling):
        def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
            context.abort(grpc.StatusCode.INTERNAL, "the configuration is restricted")

    for servicer in (Telling(parts_pipeline, {}), Refusing(parts_pipeline, {})):
        with serving(servicer) as url, Client.triton(url) as each:
            people = each.analyze(photo_jpeg)
        assert (people.iuv is not None, people.untrained) == (True, frozenset())
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "the configuration is restricted" in told[0]


def test_triton_names_the_weights_of_the_card(parts_pipeline: Pipeline) -> None:
    card = parts_pipeline.info.card
    with serving(Telling(parts_pipeline, identity(card))) as url:
        with Client.triton(url) as each:
            about = each.info
        shown = CliRunner().invoke(build(), ["info", "--triton", url])
        bare = CliRunner().invoke(build(), ["info", "--triton", url, "--json"])
    assert (about.name, about.version) == (card["name"], card["version"])
    assert about.classes == parts_pipeline.info.classes
    assert about.card["tasks"] == {"parsing": {"trained": True}, "densepose": {"trained": False}}
    assert "parsing: trained, densepose: not trained" in shown.stdout
    assert json.loads(bare.stdout)["model"] == card["name"]


def test_the_classes_are_those_of_the_card_where_no_part_is_asked_for(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    parameters = {"card.taxonomy": "mhp", "card.trained": "densepose, parsing", "card.name": "mine"}

    class Mhp(OtherClasses):
        ModelConfig = Telling.ModelConfig
        configurations = 0

    servicer = Mhp(pipeline, 59, 45)
    servicer.parameters = parameters  # type: ignore[attr-defined]
    with serving(servicer) as url, Client.triton(url) as each:
        assert each.analyze(photo_jpeg, tasks=()).taxonomy == MHP
        assert each.analyze(photo_jpeg).taxonomy == MHP
        assert (each.info.name, each.info.classes) == ("mine", MHP.classes)


def test_predict_writes_no_maps_of_an_untrained_head_of_triton(
    addresses: dict[str, str], photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(build(), ["predict", str(photo), "-o", str(out), "--triton", addresses["triton"]])
    assert done.exit_code == 0, done.stderr
    assert "note: the head of densepose is not trained in this model, so it is left out" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "photo.json", "photo.npz", "photo_overlay.png", "photo_parts.png",
    ]  # fmt: skip
    assert json.loads((out / "photo.json").read_text())["model"]["name"] == "light"
    asked = CliRunner().invoke(
        build(), ["predict", str(photo), "-o", str(out), "--triton", addresses["triton"], "--tasks", "densepose"]
    )
    assert "note: the head of densepose is not trained in this model; ignore its maps" in asked.stderr
    assert People.load(out / "photo.npz").untrained == {"densepose"}
    assert np.load(out / "photo.npz")["untrained"].tolist() == [False, True]


def test_tasks_may_come_from_a_generator(parts_pipeline: Pipeline, photo_jpeg: bytes) -> None:
    each = Client(parts_pipeline)
    answers = list(each.analyze_many([photo_jpeg] * 2, tasks=(task for task in ("parsing", "densepose"))))
    assert len(answers) == 2
    for people in answers:
        require_both(people)


def test_annotate_draws_no_charts_of_an_untrained_head_of_triton(addresses: dict[str, str], clip: Path) -> None:
    common = ["annotate", str(clip), "--jsonl", "-", "--triton", addresses["triton"]]
    done = CliRunner().invoke(build(), [*common, "--layers", "iuv"])
    assert done.exit_code == 2
    assert "the layer iuv needs the task densepose, whose head is not" in " ".join(done.stderr.split())
    done = CliRunner().invoke(build(), [*common, "--layers", "anonymise"])
    assert done.exit_code == 0, done.stderr
    assert "note: the head of densepose is not trained in this model, so it is left out" in done.stderr


def test_a_head_that_triton_loads_again_is_trained_all_the_same(
    pipeline: Pipeline, photo: Path, clip: Path, tmp_path: Path
) -> None:
    """It is not ready for a moment, and is there again for the pictures."""

    class Reloading(Telling):
        ModelReady = Ensembles.ModelReady  # `densepose` is not ready

    servicer = Reloading(pipeline, identity(pipeline.info.card))
    with serving(servicer) as url:
        with Client.triton(url) as each:
            assert dict(each.info.tasks) == {"parsing": True, "densepose": True}
        out = ("-o", str(tmp_path / "out"), "--write", "npz")
        done = CliRunner().invoke(build(), ["predict", str(photo), *out, "--triton", url])
        assert (done.exit_code, "note:" in done.stderr) == (0, False), done.stderr
        assert People.load(tmp_path / "out" / "photo.npz").iuv is not None
        done = CliRunner().invoke(build(), ["annotate", str(clip), "--jsonl", "-", "--triton", url, "--layers", "iuv"])
        assert (done.exit_code, "note:" in done.stderr) == (0, False), done.stderr
    with serving(Reloading(pipeline, {})) as url, Client.triton(url) as each:  # where nothing tells, it is asked for
        assert dict(each.info.tasks) == {"parsing": True, "densepose": False}


@pytest.mark.parametrize("parameter", ["card.classes", "models"])
def test_what_triton_says_too_deeply_is_not_known(pipeline: Pipeline, photo_jpeg: bytes, parameter: str) -> None:
    said = identity(pipeline.info.card) | {parameter: "[" * 100_000}
    with serving(Telling(pipeline, said)) as url, Client.triton(url) as each:
        assert each.analyze(photo_jpeg, tasks="parsing").taxonomy == CIHP


def test_an_engine_of_ones_own_is_asked_once_what_it_is(parts_pipeline: Pipeline, photo: Path) -> None:
    class Counting(AsyncProtocol):
        asked = 0

        async def info(self) -> ModelInfo:
            self.asked += 1
            return await super().info()

    async def ask() -> int:
        engine = Counting(parts_pipeline)
        async with AsyncClient(engine) as each:
            for _ in range(3):
                require_parts_alone(await each.analyze(photo))
        return engine.asked

    assert asyncio.run(ask()) == 1
