"""The attributes of the Patient Module and the General Study Module (PS3.3 C.7.1.1, C.7.2.1): what studies share."""

from collections.abc import Mapping
from typing import Any, Final

from osteon.dicom.attribute_names import describe
from osteon.modification.errors import BadModification
from osteon.modification.request import Modification
from osteon.modification.tag_paths import parse_tag_path

STUDY_UID: Final = 0x0020000D
_MODULES: Final = frozenset({
    0x00081120, 0x00100010, 0x00100020, 0x00100021, 0x00100024, 0x00100030, 0x00100032, 0x00100033, 0x00100034,
    0x00100035, 0x00100040, 0x00100200, 0x00101000, 0x00101001, 0x00101002, 0x00101100, 0x00102160, 0x00102201,
    0x00102202, 0x00102292, 0x00102293, 0x00102294, 0x00102296, 0x00102297, 0x00102298, 0x00102299, 0x00104000,
    0x00120062, 0x00120063, 0x00120064,
    0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080090, 0x00080096, 0x0008009C, 0x0008009D, 0x00081030,
    0x00081032, 0x00081048, 0x00081049, 0x00081060, 0x00081062, 0x00081110, 0x00200010, STUDY_UID, 0x00321034,
    0x00401012,
})  # fmt: skip


def shared_elements(header: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a header (DICOM JSON) says of its patient and study."""
    names = {f"{tag:08X}" for tag in _MODULES}
    return {tag: dict(element) for tag, element in header.items() if tag in names and "BulkDataURI" not in element}


def other_elements(elements: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the attributes of patient and study that `elements` lack."""
    return tuple(f"{tag:08X}" for tag in sorted(_MODULES) if f"{tag:08X}" not in elements)


def check_shared(modification: Modification) -> None:
    """Raise `BadModification` when anything else than patient and study is changed, or the study's UID is given."""
    for name in (*modification.replace, *modification.remove):
        top = parse_tag_path(name).top
        if top not in _MODULES or top == STUDY_UID:
            raise BadModification(
                "Cannot modify the following tag while splitting a study (not in the patient/study modules): "
                f"{describe((f'{top:08X}',))}"
            )
