"""Routes around the analysis, and faults that a healthy engine cannot be made to show."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from parsing_rcnn import __version__
from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import BrokenModel, InvalidOptions, ModelNotFound, OutOfMemory, ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.commands import serve, triton
from server.keys import add_key
from server.requests.options import Format
from server.settings import Settings
from server.supervisor.launch import Launch
from server.telemetry import configure_logging
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import spare_port, until


class Crashing(Slow):
    """An analyzer with a bug."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        if isinstance(image, bytes):
            raise ZeroDivisionError("a secret of the inside")
        return super().analyze(image, options)


def test_health_models_and_taxonomies(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    model = client.get("/v1/models").json()[0]
    assert model["classes"][13] == "Face"
    assert set(model["tasks"]) == {"parsing", "densepose"}
    sets = {t["name"]: t for t in client.get("/v1/taxonomies").json()}
    assert len(sets["cihp"]["classes"]) == len(sets["cihp"]["palette"]) == 20
    assert [14, 15] in sets["cihp"]["mirror"]


def test_request_ids(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "my-id.7"}).headers["x-request-id"] == "my-id.7"
    for other in ("no good\tid", "prcnn_0123456789-a-key-in-the-wrong-place"):
        made = client.get("/healthz", headers={"X-Request-ID": other}).headers["x-request-id"]
        assert len(made) == 32


def test_unknown_routes_are_problems(client: TestClient) -> None:
    missing = client.get("/v1/nothing")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    wrong = client.get("/v1/analyze")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"


def test_page_docs_and_headers(client: TestClient) -> None:
    page = client.get("/")
    assert "Drop a photo or a video here" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for asset in ("/assets/page.js", "/assets/page.css", "/assets/icon.svg", "/docs-assets/swagger-ui-bundle.js"):
        assert client.get(asset).status_code == 200
    docs = client.get("/docs")
    assert "https://" not in docs.text  # nothing from elsewhere


