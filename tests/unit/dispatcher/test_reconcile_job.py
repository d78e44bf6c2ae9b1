"""`osteon_dispatcher.reconcile_job`: what is served, wherever a run ends, and what comes in the meantime."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from osteon.archive.resources import InstanceScope, Location
from osteon.contracts.packs import PackStored
from osteon.contracts.reconciliation import CorrectionEvent, PatientCorrected, Reconciliation
from osteon.contracts.user_data import MetadataValue
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.errors import Unavailable
from osteon.jobs.port import Job
from osteon.reconciliation.requests import reconcile_study, restore_records, undo
from osteon.user_data.change import change_user_data
from osteon.user_data.port import UserData
from osteon_dispatcher import reconcile_job
from osteon_dispatcher.reconcile_job import NotReconciled, correct_patient
from osteon_indexer.sweep import sweep
from support.dispatcher.store_jobs import IndexWithJobs, StoreJobsArchive, sending_world

KNOWN = {"PatientID": "MRN-1", "PatientName": "Doe^Jane"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreJobsArchive]:
    async with sending_world(tmp_path) as made:
        yield made


class Interrupted(Unavailable):
    """What ends a run in the middle."""


async def begin(world: StoreJobsArchive, study: str, **replace: str) -> Reconciliation:
    index: Any = IndexWithJobs(world.room.index, world.jobs)
    made, _ = await reconcile_study(
        await index.get(Level.STUDY, study), replace or KNOWN, objects=world.room.objects, index=index,
        requester="desk", reason="identified", correlation_id="test",
    )  # fmt: skip
    return made


async def run(world: StoreJobsArchive, job: Job | None = None) -> dict[str, Any]:
    """Run a job, the newest one, once, with an indexer beside it."""
    job = job or list(world.jobs.all.values())[-1]
    publish = world.room.bus.publish

    async def index_at_once(message: Any) -> None:
        if isinstance(message, PackStored):
            await world.room.run(message)
        else:
            await publish(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.room.bus, "publish", index_at_once)
        return dict((await world.run(job)).content)


async def located(world: StoreJobsArchive) -> list[Location]:
    return [at async for at in world.room.index.locate(InstanceScope())]


async def served(world: StoreJobsArchive) -> set[tuple[str, str, str]]:
    """Return Patient ID and name of each instance, of the index and of the file."""
    found = set()
    for at in await located(world):
        dataset = dcmread(DicomBytesIO(await world.room.objects.get_range(at.key, at.offset, at.length)))
        assert dataset.PatientID == at.identity.patient_id
        found.add((at.identity.sop_uid, at.identity.patient_id, str(dataset.PatientName)))
    return found


async def test_all_instances_are_made_anew_once_and_only_what_is_named_changes(world: StoreJobsArchive) -> None:
    study, uids = await world.stored(3)
    before = {at.identity.sop_uid: at for at in await located(world)}
    await begin(world, study)
    assert (await run(world))["ChangedInstancesCount"] == 3
    assert await served(world) == {(uid, "MRN-1", "Doe^Jane") for uid in uids}
    for uid, versions in (await world.room.index.versions(uids)).items():
        assert [each.location.sha256 == before[uid].sha256 for each in versions] == [False, True]
        assert versions[0].received == versions[1].received
        assert versions[0].calling_aet == versions[1].calling_aet
    packs = [each async for each in world.room.index.pack_rows()]
    assert (await run(world))["ChangedInstancesCount"] == 0
    assert [each async for each in world.room.index.pack_rows()] == packs


@pytest.mark.parametrize("step", ["_write", "_decide_ahead", "_store", "_save"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_run_that_ends_anywhere_is_gone_on_with(
    world: StoreJobsArchive, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    study, uids = await world.stored(3)
    await begin(world, study)
    plain = getattr(reconcile_job._StudyRun, step)

    async def interrupted(*arguments: Any) -> None:
        if not before:
            await plain(*arguments)
        raise Interrupted(step)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(reconcile_job._StudyRun, step, interrupted)
        await run(world)
    await run(world)
    assert await served(world) == {(uid, "MRN-1", "Doe^Jane") for uid in uids}
    assert await world.room.index.conflicts() == []
    statistics = await world.room.index.statistics()
    assert (statistics.patients, statistics.studies, statistics.instances) == (1, 1, 3)


async def test_undoing_serves_what_was_received_and_doing_it_again_makes_no_new_files(world: StoreJobsArchive) -> None:
    study, _ = await world.stored(2)
    received = await served(world)
    made = await begin(world, study)
    await run(world)
    index: Any = IndexWithJobs(world.room.index, world.jobs)
    await undo(made, objects=world.room.objects, index=index, requester="desk")
    await run(world)
    assert await served(world) == received
    assert await index.reconciliations.of_studies([made.study_uid]) == {}
    assert await world.room.index.current_id(Level.STUDY, public_id("MRN-1", made.study_uid)) == study


async def test_labels_and_metadata_follow_a_study_to_its_new_identifier_and_back(world: StoreJobsArchive) -> None:
    study, _ = await world.stored(2)
    store = world.room.index.user_data
    ports: Any = {"objects": world.room.objects, "store": store, "correlation_id": "test"}

    def labelled(label: str, revision: int) -> Callable[[UserData], UserData]:
        metadata = {1024: MetadataValue(value=label, revision=revision)}
        return lambda old: replace(old, labels=old.labels | {label}, metadata={**old.metadata, **metadata})

    await change_user_data(Level.STUDY, study, labelled("urgent", 0), **ports)
    made = await begin(world, study)
    await run(world)
    known = public_id("MRN-1", made.study_uid)
    found = await store.read(Level.STUDY, known)
    assert (found.labels, found.metadata[1024].value) == ({"urgent"}, "urgent")
    await change_user_data(Level.STUDY, known, labelled("read", 1), **ports)
    index: Any = IndexWithJobs(world.room.index, world.jobs)
    await undo(made, objects=world.room.objects, index=index, requester="desk")
    await run(world)
    found = await store.read(Level.STUDY, study)
    assert (found.labels, found.metadata[1024].value) == ({"urgent", "read"}, "read")


async def test_what_changes_while_a_run_works_is_followed_by_the_same_run(
    world: StoreJobsArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = await world.stored(1)
    made = await begin(world, study)
    plain, undone = reconcile_job._StudyRun._store, made.model_copy(update={"undone_at": made.created_at})

    async def undo_meanwhile(*arguments: Any) -> None:
        await plain(*arguments)
        await world.room.index.reconciliations.put(undone)

    monkeypatch.setattr(reconcile_job._StudyRun, "_store", undo_meanwhile)
    await run(world)
    assert {patient for _, patient, _ in await served(world)} != {"MRN-1"}


async def test_an_index_that_is_made_anew_serves_the_same(world: StoreJobsArchive, tmp_path: Path) -> None:
    study, _ = await world.stored(2)
    made = await begin(world, study)
    await run(world)
    now = await served(world)
    async with sending_world(tmp_path / "other") as other:
        other.room.objects = world.room.objects
        await sweep(objects=world.room.objects, index=other.room.index, min_age=-made.created_at.resolution)
        assert await served(other) == now
        assert await other.room.index.reconciliations.page() == [made]
        assert await restore_records(
            objects=world.room.objects, reconciliations=other.room.index.reconciliations
        ) == 0  # fmt: skip
        assert await other.room.index.current_id(Level.STUDY, study) == public_id("MRN-1", made.study_uid)


async def test_an_instance_that_cannot_be_changed_is_named_and_the_others_are(
    world: StoreJobsArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, uids = await world.stored(2)
    await begin(world, study)
    plain = reconcile_job.write_reconciled_file

    def fail_for_one(source: Path, offset: int, length: int, elements: Any, target: Path) -> bytes:
        if uids[0] in target.name:
            raise NotReconciled("damaged")
        return plain(source, offset, length, elements, target)

    monkeypatch.setattr(reconcile_job, "write_reconciled_file", fail_for_one)
    with pytest.raises(NotReconciled, match=uids[0]):
        await run(world)
    assert sum(patient == "MRN-1" for _, patient, _ in await served(world)) == 1


async def test_a_correction_from_the_bus_reaches_all_studies_of_a_patient_once(world: StoreJobsArchive) -> None:
    await world.stored(1, PatientID="OLD", PatientName="A^B")
    await world.stored(1, PatientID="OLD", PatientName="A^B")
    await world.stored(1, PatientID="ELSE", PatientName="C^D")
    index: Any = IndexWithJobs(world.room.index, world.jobs)
    correction = PatientCorrected(
        correlation_id="test", event=CorrectionEvent.PATIENT_UPDATED, patient_id="OLD", replace={"PatientName": "X^Y"}
    )
    for _ in range(2):
        await correct_patient(correction, index=index, objects=world.room.objects)
        for job in list(world.jobs.all.values()):
            await run(world, job)
    assert len(await index.reconciliations.page()) == 2
    assert sorted((patient, name) for _, patient, name in await served(world)) == [
        ("ELSE", "C^D"), ("OLD", "X^Y"), ("OLD", "X^Y"),
    ]  # fmt: skip
