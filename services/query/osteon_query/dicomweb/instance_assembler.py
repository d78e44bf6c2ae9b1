"""Instances that come as metadata with their bulk data in other parts of a request (PS3.18 10.5.1.4, 8.6.1.2).

A part's Content-Location (or Content-ID) is the BulkDataURI that refers to it; compressed frames come in a part each,
with `/frames/{number}` behind it or one after the other. An instance is made as soon as its last part is there.
Until then its data set is in a file, so a request needs no more disk than what is incomplete, and little memory.
Nothing is ever fetched from a BulkDataURI.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from osteon.background import to_thread_to_its_end
from osteon.dicom.encoded_data_set import AttributeGap, BadMetadata, BulkGap, EncodedDataSet
from osteon.dicom.identity import Identity, require_uid
from osteon.dicom.json_reader import JsonReader
from osteon.dicom.json_to_part10 import write_part10_file
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.dicom.xml_reader import BadXml, xml_to_json
from osteon.errors import Invalid
from osteon_query.dicomweb.bulk_parts import BulkPart, location_of
from osteon_query.dicomweb.pixel_description import DESCRIBED, ROWS, describe_pixels
from osteon_query.http.errors import BadBody, TooLarge
from osteon_query.packs.body_files import ReceivedFile

_FRAME: Final = re.compile(r"(.+)/frames/([0-9]{1,9})", re.ASCII)
_DIGITS: Final = 9
_DECLARED: Final = ("00083002", "00020010")
"""Available Transfer Syntax UID and Transfer Syntax UID: how bulk data that does not say it is encoded."""
MAX_REFERENCES: Final = 20_000
"""References of one request to bulk data that was not received yet."""
_MAX_FAILURES: Final = 1_000
"""Invalid data sets of one part; those after them are not read."""
_BATCH: Final = 32
_BATCH_BYTES: Final = 1 << 20
_FRAMES: Final = "00280008"
_SPOOL: Final = ".encoded"
"""Suffix of the file that has the data sets of a part."""
_UIDS: Final = {
    "00080016": "SOP Class UID (0008,0016)",
    "00080018": "SOP Instance UID (0008,0018)",
    "0020000D": "Study Instance UID (0020,000D)",
    "0020000E": "Series Instance UID (0020,000E)",
}
_TEXTS: Final = frozenset({*_UIDS, _FRAMES, *_DECLARED})


@dataclass(frozen=True, slots=True)
class AssemblyFailure:
    """An instance that cannot be assembled, with the UIDs of its class and its own where it has them."""

    error: Invalid
    identity: Identity | None = None


Assembled = ReceivedFile | AssemblyFailure
"""A DICOM file, or why there is none."""


@dataclass(slots=True, eq=False)
class _PendingInstance:
    """An instance's data set. `frames` is its Number of Frames, `declared` its transfer syntax if given."""

    data_set: EncodedDataSet
    references: tuple[BulkGap, ...]
    identity: Identity | None
    frames: int
    declared: str
    size: int
    complete: int = 0
    """How many of the references, from the first, have all their parts."""

    @property
    def uris(self) -> set[str]:
        return {reference.uri for reference in self.references}


