"""What an instance shows, and the media type of its own that each value has (PS3.18 8.7.2, 8.7.3, 8.7.4)."""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from osteon.archive.resources import Location
from osteon.dicom.header.bulk import PIXEL_TAGS
from osteon.dicom.header.load import load_header
from osteon.packs.sidecar import SidecarLine
from osteon_query.http.accept import OCTETS
from osteon_query.http.media_types import is_video, media_type_of

DOCUMENT: Final = "00420011"
"""Encapsulated Document."""
DOCUMENT_LENGTH: Final = "00420015"
"""Its length in bytes, without padding (PS3.3 C.24.2)."""

_SOP_CLASS: Final = "00080016"
_MIME_TYPE: Final = "00420012"
_CONTENT: Final = "0040A730"
_VALUE_TYPE: Final = "0040A040"
_WAVEFORMS: Final = "54000100"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_CONTAINERS: Final = ("multipart/", "message/", "application/dicom")
_OF_CLASS: Final = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    "1.2.840.10008.5.1.4.1.1.104.2": "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
"""SOP class of an encapsulated document → its media type, when the data set does not say it (PS3.3 A.45, A.85)."""

DataSet = Mapping[str, Any]


class Category(Enum):
    """Resource categories of PS3.18 8.7.2; an encapsulated document and a waveform are of the category Other."""

    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "encapsulated document"
    REPORT = "structured report"
    WAVEFORM = "waveform"
    OTHER = "other"


def category_of(location: Location, line: SidecarLine) -> Category:
    """Return what an instance shows. Most headers need not be parsed for that."""
    header = line.header
    if header.pixel_data is not None:
        return Category.VIDEO if is_video(location.transfer_syntax_uid) else Category.IMAGE
    tags = (*PIXEL_TAGS, DOCUMENT, _CONTENT, _VALUE_TYPE, _WAVEFORMS)
    if not any(b'"%b":' % tag.encode() in header.json for tag in tags):
        return Category.OTHER
    found: DataSet = load_header(header.json)
    if any(tag in found for tag in PIXEL_TAGS):
        return Category.IMAGE
    if DOCUMENT in found:
        return Category.DOCUMENT
    if _CONTENT in found or text_of(found, _VALUE_TYPE) == "CONTAINER":
        return Category.REPORT
    return Category.WAVEFORM if _WAVEFORMS in found else Category.OTHER


def own_media_type(location: Location, line: SidecarLine, path: str) -> str:
    """Return the media type of a value: `application/octet-stream` for all but documents and videos.

    `path` is that of the value in its BulkDataURI. Images have types of their own as well, but for their frames.
    """
    pixels = line.header.pixel_data
    if pixels is not None and path == pixels.tag and is_video(location.transfer_syntax_uid):
        return media_type_of(location.transfer_syntax_uid)
    if path.rpartition("/")[2] == DOCUMENT:
        return _document_type(data_set_at(load_header(line.header.json), path) or {})
    return OCTETS


def _document_type(data_set: DataSet) -> str:
    named = text_of(data_set, _MIME_TYPE).partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(named) and not named.startswith(_CONTAINERS):
        return named
    return _OF_CLASS.get(text_of(data_set, _SOP_CLASS), OCTETS)


def data_set_at(header: DataSet, path: str) -> DataSet | None:
    """Return the data set or item that has the element at `path`, empty or not; None when there is none."""
    *steps, last = path.split("/")
    for tag, number in zip(steps[::2], steps[1::2], strict=True):
        items = header.get(tag, {}).get("Value", [])
        if int(number) >= len(items) or not isinstance(items[int(number)], dict):
            return None
        header = items[int(number)]
    return header if last in header else None


def text_of(data_set: DataSet, tag: str) -> str:
    """Return the first value of an element as text; empty when there is none, or no text."""
    values = data_set.get(tag, {}).get("Value") or [""]
    return values[0] if isinstance(values[0], str) else ""
