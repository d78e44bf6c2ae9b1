"""Options and result of rendering an instance (PS3.18 8.3.5, Orthanc's REST). Imports no codec."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

RenderMode = Literal["rendered", "orthanc", "preview", "uint8", "uint16", "int16", "numpy", "frames"]

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
GIF: Final = "image/gif"
PAM: Final = "image/x-portable-arbitrarymap"
OCTETS: Final = "application/octet-stream"


class Window(NamedTuple):
    """A window of values (PS3.3 C.11.2.1.2, .3); `function`: linear, linear-exact or sigmoid."""

    centre: float
    width: float
    function: str = "linear"


class Viewport(NamedTuple):
    """The greatest size of the picture and the region of the frame in it, in pixels (PS3.18 8.3.5.1.3).

    What is None goes to the frame's edge; a negative `sw` or `sh` flips.
    """

    vw: int
    vh: int
    sx: float | None = None
    sy: float | None = None
    sw: float | None = None
    sh: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """A picture, or samples, of frames of one instance.

    Attributes:
        mode: `rendered`: as a person looks at it; `orthanc`: as Orthanc's /rendered; `preview`, `uint8`, `uint16`,
            `int16`, `numpy`: what Orthanc means by these; `frames`: decoded samples in native little endian.
        media_type: of pictures; `numpy` and `frames` do not look at it.
        frames: counted from 1; empty: all.
        quality: of JPEG, 1 to 100.
        window: in place of the file's own, of `rendered` and `orthanc`; for the latter `nan` leaves the file's number.
        viewport: of `rendered`.
        width, height: the greatest size of the picture, of `orthanc`.
        smooth: blur before making it smaller, of `orthanc`.
        rescale: apply slope and intercept, of `numpy`.
        compress: make an .npz, of `numpy`.
    """

    mode: RenderMode = "rendered"
    media_type: str = PNG
    frames: tuple[int, ...] = ()
    quality: int = 90
    window: Window | None = None
    viewport: Viewport | None = None
    width: int | None = None
    height: int | None = None
    smooth: bool = False
    rescale: bool = True
    compress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFile:
    """What was written. `lengths` in bytes, of the pictures that follow one another; one when they are one file.

    `warning`: what is wrong with the pixel data, although there is a picture; empty when nothing is known to be.
    """

    length: int
    media_type: str
    lengths: tuple[int, ...]
    warning: str = ""
