"""C-GET at a running door that reads packs from a folder: DCMTK, pynetdicom and a raw peer ask for them."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import structlog
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet

from osteon.dimse.failed_uid_list import read_failed_uids
from osteon_local.part import free_port
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes
from support.dimse.c_get import as_getter, counts, door, get_message, role, store_response, take_all
from support.dimse.raw_peer import (
    IMPLICIT,
    STUDY_GET,
    VERIFICATION,
    RawPeer,
    cancel_rq,
    data_tf,
    echo_rq,
    pdv,
    store_message,
)

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def files(folder: Path, count: int, **attributes: object) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [saved(ct_slice(study="1.2", series="1.3", number=n, **attributes), folder) for n in range(count)]


async def connected(port: int) -> RawPeer:
    return RawPeer(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))


async def test_each_instance_comes_as_it_is_stored_in_the_order_of_the_plan(tmp_path: Path) -> None:
    sent = files(tmp_path / "in", 100)
    async with door(tmp_path, sent, page=30) as port:
        peer = await connected(port)
        await as_getter(peer)
        await peer.send(get_message(7))
        stores, last = await take_all(peer)
        assert [hashlib.sha256(store.data_set or b"").digest() for store in stores] == [
            hashlib.sha256(dataset_bytes(path)).digest() for path in sent
        ]
        assert (last.status, counts(last), last.message_id) == (0, (None, 100, 0, 0), 7)
        await peer.release()


async def test_refusals_and_warnings_of_the_requester_are_counted_and_refused_instances_listed(tmp_path: Path) -> None:
    sent = files(tmp_path / "in", 4)
    async with door(tmp_path, sent) as port:
        peer = await connected(port)
        await as_getter(peer)
        await peer.send(get_message())
        _, last = await take_all(peer, [0, 0xA700, 0xB000, 0xC001])
        assert (last.status, counts(last)) == (0xB000, (None, 1, 2, 1))
        assert read_failed_uids(last.data_set or b"", IMPLICIT) == (sent[1].stem, sent[3].stem)
        await peer.release()


async def test_instances_of_a_class_for_which_nothing_was_accepted_fail_and_the_others_come(tmp_path: Path) -> None:
    sent = files(tmp_path / "in", 2) + files(tmp_path / "in", 1, SOPClassUID=SECONDARY_CAPTURE)
    async with door(tmp_path, sent) as port:
        peer = await connected(port)
        await as_getter(peer)
        await peer.send(get_message())
        stores, last = await take_all(peer)
        assert len(stores) == 2
        assert (last.status, counts(last)) == (0xB000, (None, 2, 1, 0))
        assert read_failed_uids(last.data_set or b"", IMPLICIT) == (sent[2].stem,)
        await peer.release()


async def test_without_any_context_to_send_in_nothing_is_sent_and_the_status_says_so(tmp_path: Path) -> None:
    async with door(tmp_path, files(tmp_path / "in", 3)) as port:
        peer = await connected(port)
        await peer.associate([(STUDY_GET, [IMPLICIT])])
        await peer.send(get_message())
        with structlog.testing.capture_logs() as lines:
            stores, last = await take_all(peer)
        assert (stores, last.status, counts(last)) == ([], 0xA702, (None, 0, 3, 0))
        assert len([line for line in lines if line["event"].startswith("instance not accepted")]) == 1
        await peer.release()


async def test_a_cancel_in_the_middle_ends_it_with_what_was_done(tmp_path: Path) -> None:
    async with door(tmp_path, files(tmp_path / "in", 50)) as port:
        peer = await connected(port)
        await as_getter(peer)
        await peer.send(get_message(9))
        while (message := await peer.response()).command.field != 1:
            pass
        # Again and again, also for messages that are none: it makes no difference.
        await peer.send(data_tf(pdv(1, 3, cancel_rq(9))) * 200, data_tf(pdv(1, 3, cancel_rq(77))) * 200)
        await peer.send(store_response(1))
        stores, last = await take_all(peer)
        assert len(stores) <= 1
        assert last.status == 0xFE00
        assert sum(count or 0 for count in counts(last)) == 50
        await peer.send(data_tf(pdv(5, 3, echo_rq(10))))
        assert (await peer.response()).status == 0
        await peer.release()
        assert message.command.field == 1


@pytest.mark.parametrize("ending", ["abort", "reset", "silence"])
async def test_a_requester_that_goes_or_stalls_in_the_middle_disturbs_no_other(tmp_path: Path, ending: str) -> None:
    big = files(tmp_path / "in", 20, PixelData=bytes(1 << 20), Rows=1024, Columns=512)
    async with door(tmp_path, big, send_read_ahead_bytes=2 << 20, send_memory_bytes=4 << 20) as port:
        lost = await connected(port)
        await as_getter(lost)
        await lost.send(get_message())
        for _ in range(3):
            message = await lost.response()
            if message.command.field == 1:
                await lost.send(store_response(message.command.require(0x0110)))  # type: ignore[arg-type]
        if ending == "abort":
            await lost.send(b"\7\0\0\0\0\4\0\0\0\0")
        elif ending == "reset":
            await lost.reset()
        async with asyncio.timeout(20):
            other = await connected(port)
            await as_getter(other)
            await other.send(get_message())
            stores, last = await take_all(other)
            assert (len(stores), last.status) == (20, 0)
            await other.release()
        await lost.close()


@pytest.mark.slow
async def test_instances_are_stored_and_others_echoed_while_a_get_waits_for_its_requester(tmp_path: Path) -> None:
    async with door(tmp_path, files(tmp_path / "in", 5)) as port:
        waiting, other = await connected(port), await connected(port)
        await as_getter(waiting)
        await waiting.send(get_message())
        await other.associate([(CTImageStorage, [ExplicitVRLittleEndian]), (VERIFICATION, [IMPLICIT])])
        await other.send(data_tf(pdv(3, 3, echo_rq(1))))
        assert (await other.response()).status == 0
        data_set = dataset_bytes(saved(ct_slice(), tmp_path))
        await other.send(store_message(2, "1.2.3", data_set))
        assert (await other.response()).status == 0xA900, "another UID than the data set's, but it was looked at"
        await other.release()
        assert (await take_all(waiting))[1].status == 0


async def test_what_is_no_longer_in_the_object_store_fails_with_a_reason(tmp_path: Path) -> None:
    async with door(tmp_path, files(tmp_path / "in", 3)) as port:
        shutil.rmtree(tmp_path / "objects")
        (tmp_path / "objects").mkdir()
        peer = await connected(port)
        await as_getter(peer)
        await peer.send(get_message())
        stores, last = await take_all(peer)
        assert (stores, last.status, counts(last)) == ([], 0xA702, (None, 0, 3, 0))
        assert "archive" in last.command.text(0x0902)  # type: ignore[arg-type]
        await peer.release()


async def test_without_an_object_store_the_door_opens_and_stores_and_only_a_get_fails(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async with door(tmp_path, files(tmp_path / "in", 3), store=False, s3_endpoint=nowhere) as port:
        peer = await connected(port)
        await peer.associate(
            [(STUDY_GET, [IMPLICIT]), (CTImageStorage, [ExplicitVRLittleEndian])], role(CTImageStorage, scu=True)
        )
        dataset = ct_slice()
        await peer.send(store_message(2, str(dataset.SOPInstanceUID), dataset_bytes(saved(dataset, tmp_path)), 3))
        assert (await peer.response()).status == 0
        await peer.send(get_message(3))
        stores, last = await take_all(peer)
        assert (stores, last.status, counts(last)) == ([], 0xA702, (None, 0, 3, 0))
        assert last.command.text(0x0902)  # type: ignore[arg-type]
        await peer.release()


async def test_pynetdicom_gets_what_is_stored(tmp_path: Path) -> None:
    sent = files(tmp_path / "in", 12)
    got: dict[str, bytes] = {}

    def on_store(event: evt.Event) -> int:
        got[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return 0

    def ask(port: int) -> list[tuple[int, int | None]]:
        entity = AE("PYNET")
        entity.add_requested_context(StudyRootGet)
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", "1.2"
        association = entity.associate(
            "127.0.0.1",
            port,
            ext_neg=[build_role(CTImageStorage, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, on_store)],
        )
        assert association.is_established
        try:
            answers = [status for status, _ in association.send_c_get(identifier, StudyRootGet)]
            return [(answer.Status, answer.get("NumberOfCompletedSuboperations")) for answer in answers]
        finally:
            association.release()

    async with door(tmp_path, sent) as port:
        responses = await asyncio.to_thread(ask, port)
    assert responses[-1] == (0x0000, 12)
    assert got == {path.stem: dataset_bytes(path) for path in sent}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("getscu") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize(
    "extra", [(), ("+xi",), ("+B",), ("--prefer-deflated",)], ids=["default", "implicit", "bits", "deflated"]
)
async def test_getscu_gets_what_is_stored(tmp_path: Path, extra: tuple[str, ...]) -> None:
    sent = files(tmp_path / "in", 12)
    out = tmp_path / "out"
    out.mkdir()

    def ask(port: int) -> subprocess.CompletedProcess[str]:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2")
        command = ["getscu", "-v", "-S", *extra, "-od", str(out), *keys, "127.0.0.1", str(port)]
        environment = {**os.environ, "TCP_NODELAY": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)

    async with door(tmp_path, sent) as port:
        done = await asyncio.to_thread(ask, port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(out.iterdir())) == 12
    if not extra:
        found = {hashlib.sha256(dataset_bytes(path)).digest() for path in out.iterdir()}
        assert found == {hashlib.sha256(dataset_bytes(path)).digest() for path in sent}


async def test_who_asks_for_both_roles_may_store_and_get_on_one_association(tmp_path: Path) -> None:
    async with door(tmp_path, files(tmp_path / "in", 2)) as port:
        peer = await connected(port)
        contexts = [(STUDY_GET, [IMPLICIT]), (CTImageStorage, [ExplicitVRLittleEndian])]
        await peer.associate(contexts, role(CTImageStorage, scu=True))
        dataset = ct_slice()
        data_set = dataset_bytes(saved(dataset, tmp_path))
        await peer.send(store_message(2, str(dataset.SOPInstanceUID), data_set, context_id=3))
        assert (await peer.response()).status == 0
        await peer.send(get_message(3))
        stores, last = await take_all(peer)
        assert (len(stores), last.status) == (2, 0)
        await peer.release()
