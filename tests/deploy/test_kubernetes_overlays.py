"""The base and the overlays as kustomize builds them: valid, and whatever they refer to is there."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from osteon.settings import known_names
from support.deploy.checkers import MODULES, TOOLS, built, kustomizers, missing, run, tool
from support.deploy.manifests import BASE, COMPONENTS, K8S, OVERLAYS, every_container, pods_of, settings_in

VERSIONS = ("1.32", "1.34", "1.36")
"""Releases of Kubernetes whose schemas the manifests must fit."""
FOLDERS = [BASE, *OVERLAYS]
CUSTOM = {"keda.sh", "rabbitmq.com", "postgresql.cnpg.io", "barmancloud.cnpg.io", "monitoring.coreos.com"}
WITHOUT_SCHEMA = {
    # As in the operators' API references, for which there is no package of schemas.
    "RabbitmqCluster": {"replicas", "persistence", "resources", "rabbitmq", "affinity"}
    | {"terminationGracePeriodSeconds", "override"},
    "ObjectStore": {"configuration", "retentionPolicy"},
}
by_name = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def is_custom(found: dict[str, Any]) -> bool:
    return found["apiVersion"].split("/")[0] in CUSTOM


def text(folder: Path) -> str:
    return yaml.safe_dump_all(built(folder))


@by_name
def test_every_program_that_builds_a_kustomization_makes_the_same_of_it(folder: Path) -> None:
    if not kustomizers():
        missing("kustomize (or kubectl from 1.24)")
    made = [build(folder) for build in kustomizers().values()]
    assert [done.stderr for done in made if done.returncode] == []
    assert len({done.stdout for done in made}) == 1


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_fits_the_schemas_of_kubernetes(version: str) -> None:
    secret = yaml.safe_load((BASE / "secret.example.yaml").read_text())
    everything = [secret, *(found for folder in FOLDERS for found in built(folder) if not is_custom(found))]
    for found in {json.dumps(each): each for each in everything}.values():
        kubernetes_validate.validate(found, version, strict=True)


def test_a_misspelled_field_does_not_fit() -> None:
    found = next(found for found in built(BASE) if found["kind"] == "Deployment")
    wrong = {**found, "spec": {**found["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def problems(resources: list[dict[str, Any]]) -> list[list[str] | None]:
    """Return what the operators' schemas have against custom resources; None for those that have no schema."""
    if not MODULES.exists():
        missing(f"{MODULES.relative_to(TOOLS.parents[1])}")
    done = run(tool("node"), "tests/deploy/tools/validate.js", MODULES, text=json.dumps(resources))
    assert done.returncode == 0, done.stderr
    found: list[list[str] | None] = json.loads(done.stdout)
    return found


@by_name
def test_custom_resources_fit_the_schemas_of_their_operators(folder: Path) -> None:
    custom = [found for found in built(folder) if is_custom(found)]
    for found, wrong in zip(custom, problems(custom), strict=True):
        kind = found["kind"]
        if wrong is None:
            assert set(found["spec"]) <= WITHOUT_SCHEMA[kind]
        else:
            assert wrong == [], found["metadata"]["name"]


@pytest.mark.parametrize("spec", [{"minReplicaCount": "3"}, {"minReplicaCuont": 3}], ids=["type", "name"])
def test_a_custom_resource_with_a_wrong_field_does_not_fit(spec: dict[str, object]) -> None:
    trigger = {"type": "cpu", "metadata": {"value": "1"}}
    scaled = {"scaleTargetRef": {"name": "query"}, "triggers": [trigger]} | spec
    made = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"}, "spec": scaled}
    assert problems([made]) not in ([[]], [None])


@by_name
def test_every_setting_exists(folder: Path) -> None:
    assert settings_in(text(folder)) <= known_names()


@by_name
def test_everything_is_in_one_namespace(folder: Path) -> None:
    others = {"Namespace"}
    assert {found["metadata"].get("namespace") for found in built(folder) if found["kind"] not in others} == {"osteon"}


