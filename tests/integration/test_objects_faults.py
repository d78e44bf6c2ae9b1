"""`S3Objects` over SeaweedFS while the server dies, freezes, or the line is cut or garbled."""

import asyncio
import os
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from osteon.objects.port import ObjectNotFound, Objects, ObjectsUnavailable
from osteon.objects.s3 import S3Objects
from osteon.packs.sidecar_member import PackTail
from support.objects.scripted_s3 import proxy
from support.services.parts import SeaweedFS

pytestmark = pytest.mark.slow

MIB = 1 << 20
Connect = Callable[..., S3Objects]


@pytest.fixture
def connect(own_seaweedfs: SeaweedFS) -> Iterator[Connect]:
    """Make a store on the server; any argument of `S3Objects` may be replaced."""
    if not own_seaweedfs.alive:
        own_seaweedfs.start()
    stores: list[S3Objects] = []

    def make(
        endpoint: str = own_seaweedfs.endpoint, secret: str = own_seaweedfs.secret_key, **more: float
    ) -> S3Objects:
        stores.append(S3Objects(endpoint, own_seaweedfs.access_key, secret, "faults", **more))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        store.close()


async def until_served(objects: Objects) -> None:
    """Wait until a put works; anything but `ObjectsUnavailable` meanwhile fails the test."""
    for _ in range(300):
        try:
            await objects.put("ready", b"")
        except ObjectsUnavailable:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not come back")


async def eventually_read(objects: Objects, key: str) -> bytes:
    """Read an object from a server that starts: its volumes come one after the other."""
    for _ in range(100):
        try:
            return await objects.get(key)
        except ObjectsUnavailable:
            await asyncio.sleep(0.1)
    return await objects.get(key)


async def test_a_wrong_secret_is_unavailable_and_names_the_setting(connect: Connect) -> None:
    await connect().put("a", b"x")
    with pytest.raises(ObjectsUnavailable, match="OSTEON_S3_SECRET_KEY"):
        await connect(secret="wrong").check()
    with pytest.raises(ObjectsUnavailable, match="OSTEON_S3_SECRET_KEY"):
        await connect(secret="wrong").put("a", b"y")


async def test_an_upload_that_is_cut_is_unavailable_and_never_visible(
    connect: Connect, own_seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(os.urandom(8 * MIB))
    direct = connect()
    await direct.put("cut/old", b"old")
    async with proxy(own_seaweedfs.endpoint, lambda data, passed: data if passed < 3 * MIB else None) as endpoint:
        for key in ("cut/new", "cut/old"):
            with pytest.raises(ObjectsUnavailable):
                await connect(endpoint).put_file(key, pack)
    await asyncio.sleep(0.5)  # the server may still work on what it got
    with pytest.raises(ObjectNotFound):
        await direct.size("cut/new")
    assert [info.key async for info in direct.list("cut/")] == ["cut/old"]
    assert await direct.get("cut/old") == b"old"


async def test_an_upload_that_was_changed_on_the_way_is_refused(connect: Connect, own_seaweedfs: SeaweedFS) -> None:
    flipped = False

    def flip_one_byte(data: bytes, passed: int) -> bytes:
        nonlocal flipped
        if flipped or passed < MIB:
            return data
        flipped = True
        return bytes([data[0] ^ 1]) + data[1:]

    async with proxy(own_seaweedfs.endpoint, flip_one_byte) as endpoint:
        with pytest.raises(ObjectsUnavailable, match="BadDigest"):
            await connect(endpoint).put("flipped", bytes(2 * MIB))
    with pytest.raises(ObjectNotFound):
        await connect().size("flipped")


async def test_an_upload_holds_no_more_than_a_few_blocks_in_memory(connect: Connect, tmp_path: Path) -> None:
    pack = tmp_path / "p.tar"
    with pack.open("wb") as file:
        file.truncate(60 * MIB)
    objects = connect()
    await objects.put("first", b"makes the connection")
    tracemalloc.start()
    await objects.put_file("large", pack, PackTail(59 * MIB, os.urandom(MIB)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB


async def test_a_multipart_upload_is_whole_or_absent(
    connect: Connect, own_seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    pack = tmp_path / "p.tar"
    with pack.open("wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(70 * MIB)
    async with proxy(own_seaweedfs.endpoint, lambda data, passed: data if passed < 66 * MIB else None) as endpoint:
        with pytest.raises(ObjectsUnavailable):
            await connect(endpoint, at_once=MIB).put_file("parts", pack)
    objects = connect(at_once=MIB)
    with pytest.raises(ObjectNotFound):
        await objects.size("parts")
    tail = PackTail(64 * MIB - 3, os.urandom(6 * MIB))
    await objects.put_file("parts", pack, tail)
    assert await objects.size("parts") == tail.size
    assert await objects.get_range("parts", MIB - 4, 8) == pack.read_bytes()[MIB - 4 : MIB + 4]
    assert await objects.get("parts", tail.start) == tail.data


async def test_what_was_acknowledged_before_a_kill_is_there_after_it(
    connect: Connect, own_seaweedfs: SeaweedFS
) -> None:
    objects = connect()
    await objects.put("kill/first", b"first")
    stored: dict[str, bytes] = {}

    async def upload(worker: int) -> None:
        for number in count():
            key, data = f"kill/{worker}-{number}", os.urandom(200_000)
            try:
                await objects.put(key, data)
            except ObjectsUnavailable:
                return
            stored[key] = data

    async with asyncio.TaskGroup() as group:
        for worker in range(4):
            group.create_task(upload(worker))
        while len(stored) < 40:
            await asyncio.sleep(0.01)
        own_seaweedfs.kill()

    with pytest.raises(ObjectsUnavailable):
        await objects.check()
    own_seaweedfs.launch()
    await until_served(objects)
    for key, data in stored.items():
        assert await eventually_read(objects, key) == data
    sizes = {info.size async for info in objects.list("kill/")}
    assert sizes <= {5, 200_000}, "an object that was not acknowledged is whole or absent"


async def test_a_download_during_which_the_server_dies_is_never_taken_as_whole(
    connect: Connect, own_seaweedfs: SeaweedFS
) -> None:
    objects = connect()
    await objects.put("big", bytes(48 * MIB))
    stream = objects.stream("big")
    await anext(stream)
    own_seaweedfs.kill()
    with pytest.raises(ObjectsUnavailable):
        async for _ in stream:
            pass


async def test_a_frozen_server_is_unavailable_and_serves_again_when_it_goes_on(
    connect: Connect, own_seaweedfs: SeaweedFS
) -> None:
    objects = connect(read_timeout=1.0, connect_timeout=1.0)
    await until_served(objects)
    own_seaweedfs.pause()
    try:
        for call in (objects.check(), objects.put("frozen", b"x"), objects.get("frozen")):
            with pytest.raises(ObjectsUnavailable):
                await call
    finally:
        own_seaweedfs.resume()
    await until_served(objects)
    await objects.put("thawed", b"y")
    assert await objects.get("thawed") == b"y"
