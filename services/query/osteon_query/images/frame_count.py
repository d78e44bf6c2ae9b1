"""How many frames of an instance there are (PS3.3 C.7.6.6)."""

from typing import Final

import orjson

from osteon.archive.resources import Location
from osteon.dicom.frames import number_of_frames
from osteon_query.http.errors import DamagedData, UnknownResource
from osteon_query.http.media_types import is_video
from osteon_query.packs.frames import FrameLocator
from osteon_query.packs.sidecars import Sidecars, read_lines

_FRAMES: Final = "00280008"


async def frame_count(sidecars: Sidecars, locator: FrameLocator, location: Location) -> int:
    """Return how many frames the pixel data has; of video and where that is not known what Number of Frames says."""
    (line,) = await read_lines(sidecars, [location])
    if not is_video(location.transfer_syntax_uid):
        try:
            return locator.locate(location, line.dataset_offset, line.header).count
        except (UnknownResource, DamagedData):
            pass  # Rendering says what is wrong.
    values = orjson.loads(line.header.json).get(_FRAMES, {}).get("Value") or [1]
    return number_of_frames(values[0])