def references(value: object) -> Iterator[tuple[str, str]]:
    """Give what a pod spec takes from elsewhere: kind and name of Secrets and ConfigMaps that must be there."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in {"configMapRef", "configMapKeyRef", "configMap"} and "name" in inner:
                yield "ConfigMap", inner["name"]
            elif key in {"secretRef", "secretKeyRef"} and "name" in inner:
                yield "Secret", inner["name"]
            else:
                yield from references(inner)


ELSEWHERE = {
    "base": {("Secret", "osteon")},
    "dev": set(),
    # The operator's, CloudNativePG's, and the keys of the S3 server.
    "prod": {("Secret", "osteon"), ("Secret", "rabbitmq-default-user"), ("Secret", "postgres-app")},
}


@by_name
def test_secrets_and_config_maps_that_pods_read_are_made_or_told_of(folder: Path) -> None:
    made = {(found["kind"], found["metadata"]["name"]) for found in built(folder)}
    used = {found for pod in pods_of(built(folder)).values() for found in references(pod["spec"])}
    assert used - made == ELSEWHERE[folder.name]


@by_name
def test_selectors_match_pods_and_ports_lead_to_containers(folder: Path) -> None:
    pods = pods_of(built(folder))
    for found in built(folder):
        spec = found.get("spec", {})
        if found["kind"] == "Service":
            chosen = [pod for pod in pods.values() if spec["selector"].items() <= pod["metadata"]["labels"].items()]
            assert len(chosen) == 1, found["metadata"]["name"]
            ports = {port["name"] for container in chosen[0]["spec"]["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        if found["kind"] in {"StatefulSet", "Deployment"}:
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"].items() <= labels.items()


@by_name
def test_volumes_that_containers_mount_are_there(folder: Path) -> None:
    claims = {
        found["metadata"]["name"]: {claim["metadata"]["name"] for claim in found["spec"]["volumeClaimTemplates"]}
        for found in built(folder)
        if found["kind"] == "StatefulSet"
    }
    for name, pod in pods_of(built(folder)).items():
        there = claims.get(name, set()) | {volume["name"] for volume in pod["spec"].get("volumes", ())}
        for container in every_container(pod["spec"]):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= there


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
def test_containers_keep_to_the_restricted_standard(folder: Path) -> None:
    made = [pod["spec"] for pod in pods_of(built(folder)).values()]
    brokers = (
        found["spec"]["override"]["statefulSet"] for found in built(folder) if found["kind"] == "RabbitmqCluster"
    )
    for pod in [*made, *(broker["spec"]["template"]["spec"] for broker in brokers)]:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in every_container(pod):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert pod not in made or "memory" in container["resources"]["limits"]


def test_every_component_is_part_of_an_overlay_and_every_file_of_a_kustomization() -> None:
    used = set()
    for overlay in OVERLAYS:
        content = yaml.safe_load((overlay / "kustomization.yaml").read_text())
        used |= {(overlay / name).resolve() for name in content["components"]}
    assert used == {path.parent for path in COMPONENTS.rglob("kustomization.yaml")}
    for made in K8S.rglob("kustomization.yaml"):
        listed = settings_of(made)
        files = {path.name for path in made.parent.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
        assert files - listed <= {"kind.yaml"}, made.parent


def settings_of(kustomization: Path) -> set[str]:
    content = yaml.safe_load(kustomization.read_text())
    patches = {patch["path"] for patch in content.get("patches", ()) if "path" in patch}
    return patches | set(content.get("resources", ()))


def test_the_services_of_prod_take_their_passwords_from_the_operators() -> None:
    for name, pod in pods_of(built(OVERLAYS[1])).items():
        for container in every_container(pod["spec"]):
            variables = {variable["name"] for variable in container["env"]}
            assert ("OSTEON_AMQP_URL" in variables) == (name != "migrate"), (name, container["name"])
            assert ("OSTEON_DATABASE_URL" in variables) == (name in {"indexer", "query", "dispatcher", "migrate"})


def test_prod_puts_the_pods_of_a_service_on_different_nodes() -> None:
    for name, pod in pods_of(built(OVERLAYS[1])).items():
        if name != "migrate":
            node, zone = pod["spec"]["topologySpreadConstraints"]
            assert (node["topologyKey"], node["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
            assert (zone["topologyKey"], zone["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")
            assert zone["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
