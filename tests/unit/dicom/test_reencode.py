"""Elements change their encoding and nothing else: pydicom reads the same from both."""

from pathlib import Path

import pytest
from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.uid import ImplicitVRLittleEndian

from osteon.dicom.encoding import EXPLICIT, EXPLICIT_BIG, IMPLICIT, Encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.reencode import ElementScope, Reencoder, iter_elements
from support.dicom.pixels.images import NATIVE, differences, image, into
from support.dicom.real_files import dataset_bytes


def rich() -> Dataset:
    """A data set with what is hard: private blocks, nested items, UN, signs, character sets, every length of number."""
    dataset = image(signed=True)
    dataset.SpecificCharacterSet = "ISO 2022 IR 87"
    dataset.PatientName = "Yamada^Tarou=山田^太郎"
    dataset.SmallestImagePixelValue = -5
    dataset["SmallestImagePixelValue"].VR = "SS"
    dataset.EventElapsedTimes = [1.5, -2.25]
    dataset.SelectorAttribute = 0x00100020
    dataset.TagAngleSecondAxis = 7
    block = dataset.private_block(0x0029, "OSTEON TEST", create=True)
    block.add_new(0x01, "SH", "private")
    block.add_new(0x02, "FL", 1.25)
    block.add_new(0x03, "UN", b"\x01\x02\x03\x04")
    block.add_new(0x04, "SQ", Sequence([Dataset(), nested(3)]))
    dataset.ReferencedStudySequence = Sequence([nested(2)])
    dataset.ReferencedStudySequence[0].is_undefined_length_sequence_item = True
    dataset["ReferencedStudySequence"].is_undefined_length = True
    dataset.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    return dataset


def nested(depth: int) -> Dataset:
    dataset = Dataset()
    dataset.ReferencedSOPClassUID, dataset.ReferencedSOPInstanceUID = "1.2.3", "1.2.3.4"
    dataset.ReferencedFrameNumber = [1, 2]
    dataset.add(DataElement(0x00091001, "UL", 7))
    if depth:
        dataset.ReferencedSeriesSequence = Sequence([nested(depth - 1), nested(0)])
    return dataset


@pytest.mark.parametrize("number", ["1.2.1.99", "1.2.2", "1.2"])
def test_a_data_set_says_the_same_in_every_native_encoding_and_comes_back_as_it_was(
    number: str, tmp_path: Path
) -> None:
    dataset = rich()
    dataset["ReferencedStudySequence"].value[0].is_undefined_length_sequence_item = True
    _, there = into(dataset, "1.2.840.10008." + number, tmp_path)
    original = tmp_path / f"{dataset.SOPInstanceUID}.dcm"
    private = [str(e.tag) for e in dataset if e.tag.is_private] if number == "1.2" else []
    found = differences(dcmread(original), dcmread(there), "PixelData")
    assert [path for path in found if path.split("/")[0] not in private and "(0009," not in path] == []
    _, back = into(there, NATIVE, tmp_path)
    if number != "1.2":
        assert dataset_bytes(back) == dataset_bytes(original)
        assert differences(dcmread(original), dcmread(back)) == []
    assert dcmread(back).PatientName == dcmread(original).PatientName


def test_vrs_that_implicit_vr_leaves_open_follow_from_other_elements(tmp_path: Path) -> None:
    dataset = rich()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    _, path = into(dataset, NATIVE, tmp_path)
    made = dcmread(path)
    assert made["SmallestImagePixelValue"].VR == "SS"
    assert made.SmallestImagePixelValue == -5
    assert made["PixelData"].VR == "OW"
    assert made[0x0029, 0x1001].VR == "UN"
    assert made[0x0029, 0x1001].value == b"private "
    assert made[0x0029, 0x1004].VR in ("SQ", "UN")


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    value = b"1\\" * 40_000
    data = IMPLICIT.item.pack(0x0018, 0x9000 - 0x7F00, len(value)) + value
    assert recoded(data, IMPLICIT, EXPLICIT)[4:6] == b"UN"


def test_group_lengths_are_left_out() -> None:
    data = EXPLICIT.head.pack(0x0008, 0, b"UL", 4) + b"\1\0\0\0" + EXPLICIT.head.pack(0x0008, 0x60, b"CS", 2) + b"CT"
    assert recoded(data, EXPLICIT, EXPLICIT) == data[12:]


def test_unknown_values_are_little_endian_everywhere() -> None:
    data = EXPLICIT.head.pack(0x0009, 0x1001, b"UN", 0) + EXPLICIT.long.pack(4) + b"\1\2\3\4"
    assert recoded(data, EXPLICIT, EXPLICIT_BIG)[-4:] == b"\1\2\3\4"


@pytest.mark.parametrize("depth", [102, 3000])
def test_a_tower_of_sequences_is_refused_before_the_stack_is_used_up(depth: int) -> None:
    data = b""
    for _ in range(depth):
        item = EXPLICIT.item.pack(0xFFFE, 0xE000, len(data)) + data
        data = EXPLICIT.head.pack(0x0008, 0x1110, b"SQ", 0) + EXPLICIT.long.pack(len(item)) + item
    with pytest.raises(BadDataSet, match="nested deeper than 100"):
        recoded(data, EXPLICIT, IMPLICIT)


def recoded(data: bytes, source: Encoding, target: Encoding) -> bytes:
    recoder, scope = Reencoder(data, target), ElementScope()
    return b"".join(
        piece for f in iter_elements(data, 0, len(data), source) for piece in recoder.element(f, source, scope)
    )
