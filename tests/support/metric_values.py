"""What a metric says now, by the public interface of prometheus_client."""

from prometheus_client.registry import Collector


def value(metric: Collector, suffix: str = "") -> float:
    """Return the value of a gauge, of a counter, or of a part of a histogram (`_sum`, `_count`).

    `metric` has no labels, or is one child of a metric with labels.
    """
    (family,) = metric.collect()
    name = family.name + (suffix or ("_total" if family.type == "counter" else ""))
    (found,) = [sample.value for sample in family.samples if sample.name == name]
    return found
