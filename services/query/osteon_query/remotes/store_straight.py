"""Files that are sent to a modality without being stored here: `dispatcher` finds them in the object store."""

import asyncio
import mmap
import uuid
from pathlib import Path
from typing import Final

from starlette.requests import Request

from osteon.dicom.part10 import read_part10
from osteon.objects.keys import CACHE
from osteon.remotes.job_params import StraightStoreParams
from osteon.remotes.port import Modality
from osteon_query.app_state import AppState, open_upload
from osteon_query.packs.body_files import write_file
from osteon_query.packs.part10 import examine

_PREFIX: Final = f"{CACHE}transcoded/straight-"
"""Among the copies that `imaging` deletes when they are old and unused."""


async def upload_for_store(request: Request, state: AppState, modality: Modality) -> StraightStoreParams:
    """Put the file in the body where `dispatcher` finds it, and return the order to send it; raises `Invalid`."""
    async with open_upload(request, state) as (upload, body):
        path = upload.new_path()
        await write_file(body, path)
        identity, size, _ = await asyncio.to_thread(examine, path, state.uploads.reader)
        syntax = await asyncio.to_thread(_syntax, path)
        key = f"{_PREFIX}{uuid.uuid4().hex}.dcm"
        await state.objects.put_file(key, path)
    return StraightStoreParams(
        modality=modality.name,
        key=key,
        length=size,
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_uid,
        transfer_syntax_uid=syntax,
    )


def _syntax(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read_part10(mapped).transfer_syntax_uid
