"""Modalities and peers in the JSON of Orthanc's REST API and configuration: short arrays and objects."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from osteon.errors import Invalid
from osteon.remotes.port import PEM, Manufacturer, Modality, Peer, Permission, without_credentials

ALLOW: Final[Mapping[str, Permission]] = {
    "AllowEcho": Permission.ECHO,
    "AllowFind": Permission.FIND,
    "AllowFindWorklist": Permission.WORKLIST,
    "AllowGet": Permission.GET,
    "AllowMove": Permission.MOVE,
    "AllowStore": Permission.STORE,
    "AllowStorageCommitment": Permission.STORAGE_COMMITMENT,
}
RETRIEVE_METHODS: Final = ("SystemDefault", "C-MOVE", "C-GET")
_FORMER: Final = {
    "": Manufacturer.GENERIC, "AgfaImpax": Manufacturer.NO_WILDCARD_IN_DATES, "ClearCanvas": Manufacturer.GENERIC,
    "Dcm4Chee": Manufacturer.GENERIC, "EFilm2": Manufacturer.GENERIC, "MedInria": Manufacturer.GENERIC,
    "StoreScp": Manufacturer.GENERIC, "SyngoVia": Manufacturer.NO_WILDCARD_IN_DATES,
}  # fmt: skip
"""Names of older releases that configurations still have."""
MODALITY_FIELDS: Final = frozenset(
    {"AET", "Host", "Port", "Manufacturer", "AllowTranscoding", "UseDicomTls", "LocalAet", "Timeout", "RetrieveMethod",
     "AllowNAction", "AllowNEventReport", "AllowEventReport", *ALLOW}
)  # fmt: skip
PEER_FIELDS: Final = frozenset(
    {"Url", "Username", "Password", "HttpHeaders", "CaFile", "Timeout", "DicomWeb", "HasDelete", "Pkcs11",
     "CertificateFile", "CertificateKeyFile", "CertificateKeyPassword"}
)  # fmt: skip
_FORMER_COMMITMENT: Final = ("AllowNAction", "AllowNEventReport", "AllowEventReport")
_MAX_NAME: Final = 64
_MAX_AET: Final = 16
_MAX_TEXT: Final = 1024
_MAX_PEM: Final = 256 << 10
_MAX_HOST: Final = 253
_HOST: Final = re.compile(r"(?!-)[\w-]{1,63}(\.(?!-)[\w-]{1,63})*\.?")


class BadRemote(Invalid):
    """A modality or peer is not described as it should be; the message names the field."""


def modality_from(name: str, body: object) -> Modality:
    """Read `["AET", "host", port, "Manufacturer"]` or an object, whose other fields are ignored; raises `BadRemote`."""
    _check_name(name)
    if isinstance(body, list):
        if len(body) not in (3, 4):
            raise BadRemote('expected ["AET", "host", port] or ["AET", "host", port, "Manufacturer"]')
        body = dict(zip(("AET", "Host", "Port", "Manufacturer"), body, strict=False))
    given = _object(body)
    return Modality(
        name=name,
        aet=aet_field(given, "AET", required=True),
        host=host_field(given, required=True),
        port=int_field(given, "Port", 1, 65535, required=True),
        manufacturer=_manufacturer(_text_field(given, "Manufacturer")),
        permissions=_permissions(given),
        allow_transcoding=bool_field(given, "AllowTranscoding", default=True),
        tls=bool_field(given, "UseDicomTls", default=False),
        local_aet=aet_field(given, "LocalAet"),
        timeout=int_field(given, "Timeout", 0, 86_400),
        retrieve_method=_choice_field(given, "RetrieveMethod", RETRIEVE_METHODS),
    )


def modality_object(modality: Modality) -> dict[str, Any]:
    """Write a modality; `modality_from` reads it again."""
    commitment = Permission.STORAGE_COMMITMENT in modality.permissions
    return {
        "AET": modality.aet,
        **{name: permission in modality.permissions for name, permission in ALLOW.items()},
        "AllowNAction": commitment,
        "AllowNEventReport": commitment,
        "AllowTranscoding": modality.allow_transcoding,
        "Host": modality.host,
        "LocalAet": modality.local_aet,
        "Manufacturer": modality.manufacturer.value,
        "Port": modality.port,
        "RetrieveMethod": modality.retrieve_method,
        "Timeout": modality.timeout,
        "UseDicomTls": modality.tls,
    }


def peer_from(name: str, body: object, known: Peer | None = None) -> Peer:
    """Read `["url"]`, `["url", "user", "password"]` or an object, whose other fields are ignored; raises `BadRemote`.

    Secrets that are null, as they are shown, stay those of `known`, as long as they go to the same address and user.
    """
    _check_name(name)
    if isinstance(body, list):
        if len(body) not in (1, 3):
            raise BadRemote('expected ["url"] or ["url", "username", "password"]')
        body = dict(zip(("Url", "Username", "Password"), body, strict=False))
    given = _object(body)
    if given.get("Pkcs11") or given.get("CertificateFile"):
        raise BadRemote("CertificateFile, Pkcs11: a client certificate for peers is not supported")
    given = _split_credentials(given)
    url, username = given["Url"], _text_field(given, "Username")
    same = known if known and (known.url, known.username) == (url, username) else None
    shown = "Password" in given and given["Password"] is None
    return Peer(
        name=name,
        url=url,
        username=username,
        password=same.password if same and shown else _text_field(given, "Password"),
        headers=_headers(given.get("HttpHeaders"), dict(same.headers) if same else {}),
        ca_file=_ca_file(given.get("CaFile")),
        timeout=int_field(given, "Timeout", 0, 86_400),
        dicomweb=bool_field(given, "DicomWeb", default=False),
        allow_delete=bool_field(given, "HasDelete", default=False),
    )


def peer_object(peer: Peer) -> dict[str, Any]:
    """Write a peer; what is secret is null."""
    return {
        "Url": without_credentials(peer.url),
        **({"Username": peer.username, "Password": None} if peer.username else {}),
        "HttpHeaders": {name: None for name, _ in peer.headers},
        "Timeout": peer.timeout,
        "Pkcs11": False,
        **({"CaFile": peer.ca_file} if peer.ca_file else {}),
        **({"DicomWeb": True} if peer.dicomweb else {}),
    }


def server_object(peer: Peer) -> dict[str, Any]:
    """Write a DICOMweb server as Orthanc's plugin does; what is secret is null."""
    return {
        **{name: value for name, value in peer_object(peer).items() if name != "DicomWeb"},
        "HasDelete": peer.allow_delete,
        "ChunkedTransfers": True,
        "HasWadoRsUniversalTransferSyntax": True,
    }


