"""Reads what Osteon is deployed by: the Dockerfile, the compose file and the Kubernetes manifests."""

import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
K8S = ROOT / "k8s"
BASE = K8S / "base"
COMPONENTS = K8S / "components"
OVERLAYS = [K8S / "overlays" / name for name in ("dev", "prod")]
NOT_ALONE = {"standalone"}
"""Services that are not deployed beside the others."""


def services() -> list[str]:
    """Return the services that run as containers of their own, by their folders."""
    folders = (path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))
    return sorted(set(folders) - NOT_ALONE)


def commands() -> set[str]:
    """Return the names that `osteon` takes as a service."""
    return {point.name for point in entry_points(group="osteon.services")}


def compose() -> dict[str, Any]:
    """Return the compose file with its variables replaced by their defaults."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def manifests() -> list[dict[str, Any]]:
    """Return the Kubernetes objects that the kustomization lists."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return [
        found
        for name in kustomization["resources"]
        for found in yaml.safe_load_all((BASE / name).read_text())
        if found is not None
    ]


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod specs by the name of what makes them."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in manifests()
        if found["kind"] in {"StatefulSet", "Deployment"}
    }


def pods_of(objects: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod templates among Kubernetes objects, by the name of what makes them."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]
        for found in objects
        if found["kind"] in {"StatefulSet", "Deployment", "Job"}
    }


def every_container(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a pod spec, those that run before it included."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def containers() -> dict[str, dict[str, Any]]:
    """Return the containers of all pods by name."""
    return {container["name"]: container for pod in pods().values() for container in pod["containers"]}


def settings_in(text: str) -> set[str]:
    """Return the OSTEON_ variables that a text names."""
    return set(re.findall(r"\bOSTEON_[A-Z0-9_]+\b", text))
