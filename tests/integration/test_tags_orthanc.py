"""Tags beside a running Orthanc: the same values for every element, but for what `is_known` names."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmwrite

from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED
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
