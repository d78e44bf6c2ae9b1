"""Bulk data of a STOW-RS request: what the headers of its parts say of it (PS3.18 8.7.3.3, Table 8.7.3-5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from osteon.dicom.encoded_data_set import BadMetadata
from osteon.dicom.errors import UnknownTransferSyntax
from osteon.dicom.jpeg import jpeg_process
from osteon.dicom.json_to_part10 import BulkFileRange, begins_with_item
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon_query.http.accept import ALIASES, split_header
from osteon_query.http.errors import BadBody
from osteon_query.http.media_types import SYNTAXES_OF

_JPEG: Final = "image/jpeg"
_LITTLE_ENDIAN: Final = frozenset({"", "*", EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN})


@dataclass(frozen=True, slots=True)
class PixelEncoding:
    """How pixel data is written: the transfer syntax, and whether each file is a compressed frame."""

    transfer_syntax_uid: str
    frames: bool = False


@dataclass(slots=True)
class BulkPart:
    """The parts of one BulkDataURI: one, or one a frame. `transfer_syntax` is empty when it is not named."""

    media_type: str
    transfer_syntax: str
    files: dict[int, Path] = field(default_factory=dict)
    numbered: bool = False

    @classmethod
    def of(cls, content_type: str) -> "BulkPart":
        """Begin with the Content-Type of the first part."""
        media_type, parameters = split_header(content_type[:1024] or "application/octet-stream")
        return cls(ALIASES.get(media_type, media_type), parameters.get("transfer-syntax", ""))

    @property
    def count(self) -> int:
        """Number of parts received so far."""
        return len(self.files)

    @property
    def by_frame(self) -> bool:
        """Whether a frame is in a part of its own."""
        return self.numbered or self.media_type.startswith("image/")

    def add(self, path: Path, number: int, uri: str) -> None:
        """Take the next part; `number` is that of its frame, 0 when it has none."""
        self.numbered = self.numbered or number > 0
        number = number or self.count + 1
        if number in self.files or (self.files and not self.by_frame):
            raise BadBody(f"the part {uri[:200]!r} is present twice")
        self.files[number] = path

    def encoding(self, declared: str) -> PixelEncoding:
        """Return how pixel data is encoded; `declared` is what the metadata says. Raises `UnknownTransferSyntax`."""
        named = self.transfer_syntax
        if self.media_type in SYNTAXES_OF:
            return PixelEncoding(_require_encapsulated(named or self._default()), frames=True)
        if self.media_type.startswith(("image/", "video/")):
            raise UnknownTransferSyntax(f"pixel data of media type {self.media_type[:80]!r} cannot be stored")
        in_fragments = begins_with_item(self._ordered()[0])
        if not named and in_fragments and declared not in _LITTLE_ENDIAN:
            named = declared
        if named in _LITTLE_ENDIAN:
            return PixelEncoding(EXPLICIT_VR_LITTLE_ENDIAN)
        return PixelEncoding(_require_encapsulated(named), frames=not in_fragments)

    def _default(self) -> str:
        if self.media_type == _JPEG:
            with self._ordered()[0].open("rb") as file:
                return jpeg_process(file) or SYNTAXES_OF[_JPEG][0]
        return SYNTAXES_OF[self.media_type][0]

    def value(self, encoding: PixelEncoding | None) -> BulkFileRange:
        """Return the value; raises `BadMetadata` when a frame is missing."""
        return BulkFileRange(self._ordered(), frames=encoding is not None and encoding.frames)

    def _ordered(self) -> list[Path]:
        numbers = sorted(self.files)
        if numbers != list(range(1, len(numbers) + 1)):
            raise BadMetadata(f"frame {numbers[-1]} was received, but not all frames before it")
        return [self.files[number] for number in numbers]

    def delete(self) -> None:
        """Delete the files of all parts."""
        for path in self.files.values():
            path.unlink()


def _require_encapsulated(uid: str) -> str:
    syntax = TRANSFER_SYNTAXES.get(uid)
    if syntax is None or not (syntax.encapsulated or syntax.video):
        raise UnknownTransferSyntax(f"transfer syntax {uid[:80]!r} cannot be used for pixel data in bulk data")
    return uid


def is_bulk(headers: Mapping[str, str]) -> bool:
    """Whether a part says which bulk data it is."""
    return "content-location" in headers or "content-id" in headers


def location_of(headers: Mapping[str, str]) -> str:
    """Return the BulkDataURI of a part; raises `BadBody`."""
    if location := headers.get("content-location", "").strip():
        return location
    if identifier := headers.get("content-id", "").strip():
        return "cid:" + identifier.removeprefix("<").removesuffix(">")
    raise BadBody("a part with bulk data has no Content-Location")
