"""The contract of `osteon.index`: every kind of matching (PS3.4 C.2.2.2) on every level, pages, order and counts."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from osteon.archive.errors import BadCursor, ResourceNotFound
from osteon.archive.resources import InstanceScope
from osteon.dicom.attributes import HELD
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import (
    LAST_UPDATE,
    DateTimeRange,
    Empty,
    Matching,
    MatchingKey,
    OneOf,
    Order,
    Range,
    Search,
    Single,
    Wildcard,
)
from osteon.errors import Invalid
from osteon.index.sql import SqlIndex
from support.index.stored_packs import CT, JPEG_LS, MR, entry, pack, slices

SHELF = [
    pack(*slices(
        3, "P1", "1.2.1", "1.2.1.1", PatientName="Müller^Jörg=山田^太郎=やまだ^たろう", PatientSex="M",
        PatientBirthDate="19700101", StudyDate="20260102", StudyTime="10", AccessionNumber="Acc-1",
        StudyDescription="Brain [50%_done]", SeriesDescription="Äußere Schicht", SeriesNumber="2",
        ReferringPhysicianName="House^Gregory", OperatorsName="Anna^A\\Bertha^B", StationName="CT*1",
    )),
    pack(*(
        entry("P1", "1.2.1", "1.2.1.2", f"1.2.1.2.{i}", Modality="SR", InstanceNumber=str(i), SeriesNumber="10",
              PatientName="Müller^Jörg", sop_class="1.2.840.10008.5.1.4.1.1.88.22")
        for i in (1,)
    )),
    pack(
        entry("P2", "1.2.2", "1.2.2.1", "1.2.2.1.1", Modality="MR", sop_class=MR, syntax=JPEG_LS,
              PatientName="Meyer^Anna Maria", StudyDate="2025.12.31", StudyTime="23:59:30", AccessionNumber="acc-1",
              StudyDescription="brain", SeriesNumber="007", SeriesType="DYNAMIC\\IMAGE", Rows="256", InstanceNumber="5",
              PatientID="P2", requests=(("STEP1", "PROC1"), ("STEP2", "PROC2"))),
    ),
    pack(
        entry("p2", "1.2.3", "1.2.3.1", "1.2.3.1.1", Modality="CT", PatientName="O'Brien^Seán^^Dr",
              StudyDate="20260102", StudyTime="101530.5", requests=(("STEP1", "PROC2"),)),
    ),
    pack(entry("P4", "1.2.4", "1.2.4.1", "1.2.4.1.1", StudyDate="20260103", PatientName="Smith-Jones^Ann*e")),
]  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def shelf_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres").create_database())
    else:
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('index')}/index.db"

    async def fill() -> None:
        index = SqlIndex(url)
        await index.start()
        await index.upsert(SHELF)
        await index.close()

    asyncio.run(fill())
    return url


@pytest.fixture
async def index(shelf_url: str) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(shelf_url)
    yield opened
    await opened.close()


def key(keyword: str, matching: Matching) -> MatchingKey:
    return MatchingKey(tuple(keyword.split(".")), matching)


async def found(index: SqlIndex, level: Level, *conditions: MatchingKey | DateTimeRange, **options) -> list[str]:
    """Return the last component of each match's own UID (or Patient ID), and check that `count` agrees."""
    search = Search(level, conditions, **options)
    matches = (await index.search(search)).matches
    assert await index.count(search) == len(matches)
    names = {
        Level.PATIENT: lambda m: m.patient.attributes["PatientID"],
        Level.STUDY: lambda m: m.study.attributes["StudyInstanceUID"].removeprefix("1.2."),
        Level.SERIES: lambda m: m.series.attributes["SeriesInstanceUID"].removeprefix("1.2."),
        Level.IMAGE: lambda m: m.instance.attributes["SOPInstanceUID"].removeprefix("1.2."),
    }
    return [names[level](match) for match in matches]


