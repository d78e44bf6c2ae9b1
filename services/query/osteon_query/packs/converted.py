"""Instances in the transfer syntaxes that a client asks for: as stored, or transcoded by `imaging` a few ahead."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from osteon import metrics
from osteon.archive.resources import Location
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.pixels.registry import CODECS
from osteon.dicom.to_explicit_vr import to_explicit_vr
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Bytes, Objects
from osteon.sending.prefetch import MemoryBudget, Prefetcher
from osteon.sending.transcoder import LossyPolicy, NotTranscoded, Transcoder
from osteon_query.http.errors import NotAcceptable, NotConvertedNow
from osteon_query.packs.retrieval import Begins, read_range

_AHEAD: Final = 4
"""Instances of one request that are transcoded while earlier ones are sent: what they give is in the object store."""
_SMALL: Final = 4 << 20
"""Bytes of an instance that is put into explicit VR here, in memory, rather than by `imaging`."""
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """An instance, and the transfer syntaxes to try, the best first; without any it is taken as stored."""

    location: Location
    targets: tuple[str, ...] = ()
    as_stored: bool = True
    """Whether it may come as stored when none of them can be made."""


@dataclass(frozen=True, slots=True)
class PartFile:
    """A Part 10 file ready to be read; `passing`: nobody else needs the object. It may be in memory, as `data`."""

    key: str
    offset: int
    length: int
    transfer_syntax_uid: str
    location: Location
    passing: bool = False
    data: bytes = b""

    @classmethod
    def of(cls, location: Location) -> "PartFile":
        """Return the file as it is stored."""
        return cls(location.key, location.offset, location.length, location.transfer_syntax_uid, location)

    async def read(self, objects: Objects) -> AsyncGenerator[Bytes, None]:
        """Yield the file in chunks; raises `Unreadable`."""
        if self.data:
            yield self.data
            return
        async with aclosing(read_range(objects, self.key, self.offset, self.length)) as chunks:
            async for chunk in chunks:
                yield chunk


def makeable(stored: str, target: str) -> bool:
    """Whether instances of one transfer syntax can come in another, as far as the transfer syntaxes alone tell."""
    source, wanted = TRANSFER_SYNTAXES.get(stored), CODECS.get(target)
    if source is None or wanted is None or (source.encapsulated and stored not in CODECS):
        return False
    return bool(wanted.lossless or wanted.lossy or stored in wanted.rewraps)


async def convert(objects: Objects, transcoder: Transcoder, wish: Wish, correlation_id: str = "") -> PartFile:
    """Return an instance as it is wished.

    Raises `NotAcceptable` when it can not be made and may not come as stored, `NotConvertedNow` when `imaging` does not
    answer.
    """
    at = wish.location
    if not wish.targets:
        return PartFile.of(at)
    if _only_heads(wish) and (made := await _explicit(objects, at)) is not None:
        return made
    try:
        done = await transcoder.transcode(_planned(at, correlation_id), wish.targets)
    except NotTranscoded as error:
        if error.transient:
            raise NotConvertedNow(f"instance {at.identity.sop_uid} {error}") from error
        if not wish.as_stored:
            raise NotAcceptable(
                f"instance {at.identity.sop_uid}, stored in transfer syntax {at.transfer_syntax_uid}, {error}. "
                "Accept transfer-syntax=* takes it as stored"
            ) from error
        log.warning("sent as stored", instance=at.identity.sop_uid, reason=str(error))
        return PartFile.of(at)
    return PartFile(done.key, 0, done.length, done.transfer_syntax_uid, at, passing=True)


def _only_heads(wish: Wish) -> bool:
    """Whether an instance is small, and the heads of its elements are all that changes."""
    at = wish.location
    native = at.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN and wish.targets[0] == EXPLICIT_VR_LITTLE_ENDIAN
    return native and at.length <= _SMALL


async def _explicit(objects: Objects, at: Location) -> PartFile | None:
    """Return an instance in explicit VR; None when that fails, then `imaging` says why."""
    try:
        data = await objects.get_range(at.key, at.offset, at.length)
        made = await asyncio.to_thread(to_explicit_vr, data)
    except (NotFound, Invalid) as error:
        log.info("left to imaging", instance=at.identity.sop_uid, reason=str(error))
        return None
    return PartFile("", 0, len(made), EXPLICIT_VR_LITTLE_ENDIAN, at, data=made)


async def read_wishes(
    objects: Objects, transcoder: Transcoder, wishes: AsyncIterator[Wish], *, way: str, correlation_id: str = ""
) -> AsyncGenerator[Begins[PartFile] | Bytes, None]:
    """Yield each instance's file in order, then its bytes in chunks. What was transcoded is deleted afterwards."""
    counter = metrics.HTTP_BYTES_SENT.labels(way)
    begun: set[str] = set()

    async def work(wish: Wish) -> PartFile:
        file = await convert(objects, transcoder, wish, correlation_id)
        if file.passing:
            begun.add(file.key)
        return file

    async def steps() -> AsyncGenerator[tuple[int, Callable[[], Awaitable[PartFile]]], None]:
        async for wish in wishes:
            yield 1, partial(work, wish)

    try:
        async with aclosing(Prefetcher[PartFile](MemoryBudget(_AHEAD), _AHEAD).run(steps())) as files:
            async for file in files:
                metrics.HTTP_ITEMS_SENT.labels(way).inc()
                yield Begins(file)
                async with aclosing(file.read(objects)) as chunks:
                    async for chunk in chunks:
                        counter.inc(len(chunk))
                        yield chunk
                if file.passing:
                    begun.discard(file.key)
                    transcoder.forget(file.key)
    finally:
        for key in begun:
            transcoder.forget(key)


LOSSY: Final = LossyPolicy(syntaxes=tuple(uid for uid, codec in CODECS.items() if codec.lossy and not codec.lossless))
"""Transfer syntaxes that have no lossless encoder: a client that names one accepts the loss."""


def _planned(at: Location, correlation_id: str) -> PlannedInstance:
    return PlannedInstance(
        correlation_id=correlation_id,
        sop_class_uid=at.identity.sop_class_uid,
        sop_instance_uid=at.identity.sop_uid,
        transfer_syntax_uid=at.transfer_syntax_uid,
        key=at.key,
        offset=at.offset,
        length=at.length,
        sha256=at.sha256,
    )
