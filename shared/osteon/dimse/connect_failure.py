"""Why there is no connection with a host, in words for the caller."""

import errno
import os
import re
import socket
import ssl
from typing import Final

from osteon.dimse.tls import describe_failure

_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
"""As in the message of an error that stands for those of several addresses."""
_NO_ROUTE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL})


def describe_connect_failure(error: OSError, host: str, port: int, *, seconds: float, secure: bool = False) -> str:
    """Say what a failed attempt to connect means; `seconds` is its time limit, `secure` whether TLS was tried."""
    address = format_address(host, port)
    numbers = {error.errno} if error.errno else {int(number) for number in _ERRNO.findall(str(error))}
    if isinstance(error, ssl.SSLError):
        return f"{address}: {describe_failure(error)}"
    if isinstance(error, socket.gaierror):
        later = error.errno == socket.EAI_AGAIN
        return f"the host name {host!r} cannot be looked up now" if later else f"the host name {host!r} is not known"
    if isinstance(error, TimeoutError):
        return f"{address} did not answer within {seconds:g} s; is the address right, and no firewall between?"
    return _describe_refusal(error, numbers, address, secure=secure)


def _describe_refusal(error: OSError, numbers: set[int], address: str, *, secure: bool) -> str:
    if errno.ECONNREFUSED in numbers:
        return f"nothing listens at {address}"
    if numbers & _NO_ROUTE:
        return f"there is no route to {address}"
    if secure and errno.ECONNRESET in numbers:
        return f"{address} closed the connection during the TLS handshake; does it speak TLS?"
    words = ", ".join(sorted(map(os.strerror, numbers))) or str(error) or type(error).__name__
    return f"{address}: {words}"


def format_address(host: str, port: int) -> str:
    """Write an address as a URL has it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
