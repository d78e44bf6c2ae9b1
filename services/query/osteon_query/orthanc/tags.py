"""Orthanc REST: all tags of an instance, from its sidecar."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.models import Level
from osteon_query.dicomweb.metadata import lines_of
from osteon_query.http.context import Door, DoorOf, resource_id
from osteon_query.orthanc.resources import json_response
from osteon_query.orthanc.tag_formats import Form, write_tags
from osteon_query.packs.sidecars import parse_header

router = APIRouter(prefix="/instances", tags=["Tags"])


@router.get("/{id}/tags")
async def tags(request: Request, door: DoorOf, id: str) -> Response:
    """Send the tags by number, by name with `simplify`, as bare values with `short`."""
    return await _tags(request, door, id, form_of(request))


@router.get("/{id}/simplified-tags")
async def simplified_tags(request: Request, door: DoorOf, id: str) -> Response:
    """Send the tags by name."""
    return await _tags(request, door, id, Form.SIMPLIFIED)


def form_of(request: Request) -> Form:
    """Read `simplify` and `short`."""
    given = request.query_params
    return Form.SIMPLIFIED if "simplify" in given else Form.SHORT if "short" in given else Form.FULL


async def _tags(request: Request, door: Door, id: str, form: Form) -> Response:
    match = await door.index.get(Level.IMAGE, resource_id(id))
    assert match.instance is not None
    line = (await lines_of(door.sidecars, [match.instance.location]))[0]
    any_length = "ignore-length" in request.query_params or "whole" in request.query_params
    return json_response(write_tags(parse_header(line.header.json), form, any_length=any_length))
