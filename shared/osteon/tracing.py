"""Spans: what an association, a message, a job or a request did in each service, and for how long.

Off unless there is a collector (docs/tracing.md): then OpenTelemetry is not imported and every function here is
one comparison. `osteon.tracing_setup` turns it on. The context of a span travels as W3C `traceparent`: in messages
(`Message.traceparent`), jobs and HTTP requests.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, Protocol, TypeVar

from osteon.contracts.base import Message

M = TypeVar("M", bound=Message)
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool
PARAM: Final = "traceparent"
"""Key of the context in the parameters of a job."""


class Span(Protocol):
    """Something that has begun. `end` it once."""

    @property
    def traceparent(self) -> str:
        """The context for what it causes, as W3C writes it; empty while tracing is off."""

    def note(self, attributes: Mapping[str, Attribute]) -> None:
        """Add attributes."""

    def rename(self, name: str) -> None:
        """Give it another name: one of few, so that spans can be compared."""

    def failed(self, reason: str) -> None:
        """Mark it as failed."""

    def end(self) -> None:
        """It is over."""


class Tracer(Protocol):
    """Makes spans and sends them."""

    def begin(
        self, name: str, kind: SpanKind, parent: str, correlation_id: str, attributes: Mapping[str, Attribute]
    ) -> Span:
        """Begin a span below `parent`, the current one when that is empty, or (without one) of a new trace.

        A new trace has the correlation id as its id, if that is one.
        """

    def within(self, span: Span) -> AbstractContextManager[None]:
        """Make a span the current one inside."""

    def current(self) -> str:
        """Return the context of the current span, empty without one."""

    def close(self) -> None:
        """Send what was not sent yet, for some seconds at most. Blocks."""


class _Nothing:
    """The span of a process that is not traced."""

    traceparent = ""

    def note(self, attributes: Mapping[str, Attribute]) -> None:
        """Nothing."""

    def rename(self, name: str) -> None:
        """Nothing."""

    def failed(self, reason: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


NOTHING: Final[Span] = _Nothing()
_tracer: Tracer | None = None


def stop() -> None:
    """Send what was not sent yet, and trace no more. Blocks."""
    if _tracer is not None:
        _tracer.close()
    use(None)


def use(tracer: Tracer | None) -> None:
    """Trace with `tracer` from now on."""
    global _tracer  # noqa: PLW0603  (one for a process, as metrics and logs are)
    _tracer = tracer


def begin(
    name: str,
    *,
    kind: SpanKind = "internal",
    parent: str = "",
    correlation_id: str = "",
    attributes: Mapping[str, Attribute] | None = None,
) -> Span:
    """Begin a span that does not become the current one; see `Tracer.begin`."""
    if _tracer is None:
        return NOTHING
    return _tracer.begin(name, kind, parent, correlation_id, attributes or {})


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = "internal",
    parent: str = "",
    correlation_id: str = "",
    attributes: Mapping[str, Attribute] | None = None,
) -> Iterator[Span]:
    """Make a span the current one inside, and end it; an error that leaves it marks it as failed.

    Not around a `yield` of an asynchronous generator, whose caller it would go on to: use `begin` there.
    """
    if _tracer is None:
        yield NOTHING
        return
    made = _tracer.begin(name, kind, parent, correlation_id, attributes or {})
    with _ended([made]), _tracer.within(made):
        yield made


def current() -> str:
    """Return the context of the current span; empty without one."""
    return "" if _tracer is None else _tracer.current()


def carried(message: M) -> M:
    """Return a message that is about to be sent with the context that it comes from."""
    if _tracer is None or message.traceparent or not (here := _tracer.current()):
        return message
    return message.model_copy(update={"traceparent": here})


def with_context(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a job with the context that it comes from."""
    here = current()
    return {**params, PARAM: here} if here else params


@contextmanager
def handling(messages: Sequence[M], queue: str) -> Iterator[Sequence[M]]:
    """Give each message a span below the one that it was sent from; what is made of it comes below that.

    Messages that were sent from nowhere have none. The span of a message that is alone is the current one inside.
    """
    if _tracer is None:
        yield messages
        return
    spans = [_handled(message, queue, len(messages)) for message in messages]
    traced = [_below(message, each) for message, each in zip(messages, spans, strict=True)]
    alone = _tracer.within(spans[0]) if len(spans) == 1 and spans[0] is not NOTHING else nullcontext()
    with _ended(spans), alone:
        yield traced


def _handled(message: Message, queue: str, together: int) -> Span:
    if not message.traceparent:
        return NOTHING
    attributes: dict[str, Attribute] = {"messaging.destination.name": queue, "messaging.batch.message_count": together}
    if pack := getattr(message, "pack_id", ""):
        attributes["osteon.pack"] = pack
    return begin(
        f"process {type(message).__name__}",
        kind="consumer",
        parent=message.traceparent,
        correlation_id=message.correlation_id,
        attributes=attributes,
    )


def _below(message: M, span: Span) -> M:
    return message if span is NOTHING else message.model_copy(update={"traceparent": span.traceparent})


@contextmanager
def _ended(spans: Sequence[Span]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for each in spans:
            each.failed(f"{type(error).__name__}: {error}")
        raise
    finally:
        for each in spans:
            each.end()