class InstanceAssembler:
    """The instances of one request."""

    def __init__(self, new_path: Callable[[], Path], lock: asyncio.Lock, max_metadata: int) -> None:
        """`new_path` names files that do not exist yet; `lock` is held while a data set is parsed.

        `max_metadata` is in bytes: of one part, of one data set, and of all that wait for bulk data.
        """
        self._max_metadata = max_metadata
        self._new_path = new_path
        self._lock = lock
        self._pending: dict[int, _PendingInstance] = {}
        self._users: dict[str, list[_PendingInstance]] = {}
        self._parts: dict[str, BulkPart] = {}
        self._pending_bytes = self._references = 0
        self._has_failures = False
        self._spools: list[Path] = []

    async def metadata(self, file: ReceivedFile, *, as_xml: bool) -> AsyncGenerator[Assembled, None]:
        """Take a part that is a JSON array of data sets or an XML document; yield what it completes."""
        if file.size > self._max_metadata:
            raise TooLarge(f"a part with metadata of {file.size} bytes; at most {self._max_metadata} are accepted")
        path = await asyncio.to_thread(file.save)
        found = _read(path, as_xml, self._max_metadata)
        try:
            while True:
                async with self._lock:
                    batch = await to_thread_to_its_end(_next_batch, found)
                if not batch:
                    break
                for one in batch:
                    if isinstance(one, AssemblyFailure):
                        self._has_failures = True
                        yield one
                    elif assembled := await self._add(one):
                        yield assembled
        finally:
            found.close()
            await asyncio.to_thread(path.unlink)
            self._spools.append(path.with_suffix(_SPOOL))
            await self._delete_spools()

    async def _add(self, one: _PendingInstance) -> Assembled | None:
        self._pending[id(one)] = one
        self._pending_bytes += one.size
        self._references += len(one.references)
        for uri in one.uris:
            self._users.setdefault(uri, []).append(one)
        assembled = await self._assemble_if_complete(one)
        if self._pending_bytes > self._max_metadata:
            raise TooLarge(f"more than {self._max_metadata} bytes of metadata are incomplete")
        if self._references > MAX_REFERENCES:
            raise TooLarge(f"more than {MAX_REFERENCES} references to bulk data are incomplete")
        return assembled

    async def bulk(self, file: ReceivedFile, headers: Mapping[str, str]) -> AsyncGenerator[Assembled, None]:
        """Take a part with bulk data; yield what it completes. Raises `BadBody` when it does not say which it is."""
        uri = location_of(headers)
        frame = None if uri in self._users else _FRAME.fullmatch(uri)
        base, number = (uri, 0) if frame is None else (frame[1], int(frame[2]))
        part = self._parts.setdefault(base, BulkPart.of(headers.get("content-type", "")))
        part.add(await asyncio.to_thread(file.save), number, uri)
        for one in list(self._users.get(base, ())):
            if assembled := await self._assemble_if_complete(one):
                yield assembled

    def incomplete(self) -> Iterator[AssemblyFailure]:
        """Yield what stays incomplete when there are no more parts."""
        for one in self._pending.values():
            lacking = one.references[one.complete].uri
            part = self._parts.get(lacking)
            reason = (
                f"{part.count} of {one.frames} frames were received"
                if part
                else "no part of the body has this location"
            )
            yield AssemblyFailure(BadMetadata(f"BulkDataURI {lacking[:200]!r}: {reason}"), one.identity)
        lost = [uri for uri in self._parts if not self._users.get(uri)]
        if lost and not self._has_failures:
            yield AssemblyFailure(BadBody(f"no metadata refers to the part {lost[0][:200]!r}"))

    def _has(self, reference: BulkGap, one: _PendingInstance) -> bool:
        part = self._parts.get(reference.uri)
        return part is not None and part.count >= (one.frames if reference.pixels and part.by_frame else 1)

    async def _assemble_if_complete(self, one: _PendingInstance) -> Assembled | None:
        """Make an instance if all its bulk data is there."""
        while one.complete < len(one.references) and self._has(one.references[one.complete], one):
            one.complete += 1
        if one.complete < len(one.references):
            return None
        path = self._new_path()
        try:
            await asyncio.to_thread(self._write, path, one)
            assembled: Assembled = ReceivedFile(path, 0)
        except Invalid as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            assembled = AssemblyFailure(error, one.identity)
        await self._release(one)
        return assembled

    def _write(self, path: Path, one: _PendingInstance) -> None:
        syntax, bulk = EXPLICIT_VR_LITTLE_ENDIAN, {}
        attributes: Mapping[str, Mapping[str, Any]] = {}
        lacks_rows = AttributeGap(ROWS) in one.data_set.segments
        for reference in one.references:
            part = self._parts[reference.uri]
            encoding = part.encoding(one.declared) if reference.pixels else None
            bulk[reference.uri] = value = part.value(encoding)
            if encoding is not None:
                syntax = encoding.transfer_syntax_uid
                if encoding.frames and lacks_rows:
                    attributes = describe_pixels(syntax, value.files[0])
        write_part10_file(path, one.data_set, bulk, syntax, attributes)

    async def _release(self, one: _PendingInstance) -> None:
        """Forget an instance, and delete the files for which no other one waits."""
        del self._pending[id(one)]
        self._pending_bytes -= one.size
        self._references -= len(one.references)
        for uri in one.uris:
            self._users[uri].remove(one)
            if not self._users[uri]:
                await asyncio.to_thread(self._parts.pop(uri).delete)
        await self._delete_spools()

    async def _delete_spools(self) -> None:
        """Delete the files of data sets once none of them waits."""
        while self._spools and not self._pending:
            await asyncio.to_thread(self._spools.pop().unlink, missing_ok=True)


def _next_batch(found: Iterator[_PendingInstance | AssemblyFailure]) -> list[_PendingInstance | AssemblyFailure]:
    """Return the next instances, some at once as a thread costs more than a small one."""
    batch: list[_PendingInstance | AssemblyFailure] = []
    size = 0
    while len(batch) < _BATCH and size < _BATCH_BYTES and (one := next(found, None)) is not None:
        batch.append(one)
        size += one.size if isinstance(one, _PendingInstance) else 0
    return batch


def _read(path: Path, as_xml: bool, limit: int) -> Generator[_PendingInstance | AssemblyFailure, None, None]:
    """Read metadata one data set at a time. Each is then in a file beside `path`."""
    spool = path.with_suffix(_SPOOL)
    with ExitStack() as files:
        source: IO[bytes] = files.enter_context(path.open("rb"))
        if as_xml:
            document = source
            source = files.enter_context(TemporaryFile(dir=path.parent))
            try:
                xml_to_json(document, source, limit)
            except BadXml as error:
                yield AssemblyFailure(BadMetadata(f"the metadata cannot be read: {error}"))
                return
            source.seek(0)
        encoded = files.enter_context(spool.open("xb"))
        failures = 0
        for data_set in JsonReader(source, limit, _TEXTS, DESCRIBED).data_sets():
            one = _pending_instance(data_set)
            if isinstance(one, _PendingInstance):
                one.data_set.spool(encoded, spool)
                encoded.flush()
            elif (failures := failures + 1) > _MAX_FAILURES:
                one = AssemblyFailure(BadMetadata(f"after {_MAX_FAILURES} invalid data sets the others are not read"))
            yield one
            if failures > _MAX_FAILURES:
                return


def _pending_instance(data_set: EncodedDataSet | BadMetadata) -> _PendingInstance | AssemblyFailure:
    if isinstance(data_set, BadMetadata):
        return AssemblyFailure(data_set)
    texts = data_set.texts
    try:
        frames = texts.get(_FRAMES) or "1"
        if not frames.isdecimal() or len(frames) > _DIGITS or not int(frames):
            raise BadMetadata(f"{_FRAMES}: {frames[:80]!r} is not a number of frames")
        sop_class, sop, study, series = (require_uid(name, texts.get(tag, "")) for tag, name in _UIDS.items())
    except Invalid as error:
        return AssemblyFailure(error)
    identity = Identity("", study, series, sop, sop_class)
    declared = next((uid for tag in _DECLARED if (uid := texts.get(tag))), "")
    return _PendingInstance(data_set, data_set.bulk, identity, int(frames), declared, data_set.size)
