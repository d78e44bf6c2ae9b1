"""Requests of `ingress` about storage commitment: accept a request, return its status, accept a report."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from osteon import metrics
from osteon.bus.port import Bus
from osteon.commitment.data_sets import CommitmentInformation, decode, encode
from osteon.commitment.port import (
    Commitment,
    CommitmentEvent,
    CommitmentFailure,
    CommitmentRole,
    Commitments,
    FailureReason,
)
from osteon.commitment.requests import submit_job
from osteon.contracts.commitment import (
    CommitmentReply,
    CommitmentReportReply,
    CommitmentReportRequest,
    CommitmentRequest,
    CommitmentStatusReply,
    CommitmentStatusRequest,
)
from osteon.contracts.topology import COMMIT, COMMITMENT_REPORT, COMMITMENT_STATUS
from osteon.errors import FailureKind, Invalid, Unavailable
from osteon.jobs.port import Jobs
from osteon.logging import get_logger

WATCHED: Final = timedelta(seconds=10)
"""For so long after a question the report is left to the requester's own association."""
_LATER: Final = "temporarily not possible; try again later"

log = get_logger(__name__)


class UnknownEventType(Invalid):
    """A report has an event type that storage commitment does not define."""

    kind = FailureKind.UNSUPPORTED


class NotRequestedOf(Invalid):
    """A report comes from another application entity than the one that got the request."""

    kind = FailureKind.REFUSED


async def serve(bus: Bus, commitments: Commitments, jobs: Jobs) -> None:
    """Answer these requests."""
    await bus.serve(COMMIT, partial(accept_request, commitments=commitments, jobs=jobs))
    await bus.serve(COMMITMENT_STATUS, partial(commitment_status, commitments=commitments))
    await bus.serve(COMMITMENT_REPORT, partial(accept_report, commitments=commitments))


async def accept_request(message: CommitmentRequest, *, commitments: Commitments, jobs: Jobs) -> CommitmentReply:
    """Take an N-ACTION: its job is a row of the index then. Raises `Invalid`, `Unavailable`."""
    requested = await asyncio.to_thread(decode, message.information, message.transfer_syntax_uid)
    if not requested.items:
        raise Invalid("(0008,1199) Referenced SOP Sequence is empty")
    now = datetime.now(UTC)
    wanted = Commitment(
        id=uuid.uuid4().hex, role=CommitmentRole.SCP, transaction_uid=requested.transaction_uid,
        remote_aet=message.calling_aet, local_aet=message.called_aet, remote=message.remote_host,
        items=tuple(dict.fromkeys(requested.items)), created=now,
    )  # fmt: skip
    try:
        commitment = await commitments.begin(wanted)
        await commitments.watch_until(commitment.id, now + WATCHED)
        job = await submit_job(commitments, jobs, commitment)
    except Unavailable as error:
        log.warning("commitment not accepted", transaction=requested.transaction_uid, error=str(error))
        raise Unavailable(_LATER) from error
    log.info("commitment accepted", transaction=requested.transaction_uid, instances=len(commitment.items), job=job.id)
    return CommitmentReply(correlation_id=message.correlation_id, id=commitment.id)


async def commitment_status(message: CommitmentStatusRequest, *, commitments: Commitments) -> CommitmentStatusReply:
    """Say whether there is a report; while the association is open, no other one is used for it."""
    now = datetime.now(UTC)
    if message.delivered:
        await commitments.record_report(message.id, now)
        metrics.COMMITMENT_REPORTS.labels(association="same").inc()
    else:
        await commitments.watch_until(message.id, now + WATCHED if message.open else None)
    commitment = await commitments.get(message.id)
    if commitment.reported is not None:
        return CommitmentStatusReply(correlation_id=message.correlation_id, done=True)
    if commitment.failures is None or not message.open:
        return CommitmentStatusReply(correlation_id=message.correlation_id)
    event, information = await asyncio.to_thread(report_of, commitment, message.transfer_syntax_uid)
    return CommitmentStatusReply(correlation_id=message.correlation_id, event_type=event, information=information)


def report_of(commitment: Commitment, transfer_syntax_uid: str) -> tuple[CommitmentEvent, bytes]:
    """Return event type and Event Information of a transaction that has ended (PS3.4 J.3.3)."""
    failures = commitment.failures or ()
    information = CommitmentInformation(commitment.transaction_uid, commitment.successes, failures)
    return CommitmentEvent.FAILURES_EXIST if failures else CommitmentEvent.COMMITTED, encode(
        information, transfer_syntax_uid
    )


async def accept_report(message: CommitmentReportRequest, *, commitments: Commitments) -> CommitmentReportReply:
    """Take an N-EVENT-REPORT: the end of a transaction that we requested. The same one again changes nothing.

    Raises `Invalid`, `CommitmentNotFound`, `Unavailable`.
    """
    if message.event_type not in set(CommitmentEvent):
        raise UnknownEventType(f"event type {message.event_type}")
    try:
        reported = await asyncio.to_thread(decode, message.information, message.transfer_syntax_uid)
        commitment = await commitments.by_transaction(reported.transaction_uid)
        if commitment.remote_aet != message.calling_aet:
            raise NotRequestedOf("the request went to another application entity")
        await commitments.record_result(commitment.id, _failures(commitment, reported))
    except Unavailable as error:
        log.warning("commitment report not accepted", error=str(error))
        raise Unavailable(_LATER) from error
    log.info("commitment reported", transaction=reported.transaction_uid, failures=len(reported.failures))
    return CommitmentReportReply(correlation_id=message.correlation_id)


def _failures(commitment: Commitment, reported: CommitmentInformation) -> list[CommitmentFailure]:
    """Return what is not committed: what is reported as failed, and what is not reported."""
    reasons = {failure.item.sop_instance_uid: failure.reason for failure in reported.failures}
    committed = {item.sop_instance_uid for item in reported.items} - reasons.keys()
    return [
        CommitmentFailure(item, reasons.get(item.sop_instance_uid, FailureReason.PROCESSING_FAILURE))
        for item in commitment.items
        if item.sop_instance_uid not in committed
    ]
