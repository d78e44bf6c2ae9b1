"""User data for a request: names of codes, and changing them."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from osteon.contracts.user_data_names import (
    SYSTEM_ATTACHMENTS,
    SYSTEM_METADATA,
    CodeNames,
    is_user_code,
    parse_attachment_names,
    parse_names,
)
from osteon.user_data.change import change_user_data
from osteon.user_data.port import SystemDataReadOnly, UserData
from osteon_query.app_state import AppState
from osteon_query.http.errors import UnknownItem
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.orthanc.resource_types import ResourceType


@dataclass(frozen=True, slots=True)
class RequestNames(CodeNames):
    """Names that requests give; errors call it a `what`, whose names `setting` gives."""

    what: str
    setting: str

    def require(self, name: str) -> int:
        """Return the code of a name or number; raises `UnknownItem`."""
        code = self.code_of(name)
        if code is None:
            raise UnknownItem(f"there is no {self.what} {name[:80]!r}: {self.setting} names codes from 1024 on")
        return code

    def require_user(self, name: str) -> int:
        """Return a code under which users may write; raises `UnknownItem` and `SystemDataReadOnly`."""
        code = self.require(name)
        if not is_user_code(code):
            raise SystemDataReadOnly(f"the archive writes {self.what} {name[:80]!r}: users have codes from 1024 on")
        return code


def metadata_names(state: AppState) -> RequestNames:
    """Return the names of metadata, with those of `OSTEON_USER_METADATA`."""
    names = {**SYSTEM_METADATA, **parse_names(state.settings.user_metadata, SYSTEM_METADATA)}
    return RequestNames(names, "metadata", "OSTEON_USER_METADATA")


def attachment_names(state: AppState) -> RequestNames:
    """Return the names of attachments, with those of `OSTEON_USER_ATTACHMENTS`."""
    names = {**SYSTEM_ATTACHMENTS, **parse_attachment_names(state.settings.user_attachments)[0]}
    return RequestNames(names, "attachment", "OSTEON_USER_ATTACHMENTS")


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
