"""Names of attributes as requests spell them: keyword, `GGGGEEEE`, `GGGG,EEEE`, and dotted paths into sequences.

QIDO-RS writes `00100020` or `PatientID` (PS3.18 8.3.4.1), Orthanc's REST API also `0010,0020`.
"""

import re
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from osteon.byte_caches import cached
from osteon.errors import Invalid

_TAG: Final = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})", re.ASCII)
_MAX_NAME: Final = 512


class UnknownAttribute(Invalid):
    """A name that is neither a tag nor a keyword of the data dictionary (PS3.6)."""


@cached("attribute_tags", entries=4096, entry_bytes=300)
def tag_of(name: str) -> str:
    """Return the tag of a keyword or of any spelling of a tag, as eight upper-case hexadecimal digits."""
    bare = name[1:-1] if name[:1] == "(" and name[-1:] == ")" else name
    if (found := _TAG.fullmatch(bare)) is not None:
        return (found[1] + found[2]).upper()
    tag = tag_for_keyword(name) if name else None
    if tag is None:
        raise UnknownAttribute(f"{name[:80]!r} is not a DICOM attribute: expected a keyword or a tag such as 00100020")
    return f"{tag:08X}"


@cached("attribute_keywords", entries=4096, entry_bytes=300)
def keyword_of(tag: str) -> str:
    """Return the keyword of a tag in eight hexadecimal digits; empty for private and unknown attributes."""
    return keyword_for_tag(int(tag, 16))


@cached("attribute_vrs", entries=4096, entry_bytes=300)
def vr_of_tag(tag: str) -> str:
    """Return the VR of a tag in eight hexadecimal digits, the first of several, `UN` when the dictionary has none."""
    if tag[3] in "13579BDFbdf":
        return "UN"  # pydicom would go through its repeating groups for each
    try:
        return dictionary_VR(int(tag, 16))[:2]
    except KeyError:
        return "UN"


def attribute_path(name: str) -> tuple[str, ...]:
    """Turn `00400275.00400009` or `RequestAttributesSequence.ScheduledProcedureStepID` into a path of keywords.

    An attribute that has no keyword is given by its tag. Raises `UnknownAttribute`.
    """
    if len(name) > _MAX_NAME:
        raise UnknownAttribute(f"{name[:80]!r}… is not a DICOM attribute: longer than {_MAX_NAME} characters")
    tags = [tag_of(part) for part in name.split(".")]
    return tuple(keyword_of(tag) or tag for tag in tags)


def describe(path: tuple[str, ...]) -> str:
    """Name an attribute for a person: `PatientName (0010,0010)`, behind the sequences that hold it."""
    return ".".join(_describe_one(name) for name in path)


def _describe_one(name: str) -> str:
    try:
        tag = tag_of(name)
    except UnknownAttribute:
        return name[:80]
    spelled = f"({tag[:4]},{tag[4:]})"
    keyword = keyword_of(tag)
    return f"{keyword} {spelled}" if keyword else spelled
