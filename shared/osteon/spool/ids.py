"""Pack identifiers: unique without asking anybody, and ordered by time (the layout of a UUID version 7, RFC 9562)."""

import secrets
import time


def new_pack_id() -> str:
    """Return 32 hexadecimal digits: 48 bits of Unix milliseconds, then version, variant and 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{value:032x}"
