"""Writes rules.yaml, the PrometheusRule of this component, from deploy/prometheus/rules: those files are the truth.

`make docs` runs it. A test compares the two.
"""

from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).resolve().parent
RULES: Final = HERE.parents[2] / "deploy" / "prometheus" / "rules"
FILE: Final = HERE / "rules.yaml"
_HEAD: Final = "# Made by generate.py from deploy/prometheus/rules: change those, then `make docs`.\n"


def groups() -> list[dict[str, Any]]:
    """Return the groups of all rule files, in the order of the files' names."""
    files = sorted(RULES.glob("*.yml"))
    return [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]


def text() -> str:
    """Return what rules.yaml is to hold."""
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "osteon"},
        "spec": {"groups": groups()},
    }
    return _HEAD + yaml.safe_dump(rule, sort_keys=False, width=118, allow_unicode=True)


if __name__ == "__main__":
    FILE.write_text(text())
