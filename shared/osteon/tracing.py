"""Spans: what an association, a message, a job or a request did in each service, and for how long.

Off unless there is a collector (docs/tracing.md): while off, OpenTelemetry is not imported and every function
here is one comparison. `osteon.tracing_setup` turns it on. The context of a span travels as W3C `traceparent`: in
messages (`Message.traceparent`), jobs and HTTP requests.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, Protocol, TypeVar

from osteon.contracts.base import Message

M = TypeVar("M", bound=Message)
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool
TRACEPARENT_PARAM: Final = "traceparent"
"""Key of the context in the parameters of a job."""


class Span(Protocol):
    """An operation that is timed. `end` it once."""

    @property
    def traceparent(self) -> str:
        """The context for what it causes, as W3C writes it; empty while tracing is off."""

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Add attributes, or replace those of the same name."""

    def update_name(self, name: str) -> None:
        """Give it another name: one of few, so that spans can be compared."""

    def record_error(self, reason: str) -> None:
        """Set its status to error, with the reason as description."""

    def end(self) -> None:
        """Stop the clock and hand it to the exporter."""


class Tracer(Protocol):
    """Makes spans and exports them."""

    def start_span(
        self, name: str, kind: SpanKind, parent: str, correlation_id: str, attributes: Mapping[str, Attribute]
    ) -> Span:
        """Start a span below `parent`, the current one when that is empty, or (without one) of a new trace.

        A new trace has the correlation id as its id, if that is one.
        """

    def use_span(self, span: Span) -> AbstractContextManager[None]:
        """Make a span the current one inside."""

    def current_traceparent(self) -> str:
        """Return the context of the current span, empty without one."""

    def shutdown(self) -> None:
        """Export what is still buffered, for some seconds at most. Blocks."""


class _NoopSpan:
    """The span of a process that is not traced: every method does nothing."""

    traceparent = ""

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Ignore attributes."""

    def update_name(self, name: str) -> None:
        """Ignore the name."""

    def record_error(self, reason: str) -> None:
        """Ignore the error."""

    def end(self) -> None:
        """Ignore the end."""


NOOP_SPAN: Final[Span] = _NoopSpan()
_tracer: Tracer | None = None


def shutdown() -> None:
    """Export what is still buffered, and trace no more. Blocks."""
    if _tracer is not None:
        _tracer.shutdown()
    set_tracer(None)


def set_tracer(tracer: Tracer | None) -> None:
    """Trace with `tracer` from now on; with None not at all."""
    global _tracer  # noqa: PLW0603  (one for a process, as metrics and logs are)
    _tracer = tracer


def start_span(
    name: str,
    *,
    kind: SpanKind = "internal",
    parent: str = "",
    correlation_id: str = "",
    attributes: Mapping[str, Attribute] | None = None,
) -> Span:
    """Start a span that does not become the current one; see `Tracer.start_span`."""
    if _tracer is None:
        return NOOP_SPAN
    return _tracer.start_span(name, kind, parent, correlation_id, attributes or {})


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = "internal",
    parent: str = "",
    correlation_id: str = "",
    attributes: Mapping[str, Attribute] | None = None,
) -> Iterator[Span]:
    """Make a span the current one inside, and end it; an exception that leaves the block is recorded as its error.

    Not around a `yield` of an asynchronous generator, whose caller it would go on to: use `start_span` there.
    """
    if _tracer is None:
        yield NOOP_SPAN
        return
    started = _tracer.start_span(name, kind, parent, correlation_id, attributes or {})
    with _end_spans([started]), _tracer.use_span(started):
        yield started


def current_traceparent() -> str:
    """Return the context of the current span; empty without one."""
    return "" if _tracer is None else _tracer.current_traceparent()


def inject(message: M) -> M:
    """Return a message that is about to be sent with the context of the current span, unless it has one."""
    if _tracer is None or message.traceparent or not (traceparent := _tracer.current_traceparent()):
        return message
    return message.model_copy(update={"traceparent": traceparent})


def inject_into_job(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a job with the context of the current span."""
    traceparent = current_traceparent()
    return {**params, TRACEPARENT_PARAM: traceparent} if traceparent else params


@contextmanager
def process_messages(messages: Sequence[M], queue: str) -> Iterator[Sequence[M]]:
    """Start a consumer span for each message inside, below the sender's, and yield the messages with its context.

    Messages without a context get no span. The span of a single message is the current one inside.
    """
    if _tracer is None:
        yield messages
        return
    spans = [_start_consumer_span(message, queue, len(messages)) for message in messages]
    traced = [
        message if each is NOOP_SPAN else message.model_copy(update={"traceparent": each.traceparent})
        for message, each in zip(messages, spans, strict=True)
    ]
    single = _tracer.use_span(spans[0]) if len(spans) == 1 and spans[0] is not NOOP_SPAN else nullcontext()
    with _end_spans(spans), single:
        yield traced


def _start_consumer_span(message: Message, queue: str, batch: int) -> Span:
    if not message.traceparent:
        return NOOP_SPAN
    attributes: dict[str, Attribute] = {"messaging.destination.name": queue, "messaging.batch.message_count": batch}
    if pack := getattr(message, "pack_id", ""):
        attributes["osteon.pack"] = pack
    return start_span(
        f"process {type(message).__name__}",
        kind="consumer",
        parent=message.traceparent,
        correlation_id=message.correlation_id,
        attributes=attributes,
    )


@contextmanager
def _end_spans(spans: Sequence[Span]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for each in spans:
            each.record_error(f"{type(error).__name__}: {error}")
        raise
    finally:
        for each in spans:
            each.end()
