"""Content negotiation of DICOMweb: the Accept header and the `accept` parameter (PS3.18 8.3.3.1, 8.7)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from osteon_query.http.errors import BadParameter, NotAcceptable

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
OCTETS: Final = "application/octet-stream"
MULTIPART: Final = "multipart/related"

_MAX: Final = 8192
_ENTRY: Final = re.compile(r'(?:[^,"]|"[^"]*")+')
_PARAMETER: Final = re.compile(r'(?:[^;"]|"[^"]*")+')


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header; names in lower case."""

    type: str
    parameters: Mapping[str, str]
    quality: float

    @property
    def root(self) -> str:
        """Type of the parts that a multipart entry asks for."""
        return self.parameters.get("type", "*/*").lower()


@dataclass(frozen=True, slots=True)
class Format:
    """How to send parts: as multipart or alone, and in which transfer syntaxes (None: as stored)."""

    multipart: bool
    transfer_syntaxes: frozenset[str] | None


def split_header(value: str) -> tuple[str, dict[str, str]]:
    """Split `type/subtype; name=value; …`, quotes removed, type and names in lower case."""
    head, *rest = _PARAMETER.findall(value) or [""]
    pairs = (part.partition("=") for part in rest)
    return head.strip().lower(), {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def media_ranges(request: Request) -> list[MediaRange]:
    """Return what the client accepts, best first; everything when it does not say. `accept` as parameter wins."""
    text = ",".join(request.query_params.getlist("accept") or request.headers.getlist("accept"))
    if len(text) > _MAX:
        raise BadParameter(f"the Accept header has {len(text)} characters, at most {_MAX} are read")
    ranges = [_media_range(entry) for entry in _ENTRY.findall(text) if entry.strip()]
    wanted = [r for r in ranges if r.quality > 0] if text.strip() else [MediaRange("*/*", {}, 1.0)]
    return sorted(wanted, key=lambda r: -r.quality)


def _media_range(entry: str) -> MediaRange:
    kind, parameters = split_header(entry)
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return MediaRange(kind, parameters, quality)


def negotiate(request: Request, media_type: str, *, single: bool, default_multipart: bool = True) -> Format:
    """Choose how to send parts of `media_type`; raises `NotAcceptable`.

    A part alone is possible where there is one only (`single`); `*/*` gets what `default_multipart` says. Of several
    entries of the best kind all transfer syntaxes are welcome; an entry without the parameter takes what is stored.
    """
    kinds = [
        (kind, r)
        for r in media_ranges(request)
        if (kind := _kind(r, media_type, single, default_multipart)) is not None
    ]
    if not kinds:
        alone = f" or {media_type}" if single else ""
        raise NotAcceptable(f'this resource is sent as {MULTIPART}; type="{media_type}"{alone}, and Accept has neither')
    multipart = kinds[0][0]
    syntaxes = [r.parameters.get("transfer-syntax", "*") for kind, r in kinds if kind == multipart]
    return Format(multipart, None if "*" in syntaxes else frozenset(syntaxes))


def _kind(entry: MediaRange, media_type: str, single: bool, default_multipart: bool) -> bool | None:
    """Return True for multipart, False for a part alone, None for an entry that does not fit."""
    fitting = (media_type, media_type.split("/", maxsplit=1)[0] + "/*", "*/*")
    if entry.type in ("multipart/related", "multipart/*"):
        return True if entry.root in fitting else None
    if entry.type == "*/*":
        return default_multipart
    return False if single and entry.type in fitting else None


def require_json(request: Request) -> None:
    """Check that the client takes DICOM JSON; raises `NotAcceptable`."""
    if not any(r.type in (DICOM_JSON, "application/json", "application/*", "*/*") for r in media_ranges(request)):
        raise NotAcceptable(f"this resource is sent as {DICOM_JSON}, and Accept has other types only")
