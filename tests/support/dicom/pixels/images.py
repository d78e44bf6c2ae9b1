"""Images with invented pixels, transcoded in this process and looked at with pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag

from osteon.dicom.part10 import read_part10, write_part10_header
from osteon.dicom.pixels.codecs import decode
from osteon.dicom.pixels.frame_reader import read_frames
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.registry import CODECS
from osteon.dicom.pixels.source import PixelSource
from osteon.dicom.pixels.transcode import TranscodeResult, TranscodeTarget, transcode
from osteon.dicom.uids import GE_BIG_ENDIAN_PIXELS
from support.dicom.datasets import ct_slice, saved

NATIVE = "1.2.840.10008.1.2.1"
SYNTAX = "1.2.840.10008.1.2."


def image(
    *,
    rows: int = 7,
    columns: int = 5,
    samples: int = 1,
    allocated: int = 16,
    stored: int = 12,
    signed: bool = False,
    frames: int = 1,
    planar: int = 0,
    photometric: str = "",
    seed: int = 1,
    **attributes: object,
) -> Dataset:
    """Return an image whose values use all bits stored, those of signed pixels with their sign extended."""
    dataset = ct_slice()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, samples
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PhotometricInterpretation = photometric or ("MONOCHROME2" if samples == 1 else "RGB")
    if samples > 1:
        dataset.PlanarConfiguration = planar
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = pixel_bytes(rows * columns * samples * frames, allocated, stored, signed=signed, seed=seed)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def pixel_bytes(count: int, allocated: int, stored: int, *, signed: bool, seed: int) -> bytes:
    """Return native pixels: steps with some noise, so that no codec finds them too easy; even length."""
    rng = np.random.default_rng(seed)
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    values = rng.integers(low, high, count, dtype=np.int64)
    if allocated == 1:
        data = np.packbits(values.astype(np.uint8), bitorder="little").tobytes()
    else:
        data = values.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    return data + b"\0" * (len(data) % 2)


def into(dataset: Dataset | Path, target: str, folder: Path, **wanted: Any) -> tuple[TranscodeResult, Path]:
    """Transcode to one transfer syntax; return what was done and the new file."""
    path = saved(dataset, folder) if isinstance(dataset, Dataset) else dataset
    destination = folder / f"{path.name}.{target}"
    return transcode(path, destination, TranscodeTarget(targets=[target], **wanted), PixelLimits()), destination


def wrapped(dataset: Dataset, number: str, bit_streams: list[bytes], folder: Path) -> Path:
    """Save a data set with bit streams that somebody else has made, one a frame."""
    dataset.PixelData = encapsulate(bit_streams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = SYNTAX + number
    return saved(dataset, folder)


def in_ge_syntax(dataset: Dataset, folder: Path) -> Path:
    """Save in GE's private transfer syntax, the bytes of pixel data as they are."""
    _, implicit = into(dataset, SYNTAX[:-1], folder)
    data = implicit.read_bytes()
    meta = read_part10(data)
    path = folder / "ge.dcm"
    head = write_part10_header(meta.sop_class_uid, meta.sop_instance_uid, GE_BIG_ENDIAN_PIXELS)
    path.write_bytes(head + data[meta.data_set_offset :])
    return path


def decoded(path: Path) -> NDArray[Any]:
    """Return all frames as Osteon decodes them: (frames, rows, columns, samples)."""
    with PixelSource(path, PixelLimits()) as source:
        geometry = source.geometry()
        codec = CODECS[source.meta.transfer_syntax_uid]
        return np.stack([decode(codec, frame, geometry).frame for frame in read_frames(source, geometry)])


def streams(path: Path) -> list[bytes]:
    """Return the bit stream of each frame of an encapsulated image, by pydicom and the offset table."""
    dataset = dcmread(path)
    extended = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    tables = extended if all(extended) else None
    frames = int(dataset.get("NumberOfFrames", 1))
    return list(generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=tables))


def differences(first: Dataset, second: Dataset, *ignored: str) -> list[str]:
    """Return the paths of elements that are not the same: VR (unless one is UN) and value, in sequences too."""
    found: list[str] = []
    tags = {e.tag for e in first} | {e.tag for e in second}
    for tag in sorted(t for t in tags if t.element):
        if tag not in first or tag not in second:
            found.append(str(tag))
            continue
        a, b = first[tag], second[tag]
        if a.VR == b.VR == "SQ":
            same = len(a.value) == len(b.value)
            inner = [d for x, y in zip(a.value, b.value, strict=False) for d in differences(x, y)]
            found += [f"{tag}/{d}" for d in inner] or ([] if same else [str(tag)])
        elif (a.VR != b.VR and "UN" not in (a.VR, b.VR)) or (a.VR == b.VR and repr(a.value) != repr(b.value)):
            found.append(str(tag))
    return [path for path in found if path not in {str(tag_of(keyword)) for keyword in ignored}]


def tag_of(keyword: str) -> Any:
    """Return the tag of a keyword."""
    return Tag(tag_for_keyword(keyword) or 0)
