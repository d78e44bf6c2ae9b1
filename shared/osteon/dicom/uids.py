"""What a UID is, transfer syntaxes (PS3.5 9.1, 10 and annex A, PS3.6 table A-1), and Osteon's own UIDs.

The table of transfer syntaxes is the documentation: the header reader decides from it how a data set is encoded, the
upper layer which transfer syntaxes it can accept.
"""

import re
from dataclasses import dataclass
from typing import Final

from osteon.dicom.errors import UnknownTransferSyntax

MAX_UID_LENGTH: Final = 64
"""Characters of a UID at most (PS3.5 9.1)."""
_UID: Final = re.compile(rf"[0-9][0-9.]{{0,{MAX_UID_LENGTH - 1}}}", re.ASCII)


def is_uid(text: str) -> bool:
    """Whether a text, without padding, is taken as a UID: a digit, then digits and dots, at most 64 characters in all.

    PS3.5 9.1 also forbids leading zeros and empty components. Both are accepted: equipment writes them, and its images
    must not be lost for that. A digit comes first, so no UID is `.` or `..`, which object keys and folders rely on.
    """
    return _UID.fullmatch(text) is not None


IMPLEMENTATION_CLASS_UID: Final = "2.25.66337932401790318040938801423689179506"
"""Names Osteon in file meta information and in associations (PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME: Final = "OSTEON_0_1"
"""At most 16 characters of the default repertoire."""

PRIVATE_INFORMATION_CREATOR_UID: Final = "2.25.117061075911962116810104039455917205302"
"""Marks the private information in file meta information as the SHA-256 of the data set."""


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How the data sets of one transfer syntax are encoded.

    Attributes:
        uid: as in PS3.6 table A-1.
        name: as in PS3.6 table A-1, without the parts that only repeat the process number.
        explicit: explicit VR (else implicit VR).
        little_endian: byte order of the data set's elements.
        big_endian_pixels: 16-bit words of native pixel data have the other byte order than all else.
        deflated: the whole data set is deflated (RFC 1951).
        encapsulated: pixel data comes in fragments (PS3.5 A.4).
        video: the fragments are one bit stream of all frames, not a bit stream a frame (PS3.5 8.2.5 and following).
        lossy: the compression may lose information.
        retired: no longer in the standard.
        referenced: pixel data is elsewhere: behind a URL (JPIP) or on a real-time stream (SMPTE ST 2110).
    """

    uid: str
    name: str
    explicit: bool = True
    little_endian: bool = True
    big_endian_pixels: bool = False
    deflated: bool = False
    encapsulated: bool = False
    video: bool = False
    lossy: bool = False
    retired: bool = False
    referenced: bool = False

    @property
    def plain_pixels(self) -> bool:
        """Whether pixel data stands in a data set as in one of Explicit VR Little Endian."""
        return self.little_endian and not (self.big_endian_pixels or self.deflated or self.encapsulated)


IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
GE_BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"


def _pixels(uid: str, name: str, *, lossy: bool = False, retired: bool = False) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.{uid}", name, encapsulated=True, lossy=lossy, retired=retired)


def _video(uid: str, name: str) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.{uid}", name, encapsulated=True, video=True, lossy=True)


def _elsewhere(uid: str, name: str, *, deflated: bool = False) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.{uid}", name, deflated=deflated, referenced=True)


