"""Writes dashboards/*.json, as Grafana reads them, from the lists in dashboards.py.

`make docs` runs it. A test compares the files with what this module makes.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from dashboards import DASHBOARDS  # noqa: E402  (beside this file, which tests run by its path)
from panels import Dashboard, Panel  # noqa: E402

FOLDER: Final = HERE / "dashboards"
WIDTH: Final = 24
HEIGHT: Final = {"timeseries": 8, "stat": 4, "heatmap": 8, "table": 8}
RUNBOOKS: Final = "/public/runbooks"
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_CHOSEN: Final = 'job=~"$job", instance=~"$instance"'


def expression(query: str) -> str:
    """Return a query with the variables of the page."""
    return query.replace("HERE", _CHOSEN)


def page(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    return {
        "uid": f"osteon-{dashboard.name}",
        "title": f"Osteon / {dashboard.title}",
        "description": dashboard.says,
        "tags": ["osteon"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "links": [
            {"title": "Osteon", "type": "dashboards", "tags": ["osteon"], "asDropdown": True, "keepTime": True},
        ],
        "annotations": {"list": [_firing()]},
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_panels(dashboard)),
    }


def pages() -> dict[Path, str]:
    """Return each file and what it is to hold."""
    return {
        FOLDER / f"{each.name}.json": json.dumps(page(each), indent=1, ensure_ascii=False) + "\n" for each in DASHBOARDS
    }


def _firing() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Osteon.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{job}} {{instance}}",
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    lists = {"job": "osteon_build_info", "instance": 'osteon_build_info{job=~"$job"}'} | dict(dashboard.variables or {})
    for name, source in lists.items():
        yield {
            "name": name,
            "label": {"job": "Service", "instance": "Replica", "calling_aet": "AE title"}.get(name, name),
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": f"label_values({source}, {name})", "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }
    # Where docs/runbooks can be read; docker-compose.yml mounts it there.
    yield {"name": "runbooks", "type": "textbox", "hide": 2, "query": RUNBOOKS, "current": {"value": RUNBOOKS}}


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for row in dashboard.rows:
        yield {
            "id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }  # fmt: skip
        number, y, x, high = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.wide > WIDTH:
                y, x, high = y + high, 0, 0
            height = HEIGHT[panel.kind]
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.wide, "h": height})
            number, x, high = number + 1, x + panel.wide, max(high, height)
        y += high


def _panel(panel: Panel, number: int, where: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + i),
            "expr": expression(query),
            "legendFormat": legend,
            "datasource": _SOURCE,
            **({"format": "heatmap"} if panel.kind == "heatmap" else {}),
            **({"instant": True, "range": False} if panel.kind == "stat" else {}),
        }
        for i, (legend, query) in enumerate(panel.queries.items())
    ]
    link = {"title": "Runbook", "url": f"${{runbooks}}/{panel.runbook}.md", "targetBlank": True}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "links": [link] if panel.runbook else [],
        "datasource": _SOURCE,
        "gridPos": where,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "showPoints": "never",
            "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"},
        }
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    return {}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
