"""Orthanc REST: all tags of an instance, from its sidecar."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.instance_location import instance_location
from osteon_query.orthanc.tag_formats import TagFormat, write_tags
from osteon_query.packs.sidecars import parse_header, read_lines

router = APIRouter(prefix="/instances", tags=["Tags"])


@router.get("/{id}/tags")
async def tags(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the tags by number, by name with `simplify`, as bare values with `short`."""
    return await _tags(request, state, id, tag_format_of(request))


@router.get("/{id}/simplified-tags")
async def simplified_tags(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the tags by name."""
    return await _tags(request, state, id, TagFormat.SIMPLIFIED)


def tag_format_of(request: Request) -> TagFormat:
    """Choose the format that the parameters `simplify` and `short` name."""
    given = request.query_params
    return TagFormat.SIMPLIFIED if "simplify" in given else TagFormat.SHORT if "short" in given else TagFormat.FULL


async def _tags(request: Request, state: AppState, id: str, form: TagFormat) -> Response:
    location = await instance_location(request, state, resource_id(id))
    line = (await read_lines(state.sidecars, [location]))[0]
    any_length = "ignore-length" in request.query_params or "whole" in request.query_params
    # In a thread: a header may have 200,000 elements.
    header = await asyncio.to_thread(parse_header, line.header.json)
    return json_response(await asyncio.to_thread(write_tags, header, form, any_length=any_length))
