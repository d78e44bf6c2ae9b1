"""A requester of C-GET that speaks PDUs, and a door that sends from a folder what a plan says."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from osteon.bus.memory import MemoryBus
from osteon.contracts.retrieve import PlannedInstance, RetrievePlanReply, RetrievePlanRequest
from osteon.contracts.topology import RETRIEVE_PLAN
from osteon.dimse.command import CommandElement
from osteon.dimse.handler import GetRequest, RetrieveResponse
from osteon.dimse.status import Status
from osteon.objects.folder import FolderObjects
from osteon.objects.s3 import S3Objects
from osteon_ingress.build import build_embedded
from osteon_ingress.settings import IngressServiceSettings
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_GET,
    VERIFICATION,
    DimseResponse,
    RawPeer,
    command_set,
    data_tf,
    get_rq,
    pdv,
)
from support.services.embedded import embedded


def role(sop_class: str, *, scu: bool = False, scp: bool = True) -> SCP_SCU_RoleSelectionNegotiation:
    """Return the item that asks for roles."""
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid, item.scu_role, item.scp_role = sop_class, scu, scp
    return item


async def as_getter(peer: RawPeer) -> None:
    """Associate with the contexts 1 C-GET, 3 CT in which the peer is SCP, 5 C-ECHO."""
    await peer.associate([(STUDY_GET, [IMPLICIT]), (CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])], role(CT))


def get_message(message_id: int = 1) -> bytes:
    return data_tf(pdv(1, 3, get_rq(message_id)), pdv(1, 2, b"keys"))


def store_response(message_id: int, status: int = 0) -> bytes:
    command = {0x0002: CT, 0x0100: 0x8001, 0x0120: message_id, 0x0800: 0x0101, 0x0900: status, 0x1000: "1.2.3"}
    return data_tf(pdv(3, 3, command_set(command)))


def counts(response: DimseResponse) -> tuple[int | None, ...]:
    """Return remaining, completed, failed, warning; None for what is absent."""
    return tuple(response.command.number(CommandElement(0x1020 + number)) for number in range(4))


def sending(count: int, *, size: int = 10) -> Callable[[GetRequest], AsyncIterator[RetrieveResponse]]:
    """Send `count` instances of CT as a C-GET does, and tell how far it is after each."""

    async def answer(request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        async def data() -> AsyncIterator[bytes]:
            yield bytes(size)

        context = request.user.context_for(CT)
        assert context is not None
        done = failed = 0
        while done + failed < count and not request.cancelled.is_set():
            outcome = await request.user.store(context, CT, f"1.2.{done + failed}", data(), length=size)
            failed += outcome.status.is_failure
            done += not outcome.status.is_failure
            yield RetrieveResponse(Status.PENDING, count - done - failed, done, failed)
        status = Status.CANCEL if request.cancelled.is_set() else Status.SUCCESS
        yield RetrieveResponse(status, count - done - failed, done, failed)

    return answer


async def take_all(peer: RawPeer, statuses: Sequence[int] = ()) -> tuple[list[DimseResponse], DimseResponse]:
    """Answer each C-STORE, with success after `statuses`; return the requests and the final response to the C-GET."""
    stores: list[DimseResponse] = []
    while True:
        message = await peer.response()
        if message.command.field == 1:
            stores.append(message)
            status = statuses[len(stores) - 1] if len(stores) <= len(statuses) else 0
            await peer.send(store_response(message.command.require(CommandElement.MESSAGE_ID), status))
        elif message.command.field == 0x8010 and message.status != 0xFF00:
            return stores, message


@asynccontextmanager
async def door(
    folder: Path, files: Sequence[Path], *, page: int = 40, store: bool = True, **settings: Any
) -> AsyncIterator[int]:
    """Run `ingress` on a pack of these files, all of which any C-GET means; yields its port.

    Without a `store` the objects are where the settings say.
    """
    bus, objects = MemoryBus(), FolderObjects(folder / "objects")
    await bus.start()
    planned = await _pack(objects, folder, files)

    async def plan(question: RetrievePlanRequest) -> RetrievePlanReply:
        at = int(question.cursor or 0)
        return RetrievePlanReply(
            correlation_id=question.correlation_id,
            total=len(planned),
            instances=planned[at : at + page],
            cursor=str(at + page) if at + page < len(planned) else None,
        )

    await bus.serve(RETRIEVE_PLAN, plan)
    own = IngressServiceSettings(**{"spool_dir": folder / "spool", "dicom_port": 0, "drain_seconds": 1.0, **settings})
    stored = objects if store else S3Objects.from_settings(own)
    try:
        async with embedded(build_embedded, own, bus=bus, objects=stored) as running:
            yield running.ports["dicom"]
    finally:
        await bus.close(grace=1)


async def _pack(objects: FolderObjects, folder: Path, files: Sequence[Path]) -> list[PlannedInstance]:
    planned, whole = [], bytearray()
    for path in files:
        data, meta = path.read_bytes(), dcmread(path, stop_before_pixels=True)
        planned.append(
            PlannedInstance(
                sop_class_uid=meta.SOPClassUID,
                sop_instance_uid=meta.SOPInstanceUID,
                transfer_syntax_uid=meta.file_meta.TransferSyntaxUID,
                key="1.2/1.3/pack.tar",
                offset=len(whole),
                length=len(data),
            )
        )
        whole += data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack").write_bytes(whole)
    await objects.put_file("1.2/1.3/pack.tar", folder / "pack")
    return planned
