"""Requests to DICOMweb servers for `query`: what they answer goes into an object, so that its length is no matter."""

import asyncio
import uuid
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from osteon.bus.port import Bus
from osteon.contracts.remote import (
    DicomWebDeleteReply,
    DicomWebDeleteRequest,
    DicomWebGetReply,
    DicomWebGetRequest,
)
from osteon.contracts.topology import DICOMWEB_DELETE, DICOMWEB_GET
from osteon.objects.keys import CACHE
from osteon.objects.port import Objects
from osteon.remotes.port import Remotes
from osteon_dispatcher.peer_client import PeerPolicy, open_peer

_PREFIX: Final = f"{CACHE}transcoded/fetched-"
"""Where `imaging` deletes what nobody has fetched."""


async def serve(bus: Bus, remotes: Remotes, objects: Objects, folder: Path, policy: PeerPolicy) -> None:
    """Answer these requests."""
    await bus.serve(DICOMWEB_GET, partial(get, remotes=remotes, objects=objects, folder=folder, policy=policy))
    await bus.serve(DICOMWEB_DELETE, partial(delete, remotes=remotes, policy=policy))


async def get(
    message: DicomWebGetRequest, *, remotes: Remotes, objects: Objects, folder: Path, policy: PeerPolicy
) -> DicomWebGetReply:
    """GET. Raises `PeerUnavailable`, `RemoteNotFound`, `Invalid`."""
    peer = await remotes.peer(message.peer)
    key = f"{_PREFIX}{uuid.uuid4().hex}"
    with TemporaryDirectory(prefix="fetched-", dir=folder) as name:
        path = Path(name) / "body"
        async with (
            open_peer(peer, policy) as client,
            client.download(message.path, message.headers, message.parameters) as answer,
        ):
            with await asyncio.to_thread(path.open, "xb") as file:
                async for chunk in answer.chunks:
                    await asyncio.to_thread(file.write, chunk)
                length = file.tell()
        await objects.put_file(key, path)
    return DicomWebGetReply(
        correlation_id=message.correlation_id,
        status=answer.status,
        content_type=answer.content_type,
        key=key,
        length=length,
    )


async def delete(message: DicomWebDeleteRequest, *, remotes: Remotes, policy: PeerPolicy) -> DicomWebDeleteReply:
    """DELETE. Raises `PeerUnavailable`, `PeerRefused`, `RemoteNotFound`."""
    peer = await remotes.peer(message.peer)
    async with open_peer(peer, policy) as client:
        client.check(await client.delete(message.path))
    return DicomWebDeleteReply(correlation_id=message.correlation_id)
