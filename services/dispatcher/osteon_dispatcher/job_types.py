"""The types of jobs that a dispatcher runs, by the name that the API shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from osteon.bus.port import Bus
from osteon.commitment.port import SCP_JOB, SCU_JOB
from osteon.dimse.config import RequestorConfig
from osteon.dimse.tls import TlsContextProvider
from osteon.index.port import Index
from osteon.jobs.run import JobType
from osteon.modification.job_params import MergeParams, ModificationParams, SplitParams
from osteon.objects.port import Objects
from osteon.reconciliation.job_params import ReconcileParams
from osteon.remotes.job_params import (
    ModalityStoreParams,
    PeerStoreParams,
    RetrieveByGetParams,
    RetrieveByMoveParams,
    StraightStoreParams,
    WadoRetrieveParams,
)
from osteon.sending.store_sender import StoreSender
from osteon.settings import DicomSettings
from osteon_dispatcher.cmove.job import MoveJobParams, move
from osteon_dispatcher.commitment.scp import CommitmentScpContext, check_and_report
from osteon_dispatcher.commitment.scu import CommitmentScuContext, send_request
from osteon_dispatcher.job_signals import JobSignals
from osteon_dispatcher.modification_jobs.job import ModificationContext, modify
from osteon_dispatcher.pack_delivery import PackDelivery
from osteon_dispatcher.peer_client import PeerPolicy
from osteon_dispatcher.reconcile_job import ReconcileContext, reconcile
from osteon_dispatcher.remote_addresses import remote_of
from osteon_dispatcher.retrieve_jobs import c_get, c_move, wado_rs
from osteon_dispatcher.retrieve_jobs.common import RetrieveContext
from osteon_dispatcher.retrieve_jobs.forwarder import OwnAcceptor
from osteon_dispatcher.retrieve_jobs.wado_rs import WadoRetrieveContext
from osteon_dispatcher.settings import DispatcherBaseSettings
from osteon_dispatcher.store_jobs import modality, peer, store_straight

_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What the jobs work with. `tls` is for modalities; `own_acceptor` is where the archive takes associations.

    `folder` is for files in flight.
    """

    settings: DispatcherBaseSettings
    bus: Bus
    objects: Objects
    index: Index
    sender: StoreSender
    own_acceptor: OwnAcceptor
    folder: Path
    tls: TlsContextProvider | None = None
    signals: JobSignals = field(default_factory=JobSignals)


def job_types(context: JobContext) -> Mapping[str, JobType]:
    """Return all types; `patience` is for how long each is worth trying again."""
    settings, index, objects, bus = context.settings, context.index, context.objects, context.bus
    remote = partial(remote_of, tls=context.tls)
    config = requestor_config(settings)
    stores = modality.ModalityStoreContext(
        index=index, sender=context.sender, remote_of=remote, config=config, aet=settings.aet
    )
    peers = peer.PeerStoreContext(
        index=index,
        objects=objects,
        bus=bus,
        transcode_seconds=settings.transcode_timeout_seconds,
        policy=PeerPolicy.from_settings(settings),
    )
    retrieves = RetrieveContext(index=index, remote_of=remote, config=config, aet=settings.aet)
    scp = CommitmentScpContext(
        index=index,
        objects=objects,
        remote_of=remote,
        depth=settings.commitment_check,
        wait=settings.commitment_wait_seconds,
    )
    packs = PackDelivery(index=index, objects=objects, bus=bus)
    reconciles = ReconcileContext(index=index, objects=objects, packs=packs, folder=context.folder)
    wado = WadoRetrieveContext(
        index=index, packs=packs, policy=PeerPolicy.from_settings(settings), folder=context.folder
    )
    modifications = ModificationContext(
        index=index,
        objects=objects,
        bus=bus,
        packs=packs,
        folder=context.folder,
        transcode_seconds=settings.transcode_timeout_seconds,
        deidentification_key=settings.deidentification_key.get_secret_value(),
    )
    scu = CommitmentScuContext(index=index, remote_of=remote, linger=settings.commitment_linger_seconds)
    move_job = partial(move, stores=stores, bus=bus, signals=context.signals, patience=settings.move_retry_seconds)
    get_job = partial(c_get.get, context=retrieves, own_acceptor=context.own_acceptor)
    usual, days = settings.job_retry_seconds, settings.commitment_days * _DAY
    modify_job = JobType(partial(modify, context=modifications), usual)
    return {
        MoveJobParams.TYPE: JobType(move_job, settings.move_retry_seconds),
        SCP_JOB: JobType(partial(check_and_report, context=scp), days),
        SCU_JOB: JobType(partial(send_request, context=scu), days),
        ModalityStoreParams.TYPE: JobType(partial(modality.store, context=stores), usual),
        StraightStoreParams.TYPE: JobType(partial(store_straight.store, context=stores, objects=objects), usual),
        PeerStoreParams.TYPE: JobType(partial(peer.store, context=peers), usual),
        RetrieveByMoveParams.TYPE: JobType(partial(c_move.move, context=retrieves), usual),
        RetrieveByGetParams.TYPE: JobType(get_job, usual),
        WadoRetrieveParams.TYPE: JobType(partial(wado_rs.retrieve, context=wado), usual),
        ModificationParams.TYPE: modify_job,
        MergeParams.TYPE: modify_job,
        SplitParams.TYPE: modify_job,
        ReconcileParams.TYPE: JobType(partial(reconcile, context=reconciles), usual),
    }


def requestor_config(settings: DicomSettings) -> RequestorConfig:
    """Return how associations that we request behave, from the settings that acceptors have too."""
    return RequestorConfig(
        artim_timeout=settings.artim_timeout_seconds,
        dimse_timeout=settings.dimse_timeout_seconds,
        network_timeout=settings.network_timeout_seconds,
        max_pdu=settings.max_pdu_bytes,
    )
