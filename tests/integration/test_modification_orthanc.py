"""Modifications beside Debian's Orthanc: the same bodies, the files compared element by element."""

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread

from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, needs_orthanc, pytest.mark.xdist_group("archives"), pytest.mark.timeout(120)]

IDENTIFIERS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, standalone: RunningArchive) -> Iterator[OrthancServer]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), standalone) as server:
        yield server


def source() -> Dataset:
    made = ct_slice()
    items = [Dataset(), Dataset()]
    for item in items:
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = made.SOPClassUID, "1.2.3"
    made.ReferencedImageSequence = items
    made.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "private")
    return made


def both(
    orthanc: OrthancServer, archive: RunningArchive, path: str, dataset: Dataset, body: Any
) -> list[httpx.Response]:
    """Store a data set in both, and send both the same request; `{id}` is the instance, `{study}` its study."""
    answers = []
    for url in (orthanc.url, archive.url):
        stored = httpx.post(f"{url}/instances", content=part10(dataset), timeout=60).json()
        names = {"id": stored["ID"], "series": stored["ParentSeries"], "study": stored["ParentStudy"],
                 "patient": stored["ParentPatient"]}  # fmt: skip
        answers.append(httpx.post(url + path.format(**names), json=_named(body, names), timeout=60))
    return answers


def _named(body: Any, names: dict[str, str]) -> Any:
    text = json.dumps(body)
    for name, public_id in names.items():
        text = text.replace(f"{{{name}}}", public_id)
    return json.loads(text)


def comparable(content: bytes, old: Dataset) -> dict[str, str]:
    """Return the elements of a file; of identifiers only whether they are new."""
    found = {}
    for element in dcmread(io.BytesIO(content)):
        known = element.keyword in IDENTIFIERS and element.value != old[element.keyword].value
        found[str(element.tag)] = "new" if known and element.keyword.endswith("UID") else str(element)
    return found


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Replace": {"PatientName": "Doe^Jane", "PatientWeight": "70.5", "Rows": "3"}},
        {"Replace": {"0010,0010": "Doe^Jane"}, "Remove": ["0008,1030", "AccessionNumber"]},
        {"Replace": {"ReferencedImageSequence[*].ReferencedSOPInstanceUID": "9.9"}},
        {"Replace": {"ReferencedImageSequence[1].ReferencedSOPInstanceUID": "9.9"}},
        {"Remove": ["ReferencedImageSequence[0].ReferencedSOPInstanceUID"]},
        {"Replace": {"OtherPatientIDsSequence": [{"PatientID": "a"}, {"PatientID": "b"}]}},
        {"RemovePrivateTags": True},
        {"Replace": {"PatientID": "x"}, "Force": True},
        {"Replace": {"SOPInstanceUID": "1.2.3.4"}, "Force": True},
        {"Keep": ["SOPInstanceUID"], "Force": True},
        {"Replace": {"StudyDescription": "Größe"}},
    ],
)
def test_the_same_body_gives_the_same_elements(
    orthanc: OrthancServer, standalone: RunningArchive, body: dict[str, Any]
) -> None:
    old = source()
    theirs, ours = both(orthanc, standalone, "/instances/{id}/modify", old, body)
    assert (theirs.status_code, ours.status_code) == (200, 200)
    assert comparable(ours.content, old) == comparable(theirs.content, old)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/instances/{id}/modify", {"Replace": {"PatientID": "x"}}),
        ("/instances/{id}/modify", {"Keep": ["SOPInstanceUID"]}),
        ("/instances/{id}/modify", {"Remove": ["StudyInstanceUID"]}),
        ("/instances/{id}/modify", {"Replace": {"PatientName": 5}}),
        ("/instances/{id}/modify", {"Remove": "PatientName"}),
        ("/studies/{study}/modify", {"Replace": {"PatientID": "x"}}),
        ("/series/{series}/modify", {"Replace": {"PatientID": "x"}, "Force": True}),
        ("/patients/{patient}/modify", {"Replace": {"PatientName": "x"}}),
        ("/patients/{patient}/modify", {"Keep": ["PatientID"], "Force": True}),
        ("/studies/{study}/merge", {}),
        ("/studies/{study}/merge", {"Resources": ["{series}"], "KeepSource": True}),
        ("/studies/{study}/split", {"KeepSource": True}),
        ("/studies/{study}/split", {"Series": ["{series}"], "KeepSource": True, "Replace": {"Modality": "MR"}}),
    ],
)
def test_what_orthanc_refuses_is_refused(
    orthanc: OrthancServer, standalone: RunningArchive, path: str, body: dict[str, Any]
) -> None:
    theirs, ours = both(orthanc, standalone, path, source(), body)
    assert (theirs.status_code, ours.status_code) in ((400, 400), (404, 404))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/studies/{study}/modify", {"Replace": {"StudyDescription": "new"}}),
        ("/studies/{study}/modify", {"Keep": ["StudyInstanceUID"], "Force": True}),
        ("/series/{series}/modify", {"Replace": {"SeriesDescription": "new"}}),
        ("/patients/{patient}/modify", {"Replace": {"PatientID": "MODIFIED"}, "Force": True}),
    ],
)
def test_a_job_answers_in_the_same_form(
    orthanc: OrthancServer, standalone: RunningArchive, path: str, body: dict[str, Any]
) -> None:
    old = ct_slice(PatientID="COMPARED")
    theirs, ours = (answer.json() for answer in both(orthanc, standalone, path, old, body))
    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() == {"ParentResources"}
    same = ("Description", "FailedInstancesCount", "IsAnonymization", "Type", "PatientID")
    assert [ours[key] for key in same] == [theirs[key] for key in same]


