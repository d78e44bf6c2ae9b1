"""Takes the data set of one C-STORE: in memory while it is small, into its pack piece by piece when it is not."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from osteon.contracts.packs import Origin
from osteon.dicom.identity import MissingIdentifier
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.errors import Invalid, OsteonError, Unavailable
from osteon.logging import get_logger
from osteon.packs.errors import WrongInstance
from osteon.packs.refusal import count_refusal
from osteon.spool.ack_policy import AckPolicy
from osteon.spool.buffer_pool import LARGE, BufferPool
from osteon.spool.errors import SpoolFailed
from osteon.spool.group_commit import CommitQueue
from osteon.spool.incoming_instance import IncomingInstance
from osteon.spool.open_pack import MemberStream, WriteReceipt
from osteon.spool.open_packs import OpenPacks

_COMMENT: Final = 64
"""Characters of Error Comment (0000,0902), an LO."""

T = TypeVar("T")
log = get_logger(__name__)


class InstanceSink:
    """An `osteon.dimse.handler.StoreSink`. `received` counts the bytes of the data set."""

    def __init__(
        self,
        instance: IncomingInstance,
        packs: OpenPacks,
        queue: CommitQueue,
        buffers: BufferPool,
        ack_policy: AckPolicy,
    ) -> None:
        self.received = 0
        self._instance = instance
        self._packs = packs
        self._queue = queue
        self._buffers = buffers
        self._ack_policy = ack_policy
        self._buffer: bytearray | None = None
        self._filled = 0
        self._streaming = False
        self._stream: MemberStream | None = None  # belongs to the thread of the queue
        self._last_write: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None

    def write(self, fragment: memoryview) -> Awaitable[None] | None:
        """Take the next bytes; what is returned is done when the disk has caught up."""
        self.received += len(fragment)
        if self._failure is not None:
            return None
        waiting = None
        while size := len(fragment):
            size = min(size, LARGE - self._filled)
            end = self._filled + size
            buffer = self._buffer
            if buffer is None or end > len(buffer):
                buffer = self._buffer = self._grown(buffer, end)
            # Assigning to a slice of a bytearray would copy twice.
            memoryview(buffer)[self._filled : end] = fragment[:size]
            self._filled = end
            self._buffers.charge(size)
            if self._filled >= self._buffers.threshold:
                waiting = self._flush()
            fragment = fragment[size:]
        return waiting

    async def finish(self) -> Outcome:
        """Return success once the instance is on the disk (and indexed, if so set), otherwise why it is not stored."""
        try:
            await self._store()
        except Exception as error:
            return self._refuse(error)
        return Outcome(Status.SUCCESS)

    def abort(self) -> None:
        """Discard the instance: its C-STORE will not be completed."""
        if self._buffer is not None:
            self._buffers.uncharge(self._filled)
            self._buffers.release(self._buffer)
            self._buffer = None
        if self._streaming:
            self._queue.submit(self._drop)

    def _grown(self, before: bytearray | None, size: int) -> bytearray:
        """Return a buffer for `size` bytes, with what was in the one before."""
        buffer = self._buffers.acquire(size)
        if before is not None:
            memoryview(buffer)[: self._filled] = memoryview(before)[: self._filled]
            self._buffers.release(before)
        return buffer

    def _flush(self) -> Awaitable[None] | None:
        """Write what is buffered; wait for the piece before it, so that two are in memory at most."""
        future = self._submit(self._extend if self._streaming else self._begin)
        self._streaming = True
        before, self._last_write = self._last_write, future
        return None if before is None or before.done() else _wait(before)

    async def _store(self) -> None:
        future = self._submit(self._end if self._streaming else self._append)
        await asyncio.wait([future])
        if self._failure is not None:  # the first of all pieces that failed, which says why
            raise self._failure
        receipt = future.result()
        if not receipt.is_durable:
            raise SpoolFailed(f"not durable on disk: {receipt.pack.file.broken}")
        await self._ack_policy.wait(receipt.pack)

    def _submit(self, work: Callable[[memoryview], T]) -> asyncio.Future[T]:
        """Hand what is in the buffer to the disk's thread; the buffer comes back when that is done."""
        buffer, size = self._buffer or bytearray(), self._filled
        self._buffer, self._filled = None, 0
        future = self._queue.submit(partial(work, memoryview(buffer)[:size]))
        future.add_done_callback(lambda done: self._after_write(done, buffer, size))
        return future

    def _after_write(self, future: asyncio.Future[Any], buffer: bytearray, size: int) -> None:
        self._buffers.uncharge(size)
        if buffer:
            self._buffers.release(buffer)
        if not future.cancelled():
            error = future.exception()
            self._failure = self._failure or error

    def _append(self, data: memoryview) -> WriteReceipt:
        return self._packs.append(self._instance, data)

    def _begin(self, data: memoryview) -> None:
        self._stream = self._packs.begin(self._instance, data)

    def _extend(self, data: memoryview) -> None:
        if self._stream is not None and not self._stream.ended:
            self._packs.extend(self._stream, data)

    def _end(self, data: memoryview) -> WriteReceipt:
        if self._stream is None or self._stream.ended:
            raise SpoolFailed("an earlier piece of the instance was not stored")
        return self._packs.end(self._stream, data)

    def _drop(self) -> None:
        if self._stream is not None:
            self._packs.abort(self._stream)

    def _refuse(self, error: Exception) -> Outcome:
        count_refusal(Origin.DIMSE, error)
        if isinstance(error, OsteonError):
            log.warning("instance refused", instance=self._instance.sop_uid, error=str(error))
        else:
            log.error("instance not stored", instance=self._instance.sop_uid, exc_info=error)
        return outcome_of(error)


def outcome_of(error: Exception) -> Outcome:
    """Choose the status of a C-STORE that failed (PS3.4 B.2.3) from the error's type."""
    match error:
        case WrongInstance() | MissingIdentifier():
            status = Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        case Invalid():
            status = Status.UNABLE_TO_PROCESS
        case Unavailable() | OSError():
            status = Status.OUT_OF_RESOURCES
        case _:
            return Outcome(Status.PROCESSING_FAILURE, "internal error, see the log")
    return Outcome(status, str(error)[:_COMMENT])


async def _wait(future: asyncio.Future[None]) -> None:
    await asyncio.wait([future])
