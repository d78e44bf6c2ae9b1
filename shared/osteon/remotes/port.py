"""The remote application entities and peers that the archive knows: one list for all replicas, changed at run time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from osteon.errors import NotFound


class RemoteNotFound(NotFound):
    """No modality or peer has this name."""


class Permission(StrEnum):
    """What a calling application entity may do (Orthanc's `Allow…`)."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    WORKLIST = "worklist"
    MOVE = "move"
    GET = "get"
    STORAGE_COMMITMENT = "storage_commitment"


class Manufacturer(StrEnum):
    """Whose quirks a modality has, in Orthanc's words."""

    GENERIC = "Generic"
    NO_WILDCARD_IN_DATES = "GenericNoWildcardInDates"
    NO_UNIVERSAL_WILDCARD = "GenericNoUniversalWildcard"
    VITREA = "Vitrea"
    GE = "GE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """A remote application entity (PS3.7 7.1.1.1). `timeout` in seconds; 0: the setting's."""

    name: str
    aet: str
    host: str
    port: int
    manufacturer: Manufacturer = Manufacturer.GENERIC
    permissions: frozenset[Permission] = field(default=frozenset(Permission))
    allow_transcoding: bool = True
    tls: bool = False
    local_aet: str = ""
    """Our own AE title towards it; empty: `OSTEON_AET`."""
    timeout: int = 0
    retrieve_method: str = "SystemDefault"
    """How studies are retrieved from it: C-MOVE, C-GET or SystemDefault."""


PEM: Final = "-----BEGIN CERTIFICATE-----"
"""In a `ca_file` that is the certificates themselves (RFC 7468)."""
_CREDENTIALS: Final = re.compile(r"(?<=//)[^/?#]*@")


def without_credentials(url: str) -> str:
    """Return a URL without user and password, as it may be shown."""
    return _CREDENTIALS.sub("", url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another Osteon or Orthanc, by HTTP. `password` and `headers` are never shown.

    `ca_file`: certificates to trust in PEM, or the name of such a file in `OSTEON_PEER_CA_DIR`.
    """

    name: str
    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_file: str = ""
    timeout: int = 0
    dicomweb: bool = False
    """Whether `url` is the root of a DICOMweb service instead of Orthanc's REST API."""
    allow_delete: bool = False
    """Whether this archive may ask it to delete, by DICOMweb."""


class Remotes(Protocol):
    """Every method raises `DatabaseUnavailable` when the database does not answer."""

    async def modalities(self) -> Sequence[Modality]:
        """Return all, by name."""

    async def modality(self, name: str) -> Modality:
        """Return one; raises `RemoteNotFound`."""

    async def modalities_of(self, aet: str) -> Sequence[Modality]:
        """Return those with an AE title: usually one, or none."""

    async def put_modality(self, modality: Modality) -> None:
        """Add it, or replace the one with its name."""

    async def delete_modality(self, name: str) -> None:
        """Remove it; raises `RemoteNotFound`."""

    async def peers(self) -> Sequence[Peer]:
        """Return all, by name."""

    async def peer(self, name: str) -> Peer:
        """Return one; raises `RemoteNotFound`."""

    async def put_peer(self, peer: Peer) -> None:
        """Add it, or replace the one with its name."""

    async def delete_peer(self, name: str) -> None:
        """Remove it; raises `RemoteNotFound`."""
