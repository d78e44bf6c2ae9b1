"""Instances that come as metadata with their bulk data in other parts of a request (PS3.18 10.5.1.4, 8.6.1.2).

A part's Content-Location (or Content-ID) is the BulkDataURI that refers to it; compressed frames come in a part each,
with `/frames/{number}` behind it or one after the other. An instance is made as soon as its last part is there,
so a request needs no more disk than what is incomplete. Nothing is ever fetched from a BulkDataURI.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from osteon.dicom.identity import Identity
from osteon.dicom.json_model import BadMetadata, Reference, iter_references, validate_data_set
from osteon.dicom.json_to_part10 import PIXEL_DATA, write_part10_file
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, is_uid
from osteon.dicom.xml_reader import from_xml
from osteon.errors import Invalid
from osteon_query.dicomweb.bulk_parts import BulkPart, location_of
from osteon_query.dicomweb.pixel_description import describe_pixels
from osteon_query.http.errors import BadBody, TooLarge

_FRAME: Final = re.compile(r"(.+)/frames/([0-9]{1,9})", re.ASCII)
_DIGITS: Final = 9
_DECLARED: Final = ("00083002", "00020010")
"""Available Transfer Syntax UID and Transfer Syntax UID: how bulk data that does not say it is encoded."""


@dataclass(frozen=True, slots=True)
class AssemblyFailure:
    """An instance that cannot be assembled, with the UIDs of its class and its own where it has them."""

    error: Invalid
    identity: Identity | None = None


Assembled = Path | AssemblyFailure
"""A DICOM file, or why there is none."""


@dataclass(slots=True, eq=False)
class _PendingInstance:
    """An instance's metadata as JSON. `frames` is its Number of Frames, `declared` its transfer syntax if given."""

    data: bytes
    references: tuple[Reference, ...]
    identity: Identity | None
    frames: int
    declared: str

    @property
    def uris(self) -> set[str]:
        return {reference.uri for reference in self.references}


