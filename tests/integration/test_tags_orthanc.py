"""Tags, new instances and orders of slices beside a running Orthanc; `is_known` names differences of tags."""

import base64
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, dcmwrite

from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED
from support.packs.sealed_packs import part10
from support.query.application import RunningQuery, door

pytestmark = [pytest.mark.slow, needs_orthanc]
FILES = (
    "CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "ExplVR_BigEnd.dcm", "JPEG-lossy.dcm", "badVR.dcm",
    "axial_epi_fmri_interleaved_i_to_s-00004.dcm", "examples_palette.dcm", "examples_ybr_color.dcm", "rtplan.dcm",
    "liver_1frame.dcm", "SC_rgb_gdcm_KY.dcm", "test-SR.dcm", "waveform_ecg.dcm",
)  # fmt: skip
NUMBERS = {"OF": "<2f", "OL": "<2L", "OD": "<2d", "OV": "<2Q"}
Tag = dict[str, Any] | None


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    nobody: Any = SimpleNamespace(aet="NOBODY", dicom_port=11112, url="http://127.0.0.1:1")
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), nobody) as running:
        yield running


def invented() -> bytes:
    """Return a file with numbers written in every way."""
    dataset = ct_slice()
    dataset.update({"PatientName": "", "SeriesNumber": "0008", "InstanceNumber": "+07", "StudyDescription": ""})
    dataset.SliceThickness, dataset.SliceLocation, dataset.PixelSpacing = "27.000000", "-0.000000", ["1.50 ", ".5"]
    dataset.FrameIncrementPointer = [0x00181063, 0x00181065]
    dataset.add_new(0x00090010, "LO", "CREATOR")
    for place, (vr, form) in enumerate(NUMBERS.items()):
        dataset.add_new(0x00091001 + place, vr, struct.pack(form, 1, 70000))
    for place, (vr, value) in enumerate([("FD", [0.1, float("nan")]), ("FL", 0.1), ("SV", -(1 << 40))]):
        dataset.add_new(0x00091011 + place, vr, value)
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def is_known(tag: str, theirs: Tag, ours: Tag) -> bool:
    """Whether a difference is known, and why."""
    if ours is None:
        return tag.endswith(",0000")  # group lengths are no part of the DICOM JSON Model (PS3.18 F.2.2)
    if theirs is None:
        return False
    if ours["Value"] == theirs["Value"]:  # DCMTK's dictionary has names for private elements, and marks old ones
        return int(tag[:4], 16) % 2 == 1 or theirs["Name"] == f"RETIRED_{ours['Name']}"
    if theirs["Type"] == "Null":
        return ours["Type"] in ("String", "TooLong")  # numbers of OD, OF, OL, OV, SV, UV are shown
    # Of several tags in one value Orthanc shows the first.
    return str(ours["Value"]).startswith(f"{theirs['Value']}\\")


def differences(theirs: dict[str, Any], ours: dict[str, Any], path: str = "") -> list[tuple[str, Tag, Tag]]:
    """Return what differs, in sequences too, as (path, theirs, ours)."""
    found = []
    for tag in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(tag), ours.get(tag)
        if one and other and one["Type"] == other["Type"] == "Sequence" and len(one["Value"]) == len(other["Value"]):
            for items in zip(one["Value"], other["Value"], strict=True):
                found += differences(*items, f"{path}{tag}/")
        elif one != other and not is_known(tag, one, other):
            found.append((path + tag, one, other))
    return found


async def upload(orthanc: OrthancServer, archive: RunningQuery, content: bytes) -> dict[str, str]:
    theirs = orthanc.http.post("/instances", content=content).raise_for_status().json()
    ours = (await archive.http.post("/instances", content=content)).json()
    assert ours["ID"] == theirs["ID"]
    return dict(theirs)


