"""Pictures by HTTP: Orthanc's rendering REST, and rendered instances and thumbnails of DICOMweb.

All are requested from `imaging` here: those that are drawn in place are the subject of `test_native_drawer`.
"""

import asyncio
import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, EncapsulatedPDFStorage, generate_uid

from osteon.archive.changes import ChangeType
from osteon.contracts.imaging import RenderReply, RenderRequest
from osteon.contracts.topology import RENDER
from osteon.errors import FailureKind, OsteonError
from osteon_query.images.render_client import RenderClient
from osteon_query.images.thumbnails import FOLLOWER, ThumbnailPrefetcher
from support.dicom.datasets import ct_slice
from support.dicom.documents import document
from support.dicom.pixels.rendering import grey
from support.imaging.in_process import InProcessImaging
from support.query.application import BASE, WEB, QuerySettings, RunningQuery, door, split_multipart, without_drawer
from support.query.pictures import stored, url_of

PNG, JPEG, GIF, PAM = "image/png", "image/jpeg", "image/gif", "image/x-portable-arbitrarymap"


@pytest.fixture
def archive(archive: RunningQuery) -> RunningQuery:
    """The door without a drawer of its own."""
    without_drawer(archive)
    return archive


@pytest.fixture
async def pixels(archive: RunningQuery, tmp_path: Path) -> InProcessImaging:
    """What stands in for `imaging`."""
    serving = InProcessImaging(archive.objects, tmp_path)
    await serving.serve(archive.bus)
    return serving


def ramp(frames: int = 1, **attributes: object) -> Dataset:
    values = np.arange(12, dtype="<u2").reshape(3, 4)
    return grey(np.stack([values + n for n in range(frames)]) if frames > 1 else values, **attributes)


def beside(dataset: Dataset) -> dict[str, object]:
    """Return the attributes of an instance of the same series."""
    return {"SeriesInstanceUID": dataset.SeriesInstanceUID, "StudyInstanceUID": dataset.StudyInstanceUID}


def pixels_of(response: httpx.Response, kind: str = PNG) -> list[list[int]]:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == kind
    decoded = imagecodecs.png_decode(response.content) if kind == PNG else imagecodecs.jpeg_decode(response.content)
    rows: list[list[int]] = decoded.tolist()
    return rows


@pytest.mark.usefixtures("pixels")
async def test_orthancs_pictures_have_their_values(archive: RunningQuery) -> None:
    path = await stored(archive, ramp(frames=2))
    values = np.arange(12).reshape(3, 4)
    stretched = np.floor(values * 255 / 11).astype(int)
    assert np.abs(np.array(pixels_of(await archive.http.get(path + "/preview"))) - stretched).max() <= 1
    for kind in ("uint8", "uint16", "int16"):
        assert pixels_of(await archive.http.get(f"{path}/image-{kind}")) == values.tolist()
        assert pixels_of(await archive.http.get(f"{path}/frames/1/image-{kind}")) == (values + 1).tolist()
    window = {"window-center": "6", "window-width": "2"}
    shown = pixels_of(await archive.http.get(path + "/rendered", params=window))
    assert (shown[0][0], shown[2][3]) == (0, 255)


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ("window-center=6", (6, None)),
        ("window-width=2.5", (None, 2.5)),
        ("smooth=1", (None, None)),
    ],
)
async def test_what_is_not_given_of_a_window_is_the_files(
    query: str, window: object, archive: RunningQuery, pixels: InProcessImaging
) -> None:
    given = await stored(archive, ramp(WindowCenter="6", WindowWidth="2"))
    answer = await archive.http.get(f"{given}/rendered?{query}")
    assert (pixels.rendered[-1].window_centre, pixels.rendered[-1].window_width) == window
    whole = await archive.http.get(f"{given}/rendered?window-center=6&window-width={'2.5' if '2.5' in query else '2'}")
    assert pixels_of(answer) == pixels_of(whole)


