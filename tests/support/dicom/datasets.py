"""Small data sets of invented patients."""

import random
from array import array
from pathlib import Path

from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_slice(*, study: str | None = None, series: str | None = None, number: int = 1, **attributes: object) -> Dataset:
    """Return a CT slice of 64 x 64 pixels. Attributes by keyword replace or add to the usual ones."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study or generate_uid(), series or generate_uid()
    dataset.PatientName, dataset.PatientID = "Test^Osteon", "OSTEON-TEST"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime = "20240102", "030405"
    dataset.AccessionNumber, dataset.StudyID, dataset.StudyDescription = "A1", "S1", "Test study"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", "1", str(number)
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    pixels = array("H", random.Random(number).choices(range(4096), k=64 * 64))
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def saved(dataset: Dataset, folder: Path) -> Path:
    """Write a data set as a Part 10 file and return its path."""
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path
