"""Every target that is lossless gives every pixel back, and the header is what it was."""

import tracemalloc
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array

from osteon.dicom.pixels.errors import NotPossible, PixelError
from osteon.dicom.pixels.geometry import Geometry, PixelLimits
from osteon.dicom.pixels.registry import CODECS, Family
from osteon.dicom.pixels.transcode import TranscodeTarget, transcode
from support.dicom.datasets import saved
from support.dicom.pixels.images import NATIVE, SYNTAX, decoded, differences, image, into, streams
from support.dicom.real_files import BUNDLED, storable

LOSSLESS = [uid for uid, codec in CODECS.items() if codec.lossless]
LAYOUT = ("PixelData", "PhotometricInterpretation", "PlanarConfiguration")
DECODED_BY_PYDICOM = [
    uid for uid in LOSSLESS
    if CODECS[uid].family not in (Family.HTJ2K, Family.JPEG_XL, Family.DEFLATED, Family.ENCAPSULATED)
]  # fmt: skip

layouts = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 40),
        "columns": st.integers(1, 40),
        "samples": st.sampled_from([1, 3]),
        "frames": st.integers(1, 3),
        "planar": st.integers(0, 1),
        "signed": st.booleans(),
        "bits": st.sampled_from(
            [(1, 1), (8, 8), (8, 5), (16, 16), (16, 12), (16, 10), (16, 3), (32, 32), (32, 24), (32, 22), (64, 40)]
        ),
        "seed": st.integers(0, 9),
    }
)


ONE_PIXEL = {**dict.fromkeys(("rows", "columns", "samples", "frames"), 1), "planar": 0, "bits": (16, 16)}


def possible(uid: str, dataset: Dataset) -> bool:
    encoder = CODECS[uid].lossless
    geometry = Geometry.from_values(
        {0x00280000 | n: dataset[0x00280000 | n].value for n in (2, 4, 0x10, 0x11, 0x100, 0x101, 0x103)}
    )
    return encoder is not None and not encoder.refuses(geometry, dataset.PhotometricInterpretation)


