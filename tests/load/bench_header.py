"""What reading a header costs: Osteon's reader against pydicom, over the instances of a folder.

Run `python tests/load/bench_header.py [folder]`; without it the CT study of the real data, else a file of pydicom's.
Figures are milliseconds of CPU for an instance.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from osteon.dicom.errors import BadPart10
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import read_part10
from osteon.dicom.peek import peek_identity

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.dicom.real_files import BUNDLED, REAL

_FIRST_FRAGMENT = 16384


def load(folder: Path) -> list[tuple[bytes, memoryview, str]]:
    """Return file, data set and transfer syntax of each DICOM file with a transfer syntax."""
    instances = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (file := path.read_bytes())[128:132] == b"DICM":
            try:
                meta = read_part10(file)
            except BadPart10:
                continue
            instances.append((file, memoryview(file)[meta.data_set_offset :], meta.transfer_syntax_uid))
    return instances


def cost(what: Callable[[], object], instances: int, rounds: int = 5) -> float:
    """Return the milliseconds of CPU that an instance takes in the best round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        what()
        best = min(best, time.process_time() - began)
    return best / instances * 1000


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL / "ct"
    instances = load(folder) if folder.is_dir() else load(BUNDLED)[:1] * 60
    count = len(instances)
    known = HeaderReader()

    def read(reader: HeaderReader) -> None:
        for _, dataset, syntax in instances:
            reader.read(dataset, syntax)

    def pydicom(files: list[bytes]) -> None:
        for file in files:
            dcmread(DicomBytesIO(file), stop_before_pixels=True).to_json_dict()

    sample = [file for file, _, _ in instances[:20]]
    figures = {
        "pydicom: dcmread and to_json_dict": cost(lambda: pydicom(sample), len(sample), 1),
        "Osteon: each instance by a new reader": cost(
            lambda: [HeaderReader().read(d, s) for _, d, s in instances], count, 2
        ),
        "Osteon: a series by one reader": cost(lambda: read(HeaderReader()), count),
        "Osteon: the same instances again": cost(lambda: read(known), count),
        "Osteon: peek_identity": cost(
            lambda: [peek_identity(d[:_FIRST_FRAGMENT], s, complete=False) for _, d, s in instances], count
        ),
    }
    print(f"{count} instances of {folder}")
    slowest = max(figures.values())
    for name, milliseconds in figures.items():
        print(f"{milliseconds:9.3f} ms  {slowest / milliseconds:7.1f}x  {name}")


if __name__ == "__main__":
    main()