async def test_no_condition_matches_everything_in_the_order_of_arrival(index):
    assert await found(index, Level.PATIENT) == ["P1", "P2", "p2", "P4"]
    assert await found(index, Level.STUDY) == ["1", "2", "3", "4"]
    assert await found(index, Level.SERIES) == ["1.1", "1.2", "2.1", "3.1", "4.1"]
    assert len(await found(index, Level.IMAGE)) == 7


async def test_a_match_has_everything_above_it_and_nothing_below(index):
    (match,) = (await index.search(Search(Level.SERIES, (key("Modality", Single("MR")),)))).matches
    assert match.patient.attributes["PatientID"] == "P2"
    assert match.study.attributes["StudyInstanceUID"] == "1.2.2"
    assert match.series.requests == (("STEP1", "PROC1"), ("STEP2", "PROC2"))
    assert match.instance is None
    assert match.public_id == public_id("P2", "1.2.2", "1.2.2.1")


@pytest.mark.parametrize(
    ("matching", "studies"),
    [
        (Single("müller^jörg"), ["1"]),
        (Single("MULLER^JORG"), ["1"]),
        (Single("Müller^Jörg^^^"), ["1"]),
        (Single("Müller"), []),
        (Single("山田^太郎"), ["1"]),
        (Single("Müller^Jörg=山田^太郎"), ["1"]),
        (Single("Müller^Jörg=鈴木"), []),
        (Single("o'brien^sean^^dr"), ["3"]),
        (Single(""), []),
        (Wildcard("m*"), ["1", "2"]),
        (Wildcard("M?yer*"), ["2"]),
        (Wildcard("*ller*"), ["1"]),
        (Wildcard("*LE*"), ["1"]),
        (Wildcard("*^anna*"), ["2"]),
        (Wildcard("??yer*"), ["2"]),
        (Wildcard("山*"), ["1"]),
        (Wildcard("*だ*"), ["1"]),
        (Wildcard("*ま*ろう"), ["1"]),
        (Wildcard("*田*太郎"), ["1"]),
        (Wildcard("*yer^a*mar?a"), ["2"]),
        (Wildcard("*=山*"), ["1"]),
        (Wildcard("*"), ["1", "2", "3", "4"]),
        (Wildcard("*jones^ann?e"), ["4"]),
        (Wildcard("%"), []),
        (Wildcard("*_*"), []),
        (OneOf(("Meyer^Anna Maria", "smith-jones^ann*e")), ["2", "4"]),
        (OneOf(()), []),
        (Range("m", "n"), ["1", "2"]),
        (Empty(), []),
    ],
    ids=str,
)
async def test_person_names_match_without_case_and_accents_in_any_group(index, matching, studies):
    for case_sensitive in (True, False):
        condition = key("PatientName", matching)
        assert await found(index, Level.STUDY, condition, case_sensitive=case_sensitive) == studies


async def test_person_names_match_on_every_level(index):
    name = key("PatientName", Wildcard("*yer*"))
    assert await found(index, Level.PATIENT, name) == ["P2"]
    assert await found(index, Level.SERIES, name) == ["2.1"]
    assert await found(index, Level.IMAGE, name) == ["2.1.1"]
    assert await found(index, Level.SERIES, key("OperatorsName", Single("bertha^b"))) == ["1.1"]
    assert await found(index, Level.IMAGE, key("ReferringPhysicianName", Wildcard("house*"))) == [
        "1.1.1", "1.1.2", "1.1.3", "1.2.1",
    ]  # fmt: skip
    assert await found(index, Level.STUDY, key("ReferringPhysicianName", Empty())) == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("value", "studies"),
    [
        ("Mayer", ["2"]),
        ("Maria Meier", ["2"]),
        ("ann", ["2", "4"]),
        ("Jones Ann", ["4"]),
        ("OBrian", ["3"]),
        ("Schmidt", ["4"]),
        ("Mueller", ["1"]),
        ("山田", ["1"]),
        ("Meyer^Zacharias", []),
        ("Xylander", []),
    ],
)
async def test_fuzzy_names_match_word_by_word_by_beginning_or_sound(index, value, studies):
    for matching in (Single(value), Wildcard(f"{value}*")):
        assert await found(index, Level.STUDY, key("PatientName", matching), fuzzy=True) == studies


