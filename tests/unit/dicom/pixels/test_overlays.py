"""Overlays are burned into what a person looks at, and nothing else (PS3.3 C.9.2)."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from support.dicom.pixels.images import SYNTAX, into
from support.dicom.pixels.rendering import colours, drawn, grey

JPEG_2000 = SYNTAX + "4.90"
BLACK = np.zeros((4, 5), np.uint8)


def with_overlay(dataset: Dataset, mask: np.ndarray, *, group: int = 0x6000, **values: object) -> Dataset:
    """Add graphics: (rows, columns) or (planes, rows, columns) of 0 and 1."""
    data = np.packbits(mask.astype(np.uint8), bitorder="little", axis=None).tobytes()
    tags = {"Rows": (0x10, "US"), "Columns": (0x11, "US"), "Type": (0x40, "CS"), "Origin": (0x50, "SS"),
            "Allocated": (0x100, "US"), "Bit": (0x102, "US"), "Data": (0x3000, "OW"), "Frames": (0x15, "IS"),
            "First": (0x51, "US")}  # fmt: skip
    given = {"Rows": mask.shape[-2], "Columns": mask.shape[-1], "Type": "G", "Origin": [1, 1], "Allocated": 1, "Bit": 0,
             "Data": data + b"\0" * (len(data) % 2), **values}  # fmt: skip
    for name, value in given.items():
        element, vr = tags[name]
        if value is not None:
            dataset.add_new(group << 16 | element, vr, value)
    return dataset


def marked(picture: np.ndarray) -> list[tuple[int, int]]:
    return [tuple(place) for place in np.argwhere(picture).tolist()]


MASK = np.array([[1, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize(
    ("origin", "places"),
    [
        ([1, 1], [(0, 0), (0, 2), (1, 2)]),
        ([3, 2], [(2, 1), (2, 3), (3, 3)]),
        ([0, 0], [(0, 1)]),
        ([4, 4], [(3, 3)]),
        ([9, 9], []),
        ([-7, 1], []),
        ([3], [(2, 2), (2, 4), (3, 4)]),
    ],
    ids=["corner", "within", "above and left", "cut off", "outside", "far above", "one number"],
)
def test_graphics_are_white_where_their_origin_puts_them(
    tmp_path: Path, origin: list[int], places: list[tuple[int, int]]
) -> None:
    assert marked(drawn(with_overlay(grey(BLACK), MASK, Origin=origin), tmp_path)) == places


def test_each_group_is_burned(tmp_path: Path) -> None:
    dataset = with_overlay(with_overlay(grey(BLACK), MASK), np.ones((1, 1)), group=0x601E, Origin=[4, 5])
    assert marked(drawn(dataset, tmp_path)) == [(0, 0), (0, 2), (1, 2), (3, 4)]


def test_graphics_are_white_in_colours_and_in_inverted_frames(tmp_path: Path) -> None:
    picture = drawn(with_overlay(colours(np.zeros((2, 3, 3), np.uint8)), MASK), tmp_path)
    assert picture[0, 0].tolist() == [255] * 3 and picture[0, 1].tolist() == [0] * 3
    inverted = drawn(with_overlay(grey(BLACK + 255, photometric="MONOCHROME1"), MASK), tmp_path)
    assert marked(inverted) == [(0, 0), (0, 2), (1, 2)]


def test_regions_of_interest_do_not_hide_the_image(tmp_path: Path) -> None:
    assert not drawn(with_overlay(grey(BLACK), MASK, Type="R"), tmp_path).any()


@pytest.mark.parametrize("mode", ["preview", "orthanc", "uint8", "uint16"])
def test_what_orthanc_draws_has_no_graphics(tmp_path: Path, mode: str) -> None:
    assert not drawn(with_overlay(grey(BLACK), MASK), tmp_path, mode=mode).any()


def test_planes_belong_to_their_frames(tmp_path: Path) -> None:
    planes = np.zeros((2, 3, 3))
    planes[0, 0, 1] = planes[1, 2, 2] = 1
    dataset = with_overlay(grey(np.zeros((3, 4, 5), np.uint8)), planes, Frames=2, First=2)
    assert marked(drawn(dataset, tmp_path, frames=(1,))) == []
    assert marked(drawn(dataset, tmp_path, frames=(2,))) == [(0, 1)]
    assert marked(drawn(dataset, tmp_path, frames=(3,))) == [(2, 2)]


def test_one_plane_is_for_every_frame(tmp_path: Path) -> None:
    dataset = with_overlay(grey(np.zeros((2, 4, 5), np.uint8)), MASK)
    assert marked(drawn(dataset, tmp_path, frames=(2,))) == [(0, 0), (0, 2), (1, 2)]


def test_retired_overlays_in_the_words_of_pixels_are_drawn_and_no_part_of_values(tmp_path: Path) -> None:
    cells = np.array([[0, 4095, 0x8000 | 2048], [100, 0x8000, 0]], np.uint16)
    dataset = with_overlay(grey(cells, stored=12), cells, Allocated=16, Bit=15, Data=None)
    assert drawn(dataset, tmp_path).tolist() == [[0, 255, 255], [6, 255, 0]]
    assert drawn(dataset, tmp_path, mode="uint16").tolist() == [[0, 4095, 2048], [100, 0, 0]]


@pytest.mark.parametrize(("bit", "signed"), [(0, False), (11, False), (15, True), (16, False)])
def test_bits_that_are_no_overlay_are_not_drawn(bit: int, signed: bool, tmp_path: Path) -> None:
    cells = np.array([[-5, 1000, 2047]] if signed else [[0, 1000, 4095]], np.int16 if signed else np.uint16)
    plain = drawn(grey(cells, stored=12), tmp_path)
    dataset = with_overlay(grey(cells, stored=12), cells, Allocated=16, Bit=bit, Data=None)
    assert np.array_equal(drawn(dataset, tmp_path), plain)


def test_a_bit_stream_of_the_values_alone_has_no_overlay_in_it(tmp_path: Path) -> None:
    cells = np.array([[0, 1000, -1000]], np.int16)
    _, path = into(with_overlay(grey(cells, stored=12), cells, Allocated=16, Bit=13, Data=None), JPEG_2000, tmp_path)
    assert drawn(path, tmp_path).tolist() == [[128, 255, 0]]


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x60000015, "IS"), (0x60000050, "DS"), (0x60000010, "DS"), (0x60000010, "SS")]
)
def test_an_overlay_whose_numbers_are_none_is_left_out_and_the_others_are_drawn(
    tag: int, vr: str, tmp_path: Path
) -> None:
    dataset = with_overlay(with_overlay(grey(BLACK), MASK), np.ones((1, 1)), group=0x6002, Origin=[4, 5])
    dataset[tag] = RawDataElement(Tag(tag), vr, 2, b"\xff\xff" if vr == "SS" else b"x ", 0, False, True)
    assert marked(drawn(dataset, tmp_path)) == [(3, 4)]


def test_an_overlay_with_too_few_bits_is_left_out(tmp_path: Path) -> None:
    assert not drawn(with_overlay(grey(BLACK), MASK, Rows=400), tmp_path).any()


def test_overlays_of_big_endian_words_are_read(tmp_path: Path) -> None:
    dataset = with_overlay(grey(BLACK), np.eye(4, 5))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    element = dataset[0x60003000]
    element.value = np.frombuffer(element.value, "<u2").astype(">u2").tobytes()
    path = tmp_path / "big.dcm"
    dataset.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=False)
    assert marked(drawn(path, tmp_path)) == [(0, 0), (1, 1), (2, 2), (3, 3)]
