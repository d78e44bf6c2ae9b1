"""C-MOVE as provider: the job, the progress that it reports, and what happens when something goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from osteon.bus.port import BusUnavailable
from osteon.contracts.retrieve import (
    MoveCounters,
    MoveProgressed,
    MoveProgressReply,
    MoveProgressRequest,
    StartMoveReply,
    StartMoveRequest,
)
from osteon.dimse.config import RequestorConfig
from osteon.dimse.failure_status import RETRIEVE_STATUSES, SUBOPERATION_STATUSES
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.jobs.port import JobCommand, JobState
from osteon.jobs.run import JobType
from osteon.jobs.runner import JobRunner
from osteon.remotes.port import Modality
from osteon.sending.store_sender import StoreSender
from osteon_dispatcher.cmove import job
from osteon_dispatcher.cmove.job import MoveJobParams, move
from osteon_dispatcher.cmove.scp import MoveScp
from osteon_dispatcher.job_signals import JobSignals
from osteon_dispatcher.remote_addresses import remote_of
from osteon_dispatcher.store_jobs.modality import ModalityStoreContext
from osteon_ingress.retrieve import to_response
from osteon_local.part import free_port
from support.bus.messages import eventually, failure_of
from support.dicom.datasets import ct_slice
from support.dimse.raw_peer import EXPLICIT, STUDY_MOVE, DataSetSink, RecordingHandler, RunningAcceptor, running
from support.indexer.ports import IndexerPorts, indexer_room
from support.jobs.job_types import FAST

PACE = replace(FAST, lease=20.0)
"""On a busy machine no lease runs out, which would send instances twice."""


def status_of(progress: MoveCounters) -> Status:
    """Return the status of the response that `ingress` makes of it."""
    return to_response(progress).status


@dataclass
class MoveArchive:
    """An archive with one study, and who answers for C-MOVE."""

    room: IndexerPorts
    study: str
    uids: list[str]
    signals: JobSignals = field(default_factory=JobSignals)
    events: list[MoveProgressed] = field(default_factory=list)

    @property
    def moves(self) -> MoveScp:
        return MoveScp(self.room.index, self.signals, "OSTEON")

    @asynccontextmanager
    async def dispatcher(self, patience: float = 30.0, signals: JobSignals | None = None) -> AsyncIterator[None]:
        """Run jobs."""
        index = self.room.index
        sender = StoreSender(self.room.objects, self.room.bus)
        stores = ModalityStoreContext(
            index=index, sender=sender, remote_of=remote_of, config=RequestorConfig(), aet="OSTEON"
        )
        work = partial(move, stores=stores, bus=self.room.bus, signals=signals or self.signals, patience=patience)
        async with JobRunner(index.jobs, {MoveJobParams.TYPE: JobType(work, patience)}, PACE):
            yield

    async def destination(self, port: int, **more: Any) -> None:
        made = Modality(name="sink", aet="SINK", host="127.0.0.1", port=port, **more)
        await self.room.index.remotes.put_modality(made)

    async def begin(self, destination: str = "SINK", **keys: str) -> StartMoveReply:
        dataset, buffer = Dataset(), DicomBytesIO()
        for keyword, value in (keys or {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": self.study}).items():
            setattr(dataset, keyword, value)
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, dataset)
        request = StartMoveRequest(
            correlation_id="c",
            sop_class_uid=STUDY_MOVE,
            transfer_syntax_uid=EXPLICIT,
            destination=destination,
            identifier=buffer.getvalue(),
            calling_aet="ASKER",
            called_aet="ARCHIVE",
            message_id=7,
            progress_address="ingress.1",
        )
        return await self.moves.begin(request)

    async def watch(self, job_id: str, *, cancel: bool = False) -> MoveProgressReply:
        return await self.moves.progress(MoveProgressRequest(correlation_id="c", job_id=job_id, cancel=cancel))

    async def until(
        self, job_id: str, enough: Callable[[MoveProgressReply], bool] = lambda p: p.done
    ) -> MoveProgressReply:
        """Ask for the job's row until it says enough."""
        async with asyncio.timeout(20):
            while not enough(progress := await self.watch(job_id)):
                await asyncio.sleep(0.01)
        return progress

    async def last_event(self) -> MoveProgressed:
        """Wait for the event that ends a C-MOVE; no counts may have gone back before it."""
        await eventually(lambda: bool(self.events) and self.events[-1].done, seconds=20)
        finished = [event.completed + event.failed + event.warning for event in self.events]
        assert finished == sorted(finished)
        assert [event.done for event in self.events].count(True) == 1
        return self.events[-1]

    async def state(self, job_id: str) -> JobState:
        async with asyncio.timeout(10):
            while (job := await self.room.index.jobs.get(job_id)).state in (JobState.RUNNING, JobState.PENDING):
                await asyncio.sleep(0.01)
        return job.state


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MoveArchive]:
    monkeypatch.setattr(job, "PAGE", 4)
    monkeypatch.setattr(job, "_PAUSES", (0.01, 0.05))
    monkeypatch.setattr("osteon_dispatcher.checkpoints.SAVE_SECONDS", 0.0)
    async with indexer_room(tmp_path) as room:
        first = ct_slice()
        study, series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
        slices = [first, *(ct_slice(study=study, series=series, number=n) for n in range(2, 11))]
        await room.run(await room.put("1" * 32, *slices))
        world = MoveArchive(room, study, [str(each.SOPInstanceUID) for each in slices])

        async def receive(event: MoveProgressed) -> None:
            world.events.append(event)

        await room.bus.subscribe(MoveProgressed, receive, address="ingress")
        yield world


