"""Which object keys every implementation accepts, so that an archive can move from a folder to S3 and back."""

from osteon.errors import Invalid
from osteon.objects.port import BadObjectKey

CACHE = "cache/"
"""Prefix of objects that may be deleted at any time: no pack is among them, and they are made again on demand."""
MAX_KEY = 1024
"""Bytes of a key in UTF-8: the limit of S3."""
MAX_PART = 255
"""Bytes of one part between slashes: the limit of file systems."""


def check_key(key: str) -> None:
    """Raise `BadObjectKey` unless `key` names the same object in every store.

    A part may not be empty and may not start with a dot: `.` and `..` would climb, and the folder keeps its own
    unfinished files under a dotted name. Some S3 servers take a backslash for a slash.
    """
    if not key:
        raise BadObjectKey("an object key must not be empty")
    if _encoded(key) > MAX_KEY:
        raise BadObjectKey(f"the object key {key[:64]!r}... is longer than {MAX_KEY} bytes")
    if any(ord(char) < 0x20 or ord(char) == 0x7F or char == "\\" for char in key):
        raise BadObjectKey(f"the object key {key!r} has a control character or a backslash")
    for part in key.split("/"):
        if not part or part.startswith("."):
            raise BadObjectKey(f"the object key {key!r} is absolute, or has a part that is empty or starts with a dot")
        if _encoded(part) > MAX_PART:
            raise BadObjectKey(f"the object key {key[:64]!r}... has a part longer than {MAX_PART} bytes")


def check_prefix(prefix: str) -> None:
    """Raise `BadObjectKey` when no key can start with `prefix`."""
    if prefix:
        check_key(prefix.removesuffix("/"))


def check_range(key: str, size: int, offset: int, length: int | None) -> int:
    """Return how many bytes to read from `offset` of an object of `size` bytes; raises `Invalid` beyond the end."""
    end = size if length is None else offset + length
    if offset < 0 or not offset <= end <= size:
        raise Invalid(f"bytes {offset} to {end} are not in object {key!r}, which has {size}")
    return end - offset


def _encoded(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadObjectKey(f"the object key {text[:64]!r} cannot be written as UTF-8") from None
