"""Damaged files, read by pydicom and by Osteon: who gives up where the other does not, and why."""

import json
import random
import warnings
from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from osteon.dicom.header.reader import HeaderReader
from support.dicom.elements import EXPLICIT, IMPLICIT
from support.fuzz.case_counts import EFFORT
from support.fuzz.data_sets import bundled

SILENTLY_SHORTENED = (
    "is longer than",
    "ends within the element's tag and length",
    "expected an item or the sequence's end",
    "no length leads on",
)
"""pydicom takes what is there of a value, item or sequence that ends too late, and takes garbage for the element that
follows one of an unknown VR; Osteon says so and reads no further.
"""
FILES = [
    pytest.param(data, syntax, id=name)
    for name, data, syntax in bundled()
    if syntax in (EXPLICIT, IMPLICIT) and len(data) < 8000
]


def pydicom_reads(data: bytes, syntax: str) -> Dataset | None:
    """Return what pydicom makes of a data set, None when it gives up."""
    try:
        dataset = read_dataset(BytesIO(data), syntax == IMPLICIT, True)
        for _ in dataset.iterall():
            pass
    except Exception:  # whatever it stumbles over
        return None
    return dataset


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("data", "syntax"), FILES)
def test_osteon_gives_up_only_where_pydicom_shortens(data: bytes, syntax: str) -> None:
    dice = random.Random(data[:64])
    reader = HeaderReader()
    for _ in range(8 * EFFORT):
        damaged = bytearray(data)
        for _ in range(dice.choice([1, 2])):
            damaged[dice.randrange(len(data))] = dice.choice([0xFF, 0, dice.randrange(256)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom_reads(bytes(damaged), syntax)
        ours = reader.read_beginning(bytes(damaged), syntax)
        if theirs is None:
            continue
        assert not ours.unread or any(reason in ours.unread for reason in SILENTLY_SHORTENED)
        if not ours.unread and not ours.problems:
            tags = {f"{int(e.tag):08X}" for e in theirs if e.tag.element and e.tag.group != 0xFFFE}
            assert set(json.loads(ours.json)) - {"FFFCFFFC"} == tags - {"FFFCFFFC"}
