"""What the header reader remembers between data sets: the elements of a series repeat from instance to instance."""

from typing import Final

from osteon.byte_caches import show_size
from osteon.dicom.charset import CharacterSet
from osteon.dicom.encoding import Encoding

Key = bytes | tuple[str, bytes]
"""An element's bytes, head included; with the VR (or what else decides) when the bytes do not state it."""

_OVERHEAD: Final = 300
"""Bytes that two objects and their entry in a dictionary take in memory, about."""

_MOST_CONTEXTS: Final = 64
"""Encodings and character sets that are distinguished; a hostile sender can invent any number of the latter."""


class FragmentMemo:
    """Element bytes → JSON fragment, of a bounded size, forgotten as a whole when it is full.

    Safe to share between threads: each step is one operation on a dictionary.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        show_size("header_memo", self, lambda memo: memo.size)
        self._fragments: dict[tuple[Encoding, CharacterSet], dict[Key, bytes]] = {}

    @property
    def size(self) -> int:
        """Bytes of memory that all fragments take, about."""
        return self._size

    def fragments(self, encoding: Encoding, charset: CharacterSet) -> dict[Key, bytes]:
        """Return the fragments known for elements in this encoding and character set."""
        if len(self._fragments) > _MOST_CONTEXTS:
            self._fragments.clear()
        return self._fragments.setdefault((encoding, charset), {})

    def remember(self, fragments: dict[Key, bytes], key: Key, fragment: bytes) -> None:
        """Add a fragment to what `fragments` returned."""
        self._size += len(key if isinstance(key, bytes) else key[1]) + len(fragment) + _OVERHEAD
        if self._size > self._limit:
            for known in (fragments, *list(self._fragments.values())):
                known.clear()
            self._size = 0
        fragments[key] = fragment
