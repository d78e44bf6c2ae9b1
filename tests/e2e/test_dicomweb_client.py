"""Every transaction that dicomweb-client has, against a standalone archive; what it lacks, by plain HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset
from pydicom.uid import UID, JPEG2000Lossless, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid
from requests import HTTPError

from support.archive.running import RunningArchive
from support.dicom.datasets import ct_slice

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]

RAW = ("application/octet-stream",)
PNG, JPEG, GIF = b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8"
FRAMES = 4


@dataclass(frozen=True)
class Held:
    """What the archive was given: a study of three slices, and one frames of which are not all alike."""

    client: DICOMwebClient
    archive: RunningArchive
    slices: Sequence[Dataset]
    frames: Dataset

    @property
    def study(self) -> str:
        """Study Instance UID of the slices."""
        return str(self.slices[0].StudyInstanceUID)

    @property
    def path(self) -> tuple[str, str, str]:
        """UIDs of the first slice."""
        return _path(self.slices[0])


def _path(dataset: Dataset) -> tuple[str, str, str]:
    return str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)


@pytest.fixture(scope="module")
def held(standalone: RunningArchive) -> Held:
    client = DICOMwebClient(standalone.dicomweb)
    first = ct_slice(AccessionNumber=(accession := generate_uid()[-16:]), WindowCenter="2048", WindowWidth="4096")
    same = {"study": first.StudyInstanceUID, "AccessionNumber": accession}
    second = ct_slice(**same, series=first.SeriesInstanceUID, number=2)
    other = ct_slice(**same, number=1, SeriesNumber="2", Modality="CT")
    pixels = np.arange(FRAMES * 32 * 48, dtype="<u2").reshape(FRAMES, 32, 48)
    frames = ct_slice(Rows=32, Columns=48, NumberOfFrames=str(FRAMES), PixelData=pixels.tobytes(), BitsStored=16)
    frames.SOPClassUID = frames.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    frames.HighBit = 15
    for datasets in ([first, second, other], [frames]):
        answer = client.store_instances(datasets)
        assert len(answer.ReferencedSOPSequence) == len(datasets)
        assert "FailedSOPSequence" not in answer
    return Held(client, standalone, [first, second, other], frames)


def test_a_data_set_of_another_study_than_the_url_s_is_not_stored(held: Held) -> None:
    stray = ct_slice()
    with pytest.raises(HTTPError, match="409"):
        held.client.store_instances([stray], study_instance_uid=generate_uid())
    assert held.client.search_for_studies(search_filters={"StudyInstanceUID": stray.StudyInstanceUID}) == []


def test_studies_are_found_by_attributes_and_have_the_fields_asked_for(held: Held) -> None:
    accession = held.slices[0].AccessionNumber
    (found,) = held.client.search_for_studies(
        search_filters={"AccessionNumber": accession}, fields=["StudyDescription", "00081030"]
    )
    assert found["0020000D"]["Value"] == [held.study]
    assert found["00081030"]["Value"] == ["Test study"]
    assert (found["00201206"]["Value"], found["00201208"]["Value"]) == ([2], [3])
    assert found["00080061"]["Value"] == ["CT"]


def test_series_are_found_in_a_study_and_in_all_studies(held: Held) -> None:
    inside = held.client.search_for_series(held.study)
    everywhere = held.client.search_for_series(
        search_filters={"AccessionNumber": held.slices[0].AccessionNumber, "SeriesNumber": "2"}
    )
    assert {each["0020000E"]["Value"][0] for each in inside} == {d.SeriesInstanceUID for d in held.slices}
    assert [each["0020000E"]["Value"] for each in everywhere] == [[held.slices[2].SeriesInstanceUID]]


def test_instances_are_found_page_by_page(held: Held) -> None:
    study, series, _ = held.path
    uids = {str(d.SOPInstanceUID) for d in held.slices}
    pages = [held.client.search_for_instances(held.study, limit=1, offset=n)[0] for n in range(3)]
    assert {page["00080018"]["Value"][0] for page in pages} == uids
    assert len(held.client.search_for_instances(study, series)) == 2
    remaining = held.client.search_for_instances(held.study, limit=2, get_remaining=True)
    assert {each["00080018"]["Value"][0] for each in remaining} == uids
    (one,) = held.client.search_for_instances(search_filters={"SOPInstanceUID": held.slices[0].SOPInstanceUID})
    assert one["00280010"]["Value"] == [64]


def test_names_are_found_fuzzily(held: Held) -> None:
    found = held.client.search_for_studies(
        fuzzymatching=True, search_filters={"PatientName": "osteon test", "StudyInstanceUID": held.study}
    )
    assert len(found) == 1


@pytest.mark.parametrize("way", ["retrieve", "iter"])
def test_a_study_and_a_series_come_as_they_were_stored(held: Held, way: str) -> None:
    study, series, _ = held.path
    whole = list(getattr(held.client, f"{way}_study")(study))
    part = list(getattr(held.client, f"{way}_series")(study, series))
    pixels = {d.SOPInstanceUID: d.PixelData for d in held.slices}
    assert {d.SOPInstanceUID: d.PixelData for d in whole} == pixels
    assert {d.SOPInstanceUID: d.PixelData for d in part} == {d.SOPInstanceUID: d.PixelData for d in held.slices[:2]}


def test_an_instance_comes_as_it_was_stored(held: Held) -> None:
    assert held.client.retrieve_instance(*held.path).PixelData == held.slices[0].PixelData


def test_an_instance_comes_in_another_transfer_syntax(held: Held) -> None:
    wanted = (("application/dicom", str(JPEG2000Lossless)),)
    found = held.client.retrieve_instance(*held.path, media_types=wanted)
    assert found.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert np.array_equal(found.pixel_array, held.slices[0].pixel_array)


def test_metadata_of_study_series_and_instance_are_data_sets_without_pixels(held: Held) -> None:
    study, series, instance = held.path
    found = held.client.retrieve_study_metadata(study)
    assert {m["00080018"]["Value"][0] for m in found} == {d.SOPInstanceUID for d in held.slices}
    assert len(held.client.retrieve_series_metadata(study, series)) == 2
    one = Dataset.from_json(held.client.retrieve_instance_metadata(study, series, instance), lambda *_: b"")
    assert (one.PatientName, one.Rows) == ("Test^Osteon", 64)


def test_bulk_data_come_by_the_uri_in_the_metadata(held: Held) -> None:
    uri = held.client.retrieve_instance_metadata(*held.path)["7FE00010"]["BulkDataURI"]
    (whole,) = held.client.retrieve_bulkdata(uri)
    assert whole == held.slices[0].PixelData
    assert list(held.client.iter_bulkdata(uri, media_types=RAW)) == [whole]
    # The client takes parts only, and a range is of a value that comes alone.
    part = httpx.get(uri, headers={"Accept": RAW[0], "Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])


def test_frames_come_in_the_order_asked_for(held: Held) -> None:
    size = 32 * 48 * 2
    pixels = [held.frames.PixelData[n * size : (n + 1) * size] for n in range(FRAMES)]
    path = _path(held.frames)
    assert held.client.retrieve_instance_frames(*path, [2]) == [pixels[1]]
    assert held.client.retrieve_instance_frames(*path, [4, 1]) == [pixels[3], pixels[0]]
    assert list(held.client.iter_instance_frames(*path, [1, 2, 3], media_types=RAW)) == pixels[:3]


def test_frames_come_as_images_without_loss(held: Held) -> None:
    wanted = (("image/jp2", str(JPEG2000Lossless)),)
    (found,) = held.client.retrieve_instance_frames(*_path(held.frames), [3], media_types=wanted)
    assert found.startswith((b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "))


@pytest.mark.parametrize("number", ["0", "5", "1,9", "x", "-1"])
def test_a_frame_that_is_not_there_is_told(held: Held, number: str) -> None:
    study, series, instance = _path(held.frames)
    url = f"{held.archive.dicomweb}/studies/{study}/series/{series}/instances/{instance}/frames/{number}"
    assert httpx.get(url, headers={"Accept": 'multipart/related; type="application/octet-stream"'}).status_code in (
        400,
        404,
    )


@pytest.mark.parametrize(("kind", "magic"), [("image/png", PNG), ("image/jpeg", JPEG)])
def test_instances_series_and_frames_are_rendered(held: Held, kind: str, magic: bytes) -> None:
    study, series, instance = held.path
    assert held.client.retrieve_instance_rendered(study, series, instance, media_types=(kind,)).startswith(magic)
    assert held.client.retrieve_series_rendered(study, series, media_types=(kind,))
    frame = held.client.retrieve_instance_frames_rendered(*_path(held.frames), [2], media_types=(kind,))
    assert frame.startswith(magic)


def test_frames_are_rendered_as_an_animation(held: Held) -> None:
    found = held.client.retrieve_instance_rendered(*_path(held.frames), media_types=("image/gif",))
    assert found.startswith(GIF)


def test_window_viewport_and_quality_are_taken(held: Held) -> None:
    params = {"window": "2000,300,linear", "viewport": "32,32", "quality": "50"}
    found = held.client.retrieve_instance_rendered(*held.path, media_types=("image/jpeg",), params=params)
    assert found.startswith(JPEG)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_study_series_and_instance_have_thumbnails(held: Held, depth: int) -> None:
    parts = zip(("studies", "series", "instances"), held.path, strict=True)
    path = "/".join(f"{name}/{uid}" for name, uid in list(parts)[:depth])
    answer = httpx.get(f"{held.archive.dicomweb}/{path}/thumbnail", headers={"Accept": "image/jpeg"}, timeout=30)
    assert answer.status_code == 200
    assert answer.content.startswith(JPEG)


def test_what_is_not_there_is_told(held: Held) -> None:
    study = UID(generate_uid())
    for ask in (held.client.retrieve_study, held.client.retrieve_study_metadata):
        with pytest.raises(HTTPError, match="404"):
            ask(study)
    assert held.client.search_for_instances(study) == []
