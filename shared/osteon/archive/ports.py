"""The ports of the index, each as narrow as one use of it. `osteon.index` implements them in SQL.

Every method raises `DatabaseUnavailable` when the database does not answer.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from osteon.archive.pack_records import InstanceState, PackOutcome, PackRows, StoredPack
from osteon.archive.resources import (
    Child,
    InstanceScope,
    Location,
    LocationPage,
    Match,
    MatchPage,
    RowPage,
    Sender,
    Statistics,
)
from osteon.dicom.models import Level
from osteon.dicom.query import Search


class InstanceLocator(Protocol):
    """Where the bytes of instances are."""

    def locate(self, scope: InstanceScope) -> AsyncIterator[Location]:
        """Iterate over instances, pack by pack in the order of their bytes, with bounded memory."""

    async def representatives(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, Location]:
        """Return where one instance of each resource of a level is, always the same one; unknown ones are left out."""


class ResourceSearch(Protocol):
    """Finds patients, studies, series and instances."""

    async def search(self, search: Search) -> MatchPage:
        """Return one page of matches."""

    async def search_locations(self, search: Search) -> LocationPage:
        """Return where the instances of one page of a search at IMAGE level are, pack by pack within the page."""

    async def rows(self, search: Search) -> RowPage:
        """Return the rows of one page of matches, for `at_rows` and `identifiers`."""

    async def at_rows(self, level: Level, rows: Sequence[int]) -> Sequence[Match]:
        """Return the resources of rows, in their order; what was deleted meanwhile is left out."""

    async def identifiers(self, level: Level, rows: Sequence[int]) -> Sequence[str]:
        """Likewise, their public identifiers only."""

    async def children(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, Sequence[Child]]:
        """Return what is directly below resources of a level, by public identifier, in the order of arrival."""

    async def count(self, search: Search, *, at_most: int | None = None) -> int:
        """Return how many resources match, `at_most` if there are more; limit, offset and cursor do not count."""

    async def get(self, level: Level, public_id: str) -> Match:
        """Return a resource; raises `ResourceNotFound`."""

    async def lookup(self, identifier: str) -> Sequence[tuple[Level, str]]:
        """Find a Patient ID, Accession Number or UID, without regard to case: (level, public identifier) of each."""


class ArchiveStatistics(Protocol):
    """Totals of the whole archive."""

    async def statistics(self) -> Statistics:
        """Return totals of the whole archive."""

    async def senders(self, limit: int = 1000) -> Sequence[Sender]:
        """Return who has sent, the last one first. Reads the row of every pack: for people, not for polling."""


class PackOutcomes(Protocol):
    """What became of packs that were indexed."""

    async def known_packs(self, pack_ids: Sequence[str]) -> set[str]:
        """Return which of these packs have been indexed (redundant ones included)."""

    async def outcome(self, pack_id: str) -> Mapping[str, InstanceState]:
        """Return what became of each instance of an indexed pack, by SOP Instance UID; empty when not indexed."""


class IndexWriter(PackOutcomes, Protocol):
    """Writes packs into the index."""

    async def upsert(self, packs: Sequence[StoredPack]) -> Sequence[PackOutcome]:
        """Index a batch of packs in one transaction; outcomes in the order of `packs`. Idempotent."""

    async def repoint(self, pack: StoredPack, lost: Sequence[str]) -> PackOutcome:
        """Let the rows of `pack`'s instances point at `pack` where they point at one of the packs `lost`."""


class PackRegister(Protocol):
    """Which packs the rows of the index refer to, and which instances of them."""

    def pack_rows(
        self, *, after: str = "", study_uid: str | None = None, only: str | None = None
    ) -> AsyncIterator[PackRows]:
        """Iterate over the packs with ids beyond `after`, or `only` one, by growing id, a page at a time."""

    def pack_members(self, pack_id: str) -> AsyncIterator[Location]:
        """Iterate over the instances and conflicts that refer to a pack, in the order of their bytes."""

    async def duplicate_packs(self, pack_id: str) -> Sequence[str]:
        """Return the keys of other packs with instances that are served from this one."""


class ArchiveReader(ResourceSearch, InstanceLocator, Protocol):
    """Finds resources, and where the bytes of their instances are."""


class StoredInstances(InstanceLocator, PackRegister, Protocol):
    """Where the bytes of instances are, and what their packs must hold."""
