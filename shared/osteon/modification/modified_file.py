"""Writing the file of a changed instance from a stored one (PS3.5 section 7.1, PS3.10 7.1).

Elements that the change leaves alone are copied byte for byte; pixel data and other large binary values are never read
into memory.
"""

import hashlib
import mmap
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag

from osteon.dicom.attribute_names import vr_of_tag
from osteon.dicom.deflate import inflate
from osteon.dicom.elements import nested_encoding, skip_undefined
from osteon.dicom.encoding import UNDEFINED, Buffer, Encoding, actual_encoding, declared_encoding
from osteon.dicom.errors import BadDataSet, HeaderTooLong
from osteon.dicom.identity import Identity, require_uid
from osteon.dicom.part10 import read_part10, write_part10_header
from osteon.dicom.reencode import ElementSpan, iter_elements
from osteon.dicom.uids import transfer_syntax
from osteon.dicom.vr import BINARY
from osteon.errors import OsteonError

_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_PIXEL_DATA: Final = 0x7FE00010
_CHARACTER_SET: Final = 0x00080005
_SMALL: Final = 64 << 10
"""Bytes up to which binary values are shown to the change."""
_MAX_HEADER: Final = 64 << 20
"""Bytes of a header in memory: text, sequences, small values."""
_MAX_INFLATED: Final = 256 << 20
"""Bytes of a deflated data set, which is in memory."""
_PIECE: Final = 1 << 20

Change = Callable[[Dataset], None]


@dataclass(frozen=True, slots=True)
class ModifiedFile:
    """What was written: who the instance is now, the SHA-256 of its data set, and the file's length in bytes."""

    identity: Identity
    transfer_syntax_uid: str
    sha256: bytes
    size: int


def write_modified_file(source: Path, offset: int, length: int, change: Change, target: Path) -> ModifiedFile:
    """Write the Part 10 file at `offset` of `source`, `length` bytes, changed, to the new file `target`.

    `change` gets the data set without pixel data. A large binary value is a token there: what becomes of the element
    counts, and the token stands for the value. The same input always gives the same bytes. Blocks: call it in a thread.

    Raises what `change` raises, `BadPart10`, `BadDataSet`, `MissingIdentifier` and `UnknownTransferSyntax`.
    """
    with source.open("rb") as file:
        # Not closed explicitly: an error's traceback may still hold views of it, which would make closing fail.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(mapped)[offset : offset + length]
    meta = read_part10(view)
    syntax = transfer_syntax(meta.transfer_syntax_uid)
    data: Buffer = view[meta.data_set_offset :]
    if syntax.deflated:
        data, more = inflate(data, _MAX_INFLATED)
        if more:
            raise BadDataSet(f"a deflated data set of more than {_MAX_INFLATED} bytes", "", len(data))
    header = _Header(data, actual_encoding(data, 0, declared_encoding(syntax)))
    try:
        change(header.dataset)
        identity = header.identity()
        pieces = list(header.pieces())
    except OsteonError:
        raise
    except Exception as error:  # pydicom raises anything for values that cannot be what their VR says
        raise BadDataSet(f"{type(error).__name__}: {error}", "", 0) from error
    digest = hashlib.sha256()
    with target.open("xb") as out:
        head = (identity.sop_class_uid, identity.sop_uid, meta.transfer_syntax_uid)
        out.write(write_part10_header(*head))
        for piece in _deflated(pieces) if syntax.deflated else _small(pieces):
            digest.update(piece)
            out.write(piece)
        size = out.tell()
        out.seek(0)
        out.write(write_part10_header(*head, sha256=digest.digest()))
    return ModifiedFile(identity, meta.transfer_syntax_uid, digest.digest(), size)


def _small(pieces: list[Buffer]) -> Iterator[Buffer]:
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            yield piece[start : start + _PIECE]


def _deflated(pieces: list[Buffer]) -> Iterator[Buffer]:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for piece in _small(pieces):
        out = deflater.compress(piece)
        length += len(out)
        yield out
    out = deflater.flush()
    yield out + bytes((length + len(out)) % 2)


