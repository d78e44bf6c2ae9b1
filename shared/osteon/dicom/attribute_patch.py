"""Replacing attributes of a stored data set: every byte of the other elements stays as it is (PS3.5 section 7.1).

Only elements of the data set itself are replaced, not nested ones. Pixel data is copied, never read.
"""

import io
import zlib
from collections.abc import Iterator
from typing import Final

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from osteon.dicom.dataset_encoder import DatasetEncoder, Elements
from osteon.dicom.deflate import inflate
from osteon.dicom.encoding import EXPLICIT, EXPLICIT_BIG, IMPLICIT, Buffer, Encoding, actual_encoding, declared_encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.reencode import iter_elements
from osteon.dicom.text_encoder import UNICODE, CharacterNotEncodable, TextEncoder, text_encoder_for
from osteon.dicom.uids import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)

_CHARACTER_SET: Final = 0x00080005
_PIXEL_DATA: Final = 0x7FE00008
"""The first of the elements with pixel data: nothing is replaced from it on."""
_LAST: Final = 0x7FE00010
_MAX_INFLATED: Final = 1 << 30
"""Bytes of a deflated data set that can be patched: they are in memory."""
_MAX_CONVERTED: Final = 64 << 20
"""Bytes of a data set of which text can be converted into another character set: they are in memory."""
_SYNTAX_OF: Final = {
    IMPLICIT: IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT: EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_BIG: EXPLICIT_VR_BIG_ENDIAN,
}


def replace_attributes(data: Buffer, transfer_syntax_uid: str, elements: Elements) -> Iterator[Buffer]:
    """Yield a data set in which `elements` (DICOM JSON, by tag) take the place of what it has under their tags.

    What it lacks is inserted in the order of tags. Group lengths of changed groups go: they would be wrong. Text is
    written in the data set's own character set or, where that lacks a character, all text in UTF-8. Blocks: call it
    in a thread.

    Raises `BadDataSet` when the elements in front of pixel data cannot be read, and `UnknownTransferSyntax`.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if not syntax.deflated:
        yield from _replace(data, declared_encoding(syntax), elements)
        return
    inflated, more = inflate(data, _MAX_INFLATED)
    if more:
        raise BadDataSet(f"a deflated data set of more than {_MAX_INFLATED} bytes", "", len(inflated))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for piece in _replace(inflated, declared_encoding(syntax), elements):
        deflated = deflater.compress(piece)
        length += len(deflated)
        yield deflated
    deflated = deflater.flush()
    yield deflated + bytes((length + len(deflated)) % 2)


def _replace(data: Buffer, declared: Encoding, elements: Elements) -> Iterator[Buffer]:
    encoding = actual_encoding(data, 0, declared)
    encoder = DatasetEncoder(_SYNTAX_OF[encoding])
    repertoire = _repertoire(data, encoding)
    try:
        if repertoire is None:
            raise CharacterNotEncodable("an unknown character set")
        encoded = _encode(encoder, elements, repertoire)
    except CharacterNotEncodable:
        data = _converted(data, encoding)
        encoded = _encode(encoder, elements, UNICODE)
    yield from _patched(data, encoding, encoded)


def _encode(encoder: DatasetEncoder, elements: Elements, repertoire: TextEncoder) -> list[tuple[int, bytes]]:
    return [(int(tag, 16), encoder.encode_in({tag: element}, repertoire)) for tag, element in sorted(elements.items())]


def _patched(data: Buffer, encoding: Encoding, encoded: list[tuple[int, bytes]]) -> Iterator[Buffer]:
    """Yield the bytes between replaced elements as views, and the new elements where they belong."""
    replaced = {tag for tag, _ in encoded}
    changed_groups = {tag >> 16 << 16 for tag in replaced}
    waiting = list(reversed(encoded))
    view = memoryview(data)
    copied = 0
    for element in iter_elements(data, 0, len(data), encoding, last=_LAST):
        gone = element.tag in replaced or element.tag in changed_groups
        due = waiting and waiting[-1][0] <= element.tag
        if gone or due:
            yield view[copied : element.position]
            copied = element.end if gone else element.position
            while waiting and waiting[-1][0] <= element.tag:
                yield waiting.pop()[1]
        if element.tag >= _PIXEL_DATA:
            break
    else:
        yield view[copied:]
        copied = len(data)
        while waiting:
            yield waiting.pop()[1]
    yield view[copied:]


def _repertoire(data: Buffer, encoding: Encoding) -> TextEncoder | None:
    """Return the character set of the data set; None when it names one that is not known."""
    for element in iter_elements(data, 0, len(data), encoding, last=_LAST):
        if element.tag == _CHARACTER_SET:
            value = bytes(data[element.start : element.end]).decode("latin-1")
            return text_encoder_for(tuple(each.strip(" \0") for each in value.split("\\")))
        if element.tag >= _PIXEL_DATA:
            break
    return text_encoder_for(())


def _converted(data: Buffer, encoding: Encoding) -> bytes:
    """Return the data set with all its text in UTF-8. What is in front of pixel data is in memory."""
    stop = len(data)
    for element in iter_elements(data, 0, len(data), encoding, last=_LAST):
        if element.tag >= _PIXEL_DATA:
            stop = element.position
            break
    if len(data) > _MAX_CONVERTED:
        raise BadDataSet(f"a data set of more than {_MAX_CONVERTED} bytes needs another character set", "", 0)
    implicit, little = not encoding.explicit, encoding.little_endian
    dataset = read_dataset(io.BytesIO(bytes(data[:stop])), implicit, little)
    dataset.decode()
    dataset.SpecificCharacterSet = UNICODE.values[0]
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    write_dataset(out, dataset)
    return out.getvalue() + bytes(data[stop:])