async def test_tags_are_as_in_the_file(orthanc: OrthancServer, tmp_path: Path) -> None:
    contents = {name: (BUNDLED / name).read_bytes() for name in FILES if (BUNDLED / name).exists()}
    assert len(contents) > 10
    async with door(tmp_path) as archive:
        for name, content in {**contents, "invented": invented()}.items():
            ids = await upload(orthanc, archive, content)
            tags = f"/instances/{ids['ID']}/tags"
            theirs, ours = orthanc.http.get(tags).json(), await archive.json(tags)
            assert not differences(theirs, ours), name
            for path in (f"/instances/{ids['ID']}", f"/series/{ids['ParentSeries']}", f"/studies/{ids['ParentStudy']}"):
                one, other = orthanc.http.get(path).json(), await archive.json(path)
                expected = {tag: value for tag, value in one["MainDicomTags"].items() if tag in other["MainDicomTags"]}
                # Newer releases of Orthanc have this one too; longer texts it leaves out.
                extra = {"TimezoneOffsetFromUTC"} | {k for k, v in other["MainDicomTags"].items() if len(v) > 256}
                assert (
                    one["MainDicomTags"].keys() <= other["MainDicomTags"].keys() <= one["MainDicomTags"].keys() | extra
                )
                assert {**other["MainDicomTags"], **expected} == other["MainDicomTags"], name


async def test_simplified_and_short_tags(orthanc: OrthancServer, tmp_path: Path) -> None:
    async with door(tmp_path) as archive:
        ids = await upload(orthanc, archive, invented())
        simplified = await archive.json(f"/instances/{ids['ID']}/simplified-tags")
        theirs = orthanc.http.get(f"/instances/{ids['ID']}/simplified-tags").json()
        named = {
            name for name in theirs if name not in ("Unknown Tag & Data", "PrivateCreator", "FrameIncrementPointer")
        }
        assert {name: simplified[name] for name in named} == {name: theirs[name] for name in named}
        assert simplified["FrameIncrementPointer"] == "0018,1063\\0018,1065"
        short = await archive.json(f"/instances/{ids['ID']}/tags?short")
        assert short["0009,1001"] == "1\\70000"
        assert short["0020,0011"] == "0008"
        assert short["0018,0050"] == "27.000000"
        assert short["0028,0030"] == "1.50\\.5"


def data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


