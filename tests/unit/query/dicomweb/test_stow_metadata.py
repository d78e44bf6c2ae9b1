"""STOW-RS of metadata with bulk data beside it, as JSON and as XML."""

import json
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from osteon.dicom.xml import to_xml
from osteon_query.limits import ApiLimits
from support.dicom.datasets import ct_slice
from support.dicom.metadata import from_xml
from support.packs.sealed_packs import part10
from support.query.application import WEB, QuerySettings, RunningQuery, door

JSON, XML, OCTETS = "application/dicom+json", "application/dicom+xml", "application/octet-stream"
Part = tuple[dict[str, str], bytes]


def bulk(content: bytes, location: str = "bulk/1", kind: str = OCTETS) -> Part:
    return {"Content-Type": kind, "Content-Location": location}, content


def metadata(*datasets: Any) -> Part:
    return {"Content-Type": JSON}, json.dumps(datasets).encode()


def described(dataset: Dataset, location: str = "bulk/1") -> dict[str, Any]:
    """Return a data set as JSON whose pixel data is elsewhere."""
    elements: dict[str, Any] = json.loads(dataset.to_json(bulk_data_threshold=1 << 30))
    elements["7FE00010"] = {"vr": "OW", "BulkDataURI": location}
    return elements


async def post(archive: RunningQuery, parts: Iterable[Part], kind: str = JSON, study: str = "") -> tuple[int, Dataset]:
    response = await send(archive, parts, kind, study)
    assert response.headers["Content-Type"] == JSON, response.text
    return response.status_code, Dataset.from_json(response.json())


async def send(archive: RunningQuery, parts: Iterable[Part], kind: str = JSON, study: str = "", **more: str) -> Any:
    body = b"".join(
        b"--B\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in head.items()).encode()
        + b"\r\n"
        + content
        + b"\r\n"
        for head, content in parts
    )
    head = {"Content-Type": f'multipart/related; type="{kind}"; boundary=B', **more}
    return await archive.http.post(f"{WEB}/studies/{study}".rstrip("/"), content=body + b"--B--\r\n", headers=head)


