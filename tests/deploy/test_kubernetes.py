"""The manifests: valid, restricted, and true to what the services need."""

import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from osteon.settings import ProcessSettings, known_names
from support.deploy import BASE, commands, containers, manifests, pods, services, settings_in

CONFIG = next(found["data"] for found in manifests() if found["kind"] == "ConfigMap")
SECRET = yaml.safe_load((BASE / "secret.example.yaml").read_text())
DRAIN = float(CONFIG["OSTEON_DRAIN_SECONDS"])


@pytest.mark.parametrize("manifest", [*manifests(), SECRET], ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_a_manifest_is_valid(manifest: dict[str, object]) -> None:
    kubernetes_validate.validate(manifest, "1.32", strict=True)


def test_every_file_is_part_of_the_kustomization_or_an_example() -> None:
    listed = set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"])
    files = {path.name for path in BASE.glob("*.yaml")}
    assert files - listed == {"kustomization.yaml", "secret.example.yaml"}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not here")
def test_kustomize_builds_the_base() -> None:
    built = subprocess.run(["kubectl", "kustomize", BASE], capture_output=True, text=True, check=True).stdout
    images = [line.split("image: ")[1] for line in built.splitlines() if "image: " in line]
    assert images
    assert all(image.startswith("osteon:") for image in images)
    assert all(found["metadata"].get("namespace", "osteon") == "osteon" for found in yaml.safe_load_all(built))


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
    }


def test_ingress_and_writer_share_a_volume_and_name_it_after_their_pod() -> None:
    pod = pods()["ingress"]
    assert [container["name"] for container in pod["containers"]] == ["ingress", "writer"]
    for container in pod["containers"]:
        variables = {variable["name"]: variable for variable in container["env"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert variables["OSTEON_SPOOL_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        assert variables["OSTEON_SPOOL"]["value"] == mounts["spool"]
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


@pytest.mark.parametrize("container", containers().values(), ids=containers())
def test_a_container_is_restricted_and_has_limits(container: dict) -> None:
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("pod", pods().values(), ids=pods())
def test_a_pod_runs_without_root_and_without_what_kubernetes_would_add(pod: dict) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("pod", pods().values(), ids=pods())
def test_a_pod_is_given_more_time_to_stop_than_the_drain_takes(pod: dict) -> None:
    assert ProcessSettings.model_fields["drain_seconds"].default == DRAIN
    for container in pod["containers"]:
        _, wait = container["lifecycle"]["preStop"]["exec"]["command"]
        assert pod["terminationGracePeriodSeconds"] > float(wait) + DRAIN + 10


def test_modalities_are_seen_with_their_own_address() -> None:
    dicom = next(found for found in manifests() if found["metadata"]["name"] == "dicom")
    assert dicom["spec"]["externalTrafficPolicy"] == "Local"
    assert dicom["spec"]["ports"][0]["port"] == 4242


def test_every_service_port_leads_to_a_container_port() -> None:
    for found in manifests():
        if found["kind"] != "Service":
            continue
        pod = pods()[found["spec"]["selector"]["app.kubernetes.io/name"]]
        names = {port["name"] for container in pod["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in found["spec"]["ports"]} <= names
