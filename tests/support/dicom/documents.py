"""Instances that are no pictures: encapsulated documents, videos, reports and waveforms of invented patients."""

from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, BasicTextSRStorage, EncapsulatedPDFStorage, VideoPhotographicImageStorage

from support.dicom.datasets import ct_slice

MP4 = UID("1.2.840.10008.1.2.4.102")
MP4_DATA = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 40
PDF_DATA = b"%PDF-1.4\n" + b"x" * 9001 + b"\n%%EOF"


def without_pixels(sop_class: str, modality: str, **attributes: object) -> Dataset:
    """Return a data set without an image."""
    dataset = ct_slice(Modality=modality, **attributes)
    for keyword in (
        "PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "SamplesPerPixel", "PhotometricInterpretation",
    ):  # fmt: skip
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    return dataset


def document(
    data: bytes = PDF_DATA,
    media_type: str = "application/pdf",
    sop_class: str = EncapsulatedPDFStorage,
    **attributes: object,
) -> Dataset:
    """Return an encapsulated document, its value padded to an even length."""
    dataset = without_pixels(sop_class, "DOC", **attributes)
    if media_type:
        dataset.MIMETypeOfEncapsulatedDocument = media_type
    dataset.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return dataset


def video(
    data: bytes = MP4_DATA, syntax: str = MP4, *, frames: int = 25, fragments: int = 1, **attributes: object
) -> Dataset:
    """Return a video, its stream in one or more fragments."""
    dataset = ct_slice(Modality="XC", **attributes)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = VideoPhotographicImageStorage
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.SamplesPerPixel = 8, 8, 7, 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration, dataset.NumberOfFrames = (
        "YBR_PARTIAL_420",
        0,
        frames,
    )
    dataset.PixelData = encapsulate([data], fragments_per_frame=fragments, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def code(meaning: str, value: str = "T-1", scheme: str = "99TEST") -> Dataset:
    """Return a code sequence item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(value_type: str, name: str, *below: Dataset, **attributes: object) -> Dataset:
    """Return a content item of a report."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", value_type
    item.ConceptNameCodeSequence = [code(name)]
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    if below:
        item.ContentSequence = list(below)
    return item


def report(title: str = "Chest report", *items: Dataset, **attributes: object) -> Dataset:
    """Return a structured report with these content items below its root."""
    dataset = without_pixels(BasicTextSRStorage, "SR", **attributes)
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [code(title)]
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ContentDate, dataset.ContentTime = "20240102", "101112"
    dataset.ContentSequence = list(items)
    return dataset


def waveform(samples: bytes = bytes(range(250)) * 40) -> Dataset:
    """Return an ECG of one channel."""
    group = Dataset()
    group.WaveformOriginality, group.NumberOfWaveformChannels = "ORIGINAL", 1
    group.NumberOfWaveformSamples, group.SamplingFrequency = len(samples) // 2, "500"
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.add_new(0x54001010, "OW", samples)
    return without_pixels("1.2.840.10008.5.1.4.1.1.9.1.1", "ECG", WaveformSequence=[group])
