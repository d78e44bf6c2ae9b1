"""The whole index, for composition roots and what uses most of it; all else names the narrow port that it uses."""

from typing import Protocol

from osteon.archive.changes import ChangeLog, Stability
from osteon.archive.conflicts import ConflictingVersions
from osteon.archive.ports import ArchiveStatistics, IndexWriter, InstanceLocator, PackRegister, ResourceSearch
from osteon.commitment.port import Commitments
from osteon.jobs.port import Jobs
from osteon.remotes.port import Remotes
from osteon.remotes.queries import RemoteQueries
from osteon.rules.port import Circuits, Rules


class Index(
    ResourceSearch,
    InstanceLocator,
    IndexWriter,
    PackRegister,
    ChangeLog,
    ConflictingVersions,
    ArchiveStatistics,
    Protocol,
):
    """Write packs in, search, locate. Every method raises `DatabaseUnavailable` when the database does not answer."""

    @property
    def remotes(self) -> Remotes:
        """Modalities and peers."""

    @property
    def jobs(self) -> Jobs:
        """Work that outlives a request."""

    @property
    def queries(self) -> RemoteQueries:
        """Searches in other archives."""

    @property
    def rules(self) -> Rules:
        """Routing rules."""

    @property
    def circuits(self) -> Circuits:
        """Destinations that fail."""

    @property
    def stability(self) -> Stability:
        """Resources that stopped growing."""

    @property
    def commitments(self) -> Commitments:
        """Transactions of storage commitment."""

    async def start(self) -> None:
        """Connect and bring the schema up to date, one process at a time."""

    async def close(self) -> None:
        """Disconnect."""

    async def check(self) -> None:
        """Raise `DatabaseUnavailable` with what is wrong (for `/readyz`)."""
