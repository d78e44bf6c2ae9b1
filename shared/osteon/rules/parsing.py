"""Rules in JSON and YAML.

```yaml
when: instance           # or study: once it is stable
match: {Modality: CT}    # osteon.rules.conditions
send: [{modality: pacs}, {peer: cloud}]
whole_study: false       # with `when: study`: send all of the study when one instance matches
priority: 0
patience: 3              # days
return_to_sender: false  # may send to where an instance came from
enabled: true
```
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from osteon.rules.conditions import condition_from
from osteon.rules.errors import BadRule
from osteon.rules.port import Destination, DestinationKind, Rule, StoredRule, When

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
RESERVED: Final = frozenset({"dry-run"})
_FIELDS: Final = ("when", "match", "send", "whole_study", "priority", "patience", "return_to_sender", "enabled")
_DAYS, _MAX_DAYS, _MAX_PRIORITY = 3.0, 365.0, 1_000_000
_MAX_DESTINATIONS: Final = 32


def rule_from(name: str, body: object, *, enabled: bool | None = None) -> Rule:
    """Read a rule; raises `BadRule` that leads to the key."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise BadRule((), f"{name[:80]!r} is not a name of a rule: expected up to 64 letters, digits, '.', '_' and '-'")
    if not isinstance(body, Mapping):
        raise BadRule((), f"expected keys, some of {', '.join(_FIELDS)}")
    for key in body:
        if key not in _FIELDS:
            raise BadRule((str(key),), f"no such key: expected some of {', '.join(_FIELDS)}")
    when, whole_study = _when(body.get("when")), _bool_field(body, "whole_study", default=False)
    if whole_study and when is not When.STUDY:
        raise BadRule(("whole_study",), "an instance is routed before its study is complete: it needs `when: study`")
    return Rule(
        name=name,
        when=when,
        match=condition_from(body.get("match", {})),
        send=_send(body.get("send")),
        whole_study=whole_study,
        priority=int(_number_field(body, "priority", 0, -_MAX_PRIORITY, _MAX_PRIORITY)),
        patience=_number_field(body, "patience", _DAYS, 0, _MAX_DAYS) * 86_400,
        return_to_sender=_bool_field(body, "return_to_sender", default=False),
        enabled=_bool_field(body, "enabled", default=True) if enabled is None else enabled,
    )


def stored_rule(name: str, body: object) -> StoredRule:
    """Check a rule and return it as it is kept; raises `BadRule`."""
    rule = rule_from(name, body)
    assert isinstance(body, Mapping)
    return StoredRule(name, {key: value for key, value in body.items() if key != "enabled"}, rule.enabled)


def rule_object(rule: StoredRule) -> dict[str, Any]:
    """Write a rule; `stored_rule` reads it again."""
    return {**rule.body, "enabled": rule.enabled}


def parse_stored(rule: StoredRule) -> Rule:
    """Return a rule that can be tried; raises `BadRule`, when it was written by a later release."""
    return rule_from(rule.name, rule.body, enabled=rule.enabled)


def _when(given: object) -> When:
    if given not in set(When):
        raise BadRule(("when",), f"expected {' or '.join(When)}, got {str(given)[:80]!r}")
    return When(str(given))


def _send(given: object) -> tuple[Destination, ...]:
    if not isinstance(given, list) or not given:
        raise BadRule(("send",), "expected a list such as [{modality: pacs}, {peer: cloud}]")
    if len(given) > _MAX_DESTINATIONS:
        raise BadRule(("send",), f"more than {_MAX_DESTINATIONS} destinations")
    found = tuple(_destination(each, ("send", i)) for i, each in enumerate(given))
    for i, destination in enumerate(found):
        if destination in found[:i]:
            raise BadRule(("send", i), f"{destination} is there already")
    return found


def _destination(given: object, path: tuple[str | int, ...]) -> Destination:
    if not isinstance(given, Mapping) or len(given) != 1:
        raise BadRule(path, "expected {modality: name} or {peer: name}")
    ((kind, name),) = given.items()
    if kind not in set(DestinationKind):
        raise BadRule((*path, str(kind)), "expected modality or peer (a STOW-RS service is a peer with DicomWeb)")
    if not isinstance(name, str) or not name or len(name) > 200:
        raise BadRule((*path, str(kind)), f"expected its name, got {str(name)[:80]!r}")
    return Destination(DestinationKind(kind), name)


def _bool_field(body: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = body.get(key, default)
    if not isinstance(value, bool):
        raise BadRule((key,), f"expected true or false, got {str(value)[:80]!r}")
    return value


def _number_field(body: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRule((key,), f"expected a number, got {str(value)[:80]!r}")
    if not least <= value <= most:
        raise BadRule((key,), f"expected {least:g} to {most:g}, got {value:g}")
    return value
