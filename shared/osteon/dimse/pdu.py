"""The small PDUs and the framing of P-DATA-TF (PS3.8 9.3). A-ASSOCIATE PDUs are in `associate_rq` and `negotiation`."""

import struct
from collections.abc import Iterator
from enum import IntEnum

from osteon.errors import Invalid

PDU_HEADER = struct.Struct(">BxI")
"""PDU type, a reserved byte, and the length of what follows (PS3.8 9.3.1)."""
PDV_HEADER = struct.Struct(">IBB")
"""Item length, presentation context id, message control header (PS3.8 9.3.5.1 and Annex E)."""
_P_DATA = struct.Struct(">BxIIBB")

COMMAND = 0x01
"""Bit of the message control header: the fragment belongs to a command set."""
LAST = 0x02
"""Bit of the message control header: the fragment is the last one."""
LONGEST_PDU = 256 << 10
"""Bytes that one P-DATA-TF carries at most when the peer sets no lower limit."""
SHORTEST_PDU = 8
"""A peer that takes less cannot be sent a single pair of bytes."""


class PduType(IntEnum):
    """The first byte of a PDU."""

    UNRECOGNIZED = 0x00
    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortSource(IntEnum):
    """Source of A-ABORT (PS3.8 9.3.8)."""

    USER = 0
    PROVIDER = 2


class AbortReason(IntEnum):
    """Why the provider aborts (PS3.8 9.3.8); of no meaning when the user does."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolError(Invalid):
    """The peer broke PS3.8 or PS3.7 in a way that only A-ABORT answers."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


def abort(source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """Encode A-ABORT (PS3.8 9.3.8)."""
    return PDU_HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, source, reason))


def describe_abort(source: int, reason: int) -> str:
    """Say in words who aborted and why (PS3.8 Table 9-26)."""
    if source == AbortSource.PROVIDER:
        known = reason in set(AbortReason)
        return f"A-ABORT by the provider: {AbortReason(reason).name.replace('_', ' ').lower() if known else reason}"
    return "A-ABORT by the user" if source == AbortSource.USER else f"A-ABORT, source {source}, reason {reason}"


def reject(result: int, source: int, reason: int) -> bytes:
    """Encode A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    return PDU_HEADER.pack(PduType.ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def release_rq() -> bytes:
    """Encode A-RELEASE-RQ (PS3.8 9.3.6)."""
    return PDU_HEADER.pack(PduType.RELEASE_RQ, 4) + bytes(4)


def release_rp() -> bytes:
    """Encode A-RELEASE-RP (PS3.8 9.3.7)."""
    return PDU_HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)


def data_header(context_id: int, control: int, length: int) -> bytes:
    """Encode what comes before `length` bytes that are the only presentation data value of a P-DATA-TF."""
    return _P_DATA.pack(PduType.P_DATA_TF, length + 6, length + 2, context_id, control)


def fragment(context_id: int, kind: int, data: bytes, limit: int) -> Iterator[bytes]:
    """Cut one command set or data set into encoded P-DATA-TF PDUs.

    Args:
        context_id: presentation context.
        kind: `COMMAND`, or 0 for a data set.
        data: all of it; an even number of bytes.
        limit: maximum PDU length, at least `SHORTEST_PDU`: the PDV's own header counts, the PDU's does not.
    """
    view = memoryview(data)
    step = (limit - PDV_HEADER.size) & ~1
    for at in range(0, len(data), step) or (0,):
        part = view[at : at + step]
        control = kind | (LAST if at + step >= len(data) else 0)
        yield data_header(context_id, control, len(part)) + part
