"""New UIDs in the place of old ones (PS3.5 B.2)."""

import hashlib
import hmac
import uuid
from typing import Final

from osteon.dicom.models import Level

_ROOT: Final = "2.25."
_MARK: Final = 4
"""Bytes at the end of the UUID by which a mapping knows its own UIDs."""


class UidMapping:
    """Gives each old UID of a level a new one, always the same under one key: a repeated run makes no others."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def new_uid(self, level: Level, old: str) -> str:
        """Return the new UID in the place of `old`."""
        digest = self._digest(f"{level.value}\0{old}".encode())
        start = uuid.UUID(bytes=digest[:16], version=4).bytes[:-_MARK]
        return f"{_ROOT}{int.from_bytes(start + self._digest(start)[:_MARK], 'big')}"

    def is_new(self, uid: str) -> bool:
        """Whether this mapping has made a UID."""
        number = uid.removeprefix(_ROOT)
        if number == uid or not number.isdecimal() or int(number) >> 128:
            return False
        made = int(number).to_bytes(16, "big")
        return hmac.compare_digest(self._digest(made[:-_MARK])[:_MARK], made[-_MARK:])

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)
