"""Orthanc REST: the tags that all instances of a resource have alike."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.resource_types import INSTANCE, RESOURCE_TYPES, ResourceType
from osteon_query.orthanc.tag_formats import write_tags
from osteon_query.orthanc.tags import tag_format_of
from osteon_query.packs.sidecars import parse_header, read_lines, sidecar_batches

router = APIRouter(tags=["Tags"])

Header = Mapping[str, Any]


def _add_route(kind: ResourceType) -> None:
    @router.get(f"/{kind.segment}/{{id}}/shared-tags", name=f"shared tags of {kind.type.lower()}")
    async def shared_tags(request: Request, state: AppStateDep, id: str) -> Response:
        match = await state.index.get(kind.level, resource_id(id))
        shared, form = await _shared(state, match.public_id), tag_format_of(request)
        return json_response(await asyncio.to_thread(write_tags, shared, form))


for _kind in RESOURCE_TYPES:
    if _kind is not INSTANCE:
        _add_route(_kind)


async def _shared(state: AppState, public_id: str) -> Header:
    """Read every header of a resource, a batch of one sidecar at a time; bulk data are left out."""
    shared: Header | None = None
    async with aclosing(sidecar_batches(state.index.locate(InstanceScope(public_id=public_id)))) as found:
        async for batch in found:
            lines = await read_lines(state.sidecars, batch)
            shared = await asyncio.to_thread(_common, shared, [line.header.json for line in lines])
            if not shared:
                break
    return shared or {}


def _common(shared: Header | None, headers: Sequence[bytes]) -> Header:
    for raw in headers:
        header = parse_header(raw)
        if shared is None:
            shared = {tag: element for tag, element in header.items() if "BulkDataURI" not in element}
        else:
            shared = {tag: element for tag, element in shared.items() if header.get(tag) == element}
    return shared or {}
