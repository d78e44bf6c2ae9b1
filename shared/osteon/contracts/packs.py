"""The life of a pack: sealed in a spool, stored as an object, indexed.

A pack is a TAR file of Part 10 files of one series (docs/adr/0001-packs-and-sidecars.md).
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from osteon.contracts.base import Message


class Origin(StrEnum):
    """The protocol by which the instances of a pack came."""

    DIMSE = "dimse"
    HTTP = "http"


class SidecarPlace(NamedTuple):
    """Where a sidecar is: in the object `key`, from byte `offset` on."""

    key: str
    offset: int = 0


class PackFacts(Message):
    """What is known of a pack at every station of its way."""

    pack_id: str
    study_uid: str
    series_uid: str
    origin: Origin
    calling_aet: str = Field(default="", description="AE title of the sender; empty for HTTP.")
    remote_host: str = ""
    reconciled_by: str = Field(
        default="",
        description="Ids of the reconciliations that its instances were made by, joined by `+`; empty: they were sent.",
    )
    received_at: datetime
    instances: int = Field(ge=1)
    size: int = Field(ge=0, description="Length of the TAR file in bytes; once it is stored, with its sidecar.")

    @property
    def key(self) -> str:
        """The object key of the pack, `<study>/<series>/<pack>.tar`."""
        return f"{self.study_uid}/{self.series_uid}/{self.pack_id}.tar"


class PackSealed(PackFacts):
    """`ingress` closed a pack: every instance in it is on disk and was acknowledged."""

    spool_id: str
    path: str = Field(description="The sealed TAR file, relative to the spool's root.")


class StoredPackFacts(PackFacts):
    """What is known of a pack that is in the object store."""

    sidecar_offset: int | None = Field(
        default=None, ge=0, description="Where the sidecar begins in the object; null: in an object beside it (0.1)."
    )

    @property
    def sidecar(self) -> SidecarPlace:
        """Where the sidecar is."""
        if self.sidecar_offset is None:
            return SidecarPlace(f"{self.study_uid}/{self.series_uid}/{self.pack_id}.meta")
        return SidecarPlace(self.key, self.sidecar_offset)


class PackStored(StoredPackFacts):
    """A pack is in the object store, with its sidecar."""


class ConflictsFound(StoredPackFacts):
    """An indexed pack has versions that were kept aside: they are to be compared before it is announced."""


class PackIndexed(StoredPackFacts):
    """Every instance of a pack has its row (or is known already, or was kept aside as a conflict)."""

    stored: int = Field(description="Instances that are new in the index.")
