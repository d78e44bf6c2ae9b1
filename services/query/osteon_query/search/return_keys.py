"""Which attributes a result shall have: QIDO-RS's tables (PS3.18 10.6.3.3) and what `includefield` adds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from osteon.dicom.attribute_names import tag_of
from osteon.dicom.attributes import COMPUTED, HELD, REQUEST_ATTRIBUTES
from osteon.dicom.models import Level, required_keys
from osteon.dicom.private_blocks import is_private
from osteon.dicom.query import MatchingKey


@dataclass(frozen=True, slots=True)
class ReturnKeys:
    """Attributes of a result, by tag in eight hexadecimal digits.

    Attributes:
        required: are in the result even when they have no value.
        optional: are in the result when they have one.
        items: sequence → what its items shall hold; a sequence that is not here comes whole.
        item_conditions: keys in sequences; only items that match come back (PS3.4 C.2.2.2.6).
        everything: all attributes of the level besides; at IMAGE level the whole header, without bulk data.
        creators: block (`GGGGBB`) → private creator that is meant by it; other blocks are meant by their number.
    """

    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    items: Mapping[str, frozenset[str]] = field(default_factory=dict)
    item_conditions: tuple[MatchingKey, ...] = ()
    everything: bool = False
    creators: Mapping[str, str] = field(default_factory=dict)


def _tags(*keywords: str) -> frozenset[str]:
    return frozenset(tag_of(keyword) for keyword in keywords)


_REQUESTS: Final = tag_of("RequestAttributesSequence")
REQUEST_TAGS: Final = _tags(*REQUEST_ATTRIBUTES)
"""What the index holds of a Request Attributes Sequence's items."""

_REQUIRED: Final[dict[Level, frozenset[str]]] = {
    Level.PATIENT: _tags("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    Level.STUDY: _tags(
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName", "PatientName",
        "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: _tags("Modality", "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances"),
    Level.IMAGE: _tags("SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
}  # fmt: skip

_IF_KNOWN: Final[dict[Level, frozenset[str]]] = {
    Level.PATIENT: _tags(*COMPUTED[Level.PATIENT]),
    Level.STUDY: _tags("InstanceAvailability", "TimezoneOffsetFromUTC"),
    Level.SERIES: _tags(
        "InstanceAvailability", "TimezoneOffsetFromUTC", "SeriesDescription", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "RequestAttributesSequence",
    ),
    Level.IMAGE: _tags(
        "InstanceAvailability", "TimezoneOffsetFromUTC", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
        "AvailableTransferSyntaxUID",
    ),
}  # fmt: skip

_OF_PATIENT: Final = _tags(
    *HELD[Level.PATIENT], "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDs", "OtherPatientIDsSequence",
    "OtherPatientNames", "PatientBirthTime", "PatientComments", "EthnicGroup", "PatientSpeciesDescription",
    "PatientBreedDescription", "ResponsiblePerson", "ResponsibleOrganization", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
)  # fmt: skip

_OF_STUDY: Final = _tags(
    *HELD[Level.STUDY], *COMPUTED[Level.STUDY], "PatientSize", "PatientWeight", "PatientSexNeutered", "Occupation",
    "AdditionalPatientHistory", "MedicalAlerts", "Allergies", "SmokingStatus", "PregnancyStatus", "LastMenstrualDate",
    "AdmissionID", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "ReasonForStudy",
    "ProcedureCodeSequence", "ConsultingPhysicianName", "PhysiciansOfRecord", "ReferencedStudySequence",
    "RequestingService", "RequestedProcedureCodeSequence", "IssuerOfAccessionNumberSequence",
    "InstitutionalDepartmentName", "InstitutionAddress", "ReferringPhysicianIdentificationSequence",
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
)  # fmt: skip

_OF_SERIES: Final = _tags(
    *HELD[Level.SERIES], *COMPUTED[Level.SERIES], "RequestAttributesSequence", "SeriesDescriptionCodeSequence",
    "PatientPosition", "ReferencedPerformedProcedureStepSequence", "RelatedSeriesSequence",
    "PerformedProcedureStepID", "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime",
    "PerformedProtocolCodeSequence", "CommentsOnThePerformedProcedureStep", "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries", "AnatomicalOrientationType", "FrameOfReferenceUID", "PositionReferenceIndicator",
    "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "GantryID", "SpatialResolution", "DateOfLastCalibration", "TimeOfLastCalibration",
    "PixelPaddingValue", "BodyPartExamined", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "MRAcquisitionType", "MagneticFieldStrength", "KVP", "ConvolutionKernel",
)  # fmt: skip

LEVEL_ATTRIBUTES: Final[dict[Level, frozenset[str]]] = {
    Level.PATIENT: _OF_PATIENT | _tags(*COMPUTED[Level.PATIENT]),
    Level.STUDY: _OF_PATIENT | _OF_STUDY | _IF_KNOWN[Level.STUDY],
    Level.SERIES: _OF_SERIES | _IF_KNOWN[Level.SERIES],
    Level.IMAGE: frozenset(),
}
"""What `includefield=all` means at a level: the attributes of its modules (PS3.3 C.7). IMAGE: the whole header."""


_GROUPS_OF_STUDY: Final = frozenset({"0010", "0012", "0032", "0038"})
"""Groups of patients, trials, requests and visits."""


def belongs(level: Level, tag: str) -> bool:
    """Whether one instance can speak for its patient, study or series (`level`) as to an attribute (PS3.18 10.6.3.3).

    Of private attributes only their makers know, so they are taken to.
    """
    if level is Level.IMAGE or is_private(tag):
        return True
    known = LEVEL_ATTRIBUTES[Level.STUDY] | (LEVEL_ATTRIBUTES[Level.SERIES] if level is Level.SERIES else frozenset())
    return tag in known or tag[:4] in _GROUPS_OF_STUDY


def default_return_keys(
    level: Level,
    *,
    study_given: bool = True,
    series_given: bool = True,
    include: Iterable[str] = (),
    everything: bool = False,
    creators: Mapping[str, str] | None = None,
) -> ReturnKeys:
    """Return the attributes of a QIDO-RS result (PS3.18 Tables 10.6.3-3 to 10.6.3-5).

    A search for series or instances that names no study (`study_given`) or no series returns the attributes of
    these too. `include` are keywords, tags, or dotted paths of `includefield`; `creators` as in `ReturnKeys`. Raises
    `UnknownAttribute`.
    """
    levels = {level}
    if level in (Level.SERIES, Level.IMAGE) and not study_given:
        levels.add(Level.STUDY)
    if level is Level.IMAGE and not series_given:
        levels.add(Level.SERIES)
    optional = set().union(*(_IF_KNOWN[one] for one in levels)) | _tags("SpecificCharacterSet")
    # A path into a sequence asks for the whole of it, which is what most archives answer and clients expect.
    included = {tag_of(name.split(".")[0]) for name in include}
    optional |= included
    # The parents' UIDs are not in the tables, but clients cannot name the resource in a URL without them.
    optional |= _tags(*required_keys(level)[:-1])
    if everything:
        optional |= LEVEL_ATTRIBUTES[level]
    required = frozenset().union(*(_REQUIRED[one] for one in levels))
    items = {} if everything or _REQUESTS in included else {_REQUESTS: REQUEST_TAGS}
    return ReturnKeys(
        required=required,
        optional=frozenset(optional),
        items=items,
        everything=everything,
        creators=creators or {},
    )
