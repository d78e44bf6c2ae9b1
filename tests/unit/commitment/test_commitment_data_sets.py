"""Action and Event Information of storage commitment, with pydicom as the oracle."""

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from osteon.commitment.data_sets import MAX_LENGTH, BadCommitmentInformation, CommitmentInformation, decode, encode
from osteon.commitment.port import CommitmentFailure, CommitmentItem
from osteon.dicom.errors import BadDataSet
from osteon.errors import Invalid
from support.index.stored_packs import CT, EXPLICIT, MR

IMPLICIT, DEFLATED, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
SYNTAXES = [IMPLICIT, EXPLICIT, DEFLATED, BIG]
BOTH = CommitmentInformation(
    "1.2.3",
    (CommitmentItem(CT, "1.2.3.4"), CommitmentItem(MR, "1.2.3.45")),
    (CommitmentFailure(CommitmentItem(CT, "1.9"), 0x0112),),
)


def written(data_set: Dataset, *, implicit: bool = False, big: bool = False) -> bytes:
    to = DicomBytesIO()
    to.is_implicit_VR, to.is_little_endian = implicit, not big
    write_dataset(to, data_set)
    return to.getvalue()


def reference(sop_class: str = CT, sop_instance: str = "1.2.3.4", **more: object) -> Dataset:
    data_set = Dataset()
    data_set.ReferencedSOPClassUID, data_set.ReferencedSOPInstanceUID = sop_class, sop_instance
    for keyword, value in more.items():
        setattr(data_set, keyword, value)
    return data_set


def request(*references: Dataset, transaction: str | None = "1.2.3") -> Dataset:
    data_set = Dataset()
    if transaction is not None:
        data_set.TransactionUID = transaction
    data_set.ReferencedSOPSequence = list(references)
    return data_set


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_was_written_is_read_again(syntax):
    assert decode(encode(BOTH, syntax), syntax) == BOTH


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_pydicom_reads_what_was_written(syntax):
    read = dcmread(
        BytesIO(b"\0" * 128 + b"DICM" + part10_meta(syntax) + encode(BOTH, syntax)), force=True
    )  # fmt: skip
    assert read.TransactionUID == "1.2.3"
    assert [str(item.ReferencedSOPInstanceUID) for item in read.ReferencedSOPSequence] == ["1.2.3.4", "1.2.3.45"]
    assert [(item.ReferencedSOPClassUID, item.FailureReason) for item in read.FailedSOPSequence] == [(CT, 0x0112)]


def part10_meta(syntax: str) -> bytes:
    meta = Dataset()
    meta.add_new(0x00020010, "UI", syntax)
    return written(meta)


@pytest.mark.parametrize(
    ("implicit", "big", "syntax"), [(True, False, IMPLICIT), (False, False, EXPLICIT), (False, True, BIG)]
)
def test_what_pydicom_writes_is_read(implicit, big, syntax):
    asked = request(reference(), reference(MR, "1.2.3.45"))
    asked.FailedSOPSequence = [reference(CT, "1.9", FailureReason=0x0112)]
    assert decode(written(asked, implicit=syntax == IMPLICIT, big=syntax == BIG), syntax) == BOTH


def test_empty_sequences_are_left_out():
    assert b"\x08\x00\x98\x11" not in encode(CommitmentInformation("1.2.3", BOTH.items), IMPLICIT)
    assert b"\x08\x00\x99\x11" not in encode(CommitmentInformation("1.2.3", (), BOTH.failures), IMPLICIT)


def test_items_of_undefined_length_and_other_attributes_are_read():
    asked = request(reference(RetrieveAETitle="OTHER"))
    asked.StorageMediaFileSetID = "X"
    asked["ReferencedSOPSequence"].is_undefined_length = True
    asked.ReferencedSOPSequence[0].is_undefined_length_sequence_item = True
    assert decode(written(asked), EXPLICIT).items == (CommitmentItem(CT, "1.2.3.4"),)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (request(reference(), transaction=None), "(0008,1195) Transaction UID is missing"),
        (request(reference(), transaction=""), "(0008,1195) Transaction UID is not a UID"),
        (request(Dataset()), "(0008,1150) Referenced SOP Class UID is missing"),
        (request(reference(sop_instance="")), "(0008,1155) Referenced SOP Instance UID is not a UID"),
    ],
    ids=["no transaction", "empty transaction", "empty item", "empty instance"],
)
def test_what_is_missing_is_named(asked, told):
    with pytest.raises(BadCommitmentInformation, match=told.replace("(", r"\(").replace(")", r"\)")):
        decode(written(asked), EXPLICIT)


def test_a_failure_without_a_reason_is_a_processing_failure():
    asked = request()
    asked.FailedSOPSequence = [reference()]
    assert decode(written(asked), EXPLICIT).failures == (CommitmentFailure(CommitmentItem(CT, "1.2.3.4"), 0x0110),)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_cut_anywhere_is_refused_or_read_in_part(syntax):
    data = encode(BOTH, syntax)
    for end in range(len(data)):
        try:
            found = decode(data[:end], syntax)
        except Invalid:
            continue
        assert found.transaction_uid == "1.2.3"


def test_bombs_are_refused():
    with pytest.raises(BadDataSet, match="longer than"):
        decode(
            encode(
                CommitmentInformation("1.2.3", (CommitmentItem("1" * 64, "2" * 64),) * (MAX_LENGTH // 140)), DEFLATED
            ),
            DEFLATED,
        )
    with pytest.raises(BadDataSet, match="longer than"):
        decode(bytes(MAX_LENGTH + 1), IMPLICIT)
