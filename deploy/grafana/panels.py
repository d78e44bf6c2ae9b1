"""What a dashboard consists of: rows of panels, and in each panel its queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: queries by their legend. `HERE` in a query stands for the chosen services and replicas.

    `limit` draws a line at a value and what is above it red; `runbook` names the page of its alert.
    """

    title: str
    says: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    wide: int = 8
    limit: float | None = None
    runbook: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page: `name` is its file, its address and the end of its title."""

    name: str
    title: str
    says: str
    rows: Sequence[Row]
    since: str = "now-6h"
    variables: Mapping[str, str] | None = None
    """Further variables, each with the metric whose label of that name it lists."""
