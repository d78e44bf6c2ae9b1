"""The alerts that the Prometheus operator gets are those of deploy/prometheus."""

import runpy

from support.deploy.manifests import COMPONENTS

FOLDER = COMPONENTS / "prometheus-operator"


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    generator = runpy.run_path(str(FOLDER / "generate.py"))
    assert generator["FILE"].read_text() == generator["text"](), "run `make docs`"
