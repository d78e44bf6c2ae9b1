"""What this archive can do: the Retrieve Capabilities transaction (PS3.18 8.9, annex H), and a page for `/dicom-web`.

The description is made from the routes themselves, so it never differs from them.
"""

from collections.abc import Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.http.accept import DICOM, DICOM_JSON, DICOM_XML, MULTIPART, OCTETS, ZIP, media_ranges
from osteon_query.http.errors import NotAcceptable
from osteon_query.http.problems import DICOMWEB

router = APIRouter(prefix=DICOMWEB, tags=["Capabilities"])

WADL: Final = "application/vnd.sun.wadl+xml"
_NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"
_JSON: Final = "application/json"
_XML_PARTS: Final = f'{MULTIPART}; type="{DICOM_XML}"'
_MODEL: Final = (DICOM_JSON, _XML_PARTS)
_PICTURES: Final = ("image/jpeg", "image/png", "image/gif")
_OF_PIXELS: Final = tuple(f'{MULTIPART}; type="{kind}"' for kind in (OCTETS, "image/*", "video/*"))
_OF_VALUES: Final = (*_OF_PIXELS, f'{MULTIPART}; type="application/pdf"', OCTETS, "application/pdf", "video/*")
_MEDIA_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "metadata": _MODEL,
    "rendered": (*_PICTURES, "video/*", "application/pdf", "text/html", "text/plain"),
    "thumbnail": _PICTURES,
    "{frames}": (*_OF_PIXELS, OCTETS, "image/*", "video/*"),
    "{path}": _OF_VALUES,
    "bulkdata": _OF_VALUES,
    "pixeldata": (*_OF_PIXELS, OCTETS, "image/*", "video/*"),
}
"""Last part of a path that is retrieved → media types of the answer."""
_DEPTH_OF_FRAMES: Final = 4
"""Parameters in the path of a frame."""
_FILES: Final = (f'{MULTIPART}; type="{DICOM}"', DICOM, ZIP, f'{MULTIPART}; type="{OCTETS}"')
_ACCEPTED: Final = tuple(kind for one in (DICOM, DICOM_JSON, DICOM_XML) for kind in (f'{MULTIPART}; type="{one}"', one))
_SEARCH: Final = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching", "includefield", "limit", "offset")

Operations = Mapping[str, Mapping[str, Any]]
"""Method in lower case → OpenAPI operation."""


@router.get("")
@router.options("", include_in_schema=False)
async def capabilities(request: Request, state: AppStateDep) -> Response:
    """Describe the DICOMweb services: as WADL, or as JSON."""
    described = request.app.openapi()["paths"]
    below = f"{DICOMWEB}/"  # all routes but this one
    others = f"{DICOMWEB}/servers"  # Orthanc's, for DICOMweb as a client
    paths = {
        path.removeprefix(below): found
        for path, found in described.items()
        if path.startswith(below) and not path.startswith(others)
    }
    if _as_wadl(request):
        return Response(_wadl(paths, dicomweb_url(request, state)), media_type=WADL)
    return Response(orjson.dumps(_as_json(paths, request, state), option=orjson.OPT_INDENT_2), media_type=_JSON)


def _as_wadl(request: Request) -> bool:
    """OPTIONS is the transaction, whose response is WADL unless JSON is requested; a browser's GET gets JSON."""
    for entry in media_ranges(request):
        if entry.type == WADL or entry.type in ("application/xml", "text/xml"):
            return True
        if entry.type == _JSON:
            return False
        if entry.type in ("*/*", "application/*", "text/html"):
            return request.method == "OPTIONS"
    raise NotAcceptable(f"capabilities are sent as {WADL} or {_JSON}, and Accept has neither")


def _as_json(paths: Mapping[str, Operations], request: Request, state: AppState) -> dict[str, Any]:
    base = dicomweb_url(request, state)
    return {
        "Service": "Osteon DICOMweb",
        "Standard": "DICOM PS3.18: QIDO-RS, WADO-RS, STOW-RS",
        "Base": base,
        "Wadl": f"curl -X OPTIONS {base}/",
        "Resources": [
            {
                "Path": f"/{path}",
                "Method": method.upper(),
                "Does": operation.get("description", "").partition("\n")[0],
                "Sends": list(_media_types(path, operation)),
                **({"Takes": list(_ACCEPTED)} if method == "post" else {}),
            }
            for path, operations in sorted(paths.items())
            for method, operation in operations.items()
        ],
    }


def _media_types(path: str, operation: Mapping[str, Any]) -> tuple[str, ...]:
    if "STOW-RS" in operation["tags"]:
        return DICOM_JSON, DICOM_XML
    if "QIDO-RS" in operation["tags"]:
        return _MODEL
    if path.endswith("}/rendered") and path.count("{") == _DEPTH_OF_FRAMES:
        return _PICTURES
    return _MEDIA_TYPES.get(path.rpartition("/")[2], _FILES)


def _wadl(paths: Mapping[str, Operations], base: str) -> bytes:
    application = Element("application", xmlns=_NAMESPACE)
    resources = SubElement(application, "resources", base=base)
    for path, operations in sorted(paths.items()):
        resource = _resource(resources, path)
        for method, operation in operations.items():
            _method(resource, method, path, operation)
    indent(application)
    document: bytes = tostring(application, encoding="utf-8", xml_declaration=True)
    return document


def _resource(above: Element, path: str) -> Element:
    """Find the element of a path, or make it and those above it."""
    for part in path.split("/"):
        known = (one for one in above.iterfind("resource") if one.get("path") == part)
        found = next(known, None)
        if found is None:
            found = SubElement(above, "resource", path=part)
            if part.startswith("{"):
                SubElement(found, "param", name=part[1:-1], style="template", required="true")
        above = found
    return above


def _method(resource: Element, method: str, path: str, operation: Mapping[str, Any]) -> None:
    name = operation.get("operationId", path).partition("_dicom_web")[0]
    element = SubElement(resource, "method", name=method.upper(), id=f"{name}_{method}")
    SubElement(element, "doc").text = operation.get("description", "")
    element_request = SubElement(element, "request")
    if "QIDO-RS" in operation["tags"]:
        for parameter in _SEARCH:
            SubElement(element_request, "param", name=parameter, style="query")
        SubElement(element_request, "param", name="{attributeID}", style="query", repeating="true")
    if method == "post":
        for media_type in _ACCEPTED:
            SubElement(element_request, "representation", mediaType=media_type)
    accept = SubElement(element_request, "param", name="Accept", style="header")
    answer = SubElement(element, "response")
    for media_type in _media_types(path, operation):
        SubElement(accept, "option", value=media_type)
        SubElement(answer, "representation", mediaType=media_type)
