"""The table of transfer syntaxes against pydicom's dictionary of PS3.6."""

import pytest
from pydicom.uid import UID, UID_dictionary

from osteon.dicom.errors import UnknownTransferSyntax
from osteon.dicom.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PRIVATE_INFORMATION_CREATOR_UID,
    TRANSFER_SYNTAXES,
    transfer_syntax,
)

STANDARD = {uid: entry for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
NOT_PIXELS_INSIDE = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.", "1.2.840.10008.1.20")
"""pydicom takes every syntax but the five uncompressed ones for encapsulated."""


@pytest.mark.parametrize("uid", sorted(STANDARD))
def test_every_standard_transfer_syntax_is_in_the_table(uid: str) -> None:
    syntax, known = transfer_syntax(uid), UID(uid)
    assert syntax.retired == (STANDARD[uid][3] == "Retired")
    assert syntax.little_endian == known.is_little_endian
    if not uid.startswith("1.2.840.10008.1.20"):
        assert syntax.explicit != known.is_implicit_VR
    if not syntax.referenced:
        assert syntax.deflated == known.is_deflated
        assert syntax.encapsulated == known.is_encapsulated or uid.startswith(NOT_PIXELS_INSIDE)


@pytest.mark.parametrize(
    "name", ["JPEG XL", "High-Throughput JPEG 2000", "Deflated Image Frame", "HEVC", "SMPTE ST 2110"]
)
def test_newer_transfer_syntaxes_are_in_the_table(name: str) -> None:
    assert any(syntax.name.startswith(name) for syntax in TRANSFER_SYNTAXES.values())


def test_deflated_image_frames_do_not_deflate_the_data_set() -> None:
    assert not transfer_syntax("1.2.840.10008.1.2.8.1").deflated
    assert transfer_syntax("1.2.840.10008.1.2.8.1").encapsulated


def test_unknown_transfer_syntax_is_refused_by_name() -> None:
    with pytest.raises(UnknownTransferSyntax, match=r"'1\.2\.3'"):
        transfer_syntax("1.2.3")


def test_osteon_s_own_names_are_valid() -> None:
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert UID(PRIVATE_INFORMATION_CREATOR_UID).is_valid
    assert IMPLEMENTATION_CLASS_UID != PRIVATE_INFORMATION_CREATOR_UID
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16
