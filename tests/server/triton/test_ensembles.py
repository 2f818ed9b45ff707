"""What the ensembles answer, over HTTP and gRPC, against the engine in this process."""

from __future__ import annotations

import importlib
import json
import queue
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.frames import drawn_person
from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from tests.server.triton.conftest import Running

MAPS = {"human_analysis": ("PARTS", "PART_SCORES", "IUV", "IUV_SCORES"), "human_parsing": ("PARTS", "PART_SCORES"),
        "densepose": ("IUV", "IUV_SCORES")}  # fmt: skip
TASKS = {"human_analysis": {"parsing", "densepose"}, "human_parsing": {"parsing"}, "densepose": {"densepose"}}


@pytest.fixture(scope="module")
def photo() -> bytes:
    return cv2.imencode(".jpg", drawn_person())[1].tobytes()


@pytest.fixture(scope="module")
def blank() -> bytes:
    return cv2.imencode(".png", np.full((200, 300, 3), 90, np.uint8))[1].tobytes()


def ask(triton: Running, transport: str, model: str, image: bytes, /, **parameters: Any) -> dict[str, NDArray[Any]]:
    library = importlib.import_module(f"tritonclient.{transport}")
    client = library.InferenceServerClient(getattr(triton, transport))
    tensor = library.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([image], np.object_))
    try:
        # Triton keeps a deadline (microseconds) to itself: it is no parameter of ours
        answer = client.infer(model, [tensor], timeout=60_000_000, parameters=parameters)
        return {name: answer.as_numpy(name) for name in ("BOXES", "SCORES", "IMAGE_SIZE", *MAPS[model])}
    finally:
        client.close()


def same(found: dict[str, NDArray[Any]], people: People) -> None:
    """Byte for byte."""
    known = {"BOXES": people.boxes, "SCORES": people.scores, "PARTS": people.parts, "PART_SCORES": people.part_scores,
             "IUV": people.iuv, "IUV_SCORES": people.iuv_scores, "IMAGE_SIZE": np.array(people.image_size)}  # fmt: skip
    for name, array in found.items():
        np.testing.assert_array_equal(array, known[name], err_msg=name)


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("model", list(MAPS))
@pytest.mark.parametrize(("confidence", "most", "least"), [(1.0, 64, 0), (0.0, 1, 1), (0.0, 64, 6)])
def test_the_same_bytes_as_the_embedded_engine(
    triton: Running,
    pipeline: Pipeline,
    photo: bytes,
    transport: str,
    model: str,
    confidence: float,
    most: int,
    least: int,
) -> None:
    people = pipeline.analyze(photo, Options(frozenset(TASKS[model]), confidence, most))
    assert least <= len(people) <= most
    same(ask(triton, transport, model, photo, confidence=str(confidence), max_people=most), people)


def test_nobody_in_the_picture(triton: Running, blank: bytes) -> None:
    found = ask(triton, "grpc", "human_analysis", blank)
    assert found["BOXES"].shape == (0, 4)
    assert found["PARTS"].shape == (0, 128, 128)
    assert found["IUV"].shape == (0, 3, 128, 128)
    assert found["IUV_SCORES"].shape == (0, 25)
    assert found["IMAGE_SIZE"].tolist() == [200, 300]


def test_options_reach_every_step(triton: Running, pipeline: Pipeline, photo: bytes) -> None:
    people = pipeline.analyze(photo, Options(confidence=0.0, max_people=3, max_side=200))
    same(ask(triton, "http", "human_analysis", photo, confidence="0", max_people=3, max_side=200), people)


@pytest.mark.parametrize(
    ("image", "parameters", "says"),
    [
        (None, {"max_people": 65}, "max_people: 65 is outside 1..64"),
        (None, {"confidence": "much"}, "invalid-options: confidence: 'much' is no number"),
        (None, {"max_people": "1e400"}, "invalid-options: max_people: '1e400' is no whole number"),
        (
            None,
            {"confidense": "0.9"},
            "invalid-options: confidense: there is no such parameter; there are confidence, ",
        ),
        (b"nothing", {}, "unsupported-image"),
        (b"", {}, "invalid-image: the image is empty"),
    ],
)
def test_refusals_name_the_reason(
    triton: Running, photo: bytes, image: bytes | None, parameters: dict[str, Any], says: str
) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=says) as caught:
        ask(triton, "grpc", "human_analysis", photo if image is None else image, **parameters)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def statistics(triton: Running, model: str) -> tuple[int, int, int]:
    """(requests, people, executions) of a model so far."""
    with urllib.request.urlopen(f"http://{triton.http}/v2/models/{model}/stats", timeout=60) as answer:
        (found,) = json.load(answer)["model_stats"]
    return int(found["inference_stats"]["success"]["count"]), found["inference_count"], found["execution_count"]


