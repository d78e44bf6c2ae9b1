"""What `/dicom-web` tells of itself, and who may ask from a web page."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from osteon.settings import HttpSettings
from support.dicom.datasets import ct_slice
from support.query.application import BASE, WEB, QuerySettings, RunningQuery, door

WADL = "application/vnd.sun.wadl+xml"
_NS = {"w": "http://wadl.dev.java.net/2009/02"}


async def _wadl(archive: RunningQuery, path: str = f"{WEB}/") -> ElementTree.Element:
    response = await archive.http.options(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == WADL
    return ElementTree.fromstring(response.content)


async def test_options_describes_every_resource_as_wadl(archive: RunningQuery) -> None:
    root = await _wadl(archive)
    (resources,) = root.findall("w:resources", _NS)
    assert resources.get("base") == BASE + WEB
    studies = resources.find("w:resource[@path='studies']", _NS)
    assert studies is not None
    assert [method.get("name") for method in studies.findall("w:method", _NS)] == ["GET", "POST"]
    searched = {param.get("name") for param in studies.iterfind("w:method[@name='GET']/w:request/w:param", _NS)}
    assert {"limit", "offset", "fuzzymatching", "includefield", "emptyvaluematching"} <= searched
    taken = {one.get("mediaType") for one in studies.iterfind("w:method[@name='POST']/w:request/w:representation", _NS)}
    assert 'multipart/related; type="application/dicom+xml"' in taken
    instance = studies.find(
        "w:resource[@path='{study}']/w:resource[@path='series']/w:resource[@path='{series}']"
        "/w:resource[@path='instances']/w:resource[@path='{instance}']", _NS,
    )  # fmt: skip
    assert instance is not None
    assert {"metadata", "frames"} <= {one.get("path") for one in instance.findall("w:resource", _NS)}


async def test_the_root_tells_people_and_programs_what_there_is(archive: RunningQuery) -> None:
    for path, headers in ((WEB, {}), (f"{WEB}/", {"Accept": "text/html,*/*;q=0.8"})):
        response = await archive.http.get(path, headers=headers)
        assert response.status_code == 200
        listed = response.json()
        assert {"/studies", "/studies/{study}/metadata"} <= {one["Path"] for one in listed["Resources"]}
        assert all(one["Does"] and one["Sends"] for one in listed["Resources"])


@pytest.mark.parametrize(
    ("method", "accept", "given"),
    [
        ("GET", WADL, WADL),
        ("OPTIONS", "application/json", "application/json"),
        ("OPTIONS", "application/xml", WADL),
        ("GET", "image/png", "application/problem+json"),
    ],
)
async def test_capabilities_come_in_the_form_that_is_accepted(
    archive: RunningQuery, method: str, accept: str, given: str
) -> None:
    response = await archive.http.request(method, WEB, headers={"Accept": accept})
    assert response.headers["Content-Type"] == given


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/studies/1.2/nothing", 404),
        ("PUT", "/studies", 405),
        ("GET", "/studies/not-a-uid/series", 400),
        ("POST", "/studies", 415),
        ("GET", "/nothing", 404),
    ],
)
async def test_every_error_is_a_problem_that_says_what_was_wrong(
    archive: RunningQuery, method: str, path: str, status: int
) -> None:
    response = await archive.http.request(method, WEB + path)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["detail"]


async def test_without_the_setting_no_other_origin_is_told_anything(archive: RunningQuery) -> None:
    response = await archive.http.get(f"{WEB}/studies", headers={"Origin": "https://viewer.test"})
    assert not [name for name in response.headers if name.startswith("access-control")]
    asked = {"Origin": "https://viewer.test", "Access-Control-Request-Method": "GET"}
    preflight = await archive.http.options(f"{WEB}/studies", headers=asked)
    assert preflight.status_code == 405
    assert "OSTEON_CORS_ORIGINS" in preflight.json()["detail"]


@pytest.mark.parametrize("origins", [("https://viewer.test",), ("*",)])
async def test_pages_of_an_allowed_origin_may_search_store_and_read_headers(
    tmp_path: Path, origins: tuple[str, ...]
) -> None:
    async with door(tmp_path, QuerySettings(cors_origins=origins)) as archive:
        await archive.stow(ct_slice())
        origin = {"Origin": "https://viewer.test"}
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization",
        }
        preflight = await archive.http.options(f"{WEB}/studies", headers={**origin, **asked})
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] in {"https://viewer.test", "*"}
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
        for path, status in (("/studies", 200), ("/studies?limit=x", 400)):
            response = await archive.http.get(WEB + path, headers=origin)
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] in {"https://viewer.test", "*"}
            assert {"ETag", "Content-Location", "Warning"} <= set(
                response.headers["Access-Control-Expose-Headers"].split(", ")
            )


async def test_pages_of_other_origins_may_not(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(cors_origins=("https://viewer.test",))) as archive:
        headers = {"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "GET"}
        preflight = await archive.http.options(f"{WEB}/studies", headers=headers)
        assert (preflight.status_code, preflight.headers["X-Content-Type-Options"]) == (400, "nosniff")
        assert "OSTEON_CORS_ORIGINS" in preflight.text
        response = await archive.http.get(f"{WEB}/studies", headers=headers)
        assert "Access-Control-Allow-Origin" not in response.headers


def test_origins_are_checked_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_CORS_ORIGINS", "https://a.test, http://[::1]:3000,*")
    assert HttpSettings().cors_origins == ("https://a.test", "http://[::1]:3000", "*")
    for wrong in ("viewer.test", "https://viewer.test/", "https://a b"):
        monkeypatch.setenv("OSTEON_CORS_ORIGINS", wrong)
        with pytest.raises(ValueError, match="no origin"):
            HttpSettings()
