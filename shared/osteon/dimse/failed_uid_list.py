"""Failed SOP Instance UID List (0008,0058) in the last response to C-MOVE and C-GET (PS3.4 C.4.2.1.4.2)."""

from io import BytesIO

from pydicom.filereader import read_dataset

from osteon.dicom import uids
from osteon.logging import get_logger

_FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
log = get_logger(__name__)


def read_failed_uids(data_set: bytes, transfer_syntax: str) -> tuple[str, ...]:
    """Return the list; empty when there is none, or none that can be read."""
    implicit = transfer_syntax == uids.IMPLICIT_VR_LITTLE_ENDIAN
    try:
        read = read_dataset(BytesIO(data_set), implicit, transfer_syntax != uids.EXPLICIT_VR_BIG_ENDIAN)
        element = read.get(_FAILED_SOP_INSTANCE_UID_LIST)
        value = [] if element is None or not element.value else element.value
    except Exception as error:  # pydicom raises whatever its parser trips over
        log.warning("failed SOP instance UID list not readable", error=repr(error))
        return ()
    return (str(value),) if isinstance(value, str) else tuple(str(uid) for uid in value)
