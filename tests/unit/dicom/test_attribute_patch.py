"""`osteon.dicom.attribute_patch`, with pydicom as the reader of what it makes."""

import io
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from osteon.dicom.attribute_patch import replace_attributes
from osteon.dicom.errors import BadDataSet
from osteon.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

FORMS = {
    IMPLICIT_VR_LITTLE_ENDIAN: (True, True),
    EXPLICIT_VR_LITTLE_ENDIAN: (False, True),
    EXPLICIT_VR_BIG_ENDIAN: (False, False),
}


def element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


NAME = {"00100010": element("PN", {"Alphabetic": "Doe^Jane"}), "00100020": element("LO", "P-1")}


def data_set(**attributes: object) -> Dataset:
    item = Dataset()
    item.PatientID = "nested"
    values = {
        "SpecificCharacterSet": "ISO_IR 100", "SOPInstanceUID": "1.2.3", "Modality": "CT", "PatientName": "UNKNOWN^A",
        "PatientID": "?", "PatientSex": "O", "OtherPatientIDsSequence": Sequence([item]), "Rows": 2, "Columns": 2,
        "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "PixelData": bytes(range(8)), "BitsAllocated": 16,
    } | attributes  # fmt: skip
    made = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def encoded(dataset: Dataset, implicit: bool = False, little: bool = True) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    dataset["PixelData"].VR = "OW"
    write_dataset(out, dataset)
    return bytes(out.getvalue())


def patched(data: bytes, syntax: str, elements: dict[str, object]) -> bytes:
    return b"".join(bytes(piece) for piece in replace_attributes(data, syntax, elements))


@pytest.mark.parametrize("syntax", FORMS)
def test_attributes_are_replaced_in_each_encoding_and_nothing_else(syntax: str) -> None:
    implicit, little = FORMS[syntax]
    data = encoded(data_set(), implicit, little)
    made = patched(data, syntax, NAME)
    expected = data_set(PatientName="Doe^Jane", PatientID="P-1")
    assert made == encoded(expected, implicit, little)


def test_what_is_missing_is_inserted_in_order_and_empty_values_empty_an_element() -> None:
    made = patched(encoded(data_set()), EXPLICIT_VR_LITTLE_ENDIAN, {
        "00080050": element("SH", "ACC-7"), "00100030": element("DA", "19700101"), "00100040": element("CS"),
    })  # fmt: skip
    expected = data_set(AccessionNumber="ACC-7", PatientBirthDate="19700101", PatientSex="")
    assert made == encoded(expected)


def test_an_element_behind_all_others_is_appended() -> None:
    dataset = data_set()
    data = encoded(dataset)
    without_pixels = data[: data.index(b"\xe0\x7f\x10\x00")]
    made = patched(without_pixels, EXPLICIT_VR_LITTLE_ENDIAN, {"04000561": element("SQ", NAME)})
    found = read_dataset(io.BytesIO(made), False, True)
    assert made.startswith(without_pixels)
    assert found.OriginalAttributesSequence[0].PatientName == "Doe^Jane"


def test_a_group_length_of_a_changed_group_goes_and_others_stay() -> None:
    patient = b"\x10\x00\x00\x00UL\x04\x00\x99\x00\x00\x00"
    image = b"\x28\x00\x00\x00UL\x04\x00\x10\x00\x00\x00"
    data = encoded(data_set())
    with_lengths = data.replace(b"\x10\x00\x10\x00PN", patient + b"\x10\x00\x10\x00PN", 1)
    with_lengths = with_lengths.replace(b"\x28\x00\x10\x00US", image + b"\x28\x00\x10\x00US", 1)
    made = patched(with_lengths, EXPLICIT_VR_LITTLE_ENDIAN, NAME)
    assert patient not in made
    assert image in made


def test_elements_out_of_order_and_repeated_ones_are_all_replaced() -> None:
    sex = b"\x10\x00\x20\x00LO\x04\x00also"
    data = encoded(data_set())
    broken = data.replace(b"\x28\x00\x10\x00US", sex + b"\x28\x00\x10\x00US", 1)
    made = patched(broken, EXPLICIT_VR_LITTLE_ENDIAN, NAME)
    assert b"also" not in made
    assert made == encoded(data_set(PatientName="Doe^Jane", PatientID="P-1"))


def test_text_is_written_in_the_character_set_of_the_data_set() -> None:
    made = patched(
        encoded(data_set()), EXPLICIT_VR_LITTLE_ENDIAN, {"00100010": element("PN", {"Alphabetic": "Müller"})}
    )
    assert "Müller".encode("latin-1") in made
    assert read_dataset(io.BytesIO(made), False, True).SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize("charset", ["ISO_IR 100", None, "ISO_IR 999"])
@pytest.mark.parametrize("syntax", FORMS)
def test_a_character_that_it_lacks_turns_all_text_into_utf_8(syntax: str, charset: str | None) -> None:
    implicit, little = FORMS[syntax]
    other = "Größe" if charset == "ISO_IR 100" else "size"
    data = encoded(data_set(SpecificCharacterSet=charset, SeriesDescription=other), implicit, little)
    made = patched(data, syntax, {"00100010": element("PN", {"Alphabetic": "Κωνσταντίνος"})})
    found = read_dataset(io.BytesIO(made), implicit, little)
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert (str(found.PatientName), found.SeriesDescription) == ("Κωνσταντίνος", other)
    assert made[-8:] == data[-8:]


def test_a_deflated_data_set_is_deflated_again() -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflater.compress(encoded(data_set())) + deflater.flush()
    made = patched(data, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, NAME)
    inflated = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(made)
    assert inflated == encoded(data_set(PatientName="Doe^Jane", PatientID="P-1"))
    assert len(made) % 2 == 0


def test_encapsulated_pixel_data_is_copied_as_it_is() -> None:
    fragments = (
        b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0abcd\xfe\xff\xdd\xe0"
    )
    data = encoded(data_set())
    data = data[: data.index(b"\xe0\x7f\x10\x00")] + fragments + b"\0\0\0\0"
    assert patched(data, EXPLICIT_VR_LITTLE_ENDIAN, NAME).endswith(fragments + bytes(4))


def test_a_data_set_that_cannot_be_read_up_to_its_pixel_data_is_refused() -> None:
    data = encoded(data_set())
    cut = data[: data.index(b"\x28\x00\x10\x00US")] + b"\x28\x00\x10\x00US\xff\x7f\0\0"
    with pytest.raises(BadDataSet):
        patched(cut, EXPLICIT_VR_LITTLE_ENDIAN, NAME)


def test_pydicoms_files_keep_every_other_element() -> None:
    names = ("CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "JPEG2000.dcm", "image_dfl.dcm")
    for name in names:
        path = pydicom.data.get_testdata_file(name)
        before = pydicom.dcmread(path)
        start = before.file_meta.FileMetaInformationGroupLength + 144
        data = Path(path).read_bytes()
        syntax = str(before.file_meta.TransferSyntaxUID)
        made = io.BytesIO(data[:start] + patched(data[start:], syntax, NAME))
        after = pydicom.dcmread(made)
        assert (str(after.PatientName), after.PatientID) == ("Doe^Jane", "P-1"), name
        for dataset in (before, after):
            for keyword in ("PatientName", "PatientID"):
                if keyword in dataset:
                    del dataset[keyword]
        assert [e.tag for e in before] == [e.tag for e in after if e.tag.element], name
        assert before == after, name
