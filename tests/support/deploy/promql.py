"""Reads PromQL as far as it takes to see which metrics and labels an expression uses, and whether they exist."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from osteon import metrics

TARGET = {"job", "instance"}
"""Labels that Prometheus adds."""
OTHERS: dict[str, set[str]] = {
    "up": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
    "process_start_time_seconds": set(),
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
    "rabbitmq_disk_space_available_bytes": set(),
    "rabbitmq_disk_space_available_limit_bytes": set(),
    "SeaweedFS_volumeServer_resource": {"name", "type"},
    "kubelet_volume_stats_available_bytes": {"namespace", "persistentvolumeclaim"},
}
"""What `prometheus_client`, RabbitMQ, SeaweedFS and Kubernetes export."""
_WORDS = {"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "group_left", "group_right"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"(?<![\w:])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\s*\()(?![\w:])")


def exported() -> dict[str, set[str]]:
    """Return the labels of each series that Osteon and its parts export."""
    found = dict(OTHERS)
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = set(metric._labelnames)
            found |= {f"{family.name}{end}": labels | more for end, more in _ENDS[family.type].items()}
    return found


_ENDS: dict[str, dict[str, set[str]]] = {
    "counter": {"_total": set()},
    "gauge": {"": set()},
    "histogram": {"_bucket": {"le"}, "_sum": set(), "_count": set()},
}


def recorded(rules: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the labels of each series that recording rules make: those that are kept and those that are added."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        if "record" in rule:
            kept = {label for group in _GROUPING.findall(rule["expr"]) for label in re.findall(r"\w+", group)}
            passed = found.get(_first(rule["expr"]), set())
            found.setdefault(rule["record"], set()).update(kept - {"le"}, passed, rule.get("labels", {}))
    return found


def metrics_in(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics of an expression, each with the labels by which it is chosen."""
    text = re.sub(r"\[[^\]]*\]", "", _STRING.sub('""', _GROUPING.sub(" ", _STRING.sub('""', expression))))
    return [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen)))
        for name, chosen in _SELECTOR.findall(text)
        if name not in _WORDS
    ]


def unknown(expression: str, known: Mapping[str, set[str]]) -> list[str]:
    """Return the metrics and labels of an expression that do not exist."""
    used = metrics_in(expression)
    wrong = [name for name, _ in used if name not in known]
    wrong += [f"{name}{{{label}}}" for name, chosen in used for label in chosen - known.get(name, chosen) - TARGET]
    labels = TARGET.union(*(known.get(name, set()) for name, _ in used))
    grouped = {label for group in _GROUPING.findall(expression) for label in re.findall(r"\w+", group)}
    return wrong + sorted(grouped - labels)


def _first(expression: str) -> str:
    return metrics_in(expression)[0][0] if metrics_in(expression) else ""
