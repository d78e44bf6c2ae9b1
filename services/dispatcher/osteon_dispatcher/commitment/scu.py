"""`StorageCommitmentScu`: requests that a modality commits instances (PS3.4 J.3.2); the report may come much later."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from osteon.commitment.data_sets import CommitmentInformation, encode
from osteon.commitment.port import REQUEST, SOP_CLASS, SOP_INSTANCE, Commitment, Commitments
from osteon.contracts.commitment import CommitmentReportRequest
from osteon.dimse.config import RequestedContext
from osteon.dimse.errors import NotAccepted
from osteon.dimse.failure_status import COMMITMENT_STATUSES
from osteon.dimse.handler import EventReport, Outcome
from osteon.dimse.requestor import associate
from osteon.dimse.status import Status
from osteon.errors import OsteonError
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.logging import get_logger
from osteon_dispatcher.commitment.rpc import accept_report
from osteon_dispatcher.commitment.scp import SYNTAXES, raise_for_status
from osteon_dispatcher.remote_addresses import RemoteOf

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentScuContext:
    """What the job works with. `linger` in seconds: for a report on the same association."""

    index: Index
    remote_of: RemoteOf
    linger: float


async def send_request(run: JobRun, *, context: CommitmentScuContext) -> None:
    """Send the request; it is over once the modality has accepted it."""
    commitments = context.index.commitments
    commitment = await commitments.get(str(run.job.params["commitment"]))
    if commitment.failures is not None or run.job.checkpoint.get("accepted"):
        return
    modality = await context.index.remotes.modality(commitment.remote)
    remote = context.remote_of(modality, commitment.local_aet)
    timeout = float(run.job.params.get("timeout", 0))
    inbox = _Inbox(commitment, commitments, run.job.id)
    proposed = RequestedContext(abstract_syntax=SOP_CLASS, transfer_syntaxes=SYNTAXES)
    remote = replace(remote, timeout=timeout) if timeout else remote
    async with associate(remote, [proposed], reports=inbox.take) as association:
        presentation = association.context_for(SOP_CLASS)
        if presentation is None:
            raise NotAccepted(f"{remote.aet} does not offer storage commitment")
        wanted = CommitmentInformation(commitment.transaction_uid, commitment.items)
        information = await asyncio.to_thread(encode, wanted, presentation.transfer_syntax)
        outcome, _ = await association.action(presentation, SOP_CLASS, SOP_INSTANCE, REQUEST, information)
        if not outcome.status.is_failure:
            await run.save(progress=100, checkpoint={"accepted": True})
            await inbox.wait(context.linger)
    raise_for_status(outcome, remote)


class _Inbox:
    """Takes a report that comes on the association of the request."""

    def __init__(self, commitment: Commitment, commitments: Commitments, correlation_id: str) -> None:
        self._aet = commitment.remote_aet
        self._correlation_id = correlation_id
        self._commitments = commitments
        self._came = asyncio.Event()

    async def take(self, report: EventReport) -> Outcome:
        """Take it as if it came on an association of its own."""
        message = CommitmentReportRequest(
            correlation_id=self._correlation_id,
            transfer_syntax_uid=report.context.transfer_syntax,
            event_type=report.event_type,
            information=report.information,
            calling_aet=self._aet,
        )
        outcome = Outcome(Status.SUCCESS)
        try:
            await accept_report(message, commitments=self._commitments)
        except OsteonError as error:
            outcome = COMMITMENT_STATUSES.outcome(error)
            log.warning("commitment report refused", correlation_id=self._correlation_id, error=str(error))
        self._came.set()
        return outcome

    async def wait(self, seconds: float) -> None:
        """Wait for it, but no longer than `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), seconds)
