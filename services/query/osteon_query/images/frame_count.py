"""How many frames of an instance there are (PS3.3 C.7.6.6)."""

from typing import Final

from osteon.archive.resources import Location
from osteon.dicom.frames import number_of_frames
from osteon.dicom.header.load import load_header, read_aside
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
            return (await locator.locate(location, line.dataset_offset, line.header)).count
        except (UnknownResource, DamagedData):
            pass  # Rendering says what is wrong.
    return await read_aside(line.header.json, _number_of_frames, line.header.json)


def _number_of_frames(header: bytes) -> int:
    values = load_header(header).get(_FRAMES, {}).get("Value") or [1]
    return number_of_frames(values[0])
