"""New UIDs in the place of old ones (PS3.5 B.2)."""

import hashlib
import hmac
import uuid

from osteon.dicom.models import Level


class UidMapping:
    """Gives each old UID of a level a new one, always the same under one key: a repeated run makes no others."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def new_uid(self, level: Level, old: str) -> str:
        """Return the new UID in the place of `old`."""
        digest = hmac.digest(self._key, f"{level.value}\0{old}".encode(), hashlib.sha256)
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
