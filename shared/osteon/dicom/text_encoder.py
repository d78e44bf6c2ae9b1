"""Writing text in a Specific Character Set (0008,0005) (PS3.3 C.12.1.1.2, PS3.5 6.1).

Strict where pydicom replaces: text that a character set lacks raises, so that another one can be chosen.
"""

import warnings
from collections.abc import Sequence
from typing import Final, Protocol

from pydicom import charset
from pydicom.valuerep import PersonName

from osteon.byte_caches import cached

UTF8: Final = "ISO_IR 192"
_DELIMITERS: Final = {ord(c) for c in "\\\r\n\t\f"}
_NAME_DELIMITERS: Final = {ord(c) for c in "\\^="}
_STRICT_CODECS: Final = {
    f"ISO_IR {number}": charset.python_encoding[f"ISO_IR {number}"]
    for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192)
} | {"GB18030": "gb18030", "GBK": "gbk", "ISO_IR 203": "iso8859_15"}
"""Single values whose Python codec encodes exactly the repertoire."""


class CharacterNotEncodable(ValueError):
    """The character set has no code for some character of the text."""


class TextEncoder(Protocol):
    """A Specific Character Set to write text in."""

    values: tuple[str, ...]
    """Of Specific Character Set (0008,0005); empty for the default repertoire, whose attribute is left out."""

    def encode(self, text: str, *, is_name: bool) -> bytes:
        r"""Encode text, values of a multi-valued element joined by `\`; raises `CharacterNotEncodable`."""


class _Codec:
    """A character set without code extensions: one Python codec."""

    def __init__(self, values: tuple[str, ...], codec: str) -> None:
        self.values = values
        self._codec = codec

    def encode(self, text: str, *, is_name: bool) -> bytes:  # noqa: ARG002 - part of the protocol
        try:
            return text.encode(self._codec)
        except UnicodeEncodeError as error:
            raise CharacterNotEncodable(str(error)) from None


class _Extended:
    """Code extensions by ISO 2022 escape sequences, and JIS X 0201: pydicom's encoder, checked by reading back."""

    def __init__(self, values: tuple[str, ...], encodings: Sequence[str]) -> None:
        self.values = values
        self._encodings = list(encodings)

    def encode(self, text: str, *, is_name: bool) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoded = b"\\".join(self._encode_value(value, is_name) for value in text.split("\\"))
            delimiters = _NAME_DELIMITERS if is_name else _DELIMITERS
            back = charset.decode_bytes(encoded, self._encodings, delimiters)
        if back != text:
            raise CharacterNotEncodable(f"not all of the text is in {'/'.join(self.values)}")
        return encoded

    def _encode_value(self, value: str, is_name: bool) -> bytes:
        if is_name:
            return PersonName(value, self._encodings).encode(self._encodings)
        return charset.encode_string(value, self._encodings)


DEFAULT: Final[TextEncoder] = _Codec((), "ascii")
UNICODE: Final[TextEncoder] = _Codec((UTF8,), "utf-8")

_SHORT: Final = 256
"""Characters of values whose encoder is kept."""


@cached(
    "text_encoders",
    entries=64,
    entry_bytes=20_000,
    keeps=lambda values: sum(map(len, values)) + len(values) <= _SHORT,
)
def text_encoder_for(values: tuple[str, ...]) -> TextEncoder | None:
    """Return the character set that an attribute's values name, None when they name none that is known."""
    if set(values) <= {"", "ISO_IR 6", "ISO 2022 IR 6"}:
        return DEFAULT
    if len(values) == 1:
        codec = _STRICT_CODECS.get(values[0])
        if codec is not None:
            return _Codec(values, codec)
    if not all(value in charset.python_encoding for value in values):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Extended(values, charset.convert_encodings(list(values)))
