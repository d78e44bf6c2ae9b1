"""Grey frames for a person: modality, VOI, padding, inversion, enhanced images."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import XRayAngiographicImageStorage

from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.grayscale import apply_table
from osteon.dicom.pixels.render_options import Window
from support.dicom.datasets import saved
from support.dicom.pixels.rendering import drawn, grey, ordered

RAMP = np.array([[0, 1, 2, 3], [100, 1000, 2000, 4095]], np.uint16)


def lut(first: int, entries: list[int], bits: int, vr: str = "US") -> Dataset:
    """Return an item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new(0x00283002, vr, [len(entries), first, bits])
    item.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return item


def item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def levels(dataset: Dataset | Path, folder: Path, **order: object) -> list[list[int]]:
    return drawn(dataset, folder, **order).tolist()


def test_the_files_first_window_is_applied_to_rescaled_values(tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 50, 100, 200]], np.uint16))
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -100
    dataset.WindowCenter, dataset.WindowWidth = [50.5, 0], [101, 10]
    assert levels(dataset, tmp_path) == [[0, 0, 255, 255]]
    dataset.RescaleIntercept = 0
    assert levels(dataset, tmp_path) == [[0, 255, 255, 255]]
    dataset.RescaleSlope = 1
    assert levels(dataset, tmp_path) == [[0, 128, 255, 255]]


def test_a_window_that_is_asked_for_takes_the_place_of_the_files(tmp_path: Path) -> None:
    dataset = grey(RAMP, WindowCenter=3000, WindowWidth=100)
    assert levels(dataset, tmp_path, window=Window(1.5, 3, "linear-exact")) == [[0, 85, 170, 255], [255] * 4]


def test_without_a_window_the_range_of_the_frame_is_shown(tmp_path: Path) -> None:
    assert levels(grey(np.array([[-100, 0, 100]], np.int16)), tmp_path) == [[0, 128, 255]]


def test_bytes_without_a_window_are_shown_as_they_are(tmp_path: Path) -> None:
    assert levels(grey(np.array([[7, 100, 180]], np.uint8)), tmp_path) == [[7, 100, 180]]


def test_single_bits_are_black_and_white(tmp_path: Path) -> None:
    dataset = grey(np.zeros((2, 8), np.uint8), allocated=1, stored=1, PixelData=b"\x0f\xff")
    assert levels(dataset, tmp_path) == [[255] * 4 + [0] * 4, [255] * 8]


def test_a_frame_of_one_value_is_drawn(tmp_path: Path) -> None:
    assert np.unique(drawn(grey(np.full((3, 3), 500, np.uint16)), tmp_path)).size == 1


@pytest.mark.parametrize(("photometric", "shape", "first"), [
    ("MONOCHROME2", "", 0), ("MONOCHROME1", "", 255), ("MONOCHROME2", "INVERSE", 255), ("MONOCHROME1", "INVERSE", 255),
    ("MONOCHROME1", "IDENTITY", 0),
])  # fmt: skip
def test_the_least_value_is_white_where_the_file_says_so(
    tmp_path: Path, photometric: str, shape: str, first: int
) -> None:
    dataset = grey(RAMP, photometric=photometric)
    if shape:
        dataset.PresentationLUTShape = shape
    picture = drawn(dataset, tmp_path)
    assert (picture[0, 0], picture[1, 3]) == (first, 255 - first)


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    dataset = grey(np.array([[8, 9, 10, 11, 12, 40]], np.uint16), ModalityLUTSequence=[lut(10, [0, 50, 100], 16)])
    dataset.WindowCenter, dataset.WindowWidth = 50.5, 101
    assert levels(dataset, tmp_path) == [[0, 0, 0, 128, 255, 255]]


def test_the_first_voi_lut_gives_the_grey_levels(tmp_path: Path) -> None:
    dataset = grey(np.array([[-3, -2, -1, 0, 9]], np.int16), RescaleSlope=1, RescaleIntercept=0)
    dataset.VOILUTSequence = [lut(-2, [4095, 1024, 0], 12, "SS"), lut(0, [0, 1], 8, "SS")]
    assert levels(dataset, tmp_path) == [[255, 255, 64, 0, 0]]


def test_a_voi_lut_of_rescaled_values_may_begin_below_zero(tmp_path: Path) -> None:
    dataset = grey(np.array([[1022, 1023, 1024]], np.uint16), RescaleSlope=1, RescaleIntercept=-1024)
    dataset.VOILUTSequence = [lut(65534, [0, 100, 255], 8)]
    assert levels(dataset, tmp_path) == [[0, 100, 255]]


