"""Who may do what at the DIMSE door, and which list of modalities holds."""

import asyncio
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind, Verification

from osteon.bus.memory import MemoryBus
from osteon.bus.port import BusUnavailable
from osteon.contracts.base import Message
from osteon.contracts.remote import KnownModality, ListModalitiesReply, ListModalitiesRequest
from osteon.contracts.topology import MODALITIES, RpcQueue
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import RejectReason
from osteon.errors import Invalid
from osteon.objects.folder import FolderObjects
from osteon.remotes.port import Permission
from osteon.settings import load
from osteon_ingress.authorization import ModalityAccessList
from osteon_ingress.build import build_embedded
from osteon_ingress.settings import IngressServiceSettings
from support.dicom.datasets import ct_slice
from support.services.embedded import embedded

ALL = tuple(Permission)
CT = KnownModality(aet="CT", host="127.0.0.1", permissions=("echo", "store"))


def caller(aet: str, host: str = "127.0.0.1") -> AssociationInfo:
    return AssociationInfo("a1", aet, "OSTEON", host, 5000)


class ModalityListBus:
    """A bus on which `query` tells these modalities; None: it does not answer."""

    def __init__(self, *modalities: KnownModality) -> None:
        self.modalities: tuple[KnownModality, ...] | None = modalities
        self.seen: list[str] = []

    async def request(self, queue: RpcQueue, message: Message, *, timeout: float) -> Message:
        assert queue is MODALITIES and isinstance(message, ListModalitiesRequest)
        return self.answer(message)

    def answer(self, message: ListModalitiesRequest) -> ListModalitiesReply:
        self.seen.append(message.known_version)
        if self.modalities is None:
            raise BusUnavailable("the broker is away")
        version = str(hash(self.modalities))
        told = list(self.modalities) if message.known_version != version else []
        return ListModalitiesReply(correlation_id=message.correlation_id, version=version, modalities=told)


async def following(access: ModalityAccessList, query: ModalityListBus, times: int = 1) -> None:
    """Let an access ask some times more."""
    wanted = len(query.seen) + times + 1  # it asks again when it is done with the answer before
    task = asyncio.create_task(access.refresh_forever(query))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while len(query.seen) < wanted:
            await asyncio.sleep(0.001)
    task.cancel()


def access_list(unknown: tuple[str, ...], file: Path, **more: bool) -> ModalityAccessList:
    return ModalityAccessList(unknown, file, refresh_seconds=0.01, **more)


async def told(
    tmp_path: Path, *modalities: KnownModality, unknown: tuple[str, ...] = ALL, **more: bool
) -> ModalityAccessList:
    access = access_list(unknown, tmp_path / "list.json", **more)
    await following(access, ModalityListBus(*modalities))
    return access


async def test_a_modality_may_do_what_it_is_allowed_and_nothing_else(tmp_path):
    access = await told(tmp_path, CT)
    allowed = {permission for permission in Permission if access.allows(caller("CT"), permission)}
    assert allowed == {Permission.ECHO, Permission.STORE}
    assert access.refuse(caller("CT")) is None


async def test_unknown_callers_may_do_what_the_setting_says(tmp_path):
    access = await told(tmp_path, CT, unknown=("echo",))
    assert access.allows(caller("NEW"), Permission.ECHO)
    assert not access.allows(caller("NEW"), Permission.STORE)
    assert access.refuse(caller("NEW")) is None


async def test_unknown_callers_that_may_do_nothing_are_rejected(tmp_path):
    access = await told(tmp_path, CT, unknown=())
    assert access.refuse(caller("NEW")) is RejectReason.CALLING_AET_NOT_RECOGNIZED
    assert access.refuse(caller("CT")) is None


async def test_several_modalities_of_one_ae_title_add_up(tmp_path):
    access = await told(tmp_path, CT, CT.model_copy(update={"permissions": ("find",)}))
    assert access.allows(caller("CT"), Permission.FIND) and access.allows(caller("CT"), Permission.STORE)


@pytest.mark.parametrize(("host", "known"), [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("192.0.2.7", False)])
async def test_a_known_ae_title_must_come_from_its_host_when_that_is_checked(tmp_path, host, known):
    access = await told(tmp_path, CT.model_copy(update={"host": "localhost"}), check_host=True)
    assert access.refuse(caller("CT", host)) is (None if known else RejectReason.CALLING_AET_NOT_RECOGNIZED)
    assert access.allows(caller("CT", host), Permission.STORE) is known
    assert access.refuse(caller("NEW", host)) is None


async def test_hosts_do_not_count_unless_they_are_checked(tmp_path):
    access = await told(tmp_path, CT)
    assert access.refuse(caller("CT", "192.0.2.7")) is None


