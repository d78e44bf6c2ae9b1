"""Encoded data sets with bulk data in files → DICOM file (PS3.10 7.1, PS3.18 10.5.2), in constant memory."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from osteon.dicom.dataset_encoder import TEXT_VRS, DatasetEncoder
from osteon.dicom.encoded_data_set import (
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    AttributeGap,
    BadMetadata,
    BulkGap,
    EncodedDataSet,
    FileRange,
    element_head,
)
from osteon.dicom.encoding import ITEM_BYTES, LONG_VRS
from osteon.dicom.part10 import write_part10_header
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN

PIXEL_DATA: Final = "7FE00010"
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
    path: Path,
    data_set: EncodedDataSet,
    bulk: Mapping[str, BulkFileRange],
    transfer_syntax_uid: str,
    attributes: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write a new DICOM file. Blocks: call it in a thread.

    `bulk` has the value of each BulkDataURI, `attributes` fill gaps, by tag. The transfer syntax is Explicit VR Little
    Endian or one whose pixel data is in fragments. Raises `BadMetadata`.
    """
    sop_class, sop = data_set.texts.get("00080016", ""), data_set.texts.get("00080018", "")
    # A data set without a UID is refused when the file is stored.
    header = write_part10_header(sop_class, sop, transfer_syntax_uid)
    with path.open("xb", buffering=_CHUNK) as file:
        file.write(header)
        composer = _Composer(file, fragments=transfer_syntax_uid != EXPLICIT_VR_LITTLE_ENDIAN)
        for segment in data_set.segments:
            if isinstance(segment, BulkGap):
                composer.write_value(segment, bulk[segment.uri])
            elif isinstance(segment, FileRange):
                composer.copy_range(segment)
            elif isinstance(segment, AttributeGap):
                if segment.tag in attributes:
                    file.write(_encoder.leaf(segment.tag, attributes[segment.tag]))
            else:
                file.write(segment)


_encoder: Final = DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN)


class _Composer:
    def __init__(self, file: BinaryIO, *, fragments: bool) -> None:
        self._file = file
        self._fragments = fragments

    def copy_range(self, source: FileRange) -> None:
        """Copy bytes of a file."""
        with source.path.open("rb") as file:
            file.seek(source.offset)
            left = source.length
            while left:
                chunk = file.read(min(_CHUNK, left))
                left -= len(chunk)
                self._file.write(chunk)

    def write_value(self, gap: BulkGap, bulk: BulkFileRange) -> None:
        """Write an element whose value is in files; raises `BadMetadata`."""
        tag, vr = gap.tag, gap.vr
        if gap.pixels and self._fragments:
            self._pixels(bulk)
            return
        length = sum(file.stat().st_size for file in bulk.files)
        if length > _LONG_MAX:
            raise BadMetadata(f"{gap.path}: {length} bytes are more than a value can have")
        even = length + length % 2
        name = vr if vr.encode() in LONG_VRS or even <= _SHORT_MAX else "UN"
        long = name.encode() in LONG_VRS
        self._file.write(
            element_head(tag, name) + even.to_bytes(4, "little") if long else element_head(tag, name, even)
        )
        self._copy(bulk.files)
        if length % 2:
            self._file.write(b" " if vr in _PADDED_BY_SPACE else b"\0")

    def _pixels(self, bulk: BulkFileRange) -> None:
        """Write pixel data in fragments (PS3.5 A.4), the offset table empty, a fragment for each frame."""
        self._file.write(element_head(PIXEL_DATA, "OB") + UNDEFINED_LENGTH)
        if not bulk.frames:
            (file,) = bulk.files
            ended = _has_end(file)
            self._copy([file])
            self._file.write(b"" if ended else SEQUENCE_END)
            return
        self._file.write(ITEM_BYTES + bytes(4))
        for file in bulk.files:
            length = file.stat().st_size
            if length > _LONG_MAX:
                raise BadMetadata(f"{PIXEL_DATA}: a frame of {length} bytes is longer than a fragment can be")
            self._file.write(ITEM_BYTES + (length + length % 2).to_bytes(4, "little"))
            self._copy([file])
            self._file.write(bytes(length % 2))
        self._file.write(SEQUENCE_END)

    def _copy(self, files: Sequence[Path]) -> None:
        for path in files:
            with path.open("rb") as source:
                shutil.copyfileobj(source, self._file, _CHUNK)


def begins_with_item(path: Path) -> bool:
    """Whether a file begins as pixel data in fragments does: with the item of the offset table."""
    with path.open("rb") as file:
        return file.read(len(ITEM_BYTES)) == ITEM_BYTES


def _has_end(path: Path) -> bool:
    """Whether fragments in a file end with the sequence delimiter; raises `BadMetadata` when they are invalid."""
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            tag, length = file.read(4), file.read(4)
            if tag + length == SEQUENCE_END and position + 8 == size:
                return True
            if tag != ITEM_BYTES or len(length) < len(UNDEFINED_LENGTH):
                break
            position += 8 + int.from_bytes(length, "little")
    if position != size:
        raise BadMetadata(f"{PIXEL_DATA}: no fragment begins at byte {position}, as the transfer syntax has them")
    return False