async def test_a_fuzzy_search_finds_what_the_plain_one_finds(index):
    assert await found(index, Level.STUDY, key("PatientName", Wildcard("*rien*")), fuzzy=True) == ["3"]


async def test_text_matches_with_case_only_on_request(index):
    same = key("AccessionNumber", Single("ACC-1"))
    assert await found(index, Level.STUDY, same) == ["1", "2"]
    assert await found(index, Level.STUDY, same, case_sensitive=True) == []
    exact = key("AccessionNumber", Single("Acc-1"))
    assert await found(index, Level.STUDY, exact, case_sensitive=True) == ["1"]
    wild = key("StudyDescription", Wildcard("b*"))
    assert await found(index, Level.STUDY, wild) == ["1", "2"]
    assert await found(index, Level.STUDY, wild, case_sensitive=True) == ["2"]
    assert await found(index, Level.PATIENT, key("PatientID", Single("P2"))) == ["P2", "p2"]
    assert await found(index, Level.PATIENT, key("PatientID", OneOf(("P2", "P4"))), case_sensitive=True) == ["P2", "P4"]


async def test_case_is_that_of_every_alphabet(index):
    assert await found(index, Level.SERIES, key("SeriesDescription", Wildcard("ÄUSS*"))) == ["1.1"]


@pytest.mark.parametrize(
    ("pattern", "studies"),
    [("*[50%_done]", ["1"]), ("*%*", ["1"]), ("*_done*", ["1"]), ("brain", ["2"]), ("br?in", ["2"]), ("*50?_*", ["1"]),
     ("[a-z]*", []), ("*\\*", [])],
)  # fmt: skip
async def test_wildcards_are_star_and_question_mark_only(index, pattern, studies):
    for case_sensitive in (True, False):
        condition = key("StudyDescription", Wildcard(pattern.replace("brain", "br*n") if case_sensitive else pattern))
        assert await found(index, Level.STUDY, condition, case_sensitive=case_sensitive) == studies


async def test_a_single_value_is_taken_literally(index):
    assert await found(index, Level.SERIES, key("StationName", Single("CT*1"))) == ["1.1"]
    assert await found(index, Level.SERIES, key("StationName", Single("C*"))) == []


async def test_one_of_several_values_is_enough(index):
    for matching in (Single("image"), OneOf(("x", "DYNAMIC")), Wildcard("im*"), Wildcard("dynamic")):
        assert await found(index, Level.SERIES, key("SeriesType", matching)) == ["2.1"]
    assert await found(index, Level.SERIES, key("SeriesType", Single("AMIC"))) == []
    assert await found(index, Level.SERIES, key("SeriesType", Single("IMAGE")), case_sensitive=True) == ["2.1"]


@pytest.mark.parametrize(
    ("matching", "studies"),
    [
        (Single("20260102"), ["1", "3"]),
        (Single("20251231"), ["2"]),
        (Single("2025.12.31"), ["2"]),
        (Range("20260101", None), ["1", "3", "4"]),
        (Range(None, "20260102"), ["1", "2", "3"]),
        (Range("20251231", "20260102"), ["1", "2", "3"]),
        (Range("2026", "2026"), ["1", "3", "4"]),
        (Range(None, None), ["1", "2", "3", "4"]),
        (OneOf(("20251231", "20260103")), ["2", "4"]),
        (Wildcard("202601*"), ["1", "3", "4"]),
        (Empty(), []),
    ],
    ids=str,
)
async def test_dates_match_alone_in_lists_and_in_ranges_in_both_notations(index, matching, studies):
    assert sorted(await found(index, Level.STUDY, key("StudyDate", matching))) == studies


@pytest.mark.parametrize(
    ("matching", "studies"),
    [
        (Single("10"), ["1", "3"]),
        (Single("100000"), ["1"]),
        (Single("101530.5"), ["3"]),
        (Single("101530.500"), ["3"]),
        (Single("235930"), ["2"]),
        (Single("23:59:30"), ["2"]),
        (Range("10", "101530.5"), ["1", "3"]),
        (Range("100001", "10"), ["3"]),
        (Range("10", "101530.4"), ["1"]),
        (Range("12", None), ["2"]),
        (Range(None, "1015"), ["1", "3"]),
        (Empty(), ["4"]),
    ],
    ids=str,
)
async def test_times_of_any_precision_compare_as_moments(index, matching, studies):
    assert await found(index, Level.STUDY, key("StudyTime", matching)) == studies


