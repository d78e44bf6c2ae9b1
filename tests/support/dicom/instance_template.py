"""Many instances in little time: a real CT header, in which only what differs between slices is replaced."""

import os
import random
from collections.abc import Callable, Iterator
from io import BytesIO
from math import isqrt
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"
"""Multi-frame Grayscale Word Secondary Capture."""
FRAME = 512 * 512 * 2
HEADER = 6000
"""Bytes of everything but the pixels, which counts for small instances."""
_ROOT = "1.2.826.0.1.3680043.8.498."
_FIRST_NUMBER = 100_000


def uid() -> str:
    """Return a UID that is always 63 characters long."""
    return f"{_ROOT}{random.randrange(10**36, 10**37)}"


class InstanceTemplate:
    """Makes instances of `size` bytes; from 8 MB on they have several frames.

    `picture` makes so many bytes of pixels, a frame at most, which is repeated; by default it is noise.
    """

    def __init__(self, size: int, picture: Callable[[int], bytes] = os.urandom) -> None:
        dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        frames = size // FRAME if size > 8e6 else 0
        side = 512 if frames else isqrt((size - HEADER if size < 2 * FRAME / 10 else size) // 2)
        pixels = max(frames, 1) * side * side * 2
        self.sop_class = MULTI_FRAME if frames else CTImageStorage
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = self.sop_class
        if frames:
            dataset.NumberOfFrames = frames
        dataset.Rows = dataset.Columns = side
        self._sop, self._study, self._series, self._patient = uid(), uid(), uid(), "P-000000000"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = self._sop
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self._study, self._series
        dataset.PatientID, dataset.InstanceNumber = self._patient, _FIRST_NUMBER
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        del dataset[0xFFFC, 0xFFFC]
        dataset.PixelData = bytes(pixels)
        file = BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        self._head, self._pixels, self._picture = file.getvalue()[:-pixels], pixels, picture

    def series(self, count: int) -> Iterator[tuple[str, list[bytes]]]:
        """Yield SOP Instance UID and the parts of the file of each instance of a new series of a new study."""
        patient = f"P-{random.randrange(10**8, 10**9)}"
        head = self._replaced(self._head, {self._study: uid(), self._series: uid(), self._patient: patient})
        for number in range(_FIRST_NUMBER, _FIRST_NUMBER + count):
            sop = uid()
            yield sop, [self._replaced(head, {self._sop: sop, str(_FIRST_NUMBER): str(number)}), self._filled()]

    def save(self, folder: Path, count: int) -> list[Path]:
        """Write a series and return its files, in order."""
        folder.mkdir(parents=True)
        paths = []
        for sop, parts in self.series(count):
            paths.append(folder / f"{sop}.dcm")
            with paths[-1].open("wb") as file:
                file.writelines(parts)
        return paths

    def _filled(self) -> bytes:
        block = self._picture(min(self._pixels, FRAME))
        return (block * (self._pixels // len(block) + 1))[: self._pixels]

    @staticmethod
    def _replaced(head: bytes, texts: dict[str, str]) -> bytes:
        for old, new in texts.items():
            head = head.replace(old.encode(), new.encode())
        return head
