"""Changing user data for a request."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from osteon.user_data.change import change_user_data
from osteon.user_data.port import UserData
from osteon_query.app_state import AppState
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.orthanc.resource_types import ResourceType


async def change(
    request: Request, state: AppState, kind: ResourceType, id: str, changed: Callable[[UserData], UserData]
) -> UserData:
    """Change the user data of a resource; raises as `change_user_data`, and `UnknownResource`."""
    return await change_user_data(
        kind.level,
        resource_id(id),
        changed,
        objects=state.objects,
        store=state.user_data,
        correlation_id=correlation_id(request),
    )


def empty_response(**headers: str) -> Response:
    """Return what Orthanc answers to a change: nothing, as text."""
    return Response(b"", headers=headers, media_type="text/plain")
