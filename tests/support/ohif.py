"""OHIF's built pages before a running archive, at one address, and a record of what the viewer requests."""

import json
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
from typing_extensions import override

_PASSED: Final = ("accept", "range", "if-range", "if-none-match")
_RETURNED: Final = (
    "content-type", "content-range", "accept-ranges", "etag", "content-disposition", "content-security-policy",
    "x-content-type-options",
)  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """A request to the archive and what became of it."""

    path: str
    accept: str
    range: str
    status: int
    content_type: str


@dataclass
class Viewer:
    """Where OHIF is, and what it has requested from the archive since `exchanges` was cleared."""

    url: str
    exchanges: list[Exchange] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the data source, beside those that are needed."""

    def config(self) -> str:
        """Return app-config.js."""
        source = {
            "friendlyName": "Osteon", "name": "osteon", "imageRendering": "wadors", "thumbnailRendering": "wadors",
            "wadoUriRoot": "/wado", "qidoRoot": "/dicom-web", "wadoRoot": "/dicom-web",
            "qidoSupportsIncludeField": True, "supportsFuzzyMatching": True, "supportsWildcard": True,
            "enableStudyLazyLoad": True, "bulkDataURI": {"enabled": True}, **self.settings,
        }  # fmt: skip
        config = {
            "routerBasename": None, "extensions": [], "modes": [], "showStudyList": True, "maxNumberOfWebWorkers": 1,
            "defaultDataSourceName": "osteon", "investigationalUseDialog": {"option": "never"},
            "dataSources": [{
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "osteon",
                "configuration": source,
            }],
        }  # fmt: skip
        return f"window.config = {json.dumps(config)};"


@contextmanager
def viewer(dist: Path, archive: str) -> Iterator[Viewer]:
    """Serve OHIF and pass `/dicom-web` and `/wado` to the archive."""
    client = httpx.Client(timeout=60)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(("/dicom-web", "/wado")):
                self._pass()
            elif path == "/app-config.js":
                self._send(200, {"content-type": "text/javascript"}, state.config().encode())
            else:
                file = dist / path.lstrip("/")
                file = file if file.is_file() else dist / "index.html"
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                kind = "application/wasm" if file.suffix == ".wasm" else kind
                self._send(200, {"content-type": kind}, file.read_bytes())

        def _pass(self) -> None:
            given = {name: value for name in _PASSED if (value := self.headers.get(name))}
            answer = client.get(archive + self.path, headers={**given, "host": self.headers["host"]})
            kind = answer.headers.get("content-type", "")
            state.exchanges.append(
                Exchange(self.path, given.get("accept", ""), given.get("range", ""), answer.status_code, kind)
            )
            kept = {name: value for name in _RETURNED if (value := answer.headers.get(name))}
            self._send(answer.status_code, kept, answer.content)

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Viewer(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        client.close()
