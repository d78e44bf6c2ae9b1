"""What proxies say of a request: `Forwarded` (RFC 7239), and the `X-Forwarded` headers that are older than it.

They are believed when the connection comes from a declared proxy, and tell the client's address, the scheme, the host
and the prefix under which the client sees the archive.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from osteon.errors import OsteonError

_ELEMENT: Final = re.compile(r'(?:[^,"]|"[^"]*")+')
_PAIR: Final = re.compile(r'([A-Za-z]+)=("[^"]*"|[^;,\s"]+)')
_ADDRESS: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+)(?::\d+)?|([0-9A-Fa-f:]+)")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_SCHEMES: Final = ("http", "https")


class TrustedProxies:
    """Addresses and networks of proxies; `*` stands for every address."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Raises `OsteonError` for what is neither."""
        self._everyone = "*" in entries
        try:
            self._networks: list[IPv4Network | IPv6Network] = [
                ip_network(entry, strict=False) for entry in entries if entry != "*"
            ]
        except ValueError as error:
            raise OsteonError(f"OSTEON_HTTP_TRUSTED_PROXIES: {error}") from None

    def __contains__(self, host: str) -> bool:
        """Whether an address is that of a proxy."""
        address = _parsed(host)
        return address is not None and (self._everyone or any(address in network for network in self._networks))


class ForwardedMiddleware:
    """Puts what declared proxies say into the scope, where everything behind it takes it from."""

    def __init__(self, app: ASGIApp, trusted: TrustedProxies) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (client := scope.get("client")) and client[0] in self._trusted:
            scope = self._as_client_sees(scope)
        await self._app(scope, receive, send)

    def _as_client_sees(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        elements = _elements(headers)
        seen = dict(scope)
        client = scope["client"]
        for element in reversed(elements):
            if client[0] not in self._trusted or not (address := _address(element.get("for", ""))):
                break
            client = (address, 0)
        seen["client"] = client
        first = elements[0] if elements else {}
        scheme, host = (first.get(name) or _first(headers, f"x-forwarded-{name}") for name in ("proto", "host"))
        if scheme.lower() in _SCHEMES:
            seen["scheme"] = scheme.lower()
        if _HOST.fullmatch(host):
            changed = MutableHeaders(raw=list(scope["headers"]))
            changed["host"] = host
            seen["headers"] = changed.raw
        prefix = _first(headers, "x-forwarded-prefix").rstrip("/")
        if _PREFIX.fullmatch(prefix):
            seen["app_root_path"] = prefix
        return seen


def _elements(headers: Headers) -> list[dict[str, str]]:
    """Return what each proxy has added, the first proxy first."""
    if forwarded := ",".join(headers.getlist("forwarded")):
        pairs = (_PAIR.findall(element) for element in _ELEMENT.findall(forwarded))
        return [{name.lower(): value.strip('"') for name, value in found} for found in pairs if found]
    addresses = ",".join(headers.getlist("x-forwarded-for"))
    return [{"for": each.strip()} for each in addresses.split(",") if each.strip()]


def _first(headers: Headers, name: str) -> str:
    return headers.get(name, "").partition(",")[0].strip()


def _address(node: str) -> str:
    """Return the address of a node (RFC 7239 6) without its port; empty for `unknown` and names."""
    found = _ADDRESS.fullmatch(node)
    host = "" if found is None else next(filter(None, found.groups()), "")
    return host if _parsed(host) else ""


def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
