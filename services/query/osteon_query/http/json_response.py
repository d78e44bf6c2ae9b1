"""Responses in JSON."""

from typing import Any, Final

import orjson
from starlette.responses import Response

JSON: Final = "application/json"


def json_response(body: Any) -> Response:
    """Send JSON."""
    return Response(orjson.dumps(body), media_type=JSON)
