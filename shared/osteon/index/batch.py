"""What all steps of one transaction share: the batch, its members, and an instance's row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.pack_records import InstanceEntry, InstanceState
from osteon.dicom.identity import parse_public_id
from osteon.dicom.models import Level
from osteon.index.dialect import Dialect
from osteon.index.fields import LEVEL_FIELDS, FieldKind
from osteon.index.parent_rows import Parents

_NUMBERS = tuple(field for field in LEVEL_FIELDS[Level.IMAGE] if field.kind is FieldKind.NUMBER)


@dataclass(slots=True)
class BatchMember:
    """One instance of a pack on its way; `pack` and `instance` are rows, the latter is the one that serves its UID."""

    pack: int
    pack_id: str
    entry: InstanceEntry
    state: InstanceState | None = None
    instance: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What all steps of one transaction need. `newest`: of undecided versions the last to arrive is served."""

    connection: AsyncConnection
    dialect: Dialect
    uids: dict[str, int]
    now: datetime
    newest: bool = False


def instance_row(batch: Batch, member: BatchMember, parents: Parents) -> dict[str, Any]:
    """Return the columns of an instance's row."""
    entry = member.entry
    row: dict[str, Any] = {
        "series": parents.series_row(entry.identity),
        "pack": member.pack,
        "byte_offset": entry.offset,
        "byte_length": entry.length,
        "sop_class": batch.uids[entry.identity.sop_class_uid],
        "transfer_syntax": batch.uids[entry.transfer_syntax_uid],
        "public_id": parse_public_id(entry.identity.public_instance),
        "sha256": entry.sha256,
        "xxh3": entry.xxh3 or None,
        "sop_instance_uid": entry.identity.sop_uid,
    }
    for field in _NUMBERS:
        row |= field.store(entry.attributes.get(field.keyword))
    return row
