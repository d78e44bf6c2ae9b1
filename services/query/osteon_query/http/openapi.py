"""What the OpenAPI document says beyond what FastAPI can see, as routes read query strings and choose media types.

One table: by method and path, what an operation accepts and returns. The first row that fits counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from osteon_query.http.accept import DICOM, DICOM_JSON, DICOM_XML, MULTIPART, OCTETS, ZIP
from osteon_query.http.problems import DICOMWEB

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_TEXT: Final = "text/plain"
_STILL: Final = ("image/jpeg", "image/png")
_PAM: Final = "image/x-portable-arbitrarymap"
_OF_VALUES: Final = ("application/*", "video/*", "model/*", "text/*")
_UNDRAWN: Final = ("application/pdf", "video/*", "text/html", "text/plain")
"""What documents, videos and reports come as."""
_RESULTS: Final = (DICOM_JSON, MULTIPART)
_STORED: Final = (MULTIPART, DICOM, DICOM_JSON, DICOM_XML)
_SAVED: Final = (200, 206, 304)
"""Statuses of what has an entity tag and byte ranges."""

_WHOLE: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_STRING: Final = {"type": "string"}
_FLAG: Final = {"type": "string", "enum": ["0", "1", "true", "false"]}
_BINARY: Final = {"type": "string", "format": "binary"}
_BOOLEAN: Final = {"type": "string", "enum": ["true", "false"]}
_QUALITY: Final = {"type": "integer", "minimum": 1, "maximum": 100}

_SEARCH: Final[Mapping[str, Any]] = {
    "limit": _WHOLE, "offset": _WHOLE, "fuzzymatching": _BOOLEAN, "emptyvaluematching": _BOOLEAN,
    "multiplevaluematching": _BOOLEAN, "includefield": _STRING, "PatientName": _STRING, "PatientID": _STRING,
    "StudyDate": _STRING, "StudyTime": _STRING, "AccessionNumber": _STRING, "ModalitiesInStudy": _STRING,
    "StudyInstanceUID": _STRING, "SeriesInstanceUID": _STRING, "SOPInstanceUID": _STRING, "Modality": _STRING,
    "RequestAttributesSequence.RequestedProcedureID": _STRING, "00081030": _STRING,
}  # fmt: skip
_ACCEPT: Final[Mapping[str, Any]] = {"accept": _STRING}
_ORIGINAL: Final[Mapping[str, Any]] = {"original": _FLAG}
_PICTURE: Final[Mapping[str, Any]] = {
    **_ACCEPT, "window": _STRING, "viewport": _STRING, "quality": _QUALITY, "iccprofile": _STRING,
}  # fmt: skip
_THUMBNAIL: Final[Mapping[str, Any]] = {**_ACCEPT, "viewport": _STRING}
_ORTHANC_PICTURE: Final[Mapping[str, Any]] = {
    "quality": _QUALITY, "window-center": _STRING, "window-width": _STRING, "width": _WHOLE, "height": _WHOLE,
    "smooth": _FLAG, "returnUnsupportedImage": _FLAG,
}  # fmt: skip
_WADO_URI: Final[Mapping[str, Any]] = {
    "requestType": {"type": "string", "enum": ["WADO"]}, "studyUID": _STRING, "seriesUID": _STRING,
    "objectUID": _STRING, "contentType": _STRING, "transferSyntax": _STRING, "frameNumber": _WHOLE, "rows": _WHOLE,
    "columns": _WHOLE, "region": _STRING, "windowCenter": _STRING, "windowWidth": _STRING, "imageQuality": _QUALITY,
    "anonymize": _STRING, "presentationUID": _STRING, "presentationSeriesUID": _STRING,
}  # fmt: skip
_ARCHIVE: Final[Mapping[str, Any]] = {
    "transcode": _STRING, "lossy-quality": _QUALITY, "filename": _STRING, "utf8": _FLAG,
    "extended": _FLAG, "resources": _STRING,
}  # fmt: skip
_PAGE: Final[Mapping[str, Any]] = {"since": _WHOLE, "limit": _WHOLE}
_FORMAT: Final[Mapping[str, Any]] = {"simplify": _STRING, "short": _STRING}
_EXPAND: Final[Mapping[str, Any]] = {"expand": _STRING, "full": _STRING, "short": _STRING, "requested-tags": _STRING}


@dataclass(frozen=True, slots=True)
class OpenApiOperation:
    """The responses, query parameters and body of an operation."""

    path: str
    """A regular expression of `METHOD /path`."""
    types: tuple[str, ...] = (_JSON,)
    statuses: tuple[int, ...] = (200,)
    parameters: Mapping[str, Any] | None = None
    body: tuple[str, ...] = ()


_OPERATIONS: Final = (
    OpenApiOperation("(PUT|POST) /dicom-web/servers/.*", body=(_JSON,)),
    OpenApiOperation("DELETE /dicom-web/servers/.*"),
    OpenApiOperation("GET /dicom-web/servers.*", parameters={"expand": _STRING}),
    OpenApiOperation("POST /dicom-web/studies.*", (DICOM_JSON, DICOM_XML), (200, 202, 409), body=_STORED),
    OpenApiOperation("GET /dicom-web", (_JSON, "application/vnd.sun.wadl+xml")),
    OpenApiOperation("GET /wado", (DICOM, *_STILL, "image/gif", *_UNDRAWN), _SAVED, _WADO_URI),
    OpenApiOperation("GET /dicom-web/.*/metadata", _RESULTS, (200, 304), {**_ACCEPT, **_ORIGINAL}),
    OpenApiOperation("GET /dicom-web/.*/rendered", (*_STILL, "image/gif", *_UNDRAWN, MULTIPART), _SAVED, _PICTURE),
    OpenApiOperation("GET /dicom-web/.*/thumbnail", _STILL, _SAVED, _THUMBNAIL),
    OpenApiOperation("GET /dicom-web/.*/frames/.*", (MULTIPART, OCTETS, "image/*", "video/*"), _SAVED, _ACCEPT),
    OpenApiOperation(
        "GET /dicom-web/.*/(bulk/.*|bulkdata|pixeldata)", (MULTIPART, OCTETS, "image/*", *_OF_VALUES), _SAVED, _ACCEPT
    ),
    OpenApiOperation("GET /dicom-web/.*(studies|series|instances)", _RESULTS, (200, 204), _SEARCH),
    OpenApiOperation("GET /dicom-web/studies/.*", (MULTIPART, DICOM, ZIP), _SAVED, {**_ACCEPT, **_ORIGINAL}),
    OpenApiOperation("GET /jobs/.*/archive", (ZIP,), _SAVED),
    OpenApiOperation(
        "GET .*/(archive|media)|GET /tools/create-(archive|media|media-extended)", (ZIP,), (200,), _ARCHIVE
    ),
    OpenApiOperation(
        "POST .*/(archive|media)|POST /tools/create-(archive|media|media-extended)", (ZIP, _JSON), body=(_JSON,)
    ),
    OpenApiOperation(
        "GET .*/file",
        (DICOM, DICOM_JSON, DICOM_XML),
        _SAVED,
        {**_ORIGINAL, "transcode": _STRING, "lossy-quality": _QUALITY, "filename": _STRING},
    ),
    OpenApiOperation("GET .*/(preview|rendered|image-u?int[0-9]+)", (*_STILL, _PAM), (200, 304), _ORTHANC_PICTURE),
    OpenApiOperation("GET .*/numpy", (OCTETS,), (200, 304), {"compress": _FLAG, "rescale": _FLAG}),
    OpenApiOperation("GET .*/raw(.gz)?", (OCTETS, "application/gzip", "image/*", "video/*"), _SAVED),
    OpenApiOperation("GET .*/pdf", ("application/pdf",), _SAVED),
    OpenApiOperation("GET .*/metadata/{name}", (_TEXT,), (200, 304)),
    OpenApiOperation("PUT .*/(metadata/{name}|protected)", (_TEXT,), (200, 409), body=(_TEXT,)),
    OpenApiOperation("DELETE .*/metadata/{name}", (_TEXT,), (200, 409)),
    OpenApiOperation("GET .*/attachments/{name}/(compressed-)?data", (OCTETS, DICOM, "*/*"), _SAVED),
    OpenApiOperation("GET .*/attachments/{name}/{fact}", (_TEXT,), (200, 304)),
    OpenApiOperation("GET .*/attachments/{name}(/info)?", (_JSON,), (200, 304)),
    OpenApiOperation("PUT .*/attachments/{name}", (_JSON,), (200, 409), body=("*/*",)),
    OpenApiOperation("DELETE .*/attachments/{name}", (_TEXT,), (200, 409)),
    OpenApiOperation("GET /(patients|studies|series|instances)/{id}/attachments", parameters={"full": _STRING}),
    OpenApiOperation("(GET|PUT|DELETE) .*/labels/{label}", (_TEXT,)),
    OpenApiOperation(
        "GET /(patients|studies|series|instances)/{id}/metadata", parameters={"expand": _STRING, "numeric": _STRING}
    ),
    OpenApiOperation("GET .*/(matlab|protected)|GET /tools/now.*|GET /queries/.*/(level|modality)", (_TEXT,)),
    OpenApiOperation("GET .*/(simplified-tags|tags|header)", parameters={**_FORMAT, **_ORIGINAL}),
    OpenApiOperation("GET .*/(shared-tags|module|module-patient)", parameters=_FORMAT),
    OpenApiOperation("GET .*/instances-tags", parameters={**_FORMAT, "ignore-length": _STRING}),
    OpenApiOperation("GET /instances/.*/content.*", (_JSON, _TEXT, OCTETS), parameters=_ORIGINAL),
    OpenApiOperation("GET /changes", parameters={**_PAGE, "to": _WHOLE, "last": _STRING, "type": _STRING}),
    OpenApiOperation(
        "GET /reconciliations", parameters={"limit": _WHOLE, "after": _STRING, "study": _STRING, "state": _STRING}
    ),
    OpenApiOperation("GET /conflicts", parameters={"limit": _WHOLE, "after": _WHOLE}),
    OpenApiOperation("GET /series/{id}/ordered-slices"),
    OpenApiOperation("GET /(patients|studies|series|instances)", parameters={**_PAGE, **_EXPAND}),
    OpenApiOperation("GET /(patients|studies|series|instances)/.*", parameters=_EXPAND),
    OpenApiOperation("POST /instances/.*/(modify|anonymize)", (DICOM,), body=(_JSON,)),
    OpenApiOperation("POST .*/(modify|anonymize|merge|split|bulk-modify|bulk-anonymize)", (_JSON,), body=(_JSON,)),
    OpenApiOperation("POST .*/store-straight", body=(DICOM,)),
    OpenApiOperation("POST /instances", body=(DICOM, "multipart/form-data", "application/zip")),
    OpenApiOperation("GET /tools/generate-uid", (_TEXT,), parameters={"level": _STRING}),
    OpenApiOperation("GET /tools/dicom-conformance", (_TEXT,)),
    OpenApiOperation("GET /tools/(default-encoding|unknown-sop.*|metrics.*|log-level.*)", (_TEXT,)),
    OpenApiOperation("PUT /tools/(default-encoding|unknown-sop.*|metrics|log-level.*)", (_TEXT,), body=(_TEXT,)),
    OpenApiOperation("POST /tools/(lookup|dicom-echo)", body=(_TEXT, _JSON)),
    OpenApiOperation("(POST|PUT) .*", body=(_JSON,)),
    OpenApiOperation(".*"),
)


def describe(app: FastAPI) -> None:
    """Make `app` serve the document with what the table says."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = plain()
            for path, operations in made["paths"].items():
                for method, operation in operations.items():
                    _describe(path, method, operation)
            made.setdefault("components", {}).setdefault("schemas", {}).update(_SCHEMAS)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation has it


