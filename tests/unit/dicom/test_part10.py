"""File meta information: written for pydicom, read from anyone."""

import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from osteon.dicom.errors import BadPart10
from osteon.dicom.part10 import file_sha256, read_part10, write_part10_header
from osteon.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from support.dicom.elements import EXPLICIT, explicit, identified
from support.dicom.real_files import BUNDLED

SOP_CLASS, SOP = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
DIGEST = hashlib.sha256(identified()).digest()
PREFIX = bytes(128) + b"DICM"


def header(sha256: bytes | None = DIGEST, **titles: str) -> bytes:
    return write_part10_header(SOP_CLASS, SOP, EXPLICIT, sha256=sha256, **titles)


def test_pydicom_reads_what_is_written() -> None:
    titles = {"source_aet": "MODALITY", "sending_aet": "ROUTER", "receiving_aet": "OSTEON"}
    ds = dcmread(io.BytesIO(header(**titles) + identified()))
    meta = ds.file_meta
    assert ds.PatientID == "P1"
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(header(**titles)) - 144
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (SOP_CLASS, SOP)
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == "MODALITY"
    assert meta.SendingApplicationEntityTitle == "ROUTER"
    assert meta.ReceivingApplicationEntityTitle == "OSTEON"
    assert meta.PrivateInformation == DIGEST
    assert meta.PrivateInformationCreatorUID.is_valid


def test_what_is_written_is_read_back() -> None:
    meta = read_part10(header(source_aet="MODALITY") + identified())
    assert meta.data_set_offset == len(header(source_aet="MODALITY"))
    assert (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid) == (SOP_CLASS, SOP, EXPLICIT)
    assert (meta.source_aet, meta.sending_aet) == ("MODALITY", "")
    assert file_sha256(meta) == DIGEST


def test_header_without_digest_reserves_its_place() -> None:
    reserved = header(None, source_aet="A")
    assert len(reserved) == len(header(source_aet="A"))
    assert file_sha256(read_part10(reserved)) is None


def test_digest_of_another_length_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        header(b"short")


def test_private_information_of_others_is_no_digest() -> None:
    group = explicit(0x00020010, "UI", b"1.2.840.10008.1.2.1\0") + explicit(0x00020100, "UI", b"1.2.3\0")
    assert file_sha256(read_part10(PREFIX + group + explicit(0x00020102, "OB", bytes(range(32))))) is None


def test_uids_and_titles_of_odd_length_are_padded() -> None:
    for uid in ("1.2", "1.2.3", "1.22"):
        written = write_part10_header(uid, uid, EXPLICIT, source_aet="ODD", sha256=DIGEST)
        assert len(written) % 2 == 0
        assert read_part10(written).sop_class_uid == uid
        assert dcmread(io.BytesIO(written)).file_meta.SourceApplicationEntityTitle == "ODD"


@pytest.mark.parametrize("file", [b"", b"DICM", bytes(132), b"%PDF-1.7" + bytes(500), identified()])
def test_file_without_prefix_is_refused(file: bytes) -> None:
    with pytest.raises(BadPart10, match="DICM"):
        read_part10(file)


def test_file_without_transfer_syntax_is_refused() -> None:
    with pytest.raises(BadPart10, match="0002,0010"):
        read_part10(PREFIX + explicit(0x00020002, "UI", b"1.2\0") + identified())


def test_file_that_ends_within_its_meta_information_is_refused() -> None:
    whole = header()
    for size in range(len(PREFIX) + 1, len(whole)):
        try:
            read_part10(whole[:size])
        except BadPart10:
            continue
        assert read_part10(whole[:size]).data_set_offset == size, "cut between elements"


def test_wrong_group_length_does_not_matter() -> None:
    group = explicit(0x00020000, "UL", b"\xff\0\0\0") + explicit(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
    assert read_part10(PREFIX + group + identified()).data_set_offset == len(PREFIX + group)


def test_meta_information_of_every_bundled_file_is_what_pydicom_reads() -> None:
    count = 0
    for path in sorted(BUNDLED.rglob("*.dcm")):
        file = path.read_bytes()
        if file[128:132] != b"DICM" or path.name == "meta_missing_tsyntax.dcm":
            continue
        meta, expected = read_part10(memoryview(file)), dcmread(path, stop_before_pixels=True).file_meta
        assert meta.transfer_syntax_uid == expected.TransferSyntaxUID
        assert meta.sop_instance_uid == expected.get("MediaStorageSOPInstanceUID", "")
        assert meta.source_aet == expected.get("SourceApplicationEntityTitle", "")
        count += 1
    assert count > 50


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_random_meta_information_is_read_or_refused(group: bytes) -> None:
    try:
        meta = read_part10(PREFIX + b"\x02\x00" + group)
    except BadPart10:
        return
    assert meta.transfer_syntax_uid
