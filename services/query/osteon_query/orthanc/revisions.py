"""Revisions of metadata and attachments: the tag `"<revision>-<MD5>"`, If-Match and If-None-Match, as in Orthanc."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from osteon.user_data.port import BadUserData, WrongRevision

_TAG: Final = re.compile(r"\d{1,18}-[^\"]*", re.ASCII)


def revision_tag(revision: int, md5: str) -> str:
    """Return the entity tag of a revision, with its quotes."""
    return f'"{revision}-{md5}"'


def text_md5(text: str) -> str:
    """Return the MD5 of a text, in hexadecimal."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def has_revision(request: Request, tag: str) -> bool:
    """Whether the client has what `tag` names, by If-None-Match; raises `BadUserData`."""
    return _header(request, "If-None-Match") == tag.strip('"')


@dataclass(frozen=True, slots=True)
class Precondition:
    """What a change expects to find, by If-Match; `tag` is empty when it does not say."""

    tag: str
    required: bool

    @classmethod
    def of(cls, request: Request, *, required: bool) -> "Precondition":
        """Read the header; raises `BadUserData`."""
        return cls(_header(request, "If-Match"), required)

    def check(self, revision: int, md5: str) -> None:
        """Raise `WrongRevision` unless a change expects what is there."""
        self.check_given()
        if self.tag and self.tag != f"{revision}-{md5}":
            raise WrongRevision(f"If-Match names {self.tag[:80]}, but there is {revision}-{md5}")

    def check_given(self) -> None:
        """Raise `WrongRevision` when a change must say what it expects and does not."""
        if self.required and not self.tag:
            raise WrongRevision("the header If-Match is missing, which OSTEON_CHECK_REVISIONS requires")


def _header(request: Request, name: str) -> str:
    value = request.headers.get(name, "").strip().removeprefix("W/").strip('"')
    if value and not _TAG.fullmatch(value):
        raise BadUserData(f"{name}: expected an entity tag, revision and MD5, got {value[:80]!r}")
    return value
