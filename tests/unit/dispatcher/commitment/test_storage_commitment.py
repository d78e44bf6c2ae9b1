"""Storage commitment as provider and as user, from the association to the index, with pynetdicom as the peer."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

from osteon.commitment.port import CommitmentItem
from osteon.commitment.requests import request_commitment
from osteon.dimse.errors import ConnectFailed, NotAccepted
from osteon.errors import Invalid
from osteon.jobs.port import JobState
from osteon.remotes.port import Modality
from osteon_dispatcher.commitment import rpc
from osteon_dispatcher.commitment.scp import NotIndexedYet
from osteon_local.part import free_port
from support.dicom.datasets import ct_slice
from support.dimse.pynetdicom_acceptor import accepting
from support.dispatcher.commitment import (
    INSTANCE,
    UNKNOWN,
    CommitmentArchive,
    ReceivedReports,
    action,
    ask_and_leave,
    asking_for,
    association,
    commitment_world,
    known,
    listening,
)
from support.index.stored_packs import CT, MR


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CommitmentArchive]:
    async with commitment_world(tmp_path) as made:
        yield made


# As provider.


async def test_the_report_comes_on_the_requesters_association_while_it_is_open(world):
    item, reports = await world.stored(), ReceivedReports()
    async with association(world, reports) as made:
        assert await action(made, asking_for(item, UNKNOWN)) == 0x0000
        await world.run()
        await reports.wait()
    assert reports.got == [(2, "1.2.3", [item.sop_instance_uid], {UNKNOWN.sop_instance_uid: 0x0112})]
    assert [job.type for job in world.jobs.all.values()] == ["StorageCommitmentScp"]


async def test_the_report_comes_on_a_new_association_when_the_requester_has_left(world):
    item, reports, port = await world.stored(), ReceivedReports(), free_port()
    await known(world, port)
    await ask_and_leave(world, asking_for(item))
    with listening(reports, port):
        await world.run()
    assert reports.got == [(1, "1.2.3", [item.sop_instance_uid], {})]


async def test_what_the_job_shows_is_named_as_in_orthanc(world):
    item = await world.stored()
    await ask_and_leave(world, asking_for(item))
    (job,) = world.jobs.all.values()
    assert job.content == {
        "CalledAet": "OSTEON", "RemoteAet": "MODALITY", "TransactionUid": "1.2.3", "InstancesCount": 1
    }  # fmt: skip


async def test_a_requester_that_is_down_gets_the_report_once_it_is_up_and_only_once(world):
    item, reports, port = await world.stored(), ReceivedReports(), free_port()
    await known(world, port)
    await ask_and_leave(world, asking_for(item))
    with pytest.raises(ConnectFailed):
        await world.run()
    with listening(reports, port):
        await world.run()
        await world.run()
    assert len(reports.got) == 1


async def test_what_was_checked_is_not_checked_again_when_the_report_is_sent_later(world):
    item, reports, port = await world.stored(), ReceivedReports(), free_port()
    await known(world, port)
    await ask_and_leave(world, asking_for(item))
    with pytest.raises(ConnectFailed):
        await world.run()
    async for info in world.room.objects.list():
        await world.room.objects.delete(info.key)
    with listening(reports, port):
        await world.run()
    assert reports.got[0][0] == 1


async def test_nobody_is_known_under_the_requesters_ae_title(world):
    item, reports, port = await world.stored(), ReceivedReports(), free_port()
    await ask_and_leave(world, asking_for(item))
    with pytest.raises(Invalid, match=r"no modality has the AE title 'MODALITY'.*resubmit"):
        await world.run()
    await known(world, port)
    with listening(reports, port):
        await world.run()
    assert len(reports.got) == 1


async def test_the_modality_on_the_requesters_host_is_reported_to(world):
    item, reports, port = await world.stored(), ReceivedReports(), free_port()
    elsewhere = Modality(name="a", aet="MODALITY", host="192.0.2.1", port=port)
    await world.room.index.remotes.put_modality(elsewhere)
    await known(world, port, name="b")
    await ask_and_leave(world, asking_for(item))
    with listening(reports, port):
        await world.run()
    assert len(reports.got) == 1


@pytest.mark.slow
async def test_an_instance_on_its_way_is_waited_for(world):
    dataset, port, reports = ct_slice(), free_port(), ReceivedReports()
    item = CommitmentItem(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
    await known(world, port)
    await ask_and_leave(world, asking_for(item))
    with listening(reports, port):
        running = asyncio.create_task(world.run(wait=600))
        await asyncio.sleep(0.3)
        await world.room.run(await world.room.put("a" * 32, dataset))
        await running
    assert reports.got == [(1, "1.2.3", [item.sop_instance_uid], {})]


async def test_a_job_that_has_waited_long_gives_its_place_to_others(world, monkeypatch):
    monkeypatch.setattr("osteon_dispatcher.commitment.scp._LOOKS", 2)
    await ask_and_leave(world, asking_for(UNKNOWN))
    with pytest.raises(NotIndexedYet, match="1 of 1 instances are not indexed yet"):
        await world.run(wait=600)


@pytest.mark.slow
async def test_a_wrong_class_and_a_lost_object_are_told_apart(world):
    wrong, lost, port, reports = await world.stored(), await world.stored(), free_port(), ReceivedReports()
    await known(world, port)
    async for pack in world.room.index.pack_rows():
        async for member in world.room.index.pack_members(pack.pack_id):
            if member.identity.sop_uid == lost.sop_instance_uid:
                await world.room.objects.delete(pack.key)
    await ask_and_leave(world, asking_for(CommitmentItem(MR, wrong.sop_instance_uid), lost))
    with listening(reports, port):
        await world.run()
    assert reports.got == [(2, "1.2.3", [], {lost.sop_instance_uid: 0x0110, wrong.sop_instance_uid: 0x0119})]


async def test_the_same_request_again_is_one_transaction_with_one_job(world):
    item = await world.stored()
    for _ in range(2):
        await ask_and_leave(world, asking_for(item))
    assert len(world.jobs.all) == 1


async def test_the_same_request_again_runs_a_job_again_that_failed(world):
    item = await world.stored()
    await ask_and_leave(world, asking_for(item))
    (job,) = world.jobs.all.values()
    world.jobs.put(replace(job, state=JobState.FAILURE))
    await ask_and_leave(world, asking_for(item))
    assert [each.state for each in world.jobs.all.values()] == [JobState.PENDING]


async def test_other_instances_under_a_used_transaction_uid_fail_as_duplicate(world):
    item, other, reports = await world.stored(), await world.stored(), ReceivedReports()
    await ask_and_leave(world, asking_for(item))
    async with association(world, reports) as made:
        assert await action(made, asking_for(other)) == 0x0000
        await world.run()
        await reports.wait()
    assert reports.got == [(2, "1.2.3", [], {other.sop_instance_uid: 0x0131})]


async def test_a_requester_that_refuses_on_its_association_is_reported_to_on_another(world):
    item, refusing, reports, port = await world.stored(), ReceivedReports(status=0x0110), ReceivedReports(), free_port()
    await known(world, port)
    with listening(reports, port):
        async with association(world, refusing) as made:
            await action(made, asking_for(item))
            await world.run()
    assert (len(refusing.got), len(reports.got)) == (1, 1)


@pytest.mark.parametrize(("status", "error"), [(0x0110, "answers 0x0110"), (0x0115, "answers 0x0115")])
async def test_a_report_that_is_refused_is_an_error_that_says_how(world, status, error):
    item, port = await world.stored(), free_port()
    await known(world, port)
    await ask_and_leave(world, asking_for(item))
    with listening(ReceivedReports(status=status), port), pytest.raises(Exception, match=error) as caught:
        await world.run()
    assert isinstance(caught.value, Invalid) is (status == 0x0115)


async def test_a_request_without_items_or_of_rubbish_is_an_invalid_argument(world):
    async with association(world, ReceivedReports()) as made:
        assert await action(made, asking_for()) == 0x0115
        wrong = asking_for(UNKNOWN)
        del wrong.TransactionUID
        assert await action(made, wrong) == 0x0115
    assert not world.jobs.all


async def test_a_request_is_refused_while_the_index_is_down(world, monkeypatch):
    async def down(*_: object, **__: object) -> None:
        raise ConnectFailed("down")

    monkeypatch.setattr(world.jobs, "submit", down)
    async with association(world, ReceivedReports()) as made:
        assert await action(made, asking_for(UNKNOWN)) == 0x0110


# As user.


def provider_of(world: CommitmentArchive, got: list[Dataset], *, report: Any = None) -> Any:
    """Return a pynetdicom N-ACTION handler that accepts."""

    def take(event: Any) -> tuple[int, None]:
        got.append(event.action_information)
        if report is not None:
            threading.Thread(target=report, args=(event,)).start()
        return 0x0000, None

    return take


def told(asked: Dataset, failed: dict[str, int]) -> Dataset:
    """Return the report on a request."""
    report = Dataset()
    report.TransactionUID = asked.TransactionUID
    report.ReferencedSOPSequence, report.FailedSOPSequence = [], []
    for item in asked.ReferencedSOPSequence:
        uid = str(item.ReferencedSOPInstanceUID)
        if uid in failed:
            item.FailureReason = failed[uid]
            report.FailedSOPSequence.append(item)
        else:
            report.ReferencedSOPSequence.append(item)
    return report


async def asked_for(world: CommitmentArchive, *items: CommitmentItem, port: int) -> str:
    modality = await known(world, port, name="archive", aet="ARCHIVE")
    commitments = world.room.index.commitments
    commitment, _ = await request_commitment(commitments, world.jobs, modality, items, aet="HERE")
    return commitment.transaction_uid


async def report_to(world: CommitmentArchive, report: Dataset, *, aet: str = "ARCHIVE", event: int = 1) -> int:
    ae = AE(aet)
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    made = await asyncio.to_thread(ae.associate, "127.0.0.1", world.port, ext_neg=[role])
    assert made.is_established
    send = made.send_n_event_report
    status, _ = await asyncio.to_thread(send, report, event, StorageCommitmentPushModel, INSTANCE)
    await asyncio.to_thread(made.release)
    return int(status.Status)


async def test_a_modality_is_asked_and_its_report_is_taken_on_an_association_of_its_own(world):
    got: list[Dataset] = []
    port, committed, failed = free_port(), CommitmentItem(CT, "1.2.1"), CommitmentItem(MR, "1.2.2")
    with listening(ReceivedReports(), port, aet="ARCHIVE", actions=provider_of(world, got)):
        uid = await asked_for(world, committed, failed, port=port)
        await world.run()
    (asked,) = got
    assert (asked.TransactionUID, len(asked.ReferencedSOPSequence)) == (uid, 2)
    assert (await world.room.index.commitments.by_transaction(uid)).failures is None
    for _ in range(2):  # the same report again changes nothing
        assert await report_to(world, told(asked, {"1.2.2": 0x0112}), event=2) == 0x0000
        done = await world.room.index.commitments.by_transaction(uid)
        assert (done.successes, done.failures) == ((committed,), ((failed, 0x0112),))


async def test_a_report_on_our_own_association_is_taken(world):
    port, item = free_port(), CommitmentItem(CT, "1.2.1")

    def report(event: Any) -> None:
        asked = event.action_information
        event.assoc.send_n_event_report(told(asked, {}), 1, StorageCommitmentPushModel, INSTANCE)

    with listening(ReceivedReports(), port, aet="ARCHIVE", actions=provider_of(world, [], report=report)):
        uid = await asked_for(world, item, port=port)
        await world.run(linger=20)
    assert (await world.room.index.commitments.by_transaction(uid)).successes == (item,)


async def test_what_a_report_says_nothing_about_is_not_committed(world):
    got: list[Dataset] = []
    port, item, other = free_port(), CommitmentItem(CT, "1.2.1"), CommitmentItem(CT, "1.2.2")
    with listening(ReceivedReports(), port, aet="ARCHIVE", actions=provider_of(world, got)):
        uid = await asked_for(world, item, other, port=port)
        await world.run()
    del got[0].ReferencedSOPSequence[1]
    assert await report_to(world, told(got[0], {})) == 0x0000
    assert (await world.room.index.commitments.by_transaction(uid)).failures == ((other, 0x0110),)


async def test_reports_that_nobody_waits_for_are_refused(world):
    uid = await asked_for(world, UNKNOWN, port=1)
    report = told(asking_for(UNKNOWN, uid=uid), {})
    assert await report_to(world, report, aet="STRANGER") == 0x0124
    assert await report_to(world, report, event=3) == 0x0113
    assert await report_to(world, told(asking_for(UNKNOWN, uid="1.2.3.4"), {})) == 0x0115
    assert (await world.room.index.commitments.by_transaction(uid)).failures is None


@pytest.mark.slow
async def test_a_modality_that_refuses_or_knows_no_storage_commitment_is_named(world):
    port = free_port()
    with listening(ReceivedReports(), port, aet="ARCHIVE", actions=lambda event: (0x0124, None)):
        await asked_for(world, UNKNOWN, port=port)
        with pytest.raises(Invalid, match="ARCHIVE answers 0x0124"):
            await world.run()
    plain = AE("ARCHIVE")
    plain.add_supported_context("1.2.840.10008.1.1")
    with accepting(plain, port=port), pytest.raises(NotAccepted, match="ARCHIVE does not offer storage commitment"):
        await world.run()


def test_the_time_for_a_question_is_longer_than_the_pause_between_two():
    assert rpc.WATCHED.total_seconds() > 4 * 2.0
