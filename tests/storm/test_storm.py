"""Short storms over a real cluster and over standalone; `make storm` runs long ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storm.outages import all_parts_down
from storm.plan import Fault, FaultKind, Targets, plan
from storm.storm import Result, storm
from storm.worlds import ClusterWorld, StandaloneWorld

TARGETS = Targets(("writer-0", "broker"), ("database",), ("ingress-0",))


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert plan(1, 60, TARGETS) == plan(1, 60, TARGETS) != plan(2, 60, TARGETS)


def test_a_plan_hits_each_kind_of_fault_where_it_can_happen() -> None:
    faults = {fault for event in plan(3, 600, TARGETS) for fault in event.faults}
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert Fault(FaultKind.KILL, "database") not in faults
    assert {fault.target for fault in faults if fault.kind is FaultKind.SYNC} == {"ingress-0"}


@pytest.fixture(scope="module")
def cluster(parts_folder: Path) -> Iterator[ClusterWorld]:
    with ClusterWorld(parts_folder / "storm", {"ingress": 2}) as world:
        yield world


def expect_good(result: Result) -> None:
    assert result.good, (result.failed, result.verdict)
    assert result.verdict.verified == result.ledger.acknowledged > 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_storm_over_the_cluster_loses_nothing(cluster: ClusterWorld) -> None:
    expect_good(storm(cluster, 11, 5, say=print, associations=2))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_store_fails_while_every_part_is_down(cluster: ClusterWorld) -> None:
    expect_good(all_parts_down(cluster, 1, 2, say=print, associations=2))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_storm_over_standalone_loses_nothing(tmp_path: Path) -> None:
    with StandaloneWorld(tmp_path) as world:
        expect_good(storm(world, 12, 5, say=print, associations=3))
