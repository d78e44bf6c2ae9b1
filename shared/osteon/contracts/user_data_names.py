"""Names of metadata and attachments, and the codes that stand for them in Orthanc's REST API."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

FIRST_USER_CODE: Final = 1024
LAST_USER_CODE: Final = 65_535
"""Codes of metadata and attachments that users choose, as in Orthanc."""
SYSTEM_METADATA: Final[Mapping[str, int]] = {
    "IndexInSeries": 1, "ReceptionDate": 2, "RemoteAET": 3, "ExpectedNumberOfInstances": 4, "ModifiedFrom": 5,
    "AnonymizedFrom": 6, "LastUpdate": 7, "Origin": 8, "TransferSyntax": 9, "SopClassUid": 10, "RemoteIP": 11,
    "CalledAET": 12, "HttpUsername": 13, "HttpHost": 14, "PixelDataOffset": 15, "MainDicomTagsSignature": 16,
    "MainDicomSequences": 17, "PixelDataVR": 18,
}  # fmt: skip
"""What Orthanc itself notes of resources, of which this archive knows some."""
WRITTEN_BY_JOBS: Final = frozenset({SYSTEM_METADATA["ModifiedFrom"], SYSTEM_METADATA["AnonymizedFrom"]})
"""Codes of what is kept as users' metadata are, though users cannot write it: what a resource was made from."""
SYSTEM_ATTACHMENTS: Final[Mapping[str, int]] = {"dicom": 1, "dicom-as-json": 2, "dicom-until-pixel-data": 3}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MEDIA_TYPE: Final = re.compile(r"[a-z]+/[A-Za-z0-9.+-]+")
_CODE: Final = re.compile(r"\d{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CodeNames:
    """Names of codes. A code without a name is written as a number, and may be given as one."""

    codes: Mapping[str, int]

    def code_of(self, text: str) -> int | None:
        """Return the code of a name or number; None when it is neither."""
        if _CODE.fullmatch(text) and int(text) <= LAST_USER_CODE:
            return int(text)
        return self.codes.get(text)

    def name_of(self, code: int) -> str:
        """Return the name of a code."""
        return next((name for name, each in self.codes.items() if each == code), str(code))


def is_user_code(code: int) -> bool:
    """Whether users may write under a code; the others are the archive's."""
    return FIRST_USER_CODE <= code <= LAST_USER_CODE


def parse_attachment_names(words: Iterable[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Turn `report=1024:application/pdf` and so on into codes by name and media types by code; raises `ValueError`."""
    split = [word.partition(":") for word in words]
    codes = parse_names([word for word, _, _ in split], SYSTEM_ATTACHMENTS)
    types = {codes[word.partition("=")[0]]: media_type for word, colon, media_type in split if colon}
    for media_type in types.values():
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise ValueError(f"{media_type!r}: expected a media type such as application/pdf behind the colon")
    return codes, types


def parse_names(words: Iterable[str], system: Mapping[str, int]) -> dict[str, int]:
    """Turn `note=1024` and so on into codes by name; raises `ValueError` for what cannot be one, or is taken."""
    found: dict[str, int] = {}
    for word in words:
        name, _, code = word.partition("=")
        if not _NAME.fullmatch(name) or not _CODE.fullmatch(code) or not is_user_code(int(code)):
            raise ValueError(f"{word!r}: expected name=code with a code from {FIRST_USER_CODE} to {LAST_USER_CODE}")
        if name in system or name in found or int(code) in found.values():
            raise ValueError(f"{word!r}: the name or the code is used already")
        found[name] = int(code)
    return found
