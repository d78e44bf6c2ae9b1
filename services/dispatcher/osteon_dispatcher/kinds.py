"""The kinds of jobs that a dispatcher runs, by the type that the API shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from osteon.bus.port import Bus
from osteon.dimse.config import Remote
from osteon.dimse.tls import TlsContextProvider
from osteon.index.port import Index
from osteon.jobs.run import Kind
from osteon.objects.port import Objects
from osteon.sending.sending import Sending
from osteon_dispatcher.bells import Bells
from osteon_dispatcher.commitment import works as commitment
from osteon_dispatcher.moving import MoveOrder, move
from osteon_dispatcher.outgoing.modality import Stores
from osteon_dispatcher.retrieving.relay import Door
from osteon_dispatcher.settings import WorkSettings
from osteon_dispatcher.works import requestor_config, works


@dataclass(frozen=True, slots=True)
class Ports:
    """What handlers and kinds of jobs work with. `tls` is for modalities, `door` is the archive's own."""

    settings: WorkSettings
    bus: Bus
    objects: Objects
    index: Index
    sending: Sending
    tls: TlsContextProvider
    door: Door
    bells: Bells


def kinds_of(ports: Ports) -> Mapping[str, Kind]:
    """Return what runs here."""
    settings, index, objects = ports.settings, ports.index, ports.objects
    remote_of = partial(commitment.remote_of, tls=ports.tls)
    commitments = commitment.works(index, objects, settings, remote_of)
    config = requestor_config(settings)
    stores = Stores(index=index, sending=ports.sending, remote_of=remote_of, config=config, aet=settings.aet)
    moves = partial(move, stores=stores, bells=ports.bells, patience=settings.move_patience)
    return {
        MoveOrder.TYPE: Kind(moves, settings.move_patience),
        **{type: Kind(work, commitment.patience_of(settings)) for type, work in commitments.items()},
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


def own_door(settings: WorkSettings, tls: TlsContextProvider, at: Callable[[], str]) -> Remote:
    """Return where this archive takes associations: at `host:port`, by TLS when it takes no others."""
    host, _, port = at().rpartition(":")
    return Remote(
        aet=settings.aet,
        host=host.strip("[]"),
        port=int(port),
        calling_aet=settings.aet,
        tls=None if settings.dicom_plain else tls(),
    )
