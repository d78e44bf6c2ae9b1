"""Attributes of the Image Pixel Description Macro that metadata may leave out beside compressed frames (PS3.18 10.5.2).

The bit stream of the first frame says them; it is not decoded.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from osteon.dicom.attribute_names import tag_of, vr_of_tag
from osteon.dicom.encoded_data_set import BadMetadata
from osteon.dicom.pixels.bitstream_header import BitstreamHeader, read_jpeg, read_jpeg_2000
from osteon.dicom.pixels.errors import PixelError

_PREFIX: Final = "1.2.840.10008.1.2.4."
_BASELINE: Final = frozenset({"50", "51"})
_READERS: Final[dict[str, Callable[[bytes], BitstreamHeader]]] = {
    **dict.fromkeys(("50", "51", "57", "70", "80", "81"), read_jpeg),
    **dict.fromkeys(("90", "91", "92", "93", "201", "202", "203"), read_jpeg_2000),
}
"""End of a transfer syntax UID → what reads the head of its bit streams."""
_IRREVERSIBLE: Final = frozenset({"91", "93", "203"})
_HEAD: Final = 1 << 20
"""Bytes of a frame that are searched for its header: profiles and thumbnails stand before its size."""
_KEYWORDS: Final = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
ROWS: Final = tag_of("Rows")
DESCRIBED: Final = frozenset(map(tag_of, _KEYWORDS))
"""Tags of what `describe_pixels` returns."""


def describe_pixels(transfer_syntax_uid: str, frame: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return Rows, Columns and the like (DICOM JSON) if frames of this syntax say them.

    Raises `BadMetadata` when the file is not such a bit stream.
    """
    kind = transfer_syntax_uid.removeprefix(_PREFIX)
    if kind not in _READERS:
        return {}
    with frame.open("rb") as file:
        start = file.read(_HEAD)
    try:
        head = _READERS[kind](start)
    except PixelError as error:
        raise BadMetadata(f"{ROWS}: Rows is missing, and the frame does not say them: {error}") from None
    described: dict[str, int | str] = {
        "SamplesPerPixel": head.samples,
        "PhotometricInterpretation": _photometric(head, kind),
        "Rows": head.rows,
        "Columns": head.columns,
        "BitsAllocated": 8 * -(-head.precision // 8),
        "BitsStored": head.precision,
        "HighBit": head.precision - 1,
        "PixelRepresentation": int(head.signed),
    }
    if head.samples > 1:
        described["PlanarConfiguration"] = 0
    tags = {tag_of(keyword): value for keyword, value in described.items()}
    return {tag: {"vr": vr_of_tag(tag), "Value": [value]} for tag, value in tags.items()}


def _photometric(head: BitstreamHeader, kind: str) -> str:
    if head.samples == 1:
        return "MONOCHROME2"
    if kind in _BASELINE:
        return "RGB" if head.rgb_ids or head.transform == 0 else "YBR_FULL_422"
    if head.multi_component:
        return "YBR_ICT" if kind in _IRREVERSIBLE else "YBR_RCT"
    return "RGB"
