"""How many associations are open: in all, of each address, of each calling AE title."""

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationLimit

_IPV6_PREFIX = 64
"""Bits of an address that a site is given; the others its hosts choose (RFC 4291 2.5.1)."""


class AssociationCounts:
    """Counts open associations and says which limit one more would exceed."""

    def __init__(self, config: AcceptorConfig) -> None:
        self._config = config
        self._by_host: Counter[str] = Counter()
        self._by_aet: Counter[str] = Counter()
        self._total = 0

    def exceeded(self, info: AssociationInfo) -> AssociationLimit | None:
        """Return the limit that one more association would exceed, or None."""
        config = self._config
        if self._total >= config.max_associations:
            return AssociationLimit.TOTAL
        if 0 < config.max_associations_per_aet <= self._by_aet[info.calling_aet]:
            return AssociationLimit.AET
        most = config.max_associations_per_host
        if 0 < most <= self._by_host[_host_of(info)] and not self._is_unlimited(info.remote_host):
            return AssociationLimit.HOST
        return None

    def add(self, info: AssociationInfo) -> None:
        """Count an association that has begun."""
        self._total += 1
        self._by_host[_host_of(info)] += 1
        self._by_aet[info.calling_aet] += 1

    def remove(self, info: AssociationInfo) -> None:
        """Remove an association that has ended."""
        self._total -= 1
        for counts, key in ((self._by_host, _host_of(info)), (self._by_aet, info.calling_aet)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def _is_unlimited(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._config.unlimited_hosts)


def _host_of(info: AssociationInfo) -> str:
    address = _address(info.remote_host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _IPV6_PREFIX), strict=False))
    return info.remote_host if address is None else str(address)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return an address, IPv4 also where IPv6 carries it; None for what is none (a local socket)."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
