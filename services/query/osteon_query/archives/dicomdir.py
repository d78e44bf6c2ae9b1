"""DICOMDIR: the directory of a file-set (PS3.10 8, PS3.3 annex F), written record after record in constant memory.

Records are in the order of a walk through the tree. What a record says of those that come later, its next sibling and
its first child, is written into it when they come.
"""

import struct
import uuid
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from osteon.dicom.attribute_names import tag_of, vr_of_tag
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.part10 import write_part10_header
from osteon.dicom.text_encoder import UNICODE
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_ITEM: Final = struct.Struct("<HHL")
_OFFSET: Final = struct.Struct("<L")
_NEXT_AT: Final = 16
"""Where in a record the offset of its next sibling is: behind the heads of the item and of the element."""
_CHILD_AT: Final = 38
"""The same of its first child: behind (0004,1400) and (0004,1410)."""
_IN_USE: Final = 0xFFFF

PATIENT_KEYS: Final = ("PatientName", "PatientID")
STUDY_KEYS: Final = (
    "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyInstanceUID", "StudyID",
)  # fmt: skip
SERIES_KEYS: Final = ("Modality", "SeriesInstanceUID", "SeriesNumber")
EXTENDED_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientBirthDate", "PatientSex"),
    "STUDY": ("InstitutionName", "ReferringPhysicianName", "PatientAge"),
    "SERIES": (
        "SeriesDate", "SeriesTime", "Manufacturer", "SeriesDescription", "StationName", "BodyPartExamined",
        "ProtocolName", "PerformingPhysicianName",
    ),
    "IMAGE": (
        "ImageType", "InstanceCreationDate", "AcquisitionDate", "ContentDate", "AcquisitionTime", "ContentTime",
        "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "NumberOfFrames", "Rows", "Columns",
        "PixelSpacing",
    ),
}  # fmt: skip
"""What records have beyond that with `extended`: optional attributes that viewers show (PS3.3 F.5)."""
_DATED: Final = ("ContentDate", "ContentTime", "InstanceNumber")
_NAMED: Final = (*_DATED, "ContentLabel", "ContentDescription", "ContentCreatorName")
LEAF_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "IMAGE": ("InstanceNumber",),
    "SR DOCUMENT": (*_DATED, "ConceptNameCodeSequence", "CompletionFlag", "VerificationFlag", "VerificationDateTime"),
    "KEY OBJECT DOC": (*_DATED, "ConceptNameCodeSequence"),
    "PRESENTATION": (
        "PresentationCreationDate", "PresentationCreationTime", "InstanceNumber", "ContentLabel", "ContentDescription",
        "ContentCreatorName", "ReferencedSeriesSequence",
    ),
    "WAVEFORM": _DATED,
    "ENCAP DOC": (
        *_DATED, "ConceptNameCodeSequence", "DocumentTitle", "HL7InstanceIdentifier",
        "MIMETypeOfEncapsulatedDocument",
    ),
    "RT DOSE": ("InstanceNumber", "DoseSummationType"),
    "RT STRUCTURE SET": ("InstanceNumber", "StructureSetLabel", "StructureSetDate", "StructureSetTime"),
    "RT PLAN": ("InstanceNumber", "RTPlanLabel", "RTPlanDate", "RTPlanTime"),
    "RT TREAT RECORD": ("InstanceNumber", "TreatmentDate", "TreatmentTime"),
    "RAW DATA": _DATED,
    "REGISTRATION": _NAMED,
    "FIDUCIAL": _NAMED,
    "VALUE MAP": _NAMED,
    "SURFACE": _NAMED,
    "TRACT": _NAMED,
    "MEASUREMENT": _NAMED,
    "ANNOTATION": _NAMED,
    "STEREOMETRIC": (),
    "PLAN": (),
    "SURFACE SCAN": ("ContentDate", "ContentTime"),
    "ASSESSMENT": ("InstanceNumber", "InstanceCreationDate", "InstanceCreationTime"),
    "RADIOTHERAPY": ("InstanceNumber", "UserContentLabel", "ContentDescription", "ContentCreatorName"),
    "SPECTROSCOPY": (*_DATED, "ImageType", "NumberOfFrames", "Rows", "Columns", "DataPointRows", "DataPointColumns"),
}  # fmt: skip
"""Directory Record Type → attributes of instances (PS3.3 F.5)."""
_OPTIONAL: Final = frozenset(
    {
        "HL7InstanceIdentifier", "ReferencedSeriesSequence", "UserContentLabel", "VerificationDateTime",
        *(keyword for keywords in EXTENDED_KEYS.values() for keyword in keywords),
    }
)  # fmt: skip
"""What records do not have where an instance lacks it; other attributes are empty then."""
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_PLANS: Final = "1.2.840.10008.5.1.4.34.7"
_TYPES: Final[Mapping[str, str]] = {
    "88.59": "KEY OBJECT DOC", "88": "SR DOCUMENT", "11": "PRESENTATION", "9": "WAVEFORM", "104": "ENCAP DOC",
    "481.2": "RT DOSE", "481.3": "RT STRUCTURE SET", "481.5": "RT PLAN", "481.8": "RT PLAN",
    "481.4": "RT TREAT RECORD", "481.6": "RT TREAT RECORD", "481.7": "RT TREAT RECORD", "481.9": "RT TREAT RECORD",
    "66": "RAW DATA", "66.1": "REGISTRATION", "66.3": "REGISTRATION", "66.2": "FIDUCIAL", "66.4": "IMAGE",
    "66.5": "SURFACE", "66.6": "TRACT", "66.7": "IMAGE", "67": "VALUE MAP", "77.1.5.3": "STEREOMETRIC",
    "4.2": "SPECTROSCOPY", "131": "PRESENTATION", "78": "MEASUREMENT", "80": "MEASUREMENT",
    "78.6": "SR DOCUMENT", "79.1": "SR DOCUMENT", "68": "SURFACE SCAN", "90.1": "ASSESSMENT", "91.1": "ANNOTATION",
    "481": "RADIOTHERAPY", "481.1": "IMAGE",
}  # fmt: skip
"""Ends of SOP Class UIDs, or their beginnings → Directory Record Type; all others are images."""


