"""The writer turns sealed packs into objects, and loses none on the way."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import orjson
import pytest
import xxhash
from pydicom.uid import generate_uid

from osteon.bus.memory import MemoryBus
from osteon.contracts.packs import Origin, PackSealed, PackStored
from osteon.contracts.topology import INDEXER
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import write_part10_header
from osteon.objects.folder import FolderObjects
from osteon.objects.port import ObjectsUnavailable
from osteon.packs import sidecar
from osteon.packs.pack_writer import Part10File, write_pack
from osteon.packs.tar import BLOCK, members
from osteon.spool.disk import Disk
from osteon.spool.recovery import recover
from osteon_writer.handlers import store_sealed
from support.dicom.datasets import ct_slice
from support.dicom.real_files import dataset_bytes
from support.packs.sealed_packs import part10, sealed_pack, separate_sidecar
from support.spool.instances import CT, EXPLICIT


@pytest.fixture
def datasets() -> list:
    study, series = generate_uid(), generate_uid()
    return [ct_slice(study=study, series=series, number=n) for n in range(1, 4)]


@pytest.fixture
async def stored() -> list[PackStored]:
    return []


@pytest.fixture
async def bus(stored: list[PackStored]):
    bus = MemoryBus()
    await bus.start()

    async def note(message: PackStored) -> None:
        stored.append(message)

    await bus.consume(INDEXER, note)
    yield bus
    await bus.close()


@pytest.fixture
def store(tmp_path: Path, bus: MemoryBus):
    with ThreadPoolExecutor(1) as executor:
        objects = FolderObjects(tmp_path / "objects")
        yield partial(
            store_sealed, spool=tmp_path / "spool", objects=objects, bus=bus, executor=executor, reader=HeaderReader()
        )


async def test_pack_and_sidecar_are_stored_announced_and_released(tmp_path, datasets, store, bus, stored) -> None:
    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    await store(message)
    await bus.close()
    objects = FolderObjects(tmp_path / "objects")
    (announced,) = stored
    assert [(info.key, info.size) async for info in objects.list()] == [(message.key, announced.size)]
    assert announced.size > message.size
    facts, lines = sidecar.decode(await objects.get(*announced.sidecar))
    before = {"size": message.size, "sidecar_offset": None}
    assert facts == announced.model_copy(update=before) == PackStored.model_validate(message.model_dump())
    assert not (tmp_path / "spool" / message.path).exists()
    for line, dataset in zip(lines, datasets, strict=True):
        file = await objects.get_range(message.key, line.offset, line.length)
        assert file == part10(dataset)
        assert line.sha256 == hashlib.sha256(file[line.dataset_offset :]).digest()
        assert line.xxh3 == xxhash.xxh3_128(file).digest()
        assert orjson.loads(line.header.json)["00200013"]["Value"] == [int(dataset.InstanceNumber)]


async def test_a_pack_that_was_stored_before_is_announced_again(tmp_path, datasets, store, bus, stored) -> None:
    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    await store(message)
    await store(message)
    await bus.close()
    assert stored[0].sidecar_offset
    assert stored[0] == stored[1]


async def test_a_pack_that_the_release_before_stored_is_announced_with_its_sidecar_beside_it(
    tmp_path, datasets, store, bus, stored
) -> None:
    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    objects, facts = FolderObjects(tmp_path / "objects"), PackStored.model_validate(message.model_dump())
    path = tmp_path / "spool" / message.path
    await objects.put_file(message.key, path)
    await objects.put(facts.sidecar.key, separate_sidecar(path, facts))
    path.unlink()
    await store(message)
    await bus.close()
    assert stored == [facts]


@pytest.mark.parametrize("left", ["whole", "torn", "header only"])
async def test_a_spool_file_that_has_its_sidecar_already_is_stored_all_the_same(
    tmp_path, datasets, store, bus, stored, left
) -> None:
    """In standalone the spool's file is the object: its sidecar may have been written before a crash, or begun."""
    spool = tmp_path / "spool"
    message = received_pack(spool, datasets, corrupt=set())
    path = spool / message.path
    await store(message, keep=True)
    assert path.samefile(tmp_path / "objects" / message.key)
    whole = path.read_bytes()
    if left != "whole":
        (tmp_path / "objects" / message.key).unlink()
        start = message.size - 1024
        torn = {"torn": whole[:-1500], "header only": whole[: start + 512]}
        path.write_bytes(torn[left])
    recovered = recover(path, spool, Disk())
    assert recovered.torn == 0
    assert (recovered.pack.pack_id, recovered.pack.size, recovered.pack.instances) == ("p1", message.size, 3)
    await store(message, keep=True)
    await bus.close()
    assert path.samefile(tmp_path / "objects" / message.key)
    assert path.read_bytes() == whole
    assert len(stored) == 2
    assert stored[0] == stored[1]


async def test_a_spool_file_whose_last_member_is_not_seen_any_more_is_kept(
    tmp_path, datasets, store, bus, stored
) -> None:
    """Its TAR header is a block of zeros, as at the end of the archive: a sidecar would be written over its data."""
    message = received_pack(tmp_path / "spool", datasets, corrupt=set())
    path = tmp_path / "spool" / message.path
    damaged = bytearray(path.read_bytes())
    *_, last = members(path)
    damaged[last.offset - BLOCK : last.offset] = bytes(BLOCK)
    path.write_bytes(damaged)
    await store(message)
    await bus.close()
    (announced,) = stored
    assert (announced.instances, announced.pack_id != message.pack_id) == (2, True)
    assert path.with_name("p1.tar.damaged").read_bytes() == damaged


