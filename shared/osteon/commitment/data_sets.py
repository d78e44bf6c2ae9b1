"""Action and Event Information of storage commitment (PS3.4 Tables J.3-1 and J.3-2): data sets → items, and back."""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from osteon.commitment.port import CommitmentFailure, CommitmentItem, FailureReason
from osteon.dicom.deflate import inflate
from osteon.dicom.encoding import ITEM, LONG_VRS, Encoding, declared_encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.spans import Span, elements, items, whole
from osteon.dicom.uids import transfer_syntax
from osteon.errors import Invalid

MAX_LENGTH: Final = 16 << 20
"""Bytes of a data set, inflated: some 100,000 items."""
_SOP_CLASS: Final = 0x00081150
_SOP_INSTANCE: Final = 0x00081155
_TRANSACTION: Final = 0x00081195
_REASON: Final = 0x00081197
_FAILED: Final = 0x00081198
_REFERENCED: Final = 0x00081199
_UID: Final = re.compile(r"[0-9.]{1,64}")


class BadCommitmentInformation(Invalid):
    """An attribute is missing, or has a value that it cannot have; the message names it."""


@dataclass(frozen=True, slots=True)
class CommitmentInformation:
    """What a request or a report says."""

    transaction_uid: str
    items: tuple[CommitmentItem, ...] = ()
    failures: tuple[CommitmentFailure, ...] = ()


def decode(data: bytes, transfer_syntax_uid: str) -> CommitmentInformation:
    """Read a data set; raises `BadCommitmentInformation`, `BadDataSet` and `UnknownTransferSyntax`."""
    syntax = transfer_syntax(transfer_syntax_uid)
    more = len(data) > MAX_LENGTH
    if syntax.deflated:
        inflated, more = inflate(data, MAX_LENGTH)
        data = bytes(inflated)
    if more:
        raise BadDataSet(f"the data set is longer than {MAX_LENGTH} bytes", "", MAX_LENGTH)
    order = "<" if syntax.little_endian else ">"
    values = _values(whole(data, syntax))
    return CommitmentInformation(
        _uid(values, _TRANSACTION, "Transaction UID"),
        tuple(_item(found) for found in _sequence(values, _REFERENCED)),
        tuple(CommitmentFailure(_item(found), _reason(found, order)) for found in _sequence(values, _FAILED)),
    )


def encode(information: CommitmentInformation, transfer_syntax_uid: str) -> bytes:
    """Write a data set with the sequences that are not empty."""
    syntax = transfer_syntax(transfer_syntax_uid)
    to = _Writer(declared_encoding(syntax))
    body = to.uid(_TRANSACTION, information.transaction_uid)
    if information.failures:
        failed = (to.item(each.item) + to.number(_REASON, each.reason) for each in information.failures)
        body += to.sequence(_FAILED, failed)
    if information.items:
        body += to.sequence(_REFERENCED, (to.item(each) for each in information.items))
    if syntax.deflated:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
        body += b"\0" * (len(body) % 2)
    return body


def _values(span: Span) -> dict[int, Span]:
    return {int(element.tag, 16): element.value for element in elements(span)}


def _sequence(values: dict[int, Span], tag: int) -> Iterator[dict[int, Span]]:
    return (_values(item) for item in items(values[tag])) if tag in values else iter(())


def _item(values: dict[int, Span]) -> CommitmentItem:
    return CommitmentItem(
        _uid(values, _SOP_CLASS, "Referenced SOP Class UID"), _uid(values, _SOP_INSTANCE, "Referenced SOP Instance UID")
    )


def _uid(values: dict[int, Span], tag: int, name: str) -> str:
    if tag not in values:
        raise BadCommitmentInformation(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {name} is missing")
    text = _raw(values[tag]).decode("latin-1").strip(" \0")
    if not _UID.fullmatch(text):
        raise BadCommitmentInformation(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {name} is not a UID")
    return text


def _reason(values: dict[int, Span], order: str) -> int:
    raw = _raw(values[_REASON]) if _REASON in values else b""
    return int(struct.unpack(f"{order}H", raw)[0]) if len(raw) == 2 else FailureReason.PROCESSING_FAILURE


def _raw(span: Span) -> bytes:
    return span.data[span.start : span.stop]


class _Writer:
    """Writes elements in one encoding."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding

    def uid(self, tag: int, value: str) -> bytes:
        raw = value.encode("ascii")
        return self._element(tag, b"UI", raw + b"\0" * (len(raw) % 2))

    def number(self, tag: int, value: int) -> bytes:
        return self._element(tag, b"US", value.to_bytes(2, "little" if self._encoding.little_endian else "big"))

    def item(self, item: CommitmentItem) -> bytes:
        return self.uid(_SOP_CLASS, item.sop_class_uid) + self.uid(_SOP_INSTANCE, item.sop_instance_uid)

    def sequence(self, tag: int, contents: Iterable[bytes]) -> bytes:
        head = self._encoding.item
        return self._element(
            tag, b"SQ", b"".join(head.pack(ITEM >> 16, ITEM & 0xFFFF, len(each)) + each for each in contents)
        )

    def _element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        to, (group, element) = self._encoding, divmod(tag, 1 << 16)
        if not to.explicit:
            return to.head.pack(group, element, len(value)) + value
        if vr in LONG_VRS:
            return to.head.pack(group, element, vr, 0) + to.long.pack(len(value)) + value
        return to.head.pack(group, element, vr, len(value)) + value
