"""Storage commitment (PS3.4 Annex J): `dispatcher` takes requests and reports; its own go back on the same association.

A requester may leave its association open until the report comes. Then it gets it there; `dispatcher` uses another
association only once this one is gone.
"""

import asyncio
from contextlib import suppress
from typing import Final

from osteon.bus.port import Bus, RequestFailed
from osteon.commitment.port import SOP_CLASS, SOP_INSTANCE
from osteon.contracts.commitment import (
    CommitmentReportRequest,
    CommitmentRequest,
    CommitmentStatusReply,
    CommitmentStatusRequest,
)
from osteon.contracts.topology import COMMIT, COMMITMENT_REPORT, COMMITMENT_STATUS
from osteon.dimse.errors import RequestorError
from osteon.dimse.failure_status import COMMITMENT_STATUSES
from osteon.dimse.handler import ActionRequest, AssociationInfo, EventReport, Outcome, PresentationContext, Reporter
from osteon.dimse.status import Status
from osteon.errors import OsteonError, Unavailable
from osteon.logging import get_logger

TIMEOUT: Final = 30.0
_CLOSE_TIMEOUT: Final = 3.0
"""Seconds to report that an association has ended: its handler waits for it, and `dispatcher` notices by itself too."""
_FIRST_POLL, _SLOWEST_POLL = 0.2, 2.0
"""Seconds before the first request for a report, and between requests at most."""
_NO_ANSWER: Final = Outcome(Status.PROCESSING_FAILURE, "storage commitment not available; try again later")

log = get_logger(__name__)


class AssociationCommitments:
    """The storage commitment of one association. `first_poll`: seconds until the first request for a report."""

    def __init__(self, info: AssociationInfo, bus: Bus, *, first_poll: float = _FIRST_POLL) -> None:
        self._info = info
        self._bus = bus
        self._first_poll = first_poll
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:
        """Forward a request to `dispatcher`; wait for its report while the association is open."""
        message = CommitmentRequest(
            correlation_id=self._info.id,
            transfer_syntax_uid=request.context.transfer_syntax,
            information=request.information,
            calling_aet=self._info.calling_aet,
            called_aet=self._info.called_aet,
            remote_host=self._info.remote_host,
        )
        try:
            accepted = await self._bus.request(COMMIT, message, timeout=TIMEOUT)
        except RequestFailed as error:
            log.warning("commitment refused", correlation_id=self._info.id, error=str(error))
            return COMMITMENT_STATUSES.outcome(error)
        except Unavailable as error:
            log.warning("commitment not accepted", correlation_id=self._info.id, error=str(error))
            return _NO_ANSWER
        if reporter is not None and accepted.id not in self._watching:
            watching = asyncio.create_task(self._watch(accepted.id, request.context, reporter))
            self._watching[accepted.id] = watching
        return Outcome(Status.SUCCESS)

    async def report(self, report: EventReport) -> Outcome:
        """Forward a report about a request that this archive made."""
        if report.sop_class_uid != SOP_CLASS:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "only storage commitment reports are accepted")
        if report.sop_instance_uid != SOP_INSTANCE:
            return Outcome(Status.NO_SUCH_SOP_INSTANCE, f"(0000,1000) is not {SOP_INSTANCE}")
        message = CommitmentReportRequest(
            correlation_id=self._info.id,
            transfer_syntax_uid=report.context.transfer_syntax,
            event_type=report.event_type,
            information=report.information,
            calling_aet=self._info.calling_aet,
        )
        try:
            await self._bus.request(COMMITMENT_REPORT, message, timeout=TIMEOUT)
        except RequestFailed as error:
            log.warning("commitment report refused", correlation_id=self._info.id, error=str(error))
            return COMMITMENT_STATUSES.outcome(error)
        except Unavailable as error:
            log.warning("commitment report not accepted", correlation_id=self._info.id, error=str(error))
            return _NO_ANSWER
        return Outcome(Status.SUCCESS)

    async def close(self) -> None:
        """Stop waiting: `dispatcher` sends what was not sent over another association."""
        for watching in self._watching.values():
            watching.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)

    async def _watch(self, commitment_id: str, context: PresentationContext, reporter: Reporter) -> None:
        done = False
        try:
            done = await self._send_report(commitment_id, context, reporter)
        except OsteonError as error:
            log.warning("commitment report not sent", correlation_id=self._info.id, error=str(error))
        finally:
            del self._watching[commitment_id]
            if not done:
                with suppress(OsteonError):  # the request expires by itself
                    await self._ask(commitment_id, context, open=False)

    async def _send_report(self, commitment_id: str, context: PresentationContext, reporter: Reporter) -> bool:
        """Wait for the report and send it; return whether there is nothing left to be done."""
        wait = self._first_poll
        while True:
            await asyncio.sleep(wait)
            wait = min(2 * wait, _SLOWEST_POLL)
            found = await self._ask(commitment_id, context)
            if found.done:
                return True
            if found.event_type:
                break
        outcome, _ = await reporter.report(context, SOP_CLASS, SOP_INSTANCE, found.event_type, found.information)
        if outcome.status.is_failure:
            raise RequestorError(f"answered with 0x{outcome.status:04X} {outcome.comment}".rstrip())
        return (await self._ask(commitment_id, context, delivered=True)).done

    async def _ask(
        self, commitment_id: str, context: PresentationContext, *, open: bool = True, delivered: bool = False
    ) -> CommitmentStatusReply:
        message = CommitmentStatusRequest(
            correlation_id=self._info.id,
            id=commitment_id,
            transfer_syntax_uid=context.transfer_syntax,
            open=open,
            delivered=delivered,
        )
        return await self._bus.request(COMMITMENT_STATUS, message, timeout=TIMEOUT if open else _CLOSE_TIMEOUT)
