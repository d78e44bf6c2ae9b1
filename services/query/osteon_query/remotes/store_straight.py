"""Files that are sent elsewhere without being stored here: `dispatcher` finds them in the object store."""

import asyncio
import mmap
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request

from osteon.dicom.identity import Identity
from osteon.dicom.part10 import read_part10
from osteon.objects.keys import CACHE
from osteon_query.app_state import AppState, open_upload
from osteon_query.packs.body_files import write_file
from osteon_query.packs.part10 import examine

_PREFIX: Final = f"{CACHE}transcoded/straight-"
"""Among the copies that `imaging` deletes when they are old and unused."""


@dataclass(frozen=True, slots=True)
class PassingFile:
    """The object `key` of `length` bytes, which is a Part 10 file."""

    key: str
    length: int
    identity: Identity
    transfer_syntax_uid: str


async def receive_passing_file(request: Request, state: AppState) -> PassingFile:
    """Put the file in the body where `dispatcher` finds it; raises `Invalid`."""
    async with open_upload(request, state) as (upload, body):
        file = await write_file(body, upload.new_path())
        identity, size, _ = await asyncio.to_thread(examine, file, state.uploads.reader)
        syntax = await asyncio.to_thread(_syntax, file.path)
        key = f"{_PREFIX}{uuid.uuid4().hex}.dcm"
        await state.objects.put_file(key, file.path)
    return PassingFile(key, size, identity, syntax)


def _syntax(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read_part10(mapped).transfer_syntax_uid
