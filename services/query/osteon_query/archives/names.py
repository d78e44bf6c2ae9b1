"""Paths of files in ZIP archives, as Orthanc builds them: patient, study and series by what they are called."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from osteon.archive.resources import Match

_KEPT: Final = frozenset("._")
_MAX_PART: Final = 120
"""Characters of a folder's name: few file systems take more than 255 bytes."""
_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
)
"""What Windows takes for devices, with any suffix."""


class ArchiveNames:
    """Names folders so that no two are alike, and files by the modality and a number."""

    def __init__(self, *, utf8: bool = True) -> None:
        """Without `utf8` letters beyond ASCII are left out."""
        self._utf8 = utf8
        self._folders: dict[str, str] = {}
        self._taken: Counter[str] = Counter()

    def folder(self, series: Match) -> str:
        """Return the folder of a series; that of its patient and its study are the same for all of theirs."""
        assert series.study is not None
        assert series.series is not None
        patient = self._named(
            "", series.patient.public_id, _joined(series.patient.attributes, "PatientID", "PatientName"), "Patient"
        )
        study = self._named(
            patient, series.study.public_id, _joined(series.study.attributes, "AccessionNumber", "StudyDescription"),
            "Study",
        )  # fmt: skip
        return self._named(
            study, series.series.public_id, _joined(series.series.attributes, "Modality", "SeriesDescription"),
            "Series",
        )  # fmt: skip

    def _named(self, parent: str, public_id: str, text: str, kind: str) -> str:
        if (known := self._folders.get(public_id)) is None:
            name = self._plain(text) or f"Unknown {kind}"
            path = f"{parent}/{name}" if parent else name
            self._taken[path.lower()] += 1
            count = self._taken[path.lower()]
            known = self._folders[public_id] = path if count == 1 else f"{path}-{count}"
        return known

    def _plain(self, text: str) -> str:
        """Keep letters, digits, dots and underscores; `^` and white space are one blank."""
        kept = (
            character
            for character in text.replace("^", " ")
            if character.isspace()
            or character in _KEPT
            or (character.isalnum() and (self._utf8 or character.isascii()))
        )
        name = " ".join("".join(kept).split())[:_MAX_PART].strip(". ")
        return f"_{name}" if name.partition(".")[0].strip().upper() in _DEVICES else name


def file_name(modality: str, number: int) -> str:
    """Return the name of the file number `number` of a series: eight characters that begin with the modality."""
    prefix = "".join(character for character in modality.upper() if character.isascii() and character.isalnum())[:2]
    return f"{prefix}{number:0{8 - len(prefix)}d}.dcm"


def _joined(attributes: Mapping[str, str], first: str, second: str) -> str:
    return f"{attributes.get(first, '')} {attributes.get(second, '')}"
