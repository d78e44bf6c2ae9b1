"""The contract of `osteon.index` for studies whose images name several patients: one to DICOM, several to REST."""

import asyncio

import pytest

from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import Matching, MatchingKey, OneOf, Range, Search, Single, Wildcard
from osteon.index.sql import SqlIndex
from support.index.both_databases import *  # noqa: F403  (fixtures are found by name)
from support.index.stored_packs import MR, check_sums, entry, pack, slices, study


def key(keyword: str, value: str | Matching) -> MatchingKey:
    return MatchingKey((keyword,), Single(value) if isinstance(value, str) else value)


async def patients(index: SqlIndex, level: Level, *keys: MatchingKey, **options: object) -> list[str]:
    """Return the Patient ID of each result of a search as DICOM sees it; the count must say the same."""
    search = Search(level, keys, one_per_uid=True, case_sensitive=True, **options)
    found = (await index.search(search)).matches
    if not options:
        assert await index.count(search) == len(found)
    return [match.study.patient_attributes["PatientID"] for match in found]


async def fill(index: SqlIndex) -> None:
    """Store study 1.2.1 with images of P1 and P2, partly in one series, and study 1.2.2 of P1."""
    await index.upsert([pack(*slices(3, "P1", "1.2.1", "1.2.1.1", PatientName="Doe^Jane", StudyDate="20240102"))])
    await index.upsert([study("P1", "1.2.2", PatientName="Doe^Jane", StudyDate="20240103")])
    of_second = {"PatientName": "Roe^Ann", "StudyDate": "20240104", "Modality": "MR"}
    await index.upsert([
        pack(entry("P2", "1.2.1", "1.2.1.1", "1.2.1.1.8", **(of_second | {"Modality": "CT"})),
             entry("P2", "1.2.1", "1.2.1.2", "1.2.1.2.1", sop_class=MR, **of_second)),
    ])  # fmt: skip


async def test_a_study_is_found_once_with_all_its_instances(index: SqlIndex) -> None:
    await fill(index)
    search = Search(Level.STUDY, (key("StudyInstanceUID", "1.2.1"),), one_per_uid=True)
    (match,) = (await index.search(search)).matches
    assert match.public_id == public_id("P1", "1.2.1")
    assert match.study.patient_attributes["PatientID"] == "P1"
    assert (match.study.series, match.study.instances) == (2, 5)
    assert match.study.modalities == ("CT", "MR")
    assert len(match.study.sop_classes) == 2
    assert await patients(index, Level.STUDY) == ["P1", "P1"]


async def test_orthanc_rest_has_a_resource_for_each_patient(index: SqlIndex) -> None:
    await fill(index)
    found = (await index.search(Search(Level.STUDY, (key("StudyInstanceUID", "1.2.1"),)))).matches
    assert [(match.public_id, match.study.instances) for match in found] == [
        (public_id("P1", "1.2.1"), 3), (public_id("P2", "1.2.1"), 2),
    ]  # fmt: skip
    await check_sums(index)


@pytest.mark.parametrize(("keys", "expected"), [
    ((key("PatientID", "P2"),), ["P2"]),
    ((key("PatientID", "P1"),), ["P1", "P1"]),
    ((key("PatientID", OneOf(("P1", "P2"))),), ["P1", "P1"]),
    ((key("PatientName", Wildcard("R*")),), ["P2"]),
    ((key("PatientName", Wildcard("?oe*")),), ["P1", "P1"]),
    ((key("ModalitiesInStudy", "MR"),), ["P2"]),
    ((key("ModalitiesInStudy", "CT"),), ["P1", "P1"]),
    ((key("StudyDate", Range("20240101", "20240131")),), ["P1", "P1"]),
    ((key("StudyDate", Range("20240104", None)),), ["P2"]),
    ((key("SOPClassesInStudy", MR), key("StudyInstanceUID", "1.2.1")), ["P2"]),
    ((key("NumberOfPatientRelatedStudies", "1"),), ["P2"]),
    ((key("StudyInstanceUID", OneOf(("1.2.1", "1.2.2"))),), ["P1", "P1"]),
])  # fmt: skip
async def test_it_is_found_by_what_any_of_its_patients_has_and_answered_as_what_matched(
    index: SqlIndex, keys: tuple[MatchingKey, ...], expected: list[str]
) -> None:
    await fill(index)
    assert await patients(index, Level.STUDY, *keys) == expected


