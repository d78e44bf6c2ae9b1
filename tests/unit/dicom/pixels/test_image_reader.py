"""An image gives any of its frames without those before it, its attributes, and its frames in RGB."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.pixels import apply_color_lut, convert_color_space, pixel_array

from osteon.dicom.pixels.bitstream_header import read_jpeg_xl
from osteon.dicom.pixels.colour import to_rgb
from osteon.dicom.pixels.errors import NoSuchFrame, NotPossible, PixelError
from osteon.dicom.pixels.native import Frame
from osteon.dicom.pixels.palette import read_palette
from support.dicom.datasets import saved
from support.dicom.pixels.images import SYNTAX, image, into, tag_of, wrapped
from support.dicom.pixels.rendering import opened_image
from support.dicom.real_files import BUNDLED

RED, GREEN, BLUE = "Red", "Green", "Blue"
DESCRIPTORS = [f"{colour}PaletteColorLookupTableDescriptor" for colour in (RED, GREEN, BLUE)]


def rgb(source: Dataset | Path, folder: Path) -> Frame:
    with opened_image(saved(source, folder) if isinstance(source, Dataset) else source) as opened:
        return to_rgb(opened.frame(1), opened.attributes, opened.geometry.bits_stored)


@pytest.mark.parametrize("number", ["1", "2", "5", "4.80", "1.98"])
@pytest.mark.parametrize("extended", [False, True])
def test_every_frame_is_there_in_any_order(number: str, extended: bool, tmp_path: Path) -> None:
    dataset = image(frames=5)
    _, path = into(dataset, SYNTAX + number, tmp_path, basic_offset_limit=1 if extended else 1 << 32)
    with opened_image(path) as opened:
        for frame in (5, 1, 3, 2, 4, 1):
            assert np.array_equal(opened.frame(frame).frame[..., 0], dataset.pixel_array[frame - 1])
        for frame in (0, 6):
            with pytest.raises(NoSuchFrame, match=f"no frame {frame}: the image has 5"):
                opened.frame(frame)


def test_a_frame_is_read_without_the_bit_streams_before_it(tmp_path: Path) -> None:
    dataset = image(frames=5)
    _, path = into(dataset, SYNTAX + "4.80", tmp_path)
    data = bytearray(path.read_bytes())
    with opened_image(path) as opened:
        assert np.array_equal(opened.frame(4).frame[..., 0], dataset.pixel_array[3])
    start = data.index(b"\xff\xd8") + 2
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)
    with opened_image(path) as opened:
        assert np.array_equal(opened.frame(4).frame[..., 0], dataset.pixel_array[3])
        with pytest.raises(PixelError, match="frame 1"):
            opened.frame(1)


def test_of_a_truncated_file_all_is_there_that_is_not_cut_off(tmp_path: Path) -> None:
    dataset = image(frames=3)
    path = saved(dataset, tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with opened_image(path) as opened:
        assert np.array_equal(opened.frame(2).frame[..., 0], dataset.pixel_array[1])
        rest = dataset.PixelData[140:200] + bytes(10)
        assert opened.cells(3).frame.tobytes() == rest
        assert opened.problems[-1] == "frame 3: its last 10 bytes are missing"


def test_attributes_are_numbers_texts_and_items_in_every_encoding(tmp_path: Path) -> None:
    inner = Dataset()
    inner.WindowCenter, inner.PixelRepresentation = [40.5, -3], 0
    inner.add_new(0x00289999, "UN", b"ab")
    dataset = image(
        signed=True, RescaleSlope="1.5", ImageType=["ORIGINAL", "PRIMARY"], FrameIncrementPointer=0x00181063
    )
    dataset.SmallestImagePixelValue, dataset.RecommendedDisplayFrameRate = -5, 7
    dataset.ModalityLUTSequence = Sequence([inner, Dataset()])
    dataset.add_new(0x00720074, "FD", [1.25, -2.5])
    dataset.add_new(0x60003000, "OW", b"\1\2\3\4")
    for number in ("", "1", "2", "1.99"):
        _, path = into(dataset, (SYNTAX + number).rstrip("."), tmp_path)
        with opened_image(path) as opened:
            found = opened.attributes
            assert (found.number(0x00281053), found.number(0x00280106), found.number(0x00082144)) == (1.5, -5, 7)
            assert found.texts(0x00080008) == ["ORIGINAL", "PRIMARY"]
            assert found.numbers(0x00280009) == (0x00181063,)
            assert found.numbers(0x00720074) == (1.25, -2.5)
            assert (found.raw(0x60003000), found.raw(0x60003000, 2, 4)) == (b"\1\2\3\4", b"\3\4")
            first, second = found.items(0x00283000)
            assert first.numbers(0x00281050) == (40.5, -3)
            assert list(second) == []
            assert (0x00281050 in second, found.items(0x00283010), found.text(0x00081090, "none")) == (
                False,
                (),
                "none",
            )


def test_a_number_that_is_none_is_named(tmp_path: Path) -> None:
    dataset = image()
    dataset.add_new(0x00181160, "SH", "x")
    path = saved(dataset, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"SH\x02\x00x ", b"DS\x02\x00x "))
    with (
        opened_image(path) as opened,
        pytest.raises(PixelError, match=r"\(0018,1160\) is not a number: 'x'"),
    ):
        opened.attributes.number(0x00181160)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_luminance_and_chrominance_become_red_green_and_blue_as_in_pydicom(photometric: str, tmp_path: Path) -> None:
    dataset = image(rows=16, columns=16, samples=3, allocated=8, stored=8, photometric=photometric)
    if photometric == "YBR_FULL_422":
        dataset.PixelData = dataset.PixelData[: 16 * 16 * 2]
    oracle = convert_color_space(pixel_array(saved(dataset, tmp_path), raw=True), "YBR_FULL", "RGB")
    assert np.abs(rgb(dataset, tmp_path).astype(int) - oracle).max() <= 1


@pytest.mark.parametrize("name", ["SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm"])
def test_frames_of_a_jpeg_are_red_green_and_blue_at_once_and_its_cells_are_not(name: str, tmp_path: Path) -> None:
    path = next(BUNDLED.rglob(name))
    with opened_image(path) as opened:
        frame, cells = opened.frame(1), opened.cells(1)
        assert (frame.photometric, cells.photometric) == ("RGB", "YBR_FULL")
        assert np.abs(frame.frame.astype(int) - to_rgb(cells, opened.attributes, 8)).max() <= 2


def test_colours_that_are_called_subsampled_and_are_not_are_read_in_full(tmp_path: Path) -> None:
    dataset = image(rows=16, columns=15, samples=3, allocated=8, stored=8, photometric="YBR_FULL_422")
    whole = image(rows=16, columns=15, samples=3, allocated=8, stored=8, photometric="YBR_FULL")
    assert np.array_equal(rgb(dataset, tmp_path), rgb(whole, tmp_path))


def test_studio_range_becomes_black_and_white(tmp_path: Path) -> None:
    dataset = image(rows=1, columns=2, samples=3, allocated=8, stored=8, photometric="YBR_PARTIAL_422")
    dataset.PixelData = bytes((16, 235, 128, 128))
    assert rgb(dataset, tmp_path).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(("allocated", "stored", "most"), [(8, 5, 255), (16, 12, 65535), (32, 32, 65535)])
def test_colours_have_the_full_range_of_their_type(allocated: int, stored: int, most: int, tmp_path: Path) -> None:
    dataset = image(rows=1, columns=1, samples=3, allocated=allocated, stored=stored)
    dataset.PixelData = np.array([0, (1 << stored) - 1, 0], f"u{allocated // 8}").tobytes()
    assert rgb(dataset, tmp_path).tolist() == [[[0, most, 0]]]


@pytest.mark.parametrize("planar", [0, 1])
def test_planes_and_pixels_are_the_same_colours(planar: int, tmp_path: Path) -> None:
    dataset = image(samples=3, allocated=8, stored=8, planar=planar)
    assert np.array_equal(rgb(dataset, tmp_path), dataset.pixel_array)


@pytest.mark.parametrize(
    ("photometric", "samples"), [("ARGB", 4), ("CMYK", 4), ("HSV", 3), ("YBR_PARTIAL_420", 3), ("MONOCHROME2", 1)]
)
def test_what_has_no_colours_that_are_known_is_refused_by_name(photometric: str, samples: int, tmp_path: Path) -> None:
    dataset = image(samples=samples, allocated=8, stored=8, photometric=photometric)
    with pytest.raises((NotPossible, PixelError), match=photometric):
        rgb(dataset, tmp_path)


def with_palette(bits: int, *tables: bytes, entries: int, first: int = 0, segmented: bool = False) -> Dataset:
    dataset = image(allocated=8, stored=8, photometric="PALETTE COLOR")
    for colour, table in zip((RED, GREEN, BLUE), tables, strict=True):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [entries, first, bits])
        name = f"{'Segmented' if segmented else ''}{colour}PaletteColorLookupTableData"
        setattr(dataset, name, table)
    return dataset


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 100])
def test_a_palette_gives_the_colours_that_pydicom_gives(bits: int, first: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    dataset = with_palette(
        bits, *(rng.bytes(120 * bits // 8) for _ in range(3)), entries=120, first=first
    )  # fmt: skip
    oracle = apply_color_lut(dataset.pixel_array, dataset)
    assert np.array_equal(rgb(dataset, tmp_path), oracle)


def test_entries_of_eight_bits_may_stand_in_words(tmp_path: Path) -> None:
    dataset = with_palette(8, *(np.arange(256, dtype="u2").tobytes(),) * 3, entries=256)
    assert np.array_equal(rgb(dataset, tmp_path)[..., 1], dataset.pixel_array)


@pytest.mark.parametrize("name", ["gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm", "examples_palette.dcm"])
def test_bundled_palettes_give_the_colours_that_pydicom_gives(name: str, tmp_path: Path) -> None:
    path = next(BUNDLED.rglob(name), None)
    if path is None:
        pytest.skip(f"this pydicom does not bundle {name}")
    dataset = dcmread(path)
    assert np.array_equal(rgb(path, tmp_path), apply_color_lut(dataset.pixel_array, dataset))


def segments(bits: int, *words: int) -> bytes:
    data = struct.pack(f"<{len(words)}{'B' if bits == 8 else 'H'}", *words)
    return data + b"\0" * (len(data) % 2)


@pytest.mark.parametrize("bits", [8, 16])
def test_segments_are_discrete_linear_or_taken_from_before(bits: int, tmp_path: Path) -> None:
    offset = (4, 0, 0, 0) if bits == 8 else (8, 0)
    table = segments(bits, 0, 2, 10, 250, 1, 4, 50, 0, 1, 7, 2, 2, *offset)
    dataset = with_palette(bits, table, table, table, entries=12, segmented=True)
    with opened_image(saved(dataset, tmp_path)) as opened:
        palette = read_palette(opened.attributes)
    assert palette.colours[:, 0].tolist() == [10, 250, 200, 150, 100, 50, 7, 18, 29, 39, 50, 7]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((0, 3, 1, 2, 3), "expands to 3 of 12 entries"),
        ((1, 4, 50), "segment of type 1"),
        ((9, 1, 1), "segment of type 9"),
        ((2, 1, 0, 0), "segment of type 2"),
        ((), "expands to 0"),
    ],
)
def test_segments_that_can_not_be_are_refused_with_their_tag(
    words: tuple[int, ...], reason: str, tmp_path: Path
) -> None:
    dataset = with_palette(16, *(segments(16, *words),) * 3, entries=12, segmented=True)
    with pytest.raises(PixelError, match=rf"\(0028,1221\).*{reason}"):
        rgb(dataset, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({keyword: [256, 0] for keyword in DESCRIPTORS}, r"\(0028,1101\) to \(0028,1103\) has 3 values"),
        ({"BluePaletteColorLookupTableData": b"ab"}, r"\(0028,1203\) has 2 bytes for 256 entries"),
        ({"BluePaletteColorLookupTableData": bytes(400)}, r"\(0028,1203\) has 400 bytes for 256 entries"),
        ({"BluePaletteColorLookupTableDescriptor": [256, 1, 8]}, "for other values each"),
    ],
)
def test_a_palette_that_can_not_be_is_refused_with_its_tag(
    wrong: dict[str, object], reason: str, tmp_path: Path
) -> None:
    dataset = with_palette(8, *(bytes(256),) * 3, entries=256)
    for keyword, value in wrong.items():
        setattr(dataset, keyword, value)
    with pytest.raises(PixelError, match=reason):
        rgb(dataset, tmp_path)


TABLE = np.arange(128, dtype="u2") * 2
WIDE = TABLE * 257


@pytest.mark.parametrize(
    ("bits", "table", "changes"),
    [
        (16, TABLE, {}),
        (8, TABLE, {}),
        (16, TABLE.astype("u1"), {}),
        (8, WIDE, {}),
        (0, WIDE, {}),
        (12, TABLE * 16, {}),
        (16, WIDE, {DESCRIPTORS[1]: None}),
        (16, WIDE, {DESCRIPTORS[2]: []}),
        (16, WIDE, {DESCRIPTORS[2]: [129, 0, 16], "BluePaletteColorLookupTableData": WIDE.tobytes() + b"\xfe\xfe"}),
        (16, WIDE, {"BluePaletteColorLookupTableData": TABLE.astype("u1").tobytes()}),
    ],
    ids=[
        "8 bits in words of 16", "8 bits in words", "8 bits in bytes, called 16", "16 bits, called 8", "no bits",
        "12 bits", "no descriptor", "empty descriptor", "one entry more", "one of bytes",
    ],
)  # fmt: skip
def test_the_entries_of_a_palette_have_the_bits_that_its_data_has(
    bits: int, table: Frame, changes: dict[str, object], tmp_path: Path
) -> None:
    dataset = with_palette(bits, *(table.tobytes(),) * 3, entries=128)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    found = rgb(dataset, tmp_path)
    eight = found if found.dtype == np.uint8 else found >> 8
    wanted = np.minimum(dataset.pixel_array, 127)[..., None] * 2
    assert np.abs(eight.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(("signed", "first", "index"), [(True, 65530, -6), (False, 65530, 65530), (True, 10, 10)])
def test_the_first_index_of_a_palette_has_the_sign_of_the_pixels(
    signed: bool, first: int, index: int, tmp_path: Path
) -> None:
    dataset = with_palette(8, *(bytes((1, 2)),) * 3, entries=2)
    for keyword in DESCRIPTORS:
        dataset.add_new(tag_of(keyword), "US", [2, first, 8])
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    dataset.PixelData = np.array([index - 1, index, index + 1] * 12, "i4").astype("i2").tobytes()
    assert rgb(dataset, tmp_path)[0, :3, 0].tolist() == [1, 1, 2]


def streams_of_another_size() -> dict[str, tuple[str, bytes]]:
    """Return bit streams whose headers say 60,000 x 60,000 pixels, or near that."""
    grey = np.arange(35, dtype="u1").reshape(7, 5)
    jpeg, lossless = imagecodecs.jpeg8_encode(grey), imagecodecs.jpeg8_encode(grey, lossless=True)
    near, wavelet = imagecodecs.jpegls_encode(grey), imagecodecs.jpeg2k_encode(grey, codecformat="j2k")
    boxed, fast = imagecodecs.jpeg2k_encode(grey, codecformat="jp2"), imagecodecs.htj2k_encode(grey)
    size, large = struct.pack(">HH", 7, 5), struct.pack(">HH", 60000, 60000)
    sizes, larges = struct.pack(">LL", 5, 7), struct.pack(">LL", 60000, 60000)
    decoy = b"\0\0\0\x60free" + wavelet[:88].ljust(88, b"\0")
    return {
        "jpeg": ("4.50", jpeg.replace(size, large, 1)),
        "lossless": ("4.70", lossless.replace(size, large, 1)),
        "ls": ("4.80", near.replace(size, large, 1)),
        "2000": ("4.90", wavelet.replace(sizes, larges)),
        "2000 behind a decoy": ("4.90", boxed[:12] + decoy + boxed[12:].replace(sizes, larges)),
        "ht": ("4.201", fast.replace(sizes, larges)),
        "xl": ("4.110", b"\xff\x0a" + (3 << 1 | 59_999 << 3 | 1 << 33).to_bytes(8, "little") + bytes(40)),
    }


@pytest.mark.parametrize("kind", ["jpeg", "lossless", "ls", "2000", "2000 behind a decoy", "ht", "xl"])
def test_a_bit_stream_of_another_size_never_reaches_its_decoder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, stream = streams_of_another_size()[kind]
    path = wrapped(image(allocated=8, stored=8), number, [stream], tmp_path)
    for name in ("jpeg8", "jpegls", "jpeg2k", "htj2k", "jpegxl"):
        monkeypatch.delattr(imagecodecs, f"{name}_decode")
    with (
        opened_image(path) as opened,
        pytest.raises(PixelError, match=r"frame 1: the bit stream has .* not 7 x 5"),
    ):
        opened.frame(1)


@pytest.mark.parametrize(("offset", "wrong"), [(24, bytes(4)), (28, bytes(4)), (43, b"\0"), (44, b"\2")])
def test_tiles_without_pixels_never_reach_a_decoder(offset: int, wrong: bytes, tmp_path: Path) -> None:
    stream = bytearray(imagecodecs.htj2k_encode(np.zeros((7, 5), "u1")))
    stream[offset : offset + len(wrong)] = wrong
    path = wrapped(image(allocated=8, stored=8), "4.201", [bytes(stream)], tmp_path)
    with opened_image(path) as opened, pytest.raises(PixelError, match="tiles without pixels"):
        opened.frame(1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 1200), columns=st.integers(1, 1200), boxed=st.booleans())
def test_the_size_of_every_jpeg_xl_stream_is_read(rows: int, columns: int, boxed: bool) -> None:
    stream = imagecodecs.jpegxl_encode(np.zeros((rows, columns), "u1"), effort=1, usecontainer=boxed)
    assert read_jpeg_xl(stream) == (rows, columns)
