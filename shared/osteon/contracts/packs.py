"""The life of a pack: sealed in a spool, stored as an object, indexed.

A pack is a TAR file of Part 10 files of one series (docs/adr/0001-packs-and-sidecars.md).
"""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from osteon.contracts.base import Message


class Origin(StrEnum):
    """The protocol by which the instances of a pack came."""

    DIMSE = "dimse"
    HTTP = "http"


class PackFacts(Message):
    """What is known of a pack at every station of its way."""

    pack_id: str
    study_uid: str
    series_uid: str
    origin: Origin
    calling_aet: str = Field(default="", description="AE title of the sender; empty for HTTP.")
    remote_host: str = ""
    received_at: datetime
    instances: int = Field(ge=1)
    size: int = Field(ge=0, description="Length of the TAR file in bytes.")

    @property
    def key(self) -> str:
        """The object key of the pack, `<study>/<series>/<pack>.tar`."""
        return f"{self.study_uid}/{self.series_uid}/{self.pack_id}.tar"

    @property
    def sidecar_key(self) -> str:
        """The object key of the sidecar, beside the pack."""
        return f"{self.study_uid}/{self.series_uid}/{self.pack_id}.meta"


class PackSealed(PackFacts):
    """`ingress` closed a pack: every instance in it is on disk and was acknowledged."""

    spool_id: str
    path: str = Field(description="The sealed TAR file, relative to the spool's root.")


class PackStored(PackFacts):
    """A pack and its sidecar are in the object store."""


class ConflictsFound(PackFacts):
    """An indexed pack has versions that were kept aside: they are to be compared before it is announced."""


class PackIndexed(PackFacts):
    """Every instance of a pack has its row (or is known already, or was kept aside as a conflict)."""

    stored: int = Field(description="Instances that are new in the index.")
