"""From a DICOM file to the pictures of its frames (PS3.18 8.3.5, Orthanc's REST), by any codec.

Only workers of `imaging` import it.
"""

from collections.abc import Callable
from pathlib import Path

from osteon.dicom.pixels.codecs import decode
from osteon.dicom.pixels.drawing import draw
from osteon.dicom.pixels.frame_reader import FrameTables
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.render_options import RenderedFile, RenderOptions
from osteon.dicom.pixels.source import PixelSource


def render(
    source_path: Path,
    options: RenderOptions,
    destination_path: Path,
    limits: PixelLimits,
    *,
    before_frame: Callable[[], None] = lambda: None,
    tables: FrameTables | None = None,
    name: str = "",
) -> RenderedFile:
    """Render the DICOM file at `source_path` as the options say; images of several frames follow one another.

    Raises what `draw` raises. `before_frame` is called before each frame is decoded. `tables` may know where the frames
    of the instance `name` are.
    """
    with PixelSource(source_path, limits) as source, destination_path.open("wb") as file:
        return draw(source, options, file, decode, before_frame=before_frame, tables=tables, name=name)
