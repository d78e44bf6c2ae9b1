"""Headers out of sidecars as metadata in the DICOM JSON Model (PS3.18 F.2).

Nothing is parsed: a sidecar writes each reference as `"BulkDataURI":"bulk/…"`, and no JSON text can hold these bytes,
as its quotes would be escaped.
"""

from typing import Final

import orjson

from osteon.archive.resources import Location
from osteon.dicom.json_values import without_texts

_BULK_URI: Final = b'"BulkDataURI":"bulk/'


def instance_url(dicomweb: str, location: Location) -> str:
    """Return the URL of an instance below that of DICOMweb."""
    identity = location.identity
    return f"{dicomweb}/studies/{identity.study_uid}/series/{identity.series_uid}/instances/{identity.sop_uid}"


def with_bulk_urls(header: bytes, instance: str) -> bytes:
    """Return a header with the instance's URL before the paths of its bulk data."""
    return without_texts(header).replace(_BULK_URI, b'"BulkDataURI":' + orjson.dumps(instance)[:-1] + b"/bulk/")