async def test_a_pack_that_was_deleted_as_redundant_meanwhile_is_no_error(tmp_path, datasets, store, bus, stored):
    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    await store(message)
    objects = FolderObjects(tmp_path / "objects")
    await objects.delete(message.key)
    await store(message)
    await bus.close()
    assert [pack.pack_id for pack in stored] == ["p1", "p1"]


async def test_a_file_that_was_released_while_it_was_read_is_tried_again(tmp_path, datasets, store, bus, stored):
    message = sealed_pack(tmp_path / "spool", "p1", datasets)

    class Released(FolderObjects):
        async def put_file(self, key: str, path: Path, tail: object = None) -> None:
            path.unlink()
            await super().put_file(key, path, tail)

    with pytest.raises(FileNotFoundError):
        await store(message, objects=Released(tmp_path / "objects"))
    await store(message)
    await bus.close()
    assert len(stored) == 1


def pack_with_digest(spool: Path, digest: bytes, *, seconds_ago: int) -> PackSealed:
    """A sealed pack of one instance that was received with another SHA-256 than its bytes have."""
    dataset = ct_slice()
    whole = part10(dataset)
    body = whole[144 + int.from_bytes(whole[140:144], "little") :]
    message = sealed_pack(spool, "p1", [dataset], seconds_ago=seconds_ago)
    header = write_part10_header(
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
        dataset.file_meta.TransferSyntaxUID,
        source_aet="CT1",
        sha256=digest,
    )
    (spool / message.path).unlink()
    files = [Part10File(str(dataset.SOPInstanceUID), header + body)]
    write_pack(spool / message.path, files, received_at=message.received_at)
    return message


def received_pack(spool: Path, datasets: list, *, corrupt: set[int]) -> PackSealed:
    """A sealed pack of which some members have another SHA-256 than was received."""
    message = sealed_pack(spool, "p1", datasets, seconds_ago=90)
    (spool / message.path).unlink()
    files = []
    for number, dataset in enumerate(datasets):
        uid, body = str(dataset.SOPInstanceUID), dataset_bytes(part10(dataset))
        digest = hashlib.sha256(b"other" if number in corrupt else body).digest()
        files.append(Part10File(uid, write_part10_header(CT, uid, EXPLICIT, sha256=digest) + body))
    write_pack(spool / message.path, files, received_at=message.received_at)
    return message


@pytest.mark.parametrize("corrupt", [{1}, {0}, {2}, {0, 1, 2}], ids=str)
async def test_a_member_whose_bytes_changed_is_set_aside_and_the_others_are_stored(
    tmp_path, datasets, store, bus, stored, corrupt
) -> None:
    message = received_pack(tmp_path / "spool", datasets, corrupt=corrupt)
    await store(message)
    await bus.close()
    assert [file.name for file in (tmp_path / "spool" / message.path).parent.iterdir()] == ["p1.tar.damaged"]
    objects, found = FolderObjects(tmp_path / "objects"), []
    for pack in stored:
        found += [line.identity.sop_uid for line in sidecar.decode(await objects.get(*pack.sidecar))[1]]
    assert found == [str(d.SOPInstanceUID) for number, d in enumerate(datasets) if number not in corrupt]


async def test_a_pack_that_is_whole_but_is_refused_for_another_reason_stays(tmp_path, datasets, store) -> None:
    class Refusing(FolderObjects):
        async def put_file(self, *_: object) -> None:
            raise sidecar.Invalid("for a reason of ours")

    message = received_pack(tmp_path / "spool", datasets, corrupt=set())
    with pytest.raises(sidecar.Invalid, match="of ours"):
        await store(message, objects=Refusing(tmp_path / "refusing"))
    assert (tmp_path / "spool" / message.path).exists()


def test_what_has_just_come_in_is_not_hashed_again(tmp_path) -> None:
    digest = hashlib.sha256(b"what was received").digest()
    message = pack_with_digest(tmp_path / "spool", digest, seconds_ago=0)
    stored = PackStored(**message.model_dump())
    (line,) = sidecar.decode(separate_sidecar(tmp_path / "spool" / message.path, stored))[1]
    assert line.sha256 == digest


def test_what_came_by_http_is_hashed_however_young_it_is(tmp_path) -> None:
    digest = hashlib.sha256(b"before some tool changed it").digest()
    message = pack_with_digest(tmp_path / "spool", digest, seconds_ago=0)
    stored = PackStored(**message.model_dump() | {"origin": Origin.HTTP})
    (line,) = sidecar.decode(separate_sidecar(tmp_path / "spool" / message.path, stored))[1]
    assert line.sha256 != digest


async def test_nothing_is_released_while_the_object_store_is_down(tmp_path, datasets, store) -> None:
    class Down(FolderObjects):
        async def put_file(self, *_: object) -> None:
            raise ObjectsUnavailable("down")

    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    with pytest.raises(ObjectsUnavailable):
        await store(message, objects=Down(tmp_path / "down"))
    assert (tmp_path / "spool" / message.path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("error", [sidecar.Invalid("(0028,0010): cut off"), RecursionError("(0028,0010): cut off")])
async def test_a_header_that_cannot_be_read_to_its_end_keeps_the_instance_and_is_marked(
    tmp_path, datasets, error
) -> None:
    message = sealed_pack(tmp_path / "spool", "p1", datasets[:1])

    class Broken(HeaderReader):
        def read(self, *_: object) -> object:
            raise error

    built = sidecar.build(tmp_path / "spool" / message.path, PackStored(**message.model_dump()), Broken())
    (line,) = sidecar.decode(built.tail.data[BLOCK:])[1]
    assert built.unread == 1
    assert "(0028,0010): cut off" in line.header.unread
    assert orjson.loads(line.header.json)["00080018"]["Value"] == [str(datasets[0].SOPInstanceUID)]
