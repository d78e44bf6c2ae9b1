"""What the DIMSE door does with each operation of an association."""

from collections.abc import AsyncIterator

from osteon.bus.port import Bus
from osteon.contracts.packs import Origin, PackIndexed, PackSealed
from osteon.dimse.handler import (
    AssociationInfo,
    FindRequest,
    FindResponse,
    Outcome,
    PresentationContext,
    Refusing,
    StoreRequest,
    StoreSink,
)
from osteon.dimse.status import Status
from osteon.logging import get_logger
from osteon.spool.sealed import SealedPack
from osteon.spool.spool import Spool
from osteon_ingress.find import find
from osteon_ingress.store import MeasuredSink, count

log = get_logger(__name__)


class Association(Refusing):
    """Handles the operations of one association."""

    def __init__(self, info: AssociationInfo, spool: Spool, bus: Bus) -> None:
        self._info = info
        self._spool = spool
        self._bus = bus
        self._intake = spool.intake(info)

    async def echo(self) -> Outcome:
        """Answer a C-ECHO."""
        return Outcome(Status.SUCCESS)

    def store(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:
        """Begin a C-STORE."""
        opened = self._intake.begin(request, context)
        if isinstance(opened, Outcome):
            log.warning("instance refused", correlation_id=self._info.id, instance=request.sop_instance_uid,
                        error=opened.comment)  # fmt: skip
            count(opened)
            return opened
        return MeasuredSink(opened)

    def find(self, request: FindRequest) -> AsyncIterator[FindResponse]:
        """Answer a C-FIND."""
        return find(self._info, request, self._bus)

    async def closed(self) -> None:
        """Seal what the association sent."""
        await self._spool.end(self._intake)


async def announce(pack: SealedPack, bus: Bus, spool_id: str) -> None:
    """Tell the writers of this spool that a pack is ready; returns once the broker has confirmed."""
    await bus.publish(
        PackSealed(
            correlation_id=pack.correlation_id,
            pack_id=pack.pack_id,
            study_uid=pack.study_uid,
            series_uid=pack.series_uid,
            origin=Origin.DIMSE,
            calling_aet=pack.calling_aet,
            remote_host=pack.remote_host,
            received_at=pack.received_at,
            instances=pack.instances,
            size=pack.size,
            spool_id=spool_id,
            path=pack.path,
        )
    )
    log.info("pack sealed", pack=pack.pack_id, instances=pack.instances, correlation_id=pack.correlation_id)


async def indexed(message: PackIndexed, spool: Spool) -> None:
    """A pack has its rows: answers that wait for it may go."""
    spool.indexed(message.pack_id)
