"""WADO-RS: transfer syntaxes, archives, XML, compression, entity tags."""

import gzip
import xml.etree.ElementTree as ET
import zipfile
from io import BytesIO

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from osteon.contracts.topology import TRANSCODE
from osteon_query.limits import ApiLimits
from support.dicom.datasets import ct_slice
from support.dicom.pixels.images import image
from support.imaging.in_process import InProcessImaging, nothing_below
from support.packs.sealed_packs import part10
from support.query.application import WEB, RunningQuery, split_multipart

DICOM = 'multipart/related; type="application/dicom"'


def url_of(dataset: Dataset, below: str = "") -> str:
    """Return the URL of an instance."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{below}"


def study_of(dataset: Dataset) -> str:
    """Return the URL of a study."""
    return f"{WEB}/studies/{dataset.StudyInstanceUID}"


def rle(dataset: Dataset) -> Dataset:
    """Compress."""
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return dataset


def video(dataset: Dataset) -> Dataset:
    """Return what nobody decodes here."""
    dataset = rle(dataset)
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    return dataset


def files(response: httpx.Response) -> list[Dataset]:
    """Read the parts of an answer."""
    assert response.status_code in (200, 206), response.text
    found = [dcmread(BytesIO(content)) for _, content in split_multipart(response)]
    kinds = [kind for kind, _ in split_multipart(response)]
    assert kinds == [f"application/dicom; transfer-syntax={f.file_meta.TransferSyntaxUID}" for f in found]
    return found


async def get(archive: RunningQuery, url: str, accept: str, **headers: str) -> httpx.Response:
    """GET with an Accept header."""
    return await archive.http.get(url, headers={"Accept": accept, **headers})


@pytest.mark.parametrize("accept", ["*/*", DICOM, "multipart/related"])
async def test_who_names_no_transfer_syntax_gets_explicit_vr_little_endian(
    archive: RunningQuery, pixels: InProcessImaging, accept: str
) -> None:
    study, plain = generate_uid(), image()
    datasets = [rle(image(seed=1)), ct_slice(), image()]
    for dataset in datasets:
        dataset.StudyInstanceUID = study
    datasets[1].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    await archive.stow(*datasets)
    found = {f.SOPInstanceUID: f for f in files(await get(archive, f"{WEB}/studies/{study}", accept))}
    assert len(found) == 3
    assert {f.file_meta.TransferSyntaxUID for f in found.values()} == {ExplicitVRLittleEndian}
    assert found[datasets[0].SOPInstanceUID].PixelData == plain.PixelData
    assert found[datasets[1].SOPInstanceUID].PixelData == datasets[1].PixelData
    assert len(pixels.transcoded) == 1  # implicit into explicit VR needs nobody
    await nothing_below(archive.objects, "cache/transcoded/")


async def test_what_has_no_decoder_comes_as_stored_to_who_names_no_transfer_syntax(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = video(image())
    await archive.stow(dataset)
    (found,) = files(await get(archive, url_of(dataset), DICOM))
    assert found.file_meta.TransferSyntaxUID == MPEG2MPML
    assert not pixels.transcoded


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{DICOM}; transfer-syntax=*", RLELossless),
        (f"{DICOM}; transfer-syntax={JPEGLSLossless}", JPEGLSLossless),
        (f"{DICOM}; transfer-syntax={JPEGLSLossless};q=0.5, {DICOM}; transfer-syntax=*;q=0.4", JPEGLSLossless),
        (f"{DICOM}; transfer-syntax={JPEGLSLossless}, {DICOM}; transfer-syntax=*", RLELossless),
        (f"{DICOM}; transfer-syntax={JPEGLSLossless}, {DICOM}; transfer-syntax={RLELossless}", RLELossless),
        (f"{DICOM}; transfer-syntax=1.2.3, {DICOM}; transfer-syntax={ImplicitVRLittleEndian};q=0.1",
         ImplicitVRLittleEndian),
        (f"{DICOM}; transfer-syntax={DeflatedExplicitVRLittleEndian}", DeflatedExplicitVRLittleEndian),
    ],
    ids=["any", "named", "better", "alike", "stored", "possible", "deflated"],
)  # fmt: skip
async def test_an_instance_comes_in_the_best_transfer_syntax_that_is_possible(
    archive: RunningQuery, pixels: InProcessImaging, accept: str, expected: str
) -> None:
    dataset = rle(image())
    await archive.stow(dataset)
    (found,) = files(await get(archive, url_of(dataset), accept))
    assert found.file_meta.TransferSyntaxUID == expected
    alone = await get(archive, url_of(dataset), accept.replace(DICOM, "application/dicom"))
    assert dcmread(BytesIO(alone.content)).file_meta.TransferSyntaxUID == expected
    assert alone.headers["Content-Type"] == f"application/dicom; transfer-syntax={expected}"
    assert int(alone.headers["Content-Length"]) == len(alone.content)


async def test_instances_that_can_not_come_as_asked_are_left_out_and_told_of(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    study = generate_uid()
    datasets = [video(image(StudyInstanceUID=study)), rle(image(StudyInstanceUID=study))]
    await archive.stow(*datasets)
    accept = f"{DICOM}; transfer-syntax={JPEGLSLossless}"
    response = await get(archive, f"{WEB}/studies/{study}", accept)
    assert response.status_code == 206
    assert MPEG2MPML in response.headers["Warning"]
    assert [f.SOPInstanceUID for f in files(response)] == [datasets[1].SOPInstanceUID]
    refused = await get(archive, url_of(datasets[0]), accept)
    assert refused.status_code == 406
    assert MPEG2MPML in refused.json()["detail"]


async def test_what_proves_not_possible_comes_as_stored_among_others_and_is_refused_alone(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    study = generate_uid()
    report = ct_slice(study=study)
    del report.PixelData
    await archive.stow(report, image(StudyInstanceUID=study))
    accept = f"{DICOM}; transfer-syntax={JPEGLSLossless}"
    found = files(await get(archive, f"{WEB}/studies/{study}", accept))
    assert {f.file_meta.TransferSyntaxUID for f in found} == {JPEGLSLossless, ExplicitVRLittleEndian}
    for kind in (accept, accept.replace(DICOM, "application/dicom")):
        refused = await get(archive, url_of(report), kind)
        assert refused.status_code == 406
        assert "no pixel data" in refused.json()["detail"]


async def test_a_lossy_transfer_syntax_is_made_for_who_names_it(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = image(allocated=8, stored=8)
    await archive.stow(dataset)
    (found,) = files(await get(archive, url_of(dataset), f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.50"))
    assert found.LossyImageCompression == "01"
    (lossless,) = files(await get(archive, url_of(dataset), f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.91"))
    assert lossless.get("LossyImageCompression") in (None, "00")


async def test_without_imaging_who_needs_it_waits_and_others_do_not(archive: RunningQuery) -> None:
    dataset = rle(image())
    await archive.stow(dataset)
    response = await get(archive, url_of(dataset), DICOM)
    assert response.status_code == 503
    assert "Retry-After" in response.headers
    assert (await get(archive, url_of(dataset), f"{DICOM}; transfer-syntax=*")).status_code == 200


async def test_instances_are_transcoded_ahead_within_a_bound_and_sent_in_order(
    archive: RunningQuery, pixels: InProcessImaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = generate_uid()
    datasets = [rle(image(StudyInstanceUID=series, SeriesInstanceUID=series, seed=n)) for n in range(12)]
    await archive.stow(*datasets)
    flying, most = 0, 0
    request = archive.bus.request

    async def noting(queue: object, *rest: object, **more: object) -> object:
        nonlocal flying, most
        flying += queue is TRANSCODE
        most = max(most, flying)
        try:
            return await request(queue, *rest, **more)  # type: ignore[arg-type]
        finally:
            flying -= queue is TRANSCODE

    monkeypatch.setattr(archive.bus, "request", noting)
    found = files(await get(archive, f"{WEB}/studies/{series}", DICOM))
    assert [f.SOPInstanceUID for f in found] == [d.SOPInstanceUID for d in datasets]
    assert 2 <= most <= 8


async def test_a_study_comes_as_zip_archive_with_names_that_people_read(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    study = generate_uid()
    plain = ct_slice(study=study, SeriesDescription="Head/../5 mm", SeriesNumber=2)
    other = rle(image(StudyInstanceUID=study, SeriesNumber=3, PatientName="Müller^Jörg"))
    again = ct_slice(study=study, SeriesDescription="Head/../5 mm", SeriesNumber=2)
    await archive.stow(plain, other, again)
    response = await get(archive, f"{WEB}/studies/{study}", "application/zip")
    assert response.headers["Content-Type"] == "application/zip"
    assert f'filename="{study}.zip"' in response.headers["Content-Disposition"]
    with zipfile.ZipFile(BytesIO(response.content)) as found:
        assert found.testzip() is None
        names = {name.rpartition("/")[2].removesuffix(".dcm"): name for name in found.namelist()}
        contents = {uid: found.read(name) for uid, name in names.items()}
    assert contents == {str(d.SOPInstanceUID): part10(d) for d in (plain, other, again)}
    folder = names[plain.SOPInstanceUID].rpartition("/")[0]
    assert names[again.SOPInstanceUID].rpartition("/")[0] == f"{folder}_{again.SeriesInstanceUID}"
    assert folder == "Test_Osteon_20240102_Test_study/CT_2_Head_5_mm"
    assert names[other.SOPInstanceUID].startswith("Müller_Jörg_20240102_Test_study/CT_3/")
    assert all(not part.startswith(".") for name in names.values() for part in name.split("/"))


async def test_the_files_of_an_archive_come_in_a_transfer_syntax_that_is_named(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = rle(image())
    await archive.stow(dataset)
    response = await get(archive, url_of(dataset), f"application/zip; transfer-syntax={JPEGLSLossless}")
    with zipfile.ZipFile(BytesIO(response.content)) as found:
        (name,) = found.namelist()
        assert dcmread(BytesIO(found.read(name))).file_meta.TransferSyntaxUID == JPEGLSLossless


async def test_metadata_comes_as_native_dicom_model(archive: RunningQuery) -> None:
    series = generate_uid()
    datasets = [ct_slice(study=series, series=series, number=n) for n in range(3)]
    await archive.stow(*datasets)
    accept = 'multipart/related; type="application/dicom+xml"'
    for url in (study_of(datasets[0]), url_of(datasets[0]).rpartition("/instances")[0]):
        parts = split_multipart(await get(archive, f"{url}/metadata", accept))
        assert [kind for kind, _ in parts] == ["application/dicom+xml"] * 3
        document = ET.fromstring(parts[0][1])
        uris = [e.get("uri") for e in document.iter() if e.tag.endswith("BulkData")]
        assert len(uris) == 1
        assert (await archive.http.get(str(uris[0]))).status_code == 200
    assert (await get(archive, url_of(datasets[0], "/metadata"), "application/dicom+xml")).status_code == 406


@pytest.mark.parametrize(
    ("encoding", "compressed"), [("gzip", True), ("br, *", True), ("identity", False), ("gzip;q=0", False)]
)
async def test_metadata_is_compressed_for_who_takes_it(archive: RunningQuery, encoding: str, compressed: bool) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    plain = await get(archive, url_of(dataset, "/metadata"), "*/*", **{"Accept-Encoding": "identity"})
    async with archive.http.stream(
        "GET", url_of(dataset, "/metadata"), headers={"Accept-Encoding": encoding}
    ) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert ("Content-Encoding" in response.headers) is compressed
    assert (gzip.decompress(raw) if compressed else raw) == plain.content
    assert "Accept-Encoding" in response.headers["Vary"]


@pytest.mark.parametrize(
    ("below", "accept"),
    [
        ("", DICOM),
        ("", "application/dicom"),
        ("", "application/zip"),
        ("", f"application/dicom; transfer-syntax={ImplicitVRLittleEndian}"),
        ("/metadata", "*/*"),
        ("/metadata", 'multipart/related; type="application/dicom+xml"'),
        ("/frames/1", "*/*"),
        ("/frames/1", "application/octet-stream"),
        ("/bulk/7FE00010", "*/*"),
    ],
)
async def test_what_the_client_has_is_not_sent_again(
    archive: RunningQuery, pixels: InProcessImaging, below: str, accept: str
) -> None:
    dataset, other = ct_slice(), ct_slice()
    await archive.stow(dataset, other)
    first = await get(archive, url_of(dataset, below), accept)
    assert first.status_code == 200
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert first.headers["Last-Modified"].endswith("GMT")
    for known in (tag, f'"x", {tag.removeprefix("W/")}', "*"):
        again = await get(archive, url_of(dataset, below), accept, **{"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    changed = await get(archive, url_of(other, below), accept, **{"If-None-Match": tag})
    assert changed.status_code == 200
    head = await archive.http.head(url_of(dataset, below), headers={"Accept": accept})
    assert (head.status_code, head.headers["ETag"], head.content) == (200, tag, b"")


async def test_the_tag_of_a_study_changes_with_each_instance(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    for below, accept in (("", DICOM), ("/metadata", "*/*")):
        tag = (await get(archive, study_of(dataset) + below, accept)).headers["ETag"]
        await archive.stow(ct_slice(study=dataset.StudyInstanceUID))
        again = await get(archive, study_of(dataset) + below, accept, **{"If-None-Match": tag})
        assert again.status_code == 200
        assert again.headers["ETag"] != tag


async def test_more_instances_than_are_remembered_come_all_the_same(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    archive.change(limits=ApiLimits(remembered_locations=3))
    study = generate_uid()
    datasets = [ct_slice(study=study, series=study, number=n) for n in range(7)]
    datasets[6].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    await archive.stow(*datasets)
    url = f"{WEB}/studies/{study}"
    response = await get(archive, url, DICOM)
    assert "ETag" not in response.headers
    assert {f.SOPInstanceUID for f in files(response)} == {d.SOPInstanceUID for d in datasets}
    assert {f.file_meta.TransferSyntaxUID for f in files(response)} == {ExplicitVRLittleEndian}
    assert len(await archive.json(f"{url}/metadata")) == 7
    with zipfile.ZipFile(BytesIO((await get(archive, url, "application/zip")).content)) as found:
        assert len(found.namelist()) == 7
