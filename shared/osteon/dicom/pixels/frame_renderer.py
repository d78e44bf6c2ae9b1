"""The picture of one frame: for a person (PS3.18 8.3.5, PS3.4 N.2), or by one of Orthanc's rules."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels import orthanc
from osteon.dicom.pixels.attributes import readable
from osteon.dicom.pixels.colour import to_rgb
from osteon.dicom.pixels.errors import BadRenderOptions, NotPossible
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.grayscale import read_grayscale_rules
from osteon.dicom.pixels.image_reader import ImageReader
from osteon.dicom.pixels.modality import Rescale, read_rescale, shown_rescale
from osteon.dicom.pixels.native import Decoded
from osteon.dicom.pixels.overlays import annotated
from osteon.dicom.pixels.palette import read_palette
from osteon.dicom.pixels.render_options import RenderOptions
from osteon.dicom.pixels.viewport import fitted, pixel_aspect, region, resized
from osteon.dicom.pixels.voi import check_window, read_window

_SOP_CLASS: Final = 0x00080016
_PIXEL_PRESENTATION: Final = 0x00089205
_RED_DESCRIPTOR: Final = 0x00281101
_RT_DOSE: Final = "1.2.840.10008.5.1.4.1.1.481.2"
_WHOLE: Final[dict[str, type[np.integer[Any]]]] = {"uint8": np.uint8, "uint16": np.uint16, "int16": np.int16}

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class FrameRenderer:
    """Draws frames, counted from 1, of an open image: (rows, columns), with colours (rows, columns, 3)."""

    image: ImageReader
    options: RenderOptions
    limits: PixelLimits

    def picture(self, number: int) -> Pixels:
        """Return the image that the options describe, of uint8 or uint16.

        Raises `BadRenderOptions`, `NotPossible`, `PixelError`, `BadDataSet`.
        """
        match self.options.mode:
            case "rendered":
                return self._rendered(number)
            case "orthanc":
                return self._as_orthanc(number)
            case "preview":
                decoded = self._orthanc_frame(number)
                if not self._is_grey(decoded):
                    return self._colours(decoded)
                return _upright(orthanc.stretched(decoded.frame[:, :, 0]), decoded)
            case _:
                return self._whole_numbers(number)

    def samples(self, number: int) -> Pixels:
        """Return (rows, columns, samples) as Orthanc's /numpy has them: rescaled floats, or RGB."""
        decoded, attributes = self._orthanc_frame(number), self.image.attributes
        if not _is_grey(decoded):
            return self._rgb(decoded)
        if not self.options.rescale:
            return decoded.frame
        return orthanc.rescaled(decoded.frame, Rescale() if self._is_dose else read_rescale(attributes, number))

    def _rendered(self, number: int) -> Pixels:
        image = self.image
        window = self.options.window and check_window(self.options.window)
        cells = image.cells(number)
        decoded = image.values(cells)
        if self._is_grey(decoded):
            rules = read_grayscale_rules(image.attributes, image.geometry, number, window)
            picture = self._supplemented(rules.apply(decoded.frame[:, :, 0]), decoded)
        else:
            picture = self._colours(decoded)
        picture = annotated(picture, image.attributes, image.geometry, number, cells)
        if self.options.viewport is None:
            return picture
        viewport = self.options.viewport
        part = region(viewport, picture.shape[1], picture.shape[0])
        height = part.height * pixel_aspect(image.attributes, number)
        size = self._checked(picture, *fitted(part.width, height, viewport.vw, viewport.vh))
        return resized(part.cut(picture), *size)

    def _supplemented(self, picture: Pixels, decoded: Decoded) -> Pixels:
        """Give values from a first one on the colours of a supplemental palette, if there is one (PS3.3 C.7.6.19)."""
        attributes = self.image.attributes
        if attributes.text(_PIXEL_PRESENTATION) not in ("COLOR", "MIXED") or _RED_DESCRIPTOR not in attributes:
            return picture
        if (palette := readable(read_palette, attributes)) is None:
            return picture
        coloured = decoded.frame[:, :, :1] >= palette.first
        return np.where(coloured, _eight_bits(palette.apply(decoded.frame)), picture[:, :, None])

    def _as_orthanc(self, number: int) -> Pixels:
        image, options = self.image, self.options
        decoded = self._orthanc_frame(number)
        if not self._is_grey(decoded):
            return self._sized_as_orthanc(self._colours(decoded))
        window = read_window(image.attributes, number)
        window = orthanc.merged_window(options.window, window or orthanc.full_window(image.geometry.bits_stored))
        rescale = Rescale() if self._is_dose else shown_rescale(image.attributes, number)
        picture = orthanc.windowed(decoded.frame[:, :, 0], window, rescale)
        return _upright(self._sized_as_orthanc(picture), decoded)

    def _sized_as_orthanc(self, picture: Pixels) -> Pixels:
        rows, columns = picture.shape[:2]
        size = self._checked(picture, *orthanc.new_size(columns, rows, self.options.width, self.options.height))
        return orthanc.resized(picture, *size, smooth=self.options.smooth)

    def _whole_numbers(self, number: int) -> Pixels:
        decoded = self._orthanc_frame(number)
        if not _is_grey(decoded):
            raise NotPossible(f"{decoded.photometric} frames have colours, not one number a pixel: ask for a preview")
        values = orthanc.clamped(decoded.frame[:, :, 0], _WHOLE[self.options.mode])
        # Orthanc writes negative values as their two's complement.
        return values.view(np.uint16) if values.dtype == np.int16 else values

    def _colours(self, decoded: Decoded) -> Pixels:
        return _eight_bits(self._rgb(decoded))

    def _rgb(self, decoded: Decoded) -> Pixels:
        return to_rgb(decoded, self.image.attributes, self.image.geometry.bits_stored)

    def _is_grey(self, decoded: Decoded) -> bool:
        """Whether a frame is shown in greys; so are the indices of a palette that is missing or damaged."""
        if decoded.photometric != "PALETTE COLOR":
            return _is_grey(decoded)
        return readable(read_palette, self.image.attributes) is None

    def _orthanc_frame(self, number: int) -> Decoded:
        decoded = self.image.frame(number)
        bits = self.image.geometry.bits_allocated == 1
        return replace(decoded, frame=orthanc.whole_bytes(decoded.frame)) if bits else decoded

    @property
    def _is_dose(self) -> bool:
        """Whether Orthanc rescales nothing: the scaling of a dose has another meaning."""
        return self.image.attributes.text(_SOP_CLASS) == _RT_DOSE

    def _checked(self, picture: Pixels, width: int, height: int) -> tuple[int, int]:
        if (size := width * height * picture[0, 0].nbytes) > self.limits.frame_bytes:
            raise BadRenderOptions(
                f"a picture of {width} x {height} pixels has {size} bytes, more than a frame may have"
            )
        return width, height


def _is_grey(decoded: Decoded) -> bool:
    return decoded.frame.shape[2] == 1 and decoded.photometric != "PALETTE COLOR"


def _eight_bits(rgb: Pixels) -> Pixels:
    return rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)


def _upright(picture: Pixels, decoded: Decoded) -> Pixels:
    """Invert what has its least value white; Orthanc checks nothing else."""
    return 255 - picture if decoded.photometric == "MONOCHROME1" else picture
