"""The kinds of jobs that send to and retrieve from modalities and peers, put together from the ports."""

from collections.abc import Mapping
from functools import partial

from osteon.bus.port import Bus
from osteon.dimse.config import RequestorConfig
from osteon.index.port import Index
from osteon.jobs.run import JobType
from osteon.objects.port import Objects
from osteon.remotes.job_params import (
    ModalityStoreParams,
    PeerStoreParams,
    RetrieveByGetParams,
    RetrieveByMoveParams,
    StraightStoreParams,
)
from osteon.sending.store_sender import StoreSender
from osteon.settings import DicomSettings
from osteon_dispatcher.commitment.scp import RemoteOf
from osteon_dispatcher.retrieve_jobs.c_get import get
from osteon_dispatcher.retrieve_jobs.c_move import move
from osteon_dispatcher.retrieve_jobs.common import RetrieveContext
from osteon_dispatcher.retrieve_jobs.forwarder import OwnAcceptor
from osteon_dispatcher.settings import WorkSettings
from osteon_dispatcher.store_jobs import modality, peer, store_straight


def works(
    settings: WorkSettings,
    *,
    bus: Bus,
    objects: Objects,
    index: Index,
    sending: StoreSender,
    remote_of: RemoteOf,
    door: OwnAcceptor,
) -> Mapping[str, JobType]:
    """Return what runs for each type of job; `door` is where the archive itself takes associations."""
    config = requestor_config(settings)
    stores = modality.ModalityStoreContext(
        index=index, sending=sending, remote_of=remote_of, config=config, aet=settings.aet
    )
    peers = peer.PeerStoreContext(
        index=index, objects=objects, bus=bus, transcode_seconds=settings.send_transcode_seconds
    )
    sources = RetrieveContext(index=index, remote_of=remote_of, config=config, aet=settings.aet)
    done = {
        ModalityStoreParams.TYPE: partial(modality.store, stores=stores),
        StraightStoreParams.TYPE: partial(store_straight.store, stores=stores, objects=objects),
        PeerStoreParams.TYPE: partial(peer.store, peers=peers),
        RetrieveByMoveParams.TYPE: partial(move, sources=sources),
        RetrieveByGetParams.TYPE: partial(get, sources=sources, door=door),
    }
    return {type: JobType(work, patience=settings.job_patience) for type, work in done.items()}


def requestor_config(settings: DicomSettings) -> RequestorConfig:
    """Return how associations that we ask for behave, from the settings that acceptors have too."""
    return RequestorConfig(
        artim_timeout=settings.artim_timeout,
        dimse_timeout=settings.dimse_timeout,
        network_timeout=settings.network_timeout,
        max_pdu=settings.max_pdu,
    )
