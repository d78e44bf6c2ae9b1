"""`DicomStoreStraight`: sends a file that is not stored here to a modality by C-STORE (PS3.4 B)."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from osteon.contracts.retrieve import PlannedInstance
from osteon.jobs.run import JobRun
from osteon.objects.port import Objects
from osteon.remotes.job_params import StraightStoreParams
from osteon.sending.suboperations import SubOperationOutcome
from osteon_dispatcher.store_jobs.checkpoint import is_retryable
from osteon_dispatcher.store_jobs.modality import ModalityStoreContext
from osteon_dispatcher.store_jobs.send_run import SendFailed, SendIncomplete


async def store(run: JobRun, *, stores: ModalityStoreContext, objects: Objects) -> None:
    """Send it, then forget it. One that could not be sent stays for a while, so that the job can be resubmitted."""
    order = StraightStoreParams.model_validate(run.job.params)
    modality = await stores.index.remotes.modality(order.modality)
    sending = stores.sending.deliver(stores.connect(modality), _one(order), transcode=modality.allow_transcoding)
    async with aclosing(sending) as results:
        async for sent in results:
            if sent.counts_as is SubOperationOutcome.FAILED:
                raise (SendIncomplete if is_retryable(sent) else SendFailed)(f"{order.sop_instance_uid}: {sent.reason}")
    await objects.delete(order.key)


async def _one(order: StraightStoreParams) -> AsyncIterator[PlannedInstance]:
    yield PlannedInstance(
        sop_class_uid=order.sop_class_uid,
        sop_instance_uid=order.sop_instance_uid,
        transfer_syntax_uid=order.transfer_syntax_uid,
        key=order.key,
        offset=0,
        length=order.length,
    )
