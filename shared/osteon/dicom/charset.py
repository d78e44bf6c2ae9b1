"""Specific Character Set (0008,0005): decoding text (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

Single-byte sets, multi-byte sets without code extensions, and code extensions by ISO 2022 escape sequences. Python's
codecs know the sets; here is which one holds for which bytes.
"""

import re
from dataclasses import dataclass
from typing import Final

from osteon.byte_caches import cached

STANDALONE: Final = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
"""Defined terms that allow no code extensions."""

CODECS: Final = {
    "6": "", "13": "shift_jis", "58": "gb2312", "87": "", "100": "latin-1", "101": "iso8859-2", "109": "iso8859-3",
    "110": "iso8859-4", "126": "iso8859-7", "127": "iso8859-6", "138": "iso8859-8", "144": "iso8859-5",
    "148": "iso8859-9", "149": "euc_kr", "159": "", "166": "tis-620", "203": "iso8859-15",
}  # fmt: skip
"""ISO registration number → codec of the bytes at value begin. Empty: the default repertoire, ISO 646."""

_TO_G1: Final = {
    b"-A": "latin-1", b"-B": "iso8859-2", b"-C": "iso8859-3", b"-D": "iso8859-4", b"-F": "iso8859-7",
    b"-G": "iso8859-6", b"-H": "iso8859-8", b"-L": "iso8859-5", b"-M": "iso8859-9", b"-T": "tis-620",
    b"-b": "iso8859-15", b")I": "shift_jis", b"$)A": "gb2312", b"$)C": "euc_kr",
}  # fmt: skip
_TO_G0: Final = {b"(B": b"", b"(J": b"", b"$@": b"\x1b$@", b"$B": b"\x1b$B", b"$(D": b"\x1b$(D"}
"""Escape sequence → what Python's codec for Japanese needs before bytes of that set; empty: one byte a character."""

_ESCAPE = re.compile(rb"\x1b(\$[()][A-Z]|\$[@-B]|[()-][A-Za-z])")
_ISO = re.compile(r"ISO[ _-](?:2022[ _-](?:IR[ _-])?|IR[ _-])(\d+)")
_DELIMITERS = re.compile(rb"[\t\n\f\r\\]")
_NAME_DELIMITERS = re.compile(rb"[\t\n\f\r\\^=]")
_CONTROLS = re.compile(rb"[\t\n\f\r]")
_HALVES = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """How the text of one data set or sequence item is encoded.

    Attributes:
        codec: for text in which no escape sequence came; empty for the default repertoire.
        extensible: escape sequences switch to other sets.
        problem: what is wrong with the element itself; empty when nothing is.
    """

    codec: str = ""
    extensible: bool = True
    problem: str = ""

    def decode(self, raw: bytes, *, name: bool = False) -> tuple[str, str]:
        """Return the text, and what was wrong with it (empty: nothing).

        Bytes that have no meaning become U+FFFD. `name` says that the value is a person name, whose delimiters end
        the effect of an escape sequence too.
        """
        if b"\x1b" in raw and self.extensible:
            return self._decode_extended(raw, _NAME_DELIMITERS if name else _DELIMITERS)
        return _decode(raw, self.codec)

    def _decode_extended(self, raw: bytes, delimiters: re.Pattern[bytes]) -> tuple[str, str]:
        """Follow the escape sequences: G0 holds for bytes below 128, G1 for those above (PS3.5 6.1.2.5.3)."""
        texts: list[str] = []
        problems: list[str] = []
        g0, g1 = b"", self.codec
        pieces = _ESCAPE.split(raw)
        for piece, escape in zip(pieces[::2], [*pieces[1::2], b""], strict=True):
            position = 0
            while position < len(piece):
                end = (_CONTROLS if g0 else delimiters).search(piece, position)
                stop = end.end() if end else len(piece)
                for text, problem in _decode_by_state(piece[position:stop], g0, g1):
                    texts.append(text)
                    problems.append(problem)
                if end:
                    g0, g1 = b"", self.codec or g1
                position = stop
            g0, g1 = _TO_G0.get(escape, g0), _TO_G1.get(escape, g1)
            if escape and escape not in _TO_G0 and escape not in _TO_G1:
                problems.append(f"unknown escape sequence {escape!r}")
        return "".join(texts), next(filter(None, problems), "")


def _decode_by_state(raw: bytes, g0: bytes, g1: str) -> list[tuple[str, str]]:
    if not g0:
        return [_decode(raw, g1)]
    return [
        _decode(half, g1) if half[0] >= 0x80 else _decode(g0 + half, "iso2022_jp_2") for half in _HALVES.findall(raw)
    ]


def _decode(raw: bytes, codec: str) -> tuple[str, str]:
    if not codec:
        if raw.isascii():
            return raw.decode("ascii"), ""
        return raw.decode("latin-1"), "bytes outside of the default character repertoire, taken for ISO_IR 100"
    try:
        return raw.decode(codec), ""
    except UnicodeDecodeError:
        return raw.decode(codec, "replace"), f"bytes that are not {codec}"


DEFAULT: Final = CharacterSet()

_SHORT: Final = 256
"""Bytes of a value whose meaning is kept."""


@cached("character_sets", entries=256, entry_bytes=1500, keeps=lambda value: len(value) <= _SHORT)
def character_set(value: bytes) -> CharacterSet:
    """Return the character set that a value of (0008,0005) declares; an unknown term is taken for the default set."""
    terms = [term.strip(" \0") for term in value.decode("latin-1").split("\\")]
    first = "ISO_IR 192" if terms[0].upper() in {"UTF-8", "UTF8", "ISO_IR_192", "ISO IR 192"} else terms[0]
    first = first.replace("ISO 2022 GBK", "GBK")
    if first in STANDALONE:
        return CharacterSet(STANDALONE[first], extensible=False)
    unknown = [term for term in terms if term and term not in STANDALONE and _registration(term) not in CODECS]
    problem = f"unknown character set {unknown[0][:40]!r}" if unknown else ""
    return CharacterSet(CODECS.get(_registration(first), ""), problem=problem)


def _registration(term: str) -> str:
    match = _ISO.fullmatch(term)
    return match[1] if match else ""
