"""Pictures that become pixel data: `imaging` decodes them, as they may be hostile."""

import asyncio
import uuid
from pathlib import Path
from typing import Final

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.imaging import DecodeReply, DecodeRequest
from osteon.contracts.topology import DECODE
from osteon.errors import FailureKind
from osteon.objects.keys import CACHE
from osteon.objects.port import Objects
from osteon_query.http.errors import BadParameter, TranscodeUnavailable

_PREFIX: Final = f"{CACHE}transcoded/picture-"
"""Where `imaging` deletes what is old and unused."""
_SECONDS: Final = 120.0


async def decode_picture(bus: Bus, objects: Objects, content: bytes, path: Path, correlation_id: str) -> DecodeReply:
    """Write the samples of a PNG or JPEG picture to a new file, and return how they lie there.

    Raises `BadParameter` when it cannot be decoded, `TranscodeUnavailable` when `imaging` does not answer.
    """
    key = f"{_PREFIX}{uuid.uuid4().hex}"
    await asyncio.to_thread(path.write_bytes, content)
    try:
        await objects.put_file(key, path)
        message = DecodeRequest(correlation_id=correlation_id, key=key, length=len(content))
        reply = await bus.request(DECODE, message, timeout=_SECONDS)
    except RequestFailed as error:
        if error.kind in (FailureKind.UNAVAILABLE, FailureKind.TIMEOUT):
            raise TranscodeUnavailable(f"the picture cannot be decoded now: {error}") from error
        raise BadParameter(f"Content: {error}") from error
    finally:
        await objects.delete(key)
    try:
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in objects.stream(reply.key):
                await asyncio.to_thread(file.write, chunk)
    finally:
        await objects.delete(reply.key)
    return reply