def record_type_of(sop_class_uid: str) -> str:
    """Return the Directory Record Type of instances of a SOP class."""
    if sop_class_uid.startswith(_PLANS):
        return "PLAN"
    end = sop_class_uid.removeprefix(_STORAGE)
    while end:
        if end in _TYPES:
            return _TYPES[end]
        end = end.rpartition(".")[0]
    return "IMAGE"


class DicomDirWriter:
    """Writes a DICOMDIR into a seekable file, which it may read too. Its methods block: call them in a thread."""

    def __init__(self, file: BinaryIO, file_set_id: str = "OSTEON_MEDIA") -> None:
        self._file = file
        self._encoder = DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN)
        self._last: list[int] = []
        """Of each depth the last record, whose next sibling may come."""
        header = write_part10_header(MEDIA_STORAGE_DIRECTORY, _new_uid(), EXPLICIT_VR_LITTLE_ENDIAN)
        start = {"00041130": _cs(file_set_id), "00041200": _ul(0), "00041202": _ul(0), "00041212": _us(0)}
        file.write(header + self._encoder.encode_in(start, UNICODE))
        self._sequence = file.tell()
        file.write(struct.pack("<HH2sHL", 0x0004, 0x1220, b"SQ", 0, 0))

    def add(
        self,
        depth: int,
        record_type: str,
        attributes: Mapping[str, Mapping[str, Any]],
        file: "FileReference | None" = None,
    ) -> None:
        """Add a record at a depth (0 patient, 1 study, 2 series, 3 instance) below the last one above it.

        `attributes` are DICOM JSON elements by keyword; `file` is what an instance's record refers to.
        """
        elements: dict[str, Mapping[str, Any]] = {tag_of(name): value for name, value in attributes.items()}
        fixed: dict[str, Mapping[str, Any]] = {
            "00041400": _ul(0), "00041410": _us(_IN_USE), "00041420": _ul(0), "00041430": _cs(record_type),
            **(file.elements() if file else {}), "00080005": _cs("ISO_IR 192"),
        }  # fmt: skip
        body = self._encoder.encode_in(dict(sorted({**elements, **fixed}.items())), UNICODE)
        position = self._file.tell()
        self._file.write(_ITEM.pack(0xFFFE, 0xE000, len(body)) + body)
        end = self._file.tell()
        if len(self._last) > depth:
            self._patch(self._last[depth] + _NEXT_AT, position)
        elif depth:
            self._patch(self._last[depth - 1] + _CHILD_AT, position)
        else:
            self._patch(self._first_root_at(), position)
        self._last[depth:] = [position]
        self._file.seek(end)

    def finish(self) -> int:
        """Write what is known at the end; returns the length in bytes."""
        end = self._file.tell()
        self._patch(self._sequence + 8, end - self._sequence - 12)
        if self._last:
            self._patch(self._first_root_at() + 12, self._last[0])
        self._file.seek(0)
        return end

    def _first_root_at(self) -> int:
        """Where the value of (0004,1200) is, two elements of 12 bytes with (0004,1202) before (0004,1212)."""
        return self._sequence - 10 - 2 * 12 + 8

    def _patch(self, at: int, value: int) -> None:
        self._file.seek(at)
        self._file.write(_OFFSET.pack(value))


class FileReference:
    """The file that an instance's record refers to, by the parts of its path."""

    def __init__(self, path: tuple[str, ...], sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str) -> None:
        self._path = path
        self._uids = sop_class_uid, sop_uid, transfer_syntax_uid

    def elements(self) -> dict[str, Mapping[str, Any]]:
        """Return (0004,1500) and the UIDs."""
        tags = "00041510", "00041511", "00041512"
        uids = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, self._uids, strict=True)}
        return {"00041500": _cs(*self._path), **uids}


def attributes_of(header: Mapping[str, Any], keywords: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """Return elements of a header by their keywords; one that it lacks is empty, or left out when it is optional."""
    found: dict[str, Mapping[str, Any]] = {}
    for keyword in keywords:
        tag = tag_of(keyword)
        element = header.get(tag)
        if isinstance(element, dict) and "BulkDataURI" not in element and element.get("vr") == vr_of_tag(tag):
            found[keyword] = element
        elif keyword not in _OPTIONAL:
            found[keyword] = {"vr": vr_of_tag(tag), "Value": []}
    return found


def _new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def _cs(*values: str) -> Mapping[str, Any]:
    return {"vr": "CS", "Value": list(values)}


def _ul(value: int) -> Mapping[str, Any]:
    return {"vr": "UL", "Value": [value]}


def _us(value: int) -> Mapping[str, Any]:
    return {"vr": "US", "Value": [value]}
