"""The whole index, for composition roots and what uses most of it; everything else names the narrow port it uses."""

from collections.abc import Set
from typing import Protocol

from osteon.archive.changes import ChangeLog, Stability
from osteon.archive.conflicts import ConflictingVersions
from osteon.archive.ports import ArchiveStatistics, IndexWriter, InstanceLocator, PackRegister, ResourceSearch
from osteon.commitment.port import Commitments
from osteon.dicom.models import Level
from osteon.jobs.port import Jobs
from osteon.reconciliation.port import Reconciliations
from osteon.remotes.port import Remotes
from osteon.remotes.queries import RemoteQueries
from osteon.rules.port import Circuits, Rules
from osteon.user_data.port import UserDataStore


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
        """Modalities and peers, as they are configured."""

    @property
    def jobs(self) -> Jobs:
        """Work that outlives a request."""

    @property
    def queries(self) -> RemoteQueries:
        """Searches in other archives, with their answers."""

    @property
    def rules(self) -> Rules:
        """Routing rules, in the order of their names."""

    @property
    def circuits(self) -> Circuits:
        """Destinations that fail, and when each is tried again."""

    @property
    def reconciliations(self) -> Reconciliations:
        """Corrected attributes that are laid over studies."""

    @property
    def user_data(self) -> UserDataStore:
        """Labels, metadata, attachments and protection of resources."""

    @property
    def stability(self) -> Stability:
        """Resources that stopped growing, and how far each follower of them is."""

    @property
    def commitments(self) -> Commitments:
        """Transactions of storage commitment (PS3.4 J), as SCU and SCP."""

    async def sources_of(self, study_id: str) -> Set[str]:
        """Return the public identifiers of a study that its instances were received with; raises `ResourceNotFound`."""

    async def current_id(self, level: Level, former: str) -> str:
        """Return the public identifier of what had another one before it was corrected; raises `ResourceNotFound`."""

    async def start(self) -> None:
        """Connect and bring the schema up to date, one process at a time."""

    async def close(self) -> None:
        """Close the connections; calls that are running fail."""

    async def check(self) -> None:
        """Raise `DatabaseUnavailable` with what is wrong (for `/readyz`)."""
