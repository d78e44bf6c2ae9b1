"""A structured report as a web page and as plain text (PS3.18 8.7.4, category Text)."""

import base64
import hashlib
from html import escape
from typing import Final

from osteon_query.reports.content_tree import ContentItem, StructuredReport

_STYLE: Final = (
    "body{font-family:sans-serif;max-width:60em;margin:1em auto;padding:0 1em}"
    "th{text-align:left;padding-right:1em;font-weight:normal;color:#555}"
    "ul{list-style:none;padding-left:1.5em}li{margin:.2em 0}span{white-space:pre-wrap}"
)
HTML_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""Content-Security-Policy of the page: nothing runs and nothing is loaded, but its own style sheet counts."""
_MORE: Final = "The report is longer than what is shown here."
_INDENT: Final = "  "
_MAX_INDENT: Final = 10
"""Levels that are indented: each line of a text is."""


def to_html(report: StructuredReport) -> str:
    """Return a page; everything out of the data set is escaped."""
    title = escape(report.title)
    facts = "".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>\n" for label, text in report.facts)
    more = f"<p><em>{_MORE}</em></p>\n" if report.omitted else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n<table>\n{facts}</table>\n"
        f"{''.join(_lists(report.items))}{more}</body>\n</html>\n"
    )


def _lists(items: tuple[ContentItem, ...]) -> list[str]:
    """Return the lines of nested lists."""
    lines: list[str] = []
    depth = 0
    for item in items:
        if item.depth > depth:
            lines.append("<ul>\n")
        else:
            lines.append("</li>\n" + "</ul></li>\n" * (depth - item.depth))
        depth = item.depth
        lines.append(f'<li id="item-{item.position}">{_html_line(item)}')
    if items:
        lines.append("</li>\n" + "</ul></li>\n" * (depth - 1) + "</ul>\n")
    return lines


def _html_line(item: ContentItem) -> str:
    if item.refers_to:
        place = escape(item.refers_to)
        return f'{escape(item.name)} <a href="#item-{place}">see item {place}</a>'
    if item.value_type == "CONTAINER":
        return f"<b>{escape(item.name)}</b>"
    name = f"{escape(item.name)}: " if item.name else ""
    return f"{name}<span>{escape(item.text)}</span>"


def to_text(report: StructuredReport) -> str:
    """Return plain text, an item a line, indented by its depth."""
    lines = [report.title, "", *(f"{label}: {text}" for label, text in report.facts), ""]
    for item in report.items:
        indent = _INDENT * min(item.depth - 1, _MAX_INDENT)
        value = f"see item {item.refers_to}" if item.refers_to else item.text.replace("\n", f"\n{indent}{_INDENT}")
        named = item.name if item.value_type == "CONTAINER" else f"{item.name}: {value}" if item.name else value
        lines.append(f"{indent}{item.position} {named}")
    return "\n".join([*lines, *(["", _MORE] if report.omitted else [])]) + "\n"
