"""Prometheus' configuration, recording rules and alerts: valid, fed by metrics that exist, tried, and explained."""

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from osteon.settings import known_names
from support.deploy.checkers import run, tool
from support.deploy.manifests import ROOT, services, settings_in
from support.deploy.promql import exported, recorded, unknown

FOLDER = ROOT / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
CASES = sorted((FOLDER / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
SEVERITIES = {"critical", "warning"}
"""Somebody is woken, or it waits for the morning."""
SECTIONS = ["## Is data at risk?", "## First looks", "## How to fix it", "## When to call whom"]


def groups() -> list[dict[str, Any]]:
    return [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def names() -> list[str]:
    return sorted({alert["alert"] for alert in alerts()})


def kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removeprefix("Osteon")).lower()


def ident(path: Path) -> str:
    return path.stem


def test_prometheus_accepts_configuration_and_rules() -> None:
    done = run(tool("promtool"), "check", "config", FOLDER / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(tool("promtool"), "check", "rules", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_style_of_all_yaml_is_one() -> None:
    done = run(tool("yamllint"), "--strict", "-c", "tests/deploy/tools/yamllint.yaml", FOLDER, ROOT / "deploy/grafana")
    assert done.stdout == ""


def test_the_example_of_the_alertmanager_is_accepted_and_wakes_somebody_only_for_what_is_critical() -> None:
    file = FOLDER / "alertmanager.yml"
    content = yaml.safe_load(file.read_text())
    assert {receiver["name"] for receiver in content["receivers"]} == {"pager", "tickets"}
    known = set(names())
    for rule in content["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert set(re.findall(r"Osteon\w+", matcher)) <= known
    amtool = tool("amtool")
    assert run(amtool, "check-config", file).returncode == 0
    for severity, receiver in (("critical", "pager"), ("warning", "tickets")):
        routed = run(amtool, "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
        assert routed.stdout.strip() == receiver


@pytest.mark.parametrize("cases", CASES, ids=ident)
def test_alerts_fire_when_they_should_and_not_before(cases: Path) -> None:
    done = run(tool("promtool"), "test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_of_every_severity_is_tried_firing_and_not_firing() -> None:
    fired, quiet = set(), set()
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for tried in case["alert_rule_test"]:
                found = tried.get("exp_alerts", [])
                fired |= {(tried["alertname"], one["exp_labels"]["severity"]) for one in found}
                quiet |= set() if found else {tried["alertname"]}
    assert fired == {(alert["alert"], alert["labels"]["severity"]) for alert in alerts()}
    assert quiet == set(names())


def test_every_alert_says_what_it_is_how_bad_it_is_and_where_to_read_on() -> None:
    for alert in alerts():
        assert alert["alert"].startswith("Osteon")
        assert alert["labels"]["severity"] in SEVERITIES
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{kebab(alert['alert'])}.md"


def test_rules_read_only_what_is_exported_or_recorded() -> None:
    known = exported() | recorded(rules())
    for rule in rules():
        assert unknown(rule["expr"], known) == [], rule


def test_every_recorded_series_is_used() -> None:
    text = "\n".join(path.read_text() for path in [*RULES, *(ROOT / "deploy/grafana/dashboards").glob("*.json")])
    for name in {rule["record"] for rule in rules() if "record" in rule}:
        assert len(re.findall(rf"\b{name}\b", text)) > len([r for r in rules() if r.get("record") == name]), name


def test_every_service_of_compose_is_scraped_and_missed() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (osteon,) = [job for job in config["scrape_configs"] if job["job_name"] == "osteon"]
    assert sorted(osteon["dns_sd_configs"][0]["names"]) == services()
    (down,) = [alert["expr"] for alert in alerts() if alert["alert"] == "OsteonServiceDown"]
    assert sorted(re.findall(r'absent\(up\{job="(\w+)"\}\)', down)) == services()
    for alert in alerts():
        for listed in re.findall(r'job=~"(dispatcher\|[^"]*)"', alert["expr"]):
            assert set(listed.split("|")) - {"standalone"} == set(services())


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == sorted(map(kebab, names()))


@pytest.mark.parametrize("name", names())
def test_a_runbook_says_what_to_do(name: str) -> None:
    text = (RUNBOOKS / f"{kebab(name)}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    for named in set(re.findall(r"\bosteon_[a-z_]+[a-z]", text)):
        assert any(metric.startswith(named) for metric in exported()), named
    assert settings_in(text) <= known_names()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (RUNBOOKS / target).exists(), target


def test_the_page_lists_every_alert_with_its_severities_and_every_dashboard() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    listed = dict(re.findall(r"^\| \[(Osteon\w+)\]\(runbooks/.*\| ([a-z, ]+) \|$", text, re.MULTILINE))
    found: dict[str, set[str]] = {}
    for alert in alerts():
        found.setdefault(alert["alert"], set()).add(alert["labels"]["severity"])
    assert {name: set(severities.split(", ")) for name, severities in listed.items()} == found
    linked = set(re.findall(r"\(\.\./deploy/grafana/dashboards/(\w+)\.json\)", text))
    assert linked == {path.stem for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")}


def used_commands() -> set[tuple[str, ...]]:
    found = set()
    for path in [*RUNBOOKS.glob("*.md"), ROOT / "docs" / "observability.md"]:
        for line in re.findall(r"(?<!-n )\bosteon ([a-z][^`\n#|]*)", "\n".join(code(path.read_text()))):
            found.add(tuple(word for word in line.split() if not word.isupper()))
    return found


def code(text: str) -> list[str]:
    fenced = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return fenced + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def options_of(words: tuple[str, ...]) -> set[str] | None:
    """Return the options of a command of `osteon`; None when there is no such command."""
    (points, command) = (entry_points(group="osteon.commands", name=words[0]), None)
    for point in points:
        tool = point.load()
        if not isinstance(tool, typer.Typer):
            app = typer.Typer()
            app.command()(tool)
            tool = app
        command = get_command(tool)
    if isinstance(command, TyperGroup):
        command = command.commands.get(words[1])
    return None if command is None else {option for parameter in command.params for option in parameter.opts}


def test_every_command_of_a_runbook_exists_with_its_options() -> None:
    assert len(used_commands()) > 5
    for words in used_commands():
        found = options_of(words)
        assert found is not None, f"osteon {' '.join(words)}"
        assert {word.split("=")[0] for word in words if word.startswith("-")} <= found, words
