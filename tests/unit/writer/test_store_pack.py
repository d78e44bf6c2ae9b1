"""The writer turns sealed packs into objects, and loses none on the way."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import orjson
import pytest
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
from osteon_writer.handlers import store_sealed
from support.dicom.datasets import ct_slice
from support.dicom.real_files import dataset_bytes
from support.packs.sealed_packs import part10, sealed_pack
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
    assert await objects.size(message.key) == message.size
    facts, lines = sidecar.decode(await objects.get(message.sidecar_key))
    assert [facts] == stored == [PackStored.model_validate(message.model_dump())]
    assert not (tmp_path / "spool" / message.path).exists()
    for line, dataset in zip(lines, datasets, strict=True):
        file = await objects.get_range(message.key, line.offset, line.length)
        assert file == part10(dataset)
        assert line.sha256 == hashlib.sha256(file[line.dataset_offset :]).digest()
        assert orjson.loads(line.header.json)["00200013"]["Value"] == [int(dataset.InstanceNumber)]


async def test_a_pack_that_was_stored_before_is_announced_again(tmp_path, datasets, store, bus, stored) -> None:
    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    await store(message)
    await store(message)
    await bus.close()
    assert len(stored) == 2


async def test_a_pack_that_was_deleted_as_redundant_meanwhile_is_no_error(tmp_path, datasets, store, bus, stored):
    message = sealed_pack(tmp_path / "spool", "p1", datasets)
    await store(message)
    objects = FolderObjects(tmp_path / "objects")
    await objects.delete(message.sidecar_key)
    await objects.delete(message.key)
    await store(message)
    await bus.close()
    assert [pack.pack_id for pack in stored] == ["p1", "p1"]


async def test_a_file_that_was_released_while_it_was_read_is_tried_again(tmp_path, datasets, store, bus, stored):
    message = sealed_pack(tmp_path / "spool", "p1", datasets)

    class Released(FolderObjects):
        async def put_file(self, key: str, path: Path) -> None:
            path.unlink()
            await super().put_file(key, path)

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
        found += [line.identity.sop_uid for line in sidecar.decode(await objects.get(pack.sidecar_key))[1]]
    assert found == [str(d.SOPInstanceUID) for number, d in enumerate(datasets) if number not in corrupt]


async def test_a_pack_that_is_whole_but_is_refused_for_another_reason_stays(tmp_path, datasets, store) -> None:
    class Refusing(FolderObjects):
        async def put_file(self, key: str, path: Path) -> None:
            raise sidecar.Invalid("for a reason of ours")

    message = received_pack(tmp_path / "spool", datasets, corrupt=set())
    with pytest.raises(sidecar.Invalid, match="of ours"):
        await store(message, objects=Refusing(tmp_path / "refusing"))
    assert (tmp_path / "spool" / message.path).exists()


def test_what_has_just_come_in_is_not_hashed_again(tmp_path) -> None:
    digest = hashlib.sha256(b"what was received").digest()
    message = pack_with_digest(tmp_path / "spool", digest, seconds_ago=0)
    stored = PackStored(**message.model_dump())
    (line,) = sidecar.decode(sidecar.build(tmp_path / "spool" / message.path, stored, HeaderReader()).data)[1]
    assert line.sha256 == digest


def test_what_came_by_http_is_hashed_however_young_it_is(tmp_path) -> None:
    digest = hashlib.sha256(b"before some tool changed it").digest()
    message = pack_with_digest(tmp_path / "spool", digest, seconds_ago=0)
    stored = PackStored(**message.model_dump() | {"origin": Origin.HTTP})
    (line,) = sidecar.decode(sidecar.build(tmp_path / "spool" / message.path, stored, HeaderReader()).data)[1]
    assert line.sha256 != digest


async def test_nothing_is_released_while_the_object_store_is_down(tmp_path, datasets, store) -> None:
    class Down(FolderObjects):
        async def put_file(self, key: str, path: Path) -> None:
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
    (line,) = sidecar.decode(built.data)[1]
    assert built.unread == 1
    assert "(0028,0010): cut off" in line.header.unread
    assert orjson.loads(line.header.json)["00080018"]["Value"] == [str(datasets[0].SOPInstanceUID)]
