"""A DICOM file into another transfer syntax, frame by frame.

Only what must change in the header does (`osteon.dicom.pixels.transcoded_attributes`). At most one frame is in memory,
decoded and encoded, besides the largest sequence of the header where that has to be encoded anew.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from osteon.dicom.encoding import Encoding, declared_encoding
from osteon.dicom.part10 import write_part10_header
from osteon.dicom.pixels import transcoded_attributes as attributes
from osteon.dicom.pixels.codecs import decode
from osteon.dicom.pixels.encoders import encode
from osteon.dicom.pixels.errors import NotPossible, PixelError
from osteon.dicom.pixels.frame_reader import read_frames
from osteon.dicom.pixels.geometry import Geometry, PixelLimits
from osteon.dicom.pixels.native import BitRun, Decoded, to_native
from osteon.dicom.pixels.output import EncapsulatedOutput, TranscodeOutput
from osteon.dicom.pixels.registry import CODECS, Codec, Family
from osteon.dicom.pixels.source import PIXEL_DATA, PixelSource
from osteon.dicom.pixels.transcoded_attributes import AttributeChanges
from osteon.dicom.reencode import PIECE, ElementScope, ElementSpan, Reencoder, encode_element, encode_head, swap_bytes
from osteon.dicom.uids import transfer_syntax

_NATIVE_LIMIT: Final = 0xFFFFFFFE
"""Bytes that a native value can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodeTarget:
    """Transfer syntax UIDs, the best first; which of them may lose information; the quality of those, 1 to 100.

    `basic_offset_limit`: bytes of fragments from which on the Extended Offset Table is written.
    """

    targets: Sequence[str]
    lossy: Sequence[str] = ()
    quality: int = 90
    basic_offset_limit: int = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscodeResult:
    """What was written: `length` in bytes, with the file meta information; `source_uid` is the old transfer syntax."""

    source_uid: str
    transfer_syntax_uid: str
    sop_instance_uid: str
    length: int


def transcode(
    path: Path,
    destination: Path,
    request: TranscodeTarget,
    limits: PixelLimits,
    *,
    before_frame: Callable[[], None] = lambda: None,
) -> TranscodeResult:
    """Write the DICOM file at `path` to `destination` in the first of the target transfer syntaxes that is possible.

    Raises `NotPossible` when none can, `PixelError` and `BadDataSet` when the file is damaged. `before_frame` is called
    before each frame.
    """
    with PixelSource(path, limits) as source:
        plan = choose_target(source, request, before_frame)
        with destination.open("wb") as file:
            return _Transcoding(source, plan, before_frame, request.basic_offset_limit).write(file)


@dataclass(frozen=True, slots=True)
class TranscodePlan:
    """How it will be done.

    Attributes:
        target: codec of the new file; None when its pixel data, if any, is copied.
        quality: None without loss.
    """

    uid: str
    target: Codec | None = None
    geometry: Geometry | None = None
    quality: int | None = None
    first: Decoded | None = None
    copies_streams: bool = False


def choose_target(
    source: PixelSource, request: TranscodeTarget, before_frame: Callable[[], None] = lambda: None
) -> TranscodePlan:
    """Return how to make the first of the targets that can be made; raises `NotPossible`, `PixelError`."""
    reasons = []
    opened = _Opened(source, before_frame)
    for uid in request.targets:
        try:
            return _plan(opened, uid, request.quality if uid in request.lossy else None)
        except NotPossible as error:
            reasons.append(f"{uid}: {error}")
    raise NotPossible(f"cannot be transcoded from {source.meta.transfer_syntax_uid}; " + "; ".join(reasons))


class _Opened:
    """A source whose first frame is decoded once at most, for all targets together."""

    def __init__(self, source: PixelSource, before_frame: Callable[[], None]) -> None:
        self.source = source
        self._before_frame = before_frame

    @cached_property
    def geometry(self) -> Geometry:
        return self.source.geometry()

    @cached_property
    def first(self) -> Decoded:
        origin = CODECS[self.source.meta.transfer_syntax_uid]
        self._before_frame()
        try:
            return _whole(decode(origin, next(read_frames(self.source, self.geometry)), self.geometry, rgb=True))
        except PixelError as error:
            raise PixelError(f"frame 1: {error}") from None


def _whole(decoded: Decoded) -> Decoded:
    """Raise `PixelError` for a frame that is not as in the file: a new file would not say so."""
    if not decoded.faithful:
        raise PixelError(decoded.problem)
    return decoded


