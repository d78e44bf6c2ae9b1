"""What became of the files of an upload."""

from dataclasses import dataclass
from enum import StrEnum

from osteon.dicom.identity import Identity


class Fate(StrEnum):
    """What became of one file of a request."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    PENDING = "pending"
    """Stored and announced, but not indexed in time."""
    MISPLACED = "misplaced"
    """It belongs to another study than the URL names."""
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class Received:
    """One file of a request.

    `identity` is None when it could not be read; `detail` says why the file was refused or, when it was not, what kept
    its header from being read to the end.
    """

    fate: Fate
    identity: Identity | None = None
    detail: str = ""
    size: int = 0
