"""Limits of associations: in all, of one address, of one calling AE title."""

from ipaddress import ip_network

import pytest

from osteon.dimse.association_counts import AssociationCounts
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationLimit


def info(host: str, aet: str = "CT") -> AssociationInfo:
    return AssociationInfo("1", aet, "OSTEON", host, 104)


@pytest.mark.parametrize(
    ("host", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
    ],
)
def test_a_host_has_its_share_and_leaves_the_rest_to_others(host: str, other: str, same: bool) -> None:
    counts = AssociationCounts(AcceptorConfig(max_associations=10, max_associations_per_host=2))
    counts.add(info(host))
    counts.add(info(host, "MR"))
    assert counts.exceeded(info(host, "US")) is AssociationLimit.HOST
    assert counts.exceeded(info(other)) is (AssociationLimit.HOST if same else None)
    counts.remove(info(host, "MR"))
    assert counts.exceeded(info(host)) is None


def test_hosts_without_a_limit_of_their_own_have_that_of_all() -> None:
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    config = AcceptorConfig(max_associations=3, max_associations_per_host=1, unlimited_hosts=networks)
    counts = AssociationCounts(config)
    for _ in range(3):
        assert counts.exceeded(info("192.0.2.7")) is counts.exceeded(info("2001:db8::7")) is None
        counts.add(info("192.0.2.7"))
    assert counts.exceeded(info("192.0.2.7")) is AssociationLimit.TOTAL


def test_an_ae_title_has_a_limit_wherever_it_calls_from() -> None:
    counts = AssociationCounts(AcceptorConfig(max_associations_per_aet=2))
    counts.add(info("192.0.2.1"))
    counts.add(info("192.0.2.2"))
    assert counts.exceeded(info("192.0.2.3")) is AssociationLimit.AET
    assert counts.exceeded(info("192.0.2.3", "MR")) is None
    counts.remove(info("192.0.2.1"))
    assert counts.exceeded(info("192.0.2.3")) is None
