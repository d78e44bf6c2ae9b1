"""Which media type carries the frames of which transfer syntax (PS3.18 table 8.7.3-2 and those behind it)."""

from typing import Final

from osteon.dicom.uids import RLE_LOSSLESS, TRANSFER_SYNTAXES
from osteon_query.http.accept import OCTETS

_PREFIX: Final = "1.2.840.10008.1.2.4."
_SYNTAXES: Final = {
    "image/jpeg": ("70", "50", "51", "57"),
    "image/jls": ("80", "81"),
    "image/jp2": ("90", "91"),
    "image/jpx": ("92", "93"),
    "image/jphc": ("201", "202", "203"),
    "image/jxl": ("110", "111", "112"),
    "video/mpeg": ("100", "100.1", "101", "101.1"),
    "video/mp4": (
        "102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1", "107", "108",
    ),
}  # fmt: skip
"""The default of each media type first."""

SYNTAXES_OF: Final[dict[str, tuple[str, ...]]] = {
    **{kind: tuple(_PREFIX + number for number in numbers) for kind, numbers in _SYNTAXES.items()},
    "image/dicom-rle": (RLE_LOSSLESS,),
}
"""Media type → transfer syntaxes whose bit streams it names, its default first."""
_OF_SYNTAX: Final = {uid: kind for kind, uids in SYNTAXES_OF.items() for uid in uids}


def media_type_of(transfer_syntax_uid: str) -> str:
    """Return the media type of frames in a transfer syntax."""
    return _OF_SYNTAX.get(transfer_syntax_uid, OCTETS)


def is_video(transfer_syntax_uid: str) -> bool:
    """Whether the frames are one stream."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    return syntax is not None and syntax.video


def is_native(transfer_syntax_uid: str) -> bool:
    """Whether pixel data is not in fragments."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    return syntax is not None and not syntax.encapsulated and not syntax.video
