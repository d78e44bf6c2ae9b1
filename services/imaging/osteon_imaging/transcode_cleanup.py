"""Transcoded files in the object store: each has its own key, and is deleted when its requester did not do so."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.objects.keys import CACHE
from osteon.objects.port import Objects

log = get_logger(__name__)
PREFIX: Final = f"{CACHE}transcoded/"


def new_key() -> str:
    """Return a key that no other request gets."""
    return f"{PREFIX}{uuid.uuid4().hex}.dcm"


async def delete_expired(objects: Objects, age: timedelta) -> int:
    """Delete transcoded files older than `age`, those of other replicas too; return how many."""
    deleted, oldest = 0, datetime.now(UTC) - age
    async for info in objects.list(PREFIX):
        if info.modified < oldest:
            await objects.delete(info.key)
            deleted += 1
    return deleted


async def delete_expired_forever(objects: Objects, seconds: float) -> None:
    """Delete expired files, twice in the life of a file."""
    while True:
        try:
            if deleted := await delete_expired(objects, timedelta(seconds=seconds)):
                log.info("abandoned transcoded files deleted", files=deleted)
        except OsteonError as error:
            log.warning("cleanup of transcoded files failed", reason=str(error))
        await asyncio.sleep(seconds / 2)
