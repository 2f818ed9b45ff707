"""The Triton transport on the wire: a gRPC server of the Open Inference Protocol that answers with the real engine.

It speaks what the ensembles of docs/architecture.md do; the tests of the real tritonserver are in tests/server/triton.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.analyzer import Options
from parsing_rcnn.ensembles import ENSEMBLES, identity
from parsing_rcnn.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    InvalidImage,
    InvalidOptions,
    ParsingRCNNError,
    UnsupportedImage,
)
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP, MHP
from parsing_rcnn_client import Client, GatewayError, Triton

ROOT = Path(__file__).resolve().parents[3]

grpc = pytest.importorskip("grpc", reason="needs tritonclient[grpc]")
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402

NAMES = {np.dtype(np.float32): "FP32", np.dtype(np.uint8): "UINT8", np.dtype(np.int32): "INT32"}


class Ensembles(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    classes = 20

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name != "densepose")

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = service_pb2.ModelMetadataResponse(name=request.name, versions=["3"], platform="ensemble")
        answer.outputs.add(name="BOXES", datatype="FP32", shape=[-1, 4])
        answer.outputs.add(name="PART_SCORES", datatype="FP32", shape=[-1, self.classes])
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        raw = request.raw_input_contents[0]
        image = raw[4 : 4 + int.from_bytes(raw[:4], "little")]
        tasks = ENSEMBLES[request.model_name]
        confidence = float(request.parameters["confidence"].string_param)
        most = request.parameters["max_people"].int64_param
        try:
            people = self.pipeline.analyze(image, Options(tasks, confidence, most))
        except ParsingRCNNError as error:
            context.abort(grpc.StatusCode.INTERNAL, f"in ensemble 'human_analysis', {error.code}: {error.detail}")
        found = {
            "BOXES": people.boxes, "SCORES": people.scores, "IMAGE_SIZE": np.array(people.image_size, np.int32),
            "PARTS": people.parts, "PART_SCORES": people.part_scores, "IUV": people.iuv,
            "IUV_SCORES": people.iuv_scores,
        }  # fmt: skip
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for wanted in request.outputs:
            array = found[wanted.name]
            answer.outputs.add(name=wanted.name, datatype=NAMES[array.dtype], shape=array.shape)  # type: ignore[union-attr]
            answer.raw_output_contents.append(np.ascontiguousarray(array).tobytes())
        return answer


class OtherClasses(Ensembles):
    """Whose weights were trained with other part classes: every part is `part`, of so many `classes`."""

    def __init__(self, pipeline: Pipeline, classes: int, part: int) -> None:
        super().__init__(pipeline)
        self.classes, self.part = classes, part

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = super().ModelInfer(request, context)
        for number, output in enumerate(answer.outputs):
            if output.name == "PARTS":
                parts = np.frombuffer(answer.raw_output_contents[number], np.uint8)
                answer.raw_output_contents[number] = np.where(parts > 0, self.part, 0).astype(np.uint8).tobytes()
            if output.name == "PART_SCORES":
                output.shape[1] = self.classes
                answer.raw_output_contents[number] = bytes(4 * output.shape[0] * self.classes)
        return answer


@contextmanager
def serving(ensembles: Ensembles) -> Iterator[str]:
    """Its address."""
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(ensembles, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None)


@pytest.fixture(scope="module")
def client(pipeline: Pipeline) -> Iterator[Client]:
    with serving(Ensembles(pipeline)) as url, Client.triton(url, timeout=60) as connected:
        yield connected


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parsing_rcnn", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_answers_are_those_of_the_engine(client: Client, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    people, direct = client.analyze(photo_jpeg), pipeline.analyze(photo_jpeg)
    np.testing.assert_allclose(people.boxes, direct.boxes)
    np.testing.assert_array_equal(people.parts, direct.parts)  # type: ignore[arg-type]
    np.testing.assert_array_equal(people.iuv, direct.iuv)  # type: ignore[arg-type]
    for array in (people.boxes, people.scores, people.parts, people.iuv, people.part_scores, people.iuv_scores):
        assert array is not None
        assert array.flags.writeable
    assert people.image_size == direct.image_size
    only = client.analyze(photo_jpeg, Options(frozenset({"parsing"}), max_people=1))
    assert (len(only), only.iuv) == (1, None)
    assert len(client.analyze(np.zeros((64, 64, 3), np.uint8))) == 0
    assert dict(client.info.tasks) == {"parsing": True, "densepose": False}


def test_a_frame_of_opencv_is_answered_as_its_picture(client: Client, pipeline: Pipeline) -> None:
    array = pytest.importorskip("skimage.data").astronaut()
    frame, expected = np.ascontiguousarray(array[..., ::-1]), pipeline.analyze(array)
    for people in (client.analyze(frame, bgr=True), client.engine.analyze(frame, bgr=True)):  # type: ignore[call-arg]
        np.testing.assert_array_equal(people.parts, expected.parts)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptions, match=r"^bgr: says how"):
        client.engine.analyze(b"x", bgr=True)  # type: ignore[call-arg]


def test_boxes_alone_are_the_same_from_all_three_clients(
    client: Client, gateway_url: str, pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    with Client.connect(gateway_url) as gateway:
        for each in (Client(pipeline), gateway, client):
            people = each.analyze(photo_jpeg, Options(frozenset()))
            assert (people.parts, people.part_scores, people.iuv, people.iuv_scores) == (None,) * 4
            np.testing.assert_allclose(people.boxes, pipeline.analyze(photo_jpeg).boxes, atol=1e-3)


def test_keywords_are_the_same_to_all_three_clients(
    client: Client, gateway_url: str, pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    numbers = {"confidence": np.float32(0.25), "max_people": np.int64(1), "max_side": np.int32(640)}
    with Client.connect(gateway_url) as gateway:
        for each in (Client(pipeline), gateway, client):
            people = each.analyze(photo_jpeg, tasks="parsing, densepose", **numbers)
            assert len(people) == 1
            assert people.parts is not None
            assert people.iuv is not None
            with pytest.raises(InvalidOptions, match="tasks: expected their names"):
                each.analyze(photo_jpeg, tasks=[["parsing"]])
            with pytest.raises(InvalidOptions, match="max_people"):
                each.analyze(photo_jpeg, max_people=2.5)


def test_a_server_that_dies_and_returns_is_asked_again(pipeline: Pipeline, photo_jpeg: bytes, kept_port: int) -> None:
    def start() -> Any:
        server = grpc.server(ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Ensembles(pipeline), server)
        assert server.add_insecure_port(f"127.0.0.1:{kept_port}") == kept_port
        server.start()
        return server

    first = start()
    client = Client.triton(f"grpc://127.0.0.1:{kept_port}", timeout=60)
    assert len(client.analyze(photo_jpeg)) >= 1
    first.stop(None).wait()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.analyze, photo_jpeg)
        time.sleep(0.5)
        assert not answer.done()
        second = start()
        assert len(answer.result(60)) >= 1
    client.close()
    second.stop(None)


def test_a_full_queue_and_a_server_that_ends_are_asked_again_and_a_missing_model_is_not(
    pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    class Full(Ensembles):
        asked = 0

        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            Full.asked += 1
            if request.model_name == "densepose":
                context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'densepose' is not found")
            if Full.asked == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
            if Full.asked == 2:  # what tritonserver says while it ends
                detail = "Request for unknown model: 'human_analysis' has no available versions"
                context.abort(grpc.StatusCode.NOT_FOUND, detail)
            return super().ModelInfer(request, context)

    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Full(pipeline), server)
    client = Client.triton(f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", timeout=60)
    server.start()
    assert len(client.analyze(photo_jpeg)) >= 1
    assert Full.asked == 3
    with pytest.raises(EngineUnavailable, match="has no such model"):
        client.analyze(photo_jpeg, Options(frozenset({"densepose"})))
    assert Full.asked == 4
    client.close()
    server.stop(None)


def test_an_answer_that_is_longer_than_grpc_allows_by_default(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    class Fine(Ensembles):
        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            answer = super().ModelInfer(request, context)
            for number, output in enumerate(answer.outputs):
                if output.name == "IUV":
                    output.shape[2:] = 1280, 1280
                    answer.raw_output_contents[number] = bytes(output.shape[0] * 3 * 1280 * 1280)
            return answer

    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_send_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Fine(pipeline), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client.triton(f"grpc://127.0.0.1:{port}", timeout=60) as connected:
        iuv = connected.analyze(photo_jpeg).iuv
    assert iuv is not None
    assert iuv.nbytes > 4 * 1024**2
    server.stop(None)


def test_a_client_that_was_closed_says_so(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    with serving(Ensembles(pipeline)) as url:
        client = Client.triton(url, timeout=60)
        assert len(client.analyze(photo_jpeg)) >= 1
        client.close()
        client.close()
        for ask in (lambda: client.analyze(photo_jpeg), lambda: client.info):
            with pytest.raises(EngineUnavailable, match=rf"^{url}: this client was closed; make a new one$"):
                ask()


def test_an_answer_without_a_tensor_is_the_servers_error(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    class Short(Ensembles):
        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            answer = super().ModelInfer(request, context)
            at = [output.name for output in answer.outputs].index("IMAGE_SIZE")
            del answer.outputs[at], answer.raw_output_contents[at]
            return answer

    with (
        serving(Short(pipeline)) as url,
        Client.triton(url, timeout=60) as client,
        pytest.raises(GatewayError, match="answers with human_analysis: no IMAGE_SIZE; is it this project's"),
    ):
        client.analyze(photo_jpeg)


@pytest.mark.parametrize("fault", [TypeError, AttributeError])
def test_a_fault_of_ours_is_not_the_servers(
    fault: type[Exception], pipeline: Pipeline, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise fault("a slip")

    with serving(Ensembles(pipeline)) as url, Client.triton(url, timeout=60) as client:
        monkeypatch.setattr("parsing_rcnn_client.sdk.triton.taxonomy_with", broken)
        with pytest.raises(fault, match="a slip"):
            client.analyze(photo_jpeg)


def test_no_late_answer_is_forgotten(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    """`close` waits for all of them, for to cancel one kills some versions of Triton."""
    slow, computing, asked, answered = threading.Event(), threading.Event(), [], []

    class Slow(Ensembles):
        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
            if not slow.is_set():
                return super().ModelInfer(request, context)
            asked.append(request)
            computing.wait(60)
            answer = super().ModelInfer(request, context)
            answered.append(context.is_active())
            return answer

    def ask(client: Client) -> None:
        with pytest.raises(DeadlineExceeded):
            client.analyze(photo_jpeg)

    with serving(Slow(pipeline)) as url, ThreadPoolExecutor(8) as pool:
        engine = Triton(url, timeout=60, retry=False)
        client = Client(engine)
        client.analyze(photo_jpeg)  # what is asked before a first picture takes time, too
        slow.set()
        engine.timeout = 1
        list(pool.map(ask, [client] * 8))
        computing.set()
        client.close()
    assert asked  # on a busy machine a picture may be late before it is sent
    assert answered == [True] * len(asked)


def test_errors_are_typed(client: Client, photo_jpeg: bytes) -> None:
    with pytest.raises(InvalidImage):
        client.analyze(photo_jpeg[:3000])
    with pytest.raises(UnsupportedImage):
        client.analyze(b"no picture")
    with pytest.raises(InvalidOptions, match="tasks: pose is unknown"):
        client.analyze(photo_jpeg, Options(frozenset({"pose"})))
    with pytest.raises(InvalidOptions, match="probabilities"):
        client.analyze(photo_jpeg, Options(part_probs=True))
    with pytest.raises(InvalidOptions, match=r"grpc://host:8001"):
        Client.triton("host:8001")
    with pytest.raises(EngineUnavailable, match="no answer"):
        Client.triton("grpc://127.0.0.1:9", timeout=1).analyze(photo_jpeg)


def test_the_classes_are_those_of_the_answer(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    with serving(OtherClasses(pipeline, 59, 45)) as url, Client.triton(url, timeout=60) as client:
        people = client.analyze(photo_jpeg)
        assert people.taxonomy is MHP
        assert (people.parts == 45).any()  # type: ignore[union-attr]
        nobody = client.analyze(np.zeros((64, 64, 3), np.uint8))
        assert (len(nobody), nobody.taxonomy) == (0, MHP)
        assert client.info.classes == MHP.classes
        with (
            Client.triton(url, timeout=60, taxonomy=CIHP) as wrong,
            pytest.raises(GatewayError, match="59 part classes, cihp has others"),
        ):
            wrong.analyze(photo_jpeg)


@pytest.mark.parametrize(("classes", "part", "says"), [(7, 3, "7 part classes"), (20, 45, "parts: contains 45")])
def test_an_answer_that_does_not_fit_is_the_servers_error(
    pipeline: Pipeline, photo_jpeg: bytes, classes: int, part: int, says: str
) -> None:
    with serving(OtherClasses(pipeline, classes, part)) as url, Client.triton(url, timeout=60) as client:
        with pytest.raises(GatewayError, match=says):
            client.analyze(photo_jpeg)
        assert len(client.analyze(photo_jpeg, tasks=())) >= 1


def test_predict_goes_on_after_an_answer_that_does_not_fit(
    pipeline: Pipeline, photo_jpeg: bytes, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(photo_jpeg)
    with serving(OtherClasses(pipeline, 20, 45)) as url:
        done = run("predict", str(tmp_path), "-o", str(tmp_path / "out"), "--triton", url, "--json")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failed = json.loads(done.stdout)["failed"]
    assert {Path(name).name for name in failed} == {"a.jpg", "b.jpg"}
    assert all("parts: contains 45" in reason for reason in failed.values())


def test_info_leaves_out_what_triton_does_not_say(pipeline: Pipeline) -> None:
    with serving(Ensembles(pipeline)) as url:
        shown = run("info", "--triton", url)
        about = json.loads(run("info", "--triton", url, "--json").stdout)
    assert shown.returncode == 0, shown.stderr
    assert "parsing: ready, densepose: not ready" in shown.stdout
    assert "trained" not in shown.stdout
    assert all(len(line.split()) > 1 for line in shown.stdout.splitlines())
    assert (about["version"], about["classes"]) == ("3", list(CIHP.classes))
    assert not {"canvases", "card"} & set(about)


OWN = {"name": "teile", "classes": ["Background", *(f"Teil {k}" for k in range(1, 20))]}


class Own(Ensembles):
    """Says part classes of one's own, as the configurations of their export do."""

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = service_pb2.ModelConfigResponse()
        card = {"tasks": {"parsing": {"trained": True}, "densepose": {"trained": True}}, "taxonomy": OWN}
        for key, value in identity(card).items():
            answer.config.parameters[key].string_value = value
        return answer


def test_part_classes_of_ones_own_are_those_of_its_card(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    own = read_taxonomy(OWN)
    with serving(Own(pipeline)) as url, Client.triton(url) as client:
        assert client.info.classes == own.classes
        assert client.analyze(photo_jpeg).taxonomy == own
