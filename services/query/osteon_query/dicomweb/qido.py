"""QIDO-RS: search for studies, series and instances (PS3.18 10.6).

No result is 204 without a body, as Table 10.6.3-1 says; clients that expect an empty list treat it as one.
"""

import asyncio
import time
from typing import Any
from uuid import uuid4

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import Match
from osteon.dicom.json_values import without_texts
from osteon.dicom.models import Level
from osteon.dicom.xml import to_xml
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.qido_parameters import QidoQuery, parse, warnings
from osteon_query.http.accept import DICOM_JSON, DICOM_XML, MULTIPART, accepts_json
from osteon_query.http.errors import TooBroad
from osteon_query.http.request_values import uid_of
from osteon_query.search.conditions import SearchLimits, format_paths
from osteon_query.search.header_matching import HeaderKeys, check_candidates, pages_by_header
from osteon_query.search.results import build_results

router = APIRouter(prefix="/dicom-web", tags=["QIDO-RS"])


@router.get("/studies")
async def studies(request: Request, state: AppStateDep) -> Response:
    """Search for studies by the matching keys of the query string."""
    return await _search(request, state, Level.STUDY)


@router.get("/series")
async def all_series(request: Request, state: AppStateDep) -> Response:
    """Search for series of all studies."""
    return await _search(request, state, Level.SERIES)


@router.get("/instances")
async def all_instances(request: Request, state: AppStateDep) -> Response:
    """Search for instances of all studies."""
    return await _search(request, state, Level.IMAGE)


@router.get("/studies/{study}/series")
async def series_of_study(request: Request, state: AppStateDep, study: str) -> Response:
    """Search for series of a study."""
    return await _search(request, state, Level.SERIES, study)


@router.get("/studies/{study}/instances")
async def instances_of_study(request: Request, state: AppStateDep, study: str) -> Response:
    """Search for instances of a study."""
    return await _search(request, state, Level.IMAGE, study)


@router.get("/studies/{study}/series/{series}/instances")
async def instances_of_series(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Search for instances of a series."""
    return await _search(request, state, Level.IMAGE, study, series)


async def _search(
    request: Request, state: AppState, level: Level, study: str | None = None, series: str | None = None
) -> Response:
    as_json = accepts_json(request)
    query = parse(
        level,
        request.query_params.multi_items(),
        max_results=state.settings.query_limit,
        limits=SearchLimits.from_settings(state.settings),
        study=None if study is None else uid_of("the study", study),
        series=None if series is None else uid_of("the series", series),
    )
    started = time.perf_counter()
    matches = await _matches(state, query)
    metrics.SEARCH_SECONDS.labels("qido").observe(time.perf_counter() - started)
    shown = matches[: query.limit]
    base = dicomweb_url(request, state)
    response = await _answer(state, shown, query, base, as_json=as_json)
    for warning in warnings(query, base, more=len(matches) > len(shown)):
        response.headers.append("Warning", warning)
    return response


async def _matches(state: AppState, query: QidoQuery) -> list[Match]:
    """Return at most one match more than are shown."""
    if not query.by_header:
        return list((await state.index.search(query.search)).matches)
    names = format_paths(one.path for one in query.by_header)
    await check_candidates(state.index, query.search, names, state.limits.header_candidates, TooBroad)
    keys = HeaderKeys(query.by_header, case_sensitive=True)
    found = pages_by_header(state.index, state.sidecars, query.search, keys, total=query.search.limit)
    return [match async for page in found for match in page]


async def _answer(state: AppState, shown: list[Match], query: QidoQuery, base: str, *, as_json: bool) -> Response:
    if not shown:
        return Response(status_code=204)
    found = await build_results(shown, query.return_keys, index=state.index, sidecars=state.sidecars)
    for match, answer in zip(shown, found, strict=True):
        answer["00081190"] = {"vr": "UR", "Value": [_url(match, base)]}
    if as_json:
        return Response(without_texts(orjson.dumps([_sort_tags(answer) for answer in found])), media_type=DICOM_JSON)
    boundary = uuid4().hex
    head = f"--{boundary}\r\nContent-Type: {DICOM_XML}\r\n\r\n".encode()

    def documents() -> bytes:  # one document a result (10.6.4)
        parts = [head + to_xml(_sort_tags(answer)) + b"\r\n" for answer in found]
        return b"".join(parts) + f"--{boundary}--\r\n".encode()

    body = await asyncio.to_thread(documents)
    return Response(body, media_type=f'{MULTIPART}; type="{DICOM_XML}"; boundary={boundary}')


def _sort_tags(answer: dict[str, Any]) -> dict[str, Any]:
    return {tag: answer[tag] for tag in sorted(answer)}


def _url(match: Match, base: str) -> str:
    """Return the Retrieve URL (0008,1190) of what was found."""
    url = base
    for part, keyword, resource in (
        ("studies", "StudyInstanceUID", match.study),
        ("series", "SeriesInstanceUID", match.series),
        ("instances", "SOPInstanceUID", match.instance),
    ):
        if resource is not None:
            url += f"/{part}/{resource.attributes[keyword]}"
    return url
