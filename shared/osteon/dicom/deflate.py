"""Inflating data sets of the deflated transfer syntaxes (PS3.5 A.5) within bounds."""

import zlib

from osteon.dicom.encoding import Buffer
from osteon.dicom.errors import BadDataSet, TruncatedDataSet


def inflate(data: Buffer, limit: int) -> tuple[bytes, bool]:
    """Inflate up to `limit` bytes; whether there is more behind them.

    Raises `BadDataSet` when the stream is damaged, `TruncatedDataSet` when it ends early.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, limit)
        more = not inflater.eof and bool(inflater.decompress(inflater.unconsumed_tail, 1))
    except zlib.error as error:
        raise BadDataSet(f"can not be inflated: {error}", "", 0) from None
    if not inflater.eof and not more:
        raise TruncatedDataSet("the deflated stream ends early", "", len(inflated))
    return inflated, more
