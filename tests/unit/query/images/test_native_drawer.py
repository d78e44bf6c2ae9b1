"""What needs no decoder is drawn where it was asked for, as `imaging` would draw it; all else is left to it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from osteon.dicom.pixels.drawing import draw_native
from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.render_options import RenderOptions, Viewport
from osteon.objects.folder import FolderObjects
from osteon.objects.port import ObjectsUnavailable
from osteon_query.images import native_drawer
from osteon_query.images.render_client import RenderClient
from support.dicom.pixels.images import SYNTAX, image, into
from support.dicom.pixels.rendering import colours, grey, ordered
from support.dicom.real_files import BUNDLED
from support.imaging.in_process import InProcessImaging
from support.packs.sealed_packs import part10
from support.query.application import RunningQuery, without_drawer
from support.query.pictures import stored, url_of

PNG, JPEG = "image/png", "image/jpeg"
REAL = ("CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_palette.dcm", "examples_rgb_color.dcm")
OPTIONS = [
    {"mode": "rendered", "media_type": JPEG},
    {"mode": "rendered", "viewport": Viewport(30, 20)},
    {"mode": "preview"},
    {"mode": "orthanc", "width": 50, "smooth": True},
]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_picture_is_the_one_that_a_worker_draws(name: str, options: dict[str, object], tmp_path: Path) -> None:
    wanted = {"frames": (1,), **options}
    made, data = draw_native((BUNDLED / name).read_bytes(), RenderOptions(**wanted), PixelLimits())
    assert (made, data) == ordered(BUNDLED / name, tmp_path, **wanted)


@pytest.mark.parametrize("number", ["", "1", "2"])
def test_every_native_syntax_is_drawn(number: str, tmp_path: Path) -> None:
    _, path = into(image(frames=2), f"{SYNTAX}{number}".rstrip("."), tmp_path)
    options = {"mode": "uint16", "frames": (2,)}
    drawn = draw_native(path.read_bytes(), RenderOptions(**options), PixelLimits())
    assert drawn == ordered(path, tmp_path, **options)


@pytest.mark.parametrize("number", ["1.99", "5", "4.80", "4.90", "1.98"])
def test_what_a_codec_is_needed_for_is_not_drawn(number: str, tmp_path: Path) -> None:
    _, path = into(image(), SYNTAX + number, tmp_path)
    with pytest.raises(NotPossible):
        draw_native(path.read_bytes(), RenderOptions(frames=(1,)), PixelLimits())


def movie(frames: int = 3) -> Dataset:
    values = np.arange(frames * 60 * 40, dtype="<u2").reshape(frames, 60, 40) % 4001
    return grey(values, WindowCenter="2000", WindowWidth="3000")


async def stored_as_is(archive: RunningQuery, dataset: Dataset) -> str:
    """Store an instance that STOW-RS would warn of; return its path in Orthanc's REST."""
    answer = await archive.http.post("/instances", content=part10(dataset))
    assert answer.status_code == 200, answer.text
    return f"/instances/{answer.json()['ID']}"


def urls(path: str, dataset: Dataset) -> list[str]:
    web = url_of(dataset)
    below = ("preview", "rendered", "image-uint8", "image-uint16", "image-int16")
    return [
        *(f"{path}/{name}" for name in below),
        *(f"{path}/frames/2/{name}" for name in below),
        f"{path}/rendered?window-center=100&window-width=50&width=20",
        f"{web}/rendered?accept={PNG}",
        f"{web}/rendered?viewport=30,20,5,5,20,-20",
        f"{web}/frames/3/rendered",
        f"{web}/thumbnail",
        f"{web}/frames/2/thumbnail",
        f"/wado?requestType=WADO&studyUID={dataset.StudyInstanceUID}&seriesUID={dataset.SeriesInstanceUID}"
        f"&objectUID={dataset.SOPInstanceUID}&contentType={JPEG}&frameNumber=3",
    ]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("remote", [False, True])
