"""`DicomMoveScu` and `DicomGetScu`: what is asked for, what arrives, and what becomes of failures."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from osteon.dicom.header.reader import HeaderReader
from osteon.dimse.config import Remote
from osteon.dimse.errors import ConnectFailed, RequestorError
from osteon.dimse.handler import GetRequest, MoveRequest, Outcome, RetrieveResponse
from osteon.dimse.status import Status
from osteon.remotes.job_params import RetrieveByGetParams, RetrieveByMoveParams
from osteon_dispatcher.retrieve_jobs.c_get import _batches
from osteon_dispatcher.retrieve_jobs.common import RetrieveFailed, RetrieveIncomplete
from osteon_local.part import free_port
from support.dimse.raw_peer import CT, EXPLICIT, DataSetSink, RecordingHandler, running
from support.dispatcher.store_jobs import StoreJobsArchive, sending_world

STUDIES = ({"StudyInstanceUID": "1.2.1"}, {"StudyInstanceUID": "1.2.2"})
MR = "1.2.840.10008.5.1.4.1.1.4"
RARE = str(_batches()[-1][-1].abstract_syntax)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreJobsArchive]:
    async with sending_world(tmp_path) as made:
        yield made


def by_move(*resources: dict[str, str], level: str = "STUDY", **more: Any) -> RetrieveByMoveParams:
    return RetrieveByMoveParams(modality="modality", level=level, resources=resources or STUDIES, **more)


def by_get(*resources: dict[str, str], **more: Any) -> RetrieveByGetParams:
    return RetrieveByGetParams(modality="modality", level="STUDY", resources=resources or STUDIES[:1], **more)


class Mover:
    """Answers C-MOVEs; `answers` has the final response of each."""

    def __init__(self, *answers: RetrieveResponse) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answers = list(answers)

    async def __call__(self, request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        header = orjson.loads(HeaderReader().read(request.identifier, request.context.transfer_syntax).json)
        self.asked.append((request.destination, {tag: each.get("Value") for tag, each in header.items()}))
        yield RetrieveResponse(Status.PENDING, 1, 1)
        yield self._answers.pop(0) if self._answers else RetrieveResponse(Status.SUCCESS, completed=2)


async def test_each_resource_is_one_request_to_the_target(world):
    mover = Mover()
    async with running(RecordingHandler(on_move=mover)) as peer:
        await world.modality(peer.port)
        job = await world.run(await world.submit(by_move(target_aet="TARGET")))
    assert [(target, keys["00080052"], keys["0020000D"]) for target, keys in mover.asked] == [
        ("TARGET", ["STUDY"], ["1.2.1"]), ("TARGET", ["STUDY"], ["1.2.2"])
    ]  # fmt: skip
    assert job.progress == 100
    assert job.content["Details"] == [
        {"Query": study, "DimseErrorStatus": 0, "CompletedCount": 2, "FailedCount": 0} for study in STUDIES
    ]


async def test_without_a_target_it_is_sent_here(world):
    mover = Mover()
    async with running(RecordingHandler(on_move=mover)) as peer:
        await world.modality(peer.port)
        await world.run(await world.submit(by_move({"PatientID": "P"}, level="PATIENT")))
    assert mover.asked[0][0] == "OSTEON"
    assert mover.asked[0][1]["00100020"] == ["P"]


async def test_what_fails_for_good_is_told_when_the_others_are_retrieved(world):
    failed = RetrieveResponse(Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES, 0, 1, 1, failed_uids=("1.2.9",))
    mover = Mover(failed)
    async with running(RecordingHandler(on_move=mover)) as peer:
        await world.modality(peer.port)
        job = await world.submit(by_move())
        with pytest.raises(
            RetrieveFailed, match=r"1 of 2 resources .*0xB000 \(sub operations.*\), 1 instances sent, 1 failed \(1.2.9"
        ):
            await world.run(job)
    assert len(mover.asked) == 2
    assert [each["DimseErrorStatus"] for each in world.jobs.all[job.id].content["Details"]] == [0xB000, 0]


async def test_what_failed_is_asked_for_again_when_the_job_is_resubmitted(world):
    mover = Mover(RetrieveResponse(Status.MOVE_DESTINATION_UNKNOWN))
    async with running(RecordingHandler(on_move=mover)) as peer:
        await world.modality(peer.port)
        job = await world.submit(by_move())
        with pytest.raises(RetrieveFailed):
            await world.run(job)
        done = await world.run(job)
    assert [keys["0020000D"] for _, keys in mover.asked] == [["1.2.1"], ["1.2.2"], ["1.2.1"]]
    assert [each["DimseErrorStatus"] for each in done.content["Details"]] == [0, 0]


async def test_a_permissive_job_succeeds_with_what_it_got(world):
    mover = Mover(RetrieveResponse(Status.MOVE_DESTINATION_UNKNOWN))
    async with running(RecordingHandler(on_move=mover)) as peer:
        await world.modality(peer.port)
        job = await world.run(await world.submit(by_move(permissive=True)))
    assert [each["DimseErrorStatus"] for each in job.content["Details"]] == [0xA801, 0]


async def test_what_fails_for_the_moment_is_asked_for_again_and_the_rest_is_not(world):
    mover = Mover(RetrieveResponse(Status.SUCCESS), RetrieveResponse(Status.OUT_OF_RESOURCES, comment="later"))
    async with running(RecordingHandler(on_move=mover)) as peer:
        await world.modality(peer.port)
        job = await world.submit(by_move())
        with pytest.raises(RetrieveIncomplete, match="later"):
            await world.run(job)
        await world.run(job)
    assert [keys["0020000D"] for _, keys in mover.asked] == [["1.2.1"], ["1.2.2"], ["1.2.2"]]


async def test_a_modality_that_is_down_is_an_outage(world):
    await world.modality(free_port())
    with pytest.raises(ConnectFailed):
        await world.run(await world.submit(by_move()))


# C-GET.


def sending(
    *instances: tuple[str, str], size: int = 1000, outcomes: list[Outcome] | None = None
) -> Callable[[GetRequest], AsyncIterator[RetrieveResponse]]:
    """Return what sends instances (SOP class, UID), as far as there are contexts."""

    async def get(request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        completed, failed = 0, []
        for number, (sop_class, uid) in enumerate(instances):
            contexts = [each for each in request.user.contexts_to_use(sop_class) if each.transfer_syntax == EXPLICIT]
            if contexts:
                outcome = await request.user.store(contexts[0], sop_class, uid, _parts(uid, size))
                if outcomes is not None:
                    outcomes.append(outcome)
                completed += outcome.status == Status.SUCCESS
            if not contexts or outcome.status != Status.SUCCESS:
                failed.append(uid)
            yield RetrieveResponse(Status.PENDING, len(instances) - number - 1, completed, len(failed))
        status = Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES if failed else Status.SUCCESS
        yield RetrieveResponse(status, 0, completed, len(failed), failed_uids=tuple(failed))

    return get


async def _parts(uid: str, size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 1 << 16):
        yield uid.encode()[-1:] * min(1 << 16, size - start)


def received(door: RecordingHandler) -> dict[str, int]:
    return {sink.request.sop_instance_uid: sink.size for sink in door.sinks if sink.end == "finish"}


async def test_what_a_get_brings_is_handed_to_the_own_door_as_it_came(world):
    handler = RecordingHandler(on_get=sending((CT, "1.2.3"), (MR, "1.2.4"), size=200_000))
    async with running(handler) as peer, running() as own:
        await world.modality(peer.port)
        world.door = Remote(aet="OSTEON", host="127.0.0.1", port=own.port)
        job = await world.run(await world.submit(by_get()))
    assert received(own.handler) == {"1.2.3": 200_000, "1.2.4": 200_000}
    assert bytes(own.handler.sinks[0].data) == b"3" * 200_000
    assert [(sink.context.abstract_syntax, sink.context.transfer_syntax) for sink in own.handler.sinks] == [
        (CT, EXPLICIT), (MR, EXPLICIT)
    ]  # fmt: skip
    assert job.content["Details"][0] == {
        "Query": STUDIES[0], "DimseErrorStatus": 0, "CompletedCount": 2, "FailedCount": 0
    }  # fmt: skip


async def test_an_instance_is_acknowledged_only_when_the_own_door_has_it(world):
    outcomes: list[Outcome] = []
    holding = asyncio.Event()

    async def later(_: DataSetSink) -> Outcome:
        await holding.wait()
        return Outcome(Status.SUCCESS)

    handler = RecordingHandler(on_get=sending((CT, "1.2.3"), outcomes=outcomes))
    async with running(handler) as peer, running(RecordingHandler(on_finish=later)) as own:
        await world.modality(peer.port)
        world.door = Remote(aet="OSTEON", host="127.0.0.1", port=own.port)
        job = asyncio.create_task(world.run(await world.submit(by_get())))
        while not own.handler.sinks or own.handler.sinks[0].end != "finish":
            await asyncio.sleep(0.01)
        assert outcomes == []
        holding.set()
        await job
    assert [outcome.status for outcome in outcomes] == [Status.SUCCESS]


async def test_what_the_own_door_refuses_is_not_acknowledged_and_tried_again_later(world):
    outcomes: list[Outcome] = []

    async def full(_: DataSetSink) -> Outcome:
        return Outcome(Status.OUT_OF_RESOURCES, "spool full")

    handler = RecordingHandler(on_get=sending((CT, "1.2.3"), outcomes=outcomes))
    async with running(handler) as peer, running(RecordingHandler(on_finish=full)) as own:
        await world.modality(peer.port)
        world.door = Remote(aet="OSTEON", host="127.0.0.1", port=own.port)
        with pytest.raises(RetrieveIncomplete, match=r"this archive did not take it: 1.2.3: 0xA700 spool full"):
            await world.run(await world.submit(by_get()))
    assert [outcome.status for outcome in outcomes] == [Status.OUT_OF_RESOURCES]


async def test_the_own_door_is_down_before_anything_is_asked_for(world):
    async with running(RecordingHandler(on_get=sending((CT, "1.2.3")))) as peer:
        await world.modality(peer.port)
        with pytest.raises(ConnectFailed):
            await world.run(await world.submit(by_get()))


async def test_a_modality_that_breaks_off_leaves_nothing_half(world):
    async def breaks(request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        context = request.user.contexts_to_use(CT)[0]
        await request.user.store(context, CT, "1.2.3", _broken())
        yield RetrieveResponse(Status.SUCCESS)

    async def _broken() -> AsyncIterator[bytes]:
        yield bytes(2 << 20)
        raise RuntimeError("gone")

    async with running(RecordingHandler(on_get=breaks)) as peer, running() as own:
        await world.modality(peer.port)
        world.door = Remote(aet="OSTEON", host="127.0.0.1", port=own.port)
        with pytest.raises(RequestorError):
            await world.run(await world.submit(by_get()))
        await own.handler.ended.wait()
    assert [sink.end for sink in own.handler.sinks] in ([], ["abort"])


async def test_classes_that_do_not_fit_into_one_association_are_fetched_by_another(world):
    handler = RecordingHandler(on_get=sending((CT, "1.2.3"), (RARE, "1.2.4")))
    async with running(handler) as peer, running() as own:
        await world.modality(peer.port)
        world.door = Remote(aet="OSTEON", host="127.0.0.1", port=own.port)
        job = await world.run(await world.submit(by_get()))
    assert sorted(received(own.handler)) == ["1.2.3", "1.2.4"]
    assert len(own.handler.sinks) == 2
    assert job.content["Details"][0]["CompletedCount"] == 2


@pytest.mark.parametrize("final", [Status.UNABLE_TO_PROCESS, Status(0xA900)])
async def test_what_the_modality_lacks_fails_by_get_as_it_does_by_move(world, final):
    async def lacks(_: object) -> AsyncIterator[RetrieveResponse]:
        yield RetrieveResponse(final, comment="no such study")

    async with running(RecordingHandler(on_get=lacks, on_move=lacks)) as peer, running() as own:
        await world.modality(peer.port)
        world.door = Remote(aet="OSTEON", host="127.0.0.1", port=own.port)
        problems = []
        for params in (by_get(), by_move(STUDIES[0])):
            with pytest.raises(
                RetrieveFailed, match=f"{re.escape(final.words)}, 0 instances sent.*no such study"
            ) as caught:
                await world.run(await world.submit(params))
            problems.append(str(caught.value))
    assert problems[0] == problems[1]


def test_every_storage_class_is_asked_for_once_in_associations_that_can_be():
    batches = _batches()
    assert all(len(batch) + 2 <= 128 for batch in batches)
    classes = [{each.abstract_syntax for each in batch} for batch in batches]
    assert sum(map(len, classes)) == len(set().union(*classes))
    assert all(len(each.transfer_syntaxes) <= 50 for batch in batches for each in batch)  # DCMTK's limit
    assert all(each.scp and not each.scu for batch in batches for each in batch)
