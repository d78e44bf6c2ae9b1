"""Matches of the index as the JSON objects of Orthanc's REST API."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from osteon.archive.resources import Child, Match, Patient, Series, Study
from osteon.contracts.user_data_names import SYSTEM_METADATA
from osteon.dicom.attribute_names import tag_of
from osteon.dicom.attributes import COMPUTED, element_text
from osteon.user_data.port import UserData
from osteon_query.orthanc.resource_types import BY_LEVEL, INSTANCE, PATIENT, STUDY
from osteon_query.orthanc.tag_formats import TagFormat, write_tags, write_texts

_EXPECTED: Final = (
    ("ImagesInAcquisition", "NumberOfTemporalPositions"),
    ("NumberOfSlices", "NumberOfTimeSlices"),
    ("CardiacNumberOfImages",),
)
"""Attributes whose product is the expected number of instances of a series; the first that are all there count."""

COMPUTED_KEYWORDS: Final = frozenset({"InstanceAvailability"}.union(*COMPUTED.values()))
"""Attributes that no data set carries and `RequestedTags` may name."""

_MADE_FROM: Final = {name: SYSTEM_METADATA[name] for name in ("AnonymizedFrom", "ModifiedFrom")}


@dataclass(frozen=True, slots=True)
class ResourceDetails:
    """What an object shows besides its match: children in order, the header, and requested attributes."""

    children: Sequence[Child] = ()
    user_data: UserData = field(default_factory=UserData)
    header: Mapping[str, Any] = field(default_factory=dict)
    requested: Sequence[str] = ()
    form: TagFormat = TagFormat.SIMPLIFIED


def timestamp(moment: datetime) -> str:
    """Write a moment as Orthanc does, in UTC."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S")


def to_json(match: Match, details: ResourceDetails) -> dict[str, Any]:
    """Return the object of a resource."""
    kind = BY_LEVEL[match.level]
    held = (match.instance or match.series or match.study or match.patient).attributes
    texts = {keyword: held[keyword] for keyword in kind.main_tags if keyword in held}
    if kind is INSTANCE:
        for keyword in kind.main_tags:
            element = details.header.get(tag_of(keyword))
            if keyword not in texts and element is not None:
                texts[keyword] = element_text(element)
    main_tags = {keyword: texts[keyword] for keyword in sorted(texts)}
    metadata = details.user_data.metadata
    body: dict[str, Any] = {
        "ID": match.public_id,
        "Type": kind.type,
        "Labels": sorted(details.user_data.labels),
        "MainDicomTags": write_texts(main_tags, details.form, tag_of),
        **_OWN[kind.type](match, details),
        **{name: metadata[code].value for name, code in _MADE_FROM.items() if code in metadata},
    }
    if kind.children:
        body[kind.children] = [child.public_id for child in details.children]
    if details.requested:
        body["RequestedTags"] = _requested(match, details)
    return body


def _requested(match: Match, details: ResourceDetails) -> dict[str, Any]:
    known: dict[str, str] = {}
    for resource in (match.patient, match.study, match.series, match.instance):
        known.update(resource.attributes if resource is not None else {})
    known |= {
        "NumberOfPatientRelatedStudies": str(match.patient.studies),
        "NumberOfPatientRelatedSeries": str(match.patient.series),
        "NumberOfPatientRelatedInstances": str(match.patient.instances),
        "InstanceAvailability": "ONLINE",
    }
    if match.study is not None:
        known |= {
            **match.study.patient_attributes,
            "ModalitiesInStudy": "\\".join(match.study.modalities),
            "SOPClassesInStudy": "\\".join(match.study.sop_classes),
            "NumberOfStudyRelatedSeries": str(match.study.series),
            "NumberOfStudyRelatedInstances": str(match.study.instances),
        }
    if match.series is not None:
        known["NumberOfSeriesRelatedInstances"] = str(match.series.instances)
    if match.instance is not None:
        known["AvailableTransferSyntaxUID"] = match.instance.location.transfer_syntax_uid
    found: dict[str, Any] = {}
    for keyword in details.requested:
        tag = tag_of(keyword)
        if keyword in known:
            found.update(write_texts({keyword: known[keyword]}, details.form, tag_of))
        elif tag in details.header:
            found.update(write_tags({tag: details.header[tag]}, details.form))
    return found


def _freshness(resource: Patient | Study | Series) -> dict[str, Any]:
    return {"LastUpdate": timestamp(resource.updated), "IsStable": resource.stable}


def _patient(match: Match, details: ResourceDetails) -> dict[str, Any]:
    return {"IsProtected": details.user_data.protected, **_freshness(match.patient)}


def _study(match: Match, details: ResourceDetails) -> dict[str, Any]:
    assert match.study is not None
    patient = match.study.patient_attributes
    texts = {keyword: patient[keyword] for keyword in PATIENT.main_tags if keyword in patient}
    return {
        "ParentPatient": match.patient.public_id,
        "PatientMainDicomTags": write_texts(texts, details.form, tag_of),
        **_freshness(match.study),
    }


def _series(match: Match, details: ResourceDetails) -> dict[str, Any]:
    assert match.study is not None
    assert match.series is not None
    expected = expected_instances(match.series.attributes)
    return {
        "ParentStudy": match.study.public_id,
        "ExpectedNumberOfInstances": expected,
        "Status": _status(expected, details.children),
        **_freshness(match.series),
    }


def _instance(match: Match, _: ResourceDetails) -> dict[str, Any]:
    assert match.series is not None
    assert match.instance is not None
    return {
        "ParentSeries": match.series.public_id,
        "FileSize": match.instance.location.length,
        "FileUuid": str(uuid.UUID(bytes=match.instance.location.sha256[:16], version=4)),
        "IndexInSeries": index_in_series(match.instance.attributes),
    }


_OWN: Final = {"Patient": _patient, STUDY.type: _study, "Series": _series, INSTANCE.type: _instance}


def expected_instances(attributes: Mapping[str, str]) -> int | None:
    """Return how many instances a series has when it is complete; None when its attributes do not say."""
    for keywords in _EXPECTED:
        counts = [_whole(attributes.get(keyword)) for keyword in keywords]
        product = 1
        for count in counts:
            product *= count or 0
        if product > 0:
            return product
    return None


def index_in_series(attributes: Mapping[str, str]) -> int | None:
    """Return the number of an instance within its series."""
    return _whole(attributes.get("InstanceNumber"))


def _status(expected: int | None, instances: Sequence[Child]) -> str:
    if expected is None:
        return "Unknown"
    known = {each.number for each in instances if each.number is not None and 1 <= each.number <= expected}
    if len(known) != len(instances):
        return "Inconsistent"
    return "Complete" if len(known) == expected else "Missing"


def _whole(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None
