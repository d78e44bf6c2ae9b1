"""Transactions of storage commitment (PS3.4 Annex J), in both roles: rows of the index, the same for every replica."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, Protocol

from osteon.errors import NotFound

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Its well-known instance."""
REQUEST: Final = 1
"""Action type of the N-ACTION (PS3.4 J.3.2)."""
SCP_JOB: Final = "StorageCommitmentScp"
SCU_JOB: Final = "StorageCommitmentScu"


class CommitmentNotFound(NotFound):
    """There is no such transaction."""


class CommitmentEvent(IntEnum):
    """Event types of the N-EVENT-REPORT (PS3.4 J.3.3)."""

    COMMITTED = 1
    FAILURES_EXIST = 2


class FailureReason(IntEnum):
    """Values of Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


class CommitmentRole(StrEnum):
    """Ours in a transaction."""

    SCP = "scp"
    SCU = "scu"


class CommitmentItem(NamedTuple):
    """An item of Referenced SOP Sequence (0008,1199)."""

    sop_class_uid: str
    sop_instance_uid: str


class CommitmentFailure(NamedTuple):
    """An item of Failed SOP Sequence (0008,1198). `reason` is usually one of `FailureReason`."""

    item: CommitmentItem
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A transaction as it is now.

    Attributes:
        remote_aet: of the requester (SCP), or of the archive that the request goes to (SCU).
        local_aet: our AE title in it.
        remote: the requester's address (SCP), or the modality's name (SCU).
        created: when it was requested; a repeated request counts as new once the last one was reported.
        failures: None until it is known how it ended.
        reported: when the requester acknowledged our report (SCP).
        watched: until then the report can go on the requester's own association (SCP).
    """

    id: str
    role: CommitmentRole
    transaction_uid: str
    remote_aet: str
    local_aet: str
    remote: str
    items: tuple[CommitmentItem, ...]
    created: datetime
    failures: tuple[CommitmentFailure, ...] | None = None
    reported: datetime | None = None
    watched: datetime | None = None

    @property
    def successes(self) -> tuple[CommitmentItem, ...]:
        """What is committed, as far as that is known."""
        if self.failures is None:
            return ()
        failed = {failure.item for failure in self.failures}
        return tuple(item for item in self.items if item not in failed)


class Commitments(Protocol):
    """Every method raises `DatabaseUnavailable` when the database does not answer."""

    async def begin(self, commitment: Commitment) -> Commitment:
        """Add a transaction, and return it as it is then.

        The same request of the same application entity again is the transaction that there is; begun anew when it was
        reported already. Other items under a Transaction UID that it has used make a transaction of which each item
        has failed with `DUPLICATE_TRANSACTION_UID`.
        """

    async def get(self, commitment_id: str) -> Commitment:
        """Return a transaction; raises `CommitmentNotFound`."""

    async def by_transaction(self, transaction_uid: str) -> Commitment:
        """Return a transaction of which we are the SCU; raises `CommitmentNotFound`."""

    async def record_result(self, commitment_id: str, failures: Sequence[CommitmentFailure]) -> None:
        """Record how it ended."""

    async def record_report(self, commitment_id: str, at: datetime) -> None:
        """Record that the requester knows how it ended."""

    async def watch_until(self, commitment_id: str, until: datetime | None) -> None:
        """Record until when the requester's own association takes the report, None: it is gone."""

    async def prune(self, before: datetime) -> int:
        """Forget transactions that were begun before; return how many."""