def test_a_voi_lut_of_65536_entries_counts_them_as_zero(tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 32768, 65535]], np.uint16))
    table = Dataset()
    table.add_new(0x00283002, "US", [0, 0, 16])
    table.add_new(0x00283006, "OW", np.arange(65535, -1, -1).astype("<u2").tobytes())
    dataset.VOILUTSequence = [table]
    assert levels(dataset, tmp_path) == [[255, 127, 0]]


@pytest.mark.parametrize("bits", [8, 12, 16, 0])
@pytest.mark.parametrize("wide", [True, False])
def test_entries_are_as_bright_as_their_greatest_can_be_whatever_the_descriptor_says(
    bits: int, wide: bool, tmp_path: Path
) -> None:
    table = lut(0, [0, 127, 255], bits)
    if not wide:
        table.LUTData = bytes((0, 127, 255, 0))
    assert levels(grey(np.array([[0, 1, 2]], np.uint16), VOILUTSequence=[table]), tmp_path) == [[0, 127, 255]]


def test_a_modality_lut_without_a_window_shows_the_range_of_the_frame(tmp_path: Path) -> None:
    table = lut(0, [1000, 2000, 3000, 4095], 16)
    dataset = grey(np.array([[0, 1, 2]], np.uint16), ModalityLUTSequence=[table])
    assert levels(dataset, tmp_path) == [[0, 128, 255]]


@pytest.mark.parametrize("bits", [8, 12])
def test_a_count_of_zero_also_means_all_entries_there_are(bits: int, tmp_path: Path) -> None:
    table = lut(0, [0, 127, 255], bits)
    table.LUTDescriptor = [0, 0, bits]
    if bits == 8:
        table.LUTData = bytes((0, 127, 255, 255))
    dataset = grey(np.array([[0, 1, 2, 99]], np.uint16), VOILUTSequence=[table])
    assert levels(dataset, tmp_path) == [[0, 127, 255, 255]]


BROKEN_TABLES = {
    "cut off": [400, 0, 16],
    "bytes and a half": [4, 0, 8],
    "short descriptor": [3, 0],
}


@pytest.mark.parametrize("kind", [*BROKEN_TABLES, "one level", "no data"])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_damaged_table_gives_way_to_the_window_and_that_to_the_range(kind: str, keyword: str, tmp_path: Path) -> None:
    table = lut(0, [7, 7, 7] if kind == "one level" else [1, 2, 3], 16)
    if kind in BROKEN_TABLES:
        table.LUTDescriptor = BROKEN_TABLES[kind]
    if kind == "no data":
        del table.LUTData
    dataset = grey(np.array([[0, 50, 100]], np.uint16), **{keyword: [table]})
    assert levels(dataset, tmp_path) == [[0, 128, 255]]
    dataset.WindowCenter, dataset.WindowWidth = 50.5, 51
    assert levels(dataset, tmp_path) == [[0, 128, 255]]
    dataset.WindowCenter, dataset.WindowWidth = 100.5, 101
    assert levels(dataset, tmp_path) == [[0, 0, 128]]


@pytest.mark.parametrize(
    ("values", "first"),
    [([-6, -5, -4], 65531), ([65530, 65531, 65532], 65531), ([32766, 32767, 32768], 32767), ([-9, -8, -7], -8)],
)
def test_the_first_value_of_a_table_has_the_sign_that_values_can_have(
    values: list[int], first: int, tmp_path: Path
) -> None:
    kind = np.int16 if min(values) < 0 else np.uint16
    for vr in ("US", "SS"):
        table = lut(0, [0, 255], 8)
        table.add_new(0x00283002, vr, [2, first % 65536 - (65536 if vr == "SS" and first % 65536 > 32767 else 0), 8])
        dataset = grey(np.array([values], kind), VOILUTSequence=[table])
        assert levels(dataset, tmp_path) == [[0, 0, 255]], vr


def test_padding_is_background_and_no_part_of_the_range(tmp_path: Path) -> None:
    dataset = grey(np.array([[-2000, -1000, 0, 1000]], np.int16), PixelPaddingValue=-2000)
    assert levels(dataset, tmp_path) == [[0, 0, 128, 255]]
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert levels(dataset, tmp_path) == [[0, 255, 128, 0]]