def _head(headers: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


async def stored(archive: RunningQuery, answer: Dataset, number: int = 0) -> Dataset:
    """Return an instance as it was stored."""
    url = answer.ReferencedSOPSequence[number].RetrieveURL
    file: httpx.Response = await archive.http.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    path = archive.folder / "back.dcm"
    path.write_bytes(file.content)
    return dcmread(path)


def as_file(dataset: Dataset) -> Dataset:
    """Return what a data set is when it is read from a file: its pixel data has one VR."""
    return dcmread(BytesIO(part10(dataset)))


def _as_json(*datasets: Any) -> list[Part]:
    return [metadata(*datasets)]


def _as_xml(*datasets: Any) -> list[Part]:
    return [({"Content-Type": XML}, to_xml(dataset)) for dataset in datasets]


@pytest.mark.parametrize(("write", "kind"), [(_as_json, JSON), (_as_xml, XML)], ids=["json", "xml"])
async def test_an_instance_is_put_together_again(
    archive: RunningQuery, write: Callable[..., Sequence[Part]], kind: str
) -> None:
    dataset = ct_slice(PatientName="Ängström^Zoë", WindowCenter=["40", "80.5"], PatientComments="a\r\nb")
    dataset.ReferencedStudySequence = [Dataset()]
    dataset.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "2.25.1"
    dataset.private_block(0x0029, "OSTEON TEST", create=True).add_new(1, "OB", b"\0\1\2\3")
    status, answer = await post(archive, [*write(described(dataset)), bulk(dataset.PixelData)], kind)
    assert status == 200
    assert await stored(archive, answer) == as_file(dataset)
    assert not list((archive.folder / "uploading").iterdir())


async def test_many_instances_find_their_bulk_data_wherever_it_stands(archive: RunningQuery) -> None:
    first, second = ct_slice(), ct_slice(number=2)
    second.PixelData = second.PixelData[::-1]
    parts = [
        bulk(second.PixelData, "b/2"),
        metadata(described(first, "b/1"), described(second, "b/2")),
        ({"Content-ID": "<x>"}, first.PixelData),
        metadata(described(third := ct_slice(number=3), "cid:x")),
        bulk(first.PixelData, "b/1"),
    ]
    third.PixelData = first.PixelData
    status, answer = await post(archive, parts)
    assert status == 200
    back = {d.SOPInstanceUID: d for d in [await stored(archive, answer, n) for n in range(3)]}
    assert {uid: dataset.PixelData for uid, dataset in back.items()} == {
        dataset.SOPInstanceUID: dataset.PixelData for dataset in (first, second, third)
    }


async def test_bulk_data_of_any_element_goes_where_it_belongs(archive: RunningQuery) -> None:
    dataset = described(ct_slice(), "b/p")
    dataset["00420011"] = {"vr": "OB", "BulkDataURI": "b/pdf"}
    dataset["00104000"] = {"vr": "LT", "BulkDataURI": "b/text"}
    dataset["00081140"] = {"vr": "SQ", "Value": [{}, {"00282000": {"vr": "OB", "BulkDataURI": "b/icc"}}]}
    parts = [
        bulk(b"12", "b/p"),
        bulk(b"%PDF", "b/pdf", "application/pdf"),
        bulk(b"long", "b/text"),
        bulk(b"abc", "b/icc"),
    ]
    status, answer = await post(archive, [metadata(dataset), *parts])
    assert status == 202  # two bytes are too few for the pixels described
    back = await stored(archive, answer)
    assert (back.PixelData, back.EncapsulatedDocument, back.PatientComments) == (b"12", b"%PDF", "long")
    assert back.ReferencedImageSequence[1].ICCProfile == b"abc\0"


@pytest.mark.parametrize("kind", [JSON, XML])
async def test_metadata_alone_is_a_body_when_there_is_no_bulk_data(archive: RunningQuery, kind: str) -> None:
    dataset = ct_slice()
    del dataset.PixelData
    given = json.loads(dataset.to_json())
    body = to_xml(given) if kind == XML else json.dumps([given]).encode()
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 200, response.text
    assert await stored(archive, Dataset.from_json(response.json())) == dataset


def _numbered(frames: Sequence[bytes], kind: str) -> list[Part]:
    return [bulk(frame, f"b/frames/{number}", kind) for number, frame in reversed(list(enumerate(frames, 1)))]


def _repeated(frames: Sequence[bytes], kind: str) -> list[Part]:
    return [bulk(frame, "b", kind) for frame in frames]


def _items(frames: Sequence[bytes], kind: str) -> list[Part]:
    syntax = kind.partition(";")[2]
    return [bulk(encapsulate(list(frames)), "b", f"{OCTETS};{syntax}")]


@pytest.mark.parametrize("parts", [_numbered, _repeated, _items])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"),
        ("rtdose_rle.dcm", "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"),
        ("JPEG2000.dcm", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91"),
    ],
)
async def test_compressed_frames_become_fragments(
    archive: RunningQuery, name: str, kind: str, parts: Callable[..., list[Part]]
) -> None:
    dataset, frames = _compressed(name)
    status, answer = await post(archive, [metadata(described(dataset, "b")), *parts(frames, kind)])
    assert status == 200, answer
    back = await stored(archive, answer)
    assert back.file_meta.TransferSyntaxUID == kind.partition("syntax=")[2]
    assert list(generate_frames(back.PixelData, number_of_frames=len(frames))) == frames


@pytest.mark.parametrize(
    ("name", "kind", "syntax"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg", "1.2.840.10008.1.2.4.50"),
        ("SC_rgb_jpeg_gdcm.dcm", "image/jpeg", "1.2.840.10008.1.2.4.70"),
        ("JPEG-lossy.dcm", "image/jpeg", "1.2.840.10008.1.2.4.51"),
        ("SC_rgb_rle_2frame.dcm", "image/x-dicom-rle", "1.2.840.10008.1.2.5"),
        ("MR_small_jp2klossless.dcm", "image/jp2", "1.2.840.10008.1.2.4.90"),
    ],
)
async def test_a_media_type_alone_names_the_transfer_syntax(
    archive: RunningQuery, name: str, kind: str, syntax: str
) -> None:
    dataset, frames = _compressed(name)
    status, answer = await post(archive, [metadata(described(dataset, "b")), *_repeated(frames, kind)])
    assert status == 200, answer
    assert (await stored(archive, answer)).file_meta.TransferSyntaxUID == syntax


