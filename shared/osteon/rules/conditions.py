"""Conditions of a rule: read from JSON, evaluated on one instance; they say what decided.

```yaml
all:
  - {Modality: [CT, PT], CallingAET: {wildcard: "CT*"}}
  - any: [{BodyPartExamined: CHEST}, {SliceThickness: {"<=": 1.5}}]
  - not: {RequestAttributesSequence.ScheduledProcedureStepID: {exists: true}}
```

An element of several values, or in several items, fulfils a test when one of its values does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from osteon.dicom.attribute_names import UnknownAttribute, attribute_path, describe, tag_of
from osteon.rules.errors import BadRule
from osteon.rules.patterns import BadPattern, CompiledPattern, compile_regex, compile_wildcard

FACTS: Final = ("CallingAET", "RemoteHost", "Origin", "TransferSyntaxUID")
"""Names of what is known of an instance beside its data set."""
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_MAX_DEPTH, _MAX_TESTS = 16, 200
_SHOWN: Final = 60
_HUGE: Final = 1e300

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that may be sent: its header (DICOM JSON, PS3.18 F.2), and `FACTS` by name."""

    header: Mapping[str, Any]
    facts: Mapping[str, str]


class RuleVerdict(NamedTuple):
    """Whether a condition holds, and because of what."""

    holds: bool
    because: str


class RuleCondition(Protocol):
    """Something that holds for an instance or not."""

    def judge(self, candidate: Candidate) -> RuleVerdict:
        """Try it. Never raises for what a data set contains."""


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part does."""

    parts: tuple[RuleCondition, ...]

    def judge(self, candidate: Candidate) -> RuleVerdict:
        """See `RuleCondition`: what decides is the first part that does not hold."""
        verdicts = []
        for part in self.parts:
            verdict = part.judge(candidate)
            if not verdict.holds:
                return verdict
            verdicts.append(verdict.because)
        return RuleVerdict(True, "; ".join(verdicts) or "there is no condition")


@dataclass(frozen=True, slots=True)
class Some:
    """Holds when one part does."""

    parts: tuple[RuleCondition, ...]

    def judge(self, candidate: Candidate) -> RuleVerdict:
        """See `RuleCondition`: what decides is the first part that holds."""
        verdicts = []
        for part in self.parts:
            verdict = part.judge(candidate)
            if verdict.holds:
                return verdict
            verdicts.append(verdict.because)
        return RuleVerdict(False, "; ".join(verdicts))


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when its part does not."""

    part: RuleCondition

    def judge(self, candidate: Candidate) -> RuleVerdict:
        """See `RuleCondition`."""
        holds, because = self.part.judge(candidate)
        return RuleVerdict(not holds, f"not ({because})")


@dataclass(frozen=True, slots=True)
class AttributeTest:
    """One test of one element, or of one of `FACTS`; `fits` takes all values, as text."""

    names: tuple[str, ...]
    wanted: str
    fits: Callable[[list[str]], bool]

    def judge(self, candidate: Candidate) -> RuleVerdict:
        """See `RuleCondition`."""
        values = _values(candidate, self.names)
        holds = self.fits(values)
        shown = "\\".join(values)
        found = f"is {shown[:_SHOWN]!r}" if values else "is not there"
        return RuleVerdict(holds, f"{_named(self.names)} {found}, {'as' if holds else 'not as'} wanted: {self.wanted}")


def condition_from(given: object, path: Path = ("match",)) -> RuleCondition:
    """Read a condition; raises `BadRule`."""
    budget = [_MAX_TESTS]
    return _condition(given, path, budget, _MAX_DEPTH)


def _condition(given: object, path: Path, budget: list[int], depth: int) -> RuleCondition:
    if depth == 0:
        raise BadRule(path, f"nested more than {_MAX_DEPTH} deep")
    if not isinstance(given, Mapping):
        raise BadRule(path, "expected attributes with what they must be, or all, any, not")
    parts: list[RuleCondition] = []
    for key, value in given.items():
        here = (*path, str(key))
        if key in ("all", "any"):
            if not isinstance(value, list) or not value:
                raise BadRule(here, "expected a list of conditions")
            each = tuple(_condition(one, (*here, i), budget, depth - 1) for i, one in enumerate(value))
            parts.append(All(each) if key == "all" else Some(each))
        elif key == "not":
            parts.append(Not(_condition(value, here, budget, depth - 1)))
        else:
            parts += _tests(key, value, here, budget)
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _tests(name: object, wanted: object, path: Path, budget: list[int]) -> list[RuleCondition]:
    if not isinstance(name, str):
        raise BadRule(path, "expected the name of an attribute as text: put quotes around a tag")
    try:
        names = (name,) if name in FACTS else attribute_path(name)
    except UnknownAttribute as error:
        raise BadRule(path, f"{error}, nor one of {', '.join(FACTS)}") from None
    operators = wanted if isinstance(wanted, Mapping) else {"in" if isinstance(wanted, list) else "equals": wanted}
    if not operators:
        raise BadRule(path, f"expected a value, a list, or some of {', '.join(OPERATORS)}")
    budget[0] -= len(operators)
    if budget[0] < 0:
        raise BadRule(path, f"more than {_MAX_TESTS} tests")
    tests: list[RuleCondition] = []
    for operator, operand in operators.items():
        here = (*path, str(operator)) if isinstance(wanted, Mapping) else path
        if operator not in OPERATORS:
            raise BadRule(here, f"no such test: expected one of {', '.join(OPERATORS)}")
        fits = OPERATORS[operator](operand, here)
        tests.append(AttributeTest(names, f"{operator} {_written(operand)}", fits))
    return tests


