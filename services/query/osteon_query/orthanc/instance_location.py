"""Where the instance of a URL is: as it is served, or as it was received."""

from starlette.requests import Request

from osteon.archive.resources import Location
from osteon.dicom.models import Level
from osteon.reconciliation.originals import as_received
from osteon_query.app_state import AppState
from osteon_query.http.request_values import requests_original


async def instance_location(request: Request, state: AppState, public_id: str) -> Location:
    """Return where an instance is, with `original=true` as it was received; raises `ResourceNotFound`."""
    match = await state.index.get(Level.IMAGE, public_id)
    assert match.instance is not None
    location = match.instance.location
    if requests_original(request):
        uid = location.identity.sop_uid
        versions = (await state.conflicts.versions([uid])).get(uid, ())
        location = as_received(versions).location if versions else location
    return location
