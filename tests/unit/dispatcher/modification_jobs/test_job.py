"""`osteon_dispatcher.modification_jobs`: what is made, wherever a run ends, and what the job says of it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from osteon.archive.changes import ChangeType
from osteon.archive.resources import InstanceScope, Location
from osteon.contracts.packs import PackStored
from osteon.dicom.models import Level
from osteon.errors import Unavailable
from osteon.index.sql import SqlIndex
from osteon.jobs.port import Job
from osteon.modification.job_params import ModificationParams, SplitParams
from osteon.modification.request import Modification
from osteon.user_data.change import change_user_data
from osteon.user_data.port import UserData
from osteon_dispatcher.modification_jobs import job as modification_job
from osteon_dispatcher.modification_jobs.job import NotModified
from osteon_dispatcher.pack_delivery import PackDelivery
from support.dispatcher.store_jobs import StoreJobsArchive, sending_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreJobsArchive]:
    async with sending_world(tmp_path) as made:
        yield made


class Interrupted(Unavailable):
    """What ends a run in the middle."""


def params(*resources: str, level: Level = Level.STUDY, bulk: bool = False, **body: Any) -> ModificationParams:
    options = {name: body.pop(name) for name in ("permissive", "keep_labels") if name in body}
    modification = Modification.from_orthanc(body, level, job=True)
    return ModificationParams(resources=resources, modification=modification, bulk=bulk, **options)


async def run(world: StoreJobsArchive, job: Job) -> dict[str, Any]:
    """Run a job once, with an indexer beside it."""
    publish = world.room.bus.publish

    async def index_at_once(message: Any) -> None:
        if isinstance(message, PackStored):
            await world.room.run(message)
        else:
            await publish(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.room.bus, "publish", index_at_once)
        return dict((await world.run(job)).content)


async def located(world: StoreJobsArchive, **scope: Any) -> list[Location]:
    return [at async for at in world.room.index.locate(InstanceScope(**scope))]


async def read(world: StoreJobsArchive, at: Location) -> Dataset:
    return dcmread(DicomBytesIO(await world.room.objects.get_range(at.key, at.offset, at.length)))


async def test_a_study_is_made_anew_with_other_attributes_and_the_old_one_stays(world: StoreJobsArchive) -> None:
    study, uids = await world.stored(3)
    before = {at.identity.sop_uid: await read(world, at) for at in await located(world)}
    content = await run(world, await world.submit(params(study, Replace={"StudyDescription": "new"})))
    assert (content["InstancesCount"], content["FailedInstancesCount"], content["Type"]) == (3, 0, "Study")
    assert content["Path"] == f"/studies/{content['ID']}"
    assert {at.identity.sop_uid for at in await located(world, public_id=study)} == set(uids)
    made = await located(world, public_id=content["ID"])
    assert len(made) == len({at.identity.sop_uid for at in made} - set(uids)) == 3
    assert len({at.identity.series_uid for at in made}) == 1
    for at in made:
        new = await read(world, at)
        old = next(each for each in before.values() if each.InstanceNumber == new.InstanceNumber)
        assert (new.StudyDescription, new.PatientID) == ("new", old.PatientID)
        assert new.PixelData == old.PixelData
        assert at.identity.public_patient == content["PatientID"]


async def test_what_was_made_is_in_the_change_log_and_says_from_what(world: StoreJobsArchive) -> None:
    study, _ = await world.stored(2)
    content = await run(world, await world.submit(params(study)))
    kinds = (ChangeType.MODIFIED_SERIES, ChangeType.MODIFIED_STUDY, ChangeType.MODIFIED_PATIENT)
    changes = (await world.room.index.changes(types=kinds)).changes
    assert [each.type for each in changes] == list(kinds)
    assert changes[1].public_id == content["ID"]
    data = await world.room.index.user_data.read(Level.STUDY, content["ID"])
    assert data.metadata[5].value == study
    assert (await world.room.index.user_data.read(Level.PATIENT, content["PatientID"])).metadata == {}


async def test_labels_are_kept_when_asked_for(world: StoreJobsArchive) -> None:
    study, _ = await world.stored(1)
    (at,) = await located(world)
    for level, public_id in ((Level.STUDY, study), (Level.IMAGE, at.public_id)):
        await change_user_data(
            level, public_id, lambda _: UserData(labels=frozenset({"urgent"})), objects=world.room.objects,
            store=world.room.index.user_data, correlation_id="test",
        )  # fmt: skip
    plain = await run(world, await world.submit(params(study)))
    kept = await run(world, await world.submit(params(study, keep_labels=True)))
    (instance,) = await located(world, public_id=kept["ID"])
    labels = [
        (await world.room.index.user_data.read(level, public_id)).labels
        for level, public_id in (
            (Level.STUDY, plain["ID"]),
            (Level.STUDY, kept["ID"]),
            (Level.IMAGE, instance.public_id),
        )
    ]
    assert labels == [frozenset(), {"urgent"}, {"urgent"}]


@pytest.mark.parametrize("level", [Level.PATIENT, Level.STUDY, Level.SERIES])
async def test_the_levels_keep_what_is_above_them(world: StoreJobsArchive, level: Level) -> None:
    await world.stored(2)
    (at, _) = await located(world)
    public_id = {Level.PATIENT: at.identity.public_patient, Level.STUDY: at.identity.public_study,
                 Level.SERIES: at.identity.public_series}[level]  # fmt: skip
    body = {"Replace": {"PatientID": "other"}, "Force": True} if level is Level.PATIENT else {}
    content = await run(world, await world.submit(params(public_id, level=level, **body)))
    made = (await located(world, public_id=content["ID"]))[0].identity
    same = [made.patient_id == at.identity.patient_id, made.study_uid == at.identity.study_uid,
            made.series_uid == at.identity.series_uid]  # fmt: skip
    assert same == [level is not Level.PATIENT, level is Level.SERIES, False]


async def test_a_study_is_given_to_another_patient(world: StoreJobsArchive) -> None:
    study, _ = await world.stored(1)
    body = {"Replace": {"PatientID": "P-2", "PatientName": "Two^Patient"}, "Force": True}
    content = await run(world, await world.submit(params(study, **body)))
    assert (await located(world, public_id=content["PatientID"]))[0].identity.patient_id == "P-2"


async def test_what_a_job_made_in_the_same_study_is_not_modified_again(world: StoreJobsArchive) -> None:
    study, _ = await world.stored(3)
    body = {"Keep": ["StudyInstanceUID"], "Force": True}
    content = await run(world, await world.submit(params(study, **body)))
    assert content["ID"] == study
    assert len(await located(world)) == 6
    # And another job may do it again.
    assert (await run(world, await world.submit(params(study, **body))))["InstancesCount"] == 6
    assert len(await located(world)) == 12


async def test_a_bulk_job_lists_what_it_made(world: StoreJobsArchive) -> None:
    one, _ = await world.stored(1)
    two, _ = await world.stored(1)
    content = await run(world, await world.submit(params(one, two, level=Level.STUDY, bulk=True)))
    assert Counter(each["Type"] for each in content["Resources"]) == {
        "Patient": 1, "Study": 2, "Series": 2, "Instance": 2,
    }  # fmt: skip


async def test_a_split_shows_its_target(world: StoreJobsArchive) -> None:
    await world.stored(2)
    (at, _) = await located(world)
    split = SplitParams(
        resources=(at.public_id,), modification=Modification(level=Level.STUDY, replace={"StudyDescription": "part"})
    )
    content = await run(world, await world.submit(split))
    (made,) = await located(world, public_id=content["TargetStudy"])
    assert made.identity.study_uid == content["TargetStudyUID"]
    assert (await read(world, made)).StudyDescription == "part"


RUN = modification_job._ModificationRun
PLACES = {
    "before a pack is stored": (PackDelivery, "store", False),
    "when a pack is stored": (PackDelivery, "store", True),
    "when a pack is indexed": (PackDelivery, "wait_for_index", True),
    "when it is noted": (RUN, "_save", True),
    "when all is made": (RUN, "_note_source", True),
    "when changes are logged": (SqlIndex, "log_changes", True),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("time", [1, 2, 3])
async def test_wherever_a_run_ends_the_next_one_goes_on_and_nothing_is_lost_or_doubled(
    world: StoreJobsArchive, monkeypatch: pytest.MonkeyPatch, place: str, time: int
) -> None:
    study, _ = await world.stored(5)
    monkeypatch.setattr(modification_job, "_PACK_INSTANCES", 2)
    job = await world.submit(params(study, Replace={"StudyDescription": "new"}))
    owner, name, after = PLACES[place]
    original, left = getattr(owner, name), time

    async def interrupted(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left or after:
            result = await original(*args)
        if not left:
            raise Interrupted(place)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with suppress(Interrupted):
            await run(world, job)
    content = await run(world, job)
    assert (content["InstancesCount"], content["FailedInstancesCount"]) == (5, 0)
    made = await located(world, public_id=content["ID"])
    assert len(made) == len({at.identity.sop_uid for at in made}) == 5
    assert len(await located(world)) == 10
    assert {(await read(world, at)).StudyDescription for at in made} == {"new"}
    assert world.jobs.all[job.id].progress == 100


async def test_instances_that_cannot_be_read_fail_by_name_and_the_others_are_made(world: StoreJobsArchive) -> None:
    study, uids = await world.stored(3)
    broken = {"Replace": {"ReferencedImageSequence[*].ReferencedSOPInstanceUID": "1.2"}}

    async def write(self: Any, instance: Any, change: Any, target: Path) -> Any:
        if instance.sop_instance_uid == uids[1]:
            raise modification_job.Invalid("cannot be read")
        return await original(self, instance, change, target)

    original = modification_job.InstanceWriter.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modification_job.InstanceWriter, "write", write)
        job = await world.submit(params(study, **broken))
        with pytest.raises(NotModified, match=f"1 of 3 instances not modified: {uids[1]}: cannot be read"):
            await run(world, job)
        content = await run(world, await world.submit(params(study, permissive=True, **broken)))
    assert (content["FailedInstancesCount"], content["FailedInstances"]) == (1, {uids[1]: "cannot be read"})
    assert len(await located(world, public_id=content["ID"])) == 2
