"""What KEDA scales by: queues, metrics and labels that Osteon has, and no replica that takes a spool with it."""

import re
from typing import Any

import kubernetes_validate
import pytest
from prometheus_client import REGISTRY

import osteon.metrics  # noqa: F401  (registers them)
from osteon.contracts import topology
from osteon.contracts.topology import Queue, RpcQueue, writer_queue
from osteon.jobs.port import JobState
from osteon.settings import DicomSettings, DispatcherSettings, IndexSettings
from support.deploy.checkers import built
from support.deploy.manifests import OVERLAYS, pods, services

PROD = OVERLAYS[1]
TRIGGERS = {"rabbitmq", "prometheus", "cpu"}


def scaled() -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found["spec"] for found in built(PROD) if found["kind"] == "ScaledObject"}


def triggers(kind: str) -> list[dict[str, str]]:
    return [each["metadata"] for spec in scaled().values() for each in spec["triggers"] if each["type"] == kind]


def queries() -> list[str]:
    return [trigger["query"] for trigger in triggers("prometheus")]


def queues() -> set[str]:
    return {found.name for found in vars(topology).values() if isinstance(found, Queue | RpcQueue)}


def test_everything_but_the_writer_that_shares_a_pod_is_scaled() -> None:
    assert set(scaled()) == set(services()) - {"writer"}
    assert {each["type"] for spec in scaled().values() for each in spec["triggers"]} == TRIGGERS


def test_every_queue_exists() -> None:
    named = {trigger["queueName"] for trigger in triggers("rabbitmq")}
    assert named
    assert named <= queues()


def test_every_metric_and_label_in_a_query_exists() -> None:
    labels = {sample: set(metric._labelnames) for metric, sample in registered()}  # type: ignore[attr-defined]
    for query in queries():
        names = set(re.findall(r"\bosteon_\w+", re.sub(r'"[^"]*"', '""', query)))
        assert names
        assert names <= labels.keys()
        (name,) = names
        # Of the place that Prometheus read them from: components/prometheus-operator/monitors.yaml.
        known = labels[name] | {"namespace", "job"}
        assert set(re.findall(r"(\w+)=~?\"", query)) <= known
        assert set(re.findall(r"\w+", "".join(re.findall(r"by \(([^)]*)\)", query)))) <= known


def registered() -> list[tuple[Any, str]]:
    return [(metric, name) for name, metric in REGISTRY._names_to_collectors.items() if name.startswith("osteon_")]


def test_the_queues_and_job_states_that_queries_select_exist() -> None:
    patterns = re.findall(r'queue=~"([^"]+)"', " ".join(queries()))
    assert [re.fullmatch(pattern, writer_queue("ingress-0").name) is not None for pattern in patterns] == [True]
    states = {state for found in re.findall(r'state=~"([^"]+)"', " ".join(queries())) for state in found.split("|")}
    assert states == {JobState.PENDING, JobState.RUNNING}


def test_every_reader_of_queues_logs_in_by_a_secret() -> None:
    (authentication,) = (found for found in built(PROD) if found["kind"] == "TriggerAuthentication")
    for spec in scaled().values():
        for trigger in spec["triggers"]:
            if trigger["type"] == "rabbitmq":
                assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
                assert "@" not in trigger["metadata"]["host"]


def test_a_scaler_counts_the_replicas_alone() -> None:
    for found in built(PROD):
        if found["metadata"]["name"] in scaled() and found["kind"] in {"Deployment", "StatefulSet"}:
            assert "replicas" not in found["spec"]
            target = scaled()[found["metadata"]["name"]]["scaleTargetRef"]
            assert (target.get("kind", "Deployment"), target["name"]) == (found["kind"], found["metadata"]["name"])


@pytest.mark.parametrize("name", list(pods()))
def test_nothing_is_scaled_to_nothing(name: str) -> None:
    spec = scaled()[name]
    assert spec["minReplicaCount"] >= 2
    assert "idleReplicaCount" not in spec
    assert spec["maxReplicaCount"] > spec["minReplicaCount"]


def test_spools_are_given_up_slowly_one_by_one() -> None:
    spec = scaled()["ingress"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    (policy,) = down["policies"]
    assert spec["minReplicaCount"] >= 3
    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert min(policy["periodSeconds"], down["stabilizationWindowSeconds"]) > grace()


def grace() -> int:
    seconds: int = pods()["ingress"]["terminationGracePeriodSeconds"]
    return seconds


def test_another_pod_is_started_before_the_first_refuses_associations() -> None:
    by_associations = next(t for t in triggers("prometheus") if "osteon_associations_open" in t["query"])
    assert float(by_associations["threshold"]) <= DicomSettings.model_fields["max_associations"].default / 2


def test_a_dispatcher_is_started_when_others_are_at_as_many_jobs_as_they_run() -> None:
    by_jobs = next(t for t in triggers("prometheus") if "osteon_jobs" in t["query"])
    assert float(by_jobs["threshold"]) <= DispatcherSettings.model_fields["dispatcher_jobs"].default


def test_the_database_takes_the_connections_of_as_many_replicas_as_there_may_be() -> None:
    (database,) = (found for found in built(PROD) if found["kind"] == "Cluster")
    replicas = sum(scaled()[name]["maxReplicaCount"] for name in ("indexer", "query", "dispatcher"))
    wanted = replicas * IndexSettings.model_fields["database_pool"].default
    assert int(database["spec"]["postgresql"]["parameters"]["max_connections"]) >= wanted + 20


def test_the_behaviour_of_each_scaler_is_one_that_kubernetes_has() -> None:
    for name, spec in scaled().items():
        made = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "maxReplicas": spec["maxReplicaCount"],
            "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        }
        scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {}, "spec": made}
        kubernetes_validate.validate(scaler, "1.34", strict=True)


def test_a_scaler_that_is_not_told_the_load_keeps_enough_replicas() -> None:
    for spec in scaled().values():
        # KEDA has no fallback for what is scaled by processor too.
        by_processor = any(trigger["type"] == "cpu" for trigger in spec["triggers"])
        assert by_processor or spec["fallback"]["replicas"] >= spec["minReplicaCount"]