def test_people_of_several_requests_are_computed_together(triton: Running) -> None:
    """Through the heads alone, so that requests do arrive together; each gets its own people back."""
    import tritonclient.grpc as library

    client = library.InferenceServerClient(triton.grpc)
    rng = np.random.default_rng(0)
    (_, channels, side, _) = [int(s) for s in client.get_model_metadata("parsing").inputs[0].shape]
    features = [rng.normal(size=(n, channels, side, side)).astype(np.float32) for n in (1, 2, 3) * 8]

    def run(own: NDArray[np.float32]) -> NDArray[np.uint8]:
        tensor = library.InferInput("ROI_FEATURES", list(own.shape), "FP32")
        tensor.set_data_from_numpy(own)
        found: NDArray[np.uint8] = client.infer("parsing", [tensor]).as_numpy("PARTS")
        return found

    alone = [run(own) for own in features[:3]]
    before = statistics(triton, "parsing")
    with ThreadPoolExecutor(len(features)) as pool:
        together = list(pool.map(run, features))
    client.close()
    for _ in range(100):  # answers leave before they are counted
        requests, people, executions = (b - a for a, b in zip(before, statistics(triton, "parsing"), strict=True))
        if requests >= len(features):
            break
        time.sleep(0.05)
    # the supervisor's probes may have come in between
    assert requests >= len(features)
    assert people >= sum(len(own) for own in features)
    assert executions < requests
    for own, found in zip(features, together, strict=True):
        assert found.shape == (len(own), 128, 128)
    for own, found in zip(alone, together[:3], strict=True):
        assert (own == found).mean() >= 0.999  # another number of people may be another order of additions


def test_too_many_people_for_a_head_are_refused(triton: Running) -> None:
    import tritonclient.grpc as library
    from tritonclient.utils import InferenceServerException

    client = library.InferenceServerClient(triton.grpc)
    (_, channels, side, _) = [int(s) for s in client.get_model_metadata("densepose_head").inputs[0].shape]
    tensor = library.InferInput("ROI_FEATURES", [65, channels, side, side], "FP32")
    tensor.set_data_from_numpy(np.zeros((65, channels, side, side), np.float32))
    with pytest.raises(InferenceServerException, match="64"):
        client.infer("densepose_head", [tensor])
    client.close()


@pytest.mark.parametrize(("head", "output"), [("parsing", "PARTS"), ("densepose_head", "IUV")])
def test_sixty_four_people_are_not_too_many(triton: Running, head: str, output: str) -> None:
    import tritonclient.grpc as library

    client = library.InferenceServerClient(triton.grpc)
    (_, channels, side, _) = [int(s) for s in client.get_model_metadata(head).inputs[0].shape]
    people = np.random.default_rng(1).normal(size=(64, channels, side, side)).astype(np.float32)
    tensor = library.InferInput("ROI_FEATURES", list(people.shape), "FP32")
    tensor.set_data_from_numpy(people)
    assert len(client.infer(head, [tensor]).as_numpy(output)) == 64
    client.close()


def test_rows_of_nobody_are_passed_on_and_not_computed(triton: Running) -> None:
    import tritonclient.grpc as library

    client = library.InferenceServerClient(triton.grpc)
    canvas = library.InferInput("CANVAS", [384, 640, 3], "UINT8")
    canvas.set_data_from_numpy(np.full((384, 640, 3), 114, np.uint8))
    limits = library.InferInput("LIMITS", [2], "FP32")
    limits.set_data_from_numpy(np.array([0.5, 64], np.float32))
    found = client.infer("detector", [canvas, limits])
    nobody = found.as_numpy("ROI_FEATURES")
    assert found.as_numpy("COUNT").tolist() == [0]
    assert nobody.shape[0] == 1
    assert np.isnan(nobody).all()
    people = np.random.default_rng(2).normal(size=(2, *nobody.shape[1:])).astype(np.float32)
    parsing, densepose = ("PARTS", "PART_SCORES", "PART_PROBS"), ("IUV", "IUV_SCORES")
    for head, outputs in (("parsing", parsing), ("densepose_head", densepose)):

        def ask_head(
            rows: NDArray[np.float32], head: str = head, outputs: tuple[str, ...] = outputs
        ) -> list[NDArray[Any]]:
            tensor = library.InferInput("ROI_FEATURES", list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows)
            answer = client.infer(head, [tensor], outputs=[library.InferRequestedOutput(name) for name in outputs])
            return [answer.as_numpy(name) for name in outputs]

        whole = ask_head(np.concatenate([people[:1], nobody, people[1:]]))
        for mixed, own, alone in zip(whole, ask_head(people), ask_head(nobody), strict=True):
            assert not mixed[1].any()
            assert not alone.any()
            assert alone.shape == (1, *own.shape[1:])
            np.testing.assert_array_equal(mixed[[0, 2]], own)
    client.close()


def test_what_waits_longer_than_its_caller_is_dropped(triton: Running, photo: bytes) -> None:
    """The first is computed, however long that takes; the others wait behind it for more than they were given."""
    import tritonclient.grpc as library

    client = library.InferenceServerClient(triton.grpc)
    tensor = library.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([photo], np.object_))
    client.infer("human_analysis", [tensor], timeout=60_000_000)
    errors: queue.Queue[Any] = queue.Queue()
    for _ in range(12):
        client.async_infer("human_analysis", [tensor], lambda result, error: errors.put(error), timeout=1000)
    found = [errors.get(timeout=60) for _ in range(12)]
    client.close()
    dropped = [error for error in found if error is not None]
    assert dropped
    for error in dropped:
        assert "Request timeout expired" in error.message()
        assert error.status() == "StatusCode.UNAVAILABLE"


def test_the_dashboards_metrics_are_the_servers(triton: Running) -> None:
    board = Path(__file__).parents[3] / "deploy" / "grafana" / "dashboards" / "parsing_rcnn.json"
    named = set(re.findall(r"\bnv_inference_\w+", board.read_text()))
    with urllib.request.urlopen(f"http://{triton.metrics}/metrics", timeout=60) as answer:
        exposed = set(re.findall(r"^(nv_\w+)", answer.read().decode(), re.MULTILINE))
    assert named <= exposed
