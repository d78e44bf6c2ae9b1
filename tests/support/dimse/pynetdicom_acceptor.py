"""pynetdicom as the peer that waits for associations."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer

from pynetdicom import AE
from pynetdicom.transport import ThreadedAssociationServer

LOOK = 0.02
"""Seconds between two looks at whether to end; pynetdicom's own half a second would be most of many a test."""


@contextmanager
def accepting(
    entity: AE, *handlers: tuple[object, Callable[..., object]], port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Accept associations with an entity; gives the port."""
    server = entity.make_server(("127.0.0.1", port), evt_handlers=list(handlers), ssl_context=tls, server_class=_Server)
    threading.Thread(target=server.serve_forever, args=(LOOK,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        BaseServer.shutdown(server)
        server.server_close()


class _Server(ThreadedAssociationServer):
    def service_actions(self) -> None:
        """Leave it to Python when to collect garbage: pynetdicom does it every 60 looks."""
