"""An image opened for viewing: its attributes, and any of its frames decoded without those before it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.colour import as_labelled
from osteon.dicom.pixels.errors import NotPossible, PixelError
from osteon.dicom.pixels.frame_reader import FrameReader
from osteon.dicom.pixels.geometry import PHOTOMETRIC, Geometry
from osteon.dicom.pixels.native import Decoded, clipped, decode_uncompressed, stored_values, to_422, to_native
from osteon.dicom.pixels.registry import CODECS, UNCOMPRESSED, Codec, Family
from osteon.dicom.pixels.source import PixelSource
from osteon.dicom.pixels.transcoded_attributes import LOSSY

_MOST_PROBLEMS: Final = 8


class Decoder(Protocol):
    """Decodes one frame: `osteon.dicom.pixels.codecs.decode` each, `native_only` those that need no codec."""

    def __call__(self, codec: Codec, data: bytes, geometry: Geometry, *, rgb: bool = False) -> Decoded:
        """Return the frame; raises `PixelError` when it is damaged."""


def native_only(codec: Codec, data: bytes, geometry: Geometry, *, rgb: bool = False) -> Decoded:  # noqa: ARG001
    """Return a native frame; raises `NotPossible` for a bit stream."""
    if codec.family is not Family.NATIVE:
        raise NotPossible(f"{codec.family} needs a codec")
    return decode_uncompressed(data, geometry)


class ImageReader:
    """The image in an open DICOM file; at most the frames that the caller keeps are in memory.

    Attributes:
        attributes: of the data set.
        geometry: of the frames that are there, checked against the limits.
        problems: what is wrong with the pixel data, as far as it was looked at.
    """

    def __init__(self, source: PixelSource, decode: Decoder, before_frame: Callable[[], None] = lambda: None) -> None:
        """Take frames of a source; `before_frame` is called before each decoding.

        Raises `NotPossible` when there is nothing to decode, `PixelError` when attributes are invalid.
        """
        self._source = source
        self._decode = decode
        self._before_frame = before_frame
        self.attributes = Attributes(source.data, source.elements, source.encoding)
        self._codec = _codec(source)
        layout = source.geometry()
        self._lossy = self._codec.family is Family.JPEG or self.attributes.text(LOSSY) == "01"
        self._access = FrameReader(source, layout)
        self.geometry: Geometry = replace(layout, frames=self._access.count)
        self.problems = [self._access.problem] if self._access.problem else []

    def require(self, number: int) -> None:
        """Raise `NoSuchFrame` for a frame that is not there."""
        self._access.require(number)

    def frame(self, number: int) -> Decoded:
        """Return the stored values of a frame, counted from 1: (rows, columns, samples) of integers or floats.

        Colours of a JPEG are RGB then; those of others are as in the file.

        Raises `NoSuchFrame`, and `PixelError` when it is damaged beyond use.
        """
        return self.values(self._decoded(number, rgb=True))

    def cells(self, number: int) -> Decoded:
        """Return a frame as in the file, with everything that is in its words, old overlays too (PS3.5 8.1.1)."""
        return self._decoded(number, rgb=False)

    def native(self, number: int) -> bytes:
        """Return a frame as Explicit VR Little Endian has it, under the attributes as they are (PS3.5 8.1.1, 8.2).

        Colours and their order are those that the attributes promise: `osteon.dicom.pixels.colour.as_labelled`.
        """
        geometry, label = self.geometry, self.attributes.text(PHOTOMETRIC)
        decoded = self._decoded(number, rgb=label != "YBR_FULL")
        if self._codec.family in UNCOMPRESSED and geometry.subsampled:
            return to_422(decoded.frame)
        frame = as_labelled(decoded, label, geometry.bits_stored)
        # Subsampled and transformed colours have no planes (PS3.3 C.7.6.3.1.3).
        if geometry.planar and (label == "YBR_FULL" or not label.startswith("YBR_")):
            frame = frame.transpose(2, 0, 1)
        return to_native(frame, bits=geometry.bits_allocated == 1)

    def _decoded(self, number: int, *, rgb: bool) -> Decoded:
        stored = self._access.read(number)
        self._before_frame()
        try:
            decoded = self._decode(self._codec, stored.data, self.geometry, rgb=rgb)
        except PixelError as error:
            raise PixelError("; ".join(filter(None, (f"frame {number}: {error}", stored.lacks)))) from None
        for problem in (stored.lacks, decoded.problem):
            if problem and len(self.problems) < _MOST_PROBLEMS:
                self.problems.append(f"frame {number}: {problem}")
        return decoded

    def values(self, cells: Decoded) -> Decoded:
        """Return the stored values in a frame of `cells`."""
        geometry = self.geometry
        if 0 < cells.precision <= geometry.bits_stored:
            return cells  # The bit stream has nothing but those values.
        if cells.precision and self._lossy:
            return replace(cells, frame=clipped(cells.frame, geometry))
        return replace(cells, frame=stored_values(cells.frame, geometry, shift=geometry.shift))


def _codec(source: PixelSource) -> Codec:
    if source.pixels is None:
        raise NotPossible("there is no pixel data")
    codec = CODECS.get(source.meta.transfer_syntax_uid)
    if codec is None:
        raise NotPossible(f"there is no decoder for transfer syntax {source.meta.transfer_syntax_uid}")
    if source.encapsulated is (codec.family is Family.NATIVE):
        raise NotPossible("pixel data is not encapsulated as the transfer syntax says")
    return codec
