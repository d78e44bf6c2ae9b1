"""User data for a request: names of codes, and changing them."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from osteon.contracts.user_data_names import (
    SYSTEM_ATTACHMENTS,
    SYSTEM_METADATA,
    CodeNames,
    parse_attachment_names,
    parse_names,
)
from osteon.user_data.change import change_user_data
from osteon.user_data.port import UserData
from osteon_query.app_state import AppState
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.orthanc.resource_types import ResourceType


def metadata_names(state: AppState) -> CodeNames:
    """Return the names of metadata, with those of `OSTEON_USER_METADATA`."""
    return CodeNames({**SYSTEM_METADATA, **parse_names(state.settings.user_metadata, SYSTEM_METADATA)})


def attachment_names(state: AppState) -> CodeNames:
    """Return the names of attachments, with those of `OSTEON_USER_ATTACHMENTS`."""
    return CodeNames({**SYSTEM_ATTACHMENTS, **parse_attachment_names(state.settings.user_attachments)[0]})


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
