"""The one field of a certificate that the standard library does not expose: the end of its validity (RFC 5280 4.1).

DER is a tree of tag, length and value (X.690). A Certificate is a sequence that begins with the sequence
tbsCertificate: [0] version (absent in version 1), serialNumber, signature, issuer, validity, ...
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from osteon.errors import Invalid

_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_VALIDITY: Final = 3
"""Position in tbsCertificate, behind the version."""


def not_after(certificate: bytes) -> datetime:
    """Return the moment in which a certificate in DER expires; raises `Invalid`."""
    try:
        ((_, whole),) = _items(certificate)
        _, signed = next(_items(whole))
        fields = [value for tag, value in _items(signed) if tag != _VERSION]
        _, (tag, text) = _items(fields[_VALIDITY])
        year = "%y" if tag == _UTC_TIME else "%Y"
        return datetime.strptime(text.decode(), f"{year}%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError, StopIteration):
        raise Invalid("not an X.509 certificate") from None


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over tags and values of one level; raises `IndexError` or `ValueError` when they are cut."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("cut")
        yield tag, data[at : at + length]
        at += length
