"""A collector of traces: takes OTLP over HTTP and keeps the spans."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class CollectedSpan:
    """A span that arrived; ids in hexadecimal, `parent` empty for the first of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str


@dataclass
class TraceCollector:
    """A collector that listens at `url`."""

    url: str
    spans: list[CollectedSpan] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def take(self, path: str, request: ExportTraceServiceRequest) -> None:
        self.paths.add(path)
        for spans in request.resource_spans:
            about = {each.key: each.value.string_value for each in spans.resource.attributes}
            for scope in spans.scope_spans:
                for one in scope.spans:
                    ids = one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex()
                    self.spans.append(CollectedSpan(about["service.name"], one.name, *ids))


@contextmanager
def collecting() -> Iterator[TraceCollector]:
    """Run a collector for the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = TraceCollector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()
