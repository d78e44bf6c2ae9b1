"""Orthanc REST: the instances of a series in the order of their slices.

Slices of one orientation at different positions are a volume, in the order of their positions along its normal (PS3.3
C.7.6.2); all else is a sequence in the order of Instance Numbers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.attribute_names import tag_of
from osteon.dicom.attributes import element_text
from osteon.dicom.frames import number_of_frames
from osteon.dicom.models import Level
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.errors import TooLarge
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.packs.sidecars import parse_header, read_lines, sidecar_batches

router = APIRouter(prefix="/series", tags=["Series"])

_MOST: Final = 100_000
"""Instances, or frames, that are put in order."""
_POSITION, _ORIENTATION, _FRAMES, _NUMBER = map(
    tag_of, ("ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames", "InstanceNumber")
)
_NEAR: Final = 1e-4
"""Of normals, and mm between positions, that are taken for the same."""
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Slice:
    public_id: str
    frames: int
    number: int | None
    position: Vector | None
    normal: Vector | None

    @property
    def distance(self) -> float:
        """Return the place along the normal, in mm."""
        assert self.position is not None
        assert self.normal is not None
        return sum(a * b for a, b in zip(self.position, self.normal, strict=True))


@router.get("/{id}/ordered-slices")
async def ordered_slices(state: AppStateDep, id: str) -> Response:
    """List files and frames in the order of slices; `Type` is `Volume` or `Sequence`."""
    match = await state.index.get(Level.SERIES, resource_id(id))
    slices = await _read(state, match.public_id)
    if sum(each.frames for each in slices) > _MOST:
        raise TooLarge(f"the series has more than {_MOST} frames, which are not put in order")
    return json_response(await asyncio.to_thread(_ordered, slices))


async def _read(state: AppState, public_id: str) -> list[_Slice]:
    found: list[_Slice] = []
    async with aclosing(sidecar_batches(state.index.locate(InstanceScope(public_id=public_id)))) as batches:
        async for batch in batches:
            lines = await read_lines(state.sidecars, batch)
            found += await asyncio.to_thread(_slices, batch, lines)
            if len(found) > _MOST:
                raise TooLarge(f"the series has more than {_MOST} instances, which are not put in order")
    return found


def _slices(locations: Sequence[Location], lines: Sequence[SidecarLine]) -> list[_Slice]:
    return [_slice(at.public_id, parse_header(line.header.json)) for at, line in zip(locations, lines, strict=True)]


def _slice(public_id: str, header: Mapping[str, Any]) -> _Slice:
    position, orientation = _numbers(header, _POSITION, 3), _numbers(header, _ORIENTATION, 6)
    try:
        number = int(element_text(header.get(_NUMBER, {})))
    except ValueError:
        number = None
    return _Slice(
        public_id,
        number_of_frames(element_text(header.get(_FRAMES, {}))),
        number,
        (position[0], position[1], position[2]) if position else None,
        _cross(orientation) if orientation else None,
    )


def _numbers(header: Mapping[str, Any], tag: str, count: int) -> list[float]:
    """Return the numbers of an attribute, none when there are not as many."""
    values = header.get(tag, {}).get("Value", [])
    return list(map(float, values)) if len(values) == count and all(isinstance(v, int | float) for v in values) else []


def _cross(axes: Sequence[float]) -> Vector:
    """Return the normal of rows and columns."""
    a, b, c, d, e, f = axes
    return b * f - c * e, c * d - a * f, a * e - b * d


def _ordered(slices: list[_Slice]) -> dict[str, Any]:
    volume = _is_volume(slices)
    if volume:
        slices.sort(key=lambda each: each.distance)
    else:
        slices.sort(key=lambda each: (each.number is None, each.number or 0, each.public_id))
    return {
        "Type": "Volume" if volume else "Sequence",
        "Dicom": [f"/instances/{each.public_id}/file" for each in slices],
        "Slices": [f"/instances/{each.public_id}/frames/{n}" for each in slices for n in range(each.frames)],
        "SlicesShort": [[each.public_id, 0, each.frames] for each in slices],
    }


def _is_volume(slices: Sequence[_Slice]) -> bool:
    normal = slices[0].normal if len(slices) > 1 else None
    if normal is None or not any(normal):
        return False
    for each in slices:
        if each.frames > 1 or each.position is None or each.normal is None:
            return False
        if any(abs(a - b) > _NEAR for a, b in zip(each.normal, normal, strict=True)):
            return False
    distances = sorted(each.distance for each in slices)
    return all(after - before > _NEAR for before, after in pairwise(distances))
