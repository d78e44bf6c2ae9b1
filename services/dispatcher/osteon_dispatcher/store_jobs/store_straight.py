"""`DicomStoreStraight`: sends a file that is not stored here to a modality by C-STORE (PS3.4 B)."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from osteon.contracts.retrieve import PlannedInstance
from osteon.jobs.run import JobRun
from osteon.objects.port import Objects
from osteon.remotes.job_params import StraightStoreParams
from osteon.sending.suboperations import SubOperationOutcome
from osteon_dispatcher.store_jobs.checkpoint import MAX_BREAKS, is_retryable
from osteon_dispatcher.store_jobs.modality import ModalityStoreContext
from osteon_dispatcher.store_jobs.send_run import SendFailed, SendIncomplete


async def store(run: JobRun, *, context: ModalityStoreContext, objects: Objects) -> None:
    """Send it, then delete it. One that could not be sent stays for a while, so that the job can be resubmitted."""
    params = StraightStoreParams.model_validate(run.job.params)
    modality = await context.index.remotes.modality(params.modality)
    sending = context.sender.deliver(context.connect(modality), _one(params), transcode=modality.allow_transcoding)
    async with aclosing(sending) as results:
        async for result in results:
            if result.counts_as is SubOperationOutcome.FAILED:
                hopeless = result.broken and run.job.attempts >= MAX_BREAKS
                problem = SendIncomplete if is_retryable(result) and not hopeless else SendFailed
                raise problem(f"{params.sop_instance_uid}: {result.reason}")
    await objects.delete(params.key)


async def _one(params: StraightStoreParams) -> AsyncIterator[PlannedInstance]:
    yield PlannedInstance(
        sop_class_uid=params.sop_class_uid,
        sop_instance_uid=params.sop_instance_uid,
        transfer_syntax_uid=params.transfer_syntax_uid,
        key=params.key,
        offset=0,
        length=params.length,
    )
