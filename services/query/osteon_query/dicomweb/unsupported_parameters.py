"""Query parameters that a DICOMweb resource does not have are ignored, with a Warning (PS3.18 8.3).

Names are compared without case, so that a parameter in another spelling is not reported as unknown.
"""

from typing import Final

from starlette.requests import Request

from osteon_query.app_state import dicomweb_url
from osteon_query.http.openapi import supported_parameters
from osteon_query.http.request_values import ignored_parameters, warn

_EVERYWHERE: Final = frozenset({"accept", "charset"})
"""PS3.18 8.3.3."""


async def warn_of_unsupported(request: Request) -> None:
    """Add a Warning that names the parameters which the operation does not have."""
    if not request.scope["query_string"]:
        return
    known = _EVERYWHERE | supported_parameters(request.scope["route"].path, request.method)
    if unknown := [name for name in request.query_params if name.lower() not in known]:
        warn(request, dicomweb_url(request, request.app.state.app_state), ignored_parameters(unknown))
