"""The rows of a pack: what the index takes from the lines of its sidecar."""

import asyncio
from dataclasses import replace

from osteon.archive.pack_records import InstanceEntry, StoredPack
from osteon.contracts.packs import PackStored
from osteon.dicom.attributes import held_values, request_attributes
from osteon.dicom.header.load import load_header
from osteon.objects.port import Objects
from osteon.packs import sidecar
from osteon.packs.sidecar_member import find_sidecar


async def find_stored_pack(key: str, size: int, objects: Objects) -> StoredPack:
    """Return what the index needs of the pack `key`, of which only the length is known.

    Raises `ObjectNotFound` and `BadSidecar`.
    """
    found = await find_sidecar(key, size, objects)
    pack = await asyncio.to_thread(read_stored_pack, found.data)
    if found.offset is None:
        if pack.facts.size != size:
            raise sidecar.BadSidecar(f"pack {key} has {size} bytes, its sidecar says {pack.facts.size}")
        return pack
    return replace(pack, facts=pack.facts.model_copy(update={"size": size, "sidecar_offset": found.offset}))


def read_stored_pack(data: bytes, message: PackStored | None = None) -> StoredPack:
    """Return what the index needs of a pack, under the facts of `message` or, without one, of its heading line.

    Raises `BadSidecar`, also when instances are missing: zstd does not report that its input was truncated.
    """
    facts, lines = sidecar.decode(data)
    entries = [to_entry(line) for line in lines]
    if len(entries) != facts.instances:
        raise sidecar.BadSidecar(f"pack {facts.pack_id} has {facts.instances} instances, its sidecar {len(entries)}")
    return StoredPack(message or facts, entries)


def to_entry(line: sidecar.SidecarLine) -> InstanceEntry:
    """Return what the index needs of one instance."""
    header = load_header(line.header.json)
    return InstanceEntry(
        identity=line.identity,
        transfer_syntax_uid=line.transfer_syntax_uid,
        offset=line.offset,
        length=line.length,
        sha256=line.sha256,
        xxh3=line.xxh3,
        attributes=held_values(header),
        requests=request_attributes(header),
    )
