"""The status of each file of an upload."""

from dataclasses import dataclass
from enum import StrEnum

from osteon.dicom.errors import UnknownTransferSyntax
from osteon.dicom.identity import Identity, MissingIdentifier
from osteon.errors import Invalid


class UploadStatus(StrEnum):
    """The status of one file of a request."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    PENDING = "pending"
    """Stored and announced, but not indexed in time."""
    MISPLACED = "misplaced"
    """It belongs to another study than the URL names."""
    UNREADABLE = "unreadable"
    UNIDENTIFIED = "unidentified"
    """It lacks a UID, or has an invalid one."""
    UNSUPPORTED = "unsupported"
    """Its transfer syntax, or the media type of its pixel data, is not known."""


def upload_status_of(error: Invalid) -> UploadStatus:
    """Return what becomes of a file that cannot be stored because of `error`."""
    match error:
        case MissingIdentifier():
            return UploadStatus.UNIDENTIFIED
        case UnknownTransferSyntax():
            return UploadStatus.UNSUPPORTED
        case _:
            return UploadStatus.UNREADABLE


@dataclass(slots=True)
class UploadResult:
    """One file of a request.

    `identity` is None when it could not be read; `detail` says why the file was refused or, when it was not, what kept
    its header from being read to the end, or its pixel data from being decoded whole.
    """

    status: UploadStatus
    identity: Identity | None = None
    detail: str = ""
    size: int = 0
