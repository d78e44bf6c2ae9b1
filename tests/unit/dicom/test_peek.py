"""The identity of a data set from its first bytes."""

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from osteon.dicom.errors import BadDataSet, TruncatedDataSet, UnknownTransferSyntax
from osteon.dicom.identity import Identity, MissingIdentifier
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from support.dicom.elements import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    explicit,
    identified,
    implicit,
    item,
    sequence,
)
from support.dicom.real_files import BUNDLED, dataset_bytes, storable

JANE = Identity("P1", "1.2.3", "1.2.3.9", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.7")
NESTED = sequence(
    0x00081115,
    item(
        sequence(0x00081199, item(explicit(0x0020000D, "UI", b"9.9\0"), undefined=True), undefined=True), undefined=True
    ),
    item(explicit(0x00080018, "UI", b"9.9\0")),
    undefined=True,
)


def replaced(tag: int, vr: str, value: bytes) -> bytes:
    """Return the identifying elements with one value in place of what stands under `tag`."""
    whole, head = identified(), struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    start = whole.index(head)
    length = int.from_bytes(whole[start + 6 : start + 8], "little")
    return whole[:start] + (explicit(tag, vr, value) if vr else b"") + whole[start + 8 + length :]


def test_identity_is_found_as_soon_as_its_last_byte_is_there_and_no_sooner() -> None:
    data = identified()
    for size in range(len(data)):
        assert peek_identity(data[:size], EXPLICIT, complete=False) is None
    for size in (len(data), len(data) + 1, len(data) + 100):
        assert peek_identity((data + bytes(200))[:size], EXPLICIT, complete=False) == JANE


def test_identifiers_within_sequences_are_not_taken_for_the_instance_s() -> None:
    head, tail = identified().split(struct.pack("<HH", 0x0010, 0x0010), 1)
    data = head + NESTED + struct.pack("<HH", 0x0010, 0x0010) + tail
    for size in range(len(data)):
        assert peek_identity(data[:size], EXPLICIT, complete=False) is None
    assert peek_identity(data, EXPLICIT, complete=False) == JANE


def test_every_encoding_is_understood() -> None:
    elements = [
        (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"), (0x00080018, "UI", b"1.2.3.4\0"),
        (0x00100020, "LO", b"P1"), (0x0020000D, "UI", b"1.2.3\0"), (0x0020000E, "UI", b"1.2.3.9\0"),
    ]  # fmt: skip
    assert peek_identity(b"".join(implicit(t, v) for t, _, v in elements), IMPLICIT, complete=True) == JANE
    big = b"".join(explicit(t, vr, v, order=">") for t, vr, v in elements)
    assert peek_identity(big, BIG_ENDIAN, complete=True) == JANE
    assert peek_identity(identified(), IMPLICIT, complete=True) == JANE, "declared wrongly"


def test_deflated_data_set_is_peeked_into() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = compressor.compress(identified() + explicit(0x7FE00010, "OW", bytes(1 << 20))) + compressor.flush()
    assert peek_identity(data[:10], DEFLATED, complete=False) is None
    assert peek_identity(data, DEFLATED, complete=True) == JANE
    assert peek_identity(data[:400], DEFLATED, complete=False) == JANE


def test_deflate_bomb_is_refused() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).compress(explicit(0x00080017, "UT", bytes(64 << 20)))
    with pytest.raises(Invalid):
        peek_identity(bomb, DEFLATED, complete=False)


def test_patient_id_is_decoded_by_the_character_set() -> None:
    data = identified(patient=b"\xbb\xee\xda ", charset=b"ISO_IR 144")
    identity = peek_identity(data, EXPLICIT, complete=True)
    assert identity
    assert identity.patient_id == "Люк"


@pytest.mark.parametrize("value", [b"", b"  ", None])
def test_data_set_without_patient_id_has_an_empty_one(value: bytes | None) -> None:
    data = replaced(0x00100020, "LO" if value is not None else "", value or b"")
    identity = peek_identity(data, EXPLICIT, complete=True)
    assert identity
    assert identity.patient_id == ""


@pytest.mark.parametrize("tag", [0x00080016, 0x00080018, 0x0020000D, 0x0020000E])
def test_missing_uid_is_refused_by_name_once_all_has_gone_by(tag: int) -> None:
    data = replaced(tag, "", b"") + explicit(0x00280010, "US", b"\1\0")
    assert peek_identity(data, EXPLICIT, complete=False) is None
    with pytest.raises(MissingIdentifier, match=f"{tag >> 16:04X},{tag & 0xFFFF:04X}.* is missing"):
        peek_identity(data, EXPLICIT, complete=True)


@pytest.mark.parametrize(
    "uid",
    [b"..", b".", b"../../etc ", b"1.2/3", b"1.2\\1.3", b"1.2 3 ", b"1.a", b"-1", b"1" * 65, b"\xb2.1 ", b" 1.2\n"],
)
def test_what_is_no_uid_is_refused(uid: bytes) -> None:
    with pytest.raises(MissingIdentifier, match="is not a UID"):
        peek_identity(replaced(0x0020000D, "UI", uid), EXPLICIT, complete=True)


@pytest.mark.parametrize("uid", [b"1.02.3 ", b"1" * 64, b"1.2.3\0\0", b"2.25.329800735698586629295641978511506172918"])
def test_uid_with_leading_zeros_padding_or_full_length_is_accepted(uid: bytes) -> None:
    identity = peek_identity(replaced(0x0020000D, "UI", uid), EXPLICIT, complete=True)
    assert identity
    assert identity.study_uid == uid.decode().strip(" \0")


def test_identifier_that_is_absurdly_long_is_refused_at_once() -> None:
    data = implicit(0x00080018, b"1.2", length=100_000_000)
    with pytest.raises(BadDataSet, match="identifier of 100000000 bytes"):
        peek_identity(data, IMPLICIT, complete=False)


def test_complete_data_set_that_ends_early_is_refused() -> None:
    with pytest.raises(TruncatedDataSet, match="00100020 at byte"):
        peek_identity(identified()[: identified().index(b"P1") + 1], EXPLICIT, complete=True)


def test_garbage_between_items_is_refused() -> None:
    data = explicit(0x00081115, "SQ", explicit(0x00080060, "CS", b"CT"), length=UNDEFINED)
    assert peek_identity(data, EXPLICIT, complete=False) is None
    with pytest.raises(BadDataSet, match="expected an item"):
        peek_identity(data, EXPLICIT, complete=True)


def test_first_of_duplicate_identifiers_counts_as_in_the_header() -> None:
    first, second = explicit(0x00100020, "LO", b"P1"), explicit(0x00100020, "LO", b"P2")
    assert peek_identity(identified().replace(first, first + second), EXPLICIT, complete=True) == JANE


def test_deep_nesting_is_skipped() -> None:
    nested = (explicit(0x00081115, "SQ", length=UNDEFINED) + item(undefined=True)[:8]) * 50_000
    assert peek_identity(nested, EXPLICIT, complete=False) is None


def test_unknown_transfer_syntax_is_refused() -> None:
    with pytest.raises(UnknownTransferSyntax):
        peek_identity(identified(), "1.2.3", complete=True)


def test_identity_of_every_bundled_file_is_what_pydicom_reads() -> None:
    files = storable(BUNDLED)
    assert len(files) > 50
    for path in files:
        ds = dcmread(path, stop_before_pixels=True)
        for size in (16384, None):
            data = memoryview(dataset_bytes(path))[:size]
            found = peek_identity(data, ds.file_meta.TransferSyntaxUID, complete=size is None)
            if found is None and size:
                continue  # a long element stands before the identifiers
            expected = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SOPClassUID)
            assert found, path.name
            assert (found.study_uid, found.series_uid, found.sop_uid, found.sop_class_uid) == expected, path.name
            assert found.patient_id == str(ds.get("PatientID") or "").strip(), path.name


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]), st.booleans())
def test_random_bytes_are_refused_or_wait_for_more(data: bytes, syntax: str, complete: bool) -> None:
    try:
        assert peek_identity(data, syntax, complete=complete) is None
    except Invalid:
        pass
    else:
        assert not complete