async def test_pages_and_offsets_count_it_once(index: SqlIndex) -> None:
    await fill(index)
    assert await patients(index, Level.STUDY, limit=1) == ["P1"]
    assert await patients(index, Level.STUDY, offset=1) == ["P1"]
    assert await patients(index, Level.STUDY, offset=2) == []
    first = await index.search(Search(Level.STUDY, limit=1, one_per_uid=True))
    second = await index.search(Search(Level.STUDY, limit=1, one_per_uid=True, cursor=first.cursor))
    assert [m.study.attributes["StudyInstanceUID"] for p in (first, second) for m in p.matches] == ["1.2.1", "1.2.2"]
    assert second.cursor is None


async def test_a_series_with_images_of_both_is_found_once(index: SqlIndex) -> None:
    await fill(index)
    of_study = key("StudyInstanceUID", "1.2.1")
    search = Search(Level.SERIES, (of_study,), one_per_uid=True)
    found = (await index.search(search)).matches
    assert [(m.series.attributes["SeriesInstanceUID"], m.series.instances, m.study.instances) for m in found] == [
        ("1.2.1.1", 4, 5), ("1.2.1.2", 1, 5),
    ]  # fmt: skip
    assert len((await index.search(Search(Level.SERIES, (of_study,)))).matches) == 3
    assert await patients(index, Level.SERIES, key("SeriesInstanceUID", "1.2.1.1")) == ["P1"]
    assert await patients(index, Level.SERIES, key("PatientID", "P2")) == ["P2", "P2"]
    assert await patients(index, Level.SERIES, key("Modality", "MR")) == ["P2"]


@pytest.mark.parametrize("patient", ["P1", "P2"])
async def test_below_a_study_the_patient_of_any_of_its_images_leads_to_all_of_them(
    index: SqlIndex, patient: str
) -> None:
    await fill(index)
    keys = (key("PatientID", patient), key("StudyInstanceUID", "1.2.1"))
    assert len(await patients(index, Level.SERIES, *keys)) == 2
    assert sorted(await patients(index, Level.IMAGE, *keys)) == ["P1"] * 3 + ["P2"] * 2
    assert len((await index.search_locations(Search(Level.IMAGE, keys, one_per_uid=True))).locations) == 5
    series = (*keys, key("SeriesInstanceUID", "1.2.1.1"))
    assert len(await patients(index, Level.IMAGE, *series)) == 4
    other = (key("PatientID", "P3"), key("StudyInstanceUID", "1.2.1"))
    assert await patients(index, Level.SERIES, *other) == []
    assert await patients(index, Level.IMAGE, key("PatientID", patient), key("StudyInstanceUID", "1.2.2")) == (
        ["P1"] if patient == "P1" else []
    )


async def test_one_series_uid_in_two_studies_is_two_series(index: SqlIndex) -> None:
    await index.upsert([pack(entry("P1", "1", "1.1", "1.1.1")), pack(entry("P1", "2", "1.1", "1.1.2"))])
    assert await patients(index, Level.SERIES, key("SeriesInstanceUID", "1.1")) == ["P1", "P1"]
    assert (await index.statistics()).split_studies == 0


async def test_it_is_listed_counted_and_logged(
    index: SqlIndex, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    await fill(index)
    (found,) = await index.split_studies()
    assert found.study_uid == "1.2.1"
    assert [(m.patient.attributes["PatientID"], m.study.instances) for m in found.parts] == [("P1", 3), ("P2", 2)]
    assert (await index.statistics()).split_studies == 1
    assert list(await index.split_studies(study_uid="1.2.2")) == list(await index.split_studies(after="1.2.1")) == []
    assert list(await index.split_studies(study_uid="1.2.1")) == [found]
    assert "images of several patients have one Study Instance UID" in f"{capsys.readouterr()} {caplog.text}"


async def test_a_third_patient_and_a_batch_of_all_are_one_study_too(index: SqlIndex) -> None:
    await index.upsert([pack(*(entry(f"P{n}", "1.2.1", "1.2.1.1", f"1.2.1.1.{n}") for n in range(3)))])
    assert await patients(index, Level.STUDY) == ["P0"]
    assert await patients(index, Level.SERIES) == ["P0"]
    (found,) = await index.split_studies()
    assert len(found.parts) == 3


async def test_writers_at_the_same_time_do_not_miss_each_other(index: SqlIndex, url: str) -> None:
    other = SqlIndex(url, pool=4)
    await other.start()
    for number in range(8):
        uid = f"1.2.{number}"
        packs = [pack(entry(f"P{n}", uid, f"{uid}.1", f"{uid}.1.{n}")) for n in range(2)]
        await asyncio.gather(index.upsert(packs[:1]), other.upsert(packs[1:]))
    assert len(await index.split_studies()) == 8
    assert len(await patients(index, Level.STUDY)) == 8
    await other.close()
