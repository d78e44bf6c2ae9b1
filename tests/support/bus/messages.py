"""Messages of invented packs, and queues that no other test uses."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from osteon.contracts.base import Message
from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.contracts.packs import Origin, PackIndexed, PackSealed
from osteon.contracts.topology import Queue, RpcQueue, writer_queue
from osteon.errors import OsteonError

T = TypeVar("T", bound=Message)
_numbers = itertools.count(1)
_FACTS: dict[str, Any] = {
    "study_uid": "2.25.1",
    "series_uid": "2.25.2",
    "origin": Origin.DIMSE,
    "received_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "instances": 1,
    "size": 512,
}


def work_queue() -> Queue[PackSealed]:
    """Return a work queue of its own."""
    return writer_queue(f"test-{uuid.uuid4().hex[:12]}")


def sealed(queue: Queue[PackSealed], name: str = "") -> PackSealed:
    """Return a message that `queue` takes."""
    spool = queue.routing_key.removeprefix("pack.sealed.")
    name = name or f"pack-{next(_numbers)}"
    return PackSealed(correlation_id=f"c-{name}", pack_id=name, spool_id=spool, path=f"{name}.tar", **_FACTS)


def indexed(name: str = "") -> PackIndexed:
    """Return an event."""
    name = name or f"pack-{next(_numbers)}"
    return PackIndexed(correlation_id=f"c-{name}", pack_id=name, stored=1, **_FACTS)


def rpc_queue() -> RpcQueue[FindPageRequest, FindPageReply]:
    """Return a queue of requests of its own."""
    return RpcQueue(f"test.find.{uuid.uuid4().hex[:12]}", FindPageRequest, FindPageReply)


def find(identifier: bytes = b"\x08\x00\x52\x00") -> FindPageRequest:
    """Return a request."""
    return FindPageRequest(
        correlation_id="c-find",
        sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
        transfer_syntax_uid="1.2.840.10008.1.2",
        identifier=identifier,
        called_aet="OSTEON",
    )


async def failure_of(request: Awaitable[object]) -> OsteonError:
    """Return the error with which a handler refuses a request."""
    with pytest.raises(OsteonError) as caught:
        await request
    return caught.value


async def eventually(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Return once `condition` holds; a limit so that a broken test ends, not a measurement."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