def supported_parameters(path: str, method: str) -> frozenset[str]:
    """Return the names of the query parameters of an operation, in lower case."""
    return frozenset(map(str.lower, _row(path, method).parameters or ()))


def _row(path: str, method: str) -> OpenApiOperation:
    return next(row for row in _OPERATIONS if re.fullmatch(row.path, f"{method.upper()} {path}"))


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    row = _row(path, method)
    operation["responses"] = _responses(row, path)
    if row.parameters:
        given = [{"name": name, "in": "query", "schema": schema} for name, schema in row.parameters.items()]
        operation["parameters"] = [*operation.get("parameters", []), *given]
    if row.body:
        content = {kind: {} if kind == _JSON else {"schema": _BINARY} for kind in row.body}
        operation["requestBody"] = {"content": content}


def _responses(row: OpenApiOperation, path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in row.statuses:
        found[str(status)] = {"description": _MEANINGS[status]}
        if status not in _EMPTY:
            found[str(status)]["content"] = {kind: _schema(kind) for kind in row.types}
    error, kind = ("Problem", _PROBLEM) if path.startswith(DICOMWEB) else ("OrthancError", _JSON)
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{error}"}}}
    if HTTPStatus.CONFLICT in row.statuses:
        content |= {kind: _schema(kind) for kind in row.types}  # PS3.18 10.5.3.2: what became of each instance
    for range_ in ("4XX", "5XX"):
        found[range_] = {"description": _MEANINGS[range_], "content": content}
    return found


def _schema(kind: str) -> dict[str, Any]:
    return {"schema": {"$ref": "#/components/schemas/DicomJson"}} if kind == DICOM_JSON else {}


_EMPTY: Final = (204, 304)
_MEANINGS: Final[Mapping[int | str, str]] = {
    200: "The resource",
    202: "Some instances were stored, some not",
    204: "Nothing matches",
    206: "The requested byte range, or a part of the resource with a Warning",
    304: "What the client has still holds",
    409: "No instance was stored",
    "4XX": "The request is refused; the body says why",
    "5XX": "The archive cannot serve the request now; the body says why",
}
_SCHEMAS: Final[dict[str, Any]] = {
    "DicomJson": {
        "description": "PS3.18 F.2",
        "oneOf": [{"type": "array", "items": {"type": "object"}}, {"type": "object"}],
    },
    "Problem": {
        "description": "RFC 9457",
        "type": "object",
        "required": ["title", "status", "detail"],
        "properties": {"title": _STRING, "status": {"type": "integer"}, "detail": _STRING},
    },
    "OrthancError": {
        "type": "object",
        "required": ["HttpStatus", "Message", "Details"],
        "properties": {"HttpStatus": {"type": "integer"}, "Message": _STRING, "Details": _STRING},
    },
}