@pytest.mark.parametrize(
    ("low", "high", "studies"),
    [
        ("20251231235930", "20260102100000", ["1", "2"]),
        ("20251231235931", "20260102101530.500000", ["1", "3"]),
        ("20260102101530.5", "20260102101530.5", ["3"]),
        ("20260102110000", None, ["4"]),
        ("20260103235959", "20260103235959", ["4"]),
        (None, "20260101", ["2"]),
        (None, None, ["1", "2", "3", "4"]),
    ],
)
async def test_date_and_time_match_as_one_moment(index, low, high, studies):
    assert sorted(await found(index, Level.STUDY, DateTimeRange("StudyDate", "StudyTime", low, high))) == studies


async def test_numbers_compare_as_numbers(index):
    assert await found(index, Level.SERIES, key("SeriesNumber", Single("7"))) == ["2.1"]
    assert await found(index, Level.SERIES, key("SeriesNumber", Range("3", "10"))) == ["1.2", "2.1"]
    assert await found(index, Level.SERIES, key("SeriesNumber", OneOf(("2", "x", "10")))) == ["1.1", "1.2"]
    assert await found(index, Level.SERIES, key("SeriesNumber", Single("x"))) == []
    assert await found(index, Level.SERIES, key("SeriesNumber", Empty())) == ["3.1", "4.1"]
    assert await found(index, Level.IMAGE, key("InstanceNumber", Wildcard("?")), key("Rows", Single("256"))) == [
        "2.1.1"
    ]


async def test_uids_match_alone_and_in_lists(index):
    assert await found(index, Level.STUDY, key("StudyInstanceUID", Single("1.2.3"))) == ["3"]
    many = OneOf(("1.2.3", "1.2.1", *(f"9.{i}" for i in range(40_000))))
    assert await found(index, Level.STUDY, key("StudyInstanceUID", many)) == ["1", "3"]
    image = (key("SOPInstanceUID", OneOf(("1.2.1.1.2", "1.2.4.1.1"))), key("StudyInstanceUID", Single("1.2.1")))
    assert await found(index, Level.IMAGE, *image) == ["1.1.2"]
    assert await found(index, Level.IMAGE, key("SOPClassUID", Single(MR))) == ["2.1.1"]
    assert await found(index, Level.IMAGE, key("AvailableTransferSyntaxUID", Single(JPEG_LS))) == ["2.1.1"]
    assert await found(index, Level.IMAGE, key("SeriesInstanceUID", Wildcard("1.2.4*"))) == ["4.1.1"]


async def test_what_the_archive_computes_can_be_matched(index):
    assert await found(index, Level.STUDY, key("ModalitiesInStudy", Single("SR"))) == ["1"]
    assert await found(index, Level.STUDY, key("ModalitiesInStudy", OneOf(("CT", "MR")))) == ["1", "2", "3"]
    assert await found(index, Level.STUDY, key("ModalitiesInStudy", Wildcard("?T"))) == ["1", "3"]
    assert await found(index, Level.STUDY, key("ModalitiesInStudy", Empty())) == ["4"]
    assert await found(index, Level.SERIES, key("ModalitiesInStudy", Single("SR"))) == ["1.1", "1.2"]
    assert await found(index, Level.STUDY, key("SOPClassesInStudy", Single(CT))) == ["1", "3", "4"]
    assert await found(index, Level.STUDY, key("SOPClassesInStudy", Empty())) == []
    assert await found(index, Level.STUDY, key("NumberOfStudyRelatedInstances", Single("4"))) == ["1"]
    assert await found(index, Level.STUDY, key("NumberOfStudyRelatedSeries", Range("2", None))) == ["1"]
    assert await found(index, Level.SERIES, key("NumberOfSeriesRelatedInstances", Single("3"))) == ["1.1"]
    assert await found(index, Level.PATIENT, key("NumberOfPatientRelatedStudies", Single("1"))) == [
        "P1",
        "P2",
        "p2",
        "P4",
    ]
    assert await found(index, Level.STUDY, key("NumberOfPatientRelatedInstances", Single("4"))) == ["1"]