def _written(operand: object) -> str:
    return str(operand)[:_SHOWN] if not isinstance(operand, str) else repr(operand[:_SHOWN])


Fits = Callable[[list[str]], bool]


def _equals(operand: object, path: Path) -> Fits:
    return _in([operand], path)


def _in(operand: object, path: Path) -> Fits:
    if not isinstance(operand, list) or not operand:
        raise BadRule(path, "expected a list of values")
    texts = frozenset(_text(each, path) for each in operand)
    numbers = frozenset(float(each) for each in operand if isinstance(each, int | float))
    return lambda values: any(value in texts or (bool(numbers) and _number(value) in numbers) for value in values)


def _wildcard(operand: object, path: Path) -> Fits:
    return _pattern(operand, path, compile_wildcard)


def _regex(operand: object, path: Path) -> Fits:
    return _pattern(operand, path, compile_regex)


def _pattern(operand: object, path: Path, compiler: Callable[[str], CompiledPattern]) -> Fits:
    if not isinstance(operand, str):
        raise BadRule(path, f"expected a pattern as text, got {str(operand)[:_SHOWN]}")
    try:
        pattern = compiler(operand)
    except BadPattern as error:
        raise BadRule(path, str(error)) from None
    return lambda values: any(pattern.fullmatch(value) is not None for value in values)


def _exists(operand: object, path: Path) -> Fits:
    if not isinstance(operand, bool):
        raise BadRule(path, f"expected true or false, got {str(operand)[:_SHOWN]}")
    return lambda values: bool(values) is operand


def _compared(holds: Callable[[float, float], bool]) -> Callable[[object, Path], Fits]:
    def make(operand: object, path: Path) -> Fits:
        if isinstance(operand, bool) or not isinstance(operand, int | float) or _is_huge(operand):
            raise BadRule(path, f"expected a number, got {_written(operand)}")
        bound = float(operand)
        return lambda values: any((n := _number(value)) is not None and holds(n, bound) for value in values)

    return make


OPERATORS: Final[Mapping[str, Callable[[object, Path], Fits]]] = {
    "equals": _equals,
    "in": _in,
    "wildcard": _wildcard,
    "regex": _regex,
    "exists": _exists,
    "<": _compared(lambda value, bound: value < bound),
    "<=": _compared(lambda value, bound: value <= bound),
    ">": _compared(lambda value, bound: value > bound),
    ">=": _compared(lambda value, bound: value >= bound),
}


def _text(value: object, path: Path) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or _is_huge(value):
        raise BadRule(path, f"expected text or a number, got {str(value)[:_SHOWN]!r}; put quotes around text")
    return str(value).strip(" ")


def _is_huge(value: str | float) -> bool:
    return not isinstance(value, str) and not abs(value) < _HUGE


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number


def _values(candidate: Candidate, names: tuple[str, ...]) -> list[str]:
    if names[0] in FACTS and len(names) == 1:
        value = candidate.facts.get(names[0], "")
        return [value] if value else []
    return [text for text in _in_items([candidate.header], [tag_of(name) for name in names]) if text]


def _in_items(items: list[Any], tags: list[str]) -> Iterator[str]:
    for item in items:
        element = item.get(tags[0]) if isinstance(item, Mapping) else None
        values = element.get("Value") if isinstance(element, Mapping) else None
        if not isinstance(values, list):
            continue
        if len(tags) > 1:
            yield from _in_items(values, tags[1:])
        else:
            for value in values:
                yield from _texts(value)


def _texts(value: object) -> Iterator[str]:
    """A name gives each of its groups, an item of a sequence a text that says that it is one."""
    if isinstance(value, Mapping):
        groups = [str(value[group]) for group in _GROUPS if value.get(group)]
        yield from groups or ["(item)"]
    elif value is not None:
        yield (f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)).strip(" ")


def _named(names: tuple[str, ...]) -> str:
    return names[0] if names[0] in FACTS else describe(names)
