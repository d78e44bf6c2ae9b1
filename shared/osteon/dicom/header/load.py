"""Parsing the JSON of a header."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import orjson

_LARGE: Final = 512 << 10
"""Bytes of JSON from which on orjson would hold the interpreter for tens of milliseconds."""

_QUICK: Final = 64 << 10
"""Bytes of JSON up to which parsing takes less than a thread does."""
P = ParamSpec("P")
T = TypeVar("T")


def load_header(raw: bytes) -> dict[str, Any]:
    """Parse a header as `Header.json` has it: tag → DICOM JSON element.

    A large one is parsed by Python's own module, which lets other threads go on at each object.
    """
    header: dict[str, Any] = orjson.loads(raw) if len(raw) < _LARGE else json.loads(raw, object_hook=_same)
    return header


def _same(found: dict[str, Any]) -> dict[str, Any]:
    """A function in Python, at whose start the interpreter can be given to another thread."""
    return found


async def read_aside(raw: bytes, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns that parses the header `raw`; when that is large, it runs in a thread."""
    if len(raw) <= _QUICK:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
