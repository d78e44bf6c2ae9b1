"""`DicomModalityStore`: what is sent, what is sent again, and what the job shows of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from osteon.archive.resources import InstanceScope
from osteon.dimse.errors import AssociationAborted, ConnectFailed, NoAnswer
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.jobs.port import Job, JobCommand
from osteon.jobs.run import JobStopped
from osteon.remotes.job_params import ModalityStoreParams, StraightStoreParams
from osteon_dispatcher.store_jobs.send_run import SendFailed, SendIncomplete
from osteon_local.part import free_port
from support.dicom.datasets import ct_slice
from support.dimse.raw_peer import CT, EXPLICIT, DataSetSink, RawPeer, RecordingHandler, pdu, running
from support.dimse.scripted_acceptor import accept, request, response, scripted
from support.dispatcher.store_jobs import StoreJobsArchive, sending_world
from support.jobs.in_memory import FakeRun
from support.packs.sealed_packs import part10

FULL = Outcome(Status.OUT_OF_RESOURCES, "disk full")
WRONG = Outcome(Status.CANNOT_UNDERSTAND, "no such thing")


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoreJobsArchive]:
    monkeypatch.setattr("osteon_dispatcher.store_jobs.send_run._RETRY_PAUSE", 0.01)
    async with sending_world(tmp_path) as made:
        yield made


def refusing(uids: dict[str, Outcome]) -> RecordingHandler:
    async def finish(sink: DataSetSink) -> Outcome:
        return uids.get(sink.request.sop_instance_uid, Outcome(Status.SUCCESS))

    return RecordingHandler(on_finish=finish)


def order(*resources: str, **more: Any) -> ModalityStoreParams:
    return ModalityStoreParams(modality="modality", resources=resources, **more)


def got(handler: RecordingHandler) -> list[str]:
    return [sink.request.sop_instance_uid for sink in handler.sinks if sink.end == "finish"]


async def test_a_study_a_series_and_an_instance_are_sent_in_their_order(world):
    one, first = await world.stored(2)
    _, second = await world.stored(3)
    async for location in world.room.index.locate(InstanceScope(sop_uids=(second[0],))):
        series, single = location.identity.public_series, location.public_id
    async with running() as peer:
        await world.modality(peer.port)
        await world.run(await world.submit(order(series, one, single)))
    assert got(peer.handler) == [*second, *first, second[0]]


async def test_what_the_job_shows_is_named_as_in_orthanc(world):
    study, uids = await world.stored(3)
    async with running(refusing({uids[1]: WRONG})) as peer:
        await world.modality(peer.port)
        job = await world.run(await world.submit(order(study, permissive=True)))
    size = sum([location.length async for location in world.room.index.locate(InstanceScope(sop_uids=(uids[0],)))]) * 3
    assert job.progress == 100
    assert job.content == {
        "ParentResources": ["kept"], "InstancesCount": 3, "FailedInstancesCount": 1, "WarningInstancesCount": 0,
        "Size": job.content["Size"], "SizeMB": 0,
        "FailedInstances": [{"SOPInstanceUID": uids[1], "Reason": "answered 0xC100 no such thing"}],
    }  # fmt: skip
    assert abs(int(job.content["Size"]) - size) < 100


async def test_titles_host_port_and_originator_come_from_the_order_when_it_has_them(world):
    study, _ = await world.stored()
    async with running() as peer:
        await world.modality(1, host="192.0.2.1", local_aet="KNOWN")
        more = {"host": "127.0.0.1", "port": peer.port, "called_aet": "OTHER", "local_aet": "MYSELF"}
        await world.run(await world.submit(order(study, **more, move_originator_aet="ASKER", move_originator_id=7)))
        (sink,) = peer.handler.sinks
        assert (peer.handler.info.called_aet, peer.handler.info.calling_aet) == ("OTHER", "MYSELF")
    assert (sink.request.move_originator_aet, sink.request.move_originator_message_id) == ("ASKER", 7)


async def test_our_title_towards_a_modality_is_the_one_that_it_has_for_us(world):
    study, _ = await world.stored()
    async with running() as peer:
        await world.modality(peer.port, local_aet="KNOWN")
        await world.run(await world.submit(order(study)))
        assert peer.handler.info.calling_aet == "KNOWN"


async def test_what_is_refused_for_good_lets_the_job_fail_when_all_others_are_sent(world):
    study, uids = await world.stored(3)
    async with running(refusing({uids[0]: WRONG})) as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study))
        with pytest.raises(SendFailed, match=rf"1 of 3 instances were not sent, {uids[0]} among them: answered 0xC100"):
            await world.run(job)
    assert got(peer.handler) == uids


async def test_what_failed_is_sent_again_when_the_job_is_resubmitted(world):
    study, uids = await world.stored(3)
    refused = {uids[0]: WRONG}
    async with running(refusing(refused)) as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study))
        for _ in range(2):
            with pytest.raises(SendFailed):
                await world.run(job)
        refused.clear()
        peer.handler.sinks.clear()
        done = await world.run(job)
    assert got(peer.handler) == [uids[0]]
    assert (done.progress, done.content["FailedInstancesCount"]) == (100, 0)


async def test_what_is_refused_for_the_moment_is_sent_again_and_the_rest_is_not(world):
    study, uids = await world.stored(3)
    refused = {uids[1]: FULL}
    async with running(refusing(refused)) as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study))
        with pytest.raises(SendIncomplete, match="disk full"):
            await world.run(job)
        assert got(peer.handler) == [*uids, uids[1]]
        assert world.jobs.all[job.id].progress == 66
        assert world.jobs.all[job.id].content["FailedInstancesCount"] == 1
        refused.clear()
        peer.handler.sinks.clear()
        done = await world.run(job)
    assert got(peer.handler) == [uids[1]]
    assert (done.progress, done.content["FailedInstancesCount"]) == (100, 0)
    assert "FailedInstances" not in done.content


async def test_a_modality_that_is_down_gets_everything_once_it_is_up(world):
    study, uids = await world.stored(2)
    await world.modality(free_port())
    job = await world.submit(order(study))
    with pytest.raises(ConnectFailed):
        await world.run(job)
    assert world.jobs.all[job.id].content["InstancesCount"] == 2
    async with running() as peer:
        await world.modality(peer.port)
        await world.run(job)
    assert got(peer.handler) == uids


async def test_another_worker_goes_on_behind_what_was_saved(world, monkeypatch):
    monkeypatch.setattr("osteon_dispatcher.checkpoints.SAVE_SECONDS", 0.0)
    study, uids = await world.stored(20)
    reached, over = asyncio.Event(), asyncio.Event()

    async def hold(sink: DataSetSink) -> Outcome:
        if sink.request.sop_instance_uid == uids[10] and not reached.is_set():
            reached.set()
            await over.wait()
        return Outcome(Status.SUCCESS)

    async with running(RecordingHandler(on_finish=hold)) as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study))
        dying = asyncio.create_task(world.run(job))
        await reached.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        first = set(got(peer.handler))
        peer.handler.sinks.clear()
        done = await world.run(job)
        again = got(peer.handler)
        over.set()
    assert set(uids) <= first | set(again)
    assert len(again) < len(uids)
    assert again[-1] == uids[-1]
    assert done.progress == 100


async def test_a_job_that_is_cancelled_stops_and_aborts_its_association(world, monkeypatch):
    monkeypatch.setattr("osteon_dispatcher.checkpoints.SAVE_SECONDS", 0.0)
    study, _ = await world.stored(3)

    class Cancelled(FakeRun):
        async def save(self, **changed: Any) -> None:
            await super().save(**changed)
            if self.job.checkpoint.get("done"):
                raise JobStopped(JobCommand.CANCEL)

    async with running() as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study))
        with pytest.raises(JobStopped):
            await world.kinds()[job.type].work(Cancelled(world.jobs, job))
        await peer.handler.ended.wait()
    assert world.jobs.all[job.id].checkpoint["done"] >= 1


@dataclass
class AbortingModality:
    """Ends the association when it is sent one of `bad`; `everything` says that all are bad for now."""

    bad: set[str]
    everything: bool = False
    associations: int = 0
    stored: list[str] = field(default_factory=list)

    async def script(self, peer: RawPeer) -> None:
        """Be the peer of one association."""
        await accept(peer)
        self.associations += 1
        while True:
            try:
                context_id, command, _ = await request(peer)
            except AssertionError:
                await peer.send(pdu(6))  # it was a release
                return
            if self.everything or command.sop_instance_uid in self.bad:
                return
            self.stored.append(command.sop_instance_uid)
            await peer.send(response(command, context_id=context_id))


def failed(world: StoreJobsArchive, job: Job) -> dict[str, str]:
    return {each["SOPInstanceUID"]: each["Reason"] for each in world.jobs.all[job.id].content["FailedInstances"]}


@pytest.mark.parametrize("bad", [[1], [0], [9], [0, 2, 4, 6, 8], list(range(1, 9))], ids=str)
async def test_instances_that_break_associations_fail_after_all_others_were_sent(world, bad):
    study, uids = await world.stored(10)
    modality = AbortingModality({uids[number] for number in bad})
    async with scripted(modality.script) as remote:
        await world.modality(remote.port)
        job = await world.submit(order(study))
        problem: Exception | None = None
        for _ in range(6):  # neighbours end a run: then they are an outage at first
            try:
                await world.run(job)
            except (SendIncomplete, AssociationAborted) as error:
                problem = error
            except SendFailed as error:
                problem = error
                break
        assert isinstance(problem, SendFailed)
    assert sorted(modality.stored, key=uids.index) == [uid for uid in uids if uid not in modality.bad]
    assert failed(world, job).keys() == modality.bad
    assert all("given up, each time the association broke twice" in why for why in failed(world, job).values())
    assert modality.associations <= 4 * len(bad) + 3


@pytest.mark.slow
async def test_instances_that_are_never_answered_fail_after_all_others_were_sent(world):
    study, uids = await world.stored(6)
    silent = {uids[2]}

    async def hold(sink: DataSetSink) -> Outcome:
        if sink.request.sop_instance_uid in silent:
            await asyncio.Event().wait()
        return Outcome(Status.SUCCESS)

    async with running(RecordingHandler(on_finish=hold)) as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study, timeout=1))
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await world.run(job)
        with pytest.raises(SendFailed, match="given up, each time the association broke twice"):
            await world.run(job)
        assert set(uids) - silent <= set(got(peer.handler))
    assert failed(world, job).keys() == silent


async def test_an_instance_that_was_given_up_is_sent_when_the_job_is_resubmitted(world):
    study, uids = await world.stored(3)
    modality = AbortingModality({uids[1]})
    async with scripted(modality.script) as remote:
        await world.modality(remote.port)
        job = await world.submit(order(study))
        with pytest.raises(SendFailed, match="1 of 3 instances were not sent"):
            await world.run(job)
        modality.bad.clear()
        done = await world.run(job)
    assert modality.stored == [uids[0], uids[2], uids[1]]
    assert (done.progress, done.content["FailedInstancesCount"]) == (100, 0)


async def test_a_modality_that_ends_every_association_is_an_outage_for_long_and_not_forever(world):
    study, _ = await world.stored(1)
    modality = AbortingModality(set(), everything=True)
    async with scripted(modality.script) as remote:
        await world.modality(remote.port)
        job = await world.submit(order(study))
        for _ in range(18):
            with pytest.raises(SendIncomplete):
                await world.run(job)
        with pytest.raises(SendFailed, match="given up, each time the association broke twice"):
            await world.run(job)
    assert modality.associations == 40


async def test_what_broke_associations_in_an_outage_is_sent_after_it(world):
    study, uids = await world.stored(5)
    modality = AbortingModality(set(), everything=True)
    async with scripted(modality.script) as remote:
        await world.modality(remote.port)
        job = await world.submit(order(study))
        for _ in range(2):
            with pytest.raises((AssociationAborted, SendIncomplete)):
                await world.run(job)
        modality.everything = False
        done = await world.run(job)
    assert set(modality.stored) == set(uids)
    assert (done.progress, done.content["FailedInstancesCount"]) == (100, 0)


async def test_a_job_whose_associations_break_on_many_instances_ends(world):
    study, uids = await world.stored(60)
    modality = AbortingModality(set(uids[1::2]))
    async with scripted(modality.script) as remote:
        await world.modality(remote.port)
        job = await world.submit(order(study))
        with pytest.raises(SendFailed, match="given up after 21 broken associations: 21 of 60 instances were not sent"):
            await world.run(job)
    assert failed(world, job).keys() == set(uids[1:43:2])
    assert modality.stored == uids[0:42:2]


async def test_a_destination_that_takes_nothing_is_not_sent_everything(world):
    study, uids = await world.stored(150)
    async with running(refusing(dict.fromkeys(uids, FULL))) as peer:
        await world.modality(peer.port)
        job = await world.submit(order(study))
        with pytest.raises(SendIncomplete, match="101 of 150"):
            await world.run(job)
        assert len(got(peer.handler)) < 150


async def test_storage_commitment_is_asked_for_what_was_sent(world):
    study, uids = await world.stored(3)
    async with running(refusing({uids[0]: WRONG})) as peer:
        await world.modality(peer.port)
        asked = order(study, permissive=True, storage_commitment=True, local_aet="MYSELF")
        job = await world.run(await world.submit(asked))
    commitment = await world.room.index.commitments.by_transaction(job.content["StorageCommitmentTransactionUID"])
    assert [item.sop_instance_uid for item in commitment.items] == uids[1:]
    assert (commitment.remote_aet, commitment.local_aet) == ("MODALITY", "MYSELF")
    assert [each.type for each in world.jobs.all.values()] == ["DicomModalityStore", "StorageCommitmentScu"]


@pytest.mark.slow
async def test_a_modality_that_falls_silent_is_an_outage(world):
    study, _ = await world.stored()

    async def silent(_: DataSetSink) -> Outcome:
        await asyncio.sleep(1.5)
        return Outcome(Status.SUCCESS)

    async with running(RecordingHandler(on_finish=silent)) as peer:
        await world.modality(peer.port)
        with pytest.raises(NoAnswer):
            await world.run(await world.submit(order(study, timeout=1)))


@pytest.mark.parametrize("outcome", [Outcome(Status.SUCCESS), WRONG, FULL], ids=["taken", "refused", "later"])
async def test_a_file_that_is_not_stored_is_sent_and_then_forgotten(world, outcome):
    dataset = ct_slice()
    file = part10(dataset)
    await world.room.objects.put("cache/x.dcm", file)
    uid = str(dataset.SOPInstanceUID)
    straight = StraightStoreParams(
        modality="modality", key="cache/x.dcm", length=len(file), sop_class_uid=CT, sop_instance_uid=uid,
        transfer_syntax_uid=EXPLICIT,
    )  # fmt: skip
    async with running(refusing({uid: outcome})) as peer:
        await world.modality(peer.port)
        job = await world.submit(straight)
        if outcome.status == Status.SUCCESS:
            await world.run(job)
        else:
            with pytest.raises(SendIncomplete if outcome is FULL else SendFailed, match=outcome.comment):
                await world.run(job)
    assert got(peer.handler) == [uid]
    assert ("cache/x.dcm" in await world.room.keys()) == (outcome.status != Status.SUCCESS)