def got(peer: RunningAcceptor) -> list[str]:
    return [sink.request.sop_instance_uid for sink in peer.handler.sinks if sink.end == "finish"]


def answering(answers: dict[str, Outcome]) -> RecordingHandler:
    async def finish(sink: DataSetSink) -> Outcome:
        return answers.get(sink.request.sop_instance_uid, Outcome(Status.SUCCESS))

    return RecordingHandler(on_finish=finish)


class Gate:
    """Answers `free` C-STOREs at once, and the others when it is opened."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.handler = RecordingHandler(on_finish=self._finish)

    async def _finish(self, _: DataSetSink) -> Outcome:
        self.free -= 1
        if self.free < 0:
            self.reached.set()
            await self.opened.wait()
        return Outcome(Status.SUCCESS)


async def test_all_instances_of_a_study_are_moved_in_order_and_say_who_asked(world):
    async with world.dispatcher(), running() as peer:
        await world.destination(peer.port)
        started = await world.begin()
        progress = await world.until(started.job_id)
        assert got(peer) == world.uids
        sink = peer.handler.sinks[0]
        assert (sink.request.move_originator_aet, sink.request.move_originator_message_id) == ("ASKER", 7)
        assert peer.handler.info.calling_aet == "OSTEON"
        assert await world.state(started.job_id) is JobState.SUCCESS
    assert (started.total, bool(started.job_id)) == (10, True)
    assert (progress.completed, progress.failed, progress.remaining) == (10, 0, 0)
    assert (status_of(progress), progress.failed_uids, progress.error_comment) == (0x0000, [], "")


async def test_each_checkpoint_is_an_event_for_the_ingress_that_asked(world):
    gate = Gate(3)
    async with world.dispatcher(), running(gate.handler) as peer:
        await world.destination(peer.port)
        await world.begin()
        await eventually(lambda: bool(world.events) and world.events[-1].completed == 3, seconds=20)
        event = world.events[-1]
        assert (event.done, status_of(event), event.remaining) == (False, Status.PENDING, 7)
        assert (event.address, event.correlation_id) == ("ingress.1", "c")
        gate.opened.set()
        last = await world.last_event()
    assert (last.completed, last.remaining, status_of(last)) == (10, 0, Status.SUCCESS)


async def test_a_broker_that_is_down_does_not_stop_a_move(world, monkeypatch):
    async def publish(_: object) -> None:
        raise BusUnavailable("no broker")

    async with world.dispatcher(), running() as peer:
        await world.destination(peer.port)
        monkeypatch.setattr(world.room.bus, "publish", publish)
        started = await world.begin()
        assert (await world.until(started.job_id)).completed == 10
    assert world.events == []


async def test_who_asks_sees_the_counters_move(world):
    gate = Gate(3)
    async with world.dispatcher(), running(gate.handler) as peer:
        await world.destination(peer.port)
        started = await world.begin()
        progress = await world.until(started.job_id, lambda p: p.completed == 3)
        assert (progress.done, status_of(progress), progress.remaining) == (False, Status.PENDING, 7)
        gate.opened.set()
        assert (await world.until(started.job_id)).completed == 10


@pytest.mark.parametrize("own", [False, True], ids=["unknown", "own"])
async def test_a_destination_that_is_no_modality_is_refused(world, own):
    outcome = RETRIEVE_STATUSES.outcome(await failure_of(world.begin("OSTEON" if own else "NOBODY")))
    assert outcome.status == Status.MOVE_DESTINATION_UNKNOWN
    assert ("this archive itself" if own else "NOBODY") in outcome.comment


async def test_a_destination_may_be_named_by_its_name_but_an_ae_title_takes_precedence(world):
    await world.destination(1)  # the modality sink with the AE title SINK
    await world.begin("sink")
    await world.room.index.remotes.put_modality(Modality(name="other", aet="sink", host="127.0.0.1", port=2))
    await world.begin("sink")
    jobs = await world.room.index.jobs.list()
    assert sorted(job.params["modality"] for job in jobs) == ["other", "sink"]


async def test_nothing_to_move_is_a_success_without_a_job(world):
    await world.destination(1)
    started = await world.begin(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3.4")
    assert (started.job_id, started.total) == ("", 0)
    assert await world.room.index.jobs.list() == []


async def test_an_identifier_that_means_nothing_begins_nothing(world):
    await world.destination(1)
    outcome = RETRIEVE_STATUSES.outcome(await failure_of(world.begin(QueryRetrieveLevel="STUDY")))
    assert outcome.status == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert "(0020,000D)" in outcome.comment
    assert await world.room.index.jobs.list() == []


async def test_what_the_destination_refuses_is_listed_and_the_job_has_failed(world):
    refused = {world.uids[2]: Outcome(Status.OUT_OF_RESOURCES, "full"), world.uids[5]: Outcome(Status(0xB000))}
    async with world.dispatcher(), running(answering(refused)) as peer:
        await world.destination(peer.port)
        started = await world.begin()
        progress = await world.until(started.job_id)
        assert await world.state(started.job_id) is JobState.FAILURE
    assert (progress.completed, progress.failed, progress.warning) == (8, 1, 1)
    assert (status_of(progress), progress.failed_uids) == (0xB000, [world.uids[2]])
    assert progress.error_comment == "answered 0xA700 full"
    last = await world.last_event()
    assert (status_of(last), last.failed_uids, last.error_comment) == (0xB000, [world.uids[2]], "answered 0xA700 full")


async def test_a_destination_that_takes_nothing_is_a_failure(world):
    async with world.dispatcher(), running(RecordingHandler(refusal=Outcome(Status.NOT_AUTHORIZED, "no"))) as peer:
        await world.destination(peer.port)
        progress = await world.until((await world.begin()).job_id)
    assert (status_of(progress), progress.failed, progress.failed_uids) == (0xA702, 10, world.uids)


async def test_a_destination_that_comes_back_gets_the_rest(world):
    gate = Gate(4)
    port = free_port()
    await world.destination(port)
    async with world.dispatcher():
        async with running(gate.handler) as first:
            await world.destination(first.port)
            started = await world.begin()
            await gate.reached.wait()
            await world.destination(port)
            closing = asyncio.create_task(first.acceptor.close(0))
            await asyncio.sleep(0.05)
            gate.opened.set()
            await closing
        await asyncio.sleep(0.1)
        async with running() as second:
            await world.destination(second.port)
            progress = await world.until(started.job_id)
            assert got(second) == world.uids[4:]
    assert (progress.completed, progress.failed, status_of(progress)) == (10, 0, 0)


async def test_a_destination_that_stays_away_is_given_up_after_a_while(world):
    await world.destination(free_port())
    async with world.dispatcher(patience=0.2):
        started = await world.begin()
        progress = await world.until(started.job_id)
        assert await world.state(started.job_id) is JobState.FAILURE
    assert (status_of(progress), progress.failed, progress.remaining) == (0xA702, 10, 0)
    assert progress.failed_uids == world.uids
    assert "127.0.0.1" in progress.error_comment


async def test_a_cancelled_move_ends_after_the_instance_that_is_on_its_way(world):
    gate = Gate(4)
    async with world.dispatcher(), running(gate.handler) as peer:
        await world.destination(peer.port)
        started = await world.begin()
        await gate.reached.wait()
        await world.watch(started.job_id, cancel=True)
        gate.opened.set()
        progress = await world.until(started.job_id)
        assert await world.state(started.job_id) is JobState.FAILURE
        await asyncio.wait_for(peer.handler.ended.wait(), 5)
        assert progress.completed == len(got(peer)) < 10
    assert status_of(progress) == Status.CANCEL
    assert progress.remaining == 10 - progress.completed
    last = await world.last_event()
    assert (status_of(last), last.completed, last.remaining) == (Status.CANCEL, progress.completed, progress.remaining)


async def test_a_move_that_nobody_runs_yet_can_be_cancelled(world):
    await world.destination(1)
    started = await world.begin()
    progress = await world.watch(started.job_id, cancel=True)
    assert (progress.done, status_of(progress), progress.remaining) == (True, Status.CANCEL, 10)
    assert status_of(await world.watch(started.job_id, cancel=True)) == Status.CANCEL


async def test_another_dispatcher_goes_on_where_one_has_stopped(world):
    gate = Gate(5)
    async with running(gate.handler) as first, running() as second:
        await world.destination(first.port)
        async with world.dispatcher(signals=JobSignals()):
            started = await world.begin()
            await gate.reached.wait()
            await world.destination(second.port)
        gate.opened.set()
        async with world.dispatcher(signals=JobSignals()):
            progress = await world.until(started.job_id)
        assert got(second) == world.uids[5:]
    assert (progress.completed, progress.failed) == (10, 0)
    assert (await world.last_event()).completed == 10


async def test_a_move_that_is_cancelled_in_its_row_alone_reports_its_end(world):
    gate = Gate(4)
    async with world.dispatcher(), running(gate.handler) as peer:
        await world.destination(peer.port)
        started = await world.begin()
        await gate.reached.wait()
        await world.room.index.jobs.command(started.job_id, JobCommand.CANCEL)
        last = await world.last_event()
        gate.opened.set()
    assert (status_of(last), last.completed, last.remaining) == (Status.CANCEL, 4, 6)


async def test_a_move_that_failed_sends_all_again_when_it_is_resubmitted(world):
    async with world.dispatcher():
        async with running(answering({world.uids[0]: Outcome(Status.OUT_OF_RESOURCES)})) as peer:
            await world.destination(peer.port)
            started = await world.begin()
            assert (await world.until(started.job_id)).failed == 1
            assert await world.state(started.job_id) is JobState.FAILURE
        async with running() as peer:
            await world.destination(peer.port)
            await world.room.index.jobs.command(started.job_id, JobCommand.RESUBMIT)
            assert await world.state(started.job_id) is JobState.SUCCESS
            assert got(peer) == world.uids


async def test_a_job_that_was_deleted_is_over(world):
    outcome = SUBOPERATION_STATUSES.outcome(await failure_of(world.watch("00000000-0000-0000-0000-000000000000")))
    assert (outcome.status, outcome.comment) == (Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, "the job was deleted")


async def test_a_modality_that_is_removed_meanwhile_fails_the_rest(world):
    await world.destination(1)
    started = await world.begin()
    await world.room.index.remotes.delete_modality("sink")
    async with world.dispatcher():
        progress = await world.until(started.job_id)
    assert (status_of(progress), progress.failed, progress.remaining) == (0xA702, 10, 0)
