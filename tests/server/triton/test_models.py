"""The card's models behind a real Triton: by the parameter of a request, and through the gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from export.rendered.pictures import render_scene
from parsing_rcnn.analyzer import OptionKeywords, Options
from parsing_rcnn.codecs import npz
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import Client
from server.app import create_app
from server.engines.shared_memory import FOLDER, PREFIX
from server.settings import Settings
from tests.server.triton.conftest import Running
from tests.server.triton.test_ensembles import ask, same
from tests.server.triton.test_gateway_triton import NPZ, close, until


@pytest.fixture(scope="module")
def scene() -> bytes:
    """Four tall people, and small ones in the middle of the same street."""
    street = render_scene(3, 480, 640, 4)
    street[100:300, 270:370] = render_scene(5, 200, 100, 1)
    return cv2.imencode(".png", street[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return {name: Pipeline(model=name) for name in ("fast", "large", "accurate")}


@pytest.fixture(scope="module")
def gateways(triton: Running) -> Iterator[dict[str, TestClient]]:
    """By model."""
    settings = Settings(engine="triton", triton_url=triton.grpc)
    large = settings.model_copy(update={"model": "large"})
    accurate = settings.model_copy(update={"model": "accurate", "triton_shared_memory": True})
    with TestClient(create_app(large)) as one, TestClient(create_app(accurate)) as other:
        for client in (one, other):
            until(lambda client=client: client.get("/readyz").status_code == 200, 120)
        yield {"large": one, "accurate": other}


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("model", ["fast", "large"])
def test_a_request_names_the_model(
    triton: Running, pipelines: dict[str, Pipeline], scene: bytes, transport: str, model: str
) -> None:
    people = pipelines[model].analyze(scene, Options(confidence=0.3))
    assert len(people) >= 4
    same(ask(triton, transport, "human_analysis", scene, confidence="0.3", model=model), people)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("huge", "invalid-options: model: there is no 'huge' in this repository; choose from fast, large"),
        ("accurate", "invalid-options: model: 'accurate' sees every picture at two sizes, which is two requests"),
    ],
)
def test_other_models_are_refused(triton: Running, scene: bytes, model: str, says: str) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=says) as caught:
        ask(triton, "grpc", "human_parsing", scene, model=model)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize("model", ["large", "accurate"])
@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("&tasks=parsing&max_people=2&max_side=400", {"tasks": "parsing", "max_people": 2, "max_side": 400}),
        ("&tasks=", {"tasks": ""}),
        ("&region=0,100,640,470", {"region": (0, 100, 640, 470)}),
        ("&tiles=2&tasks=parsing", {"tiles": 2, "tasks": "parsing"}),
        ("&tiles=3&region=0,100,640,470", {"tiles": 3, "region": (0, 100, 640, 470)}),
    ],
)
def test_the_gateway_answers_what_the_embedded_engine_does(
    gateways: dict[str, TestClient],
    pipelines: dict[str, Pipeline],
    scene: bytes,
    model: str,
    query: str,
    options: OptionKeywords,
) -> None:
    answer = gateways[model].post(f"/v1/analyze?confidence=0.3{query}", content=scene, headers=NPZ)
    assert answer.status_code == 200
    theirs = npz.to_arrays(npz.decode(answer.content))
    ours = npz.to_arrays(pipelines[model].analyze(scene, confidence=0.3, **options))
    assert ours.keys() == theirs.keys()
    assert len(ours["boxes"]) >= 2
    for name, array in ours.items():
        if array.dtype == np.uint8:
            assert (theirs[name] == array).mean() > 0.999, name
        else:
            np.testing.assert_allclose(theirs[name], array, atol=0.01, err_msg=name)


def test_each_person_is_from_the_size_that_suits_them(
    gateways: dict[str, TestClient], pipelines: dict[str, Pipeline], scene: bytes
) -> None:
    """Who is 300 pixels tall on the canvas of 384x640 is as `fast` has them, the others as `large` has them."""
    people = npz.decode(gateways["accurate"].post("/v1/analyze?confidence=0.3", content=scene, headers=NPZ).content)
    both: dict[str, People] = {name: pipelines[name].analyze(scene, confidence=0.3) for name in ("fast", "large")}
    sizes = []
    for person in people:
        sizes.append("fast" if np.diff(person.boxes[0, 1::2])[0] * 384 / 480 >= 300 else "large")
        assert np.abs(both[sizes[-1]].boxes - person.boxes).max(axis=1).min() < 0.01
    assert set(sizes) == {"fast", "large"}


def test_the_exact_paste_of_both_sizes(
    gateways: dict[str, TestClient], pipelines: dict[str, Pipeline], scene: bytes
) -> None:
    path = "/v1/analyze?confidence=0.3&exact=true&render=parts"
    answer = gateways["accurate"].post(path, content=scene, headers={"accept": "image/png"})
    assert answer.status_code == 200
    found = np.array(Image.open(BytesIO(answer.content)))
    people = pipelines["accurate"].analyze(scene, tasks="parsing", confidence=0.3, part_probs=True)
    assert len(people) >= 4
    assert found.shape == people.image_size
    assert (found == people.label_map(exact=True)).mean() > 0.999


def test_many_pictures_at_two_sizes_get_their_own_answer_and_their_slots_back(
    gateways: dict[str, TestClient], pipelines: dict[str, Pipeline]
) -> None:
    """Twelve pictures of unequal widths on their way, each of them twice in shared memory."""
    street = render_scene(3, 480, 640, 4)[..., ::-1]
    pictures = [cv2.imencode(".png", street[:, : 500 + 10 * k])[1].tobytes() for k in range(12)]
    client = gateways["accurate"]

    def send(picture: bytes) -> People:
        return npz.decode(client.post("/v1/analyze?max_people=3", content=picture, headers=NPZ).content)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, pictures))
    for picture, found in zip(pictures, answers, strict=True):
        people = pipelines["accurate"].analyze(picture, Options(max_people=3))
        assert (found.image_size, len(found)) == (people.image_size, len(people))
        close(found, people)
    engine = client.app.state.engine  # type: ignore[attr-defined]
    (upstream,) = engine._upstreams
    assert engine._held == 0
    until(lambda: upstream.in_flight == 0, 120)
    until(lambda: len(engine._memory.unused()) == len(list(FOLDER.glob(f"{PREFIX}{os.getpid()}_*"))) >= 2, 120)
    assert client.post("/v1/analyze", content=pictures[0][:3000]).status_code == 400  # both are refused
    until(lambda: upstream.in_flight == 0, 120)


@pytest.mark.parametrize("model", ["fast", "large", "accurate"])
def test_a_gateway_takes_the_model_of_each_picture(
    gateways: dict[str, TestClient], pipelines: dict[str, Pipeline], scene: bytes, model: str
) -> None:
    for client in gateways.values():
        found = client.post(f"/v1/analyze?confidence=0.3&model={model}", content=scene, headers=NPZ)
        assert found.headers["X-Model"] == f"light {model}/7.1"
        close(npz.decode(found.content), pipelines[model].analyze(scene, confidence=0.3))


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdk_puts_both_sizes_together(
    triton: Running, pipelines: dict[str, Pipeline], scene: bytes, transport: str
) -> None:
    people = pipelines["accurate"].analyze(scene, confidence=0.3)
    address = triton.grpc if transport == "grpc" else triton.http
    with Client.triton(f"{transport}://{address}") as client:
        close(client.analyze(scene, confidence=0.3, model="accurate"), people)
        several: OptionKeywords = {"tiles": 2, "region": (0, 0, 600, 480), "confidence": 0.3}
        for model in (None, "accurate", "large"):
            ours = pipelines[model or "fast"].analyze(scene, **several)
            found = client.analyze(scene, model=model, **several)
            assert len(found) == len(ours) >= 4
            close(found, ours)
        with pytest.raises(InvalidOptions, match="has no 'huge'; choose from fast, large, accurate, or leave it out"):
            client.analyze(scene, model="huge")


def test_the_sdk_and_its_commands_name_the_model(
    triton: Running, pipelines: dict[str, Pipeline], scene: bytes, tmp_path: Path
) -> None:
    people = pipelines["large"].analyze(scene)
    with Client.triton(f"grpc://{triton.grpc}", model="large") as client:
        np.testing.assert_array_equal(client.analyze(scene).boxes, people.boxes)
        assert client.info.name == "light large"
    (tmp_path / "scene.png").write_bytes(scene)
    command = [sys.executable, "-m", "parsing_rcnn", "predict", str(tmp_path / "scene.png"), "-o", str(tmp_path)]
    command += ["--triton", f"grpc://{triton.grpc}", "--model", "large"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(People.load(tmp_path / "scene.npz").boxes, people.boxes)
