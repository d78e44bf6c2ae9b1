"""Envelopes as AMQP messages."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from osteon.bus.envelope import DeadLetter, Envelope, History

_ATTEMPTS = "osteon-attempts"
_RETRIES = "osteon-retries"
_FIRST_ERROR = "osteon-first-error"
_LAST_ERROR = "osteon-last-error"
_PLACE = "osteon-place"
_REPLAYS = "osteon-replays"
_PUBLISHED = "osteon-published"
_REASON = "osteon-reason"
_QUEUE = "osteon-queue"


def to_message(envelope: Envelope, *, persistent: bool = True, **properties: Any) -> aio_pika.Message:
    """Return an envelope as an AMQP message."""
    history = envelope.history
    headers: dict[str, Any] = {}
    if history.retries:
        headers = {
            _ATTEMPTS: history.attempts,
            _RETRIES: history.retries,
            _FIRST_ERROR: history.first_error,
            _LAST_ERROR: history.last_error,
            _PLACE: history.place,
        }
    if history.replays:
        headers[_REPLAYS] = history.replays
    if envelope.published is not None:
        headers[_PUBLISHED] = round(envelope.published * 1e6)  # AMQP's float would be off by a minute
    mode = aio_pika.DeliveryMode.PERSISTENT if persistent else aio_pika.DeliveryMode.NOT_PERSISTENT
    defaults: dict[str, Any] = {"correlation_id": _short(envelope.correlation_id), "message_id": _short(envelope.id)}
    return aio_pika.Message(
        envelope.body,
        content_type="application/json",
        type=envelope.type,
        delivery_mode=mode,
        headers=headers,
        **(defaults | properties),
    )


def to_envelope(message: AbstractIncomingMessage) -> Envelope:
    """Return an AMQP message as an envelope; one that Osteon did not make has an empty type and is parked later."""
    headers = message.headers
    history = History(
        _count(headers.get(_ATTEMPTS)),
        _count(headers.get(_RETRIES)),
        str(headers.get(_FIRST_ERROR, "")),
        str(headers.get(_LAST_ERROR, "")),
        str(headers.get(_PLACE, "")),
        _count(headers.get(_REPLAYS)),
    )
    # A message that Osteon did not send may have no identifier, and needs one when it is parked.
    identifier = message.message_id or hashlib.sha256(message.body).hexdigest()[:32]
    published = headers.get(_PUBLISHED)
    return Envelope(
        message.type or "",
        message.body,
        message.correlation_id or "",
        id=identifier,
        history=history,
        published=published / 1e6 if isinstance(published, int) else None,
    )


def to_dead_message(dead: DeadLetter) -> aio_pika.Message:
    """Return a parked envelope, its reason in headers."""
    message = to_message(dead.envelope, timestamp=dead.parked_at)
    message.headers |= {_REASON: dead.reason, _QUEUE: dead.queue}
    return message


def to_dead_letter(message: AbstractIncomingMessage) -> DeadLetter:
    """Read an entry of the dead-letter queue, whether Osteon parked it or the broker did (`x-death`)."""
    headers: dict[str, Any] = dict(message.headers)
    deaths = headers.get("x-death") or [{}]
    return DeadLetter(
        to_envelope(message),
        queue=str(headers.get(_QUEUE) or deaths[0].get("queue", "")),
        reason=str(headers.get(_REASON) or deaths[0].get("reason", "unknown")),
        parked_at=message.timestamp or deaths[0].get("time") or datetime.now(UTC),
    )


def _short(text: str) -> str:
    """Cut to what an AMQP short string holds; the body keeps the whole."""
    return text.encode(errors="replace")[:255].decode(errors="ignore")


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
