"""The HTTP API as one ASGI application."""

from collections.abc import Mapping
from typing import Final

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from osteon import health
from osteon_query import start_page
from osteon_query.app_state import AppState
from osteon_query.dicomweb import (
    bulk,
    bulk_resources,
    capabilities,
    frames,
    metadata,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
)
from osteon_query.dicomweb.unsupported_parameters import warn_of_unsupported
from osteon_query.http import cors, openapi, problems
from osteon_query.http.cancellation import CancelAbandonedMiddleware
from osteon_query.http.middleware import RequestContextMiddleware
from osteon_query.orthanc import (
    archives,
    attachments,
    changes,
    commitments,
    conflicts,
    conformance,
    creation,
    destinations,
    dicomweb_servers,
    find,
    hierarchy,
    instances,
    jobs,
    labels,
    modalities,
    modification,
    modules,
    numpy_routes,
    ordered_slices,
    peers,
    queries,
    reconciliations,
    rendering,
    resource_metadata,
    resources,
    rules,
    shared_tags,
    system,
    tags,
    tools,
)

_DICOMWEB = (wado, wado_uri, metadata, frames, bulk, bulk_resources, rendered, stow)
ROUTERS: Final = (
    start_page, capabilities, qido, *_DICOMWEB, instances, rendering, numpy_routes, tags, shared_tags, resources,
    labels, hierarchy, find, changes, conflicts, reconciliations, system, modalities, queries, peers, dicomweb_servers,
    resource_metadata, attachments, commitments, rules, destinations, modification, archives,
    jobs, modules, tools, creation, ordered_slices,
    conformance,
)  # fmt: skip


def create_app(state: AppState, checks: Mapping[str, health.Check]) -> FastAPI:
    """Put the routes together over the ports of `state`."""
    app = FastAPIOffline(
        redoc_url=None,
        title="Osteon",
        description="DICOMweb, and the part of Orthanc's REST API that its clients call.",
        favicon_url="data:,",
        redirect_slashes=False,
    )
    app.state.app_state = state
    problems.install(app, moved_to=reconciliations.moved_to)
    app.add_middleware(CancelAbandonedMiddleware)
    cors.install(app, state.settings.cors_origins)
    app.add_middleware(RequestContextMiddleware)
    for module in ROUTERS:
        app.include_router(module.router, dependencies=[Depends(warn_of_unsupported)] if module in _DICOMWEB else [])
    app.router.routes.extend(health.routes(checks))
    openapi.describe(app)
    return app
