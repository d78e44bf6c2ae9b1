"""Limits per client over HTTP, and whose address counts behind a proxy."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from osteon.runtime import http_server
from support.dicom.datasets import ct_slice
from support.packs.sealed_packs import part10
from support.query.application import QuerySettings, RunningQuery, door

CLIENT = "10.0.0.1"


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    """An archive in which a client may have two of four uploads."""
    async with door(tmp_path, QuerySettings(max_concurrent_uploads=4, max_uploads_per_client=2)) as running:
        yield running


@pytest.mark.parametrize(
    ("proxies", "client", "expected"),
    [(["127.0.0.1"], CLIENT, 429), (["127.0.0.1"], "10.0.0.2", 200), ([], CLIENT, 200)],
)
async def test_uploads_count_for_the_client_that_a_trusted_proxy_names(
    archive: RunningQuery, proxies: list[str], client: str, expected: int
) -> None:
    uploads = archive.state.uploads
    uploads.slot_seconds = 0.1 if expected == 429 else 30.0
    async with AsyncExitStack() as held:
        for _ in range(archive.settings.max_uploads_per_client):
            await held.enter_async_context(uploads.open("held", CLIENT, CLIENT))
        response = await post(archive, proxies, client)
    assert response.status_code == expected, response.text
    if expected == 429:
        assert response.headers["Retry-After"] == "5"
        assert "OSTEON_MAX_UPLOADS_PER_CLIENT" in response.json()["Details"]
        assert CLIENT in response.json()["Details"]


async def test_no_free_slot_of_all_clients_is_a_503(archive: RunningQuery) -> None:
    uploads = archive.state.uploads
    uploads.slot_seconds = 0.1
    async with AsyncExitStack() as held:
        for number in range(archive.settings.max_concurrent_uploads):
            await held.enter_async_context(uploads.open("held", "", f"10.0.1.{number}"))
        response = await post(archive, ["127.0.0.1"], CLIENT)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert "OSTEON_MAX_CONCURRENT_UPLOADS" in response.json()["Details"]


async def post(archive: RunningQuery, proxies: list[str], client: str) -> httpx.Response:
    """Store an instance through a proxy that says who its client is."""
    async with http_server(archive.app, "127.0.0.1", 0, trusted_proxies=proxies) as port, httpx.AsyncClient() as http:
        return await http.post(
            f"http://127.0.0.1:{port}/instances", content=part10(ct_slice()), headers={"X-Forwarded-For": client}
        )
