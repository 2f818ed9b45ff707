"""`/v2` through the official client and the real perf_analyzer, with no Triton behind it."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from google.protobuf import json_format, text_format
from starlette.testclient import TestClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, wait_until_ready
from tests.server.helpers import spare_port, until

ROOT = Path(__file__).resolve().parents[2]
PERF_ANALYZER = ROOT / ".triton" / "perf_analyzer" / "perf_analyzer"
URL = "/v2/models/human_analysis/infer"


@pytest.fixture(scope="module")
def official(live: Live):  # type: ignore[no-untyped-def]
    with triton.InferenceServerClient(live.address) as client:
        yield client


def picture(data: bytes) -> triton.InferInput:
    tensor = triton.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([data], np.object_))
    return tensor


def test_what_the_official_client_asks_first(official: triton.InferenceServerClient) -> None:
    assert official.is_server_live()
    assert official.is_server_ready()
    assert official.is_model_ready("human_parsing", "1")
    assert "binary_tensor_data" in official.get_server_metadata()["extensions"]
    metadata = official.get_model_metadata("human_analysis")
    assert metadata["inputs"] == [{"name": "IMAGE", "datatype": "BYTES", "shape": [1]}]
    assert {t["name"]: t["shape"] for t in metadata["outputs"]}["IUV"] == [-1, 3, 128, 128]
    configuration = official.get_model_config("densepose")
    assert configuration["input"][0]["data_type"] == "TYPE_STRING"
    assert [t["name"] for t in configuration["output"]] == ["BOXES", "SCORES", "IMAGE_SIZE", "IUV", "IUV_SCORES"]
    assert {m["name"] for m in official.get_model_repository_index()} == {
        "human_analysis",
        "human_parsing",
        "densepose",
    }


def test_models_are_described_as_triton_has_them(client: TestClient) -> None:
    """What the gateway says is what the shipped ensembles are, steps aside."""
    folder = ModelRepository.open().path
    for name in ("human_analysis", "human_parsing", "densepose"):
        shipped = text_format.Parse((folder / name / "config.pbtxt").read_text(), ModelConfig())
        shipped.ClearField("ensemble_scheduling")
        shipped.platform = "parsing_rcnn"
        said = json_format.ParseDict(client.get(f"/v2/models/{name}/config").json(), ModelConfig())
        assert said == shipped


def test_a_repository_of_graphs_alone_is_enough(
    client: TestClient, pipeline: Pipeline, photo_jpeg: bytes, tmp_path: Path
) -> None:
    """What `parsing-rcnn export` writes where it is not asked for Triton's configurations."""
    shipped = ModelRepository.open().path
    for name in (*GRAPHS, CARD):
        (tmp_path / name).symlink_to(shipped / name)
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    body = {"inputs": [{**tensor, "data": [base64.b64encode(photo_jpeg).decode()]}], "outputs": [{"name": "SCORES"}]}
    application = create_app(Settings(repository=tmp_path), lambda: pipeline)
    with TestClient(application, raise_server_exceptions=False) as alone:
        wait_until_ready(alone)
        for name in ("human_analysis", "human_parsing", "densepose"):
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/config"):
                assert alone.get(path).json() == client.get(path).json()
            answer = alone.post(f"/v2/models/{name}/infer", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["outputs"][0]["data"][0] > 0.5


def test_the_index_says_what_is_not_ready(client: TestClient) -> None:
    def failing() -> Analyzer:
        raise EngineUnavailable("the memory has gone")

    def states(of: TestClient) -> set[tuple[str, str]]:
        return {(model["state"], model["reason"]) for model in of.post("/v2/repository/index").json()}

    assert states(client) == {("READY", "")}
    dead = spare_port()
    for settings, load, reason in (
        (Settings(), failing, "the memory has gone"),
        (Settings(engine="triton", triton_url=f"127.0.0.1:{dead}"), None, f"127.0.0.1:{dead}"),
    ):
        with TestClient(create_app(settings, load)) as broken:
            until(lambda reason=reason, broken=broken: reason in broken.get("/readyz").text)
            assert broken.get("/v2/health/ready").status_code == 503
            ((state, said),) = states(broken)
            assert state == "UNAVAILABLE"
            assert reason in said
            unknown = broken.get("/v2/models/densepose")  # how many classes, and whether there is a model at all
            assert (unknown.status_code, "retry-after" in unknown.headers) == (503, True)


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_are_the_pipelines(
    official: triton.InferenceServerClient, pipeline: Pipeline, photo_jpeg: bytes, binary: bool
) -> None:
    names = ("BOXES", "SCORES", "IMAGE_SIZE", "PARTS", "PART_SCORES", "IUV", "IUV_SCORES")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    parameters = {"confidence": "0", "max_people": 2}
    answer = official.infer(
        "human_analysis", [picture(photo_jpeg)], outputs=outputs, parameters=parameters, request_id="a7"
    )
    people = pipeline.analyze(photo_jpeg, Options(confidence=0.0, max_people=2))
    assert answer.get_response()["id"] == "a7"
    np.testing.assert_array_equal(answer.as_numpy("PARTS"), people.parts)
    np.testing.assert_array_equal(answer.as_numpy("IUV"), people.iuv)
    np.testing.assert_allclose(answer.as_numpy("IUV_SCORES"), people.iuv_scores, rtol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("BOXES"), people.boxes, rtol=1e-6)
    assert answer.as_numpy("IMAGE_SIZE").tolist() == [512, 512]


def test_the_answer_says_which_model_computed_it(client: TestClient, photo_jpeg: bytes) -> None:
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    inputs = [{**tensor, "data": [base64.b64encode(photo_jpeg).decode()]}]
    for parameters in ({}, {"model": "fast"}):
        answer = client.post(URL, json={"inputs": inputs, "parameters": parameters})
        same = client.post("/v1/analyze", content=photo_jpeg, params=parameters)
        assert answer.headers["X-Model"] == same.headers["X-Model"]
        assert {"queue", "total"} <= set(re.findall(r"(\w+);dur=", answer.headers["Server-Timing"]))


def test_nobody_and_one_task(official: triton.InferenceServerClient, photo_jpeg: bytes) -> None:
    answer = official.infer("human_parsing", [picture(photo_jpeg)], parameters={"confidence": 1})
    assert answer.as_numpy("PARTS").shape == (0, 128, 128)
    assert answer.as_numpy("BOXES").shape == (0, 4)
    assert answer.as_numpy("IUV") is None


def test_statistics_count(official: triton.InferenceServerClient, photo_jpeg: bytes) -> None:
    def count(kind: str) -> int:
        return int(official.get_inference_statistics("densepose")["model_stats"][0]["inference_stats"][kind]["count"])

    done, failed = count("success"), count("fail")
    official.infer("densepose", [picture(photo_jpeg)])
    with pytest.raises(InferenceServerException, match="JPEG, PNG and WebP"):
        official.infer("densepose", [picture(b"nothing")])
    assert (count("success"), count("fail")) == (done + 1, failed + 1)


def test_base64_in_json(client: TestClient, photo_jpeg: bytes) -> None:
    tensor = {
        "name": "IMAGE",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(photo_jpeg).decode()],
    }
    for parameters in ({}, {"timeout": 400 * "9"}):  # whoever waits for ever waits as long as may be
        wanted = {"id": "x", "inputs": [tensor], "outputs": [{"name": "SCORES"}], "parameters": parameters}
        answer = client.post(URL, json=wanted)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"][0] > 0.5


