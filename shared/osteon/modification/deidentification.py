"""De-identification of data sets as the confidentiality profiles of PS3.15 annex E say.

No value that goes appears in a report, an error or a log.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from osteon.dicom.attribute_names import keyword_of, vr_of_tag
from osteon.dicom.models import Level
from osteon.modification.apply import ModificationApplier
from osteon.modification.confidentiality_profile import (
    BASIC_PROFILE,
    CODES,
    AttributeActions,
    Deidentification,
    ProfileAction,
    ProfileOption,
    attribute_actions,
)
from osteon.modification.errors import BadModification
from osteon.modification.request import Modification
from osteon.modification.tag_paths import parse_tag_path
from osteon.modification.uids import UidMapping

_DICOM_ROOT: Final = "1.2.840.10008."
"""UIDs that the standard gives are those of no patient."""
_METHOD: Final = "Osteon: PS3.15 Basic Application Confidentiality Profile"
_TEXT: Final = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
_DUMMIES: Final = {
    "AE": "ANONYMIZED", "AS": "000Y", "CS": "ANONYMIZED", "DA": "19000101", "DT": "19000101000000", "DS": "0",
    "IS": "0", "LO": "ANONYMIZED", "LT": "ANONYMIZED", "PN": "Anonymized", "SH": "ANONYMIZED", "ST": "ANONYMIZED",
    "TM": "000000", "UC": "ANONYMIZED", "UR": "about:blank", "UT": "ANONYMIZED", "FD": 0.0, "FL": 0.0, "SL": 0,
    "SS": 0, "SV": 0, "UL": 0, "US": 0, "UV": 0, "AT": 0,
}  # fmt: skip
_REMOVED: Final = "REMOVED"
_CONTENT: Final = 0x0040A730
_TEXT_VALUE: Final = "0040A160"
_PAST_DAYS: Final = 3653
"""Dates are moved into the past by one to so many days."""
_WORD: Final = re.compile(r"\w{3,}")
_PATTERNS: Final = re.compile(r"\S+@\S+|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{5,}")
"""Mail addresses, dates, and numbers as long as those of patients, telephones and orders."""
_MAX_REPORT: Final = 2_000
_GOING: Final = frozenset({ProfileAction.REMOVE, ProfileAction.EMPTY, ProfileAction.REPLACE})
_VERBS: Final = {
    ProfileAction.REMOVE: "removed",
    ProfileAction.EMPTY: "emptied",
    ProfileAction.REPLACE: "replaced",
    ProfileAction.NEW_UID: "new UID",
    ProfileAction.KEEP: "kept",
    ProfileAction.CLEAN: "cleaned",
}


def change_of(modification: Modification, *, job_key: str, key: str) -> "ModificationApplier | Deidentifier":
    """Return what changes data sets. `key` is for pseudonyms that outlive the job; without one `job_key` is."""
    if modification.deidentification is None:
        return ModificationApplier(modification, UidMapping(job_key))
    return Deidentifier(modification, key or job_key)


class Deidentifier:
    """Changes data sets as a modification with a `Deidentification` says; one key gives the same pseudonyms each time.

    Attributes:
        report: what was done, by attribute: the same for all data sets that came so far.
    """

    def __init__(self, modification: Modification, key: str) -> None:
        self.report: dict[str, str] = {}
        self._how = how = modification.deidentification or Deidentification()
        self._key = key.encode()
        self._uids = UidMapping(key)
        self._given = ModificationApplier(modification, self._uids)
        self._keep = {_tags(name) for name in modification.keep}
        cleans = ProfileOption.CLEAN_DESCRIPTORS in how.options
        text = AttributeActions(ProfileAction.CLEAN if cleans else ProfileAction.REPLACE, ProfileAction.REPLACE)
        # The table speaks of the content tree only, which may stay.
        self._actions = {**attribute_actions(how.options), _TEXT_VALUE: text}
        self._shift = timedelta()
        self._identifying: frozenset[str] = frozenset()

    def __call__(self, dataset: Dataset) -> None:
        """Change a data set. Raises `BadModification`."""
        self._check_burned_in(dataset)
        patient = str(dataset.get("PatientID") or "").strip() or f"study {dataset.get('StudyInstanceUID')}"
        pseudonym = self._digest(f"patient {patient}")
        self._shift = timedelta(days=1 + int(self._digest(f"days {patient}"), 16) % _PAST_DAYS)
        self._identifying = self._words(dataset)
        self._visit(dataset, ())
        for tag, vr, value in (
            (0x00100010, "PN", f"Anonymized {pseudonym[:8]}"),
            (0x00100020, "LO", pseudonym[:16].upper()),
        ):
            if (tag,) not in self._keep:
                dataset.add(DataElement(tag, vr, value))
                self._note((tag,), "replaced")
        self._mark(dataset)
        self._given.remove(dataset)
        self._given.replace(dataset)

    def _check_burned_in(self, dataset: Dataset) -> None:
        for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
            if str(dataset.get(keyword) or "").strip().upper() != "YES":
                continue
            if self._how.refuse_burned_in:
                raise BadModification(f"{keyword} is YES: the picture itself may show who it is of")
            self.report[keyword] = "YES: pixel data is as it was, and may show who it is of"

    def _visit(self, dataset: Dataset, above: tuple[int, ...]) -> None:
        for tag in list(map(int, dataset.keys())):
            path = (*above, tag)
            if path in self._keep:
                self._note(path, "kept")
            elif tag >> 16 & 1:
                if not self._keeps_private(dataset, tag):
                    del dataset[tag]
                    self._note(path, "removed")
            elif rule := self._rule(tag):
                self._apply(dataset, path, rule)
            else:
                self._visit_other(dataset, path)

    def _visit_other(self, dataset: Dataset, path: tuple[int, ...]) -> None:
        """Look below what the table does not name. Names of people and what nobody knows go in any case."""
        tag = path[-1]
        vr = _vr(dataset, tag)
        if vr == "SQ":
            self._visit_items(dataset, path)
        elif vr == "PN":
            self._do(dataset, path, ProfileAction.EMPTY)
        elif vr == "UN":
            self._do(dataset, path, ProfileAction.REMOVE)

    def _visit_items(self, dataset: Dataset, path: tuple[int, ...]) -> None:
        for item in dataset[path[-1]].value:
            self._visit(item, path)

    def _rule(self, tag: int) -> AttributeActions | None:
        group = tag >> 16
        if 0x5000 <= group <= 0x50FF:
            return self._actions["50xxxxxx"]
        if 0x6000 <= group <= 0x60FF and tag & 0xFFFF in (0x3000, 0x4000):
            return self._actions[f"60xx{tag & 0xFFFF:04X}"]
        return self._actions.get(f"{tag:08X}")

    def _apply(self, dataset: Dataset, path: tuple[int, ...], rule: AttributeActions) -> None:
        tag = path[-1]
        is_sequence = _vr(dataset, tag) == "SQ"
        match rule.action:
            case ProfileAction.KEEP | ProfileAction.CLEAN | ProfileAction.NEW_UID if is_sequence:
                self._visit_items(dataset, path)
                self._note(path, "cleaned")
            case ProfileAction.CLEAN:
                if self._clean(dataset[tag]):
                    self._note(path, _VERBS[ProfileAction.CLEAN])
                else:
                    self._do(dataset, path, rule.otherwise)
            case action:
                self._do(dataset, path, action)

    def _do(self, dataset: Dataset, path: tuple[int, ...], action: ProfileAction) -> None:
        tag = path[-1]
        match action:
            case ProfileAction.REMOVE:
                del dataset[tag]
            case ProfileAction.EMPTY:
                dataset.add(_empty(tag, _vr(dataset, tag)))
            case ProfileAction.REPLACE:
                dataset.add(self._dummy(dataset, tag))
            case ProfileAction.NEW_UID:
                dataset.add(DataElement(tag, "UI", [self._new_uid(uid) for uid in _values(dataset[tag])] or None))
            case _:
                pass  # it is kept
        self._note(path, _VERBS[action])

    def _dummy(self, dataset: Dataset, tag: int) -> DataElement:
        vr = _vr(dataset, tag)
        if tag == _CONTENT:
            return DataElement(tag, "SQ", Sequence([_removed_content()]))
        if vr == "SQ":
            return _empty(tag, vr)
        if vr == "UI":
            return DataElement(tag, vr, [self._new_uid(uid) for uid in _values(dataset[tag])] or None)
        return DataElement(tag, vr, _DUMMIES.get(vr, b"\0\0"))

    def _new_uid(self, uid: str) -> str:
        # One mapping for all levels: what refers to an instance has to find it.
        return uid if not uid or uid.startswith(_DICOM_ROOT) else self._uids.new_uid(Level.IMAGE, uid)

    def _clean(self, element: DataElement) -> bool:
        """Take what identifies out of a value, if that can be done."""
        if element.VR in ("DA", "DT"):
            element.value = [self._shifted(value) for value in _values(element)] or None
        elif element.VR in _TEXT:
            element.value = [self._cleaned(value) for value in _values(element)] or None
        else:
            return element.VR == "TM"
        return True

    def _shifted(self, value: str) -> str:
        try:
            moved = datetime.strptime(value[:8], "%Y%m%d") - self._shift
        except (ValueError, OverflowError):
            return ""
        return f"{moved.year:04d}{moved:%m%d}{value[8:]}"

    def _cleaned(self, text: str) -> str:
        def left(word: re.Match[str]) -> str:
            return " " if word[0].casefold() in self._identifying else word[0]

        return " ".join(_PATTERNS.sub(" ", _WORD.sub(left, text)).split())

    def _words(self, dataset: Dataset) -> frozenset[str]:
        """Return the words of all values that go, to take them out of text that stays."""
        if not {ProfileOption.CLEAN_DESCRIPTORS, ProfileOption.RETAIN_PATIENT_CHARACTERISTICS} & {*self._how.options}:
            return frozenset()
        return frozenset(word.casefold() for text in self._going(dataset) for word in _WORD.findall(text))

    def _going(self, dataset: Dataset) -> Iterator[str]:
        for tag in list(map(int, dataset.keys())):
            vr = _vr(dataset, tag)
            if vr == "SQ":
                for item in dataset[tag].value:
                    yield from self._going(item)
            elif vr in ("PN", "LO", "SH") and not tag >> 16 & 1:
                rule = self._rule(tag)
                if vr == "PN" or (
                    rule and rule.action in (ProfileAction.REMOVE, ProfileAction.EMPTY, ProfileAction.REPLACE)
                ):
                    yield from _values(dataset[tag])

    def _keeps_private(self, dataset: Dataset, tag: int) -> bool:
        if self._how.keep_private:
            return True
        if ProfileOption.RETAIN_SAFE_PRIVATE not in self._how.options:
            return False
        block = tag if tag & 0xFFFF <= 0xFF else tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8
        return str(dataset[block].value).strip() in self._how.private_creators if block in dataset else False

    def _mark(self, dataset: Dataset) -> None:
        """Say what was done (PS3.15 E.1.1, PS3.3 C.12.1, C.7.1.1)."""
        options = {*self._how.options}
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = _METHOD
        codes = [BASIC_PROFILE, *(CODES[option] for option in self._how.options)]
        dataset.DeidentificationMethodCodeSequence = Sequence([_code(code.value, code.meaning) for code in codes])
        dataset.LongitudinalTemporalInformationModified = (
            "UNMODIFIED" if ProfileOption.RETAIN_FULL_DATES in options
            else "MODIFIED" if ProfileOption.RETAIN_MODIFIED_DATES in options
            else _REMOVED
        )  # fmt: skip

    def _note(self, path: tuple[int, ...], verb: str) -> None:
        if len(self.report) < _MAX_REPORT:
            self.report["[*].".join(keyword_of(f"{tag:08X}") or f"{tag:08X}" for tag in path)] = verb

    def _digest(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()


def _tags(name: str) -> tuple[int, ...]:
    path = parse_tag_path(name)
    return (*(tag for tag, _ in path.steps), path.tag)


def _vr(dataset: Dataset, tag: int) -> str:
    """Return the VR of an element, which is read only where that must tell."""
    vr = dataset.get_item(tag).VR or vr_of_tag(f"{tag:08X}")
    return str(dataset[tag].VR if vr in ("UN", "SQ") else vr)[:2]


def _values(element: DataElement) -> list[str]:
    value = element.value
    if value is None or value == "":
        return []
    return [str(each) for each in value] if isinstance(value, MultiValue | list | tuple) else [str(value)]


def _empty(tag: int, vr: str) -> DataElement:
    return DataElement(tag, vr, Sequence() if vr == "SQ" else None)


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _removed_content() -> Dataset:
    """Return the content item that stands for the tree of a report (PS3.3 C.17.3)."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "ANONYMIZED"
    item.ConceptNameCodeSequence = Sequence([_code("121106", "Comment")])
    return item
