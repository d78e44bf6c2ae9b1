"""ZIP archives of resources, and media with a DICOMDIR: their files one after the other, in constant memory."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Final, cast

from osteon.archive.errors import ResourceNotFound
from osteon.archive.ports import ArchiveReader
from osteon.archive.resources import InstanceScope, Location, Match
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.errors import NotFound
from osteon.objects.port import Objects
from osteon.sending.transcoder import Transcoder
from osteon_query.archives.dicomdir import (
    EXTENDED_KEYS,
    LEAF_KEYS,
    PATIENT_KEYS,
    SERIES_KEYS,
    STUDY_KEYS,
    DicomDirWriter,
    FileReference,
    attributes_of,
    record_type_of,
)
from osteon_query.archives.names import ArchiveNames, file_name
from osteon_query.packs.instance_reader import InstanceRequest, can_transcode, read_as_stored, read_instances
from osteon_query.packs.items import ItemStart, ItemStream
from osteon_query.packs.sidecars import Sidecars, parse_header, read_lines, sidecar_batches
from osteon_query.search.paging import pages

_FOLDER: Final = "IMAGES"
_MOST_FILES: Final = 1_000_000
"""Files of a medium: their names have eight characters (PS3.10 8.5)."""
_IN_MEMORY: Final = 4 << 20
_PIECE: Final = 1 << 20
_PAGE: Final = 200
_LOOKUP: Final = 500
"""Identifiers that are looked up at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOrder:
    """What an archive holds, and in which form.

    Attributes:
        resources: public identifiers of any level; what several of them name is there once.
        media: with a DICOMDIR, and files named as PS3.10 wants it; `extended`: with more attributes in it.
        quality: of transfer syntaxes that lose information, 1 to 100; 0 is the usual one.
        transcode: Transfer Syntax UID; what cannot be had in it is there as stored. Empty: all as stored.
        utf8: whether names have letters beyond ASCII.
    """

    resources: tuple[str, ...]
    media: bool = False
    extended: bool = False
    transcode: str = ""
    quality: int = 0
    utf8: bool = True


@dataclass(slots=True)
class ArchiveCount:
    """What an archive has come to: files, and bytes of them."""

    instances: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveWriter:
    """Reads the files of archives; `folder` is for directories of media that are large."""

    index: ArchiveReader
    objects: Objects
    sidecars: Sidecars
    transcoder: Transcoder
    folder: Path
    limit: int = field(default=_MOST_FILES)

    async def check(self, order: ArchiveOrder) -> None:
        """Raise `ResourceNotFound` when there is one of the resources no more."""
        async for _ in self._located(order):
            pass

    async def size(self, order: ArchiveOrder) -> int:
        """Return how many bytes the files have as they are stored; more, where resources are below others."""
        return sum([_size(await self.index.get(level, found)) async for found, level, _ in self._located(order)])

    async def items(self, order: ArchiveOrder, correlation_id: str, count: ArchiveCount) -> ItemStream:
        """Yield the files of an archive with their names; raises what reading raises."""
        if not order.media:
            async with aclosing(self._files(self._requests(order), order, correlation_id, count)) as files:
                async for item in files:
                    yield item
            return
        with SpooledTemporaryFile(_IN_MEMORY, dir=str(self.folder)) as file:
            directory = _MediaDirectory(self, order, cast("BinaryIO", file))
            requests = directory.requests(self._series(order))
            async with aclosing(self._files(requests, order, correlation_id, count)) as files:
                async for item in files:
                    if isinstance(item, ItemStart):
                        await directory.note(item)
                    yield item
            async with aclosing(directory.content()) as content:
                async for part in content:
                    yield part

    async def _files(
        self, requests: AsyncIterator[InstanceRequest], order: ArchiveOrder, correlation_id: str, count: ArchiveCount
    ) -> ItemStream:
        if order.transcode:
            items = read_instances(self.objects, self.transcoder, requests, correlation_id)
        else:
            items = read_as_stored(self.objects, requests)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, ItemStart):
                    count.instances += 1
                else:
                    count.size += len(item)
                yield item

    async def _requests(self, order: ArchiveOrder) -> AsyncGenerator[InstanceRequest, None]:
        names = ArchiveNames(utf8=order.utf8)
        async for series, chosen in self._series(order):
            assert series.series is not None
            folder, number = names.folder(series), 0
            async for location in self.locate(series, chosen):
                name = f"{folder}/{file_name(series.series.attributes.get('Modality', ''), number)}"
                number += 1
                yield _request(location, order, name)

    async def _series(self, order: ArchiveOrder) -> AsyncGenerator[tuple[Match, frozenset[str]], None]:
        """Iterate over the series of an order, each once, those of a study and of a patient one after the other.

        With each the instances that are chosen; none: all of them. Memory: an identifier for each series.
        """
        chosen: _Chosen = {}
        async for public_id, level, at in self._located(order):
            if level is Level.PATIENT:
                async for study in self._below(public_id, Level.STUDY):
                    await self._choose(chosen, study.public_id)
            elif level is Level.STUDY:
                await self._choose(chosen, public_id)
            else:
                above = at.identity.public_patient, at.identity.public_study, at.identity.public_series
                _choose(chosen, above, public_id if level is Level.IMAGE else "")
        for studies in chosen.values():
            for series in studies.values():
                for series_id, instances in series.items():
                    all_of_it = "" in instances
                    yield await self.index.get(Level.SERIES, series_id), frozenset(() if all_of_it else instances)

    async def _choose(self, chosen: "_Chosen", study_id: str) -> None:
        async for series in self._below(study_id, Level.SERIES):
            assert series.study is not None
            _choose(chosen, (series.patient.public_id, series.study.public_id, series.public_id), "")

    async def _located(self, order: ArchiveOrder) -> AsyncIterator[tuple[str, Level, Location]]:
        """Iterate over the resources: identifier, level, and an instance of each; raises `ResourceNotFound`."""
        for start in range(0, len(order.resources), _LOOKUP):
            left = order.resources[start : start + _LOOKUP]
            for level in Level:
                found = await self.index.representatives(level, left) if left else {}
                for public_id, location in found.items():
                    yield public_id, level, location
                left = tuple(each for each in left if each not in found)
            if left:
                raise ResourceNotFound(f"nothing has the identifier {left[0]!r}")

    async def _below(self, public_id: str, level: Level) -> AsyncIterator[Match]:
        search = Search(level, parents=(public_id,))
        async with aclosing(pages(self.index, search, size=_PAGE, total=None)) as found:
            async for page in found:
                for match in page:
                    yield match

    async def locate(self, series: Match, chosen: frozenset[str]) -> AsyncIterator[Location]:
        """Iterate over the chosen instances of a series."""
        async for location in self.index.locate(InstanceScope(public_id=series.public_id)):
            if not chosen or location.public_id in chosen:
                yield location


