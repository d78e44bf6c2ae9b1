"""Whether versions of an instance are the same in other bytes: one client encodes otherwise than another.

Headers come from the sidecars. Values that these leave out, pixel data above all, are read from the packs in chunks.
What is compressed without loss in different ways is decoded by `imaging` first.
"""

import asyncio
import hashlib
import mmap
import struct
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from osteon import metrics
from osteon.archive.conflicts import Conflict, ConflictingVersions, VersionComparison
from osteon.archive.pack_records import PackOutcome, StoredPack
from osteon.archive.resources import Location
from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.imaging import TranscodeRequest
from osteon.contracts.packs import SidecarPlace
from osteon.contracts.topology import TRANSCODE
from osteon.dicom.data_set_comparison import (
    COMPRESSION_NOTES,
    PIXEL_LAYOUT,
    Elements,
    HeaderComparison,
    declared_character_set,
    is_comparable,
    with_value,
)
from osteon.dicom.errors import UnknownTransferSyntax
from osteon.dicom.header.bulk import PIXEL_TAGS
from osteon.dicom.header.load import load_header
from osteon.dicom.header.model import Header, PixelData
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import read_part10
from osteon.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TransferSyntax,
    transfer_syntax,
)
from osteon.errors import FailureKind, Invalid, NotFound, OsteonError, Unavailable
from osteon.logging import get_logger
from osteon.objects.port import Bytes, Objects
from osteon.packs import sidecar

log = get_logger(__name__)
_NATIVE: Final = frozenset({EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN})
"""Transfer syntaxes in which values that say the same have the same bytes."""
_AT_ONCE: Final = 50
"""Conflicts whose headers are in memory at the same time."""
_LONGEST_UNKNOWN: Final = 1 << 20
"""Bytes of a value of unknown VR that is read to be compared with one whose VR is known."""
_BEGINNING: Final = 4096
"""Bytes of a data set in which its Specific Character Set is."""
_ITEM: Final = struct.Struct("<4sL")
"""Tag and length of a fragment."""


class NotNow(Unavailable):
    """Versions cannot be compared now."""


class ImagingSilent(NotNow):
    """`imaging` does not answer, so nothing else that it would decode can be compared either."""


@dataclass(frozen=True, slots=True)
class VersionContent:
    """A version to be compared: its header, and where its data set begins in an object.

    `charset` is the value of Specific Character Set.
    """

    location: Location
    syntax: TransferSyntax
    header: Header
    key: str
    begin: int
    charset: bytes = b""

    @property
    def elements(self) -> Elements:
        """The header without pixel data."""
        found = load_header(self.header.json)
        return {tag: element for tag, element in found.items() if tag not in PIXEL_TAGS}


