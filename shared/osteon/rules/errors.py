"""What can be wrong with a rule."""

from osteon.errors import Invalid, NotFound


class BadRule(Invalid):
    """A rule cannot be used. `path` leads to what is wrong: keys and positions from the rule's root on."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(f"{format_path(path)}: {problem}" if path else problem)
        self.path = path


class RuleNotFound(NotFound):
    """No rule has this name."""


def format_path(path: tuple[str | int, ...]) -> str:
    """Write a path for a person: `match.all[1].Modality`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")[:200]