@pytest.mark.parametrize("uid", LOSSLESS)
@settings(max_examples=14, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(layout=ONE_PIXEL)
@given(layout=layouts)
def test_pixels_of_every_layout_come_back_from_a_lossless_target(
    uid: str, layout: dict[str, int], tmp_path: Path
) -> None:
    allocated, stored = layout["bits"]  # type: ignore[misc]
    signed = bool(layout.get("signed")) and stored > 1
    others = {name: value for name, value in layout.items() if name not in ("bits", "signed")}
    dataset = image(allocated=allocated, stored=stored, signed=signed, **others)
    if not possible(uid, dataset):
        with pytest.raises(NotPossible, match="does not take"):
            into(dataset, uid, tmp_path)
        return
    original = saved(dataset, tmp_path)
    done, there = into(dataset, uid, tmp_path)
    assert (done.transfer_syntax_uid, done.sop_instance_uid) == (uid, dataset.SOPInstanceUID)
    assert done.length == there.stat().st_size
    assert np.array_equal(decoded(there), decoded(original))
    _, back = into(there, NATIVE, tmp_path)
    assert np.array_equal(decoded(back), decoded(original))
    assert differences(dcmread(original), dcmread(there), *LAYOUT) == []


@pytest.mark.parametrize("uid", DECODED_BY_PYDICOM)
@pytest.mark.parametrize("samples", [1, 3])
def test_pydicom_decodes_what_was_encoded(uid: str, samples: int, tmp_path: Path) -> None:
    dataset = image(rows=33, columns=20, samples=samples, allocated=8, stored=8, frames=3)
    _, path = into(dataset, uid, tmp_path)
    assert np.array_equal(pixel_array(dcmread(path)), dataset.pixel_array)


@pytest.mark.parametrize("number", ["4.201", "4.202", "4.203"])
def test_another_decoder_reads_the_htj2k_streams_which_have_the_order_that_the_syntax_asks_for(
    number: str, tmp_path: Path
) -> None:
    dataset = image(rows=300, columns=200, signed=True)
    _, path = into(dataset, SYNTAX + number, tmp_path)
    (stream,) = streams(path)
    assert np.array_equal(imagecodecs.jpeg2k_decode(stream), dataset.pixel_array)
    coding = stream.index(b"\xff\x52")
    assert stream[coding + 5] == 2  # RPCL
    assert stream[coding + 9] == 3  # 300 >> 3 is less than 64
    assert b"\xff\x55" in stream[: coding + 200]  # TLM


@pytest.mark.parametrize("frames", [1, 3, 8])
@pytest.mark.parametrize("number", ["1.98", "8.1", "1.2"])
def test_single_bits_stay_packed_in_native_data_and_begin_a_byte_in_frames(
    number: str, frames: int, tmp_path: Path
) -> None:
    number = number.removesuffix(".2") if number == "1.2" else number
    dataset = image(rows=3, columns=7, allocated=1, stored=1, frames=frames)
    original = saved(dataset, tmp_path)
    _, there = into(dataset, SYNTAX + number, tmp_path)
    _, back = into(there, NATIVE, tmp_path)
    assert np.array_equal(decoded(there), decoded(original))
    assert dcmread(back).PixelData[: 21 * frames // 8] == dataset.PixelData[: 21 * frames // 8]
    assert np.array_equal(dcmread(back).pixel_array, dataset.pixel_array)


def test_bits_above_those_stored_are_kept(tmp_path: Path) -> None:
    dataset = image(allocated=16, stored=12)
    values = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
    dataset.PixelData = values.tobytes()
    for number in ("4.70", "4.80", "4.90", "4.201", "5"):
        _, path = into(dataset, SYNTAX + number, tmp_path)
        assert np.array_equal(decoded(path).ravel(), values), number


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_bytes_are_bytes_in_big_endian_too(vr: str, tmp_path: Path) -> None:
    dataset = image(rows=4, columns=6, allocated=8, stored=8)
    dataset["PixelData"].VR = vr
    _, big = into(dataset, SYNTAX + "2", tmp_path)
    assert np.array_equal(dcmread(big).pixel_array, dataset.pixel_array)
    _, back = into(big, NATIVE, tmp_path)
    assert dcmread(back).PixelData == dataset.PixelData


def test_subsampled_colours_are_copied_between_native_syntaxes_and_written_in_full_otherwise(tmp_path: Path) -> None:
    dataset = image(rows=4, columns=6, samples=3, allocated=8, stored=8, photometric="YBR_FULL_422")
    dataset.PixelData = bytes(range(4 * 6 * 2))
    _, implicit = into(dataset, SYNTAX[:-1], tmp_path)
    assert dcmread(implicit).PixelData == dataset.PixelData
    assert dcmread(implicit).PhotometricInterpretation == "YBR_FULL_422"
    _, path = into(dataset, SYNTAX + "5", tmp_path)
    assert dcmread(path).PhotometricInterpretation == "YBR_FULL"
    assert np.array_equal(pixel_array(dcmread(path), raw=True), pixel_array(saved(dataset, tmp_path), raw=True))


@pytest.mark.parametrize(
    ("number", "photometric"),
    [("4.90", "YBR_RCT"), ("4.201", "YBR_RCT"), ("4.80", "RGB"), ("5", "RGB"), ("4.70", "RGB")],
)
def test_the_photometric_interpretation_is_that_of_the_bit_stream(
    number: str, photometric: str, tmp_path: Path
) -> None:
    _, path = into(image(samples=3, allocated=8, stored=8), SYNTAX + number, tmp_path)
    assert dcmread(path).PhotometricInterpretation == photometric
    _, back = into(path, NATIVE, tmp_path)
    assert dcmread(back).PhotometricInterpretation == "RGB"


@pytest.mark.parametrize("number", ["4.50", "4.91"])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_lossy_target_makes_another_instance_that_says_so(number: str, samples: int, tmp_path: Path) -> None:
    uid = SYNTAX + number
    dataset = image(rows=64, columns=64, samples=samples, allocated=8, stored=8, ImageType=["ORIGINAL", "PRIMARY", "X"])
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype("u1")
    dataset.PixelData = np.repeat(ramp[..., None], samples, axis=2).tobytes()
    done, path = into(dataset, uid, tmp_path, lossy=[uid], quality=90)
    made = dcmread(path)
    assert done.sop_instance_uid == made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID
    assert made.SOPInstanceUID != dataset.SOPInstanceUID
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "X"]
    assert made.LossyImageCompression == "01"
    raw = 64 * 64 * samples
    assert float(made.LossyImageCompressionRatio) == pytest.approx(raw / len(streams(path)[0]), rel=0.001)
    assert made.LossyImageCompressionMethod == {"4.50": "ISO_10918_1", "4.91": "ISO_15444_1"}[number]
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert made.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert made.DerivationCodeSequence[0].CodeValue == "113040"
    expected = {"4.50": "YBR_FULL_422", "4.91": "YBR_ICT"}[number] if samples == 3 else "MONOCHROME2"
    assert made.PhotometricInterpretation == expected
    assert abs(pixel_array(path).astype(int) - dataset.pixel_array).max() <= 8
    again, _ = into(dataset, uid, tmp_path, lossy=[uid], quality=90)
    other, _ = into(dataset, uid, tmp_path, lossy=[uid], quality=50)
    assert again.sop_instance_uid == done.sop_instance_uid != other.sop_instance_uid


def test_what_was_lossy_says_so_when_it_is_lossless(tmp_path: Path) -> None:
    dataset = image(rows=16, columns=16, allocated=8, stored=8)
    _, jpeg = into(dataset, SYNTAX + "4.50", tmp_path, lossy=[SYNTAX + "4.50"])
    forgetful = dcmread(jpeg)
    del forgetful.LossyImageCompression
    done, path = into(saved(forgetful, tmp_path), NATIVE, tmp_path)
    assert dcmread(path).LossyImageCompression == "01"
    assert done.sop_instance_uid == forgetful.SOPInstanceUID


def test_a_second_lossy_compression_is_added_to_the_first(tmp_path: Path) -> None:
    dataset = image(rows=16, columns=16, allocated=8, stored=8)
    _, jpeg = into(dataset, SYNTAX + "4.50", tmp_path, lossy=[SYNTAX + "4.50"])
    _, path = into(jpeg, SYNTAX + "4.91", tmp_path, lossy=[SYNTAX + "4.91"])
    made = dcmread(path)
    assert list(made.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]
    assert len(made.LossyImageCompressionRatio) == 2


def test_the_lossless_half_of_a_syntax_is_used_unless_loss_is_allowed(tmp_path: Path) -> None:
    dataset = image()
    done, path = into(dataset, SYNTAX + "4.91", tmp_path)
    assert done.sop_instance_uid == dataset.SOPInstanceUID
    assert np.array_equal(pixel_array(dcmread(path)), dataset.pixel_array)
    with pytest.raises(NotPossible, match="no lossless encoder"):
        into(image(allocated=8, stored=8), SYNTAX + "4.50", tmp_path)


def test_a_bit_stream_that_is_valid_in_the_target_is_not_encoded_again(tmp_path: Path) -> None:
    _, lossless = into(image(frames=3), SYNTAX + "4.90", tmp_path)
    _, either = into(lossless, SYNTAX + "4.91", tmp_path)
    assert streams(either) == streams(lossless)


def test_the_first_target_that_can_be_done_is_chosen_and_else_every_reason_told(tmp_path: Path) -> None:
    path = saved(image(allocated=32, stored=32), tmp_path)
    targets = [SYNTAX + "4.80", SYNTAX + "4.100", SYNTAX + "5"]
    done = transcode(path, tmp_path / "out", TranscodeTarget(targets=targets), PixelLimits())
    assert done.transfer_syntax_uid == SYNTAX + "5"
    with pytest.raises(NotPossible, match=r"4\.80: .* 32 bits stored of 32 allocated; .*4\.100: there is no encoder"):
        transcode(path, tmp_path / "out", TranscodeTarget(targets=targets[:2]), PixelLimits())


def test_a_data_set_without_pixel_data_goes_into_native_syntaxes_only(tmp_path: Path) -> None:
    dataset = image()
    del dataset.PixelData
    _, path = into(dataset, SYNTAX + "2", tmp_path)
    assert differences(dcmread(path), dcmread(saved(dataset, tmp_path))) == []
    with pytest.raises(NotPossible, match="no pixel data"):
        into(dataset, SYNTAX + "4.90", tmp_path)


def test_the_offset_table_leads_to_every_frame(tmp_path: Path) -> None:
    dataset = image(frames=5)
    _, basic = into(dataset, SYNTAX + "4.80", tmp_path)
    _, extended = into(dataset, SYNTAX + "4.90", tmp_path, basic_offset_limit=1)
    assert "ExtendedOffsetTable" not in dcmread(basic)
    lengths = np.frombuffer(dcmread(extended).ExtendedOffsetTableLengths, "<u8")
    assert [len(stream) for stream in streams(extended)] == list(lengths)
    for path in (basic, extended):
        assert np.array_equal(np.stack([pixel_array(path, index=n) for n in range(5)]), dataset.pixel_array)
    _, back = into(extended, NATIVE, tmp_path)
    assert "ExtendedOffsetTable" not in dcmread(back)
    assert dcmread(back).PixelData == dataset.PixelData


@pytest.mark.slow
def test_a_frame_is_in_memory_at_a_time(tmp_path: Path) -> None:
    dataset = image(rows=256, columns=256, frames=128)
    path = saved(dataset, tmp_path)
    frame = 256 * 256 * 2
    del dataset
    for number in ("5", "4.80", "1.99", "2"):
        tracemalloc.start()
        into(path, SYNTAX + number, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 * frame, number


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"Rows": 0}, r"\(0028,0010\)"),
        ({"BitsAllocated": 65}, r"\(0028,0100\)"),
        ({"BitsStored": 17}, r"\(0028,0101\)"),
        ({"SamplesPerPixel": 9}, r"\(0028,0002\)"),
        ({"NumberOfFrames": 200_000_000}, r"\(0028,0008\)"),
        ({"Rows": 65535, "Columns": 65535}, "larger than the limit"),
        ({"Rows": 8}, "frame 1: its last 10 bytes are missing"),
    ],
)
def test_attributes_that_can_not_be_are_named_before_anything_is_decoded(
    wrong: dict[str, int], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(PixelError, match=reason):
        into(image(**wrong), SYNTAX + "5", tmp_path)  # type: ignore[arg-type]


BROKEN = ("MR_truncated.dcm", "rtplan_truncated.dcm", "badVR.dcm", "JPEG2000-embedded-sequence-delimiter.dcm")
FILES = [path for path in storable(BUNDLED) if path.stat().st_size < 300_000 and path.name not in BROKEN]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(BUNDLED)))
def test_real_files_keep_their_header_and_their_pixels(path: Path, tmp_path: Path) -> None:
    before = dcmread(path)
    for number in ("", "1.99", "5", "4.90"):
        try:
            _, made = into(path, (SYNTAX + number).rstrip("."), tmp_path)
        except (NotPossible, PixelError):
            assert number, "native data is always possible"
            continue
        after = dcmread(made)
        ignored = (*LAYOUT, "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "LossyImageCompression")
        found = differences(dcmread(path), after, *ignored)
        # Without VRs pydicom asks its dictionary about private elements.
        assert [tag for tag in found if number or int(tag[4], 16) % 2 == 0] == []
        if "PixelData" not in before or before.file_meta.TransferSyntaxUID in (SYNTAX + "4.51", SYNTAX + "4.91"):
            continue
        mask = (1 << before.BitsStored) - 1
        # What was luminance and chrominance in lossy JPEG is RGB, which other decoders round otherwise.
        colours = before.file_meta.TransferSyntaxUID == SYNTAX + "4.50" and before.SamplesPerPixel == 3
        mine, oracle = pixel_array(after, raw=True), pixel_array(dcmread(path), raw=not colours)
        apart = np.abs((mine.astype("i8") & mask) - (oracle.astype("i8") & mask)).max()
        assert apart <= (2 if colours else 0), number