def test_a_range_of_padding_is_background(tmp_path: Path) -> None:
    dataset = grey(np.array([[-2000, -1500, 0, 1000]], np.int16), PixelPaddingValue=-2000)
    dataset.PixelPaddingRangeLimit = -1500
    assert levels(dataset, tmp_path) == [[0, 0, 0, 255]]
    dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = -1500, -2000
    assert levels(dataset, tmp_path) == [[0, 0, 0, 255]]


def test_a_frame_of_nothing_but_padding_is_black(tmp_path: Path) -> None:
    assert not drawn(grey(np.full((2, 2), 7, np.uint16), PixelPaddingValue=7), tmp_path).any()


def test_frames_of_an_enhanced_image_have_their_own_values_and_windows(tmp_path: Path) -> None:
    dataset = grey(np.array([[[0, 50, 100]], [[0, 50, 100]]], np.uint16), WindowCenter=9999, WindowWidth=1)
    shared_window = item(WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    dataset.SharedFunctionalGroupsSequence = [item(FrameVOILUTSequence=[shared_window])]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=0)]),
        item(FrameVOILUTSequence=[item(WindowCenter=100, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")]),
    ]
    assert levels(dataset, tmp_path, frames=(1,)) == [[0, 255, 255]]
    assert levels(dataset, tmp_path, frames=(2,)) == [[0, 64, 128]]


@pytest.mark.parametrize(("bits", "prefix"), [(32, "Float"), (64, "DoubleFloat")])
def test_floats_are_drawn_and_those_that_are_no_numbers_are_background(tmp_path: Path, bits: int, prefix: str) -> None:
    values = np.array([[-1.5, 0, 1.5, np.nan], [np.inf, 0.75, 7, 1.5]], f"<f{bits // 8}")
    dataset = grey(np.zeros((2, 4), np.uint8), BitsAllocated=bits)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    setattr(dataset, f"{prefix}PixelData", values.tobytes())
    setattr(dataset, f"{prefix}PixelPaddingValue", 7.0)
    assert levels(dataset, tmp_path) == [[0, 128, 255, 0], [0, 191, 0, 255]]


def test_32_bits_are_drawn(tmp_path: Path) -> None:
    assert levels(grey(np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32)), tmp_path) == [[0, 128, 255]]


def test_angiography_is_shown_as_stored_when_its_values_are_for_display(tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 50, 100]], np.uint16), WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    dataset.PixelIntensityRelationship, dataset.RescaleSlope, dataset.RescaleIntercept = "LOG", 100, 0
    assert levels(dataset, tmp_path) == [[0, 128, 255]]
    dataset.PixelIntensityRelationship = "LIN"
    assert levels(dataset, tmp_path) == [[0, 255, 255]]


def test_a_slope_of_zero_counts_as_none(tmp_path: Path) -> None:
    assert levels(grey(np.array([[0, 10]], np.uint16), RescaleSlope=0, RescaleIntercept=5), tmp_path) == [[0, 255]]


def raw(tag: int, vr: str, value: bytes) -> RawDataElement:
    """Return an element whose value pydicom would refuse."""
    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("tag", "value"), [(0x00281053, b"steep "), (0x00281052, b"inf "), (0x00281053, b"nan "), (0x00281052, b"9e40")]
)
def test_a_rescale_that_is_no_number_is_passed_over_in_pictures_and_an_error_in_values(
    tag: int, value: bytes, tmp_path: Path
) -> None:
    dataset = grey(np.array([[0, 50, 100]], np.uint16), RescaleSlope=2, RescaleIntercept=0)
    dataset[tag] = raw(tag, "DS", value)
    assert levels(dataset, tmp_path) == [[0, 128, 255]]
    assert drawn(dataset, tmp_path, mode="orthanc").shape == (1, 3)
    with pytest.raises(PixelError, match=rf"\(0028,{tag & 0xFFFF:04X}\)"):
        ordered(dataset, tmp_path, mode="numpy")


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        (b"x\\50.5", b"9\\101"),
        (b"9\\50.5 ", b"\\101"),
        (b"nan\\50.5 ", b"7\\101 "),
        (b"3\\4\\50.5", b"0\\-3\\101 "),
        (b"50.5", b"101\\x "),
    ],
    ids=["no number", "empty", "NaN", "not wide", "fewer"],
)
def test_the_first_window_that_shows_something_is_taken(centre: bytes, width: bytes, tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 50, 100, 200]], np.uint16))
    dataset[0x00281050], dataset[0x00281051] = raw(0x00281050, "DS", centre), raw(0x00281051, "DS", width)
    assert levels(dataset, tmp_path) == [[0, 128, 255, 255]]


