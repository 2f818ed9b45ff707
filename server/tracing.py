"""OpenTelemetry: a span for each picture and each of its stages, sent to a collector if one is configured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from parsing_rcnn import __version__
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from server.requests.call import Call

_NANOSECONDS = 1_000_000  # in a millisecond
_SUMS = frozenset({"total"})
_CONTEXT = TraceContextTextMapPropagator()


class PictureSpan:
    """A picture's span.

    Attributes:
        call: the call, with this span as parent of Triton's spans.
    """

    def __init__(self, tracer: trace.Tracer, span: trace.Span, call: Call) -> None:
        self._tracer, self._span, self._begin = tracer, span, time.time_ns()
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, trace.set_span_in_context(span))
        self.call = replace(call, traceparent=carrier.get("traceparent", call.traceparent))

    def answered(self, people: int, stages: Mapping[str, float]) -> None:
        """Record the number of people, and a span for each stage, one after the other in this order.

        Args:
            people: in the picture.
            stages: stage -> milliseconds.
        """
        self._span.set_attribute("parsing_rcnn.people", people)
        context, at = trace.set_span_in_context(self._span), self._begin
        for stage, milliseconds in stages.items():
            if stage not in _SUMS:
                end = at + int(milliseconds * _NANOSECONDS)
                self._tracer.start_span(stage, context, start_time=at).end(end)
                at = end


class Tracing:
    """Makes spans. Without a collector they go nowhere and cost next to nothing.

    Args:
        collector: address of an OTLP/HTTP collector, such as http://127.0.0.1:4318.

    Raises:
        InvalidOptions: a collector is named, but the packages that talk to it are not installed.
    """

    def __init__(self, collector: str | None) -> None:
        self._provider = None
        if collector is None:
            self._tracer: trace.Tracer = trace.NoOpTracer()
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise InvalidOptions(
                f"traces need packages that are not installed ({error}): pip install 'parsing-rcnn[tracing]', or start "
                "without --otlp"
            ) from None
        about = Resource.create({"service.name": "parsing-rcnn", "service.version": __version__})
        self._provider = TracerProvider(resource=about)
        exporter = OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("parsing_rcnn")

    @contextmanager
    def picture(self, call: Call) -> Iterator[PictureSpan]:
        """The span of one picture, a child of the caller's span if the request carries a trace context."""
        above = _CONTEXT.extract({"traceparent": call.traceparent} if call.traceparent else {})
        span = self._tracer.start_span(f"analyze {call.route}", above, SpanKind.SERVER)
        span.set_attribute("parsing_rcnn.route", call.route)
        try:
            yield PictureSpan(self._tracer, span, call)
        except ParsingRCNNError as error:
            span.set_attribute("error.type", error.code)
            span.set_status(Status(StatusCode.ERROR, error.detail))
            raise
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Send what has not been sent."""
        if self._provider is not None:
            self._provider.shutdown()
