"""Hostile data sets by STOW-RS and `POST /instances`: the same is kept and refused as by C-STORE."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

import pytest

from osteon import metrics
from osteon.dicom.part10 import write_part10_header
from osteon_query.http.bodies import BodyPace
from osteon_query.limits import ApiLimits
from support.dicom.datasets import ct_slice
from support.dicom.elements import explicit, implicit, item, sequence
from support.metric_values import value
from support.packs.sealed_packs import part10
from support.query.application import WEB, QuerySettings, RunningQuery, door, multipart
from support.spool.instances import CT, EXPLICIT, data_set

BROKEN = {
    "cut within pixel data": (data_set("1.9.1", pixels=bytes(1000))[:-100], 0),
    "broken sequence": (data_set("1.9.1", before=sequence(0x00081140, b"garbage!")), 0),
    "overrun": (data_set("1.9.1") + explicit(0x00420011, "OB", length=0xFFFFFFFE), 0),
    "undefined length where none may be": (data_set("1.9.1") + explicit(0x00420011, "UT", length=0xFFFFFFFF), 0),
    "item beyond its sequence": (data_set("1.9.1") + sequence(0x00420011, item(b"", length=99)), 0),
    "implicit tail": (data_set("1.9.1") + implicit(0x00420011, b"", length=0xFFFF), 0),
    "cut before the identifiers": (data_set("1.9.1")[:60], 0xC000),
    "path in a UID": (data_set("1.9.1", series="../../x"), 0xA900),
    "65 characters": (data_set("1.9.1", series="1" * 65), 0xA900),
    "NUL in a UID": (data_set("1.9.1", series="1.2\0.3"), 0xA900),
    "only zeros": (bytes(600), 0xA900),
}


def file(data: bytes, syntax: str = EXPLICIT) -> bytes:
    return write_part10_header(CT, "1.9.1", syntax) + data


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    async with door(tmp_path, QuerySettings(max_upload_bytes=8 << 20)) as running:
        yield running


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN.keys())
async def test_broken_data_sets_are_kept_with_a_warning_when_they_name_themselves(
    archive: RunningQuery, data: bytes, reason: int
) -> None:
    neighbour = ct_slice()
    body, kind = multipart([file(data), part10(neighbour)])
    response = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    assert response.status_code == 202
    answer = response.json()
    if reason:
        assert answer["0008119A"]["Value"][0]["00081197"]["Value"] == [reason]
    else:
        assert answer["00081199"]["Value"][0]["00081196"]["Value"] == [0xB007]
        kept = await archive.http.get(
            f"{WEB}/studies/1.2/series/1.2.3/instances/1.9.1", headers={"Accept": "application/dicom"}
        )
        assert kept.content == file(data)
        for path in ("metadata", "instances", "series"):
            assert (await archive.http.get(f"{WEB}/studies/1.2/{path}")).status_code == 200
        for found in await archive.json("/instances"):
            for path in ("simplified-tags", "tags", "file", "header"):
                assert (await archive.http.get(f"/instances/{found}/{path}")).status_code < 500
    assert len(answer["00081199"]["Value"]) == 1 + (not reason)
    single = await archive.http.post("/instances", content=file(data))
    assert single.status_code == (400 if reason else 200)
    assert ("Warning" in single.json()) == (not reason)


async def test_refusals_are_counted_by_reason(archive: RunningQuery) -> None:
    def counted(reason: str) -> float:
        return value(metrics.REFUSED_INSTANCES.labels("http", reason))

    bodies_of = {
        "file": b"garbage" * 100,
        "identifier": file(bytes(600)),
        "truncated": file(data_set("1.9.1")[:60]),
        "transfer syntax": file(data_set("1.9.1"), "1.2.3.4"),
        "data set": file(b"\xff" * 600),
    }
    for reason, body in bodies_of.items():
        before = counted(reason)
        assert (await archive.http.post("/instances", content=body)).status_code == 400
        assert counted(reason) == before + 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--", b"--B", b"--B--", b"--B\r\n\r\n", b"--B\r\n" + b"X: y\r\n" * 100 + b"\r\n\r\n--B--",
        b"--B\r\nX: " + b"y" * 99_999 + b"\r\n\r\nz\r\n--B--", b"--B\r\n\r\nz\r\n--C--", b"--B\r\n\r\n--B\r\n\r\n--B--",
        b"\r\n" * 5000, b"--B\r\n:\r\n\r\n\r\n--B--\r\n", b"--B\r\nX\0: y\r\n\r\n\r\n--B--\r\n", bytes(5000),
    ],
    ids=[
        "empty", "dashes", "boundary", "closing", "no-end", "headers", "long-header", "other-boundary", "empty-parts",
        "blank-lines", "nameless", "nul", "zeros",
    ],
)  # fmt: skip
async def test_garbage_for_multipart_is_a_bad_request(archive: RunningQuery, tmp_path: Path, body: bytes) -> None:
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}
    response = await archive.http.post(f"{WEB}/studies", content=body, headers=headers)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json" or "0008119A" in response.json()
    assert not list((tmp_path / "uploading").iterdir())


async def test_a_body_that_comes_by_the_byte_loses_its_turn(tmp_path: Path) -> None:
    async def trickle() -> AsyncIterable[bytes]:
        for _ in range(1000):
            yield b"x"
            await asyncio.sleep(0.02)

    async with door(tmp_path, QuerySettings(max_concurrent_uploads=1)) as archive:
        archive.change(limits=ApiLimits(body_pace=BodyPace(idle_seconds=0.3, min_bytes_per_second=1000)))
        slow = asyncio.create_task(archive.http.post("/instances", content=trickle()))
        await asyncio.sleep(0.1)
        assert (await archive.http.post("/instances", content=part10(ct_slice()))).status_code == 200
        assert (await slow).status_code == 408


async def test_a_body_that_comes_steadily_keeps_its_turn(tmp_path: Path) -> None:
    whole = part10(ct_slice())

    async def steady() -> AsyncIterable[bytes]:
        for start in range(0, len(whole), 600):
            yield whole[start : start + 600]
            await asyncio.sleep(0.1)

    async with door(tmp_path) as archive:
        archive.change(limits=ApiLimits(body_pace=BodyPace(idle_seconds=1.0, min_bytes_per_second=1000)))
        assert (await archive.http.post("/instances", content=steady())).status_code == 200
