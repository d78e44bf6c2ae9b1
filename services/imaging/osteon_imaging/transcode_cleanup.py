"""Transcoded files in the object store: named once each, and deleted when nobody did so in time."""

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
    """Delete transcoded files older than `age`, whoever made them; return how many."""
    deleted, oldest = 0, datetime.now(UTC) - age
    async for info in objects.list(PREFIX):
        if info.modified < oldest:
            await objects.delete(info.key)
            deleted += 1
    return deleted


async def delete_expired_forever(objects: Objects, seconds: float) -> None:
    """Clean twice in the life of a file."""
    while True:
        try:
            if deleted := await delete_expired(objects, timedelta(seconds=seconds)):
                log.info("transcoded files that nobody deleted are gone", files=deleted)
        except OsteonError as error:
            log.warning("transcoded files not cleaned up", reason=str(error))
        await asyncio.sleep(seconds / 2)