IDENTIFYING = {
    "PatientName": "Doe^J",
    "PatientBirthDate": "19600101",
    "PatientSex": "F",
    "PatientAge": "060Y",
    "PatientWeight": "70",
    "AccessionNumber": "A1",
    "InstitutionName": "Clinic",
    "ReferringPhysicianName": "Ref^A",
    "StudyDescription": "d",
    "SeriesDescription": "s",
    "StudyDate": "20200101",
    "SeriesDate": "20200101",
    "AcquisitionDate": "20200101",
    "ContentDate": "20200101",
    "StudyTime": "10",
    "SeriesTime": "10",
    "AcquisitionTime": "10",
    "ContentTime": "10",
    "StudyID": "7",
    "StationName": "ST",
    "Manufacturer": "M",
    "DeviceSerialNumber": "9",
    "OperatorsName": "Op^A",
    "ProtocolName": "p",
    "PatientComments": "c",
    "OtherPatientIDs": "o",
    "FrameOfReferenceUID": "1.2.3.4",
    "PerformingPhysicianName": "P",
    "PhysiciansOfRecord": "P",
    "BodyPartExamined": "CHEST",
    "ImageComments": "i",
    "RequestedProcedureDescription": "r",
    "PerformedProcedureStepStartDate": "20200101",
    "KVP": "120",
    "EthnicGroup": "x",
    "InstanceCreationDate": "20200101",
    "InstanceCreationTime": "10",
    "PatientAddress": "a",
    "SoftwareVersions": "1",
}
_CHOICE = (
    "gone",
    "replaced",
)  # X/D and X/Z/D: Orthanc removes what some kinds of objects need, a dummy takes its place
DIFFERENT = {
    "InstanceCreationDate": ("kept", "replaced"), "InstanceCreationTime": ("kept", "replaced"),  # new in the table
    "SeriesDate": _CHOICE, "SeriesTime": _CHOICE, "InstitutionName": _CHOICE, "StationName": _CHOICE,
    "OperatorsName": _CHOICE, "DeviceSerialNumber": _CHOICE, "ProtocolName": _CHOICE,
    "AcquisitionDate": ("gone", "empty"), "AcquisitionTime": ("gone", "empty"),  # X/Z
    "RequestedProcedureDescription": ("gone", "empty"),
    "ContentDate": ("empty", "replaced"), "ContentTime": ("empty", "replaced"),  # Z/D
    "DeidentificationMethodCodeSequence": ("gone", "replaced"), "LongitudinalTemporalInformationModified": _CHOICE,
}  # fmt: skip


def outcome(made: Dataset, old: Dataset, keyword: str) -> str:
    """Return what anonymization did to an attribute."""
    if keyword not in made:
        return "gone"
    if made[keyword].value in (None, ""):
        return "empty"
    return "kept" if keyword in old and old[keyword].value == made[keyword].value else "replaced"


def test_anonymization_does_the_same_but_where_the_table_leaves_a_choice(
    orthanc: OrthancServer, standalone: RunningArchive
) -> None:
    old = source()
    for keyword, value in IDENTIFYING.items():
        setattr(old, keyword, value)
    theirs, ours = (
        dcmread(io.BytesIO(answer.content))
        for answer in both(orthanc, standalone, "/instances/{id}/anonymize", old, {})
    )
    names = {element.keyword for dataset in (theirs, ours, old) for element in dataset if element.keyword}
    found = {name: (outcome(theirs, old, name), outcome(ours, old, name)) for name in names}
    assert {name: pair for name, pair in found.items() if pair[0] != pair[1]} == DIFFERENT
    assert not [element for dataset in (theirs, ours) for element in dataset if element.tag.is_private]


@pytest.mark.parametrize("path", ["/studies/{study}/anonymize", "/series/{series}/anonymize"])
def test_an_anonymization_job_answers_in_the_same_form(
    orthanc: OrthancServer, standalone: RunningArchive, path: str
) -> None:
    theirs, ours = (answer.json() for answer in both(orthanc, standalone, path, ct_slice(PatientID="COMPARED"), {}))
    assert ours.keys() - theirs.keys() == {"ParentResources", "Report"}
    assert [ours[key] for key in ("IsAnonymization", "Type")] == [theirs[key] for key in ("IsAnonymization", "Type")]
