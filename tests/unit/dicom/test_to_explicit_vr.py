"""From implicit to explicit VR by the heads of elements alone."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from osteon.dicom.errors import BadDataSet
from osteon.dicom.part10 import read_part10, write_part10_header
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.transcode import TranscodeTarget, transcode
from osteon.dicom.to_explicit_vr import to_explicit_vr
from osteon.errors import Invalid
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import BUNDLED

EXPLICIT = "1.2.840.10008.1.2.1"


def _implicit() -> list[Path]:
    files = sorted(BUNDLED.glob("*.dcm"))
    return [path for path in files if path.read_bytes()[128:132] == b"DICM" and _syntax(path) == ImplicitVRLittleEndian]


def _syntax(path: Path) -> str:
    try:
        return str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    except (AttributeError, ValueError):
        return ""


@pytest.mark.parametrize("path", _implicit(), ids=lambda path: path.name)
def test_a_file_becomes_what_the_transcoder_makes_of_it(path: Path, tmp_path: Path) -> None:
    try:
        transcode(path, tmp_path / "made", TranscodeTarget(targets=[EXPLICIT]), PixelLimits())
    except Invalid as error:
        with pytest.raises(type(error)):
            to_explicit_vr(path.read_bytes())
        return
    assert to_explicit_vr(path.read_bytes()) == (tmp_path / "made").read_bytes()


def test_signs_and_private_creators_decide_about_vrs(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new(0x00091010, "UN", b"ab")
    dataset = ct_slice(PixelRepresentation=1, SmallestImagePixelValue=-5, RequestAttributesSequence=[item])
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = saved(dataset, tmp_path)
    (tmp_path / "made").write_bytes(to_explicit_vr(path.read_bytes()))
    found = dcmread(tmp_path / "made")
    assert (found["SmallestImagePixelValue"].VR, found.SmallestImagePixelValue) == ("SS", -5)
    assert found.PixelData == dataset.PixelData
    assert found.RequestAttributesSequence[0][0x00091010].value == b"ab"


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    dataset = ct_slice()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data = saved(dataset, tmp_path).read_bytes()
    for size in (100, 200, len(data) // 2, len(data) - 3):
        with pytest.raises(Invalid):
            to_explicit_vr(data[:size])


def test_pixel_data_in_fragments_is_refused_which_explicit_vr_little_endian_never_has(tmp_path: Path) -> None:
    dataset = ct_slice()
    dataset.PixelData = encapsulate([bytes(dataset.PixelData)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    meta = read_part10(data := saved(dataset, tmp_path).read_bytes())
    head = write_part10_header(meta.sop_class_uid, meta.sop_instance_uid, ImplicitVRLittleEndian)
    with pytest.raises(BadDataSet, match="in fragments"):
        to_explicit_vr(head + data[meta.data_set_offset :])
