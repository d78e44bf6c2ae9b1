"""Bodies of `/tools/create-dicom`: what instances to make of tags, pictures and documents."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from osteon.dicom.attribute_names import describe, tag_of
from osteon.remotes.orthanc_json import bool_field
from osteon_query.http.bodies import parse_json
from osteon_query.http.errors import BadBody, BadParameter, NotSupported
from osteon_query.orthanc.created_tags import Elements, TagReader, decode_data_uri

FIELDS: Final = frozenset(
    {"Tags", "Content", "Parent", "PrivateCreator", "Force", "InterpretBinaryTags", "Encapsulate"}
)
PIXEL_DATA: Final = tag_of("PixelData")
_MOST_TAGS: Final = 10_000
_MOST_CONTENTS: Final = 1_000
_PICTURES: Final = ("image/png", "image/jpeg")
_PDF: Final = "application/pdf"
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_ENCAPSULATED_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass(frozen=True, slots=True)
class InstanceContent:
    """The file that an instance holds, empty for none, and tags of its own."""

    media_type: str = ""
    data: bytes = b""
    tags: Elements = field(default_factory=dict)

    @property
    def is_picture(self) -> bool:
        """Whether it becomes pixel data."""
        return self.media_type in _PICTURES

    @property
    def attributes(self) -> Elements:
        """What the content says of its instance: of a document all (PS3.3 A.45.1), else a SOP class."""
        if self.media_type != _PDF:
            return TagReader().elements({"SOPClassUID": _SECONDARY_CAPTURE})
        texts = {"SOPClassUID": _ENCAPSULATED_PDF, "Modality": "OT", "ConversionType": "WSD"}
        elements = TagReader().elements({**texts, "MIMETypeOfEncapsulatedDocument": _PDF})
        document = {"vr": "OB", "InlineBinary": base64.b64encode(self.data).decode()}
        return {**elements, tag_of("EncapsulatedDocument"): document}


@dataclass(frozen=True, slots=True)
class CreationRequest:
    """Tags that all instances share, and what each holds. `in_series`: a list of contents was given."""

    names: frozenset[str]
    tags: Elements
    contents: Sequence[InstanceContent]
    parent: str
    force: bool
    in_series: bool

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a body in a file; raises `BadBody`, `BadParameter`, `UnknownAttribute` and `NotSupported`. Blocks."""
        body = parse_json(path.read_bytes())
        if not isinstance(body, dict):
            raise BadBody("the body is not a JSON object")
        if body.get("Encapsulate"):
            raise NotSupported("Encapsulate: pictures are stored without compression; modify with Transcode compresses")
        creator, parent = body.get("PrivateCreator", ""), body.get("Parent", "")
        if not isinstance(creator, str) or not isinstance(parent, str):
            raise BadParameter("PrivateCreator, Parent: expected text")
        reader = TagReader(creator, bool_field(body, "InterpretBinaryTags", default=True))
        given = body.get("Content") or ""
        listed = given if isinstance(given, list) else [given] if given else []
        if len(listed) > _MOST_CONTENTS:
            raise BadParameter(f"Content: at most {_MOST_CONTENTS} files in one request")
        return cls(
            frozenset(body),
            _tags(body, reader),
            [_content(each, reader) for each in listed] or [InstanceContent()],
            parent,
            bool_field(body, "Force", default=False),
            isinstance(given, list),
        )


def _tags(body: Mapping[str, Any], reader: TagReader) -> Elements:
    given = body.get("Tags", {})
    if not isinstance(given, dict) or len(given) > _MOST_TAGS:
        raise BadParameter(f"Tags: expected an object with at most {_MOST_TAGS} tags")
    found = reader.elements(given)
    if PIXEL_DATA in found:
        raise BadParameter('Tags: use "Content" to put a picture into a new instance')
    for tag in found:
        if tag < "0008" or tag.startswith("FFFE") or tag.endswith("0000"):
            raise BadParameter(f"Tags: {describe((tag,))} cannot be set")
    return found


def _content(given: Any, reader: TagReader) -> InstanceContent:
    tags: Elements = {}
    if isinstance(given, dict):
        tags, given = _tags(given, reader), given.get("Content")
    if not isinstance(given, str):
        raise BadParameter("Content: expected a data URI, or a list of them")
    media_type, data = decode_data_uri(given, "Content")
    if media_type == _PDF and not data.startswith(b"%PDF"):
        raise BadParameter("Content: not a PDF file")
    if media_type not in (*_PICTURES, _PDF):
        raise NotSupported(f"Content: {media_type[:80]!r}: expected one of {', '.join((*_PICTURES, _PDF))}")
    return InstanceContent(media_type, data, tags)