GREY = (np.arange(120).reshape(12, 10) * 2).astype("uint8")
RGB = np.stack([GREY, GREY // 2, 255 - GREY], -1)
PNG = data_uri("image/png", imagecodecs.png_encode(GREY))
PDF = data_uri("application/pdf", b"%PDF-1.4 nothing")
CREATED: list[dict[str, Any]] = [
    {"Tags": {"PatientName": "A^B", "Modality": "CR"}, "Content": PNG},
    {"Tags": {}, "Content": data_uri("image/png", imagecodecs.png_encode(GREY.astype("uint16") * 257))},
    {"Tags": {"PatientID": "P7"}, "Content": data_uri("image/png", imagecodecs.png_encode(RGB))},
    {"Tags": {}, "Content": data_uri("image/jpeg", imagecodecs.jpeg_encode(RGB))},
    {"Tags": {"0008,0070": "data:application/octet-stream;base64,QUI="}, "Content": PDF},
    {"Tags": {"StudyInstanceUID": "1.2.3", "SliceThickness": "27.000"}, "Force": True},
    {"Tags": {"ReferencedStudySequence": [{"ReferencedSOPClassUID": "1.2"}], "StudyDate": "20200101"}},
    {"Tags": {"0008,0070": "data:application/octet-stream;base64,QUI="}, "InterpretBinaryTags": False},
    {"Tags": {"SeriesDescription": "x"}, "Parent": "ParentPatient", "Content": PNG},
    {"Tags": {"SeriesDescription": "x"}, "Parent": "ParentStudy", "Content": PNG},
    {"Tags": {"ImageComments": "x"}, "Parent": "ParentSeries"},
    {"Tags": {"PatientName": "x"}, "Parent": "ParentStudy", "Force": True},
    {"Tags": {}, "Content": [PNG, {"Content": PNG, "Tags": {"ImageComments": "second"}}]},
    {"Tags": {"PatientName": "x"}, "Parent": "ParentStudy"}, {"Tags": {"StudyInstanceUID": "1.2"}},
    {"Tags": {}, "Parent": "ID"}, {"Tags": {"PatientName": 5}}, {"Tags": {"PixelData": "x"}},
    {"Tags": {}, "Content": "nothing"}, {"Tags": {}, "Content": data_uri("application/pdf", b"no PDF")},
]  # fmt: skip
NEW = {"0008,0012", "0008,0013", "0008,0018", "0008,0022", "0008,0023", "0008,0032", "0008,0033"}
"""Tags of moments and identifiers of an instance: each time others."""
NEW_ABOVE = {"0008,0020", "0008,0021", "0008,0030", "0008,0031", "0010,0020", "0020,000d", "0020,000e"}


def created(http: httpx.Client, body: dict[str, Any], ids: dict[str, str]) -> list[dict[str, Any]] | int:
    """Return the tags of what was made, or the status of a refusal."""
    parent = {"Parent": ids[body["Parent"]]} if "Parent" in body else {}
    response = http.post("/tools/create-dicom", json={**body, **parent})
    if response.status_code != 200:
        return response.status_code
    path = response.json()["Path"]
    instances = [path.split("/")[2]] if "/instances/" in path else http.get(path).json()["Instances"]
    found = [http.get(f"/instances/{each}/tags").json() for each in instances]
    return sorted(found, key=lambda tags: tags.get("0020,0013", {}).get("Value", ""))


@pytest.mark.parametrize("body", CREATED)
def test_the_same_tags_and_contents_make_the_same_instances(
    orthanc: OrthancServer, standalone: RunningArchive, body: dict[str, Any]
) -> None:
    source = part10(ct_slice(PatientName="Müller^X", study="1.2.77", series="1.2.77.1", PatientID="CREATE"))
    ids = orthanc.http.post("/instances", content=source).json()
    with httpx.Client(base_url=standalone.url, timeout=60) as http:
        http.post("/instances", content=source).raise_for_status()
        theirs, ours = created(orthanc.http, body, ids), created(http, body, ids)
    if isinstance(theirs, int) or isinstance(ours, int):
        assert theirs == ours
        return
    fixed = {"0010,0020", "0020,000d", "0020,000e"} if "Parent" in body else set()
    fixed = {"0010,0020"} if body.get("Parent") == "ParentPatient" else fixed - {"0020,000e"}
    for one, other in zip(theirs, ours, strict=True):
        # A SOP class is needed to store an instance; the character set is that of the text.
        assert one.keys() - {"0008,0005"} == other.keys() - {"0008,0005"} - ({"0008,0016"} - one.keys())
        same = one.keys() - NEW - (NEW_ABOVE - fixed) - {"0008,0005"}
        assert {tag: other[tag] for tag in same} == {tag: one[tag] for tag in same}


def test_a_created_picture_has_the_samples_of_its_source(orthanc: OrthancServer, standalone: RunningArchive) -> None:
    for array in (GREY, RGB, GREY.astype("uint16") * 257):
        content = data_uri("image/png", imagecodecs.png_encode(array))
        made = standalone.post("/tools/create-dicom", json={"Tags": {}, "Content": content}).json()
        file = dcmread(io.BytesIO(standalone.get(f"/instances/{made['ID']}/file").content))
        assert file.PixelData == array.tobytes()
    damaged = data_uri("image/png", imagecodecs.png_encode(RGB)[:60])
    body = {"Tags": {}, "Content": damaged}
    refused = httpx.post(f"{standalone.url}/tools/create-dicom", json=body, timeout=60)
    assert refused.status_code == 400


def test_slices_are_in_the_same_order(orthanc: OrthancServer, standalone: RunningArchive) -> None:
    axes = [1, 0, 0, 0, 1, 0]
    for series, slices in {
        "1.2.78.1": [ct_slice(number=n, ImageOrientationPatient=axes, ImagePositionPatient=[0, 0, z])
                     for n, z in ((1, 30), (2, 10), (3, 20))],
        "1.2.78.2": [ct_slice(number=n, NumberOfFrames=str(n)) for n in (3, 1, 2)],
        "1.2.78.3": [ct_slice(number=1)],
    }.items():  # fmt: skip
        for each in slices:
            each.StudyInstanceUID, each.SeriesInstanceUID = "1.2.78", series
            ids = orthanc.http.post("/instances", content=part10(each)).raise_for_status().json()
            standalone.post("/instances", content=part10(each))
        path = f"/series/{ids['ParentSeries']}/ordered-slices"
        assert standalone.get(path).json() == orthanc.http.get(path).json()
