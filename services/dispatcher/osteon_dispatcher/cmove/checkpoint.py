"""How far a C-MOVE is: the checkpoint with which another dispatcher goes on, and what is reported of it."""

from dataclasses import dataclass, field
from typing import Any

from osteon.sending.suboperations import SubOperationCounts


@dataclass(slots=True)
class MoveCheckpoint:
    """How far a C-MOVE is.

    Attributes:
        total: instances that were counted when it began.
        counts: the sub-operations.
        page: cursor of the page of the plan that holds the last instance that was sent.
        last_sent: key and offset of that instance.
        done: all are sent, or have failed.
    """

    total: int
    counts: SubOperationCounts = field(default_factory=SubOperationCounts)
    page: str | None = None
    last_sent: tuple[str, int] | None = None
    done: bool = False

    def __post_init__(self) -> None:
        """Derive what remains."""
        self.counts.remaining = max(0, self.total - self.counts.done)

    @classmethod
    def from_json(cls, total: int, checkpoint: Any) -> "MoveCheckpoint":
        """Read a checkpoint, empty for a job that begins."""
        if not checkpoint:
            return cls(total)
        completed, failed, warning = checkpoint["counts"]
        counts = SubOperationCounts(0, completed, failed, warning, list(checkpoint["failed"]), checkpoint["comment"])
        last = checkpoint["last"]
        return cls(total, counts, checkpoint["page"], (last[0], last[1]) if last else None, checkpoint["done"])

    def to_json(self) -> dict[str, Any]:
        """Write it."""
        counts = self.counts
        return {
            "counts": [counts.completed, counts.failed, counts.warning],
            "failed": counts.failed_uids,
            "comment": counts.comment.replace("\0", ""),
            "page": self.page,
            "last": self.last_sent,
            "done": self.done,
        }

    @property
    def content(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "InstancesCount": self.total,
            "CompletedInstancesCount": self.counts.completed,
            "FailedInstancesCount": self.counts.failed,
            "WarningInstancesCount": self.counts.warning,
        }

    def progress(self, *, cancelled: bool = False) -> dict[str, Any]:
        """Return the fields of `MoveCounters`; those of the final response once it is done or was cancelled."""
        counts, done = self.counts, self.done or cancelled
        return {
            "remaining": counts.remaining,
            "completed": counts.completed,
            "failed": counts.failed,
            "warning": counts.warning,
            "done": done,
            "cancelled": cancelled and not self.done,
            "failed_uids": counts.failed_uids if done else [],
            "error_comment": counts.comment if done else "",
        }