TRANSFER_SYNTAXES: Final[dict[str, TransferSyntax]] = {
    syntax.uid: syntax
    for syntax in (
        TransferSyntax(IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", explicit=False),
        TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
        _pixels("1.98", "Encapsulated Uncompressed Explicit VR Little Endian"),
        TransferSyntax(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", deflated=True),
        TransferSyntax(EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian", little_endian=False, retired=True),
        _pixels("4.50", "JPEG Baseline (Process 1)", lossy=True),
        _pixels("4.51", "JPEG Extended (Process 2 & 4)", lossy=True),
        _pixels("4.52", "JPEG Extended (Process 3 & 5)", lossy=True, retired=True),
        _pixels("4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 & 8)", lossy=True, retired=True),
        _pixels("4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 & 9)", lossy=True, retired=True),
        _pixels("4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 & 12)", lossy=True, retired=True),
        _pixels("4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 & 13)", lossy=True, retired=True),
        _pixels("4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
        _pixels("4.58", "JPEG Lossless, Non-Hierarchical (Process 15)", retired=True),
        _pixels("4.59", "JPEG Extended, Hierarchical (Process 16 & 18)", lossy=True, retired=True),
        _pixels("4.60", "JPEG Extended, Hierarchical (Process 17 & 19)", lossy=True, retired=True),
        _pixels("4.61", "JPEG Spectral Selection, Hierarchical (Process 20 & 22)", lossy=True, retired=True),
        _pixels("4.62", "JPEG Spectral Selection, Hierarchical (Process 21 & 23)", lossy=True, retired=True),
        _pixels("4.63", "JPEG Full Progression, Hierarchical (Process 24 & 26)", lossy=True, retired=True),
        _pixels("4.64", "JPEG Full Progression, Hierarchical (Process 25 & 27)", lossy=True, retired=True),
        _pixels("4.65", "JPEG Lossless, Hierarchical (Process 28)", retired=True),
        _pixels("4.66", "JPEG Lossless, Hierarchical (Process 29)", retired=True),
        _pixels("4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"),
        _pixels("4.80", "JPEG-LS Lossless Image Compression"),
        _pixels("4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression", lossy=True),
        _pixels("4.90", "JPEG 2000 Image Compression (Lossless Only)"),
        _pixels("4.91", "JPEG 2000 Image Compression", lossy=True),
        _pixels("4.92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"),
        _pixels("4.93", "JPEG 2000 Part 2 Multi-component Image Compression", lossy=True),
        _elsewhere("4.94", "JPIP Referenced"),
        _elsewhere("4.95", "JPIP Referenced Deflate", deflated=True),
        _video("4.100", "MPEG2 Main Profile / Main Level"),
        _video("4.100.1", "Fragmentable MPEG2 Main Profile / Main Level"),
        _video("4.101", "MPEG2 Main Profile / High Level"),
        _video("4.101.1", "Fragmentable MPEG2 Main Profile / High Level"),
        _video("4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
        _video("4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1"),
        _video("4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
        _video("4.103.1", "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"),
        _video("4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
        _video("4.104.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video"),
        _video("4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
        _video("4.105.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video"),
        _video("4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
        _video("4.106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"),
        _video("4.107", "HEVC/H.265 Main Profile / Level 5.1"),
        _video("4.108", "HEVC/H.265 Main 10 Profile / Level 5.1"),
        _pixels("4.110", "JPEG XL Lossless"),
        _pixels("4.111", "JPEG XL JPEG Recompression", lossy=True),
        _pixels("4.112", "JPEG XL", lossy=True),
        _pixels("4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)"),
        _pixels("4.202", "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)"),
        _pixels("4.203", "High-Throughput JPEG 2000 Image Compression", lossy=True),
        _elsewhere("4.204", "JPIP HTJ2K Referenced"),
        _elsewhere("4.205", "JPIP HTJ2K Referenced Deflate", deflated=True),
        _pixels("5", "RLE Lossless"),
        TransferSyntax("1.2.840.10008.1.2.6.1", "RFC 2557 MIME encapsulation", retired=True),
        TransferSyntax("1.2.840.10008.1.2.6.2", "XML Encoding", retired=True),
        _elsewhere("7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
        _elsewhere("7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video"),
        _elsewhere("7.3", "SMPTE ST 2110-30 PCM Digital Audio"),
        _pixels("8.1", "Deflated Image Frame Compression"),
        TransferSyntax("1.2.840.10008.1.20", "Papyrus 3 Implicit VR Little Endian", explicit=False, retired=True),
        TransferSyntax(
            GE_BIG_ENDIAN_PIXELS,
            "GE Private Implicit VR with Big Endian Pixel Data",
            explicit=False,
            big_endian_pixels=True,
        ),
    )
}  # fmt: skip
"""UID → transfer syntax."""


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return the transfer syntax with this UID; raises `UnknownTransferSyntax`."""
    try:
        return TRANSFER_SYNTAXES[uid]
    except KeyError:
        raise UnknownTransferSyntax(f"transfer syntax {uid[:80]!r} is not known") from None
