"""What `find`, `move` and `get` request: `-k NAME=VALUE`, the level and the information model (PS3.4 C.4, C.6)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from osteon.dicom.attribute_names import attribute_path, keyword_of, tag_of, vr_of_tag
from osteon.dicom.dataset_encoder import NUMBER_FORMATS, DatasetEncoder
from osteon.dicom.models import PATIENT_ROOT, STUDY_ROOT, UNIQUE_KEYS, InformationModel, Level
from osteon.dicom.text_encoder import UNICODE, text_encoder_for
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.errors import Invalid

SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_LATIN: Final = text_encoder_for(("ISO_IR 100",)) or UNICODE
"""Most archives understand it; what it lacks is sent in UTF-8."""
_LEVEL_TAG: Final = "00080052"


class Root(StrEnum):
    """Which information model (PS3.4 C.3)."""

    PATIENT = "patient"
    STUDY = "study"


Keys = Annotated[
    list[str] | None,
    typer.Option("-k", "--key", metavar="NAME[=VALUE]", help="Keyword, GGGG,EEEE or Sequence.Keyword; repeatable."),
]
LevelOption = Annotated[
    Level | None, typer.Option("--level", "-l", case_sensitive=False, help="By default: by the keys.")
]
RootOption = Annotated[Root | None, typer.Option("--root", help="By default study, or patient at level PATIENT.")]


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """What is requested. `keys` are pairs of a path of tags, sequences first, and a value in DICOM's own notation."""

    level: Level
    root: Root
    keys: tuple[tuple[tuple[str, ...], str], ...]

    @property
    def model(self) -> InformationModel:
        """The information model of the root."""
        return PATIENT_ROOT if self.root is Root.PATIENT else STUDY_ROOT

    def identifier(self, transfer_syntax: str) -> bytes:
        """Encode it."""
        elements: dict[str, Any] = {_LEVEL_TAG: {"vr": "CS", "Value": [self.level.value]}}
        for path, value in self.keys:
            _add(elements, path, value)
        return DatasetEncoder(transfer_syntax, _LATIN).encode(_ordered(elements))

    @property
    def names(self) -> tuple[str, ...]:
        """The keys by their keywords, as `RequestAttributesSequence.ScheduledProcedureStepID`."""
        return tuple(".".join(keyword_of(tag) or tag for tag in path) for path, _ in self.keys)

    def value(self, keyword: str) -> str:
        """Return the value of a key that is in no sequence, or an empty string."""
        return dict(self.keys).get((tag_of(keyword),), "")

    def with_keys(self, level: Level, *names: str) -> "QueryRequest":
        """Return the same keys on another level, and further ones without a value."""
        return QueryRequest(level, self.root, _merged((*self.keys, *((path(name), "") for name in names))))


def parse_request(
    level: Level | None, root: Root | None, keys: Iterable[str], wanted: Mapping[Level, tuple[str, ...]]
) -> QueryRequest:
    """Read the options; `wanted` are keys by level that are requested too when no other is without a value.

    Raises `Invalid`.
    """
    pairs = [_pair(key) for key in keys]
    given = {names[0] for names, value in pairs if value and len(names) == 1}
    if level is None:
        level = next((each for each in reversed(Level) if tag_of(UNIQUE_KEYS[each]) in given), Level.STUDY)
    root = root or (Root.PATIENT if level is Level.PATIENT else Root.STUDY)
    if root is Root.STUDY and level is Level.PATIENT:
        raise Invalid("--level PATIENT is not in the study root model: expected --root patient")
    if all(value for _, value in pairs):
        pairs += [(path(name), "") for name in wanted.get(level, ())]
    return QueryRequest(level, root, _merged(pairs))


def require_unique_key(request: QueryRequest) -> QueryRequest:
    """Check that a retrieval has the unique key of its level (PS3.4 C.4.2.2.1); raises `Invalid`."""
    if not request.value(UNIQUE_KEYS[request.level]):
        raise Invalid(f"a retrieval at level {request.level} needs -k {UNIQUE_KEYS[request.level]}=…")
    return request


def path(name: str) -> tuple[str, ...]:
    """Return the tags that lead to an attribute; raises `UnknownAttribute`."""
    return tuple(tag_of(part) for part in attribute_path(name))


def _pair(key: str) -> tuple[tuple[str, ...], str]:
    name, _, value = key.partition("=")
    tags = path(name.strip())
    if tags == (_LEVEL_TAG,):
        raise Invalid("the level is given by --level")
    if value and vr_of_tag(tags[-1]) in {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", *NUMBER_FORMATS}:
        raise Invalid(f"-k {key}: nothing can be matched with an attribute of VR {vr_of_tag(tags[-1])}")
    return tags, value


def _merged(pairs: Iterable[tuple[tuple[str, ...], str]]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Leave out keys that are given twice; one with a value counts more."""
    merged: dict[tuple[str, ...], str] = {}
    for tags, value in pairs:
        merged[tags] = value or merged.get(tags, "")
    return tuple(merged.items())


def _add(elements: dict[str, Any], tags: tuple[str, ...], value: str) -> None:
    for sequence in tags[:-1]:
        (elements,) = elements.setdefault(sequence, {"vr": "SQ", "Value": [{}]})["Value"]
    vr = vr_of_tag(tags[-1])
    if vr == "SQ":
        elements.setdefault(tags[-1], {"vr": vr, "Value": []})
    else:
        elements[tags[-1]] = {"vr": vr, "Value": value.split("\\") if value else []}


def _ordered(elements: Mapping[str, Any]) -> dict[str, Any]:
    return {tag: _ordered_element(elements[tag]) for tag in sorted(elements)}


def _ordered_element(element: dict[str, Any]) -> dict[str, Any]:
    if element["vr"] != "SQ":
        return element
    return {"vr": "SQ", "Value": [_ordered(item) for item in element["Value"]]}
