"""From the lines of a sidecar to what the index takes."""

import orjson

from osteon.archive.pack_records import InstanceEntry, StoredPack
from osteon.contracts.packs import PackStored
from osteon.dicom.attributes import held_values, request_attributes
from osteon.packs import sidecar


def read_stored_pack(data: bytes, message: PackStored | None = None) -> StoredPack:
    """Turn a sidecar into what the index needs, under the facts of `message` or, without one, of its heading line.

    Raises `BadSidecar`, also when instances are missing: zstd does not tell that its input was cut.
    """
    facts, lines = sidecar.decode(data)
    entries = [to_entry(line) for line in lines]
    if len(entries) != facts.instances:
        raise sidecar.BadSidecar(f"pack {facts.pack_id} has {facts.instances} instances, its sidecar {len(entries)}")
    return StoredPack(message or facts, entries)


def to_entry(line: sidecar.SidecarLine) -> InstanceEntry:
    """Turn one line."""
    header = orjson.loads(line.header.json)
    return InstanceEntry(
        identity=line.identity,
        transfer_syntax_uid=line.transfer_syntax_uid,
        offset=line.offset,
        length=line.length,
        sha256=line.sha256,
        attributes=held_values(header),
        requests=request_attributes(header),
    )
