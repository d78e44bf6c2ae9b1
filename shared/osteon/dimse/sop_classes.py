"""Which SOP classes and transfer syntaxes the acceptor takes (PS3.4 B.5, C.6; PS3.5 A; PS3.6 A)."""

from collections.abc import Mapping
from enum import Enum
from functools import cache

from pydicom._uid_dict import UID_dictionary
from pynetdicom.sop_class import _NON_PATIENT_OBJECT_CLASSES, _STORAGE_CLASSES

from osteon.dicom import uids
from osteon.dicom.models import FIND_MODELS, GET_MODELS, MOVE_MODELS

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"
COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 J)."""
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"

UNCOMPRESSED = frozenset(
    {
        uids.IMPLICIT_VR_LITTLE_ENDIAN,
        uids.EXPLICIT_VR_LITTLE_ENDIAN,
        uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids.EXPLICIT_VR_BIG_ENDIAN,
    }
)
_VIDEO_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.77.1.1.1",  # Video Endoscopic
        "1.2.840.10008.5.1.4.1.1.77.1.2.1",  # Video Microscopic
        "1.2.840.10008.5.1.4.1.1.77.1.4.1",  # Video Photographic
    }
)
_EASILY_SENT = (
    uids.EXPLICIT_VR_LITTLE_ENDIAN,
    uids.IMPLICIT_VR_LITTLE_ENDIAN,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)

# These are not encodings of a data set that a C-STORE could carry: MIME, XML, and the real-time video of PS3.22.
_NOT_FOR_DATA_SETS = ("1.2.840.10008.1.2.6.", "1.2.840.10008.1.2.7.")
STORAGE_SYNTAXES = frozenset(uid for uid in uids.TRANSFER_SYNTAXES if not uid.startswith(_NOT_FOR_DATA_SETS))
"""Every transfer syntax in which a data set can be sent, retired and compressed ones included."""
_STANDARD_ROOT = "1.2.840.10008."
_STANDARD_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_NO_PATIENT_STORAGE = frozenset(
    {
        "1.2.840.10008.1.3.10",  # Media Storage Directory: files only
        "1.2.840.10008.5.1.1.27",  # Stored Print: no composite instance
        *(str(uid) for uid in _NON_PATIENT_OBJECT_CLASSES.values()),
    }
)


class ServiceClass(Enum):
    """What an abstract syntax is for."""

    VERIFICATION = "verification"
    STORAGE = "storage"
    QUERY = "query"
    MOVE = "move"
    GET = "get"
    COMMITMENT = "commitment"


_SERVICES = {
    VERIFICATION: ServiceClass.VERIFICATION,
    COMMITMENT: ServiceClass.COMMITMENT,
    **dict.fromkeys(FIND_MODELS, ServiceClass.QUERY),
    **dict.fromkeys(MOVE_MODELS, ServiceClass.MOVE),
    **dict.fromkeys(GET_MODELS, ServiceClass.GET),
}


def services() -> Mapping[str, ServiceClass]:
    """Return the SOP classes of all services but storage."""
    return _SERVICES


@cache
def storage_classes() -> frozenset[str]:
    """Return every composite SOP class of the standard that belongs to a patient, the retired ones included."""
    retired = (
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and not name.startswith("Storage Commitment")
    )
    known = {str(uid) for uid in _STORAGE_CLASSES.values()}
    return frozenset(known.union(retired)) - _NO_PATIENT_STORAGE


def service_of(sop_class: str, *, extra: tuple[str, ...], unknown: bool, declared: str) -> ServiceClass | None:
    """Return what an abstract syntax is for, or None when it is not offered.

    Args:
        sop_class: abstract syntax.
        extra: further SOP classes that are stored.
        unknown: whether SOP classes that no dictionary knows are stored.
        declared: service class UID that the requestor gave for it (PS3.7 D.3.3.6), or empty.
    """
    if sop_class in _SERVICES:
        return _SERVICES[sop_class]
    if sop_class in storage_classes() or sop_class in extra:
        return ServiceClass.STORAGE
    if sop_class in UID_dictionary or sop_class in _NO_PATIENT_STORAGE:
        return None
    if declared:
        return ServiceClass.STORAGE if declared == STORAGE_SERVICE_CLASS else None
    could_be = sop_class.startswith(_STANDARD_STORAGE_ROOT) or not sop_class.startswith(_STANDARD_ROOT)
    return ServiceClass.STORAGE if unknown and could_be else None


def choose_syntax(service: ServiceClass, proposed: list[str], *, to_send: str = "") -> str | None:
    """Return the transfer syntax to accept, or None.

    The requestor's order counts, so that what a modality compressed is stored as it is. Only Implicit VR gives way
    to Explicit VR Little Endian where both are proposed: it loses the VRs of private elements. GE's private syntax,
    which few can read, gives way to every other.

    In a context that is only for sending instances of the SOP class `to_send` (C-GET) it is Explicit VR Little Endian
    wherever that is proposed, then another one without compression: in these nearly all that is stored can be sent
    without further loss, and to decode takes less than to encode. A requestor that wants compressed instances as they
    are proposes a context for each syntax. Video is the exception: it comes compressed, and is not decoded.
    """
    known = STORAGE_SYNTAXES if service is ServiceClass.STORAGE else UNCOMPRESSED
    usable = [uid for uid in proposed if uid in known]
    usable = [uid for uid in usable if uid != uids.GE_BIG_ENDIAN_PIXELS] or usable
    if not usable:
        return None
    if to_send in _VIDEO_CLASSES:
        return next((uid for uid in usable if uid not in UNCOMPRESSED), usable[0])
    if to_send:
        return next((uid for uid in _EASILY_SENT if uid in usable), usable[0])
    if usable[0] == uids.IMPLICIT_VR_LITTLE_ENDIAN and uids.EXPLICIT_VR_LITTLE_ENDIAN in usable:
        return uids.EXPLICIT_VR_LITTLE_ENDIAN
    return usable[0]
