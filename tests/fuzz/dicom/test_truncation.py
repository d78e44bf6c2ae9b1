"""Every bundled file, cut: at every byte of its header with more effort (`OSTEON_TEST_FUZZ`), at many without."""

import pytest

from osteon.dicom.errors import BadDataSet, BadPart10
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import read_part10
from support.dicom.real_files import BUNDLED
from support.fuzz.case_counts import EFFORT
from support.fuzz.data_sets import bundled, read_either, same_identity_from_any_beginning

STEP = 11 if EFFORT == 1 else 1
FILES = [pytest.param(data, syntax, id=name) for name, data, syntax in bundled()]


def cuts(data: bytes, syntax: str) -> list[int]:
    """Return where to cut: all over the header, and here and there in the pixels."""
    pixels = HeaderReader().read_beginning(data, syntax).pixel_data
    end = min(len(data), pixels.offset + 64 if pixels else len(data))
    return [
        *range(0, end, max(STEP, end // (100 * EFFORT))),
        *range(end, len(data), max(1, (len(data) - end) // 9)),
    ]


@pytest.mark.parametrize(("data", "syntax"), FILES)
def test_a_cut_file_is_read_as_far_as_it_goes(data: bytes, syntax: str) -> None:
    reader = HeaderReader()
    whole = reader.read_beginning(data, syntax)
    for cut in cuts(data, syntax):
        found = read_either(reader, data[:cut], syntax)
        if isinstance(found, BadDataSet):
            beginning = reader.read_beginning(data[:cut], syntax).json.removesuffix(b"}")
            assert found.offset <= max(cut, 1 << 20)
            assert whole.json.startswith(beginning) or whole.unread or whole.problems


@pytest.mark.parametrize(("data", "syntax"), FILES)
def test_a_cut_file_names_the_same_instance_or_none(data: bytes, syntax: str) -> None:
    data = data[: 4 << 10]
    same_identity_from_any_beginning(data, syntax, range(0, len(data), STEP))


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "image_dfl.dcm"])
def test_file_meta_information_cut_at_every_byte_is_refused_or_whole(name: str) -> None:
    file = (BUNDLED / name).read_bytes()
    offset = read_part10(file).data_set_offset
    for cut in range(offset):
        with pytest.raises(BadPart10):
            assert read_part10(file[:cut]).data_set_offset == cut
            raise BadPart10("whole elements without those behind them")
    assert read_part10(file[:offset]).data_set_offset == offset