def _plan(opened: _Opened, uid: str, quality: int | None) -> TranscodePlan:
    source, target = opened.source, CODECS.get(uid)
    if uid == source.meta.transfer_syntax_uid:
        return TranscodePlan(uid, copies_streams=source.encapsulated)
    if target is None or not (target.lossless or target.lossy or target.rewraps):
        raise NotPossible("there is no encoder")
    if source.pixels is None or source.pixels.tag != PIXEL_DATA:
        if target.family is not Family.NATIVE:
            kind = "floating point pixel data cannot be" if source.pixels else "there is no pixel data to be"
            raise NotPossible(f"{kind} compressed")
        if source.pixels and source.syntax.encapsulated:
            raise NotPossible("floating point pixel data is not encapsulated")
        return TranscodePlan(uid)
    origin = CODECS.get(source.meta.transfer_syntax_uid)
    if origin is None:
        raise NotPossible("there is no decoder")
    if source.encapsulated != (origin.family is not Family.NATIVE):
        raise NotPossible("pixel data is not encapsulated as the transfer syntax says")
    if origin.family is Family.NATIVE and target.family is Family.NATIVE:
        return TranscodePlan(uid)
    if origin.uid in target.rewraps:
        return TranscodePlan(uid, copies_streams=True)
    return _coded(opened, target, quality)


def _coded(opened: _Opened, target: Codec, quality: int | None) -> TranscodePlan:
    encoder = target.lossy if quality is not None and target.lossy else target.lossless
    if encoder is None:
        raise NotPossible("there is no lossless encoder" if target.lossy else "there is no encoder")
    geometry, first = opened.geometry, opened.first
    if reason := encoder.refuses(geometry, first.photometric):
        raise NotPossible(f"the encoder does not take {reason}")
    if target.family is Family.NATIVE and geometry.decoded_bytes * geometry.frames > _NATIVE_LIMIT:
        raise NotPossible("native pixel data would be longer than 4 GiB")
    return TranscodePlan(target.uid, target, geometry, quality if encoder is target.lossy else None, first)