class InstanceAssembler:
    """The instances of one request."""

    def __init__(self, new_path: Callable[[], Path], lock: asyncio.Lock, max_metadata: int) -> None:
        """`new_path` names files that do not exist yet; `lock` is held while metadata is parsed.

        Parsed metadata may take twenty times its bytes: one request at a time does it. `max_metadata` is in bytes: of
        one part, and of all metadata that waits for bulk data.
        """
        self._max_metadata = max_metadata
        self._new_path = new_path
        self._lock = lock
        self._pending: dict[int, _PendingInstance] = {}
        self._users: dict[str, list[_PendingInstance]] = {}
        self._parts: dict[str, BulkPart] = {}
        self._pending_bytes = 0
        self._has_failures = False

    async def metadata(self, path: Path, *, as_xml: bool) -> AsyncGenerator[Assembled, None]:
        """Take a part that is a JSON array of data sets or an XML document; yield what it completes."""
        async with self._lock:
            found = await asyncio.to_thread(_read, path, as_xml, self._max_metadata)
        await asyncio.to_thread(path.unlink)
        for one in found:
            if isinstance(one, AssemblyFailure):
                self._has_failures = True
                yield one
            else:
                self._pending[id(one)] = one
                self._pending_bytes += len(one.data)
                for uri in one.uris:
                    self._users.setdefault(uri, []).append(one)
                if assembled := await self._assemble_if_complete(one):
                    yield assembled
        if self._pending_bytes > self._max_metadata:
            raise TooLarge(f"more than {self._max_metadata} bytes of metadata are incomplete")

    async def bulk(self, path: Path, headers: Mapping[str, str]) -> AsyncGenerator[Assembled, None]:
        """Take a part with bulk data; yield what it completes. Raises `BadBody` when it does not say which it is."""
        uri = location_of(headers)
        frame = None if uri in self._users else _FRAME.fullmatch(uri)
        base, number = (uri, 0) if frame is None else (frame[1], int(frame[2]))
        part = self._parts.setdefault(base, BulkPart.of(headers.get("content-type", "")))
        part.add(path, number, uri)
        for one in list(self._users.get(base, ())):
            if assembled := await self._assemble_if_complete(one):
                yield assembled

    def incomplete(self) -> Iterator[AssemblyFailure]:
        """Yield what stays incomplete when there are no more parts."""
        for one in self._pending.values():
            lacking = next(reference.uri for reference in one.references if not self._has(reference, one))
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

    def _has(self, reference: Reference, one: _PendingInstance) -> bool:
        part = self._parts.get(reference.uri)
        return part is not None and part.count >= (one.frames if reference.pixels and part.by_frame else 1)

    async def _assemble_if_complete(self, one: _PendingInstance) -> Assembled | None:
        """Make an instance if all its bulk data is there."""
        if not all(self._has(reference, one) for reference in one.references):
            return None
        path = self._new_path()
        assembled: Assembled = path
        try:
            await asyncio.to_thread(self._write, path, one)
        except Invalid as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            assembled = AssemblyFailure(error, one.identity)
        await self._release(one)
        return assembled

    def _write(self, path: Path, one: _PendingInstance) -> None:
        data_set, syntax, bulk = orjson.loads(one.data), EXPLICIT_VR_LITTLE_ENDIAN, {}
        for reference in one.references:
            part = self._parts[reference.uri]
            encoding = part.encoding(one.declared) if reference.pixels else None
            bulk[reference.uri] = value = part.value(encoding)
            if encoding is not None:
                syntax = encoding.transfer_syntax_uid
                data_set = describe_pixels(data_set, syntax, value.files[0]) if encoding.frames else data_set
        write_part10_file(path, data_set, bulk, syntax)

    async def _release(self, one: _PendingInstance) -> None:
        """Forget an instance, and delete the files for which no other one waits."""
        del self._pending[id(one)]
        self._pending_bytes -= len(one.data)
        for uri in one.uris:
            self._users[uri].remove(one)
            if not self._users[uri]:
                await asyncio.to_thread(self._parts.pop(uri).delete)


def _read(path: Path, as_xml: bool, limit: int) -> list[_PendingInstance | AssemblyFailure]:
    if (size := path.stat().st_size) > limit:
        raise TooLarge(f"a part with metadata of {size} bytes; at most {limit} are accepted")
    try:
        data = path.read_bytes()
        parsed = [from_xml(data)] if as_xml else orjson.loads(data)
    except (Invalid, orjson.JSONDecodeError) as error:
        return [AssemblyFailure(BadMetadata(f"the metadata cannot be read: {error}"))]
    if not isinstance(parsed, list):
        parsed = [parsed]
    return [_parse_data_set(one) for one in parsed]


def _parse_data_set(parsed: object) -> _PendingInstance | AssemblyFailure:
    try:
        data_set = validate_data_set(parsed, ascii_only=orjson.dumps(parsed).isascii())
        frames = _text(data_set, "00280008") or "1"
        if not frames.isdecimal() or len(frames) > _DIGITS or not int(frames):
            raise BadMetadata(f"00280008: {frames[:80]!r} is not a number of frames")
    except Invalid as error:
        return AssemblyFailure(error)
    except orjson.JSONEncodeError as error:
        return AssemblyFailure(BadMetadata(f"a value cannot be stored: {error}"))
    sop_class, sop = _text(data_set, "00080016"), _text(data_set, "00080018")
    identity = Identity("", "", "", sop, sop_class) if is_uid(sop) and is_uid(sop_class) else None
    declared = next((uid for tag in _DECLARED if (uid := _text(parsed, tag))), "")
    return _PendingInstance(
        orjson.dumps(data_set),
        tuple(iter_references(data_set, frozenset({PIXEL_DATA}))),
        identity,
        int(frames),
        declared,
    )


def _text(data_set: Any, tag: str) -> str:
    """Return the first value of an element as text, empty where there is none."""
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return str(values[0]).strip() if isinstance(values, list) and values and values[0] is not None else ""
