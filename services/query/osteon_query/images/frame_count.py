"""How many frames an instance has, as its header says (PS3.3 C.7.6.6)."""

from typing import Final

import orjson

from osteon.archive.resources import Location
from osteon_query.packs.sidecars import Sidecars, read_lines

_FRAMES: Final = "00280008"
_MARK: Final = b'"00280008":'


async def frame_count(sidecars: Sidecars, location: Location) -> int:
    """Return Number of Frames; 1 where there is none, or no number."""
    header = (await read_lines(sidecars, [location]))[0].header.json
    if _MARK not in header:
        return 1
    try:
        return max(1, int(orjson.loads(header)[_FRAMES]["Value"][0]))
    except (KeyError, IndexError, ValueError, TypeError):
        return 1
