"""The ports and settings that every route works with, and the URLs of the archive."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from osteon.archive.changes import ChangeLog
from osteon.archive.conflicts import ConflictingVersions
from osteon.archive.ports import ArchiveReader, ArchiveStatistics
from osteon.bus.port import Bus
from osteon.commitment.port import Commitments
from osteon.jobs.port import Jobs
from osteon.objects.port import Objects
from osteon.reconciliation.requests import ReconciliationIndex
from osteon.remotes.port import Remotes
from osteon.remotes.queries import RemoteQueries
from osteon.rules.port import Circuits, Rules
from osteon.sending.transcoder import Transcoder
from osteon.user_data.port import UserDataStore
from osteon_query.archives.writer import ArchiveWriter
from osteon_query.http.bodies import limited_body
from osteon_query.http.errors import BadParameter
from osteon_query.http.request_values import correlation_id
from osteon_query.images.render_client import RenderClient
from osteon_query.limits import ApiLimits
from osteon_query.packs.fragments import FragmentLocator
from osteon_query.packs.frames import FrameLocator
from osteon_query.packs.sidecars import Sidecars
from osteon_query.packs.uploads import Upload, Uploads
from osteon_query.settings import QueryBaseSettings

MAX_QUERY_PARAMETERS: Final = 1_000
_PROXIED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """The ports, settings and limits behind the HTTP routes."""

    settings: QueryBaseSettings
    bus: Bus
    index: ArchiveReader
    totals: ArchiveStatistics
    change_log: ChangeLog
    conflicts: ConflictingVersions
    reconciliation: ReconciliationIndex
    commitments: Commitments
    jobs: Jobs
    remotes: Remotes
    remote_queries: RemoteQueries
    rules: Rules
    circuits: Circuits
    user_data: UserDataStore
    objects: Objects
    sidecars: Sidecars
    uploads: Uploads
    transcoder: Transcoder
    pictures: RenderClient
    archives: ArchiveWriter
    archive_slots: asyncio.Semaphore
    frame_locator: FrameLocator = field(default_factory=FrameLocator)
    fragments: FragmentLocator = field(default_factory=FragmentLocator)
    limits: ApiLimits = field(default_factory=ApiLimits)


async def _state(request: Request) -> AppState:
    if request.scope.get("query_string", b"").count(b"&") >= MAX_QUERY_PARAMETERS:
        raise BadParameter(f"more than {MAX_QUERY_PARAMETERS} query parameters")
    state: AppState = request.app.state.app_state
    return state


AppStateDep = Annotated[AppState, Depends(_state)]
"""Annotation of a route's parameter that takes the state of the application."""


def base_url(request: Request, state: AppState) -> str:
    """Return the URL of the archive's root as the client sees it, without a slash at its end."""
    if state.settings.public_url:
        return state.settings.public_url.rstrip("/")
    url = request.base_url
    server = request.scope.get("server")
    # Some clients (dicomweb-client) leave the port out of Host; a proxy that does says that it is one.
    if server and server[1] and url.port is None and not any(name in request.headers for name in _PROXIED):
        default = 443 if url.scheme == "https" else 80
        url = url if server[1] == default else url.replace(port=server[1])
    return str(url).rstrip("/")


def dicomweb_url(request: Request, state: AppState) -> str:
    """Return the base URL of DICOMweb."""
    return base_url(request, state) + "/dicom-web"


def client_key(request: Request) -> str:
    """Return whom limits of a client count for: the address, as long as requests have no user."""
    return request.client.host if request.client else ""


@asynccontextmanager
async def open_upload(
    request: Request, state: AppState, limit: int | None = None, setting: str = "OSTEON_MAX_UPLOAD_BYTES"
) -> AsyncIterator[tuple[Upload, AsyncGenerator[bytes, None]]]:
    """Begin an upload, and yield it with the body of the request; raises as `Uploads.open` and `limited_body` do.

    A body may have `limit` bytes, which a `setting` names; those of any upload when it is left out.
    """
    remote = request.client.host if request.client else ""
    limit, pace = state.settings.max_upload_bytes if limit is None else limit, state.limits.body_pace
    async with (
        state.uploads.open(correlation_id(request), remote, client_key(request)) as upload,
        aclosing(limited_body(request, limit, setting, pace)) as body,
    ):
        yield upload, body
