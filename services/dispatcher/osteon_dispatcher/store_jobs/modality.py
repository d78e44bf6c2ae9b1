"""`DicomModalityStore`: sends resources to a modality by C-STORE (PS3.4 B)."""

from dataclasses import dataclass, replace
from functools import partial

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
from osteon_dispatcher.commitment.scp import RemoteOf
from osteon_dispatcher.store_jobs.checkpoint import SendCheckpoint
from osteon_dispatcher.store_jobs.resources import iter_instances
from osteon_dispatcher.store_jobs.send_run import SendRun


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityStoreContext:
    """What the job works with. `aet` is our own AE title."""

    index: Index
    sending: StoreSender
    remote_of: RemoteOf
    config: RequestorConfig
    aet: str

    def connect(self, modality: Modality, order: ModalityStoreParams | None = None) -> Connect:
        """Return what asks for associations: with the modality, or with what the order says otherwise."""
        known = self.remote_of(modality, (order and order.local_aet) or modality.local_aet or self.aet)
        if order is not None:
            known = replace(
                known,
                aet=order.called_aet or known.aet,
                host=order.host or known.host,
                port=order.port or known.port,
                timeout=order.timeout or known.timeout,
            )
        return partial(associate, known, config=self.config)


async def store(run: JobRun, *, stores: ModalityStoreContext) -> None:
    """Send, then ask for storage commitment if that is wanted."""
    order = ModalityStoreParams.model_validate(run.job.params)
    modality = await stores.index.remotes.modality(order.modality)
    originator = (order.move_originator_aet, order.move_originator_id) if order.move_originator_aet else None
    passes = SendRun(
        run,
        stores.index,
        order.resources,
        partial(
            stores.sending.deliver,
            stores.connect(modality, order),
            move_originator=originator,
            transcode=modality.allow_transcoding,
        ),
    )
    await passes.send(permissive=order.permissive)
    if order.storage_commitment:
        await _commit(order, modality, stores, passes)


async def _commit(
    order: ModalityStoreParams, modality: Modality, stores: ModalityStoreContext, passes: SendRun
) -> None:
    """Ask the modality to commit what it has got."""
    items = await _got(order, stores.index, passes.progress)
    if not items:
        return
    aet = order.local_aet or modality.local_aet or stores.aet
    asked = replace(modality, local_aet=aet)
    commitment, _ = await request_commitment(
        stores.index.commitments, stores.index.jobs, asked, items, aet=aet, timeout=order.timeout
    )
    await passes.save(StorageCommitmentTransactionUID=commitment.transaction_uid)


async def _got(order: ModalityStoreParams, index: Index, progress: SendCheckpoint) -> list[CommitmentItem]:
    """Return what was sent, up to the last one; what came into the archive after it was not."""
    items: list[CommitmentItem] = []
    async for each in iter_instances(index, order.resources):
        if each.instance.sop_instance_uid not in progress.failed:
            items.append(CommitmentItem(each.instance.sop_class_uid, each.instance.sop_instance_uid))
        if each.position == progress.at:
            break
    return items
