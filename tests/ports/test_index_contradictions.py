"""The contract of `osteon.index` for series in several studies, and for several names under no Patient ID."""

from osteon.archive.pack_records import StoredPack
from osteon.contracts.conflicts import ConflictDecided
from osteon.dicom.identity import public_id
from osteon.index.sql import SqlIndex
from support.index.both_databases import *  # noqa: F403  (fixtures are found by name)
from support.index.stored_packs import RECEIVED, entry, pack, slices, study

SERIES = "5.5"


async def fill(index: SqlIndex) -> None:
    """Store series 5.5 in studies 1 and 2 of P1, and others that are in one study only."""
    await index.upsert([pack(*slices(2, "P1", "1", SERIES)), study("P1", "3")])
    await index.upsert([pack(entry("P1", "2", SERIES, "5.5.9"))])
    # Of two patients in one study: one study to DICOM, and so one series.
    await index.upsert([pack(entry("P1", "4", "4.1", "4.1.1")), pack(entry("P2", "4", "4.1", "4.1.2"))])


async def test_a_series_in_two_studies_is_listed_with_its_parts_and_counted(index: SqlIndex) -> None:
    await fill(index)
    (found,) = await index.split_series()
    assert found.series_uid == SERIES
    assert [(part.study.public_id, part.series.instances) for part in found.parts] == [
        (public_id("P1", "1"), 2), (public_id("P1", "2"), 1),
    ]  # fmt: skip
    assert list(await index.split_series(series_uid="4.1")) == list(await index.split_series(after=SERIES)) == []
    assert list(await index.split_series(series_uid=SERIES, limit=1)) == [found]
    assert (await index.statistics()).split_series == 1


async def test_both_in_one_batch_are_noticed(index: SqlIndex) -> None:
    await index.upsert([pack(entry("P1", "1", SERIES, "1.1")), pack(entry("P1", "2", SERIES, "2.1"))])
    assert [each.series_uid for each in await index.split_series()] == [SERIES]
    await index.upsert([pack(entry("P1", "3", SERIES, "3.1"))])
    assert [len(each.parts) for each in await index.split_series()] == [3]


async def test_one_that_moves_to_the_other_study_is_no_contradiction_any_more(index: SqlIndex) -> None:
    first = pack(entry("P1", "1", SERIES, "1.1"), pack_id="1")
    await index.upsert([first, pack(entry("P1", "2", SERIES, "2.1"), pack_id="2")])
    other = pack(entry("P1", "2", SERIES, "1.1", content="moved"), pack_id="3")
    await index.note_decisions([decided(other, first)])
    await index.upsert([other])
    assert list(await index.split_series()) == []
    assert (await index.statistics()).split_series == 0


def decided(kept: StoredPack, other: StoredPack) -> ConflictDecided:
    (one,), (two,) = kept.instances, other.instances
    return ConflictDecided(
        correlation_id="test", decision_id="d", sop_instance_uid=one.identity.sop_uid, kept=one.sha256.hex(),
        other=two.sha256.hex(), decided_at=RECEIVED,
    )  # fmt: skip


async def test_names_without_patient_id_are_listed_when_there_are_several(index: SqlIndex) -> None:
    await index.upsert([study("", "1", PatientName="Doe^Jane"), study("", "2", PatientName="Doe^Jane")])
    await index.upsert([study("P1", "3", PatientName="Poe^Edgar")])
    assert list(await index.unidentified_patients()) == []
    assert (await index.statistics()).unidentified == 0
    await index.upsert([study("", "4", PatientName="Roe^Ann"), study("", "5")])
    born = study("", "6", PatientName="Roe^Ann", PatientBirthDate="19700101")
    await index.upsert([born])
    found = list(await index.unidentified_patients())
    assert {(each.name, each.birth_date, each.studies) for each in found} == {
        ("", "", 1), ("Doe^Jane", "", 2), ("Roe^Ann", "", 1), ("Roe^Ann", "19700101", 1),
    }  # fmt: skip
    (doe,) = (each for each in found if each.name == "Doe^Jane")
    assert doe.study_ids == (public_id("", "1"), public_id("", "2"))
    assert list(await index.unidentified_patients(limit=1)) == found[:1]
    assert list(await index.unidentified_patients(limit=2, offset=2)) == found[2:]
    assert (await index.statistics()).unidentified == 4
