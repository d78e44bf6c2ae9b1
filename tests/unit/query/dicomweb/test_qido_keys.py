"""QIDO-RS: keys in sequences, keys that the index does not hold, empty and multiple values, private attributes, XML."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydicom import Dataset
from pydicom.sequence import Sequence

from osteon_query.limits import ApiLimits
from support.dicom.datasets import ct_slice
from support.dicom.metadata import from_xml
from support.query.application import WEB, RunningQuery, door, split_multipart

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, B = "2.25.2001", "2.25.2002"
XML = {"Accept": 'multipart/related; type="application/dicom+xml"'}


def _request(step: str, procedure: str) -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
    return item


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningQuery]:
    """A: a CT and an MR series of an ordered study; B: a CT study with a referring physician and little else."""
    common: dict[str, Any] = {"study": A, "PatientWeight": "70.5", "ReferringPhysicianName": None}
    first = ct_slice(
        series=f"{A}.1",
        SliceThickness="1.5",
        RequestAttributesSequence=Sequence([_request("S1", "P1"), _request("S2", "P2")]),
        ReferencedStudySequence=Sequence([_reference("1.2.1", "2.25.1"), _reference("1.2.2", "2.25.2")]),
        **common,
    )
    block = first.private_block(0x0029, "OSTEON TEST", create=True)
    block.add_new(0x01, "LO", "hidden")
    other = first.private_block(0x0029, "SOMEBODY", create=True)
    other.add_new(0x01, "LO", "other")
    second = ct_slice(series=f"{A}.2", Modality="MR", SliceThickness="3", **common)
    third = ct_slice(study=B, series=f"{B}.1", ReferringPhysicianName="House^Gregory", PatientWeight="80")
    async with door(tmp_path_factory.mktemp("shelf")) as archive:
        await archive.stow(first, second)
        await archive.stow(third)
        yield archive


async def _found(archive: RunningQuery, query: str, tag: str = "0020000D") -> list[str]:
    response = await archive.http.get(f"{WEB}/{query}")
    assert response.status_code in (200, 204), response.text
    assert "Warning" not in response.headers
    return sorted(answer[tag]["Value"][0] for answer in response.json()) if response.content else []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("series?00400275.00400009=S1", [f"{A}.1"]),
        ("series?RequestAttributesSequence.ScheduledProcedureStepID=S*", [f"{A}.1"]),
        ("series?RequestAttributesSequence.00401001=P1&00400275.ScheduledProcedureStepID=S1", [f"{A}.1"]),
        ("series?RequestAttributesSequence.RequestedProcedureID=P1&00400275.00400009=S2", []),
        ("series?RequestAttributesSequence=", [f"{A}.1", f"{A}.2", f"{B}.1"]),
    ],
)
async def test_series_are_found_by_what_requested_them(shelf: RunningQuery, query: str, found: list[str]) -> None:
    assert await _found(shelf, query, "0020000E") == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("studies?PatientWeight=70.5", [A]),
        ("studies?00101030=80", [B]),
        ("studies?ReferencedStudySequence.ReferencedSOPInstanceUID=2.25.2", [A]),
        ("studies?ReferencedStudySequence.ReferencedSOPInstanceUID=2.25.2,2.25.9", [A]),
        ("studies?00081110.00081155=2.25.2&00081110.00081150=1.2.2", [A]),
        ("studies?00081110.00081155=2.25.2&00081110.00081150=1.2.1", []),
        ('studies?emptyvaluematching=true&ReferencedStudySequence.ReferencedSOPInstanceUID=""', [B]),
        ("studies?PatientWeight=70.5&PatientID=nobody", []),
        ("studies?PatientWeight=70.5&limit=1&offset=1", []),
    ],
)
async def test_studies_are_found_by_what_only_headers_hold(shelf: RunningQuery, query: str, found: list[str]) -> None:
    assert await _found(shelf, query) == found


async def test_instances_are_found_by_any_attribute(shelf: RunningQuery) -> None:
    assert await _found(shelf, "instances?SliceThickness=3", "0020000E") == [f"{A}.2"]
    assert await _found(shelf, f"studies/{A}/instances?00180050=1.5&SliceThickness=", "0020000E") == [f"{A}.1"]


async def test_a_search_that_would_read_too_many_headers_is_413_and_names_the_key(shelf: RunningQuery) -> None:
    shelf.change(limits=ApiLimits(header_candidates=1))
    response = await shelf.http.get(f"{WEB}/studies?PatientWeight=70.5")
    assert response.status_code == 413
    assert "PatientWeight" in response.json()["detail"]
    assert await _found(shelf, f"studies?PatientWeight=70.5&StudyInstanceUID={A}") == [A]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('emptyvaluematching=true&ReferringPhysicianName=""', [A]),
        ('emptyvaluematching=false&ReferringPhysicianName=""', []),
        ('ReferringPhysicianName=""', []),
        ('ReferringPhysicianName=""&emptyvaluematching=true', [A]),
        ("multiplevaluematching=true&ModalitiesInStudy=CT%5CMR", [A]),
        ("multiplevaluematching=true&ModalitiesInStudy=CT,MR", [A]),
        ("multiplevaluematching=false&ModalitiesInStudy=CT%5CMR", [A, B]),
        ("ModalitiesInStudy=CT%5CMR", [A, B]),
        ("multiplevaluematching=true&ModalitiesInStudy=CT", [A, B]),
        (f"multiplevaluematching=true&StudyInstanceUID={A}%5C{B}", [A, B]),
    ],
)
async def test_empty_and_multiple_values_match_as_the_parameters_say(
    shelf: RunningQuery, query: str, found: list[str]
) -> None:
    assert await _found(shelf, f"studies?{query}") == found


async def test_attributes_of_lower_levels_are_not_included(shelf: RunningQuery) -> None:
    (study,) = await shelf.json(
        f"{WEB}/studies?StudyInstanceUID={A}&includefield=SliceThickness,Modality,PatientWeight"
    )
    assert "00180050" not in study
    assert "00080060" not in study
    assert study["00101030"]["Value"] == [70.5]
    (instance, _) = await shelf.json(f"{WEB}/studies/{A}/instances?includefield=00180050")
    assert instance["00180050"]["Value"] == [1.5]


async def test_a_path_includes_its_sequence(shelf: RunningQuery) -> None:
    (study,) = await shelf.json(
        f"{WEB}/studies?StudyInstanceUID={A}&includefield=ReferencedStudySequence.ReferencedSOPInstanceUID"
    )
    assert study["00081110"]["Value"][0]["00081155"]["Value"] == ["2.25.1"]


@pytest.mark.parametrize(
    ("query", "included"),
    [
        ("includefield=00291001", {"00290010": "OSTEON TEST", "00291001": "hidden"}),
        ("includefield=00291001&00290010=SOMEBODY", {"00290011": "SOMEBODY", "00291101": "other"}),
        ("includefield=00291001&00290010=NOBODY", {}),
    ],
)
async def test_private_attributes_come_with_their_creator_wherever_its_block_is(
    shelf: RunningQuery, query: str, included: dict[str, str]
) -> None:
    (instance,) = await shelf.json(f"{WEB}/studies/{A}/series/{A}.1/instances?{query}")
    private = {tag: element["Value"][0] for tag, element in instance.items() if tag.startswith("0029")}
    assert private == included


async def test_a_private_key_is_ignored_with_a_warning(shelf: RunningQuery) -> None:
    response = await shelf.http.get(f"{WEB}/studies?00291001=hidden")
    assert len(response.json()) == 2
    assert "00291001" in response.headers["Warning"]


@pytest.mark.parametrize("path", ["studies", "series", f"studies/{A}/instances?includefield=all"])
async def test_results_are_the_same_in_xml(shelf: RunningQuery, path: str) -> None:
    as_json = await shelf.json(f"{WEB}/{path}")
    response = await shelf.http.get(f"{WEB}/{path}", headers=XML)
    assert response.status_code == 200
    parts = split_multipart(response)
    assert {kind for kind, _ in parts} == {"application/dicom+xml"}
    # A private element keeps its creator, and may get another block.
    standard = [{tag: element for tag, element in one.items() if tag[3] not in "9"} for one in as_json]
    read = [{tag: e for tag, e in from_xml(document).items() if tag[3] not in "9"} for _, document in parts]
    assert read == standard


async def test_sequences_are_answered_as_deep_as_they_are_read(tmp_path: Path) -> None:
    dataset = ct_slice(study=A)
    for _ in range(120):
        item = Dataset()
        item.ReferencedStudySequence = dataset.get("ReferencedStudySequence", [])
        dataset.ReferencedStudySequence = [item]
    async with door(tmp_path) as archive:
        await archive.stow(dataset)
        for accept in ({}, XML):
            response = await archive.http.get(f"{WEB}/studies/{A}/instances?includefield=all", headers=accept)
            assert response.status_code == 200
            assert response.content.count(b"00081110") >= 80


async def test_no_result_is_204_in_xml_too(shelf: RunningQuery) -> None:
    assert (await shelf.http.get(f"{WEB}/studies?PatientID=nobody", headers=XML)).status_code == 204


def _resources() -> Iterator[tuple[str, int]]:
    yield from (("studies", 2), ("series", 3), ("instances", 3))
    yield from ((f"studies/{A}/series", 2), (f"studies/{A}/instances", 2), (f"studies/{A}/series/{A}.1/instances", 1))


@pytest.mark.parametrize(("path", "count"), list(_resources()))
async def test_every_resource_can_be_searched_and_names_its_url(shelf: RunningQuery, path: str, count: int) -> None:
    answers = await shelf.json(f"{WEB}/{path}")
    assert len(answers) == count
    for answer in answers:
        url = answer["00081190"]["Value"][0]
        assert (await shelf.http.get(f"{url}/metadata")).status_code == 200


@pytest.mark.parametrize(
    ("path", "tags"),
    [
        ("studies", "00080020 00080030 00080050 00080056 00080061 00080090 00081190 00100010 00100020 00100030 "
                    "00100040 0020000D 00200010 00201206 00201208"),
        ("series", "00080060 00081190 0020000D 0020000E 00200011 00201209 00100010 00201206"),
        (f"studies/{A}/series", "00080060 00081190 0020000D 0020000E 00200011 00201209"),
        ("instances", "00080016 00080018 00080056 00081190 0020000D 0020000E 00200013 00280010 00280011 00280100 "
                      "00080060 00201209 00100010"),
    ],
)  # fmt: skip
async def test_answers_have_what_the_tables_require(shelf: RunningQuery, path: str, tags: str) -> None:
    for answer in await shelf.json(f"{WEB}/{path}"):
        assert set(tags.split()) <= set(answer)
