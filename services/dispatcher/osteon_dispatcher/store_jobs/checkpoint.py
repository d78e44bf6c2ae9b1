"""How far a job is that sends: the checkpoint with which another worker goes on, and what the API shows."""

from dataclasses import dataclass, field
from typing import Any, Final

from osteon.dimse.status import Status
from osteon.sending.suboperations import SubOperationOutcome, SubOperationResult
from osteon_dispatcher.store_jobs.resources import InstancePosition

MAX_FAILED: Final = 1_000
"""Instances that failed for good and are remembered; with one more the job ends."""
MAX_RETRY: Final = 100
"""Instances that failed for the moment and are remembered; with one more the run ends."""
FAILED_INSTANCES: Final = "FailedInstances"
"""Field of the content that is there while there are any; the first `_SHOWN` of them."""
_SHOWN: Final = 100
_PASSING: Final = frozenset({Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION})


@dataclass(slots=True)
class SendCheckpoint:
    """What was done for a job.

    Attributes:
        total: instances; None until they are counted.
        size: bytes of their files.
        at: the last one in the first pass that was sent, or failed.
        done: how many of the first pass that are.
        failed: SOP Instance UID → reason of those that are not sent again.
        again: the same of those that are, in the next run.
        over: the job has failed for those in `failed`.
        warnings: instances that the receiver took and changed something of.
    """

    total: int | None = None
    size: int = 0
    at: InstancePosition | None = None
    done: int = 0
    warnings: int = 0
    over: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Any) -> "SendCheckpoint":
        """Read a checkpoint, empty for a job that begins."""
        at = checkpoint.get("at")
        return cls(
            total=checkpoint.get("total"),
            size=checkpoint.get("size", 0),
            at=InstancePosition(*at) if at else None,
            done=checkpoint.get("done", 0),
            warnings=checkpoint.get("warnings", 0),
            over=checkpoint.get("over", False),
            failed=dict(checkpoint.get("failed", {})),
            again=dict(checkpoint.get("again", {})),
        )

    @property
    def checkpoint(self) -> dict[str, Any]:
        """Write it."""
        return {
            "total": self.total,
            "size": self.size,
            "at": [self.at.resource, self.at.key, self.at.offset] if self.at else None,
            "done": self.done,
            "warnings": self.warnings,
            "over": self.over,
            "failed": self.failed,
            "again": self.again,
        }

    def resume(self) -> None:
        """Begin a run: of a job that had failed and was resubmitted, what failed is tried again."""
        if self.over:
            self.again, self.failed, self.over = {**self.again, **self.failed}, {}, False

    def passed(self, position: InstancePosition, sent: SubOperationResult) -> None:
        """Note what became of an instance in the first pass."""
        self.at = position
        self.done += 1
        self.note(sent)

    def note(self, sent: SubOperationResult) -> None:
        """Note what became of an instance."""
        uid = sent.instance.sop_instance_uid
        self.again.pop(uid, None)
        if sent.counts_as is SubOperationOutcome.FAILED:
            (self.again if is_retryable(sent) else self.failed)[uid] = sent.reason
        elif sent.counts_as is SubOperationOutcome.WARNING:
            self.warnings += 1

    @property
    def percent(self) -> int:
        """0 to 100."""
        settled = max(0, self.done - len(self.again))
        return min(100, 100 * settled // self.total) if self.total else 0

    @property
    def content(self) -> dict[str, Any]:
        """What the API shows: Orthanc's fields, then which instances failed and why."""
        unsent = self.failed | self.again
        shown = [{"SOPInstanceUID": uid, "Reason": unsent[uid]} for uid in list(unsent)[:_SHOWN]]
        return {
            "InstancesCount": self.total or 0,
            "FailedInstancesCount": len(unsent),
            "WarningInstancesCount": self.warnings,
            "Size": str(self.size),
            "SizeMB": self.size >> 20,
            **({FAILED_INSTANCES: shown} if shown else {}),
        }

    @property
    def problem(self) -> str:
        """A sentence about what failed for good, or else for the moment; empty if nothing did."""
        unsent = self.failed or self.again
        if not unsent:
            return ""
        uid, reason = next(iter(unsent.items()))
        return f"{len(unsent)} of {self.total} instances were not sent, {uid} among them: {reason}"


def is_retryable(sent: SubOperationResult) -> bool:
    """Whether an instance that failed may be taken later: 0xA7xx (PS3.4 Table B.2-1), or no answer came."""
    if sent.outcome is None:
        return sent.transient
    return sent.outcome.status >> 8 == Status.OUT_OF_RESOURCES >> 8 or sent.outcome.status in _PASSING