def aet_field(given: Mapping[str, Any], field: str, *, required: bool = False) -> str:
    """Return an AE title (PS3.5 6.2), empty when it is not given; raises `BadRemote`."""
    aet = _text_field(given, field, required=required)
    if len(aet) > _MAX_AET or not aet.isascii() or "\\" in aet:
        raise BadRemote(f"{field}: an AE title has 1 to {_MAX_AET} ASCII characters and no backslash, got {aet[:80]!r}")
    return aet


def host_field(given: Mapping[str, Any], *, required: bool = False) -> str:
    """Return `Host`: a name (RFC 1123, underscores allowed) or an address, empty when not given; raises `BadRemote`."""
    host = _text_field(given, "Host", required=required)
    if host and not is_host(host):
        raise BadRemote(f"Host: expected a host name or an IP address without a port, got {host[:80]!r}")
    return host


def is_host(text: str) -> bool:
    """Whether `text` is a host name or an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return len(text) <= _MAX_HOST and _HOST.fullmatch(text) is not None
    return True


def int_field(given: Mapping[str, Any], field: str, least: int, most: int, *, required: bool = False) -> int:
    """Return a number, which may be written as text, 0 when it is not given; raises `BadRemote`."""
    value = given.get(field)
    if value is None and not required:
        return 0
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRemote(f"{field}: expected a number from {least} to {most}, got {_shown(value)}")
    return value


def bool_field(given: Mapping[str, Any], field: str, *, default: bool) -> bool:
    """Return true or false; raises `BadRemote`."""
    value = given.get(field, default)
    if not isinstance(value, bool):
        raise BadRemote(f"{field}: expected true or false, got {_shown(value)}")
    return value


def _check_name(name: str) -> None:
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable() or "/" in name:
        raise BadRemote(f"a name has 1 to {_MAX_NAME} characters and no slash, got {name[:80]!r}")


def unknown_fields(body: object, known: frozenset[str]) -> list[str]:
    """Return the fields of an object that are not known."""
    return [str(name)[:80] for name in body if name not in known] if isinstance(body, dict) else []


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise BadRemote(f"expected an array or an object, got {_shown(body)}")
    return body


def _text_field(given: Mapping[str, Any], field: str, *, required: bool = False, shown: bool = True) -> str:
    value = given.get(field)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise BadRemote(f"{field}: expected text of at most {_MAX_TEXT} characters" + _instead(field, value) * shown)
    if required and not value.strip():
        raise BadRemote(f"{field}: is missing or empty")
    return value.strip() if field != "Password" else value


def _instead(field: str, value: object) -> str:
    return "" if field == "Password" else f", got {_shown(value)}"


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]


def _choice_field(given: Mapping[str, Any], field: str, choices: tuple[str, ...]) -> str:
    value = given.get(field, choices[0])
    if value not in choices:
        raise BadRemote(f"{field}: expected one of {', '.join(choices)}, got {_shown(value)}")
    return str(value)


def _manufacturer(name: str) -> Manufacturer:
    if name in _FORMER:
        return _FORMER[name]
    try:
        return Manufacturer(name)
    except ValueError:
        expected = ", ".join(Manufacturer)
        raise BadRemote(f"Manufacturer: expected one of {expected}, got {name[:80]!r}") from None


def _permissions(given: Mapping[str, Any]) -> frozenset[Permission]:
    commitment = all(bool_field(given, name, default=True) for name in _FORMER_COMMITMENT)
    return frozenset(
        one
        for name, one in ALLOW.items()
        if bool_field(given, name, default=one is not Permission.STORAGE_COMMITMENT or commitment)
    )


def _split_credentials(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a peer's fields with the user and password that its URL may have as `Username` and `Password`.

    Messages do not quote the URL, which may have a password.
    """
    url = _text_field(given, "Url", required=True, shown=False)
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise BadRemote("Url: expected http://host[:port]/… or https://host[:port]/… with a port from 1 to 65535")
    if "@" not in parts.netloc:
        return {**given, "Url": url}
    if given.get("Username") or given.get("Password"):
        raise BadRemote("Url: has a user name, and so has Username; expected one of them")
    credentials = {"Username": unquote(parts.username or ""), "Password": unquote(parts.password or "")}
    return {**given, **credentials, "Url": without_credentials(url)}


def _ca_file(value: object) -> str:
    """Return certificates in PEM, or the name of a file, which is not looked for: that would tell what files exist."""
    if isinstance(value, str) and PEM in value:
        if len(value) > _MAX_PEM or not value.replace("\n", "").replace("\r", "").isprintable():
            raise BadRemote(f"CaFile: expected certificates in PEM of at most {_MAX_PEM} characters")
        return value
    return _text_field({"CaFile": value}, "CaFile")


def _headers(value: object, known: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise BadRemote("HttpHeaders: expected an object of names and values")
    headers = []
    for name, shown in value.items():
        text = known.get(name) if shown is None else shown
        if not name or not isinstance(text, str) or not (name + text).isprintable():
            raise BadRemote(f"HttpHeaders: {str(name)[:80]!r} has no text as its value")
        headers.append((str(name), text))
    return tuple(headers)
