"""Attachments of resources over the embedded ports: the files of instances, and those of users."""

import asyncio
import hashlib
import random
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from osteon.dicom.models import Level
from osteon.index.sql import SqlIndex
from osteon_indexer.sweep import sweep
from support.dicom.datasets import ct_slice
from support.dicom.real_files import BUNDLED
from support.index.stored_packs import sqlite_url
from support.packs.sealed_packs import part10
from support.query.application import QuerySettings, RunningQuery, door
from unit.query.orthanc.test_labels import SEGMENTS, send
from unit.query.orthanc.test_resource_metadata import stored
from unit.query.orthanc.test_resources import UNKNOWN, id_of, upload

LONG = random.Random(1).randbytes(1_500_000) + bytes(3_000_000)  # more than a chunk, half of it compressible
NAMES = ("report=1024:application/pdf", "page=1025:text/html", "notes=1026")


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    """An archive with names of attachments and a low limit."""
    settings = QuerySettings(user_attachments=NAMES, max_attachment_bytes=5_000_000)
    async with door(tmp_path, settings) as running:
        yield running


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


async def objects(archive: RunningQuery) -> list[str]:
    """Return the keys of the contents of attachments."""
    return [info.key async for info in archive.objects.list("resources/") if "/attachments/" in info.key]


async def put(archive: RunningQuery, path: str, data: bytes, status: int = 200, **headers: str) -> httpx.Response:
    return await send(archive, "PUT", path, status, content=data, headers=headers)


@pytest.mark.parametrize("depth", range(4))
async def test_a_resource_of_each_level_gets_an_attachment_sends_and_loses_it(named: RunningQuery, depth: int) -> None:
    dataset = ct_slice()
    await named.stow(dataset)
    path = f"/{SEGMENTS[depth]}/{id_of(dataset, depth + 1)}/attachments"
    system = await named.json(path)
    assert system == (["dicom"] if depth == 3 else [])
    for revision, data in enumerate((b"hello", LONG, b"")):
        answer = await put(named, f"{path}/notes", data)
        assert (answer.json(), answer.headers["ETag"]) == ({}, f'"{revision}-{md5(data)}"')
        answer = await send(named, "GET", f"{path}/1026/data")
        assert answer.content == data
        assert (answer.headers["ETag"], answer.headers["Content-Type"]) == (
            f'"{revision}-{md5(data)}"', "application/octet-stream",
        )  # fmt: skip
        assert len(await objects(named)) == 1
    await put(named, f"{path}/1030", b"x")
    assert await named.json(path) == [*system, "notes", "1030"]
    assert (await named.json(f"{path}?full"))["notes"] == 1026
    assert (await send(named, "DELETE", f"{path}/notes")).content == b""
    await send(named, "DELETE", f"{path}/notes", 404)
    await send(named, "GET", f"{path}/notes/data", 404)
    assert await named.json(path) == [*system, "1030"]
    assert len(await objects(named)) == 1


