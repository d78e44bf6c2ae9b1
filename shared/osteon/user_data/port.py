"""User data of resources, where they are searched. Every method raises `DatabaseUnavailable`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from osteon.contracts.user_data import Attachment, MetadataValue, UserDataRecord
from osteon.dicom.models import Level
from osteon.errors import Invalid


class BadUserData(Invalid):
    """A label, metadata or an attachment has a form that it cannot have."""


class SystemDataReadOnly(Invalid):
    """Only the archive itself writes this metadata or attachment."""


class UserDataLimit(Invalid):
    """A resource would get more user data than one may have."""


class WrongRevision(Invalid):
    """What should be changed was changed meanwhile, or the change does not say what it expects."""


@dataclass(frozen=True, slots=True)
class UserData:
    """What users added to a resource. Metadata and attachments by code.

    `revision` counts the changes, `record` is the object key of the last one; 0 and empty before the first.
    """

    labels: frozenset[str] = frozenset()
    metadata: Mapping[int, MetadataValue] = field(default_factory=dict)
    attachments: Mapping[int, Attachment] = field(default_factory=dict)
    protected: bool = False
    revision: int = 0
    record: str = ""


class UserDataStore(Protocol):
    """User data by level and public identifier of their resource."""

    async def read(self, level: Level, public_id: str) -> UserData:
        """Return the user data of a resource; raises `ResourceNotFound`."""

    async def read_many(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, UserData]:
        """Return the user data of those resources of a level that have some."""

    async def replace(self, old: UserData, record: UserDataRecord) -> bool:
        """Write a record in the place of what `read` returned, and log what changed.

        Returns False, having done nothing, when somebody else was faster; raises `ResourceNotFound`.
        """

    async def restore(self, record: UserDataRecord) -> bool:
        """Write a record out of the object store unless the index has as many changes; returns whether it was new."""

    async def renamed(self, study_uid: str) -> Sequence[tuple[Level, str, str]]:
        """Return (level, former, current) identifier of what has another one now and user data under the former."""

    async def labels(self) -> Sequence[str]:
        """Return the labels that any resource has, sorted."""

    async def known_objects(self, keys: Sequence[str]) -> set[str]:
        """Return which of these objects are the record of a resource, or an attachment."""