class _Header:
    """The data set of `data`, with what is needed to write it again."""

    def __init__(self, data: Buffer, encoding: Encoding) -> None:
        self._view = memoryview(data)
        self._encoding = encoding
        self._spans: dict[int, ElementSpan] = {}
        self._raw: dict[int, RawDataElement] = {}
        self._tokens: dict[int, bytes] = {}
        read = 0
        for span in _spans(data, encoding):
            if span.tag & 0xFFFF == 0:
                continue  # group lengths are retired and would be wrong
            self._spans[span.tag] = span
            if span.tag not in _PIXELS:
                raw = self._raw[span.tag] = self._element(span)
                read += len(raw.value or b"")
                if read > _MAX_HEADER:
                    raise HeaderTooLong(f"more than {_MAX_HEADER} bytes in front of pixel data", "", span.position)
        self.dataset = Dataset({BaseTag(tag): raw for tag, raw in self._raw.items()})
        implicit, little = not encoding.explicit, encoding.little_endian
        self.dataset.set_original_encoding(implicit, little, convert_encodings(self._character_set()))

    def _element(self, span: ElementSpan) -> RawDataElement:
        vr = span.vr.decode() if span.vr else None
        kind = vr or vr_of_tag(f"{span.tag:08X}")
        if kind in BINARY and span.length != UNDEFINED and span.length > _SMALL:
            value = b"OSTEON%010d" % len(self._tokens)
            self._tokens[span.tag] = value
        else:
            value = bytes(self._view[span.start : span.end])
        implicit = not self._encoding.explicit or vr is None
        if span.length == UNDEFINED:  # UN hides a sequence in implicit VR then (PS3.5 6.2.2 note 2)
            vr, implicit = "SQ", implicit or vr == "UN"
        little = self._encoding.little_endian
        return RawDataElement(BaseTag(span.tag), vr, len(value), value, span.start, implicit, little)

    def _character_set(self) -> list[str]:
        return [each.strip(" \0") for each in self._text(_CHARACTER_SET).split("\\")]

    def _text(self, tag: int) -> str:
        """Return a value of the default repertoire, without taking the element for touched."""
        if tag not in self.dataset or (item := self.dataset.get_item(tag)).value is None:
            return ""
        value = item.value
        if isinstance(value, bytes):
            return value.decode("latin-1").strip(" \0")
        return str(value) if isinstance(value, str) else "\\".join(str(each) for each in value)

    def identity(self) -> Identity:
        """Return who the instance is now; raises `MissingIdentifier`."""
        patient_id = str(self.dataset.PatientID or "") if "PatientID" in self.dataset else ""
        return Identity(
            patient_id=patient_id.strip(" \0"),
            study_uid=require_uid("Study Instance UID (0020,000D)", self._text(0x0020000D)),
            series_uid=require_uid("Series Instance UID (0020,000E)", self._text(0x0020000E)),
            sop_uid=require_uid("SOP Instance UID (0008,0018)", self._text(0x00080018)),
            sop_class_uid=require_uid("SOP Class UID (0008,0016)", self._text(0x00080016)),
        )

    def pieces(self) -> Iterator[Buffer]:
        """Iterate over the encoded elements: views of what was not touched, new bytes of what was."""
        encodings = convert_encodings(self._character_set())
        pixels = {tag for tag in _PIXELS if tag in self._spans}
        for tag in sorted(pixels | set(map(int, self.dataset.keys()))):
            item = self.dataset.get_item(tag) if tag not in pixels else None
            if item is None or self._is_untouched(tag, item):
                span = self._spans[tag]
                yield self._view[span.position : span.end]
            else:
                yield self._encode(self.dataset[tag], encodings)

    def _is_untouched(self, tag: int, item: DataElement | RawDataElement) -> bool:
        if item is self._raw.get(tag):
            return True
        return tag in self._tokens and item.value == self._tokens[tag]

    def _encode(self, element: DataElement, encodings: list[str]) -> bytes:
        out = DicomBytesIO()
        out.is_implicit_VR, out.is_little_endian = not self._encoding.explicit, self._encoding.little_endian
        write_data_element(out, element, encodings)
        return out.getvalue()


def _spans(data: Buffer, encoding: Encoding) -> Iterator[ElementSpan]:
    """Iterate over the elements of a data set, those behind pixel data too."""
    size, position = len(data), 0
    for found in iter_elements(data, 0, size, encoding, last=_PIXEL_DATA):
        if found.tag == _PIXEL_DATA:
            position = _end_of_pixels(data, found, encoding)
            yield found._replace(end=position)
        else:
            yield found
    if position:
        yield from iter_elements(data, position, size, encoding)


def _end_of_pixels(data: Buffer, found: ElementSpan, encoding: Encoding) -> int:
    """Return where pixel data ends; at the end of the data set when that is cut off."""
    size = len(data)
    if found.length != UNDEFINED:
        return min(found.start + found.length, size)
    try:
        return min(skip_undefined(data, found.start, nested_encoding(found.vr, encoding), stop=size), size)
    except BadDataSet:
        return size