async def test_an_attachment_says_what_it_is(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments/report"
    await put(named, path, LONG)
    info = await named.json(f"{path}/info")
    assert len(info.pop("Uuid")) == 36
    assert info == {
        "ContentType": 1024, "UncompressedSize": len(LONG), "CompressedSize": len(LONG),
        "UncompressedMD5": md5(LONG), "CompressedMD5": md5(LONG),
    }  # fmt: skip
    operations = await named.json(path)
    facts = {"size": str(len(LONG)), "md5": md5(LONG), "is-compressed": "0", "compressed-size": str(len(LONG))}
    for name, expected in facts.items():
        assert name in operations
        assert (await send(named, "GET", f"{path}/{name}")).text == expected
    await send(named, "GET", f"{path}/colour", 404)
    answer = await send(named, "GET", f"{path}/data")
    assert answer.headers["Content-Type"] == "application/pdf"


async def test_a_page_that_a_user_attached_runs_no_scripts_in_the_archives_origin(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments/page"
    await put(named, path, b"<script>")
    answer = await send(named, "GET", f"{path}/data")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_range_of_an_attachment_is_sent(named: RunningQuery, compressed: bool) -> None:
    path = f"{await stored(named)}/attachments/1024"
    await put(named, path, LONG)
    if compressed:
        await send(named, "POST", f"{path}/compress")
    for first, last in ((0, 4), (1_200_000, 2_800_000), (len(LONG) - 3, len(LONG) + 7)):
        answer = await send(named, "GET", f"{path}/data", 206, headers={"Range": f"bytes={first}-{last}"})
        assert answer.content == LONG[first : last + 1]
    await send(named, "GET", f"{path}/data", 416, headers={"Range": f"bytes={len(LONG)}-"})


async def test_an_attachment_is_compressed_as_in_orthanc_and_back(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments/1024"
    tag = (await put(named, path, LONG)).headers["ETag"]
    for _ in range(2):
        assert (await send(named, "POST", f"{path}/compress")).json() == {}
    kept = (await send(named, "GET", f"{path}/compressed-data")).content
    assert kept[:8] == len(LONG).to_bytes(8, "little")
    assert zlib.decompress(kept[8:]) == LONG
    info = await named.json(f"{path}/info")
    assert (info["CompressedSize"], info["CompressedMD5"]) == (len(kept), md5(kept))
    assert (info["UncompressedSize"], info["UncompressedMD5"]) == (len(LONG), md5(LONG))
    assert (await send(named, "GET", f"{path}/is-compressed")).text == "1"
    answer = await send(named, "GET", f"{path}/data")
    assert (answer.content, answer.headers["ETag"]) == (LONG, tag)
    assert (await send(named, "POST", f"{path}/verify-md5")).json() == {}
    await send(named, "POST", f"{path}/uncompress")
    assert (await send(named, "GET", f"{path}/compressed-data")).content == LONG
    assert len(await objects(named)) == 1


@pytest.mark.parametrize("compressed", [False, True])
async def test_damage_to_an_attachment_is_found(named: RunningQuery, compressed: bool) -> None:
    path = f"{await stored(named)}/attachments/1024"
    await put(named, path, LONG)
    if compressed:
        await send(named, "POST", f"{path}/compress")
    (key,) = await objects(named)
    data = bytearray(await named.objects.get(key))
    data[1000] ^= 1
    await named.objects.put(key, bytes(data))
    await send(named, "POST", f"{path}/verify-md5", 500)


async def test_too_long_an_attachment_is_refused_and_leaves_nothing(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments"

    async def body() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield bytes(1_000_000)

    answer = await named.http.put(f"{path}/1024", content=body())
    assert (answer.status_code, "OSTEON_MAX_ATTACHMENT_BYTES" in answer.text) == (413, True)
    assert await named.json(path) == []
    assert await objects(named) == []
    assert not list((named.folder / "uploading").iterdir())


async def test_a_change_that_names_another_revision_is_refused_and_leaves_nothing(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments/1024"
    first = (await put(named, path, b"a")).headers["ETag"]
    second = (await put(named, path, b"b", **{"If-Match": first})).headers["ETag"]
    await put(named, path, b"c", 409, **{"If-Match": first})
    await put(named, path, b"c", 400, **{"If-Match": "nonsense"})
    await send(named, "DELETE", path, 409, headers={"If-Match": first})
    assert len(await objects(named)) == 1
    for fact in ("/data", "/info", ""):
        assert (await send(named, "GET", path + fact, 304, headers={"If-None-Match": second})).content == b""
        await send(named, "GET", path + fact, headers={"If-None-Match": first})
    await send(named, "DELETE", path, headers={"If-Match": second})


async def test_with_the_setting_every_change_must_name_its_revision(tmp_path: Path) -> None:
    async with door(tmp_path, QuerySettings(check_revisions=True)) as archive:
        path = f"{await stored(archive)}/attachments/1024"
        tag = (await put(archive, path, b"a")).headers["ETag"]
        await put(archive, path, b"b", 409)
        await send(archive, "DELETE", path, 409)
        await send(archive, "DELETE", path, headers={"If-Match": tag})


async def test_the_file_of_an_instance_is_an_attachment_that_can_only_be_read(archive: RunningQuery) -> None:
    file = (BUNDLED / "CT_small.dcm").read_bytes()
    path = f"/instances/{(await upload(archive, file))['ID']}/attachments/dicom"
    answer = await send(archive, "GET", f"{path}/data")
    assert (answer.content, answer.headers["Content-Type"]) == (file, "application/dicom")
    answer = await send(archive, "GET", f"{path}/data", 206, headers={"Range": "bytes=128-131"})
    assert (answer.content, answer.headers["Content-Range"]) == (b"DICM", f"bytes 128-131/{len(file)}")
    info = await archive.json(f"{path}/info")
    assert (info["UncompressedMD5"], info["CompressedSize"], info["ContentType"]) == (md5(file), len(file), 1)
    assert (await send(archive, "GET", f"{path}/md5")).text == md5(file)
    assert (await send(archive, "GET", path.replace("dicom", "1") + "/size")).text == str(len(file))
    assert (await send(archive, "POST", f"{path}/verify-md5")).json() == {}
    assert (await send(archive, "POST", f"{path}/uncompress")).json() == {}
    await send(archive, "POST", f"{path}/compress", 403)
    await put(archive, path, b"x", 403)
    await send(archive, "DELETE", path, 403)
    start = (await send(archive, "GET", f"{path}-until-pixel-data/data")).content
    assert start == file[:6288]
    await send(archive, "GET", f"{path}-as-json/data", 404)


async def test_damage_to_an_instance_is_found(archive: RunningQuery) -> None:
    dataset = ct_slice()
    await archive.stow(dataset)
    match = await archive.index.get(Level.IMAGE, id_of(dataset))
    assert match.instance is not None
    where = match.instance.location
    data = bytearray(await archive.objects.get(where.key))
    data[where.offset + where.length - 1] ^= 1
    await archive.objects.put(where.key, bytes(data))
    await send(archive, "POST", f"/instances/{id_of(dataset)}/attachments/dicom/verify-md5", 500)


async def test_what_is_not_there_has_no_attachments(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments"
    for method, fact in (("GET", ""), ("GET", "/data"), ("PUT", ""), ("DELETE", ""), ("POST", "/compress")):
        assert (await send(named, method, f"{path}/nothing{fact}", 404)).json()["OrthancStatus"] == 7
        await send(named, method, f"/studies/{UNKNOWN}/attachments/1024{fact}", 404)
    await send(named, "GET", f"{path}/dicom/data", 404)
    await send(named, "POST", f"{path}/1024/verify-md5", 404)
    assert await objects(named) == []


async def test_attachments_put_at_the_same_time_leave_one_content(named: RunningQuery) -> None:
    path = f"{await stored(named)}/attachments/1024"
    await asyncio.gather(*(put(named, path, f"content {n}".encode()) for n in range(5)))
    (key,) = await objects(named)
    assert (await send(named, "GET", f"{path}/data")).content == await named.objects.get(key)
    assert (await send(named, "GET", path)).headers["ETag"].startswith('"4-')


async def test_changes_of_attachments_are_in_the_change_log(named: RunningQuery) -> None:
    path = await stored(named)
    last = (await named.json("/changes?last"))["Last"]
    await put(named, f"{path}/attachments/1024", b"a")
    (change,) = (await named.json(f"/changes?since={last}"))["Changes"]
    assert (change["ChangeType"], change["Path"]) == ("UpdatedAttachment", path)


async def test_a_rebuilt_index_has_the_attachments_again(named: RunningQuery, tmp_path: Path) -> None:
    dataset = ct_slice()
    await upload(named, part10(dataset))
    path = f"/series/{id_of(dataset, 3)}/attachments/1024"
    await put(named, path, LONG)
    await send(named, "POST", f"{path}/compress")
    rebuilt = SqlIndex(sqlite_url(tmp_path / "rebuilt.sqlite"))
    await rebuilt.start()
    try:
        await sweep(objects=named.objects, index=rebuilt, min_age=timedelta(0))
        named.change(index=rebuilt, user_data=rebuilt.user_data)
        assert (await send(named, "GET", f"{path}/data")).content == LONG
    finally:
        named.change(index=named.index, user_data=named.index.user_data)
        await rebuilt.close()
