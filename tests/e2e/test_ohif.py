"""OHIF in a browser shows a PDF, a video and an ultrasound out of a running archive.

Needs Debian's Chromium, and in `OSTEON_TEST_OHIF` the folder `dist/` of the npm package `@ohif/app` (3.13.2): it is
50 MB, so neither the repository nor `make test` brings it.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from support.archive.running import RunningArchive
from support.browser import CHROMIUM, Page, browser
from support.dicom.documents import document, video
from support.dicom.real_files import BUNDLED
from support.dicom.small_video import SMALL_VIDEO
from support.ohif import Viewer, viewer
from support.packs.sealed_packs import part10

DIST = Path(os.environ.get("OSTEON_TEST_OHIF", "/nowhere"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("archives"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: OHIF is not tested"),
    pytest.mark.skipif(
        not (DIST / "index.html").is_file(),
        reason="OHIF is not tested: OSTEON_TEST_OHIF is not the dist/ of npm pack @ohif/app@3.13.2",
    ),
]

UNCOMPRESSED = {
    "acceptHeader": ['multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1']
}
SINGLE_PART = {"singlepart": "bulkdata,video,pdf"}

_TOUR = (
    "[...document.querySelectorAll('button')].filter(one => one.innerText == 'Skip all').map(one => one.click()).length"
)

_VIEWPORT = "document.querySelector('.viewport-element')"
_WHEEL = f"{_VIEWPORT}.dispatchEvent(new WheelEvent('wheel', {{deltaY: 100, bubbles: true}}))"
"""A turn of the wheel. The viewer draws a video that was there at once only after something was done with it."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def ohif(standalone: RunningArchive) -> Iterator[Viewer]:
    """OHIF before the archive."""
    with viewer(DIST, standalone.url) as served:
        yield served


def red_page() -> bytes:
    """Return a PDF with one red page, longer than what metadata gives in full."""
    content = b"1 0 0 rg 0 0 300 300 re f"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R /Resources << >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    body = b"%PDF-1.4\n%" + b"padding " * 1000 + b"\n"
    offsets = []
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(body)
    return body + b"xref\n0 5\n0000000000 65535 f \n%strailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        start,
    )


def show(page: Page, ohif: Viewer, archive: RunningArchive, dataset: Dataset, **settings: object) -> None:
    """Store an instance and open its study in the viewer."""
    archive.post("/instances", content=part10(dataset))
    ohif.settings = settings
    ohif.exchanges.clear()
    page.open(f"{ohif.url}/viewer?StudyInstanceUIDs={dataset.StudyInstanceUID}")


def share_of(page: Page, colour: tuple[int, int, int]) -> float:
    """Return which part of what is shown has a colour, more or less."""
    return float((np.abs(picture_of(page) - colour).max(axis=2) < 40).mean())


def picture_of(page: Page) -> NDArray[np.int16]:
    """Return the page as it is shown, without the viewer's greeting."""
    page.evaluate(_TOUR)
    return np.asarray(imagecodecs.png_decode(page.picture()))[..., :3].astype(np.int16)


def wait_for_colour(page: Page, colour: tuple[int, int, int], share: float, between: str = "") -> None:
    """Wait until a colour is shown on a part of the page; `between` is a script that runs before each look."""
    for _ in range(120):
        page.evaluate(between)
        if share_of(page, colour) >= share:
            return
        time.sleep(1)
    pytest.fail(f"{colour} is shown on {share_of(page, colour):.1%} of the page")


@pytest.mark.parametrize("settings", [SINGLE_PART, {}], ids=["alone", "in parts"])
def test_ohif_shows_a_pdf(standalone: RunningArchive, page: Page, ohif: Viewer, settings: dict[str, object]) -> None:
    show(page, ohif, standalone, document(red_page()), **settings)
    wait_for_colour(page, (255, 0, 0), 0.01)
    sent = [one for one in ohif.exchanges if "pdf" in one.content_type]
    assert sent
    assert all("/rendered" in one.path for one in sent) == bool(settings)
    assert [one for one in ohif.exchanges if one.status >= 400] == []


def test_ohif_shows_a_video_by_ranges(standalone: RunningArchive, page: Page, ohif: Viewer) -> None:
    show(page, ohif, standalone, video(SMALL_VIDEO, frames=10), **SINGLE_PART)
    page.until(f"{_VIEWPORT} !== null")
    wait_for_colour(page, (255, 0, 0), 0.2, between=_WHEEL)
    assert share_of(page, (0, 0, 255)) > 0.01
    sent = [one for one in ohif.exchanges if one.content_type.startswith("video/mp4")]
    assert {(one.status, one.path.rpartition("/")[2]) for one in sent} == {(206, "rendered")}
    assert sent[0].range == "bytes=0-"
    assert [one for one in ohif.exchanges if one.status >= 400] == []


@pytest.mark.parametrize("settings", [{}, UNCOMPRESSED], ids=["as stored", "without compression"])
def test_ohif_shows_the_colours_of_a_jpeg_image(
    standalone: RunningArchive, page: Page, ohif: Viewer, settings: dict[str, object]
) -> None:
    show(page, ohif, standalone, dcmread(next(BUNDLED.rglob("SC_rgb_dcmtk_+eb+cy+np.dcm"))), **settings)
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        wait_for_colour(page, colour, 0.01)
    frames = [one for one in ohif.exchanges if "/frames/" in one.path]
    assert {("1.2.840.10008.1.2.1" in one.accept, one.status) for one in frames} == {(bool(settings), 200)}
    assert [one for one in ohif.exchanges if one.status >= 400] == []
