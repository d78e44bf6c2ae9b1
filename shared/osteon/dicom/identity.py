"""Identity of instances: the DICOM UIDs, and the identifiers that Orthanc's clients use."""

import hashlib
from dataclasses import dataclass

from osteon.dicom.uids import is_uid
from osteon.errors import Invalid


class MissingIdentifier(Invalid):
    """A data set lacks a UID that every instance must have, or carries one that is not a UID (PS3.5 9.1)."""


def require_uid(name: str, uid: str) -> str:
    """Return a UID that every instance must have; raises `MissingIdentifier`, which calls it `name`."""
    if not is_uid(uid):
        raise MissingIdentifier(f"{name} {f'is {uid[:80]!r}, which is not a UID' if uid else 'is missing'}")
    return uid


@dataclass(frozen=True, slots=True)
class Identity:
    """The identifiers of one instance, as they stand in its data set, padding removed."""

    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str

    @property
    def public_patient(self) -> str:
        """Orthanc's identifier of the patient."""
        return public_id(self.patient_id)

    @property
    def public_study(self) -> str:
        """Orthanc's identifier of the study."""
        return public_id(self.patient_id, self.study_uid)

    @property
    def public_series(self) -> str:
        """Orthanc's identifier of the series."""
        return public_id(self.patient_id, self.study_uid, self.series_uid)

    @property
    def public_instance(self) -> str:
        """Orthanc's identifier of the instance."""
        return public_id(self.patient_id, self.study_uid, self.series_uid, self.sop_uid)


def public_id(*parts: str) -> str:
    """Hash identifiers from the patient downwards as Orthanc does: SHA-1 of them joined by `|`, five groups of hex."""
    return format_public_id(hashlib.sha1("|".join(parts).encode(), usedforsecurity=False).digest())


def format_public_id(digest: bytes) -> str:
    """Write a 20-byte digest as five groups of eight hexadecimal digits."""
    text = digest.hex()
    return "-".join(text[i : i + 8] for i in range(0, 40, 8))


def parse_public_id(text: str) -> bytes:
    """Return the 20 bytes of an Orthanc identifier; raises `Invalid` when it is not one."""
    digits = text.replace("-", "")
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != 20 or format_public_id(digest) != text.lower():
        raise Invalid(f"{text[:80]!r} is not an identifier: expected five groups of 8 hexadecimal digits")
    return digest
