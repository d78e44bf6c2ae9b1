"""The HTTP API as one ASGI application."""

from collections.abc import Mapping
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from osteon import health
from osteon_query import start_page
from osteon_query.app_state import AppState
from osteon_query.dicomweb import bulk
from osteon_query.dicomweb import bulk_resources
from osteon_query.dicomweb import capabilities
from osteon_query.dicomweb import frames
from osteon_query.dicomweb import metadata
from osteon_query.dicomweb import qido
from osteon_query.dicomweb import rendered
from osteon_query.dicomweb import stow
from osteon_query.dicomweb import wado
from osteon_query.dicomweb import wado_uri
from osteon_query.http import cors
from osteon_query.http import openapi
from osteon_query.http import problems
from osteon_query.http.middleware import RequestContextMiddleware
from osteon_query.orthanc import changes
from osteon_query.orthanc import commitments
from osteon_query.orthanc import conflicts
from osteon_query.orthanc import destinations
from osteon_query.orthanc import find
from osteon_query.orthanc import hierarchy
from osteon_query.orthanc import instances
from osteon_query.orthanc import jobs
from osteon_query.orthanc import modalities
from osteon_query.orthanc import numpy_routes
from osteon_query.orthanc import peers
from osteon_query.orthanc import queries
from osteon_query.orthanc import rendering
from osteon_query.orthanc import resources
from osteon_query.orthanc import rules
from osteon_query.orthanc import shared_tags
from osteon_query.orthanc import system
from osteon_query.orthanc import tags

_ROUTERS = (
    start_page, capabilities, qido, wado, wado_uri, metadata, frames, bulk, bulk_resources, rendered, stow, instances, rendering,
    numpy_routes, tags, shared_tags, resources, hierarchy, find, changes, conflicts, system, modalities, queries, peers,
    commitments, rules, destinations, jobs,
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
    problems.install(app)
    app.add_middleware(RequestContextMiddleware)
    cors.install(app, state.settings.cors_origins)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.router.routes.extend(health.routes(checks))
    openapi.describe(app)
    return app
