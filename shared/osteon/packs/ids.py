"""Pack identifiers: unique without coordination, ordered by time (UUID version 7, RFC 9562 5.7 and 6.2 method 3)."""

import secrets
import time


def new_pack_id() -> str:
    """Return 32 hexadecimal digits: 48 bits of Unix milliseconds, version, 12 bits of their fraction, variant, random.

    The fraction is a quarter of a microsecond: of two that a process makes, the later one is greater.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    value = milliseconds << 16 | 0x7 << 12 | (rest << 12) // 1_000_000
    return f"{value << 64 | 0b10 << 62 | secrets.randbits(62):032x}"
