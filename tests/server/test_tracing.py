"""Traces as a collector gets them: OTLP over HTTP, read with the protocol's own messages."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.testclient import TestClient

from parsing_rcnn.errors import InvalidOptions
from server.app import create_app
from server.settings import Settings
from server.tracing import Tracing
from tests.server.conftest import wait_until_ready

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Keeps every span that is sent to it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        outer = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {a.key: a.value.string_value for a in resource.resource.attributes}
                    outer.services.add(names["service.name"])
                    for scope in resource.scope_spans:
                        outer.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.server.shutdown()
    running.server.server_close()


def values(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_picture_is_a_span_with_its_stages_under_the_callers(
    pipeline,  # type: ignore[no-untyped-def]
    collector: Collector,
    photo_jpeg: bytes,
) -> None:
    app = create_app(Settings(otlp=collector.address), lambda: pipeline)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        parent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        assert (
            client.post("/v1/analyze?confidence=0&max_people=2", content=photo_jpeg, headers=parent).status_code == 200
        )
        assert client.post("/v1/analyze", content=b"no picture").status_code == 415
    good, bad = sorted(
        (s for s in collector.spans if s.name == "analyze analyze"), key=lambda s: s.start_time_unix_nano
    )
    assert collector.services == {"parsing-rcnn"}
    assert (good.trace_id.hex(), good.parent_span_id.hex()) == (TRACE, CALLER)
    assert values(good) == {"parsing_rcnn.route": "analyze", "parsing_rcnn.people": 2}
    stages = [s for s in collector.spans if s.parent_span_id == good.span_id]
    assert {"queue", "decode", "detector", "parsing", "densepose", "encode"} <= {s.name for s in stages}
    assert all(s.trace_id == good.trace_id for s in stages)
    for one, following in pairwise(stages):
        assert one.end_time_unix_nano == following.start_time_unix_nano
    assert bad.trace_id.hex() != TRACE
    assert bad.status.code == Status.StatusCode.STATUS_CODE_ERROR
    assert values(bad)["error.type"] == "unsupported-image"


def test_what_stands_below_a_picture_gets_its_span_as_the_parent(collector: Collector) -> None:
    from server.requests.call import Call

    tracing = Tracing(collector.address)
    with tracing.picture(Call("analyze", "", traceparent=f"00-{TRACE}-{CALLER}-01")) as picture:
        version, trace, span, flags = (picture.call.traceparent or "").split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert span != CALLER
    tracing.close()
    assert [s.span_id.hex() for s in collector.spans] == [span]


def test_without_a_collector_the_callers_context_is_passed_on() -> None:
    from server.requests.call import Call

    given = f"00-{TRACE}-{CALLER}-01"
    with Tracing(None).picture(Call("analyze", "", traceparent=given)) as picture:
        assert picture.call.traceparent == given


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("opentelemetry.exporter"):
            raise ImportError(f"no module {name}")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidOptions, match=r"parsing-rcnn\[tracing\]"):
        Tracing("http://127.0.0.1:1")
