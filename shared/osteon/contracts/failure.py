"""The reply to a request that failed, of any type."""

from osteon.contracts.base import Message
from osteon.errors import FailureKind


class FailureReply(Message):
    """Sent instead of the reply that the queue names. Each entry point maps `kind` to a status of its protocol."""

    kind: FailureKind
    text: str
