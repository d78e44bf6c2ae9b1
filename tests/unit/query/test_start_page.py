"""The page at `/` and the pages about the API: each link on them answers, and nothing comes from elsewhere."""

import re

from support.dicom.datasets import ct_slice
from support.query.application import BASE, RunningQuery

_LINK = re.compile(r"""(?:href|src)=["']([^"']+)""")


async def test_the_page_says_what_the_archive_is_and_leads_on(archive: RunningQuery) -> None:
    await archive.stow(ct_slice())
    page = await archive.http.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "1 patients, 1 studies, 1 series, 1 instances" in page.text
    links = [link for link in _LINK.findall(page.text) if not link.startswith("data:")]
    assert len(links) >= 10
    for link in links:
        path = link.removeprefix(BASE)
        assert path.startswith("/"), link
        assert (await archive.http.get(path)).status_code == 200, link


async def test_the_api_pages_load_everything_from_the_archive(archive: RunningQuery) -> None:
    page = await archive.http.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    scripts = [link for link in _LINK.findall(page.text) if not link.startswith("data:")]
    assert len(scripts) == 2
    for link in [*scripts, "/openapi.json"]:
        assert (await archive.http.get(link)).status_code == 200, link
