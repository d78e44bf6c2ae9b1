"""The four kinds of resources of Orthanc's REST API, and what it calls their main DICOM tags."""

from dataclasses import dataclass
from typing import Final

from osteon.dicom.models import Level
from osteon_query.http.errors import BadParameter


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One kind of resource.

    `children` is the key of the list of children, `page` how many are expanded at a time (a series can have thousands
    of children).
    """

    level: Level
    type: str
    segment: str
    main_tags: tuple[str, ...]
    children: str = ""
    page: int = 100

    def path(self, public_id: str) -> str:
        """Return the URI of a resource."""
        return f"/{self.segment}/{public_id}"


PATIENT: Final = ResourceType(
    Level.PATIENT, "Patient", "patients",
    ("PatientBirthDate", "PatientID", "PatientName", "PatientSex"),
    children="Studies",
)  # fmt: skip
STUDY: Final = ResourceType(
    Level.STUDY, "Study", "studies",
    (
        "AccessionNumber", "InstitutionName", "ReferringPhysicianName", "RequestedProcedureDescription",
        "RequestingPhysician", "StudyDate", "StudyDescription", "StudyID", "StudyInstanceUID", "StudyTime",
        "TimezoneOffsetFromUTC",
    ),
    children="Series",
)  # fmt: skip
SERIES: Final = ResourceType(
    Level.SERIES, "Series", "series",
    (
        "AcquisitionDeviceProcessingDescription", "BodyPartExamined", "CardiacNumberOfImages", "ContrastBolusAgent",
        "ImageOrientationPatient", "ImagesInAcquisition", "Manufacturer", "Modality", "NumberOfSlices",
        "NumberOfTemporalPositions", "NumberOfTimeSlices", "OperatorsName", "PerformedProcedureStepDescription",
        "ProtocolName", "SequenceName", "SeriesDate", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber",
        "SeriesTime", "SeriesType", "StationName",
    ),
    children="Instances",
    page=20,
)  # fmt: skip
INSTANCE: Final = ResourceType(
    Level.IMAGE, "Instance", "instances",
    (
        "AcquisitionNumber", "ImageComments", "ImageIndex", "ImageOrientationPatient", "ImagePositionPatient",
        "InstanceCreationDate", "InstanceCreationTime", "InstanceNumber", "NumberOfFrames", "SOPInstanceUID",
        "TemporalPositionIdentifier",
    ),
)  # fmt: skip

RESOURCE_TYPES: Final = (PATIENT, STUDY, SERIES, INSTANCE)
BY_LEVEL: Final = {kind.level: kind for kind in RESOURCE_TYPES}
_NAMES: Final = {name.lower(): kind for kind in RESOURCE_TYPES for name in (kind.type, kind.segment)}


def resource_type_named(name: object) -> ResourceType:
    """Return the kind that a `Level` field means: `Study` or `Studies`, in any case; raises `BadParameter`."""
    kind = _NAMES.get(name.lower()) if isinstance(name, str) else None
    if kind is None:
        raise BadParameter(f"Level: expected Patient, Study, Series or Instance, got {str(name)[:80]!r}")
    return kind


def parent_of(kind: ResourceType) -> ResourceType | None:
    """Return the kind one level up."""
    return RESOURCE_TYPES[kind.level.depth - 1] if kind.level.depth else None


def child_of(kind: ResourceType) -> ResourceType | None:
    """Return the kind one level down."""
    return RESOURCE_TYPES[kind.level.depth + 1] if kind.level.depth < len(RESOURCE_TYPES) - 1 else None
