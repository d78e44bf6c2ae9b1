"""Rules as they are written: in JSON, and in a file whose mistakes are named by line, rule and key."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from osteon.cli.rules import app
from osteon.rules.errors import BadRule
from osteon.rules.file import BadRulesFile, add_missing, read_file
from osteon.rules.parsing import parse_stored, rule_from, rule_object, stored_rule
from osteon.rules.port import Destination, DestinationKind, StoredRule, When

BODY: dict[str, Any] = {"when": "instance", "match": {"Modality": "CT"}, "send": [{"modality": "ai"}]}
FILE = """\
rules:
  ct-to-ai:
    when: instance
    match: {Modality: CT}
    send: [{modality: ai}]
  stable:
    when: study
    whole_study: true
    enabled: false
    patience: 0.5
    send:
      - peer: cloud
      - modality: pacs
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text)
    return path


def test_a_rule_is_read_with_its_defaults():
    rule = rule_from("ct", BODY)
    assert (rule.when, rule.send) == (When.INSTANCE, (Destination(DestinationKind.MODALITY, "ai"),))
    assert (rule.patience, rule.priority, rule.whole_study, rule.return_to_sender, rule.enabled) == (
        259_200,
        0,
        False,
        False,
        True,
    )


def test_a_rule_is_shown_as_it_was_given():
    body = {**BODY, "priority": 5, "enabled": False}
    stored = stored_rule("ct", body)
    assert rule_object(stored) == body
    assert parse_stored(stored).enabled is False


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"when": "never"}, "when: expected instance or study"),
        ({"send": []}, "send: expected a list"),
        ({"send": [{"modality": "a"}, {"modality": "a"}]}, r"send\[1\]: modality:a is there already"),
        ({"send": [{"folder": "a"}]}, r"send\[0\].folder: expected modality or peer"),
        ({"send": [{"peer": 3}]}, r"send\[0\].peer: expected its name"),
        ({"sent": []}, "sent: no such key"),
        ({"match": {"Modalty": 1}}, "match.Modalty: "),
        ({"priority": "high"}, "priority: expected a number"),
        ({"patience": -1}, "patience: expected 0 to 365"),
        ({"patience": float("nan")}, "patience: expected a number"),
        ({"return_to_sender": "yes"}, "return_to_sender: expected true or false"),
        ({"whole_study": True}, "whole_study: .*when: study"),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_used_is_refused_with_its_key(change, problem):
    with pytest.raises(BadRule, match=f"^{problem}"):
        rule_from("ct", {**BODY, **change})


@pytest.mark.parametrize("name", ["", "a b", "../x", "dry-run", "x" * 65, "é"])
def test_a_name_that_does_not_fit_into_a_path_is_refused(name):
    with pytest.raises(BadRule, match="name of a rule"):
        rule_from(name, BODY)


def test_a_file_of_rules_is_read(tmp_path):
    first, second = read_file(written(tmp_path, FILE))
    assert (first.name, first.enabled, first.body["match"]) == ("ct-to-ai", True, {"Modality": "CT"})
    rule = parse_stored(second)
    assert (rule.whole_study, rule.enabled, rule.patience) == (True, False, 43_200)
    assert [str(destination) for destination in rule.send] == ["peer:cloud", "modality:pacs"]


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("Modality: CT", "Modalty: CT", 4, "rule ct-to-ai: match.Modalty: "),
        ("modality: pacs", "folder: pacs", 13, r"rule stable: send\[1\].folder: "),
        ("patience: 0.5", "patience: long", 10, "rule stable: patience: expected a number"),
        ("when: study", "when: sometimes", 7, "rule stable: when: "),
        ("stable:", "ct-to-ai:", 6, "rule ct-to-ai: is there already"),
        ("rules:", "rule:", 1, "expected `rules:`"),
    ],
    ids=str,
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path, old, new, line, problem):
    with pytest.raises(BadRulesFile, match=f"line {line}: {problem}"):
        read_file(written(tmp_path, FILE.replace(old, new)))


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path):
    text = FILE.replace("Modality", "Modalty").replace("0.5", "long")
    with pytest.raises(BadRulesFile) as caught:
        read_file(written(tmp_path, text))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "rules:", "a: [", "- x", "rules: []", "\x00", "rules: {a: &a [*a]}"], ids=repr)
def test_a_file_that_is_empty_has_no_rules_and_nonsense_is_refused(tmp_path, text):
    path = written(tmp_path, text)
    if text in ("",):
        assert read_file(path) == []
    else:
        with pytest.raises(BadRulesFile):
            read_file(path)


class FakeRules:
    def __init__(self, *known: StoredRule) -> None:
        self.known = {rule.name: rule for rule in known}

    async def all(self) -> list[StoredRule]:
        return list(self.known.values())

    async def put(self, rule: StoredRule) -> None:
        self.known[rule.name] = rule


async def test_a_file_adds_rules_and_leaves_those_that_are_known(tmp_path):
    changed = stored_rule("stable", {**BODY, "priority": 9})
    rules = FakeRules(changed)
    await add_missing(rules, read_file(written(tmp_path, FILE)))
    assert sorted(rules.known) == ["ct-to-ai", "stable"]
    assert rules.known["stable"] == changed


def test_the_command_lists_a_file_or_says_what_is_wrong(tmp_path):
    good = CliRunner().invoke(app, ["check", str(written(tmp_path, FILE))])
    assert good.exit_code == 0
    assert "stable (disabled): study to peer cloud, modality pacs" in good.output
    bad = CliRunner().invoke(app, ["check", str(written(tmp_path, FILE.replace("pacs", "''")))])
    assert bad.exit_code == 1
    assert "line 13: rule stable: send[1].modality" in bad.output
