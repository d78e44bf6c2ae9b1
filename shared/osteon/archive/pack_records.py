"""A pack as it is indexed, and the rows that the index has of it afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from osteon.contracts.packs import PackStored, SidecarPlace
from osteon.dicom.identity import Identity


@dataclass(frozen=True, slots=True)
class InstanceEntry:
    """One line of a sidecar, as the index needs it. Offsets and lengths in bytes, within the pack."""

    identity: Identity
    transfer_syntax_uid: str
    offset: int
    """Of the Part 10 file."""
    length: int
    """Of the Part 10 file."""
    sha256: bytes
    """Of the data set, 32 bytes."""
    attributes: Mapping[str, str]
    """`osteon.dicom.attributes.held_values` of the header."""
    requests: tuple[tuple[str, str], ...] = ()
    """`osteon.dicom.attributes.request_attributes` of the header."""
    xxh3: bytes = b""
    """XXH3-128 of the Part 10 file, 16 bytes; empty when it is not known."""


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack to be indexed."""

    facts: PackStored
    instances: Sequence[InstanceEntry]


class InstanceState(StrEnum):
    """What became of one instance of a pack."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class PackOutcome:
    """What became of a pack. Indexing the same pack again gives the same outcome and changes nothing."""

    pack_id: str
    stored: int
    duplicates: int
    conflicts: int

    @property
    def redundant(self) -> bool:
        """No row refers to the pack: all its instances are in other packs already, so its objects may go."""
        return not self.stored and not self.conflicts


@dataclass(frozen=True, slots=True)
class PackRows:
    """The rows of a pack. `end` is the byte after its last instance.

    `stored` and `conflicts` are the counts in the pack's row, `instances` and `aside` the rows that exist.
    """

    pack_id: str
    key: str
    sidecar: SidecarPlace
    size: int
    stored: int
    conflicts: int
    instances: int
    aside: int
    end: int
