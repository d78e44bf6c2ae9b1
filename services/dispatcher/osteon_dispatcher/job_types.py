"""The kinds of jobs that a dispatcher runs, by the type that the API shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from osteon.bus.port import Bus
from osteon.dimse.config import Remote
from osteon.dimse.tls import TlsOf
from osteon.index.port import Index
from osteon.jobs.run import JobType
from osteon.objects.port import Objects
from osteon.sending.store_sender import StoreSender
from osteon_dispatcher.cmove.job import MoveJobParams, move
from osteon_dispatcher.commitment import works as commitment
from osteon_dispatcher.job_signals import JobSignals
from osteon_dispatcher.retrieve_jobs.forwarder import OwnAcceptor
from osteon_dispatcher.settings import WorkSettings
from osteon_dispatcher.store_jobs.modality import ModalityStoreContext
from osteon_dispatcher.works import requestor_config, works


@dataclass(frozen=True, slots=True)
class JobContext:
    """What handlers and kinds of jobs work with. `tls` is for modalities, `door` is the archive's own."""

    settings: WorkSettings
    bus: Bus
    objects: Objects
    index: Index
    sending: StoreSender
    tls: TlsOf
    door: OwnAcceptor
    bells: JobSignals


def job_types(ports: JobContext) -> Mapping[str, JobType]:
    """Return what runs here."""
    settings, index, objects = ports.settings, ports.index, ports.objects
    remote_of = partial(commitment.remote_of, tls=ports.tls)
    commitments = commitment.works(index, objects, settings, remote_of)
    config = requestor_config(settings)
    stores = ModalityStoreContext(
        index=index, sending=ports.sending, remote_of=remote_of, config=config, aet=settings.aet
    )
    moves = partial(move, stores=stores, bells=ports.bells, patience=settings.move_patience)
    return {
        MoveJobParams.TYPE: JobType(moves, settings.move_patience),
        **{type: JobType(work, commitment.patience_of(settings)) for type, work in commitments.items()},
        **works(
            settings,
            bus=ports.bus,
            objects=objects,
            index=index,
            sending=ports.sending,
            remote_of=remote_of,
            door=ports.door,
        ),
    }


def own_acceptor(settings: WorkSettings, tls: TlsOf, at: Callable[[], str]) -> Remote:
    """Return where this archive takes associations: at `host:port`, by TLS when it takes no others."""
    host, _, port = at().rpartition(":")
    return Remote(
        aet=settings.aet,
        host=host.strip("[]"),
        port=int(port),
        calling_aet=settings.aet,
        tls=None if settings.dicom_plain else tls(),
    )