_Chosen = dict[str, dict[str, dict[str, set[str]]]]
"""Patient → study → series → instances, by their identifiers; an empty one stands for all of a series."""


def _choose(chosen: _Chosen, above: tuple[str, str, str], instance: str) -> None:
    patient, study, series = above
    chosen.setdefault(patient, {}).setdefault(study, {}).setdefault(series, set()).add(instance)


def _size(match: Match) -> int:
    if match.instance is not None:
        return match.instance.location.length
    return (match.series or match.study or match.patient).size


def _request(location: Location, order: ArchiveOrder, name: str) -> InstanceRequest:
    stored, wanted = location.transfer_syntax_uid, order.transcode
    targets = (wanted,) if wanted and wanted != stored and can_transcode(stored, wanted) else ()
    return InstanceRequest(location, targets, name=name, quality=order.quality or None)


class _MediaDirectory:
    """Names the files of a medium, and writes its DICOMDIR while they go by."""

    def __init__(self, writer: ArchiveWriter, order: ArchiveOrder, file: BinaryIO) -> None:
        self._writer = writer
        self._order = order
        self._file = file
        self._directory = DicomDirWriter(file)
        self._waiting: deque[tuple[Match, Location, Mapping[str, Any]]] = deque()
        self._above: list[str] = []

    async def requests(
        self, series: AsyncGenerator[tuple[Match, frozenset[str]], None]
    ) -> AsyncGenerator[InstanceRequest, None]:
        """Yield the instances under their names, and keep what the directory says of them until `note`."""
        number = 0
        async for match, chosen in series:
            async with aclosing(sidecar_batches(self._writer.locate(match, chosen))) as batches:
                async for batch in batches:
                    lines = await read_lines(self._writer.sidecars, batch)
                    records = await asyncio.to_thread(self._read, batch, [line.header.json for line in lines])
                    for location, record in zip(batch, records, strict=True):
                        if number >= self._writer.limit:
                            raise NotFound(f"a medium has at most {self._writer.limit} files")
                        self._waiting.append((match, location, record))
                        yield _request(location, self._order, f"{_FOLDER}/IM{number}")
                        number += 1

    def _read(self, batch: list[Location], headers: list[bytes]) -> list[Mapping[str, Any]]:
        return [self._chosen(each, parse_header(header)) for each, header in zip(batch, headers, strict=True)]

    def _chosen(self, location: Location, header: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what records say of an instance and of what is above it, by the type of the record."""
        kind = record_type_of(location.identity.sop_class_uid)
        keys = {"PATIENT": PATIENT_KEYS, "STUDY": STUDY_KEYS, "SERIES": SERIES_KEYS, kind: LEAF_KEYS[kind]}
        if self._order.extended:
            keys = {name: (*known, *EXTENDED_KEYS.get(name, ())) for name, known in keys.items()}
        return {name: attributes_of(header, known) for name, known in keys.items()}

    async def note(self, start: ItemStart) -> None:
        """Write the record of the file that begins, and those above it that are new."""
        match, location, attributes = self._waiting.popleft()
        assert match.study is not None
        assert start.instance is not None
        sent = start.instance
        kind = record_type_of(location.identity.sop_class_uid)
        identity = location.identity
        file = FileReference(
            tuple(start.name.split("/")), identity.sop_class_uid, sent.sop_instance_uid, sent.transfer_syntax_uid
        )
        above = [match.patient.public_id, match.study.public_id, match.public_id]
        first = next((depth for depth, each in enumerate(above) if self._above[depth : depth + 1] != [each]), 3)
        self._above = above
        await asyncio.to_thread(self._write, first, attributes, kind, file)

    def _write(self, first: int, attributes: Mapping[str, Any], kind: str, file: FileReference) -> None:
        for depth, name in list(enumerate(("PATIENT", "STUDY", "SERIES")))[first:]:
            self._directory.add(depth, name, attributes[name])
        self._directory.add(3, kind, attributes[kind], file)

    async def content(self) -> ItemStream:
        """Yield the DICOMDIR."""
        length = await asyncio.to_thread(self._directory.finish)
        yield ItemStart("application/dicom", length, name="DICOMDIR")
        while piece := await asyncio.to_thread(self._file.read, _PIECE):
            yield piece
