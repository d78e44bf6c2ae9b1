"""Tracing by OpenTelemetry: spans by OTLP over HTTP. Imported only when tracing is on; see `osteon.tracing`.

Its standard variables hold (`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, ...). The
provider is Osteon's own and not the global one, which libraries use by themselves.
"""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from osteon import __version__
from osteon.tracing import Attribute, Span, SpanKind

EXPORT_SECONDS: Final = 5.0
"""For one attempt to send spans, and so for the end of a process whose collector is away."""
_ID: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST_REASON: Final = 500


class OtelTracer:
    """The port `osteon.tracing.Tracer`."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        resource = Resource.create(
            {"service.name": f"osteon-{service}", "service.namespace": "osteon", "service.version": __version__}
        )
        self._ids = _Ids()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("osteon", __version__)

    @classmethod
    def exporting(cls, service: str, endpoint: str) -> "OtelTracer":
        """Send to the collector at a base URL; empty: where OpenTelemetry's own variables say."""
        where = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        return cls(service, BatchSpanProcessor(OTLPSpanExporter(where, timeout=EXPORT_SECONDS)))

    def begin(
        self, name: str, kind: SpanKind, parent: str, correlation_id: str, attributes: Mapping[str, Attribute]
    ) -> "OtelSpan":
        """Begin a span."""
        known = {"osteon.correlation_id": correlation_id} if correlation_id else {}
        context = _PROPAGATOR.extract({"traceparent": parent}, Context()) if parent else None
        self._ids.wanted = int(correlation_id, 16) if _ID.fullmatch(correlation_id) else 0
        try:
            made = self._tracer.start_span(name, context, _KINDS[kind], {**known, **attributes})
        finally:
            self._ids.wanted = 0
        return OtelSpan(made)

    def within(self, span: Span) -> AbstractContextManager[None]:
        """Make a span the current one inside."""
        assert isinstance(span, OtelSpan)
        return span.attached()

    def current(self) -> str:
        """Return the context of the current span."""
        return _written(trace.get_current_span().get_span_context())

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


class OtelSpan:
    """The port `osteon.tracing.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.traceparent: Final = _written(span.get_span_context())

    def attached(self) -> AbstractContextManager[None]:
        """Make it the current one inside."""
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)  # type: ignore[return-value]  # what it yields is not used

    def note(self, attributes: Mapping[str, Attribute]) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._span.update_name(name)

    def failed(self, reason: str) -> None:
        """Mark it as failed."""
        self._span.set_status(trace.StatusCode.ERROR, reason[:_LONGEST_REASON])

    def end(self) -> None:
        """It is over."""
        self._span.end()


class _Ids(RandomIdGenerator):
    """Gives the next trace the id that is wanted; a span begins without a pause, so no other one comes between."""

    wanted = 0

    def generate_trace_id(self) -> int:
        return self.wanted or super().generate_trace_id()


_PROPAGATOR: Final = TraceContextTextMapPropagator()
_KINDS: Final[Mapping[SpanKind, trace.SpanKind]] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}


def _written(context: trace.SpanContext) -> str:
    """Return a context as W3C Trace Context 1 writes it; empty when it is invalid."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 3:02x}"