class VersionComparer:
    """Compares versions of at most `limit` bytes; without a `bus` nothing is decoded. `timeout` in seconds."""

    def __init__(
        self, objects: Objects, bus: Bus | None = None, *, limit: int = 1 << 30, timeout: float = 60.0
    ) -> None:
        self._objects = objects
        self._bus = bus
        self._limit = limit
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def compare(self, pack: StoredPack, outcome: PackOutcome, index: ConflictingVersions) -> PackOutcome:
        """Compare the conflicts of a pack with the other versions of their instances, and note what is found.

        What cannot be compared now stays as it is, for the sweep; so does the rest when `imaging` does not answer.
        One pack at a time: the queue and the sweep may come to the same one. Raises `Unavailable`.
        """
        if not outcome.conflicts:
            return outcome
        async with self._turn:
            return await self._compare_pack(pack, index)

    async def _compare_pack(self, pack: StoredPack, index: ConflictingVersions) -> PackOutcome:
        digests = {(entry.identity.sop_uid, entry.sha256) for entry in pack.instances}
        uids = sorted({uid for uid, _ in digests})
        open_ones = await index.uncompared(sop_uids=uids, limit=len(uids) * 8)
        wanted = [each for each in open_ones if (each.aside.location.identity.sop_uid, _sha(each)) in digests]
        found: list[VersionComparison] = []
        try:
            for start in range(0, len(wanted), _AT_ONCE):
                await self._compare(wanted[start : start + _AT_ONCE], index, found)
        except ImagingSilent as error:
            log.info("versions not compared yet", pack=pack.facts.pack_id, reason=str(error))
        outcome = await index.note_comparisons(pack, found)
        same = sum(1 for each in found if each.same_as)
        metrics.REENCODED_DUPLICATES.inc(same)
        if same:
            log.info("same instances in other bytes", pack=pack.facts.pack_id, instances=same)
        return outcome

    async def _compare(
        self, conflicts: Sequence[Conflict], index: ConflictingVersions, found: list[VersionComparison]
    ) -> None:
        """Compare conflicts, and add to `found` what it shows; raises `ImagingSilent` at the first that must wait."""
        others: dict[str, list[Location]] = {each.served.location.identity.sop_uid: [] for each in conflicts}
        for each in await index.conflicting_versions(list(others)):
            others[each.identity.sop_uid].append(each)
        for conflict in conflicts:
            others[conflict.served.location.identity.sop_uid].insert(0, conflict.served.location)
        contents = await self._read({at for versions in others.values() for at in versions})
        for conflict in conflicts:
            uid, sha256 = conflict.aside.location.identity.sop_uid, _sha(conflict)
            rest = [at for at in dict.fromkeys(others[uid]) if at.sha256 != sha256]
            try:
                same_as = await self._same_as(conflict.aside.location, rest, contents)
            except ImagingSilent:
                raise
            except (NotNow, NotFound) as error:
                log.info("versions not compared yet", instance=uid, reason=str(error))
                continue
            found.append(VersionComparison(uid, sha256, same_as))

    async def _same_as(
        self, aside: Location, others: Sequence[Location], contents: Mapping[Location, VersionContent]
    ) -> bytes | None:
        """Return the SHA-256 of the first of `others` that says the same."""
        for other in others:
            if max(aside.length, other.length) > self._limit:
                continue
            if aside not in contents or other not in contents:
                raise NotNow("the sidecar of a version cannot be read")
            try:
                if await self._same(contents[aside], contents[other]):
                    return other.sha256
            except Invalid as error:
                log.info("versions cannot be compared", instance=aside.identity.sop_uid, reason=str(error))
            except OsteonError:
                raise
            except Exception:  # our own fault: it must not keep the pack from being announced
                log.exception("versions not compared", instance=aside.identity.sop_uid)
        return None

    async def _read(self, places: Iterable[Location]) -> dict[Location, VersionContent]:
        """Read the lines of versions from their sidecars, each of which is decoded once."""
        by_sidecar: dict[SidecarPlace, dict[int, Location]] = {}
        for at in places:
            by_sidecar.setdefault(at.sidecar, {})[at.offset] = at
        found: dict[Location, VersionContent] = {}
        for place, wanted in by_sidecar.items():
            try:
                read = await asyncio.to_thread(_contents, await self._objects.get(*place), wanted)
                size = await self._objects.size(next(iter(wanted.values())).key)
                for at, content in read.items():
                    if at.offset + at.length <= size:
                        found[at] = await self._with_charset(content)
            except (NotFound, sidecar.BadSidecar, UnknownTransferSyntax) as error:
                log.warning("versions not compared: their sidecar cannot be read", sidecar=place.key, error=str(error))
        return found

    async def _with_charset(self, content: VersionContent) -> VersionContent:
        """Read the beginning of the data set."""
        at = content.location
        length = min(_BEGINNING, at.offset + at.length - content.begin)
        beginning = await self._objects.get_range(content.key, content.begin, length)
        return replace(content, charset=declared_character_set(beginning, content.syntax))

    async def _same(self, one: VersionContent, other: VersionContent) -> bool:
        if not (is_comparable(one.header) and is_comparable(other.header)):
            return False
        alike = one.syntax is other.syntax or {one.syntax.uid, other.syntax.uid} <= _NATIVE
        recoded = not alike or one.syntax.encapsulated
        optional = COMPRESSION_NOTES if recoded else frozenset[str]()
        compare = partial(self._compare_headers, optional=optional)
        if not (await compare(one, other, without=frozenset() if alike else PIXEL_LAYOUT)).same:
            return False
        deflated = one.syntax.deflated or other.syntax.deflated
        as_stored = not deflated and (alike or (one.syntax.encapsulated and other.syntax.encapsulated))
        if as_stored and await self._same_values(one, other, await compare(one, other)):
            return True
        if not (recoded or deflated) or one.syntax.lossy or other.syntax.lossy:
            return False
        async with AsyncExitStack() as stack:
            first, second = [await self._decoded(each, stack) for each in (one, other)]
            return await self._same_values(first, second, await compare(first, second))

    async def _compare_headers(
        self,
        one: VersionContent,
        other: VersionContent,
        *,
        optional: frozenset[str],
        without: frozenset[str] = frozenset(),
    ) -> HeaderComparison:
        def compare(*headers: Elements) -> HeaderComparison:
            return HeaderComparison(
                (headers[0], headers[1]), (one.charset, other.charset), without=without, optional=optional
            )

        first, second = await asyncio.to_thread(lambda: (one.elements, other.elements))
        compared = await asyncio.to_thread(compare, first, second)
        if compared.same and compared.unknown and not without:
            for path in compared.unknown:
                first, second = (
                    await self._with_unknown(one, first, path),
                    await self._with_unknown(other, second, path),
                )
            compared = await asyncio.to_thread(compare, first, second)
        return compared

    async def _with_unknown(self, content: VersionContent, elements: Elements, path: str) -> Elements:
        """Read a value of unknown VR that a header leaves out."""
        if path not in content.header.bulk:
            return elements
        offset, length = content.header.bulk[path]
        if length > _LONGEST_UNKNOWN:
            raise Invalid(f"{path} has {length} bytes of unknown VR")
        return with_value(elements, path, await self._objects.get_range(content.key, content.begin + offset, length))

    async def _same_values(self, one: VersionContent, other: VersionContent, headers: HeaderComparison) -> bool:
        """Compare what headers that say the same leave out."""
        if not headers.same or headers.unknown:
            return False
        for path in headers.bulk:
            if not await self._same_bytes((one, *one.header.bulk[path]), (other, *other.header.bulk[path])):
                return False
        return await self._same_pixels(one, other)

    async def _same_pixels(self, one: VersionContent, other: VersionContent) -> bool:
        """Compare pixel data as it is: native values, or the streams in the fragments."""
        first, second = one.header.pixel_data, other.header.pixel_data
        if first is None or second is None:
            return first is second
        if (first.tag, first.encapsulated) != (second.tag, second.encapsulated):
            return False
        if len(first.frames) != len(second.frames):
            return False
        if not first.encapsulated:
            return await self._same_bytes((one, first.offset, first.length), (other, second.offset, second.length))
        return await self._digest(one, first) == await self._digest(other, second)

    async def _same_bytes(self, *places: tuple[VersionContent, int, int]) -> bool:
        """Compare values; one that is padded to an even length says the same as without."""
        if len({length + length % 2 for _, _, length in places}) > 1:
            return False
        digests = [
            await _sha256(self._objects.stream(content.key, content.begin + offset, length) if length else _nothing())
            for content, offset, length in places
        ]
        return digests[0] == digests[1]

    async def _digest(self, content: VersionContent, pixels: PixelData) -> bytes:
        whole = self._objects.stream(content.key, content.begin + pixels.offset, pixels.length)
        return await _sha256(_fragments(whole))

    async def _decoded(self, content: VersionContent, stack: AsyncExitStack) -> VersionContent:
        """Return a version in Explicit VR Little Endian, in an object that goes with `stack`."""
        if content.syntax.uid in _NATIVE:
            return content
        if self._bus is None:
            raise NotNow("what is compressed is decoded by a running archive only")
        at = content.location
        request = TranscodeRequest(
            correlation_id="compare",
            key=at.key,
            offset=at.offset,
            length=at.length,
            targets=[EXPLICIT_VR_LITTLE_ENDIAN],
        )
        try:
            reply = await self._bus.request(TRANSCODE, request, timeout=self._timeout)
        except Unavailable as error:
            raise ImagingSilent(str(error)) from error
        except RequestFailed as error:
            if error.kind in (FailureKind.UNAVAILABLE, FailureKind.TIMEOUT):
                raise ImagingSilent(str(error)) from error
            raise Invalid(f"cannot be decoded: {error}") from error
        stack.push_async_callback(self._objects.delete, reply.key)
        if reply.length > 4 * self._limit:
            raise Invalid(f"decoded, it has {reply.length} bytes")
        header, begin = await self._read_decoded(reply.key)
        return replace(
            content, syntax=transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN), header=header, key=reply.key, begin=begin
        )

    async def _read_decoded(self, key: str) -> tuple[Header, int]:
        """Read the header of a file that `imaging` made, out of a copy on disk; returns where its data set begins."""
        with await asyncio.to_thread(tempfile.NamedTemporaryFile) as copy:
            async for chunk in self._objects.stream(key):
                await asyncio.to_thread(copy.write, chunk)
            await asyncio.to_thread(copy.flush)
            return await asyncio.to_thread(_read_file, Path(copy.name))