@pytest.mark.usefixtures("pixels")
async def test_accept_chooses_the_kind_of_picture(archive: RunningQuery) -> None:
    path = await stored(archive, ramp())
    for accept, kind in ((JPEG, JPEG), ("image/*", PNG), ("*/*", PNG), (PAM, PAM), (f"{GIF}, {JPEG};q=0.5", JPEG)):
        response = await archive.http.get(path + "/preview", headers={"Accept": accept})
        assert (response.status_code, response.headers["Content-Type"]) == (200, kind)
    for picture, accept in (("preview", GIF), ("preview", "text/html"), ("image-uint16", JPEG)):
        refused = await archive.http.get(f"{path}/{picture}", headers={"Accept": accept})
        assert (refused.status_code, refused.json()["HttpStatus"]) == (406, 406)


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize(
    "query",
    [
        "preview?quality=0", "preview?quality=101", "preview?quality=x", "rendered?width=x", "rendered?width=-1",
        "rendered?height=99999", "rendered?window-center=x", "rendered?window-center=nan&window-width=1",
        "rendered?smooth=maybe", "numpy?rescale=2",
    ],
)  # fmt: skip
async def test_a_parameter_that_can_not_be_is_named(query: str, archive: RunningQuery) -> None:
    answer = await archive.http.get(f"{await stored(archive, ramp())}/{query}")
    assert answer.status_code == 400
    assert query.partition("?")[2].split("=")[0] in answer.json()["Details"]


@pytest.mark.usefixtures("pixels")
async def test_what_is_no_image_is_refused_or_replaced_by_a_placeholder(archive: RunningQuery) -> None:
    dataset = ct_slice()
    del dataset.PixelData
    path = await stored(archive, dataset)
    refused = await archive.http.get(path + "/preview")
    assert (refused.status_code, refused.json()["OrthancStatus"]) == (415, 33)
    placeholder = pixels_of(await archive.http.get(path + "/preview?returnUnsupportedImage"))
    assert (len(placeholder), placeholder[0][0], placeholder[0][1]) == (128, 255, 64)
    for level in (1, 2, 3):
        for what in ("rendered", "thumbnail"):
            refused = await archive.http.get(f"{url_of(dataset, level)}/{what}")
            assert (refused.status_code, refused.headers["Content-Type"]) == (406, "application/problem+json")
            assert "pixel data" in refused.json()["detail"]
    assert (await archive.http.get(path + "/frames/0/raw")).status_code == 415


@pytest.mark.usefixtures("pixels")
async def test_frames_are_listed_from_0_and_others_do_not_exist(archive: RunningQuery) -> None:
    path = await stored(archive, ramp(frames=3))
    assert await archive.json(path + "/frames") == [0, 1, 2]
    assert "raw.gz" in await archive.json(path + "/frames/2")
    for frame in ("3", "x", "-1", "1e1", "99999999999"):
        for what in ("", "/preview", "/raw", "/numpy", "/matlab"):
            assert (await archive.http.get(f"{path}/frames/{frame}{what}")).status_code == 404
    absent = path[: len("/instances/")] + "-".join(["0" * 8] * 5)
    assert (await archive.http.get(absent + "/preview")).status_code == 404


@pytest.mark.usefixtures("pixels")
async def test_samples_come_for_numpy_of_a_frame_an_instance_and_a_series(archive: RunningQuery) -> None:
    first = ramp(frames=2, InstanceNumber="2", RescaleSlope="2", RescaleIntercept="-1")
    second = ramp(
        InstanceNumber="1", SeriesInstanceUID=first.SeriesInstanceUID, StudyInstanceUID=first.StudyInstanceUID
    )
    path = await stored(archive, first, second)
    values = np.arange(12).reshape(1, 3, 4, 1)
    series = (await archive.json(path))["ParentSeries"]

    async def loaded(url: str) -> np.ndarray:
        response = await archive.http.get(url)
        assert response.status_code == 200, response.text
        found = np.load(io.BytesIO(response.content))
        return found["arr_0"] if "compress" in url else found

    both = np.concatenate([values, values + 1])
    assert (await loaded(path + "/numpy")).tolist() == (both * 2 - 1).tolist()
    assert (await loaded(path + "/numpy?rescale=0&compress=1")).tolist() == both.tolist()
    assert (await loaded(path + "/frames/1/numpy?rescale=0")).tolist() == (values[0] + 1).tolist()
    stack = np.concatenate([values, values, values + 1]).tolist()
    assert (await loaded(f"/series/{series}/numpy?rescale=0")).tolist() == stack
    assert (await loaded(f"/series/{series}/numpy?rescale=0&compress")).tolist() == stack


@pytest.mark.usefixtures("pixels")
async def test_a_series_of_images_of_several_sizes_is_no_stack(archive: RunningQuery) -> None:
    first = ramp()
    other = grey(
        np.zeros((2, 2), "<u2"), SeriesInstanceUID=first.SeriesInstanceUID, StudyInstanceUID=first.StudyInstanceUID
    )
    path = await stored(archive, first, other)
    series = (await archive.json(path))["ParentSeries"]
    for query in ("", "?compress=1"):
        refused = await archive.http.get(f"/series/{series}/numpy{query}")
        assert (refused.status_code, "differ" in refused.json()["Details"]) == (415, True)


