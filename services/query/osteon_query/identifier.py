r"""The Identifier of a C-FIND request (PS3.4 C.4.1.1.3.1): bytes → keys with their values as text.

Values are taken from the raw elements, as keys may hold what their VR forbids: wild cards, ranges, lists.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from osteon.dicom.charset import character_set
from osteon.dicom.dataset_encoder import NUMBER_FORMATS, TEXT_VRS
from osteon.dicom.keys import keyword_of, vr_of_tag
from osteon.dicom.uids import transfer_syntax
from osteon.errors import Invalid

MAX_LENGTH: Final = 4 << 20
"""Bytes of an identifier, inflated: a list of 60,000 UIDs fits."""
_CHARSET: Final = 0x00080005


class BadIdentifier(Invalid):
    """The bytes are no data set in the transfer syntax of their presentation context."""


class BadKey(Invalid):
    """A key sequence has more than one item (PS3.4 C.2.2.2.6), or a key has a VR that its attribute can not have."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key attribute. `tags` and `path` (keywords, or tags of unknown attributes) lead to it through sequences.

    `text` is None for a sequence without an item: it is wanted as a whole.
    """

    tags: tuple[str, ...]
    path: tuple[str, ...]
    vr: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a C-FIND asks. `charset` has the values of Specific Character Set (0008,0005)."""

    keys: tuple[Key, ...]
    charset: tuple[str, ...]

    def text(self, keyword: str) -> str:
        """Return the value of a key that is in no sequence, empty when it is not there."""
        return next((key.text for key in self.keys if key.path == (keyword,) and key.text), "")


def read_identifier(data: bytes, transfer_syntax_uid: str) -> Identifier:
    """Decode an identifier; raises `BadIdentifier`, `BadKey` and `UnknownTransferSyntax`."""
    syntax = transfer_syntax(transfer_syntax_uid)
    data = _inflate(data) if syntax.deflated else data
    if len(data) > MAX_LENGTH:
        raise BadIdentifier(f"the identifier is longer than {MAX_LENGTH} bytes")
    try:
        dataset = read_dataset(io.BytesIO(data), not syntax.explicit, syntax.little_endian, bytelength=len(data))
        charset = _charset_of(dataset)
        decoder = _Decoder(charset, "<" if syntax.little_endian else ">")
        return Identifier(tuple(_keys(dataset, (), decoder)), _values(charset))
    except BadKey:
        raise
    except Exception as error:  # hostile bytes make pydicom raise errors of every kind, RecursionError included
        raise BadIdentifier(f"the identifier can not be decoded: {type(error).__name__}: {error}") from None


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return inflater.decompress(data, MAX_LENGTH + 1)
    except zlib.error as error:
        raise BadIdentifier(f"the identifier can not be inflated: {error}") from None


def _charset_of(dataset: Dataset) -> bytes:
    element = dataset.get_item(BaseTag(_CHARSET)) if _CHARSET in dataset else None
    return (element.value or b"") if isinstance(element, RawDataElement) else b""


def _values(charset: bytes) -> tuple[str, ...]:
    return tuple(part.strip(" \0") for part in charset.decode("ascii", "replace").split("\\")) if charset else ()


def _keys(dataset: Dataset, above: tuple[str, ...], decoder: "_Decoder") -> Iterator[Key]:
    for tag in sorted(dataset.keys()):
        name = f"{tag:08X}"
        if tag == _CHARSET or tag.element == 0:  # group lengths (PS3.5 7.2) are no keys
            continue
        raw = dataset.get_item(tag)
        tags = (*above, name)
        vr = _vr(name, raw)
        if vr == "SQ":
            yield from _sequence(dataset, tag, tags, decoder)
        else:
            value = (raw.value or b"") if isinstance(raw, RawDataElement) else b""
            yield Key(tags, _path(tags), vr, decoder.text(vr, value))


def _vr(tag: str, raw: RawDataElement | DataElement) -> str:
    """Return the dictionary's VR, or the one that was sent where the dictionary has none."""
    sent, known = raw.VR or "UN", vr_of_tag(tag)
    if known == "UN" or sent == "UN" or _kind(sent) == _kind(known):
        return known if _kind(known) == "text" else sent if sent != "UN" else known
    raise BadKey(f"{keyword_of(tag)} ({tag[:4]},{tag[4:]}): sent as VR {sent}, expected {known}")


def _kind(vr: str) -> str:
    if vr in NUMBER_FORMATS or vr == "AT":
        return "number"
    return vr if vr in ("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN") else "text"


def _sequence(dataset: Dataset, tag: BaseTag, tags: tuple[str, ...], decoder: "_Decoder") -> Iterator[Key]:
    items = dataset[tag].value
    if len(items) > 1:
        raise BadKey(f"{keyword_of(tags[-1])} ({tag.group:04X},{tag.element:04X}): a key sequence has one item")
    inner = list(_keys(items[0], tags, decoder)) if items else []
    if inner:
        yield from inner
    else:
        yield Key(tags, _path(tags), "SQ", None)


def _path(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(keyword_of(tag) or tag for tag in tags)


class _Decoder:
    """Raw values → text, in the identifier's character set."""

    def __init__(self, charset: bytes, order: str) -> None:
        self._charset = character_set(charset) if charset.strip(b" \\") else None
        self._order = order

    def text(self, vr: str, value: bytes) -> str:
        if vr in NUMBER_FORMATS:
            return self._numbers(NUMBER_FORMATS[vr], value)
        if vr == "AT":
            words = struct.unpack(f"{self._order}{len(value) // 2}H", value)
            return "\\".join(f"{g:04X}{e:04X}" for g, e in zip(words[::2], words[1::2], strict=True))
        if vr not in TEXT_VRS:
            return value.decode("ascii", "replace")
        return self._charset.decode(value, name=vr == "PN")[0] if self._charset else _guess(value)

    def _numbers(self, code: str, value: bytes) -> str:
        count = len(value) // struct.calcsize(code)
        return "\\".join(str(n) for n in struct.unpack(f"{self._order}{count}{code}", value))


def _guess(value: bytes) -> str:
    """Decode text of which no character set is said: ASCII by the standard, UTF-8 or Latin-1 in practice."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
