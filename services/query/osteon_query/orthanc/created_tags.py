"""Tags of requests in Orthanc's words as elements in the DICOM JSON Model, for instances that are made of them."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from osteon.dicom.attribute_names import describe, tag_of, vr_of_tag
from osteon.dicom.dataset_encoder import TEXT_VRS, DatasetEncoder
from osteon.dicom.json_values import json_values
from osteon.dicom.private_blocks import is_private
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.dicom.vr import BINARY, private_vr
from osteon_query.http.errors import BadParameter

Elements = dict[str, dict[str, Any]]
"""Tag → DICOM JSON element."""

_DEEPEST: Final = 16
_NUMBERS: Final = frozenset({"DS", "IS"})
_encoder: Final = DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN)


@dataclass(frozen=True, slots=True)
class TagReader:
    """Reads values: text, arrays of objects for sequences, and `data:` URIs if `binary`.

    `creator` is the private creator of private tags, or empty.
    """

    creator: str = ""
    binary: bool = True

    def elements(self, tags: Mapping[str, Any], depth: int = 0) -> Elements:
        """Return the elements in the order of their tags; raises `BadParameter` and `UnknownAttribute`."""
        found: Elements = {}
        for name, value in tags.items():
            tag = tag_of(name)
            if tag in found:
                raise BadParameter(f"Tags: {describe((tag,))} comes twice")
            found[tag] = self._element(tag, value, depth)
        if self.creator:
            blocks = {f"{tag[:4]}00{tag[4:6]}" for tag in found if is_private(tag) and tag[4:6] != "00"}
            found = {block: {"vr": "LO", "Value": [self.creator]} for block in blocks} | found
        return {tag: found[tag] for tag in sorted(found)}

    def _element(self, tag: str, value: Any, depth: int) -> dict[str, Any]:
        name = describe((tag,))
        vr = private_vr(int(tag, 16), self.creator)[:2] if is_private(tag) else vr_of_tag(tag)
        if vr == "SQ":
            return {"vr": vr, "Value": list(self._items(name, value, depth))}
        if not isinstance(value, str):
            raise BadParameter(f"Tags: {name}: expected text, got {type(value).__name__}")
        element = self._leaf(vr, value, name)
        try:
            _encoder.leaf(tag, element)
        except ValueError as error:
            raise BadParameter(f"Tags: {name}: {value[:80]!r} is not a value of VR {vr}: {error}") from None
        return element

    def _leaf(self, vr: str, value: str, name: str) -> dict[str, Any]:
        content = decode_data_uri(value, name)[1] if self.binary and value.startswith("data:") else None
        if vr in BINARY:
            raw = value.encode() if content is None else content
            return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode()} if raw else {"vr": vr}
        if content is not None:
            if vr not in TEXT_VRS:
                raise BadParameter(f"Tags: {name}: a data URI is not a value of VR {vr}")
            value = content.decode("utf-8", "replace")
        if not value:
            return {"vr": vr}
        if vr == "AT":
            return {"vr": vr, "Value": [tag_of(part.strip()) for part in value.split("\\")]}
        return {"vr": vr, "Value": json_values(vr, value), **({"Text": value} if vr in _NUMBERS else {})}

    def _items(self, name: str, value: Any, depth: int) -> Iterator[Elements]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise BadParameter(f"Tags: {name}: expected an array of objects, one for each item")
        if depth >= _DEEPEST:
            raise BadParameter(f"Tags: {name}: nested deeper than {_DEEPEST} sequences")
        for item in value:
            yield self.elements(item, depth + 1)


def decode_data_uri(text: str, name: str) -> tuple[str, bytes]:
    """Return media type and content of a `data:` URI in base64 (RFC 2397); raises `BadParameter`."""
    head, comma, content = text.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise BadParameter(f"{name}: expected data:<media type>;base64,<content>")
    try:
        return head[len("data:") :].partition(";")[0].lower(), base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadParameter(f"{name}: not base64: {error}") from None
