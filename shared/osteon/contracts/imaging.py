"""Pixels over the bus: `imaging` encodes instances in other transfer syntaxes, and renders them."""

import hashlib
from math import nan
from typing import Final, Literal

from pydantic import Field

from osteon.contracts.base import Message
from osteon.dicom.pixels.render_options import RenderOptions, Viewport, Window


class TranscodeRequest(Message):
    """Encode the Part 10 file at `offset` of the object `key` in the first of `targets` that can be done."""

    key: str
    offset: int
    length: int
    targets: list[str] = Field(description="Transfer syntax UIDs, the best first.")
    lossy: list[str] = Field(default_factory=list, description="Those of `targets` that may lose information.")
    quality: int = Field(default=90, ge=1, le=100, description="Of lossy encoding.")


class TranscodeReply(Message):
    """Where the new Part 10 file is. The requester deletes the object when it has been read."""

    key: str = Field(description="Object key.")
    length: int = 0
    transfer_syntax_uid: str = ""
    sop_instance_uid: str = Field(default="", description="A new one when the pixel data lost information.")


class DecodeRequest(Message):
    """Decode the picture, PNG or JPEG, that the object `key` is."""

    key: str
    length: int


class DecodeReply(Message):
    """Where its samples are, as native pixel data has them, colours of a pixel together. The requester deletes it."""

    key: str = Field(description="Object key.")
    length: int
    rows: int
    columns: int
    samples: int = Field(description="1 for grey, 3 for red, green and blue.")
    bits: int = Field(description="8 or 16, of a sample.")


ImageMode = Literal["rendered", "orthanc", "preview", "uint8", "uint16", "int16", "numpy", "frames"]
"""`rendered`: as a person looks at it (PS3.18 8.3.5); `orthanc`: its /rendered; `preview`, `uint8`, `uint16`, `int16`
and `numpy`: what Orthanc means by these; `frames`: decoded native little-endian pixel bytes, no table applied."""
INLINE_BYTES: Final = 1 << 20
"""A rendered file up to this length comes in the answer itself."""
RENDERED: Final = "cache/rendered/"
"""Prefix of the objects that are pictures."""
RENDERING: Final = 2
"""Grows whenever the same request gives another picture, frame or file than before, so that no old one is served."""


class RenderRequest(Message):
    """Make pictures of frames of the Part 10 file at `offset` of the object `key`."""

    key: str
    offset: int
    length: int
    frames: list[int] = Field(default_factory=list, description="Counted from 1; empty: all.")
    mode: ImageMode
    media_type: str = Field(
        description="image/png, image/jpeg, image/gif, image/x-portable-arbitrarymap or application/octet-stream."
    )
    quality: int = Field(default=90, ge=1, le=100, description="Of JPEG.")
    window: tuple[float, float, str] | None = Field(
        default=None, description="Centre, width, and linear, linear-exact or sigmoid."
    )
    window_centre: float | None = Field(default=None, description="With the file's width, of Orthanc's /rendered.")
    window_width: float | None = Field(default=None, description="With the file's centre, of Orthanc's /rendered.")
    viewport: tuple[int, int, float | None, float | None, float | None, float | None] | None = Field(
        default=None,
        description="Size of the picture and the region of the frame that fills it: vw, vh, sx, sy, sw, sh "
        "(PS3.18 8.3.5.1.3); null: left out.",
    )
    width: int | None = Field(default=None, ge=1, description="Greatest width, of Orthanc's /rendered.")
    height: int | None = Field(default=None, ge=1, description="Greatest height, of Orthanc's /rendered.")
    smooth: bool = Field(default=False, description="Interpolate when the size changes, of Orthanc's /rendered.")
    rescale: bool = Field(default=True, description="Apply slope and intercept, of numpy.")
    compress: bool = Field(default=False, description="Make an .npz, of numpy.")
    background: bool = Field(default=False, description="No client waits for it: other requests go first.")
    seconds: float = Field(default=300.0, gt=0, description="For how long the answer is of use.")

    @property
    def options(self) -> RenderOptions:
        """What is to be drawn."""
        return RenderOptions(
            mode=self.mode,
            media_type=self.media_type,
            frames=tuple(self.frames),
            quality=self.quality,
            window=self._window,
            viewport=Viewport(*self.viewport) if self.viewport else None,
            width=self.width,
            height=self.height,
            smooth=self.smooth,
            rescale=self.rescale,
            compress=self.compress,
        )

    @property
    def _window(self) -> Window | None:
        if self.window:
            return Window(*self.window)
        centre, width = self.window_centre, self.window_width
        if centre is None and width is None:
            return None
        return Window(nan if centre is None else centre, nan if width is None else width)

    @property
    def cache_key(self) -> str:
        """The object key of what this asks for: of the instance's bytes, which never change, and of the picture."""
        alike = self if self.media_type == "image/jpeg" else self.model_copy(update={"quality": 90})
        # Fields that came with a later release count when they are given: pictures of earlier ones stay.
        absent = {name for name in ("window_centre", "window_width") if getattr(self, name) is None}
        picture = alike.model_dump_json(exclude={"correlation_id", "traceparent", "background", "seconds", *absent})
        digest = hashlib.sha256(f"{RENDERING} {picture}".encode()).hexdigest()
        return f"{RENDERED}{digest[:2]}/{digest}"


class RenderReply(Message):
    """Where the pictures are, one after the other.

    The object is part of a cache: it may be read again, and goes by itself.
    """

    key: str = Field(default="", description="Object below cache/rendered/; may be empty when `data` has the file.")
    data: bytes = Field(default=b"", description="The file itself, when it is small.")
    length: int = 0
    frames: list[int] = Field(default_factory=list, description="Lengths of several files that follow one another.")
    media_type: str = ""
    warning: str = Field(default="", description="What is wrong with the pixel data, although there is a picture.")
