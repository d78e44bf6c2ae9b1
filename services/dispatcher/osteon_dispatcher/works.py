"""The kinds of jobs that send to and retrieve from modalities and peers, put together from the ports."""

from collections.abc import Mapping
from functools import partial

from osteon.bus.port import Bus
from osteon.dimse.config import RequestorConfig
from osteon.index.port import Index
from osteon.jobs.run import Kind
from osteon.objects.port import Objects
from osteon.remotes.orders import ModalityStore, PeerStore, RetrieveByGet, RetrieveByMove, StraightStore
from osteon.sending.sending import Sending
from osteon.settings import DicomSettings
from osteon_dispatcher.commitment.scp import RemoteOf
from osteon_dispatcher.outgoing import modality, peer, straight
from osteon_dispatcher.retrieving.asking import Sources
from osteon_dispatcher.retrieving.by_get import get
from osteon_dispatcher.retrieving.by_move import move
from osteon_dispatcher.retrieving.relay import Door
from osteon_dispatcher.settings import DispatcherBaseSettings


def works(
    settings: DispatcherBaseSettings,
    *,
    bus: Bus,
    objects: Objects,
    index: Index,
    sending: Sending,
    remote_of: RemoteOf,
    door: Door,
) -> Mapping[str, Kind]:
    """Return what runs for each type of job; `door` is where the archive itself takes associations."""
    config = requestor_config(settings)
    stores = modality.Stores(index=index, sending=sending, remote_of=remote_of, config=config, aet=settings.aet)
    peers = peer.Peers(index=index, objects=objects, bus=bus, transcode_seconds=settings.transcode_timeout_seconds)
    sources = Sources(index=index, remote_of=remote_of, config=config, aet=settings.aet)
    done = {
        ModalityStore.TYPE: partial(modality.store, stores=stores),
        StraightStore.TYPE: partial(straight.store, stores=stores, objects=objects),
        PeerStore.TYPE: partial(peer.store, peers=peers),
        RetrieveByMove.TYPE: partial(move, sources=sources),
        RetrieveByGet.TYPE: partial(get, sources=sources, door=door),
    }
    return {type: Kind(work, patience=settings.job_retry_seconds) for type, work in done.items()}


def requestor_config(settings: DicomSettings) -> RequestorConfig:
    """Return how associations that we ask for behave, from the settings that acceptors have too."""
    return RequestorConfig(
        artim_timeout=settings.artim_timeout_seconds,
        dimse_timeout=settings.dimse_timeout_seconds,
        network_timeout=settings.network_timeout_seconds,
        max_pdu=settings.max_pdu_bytes,
    )
