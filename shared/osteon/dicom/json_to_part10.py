"""DICOM JSON with bulk data in files → DICOM file (PS3.10 7.1, PS3.18 10.5.2), in constant memory.

Data sets are written in explicit VR little endian, sequences and items with undefined length, so that bulk data
anywhere is copied straight from its file.
"""

import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from osteon.dicom.dataset_encoder import TEXT_VRS, DatasetEncoder
from osteon.dicom.encoding import LONG_VRS, UNDEFINED
from osteon.dicom.json_model import BadMetadata, DataSet
from osteon.dicom.part10 import write_part10_header
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN

PIXEL_DATA: Final = "7FE00010"
_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_END: Final = b"\xfe\xff\x0d\xe0" + bytes(4)
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0" + bytes(4)
_UNDEFINED: Final = struct.pack("<L", UNDEFINED)
_CHUNK: Final = 1 << 20
_SHORT_MAX: Final = 0xFFFE
_LONG_MAX: Final = 0xFFFFFFFE
_PADDED_BY_SPACE: Final = TEXT_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UR"}


@dataclass(frozen=True, slots=True)
class BulkFileRange:
    """A value in files. `frames`: each file is a compressed frame, else together they are the value as it stands.

    As it stands pixel data in fragments is one file of items.
    """

    files: Sequence[Path]
    frames: bool = False


def write_part10_file(
    path: Path, data_set: DataSet, bulk: Mapping[str, BulkFileRange], transfer_syntax_uid: str
) -> None:
    """Write a new DICOM file; `bulk` has the value of each BulkDataURI. Blocks: call it in a thread.

    The transfer syntax is Explicit VR Little Endian or one whose pixel data is in fragments. Raises `BadMetadata`.
    """
    header = write_part10_header(_uid(data_set, "00080016"), _uid(data_set, "00080018"), transfer_syntax_uid)
    with path.open("xb", buffering=_CHUNK) as file:
        file.write(header)
        _Composer(file, bulk, fragments=transfer_syntax_uid != EXPLICIT_VR_LITTLE_ENDIAN).write(data_set, "")


def _uid(data_set: DataSet, tag: str) -> str:
    """Return a UID for the file meta information; a data set without it is refused when the file is stored."""
    value = (data_set.get(tag, {}).get("Value") or [""])[0]
    return value if isinstance(value, str) and value.isascii() else ""


class _Composer:
    def __init__(self, file: BinaryIO, bulk: Mapping[str, BulkFileRange], *, fragments: bool) -> None:
        self._file = file
        self._bulk = bulk
        self._fragments = fragments
        self._encoder = DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN)

    def write(self, data_set: Mapping[str, Mapping[str, Any]], path: str) -> None:
        for tag, element in data_set.items():
            if "BulkDataURI" in element:
                self._value(tag, element["vr"], self._bulk[element["BulkDataURI"]], path)
            elif element["vr"] == "SQ":
                self._sequence(tag, element.get("Value", ()), path + tag)
            else:
                self._leaf(tag, element, path)

    def _leaf(self, tag: str, element: Mapping[str, Any], path: str) -> None:
        try:
            self._file.write(self._encoder.leaf(tag, element))
        except ValueError as error:
            raise BadMetadata(f"{path}{tag}: a value does not fit VR {element['vr']}: {error}") from None

    def _sequence(self, tag: str, items: Sequence[Mapping[str, Any]], path: str) -> None:
        self._file.write(_head(tag, "SQ") + _UNDEFINED)
        for number, item in enumerate(items):
            self._file.write(_ITEM + _UNDEFINED)
            self.write(item, f"{path}[{number}].")
            self._file.write(_ITEM_END)
        self._file.write(_SEQUENCE_END)

    def _value(self, tag: str, vr: str, bulk: BulkFileRange, path: str) -> None:
        if tag == PIXEL_DATA and not path and self._fragments:
            self._pixels(bulk)
            return
        length = sum(file.stat().st_size for file in bulk.files)
        if length > _LONG_MAX:
            raise BadMetadata(f"{path}{tag}: {length} bytes are more than a value can have")
        even = length + length % 2
        name = vr if vr.encode() in LONG_VRS or even <= _SHORT_MAX else "UN"
        long = name.encode() in LONG_VRS
        self._file.write(_head(tag, name) + struct.pack("<L", even) if long else _head(tag, name, even))
        self._copy(bulk.files)
        if length % 2:
            self._file.write(b" " if vr in _PADDED_BY_SPACE else b"\0")

    def _pixels(self, bulk: BulkFileRange) -> None:
        """Write pixel data in fragments (PS3.5 A.4), the offset table empty, a fragment for each frame."""
        self._file.write(_head(PIXEL_DATA, "OB") + _UNDEFINED)
        if not bulk.frames:
            (file,) = bulk.files
            ended = _has_end(file)
            self._copy([file])
            self._file.write(b"" if ended else _SEQUENCE_END)
            return
        self._file.write(_ITEM + bytes(4))
        for file in bulk.files:
            length = file.stat().st_size
            if length > _LONG_MAX:
                raise BadMetadata(f"{PIXEL_DATA}: a frame of {length} bytes is longer than a fragment can be")
            self._file.write(_ITEM + struct.pack("<L", length + length % 2))
            self._copy([file])
            self._file.write(bytes(length % 2))
        self._file.write(_SEQUENCE_END)

    def _copy(self, files: Sequence[Path]) -> None:
        for path in files:
            with path.open("rb") as source:
                shutil.copyfileobj(source, self._file, _CHUNK)


def begins_with_item(path: Path) -> bool:
    """Whether a file begins as pixel data in fragments does: with the item of the offset table."""
    with path.open("rb") as file:
        return file.read(len(_ITEM)) == _ITEM


def _has_end(path: Path) -> bool:
    """Whether fragments in a file end with the sequence delimiter; raises `BadMetadata` when they are invalid."""
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            tag, length = file.read(4), file.read(4)
            if tag + length == _SEQUENCE_END and position + 8 == size:
                return True
            if tag != _ITEM or len(length) < len(_UNDEFINED):
                break
            position += 8 + int.from_bytes(length, "little")
    if position != size:
        raise BadMetadata(f"{PIXEL_DATA}: no fragment begins at byte {position}, as the transfer syntax has them")
    return False


def _head(tag: str, vr: str, length: int | None = None) -> bytes:
    """Return tag and VR, with a 16-bit length, or without the 32-bit length that follows them."""
    head = struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16)) + vr.encode()
    return head + (b"\0\0" if length is None else struct.pack("<H", length))
