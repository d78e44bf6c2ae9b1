"""`DicomModalityStore`: sends resources to a modality by C-STORE (PS3.4 B)."""

from dataclasses import dataclass, replace
from functools import partial

from osteon.archive.ports import InstanceLocator
from osteon.commitment.port import CommitmentItem
from osteon.commitment.requests import request_commitment
from osteon.dimse.config import RequestorConfig
from osteon.dimse.requestor import associate
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.remotes.job_params import ModalityStoreParams
from osteon.remotes.port import Modality
from osteon.sending.delivery import Connect
from osteon.sending.store_sender import StoreSender
from osteon_dispatcher.remote_addresses import RemoteOf
from osteon_dispatcher.store_jobs.checkpoint import SendCheckpoint
from osteon_dispatcher.store_jobs.resources import iter_instances
from osteon_dispatcher.store_jobs.send_run import SendRun


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityStoreContext:
    """What the job works with. `aet` is our own AE title."""

    index: Index
    sender: StoreSender
    remote_of: RemoteOf
    config: RequestorConfig
    aet: str

    def connect(self, modality: Modality, params: ModalityStoreParams | None = None) -> Connect:
        """Return what requests associations: with the modality, unless the parameters say otherwise."""
        remote = self.remote_of(modality, (params and params.local_aet) or modality.local_aet or self.aet)
        if params is not None:
            remote = replace(
                remote,
                aet=params.called_aet or remote.aet,
                host=params.host or remote.host,
                port=params.port or remote.port,
                timeout=params.timeout or remote.timeout,
            )
        return partial(associate, remote, config=self.config)


async def store(run: JobRun, *, context: ModalityStoreContext) -> None:
    """Send, then request storage commitment if that is wanted."""
    params = ModalityStoreParams.model_validate(run.job.params)
    modality = await context.index.remotes.modality(params.modality)
    originator = (params.move_originator_aet, params.move_originator_id) if params.move_originator_aet else None
    deliver = partial(
        context.sender.deliver,
        context.connect(modality, params),
        move_originator=originator,
        transcode=modality.allow_transcoding,
    )
    send_run = SendRun(run, context.index, params.resources, deliver)
    await send_run.send(permissive=params.permissive)
    if params.storage_commitment:
        await _request_commitment(params, modality, context, send_run)


async def _request_commitment(
    params: ModalityStoreParams, modality: Modality, context: ModalityStoreContext, send_run: SendRun
) -> None:
    """Ask the modality to commit what it has received."""
    items = await _sent_items(params, context.index, send_run.checkpoint)
    if not items:
        return
    aet, index = params.local_aet or modality.local_aet or context.aet, context.index
    known = replace(modality, local_aet=aet)
    commitment, _ = await request_commitment(
        index.commitments, index.jobs, known, items, aet=aet, timeout=params.timeout
    )
    await send_run.save(StorageCommitmentTransactionUID=commitment.transaction_uid)


async def _sent_items(
    params: ModalityStoreParams, index: InstanceLocator, checkpoint: SendCheckpoint
) -> list[CommitmentItem]:
    """Return what was sent, up to the last one; what came into the archive after it was not."""
    items: list[CommitmentItem] = []
    async for each in iter_instances(index, params.resources):
        if each.instance.sop_instance_uid not in checkpoint.failures:
            items.append(CommitmentItem(each.instance.sop_class_uid, each.instance.sop_instance_uid))
        if each.position == checkpoint.last_sent:
            break
    return items