async def test_keys_of_a_sequence_must_match_in_the_same_item(index):
    step, procedure = (
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.RequestedProcedureID",
    )
    assert await found(index, Level.SERIES, key(step, Single("step1"))) == ["2.1", "3.1"]
    assert await found(index, Level.SERIES, key(step, Single("STEP1")), key(procedure, Single("PROC2"))) == ["3.1"]
    assert await found(index, Level.SERIES, key(step, Wildcard("*2")), key(procedure, OneOf(("PROC2",)))) == ["2.1"]
    assert await found(index, Level.IMAGE, key(step, Single("STEP2"))) == ["2.1.1"]
    assert await found(index, Level.SERIES, key(step, Empty())) == ["1.1", "1.2", "4.1"]


async def test_a_lone_star_matches_absent_values_too(index):
    for keyword in (
        "PatientSex",
        "ReferringPhysicianName",
        "StudyTime",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries",
    ):
        assert await found(index, Level.STUDY, key(keyword, Wildcard("*"))) == ["1", "2", "3", "4"]


async def test_all_conditions_must_hold_across_levels(index):
    conditions = (key("PatientID", Single("P1")), key("StudyDate", Single("20260102")), key("Modality", Single("CT")))
    assert await found(index, Level.IMAGE, *conditions, key("InstanceNumber", Single("2"))) == ["1.1.2"]
    assert await found(index, Level.IMAGE, *conditions, key("PatientSex", Single("F"))) == []


async def test_a_parent_of_any_level_bounds_the_search(index):
    patient, of_patient = public_id("P1"), public_id("P1", "1.2.1")
    series = public_id("P1", "1.2.1", "1.2.1.2")
    assert await found(index, Level.STUDY, parents=(patient,)) == ["1"]
    assert await found(index, Level.SERIES, parents=(patient,)) == ["1.1", "1.2"]
    assert await found(index, Level.SERIES, parents=(of_patient,)) == ["1.1", "1.2"]
    assert await found(index, Level.IMAGE, parents=(series,)) == ["1.2.1"]
    assert await found(index, Level.IMAGE, key("Modality", Single("CT")), parents=(patient,)) == [
        "1.1.1",
        "1.1.2",
        "1.1.3",
    ]
    assert await found(index, Level.STUDY, parents=(series,)) == []
    with pytest.raises(ResourceNotFound):
        await index.search(Search(Level.STUDY, parents=(public_id("nobody"),)))


async def test_several_parents_of_a_level_bound_the_search(index):
    patients = public_id("P1"), public_id("P2"), public_id("nobody")
    assert await found(index, Level.STUDY, parents=patients) == ["1", "2"]
    assert await found(index, Level.SERIES, parents=patients) == ["1.1", "1.2", "2.1"]
    of_series = public_id("P1", "1.2.1", "1.2.1.2"), public_id("P2", "1.2.2", "1.2.2.1")
    assert await found(index, Level.IMAGE, key("Modality", Single("MR")), parents=of_series) == ["2.1.1"]


@pytest.mark.parametrize(
    ("level", "depth", "uids"),
    [(Level.PATIENT, 1, "1.1.1"), (Level.STUDY, 2, "1.1.1"), (Level.SERIES, 3, "1.2.1"), (Level.IMAGE, 4, "1.2.1")],
)
async def test_resources_are_represented_by_one_instance_each(index, level, depth, uids):
    path = ("P1", "1.2.1", "1.2.1.2", "1.2.1.2.1")
    one, other = public_id(*path[:depth]), public_id(*("P2", "1.2.2", "1.2.2.1", "1.2.2.1.1")[:depth])
    located = await index.representatives(level, [one, other, public_id("nobody")])
    assert {k: v.identity.sop_uid for k, v in located.items()} == {one: f"1.2.{uids}", other: "1.2.2.1.1"}
    (again,) = [at async for at in index.locate(InstanceScope(sop_uids=(f"1.2.{uids}",)))]
    assert located[one] == again
    assert await index.representatives(level, []) == {}


