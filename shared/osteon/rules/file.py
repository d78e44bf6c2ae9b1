"""The file of rules (`OSTEON_RULES_FILE`): fills the index with what is not there yet.

```yaml
rules:
  ct-to-ai:
    when: instance
    match: {Modality: CT}
    send: [{modality: ai}]
```

A rule that has been changed by REST stays as it was changed. One that was deleted by REST comes again at the next
start, unless it is deleted here too.
"""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.rules.errors import BadRule
from osteon.rules.parsing import stored_rule
from osteon.rules.port import Rules, StoredRule

log = get_logger(__name__)


class BadRulesFile(OsteonError):
    """The file cannot be used; the message has a line for each mistake, which names line, rule and key."""


def read_file(path: Path) -> list[StoredRule]:
    """Read YAML or JSON; raises `BadRulesFile`. Blocks."""
    try:
        root = yaml.compose(path.read_text("utf-8"), yaml.SafeLoader)
    except OSError as error:
        raise BadRulesFile(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadRulesFile(f"{path}: {error}") from None
    found: dict[str, StoredRule] = {}
    wrong: list[str] = []
    for name, key, node in _rules(path, root):
        try:
            if name in found:
                raise BadRule((), "is there already")
            found[name] = stored_rule(name, _value(node))
        except BadRule as error:
            wrong.append(f"{path}, line {_line(node, error.path, key)}: rule {name[:80]}: {error}")
    if wrong:
        raise BadRulesFile("\n".join(wrong))
    return list(found.values())


async def add_missing(rules: Rules, known: list[StoredRule]) -> None:
    """Add those whose name is not known yet; raises `DatabaseUnavailable`."""
    names = {rule.name for rule in await rules.all()}
    for rule in known:
        if rule.name not in names:
            await rules.put(rule)
            log.info("rule added from the file", rule=rule.name)


def _rules(path: Path, root: Node | None) -> list[tuple[str, Node, Node]]:
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return []
    sections = root.value if isinstance(root, MappingNode) else []
    if not isinstance(root, MappingNode) or any(key.value != "rules" for key, _ in sections):
        line = next((key.start_mark.line for key, _ in sections if key.value != "rules"), root.start_mark.line)
        raise BadRulesFile(f"{path}, line {line + 1}: expected `rules:` and nothing else at the top")
    found: list[tuple[str, Node, Node]] = []
    for _, rules in sections:
        if not isinstance(rules, MappingNode):
            raise BadRulesFile(f"{path}, line {rules.start_mark.line + 1}: expected names, each with a colon behind it")
        found += [(str(key.value), key, value) for key, value in rules.value]
    return found


def _line(node: Node, where: tuple[str | int, ...], key: Node) -> int:
    """Return the line of the deepest key on the way that is there."""
    for part in where:
        entries: list[tuple[object, Node, Node]] = []
        if isinstance(node, MappingNode):
            entries = [(str(name.value), name, value) for name, value in node.value]
        elif isinstance(node, SequenceNode):
            entries = [(i, value, value) for i, value in enumerate(node.value)]
        found = next((entry for entry in entries if entry[0] == part), None)
        if found is None:
            break
        _, key, node = found
    return int(key.start_mark.line) + 1


def _value(node: Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRule((), str(error)) from None
