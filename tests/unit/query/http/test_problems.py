"""Errors of the HTTP API in the reader's words, and what every response has."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request

from osteon_query.http import problems
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10
from support.query.application import WEB, RunningQuery


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/modalities/a", "DELETE, GET, PUT"),
        ("DELETE", f"{WEB}/studies", "GET, POST"),
        ("PUT", "/system", "GET"),
    ],
)
async def test_a_method_that_is_not_possible_is_named_with_those_that_are(
    archive: RunningQuery, method: str, path: str, allowed: str
) -> None:
    response = await archive.http.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    body = response.json()
    assert (body.get("detail") or body["Details"]) == f"{method} is not possible here; expected {allowed}"
    assert (body.get("title") or body["Message"]).lower() == "method not allowed"


async def test_a_path_that_leads_nowhere_is_named(archive: RunningQuery) -> None:
    response = await archive.http.get("/no/such/page")
    assert (response.status_code, response.json()["Details"]) == (404, "there is nothing at /no/such/page")


async def _nowhere(request: Request) -> None:
    """Nothing has moved."""


async def test_fields_are_named_without_the_words_of_pydantic() -> None:
    class Body(BaseModel):
        count: int
        name: str

    app = FastAPI()
    problems.install(app, moved_to=_nowhere)

    @app.post("/{number}")
    async def take(number: int, body: Body) -> None: ...

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        response = await http.post("/x", json={"count": "many"})
    assert response.status_code == 400
    assert response.json()["Details"] == (
        "number: expected a whole number; count: expected a whole number; name: is missing"
    )


async def test_every_response_is_of_the_type_that_it_says(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    (stored,) = await archive.json("/instances")

    async def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(archive.index, "statistics", broken)
    series = f"{WEB}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
    for path, status in (
        ("/system", 200), ("/no", 404), ("/statistics", 500), ("/healthz", 200), (f"/instances/{stored}/file", 200),
        (f"{series}/metadata", 200), (series, 200), (f"{WEB}/studies?limit=x", 400),
    ):  # fmt: skip
        response = await archive.http.get(path)
        assert (response.status_code, response.headers.get_list("X-Content-Type-Options")) == (status, ["nosniff"])


async def test_files_are_to_be_stored_not_shown(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    (stored,) = await archive.json("/instances")
    study, series, instance = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    web = f"{WEB}/studies/{study}/series/{series}/instances/{instance}"
    wado = f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
    for path, name in (
        (f"/instances/{stored}/file", f"{stored}.dcm"),
        (f"{web}?accept=application/dicom", f"{instance}.dcm"),
        (f"{wado}&contentType=application/dicom", f"{instance}.dcm"),
        (f"{WEB}/studies/{study}?accept=application/zip", f"{study}.zip"),
    ):
        response = await archive.http.get(path)
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert part10(dataset) == (await archive.http.get(f"/instances/{stored}/file")).content
