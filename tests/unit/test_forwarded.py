"""What proxies say of a request."""

from typing import Any

import pytest
from starlette.requests import Request

from osteon.errors import OsteonError
from osteon.forwarded import ForwardedMiddleware, TrustedProxies

PROXY = "10.1.0.1"
TRUSTED = ("10.1.0.0/16", "::1")


async def seen(headers: dict[str, str], *, peer: str = PROXY, trusted: tuple[str, ...] = TRUSTED) -> tuple[str, str]:
    """Return the client and the URL of the root that the application sees."""
    found: list[Request] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(Request(scope))

    raw = [(name.lower().encode(), value.encode()) for name, value in {"host": "inside:8042", **headers}.items()]
    scope = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": raw, "path": "/x", "query_string": b""}
    await ForwardedMiddleware(app, TrustedProxies(trusted))(scope, None, None)  # type: ignore[arg-type]
    assert found[0].client
    return found[0].client.host, str(found[0].base_url)


@pytest.mark.parametrize(
    ("headers", "client", "url"),
    [
        ({}, PROXY, "http://inside:8042/"),
        ({"X-Forwarded-For": "1.2.3.4"}, "1.2.3.4", "http://inside:8042/"),
        ({"X-Forwarded-For": "9.9.9.9, 1.2.3.4, 10.1.2.3"}, "1.2.3.4", "http://inside:8042/"),
        ({"X-Forwarded-For": "unknown"}, PROXY, "http://inside:8042/"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.test"}, PROXY, "https://pacs.test/"),
        ({"X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "a b/c"}, PROXY, "http://inside:8042/"),
        ({"X-Forwarded-Prefix": "/archive/"}, PROXY, "http://inside:8042/archive/"),
        ({"X-Forwarded-Prefix": "//evil.test"}, PROXY, "http://inside:8042/"),
        ({"Forwarded": "for=1.2.3.4;proto=https;host=pacs.test"}, "1.2.3.4", "https://pacs.test/"),
        ({"Forwarded": 'For="[2001:db8::1]:4711";Proto=https, for=10.1.9.9'}, "2001:db8::1", "https://inside:8042/"),
        ({"Forwarded": "for=_hidden", "X-Forwarded-For": "1.2.3.4"}, PROXY, "http://inside:8042/"),
    ],
)
async def test_a_declared_proxy_is_believed(headers: dict[str, str], client: str, url: str) -> None:
    assert await seen(headers) == (client, url)


async def test_others_are_not_believed() -> None:
    headers = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil.test", "Forwarded": "for=1.2.3.4"}
    assert await seen(headers, peer="192.0.2.1") == ("192.0.2.1", "http://inside:8042/")
    assert await seen(headers, peer="192.0.2.1", trusted=("*",)) == ("1.2.3.4", "http://evil.test/")


def test_what_is_no_address_is_refused_by_its_setting() -> None:
    with pytest.raises(OsteonError, match=r"OSTEON_HTTP_TRUSTED_PROXIES: 'proxy\.test'"):
        TrustedProxies(("proxy.test",))