def test_what_follows_the_picture_is_no_part_of_it(client: TestClient, photo_jpeg: bytes) -> None:
    picture = struct.pack("<I", len(photo_jpeg)) + photo_jpeg
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(picture)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    for rest, status in ((picture, 200), (picture + b"tail", 400), (picture[:-1], 400)):
        answer = client.post(URL, content=head + rest, headers={"Inference-Header-Content-Length": str(len(head))})
        assert answer.status_code == status
        if status == 400:
            assert f"{len(rest)} bytes follow the JSON" in answer.json()["error"]


@pytest.mark.parametrize("binary", [True, False])
def test_an_output_that_says_nothing_comes_as_the_request_says(
    client: TestClient, photo_jpeg: bytes, binary: bool
) -> None:
    image = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    tensor = {**image, "data": [base64.b64encode(photo_jpeg).decode()]}
    outputs = [{"name": "SCORES"}, {"name": "BOXES", "parameters": {"binary_data": False}}]
    wanted = {"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": binary}}
    answer = client.post(URL, json=wanted)
    head = answer.content[: int(answer.headers.get("Inference-Header-Content-Length", len(answer.content)))]
    assert {output["name"]: "data" not in output for output in json.loads(head)["outputs"]} == {
        "SCORES": binary,
        "BOXES": False,
    }