async def test_order_is_by_attributes_then_by_arrival_with_absent_values_last(index):
    by_number = (Order("SeriesNumber"),)
    assert await found(index, Level.SERIES, order=by_number) == ["1.1", "2.1", "1.2", "3.1", "4.1"]
    falling = (Order("SeriesNumber", descending=True),)
    assert await found(index, Level.SERIES, order=falling) == ["1.2", "2.1", "1.1", "4.1", "3.1"]
    pages = [(await index.search(Search(Level.SERIES, order=falling, offset=n, limit=2))).matches for n in range(6)]
    numbers = [[match.series.attributes.get("SeriesNumber") for match in page] for page in pages]
    assert numbers == [["10", "007"], ["007", "2"], ["2", None], [None, None], [None], []]
    by_date = (Order("StudyDate", descending=True), Order("PatientName"))
    assert await found(index, Level.STUDY, order=by_date) == ["4", "1", "3", "2"]
    assert await found(index, Level.IMAGE, order=(Order("PatientID", descending=True), Order("InstanceNumber"))) == [
        "4.1.1", "2.1.1", "3.1.1", "1.1.1", "1.2.1", "1.1.2", "1.1.3",
    ]  # fmt: skip
    assert (await index.search(Search(Level.STUDY, order=(Order("NumberOfStudyRelatedInstances", True),)))).matches[
        0
    ].study.attributes["StudyInstanceUID"] == "1.2.1"


@pytest.mark.parametrize("keyword", [*HELD[Level.STUDY], LAST_UPDATE, "NumberOfStudyRelatedInstances"])
async def test_studies_are_the_same_in_every_order(index, keyword):
    rising, falling = [
        await found(index, Level.STUDY, order=(Order(keyword, descending=falls),)) for falls in (False, True)
    ]
    assert sorted(rising) == sorted(falling) == ["1", "2", "3", "4"]
    some = await found(index, Level.STUDY, key("ModalitiesInStudy", Single("CT")), order=(Order(keyword, True),))
    assert some == [study for study in falling if study in ("1", "3")]


async def test_the_study_that_got_an_instance_last_is_the_last_updated(index):
    assert await found(index, Level.STUDY, order=(Order(LAST_UPDATE),)) == ["1", "2", "3", "4"]
    assert await found(index, Level.STUDY, order=(Order(LAST_UPDATE, True),)) == ["4", "3", "2", "1"]
    assert await found(index, Level.PATIENT, order=(Order(LAST_UPDATE),)) == ["P1", "P2", "p2", "P4"]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
async def test_a_count_stops_where_it_is_told(index, level):
    for conditions in ((), (key("PatientName", Wildcard("m*")),)):
        search = Search(level, conditions)
        matching = await index.count(search)
        assert matching > 1
        assert [await index.count(search, at_most=n) for n in (1, matching, 99)] == [1, matching, matching]


async def test_limit_and_offset_cut_a_page_out(index):
    page = await index.search(Search(Level.SERIES, order=(Order("SeriesNumber"),), limit=2, offset=1))
    assert [m.series.attributes["SeriesInstanceUID"] for m in page.matches] == ["1.2.2.1", "1.2.1.2"]
    assert page.cursor is None
    assert await index.count(Search(Level.SERIES, limit=2, offset=1)) == 5
    assert list((await index.search(Search(Level.SERIES, limit=0))).matches) == []
    assert list((await index.search(Search(Level.SERIES, offset=99))).matches) == []


