"""How far a job is that sends: the checkpoint with which another worker goes on, and what the API shows."""

from dataclasses import dataclass, field
from typing import Any, Final

from osteon.dimse.status import Status
from osteon.sending.suboperations import SubOperationOutcome, SubOperationResult
from osteon_dispatcher.store_jobs.resources import InstancePosition

MAX_FAILURES: Final = 1_000
"""Instances that failed for good and are remembered; with one more the job ends."""
MAX_RETRY: Final = 100
"""Instances that failed for the moment and are remembered; with one more the run ends."""
MAX_BREAKS: Final = 20
"""Breaks with which an instance has failed: the peer ended both associations on which it was sent. A peer that answers
to nothing may be out of order; while it answers to others, the second break is enough."""
_BREAKS_OF_A_JOB: Final = 20
_ANSWERS_PER_BREAK: Final = 100
"""A job is given up with more than 20 breaks, and one more for each hundred instances."""
FAILED_INSTANCES: Final = "FailedInstances"
"""Field of the content that is there while there are any; the first `_SHOWN` of them."""
_SHOWN: Final = 100
_RETRYABLE: Final = frozenset({Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION})


@dataclass(slots=True)
class SendCheckpoint:
    """What was done for a job.

    Attributes:
        total: instances; None until they are counted.
        size: bytes of their files.
        last_sent: the last one, in the order of the resources, that was sent or failed.
        done: how many there are up to that one.
        warnings: instances that the receiver took and changed something of.
        failed: the job has failed for those in `failures`.
        failures: SOP Instance UID → reason of those that are not sent again.
        retry: the same of those that are, in the next run.
        breaks: of those in `retry` on which associations broke: how near they are to `MAX_BREAKS`.
        broken: how often they did in the whole job, while the peer answered to others.
    """

    total: int | None = None
    size: int = 0
    last_sent: InstancePosition | None = None
    done: int = 0
    warnings: int = 0
    failed: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    retry: dict[str, str] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    broken: int = 0

    @classmethod
    def from_json(cls, checkpoint: Any) -> "SendCheckpoint":
        """Read a checkpoint, empty for a job that begins."""
        last = checkpoint.get("last_sent")
        return cls(
            total=checkpoint.get("total"),
            size=checkpoint.get("size", 0),
            last_sent=InstancePosition(*last) if last else None,
            done=checkpoint.get("done", 0),
            warnings=checkpoint.get("warnings", 0),
            failed=checkpoint.get("failed", False),
            failures=dict(checkpoint.get("failures", {})),
            retry=dict(checkpoint.get("retry", {})),
            breaks=dict(checkpoint.get("breaks", {})),
            broken=checkpoint.get("broken", 0),
        )

    def to_json(self) -> dict[str, Any]:
        """Write it."""
        last = self.last_sent
        return {
            "total": self.total,
            "size": self.size,
            "last_sent": [last.resource, last.key, last.offset] if last else None,
            "done": self.done,
            "warnings": self.warnings,
            "failed": self.failed,
            "failures": dict(self.failures),
            "retry": dict(self.retry),
            "breaks": dict(self.breaks),
            "broken": self.broken,
        }

    def resume(self) -> None:
        """Begin a run: of a job that had failed and was resubmitted, what failed is tried again."""
        if self.failed:
            self.retry, self.failures, self.failed = {**self.retry, **self.failures}, {}, False
            self.breaks, self.broken = {}, 0

    def suspect_broken(self) -> None:
        """Note that the peer answers: the next break of an instance on which associations broke is the last."""
        self.breaks = dict.fromkeys(self.breaks, MAX_BREAKS - 1)

    def record(
        self, result: SubOperationResult, position: InstancePosition | None = None, *, answered: bool = True
    ) -> None:
        """Record what became of an instance.

        Args:
            result: how it was sent.
            position: None for one that was sent again.
            answered: whether the peer has answered to any instance in this run.
        """
        if position is not None:
            self.last_sent = position
            self.done += 1
        uid = result.instance.sop_instance_uid
        self.retry.pop(uid, None)
        breaks = self.breaks.pop(uid, 0)
        if result.broken:
            self.broken += answered
            breaks += MAX_BREAKS - 1 if answered else 1
            if breaks < MAX_BREAKS:
                self.retry[uid], self.breaks[uid] = result.reason, breaks
            else:
                self.failures[uid] = f"given up, each time {result.reason}"
        elif result.counts_as is SubOperationOutcome.FAILED:
            (self.retry if is_retryable(result) else self.failures)[uid] = result.reason
        elif result.counts_as is SubOperationOutcome.WARNING:
            self.warnings += 1

    @property
    def is_broken_too_often(self) -> bool:
        """Whether there is no sense in further associations for the whole job."""
        return self.broken > _BREAKS_OF_A_JOB + self.done // _ANSWERS_PER_BREAK

    @property
    def percent(self) -> int:
        """0 to 100."""
        settled = max(0, self.done - len(self.retry))
        return min(100, 100 * settled // self.total) if self.total else 0

    @property
    def content(self) -> dict[str, Any]:
        """What the API shows: Orthanc's fields, then which instances failed and why."""
        unsent = self.failures | self.retry
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
        unsent = self.failures or self.retry
        if not unsent:
            return ""
        uid, reason = next(iter(unsent.items()))
        return f"{len(unsent)} of {self.total} instances were not sent, {uid} among them: {reason}"


def is_retryable(result: SubOperationResult) -> bool:
    """Whether an instance that failed may be taken later: 0xA7xx (PS3.4 Table B.2-1), or no answer came."""
    if result.outcome is None:
        return result.transient
    return result.outcome.status >> 8 == Status.OUT_OF_RESOURCES >> 8 or result.outcome.status in _RETRYABLE