def test_errors_have_the_protocols_form(client: TestClient, photo_jpeg: bytes) -> None:
    def tensor(**changes: object) -> dict[str, object]:
        return {"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1], "data": ["?"], **changes}]}

    sized = tensor(parameters={"binary_data_size": 9})
    cases: list[tuple[str, bytes, dict[str, str], int, str]] = [
        ("/v2/models/nothing/infer", b"{}", {}, 404, "human_analysis"),
        ("/v2/models/densepose/versions/7/infer", b"{}", {}, 404, "version 1"),
        (URL, b"{", {}, 400, "JSON"),
        (URL, b"[]", {}, 400, "object"),
        (URL, b"{}", {}, 400, "inputs"),
        (URL, json.dumps(tensor(shape=[2])).encode(), {}, 422, "BYTES [1]"),
        (URL, json.dumps(tensor(datatype="FP32")).encode(), {}, 422, "BYTES [1]"),
        (URL, json.dumps(tensor()).encode(), {}, 400, "base64"),
        (URL, json.dumps(sized).encode() + b"123456789", {}, 400, "JSON"),
        (
            URL,
            json.dumps(sized).encode() + b"\x05\0\0\0abcd",
            {"Inference-Header-Content-Length": "9999"},
            400,
            "bytes",
        ),
        (URL, b"{}", {"Inference-Header-Content-Length": "-1"}, 400, "Length"),
        (URL, b"{}", {"Inference-Header-Content-Length": 5000 * "0"}, 400, "Length"),
        (URL, b"{}", {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (URL, json.dumps(tensor(parameters={"shared_memory_region": "r"})).encode(), {}, 422, "shared memory"),
        (URL, json.dumps({**tensor(), "outputs": [{"name": "MASKS"}]}).encode(), {}, 400, "base64"),
    ]
    head = json.dumps(sized).encode()
    short = {"Inference-Header-Content-Length": str(len(head))}
    cases.append((URL, head + b"\x07\0\0\0abcde", short, 400, "4 bytes"))
    for path, body, headers, status, word in cases:
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code == status, (path, body, answer.text)
        assert set(answer.json()) == {"error"}
        assert word in answer.json()["error"], (body, answer.text)


def test_options_out_of_range_are_named(official: triton.InferenceServerClient, photo_jpeg: bytes) -> None:
    for parameters, word in (({"confidence": 2}, "confidence"), ({"max_people": "many"}, "max_people")):
        with pytest.raises(InferenceServerException, match=word):
            official.infer("human_parsing", [picture(photo_jpeg)], parameters=parameters)
    with pytest.raises(InferenceServerException, match="confidense: there is no such parameter; there are confidence"):
        official.infer("human_parsing", [picture(photo_jpeg)], parameters={"confidense": 0.9})
    for name in ("max_people", "max_side"):  # beyond any integer of the wire
        with pytest.raises(InferenceServerException, match=f"{name}: 9999"):
            official.infer("human_parsing", [picture(photo_jpeg)], parameters={name: 400 * "9"})
    with pytest.raises(InferenceServerException, match="MASKS"):
        official.infer("human_parsing", [picture(photo_jpeg)], outputs=[triton.InferRequestedOutput("MASKS")])
    with pytest.raises(InferenceServerException, match="within the time of the parameter `timeout`: give it more"):
        official.infer("human_parsing", [picture(photo_jpeg)], timeout=1)


def test_what_tritons_clients_send_by_themselves_is_no_option(
    official: triton.InferenceServerClient, photo_jpeg: bytes
) -> None:
    answer = official.infer("human_parsing", [picture(photo_jpeg)], sequence_id=7, sequence_start=True, priority=1)
    plain = official.infer("human_parsing", [picture(photo_jpeg)])
    assert answer.as_numpy("SCORES").tolist() == plain.as_numpy("SCORES").tolist() != []


def test_perf_analyzer_runs_against_the_gateway(live: Live, photo_jpeg: bytes, tmp_path: Path) -> None:
    if not PERF_ANALYZER.is_file():
        pytest.skip("perf_analyzer is not installed: scripts/install_triton.sh does it")
    element = struct.pack("<I", len(photo_jpeg)) + photo_jpeg  # as the tensor lies in a request
    data = {"data": [{"IMAGE": {"b64": base64.b64encode(element).decode()}}]}
    (tmp_path / "in.json").write_text(json.dumps(data))
    command = [str(PERF_ANALYZER), "-m", "human_analysis", "-u", live.address, "-i", "http", "--shape", "IMAGE:1"]
    command += ["--input-data", str(tmp_path / "in.json"), "--request-count", "8", "-f", str(tmp_path / "out.csv")]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(PERF_ANALYZER.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    head, values = (tmp_path / "out.csv").read_text().splitlines()[:2]
    row = dict(zip(head.split(","), values.split(","), strict=False))
    assert float(row["Inferences/Second"]) > 0


DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize(  # @: a list in lists in lists
    ("body", "says"),
    [
        ('{"inputs": 1, "id": @}', "`id` is a list of 1: send text or a number"),
        ('{"inputs": 1, "id": {}}', "`id` is an object"),
        ('{"inputs": 1, "id": null}', "`id` is null"),
        ('{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": @}]}', "'IMAGE' 'BYTES' a list of 1; IM"),
        ('{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [2, 1]}]}', "'IMAGE' 'BYTES' [2, 1]; IMAGE"),
        ('{"inputs": [{"name": @, "datatype": @}]}', "the input is a list of 1 a list of 1 null"),
        ('{"inputs": [], "parameters": {"confidence": @}}', "the parameter 'confidence' of the request is a"),
        ('{"inputs": [], "parameters": {"model": null}}', "the parameter 'model' of the request is null: send text"),
        (
            '{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": @}}]}',
            "the parameter 'binary_data_size' of IMAGE is a list of 1: send text, a number, true or false",
        ),
        ('{"inputs": @}', "`inputs` is a list of one object"),
    ],
)
def test_values_that_hold_others_are_not_shown(client: TestClient, body: str, says: str) -> None:
    answer = client.post(URL, content=body.replace("@", DEEP), headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert says in answer.json()["error"]


def test_an_output_is_named_by_text(client: TestClient, photo_jpeg: bytes) -> None:
    image = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    image["data"] = [base64.b64encode(photo_jpeg).decode()]
    document = json.dumps({"id": 7, "inputs": [image], "outputs": [{"name": "@"}]})
    answer = client.post(URL, content=document.replace('"@"', DEEP))
    assert answer.status_code == 422
    assert "the output a list of 1 is unknown" in answer.json()["error"]
    read = client.post(URL, content=document.replace("@", "SCORES"))
    assert read.json()["id"] == "7"
