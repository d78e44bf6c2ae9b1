"""Kinds of values: ports, lists, sizes and durations."""

import re
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

_NUMBER = re.compile(r"\s*(?P<number>\d+(\.\d+)?|\.\d+)\s*(?P<unit>[A-Za-z]+)\s*")
_SIZES: Final = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
}
"""Bytes of each unit, in upper case: `MB` is 10^6 bytes, `MiB` 2^20."""
_DURATIONS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
"""Seconds of each unit."""


def split_words(value: object) -> object:
    """Turn `a, b` into `("a", "b")`; anything but text stays as it is."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def parse_networks(value: object) -> object:
    """Turn `10.1.0.0/16, 192.0.2.1` into networks. Raises `ValueError` on what is neither address nor network."""
    words = split_words(value)
    return tuple(ip_network(word, strict=False) for word in words) if isinstance(words, tuple) else words


def parse_size(value: object) -> object:
    """Turn `64MB` into bytes. A plain number stays as it is; raises `ValueError` on an unknown unit."""
    if not isinstance(value, str) or (found := _NUMBER.fullmatch(value)) is None:
        return value
    if (unit := _SIZES.get(found["unit"].upper())) is None:
        raise ValueError("expected a number of bytes, or one with a unit: KB, MB, GB, TB, KiB, MiB, GiB or TiB")
    return round(float(found["number"]) * unit)


def parse_duration(value: object, *, unit: float = 1.0) -> object:
    """Turn `10s`, `5m`, `2h` into a number of `unit` seconds. A plain number stays as it is, in that unit.

    Raises `ValueError` on an unknown unit.
    """
    if not isinstance(value, str) or (found := _NUMBER.fullmatch(value)) is None:
        return value
    if (seconds := _DURATIONS.get(found["unit"])) is None:
        raise ValueError("expected a number, or one with a unit: ms, s, m, h or d")
    return float(found["number"]) * seconds / unit


MAX_PORT: Final = 65_535
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_words)]
"""A comma-separated list."""
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(parse_networks)]
"""A comma-separated list of addresses and networks."""
ByteCount = Annotated[int, BeforeValidator(parse_size)]
"""A number of bytes, or `64MB` (10^6), `64MiB` (2^20)."""
Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A number of seconds, or `10s`, `5m`, `2h`."""
Hours = Annotated[float, BeforeValidator(partial(parse_duration, unit=3600.0))]
"""A number of hours, or as `Seconds`."""
Days = Annotated[float, BeforeValidator(partial(parse_duration, unit=86_400.0))]
"""A number of days, or as `Seconds`."""
