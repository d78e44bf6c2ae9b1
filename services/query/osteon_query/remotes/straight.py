"""Files that are sent to a modality without being stored here: `dispatcher` finds them in the object store."""

import asyncio
import mmap
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Final

from starlette.requests import Request

from osteon.dicom.part10 import read_part10
from osteon.objects.keys import CACHE
from osteon.remotes.job_params import StraightStoreParams
from osteon.remotes.port import Modality
from osteon_query.dicomweb.stow import UPLOAD_LIMIT
from osteon_query.http.bodies import limited, write_file
from osteon_query.http.context import Door, correlation_id
from osteon_query.packs.part10 import examine

_PREFIX: Final = f"{CACHE}transcoded/straight-"
"""Among the copies that `imaging` deletes when they are old and nobody has taken them."""


async def straight_order(request: Request, door: Door, modality: Modality) -> StraightStoreParams:
    """Put the file in the body where `dispatcher` finds it, and return the order to send it; raises `Invalid`."""
    remote = request.client.host if request.client else ""
    async with (
        door.uploads.open(correlation_id(request), remote) as taken,
        aclosing(limited(request, door.settings.max_upload_bytes, UPLOAD_LIMIT)) as body,
    ):
        path = taken.new_path()
        await write_file(body, path)
        identity, size, _ = await asyncio.to_thread(examine, path)
        syntax = await asyncio.to_thread(_syntax, path)
        key = f"{_PREFIX}{uuid.uuid4().hex}.dcm"
        await door.objects.put_file(key, path)
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