@pytest.mark.usefixtures("pixels")
async def test_samples_come_as_a_matlab_matrix_and_frames_as_stored(archive: RunningQuery) -> None:
    path = await stored(archive, ramp(frames=2))
    text = (await archive.http.get(path + "/frames/1/matlab")).text
    assert text == "double([ 1 2 3 4 ; 5 6 7 8 ; 9 10 11 12 ])"
    colour = grey(
        np.arange(12, dtype="u1").reshape(2, 6), SamplesPerPixel=3, Columns=2, PhotometricInterpretation="RGB"
    )
    colour.PlanarConfiguration = 0
    matrix = (await archive.http.get(await stored(archive, colour) + "/matlab")).text
    assert matrix == "double(permute(reshape([ 0 1 2 3 4 5 6 7 8 9 10 11 ], [ 3 2 2 ]), [ 3 2 1 ]))"
    raw = await archive.http.get(path + "/frames/1/raw")
    assert raw.content == np.arange(1, 13, dtype="<u2").tobytes()
    assert gzip.decompress((await archive.http.get(path + "/frames/1/raw.gz")).content) == raw.content


async def test_the_document_of_an_encapsulated_pdf_comes_as_it_is(archive: RunningQuery) -> None:
    for data in (b"%PDF-1.4 short.", b"%PDF-1.4 " + b"x" * 100_001):
        dataset = ct_slice(EncapsulatedDocument=data + b"\0" * (len(data) % 2))
        dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
        del dataset.PixelData
        response = await archive.http.get(await stored(archive, dataset) + "/pdf")
        assert (response.headers["Content-Type"], response.content) == ("application/pdf", dataset.EncapsulatedDocument)
        part = await archive.http.get(await stored(archive, dataset) + "/pdf", headers={"Range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, b"PDF")
    assert (await archive.http.get(await stored(archive, ramp()) + "/pdf")).status_code == 404


async def test_the_document_of_a_deflated_data_set_comes_as_it_is(archive: RunningQuery) -> None:
    dataset = document()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    response = await archive.http.get(await stored(archive, dataset) + "/pdf")
    assert (response.status_code, response.content) == (200, dataset.EncapsulatedDocument)


async def test_a_picture_that_the_client_has_is_not_made_again(archive: RunningQuery, pixels: InProcessImaging) -> None:
    dataset = ramp()
    path = await stored(archive, dataset)
    for url in (path + "/preview", url_of(dataset) + "/rendered", url_of(dataset) + "/thumbnail"):
        first = await archive.http.get(url)
        made = len(pixels.rendered)
        known = {"If-None-Match": first.headers["ETag"]}
        again = await archive.http.get(url, headers=known)
        assert (again.status_code, again.content, len(pixels.rendered)) == (304, b"", made)
        assert "private" in again.headers["Cache-Control"]
        other = await archive.http.get(url + "?quality=50", headers={**known, "Accept": JPEG})
        assert other.status_code == (304 if "thumbnail" in url else 200)


@pytest.mark.usefixtures("pixels")
async def test_rendered_is_a_jpeg_unless_another_kind_is_accepted(archive: RunningQuery) -> None:
    dataset = ramp(frames=2)
    await archive.stow(dataset)
    url = url_of(dataset) + "/rendered"
    for accept, kind in (("*/*", JPEG), (PNG, PNG), (GIF, GIF), ("image/*", JPEG)):
        assert (await archive.http.get(url, headers={"Accept": accept})).headers["Content-Type"] == kind
    assert (await archive.http.get(url, params={"accept": PNG})).headers["Content-Type"] == PNG
    assert (await archive.http.get(url, headers={"Accept": "application/dicom"})).status_code == 406


@pytest.mark.usefixtures("pixels")
async def test_several_pictures_come_in_parts_in_their_order(archive: RunningQuery) -> None:
    first = ramp(frames=3)
    second = ramp(StudyInstanceUID=first.StudyInstanceUID)
    text = ct_slice(study=first.StudyInstanceUID)
    del text.PixelData
    await archive.stow(first, second, text)
    accept = {"Accept": f'multipart/related; type="{PNG}"'}

    async def parts(url: str) -> list[tuple[int, ...]]:
        response = await archive.http.get(url, headers=accept)
        assert response.status_code == 200, response.text
        return [imagecodecs.png_decode(body).shape for _, body in split_multipart(response)]

    assert len(await parts(url_of(first) + "/rendered")) == 3
    assert len(await parts(url_of(first) + "/frames/3,1/rendered")) == 2
    assert len(await parts(url_of(first, 1) + "/rendered")) == 4
    single = await archive.http.get(url_of(first) + "/frames/2/rendered", headers={"Accept": PNG})
    assert len(pixels_of(single)) == 3
    gone = await archive.http.get(url_of(first) + "/frames/1,4/rendered", headers={"Accept": PNG})
    assert (gone.status_code, "has 3" in gone.json()["detail"]) == (404, True)
    assert (await archive.http.get(url_of(first) + "/frames/0/rendered")).status_code == 400


async def test_window_viewport_and_quality_reach_imaging(archive: RunningQuery, pixels: InProcessImaging) -> None:
    dataset = ramp()
    await archive.stow(dataset)
    query = {"window": "40,400,sigmoid", "viewport": "10,20,,1,2.5,-3", "quality": "50"}
    await archive.http.get(url_of(dataset) + "/rendered", params=query)
    asked = pixels.rendered[-1]
    assert asked.window == (40, 400, "sigmoid")
    assert asked.viewport == (10, 20, None, 1, 2.5, -3)
    assert (asked.quality, asked.media_type, asked.mode, asked.frames) == (50, JPEG, "rendered", [1])
    await archive.http.get(url_of(dataset) + "/thumbnail", params={"viewport": "30,40"})
    assert pixels.rendered[-1].viewport == (30, 40, None, None, None, None)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("iccprofile=x", "iccprofile"),
        ("window=1", "window"), ("window=1,0,linear", "window"), ("window=1,2,round", "window"),
        ("quality=0", "quality"),
        ("window=inf,2,linear", "window"), ("viewport=1", "viewport"), ("viewport=0,5", "viewport"),
        ("viewport=5,5,1,1,0,1", "viewport"), ("viewport=5,5,1,1,1,1,1", "viewport"), ("viewport=5,5,-1", "viewport"),
    ],
)  # fmt: skip
async def test_rendering_parameters_that_can_not_be_are_refused_by_name(
    query: str, reason: str, archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = ramp()
    await archive.stow(dataset)
    refused = await archive.http.get(f"{url_of(dataset)}/rendered?{query}")
    assert (refused.status_code, reason in refused.json()["detail"], pixels.rendered) == (400, True, [])


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("resource", ["/rendered", "/thumbnail", "/metadata", "", "/frames/1", "/frames/1/rendered"])
async def test_parameters_that_a_resource_does_not_have_are_ignored_with_a_warning(
    resource: str, archive: RunningQuery
) -> None:
    dataset = ramp()
    await archive.stow(dataset)
    plain = await archive.http.get(url_of(dataset) + resource)
    answer = await archive.http.get(url_of(dataset) + resource + '?annotation=patient&a"b%0D%0A=1&_=1700&accept=*/*')
    assert (answer.status_code, len(answer.content)) == (200, len(plain.content))
    assert answer.headers["Warning"] == (
        f'299 {BASE}{WEB} "These parameters are not supported and were ignored: annotation, a?b??, _"'
    )
    assert "Warning" not in plain.headers


@pytest.mark.usefixtures("pixels")
async def test_a_colour_profile_is_left_out_with_a_warning(archive: RunningQuery) -> None:
    dataset = ramp()
    await archive.stow(dataset)
    answer = await archive.http.get(url_of(dataset) + "/rendered?iccprofile=srgb")
    assert (answer.status_code, "iccprofile" in answer.headers["Warning"]) == (200, True)
    assert "Warning" not in (await archive.http.get(url_of(dataset) + "/rendered?iccprofile=no")).headers


async def test_the_thumbnail_of_a_study_is_of_the_middle_of_its_largest_series_with_images(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    study, series = generate_uid(), generate_uid()
    slices = [ramp(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=str(n)) for n in (5, 3, 1, 2, 4)]
    reports = [ct_slice(study=study, series=f"{series[:50]}.9", number=n, Modality="SR") for n in range(7)]
    other = ramp(StudyInstanceUID=study)
    await archive.stow(*slices, *reports, other)
    middle = next(each for each in slices if each.InstanceNumber == 3)
    for url in (url_of(middle, 1), url_of(middle, 2), url_of(middle, 3)):
        assert (await archive.http.get(url + "/thumbnail")).headers["Content-Type"] == JPEG
    locations = {(message.key, message.offset, message.cache_key) for message in pixels.rendered}
    assert len(locations) == 1
    absent = await archive.http.get(f"{WEB}/studies/1.2.3/thumbnail")
    assert absent.status_code == 404


class Script:
    """Answers requests for pictures as told."""

    def __init__(self, *answers: RenderReply | float | OsteonError) -> None:
        self.answers = list(answers)
        self.asked: list[RenderRequest] = []

    async def __call__(self, message: RenderRequest) -> RenderReply:
        self.asked.append(message)
        answer = self.answers.pop(0) if self.answers else RenderReply(correlation_id="", data=b"x", length=1)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = RenderReply(correlation_id="", data=b"x", length=1)
        if isinstance(answer, OsteonError):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("kind", "orthanc", "dicomweb"),
    [
        (FailureKind.INVALID, 400, 400),
        (FailureKind.UNSUPPORTED, 415, 406),
        (FailureKind.FAILED, 500, 500),
        (FailureKind.UNAVAILABLE, 503, 503),
        (FailureKind.TIMEOUT, 504, 504),
    ],
)
async def test_what_imaging_could_not_do_becomes_a_status_with_the_reason(
    kind: FailureKind, orthanc: int, dicomweb: int, archive: RunningQuery
) -> None:
    failed = OsteonError("the worker crashed (SIGSEGV)")
    failed.kind = kind
    await archive.bus.serve(RENDER, Script(failed, failed))
    dataset = ramp()
    first = await archive.http.get(await stored(archive, dataset) + "/preview")
    second = await archive.http.get(url_of(dataset) + "/rendered")
    assert (first.status_code, second.status_code) == (orthanc, dicomweb)
    assert "SIGSEGV" in first.json()["Details"]
    assert "SIGSEGV" in second.json()["detail"]


async def test_a_picture_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(render_seconds=0.05, render_concurrency=1)) as archive:
        without_drawer(archive)
        await archive.bus.serve(RENDER, Script(0.5, 0.5))
        path = await stored(archive, ramp())
        both = await asyncio.gather(*(archive.http.get(path + "/preview") for _ in range(2)))
        assert [answer.status_code for answer in both] == [504, 504]
        assert "OSTEON_RENDER_SECONDS" in both[0].json()["Details"]


