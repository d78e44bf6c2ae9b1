"""Which JPEG process a stream is of, from its markers (ISO 10918-1 B.1): nothing is decoded."""

from typing import BinaryIO, Final

_SYNTAXES: Final = {0xC0: "1.2.840.10008.1.2.4.50", 0xC1: "1.2.840.10008.1.2.4.51"}
_LOSSLESS: Final = 0xC3
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN: Final = 0xDA
_MOST_SEGMENTS: Final = 1000


def jpeg_process(file: BinaryIO) -> str:
    """Return the transfer syntax UID of a JPEG stream, empty when DICOM does not have it any more (PS3.5 A.4.1)."""
    if file.read(2) != b"\xff\xd8":
        return ""
    lossless = False
    for _ in range(_MOST_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return ""
        marker, length = head[1], int.from_bytes(head[2:], "big")
        segment = file.read(max(0, length - 2))
        if marker in _FRAMES:
            if marker != _LOSSLESS:
                return _SYNTAXES.get(marker, "")
            lossless = True
        elif marker == _SCAN:
            return _lossless(segment) if lossless else ""
    return ""


def _lossless(scan: bytes) -> str:
    """The first predictor alone has a transfer syntax of its own; it stands behind the components of the scan."""
    selection = scan[1 + 2 * scan[0]] if scan and len(scan) > 1 + 2 * scan[0] else 0
    return "1.2.840.10008.1.2.4.70" if selection == 1 else "1.2.840.10008.1.2.4.57"
