"""A pack that is ready to be published, and why it was sealed."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SealReason(StrEnum):
    """Why a pack was sealed."""

    SIZE = "size"
    AGE = "age"
    END = "association_end"
    COMMIT = "commit"
    """C-STORE responses wait for the index, so packs are sealed with each commit."""
    LIMIT = "open_packs"
    """The association has too many open packs."""
    SAME_NAME = "same_uid"
    """Other bytes arrived under a SOP Instance UID that the pack holds already."""
    LARGE = "large_instance"
    """An instance whose series was known only at its end has a pack of its own."""
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A sealed pack of the spool.

    Attributes:
        path: of the TAR file, relative to the spool's root, with `/`.
        size: of the TAR file in bytes.
        correlation_id: the association's identifier; the pack's own when a crash lost it.
        remote_host: empty when a crash lost it.
        traceparent: of the association, when it is traced; empty when a crash lost it.
    """

    pack_id: str
    path: str
    study_uid: str
    series_uid: str
    calling_aet: str
    remote_host: str
    received_at: datetime
    instances: int
    size: int
    correlation_id: str
    traceparent: str = ""
