"""Pictures of a running archive: right, kept, made ahead, and what happens when a worker is killed or a file hurts."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.dicom.datasets import ct_slice
from support.dicom.pixels.rendering import grey
from support.dicom.real_files import BUNDLED
from support.packs.sealed_packs import part10

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("archives")]
MULTIPART = {"Accept": 'multipart/related; type="image/png"'}


def put(archive: RunningArchive, dataset: Dataset) -> str:
    """Store an instance; return its path in Orthanc's REST."""
    answer = httpx.post(f"{archive.url}/instances", content=part10(dataset), timeout=60)
    assert answer.status_code == 200, answer.text
    path: str = answer.json()["Path"]
    return path


def compressed(number: int = 1) -> Dataset:
    """Return a slice that only a decoder in a worker can read."""
    dataset = ct_slice(number=number)
    stream = imagecodecs.jpeg2k_encode(dataset.pixel_array, level=0, codecformat="j2k", reversible=True)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return dataset


def asked(archive: RunningArchive, path: str) -> httpx.Response:
    """Return an answer that may be an error."""
    return httpx.get(archive.url + path, timeout=60)


def url_of(dataset: Dataset) -> str:
    study, series, instance = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"


def counted(archive: RunningArchive, result: str) -> float:
    """Return how many requests for pictures were a hit or a miss."""
    mark = f'osteon_render_cache_requests_total{{result="{result}"}} '
    lines = archive.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(mark)) for line in lines if line.startswith(mark))


def test_pictures_of_a_slice_are_right_in_every_way_to_ask_for_them(archive: RunningArchive) -> None:
    dataset = ct_slice()
    path = put(archive, dataset)
    values = dataset.pixel_array
    for _ in range(2):  # made, and kept
        exact = archive.get(path + "/image-uint16")
        assert (imagecodecs.png_decode(exact.content) == values).all()
        stretched = imagecodecs.png_decode(archive.get(path + "/preview").content)
        expected = (values - values.min()) * 255.0 / (values.max() - values.min())
        assert np.abs(stretched - expected).max() <= 1
        window = {"window": f"{values.mean():.0f},2000,linear"}
        shown = imagecodecs.jpeg_decode(archive.get(url_of(dataset) + "/rendered", params=window).content)
        assert (
            np.corrcoef(shown.ravel(), np.clip(values, values.mean() - 1000, values.mean() + 1000).ravel())[0, 1] > 0.9
        )
    thumbnail = archive.get(url_of(dataset).partition("/series/")[0] + "/thumbnail", params={"viewport": "32,32"})
    assert imagecodecs.jpeg_decode(thumbnail.content).shape[:2] == (32, 32)
    parts = archive.get(url_of(dataset) + "/rendered", headers=MULTIPART)
    assert parts.content.count(b"\x89PNG") == 1


def test_large_samples_come_out_of_the_object_store(archive: RunningArchive) -> None:
    values = np.random.default_rng(7).integers(0, 60_000, (3, 600, 700), dtype=np.uint16)
    path = put(archive, grey(values))
    answer = archive.get(path + "/numpy", params={"rescale": "0"})
    start = len(answer.content) - values.nbytes
    assert answer.content[start:] == values.tobytes()
    assert (
        archive.get(path + "/frames/2/numpy", params={"rescale": "0"}).content[-values[2].nbytes :]
        == values[2].tobytes()
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProcess]:
    """An archive with one worker, which tests may kill, and studies that are stable soon."""
    settings = {
        "OSTEON_IMAGING_WORKERS": "1",
        "OSTEON_STABLE_AGE_SECONDS": "1",
        "OSTEON_IMAGING_MAX_TASKS_PER_WORKER": "10000",
    }
    process = StandaloneProcess(tmp_path_factory.mktemp("pictures") / "data", **settings)
    process.start()
    yield process
    process.stop()


def workers(process: StandaloneProcess) -> list[int]:
    """Return the worker processes of an archive."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"osteon_imaging.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # ended since
            continue
    return found


def test_thumbnails_of_a_stable_study_are_there_before_anybody_asks(own: StandaloneProcess) -> None:
    archive = own.archive
    dataset = compressed()
    misses = counted(archive, "miss")
    put(archive, dataset)
    eventually(lambda: counted(archive, "miss") == misses + 1)
    eventually(lambda: list((own.log.parent / "data" / "objects" / "cache" / "rendered").rglob("?" * 64)))
    hits = counted(archive, "hit")
    assert archive.get(url_of(dataset) + "/thumbnail").status_code == 200
    assert (counted(archive, "miss"), counted(archive, "hit")) == (misses + 1, hits + 1)


def test_a_worker_killed_at_work_is_told_and_the_next_picture_comes(own: StandaloneProcess) -> None:
    archive = own.archive
    unlucky, other = put(archive, compressed(2)), put(archive, compressed(3))
    assert asked(archive, other + "/image-uint8").status_code == 200
    (worker,) = workers(own)
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asked, archive, unlucky + "/preview")
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        os.kill(worker, signal.SIGKILL)
        answer = waiting.result(30)
    assert (answer.status_code, "was killed" in answer.json()["Details"]) == (500, True)
    assert asked(archive, other + "/preview").status_code == 200
    assert asked(archive, unlucky + "/image-uint8").status_code == 200
    again = asked(archive, unlucky + "/preview")
    assert (again.status_code, "not tried again" in again.json()["Details"]) == (500, True)
    assert workers(own) != [worker]


def hostile() -> dict[str, Dataset]:
    """Return images whose bit streams and attributes lie."""
    good = np.arange(4096, dtype="<u2").reshape(64, 64)
    stream = bytearray(imagecodecs.jpeg2k_encode(good, level=0, codecformat="j2k", reversible=True))
    huge = bytearray(stream)
    huge[8:16] = (0x7FFFFFFF).to_bytes(4, "big") * 2  # Xsiz and Ysiz of the code stream
    streams = {
        "huge stream": bytes(huge),
        "cut off": bytes(stream[:90]),
        "noise": bytes(stream[:120]) + os.urandom(4000),
    }
    found = {}
    for name, data in streams.items():
        dataset = grey(good)
        dataset.PixelData = encapsulate([data])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        found[name] = dataset
    found["huge frame"] = grey(good, Rows=65_535, Columns=65_535)
    found["many frames"] = grey(good, NumberOfFrames="2147483647")
    return found


def test_hostile_pixel_data_is_refused_with_a_reason_and_hurts_nobody(own: StandaloneProcess) -> None:
    archive = own.archive
    fine = put(archive, ct_slice(number=4))
    for name, dataset in hostile().items():
        path = put(archive, dataset)
        for url in (path + "/preview", path + "/rendered", path + "/numpy", url_of(dataset) + "/thumbnail"):
            answer = asked(archive, url)
            told = answer.json() if answer.status_code != 200 else {}
            assert answer.status_code in (200, 406, 415, 500), (name, answer.text)
            assert answer.status_code == 200 or told.get("Details") or told.get("detail")
            if name in ("huge stream", "huge frame", "cut off"):
                assert answer.status_code != 200, (name, url)
        assert asked(archive, fine + "/image-uint16").status_code == 200
    assert asked(archive, "/readyz").status_code == 200


def test_the_colours_of_a_real_ultrasound_are_seen(archive: RunningArchive) -> None:
    dataset = dcmread(next(BUNDLED.rglob("examples_rgb_color.dcm")))
    path = put(archive, dataset)
    shown = imagecodecs.png_decode(archive.get(path + "/preview").content)
    assert (shown == dataset.pixel_array).all()