def _sha(conflict: Conflict) -> bytes:
    return conflict.aside.location.sha256


def _contents(data: bytes, wanted: Mapping[int, Location]) -> dict[Location, VersionContent]:
    _, lines = sidecar.decode(data)
    return {
        at: VersionContent(
            at, transfer_syntax(line.transfer_syntax_uid), line.header, at.key, line.offset + line.dataset_offset
        )
        for line in lines
        if (at := wanted.get(line.offset))
    }


def _read_file(path: Path) -> tuple[Header, int]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        meta = read_part10(view)
        with view[meta.data_set_offset :] as dataset:
            return HeaderReader(memo_limit=0).read(dataset, meta.transfer_syntax_uid), meta.data_set_offset


async def _sha256(chunks: AsyncIterator[Bytes]) -> bytes:
    """Hash a value; one of odd length as if it were padded."""
    digest, length = hashlib.sha256(), 0
    async for chunk in chunks:
        length += len(chunk)
        await asyncio.to_thread(digest.update, chunk)
    digest.update(b"\0" * (length % 2))
    return digest.digest()


async def _fragments(chunks: AsyncIterator[Bytes]) -> AsyncIterator[Bytes]:
    """Give what is in the fragments of encapsulated pixel data, the offset table left out (PS3.5 A.4)."""
    head, left, is_table = b"", 0, True
    async for chunk in chunks:
        position = 0
        while position < len(chunk):
            if left:
                piece = chunk[position : position + left]
                position += len(piece)
                left -= len(piece)
                if not is_table:
                    yield piece
                is_table = is_table and bool(left)
                continue
            taken = bytes(chunk[position : position + _ITEM.size - len(head)])
            head, position = head + taken, position + len(taken)
            if len(head) == _ITEM.size:
                left, head = _ITEM.unpack(head)[1], b""
                is_table = is_table and bool(left)


async def _nothing() -> AsyncIterator[Bytes]:
    for _ in ():
        yield b""
