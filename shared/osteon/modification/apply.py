"""Applying a modification to a data set."""

from collections.abc import Collection
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from osteon.dicom.models import UNIQUE_KEYS, Level
from osteon.dicom.text_encoder import UTF8, CharacterNotEncodable, text_encoder_for
from osteon.modification.element_values import make_element, texts_of
from osteon.modification.request import Modification
from osteon.modification.tag_paths import TagPath, parse_tag_path
from osteon.modification.uids import UidMapping

_RENEWED: Final = {
    Level.PATIENT: (Level.STUDY, Level.SERIES, Level.IMAGE),
    Level.STUDY: (Level.STUDY, Level.SERIES, Level.IMAGE),
    Level.SERIES: (Level.SERIES, Level.IMAGE),
    Level.IMAGE: (Level.IMAGE,),
}
"""Level that is modified → levels whose UIDs are new then, as in Orthanc."""


class ModificationApplier:
    """Changes data sets as a modification says, under the UIDs of `uids`."""

    def __init__(self, modification: Modification, uids: UidMapping) -> None:
        self._modification = modification
        self._uids = uids
        self._remove = [parse_tag_path(name) for name in modification.remove]
        self._keep = {parse_tag_path(name).top for name in modification.keep}
        self._replace = [(parse_tag_path(name), value) for name, value in modification.replace.items()]
        fixed = modification.identifiers("replace") | modification.identifiers("keep")
        fixed |= {each for each in UNIQUE_KEYS.values() if f"{_TAGS[each]:08X}" in modification.elements}
        self._renewed = [level for level in _RENEWED[modification.level] if UNIQUE_KEYS[level] not in fixed]
        self._texts = [text for _, value in self._replace for text in texts_of(value) if not text.isascii()]
        self._texts += [t for element in modification.elements.values() for t in _json_texts(element)]

    def __call__(self, dataset: Dataset) -> None:
        """Change a data set. Raises `BadModification`."""
        self.remove(dataset)
        self.replace(dataset)
        for level in self._renewed:
            keyword = UNIQUE_KEYS[level]
            if keyword in dataset:
                old = str(dataset[keyword].value or "")
                dataset.add(DataElement(_TAGS[keyword], "UI", self._uids.new_uid(level, old)))

    def remove(self, dataset: Dataset) -> None:
        """Remove what is to be removed."""
        if self._modification.remove_private:
            remove_private(dataset, self._keep)
        for path in self._remove:
            for holder in path.holders(dataset):
                if path.tag in holder and not (path.tag in self._keep and not path.steps):
                    del holder[path.tag]

    def replace(self, dataset: Dataset) -> None:
        """Set the values that are given."""
        if self._texts:
            use_characters(dataset, self._texts)
        for path, value in self._replace:
            for holder in path.holders(dataset):
                self._set(holder, path, value)
        if self._modification.elements:
            dataset.update(Dataset.from_json(self._modification.elements))

    def _set(self, holder: Dataset, path: TagPath, value: Any) -> None:
        creator = self._modification.private_creator
        if path.tag >> 16 & 1 and creator and path.tag & 0xFFFF >= 0x1000:
            number = path.tag & 0xFFFF0000 | (path.tag & 0xFFFF) >> 8
            if number not in holder:
                holder.add(DataElement(number, "LO", creator))
        known = holder[path.tag].VR if path.tag in holder else ""
        holder.add(make_element(path.tag, value, vr="" if known in ("UN", "SQ") else known, creator=creator))


def remove_private(dataset: Dataset, keep: Collection[int] = ()) -> None:
    """Remove the private elements of a data set and of its sequences, but for those of `keep` and their creators."""
    blocks = {tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8 for tag in keep}
    for tag in list(map(int, dataset.keys())):
        if tag >> 16 & 1:
            if tag not in keep and tag not in blocks:
                del dataset[tag]
        elif dataset.get_item(tag).VR in ("SQ", None) and dataset[tag].VR == "SQ" and _has_private(dataset[tag]):
            for item in dataset[tag].value:
                remove_private(item)


def _has_private(element: DataElement) -> bool:
    return any(
        int(nested.tag) >> 16 & 1 or (nested.VR == "SQ" and _has_private(nested))
        for item in element.value
        for nested in item
    )


def use_characters(dataset: Dataset, texts: Collection[str]) -> None:
    """Convert a data set to UTF-8 unless its own character set has all characters of `texts`."""
    values = dataset.get("SpecificCharacterSet") or ()
    encoder = text_encoder_for((values,) if isinstance(values, str) else tuple(values))
    try:
        if encoder is not None:
            for text in texts:
                encoder.encode(text, is_name=False)
            return
    except CharacterNotEncodable:
        pass
    dataset.decode()
    dataset.SpecificCharacterSet = UTF8


def _json_texts(element: Any) -> list[str]:
    """Return text of DICOM JSON that is not ASCII."""
    if isinstance(element, str):
        return [] if element.isascii() else [element]
    children = element.values() if isinstance(element, dict) else element if isinstance(element, list) else ()
    return [text for child in children for text in _json_texts(child)]


_TAGS: Final = {"PatientID": 0x00100020, "StudyInstanceUID": 0x0020000D, "SeriesInstanceUID": 0x0020000E,
                "SOPInstanceUID": 0x00080018}  # fmt: skip
