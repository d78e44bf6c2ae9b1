"""Messages as they travel: JSON bodies named by type, and the history of those that failed before."""

import time
import traceback
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError

from osteon import tracing
from osteon.contracts.base import Message
from osteon.errors import Invalid

M = TypeVar("M", bound=Message)
_LONGEST_ERROR = 500


class BadMessage(Invalid):
    """A body that is not a message of the type that its queue carries."""


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a message so far; travels in its headers."""

    attempts: int = 0
    """Failures that count towards `topology.MAX_ATTEMPTS`."""
    retries: int = 0
    """All failures, an unavailable part included; chooses the back-off."""
    first_error: str = ""
    last_error: str = ""
    place: str = ""
    """Where in the code the last error came from."""
    replays: int = 0
    """How often it was parked and replayed before."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encoded message with what the broker needs to know about it."""

    type: str
    body: bytes
    correlation_id: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    history: History = field(default_factory=History)
    published: float | None = field(default_factory=time.time)
    """Unix seconds, when it was published first; None when its publisher did not say."""

    @property
    def waited(self) -> float | None:
        """Seconds since it was published, as far as the clocks of two hosts agree."""
        return None if self.published is None else max(0.0, time.time() - self.published)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was parked, with why."""

    envelope: Envelope
    queue: str
    """The work queue that it was taken from, and returns to when it is replayed."""
    reason: str
    """`invalid`, `attempts` (failed too often) or `delivery_limit` (ended its consumers)."""
    parked_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def reset_for_replay(envelope: Envelope) -> Envelope:
    """Return a parked envelope as it goes back to its queue: no attempts, but one replay more."""
    return replace(envelope, history=History(replays=envelope.history.replays + 1), published=time.time())


def encode(message: Message) -> Envelope:
    """Return the message as JSON, with the context that it comes from."""
    message = tracing.inject(message)
    return Envelope(type(message).__name__, message.model_dump_json().encode(), message.correlation_id)


def decode(envelope: Envelope, expected: type[M]) -> M:
    """Return the message in an envelope; raises `BadMessage` that names the field that is wrong."""
    if envelope.type != expected.__name__:
        raise BadMessage(f"a {envelope.type or 'message without a type'} where {expected.__name__} was expected")
    try:
        return expected.model_validate_json(envelope.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadMessage(f"{envelope.type}: {place}: {first['msg']}") from None


def raised_at(error: BaseException) -> str:
    """Return the line that raised, of Osteon's own code when the error passed through it."""
    frames = [(frame.f_globals.get("__name__", ""), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in frames if place[0].startswith("osteon")] or frames
    return f"{own[-1][0]}, line {own[-1][1]}" if own else ""


def describe(error: BaseException) -> str:
    """Return an error in one short line for headers and logs."""
    text = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    return text.encode(errors="replace").decode()  # what came in may hold lone surrogates, which no wire takes
