"""The Accept header and the `accept` parameter (PS3.18 8.3.3.1, 8.7.5), and which transfer syntaxes they name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon_query.http.errors import BadParameter, NotAcceptable

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
OCTETS: Final = "application/octet-stream"
ZIP: Final = "application/zip"
MULTIPART: Final = "multipart/related"
ANY: Final = "*"
"""Transfer syntax of a client that accepts what is stored."""

ALIASES: Final = {
    "image/x-dicom-rle": "image/dicom-rle",
    "image/x-jls": "image/jls",
    "video/mpeg2": "video/mpeg",
    "video/h265": "video/mp4",
}
"""Names of media types in older editions, and of what is in the same row here (PS3.18 8.7.3)."""

_MAX: Final = 8192
_ENTRY: Final = re.compile(r'(?:[^,"]|"[^"]*")+')
_PARAMETER: Final = re.compile(r'(?:[^;"]|"[^"]*")+')
_JSON: Final = (DICOM_JSON, "application/json", "application/*", "*/*")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header; names in lower case."""

    type: str
    parameters: Mapping[str, str]
    quality: float

    @property
    def multipart(self) -> bool:
        """Whether the client accepts `multipart/related`."""
        return self.type in (MULTIPART, "multipart/*")

    @property
    def root(self) -> str:
        """Type of the parts of a multipart entry, and the type of a plain one."""
        named = self.parameters.get("type", "*/*").lower() if self.multipart else self.type
        return ALIASES.get(named, named)

    @property
    def transfer_syntax(self) -> str:
        """Transfer syntax UID, `*`, or empty when none is named."""
        return self.parameters.get("transfer-syntax", "")

    def accepts(self, media_type: str) -> bool:
        """Whether `media_type`, as part or alone, is in the range."""
        return self.root in (media_type, media_type.partition("/")[0] + "/*", "*/*")


@dataclass(frozen=True, slots=True)
class AcceptedSyntaxes:
    """Transfer syntaxes that a client accepts, each with its quality; `*` stands for what is stored.

    A client that names none gets Explicit VR Little Endian (PS3.18 8.7.3.5.2), or what is stored where that is not
    possible.
    """

    qualities: Mapping[str, float]
    named: bool = True

    @classmethod
    def of(cls, entries: Iterable[MediaRange]) -> "AcceptedSyntaxes":
        """Gather the transfer syntaxes of entries for the same media type, the best one first."""
        qualities: dict[str, float] = {}
        named = True
        for entry in entries:
            named = named and bool(entry.transfer_syntax)
            qualities.setdefault(entry.transfer_syntax or EXPLICIT_VR_LITTLE_ENDIAN, entry.quality)
        return cls(qualities, named) if qualities else cls({EXPLICIT_VR_LITTLE_ENDIAN: 1.0}, named=False)

    def accepts(self, stored: str) -> bool:
        """Whether an instance may be sent as it is stored."""
        return not self.named or stored in self.qualities or ANY in self.qualities

    def targets(self, stored: str) -> list[str]:
        """Return the transfer syntaxes that the client likes better than the stored one, the best first."""
        least = self.qualities.get(stored, self.qualities.get(ANY, 0.0))
        better = [(quality, uid) for uid, quality in self.qualities.items() if quality > least and uid != ANY]
        return [uid for _, uid in sorted(better, key=lambda each: -each[0])]

    @property
    def text(self) -> str:
        """The transfer syntax UIDs as one line, for error messages."""
        return ", ".join(sorted(self.qualities))[:500]


@dataclass(frozen=True, slots=True)
class InstanceFormat:
    """How to send something: in parts or alone (or as ZIP archive), and in which transfer syntaxes."""

    multipart: bool
    syntaxes: AcceptedSyntaxes
    zipped: bool = False


def split_header(value: str) -> tuple[str, dict[str, str]]:
    """Split `type/subtype; name=value; …`, quotes removed, type and names in lower case."""
    head, *rest = _PARAMETER.findall(value) or [""]
    pairs = (part.partition("=") for part in rest)
    return head.strip().lower(), {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def media_ranges(request: Request) -> list[MediaRange]:
    """Return what the client accepts, best first; everything when it does not say. `accept` as parameter wins."""
    return read_ranges(",".join(request.query_params.getlist("accept") or request.headers.getlist("accept")))


def read_ranges(text: str) -> list[MediaRange]:
    """Read a list of media types with their qualities, best first; an empty one means everything."""
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


def negotiate_instances(request: Request, *, single: bool) -> InstanceFormat:
    """Choose how to send Part 10 files; raises `NotAcceptable`.

    A file alone is possible where there is one only (`single`); `*/*` gets parts. Of several entries of the best kind
    all transfer syntaxes are welcome.
    """
    ranges = media_ranges(request)
    for chosen in ranges:
        if chosen.type == ZIP:
            return InstanceFormat(False, _zip_syntaxes(r for r in ranges if r.type == ZIP), zipped=True)
        if chosen.accepts(DICOM) and (multipart := chosen.multipart or chosen.type == "*/*"):
            return InstanceFormat(multipart, AcceptedSyntaxes.of(r for r in ranges if _parts(r)))
        if single and chosen.accepts(DICOM):
            return InstanceFormat(False, AcceptedSyntaxes.of(r for r in ranges if r.accepts(DICOM) and not _parts(r)))
    alone = f", {DICOM}" if single else ""
    raise NotAcceptable(
        f'instances are sent as {MULTIPART}; type="{DICOM}"{alone} or {ZIP}, and Accept has none of these'
    )


def _parts(entry: MediaRange) -> bool:
    return entry.accepts(DICOM) and (entry.multipart or entry.type == "*/*")


def _zip_syntaxes(entries: Iterable[MediaRange]) -> AcceptedSyntaxes:
    """Transfer syntaxes of the files of an archive: as stored unless one is named, for archives are kept."""
    found = [entry for entry in entries if entry.transfer_syntax]
    return AcceptedSyntaxes.of(found) if found else AcceptedSyntaxes({ANY: 1.0})


def accepts_json(request: Request) -> bool:
    """Choose between DICOM JSON (True) and the XML of the Native DICOM Model in parts; raises `NotAcceptable`."""
    for entry in media_ranges(request):
        if entry.type in _JSON:
            return True
        if entry.multipart and entry.accepts(DICOM_XML):
            return False
    raise NotAcceptable(
        f'this resource is sent as {DICOM_JSON} or {MULTIPART}; type="{DICOM_XML}", and Accept has neither'
    )
