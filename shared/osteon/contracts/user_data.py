"""What people and programs add to a resource, kept in the object store beside the packs.

The index is made from the packs and these alone. A record has all user data of its resource, and its own key: the one
whose key is greatest holds, the others were left by a change that was interrupted.
"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from osteon.contracts.base import Message
from osteon.dicom.models import Level

PREFIX: Final = "resources/"
"""Where user data are in the object store."""


class MetadataValue(BaseModel):
    """A text under a code: below 1024 one of Orthanc's, from there on the user's. `revision` counts its changes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    value: str
    revision: int = 0


class Attachment(BaseModel):
    """A file under a code from 1024 on, in the object `key`. Sizes in bytes, MD5 in hexadecimal.

    A compressed one is a zlib stream behind the length of its content, eight bytes, the lowest first, as in Orthanc.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    size: int
    md5: str
    stored_size: int
    stored_md5: str
    compressed: bool = False
    revision: int = 0


class UserDataRecord(Message):
    """All user data of a patient, study, series or instance, after `revision` changes."""

    level: Level
    public_id: str
    key: str = Field(description="The object key of this record.")
    revision: int
    changed_at: datetime
    labels: tuple[str, ...] = ()
    metadata: dict[int, MetadataValue] = {}
    attachments: dict[int, Attachment] = {}
    protected: bool = False


def folder_of(level: Level, public_id: str) -> str:
    """Return the beginning of the keys of a resource's user data, with a slash at its end."""
    return f"{PREFIX}{level.lower()}/{public_id}/"


def attachment_key(level: Level, public_id: str, unique: str) -> str:
    """Return the key of an attachment's content; `unique` is like a pack's id."""
    return f"{folder_of(level, public_id)}attachments/{unique}"


def record_key(level: Level, public_id: str, revision: int, unique: str) -> str:
    """Return the key of a record: of two the one with more changes is greater, then the one with the later `unique`."""
    return f"{folder_of(level, public_id)}{revision:012}-{unique}.json"
