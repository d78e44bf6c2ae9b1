"""The contract of `osteon.index`, over SQLite and PostgreSQL: what goes in, what is counted, what is reported of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.archive.changes import ChangeType
from osteon.archive.errors import ResourceNotFound
from osteon.archive.pack_records import InstanceState, PackOutcome
from osteon.archive.resources import InstanceScope, Sender, Statistics
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.errors import DatabaseUnavailable, Invalid
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from support.index.stored_packs import CT, JPEG_LS, MR, RECEIVED, SR, entry, pack, slices, sqlite_url, study, uids

STORES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("index_url"))
    return sqlite_url(tmp_path / "folder" / "index.db")


@pytest.fixture
async def index(url: str) -> AsyncIterator[Index]:
    opened = SqlIndex(url, pool=4)
    await opened.start()
    yield opened
    await opened.close()


async def located(index: Index, scope: InstanceScope) -> list[str]:
    return [location.identity.sop_uid async for location in index.locate(scope)]


async def only(index: Index, level: Level):
    (match,) = (await index.search(Search(level))).matches
    return match


async def test_a_new_index_is_empty_and_passes_its_check(index):
    await index.check()
    assert await index.statistics() == Statistics()
    assert await index.last_change() is None
    assert (await index.changes()).done
    assert [m async for m in index.locate(InstanceScope())] == []


async def test_who_has_sent_what_the_last_one_first(index):
    sent = [("CT", "10.0.0.1", 0), ("MR", "10.0.0.2", 1), ("CT", "10.0.0.1", 2), ("CT", "10.0.0.9", -5)]
    for number, (aet, host, hours) in enumerate(sent):
        made = study("P1", f"1.2.{number}", number + 1)
        when = RECEIVED + timedelta(hours=hours)
        facts = made.facts.model_copy(update={"calling_aet": aet, "remote_host": host, "received_at": when})
        await index.upsert([replace(made, facts=facts)])
    assert await index.senders() == [
        Sender("CT", "10.0.0.1", RECEIVED + timedelta(hours=2), 2, 4),
        Sender("MR", "10.0.0.2", RECEIVED + timedelta(hours=1), 1, 2),
        Sender("CT", "10.0.0.9", RECEIVED - timedelta(hours=5), 1, 4),
    ]
    assert len(await index.senders(limit=1)) == 1


async def test_starting_again_keeps_what_is_there(index, url):
    await index.upsert([study("P1", "1.2.1")])
    again = SqlIndex(url)
    await again.start()
    assert (await again.statistics()).instances == 1
    await again.close()


async def test_several_processes_may_start_at_once(url):
    several = [SqlIndex(url, pool=1) for _ in range(4)]
    await asyncio.gather(*(one.start() for one in several))
    await several[0].upsert([study("P1", "1.2.1")])
    assert (await several[3].statistics()).instances == 1
    for one in several:
        await one.close()


async def test_a_pack_becomes_a_row_on_every_level(index):
    outcomes = await index.upsert([study("P1", "1.2.1", 3, PatientName="Doe^Jane")])
    assert [(o.stored, o.duplicates, o.conflicts, o.redundant) for o in outcomes] == [(3, 0, 0, False)]
    assert [await index.count(Search(level)) for level in Level] == [1, 1, 1, 3]
    assert await index.statistics() == Statistics(1, 1, 1, 3, 1, 0, 3000)


async def test_an_empty_batch_changes_nothing(index):
    assert list(await index.upsert([])) == []
    assert await index.last_change() is None


async def test_indexing_a_pack_again_gives_the_same_outcome_and_changes_nothing(index):
    first, second = study("P1", "1.2.1", 3), study("P1", "1.2.1", 3)
    before = list(await index.upsert([first])) + list(await index.upsert([second]))
    last = await index.last_change()
    counted = await index.statistics()
    assert list(await index.upsert([second, first, second])) == [before[1], before[0], before[1]]
    assert await index.last_change() == last
    assert await index.statistics() == counted


async def test_a_pack_of_known_instances_is_redundant_and_known(index):
    original, repeated = study("P1", "1.2.1", 2), study("P1", "1.2.1", 2)
    await index.upsert([original])
    (outcome,) = await index.upsert([repeated])
    assert outcome == PackOutcome(repeated.facts.pack_id, 0, 2, 0)
    assert outcome.redundant
    ids = [original.facts.pack_id, repeated.facts.pack_id, "never-seen"]
    assert await index.known_packs(ids) == set(ids[:2])
    assert await index.known_packs([]) == set()
    assert set((await index.outcome(repeated.facts.pack_id)).values()) == {InstanceState.DUPLICATE}
    assert {location.key async for location in index.locate(InstanceScope())} == {original.facts.key}


async def test_other_bytes_under_a_known_uid_are_kept_aside_once(index):
    first, other = pack(entry()), pack(entry(content="other", offset=4096, length=7))
    await index.upsert([first])
    (outcome,) = await index.upsert([other])
    assert (outcome.stored, outcome.conflicts, outcome.redundant) == (0, 1, False)
    await index.upsert([other])
    (again,) = await index.upsert([pack(entry(content="other"))])
    assert (again.duplicates, again.conflicts, again.redundant) == (1, 0, True)
    (conflict,) = await index.conflicts()
    assert conflict.served.location.key == first.facts.key
    assert conflict.aside.location.key == other.facts.key
    assert conflict.aside.location.sidecar == other.facts.sidecar
    assert (conflict.aside.location.offset, conflict.aside.location.length) == (4096, 7)
    assert conflict.aside.location.sha256 == other.instances[0].sha256
    assert conflict.aside.location.xxh3 == other.instances[0].xxh3
    assert conflict.aside.location.identity == other.instances[0].identity
    assert (await index.statistics()).conflicts == 1
    assert await index.outcome(other.facts.pack_id) == {"1.2.1.1.1": InstanceState.CONFLICT}
    (served,) = [location async for location in index.locate(InstanceScope())]
    assert served.sha256 == first.instances[0].sha256


async def test_conflicts_are_listed_in_pages(index):
    await index.upsert([pack(*slices(3))])
    for i in (1, 2, 3):
        await index.upsert([pack(entry("P1", "1.2.1", "1.2.1.1", f"1.2.1.1.{i}", content="other"))])
    first = await index.conflicts(limit=2)
    rest = await index.conflicts(after=first[-1].id)
    assert [c.served.location.identity.sop_uid for c in (*first, *rest)] == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3"]


async def test_a_conflicting_instance_makes_no_patient_study_or_series(index):
    await index.upsert([pack(entry())])
    await index.upsert([pack(entry("P2", "9.9", "9.9.1", "1.2.1.1.1", content="other"))])
    assert [await index.count(Search(level)) for level in Level] == [1, 1, 1, 1]
    assert (await index.statistics()).patients == 1
    assert len((await index.changes()).changes) == 4


async def test_the_same_uid_twice_in_a_pack_is_stored_once(index):
    (outcome,) = await index.upsert([pack(entry(), entry(offset=4096), entry(offset=8192, content="other"))])
    assert (outcome.stored, outcome.duplicates, outcome.conflicts) == (1, 1, 1)
    (location,) = [location async for location in index.locate(InstanceScope())]
    assert location.offset == 512


async def test_the_same_uid_in_two_packs_of_a_batch_stays_with_the_first(index):
    first, second = pack(entry(), pack_id="1-first"), pack(entry(), entry(content="other"), pack_id="2-second")
    outcomes = await index.upsert([second, first])
    assert [(o.stored, o.duplicates, o.conflicts) for o in outcomes] == [(0, 1, 1), (1, 0, 0)]
    (location,) = [location async for location in index.locate(InstanceScope())]
    assert location.key == first.facts.key


async def test_the_outcome_of_an_unknown_pack_is_empty(index):
    assert await index.outcome("never-seen") == {}


async def test_sums_and_summaries_follow_what_comes_later(index):
    await index.upsert([pack(*slices(2, "P1", "1.2.1", "1.2.1.1"))])
    mr = entry("P1", "1.2.1", "1.2.1.2", "1.2.1.2.1", Modality="MR", sop_class=MR, length=50)
    report = entry("P1", "1.2.9", "1.2.9.1", "1.2.9.1.1", Modality="SR", sop_class=SR, length=5)
    await index.upsert([pack(mr), pack(report)])
    patient = (await only(index, Level.PATIENT)).patient
    assert (patient.studies, patient.series, patient.instances, patient.size) == (2, 3, 4, 2055)
    found = (await index.get(Level.STUDY, public_id("P1", "1.2.1"))).study
    assert (found.series, found.instances, found.size) == (2, 3, 2050)
    assert set(found.modalities) == {"CT", "MR"}
    assert set(found.sop_classes) == {CT, MR}
    one = (await index.get(Level.SERIES, public_id("P1", "1.2.1", "1.2.1.1"))).series
    assert (one.instances, one.size) == (2, 2000)


async def test_the_same_study_uid_of_two_patients_makes_two_studies(index):
    await index.upsert([study("P1", "1.2.1"), pack(entry("P2", "1.2.1", "1.2.1.1", "1.2.1.1.7"))])
    assert [await index.count(Search(level)) for level in Level] == [2, 2, 2, 2]
    assert len(await located(index, InstanceScope(study_uid="1.2.1"))) == 2


async def test_the_first_instance_gives_the_attributes_and_later_ones_fill_gaps(index):
    await index.upsert([pack(entry(PatientName="Doe^Jane", StudyDescription="first"))])
    later = entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.2", PatientName="Roe", StudyDescription="x", AccessionNumber="A1",
                  PatientSex="F", SeriesNumber="3")  # fmt: skip
    await index.upsert([pack(later)])
    match = await only(index, Level.SERIES)
    assert match.patient.attributes == {"PatientID": "P1", "PatientName": "Doe^Jane", "PatientSex": "F"}
    assert match.study.patient_attributes == match.patient.attributes
    assert match.study.attributes == {
        "StudyInstanceUID": "1.2.1", "StudyDescription": "first", "AccessionNumber": "A1"
    }  # fmt: skip
    assert match.series.attributes == {"SeriesInstanceUID": "1.2.1.1", "SeriesNumber": "3"}


async def test_a_duplicate_fills_no_gaps(index):
    await index.upsert([pack(entry())])
    await index.upsert([pack(entry(PatientName="Doe^Jane"))])
    assert (await only(index, Level.PATIENT)).patient.attributes == {"PatientID": "P1"}


async def test_each_study_keeps_the_patients_attributes_of_its_time(index):
    await index.upsert([study("P1", "1.2.1", PatientName="Doe^Jane")])
    await index.upsert([study("P1", "1.2.2", PatientName="Smith^Jane")])
    assert (await only(index, Level.PATIENT)).patient.attributes["PatientName"] == "Doe^Jane"
    second = await index.get(Level.STUDY, public_id("P1", "1.2.2"))
    assert second.study.patient_attributes["PatientName"] == "Smith^Jane"


async def test_an_instance_tells_its_attributes_and_where_its_bytes_are(index):
    one = entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.1", syntax=JPEG_LS, offset=1536, length=77, InstanceNumber="007",
                NumberOfFrames="12", Rows="512", Columns="256", BitsAllocated="16")  # fmt: skip
    stored = pack(one)
    await index.upsert([stored])
    instance = (await only(index, Level.IMAGE)).instance
    assert instance.attributes == {
        "SOPInstanceUID": "1.2.1.1.1", "SOPClassUID": CT, "InstanceNumber": "7", "NumberOfFrames": "12",
        "Rows": "512", "Columns": "256", "BitsAllocated": "16",
    }  # fmt: skip
    assert instance.received == RECEIVED
    where = instance.location
    assert (where.key, where.sidecar) == (stored.facts.key, stored.facts.sidecar)
    assert (where.offset, where.length, where.sha256, where.xxh3) == (1536, 77, one.sha256, one.xxh3)
    assert (where.identity, where.transfer_syntax_uid) == (one.identity, JPEG_LS)
    assert instance.public_id == where.public_id == one.identity.public_instance


async def test_packs_of_release_0_1_have_no_checksum_and_their_sidecar_beside_them(index):
    before = pack(replace(entry(), xxh3=b""))
    before = replace(before, facts=before.facts.model_copy(update={"sidecar_offset": None}))
    await index.upsert([before])
    where = (await only(index, Level.IMAGE)).instance.location
    assert (where.xxh3, where.sidecar) == (b"", (before.facts.key.replace(".tar", ".meta"), 0))


async def test_a_known_pack_takes_over_where_its_sidecar_is_and_never_gives_it_up(index):
    after = pack(entry())
    before = replace(after, facts=after.facts.model_copy(update={"size": 1000, "sidecar_offset": None}))
    for each in (before, after, before):
        (outcome,) = await index.upsert([each])
        assert outcome.stored == 1
    (row,) = [row async for row in index.pack_rows()]
    assert (row.size, row.sidecar) == (after.facts.size, after.facts.sidecar)


async def test_requests_of_a_series_are_those_of_the_first_instance_that_has_any(index):
    await index.upsert([pack(entry())])
    items = (("STEP1", "PROC1"), ("STEP2", ""))
    await index.upsert([pack(entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.2", requests=items))])
    await index.upsert([pack(entry("P1", "1.2.1", "1.2.1.1", "1.2.1.1.3", requests=(("X", "Y"),)))])
    assert (await only(index, Level.SERIES)).series.requests == items


@pytest.mark.parametrize("patient", ["", "P|1", "é" * 64, "x" * 5000, "a\x00b"])
async def test_any_patient_id_can_be_stored_and_found_by_its_identifier(index, patient):
    await index.upsert([pack(entry(patient))])
    match = await index.get(Level.IMAGE, public_id(patient, "1.2.1", "1.2.1.1", "1.2.1.1.1"))
    assert match.patient.public_id == public_id(patient)
    assert match.patient.attributes.get("PatientID", "") == patient[:4096].replace("\x00", "")


async def test_values_that_no_column_was_made_for_do_not_hinder_storing(index):
    wild = {
        "PatientName": "Ä" * 100_000, "StudyDescription": "nul\x00 inside", "StudyDate": "yesterday",
        "StudyTime": "25:99", "SeriesNumber": "9" * 30, "InstanceNumber": "one", "Rows": str(2**40),
        "SeriesDescription": "\ud800 lone surrogate", "OperatorsName": "\\" * 500,
    }  # fmt: skip
    (outcome,) = await index.upsert([pack(entry(**wild, requests=(("\x00", "x" * 9000),)))])
    assert outcome.stored == 1
    match = await only(index, Level.IMAGE)
    assert match.study.attributes["StudyDescription"] == "nul inside"
    assert match.study.attributes["StudyDate"] == "yesterday"
    assert "Rows" not in match.instance.attributes


async def test_large_packs_are_indexed_whole_and_located_in_the_order_of_their_bytes(index):
    big, small = pack(*reversed(slices(2500))), study("P2", "1.2.2", 3)
    await index.upsert([small, big])
    assert (await index.statistics()).instances == 2503
    locations = [location async for location in index.locate(InstanceScope())]
    by_pack: dict[str, list[int]] = {}
    for location in locations:
        by_pack.setdefault(location.key, []).append(location.offset)
    assert [len(offsets) for offsets in by_pack.values()] in ([3, 2500], [2500, 3])
    assert all(offsets == sorted(offsets) for offsets in by_pack.values())


async def test_a_scope_names_a_study_a_series_instances_or_any_identifier(index):
    first = slices(3, "P1", "1.2.1", "1.2.1.1")
    second = slices(2, "P1", "1.2.1", "1.2.1.2")
    third = slices(1, "P1", "1.2.2", "1.2.2.1")
    await index.upsert([pack(*first), pack(*second), pack(*third)])
    of_study = uids(first + second)
    assert sorted(await located(index, InstanceScope(study_uid="1.2.1"))) == sorted(of_study)
    assert await located(index, InstanceScope(study_uid="1.2.1", series_uid="1.2.1.2")) == uids(second)
    assert await located(index, InstanceScope(series_uid="1.2.1.2", sop_uids=("1.2.1.2.2", "1.2.1.1.1"))) == [
        "1.2.1.2.2"
    ]
    assert sorted(await located(index, InstanceScope(public_id=public_id("P1")))) == sorted(of_study + uids(third))
    assert sorted(await located(index, InstanceScope(public_id=public_id("P1", "1.2.1")))) == sorted(of_study)
    assert await located(index, InstanceScope(public_id=public_id("P1", "1.2.1", "1.2.1.2"))) == uids(second)
    assert await located(index, InstanceScope(public_id=first[0].identity.public_instance)) == ["1.2.1.1.1"]
    assert await located(index, InstanceScope(public_id=public_id("P1", "1.2.2"), study_uid="1.2.1")) == []
    assert await located(index, InstanceScope(study_uid="9.9")) == []


async def test_what_is_not_there_is_not_found(index):
    await index.upsert([study("P1", "1.2.1")])
    for level in Level:
        with pytest.raises(ResourceNotFound):
            await index.get(level, public_id("nobody"))
        with pytest.raises(ResourceNotFound):
            await index.get(level, "rubbish")
    with pytest.raises(ResourceNotFound):
        await index.get(Level.STUDY, public_id("P1"))
    with pytest.raises(ResourceNotFound):
        await located(index, InstanceScope(public_id=public_id("nobody")))


async def test_lookup_finds_identifiers_of_every_kind_without_regard_to_case(index):
    await index.upsert([study("Pat-7", "1.2.1", AccessionNumber="Acc7"), study("acc7", "1.2.2")])
    one = ("Pat-7", "1.2.1", "1.2.1.1", "1.2.1.1.1")
    assert list(await index.lookup(" pAT-7 ")) == [(Level.PATIENT, public_id("Pat-7"))]
    both = [(Level.PATIENT, public_id("acc7")), (Level.STUDY, public_id(*one[:2]))]
    assert list(await index.lookup("ACC7")) == both
    assert list(await index.lookup("1.2.1")) == [(Level.STUDY, public_id(*one[:2]))]
    assert list(await index.lookup("1.2.1.1")) == [(Level.SERIES, public_id(*one[:3]))]
    assert list(await index.lookup("1.2.1.1.1")) == [(Level.IMAGE, public_id(*one))]
    assert list(await index.lookup("nothing")) == list(await index.lookup("")) == []


async def test_changes_tell_of_each_new_resource_once_from_the_patient_downwards(index):
    await index.upsert([study("P1", "1.2.1", 2)])
    await index.upsert([pack(entry("P1", "1.2.1", "1.2.1.2", "1.2.1.2.1"))])
    page = await index.changes()
    assert [(c.type, c.level) for c in page.changes] == [
        (ChangeType.NEW_PATIENT, Level.PATIENT), (ChangeType.NEW_STUDY, Level.STUDY),
        (ChangeType.NEW_SERIES, Level.SERIES), (ChangeType.NEW_INSTANCE, Level.IMAGE),
        (ChangeType.NEW_INSTANCE, Level.IMAGE), (ChangeType.NEW_SERIES, Level.SERIES),
        (ChangeType.NEW_INSTANCE, Level.IMAGE),
    ]  # fmt: skip
    assert page.changes[0].public_id == public_id("P1")
    assert [c.seq for c in page.changes] == sorted({c.seq for c in page.changes})
    assert page.done
    assert page.last == page.changes[-1].seq
    assert await index.last_change() == page.changes[-1]
    assert datetime.now(UTC) >= page.changes[-1].date > RECEIVED


async def test_changes_are_read_in_pages_up_to_a_bound_and_by_type(index):
    await index.upsert([study("P1", "1.2.1", 3)])
    everything = (await index.changes()).changes
    first = await index.changes(limit=2)
    assert (len(first.changes), first.done) == (2, False)
    rest = await index.changes(since=first.last)
    assert [*first.changes, *rest.changes] == list(everything)
    bounded = await index.changes(since=everything[0].seq, to=everything[2].seq)
    assert [*bounded.changes] == list(everything[1:3])
    assert bounded.done
    some = await index.changes(types=[ChangeType.NEW_STUDY, ChangeType.NEW_SERIES])
    assert [c.type for c in some.changes] == [ChangeType.NEW_STUDY, ChangeType.NEW_SERIES]
    instances = await index.changes(types=[ChangeType.NEW_INSTANCE])
    assert len(instances.changes) == 3
    past = await index.changes(since=10_000)
    assert (list(past.changes), past.done, past.last) == ([], True, 10_000)


async def test_the_first_of_two_concurrent_indexers_wins_and_sums_stay_right(index, url):
    other = SqlIndex(url, pool=2)
    batches = [[pack(*slices(20, "P1", "1.2.1", f"1.2.1.{s}"))] for s in (1, 2, 3, 1, 2, 3)]
    indexers = [index, other] * 3
    outcomes = await asyncio.gather(*(i.upsert(b) for i, b in zip(indexers, batches, strict=True)))
    await other.close()
    assert sum(o.stored for (o,) in outcomes) == 60
    assert sum(o.duplicates for (o,) in outcomes) == 60
    patient = (await only(index, Level.PATIENT)).patient
    assert (patient.studies, patient.series, patient.instances, patient.size) == (1, 3, 60, 60_000)


async def test_a_failed_batch_leaves_nothing_behind(index):
    broken = entry("P2", "1.2.2", "1.2.2.1", "1.2.2.1.1", offset=2**70)
    with pytest.raises(Exception, match=r".+"):
        await index.upsert([study("P1", "1.2.1"), pack(broken)])
    assert await index.statistics() == Statistics()
    assert [await index.count(Search(level)) for level in Level] == [0, 0, 0, 0]


@pytest.mark.parametrize("url", ["mysql://x", "not a url", "sqlite+aiosqlite://", "postgresql://u@127.0.0.1/x"])
def test_a_url_of_no_known_database_is_refused_with_what_was_expected(url):
    with pytest.raises(Invalid, match=r"expected|needs a file"):
        SqlIndex(url)


async def test_a_database_that_does_not_answer_is_unavailable():
    absent = SqlIndex("postgresql+psycopg://osteon@127.0.0.1:1/osteon")
    for call in (absent.start(), absent.check(), absent.statistics(), absent.upsert([study("P1", "1.2.1")])):
        with pytest.raises(DatabaseUnavailable):
            await call
    await absent.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    (tmp_path / "index.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    index = SqlIndex(f"sqlite+aiosqlite:///{tmp_path}/index.db")
    with pytest.raises(DatabaseUnavailable):
        await index.start()
    await index.close()


async def test_what_became_of_resources_is_logged_in_order(index):
    await index.upsert([study("P1", "1.2.1", 1)])
    since = (await index.last_change()).seq
    entries = [
        (ChangeType.MODIFIED_SERIES, Level.SERIES, public_id("P1", "1.2.1", "1.2.1.1")),
        (ChangeType.ANONYMIZED_STUDY, Level.STUDY, public_id("P1", "1.2.1")),
    ]
    await index.log_changes(entries)
    await index.log_changes([])
    page = await index.changes(since=since)
    assert [(c.type, c.level, c.public_id) for c in page.changes] == entries
    assert (await index.changes(types=[ChangeType.ANONYMIZED_STUDY])).changes == page.changes[1:]
