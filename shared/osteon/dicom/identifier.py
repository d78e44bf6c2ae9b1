r"""The Identifier of C-FIND, C-MOVE and C-GET (PS3.4 C.4.1.1.3.1, C.4.2.1.4): bytes → keys with their values as text.

Values are taken as they stand, since keys may hold what their VR forbids: wild cards, ranges, lists.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from osteon.dicom.attribute_names import describe, keyword_of, vr_of_tag
from osteon.dicom.charset import character_set
from osteon.dicom.dataset_encoder import NUMBER_FORMATS, TEXT_VRS
from osteon.dicom.deflate import inflate
from osteon.dicom.element_walker import DataSetSpan, RawElement, elements, items, whole_data_set
from osteon.dicom.errors import BadDataSet
from osteon.dicom.uids import transfer_syntax
from osteon.errors import Invalid

MAX_LENGTH: Final = 4 << 20
"""Bytes of an identifier, inflated: a list of 60,000 UIDs fits."""
MAX_KEYS: Final = 1_000
"""Keys of an identifier, those in sequences and the sequences themselves included."""
MAX_DEPTH: Final = 8
"""No attribute that archives match on is deeper in sequences than two."""
_CHARSET: Final = "00080005"
_BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


class BadMatchingKey(Invalid):
    """A key sequence has more than one item (PS3.4 C.2.2.2.6), or a key has a VR that its attribute cannot have."""


class TooManyKeys(Invalid):
    """A request has more keys, or more values in a key, than is allowed."""


@dataclass(frozen=True, slots=True)
class IdentifierKey:
    """One key attribute. `tags` and `path` (keywords, or tags of unknown attributes) lead to it through sequences.

    `text` is None for a sequence without keys: it is wanted as a whole.
    """

    tags: tuple[str, ...]
    path: tuple[str, ...]
    vr: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Identifier:
    """What a request asks. `charset` has the values of Specific Character Set (0008,0005)."""

    keys: tuple[IdentifierKey, ...]
    charset: tuple[str, ...]

    def text(self, keyword: str) -> str:
        """Return the value of a key that is in no sequence, empty when it is not there."""
        return next((key.text for key in self.keys if key.path == (keyword,) and key.text), "")


def read_identifier(data: bytes, transfer_syntax_uid: str, max_keys: int = MAX_KEYS) -> Identifier:
    """Decode an identifier, of `max_keys` elements at most, however deep.

    Raises `BadDataSet`, `BadMatchingKey`, `TooManyKeys` and `UnknownTransferSyntax`.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    more = len(data) > MAX_LENGTH
    if syntax.deflated:
        inflated, more = inflate(data, MAX_LENGTH)
        data = bytes(inflated)
    if more:
        raise BadDataSet(f"the identifier is longer than {MAX_LENGTH} bytes", "", MAX_LENGTH)
    span = whole_data_set(data, syntax)
    reader = _KeyReader(max_keys)
    top = list(reader.elements(span))
    charset = next((element.raw for element in top if element.tag == _CHARSET), b"")
    decoder = _Decoder(charset, "<" if syntax.little_endian else ">")
    keys = [key for element in top for key in reader.keys(element, (), decoder)]
    return Identifier(tuple(keys), _values(charset))


def _values(charset: bytes) -> tuple[str, ...]:
    return tuple(part.strip(" \0") for part in charset.decode("ascii", "replace").split("\\")) if charset else ()


class _KeyReader:
    """Reads keys, and counts the elements of all levels."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def elements(self, span: DataSetSpan) -> Iterator[RawElement]:
        """Iterate over the elements of a data set or an item; raises `TooManyKeys`."""
        for element in elements(span):
            self._count += 1
            if self._count > self._most:
                raise TooManyKeys(f"more than {self._most} keys")
            yield element

    def keys(self, element: RawElement, above: tuple[str, ...], decoder: "_Decoder") -> Iterator[IdentifierKey]:
        """Return the keys that an element makes below the sequences `above`."""
        if element.tag == _CHARSET or element.tag[4:] == "0000":  # group lengths (PS3.5 7.2) are not keys
            return
        tags = (*above, element.tag)
        vr = _vr(element)
        if vr == "SQ":
            yield from self._sequence(element, tags, decoder)
        else:
            yield IdentifierKey(tags, _path(tags), vr, decoder.text(element, vr))

    def _sequence(self, element: RawElement, tags: tuple[str, ...], decoder: "_Decoder") -> Iterator[IdentifierKey]:
        if len(tags) > MAX_DEPTH:
            raise BadMatchingKey(f"{describe(tags[:1])}: keys deeper than {MAX_DEPTH} sequences")
        found = list(islice(items(element.value), 2))
        if len(found) > 1:
            raise BadMatchingKey(f"{describe((element.tag,))}: a key sequence has one item, not several")
        within = self.elements(found[0]) if found else iter(())
        inner = [key for each in within for key in self.keys(each, tags, decoder)]
        yield from inner or [IdentifierKey(tags, _path(tags), "SQ", None)]


def _vr(element: RawElement) -> str:
    """Return the dictionary's VR, or the one that was sent where the dictionary has none or several."""
    sent, known = element.vr or "UN", vr_of_tag(element.tag)
    if "UN" in (sent, known):
        return known if sent == "UN" else sent
    if _kind(sent) != _kind(known):
        raise BadMatchingKey(f"{describe((element.tag,))}: sent as VR {sent}, expected {known}")
    return known if _kind(known) == "text" else sent


def _kind(vr: str) -> str:
    if vr in NUMBER_FORMATS or vr == "AT":
        return "number"
    return vr if vr == "SQ" or vr in _BINARY_VRS else "text"


def _path(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(keyword_of(tag) or tag for tag in tags)


class _Decoder:
    """Raw values → text, in the identifier's character set."""

    def __init__(self, charset: bytes, order: str) -> None:
        self._charset = character_set(charset) if charset.strip(b" \\\0") else None
        self._order = order

    def text(self, element: RawElement, vr: str) -> str:
        if vr in TEXT_VRS:
            raw = element.raw
            return self._charset.decode(raw, name=vr == "PN")[0] if self._charset else _guess(raw)
        try:
            return self._numbers(vr, element.raw)
        except struct.error:
            raise BadDataSet(f"{len(element.raw)} bytes are not values of VR {vr}", element.tag, 0) from None

    def _numbers(self, vr: str, raw: bytes) -> str:
        if vr in NUMBER_FORMATS:
            count = len(raw) // struct.calcsize(NUMBER_FORMATS[vr])
            return "\\".join(str(n) for n in struct.unpack(f"{self._order}{count}{NUMBER_FORMATS[vr]}", raw))
        if vr == "AT":
            words = struct.unpack(f"{self._order}{len(raw) // 4 * 2}H", raw)
            return "\\".join(f"{g:04X}{e:04X}" for g, e in zip(words[::2], words[1::2], strict=True))
        return raw.decode("ascii", "replace")


def _guess(raw: bytes) -> str:
    """Decode text of which no character set is said: ASCII by the standard, UTF-8 or Latin-1 in practice."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