async def test_a_change_holds_without_a_restart(tmp_path):
    access, query = access_list(ALL, tmp_path / "list.json"), ModalityListBus(CT)
    await following(access, query)
    query.modalities = ()
    await following(access, query, times=2)
    assert access.allows(caller("CT"), Permission.FIND)


async def test_the_last_list_holds_until_a_new_one_comes(tmp_path):
    access, query = access_list(ALL, tmp_path / "list.json"), ModalityListBus(CT)
    await following(access, query)
    query.modalities = None
    await following(access, query, times=3)
    assert not access.allows(caller("CT"), Permission.FIND)


async def test_a_list_that_has_not_changed_is_not_sent_again(tmp_path):
    access, query = access_list(ALL, tmp_path / "list.json"), ModalityListBus(CT)
    await following(access, query, times=3)
    assert query.seen[0] == "" and len(set(query.seen[1:])) == 1 and query.seen[1]
    assert not access.allows(caller("CT"), Permission.FIND)


async def test_a_door_that_starts_without_a_broker_knows_the_list_of_before(tmp_path):
    await told(tmp_path, CT)
    access = access_list((), tmp_path / "list.json", check_host=True)
    await access.load()
    assert access.refuse(caller("CT")) is None
    assert access.refuse(caller("NEW")) is RejectReason.CALLING_AET_NOT_RECOGNIZED


@pytest.mark.parametrize("content", [None, "", "{", '{"modalities": 1}'])
async def test_a_strict_door_without_any_list_asks_to_come_again(tmp_path, content):
    if content is not None:
        (tmp_path / "list.json").write_text(content)
    access = access_list(("echo",), tmp_path / "list.json")
    await access.load()
    assert access.refuse(caller("CT")) is RejectReason.TEMPORARY_CONGESTION
    openly = access_list(ALL, tmp_path / "list.json")
    await openly.load()
    assert openly.refuse(caller("CT")) is None


@pytest.mark.parametrize(("text", "expected"), [("none", ()), ("echo, store", ("echo", "store"))])
def test_what_unknown_callers_may_do_is_a_list_of_words(monkeypatch, text, expected):
    monkeypatch.setenv("OSTEON_UNKNOWN_AET_PERMISSIONS", text)
    assert load(IngressServiceSettings).unknown_aet_permissions == expected


def test_a_word_that_is_no_permission_stops_the_start(monkeypatch):
    monkeypatch.setenv("OSTEON_UNKNOWN_AET_PERMISSIONS", "echo,print")
    with pytest.raises(Invalid, match=r"OSTEON_UNKNOWN_AET_PERMISSIONS.*storage_commitment"):
        load(IngressServiceSettings)


async def test_a_refused_operation_is_answered_0124_and_a_refused_caller_rejected(tmp_path):
    bus, query = MemoryBus(), ModalityListBus(KnownModality(aet="CT", host="h", permissions=("echo",)))
    await bus.start()

    async def tell(message: ListModalitiesRequest) -> ListModalitiesReply:
        return query.answer(message)

    await bus.serve(MODALITIES, tell)
    settings = IngressServiceSettings(
        spool_dir=tmp_path / "spool", dicom_port=0, unknown_aet_permissions=("echo",), drain_seconds=1.0
    )  # fmt: skip
    ports = {"bus": bus, "objects": FolderObjects(tmp_path), "refresh_seconds": 0.01}
    async with embedded(build_embedded, settings, **ports) as running:
        async with asyncio.timeout(10):
            while not query.seen:
                await asyncio.sleep(0.01)
        port = running.ports["dicom"]
        assert await asyncio.to_thread(statuses, "CT", port) == (0x0000, 0x0124, 0x0124)
        assert await asyncio.to_thread(statuses, "NEW", port) == (0x0000, 0x0124, 0x0124)
        query.modalities = (KnownModality(aet="CT", host="h", permissions=("echo", "store")),)
        asked = len(query.seen)
        async with asyncio.timeout(10):
            while len(query.seen) < asked + 3:
                await asyncio.sleep(0.01)
        assert await asyncio.to_thread(statuses, "CT", port) == (0x0000, 0x0000, 0x0124)
    await bus.close(grace=1.0)


def statuses(aet: str, port: int) -> tuple[int, int, int]:
    """Return how C-ECHO, C-STORE and C-FIND are answered."""
    client = AE(aet)
    dataset = ct_slice()
    client.add_requested_context(Verification)
    client.add_requested_context(CTImageStorage, dataset.file_meta.TransferSyntaxUID)
    client.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = client.associate("127.0.0.1", port, ae_title="OSTEON")
    assert association.is_established
    keys = ct_slice()
    keys.QueryRetrieveLevel = "STUDY"
    found = [status for status, _ in association.send_c_find(keys, StudyRootQueryRetrieveInformationModelFind)]
    answers = association.send_c_echo().Status, association.send_c_store(dataset).Status, found[-1].Status
    association.release()
    return answers
