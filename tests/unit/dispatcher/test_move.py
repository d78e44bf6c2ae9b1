"""C-MOVE as provider: the job, what those who watch it are told, and what happens when something goes away."""

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

from osteon.contracts.retrieve import MoveProgress, MoveRequested, MoveStarted, MoveWatched
from osteon.dimse.config import RequestorConfig
from osteon.dimse.failure_status import RETRIEVE_STATUSES, SUBOPERATION_STATUSES
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.jobs.port import JobState, Wish
from osteon.jobs.run import Kind
from osteon.jobs.runner import Runner
from osteon.remotes.port import Modality
from osteon.sending.sending import Sending
from osteon_dispatcher import moving
from osteon_dispatcher.bells import Bells
from osteon_dispatcher.commitment.works import remote_of
from osteon_dispatcher.move import Moves
from osteon_dispatcher.moving import MoveOrder, move
from osteon_dispatcher.outgoing.modality import Stores
from osteon_ingress.retrieve import to_response
from osteon_local.part import free_port
from support.bus import failure_of
from support.dimse import EXPLICIT, STUDY_MOVE, Recorder, Running, Sink, running
from support.indexer import Room, indexer_room
from support.jobs import FAST
from support.make import ct_slice

PACE = replace(FAST, lease=20.0)
"""On a busy machine no lease runs out, which would send instances twice."""


def status_of(progress: MoveProgress) -> Status:
    """Return the status of the response that `ingress` makes of it."""
    return to_response(progress).status


@dataclass
class World:
    """An archive with one study, and who answers for C-MOVE."""

    room: Room
    study: str
    uids: list[str]
    bells: Bells = field(default_factory=Bells)

    @property
    def moves(self) -> Moves:
        return Moves(self.room.index, self.bells, "OSTEON")

    @asynccontextmanager
    async def dispatcher(self, patience: float = 30.0, bells: Bells | None = None) -> AsyncIterator[None]:
        """Run jobs."""
        index = self.room.index
        sending = Sending(self.room.objects, self.room.bus)
        stores = Stores(index=index, sending=sending, remote_of=remote_of, config=RequestorConfig(), aet="OSTEON")
        kind = Kind(partial(move, stores=stores, bells=bells or self.bells, patience=patience), patience)
        async with Runner(index.jobs, {MoveOrder.TYPE: kind}, PACE):
            yield

    async def destination(self, port: int, **more: Any) -> None:
        made = Modality(name="sink", aet="SINK", host="127.0.0.1", port=port, **more)
        await self.room.index.remotes.put_modality(made)

    async def begin(self, destination: str = "SINK", **keys: str) -> MoveStarted:
        dataset, buffer = Dataset(), DicomBytesIO()
        for keyword, value in (keys or {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": self.study}).items():
            setattr(dataset, keyword, value)
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, dataset)
        request = MoveRequested(
            correlation_id="c",
            sop_class_uid=STUDY_MOVE,
            transfer_syntax_uid=EXPLICIT,
            destination=destination,
            identifier=buffer.getvalue(),
            calling_aet="ASKER",
            called_aet="ARCHIVE",
            message_id=7,
        )
        return await self.moves.begin(request)

    async def watch(self, job_id: str, *, cancel: bool = False, seen: int = -1) -> MoveProgress:
        return await self.moves.watch(MoveWatched(correlation_id="c", job_id=job_id, cancel=cancel, seen=seen))

    async def until(self, job_id: str, enough: Callable[[MoveProgress], bool] = lambda p: p.done) -> MoveProgress:
        """Watch as `ingress` does."""
        async with asyncio.timeout(20):
            progress = await self.watch(job_id)
            while not enough(progress):
                seen = progress.completed + progress.failed + progress.warning
                progress = await self.watch(job_id, seen=seen)
        return progress

    async def state(self, job_id: str) -> JobState:
        async with asyncio.timeout(10):
            while (job := await self.room.index.jobs.get(job_id)).state in (JobState.RUNNING, JobState.PENDING):
                await asyncio.sleep(0.01)
        return job.state


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(moving, "PAGE", 4)
    monkeypatch.setattr(moving, "_PAUSES", (0.01, 0.05))
    monkeypatch.setattr("osteon_dispatcher.keeping.SAVE_SECONDS", 0.0)
    async with indexer_room(tmp_path) as room:
        first = ct_slice()
        study, series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
        slices = [first, *(ct_slice(study=study, series=series, number=n) for n in range(2, 11))]
        await room.run(await room.put("1" * 32, *slices))
        yield World(room, study, [str(each.SOPInstanceUID) for each in slices])


def got(peer: Running) -> list[str]:
    return [sink.request.sop_instance_uid for sink in peer.handler.sinks if sink.end == "finish"]


def answering(answers: dict[str, Outcome]) -> Recorder:
    async def finish(sink: Sink) -> Outcome:
        return answers.get(sink.request.sop_instance_uid, Outcome(Status.SUCCESS))

    return Recorder(on_finish=finish)


class Gate:
    """Answers `free` C-STOREs at once, and the others when it is opened."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.handler = Recorder(on_finish=self._finish)

    async def _finish(self, _: Sink) -> Outcome:
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


async def test_who_watches_sees_the_counters_move(world):
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


async def test_a_destination_that_takes_nothing_is_a_failure(world):
    async with world.dispatcher(), running(Recorder(refusal=Outcome(Status.NOT_AUTHORIZED, "no"))) as peer:
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
        cancelling = asyncio.create_task(world.watch(started.job_id, cancel=True))
        await asyncio.sleep(0.05)
        gate.opened.set()
        await cancelling
        progress = await world.until(started.job_id)
        assert await world.state(started.job_id) is JobState.FAILURE
        await asyncio.wait_for(peer.handler.ended.wait(), 5)
        assert progress.completed == len(got(peer)) < 10
    assert status_of(progress) == Status.CANCEL
    assert progress.remaining == 10 - progress.completed


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
        async with world.dispatcher(bells=Bells()):
            started = await world.begin()
            await gate.reached.wait()
            await world.destination(second.port)
        gate.opened.set()
        async with world.dispatcher(bells=Bells()):
            progress = await world.until(started.job_id)
        assert got(second) == world.uids[5:]
    assert (progress.completed, progress.failed) == (10, 0)


async def test_a_move_that_failed_sends_all_again_when_it_is_resubmitted(world):
    async with world.dispatcher():
        async with running(answering({world.uids[0]: Outcome(Status.OUT_OF_RESOURCES)})) as peer:
            await world.destination(peer.port)
            started = await world.begin()
            assert (await world.until(started.job_id)).failed == 1
            assert await world.state(started.job_id) is JobState.FAILURE
        async with running() as peer:
            await world.destination(peer.port)
            await world.room.index.jobs.wish(started.job_id, Wish.RESUBMIT)
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
