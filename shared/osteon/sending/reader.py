"""Reads the data sets of instances out of packs: neighbours in one request, long ones in pieces.

What cannot be read is an `UnreadableInstance` of that instance alone.
A store that does not answer at all is `Unavailable`.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import xxhash

from osteon.backoff import retry
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.part10 import FileMeta, file_sha256, read_part10
from osteon.errors import Invalid, NotFound, OsteonError
from osteon.objects.port import Objects, ObjectsUnavailable

_GAP: Final = 64 << 10
"""Reading over so many unwanted bytes is cheaper than another request."""
_MAX_PAUSE: Final = 5.0


class UnreadableInstance(OsteonError):
    """The bytes of an instance are not there, or not those that came."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that is ready to be sent: in memory, or else in pieces that come one by one."""

    length: int
    whole: memoryview | None
    pieces: AsyncGenerator[memoryview] | None = None

    async def parts(self) -> AsyncGenerator[memoryview]:
        """Iterate over the bytes, once."""
        if self.whole is not None:
            yield self.whole
        elif self.pieces is not None:
            async with aclosing(self.pieces):
                async for piece in self.pieces:
                    yield piece


@dataclass(frozen=True, slots=True)
class Part10:
    """A Part 10 file within an object, and what it must be."""

    key: str
    offset: int
    length: int
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: bytes = b""
    """Of the data set; empty when it is not known."""
    xxh3: bytes = b""
    """XXH3-128 of the file; empty when it is not known."""

    @classmethod
    def of(cls, instance: PlannedInstance) -> "Part10":
        """Return the file of a planned instance."""
        return cls(
            instance.key,
            instance.offset,
            instance.length,
            instance.sop_instance_uid,
            instance.transfer_syntax_uid,
            instance.sha256,
            instance.xxh3,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """How packs are read.

    Attributes:
        request_bytes: bytes of one request at most.
        request_instances: instances of one request at most.
        attempts: of one request, before what it reads counts as unreadable.
        first_pause: seconds before the second attempt; each pause is about four times the one before.
    """

    request_bytes: int = 4 << 20
    request_instances: int = 512
    attempts: int = 4
    first_pause: float = 0.1

    def allow(self, file: Part10, start: int, last: Part10, instances: int) -> bool:
        """Whether `file` fits into the request that begins at `start` and has so many instances up to `last`."""
        return (
            file.key == last.key
            and 0 <= file.offset - last.offset - last.length <= _GAP
            and file.offset + file.length - start <= self.request_bytes
            and instances < self.request_instances
        )


class DataSetReader:
    """Reads Part 10 files from the object store; `verify` compares them with their XXH3, else with the SHA-256."""

    def __init__(self, objects: Objects, *, verify: bool, limits: ReadLimits) -> None:
        self.limits = limits
        self._objects = objects
        self._verify = verify

    async def read_all(self, files: Sequence[Part10]) -> list[DataSet | UnreadableInstance]:
        """Read neighbours, at most `request_bytes` from first to last, or a single file of any length."""
        first, last = files[0], files[-1]
        if first.length > self.limits.request_bytes:
            return [await self._long(first)]
        try:
            data = await self._bytes(first.key, first.offset, last.offset + last.length - first.offset)
        except UnreadableInstance as error:
            if len(files) == 1:
                return [error]
            # A pack that was cut short still has those at its beginning.
            return [(await self.read_all([file]))[0] for file in files]
        view = memoryview(data)
        opened = [self._open(file, view[file.offset - first.offset :][: file.length]) for file in files]
        if self._verify and all(file.xxh3 for file in files):  # takes less than a change of threads
            return _verified(opened)
        if self._verify:
            return await asyncio.to_thread(_verified, opened)
        return [each if isinstance(each, UnreadableInstance) else each.data_set for each in opened]

    def _open(self, file: Part10, view: memoryview) -> "_Opened | UnreadableInstance":
        try:
            meta = _meta(file, view)
        except UnreadableInstance as error:
            return error
        data = view[meta.data_set_offset :]
        return _Opened(DataSet(len(data), data), view, data, _checksum(file, meta))

    async def _long(self, file: Part10) -> DataSet | UnreadableInstance:
        try:
            first = memoryview(await self._bytes(file.key, file.offset, self.limits.request_bytes))
            meta = _meta(file, first)
        except UnreadableInstance as error:
            return error
        return DataSet(file.length - meta.data_set_offset, None, self._pieces(file, first, meta))

    async def _pieces(self, file: Part10, first: memoryview, meta: FileMeta) -> AsyncGenerator[memoryview]:
        """Yield the data set, one piece read ahead; the last one only when the whole is what it was."""
        checksum = _checksum(file, meta) if self._verify else None
        digest = checksum.new() if checksum else None
        if digest is not None and checksum is not None and checksum.of_file:
            digest.update(first[: meta.data_set_offset])
        piece, at = first[meta.data_set_offset :], len(first)
        while at < file.length:
            length = min(self.limits.request_bytes, file.length - at)
            following = asyncio.create_task(self._bytes(file.key, file.offset + at, length))
            try:
                if digest is not None:
                    await asyncio.to_thread(digest.update, piece)
                yield piece
                piece, at = memoryview(await following), at + length
            finally:
                following.cancel()
        if digest is not None and checksum is not None:
            await asyncio.to_thread(digest.update, piece)
            if digest.digest() != checksum.expected:
                raise _damaged(checksum)
        yield piece

    async def _bytes(self, key: str, offset: int, length: int) -> bytes:
        """Read a range; raises `UnreadableInstance`, and `ObjectsUnavailable` when the whole store does not answer."""
        try:
            async for attempt in retry(
                ObjectsUnavailable,
                attempts=self.limits.attempts,
                first=self.limits.first_pause,
                longest=_MAX_PAUSE,
                factor=4.0,
            ):
                with attempt:
                    return await self._objects.get_range(key, offset, length)
        except (NotFound, Invalid) as error:
            raise UnreadableInstance(f"cannot be read from the archive: {error}") from error
        except ObjectsUnavailable as error:
            await self._objects.check()
            raise UnreadableInstance(f"cannot be read from the archive: {error}") from error
        raise AssertionError("the last attempt returns or raises")


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Checksum(NamedTuple):
    """What the bytes of an instance must give: those `of_file`, else those of the data set alone."""

    name: str
    new: Callable[..., _Hash]
    expected: bytes
    of_file: bool


class _Opened(NamedTuple):
    data_set: DataSet
    file: memoryview
    data: memoryview
    checksum: _Checksum | None


def _checksum(file: Part10, meta: FileMeta) -> _Checksum | None:
    if file.xxh3:
        return _Checksum("checksum", xxhash.xxh3_128, file.xxh3, of_file=True)
    sha256 = file.sha256 or file_sha256(meta)
    return _Checksum("SHA-256", hashlib.sha256, sha256, of_file=False) if sha256 else None


def _verified(opened: Sequence[_Opened | UnreadableInstance]) -> list[DataSet | UnreadableInstance]:
    return [each if isinstance(each, UnreadableInstance) else _same(each) for each in opened]


def _same(opened: _Opened) -> DataSet | UnreadableInstance:
    checksum = opened.checksum
    if checksum and checksum.new(opened.file if checksum.of_file else opened.data).digest() != checksum.expected:
        return _damaged(checksum)
    return opened.data_set


def _damaged(checksum: _Checksum) -> UnreadableInstance:
    return UnreadableInstance(f"is damaged in the archive: its {checksum.name} is not the one that it came with")


def _meta(file: Part10, view: memoryview) -> FileMeta:
    try:
        meta = read_part10(view)
    except Invalid as error:
        raise UnreadableInstance(f"is damaged in the archive: {error}") from error
    found, expected = meta.transfer_syntax_uid, file.transfer_syntax_uid
    if found != expected:
        raise UnreadableInstance(f"is damaged in the archive: its transfer syntax is {found}, not {expected}")
    if meta.sop_instance_uid and meta.sop_instance_uid != file.sop_instance_uid:
        raise UnreadableInstance(f"is damaged in the archive: {meta.sop_instance_uid} is in its place")
    return meta
