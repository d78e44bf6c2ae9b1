"""QIDO-RS over the embedded ports."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.dicom.datasets import ct_slice
from support.query.application import BASE, WEB, QuerySettings, RunningQuery, door, short_uid

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE, BOB = "2.25.1001", "2.25.1002"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningQuery]:
    """Two studies: Alice's with two series of three instances, Bob's with one of one."""
    async with door(tmp_path_factory.mktemp("filled")) as archive:
        alice = {"study": ALICE, "PatientName": "Ängström^Alice", "PatientID": "P1", "StudyDate": "20240101"}
        for number in ("1", "2"):
            series = f"{ALICE}.{number}"
            slices = [ct_slice(series=series, number=n, SeriesNumber=number, **alice) for n in range(3)]
            await archive.stow(*slices)
        await archive.stow(
            ct_slice(study=BOB, series=f"{BOB}.1", PatientName="Bone^Bob", PatientID="P2", StudyDate="20240301",
                     Modality="MR", PatientWeight="70.5")
        )  # fmt: skip
        yield archive


def studies_in(answers: list[dict]) -> set[str]:  # type: ignore[type-arg]
    """Return the Study Instance UIDs of answers."""
    return {answer["0020000D"]["Value"][0] for answer in answers}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {ALICE, BOB}),
        ("PatientID=P1", {ALICE}),
        ("00100020=P1", {ALICE}),
        ("PatientName=angstrom*", {ALICE}),
        ("PatientName=*Bob*", {BOB}),
        ("StudyDate=20240201-", {BOB}),
        ("StudyDate=20240101-20240301", {ALICE, BOB}),
        (f"StudyInstanceUID={ALICE}", {ALICE}),
        (f"StudyInstanceUID={ALICE},{BOB}", {ALICE, BOB}),
        (f"StudyInstanceUID={ALICE}%5C{BOB}", {ALICE, BOB}),
        ("ModalitiesInStudy=MR", {BOB}),
        ("PatientName=", {ALICE, BOB}),
        ("PatientName=*", {ALICE, BOB}),
        ("PatientID=P1&ModalitiesInStudy=MR", set()),
        ("fuzzymatching=true&PatientName=Alice%20Angstrom", {ALICE}),
        ("limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030", {ALICE, BOB}),
    ],
)
async def test_studies_are_found_by(filled: RunningQuery, query: str, found: set[str]) -> None:
    response = await filled.http.get(f"{WEB}/studies?{query}")
    if not found:
        assert response.status_code == 204
        assert response.content == b""
        return
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/dicom+json"
    assert studies_in(response.json()) == found


async def test_a_study_s_answer_has_what_the_standard_and_viewers_need(filled: RunningQuery) -> None:
    (answer,) = await filled.json(f"{WEB}/studies?PatientID=P1")
    assert answer["00201206"]["Value"] == [2]
    assert answer["00201208"]["Value"] == [6]
    assert answer["00080061"]["Value"] == ["CT"]
    assert answer["00100010"]["Value"] == [{"Alphabetic": "Ängström^Alice"}]
    assert answer["00081190"]["Value"] == [f"{BASE}{WEB}/studies/{ALICE}"]
    assert list(answer) == sorted(answer)


async def test_series_and_instances_are_found_below_and_across_studies(filled: RunningQuery) -> None:
    assert len(await filled.json(f"{WEB}/studies/{ALICE}/series")) == 2
    assert len(await filled.json(f"{WEB}/studies/{ALICE}/instances")) == 6
    assert len(await filled.json(f"{WEB}/studies/{ALICE}/series/{ALICE}.1/instances")) == 3
    assert len(await filled.json(f"{WEB}/series")) == 3
    assert len(await filled.json(f"{WEB}/instances?PatientID=P1&InstanceNumber=2")) == 2
    (one,) = await filled.json(f"{WEB}/studies/{ALICE}/series/{ALICE}.1/instances?InstanceNumber=1")
    assert one["00081190"]["Value"][0].startswith(f"{BASE}{WEB}/studies/{ALICE}/series/{ALICE}.1/instances/")


async def test_fields_that_the_index_does_not_hold_are_included_on_request(filled: RunningQuery) -> None:
    (answer,) = await filled.json(f"{WEB}/studies?PatientID=P2&includefield=PatientWeight")
    assert answer["00101030"]["Value"] == [70.5]
    (everything,) = await filled.json(f"{WEB}/studies/{BOB}/instances?includefield=all")
    assert everything["00280100"]["Value"] == [16]


async def test_limit_and_offset_walk_through_all_results_with_a_warning_while_there_are_more(
    filled: RunningQuery,
) -> None:
    seen = []
    for offset in range(6):
        response = await filled.http.get(f"{WEB}/studies/{ALICE}/instances?limit=1&offset={offset}")
        assert ("Warning" in response.headers) == (offset < 5)
        seen += [answer["00080018"]["Value"][0] for answer in response.json()]
    assert len(set(seen)) == 6
    assert (await filled.http.get(f"{WEB}/studies/{ALICE}/instances?offset=6")).status_code == 204


@pytest.mark.parametrize(
    ("query", "setting"),
    [
        ("&".join([f"0009{number:04X}=" for number in range(0x1000, 0x1000 + 31)]), "OSTEON_QUERY_MAX_KEYS"),
        ("includefield=" + ",".join(["PatientID"] * 31), "OSTEON_QUERY_MAX_KEYS"),
        ("PatientID=1&PatientID=2&PatientID=3&PatientID=4", "OSTEON_QUERY_MAX_MATCHING_KEYS"),
        ("StudyInstanceUID=1.1,1.2,1.3", "OSTEON_QUERY_MAX_VALUES"),
    ],
)
async def test_more_keys_than_are_allowed_are_refused_and_the_setting_is_named(
    tmp_path: Path, query: str, setting: str
) -> None:
    settings = QuerySettings(query_max_keys=30, query_max_matching_keys=3, query_max_values=2)
    async with door(tmp_path, settings) as archive:
        response = await archive.http.get(f"{WEB}/studies?{query}")
        assert (response.status_code, setting in response.json()["detail"]) == (400, True)
        fewer = await archive.http.get(f"{WEB}/studies?StudyInstanceUID=1.1,1.2&PatientID=1&includefield=PatientID")
        assert fewer.status_code == 204
        body = {"Level": "Study", "Query": {"PatientID": "1"}, "RequestedTags": ["PatientID"] * 30}
        assert (await archive.http.post("/tools/find", json=body)).status_code == 400


async def test_the_archive_s_own_limit_is_told_by_a_warning(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(query_limit=2)) as archive:
        study = short_uid()
        await archive.stow(*(ct_slice(study=study, series=f"{study}.1", number=n) for n in range(3)))
        response = await archive.http.get(f"{WEB}/instances?limit=1000")
        assert len(response.json()) == 2
        assert response.headers["Warning"].startswith("299 ")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("StudyDate=20240101-20240301&StudyTime=120000-080000", {BOB}),
        ("StudyDate=20240101-20240301&StudyTime=080000-120000", {ALICE, BOB}),
        ("StudyDate=20240101-20240301&StudyTime=120000-", {BOB}),
        ("StudyDate=20240101&StudyTime=080000-120000", {ALICE}),
    ],
)
async def test_a_date_and_its_time_are_matched_as_one_moment(tmp_path: Path, query: str, found: set[str]) -> None:
    async with door(tmp_path) as archive:
        await archive.stow(ct_slice(study=ALICE, StudyDate="20240101", StudyTime="100000"))
        await archive.stow(ct_slice(study=BOB, StudyDate="20240301", StudyTime="070000"))
        assert studies_in(await archive.json(f"{WEB}/studies?{query}")) == found


async def test_a_range_of_times_across_midnight_needs_a_date(filled: RunningQuery) -> None:
    response = await filled.http.get(f"{WEB}/studies?StudyTime=2200-0600")
    assert response.status_code == 400
    assert "StudyTime" in response.json()["detail"]


async def test_attributes_that_are_matched_are_in_the_answer(filled: RunningQuery) -> None:
    keys = "StudyDescription=Test%20study&IssuerOfPatientID=&InstitutionName=*&PatientAge="
    (answer,) = await filled.json(f"{WEB}/studies?PatientID=P1&{keys}")
    assert answer["00081030"]["Value"] == ["Test study"]
    (series, _) = await filled.json(f"{WEB}/studies/{ALICE}/series?PatientID=P1&StudyDate=20240101")
    assert series["00100020"]["Value"] == ["P1"]
    assert series["00080020"]["Value"] == ["20240101"]


async def test_a_viewer_s_list_query_finds_studies_with_all_that_it_shows(filled: RunningQuery) -> None:
    query = (
        "limit=101&offset=0&fuzzymatching=true&includefield=00081030,00080060,00080090,00100030"
        "&PatientName=*alice*&ModalitiesInStudy=CT,MR&StudyDate=20200101-20251231"
    )
    (answer,) = await filled.json(f"{WEB}/studies?{query}")
    assert answer["0020000D"]["Value"] == [ALICE]
    assert {"00080020", "00080030", "00080061", "00081030", "00100010", "00100020", "00201206", "00201208"} <= set(
        answer
    )


async def test_a_key_of_a_level_below_is_ignored_with_a_warning(filled: RunningQuery) -> None:
    response = await filled.http.get(f"{WEB}/studies?SeriesNumber=1&SliceThickness=2")
    assert studies_in(response.json()) == {ALICE, BOB}
    assert "SeriesNumber" in response.headers["Warning"]
    assert "SliceThickness" in response.headers["Warning"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("_=1700000000", "_"),
        ("orderby=-StudyDate&includedefaults=false", "orderby, includedefaults"),
        ("token=abc", "token"),
        ("RequestAttributesSequence.NoSuch=1", "RequestAttributesSequence.NoSuch"),
        ("includefield=NoSuchField,StudyDescription", "NoSuchField"),
        ("%E2%82%AC%22=1", "??"),
        ("x" * 600 + "=1", "x" * 80),
    ],
)
async def test_a_parameter_that_is_not_known_is_ignored_with_a_warning(
    filled: RunningQuery, query: str, named: str
) -> None:
    response = await filled.http.get(f"{WEB}/studies?PatientID=P1&{query}")
    assert studies_in(response.json()) == {ALICE}
    assert response.headers["Warning"].endswith(f'not supported and were ignored: {named}"')


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("offset=1.5", "offset"),
        ("fuzzymatching=maybe", "fuzzymatching"),
        ("emptyvaluematching=1", "emptyvaluematching"),
        ("multiplevaluematching=yes", "multiplevaluematching"),
        ("multiplevaluematching=true&ModalitiesInStudy=C*%5CMR", "ModalitiesInStudy"),
        ('StudyDate=""', "StudyDate"),
        ("RequestAttributesSequence=1", "RequestAttributesSequence"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyDate=20240301-20240101", "StudyDate"),
        ("StudyInstanceUID=1.2.x", "StudyInstanceUID"),
        ("PatientName=a%00b", "PatientName"),
        ("&".join(f"PatientID={n}" for n in range(2000)), "more than 1000 query parameters"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(filled: RunningQuery, query: str, named: str) -> None:
    response = await filled.http.get(f"{WEB}/studies?{query}")
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert named in response.json()["detail"]
    assert response.json()["correlation_id"] == response.headers["X-Correlation-ID"]


@pytest.mark.parametrize("accept", ["application/dicom+xml", "text/html", "application/json;q=0"])
async def test_clients_that_take_neither_json_nor_xml_in_parts_get_406(filled: RunningQuery, accept: str) -> None:
    response = await filled.http.get(f"{WEB}/studies", headers={"Accept": accept})
    assert response.status_code == 406