@dataclass(slots=True)
class _Transcoding:
    """The transcoding of one file."""

    source: PixelSource
    plan: TranscodePlan
    before_frame: Callable[[], None]
    basic_offset_limit: int
    changes: AttributeChanges = field(default_factory=AttributeChanges)
    sop_instance_uid: str = ""
    _ratio_at: int = 0

    def write(self, file: BinaryIO) -> TranscodeResult:
        """Write the whole file and return what was written."""
        source, plan = self.source, self.plan
        self._prepare()
        syntax = transfer_syntax(plan.uid)
        same = plan.uid == source.meta.transfer_syntax_uid
        target = source.encoding if same else declared_encoding(syntax)
        meta = source.meta
        prefix = write_part10_header(
            meta.sop_class_uid,
            self.sop_instance_uid,
            plan.uid,
            source_aet=meta.source_aet,
            sending_aet=meta.sending_aet,
            receiving_aet=meta.receiving_aet,
        )
        output = TranscodeOutput(file, prefix, deflated=syntax.deflated)
        for found in self._elements(target, output):
            self._pixel_data(found, target, output)
        return TranscodeResult(
            source_uid=meta.transfer_syntax_uid,
            transfer_syntax_uid=plan.uid,
            sop_instance_uid=self.sop_instance_uid,
            length=output.close(),
        )

    def _prepare(self) -> None:
        source, plan = self.source, self.plan
        self.sop_instance_uid = source.value(attributes.SOP_INSTANCE).decode("latin-1").strip(" \0")
        self.sop_instance_uid = self.sop_instance_uid or source.meta.sop_instance_uid
        if plan.target is None or plan.geometry is None or plan.first is None:
            return
        encoder = plan.target.lossless if plan.quality is None else plan.target.lossy
        assert encoder is not None
        photometric = encoder.photometrics.get(plan.first.photometric, plan.first.photometric)
        attributes.layout(self.changes, photometric, samples=plan.geometry.samples)
        if CODECS[source.meta.transfer_syntax_uid].family is Family.JPEG:
            attributes.mark_lossy(self.changes)
        if plan.quality is not None:
            self.sop_instance_uid = attributes.describe_lossy(self.changes, source, plan.target, plan.quality)

    def _elements(self, target: Encoding, output: TranscodeOutput) -> Iterator[ElementSpan]:
        """Write every element but pixel data, which is yielded where it belongs."""
        changes, source = self.changes, self.source
        recoder, scope = Reencoder(source.data, target), ElementScope(source.values.get(0x00280103) == 1)
        new = attributes.merge_tags({found.tag: found for found in source.elements}, changes)
        for found in source.elements:
            while new and new[0] < found.tag:
                self._changed(new.pop(0), target, output)
            if found.tag in changes.removed:
                continue
            if found.tag in changes.values:
                self._changed(found.tag, target, output)
            elif found.tag == PIXEL_DATA and found is source.pixels:
                yield found
            else:
                for piece in recoder.element(found, source.encoding, scope):
                    output.write(piece)
        for tag in new:
            self._changed(tag, target, output)

    def _changed(self, tag: int, target: Encoding, output: TranscodeOutput) -> None:
        vr, value = self.changes.values[tag]
        output.write(encode_element(tag, vr, value, target))
        if tag == attributes.LOSSY_RATIO:
            self._ratio_at = output.position - attributes.RATIO_LENGTH

    def _pixel_data(self, found: ElementSpan, target: Encoding, output: TranscodeOutput) -> None:
        if self.plan.copies_streams:
            output.write(encode_head(PIXEL_DATA, found.vr or b"OB", found.length, target))
            for position in range(found.start, found.end, PIECE):
                output.write(bytes(self.source.data[position : min(found.end, position + PIECE)]))
        elif self.plan.target is None:
            self._copy_native(found, target, output)
        elif self.plan.target.family is Family.NATIVE:
            self._native(target, output)
        else:
            self._encapsulated(self.plan.target, output)

    def _copy_native(self, found: ElementSpan, target: Encoding, output: TranscodeOutput) -> None:
        """Copy values; between byte orders words are swapped, and bytes are written as bytes (PS3.5 annex D)."""
        source = self.source
        allocated = int(source.values.get(0x00280100, 16))
        swapped = source.little_endian_pixels is not target.little_endian
        vr, unit = found.vr or b"OW", 1
        if swapped:
            unit = source.swap_unit(allocated)
            vr = b"OB" if allocated == 8 else vr
        length = found.end - found.start
        output.write(encode_head(PIXEL_DATA, vr, length, target))
        for position in range(found.start, found.end, PIECE):
            output.write(swap_bytes(bytes(source.data[position : min(found.end, position + PIECE)]), unit))

    def _native(self, target: Encoding, output: TranscodeOutput) -> None:
        geometry = self.plan.geometry
        assert geometry is not None
        bits = geometry.bits_allocated == 1
        total = geometry.decoded_bytes * geometry.frames
        if bits:
            total = (geometry.frame_bits * geometry.frames + 7) // 8
        vr = b"OB" if geometry.bits_allocated <= 8 else b"OW"
        unit = 1 if target.little_endian else max(1, geometry.bits_allocated // 8)
        output.write(encode_head(PIXEL_DATA, vr, total + total % 2, target))
        run = BitRun()
        for decoded in self._decoded():
            output.write(swap_bytes(run.add(decoded.frame) if bits else to_native(decoded.frame, bits=False), unit))
        output.write(run.end() + b"\0" * (total % 2))

    def _encapsulated(self, codec: Codec, output: TranscodeOutput) -> None:
        plan = self.plan
        assert plan.geometry is not None
        raw = plan.geometry.decoded_bytes * plan.geometry.frames
        fragments = EncapsulatedOutput(output, plan.geometry.frames, raw, self.basic_offset_limit)
        fragments.begin()
        for decoded in self._decoded():
            data = encode(codec, decoded.frame, plan.geometry, decoded.photometric, quality=plan.quality)
            fragments.add(data)
        fragments.end()
        if self._ratio_at:
            output.patch(self._ratio_at, f"{raw / max(1, fragments.size):.4f}".ljust(attributes.RATIO_LENGTH).encode())

    def _decoded(self) -> Iterator[Decoded]:
        """Decode frame after frame; raises `PixelError` with the number of the one that is damaged."""
        plan = self.plan
        assert plan.geometry is not None
        assert plan.first is not None
        origin = CODECS[self.source.meta.transfer_syntax_uid]
        yield plan.first
        for number, data in enumerate(islice(read_frames(self.source, plan.geometry), 1, None), start=2):
            self.before_frame()
            try:
                decoded = _whole(decode(origin, data, plan.geometry, rgb=True))
            except PixelError as error:
                raise PixelError(f"frame {number}: {error}") from None
            if decoded.photometric != plan.first.photometric:
                raise PixelError(f"frame {number} has other colours than the first: {decoded.photometric}")
            yield decoded
