"""`ResponseContent` and `response-content`: which parts of its object a resource is shown with."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from osteon.archive.resources import Match
from osteon.contracts.user_data_names import SYSTEM_ATTACHMENTS, SYSTEM_METADATA, CodeNames
from osteon.user_data.port import UserData
from osteon_query.http.errors import BadParameter
from osteon_query.orthanc.system_metadata import system_metadata

_ALWAYS: Final = ("ID", "Type", "RequestedTags")
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "MainDicomTags": ("MainDicomTags", "PatientMainDicomTags"),
    "Metadata": ("Metadata",),
    "Children": ("Studies", "Series", "Instances"),
    "Parent": ("ParentPatient", "ParentStudy", "ParentSeries"),
    "Labels": ("Labels",),
    "Attachments": ("Attachments", "FileSize", "FileUuid"),
    "Status": ("Status", "ExpectedNumberOfInstances"),
    "IsStable": ("IsStable",),
    "IsProtected": ("IsProtected",),
    "RequestedTags": (),
}
"""The parts that clients may name, and the fields of each."""


def content_parts(names: Iterable[Any]) -> frozenset[str]:
    """Check the names of parts; raises `BadParameter`."""
    found = frozenset(str(name) for name in names)
    if unknown := sorted(found - _PARTS.keys()):
        raise BadParameter(f"ResponseContent: {unknown[0][:80]!r} is not one of {', '.join(_PARTS)}")
    return found


def with_content(
    body: Mapping[str, Any],
    parts: frozenset[str],
    match: Match,
    data: UserData,
    names: tuple[CodeNames, CodeNames],
) -> dict[str, Any]:
    """Return the requested parts of a resource's object; `names` are those of metadata and of attachments."""
    full = dict(body)
    of_metadata, of_attachments = names
    if "Metadata" in parts:
        values = {SYSTEM_METADATA[name]: value for name, value in system_metadata(match, None).items()}
        values |= {code: each.value for code, each in data.metadata.items()}
        full["Metadata"] = {of_metadata.name_of(code): value for code, value in sorted(values.items())}
    if "Attachments" in parts:
        full["Attachments"] = _attachments(match, data, of_attachments)
    fields = {*_ALWAYS, *(field for part in parts for field in _PARTS[part])}
    return {field: value for field, value in full.items() if field in fields}


def _attachments(match: Match, data: UserData, names: CodeNames) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if match.instance is not None:
        size = match.instance.location.length
        found.append({"ContentType": SYSTEM_ATTACHMENTS["dicom"], "UncompressedSize": size, "CompressedSize": size})
    for code, each in sorted(data.attachments.items()):
        found.append(
            {
                "ContentType": code, "UncompressedSize": each.size, "CompressedSize": each.stored_size,
                "UncompressedMD5": each.md5, "CompressedMD5": each.stored_md5,
            }
        )  # fmt: skip
    return [{"Name": names.name_of(each["ContentType"]), **each} for each in found]
