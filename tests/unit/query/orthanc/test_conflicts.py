"""Conflicts over HTTP: both versions can be seen and fetched, and one is chosen."""

from pathlib import Path

import orjson
import pytest
from pydicom import Dataset

from osteon.conflicts import apply_decisions
from osteon.dicom.identity import public_id
from osteon.index.sql import SqlIndex
from osteon_indexer.sweep import sweep
from support.dicom.datasets import ct_slice
from support.index.stored_packs import sqlite_url
from support.packs.sealed_packs import part10
from support.query.application import QuerySettings, RunningQuery, door


async def contested(archive: RunningQuery, **changed: str) -> tuple[Dataset, Dataset, int]:
    """Store two versions of an instance; returns them and the number of the conflict."""
    first = ct_slice()
    second = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2, **changed)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    await archive.stow(first)
    response = await archive.http.post("/instances", content=part10(second))
    assert response.json()["Conflict"] is True
    return first, second, (await archive.json("/conflicts"))[-1]["Id"]


async def resolve(archive: RunningQuery, number: int | str, keep: object) -> tuple[int, dict]:
    response = await archive.http.post(f"/conflicts/{number}/resolve", content=orjson.dumps({"keep": keep}))
    return response.status_code, response.json()


async def served(archive: RunningQuery, dataset: Dataset) -> bytes:
    (identifier,) = await archive.json("/instances")
    return (await archive.http.get(f"/instances/{identifier}/file")).content


async def test_a_conflict_shows_both_versions_and_in_what_they_differ(archive: RunningQuery) -> None:
    first, second, number = await contested(archive, PatientName="Roe^Ann", Rows=32, PixelData=bytes(4096))
    shown = await archive.json(f"/conflicts/{number}")
    assert (shown["State"], shown["Served"], shown["Resolved"]) == ("open", "first", None)
    for version, dataset in (("First", first), ("Second", second)):
        assert shown[version]["SOPInstanceUID"] == dataset.SOPInstanceUID
        assert shown[version]["Size"] == len(part10(dataset))
        assert shown[version]["Origin"] == "http"
        assert shown[version]["Object"].endswith(f"{shown[version]['Pack']}.tar")
    assert {each["Keyword"]: (each["First"], each["Second"]) for each in shown["DifferentTags"]} == {
        "PatientName": ({"vr": "PN", "Value": [{"Alphabetic": "Test^Osteon"}]},
                        {"vr": "PN", "Value": [{"Alphabetic": "Roe^Ann"}]}),
        "InstanceNumber": ({"vr": "IS", "Value": [1]}, {"vr": "IS", "Value": [2]}),
        "Rows": ({"vr": "US", "Value": [64]}, {"vr": "US", "Value": [32]}),
        "PixelData": ({"BulkDataLength": 8192}, {"BulkDataLength": 4096}),
    }  # fmt: skip


async def test_both_versions_can_be_fetched_before_and_after_a_decision(archive: RunningQuery) -> None:
    first, second, number = await contested(archive)
    for keep in (None, "second", "first"):
        if keep:
            assert (await resolve(archive, number, keep))[0] == 200
        for version, dataset in (("first", first), ("second", second)):
            response = await archive.http.get(f"/conflicts/{number}/{version}/file")
            assert response.content == part10(dataset)
        assert await served(archive, first) == part10(second if keep == "second" else first)


async def test_a_decision_may_be_repeated_and_is_kept_once_beside_the_packs(archive: RunningQuery) -> None:
    _, second, number = await contested(archive, PatientName="Roe^Ann")
    for _ in range(3):
        status, shown = await resolve(archive, number, "second")
        assert (status, shown["State"], shown["Served"]) == (200, "resolved", "second")
    keys = [info.key async for info in archive.objects.list("conflicts/")]
    assert len(keys) == 1
    assert keys[0].startswith(f"conflicts/{second.SOPInstanceUID}/")
    assert await archive.json("/conflicts") == []
    assert [c["Id"] for c in await archive.json("/conflicts?state=resolved")] == [number]
    assert (await archive.json("/statistics"))["CountConflicts"] == 0
    (found,) = (await archive.http.get("/dicom-web/studies?includefield=PatientName")).json()
    assert found["00100010"]["Value"] == [{"Alphabetic": "Roe^Ann"}]


async def test_an_index_made_again_from_the_objects_follows_the_decision(archive: RunningQuery, tmp_path: Path) -> None:
    *_, number = await contested(archive)
    await contested(archive)
    await resolve(archive, number, "second")
    before = await archive.index.conflicts(resolved=None)
    again = SqlIndex(sqlite_url(tmp_path / "again.sqlite"))
    await sweep(objects=archive.objects, index=again, min_age=-before[0].detected.resolution)
    after = await again.conflicts(resolved=None)
    assert {(c.served, c.aside, c.resolved) for c in after} == {(c.served, c.aside, c.resolved) for c in before}
    assert await again.statistics() == await archive.index.statistics()
    await again.close()


