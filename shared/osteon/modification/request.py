"""What a request to modify or to anonymize says, in Orthanc's words, and its rules about identifiers."""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from osteon.dicom.models import UNIQUE_KEYS, Level
from osteon.dicom.uids import TRANSFER_SYNTAXES, is_uid
from osteon.modification.confidentiality_profile import Deidentification, ProfileOption
from osteon.modification.element_values import make_element
from osteon.modification.errors import BadModification, ModificationNotSupported
from osteon.modification.tag_paths import parse_tag_path
from osteon.remotes.orthanc_json import bool_field, int_field

_IDENTIFIERS: Final = {0x00100020: "PatientID", 0x0020000D: "StudyInstanceUID", 0x0020000E: "SeriesInstanceUID",
                       0x00080018: "SOPInstanceUID"}  # fmt: skip
_LEVELS: Final = {keyword: level for level, keyword in UNIQUE_KEYS.items()}
_FIXED: Final = {0x00080016: "SOPClassUID", 0x00080005: "SpecificCharacterSet"}
_NAMES: Final = {Level.PATIENT: "patient", Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}
_MAX_TAGS: Final = 1_000
FIELDS: Final = frozenset(
    {"Replace", "Remove", "Keep", "Force", "RemovePrivateTags", "KeepPrivateTags", "PrivateCreator", "DicomVersion",
     "Transcode", "LossyQuality", "Permissive", "Level", "KeepSource", "KeepLabels", "Synchronous", "Asynchronous",
     "Priority", "UserData", "Resources"}
)  # fmt: skip
"""What a body may have."""
ANONYMIZATION_FIELDS: Final = FIELDS | {"Options", "SafePrivateCreators", "BurnedInAnnotation"}
"""What a body may have that asks for anonymization."""
_NEED_EYES: Final = frozenset({"CleanPixelData", "CleanRecognizableVisualFeatures"})


class Modification(BaseModel):
    """A change of data sets, as part of a job's parameters.

    Attributes:
        level: what gets a new identity: a study, its series and instances; a series and its instances; an instance.
        replace: path → text, or an array of objects for a sequence.
        elements: DICOM JSON by tag, which takes the place of what a data set has.
        remove, keep: paths.
        private_creator: by which private attributes of `replace` are named.
        deidentification: the profile to apply first, when data sets are anonymized.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    level: Level
    replace: dict[str, Any] = Field(default_factory=dict)
    elements: dict[str, dict[str, Any]] = Field(default_factory=dict)
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    remove_private: bool = False
    private_creator: str = ""
    transcode: str = ""
    lossy_quality: int = 0
    deidentification: Deidentification | None = None

    @classmethod
    def from_orthanc(
        cls, body: Mapping[str, Any], level: Level, *, job: bool, deidentification: Deidentification | None = None
    ) -> Self:
        """Read the body of a modification; raises `BadModification`, `ModificationNotSupported` and `Invalid`.

        `job`: the result is stored; else it is a file that only the client gets.
        """
        force = bool_field(body, "Force", default=False)
        replace = replacements(body)
        made = cls(
            level=level,
            replace=replace,
            remove=names_field(body, "Remove"),
            keep=names_field(body, "Keep"),
            remove_private=bool_field(body, "RemovePrivateTags", default=False),
            private_creator=_text(body, "PrivateCreator"),
            transcode=_transfer_syntax(body),
            lossy_quality=int_field(body, "LossyQuality", 1, 100),
            deidentification=deidentification,
        )
        if len(replace) + len(made.remove) + len(made.keep) > _MAX_TAGS:
            raise BadModification(f"Replace, Remove, Keep: at most {_MAX_TAGS} attributes in one request")
        made.check_values()
        made.check_identifiers(force=force, job=job)
        return made

    def check_values(self) -> None:
        """Raise `BadModification` when a value is not one of its attribute, or the same attribute is named twice."""
        for name, value in self.replace.items():
            path = parse_tag_path(name)
            if path.top >> 16 <= 2:
                raise BadModification(f"{name}: file meta information cannot be changed")
            if not path.steps and path.tag in _FIXED:
                raise BadModification(f"{name}: {_FIXED[path.tag]} cannot be changed: it says how to read the rest")
            make_element(path.tag, value, creator=self.private_creator)
            if not path.steps and _IDENTIFIERS.get(path.tag, "").endswith("UID") and not is_uid(value):
                raise BadModification(f"{name}: {str(value)[:80]!r} is not a UID")
        for name in (*self.remove, *self.keep):
            parse_tag_path(name)
        if again := self._paths("replace") & self._paths("remove"):
            raise BadModification(f"{sorted(path.name for path in again)[0]}: is in Replace and in Remove")

    def check_identifiers(self, *, force: bool, job: bool) -> None:
        """Apply Orthanc's rules: which identifiers may be given at which level."""
        for verb, attribute in (("replaced", "replace"), ("kept", "keep"), ("removed", "remove")):
            for keyword in self.identifiers(attribute):
                if not force:
                    raise BadModification(
                        f'Marking tag "{keyword}" as to be {verb} requires the "Force" option to be set to true'
                    )
        removed = {*self.identifiers("remove"), *(_FIXED[p.tag] for p in self._paths("remove") if p.tag in _FIXED)}
        if removed - {"PatientID"}:
            raise BadModification(f"{min(removed - {'PatientID'})}: no instance can be without it")
        if not job:
            return
        replaced, kept = self.identifiers("replace"), self.identifiers("keep")
        if self.deidentification is None:
            self._check_parents(replaced)
        elif ProfileOption.RETAIN_UIDS in self.deidentification.options:
            kept.add("SOPInstanceUID")
        if "SOPInstanceUID" in replaced:
            raise BadModification("SOPInstanceUID: the instances of a job cannot all get the same one")
        if "SOPInstanceUID" in kept:
            raise ModificationNotSupported(
                "Keep of SOPInstanceUID, RetainUIDs: a changed instance under the UID of the stored one would take "
                "its place, and nothing that is stored can be replaced; leave it out, and each instance gets a new UID"
            )

    def _check_parents(self, replaced: set[str]) -> None:
        if self.level is Level.PATIENT and "PatientID" not in replaced:
            raise BadModification("When modifying a patient, her PatientID is required to be modified")
        name = _NAMES[self.level]
        for keyword in replaced:
            if _LEVELS[keyword].depth < self.level.depth and (keyword, self.level) != ("PatientID", Level.STUDY):
                raise BadModification(f"When modifying a {name}, the parent {keyword} cannot be manually modified")

    def identifiers(self, attribute: Literal["replace", "keep", "remove"] | str) -> set[str]:
        """Return the keywords of identifiers that a list names, of the data set itself."""
        return {_IDENTIFIERS[p.tag] for p in self._paths(attribute) if p.tag in _IDENTIFIERS and not p.steps}

    def _paths(self, attribute: str) -> set[Any]:
        return {parse_tag_path(name) for name in getattr(self, attribute)}