async def test_without_imaging_pictures_are_not_available_now(archive: RunningQuery) -> None:
    refused = await archive.http.get(await stored(archive, ramp()) + "/preview")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")


async def test_a_picture_that_left_the_cache_before_it_was_read_is_made_again(archive: RunningQuery) -> None:
    key = "cache/rendered/aa/b"
    told = RenderReply(correlation_id="", key=key, length=3, media_type=PNG)
    script = Script(told, RenderReply(correlation_id="", data=b"abc", length=3, media_type=PNG))
    await archive.bus.serve(RENDER, script)
    response = await archive.http.get(await stored(archive, ramp()) + "/preview")
    assert (response.content, len(script.asked)) == (b"abc", 2)


async def test_thumbnails_of_stable_studies_are_made_before_anybody_asks(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=1)

    pictures = RenderClient(archive.bus, archive.objects, at_once=1, seconds=30)
    ahead = ThumbnailPrefetcher(archive.index, archive.index, archive.index.stability, pictures)
    await archive.stow(ramp())
    await archive.index.stability.mark_stable(now())
    await ahead.begin()
    await ahead.prefetch()
    assert pixels.rendered == []  # what was stable before is left alone
    first = ramp()
    text = ct_slice(study=first.StudyInstanceUID)
    del text.PixelData
    await archive.stow(first, ramp(StudyInstanceUID=first.StudyInstanceUID), text)
    while await archive.index.stability.mark_stable(now()):
        pass
    assert not await ahead.prefetch()
    assert [message.background for message in pixels.rendered] == [True, True, True]
    made = {message.cache_key for message in pixels.rendered}
    for level in (1, 2, 3):
        assert (await archive.http.get(url_of(first, level) + "/thumbnail")).status_code == 200
        assert pixels.rendered[-1].cache_key in made
    last = await archive.index.changes(types=(ChangeType.STABLE_STUDY,))
    assert await archive.index.stability.position(FOLLOWER) == last.last
