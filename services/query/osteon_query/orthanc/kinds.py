"""The four kinds of resources of Orthanc's REST API, and what it calls their main DICOM tags."""

from dataclasses import dataclass
from typing import Final

from osteon.dicom.models import Level
from osteon_query.http.errors import BadParameter


@dataclass(frozen=True, slots=True)
class Kind:
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


PATIENT: Final = Kind(
    Level.PATIENT, "Patient", "patients",
    ("PatientBirthDate", "PatientID", "PatientName", "PatientSex"),
    children="Studies",
)  # fmt: skip
STUDY: Final = Kind(
    Level.STUDY, "Study", "studies",
    (
        "AccessionNumber", "InstitutionName", "ReferringPhysicianName", "RequestedProcedureDescription",
        "RequestingPhysician", "StudyDate", "StudyDescription", "StudyID", "StudyInstanceUID", "StudyTime",
        "TimezoneOffsetFromUTC",
    ),
    children="Series",
)  # fmt: skip
SERIES: Final = Kind(
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
INSTANCE: Final = Kind(
    Level.IMAGE, "Instance", "instances",
    (
        "AcquisitionNumber", "ImageComments", "ImageIndex", "ImageOrientationPatient", "ImagePositionPatient",
        "InstanceCreationDate", "InstanceCreationTime", "InstanceNumber", "NumberOfFrames", "SOPInstanceUID",
        "TemporalPositionIdentifier",
    ),
)  # fmt: skip

KINDS: Final = (PATIENT, STUDY, SERIES, INSTANCE)
BY_LEVEL: Final = {kind.level: kind for kind in KINDS}
_NAMES: Final = {name.lower(): kind for kind in KINDS for name in (kind.type, kind.segment)}


def kind_named(name: object) -> Kind:
    """Return the kind that a `Level` field means: `Study` or `Studies`, in any case; raises `BadParameter`."""
    kind = _NAMES.get(name.lower()) if isinstance(name, str) else None
    if kind is None:
        raise BadParameter(f"Level: expected Patient, Study, Series or Instance, got {str(name)[:80]!r}")
    return kind


def parent_of(kind: Kind) -> Kind | None:
    """Return the kind one level up."""
    return KINDS[kind.level.depth - 1] if kind.level.depth else None


def child_of(kind: Kind) -> Kind | None:
    """Return the kind one level down."""
    return KINDS[kind.level.depth + 1] if kind.level.depth < len(KINDS) - 1 else None
