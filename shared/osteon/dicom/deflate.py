"""Inflating data sets of the deflated transfer syntaxes (PS3.5 A.5) within bounds."""

import mmap
import zlib
from typing import Any, Final, NamedTuple

from osteon.dicom.encoding import Buffer
from osteon.dicom.errors import BadDataSet, TruncatedDataSet

_PIECE: Final = 1 << 16
"""Bytes that go in, and that come out, in one step: zlib copies what it has not read yet."""


class Inflated(NamedTuple):
    """What came out of a stream, whether it ended there, and what is wrong behind it (empty: nothing)."""

    data: memoryview
    ended: bool
    fault: str


def inflate_beginning(data: Buffer, limit: int) -> Inflated:
    """Inflate up to `limit` bytes of a stream, and all that comes before a fault in it.

    The beginning of a stream gives the beginning of what the whole stream gives, faulty or not.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    # Pages count once they are written, and go back to the system: a buffer that grows is copied, and stays.
    inflated, length = mmap.mmap(-1, max(limit, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
    position, fault = 0, ""
    pending: Buffer = b""
    while length < limit and not inflater.eof and not fault:
        if not pending:
            pending = data[position : position + _PIECE]
            position += len(pending)
        before = inflater.copy()
        try:
            found = inflater.decompress(pending, min(_PIECE, limit - length))
        except zlib.error as error:
            fault, found = str(error), _up_to_the_fault(before, pending, limit - length)
        if not found and not pending:
            break
        inflated[length : length + len(found)] = found
        length += len(found)
        pending = inflater.unconsumed_tail
    return Inflated(memoryview(inflated)[:length].toreadonly(), inflater.eof, fault)


def _up_to_the_fault(inflater: Any, pending: Buffer, limit: int) -> bytes:
    """Inflate byte by byte: zlib throws away what the step with the fault has given."""
    found = bytearray()
    try:
        while len(found) < limit and (byte := inflater.decompress(pending, 1)):
            found += byte
            pending = inflater.unconsumed_tail
    except zlib.error:
        return bytes(found)
    return bytes(found)


def inflate(data: Buffer, limit: int) -> tuple[memoryview, bool]:
    """Inflate up to `limit` bytes; whether there is more behind them.

    Raises `BadDataSet` when the stream is damaged, `TruncatedDataSet` when it ends early.
    """
    inflated, ended, fault = inflate_beginning(data, limit + 1)
    if fault:
        raise BadDataSet(f"cannot be inflated: {fault}", "", len(inflated))
    more = len(inflated) > limit
    if not ended and not more:
        raise TruncatedDataSet("the deflated stream ends early", "", len(inflated))
    return inflated[:limit], more
