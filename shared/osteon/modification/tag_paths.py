"""Where an attribute is in a data set, as Orthanc spells it: `ReferencedStudySequence[0].StudyInstanceUID`, `[*]`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from osteon.dicom.attribute_names import UnknownAttribute, tag_of
from osteon.modification.errors import BadModification

_STEP: Final = re.compile(r"([^\[\].]+)\[(\*|\d{1,6})\]", re.ASCII)
_MAX_NAME: Final = 512


@dataclass(frozen=True, slots=True)
class TagPath:
    """An attribute: `steps` are sequences with the number of an item, None for all items. `name` is for messages."""

    name: str
    steps: tuple[tuple[int, int | None], ...]
    tag: int

    @property
    def top(self) -> int:
        """The tag of the element of the data set itself that the attribute is, or is in."""
        return self.steps[0][0] if self.steps else self.tag

    def holders(self, dataset: Dataset) -> Iterator[Dataset]:
        """Iterate over the data set, or over the items of its sequences, that the attribute belongs to."""
        yield from _descend([dataset], self.steps)


def parse_tag_path(name: str) -> TagPath:
    """Read a path of keywords or tags; raises `BadModification`."""
    if len(name) > _MAX_NAME:
        raise BadModification(f"{name[:80]!r}… is longer than {_MAX_NAME} characters")
    *parents, last = name.split(".")
    steps = []
    for part in parents:
        found = _STEP.fullmatch(part)
        if found is None:
            raise BadModification(f"{name!r}: expected an item behind each sequence, such as {part[:80]}[0] or [*]")
        steps.append((_number(found[1], name), None if found[2] == "*" else int(found[2])))
    return TagPath(name, tuple(steps), _number(last, name))


def _number(part: str, name: str) -> int:
    try:
        return int(tag_of(part), 16)
    except UnknownAttribute as error:
        raise BadModification(f"{name[:80]!r}: {error}") from None


def _descend(datasets: list[Dataset], steps: tuple[tuple[int, int | None], ...]) -> Iterator[Dataset]:
    if not steps:
        yield from datasets
        return
    (tag, number), *rest = steps
    for dataset in datasets:
        items = dataset[tag].value if tag in dataset else ()
        if isinstance(items, Sequence):
            yield from _descend(list(items if number is None else items[number : number + 1]), tuple(rest))
