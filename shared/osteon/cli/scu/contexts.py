"""Presentation contexts for files to send, and data sets as the accepted ones want them (PS3.8 7.1.1.13)."""

import asyncio
import mmap
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final

from osteon.cli.scu.files import DicomFile
from osteon.dicom.encoding import IMPLICIT, actual_encoding, declared_encoding
from osteon.dicom.reencode import ElementScope, Reencoder, iter_elements
from osteon.dicom.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from osteon.dimse.config import RequestedContext
from osteon.dimse.handler import PresentationContext
from osteon.dimse.requestor import RequestedAssociation

FileKind = tuple[str, str]
"""SOP class and transfer syntax of a file."""
MOST_KINDS: Final = 64
"""For one association: each may take two of its 128 contexts."""
_PART: Final = 1 << 20
_RECODED: Final = frozenset({EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})
"""What is sent as Implicit VR Little Endian to a peer that takes nothing else; every peer takes that (PS3.5 10.1)."""


def kind_of(found: DicomFile) -> FileKind:
    """Return what a file needs a context for."""
    return found.sop_class, found.syntax


def proposals(kinds: Iterable[FileKind]) -> list[RequestedContext]:
    """Return the contexts for some kinds of files: their own syntax, and apart from it the one that always works."""
    wanted = dict.fromkeys(
        (sop_class, each)
        for sop_class, syntax in kinds
        for each in (syntax, *((IMPLICIT_VR_LITTLE_ENDIAN,) if syntax in _RECODED else ()))
    )
    return [RequestedContext(abstract_syntax=sop_class, transfer_syntaxes=(syntax,)) for sop_class, syntax in wanted]


def context_for(association: RequestedAssociation, found: DicomFile) -> PresentationContext | None:
    """Return the accepted context for a file, or None."""
    fallback = (IMPLICIT_VR_LITTLE_ENDIAN,) if found.syntax in _RECODED else ()
    return association.context_for(found.sop_class, found.syntax, *fallback)


def data_set(found: DicomFile, context: PresentationContext) -> tuple[AsyncIterator[bytes], int | None]:
    """Return a file's data set in parts, in the transfer syntax of `context`, and its length in bytes if known.

    The parts raise `OSError`, and `BadDataSet` when another encoding is wanted of a data set that cannot be read.
    """
    if context.transfer_syntax == found.syntax:
        return _as_it_is(found), found.size - found.offset
    return _in_threads(_recoded(found)), None


async def _as_it_is(found: DicomFile) -> AsyncIterator[bytes]:
    if found.size - found.offset <= _PART:
        yield await asyncio.to_thread(_whole, found)
        return
    async for part in _in_threads(_parts(found)):
        yield part


def _whole(found: DicomFile) -> bytes:
    with found.path.open("rb", buffering=0) as file:
        file.seek(found.offset)
        return file.read()


def _parts(found: DicomFile) -> Iterator[bytes]:
    with found.path.open("rb", buffering=0) as file:
        file.seek(found.offset)
        while part := file.read(_PART):
            yield part


async def _in_threads(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while part := await asyncio.to_thread(next, parts, b""):
        yield part


def _recoded(found: DicomFile) -> Iterator[bytes]:
    with (
        found.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[found.offset :] as data,
    ):
        encoding = actual_encoding(data, 0, declared_encoding(transfer_syntax(found.syntax)))
        recoder, scope, part = Reencoder(data, IMPLICIT), ElementScope(), bytearray()
        for element in iter_elements(data, 0, len(data), encoding):
            for piece in recoder.element(element, encoding, scope):
                part += piece
                if len(part) >= _PART:
                    yield bytes(part)
                    part.clear()
        yield bytes(part)
