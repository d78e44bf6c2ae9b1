"""Every attribute that the index holds, with the columns that hold it and the way it is compared (by its VR)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from pydicom.datadict import dictionary_VM, tag_for_keyword

from osteon.dicom.attributes import HELD, vr_of
from osteon.dicom.models import Level
from osteon.index.name_keys import MAX_KEY, name_keys
from osteon.index.values import clean, date_key, number, text_key, time_key


class FieldKind(Enum):
    """How values of an attribute are stored and compared."""

    TEXT = auto()
    NAME = auto()
    UID = auto()
    DATE = auto()
    TIME = auto()
    NUMBER = auto()


_KINDS: Final = {"PN": FieldKind.NAME, "UI": FieldKind.UID, "DA": FieldKind.DATE, "TM": FieldKind.TIME} | dict.fromkeys(
    ("IS", "US", "UL", "SS", "SL"), FieldKind.NUMBER
)
SMALL: Final = ("Rows", "Columns", "BitsAllocated")
"""Numbers that every instance has: 32 bits each."""
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Field:
    """One held attribute: `column` has its text (or number), `key` what it is compared by.

    A column is NULL when the attribute is absent; the text of an empty one is empty.
    """

    keyword: str
    level: Level
    kind: FieldKind
    column: str
    several: bool
    """More than one value is allowed; the text then has them joined by a backslash."""
    vr: str

    @property
    def limit(self) -> int:
        """What numbers of the column stay below."""
        return 1 << 31 if self.keyword in SMALL else 1 << 63

    @property
    def key(self) -> str | None:
        """The key's column; UIDs and numbers are compared as they are and have none."""
        return None if self.kind in (FieldKind.UID, FieldKind.NUMBER) else f"{self.column}_key"

    @property
    def text(self) -> str | None:
        """The column of a number's text where that is not the number in decimal notation (`0008`, or nothing)."""
        return f"{self.column}_text" if self.vr == "IS" else None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns."""
        return tuple(column for column in (self.column, self.key, self.text) if column)

    def is_empty(self, row: Mapping[str, Any]) -> bool:
        """Whether the attribute is absent or empty in a row."""
        return row[self.column] in (None, "") and not (self.text and row[self.text])

    def is_absent(self, row: Mapping[str, Any]) -> bool:
        """Whether the attribute is absent in a row."""
        return row[self.column] is None and not (self.text and row[self.text] is not None)

    def store(self, text: str | None) -> dict[str, str | int | None]:
        """Return the columns' values for DICOM text; that of an absent attribute is None."""
        if text is None:
            return dict.fromkeys(self.columns)
        if self.kind is FieldKind.NUMBER:
            value = number(text)
            kept_number = value if value is not None and abs(value) < self.limit else None
            shown = "" if kept_number is None else str(kept_number)
            texts = {self.text: clean(text) if kept_number is None or shown != text else None} if self.text else {}
            return {self.column: kept_number, **texts}
        kept = clean(text)
        if self.key is None:
            return {self.column: kept}
        return {self.column: kept, self.key: self.key_of(kept) if kept else None}

    def key_of(self, text: str) -> str | None:
        """Return the key of a value: None for a date or time that is none."""
        if self.kind is FieldKind.DATE:
            return date_key(text)
        if self.kind is FieldKind.TIME:
            return time_key(text)
        if self.kind is FieldKind.NAME:
            return "\\".join(name_keys(text))[:MAX_KEY]
        return text_key(text)


def column_name(keyword: str) -> str:
    """Return `study_instance_uid` for `StudyInstanceUID`."""
    return _WORDS.sub("_", keyword).lower()


def _field(keyword: str, level: Level) -> Field:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    several = dictionary_VM(tag) != "1"
    vr = vr_of(keyword)
    kind = _KINDS.get(vr, FieldKind.TEXT)
    return Field(keyword, level, kind, column_name(keyword), several, vr)


FIELDS: Final[dict[str, Field]] = {kw: _field(kw, level) for level, keywords in HELD.items() for kw in keywords}
"""Keyword → field, in the order of `HELD`."""

LEVEL_FIELDS: Final[dict[Level, tuple[Field, ...]]] = {
    level: tuple(field for field in FIELDS.values() if field.level is level) for level in Level
}
STUDY_ROW_FIELDS: Final = LEVEL_FIELDS[Level.PATIENT] + LEVEL_FIELDS[Level.STUDY]
"""A study's row has the patient's attributes too, as they were when the study was made."""