async def test_every_door_sends_what_imaging_would_send_and_does_not_ask_it(
    whole: bool, remote: bool, archive: RunningQuery, pixels: InProcessImaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:
        monkeypatch.setattr(native_drawer, "_WHOLE", 0)
        monkeypatch.setattr(native_drawer, "_GAP", 100)
    if remote:
        monkeypatch.setattr(FolderObjects, "path", lambda *_: None)
    dataset = movie()
    path = await stored(archive, dataset)
    here = [await archive.http.get(url) for url in urls(path, dataset)]
    again = [await archive.http.get(url) for url in urls(path, dataset)]
    assert pixels.rendered == []
    without_drawer(archive)
    there = [await archive.http.get(url) for url in urls(path, dataset)]
    assert len(pixels.rendered) == len(there)
    assert [answer.status_code for answer in here] == [200] * len(here)
    wanted = [(answer.content, answer.headers["Content-Type"], answer.headers["ETag"]) for answer in there]
    for answers in (here, again):
        assert [(a.content, a.headers["Content-Type"], a.headers["ETag"]) for a in answers] == wanted


async def test_only_the_frame_that_is_asked_for_is_read(
    archive: RunningQuery, pixels: InProcessImaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_drawer, "_WHOLE", 0)
    monkeypatch.setattr(native_drawer, "_GAP", 0)
    monkeypatch.setattr(FolderObjects, "path", lambda *_: None)
    dataset = movie(frames=50)
    path = await stored(archive, dataset)
    read: list[int] = []
    get_range = FolderObjects.get_range

    async def counting(self: FolderObjects, key: str, offset: int, length: int) -> bytes:
        read.append(length)
        return await get_range(self, key, offset, length)

    monkeypatch.setattr(FolderObjects, "get_range", counting)
    assert (await archive.http.get(f"{path}/frames/40/image-uint16")).status_code == 200
    frame = 60 * 40 * 2
    assert len(read) == 2
    assert frame <= read[1] <= frame + 16
    assert sum(read) < 3 * frame
    assert pixels.rendered == []


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": 0},
        {"BitsStored": 40},
        {"Rows": 60_000, "Columns": 60_000},
    ],
)
async def test_what_can_not_be_drawn_here_is_left_to_imaging_which_says_why(
    change: dict[str, object], archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = movie(frames=1)
    for name, value in change.items():
        setattr(dataset, name, value)
    path = await stored_as_is(archive, dataset)
    here = await archive.http.get(path + "/preview")
    assert len(pixels.rendered) == 1
    without_drawer(archive)
    there = await archive.http.get(path + "/preview")
    assert (here.status_code, here.json()) == (there.status_code, there.json())


async def test_what_is_no_picture_of_one_frame_is_made_by_workers(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = movie()
    path = await stored(archive, dataset)
    for number, url in enumerate((f"{path}/numpy", f"{url_of(dataset)}/rendered?accept=image/gif"), 1):
        assert (await archive.http.get(url)).status_code == 200
        assert len(pixels.rendered) == number


async def test_short_pixel_data_is_drawn_as_far_as_it_goes_with_a_warning(
    archive: RunningQuery, pixels: InProcessImaging
) -> None:
    dataset = movie(frames=1)
    dataset.PixelData = dataset.PixelData[:-100]
    path = await stored_as_is(archive, dataset)
    here = await archive.http.get(path + "/preview")
    assert (here.status_code, pixels.rendered) == (200, [])
    without_drawer(archive)
    there = await archive.http.get(path + "/preview")
    assert (here.content, here.headers["Warning"]) == (there.content, there.headers["Warning"])


async def test_no_more_pictures_are_kept_than_memory_is_allowed(archive: RunningQuery) -> None:
    state, settings = archive.state, archive.settings
    drawer = native_drawer.NativeDrawer(archive.objects, state.sidecars, state.frame_locator, memory=8_000)
    archive.change(
        pictures=RenderClient(archive.bus, archive.objects, at_once=1, seconds=settings.render_seconds, drawer=drawer)
    )
    dataset = colours(np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8))
    path = await stored(archive, dataset)
    for quality in range(1, 101, 10):
        answer = await archive.http.get(f"{path}/preview?quality={quality}", headers={"Accept": JPEG})
        assert answer.status_code == 200
    assert 0 < drawer.kept_bytes <= 8_000
    drawer.close()


async def test_an_object_store_that_is_down_is_not_a_damaged_picture(
    archive: RunningQuery, pixels: InProcessImaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await stored(archive, movie())
    monkeypatch.setattr(FolderObjects, "path", lambda *_: None)

    async def down(*_: object) -> bytes:
        raise ObjectsUnavailable("no answer")

    monkeypatch.setattr(FolderObjects, "get_range", down)
    assert (await archive.http.get(path + "/preview")).status_code == 503
    assert pixels.rendered == []


def held_drawing(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, Counter[str]]:
    """Return what lets drawing threads go on, and how often each mode was begun."""
    go_on, begun = threading.Event(), Counter[str]()
    draw: Callable[..., native_drawer.DrawnPicture] = native_drawer._read_and_draw

    def held(*args: object) -> native_drawer.DrawnPicture:
        begun[args[-1].mode] += 1  # type: ignore[attr-defined]
        go_on.wait(60)
        return draw(*args)

    monkeypatch.setattr(native_drawer, "_read_and_draw", held)
    return go_on, begun


async def test_equal_requests_at_the_same_time_are_drawn_once(
    archive: RunningQuery, pixels: InProcessImaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await stored(archive, movie())
    go_on, begun = held_drawing(monkeypatch)
    requests = [asyncio.create_task(archive.http.get(path + "/preview")) for _ in range(4)]
    while not begun:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    go_on.set()
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert (begun.total(), pixels.rendered) == (1, [])


async def test_pictures_are_left_to_imaging_while_nobody_waits_for_those_that_all_threads_draw(
    archive: RunningQuery, pixels: InProcessImaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_drawer, "_THREADS", 1)
    state = archive.state
    drawer = native_drawer.NativeDrawer(archive.objects, state.sidecars, state.frame_locator, memory=1 << 20)
    archive.change(pictures=RenderClient(archive.bus, archive.objects, at_once=4, seconds=0.5, drawer=drawer))
    path = await stored(archive, movie())
    go_on, begun = held_drawing(monkeypatch)
    assert (await archive.http.get(path + "/preview")).status_code == 504
    archive.change(pictures=RenderClient(archive.bus, archive.objects, at_once=4, seconds=60, drawer=drawer))
    assert (await archive.http.get(path + "/image-uint8")).status_code == 200
    assert (begun.total(), len(pixels.rendered)) == (1, 1)
    go_on.set()
    while drawer._abandoned:
        await asyncio.sleep(0.01)
    assert (await archive.http.get(path + "/image-uint8")).status_code == 200
    assert (begun.total(), len(pixels.rendered)) == (2, 1)
    drawer.close()
