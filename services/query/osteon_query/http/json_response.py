"""JSON responses of the routes outside DICOMweb."""

from typing import Any, Final

import orjson
from starlette.responses import Response

JSON: Final = "application/json"


def json_response(body: Any) -> Response:
    """Return a response with `body` encoded by orjson; raises `JSONEncodeError`."""
    return Response(orjson.dumps(body), media_type=JSON)
