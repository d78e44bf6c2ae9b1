"""`StorageCommitmentScp`: checks what a requester wants committed, and reports it (PS3.4 J.3.3)."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from osteon import metrics
from osteon.commitment.port import SOP_CLASS, SOP_INSTANCE, Commitment, CommitmentFailure, FailureReason
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.dimse.config import Remote, RequestedContext
from osteon.dimse.errors import NotAccepted
from osteon.dimse.handler import Outcome
from osteon.dimse.requestor import associate
from osteon.dimse.status import Status
from osteon.errors import Invalid, Unavailable
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.remotes.port import Modality
from osteon_dispatcher.commitment.checker import CommitmentChecker, Depth
from osteon_dispatcher.commitment.rpc import report_of
from osteon_dispatcher.remote_addresses import RemoteOf

SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)

_LOOKS: Final = 6
"""How often a run looks for instances that are not indexed yet, before it gives its place to another job."""
_FIRST_LOOK: Final = 0.2
_WATCH_LOOK: Final = 0.3
_TRY_AGAIN: Final = {Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION}

log = get_logger(__name__)


class NotIndexedYet(Unavailable):
    """Instances are not found that may be on their way to the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentScpContext:
    """What the job works with. `wait` in seconds: for instances that are not indexed yet."""

    index: Index
    objects: Objects
    remote_of: RemoteOf
    depth: Depth
    wait: float


async def check_and_report(run: JobRun, *, context: CommitmentScpContext) -> None:
    """Check, once, then report until the requester knows."""
    commitments = context.index.commitments
    commitment_id = str(run.job.params["commitment"])
    commitment = await commitments.get(commitment_id)
    if commitment.failures is None:
        failures = await _check(run, commitment, context)
        await commitments.record_result(commitment_id, failures)
        metrics.COMMITTED_INSTANCES.labels(result="committed").inc(len(commitment.items) - len(failures))
        metrics.COMMITTED_INSTANCES.labels(result="failed").inc(len(failures))
        log.info("commitment checked", transaction=commitment.transaction_uid, failures=len(failures))
    content = {**run.job.content, "FailedInstancesCount": len((await commitments.get(commitment_id)).failures or ())}
    await run.save(progress=50, content=content)
    await _report(run, commitment_id, context)


async def _check(run: JobRun, commitment: Commitment, context: CommitmentScpContext) -> list[CommitmentFailure]:
    """Return what is not committed. What is not found may be in the spool: looked for until `wait` is over."""

    async def pulse() -> None:
        await run.save()

    checker = CommitmentChecker(context.index, context.objects, context.depth, pulse)
    until = commitment.created + timedelta(seconds=context.wait)
    failures: list[CommitmentFailure] = []
    rest = commitment.items
    for look in range(_LOOKS):
        found = await checker.failures(rest)
        failures += [each for each in found if each.reason != FailureReason.NO_SUCH_OBJECT_INSTANCE]
        missing = [each for each in found if each.reason == FailureReason.NO_SUCH_OBJECT_INSTANCE]
        if not missing or datetime.now(UTC) >= until:
            return failures + missing
        rest = tuple(each.item for each in missing)
        await asyncio.sleep(_FIRST_LOOK * 2**look)
        await run.save()
    raise NotIndexedYet(
        f"{len(rest)} of {len(commitment.items)} instances are not indexed yet; looked for until {until}"
    )


async def _report(run: JobRun, commitment_id: str, context: CommitmentScpContext) -> None:
    """Leave the report to the requester's association while there is one, then open another one."""
    commitments = context.index.commitments
    while True:
        commitment = await commitments.get(commitment_id)
        if commitment.reported is not None:
            return
        if commitment.watched is None or commitment.watched <= datetime.now(UTC):
            break
        await asyncio.sleep(_WATCH_LOOK)
        await run.save()
    modality = await _requester(commitment, context)
    await _deliver(commitment, context.remote_of(modality, commitment.local_aet))
    await commitments.record_report(commitment_id, datetime.now(UTC))
    metrics.COMMITMENT_REPORTS.labels(association="new").inc()


async def _requester(commitment: Commitment, context: CommitmentScpContext) -> Modality:
    """Return the modality with the requester's AE title, that on its host if there are several."""
    found = await context.index.remotes.modalities_of(commitment.remote_aet)
    if not found:
        raise Invalid(
            f"no modality has the AE title {commitment.remote_aet!r}, which the report has to go to: "
            "add it to /modalities, then resubmit this job"
        )
    return next((modality for modality in found if modality.host == commitment.remote), found[0])


async def _deliver(commitment: Commitment, remote: Remote) -> None:
    proposed = RequestedContext(abstract_syntax=SOP_CLASS, transfer_syntaxes=SYNTAXES, scu=False, scp=True)
    async with associate(remote, [proposed]) as association:
        presentation = association.context_for(SOP_CLASS)
        if presentation is None:
            raise NotAccepted(f"{remote.aet} does not accept reports of storage commitment")
        event, information = await asyncio.to_thread(report_of, commitment, presentation.transfer_syntax)
        outcome, _ = await association.report(presentation, SOP_CLASS, SOP_INSTANCE, event, information)
    raise_for_status(outcome, remote)


def raise_for_status(outcome: Outcome, remote: Remote) -> None:
    """Raise `Unavailable` for a failure that may pass, `Invalid` for another one."""
    if not outcome.status.is_failure:
        return
    what = f"{remote.aet} answers 0x{outcome.status:04X} {outcome.comment}".rstrip()
    raise Unavailable(what) if outcome.status in _TRY_AGAIN else Invalid(what)