async def test_a_decision_whose_rows_were_not_written_is_followed_by_the_sweep(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, number = await contested(archive)

    async def down(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(archive.index, "decide", down)
        assert (await resolve(archive, number, "second"))[0] == 500
    assert await served(archive, first) == part10(first)
    assert await apply_decisions(objects=archive.objects, index=archive.index) == 1
    assert await served(archive, first) == part10(second)
    assert await apply_decisions(objects=archive.objects, index=archive.index) == 0


@pytest.mark.parametrize("path", ["/conflicts/1", "/conflicts/x", "/conflicts/9/first/file", "/conflicts/" + "9" * 30])
async def test_a_conflict_that_is_not_there_is_not_found(archive: RunningQuery, path: str) -> None:
    assert (await archive.http.get(path)).status_code == 404
    assert (await resolve(archive, "77", "first"))[0] == 404


@pytest.mark.parametrize("keep", ["third", None, 7, ["first"]], ids=str)
async def test_a_decision_for_nothing_is_refused(archive: RunningQuery, keep: object) -> None:
    *_, number = await contested(archive)
    status, answer = await resolve(archive, number, keep)
    assert status == 400
    assert "keep" in answer["Details"]


@pytest.mark.parametrize("query", ["state=done", "study=%2Fetc", "after=x", "limit=-1"])
async def test_a_list_that_can_not_be_made_is_refused(archive: RunningQuery, query: str) -> None:
    assert (await archive.http.get(f"/conflicts?{query}")).status_code == 400


async def test_conflicts_are_listed_of_a_study_in_pages(archive: RunningQuery) -> None:
    first, *_ = await contested(archive)
    await contested(archive)
    study = first.StudyInstanceUID
    assert [c["First"]["StudyInstanceUID"] for c in await archive.json(f"/conflicts?study={study}")] == [study]
    (one,) = await archive.json("/conflicts?limit=1")
    (rest,) = await archive.json(f"/conflicts?after={one['Id']}")
    assert one["Id"] < rest["Id"]


async def two_patients_in_a_study(archive: RunningQuery) -> str:
    """Store a study with an image of each of two patients, in one series; returns its UID."""
    first = ct_slice(PatientID="P1", PatientName="Doe^Jane")
    uids = {"study": first.StudyInstanceUID, "series": first.SeriesInstanceUID}
    await archive.stow(first)
    await archive.stow(ct_slice(number=2, PatientID="P2", PatientName="Roe^Ann", **uids))
    return str(first.StudyInstanceUID)


async def test_a_study_of_two_patients_is_found_once_by_dicomweb_and_listed(archive: RunningQuery) -> None:
    uid = await two_patients_in_a_study(archive)
    await archive.stow(ct_slice(PatientID="P3"))
    (study,) = await archive.json(f"/dicom-web/studies?StudyInstanceUID={uid}")
    assert (study["00100020"]["Value"], study["00201208"]["Value"], study["00201206"]["Value"]) == (["P1"], [2], [1])
    (series,) = await archive.json(f"/dicom-web/studies/{uid}/series")
    assert series["00201209"]["Value"] == [2]
    instances = await archive.json(f"/dicom-web/studies/{uid}/instances?includefield=00100020")
    assert sorted(each["00100020"]["Value"][0] for each in instances) == ["P1", "P2"]
    (of_second,) = await archive.json("/dicom-web/studies?PatientID=P2")
    assert (of_second["0020000D"]["Value"], of_second["00100020"]["Value"]) == ([uid], ["P2"])
    assert of_second["00201208"]["Value"] == [2]
    assert len(await archive.json("/studies")) == 3
    (listed,) = await archive.json("/conflicts/studies")
    assert listed["StudyInstanceUID"] == uid
    shown = [(each["PatientID"], each["PatientName"], each["CountInstances"]) for each in listed["Studies"]]
    assert shown == [("P1", "Doe^Jane", 1), ("P2", "Roe^Ann", 1)]
    assert [each["ID"] for each in listed["Studies"]] == [
        public_id("P1", uid), public_id("P2", uid),
    ]  # fmt: skip
    assert await archive.json(f"/conflicts/studies?study={uid}") == [listed]
    assert set(listed["Actions"]) == {"reconcile", "keep"}
    assert await archive.json("/conflicts/studies?study=1.2.3") == []
    assert await archive.json(f"/conflicts/studies?after={uid}") == []


async def test_series_in_several_studies_and_names_without_patient_id_are_listed(archive: RunningQuery) -> None:
    first = ct_slice(PatientID="", PatientName="Doe^Jane")
    await archive.stow(first, ct_slice(series=str(first.SeriesInstanceUID), PatientID="", PatientName="Roe^Ann"))
    (series,) = await archive.json("/conflicts/series")
    assert series["SeriesInstanceUID"] == first.SeriesInstanceUID
    assert [(each["PatientID"], each["CountInstances"]) for each in series["Series"]] == [("", 1), ("", 1)]
    assert await archive.json(f"/conflicts/series?series={first.SeriesInstanceUID}") == [series]
    assert await archive.json(f"/conflicts/series?after={first.SeriesInstanceUID}") == []
    patients = await archive.json("/conflicts/patients")
    assert {(each["PatientName"], each["CountStudies"]) for each in patients} == {("Doe^Jane", 1), ("Roe^Ann", 1)}
    assert all(set(each["Actions"]) == {"reconcile", "keep"} for each in patients)
    assert await archive.json("/conflicts/patients?since=1&limit=1") == patients[1:]


async def test_the_newest_version_is_what_orthanc_calls_overwritten(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(conflicts_serve="newest")) as archive:
        assert (await archive.json("/system"))["OverwriteInstances"] is True
