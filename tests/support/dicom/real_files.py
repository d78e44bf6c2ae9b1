"""Real DICOM files: those that pydicom's wheel brings, and a folder of more where there is one."""

import os
from functools import cache
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
REAL = Path(os.environ.get("OSTEON_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
"""`OSTEON_TEST_DATA`: a folder with more real data, not part of the project."""


def real_folder(name: str = "") -> Path:
    """Return a folder of real data, or skip the test and say which is absent."""
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set OSTEON_TEST_DATA")
    return folder


@cache
def storable(folder: Path) -> tuple[Path, ...]:
    """Return the Part 10 files below `folder` that carry all the UIDs of an instance."""
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file() and _is_storable(path))


def _is_storable(path: Path) -> bool:
    try:
        dataset = dcmread(path, stop_before_pixels=True)
        wanted = (dataset.get(k) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
        return all(wanted) and "TransferSyntaxUID" in dataset.file_meta
    except (InvalidDicomError, NotImplementedError, EOFError, ValueError, TypeError, KeyError, AttributeError):
        return False  # pydicom brings broken files too; other tests are about those


def dataset_bytes(path_or_bytes: Path | bytes) -> bytes:
    """Return what follows the file meta information of a Part 10 file (PS3.10 7.1)."""
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else path_or_bytes.read_bytes()
    assert data[128:132] == b"DICM"
    assert data[132:138] == b"\x02\x00\x00\x00UL"
    return data[144 + int.from_bytes(data[140:144], "little") :]
