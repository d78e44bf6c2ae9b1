"""Parsing the JSON of a header."""

import json
from typing import Any, Final

import orjson

_LARGE: Final = 512 << 10
"""Bytes of JSON from which on orjson would hold the interpreter for tens of milliseconds."""


def load_header(raw: bytes) -> dict[str, Any]:
    """Parse a header as `Header.json` has it: tag → DICOM JSON element.

    A large one is parsed by Python's own module, which lets other threads go on at each object.
    """
    header: dict[str, Any] = orjson.loads(raw) if len(raw) < _LARGE else json.loads(raw, object_hook=_same)
    return header


def _same(found: dict[str, Any]) -> dict[str, Any]:
    """A function in Python, at whose start the interpreter can be given to another thread."""
    return found
