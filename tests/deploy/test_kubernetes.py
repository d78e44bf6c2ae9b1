"""The manifests: valid, restricted, and true to what the services need."""

import inspect
from importlib.metadata import entry_points

import pytest
import yaml

from osteon.cli.doctor.command import main as doctor
from osteon.cli.wait_drained import main as wait_drained
from osteon.settings import ProcessSettings, known_names
from osteon_ingress.build import LAST_PUBLISH
from support.deploy.manifests import (
    BASE,
    commands,
    containers,
    every_container,
    manifests,
    pods,
    pods_of,
    services,
    settings_in,
)

CONFIG = next(found["data"] for found in manifests() if found["kind"] == "ConfigMap")
SECRET = yaml.safe_load((BASE / "secret.example.yaml").read_text())
DRAIN = float(CONFIG["OSTEON_DRAIN_SECONDS"])


def test_every_file_is_part_of_the_kustomization_or_an_example() -> None:
    listed = set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"])
    files = {path.name for path in BASE.glob("*.yaml")}
    assert files - listed == {"kustomization.yaml", "secret.example.yaml"}


@pytest.mark.parametrize("name", services())
def test_a_service_has_a_container_that_runs_its_command(name: str) -> None:
    assert containers()[name]["args"] == [name]
    assert name in commands()


@pytest.mark.parametrize("name", [name for name in services() if name != "writer"])
def test_a_service_has_a_file_of_its_name(name: str) -> None:
    assert name in (BASE / f"{name}.yaml").read_text()


def test_every_setting_exists() -> None:
    for path in BASE.glob("*.yaml"):
        lines = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert settings_in(lines) <= known_names(), path.name


def test_no_secret_is_in_the_config_map() -> None:
    names = set(CONFIG) - {"OSTEON_DICOM_TLS_KEY"}  # where the key is
    assert not [name for name in names if "KEY" in name or "URL" in name or "PASSWORD" in name]
    assert set(SECRET["stringData"]) == {
        "OSTEON_AMQP_URL",
        "OSTEON_DATABASE_URL",
        "OSTEON_S3_ACCESS_KEY",
        "OSTEON_S3_SECRET_KEY",
        "OSTEON_DEIDENTIFICATION_KEY",
    }


def test_ingress_and_writer_share_a_volume_and_name_it_after_their_pod() -> None:
    pod = pods()["ingress"]
    assert [container["name"] for container in pod["containers"]] == ["ingress", "writer"]
    for container in pod["containers"]:
        variables = {variable["name"]: variable for variable in container["env"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert variables["OSTEON_SPOOL_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        assert variables["OSTEON_SPOOL_DIR"]["value"] == mounts["spool"]
    (ingress,) = (found for found in manifests() if found["kind"] == "StatefulSet")
    assert [claim["metadata"]["name"] for claim in ingress["spec"]["volumeClaimTemplates"]] == ["spool"]
    assert set(ingress["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


@pytest.mark.parametrize("pod", pods().values(), ids=pods())
def test_containers_of_a_pod_have_health_ports_of_their_own(pod: dict) -> None:
    ports = [
        variable["value"]
        for container in pod["containers"]
        for variable in container["env"]
        if variable["name"] == "OSTEON_HEALTH_PORT"
    ]
    assert len(set(ports)) == len(pod["containers"])


@pytest.mark.parametrize("container", containers().values(), ids=containers())
def test_a_container_is_probed_where_it_answers(container: dict) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    health = next(int(v["value"]) for v in container["env"] if v["name"] == "OSTEON_HEALTH_PORT")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert ports[container[probe]["httpGet"]["port"]] == health
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    # The doors of a pod stay open while the object store is down: the spool is there for that.
    ready = "/healthz" if container["name"] == "writer" else "/readyz"
    assert container["readinessProbe"]["httpGet"]["path"] == ready


PODS = {name: template["spec"] for name, template in pods_of(manifests()).items()}
EVERY = {f"{pod}-{container['name']}": container for pod, spec in PODS.items() for container in every_container(spec)}


@pytest.mark.parametrize("container", EVERY.values(), ids=EVERY)
def test_a_container_is_restricted_and_has_limits(container: dict) -> None:
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_a_pod_runs_without_root_and_without_what_kubernetes_would_add(pod: dict) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_an_account_of_its_own_that_has_no_token(name: str) -> None:
    accounts = {found["metadata"]["name"]: found for found in manifests() if found["kind"] == "ServiceAccount"}
    assert PODS[name]["serviceAccountName"] == name
    assert accounts[name]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", pods())
def test_a_service_survives_that_a_node_is_emptied(name: str) -> None:
    budgets = {
        found["metadata"]["name"]: found["spec"] for found in manifests() if found["kind"] == "PodDisruptionBudget"
    }
    assert budgets[name]["maxUnavailable"] == 1
    assert budgets[name]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
    (spread, *_) = pods()[name]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}


@pytest.mark.parametrize("name", pods())
def test_the_doctor_looks_at_a_pod_with_its_settings_before_it_starts(name: str) -> None:
    (container,) = pods()[name]["initContainers"]
    assert container["args"] == ["doctor", "--service", name, "--init"]
    assert "init" in inspect.signature(doctor).parameters
    (service, *_) = pods()[name]["containers"]
    assert container["envFrom"] == service["envFrom"]
    spool = {mount["name"]: mount for mount in service["volumeMounts"]}
    assert {mount["name"]: mount for mount in container["volumeMounts"]} == spool


def test_the_namespace_is_restricted() -> None:
    (namespace,) = (found for found in manifests() if found["kind"] == "Namespace")
    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_one_job_makes_the_tables_and_the_services_wait_for_it() -> None:
    assert CONFIG["OSTEON_MIGRATE"] == "false"
    (container,) = PODS["migrate"]["containers"]
    assert container["args"] == ["migrate"]
    assert entry_points(group="osteon.commands", name="migrate")


@pytest.mark.parametrize("pod", [pod for name, pod in pods().items() if name != "ingress"])
def test_a_pod_is_given_more_time_to_stop_than_the_drain_takes(pod: dict) -> None:
    assert ProcessSettings.model_fields["drain_seconds"].default == DRAIN
    for container in pod["containers"]:
        _, wait = container["lifecycle"]["preStop"]["exec"]["command"]
        assert pod["terminationGracePeriodSeconds"] > float(wait) + drain_of(container) + 10


def drain_of(container: dict) -> float:
    own = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    return float(own.get("OSTEON_DRAIN_SECONDS", DRAIN))


def test_associations_may_end_and_the_writer_outlives_them() -> None:
    pod = pods()["ingress"]
    ingress, writer = pod["containers"]
    drain = drain_of(ingress)
    _, pause = ingress["lifecycle"]["preStop"]["exec"]["command"]
    program, command, option, wait = writer["lifecycle"]["preStop"]["exec"]["command"]
    assert (program, command, option) == ("osteon", "wait-drained", "--timeout")
    assert "timeout" in inspect.signature(wait_drained).parameters
    assert entry_points(group="osteon.commands", name="wait-drained")
    assert drain >= 10 * DRAIN
    assert float(wait) > float(pause) + drain + LAST_PUBLISH
    assert pod["terminationGracePeriodSeconds"] > float(wait) + DRAIN + 10


def test_modalities_are_seen_with_their_own_address() -> None:
    dicom = next(found for found in manifests() if found["metadata"]["name"] == "dicom")
    assert dicom["spec"]["externalTrafficPolicy"] == "Local"
    assert dicom["spec"]["ports"][0]["port"] == 4242
