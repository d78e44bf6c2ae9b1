"""What user data may be: the forms of labels and codes, and how much one resource may have."""

import re
from typing import Final

from osteon.user_data.port import BadUserData, UserData, UserDataLimit

MAX_LABELS: Final = 100
MAX_METADATA: Final = 100
MAX_ATTACHMENTS: Final = 100
MAX_METADATA_BYTES: Final = 64 << 10
"""Bytes of one metadata value in UTF-8."""
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_label(label: str) -> str:
    """Return a label; raises `BadUserData`."""
    if not _LABEL.fullmatch(label):
        raise BadUserData(f"label {label[:80]!r}: expected 1 to 64 of the characters A-Z, a-z, 0-9, - and _")
    return label


def check_limits(old: UserData, new: UserData) -> None:
    """Raise `UserDataLimit` when a change leaves more than a resource may have."""
    for name, before, after, limit in (
        ("labels", old.labels, new.labels, MAX_LABELS),
        ("metadata", old.metadata, new.metadata, MAX_METADATA),
        ("attachments", old.attachments, new.attachments, MAX_ATTACHMENTS),
    ):
        if len(after) > max(limit, len(before)):
            raise UserDataLimit(f"a resource may have {limit} {name} at most")