def test_after_an_upgrade_no_browser_pairs_new_pages_with_old_scripts(client: TestClient) -> None:
    """It asks each time, and an answer that it has already costs no bytes."""
    assert client.get("/").headers["cache-control"] == "no-cache"
    for name in ("page.js", "layers.js", "gateway.js", "live.js", "page.css", "icon.svg"):
        first = client.get(f"/assets/{name}")
        assert first.headers["cache-control"] == "no-cache"
        again = client.get(f"/assets/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == "no-cache"


def test_openapi_is_complete(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    analyze = document["paths"]["/v1/analyze"]["post"]
    assert analyze["operationId"] == "analyze"
    assert {"200", "400", "406", "413", "415", "422", "503"} <= set(analyze["responses"])
    assert {"image/jpeg", "multipart/form-data", "application/json"} <= set(analyze["requestBody"]["content"])
    assert set(analyze["responses"]["200"]["content"]) == set(Format)  # whatever Accept may choose
    assert {"confidence", "tasks", "mask_format"} <= {p["name"] for p in analyze["parameters"]}

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    for operations in document["paths"].values():
        for method, operation in operations.items():
            assert "421" in operation["responses"]
            assert ("403" in operation["responses"]) == (method == "post")
            for status in {"429", "503"} & set(operation["responses"]):
                assert "Retry-After" in operation["responses"][status]["headers"]
    tensors = document["paths"]["/v2/models/{model}/infer"]["post"]
    assert [parameter["name"] for parameter in tensors["parameters"]] == ["model"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_every_operation_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    paths = document["paths"]
    operations = [(path, how, what) for path, hows in paths.items() for how, what in hows.items()]
    assert len({what["operationId"] for _, _, what in operations}) == len(operations)
    for path, how, what in operations:
        assert what["summary"], (path, how)
        assert what["description"], (path, how)
        assert what["tags"], (path, how)
        body = what.get("requestBody")
        if body is not None:
            assert {"400", "401", "408", "413", "422", "429", "503", "504"} <= set(what["responses"]), path
            kinds = body["content"].values()
            assert all("schema" in kind for kind in kinds)
            assert any("example" in kind for kind in kinds), path
        for answer in what["responses"]["200"].get("content", {}).values():
            schema = answer.get("schema", {})
            named = schema.get("$ref") or schema.get("items", {}).get("$ref")
            if named:  # whose fields have examples of their own
                fields = document["components"]["schemas"][named.rpartition("/")[2]]["properties"].values()
                assert all("examples" in field for field in fields), (path, named)
            elif schema.get("format") != "binary":
                assert "example" in answer, path


def test_openapi_says_where_a_key_is_needed(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.txt", "alice")
    with TestClient(create_app(Settings(keys=tmp_path / "keys.txt"), Slow)) as client:
        document = client.get("/openapi.json").json()
        assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
        for path, operations in document["paths"].items():
            for how, operation in operations.items():
                answer = client.request(how, path.replace("{model}", "densepose"))
                assert (answer.status_code == 401) == ("401" in operation["responses"]) == ("security" in operation)


def test_metrics_count(client: TestClient, photo_jpeg: bytes) -> None:
    client.post("/v1/analyze", content=photo_jpeg)
    client.post("/v1/analyze", content=b"nothing")
    text = client.get("/metrics").text
    assert 'parsing_rcnn_requests_total{outcome="ok",route="analyze"}' in text
    assert 'parsing_rcnn_requests_total{outcome="unsupported-image",route="analyze"}' in text
    assert 'parsing_rcnn_stage_seconds_count{stage="detector"}' in text


def test_faults_and_refused_bodies_are_counted(photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(), Crashing), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        bad = {
            "/v1/analyze?confidence=x": {"content": photo_jpeg},
            "/v1/analyze": {"json": {"pictures": 1}},
            "/v2/models/densepose/infer": {"content": b"{"},
            "/v1/analyze/batch": {"json": {"images": [{"type": "base64", "value": "&"}]}},
        }
        assert [client.post(path, **body).status_code for path, body in bad.items()] == [422, 400, 400, 200]  # type: ignore[arg-type]
        inputs = [{"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}]
        inputs[0]["data"] = [base64.b64encode(photo_jpeg).decode()]
        assert client.post("/v1/analyze", content=photo_jpeg).status_code == 500
        assert client.post("/v2/models/densepose/infer", json={"inputs": inputs}).status_code == 500
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_bytes(bytes(8) + photo_jpeg)
            assert socket.receive_json()["problem"]["status"] == 500
        lines = client.get("/metrics").text.splitlines()
    for route in ("analyze", "infer", "stream"):
        assert f'parsing_rcnn_requests_total{{outcome="internal-error",route="{route}"}} 1.0' in lines
    assert 'parsing_rcnn_requests_total{outcome="malformed-request",route="batch"} 1.0' in lines
    for status, count in {"200": 1, "422": 1, "400": 2, "500": 2, "101": 1}.items():
        assert f'parsing_rcnn_answers_total{{status="{status}"}} {count}.0' in lines, lines  # probes are none of them


@pytest.mark.parametrize("path", ["/nope", "/v1/models", "/assets/page.js", "/v2/nope"])
def test_a_websocket_to_a_wrong_address_is_no_fault_of_ours(live: Live, path: str) -> None:
    def count(status: int) -> float:
        value = live.app.state.metrics.registry.get_sample_value
        return value("parsing_rcnn_answers_total", {"status": str(status)}) or 0

    faults, missing = count(500), count(404)
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://{live.address}{path}", open_timeout=60):
        pass
    answer = refused.value.response
    assert answer.status_code == 404
    document = json.loads(answer.body or b"")
    assert "/v1/stream" in document.get("detail", document.get("error"))
    until(lambda: count(404) == missing + 1)
    assert count(500) == faults


def test_a_websocket_that_is_closed_before_it_opens_is_counted_as_the_403_that_servers_answer() -> None:
    """By a server whose handshakes have no other answer (the extension websocket.http.response)."""
    app, sent = create_app(Settings(), Slow), []
    scope = {"type": "websocket", "path": "/nope", "query_string": b"", "headers": [(b"host", b"x")]}

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message["type"])

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent == ["websocket.close"]
    found = app.state.metrics.registry.get_sample_value
    assert found("parsing_rcnn_answers_total", {"status": "403"}) == 1
    assert found("parsing_rcnn_answers_total", {"status": "500"}) == 0


def test_metrics_say_what_runs() -> None:
    with TestClient(create_app(Settings(), Slow)) as client:
        wait_until_ready(client)
        lines = client.get("/metrics").text.splitlines()
    assert "parsing_rcnn_ready 1.0" in lines
    assert f'parsing_rcnn_info{{model="slow 1",runtime="none",version="{__version__}"}} 1.0' in lines


def test_not_ready_says_why() -> None:
    def load() -> Slow:
        raise InvalidOptions("precision bf16: there is no such precision here")

    with TestClient(create_app(Settings(), load), raise_server_exceptions=False) as client:
        until(lambda: "there is no such precision" in client.get("/readyz").text)
        lines = client.get("/metrics").text.splitlines()
        assert "parsing_rcnn_ready 0.0" in lines
        assert f'parsing_rcnn_info{{model="",runtime="",version="{__version__}"}} 1.0' in lines
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), client.post("/v1/analyze", content=b"x"), client.get("/v1/models")):
            assert answer.status_code == 503
            assert "there is no such precision" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("fault", [OutOfMemory("parsing/1/model.onnx", "std::bad_alloc"), OSError("a volume is away")])
def test_a_model_that_cannot_be_loaded_yet_is_tried_again(fault: Exception) -> None:
    faults, well = [fault, fault], threading.Event()

    def load() -> Slow:
        if faults:
            raise faults.pop()
        assert well.wait(60)
        return Slow()

    with capture_logs() as lines, TestClient(create_app(Settings(), load)) as client:
        until(lambda: bool(lines))
        assert client.get("/readyz").status_code == 503
        well.set()
        wait_until_ready(client)
    assert [line["event"] for line in lines] == ["the model cannot be loaded"] * 2 + ["ready"]


def test_options_that_cannot_be_are_not_tried_again() -> None:
    def load() -> Slow:
        raise InvalidOptions("precision bf16: this CPU does not compute in it")

    with capture_logs() as lines, TestClient(create_app(Settings(), load)) as client:
        until(lambda: bool(lines))
        time.sleep(1.5)
        assert "does not compute" in client.get("/readyz").json()["detail"]
    assert [line["event"] for line in lines] == ["the model cannot be loaded"]


@pytest.mark.parametrize("fault", [ModelNotFound("/srv/here: nothing"), BrokenModel("/srv/here/model.onnx", "damaged")])
def test_where_files_are_is_told_to_the_log_alone(fault: ParsingRCNNError) -> None:
    def load() -> Slow:
        raise fault

    with capture_logs() as lines, TestClient(create_app(Settings(), load)) as client:
        until(lambda: bool(lines))
        for answer in (client.get("/readyz"), client.post("/v1/analyze", content=b"x"), client.get("/v1/models")):
            assert answer.status_code == 503
            assert "/srv" not in answer.text
            assert "the log says why" in answer.json()["detail"]
    assert lines[0]["log_level"] == "error"
    assert "/srv/here" in lines[0]["reason"]


def test_files_that_are_replaced_or_deleted_change_no_answer_of_a_gateway_that_runs(
    tmp_path: Path, photo_jpeg: bytes
) -> None:
    pytest.importorskip("openvino")
    repository = tmp_path / "repository"
    shutil.copytree(Path(__file__).resolve().parents[2] / "model_repository", repository)
    load = partial(Pipeline, repository, runtime="openvino", precision="fp32", threads=1)
    with TestClient(create_app(Settings(), load)) as client:
        wait_until_ready(client)
        (repository / "parsing" / "1" / "model.onnx").write_bytes(
            (repository / "densepose_head" / "1" / "model.onnx").read_bytes()
        )
        shutil.rmtree(repository / "detector")
        options = {"confidence": 0, "max_people": 3, "exact": True}  # two together with probabilities: compiled now
        assert client.post("/v1/analyze", params=options, content=photo_jpeg).status_code == 200
        assert client.get("/readyz").status_code == 200


class Broken(Slow):
    """An analyzer of which a graph turns out to be damaged."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        if isinstance(image, bytes):
            raise BrokenModel("parsing/1/model.onnx", "no such output")
        return super().analyze(image, options)


def test_a_graph_that_cannot_be_run_is_an_error_of_the_log(photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(), Broken)) as client:
        wait_until_ready(client)
        with capture_logs() as lines:
            answer = client.post("/v1/analyze", content=photo_jpeg)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:parsing-rcnn:broken-model")
    said = [line for line in lines if line["log_level"] == "error"]
    assert [line["reason"] for line in said] == [answer.json()["detail"]]


def test_a_bug_is_a_500_that_tells_nothing(photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(), Crashing), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        answer = client.post("/v1/analyze", content=photo_jpeg)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["request_id"]
        assert client.get("/readyz").status_code == 200


def test_a_bug_has_an_id_and_headers_and_a_line_in_the_log(photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(), Crashing)) as client:  # nothing is raised through to the server either
        wait_until_ready(client)
        with capture_logs() as lines:
            answer = client.post("/v1/analyze", content=photo_jpeg)
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [line["event"] for line in lines] == ["unexpected error", "request"]


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_bug_in_the_log_shows_no_key_and_no_picture(
    style: str, tmp_path: Path, photo_jpeg: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.txt"
    key = add_key(keys, "alice")
    try:
        configure_logging(style)
        with TestClient(create_app(Settings(keys=keys), Crashing)) as client:
            wait_until_ready(client)
            answer = client.post("/v1/analyze", content=photo_jpeg, headers={"Authorization": f"Bearer {key}"})
        said = capsys.readouterr().err
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()
    assert answer.status_code == 500
    assert "ZeroDivisionError: a secret of the inside" in said
    assert "test_gateway.py" in said  # where it happened
    assert key not in said
    assert "JFIF" not in said
    assert len(said) < 20_000


@pytest.mark.parametrize("style", ["console", "json"])
def test_the_log_says_who_asked_and_does_nothing_to_a_terminal(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.txt"
    alice = {"X-API-Key": add_key(keys, "alice")}
    try:
        configure_logging(style)
        with TestClient(create_app(Settings(keys=keys), Crashing), client=("192.0.2.7", 1)) as client:
            wait_until_ready(client)
            capsys.readouterr()
            client.get("/docs/%1b%5b2J%0a%C2%9b%E2%80%AEforged" + "x" * 1000)
            client.get("/v1/models", headers=alice)
            client.get("/v1/models")
        said = capsys.readouterr().err
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()
    first, second, third, *none = said.splitlines()
    assert not none
    assert not {"\x1b", "\x9b", "\u202e"} & set(said)
    assert "/docs/" in first
    assert "forged" in first
    assert len(first) < 600
    assert all("192.0.2.7" in line for line in (first, second, third))
    assert ["alice" in line for line in (first, second, third)] == [False, True, False]


def test_libraries_log_as_we_do(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        configure_logging("json")
        logging.getLogger("asyncio").warning("slow %s", "callback")
        logging.getLogger("uvicorn.error").error("ASGI callable returned without completing handshake.")
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()
    document = json.loads(line)
    assert (document["event"], document["logger"], document["level"]) == ("slow callback", "asyncio", "warning")


def test_overload_is_refused_and_what_was_accepted_is_answered(photo_jpeg: bytes) -> None:
    slow = Slow()
    with TestClient(create_app(Settings(workers=1, queue=2), lambda: slow)) as client:
        wait_until_ready(client)
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/analyze", content=photo_jpeg).status_code))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert slow.begun.acquire(timeout=60)
        until(lambda: "parsing_rcnn_held 3.0" in client.get("/metrics").text)
        refused = client.post("/v1/analyze", content=photo_jpeg)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "limit is 3" in refused.json()["detail"]
        slow.gate.set()
        for thread in threads:
            thread.join(60)
        assert answers == [200, 200, 200]
        assert "parsing_rcnn_held 0.0" in client.get("/metrics").text


def _serve(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "parsing_rcnn", "serve", "--threads", "1", *arguments]
    root = Path(__file__).resolve().parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARSING_RCNN_")}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=root)


def test_the_command_serves_and_drains(photo_jpeg: bytes) -> None:
    port = spare_port()
    process = _serve("--port", str(port))
    try:
        base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{base}/readyz", timeout=60) as answer:
                    assert answer.status == 200
                    break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
        again = _serve("--port", str(port))
        _, error = again.communicate(timeout=120)
        assert again.returncode == 1
        assert "cannot listen" in error
        request = urllib.request.Request(f"{base}/v1/analyze", data=photo_jpeg)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert b"predictions" in answer.read()
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("stage", ["upload", "work"])
def test_what_the_end_of_the_drain_cuts_off_may_come_back(
    stage: str, photo_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    with (
        Live(Settings(drain_seconds=1), lambda: slow) as live,
        socket.create_connection(("127.0.0.1", live.port), timeout=60) as client,
    ):
        head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo_jpeg)}\r\n\r\n".encode()
        client.sendall(head + (photo_jpeg if stage == "work" else photo_jpeg[:1000]))
        if stage == "work":
            assert slow.begun.acquire(timeout=60)
        else:
            until(lambda: any(c.cycle is not None for c in live.server.server_state.connections))  # type: ignore[union-attr]
        live.server.should_exit = True
        try:
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        finally:
            slow.gate.set()
    lines = head.decode().lower().splitlines()
    assert lines[0] == "http/1.1 503 service unavailable"
    assert {"connection: close", "retry-after: 1", "content-type: application/problem+json"} <= set(lines)
    assert json.loads(body)["type"] == "urn:parsing-rcnn:engine-unavailable"
    found = live.app.state.metrics.registry.get_sample_value
    assert found("parsing_rcnn_answers_total", {"status": "503"}) == 1
    assert found("parsing_rcnn_answers_total", {"status": "500"}) == 0
    assert not [record for record in caplog.records if record.exc_info]


def test_a_wider_address_is_warned_of(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.txt", "alice")
    for more, word in (((), "keys or encryption"), (("--keys", str(tmp_path / "keys.txt")), "without encryption")):
        process = _serve("--host", "0.0.0.0", "--port", str(spare_port()), *more)
        try:
            assert process.stderr is not None
            said = process.stderr.readline() + process.stderr.readline()
            assert "reachable from other machines" in said
            assert word in said
        finally:
            process.kill()
            process.communicate()


def test_every_line_of_a_log_of_json_is_json() -> None:
    process = _serve("--host", "0.0.0.0", "--port", str(port := spare_port()), "--log-format", "json")
    try:
        assert process.stderr is not None
        lines = [json.loads(process.stderr.readline()) for _ in range(2)]
    finally:
        process.kill()
        process.communicate()
    assert [line["level"] for line in lines] == ["info", "warning"]
    assert f"http://0.0.0.0:{port}" in lines[0]["event"]
    assert "reachable from other machines" in lines[1]["event"]


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        (("serve", "--port", "{taken}"), 1, "cannot listen on 127.0.0.1:{taken}"),
        (("serve", "--workers", "0"), 2, "workers: "),
        (("serve", "--repository", "/nowhere"), 1, "/nowhere"),
        (("serve", "--engine", "triton", "--model", "huge"), 1, "no model 'huge' here; --model takes fast, large, "),
        (("triton", "--repository", "/nowhere"), 1, "/nowhere"),
        (("triton", "--profile", "fast"), 2, "--profile 'fast'"),
        (("triton", "--log-level", "loud"), 2, "--log-level 'loud': choose one of debug, info, warning, error"),
        (("serve", "--log-level", "loud"), 2, "log_level: "),
    ],
)
def test_what_ends_the_start_is_said_as_the_log_is_written(wrong: tuple[str, ...], status: int, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        command = [sys.executable, "-m", "parsing_rcnn", *(word.format(taken=taken) for word in wrong)]
        root = Path(__file__).resolve().parents[2]
        begun = [
            subprocess.Popen([*command, "--log-format", style], stderr=subprocess.PIPE, text=True, cwd=root)
            for style in ("json", "console")
        ]
        in_json, plain = (process.communicate(timeout=120)[1] for process in begun)
    assert [process.returncode for process in begun] == [status] * 2
    line = json.loads(in_json)
    assert line["level"] == "error"
    assert words.format(taken=taken) in line["event"]
    assert plain == f"error: {line['event']}\n"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_taken_and_shown_as_addresses_have_it(host: str) -> None:
    port = spare_port()
    try:
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    process = _serve("--host", host, "--port", str(port))
    try:
        assert process.stderr is not None
        shown = re.search(r"http://\S+", process.stderr.readline())
        assert shown is not None
        assert shown[0] == f"http://[::1]:{port}"
        with urllib.request.urlopen(f"{shown[0]}/healthz", timeout=60) as answer:
            assert answer.status == 200
        again = _serve("--host", host, "--port", str(port))
        _, error = again.communicate(timeout=120)
        assert f"cannot listen on [::1]:{port}" in error
    finally:
        process.kill()
        process.communicate()


def test_wrong_settings_are_named() -> None:
    process = _serve("--precision", "int3")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "precision" in error
    with pytest.raises(ValueError, match="port"):
        Settings(port=70000)


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("triton_url", ("", "triton", "http://a:8001", "a:1,,b:2", "a:b"), ("a:8001", "a.b:1, [::1]:8001")),
        (
            "cors",
            ("example.org", "https://a b", "https://a/path", "ftp://a"),
            ("", "*", "https://a.b, http://[::1]:80"),
        ),
        ("otlp", ("garbage", "127.0.0.1:4318"), ("http://127.0.0.1:4318", "https://c.example/otlp")),
    ],
)
def test_addresses_are_checked_at_the_start(name: str, wrong: tuple[str, ...], right: tuple[str, ...]) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=name):
            Settings(**{name: value})  # type: ignore[arg-type]
    for value in right:
        assert getattr(Settings(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_pixels": 100_000_000}, "--max-pixels 100000000: Triton's preprocess takes 64000000 at most"),
        ({"max_side": 20000}, "--max-side 20000"),
        ({"max_bytes": 1 << 26}, "--max-bytes 67108864"),
    ],
)
def test_what_triton_would_not_keep_is_refused_at_the_start(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidOptions, match=words):
        create_app(Settings(engine="triton", **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["large", "accurate"])
def test_models_are_chosen_before_triton_as_in_this_process(model: str) -> None:
    assert create_app(Settings(engine="triton", model=model)).state.settings.model == model
    with pytest.raises(ModelNotFound, match="no model 'huge' here; --model takes fast, large, accurate"):
        create_app(Settings(engine="triton", model="huge"))


def test_what_triton_decides_is_said_at_the_start() -> None:
    with capture_logs() as logs:
        create_app(Settings(engine="triton", model="fast", max_pixels=1_000_000, threads=2, workers=2))
        create_app(Settings(engine="triton"))
    assert [line["settings"] for line in logs] == ["threads, workers"]


def test_a_model_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    process = _serve("--repository", str(tmp_path), "--port", str(spare_port()))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "model_card.json: No such file" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("page", ["docs/api.md", "deploy/README.md"])
def test_the_flags_of_the_documentation_exist(page: str) -> None:
    root = Path(__file__).resolve().parents[2]
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", (root / page).read_text()))
    elsewhere = {"--data-binary", "--input-data", "--concurrency-range", "--file"}  # of curl, perf_analyzer, `key`
    elsewhere |= {"--another", "--list", "--revoke"}  # of `key`
    elsewhere |= {"--version", "--out"}  # of `export`
    elsewhere |= {"--log-verbose", "--grpc-port", "--grpc-use-ssl"}  # of tritonserver
    elsewhere |= {"--server", "--key", "--ca"}  # of the client
    elsewhere |= {"--target", "--profile", "--build", "--build-arg", "--shm-size"}  # of docker
    elsewhere |= {"--strict", "--from-literal"}  # of kubernetes-validate, kubectl
    assert named - elsewhere <= {f"--{name.replace('_', '-')}" for name in inspect.signature(serve).parameters}


def test_every_setting_has_a_flag() -> None:
    assert set(inspect.signature(serve).parameters) == set(Settings.model_fields)


def test_triton_and_the_gateway_drain_as_long() -> None:
    seconds = inspect.signature(triton).parameters["drain_seconds"].default
    assert seconds == Launch.drain_seconds == Settings.model_fields["drain_seconds"].default
