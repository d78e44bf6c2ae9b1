"""Which attributes the index holds, at which level.

One table for all: the index makes a column of each, the search matches on them, QIDO-RS, C-FIND and the REST API
answer from them. Everything else is answered from the sidecars. The series and study lists hold what PS3.4 C.6 and
PS3.18 10.6.3 require and what Orthanc calls main DICOM tags.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from osteon.dicom.models import Level

HELD: Final[dict[Level, tuple[str, ...]]] = {
    Level.PATIENT: (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID",
    ),
    Level.STUDY: (
        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription",
        "ReferringPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician", "InstitutionName",
        "RequestedProcedureDescription", "PatientAge", "TimezoneOffsetFromUTC",
    ),
    Level.SERIES: (
        "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDate", "SeriesTime", "SeriesDescription",
        "BodyPartExamined", "Laterality", "ProtocolName", "SequenceName", "Manufacturer", "StationName",
        "OperatorsName", "PerformingPhysicianName", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "PerformedProcedureStepDescription", "ContrastBolusAgent",
        "ImageOrientationPatient", "CardiacNumberOfImages", "ImagesInAcquisition", "NumberOfTemporalPositions",
        "NumberOfSlices", "NumberOfTimeSlices", "SeriesType", "AcquisitionDeviceProcessingDescription",
    ),
    Level.IMAGE: (
        "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    ),
}  # fmt: skip
"""Level → keywords of the columns. Patient attributes are held with each study too, as they were when it was made."""

_MOST_REQUESTS: Final = 256
"""Items of Request Attributes Sequence that are held; real ones have a few."""

REQUEST_ATTRIBUTES: Final = ("ScheduledProcedureStepID", "RequestedProcedureID")
"""Held for every item of a series' Request Attributes Sequence (0040,0275)."""

COMPUTED: Final[dict[Level, tuple[str, ...]]] = {
    Level.PATIENT: (
        "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: (
        "ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: ("NumberOfSeriesRelatedInstances",),
    Level.IMAGE: ("AvailableTransferSyntaxUID",),
}  # fmt: skip
"""Level → attributes that the archive knows and no data set carries."""

LEVEL_OF: Final[dict[str, Level]] = {
    keyword: level for table in (HELD, COMPUTED) for level, keywords in table.items() for keyword in keywords
}


def is_below(keyword: str, level: Level) -> bool:
    """Whether the index holds an attribute at a level below `level`."""
    at = LEVEL_OF.get(keyword)
    return at is not None and at.is_below(level)


def vr_of(keyword: str) -> str:
    """Return the VR of a standard attribute, the first where the dictionary allows several."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return dictionary_VR(tag)[:2]


_TAGS: Final = {keyword: f"{tag_for_keyword(keyword):08X}" for keywords in HELD.values() for keyword in keywords}


def held_values(header: Mapping[str, Any]) -> dict[str, str]:
    r"""Take the values of all held attributes out of a DICOM JSON header.

    Several values are joined by `\`, the groups of a person name by `=`; absent attributes are left out.
    """
    return {keyword: element_text(header[tag]) for keyword, tag in _TAGS.items() if tag in header}


def request_attributes(header: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return (Scheduled Procedure Step ID, Requested Procedure ID) of each Request Attributes Sequence item."""
    items = header.get("00400275", {}).get("Value", [])[:_MOST_REQUESTS]
    # The data set may give the element any VR.
    pairs = (
        (element_text(i.get("00400009", {})), element_text(i.get("00401001", {}))) for i in items if isinstance(i, dict)
    )
    return tuple(pair for pair in pairs if any(pair))


def element_text(element: Mapping[str, Any]) -> str:
    r"""Return a DICOM JSON element's value as DICOM text: values joined by `\`, name groups by `=`.

    Numbers and character sets are as in the file where the header reader kept their text.
    """
    if "Text" in element:
        return str(element["Text"])
    return "\\".join(_value_text(value) for value in element.get("Value", ())).strip(" ")


def _value_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        groups = [value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    # Decimal strings are JSON numbers: `1` is what most modalities write, not `1.0`.
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