async def test_the_cursor_leads_through_all_pages_and_ends(index):
    seen, cursor = [], None
    for _ in range(10):
        page = await index.search(Search(Level.IMAGE, limit=3, cursor=cursor))
        seen += [m.public_id for m in page.matches]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7
    assert cursor is None
    assert (await index.search(Search(Level.IMAGE, limit=7))).cursor is None


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE], ids=str)
async def test_the_cursor_leads_through_all_pages_of_a_span_of_dates_in_their_order(index, level, limit):
    conditions = (key("StudyDate", Range("19000101", None)),)
    everything = (await index.search(Search(level, conditions))).matches
    seen, cursor = [], None
    while not seen or cursor:
        page = await index.search(Search(level, conditions, limit=limit, cursor=cursor))
        seen += page.matches
        cursor = page.cursor
    assert [m.public_id for m in seen] == [m.public_id for m in everything]
    dates = [m.study.attributes["StudyDate"] for m in seen]
    assert dates == sorted(dates)
    assert len(seen) == await index.count(Search(level, conditions)) > 2


@pytest.mark.parametrize(
    "cursor", ["", "rubbish", "AAAA", "é", "MS5TVFVEWS4x\n", "MS5JTUFHRS45OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "=" * 9]
)
async def test_a_cursor_that_was_not_given_out_is_refused(index, cursor):
    with pytest.raises(BadCursor):
        await index.search(Search(Level.IMAGE, cursor=cursor))


async def test_a_cursor_goes_only_with_the_level_and_order_it_was_made_for(index):
    cursor = (await index.search(Search(Level.IMAGE, limit=1))).cursor
    span = (key("StudyDate", Range("19000101", None)),)
    by_date = (await index.search(Search(Level.IMAGE, span, limit=1))).cursor
    for search in (
        Search(Level.IMAGE, span, cursor=cursor),
        Search(Level.IMAGE, cursor=by_date),
        Search(Level.SERIES, cursor=cursor),
        Search(Level.IMAGE, cursor=cursor, offset=1),
        Search(Level.IMAGE, cursor=cursor, order=(Order("Rows"),)),
    ):
        with pytest.raises(BadCursor):
            await index.search(search)


@pytest.mark.parametrize(
    "condition",
    [
        key("PixelSpacing", Single("1")),
        key("Modality", Single("CT")),
        key("RequestAttributesSequence.StudyID", Single("1")),
        key("RequestAttributesSequence", Empty()),
        key("StudyDate", Range("soon", None)),
        key("NumberOfStudyRelatedSeries", Range("few", None)),
        DateTimeRange("StudyDate", "SeriesTime", None, None),
        DateTimeRange("StudyTime", "StudyDate", None, None),
        DateTimeRange("ModalitiesInStudy", "StudyTime", None, None),
    ],
    ids=str,
)
async def test_what_the_index_cannot_answer_is_refused_by_name(index, condition):
    with pytest.raises(Invalid, match=r"Pixel|Modality|Request|soon|few|SeriesTime|StudyTime|Modalities"):
        await index.search(Search(Level.STUDY, (condition,)))


@pytest.mark.parametrize("keyword", ["PixelSpacing", "SOPClassUID", "ModalitiesInStudy"])
async def test_sorting_by_what_has_no_order_is_refused(index, keyword):
    with pytest.raises(Invalid, match=keyword):
        await index.search(Search(Level.IMAGE, order=(Order(keyword),)))


@pytest.mark.parametrize(
    "value", ["'", '"', "\x00", "\\", "%", "[", "*[", "💀", "\ud800", "x" * 100_000, "'; DROP TABLE x--"]
)
@pytest.mark.parametrize(
    "keyword", ["PatientName", "StudyDescription", "StudyDate", "StudyInstanceUID", "SOPClassUID", "Rows"]
)
async def test_no_value_breaks_a_search(index, keyword, value):
    for matching in (Single(value), Wildcard(value), Wildcard(f"*{value}*"), OneOf((value,))):
        await index.count(Search(Level.IMAGE, (key(keyword, matching),), fuzzy=True))
        await index.count(Search(Level.IMAGE, (key(keyword, matching),), case_sensitive=True))


async def test_every_way_to_ask_counts_the_same_study_once(index):
    assert await found(index, Level.STUDY, key("PatientName", OneOf(("Müller^Jörg", "山田^太郎")))) == ["1"]
