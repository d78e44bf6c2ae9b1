"""Network policies: nothing may talk to anything, and each service to exactly what its settings name."""

from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from osteon.settings import BusSettings, IndexSettings, ObjectSettings
from support.deploy.checkers import built
from support.deploy.manifests import OVERLAYS, pods, pods_of

DEV, PROD = OVERLAYS
both = pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)


def policies(folder: Path) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found["spec"] for found in built(folder) if found["kind"] == "NetworkPolicy"}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector of the kinds that the policies use takes a pod."""
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def named(folder: Path, name: str) -> set[str]:
    """Return the pods of Osteon that a policy is for."""
    selector = policies(folder)[name]["podSelector"]
    return {pod for pod, made in pods_of(built(folder)).items() if selects(selector, made["metadata"]["labels"])}


def users(*groups: type) -> set[str]:
    """Return the pods with a service that has one of these groups of settings."""
    kinds = {point.name: point.load() for point in entry_points(group="osteon.settings")}
    return {
        name
        for name, pod in pods().items()
        if any(issubclass(kinds[container["name"]], groups) for container in pod["containers"])
    }


@both
def test_what_is_not_allowed_is_denied_in_both_directions(folder: Path) -> None:
    deny = policies(folder)["default-deny"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@both
def test_each_service_reaches_the_parts_that_it_has_settings_for_and_no_other(folder: Path) -> None:
    assert named(folder, "to-broker") == users(BusSettings)
    assert named(folder, "to-database") == users(IndexSettings) | {"migrate"}
    assert named(folder, "to-objects") == users(ObjectSettings)


def test_the_external_object_store_is_reached_by_those_who_use_it() -> None:
    assert named(PROD, "external-s3") == users(ObjectSettings)


@both
def test_modalities_call_from_everywhere(folder: Path) -> None:
    assert named(folder, "allow-dicom") == {"ingress"}
    (rule,) = policies(folder)["allow-dicom"]["ingress"]
    assert "from" not in rule
    doors = next(found for found in built(folder) if found["metadata"]["name"] == "dicom")["spec"]
    assert {port["targetPort"] for port in doors["ports"]} == {port["port"] for port in rule["ports"]}
    assert doors["externalTrafficPolicy"] == "Local"


def test_http_comes_through_the_controller_that_asks_for_a_login() -> None:
    (rule,) = policies(PROD)["allow-http"]["ingress"]
    (caller,) = rule["from"]
    assert set(caller) == {"namespaceSelector"}
    (door,) = (found for found in built(PROD) if found["kind"] == "Ingress")
    assert door["metadata"]["annotations"]["haproxy.org/auth-type"] == "basic-auth"
    hosts = {host for tls in door["spec"]["tls"] for host in tls["hosts"]}
    assert hosts == {rule["host"] for rule in door["spec"]["rules"]}
    (path,) = door["spec"]["rules"][0]["http"]["paths"]
    service = next(
        found for found in built(PROD) if found["kind"] == "Service" and found["metadata"]["name"] == "query"
    )
    assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


@both
def test_only_the_dispatcher_calls_the_outside(folder: Path) -> None:
    assert named(folder, "to-outside") == {"dispatcher"}
    for name, policy in policies(folder).items():
        for rule in policy.get("egress", ()):
            if "to" not in rule:
                assert name in {"broker", "database-cluster"}, "only operators' pods need the Kubernetes API"


@both
def test_the_metadata_service_of_clouds_is_reached_by_nobody(folder: Path) -> None:
    blocks = [
        peer["ipBlock"]
        for policy in policies(folder).values()
        for rule in policy.get("egress", ())
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    ]
    assert blocks
    assert all(set(block["except"]) & {"169.254.0.0/16", "fd00:ec2::/32"} for block in blocks)


@both
def test_every_named_port_of_a_policy_is_one_of_the_pods_that_it_is_for(folder: Path) -> None:
    pods_here = pods_of(built(folder)).values()
    everywhere = {port["name"] for pod in pods_here for port in ports_of(pod)}
    for policy in policies(folder).values():
        for rule in (*policy.get("ingress", ()), *policy.get("egress", ())):
            assert {port["port"] for port in rule.get("ports", ()) if isinstance(port["port"], str)} <= everywhere


def ports_of(pod: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (port for container in pod["spec"]["containers"] for port in container.get("ports", ()))


@both
def test_parts_answer_exactly_those_who_may_call_them(folder: Path) -> None:
    for part, caller in (("broker", "to-broker"), ("database", "to-database"), ("objects", "to-objects")):
        asked = policies(folder)[caller]
        (rule, *_) = policies(folder)[part]["ingress"]
        assert asked["podSelector"] == rule["from"][0]["podSelector"]
        assert asked["egress"][0]["ports"] == rule["ports"]


def test_every_plain_part_of_dev_is_let_in() -> None:
    for part, policy in (("rabbitmq", "to-broker"), ("postgres", "to-database"), ("objects", "to-objects")):
        labels = pods_of(built(DEV))[part]["metadata"]["labels"]
        peers = policies(DEV)[policy]["egress"][0]["to"]
        assert any(selects(peer["podSelector"], labels) for peer in peers)


@both
def test_prometheus_reads_every_service(folder: Path) -> None:
    (rule,) = policies(folder)["monitoring"]["ingress"]
    allowed = {port["port"] for port in rule["ports"]}
    for name in pods():
        ports = {port["name"] for port in ports_of(pods_of(built(folder))[name])}
        assert "health" in ports & allowed


def test_the_monitors_read_every_container_by_the_port_of_its_metrics() -> None:
    monitor = next(m for m in built(PROD) if m["kind"] == "PodMonitor" and m["metadata"]["name"] == "osteon")
    read = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    for name in pods():
        made = pods_of(built(PROD))[name]
        assert selects(monitor["spec"]["selector"], made["metadata"]["labels"])
        for container in made["spec"]["containers"]:
            health = next(v["value"] for v in container["env"] if v["name"] == "OSTEON_HEALTH_PORT")
            assert read & {port["name"] for port in container["ports"] if str(port["containerPort"]) == health}
