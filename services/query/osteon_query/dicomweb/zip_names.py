"""Names of the files in a ZIP archive: folders of study and series with readable names, files by SOP Instance UID."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, Final

from osteon.archive.resources import Location
from osteon.errors import Invalid, NotFound
from osteon_query.packs.instance_reader import InstanceRequest
from osteon_query.packs.sidecars import Sidecars

_STUDY: Final = ("00100010", "00080020", "00081030")
"""Patient's Name, Study Date, Study Description."""
_SERIES: Final = ("00080060", "00200011", "0008103E")
"""Modality, Series Number, Series Description."""
_MAX_LENGTH: Final = 80
_UNSAFE: Final = re.compile(r"(?:[^\w.+=-]|\.\.)+")
"""Characters with a meaning in some file system or shell."""


async def with_names(
    sidecars: Sidecars, requests: AsyncIterator[InstanceRequest]
) -> AsyncGenerator[InstanceRequest, None]:
    """Name the file of each instance."""
    folders: dict[tuple[str, str], str] = {}
    async for request in requests:
        identity = request.location.identity
        key = identity.study_uid, identity.series_uid
        if key not in folders:
            folders[key] = await _folder(sidecars, request.location, set(folders.values()))
        yield replace(request, name=f"{folders[key]}/{identity.sop_uid}.dcm")


async def _folder(sidecars: Sidecars, location: Location, taken: set[str]) -> str:
    """Return a folder that no other series has."""
    try:
        header = await sidecars.header(location)
    except (NotFound, Invalid):
        header = {}  # the files are there all the same
    study = _name(header, _STUDY) or location.identity.study_uid
    series = _name(header, _SERIES) or location.identity.series_uid
    folder = f"{study}/{series}"
    return f"{folder}_{location.identity.series_uid}" if folder in taken else folder


def _name(header: Mapping[str, Any], tags: tuple[str, ...]) -> str:
    values = (header.get(tag, {}).get("Value", [""])[0] for tag in tags)
    plain = (value.get("Alphabetic", "") if isinstance(value, dict) else value for value in values)
    texts = (_UNSAFE.sub("_", "" if value is None else str(value)).strip("_") for value in plain)
    return "_".join(text for text in texts if text)[:_MAX_LENGTH].strip("._ ")
