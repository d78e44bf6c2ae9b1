"""Instances in the transfer syntaxes that a client requests: as stored, or transcoded by `imaging` a few ahead."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from osteon.archive.resources import Location
from osteon.dicom.pixels.registry import CODECS
from osteon.dicom.to_explicit_vr import to_explicit_vr
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Bytes, Objects
from osteon.sending.planned import from_location
from osteon.sending.prefetch import MemoryBudget, Prefetcher
from osteon.sending.transcoder import LossyPolicy, NotTranscoded, Transcoder
from osteon_query.http.accept import DICOM
from osteon_query.http.errors import NotAcceptable, TranscodeUnavailable
from osteon_query.packs.items import ItemStart, ItemStream, SentInstance, one_chunk
from osteon_query.packs.range_reader import StoredRange, read_range, read_ranges

_AHEAD: Final = 4
"""Instances of one request that are transcoded while earlier ones are sent: the results are in the object store."""
_SMALL: Final = 4 << 20
"""Bytes of an instance that is put into explicit VR here, in memory, rather than by `imaging`."""
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceRequest:
    """An instance, and the transfer syntaxes to try, the best first; without any it is sent as stored."""

    location: Location
    targets: tuple[str, ...] = ()
    as_stored: bool = True
    """Whether it may be sent as stored when none of them is possible."""
    name: str = ""
    """Its path in a ZIP archive."""
    quality: int | None = None
    """From 1 to 100, of lossy transfer syntaxes; None is the usual one."""


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """A Part 10 file ready to be read, which may be in memory, as `data`.

    `temporary`: its object serves one request only. `xxh3`: its checksum, when that is known.
    """

    key: str
    offset: int
    length: int
    transfer_syntax_uid: str
    temporary: bool = False
    data: bytes = b""
    xxh3: bytes = b""
    sop_instance_uid: str = ""
    """Another than the stored one when the pixel data lost information."""

    @classmethod
    def of(cls, location: Location) -> "InstanceFile":
        """Return the file as it is stored."""
        syntax = location.transfer_syntax_uid
        return cls(location.key, location.offset, location.length, syntax, xxh3=location.xxh3)

    def read(self, objects: Objects) -> AsyncGenerator[Bytes, None]:
        """Yield the file in chunks; raises `StoredDataUnreadable`."""
        if self.data:
            return one_chunk(self.data)
        return read_range(objects, self.key, self.offset, self.length, self.xxh3)


def can_transcode(stored: str, target: str) -> bool:
    """Whether instances of one transfer syntax can come in another, as far as the transfer syntaxes show."""
    source, wanted = TRANSFER_SYNTAXES.get(stored), CODECS.get(target)
    if source is None or wanted is None or (source.encapsulated and stored not in CODECS):
        return False
    return bool(wanted.lossless or wanted.lossy or stored in wanted.rewraps)


async def transcode_instance(
    objects: Objects, transcoder: Transcoder, request: InstanceRequest, correlation_id: str = ""
) -> InstanceFile:
    """Return an instance in the first of the requested transfer syntaxes that is possible.

    Raises `NotAcceptable` when none is and it may not be sent as stored, `TranscodeUnavailable` when `imaging` does
    not reply.
    """
    at = request.location
    if not request.targets:
        return InstanceFile.of(at)
    if made := await _explicit(objects, at, request.targets[0]):
        return made
    try:
        done = await transcoder.transcode(from_location(at, correlation_id), request.targets, request.quality)
    except NotTranscoded as error:
        if error.transient:
            raise TranscodeUnavailable(f"instance {at.identity.sop_uid} {error}") from error
        if not request.as_stored:
            raise NotAcceptable(
                f"instance {at.identity.sop_uid}, stored in transfer syntax {at.transfer_syntax_uid}, {error}. "
                "Accept transfer-syntax=* to get it as stored"
            ) from error
        log.warning("transcoding failed, sent as stored", instance=at.identity.sop_uid, reason=str(error))
        return InstanceFile.of(at)
    return InstanceFile(
        done.key, 0, done.length, done.transfer_syntax_uid, temporary=True, sop_instance_uid=done.sop_instance_uid
    )


async def _explicit(objects: Objects, at: Location, target: str) -> InstanceFile | None:
    """Return a small instance of which only the heads of the elements change, from implicit to explicit VR.

    None for others, and when that fails: `imaging` says why then.
    """
    only_heads = at.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN and target == EXPLICIT_VR_LITTLE_ENDIAN
    if not only_heads or at.length > _SMALL:
        return None
    try:
        data = await objects.get_range(at.key, at.offset, at.length)
        made = await asyncio.to_thread(to_explicit_vr, data)
    except (NotFound, Invalid) as error:
        log.info("conversion left to imaging", instance=at.identity.sop_uid, reason=str(error))
        return None
    return InstanceFile("", 0, len(made), EXPLICIT_VR_LITTLE_ENDIAN, data=made)


def read_as_stored(objects: Objects, requests: AsyncIterator[InstanceRequest]) -> ItemStream:
    """Yield the files of instances in order, as they are in their packs."""

    async def ranges() -> AsyncGenerator[StoredRange, None]:
        async for request in requests:
            at = request.location
            yield StoredRange(at.key, at.offset, at.length, _start_of(request, InstanceFile.of(at)), at.xxh3)

    return read_ranges(objects, ranges())


def part10_start(transfer_syntax_uid: str, length: int) -> ItemStart:
    """Return the start of a Part 10 file."""
    return ItemStart(f"{DICOM}; transfer-syntax={transfer_syntax_uid}", length)


def _start_of(request: InstanceRequest, file: InstanceFile) -> ItemStart:
    uid = file.sop_instance_uid or request.location.identity.sop_uid
    sent = SentInstance(uid, file.transfer_syntax_uid)
    return replace(part10_start(file.transfer_syntax_uid, file.length), name=request.name, instance=sent)


async def read_instances(
    objects: Objects, transcoder: Transcoder, requests: AsyncIterator[InstanceRequest], correlation_id: str = ""
) -> ItemStream:
    """Yield the files of instances in order, transcoded where that is requested. Transcoded objects are deleted."""
    undeleted: set[str] = set()

    async def transcode(request: InstanceRequest) -> tuple[ItemStart, InstanceFile]:
        file = await transcode_instance(objects, transcoder, request, correlation_id)
        if file.temporary:
            undeleted.add(file.key)
        return _start_of(request, file), file

    async def steps() -> AsyncGenerator[tuple[int, Callable[[], Awaitable[tuple[ItemStart, InstanceFile]]]], None]:
        async for request in requests:
            yield 1, partial(transcode, request)

    try:
        async with aclosing(
            Prefetcher[tuple[ItemStart, InstanceFile]](MemoryBudget(_AHEAD), _AHEAD).run(steps())
        ) as files:
            async for start, file in files:
                yield start
                async with aclosing(file.read(objects)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                if file.temporary:
                    undeleted.discard(file.key)
                    transcoder.forget(file.key)
    finally:
        for key in undeleted:
            transcoder.forget(key)


async def read_once(objects: Objects, transcoder: Transcoder, file: InstanceFile) -> AsyncGenerator[Bytes, None]:
    """Yield a file, and delete the object when it is temporary."""
    try:
        async with aclosing(file.read(objects)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        if file.temporary:
            transcoder.forget(file.key)


LOSSY: Final = LossyPolicy(syntaxes=tuple(uid for uid, codec in CODECS.items() if codec.lossy and not codec.lossless))
"""Transfer syntaxes that have no lossless encoder: a client that names one accepts the loss."""
