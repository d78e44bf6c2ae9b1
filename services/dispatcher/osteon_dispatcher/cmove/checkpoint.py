"""How far a C-MOVE is: the checkpoint with which another dispatcher goes on, and what is told of it."""

from dataclasses import dataclass, field
from typing import Any

from osteon.sending.suboperations import SubOperationCounts


@dataclass(slots=True)
class MoveCheckpoint:
    """How far a C-MOVE is: its checkpoint.

    Attributes:
        total: instances that were counted when it began.
        tally: the sub-operations.
        page: cursor of the page of the plan in which the last instance is that was sent.
        last: key and offset of that one.
        done: all is sent, or has failed.
    """

    total: int
    tally: SubOperationCounts = field(default_factory=SubOperationCounts)
    page: str | None = None
    last: tuple[str, int] | None = None
    done: bool = False

    def __post_init__(self) -> None:
        """Nothing is done yet."""
        self.tally.remaining = max(0, self.total - self.tally.done)

    @classmethod
    def of(cls, total: int, checkpoint: Any) -> "MoveCheckpoint":
        """Read a checkpoint, empty for a job that begins."""
        if not checkpoint:
            return cls(total)
        completed, failed, warning = checkpoint["counts"]
        tally = SubOperationCounts(0, completed, failed, warning, list(checkpoint["failed"]), checkpoint["comment"])
        last = checkpoint["last"]
        return cls(total, tally, checkpoint["page"], (last[0], last[1]) if last else None, checkpoint["done"])

    @property
    def checkpoint(self) -> dict[str, Any]:
        """Write it."""
        tally = self.tally
        return {
            "counts": [tally.completed, tally.failed, tally.warning],
            "failed": tally.failed_uids,
            "comment": tally.comment.replace("\0", ""),
            "page": self.page,
            "last": self.last,
            "done": self.done,
        }

    @property
    def content(self) -> dict[str, Any]:
        """What the API shows."""
        return {
            "InstancesCount": self.total,
            "CompletedInstancesCount": self.tally.completed,
            "FailedInstancesCount": self.tally.failed,
            "WarningInstancesCount": self.tally.warning,
        }
