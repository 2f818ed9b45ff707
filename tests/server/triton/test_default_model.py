"""A Triton whose preprocess is set to one of the card's models: the gateway says which one answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from fastapi.testclient import TestClient

from benchmarks.frames import drawn_person
from parsing_rcnn.codecs import npz
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.settings import Settings
from server.supervisor.installation import Installation
from tests.server.triton.conftest import Running, supervised
from tests.server.triton.test_gateway_triton import NPZ, close, until


@pytest.fixture(scope="module")
def large(installation: Installation, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that sees pictures at the sizes of `large` where a request names no model."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(repository, folder, dirs_exist_ok=True)
    with (folder / "preprocess" / "configs" / "cpu.pbtxt").open("a") as file:
        file.write('parameters { key: "model" value: { string_value: "large" } }\n')
    with supervised(installation, folder, drain_seconds=5, interval=1.0) as running:
        yield running


def test_the_gateway_names_the_model_that_answers(large: Running) -> None:
    photo = cv2.imencode(".png", drawn_person())[1].tobytes()
    with TestClient(create_app(Settings(engine="triton", triton_url=large.grpc))) as client:
        until(lambda: client.get("/readyz").status_code == 200, 120)
        (model,) = client.get("/v1/models").json()
        assert (model["name"], model["model"], model["canvases"][0]) == ("light large", "large", [512, 832])
        assert model["models"] == ["fast", "large", "accurate"]
        for named in ("large", "fast"):
            query = "" if named == "large" else "&model=fast"
            answer = client.post(f"/v1/analyze?confidence=0&max_people=3{query}", content=photo, headers=NPZ)
            assert answer.headers["X-Model"] == f"light {named}/7.1"
            close(npz.decode(answer.content), Pipeline(model=named).analyze(photo, confidence=0.0, max_people=3))


def test_a_gateways_own_model_is_said_whatever_the_servers_is(large: Running) -> None:
    settings = Settings(engine="triton", triton_url=large.grpc, model="fast")
    with TestClient(create_app(settings)) as client:
        until(lambda: client.get("/readyz").status_code == 200, 120)
        assert client.get("/v1/models").json()[0]["model"] == "fast"


def test_of_two_servers_that_would_answer_by_other_models_one_gets_no_pictures(large: Running, triton: Running) -> None:
    settings = Settings(engine="triton", triton_url=f"{triton.grpc},{large.grpc}")
    with TestClient(create_app(settings)) as client:
        engine = client.app.state.engine  # type: ignore[attr-defined]
        until(lambda: client.get("/readyz").status_code == 200, 120)

        def reasons() -> list[str]:
            return [upstream.reason for upstream in engine._upstreams if not upstream.healthy]

        until(lambda: any("where none is named" in reason for reason in reasons()), 120)
        (other,) = reasons()
        assert "'fast'" in other
        assert "'large'" in other
        assert "set the parameter `model` of preprocess alike, or start the gateway with --model" in other
        (name,) = {upstream.model for upstream in engine._upstreams if upstream.healthy}
        assert client.get("/v1/models").json()[0]["model"] == name
