"""Opens the listening ports: the plain one, and the one with TLS when there is a certificate."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from osteon import tls
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.tls import TlsContextProvider
from osteon.errors import Invalid, OsteonError
from osteon.settings import DicomSettings, TlsSettings


@asynccontextmanager
async def open_listeners(
    acceptor: Acceptor, host: str, dicom: DicomSettings, secure: TlsSettings, *, proxied: bool = False
) -> AsyncIterator[Mapping[str, int]]:
    """Listen, and follow the certificate's files inside; yields the ports. The acceptor closes them.

    `proxied`: a balancer in front sends the PROXY protocol.
    """
    listen = partial(_listen, acceptor, host, proxied=proxied)
    role = tls.acceptor(secure)
    if role is None and not secure.dicom_plaintext_enabled:
        raise Invalid(
            "OSTEON_DICOM_PLAINTEXT_ENABLED: without the plain port there must be an OSTEON_DICOM_TLS_CERTIFICATE"
        )
    ports = {}
    async with AsyncExitStack() as stack:
        if role is not None:
            context = await stack.enter_async_context(tls.reloaded_context(role))
            ports["dicom_tls"] = await listen(secure.dicom_tls_port, "OSTEON_DICOM_TLS_PORT", context)
        if secure.dicom_plaintext_enabled:
            ports["dicom"] = await listen(dicom.dicom_port, "OSTEON_DICOM_PORT")
        yield ports


async def _listen(
    acceptor: Acceptor, host: str, port: int, setting: str, context: TlsContextProvider | None = None, *, proxied: bool
) -> int:
    try:
        return await acceptor.start(host, port, context, proxied=proxied)
    except OSError as error:
        # asyncio puts the address into strerror, and that of a name that is not found has no number
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise OsteonError(f"cannot listen on {host}:{port} ({setting}): {reason}") from error
