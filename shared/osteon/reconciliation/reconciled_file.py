"""Making the file of a reconciled instance from the file as it was received."""

import hashlib
import mmap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from osteon.dicom.attribute_patch import replace_attributes
from osteon.dicom.part10 import read_part10, write_part10_header
from osteon.dicom.peek import peek_identity


def write_reconciled_file(
    source: Path, offset: int, length: int, elements: Mapping[str, Mapping[str, Any]], target: Path
) -> bytes:
    """Write the Part 10 file at `offset` of `source`, `length` bytes, with other `elements` (DICOM JSON) to `target`.

    Returns the SHA-256 of the new data set: the same input always gives the same. In constant memory, as long as no
    other character set is needed. Blocks: call it in a thread. Raises `BadDataSet` and `BadPart10`.
    """
    with source.open("rb") as file:
        # Not closed explicitly: an error's traceback may still hold views of it, which would make closing fail.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(mapped)[offset : offset + length]
    meta = read_part10(view)
    data_set = view[meta.data_set_offset :]
    identity = peek_identity(data_set, meta.transfer_syntax_uid, complete=True)
    assert identity is not None
    head = partial(
        write_part10_header,
        identity.sop_class_uid,
        identity.sop_uid,
        meta.transfer_syntax_uid,
        source_aet=meta.source_aet,
        sending_aet=meta.sending_aet,
        receiving_aet=meta.receiving_aet,
    )
    digest = hashlib.sha256()
    with target.open("xb") as out:
        out.write(head())
        for piece in replace_attributes(data_set, meta.transfer_syntax_uid, elements):
            digest.update(piece)
            out.write(piece)
        out.seek(0)
        out.write(head(sha256=digest.digest()))
    return digest.digest()
