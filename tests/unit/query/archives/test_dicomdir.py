"""`osteon_query.archives.dicomdir`, with pydicom as the reader."""

import io

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.fileset import _FOUR_LEVEL_SOP_CLASSES

from osteon_query.archives.dicomdir import DicomDirWriter, FileReference, attributes_of, record_type_of


def written(*records: tuple[int, str, str]) -> Dataset:
    """Write records (depth, type, name) and read the whole."""
    file = io.BytesIO()
    directory = DicomDirWriter(file)
    for number, (depth, kind, name) in enumerate(records):
        reference = FileReference(("IMAGES", f"IM{number}"), "1.2", f"1.2.{number}", "1.2.840.10008.1.2.1")
        attributes = {"PatientID": {"vr": "LO", "Value": [name]}}
        directory.add(depth, kind, attributes, reference if depth == 3 else None)
    assert directory.finish() == len(file.getvalue())
    return dcmread(io.BytesIO(file.getvalue()))


def tree(found: Dataset) -> list[object]:
    """Follow the offsets from the root: [name, [children…]]…"""
    by_offset = {record.seq_item_tell: record for record in found.DirectoryRecordSequence}

    def siblings(offset: int) -> list[object]:
        made: list[object] = []
        while offset:
            record = by_offset[offset]
            made.append([record.PatientID, siblings(record.OffsetOfReferencedLowerLevelDirectoryEntity)])
            offset = record.OffsetOfTheNextDirectoryRecord
        return made

    return siblings(found.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity)


def test_records_refer_to_their_siblings_and_children() -> None:
    found = written(
        (0, "PATIENT", "a"), (1, "STUDY", "a1"), (2, "SERIES", "a11"), (3, "IMAGE", "a111"), (3, "IMAGE", "a112"),
        (2, "SERIES", "a12"), (3, "IMAGE", "a121"), (1, "STUDY", "a2"), (2, "SERIES", "a21"), (3, "IMAGE", "a211"),
        (0, "PATIENT", "b"), (1, "STUDY", "b1"), (2, "SERIES", "b11"), (3, "SR DOCUMENT", "b111"),
    )  # fmt: skip
    assert tree(found) == [
        ["a", [["a1", [["a11", [["a111", []], ["a112", []]]], ["a12", [["a121", []]]]]],
               ["a2", [["a21", [["a211", []]]]]]]],
        ["b", [["b1", [["b11", [["b111", []]]]]]]],
    ]  # fmt: skip
    last = found.DirectoryRecordSequence[10]
    assert (last.PatientID, last.seq_item_tell) == (
        "b", found.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity,
    )  # fmt: skip
    image = found.DirectoryRecordSequence[3]
    assert (list(image.ReferencedFileID), image.ReferencedSOPInstanceUIDInFile) == (["IMAGES", "IM3"], "1.2.3")


def test_one_without_records_is_a_directory_too() -> None:
    found = written()
    assert (len(found.DirectoryRecordSequence), found.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity) == (0, 0)


@pytest.mark.parametrize(("sop_class", "kind"), [
    ("1.2.840.10008.5.1.4.1.1.2", "IMAGE"), ("1.2.840.10008.5.1.4.1.1.88.33", "SR DOCUMENT"),
    ("1.2.840.10008.5.1.4.1.1.88.59", "KEY OBJECT DOC"), ("1.2.840.10008.5.1.4.1.1.11.1", "PRESENTATION"),
    ("1.2.840.10008.5.1.4.1.1.9.1.1", "WAVEFORM"), ("1.2.840.10008.5.1.4.1.1.104.1", "ENCAP DOC"),
    ("1.2.840.10008.5.1.4.1.1.481.5", "RT PLAN"), ("1.2.840.10008.5.1.4.1.1.481.1", "IMAGE"),
    ("1.2.840.10008.5.1.4.1.1.66", "RAW DATA"), ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),
    ("1.2.840.10008.5.1.4.1.1.66.5", "SURFACE"), ("1.2.840.10008.5.1.4.1.1.4", "IMAGE"),
    ("1.2.840.10008.5.1.4.1.1.4.2", "SPECTROSCOPY"), ("1.2.3.4", "IMAGE"),
])  # fmt: skip
def test_a_sop_class_has_a_type_of_record(sop_class: str, kind: str) -> None:
    assert record_type_of(sop_class) == kind


def test_what_a_header_lacks_or_has_in_another_vr_is_empty() -> None:
    header = {"00200013": {"vr": "UN", "InlineBinary": "AA=="}, "0020000E": {"vr": "UI", "Value": ["1.2"]}}
    assert attributes_of(header, ("SeriesInstanceUID", "InstanceNumber", "SeriesNumber")) == {
        "SeriesInstanceUID": {"vr": "UI", "Value": ["1.2"]},
        "InstanceNumber": {"vr": "IS", "Value": []},
        "SeriesNumber": {"vr": "IS", "Value": []},
    }


def test_types_of_records_are_those_of_pydicom() -> None:
    assert {uid: record_type_of(uid) for uid in _FOUR_LEVEL_SOP_CLASSES} == _FOUR_LEVEL_SOP_CLASSES