def deidentification_of(body: Mapping[str, Any]) -> Deidentification:
    """Return how a body wants data sets de-identified; raises `BadModification` and `ModificationNotSupported`."""
    options = []
    for name in names_field(body, "Options"):
        if name in _NEED_EYES:
            raise ModificationNotSupported(
                f"Options: {name}: pixel data is copied as it is; look at it, or leave it out"
            )
        if name not in {*ProfileOption}:
            raise BadModification(f"Options: {name[:80]!r}: expected some of {', '.join(ProfileOption)}")
        options.append(ProfileOption(name))
    creators = names_field(body, "SafePrivateCreators")
    if creators and ProfileOption.RETAIN_SAFE_PRIVATE not in options:
        raise BadModification(f"SafePrivateCreators: needs {ProfileOption.RETAIN_SAFE_PRIVATE} in Options")
    burned_in = body.get("BurnedInAnnotation", "flag")
    if burned_in not in ("flag", "refuse"):
        raise BadModification("BurnedInAnnotation: expected 'flag' or 'refuse'")
    return Deidentification(
        options=tuple(dict.fromkeys(options)),
        private_creators=creators,
        keep_private=bool_field(body, "KeepPrivateTags", default=False),
        refuse_burned_in=burned_in == "refuse",
    )


def implied_level(body: Mapping[str, Any]) -> Level:
    """Return the level that replaced identifiers mean, as in Orthanc: another patient has other studies."""
    replaced = Modification(level=Level.IMAGE, replace=replacements(body)).identifiers("replace")
    return next((level for level in Level if UNIQUE_KEYS[level] in replaced), Level.IMAGE)


def check_keep_source(body: Mapping[str, Any], *, default: bool) -> None:
    """Raise `ModificationNotSupported` unless what is changed stays, too."""
    if not bool_field(body, "KeepSource", default=default):
        raise ModificationNotSupported(
            "KeepSource: false would delete the originals, and nothing can be deleted yet; "
            'send "KeepSource": true, and they stay beside what is made'
        )


def replacements(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `Replace`; raises `BadModification`."""
    given = body.get("Replace", {})
    if not isinstance(given, dict):
        raise BadModification("Replace: expected an object of attributes and their values")
    return given


def names_field(body: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """Return a field that is an array of text; raises `BadModification`."""
    value = body.get(field, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadModification(f"{field}: expected an array of text")
    return tuple(value)


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str) or len(value) > 64:
        raise BadModification(f"{field}: expected text of at most 64 characters")
    return value


def _transfer_syntax(body: Mapping[str, Any]) -> str:
    uid = body.get("Transcode", "")
    if not isinstance(uid, str) or (uid and uid not in TRANSFER_SYNTAXES):
        raise BadModification(f"Transcode: {str(uid)[:80]!r} is not a known transfer syntax")
    return uid