_DESCRIPTION = ("00280002", "00280004", "00280010", "00280011", "00280100", "00280101", "00280102", "00280103")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", "image/jpeg"),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "image/jpeg"),
        ("SC_rgb_jpeg_gdcm.dcm", "image/jpeg"),
        ("JPEG-lossy.dcm", "image/jpeg"),
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("SC_rgb_gdcm_KY.dcm", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91"),
    ],
)
async def test_what_the_bit_stream_says_of_the_image_may_be_left_out(
    archive: RunningQuery, name: str, kind: str
) -> None:
    dataset, frames = _compressed(name)
    given = {tag: element for tag, element in described(dataset, "b").items() if tag not in _DESCRIPTION}
    status, answer = await post(archive, [metadata(given), *_repeated(frames, kind)])
    assert status == 200, answer
    back = await stored(archive, answer)
    says = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
    assert [back[keyword].value for keyword in says] == [dataset[keyword].value for keyword in says]


def _compressed(name: str) -> tuple[Dataset, list[bytes]]:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    dataset = dcmread(path)
    return dataset, list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1))))


def _without(dataset: dict[str, Any], tag: str) -> dict[str, Any]:
    return {name: element for name, element in dataset.items() if name != tag}


_SLICE = described(ct_slice())
_HUGE_NUMBER = (
    b'<NativeDicomModel><DicomAttribute tag="00200013" vr="IS"><Value number="1">' + b"9" * 99
    + b"</Value></DicomAttribute></NativeDicomModel>"
)  # fmt: skip
_PDF = {"00420011": {"vr": "OB", "BulkDataURI": "y"}}
_BROKEN_ITEM = bulk(b"\xfe\xff\x00\xe0\x09\0\0\0", kind=f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.5")
_TWO_FRAMES = {**_SLICE, "00280008": {"vr": "IS", "Value": [2]}}
_TWO_VALUES = {"vr": "OB", "InlineBinary": "", "BulkDataURI": "x"}


@pytest.mark.parametrize(
    ("parts", "status", "reason", "says"),
    [
        ([metadata(_SLICE)], 400, 0xC000, "bulk/1"),
        ([metadata(_SLICE), bulk(b"12", "bulk/2")], 400, 0xC000, "bulk/1"),
        ([metadata(_SLICE), bulk(b"12", kind="image/png")], 409, 0xC122, "image/png"),
        ([metadata(_SLICE), bulk(b"12", kind=f"{OCTETS}; transfer-syntax=1.2.3")], 409, 0xC122, "1.2.3"),
        ([metadata(_SLICE), bulk(b"12", kind="image/jp2; transfer-syntax=1.2.840.10008.1.2.2")], 409, 0xC122, "1.2.2"),
        ([metadata(_SLICE), _BROKEN_ITEM], 400, 0xC000, "byte 17"),
        ([metadata(_TWO_FRAMES), bulk(b"1", kind="image/jls")], 400, 0xC000, "bulk/1"),
        ([metadata({**_SLICE, "00280008": {"vr": "IS", "Value": [-2]}})], 400, 0xC000, "00280008"),
        ([metadata(_without(_SLICE, "0020000D")), bulk(b"12")], 409, 0xA900, "0020,000D"),
        ([metadata({**_SLICE, "00280010": {"vr": "US", "Value": [1 << 20]}}), bulk(b"12")], 400, 0xC000, "00280010"),
        ([metadata({**_SLICE, "00080060": {"vr": "CS", "Value": ["ä"]}}), bulk(b"12")], 400, 0xC000, "00080060"),
        ([metadata({**_SLICE, "0010": {"vr": "LO"}})], 400, 0xC000, "0010"),
        ([metadata({**_SLICE, "00100020": {"vr": "XX", "Value": ["1"]}})], 400, 0xC000, "00100020"),
        ([metadata({**_SLICE, "00100020": "1"})], 400, 0xC000, "00100020"),
        ([metadata({**_SLICE, "00100020": {"vr": "LO", "Value": "1"}})], 400, 0xC000, "00100020"),
        ([metadata({**_SLICE, "00100020": {"vr": "LO", "Value": [True]}})], 400, 0xC000, "00100020"),
        ([metadata({**_SLICE, "00291010": {"vr": "OB", "InlineBinary": "%"}})], 400, 0xC000, "00291010"),
        ([metadata({**_SLICE, "00291010": _TWO_VALUES})], 400, 0xC000, "00291010"),
        ([metadata(1)], 400, 0xC000, "object"),
        ([({"Content-Type": JSON}, b"{")], 400, 0xC000, "JSON"),
        ([({"Content-Type": XML}, _HUGE_NUMBER)], 400, 0xC000, "64-bit"),
        ([({"Content-Type": XML}, b"<!DOCTYPE a><a/>")], 400, 0xC000, "document type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "x",
)  # fmt: skip
async def test_what_can_not_be_made_into_an_instance_fails_with_a_reason(
    archive: RunningQuery, parts: list[Part], status: int, reason: int, says: str
) -> None:
    got, answer = await post(archive, parts)
    failed = [*answer.get("FailedSOPSequence", []), *answer.get("OtherFailuresSequence", [])]
    assert (got, [item.FailureReason for item in failed][:1]) == (status, [reason])
    assert "ReferencedSOPSequence" not in answer
    assert says in failed[0].ErrorComment or len(failed[0].ErrorComment) == 64
    assert (await archive.index.statistics()).instances == 0
    assert not list((archive.folder / "uploading").iterdir())


async def test_an_instance_that_fails_is_named_and_others_are_stored(archive: RunningQuery) -> None:
    good, bad = ct_slice(), ct_slice()
    parts = [metadata(described(good), described(bad, "bulk/lost")), bulk(good.PixelData)]
    status, answer = await post(archive, parts)
    assert status == 202
    assert answer.FailedSOPSequence[0].ReferencedSOPInstanceUID == bad.SOPInstanceUID
    assert await stored(archive, answer) == as_file(good)


async def test_instances_of_another_study_are_refused(archive: RunningQuery) -> None:
    right, wrong = ct_slice(), ct_slice()
    parts = [metadata(described(right), described(wrong)), bulk(right.PixelData)]
    status, answer = await post(archive, parts, study=str(right.StudyInstanceUID))
    assert status == 202
    assert answer.FailedSOPSequence[0].FailureReason == 0xA900


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([metadata(_SLICE), ({"Content-Type": OCTETS}, b"12")], "Content-Location"),
        ([metadata(_SLICE, {**_SLICE, **_PDF}), bulk(b"1", "y"), bulk(b"2", "y")], "y"),
    ],
    ids=["nowhere", "twice"],
)  # fmt: skip
async def test_parts_that_can_not_be_told_apart_are_400(archive: RunningQuery, parts: list[Part], says: str) -> None:
    response = await send(archive, parts)
    assert response.status_code == 400
    assert says in response.json()["detail"]


async def test_too_much_metadata_is_413(archive: RunningQuery) -> None:
    archive.change(limits=ApiLimits(metadata_bytes=100))
    response = await send(archive, [metadata(_SLICE), bulk(b"12")])
    assert response.status_code == 413


@pytest.mark.parametrize("accept", [XML, 'multipart/related; type="application/dicom+xml"', f"text/html, {XML};q=0.1"])
async def test_the_answer_comes_as_xml_when_asked(archive: RunningQuery, accept: str) -> None:
    dataset = ct_slice()
    file = ({"Content-Type": "application/dicom"}, part10(dataset))
    response = await send(archive, [file], "application/dicom", Accept=accept)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == XML
    answer = from_xml(response.content)
    assert answer["00081199"]["Value"][0]["00081155"]["Value"] == [dataset.SOPInstanceUID]


async def test_clients_that_take_neither_json_nor_xml_get_406_before_anything_is_read(archive: RunningQuery) -> None:
    response = await send(archive, [metadata(_SLICE)], Accept="text/html")
    assert response.status_code == 406


async def test_metadata_of_the_archive_itself_can_be_stored_elsewhere(archive: RunningQuery, tmp_path: Path) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    (header,) = await archive.json(f"{WEB}/studies/{dataset.StudyInstanceUID}/metadata")
    location = header["7FE00010"]["BulkDataURI"]
    pixels = await archive.http.get(location, headers={"Accept": OCTETS})
    (tmp_path / "other").mkdir()
    async with door(tmp_path / "other", QuerySettings()) as other:
        status, answer = await post(other, [metadata(header), bulk(pixels.content, location)])
        assert status == 200
        assert await stored(other, answer) == as_file(dataset)