@pytest.mark.parametrize(
    ("centre", "width"),
    [(b"x ", b"10"), (b"1 ", b"wide"), (b"1 ", b"-5"), (b"1 ", b""), (b"1e9 ", b"99"), (b"-99 ", b"99")],
)
def test_without_such_a_window_the_range_is_shown(centre: bytes, width: bytes, tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 50, 100]], np.uint16))
    dataset[0x00281050], dataset[0x00281051] = raw(0x00281050, "DS", centre), raw(0x00281051, "DS", width)
    assert levels(dataset, tmp_path) == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("kind", "stored", "padding", "vr"),
    [
        (np.int16, 16, 63536, "US"),
        (np.int16, 16, -2000, "SS"),
        (np.int16, 12, 2096, "US"),
        (np.int16, 12, 63536, "US"),
        (np.uint16, 16, -2000, "SS"),
    ],
)
def test_padding_has_the_sign_of_the_pixels_whatever_its_vr(
    kind: type, stored: int, padding: int, vr: str, tmp_path: Path
) -> None:
    value = -2000 if kind is np.int16 else 63536
    dataset = grey(np.array([[value, 0, 50, 100]], kind), stored=stored)
    dataset.add_new(0x00280120, vr, padding)
    assert levels(dataset, tmp_path) == [[0, 0, 128, 255]]
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert levels(dataset, tmp_path) == [[0, 255, 128, 0]]


def test_a_presentation_lut_shape_that_is_none_is_passed_over(tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 255]], np.uint8), photometric="MONOCHROME1", PresentationLUTShape="LIN OD")
    assert levels(dataset, tmp_path) == [[255, 0]]


def test_functional_groups_that_are_damaged_or_lack_a_frame_give_way_to_the_data_set(tmp_path: Path) -> None:
    dataset = grey(np.array([[[0, 50, 100]]] * 2, np.uint16), WindowCenter=50.5, WindowWidth=51)
    dataset.PerFrameFunctionalGroupsSequence = [item(FrameVOILUTSequence=[item(WindowCenter=100.5, WindowWidth=101)])]
    assert levels(dataset, tmp_path, frames=(1,)) == [[0, 0, 128]]
    assert levels(dataset, tmp_path, frames=(2,)) == [[0, 128, 255]]
    dataset.PerFrameFunctionalGroupsSequence[0].FrameVOILUTSequence[0].WindowWidth = 0
    assert levels(dataset, tmp_path, frames=(1,)) == [[0, 128, 255]]
    dataset.add_new(0x52009230, "OB", b"\xfe\xff\x00\xe0\x40\x00\x00\x00ab")
    path = saved(dataset, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\x00\x52\x30\x92OB", b"\x00\x52\x30\x92SQ"))
    assert levels(path, tmp_path, frames=(1,)) == [[0, 128, 255]]


def test_indices_are_shown_in_greys_where_their_palette_is_missing_or_damaged(tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 100, 255]], np.uint8), photometric="PALETTE COLOR")
    for mode, most in (("rendered", 255), ("preview", 255), ("orthanc", 254)):
        assert levels(dataset, tmp_path, mode=mode)[0][::2] == [0, most]
    with pytest.raises(PixelError, match="Palette"):
        ordered(dataset, tmp_path, mode="numpy")


def test_a_window_of_the_file_that_shows_nothing_is_passed_over(tmp_path: Path) -> None:
    assert levels(grey(np.array([[10, 20]], np.uint16), WindowCenter=0, WindowWidth=0), tmp_path) == [[0, 255]]


@given(
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64, np.float32])
    .flatmap(lambda kind: arrays(kind, array_shapes(min_dims=2, max_dims=2, max_side=20)))
)  # fmt: skip
def test_a_table_gives_what_computing_each_value_gives(frame: np.ndarray) -> None:
    def parity(values: np.ndarray) -> np.ndarray:
        return (np.nan_to_num(values) % 251).astype(np.uint8)

    assert np.array_equal(apply_table(frame, parity), parity(frame.astype(np.float64)))


def test_large_frames_are_drawn_in_parts_that_fit_together() -> None:
    frame = np.arange(700 * 300, dtype=np.int32).reshape(700, 300)
    for values in (frame, (frame % 5000 - 100).astype(np.int16)):
        assert np.array_equal(apply_table(values, lambda x: x % 97), values % 97)
