"""What became of each instance, and the counters and statuses that C-MOVE and C-GET make of it (PS3.4 C.4.2.1)."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import Outcome, RetrieveResponse
from osteon.dimse.status import Status

MAX_FAILED_UID_BYTES: Final = 65_534
"""Bytes of Failed SOP Instance UID List (0008,0058): a value of VR UI has a length of 16 bits (PS3.5 7.1.2)."""


class SubOperationOutcome(StrEnum):
    """How a sub-operation is counted."""

    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SubOperationResult:
    """An instance that was sent, or for which that is not possible.

    Attributes:
        instance: as it was planned.
        outcome: the answer to its C-STORE; None when none was requested, or none came.
        error: why not, when `outcome` is None.
        sop_instance_uid: under which it went out; another one than planned when lossy compression changed it.
        bytes: of the data set that went out.
        transient: no answer came, or a part of Osteon's own was missing; a later try may succeed.
        broken: the association ended without an answer, and so did the one on which it was sent again.
    """

    instance: PlannedInstance
    outcome: Outcome | None
    error: str = ""
    sop_instance_uid: str = ""
    bytes: int = 0
    transient: bool = False
    broken: bool = False

    @property
    def counts_as(self) -> SubOperationOutcome:
        """Only an answer of success or of a warning means that the peer has the instance."""
        if self.outcome is not None and self.outcome.status == Status.SUCCESS:
            return SubOperationOutcome.COMPLETED
        if self.outcome is not None and self.outcome.status.is_warning:
            return SubOperationOutcome.WARNING
        return SubOperationOutcome.FAILED

    @property
    def reason(self) -> str:
        """What to report of one that is not completed; empty otherwise."""
        if self.outcome is None:
            return self.error
        if self.outcome.status == Status.SUCCESS:
            return ""
        status, comment = self.outcome.status, self.outcome.comment
        return f"answered 0x{status:04X} {comment}" if comment else f"answered {status.words}"


@dataclass(slots=True)
class SubOperationCounts:
    """Counts sub-operations. The counters are not limited to 65,535; their encoder limits them.

    Attributes:
        remaining: sub-operations that are still to come: at first, all.
        failed_uids: SOP Instance UIDs of those that failed, the first `MAX_FAILED_UID_BYTES` bytes of the list.
        comment: why the first one failed, empty if none did.
    """

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    comment: str = ""
    _listed: int = 0

    def __post_init__(self) -> None:
        """Count what is listed already."""
        self._listed = sum(len(uid) + 1 for uid in self.failed_uids)

    @property
    def done(self) -> int:
        """Sub-operations that are over."""
        return self.completed + self.failed + self.warning

    def add(self, sent: SubOperationResult) -> None:
        """Count one."""
        self.remaining = max(0, self.remaining - 1)
        match sent.counts_as:
            case SubOperationOutcome.COMPLETED:
                self.completed += 1
            case SubOperationOutcome.WARNING:
                self.warning += 1
            case SubOperationOutcome.FAILED:
                self.failed += 1
                self.comment = self.comment or sent.reason
                self._list(sent.instance.sop_instance_uid)

    def give_up(self, reason: str) -> None:
        """Count what remains as failed."""
        if self.remaining:
            self.failed += self.remaining
            self.remaining = 0
            self.comment = self.comment or reason

    def _list(self, uid: str) -> None:
        more = len(uid) + 1
        if self._listed + more <= MAX_FAILED_UID_BYTES:
            self.failed_uids.append(uid)
            self._listed += more

    @property
    def status(self) -> Status:
        """Of the final response, when nothing was cancelled (PS3.4 Table C.4-2)."""
        if not self.failed and not self.warning:
            return Status.SUCCESS
        if not self.completed and not self.warning:
            return Status.UNABLE_TO_PERFORM_SUB_OPERATIONS
        return Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES

    def pending(self) -> RetrieveResponse:
        """Return a pending response with the counters of now."""
        return RetrieveResponse(Status.PENDING, self.remaining, self.completed, self.failed, self.warning)

    def final(self, *, cancelled: bool = False) -> RetrieveResponse:
        """Return the final response."""
        return RetrieveResponse(
            status=Status.CANCEL if cancelled else self.status,
            remaining=self.remaining,
            completed=self.completed,
            failed=self.failed,
            warning=self.warning,
            failed_uids=tuple(self.failed_uids),
            comment=self.comment,
        )
