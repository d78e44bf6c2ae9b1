"""A bar chart as SVG, by hand: it needs no library."""

from collections.abc import Sequence
from html import escape

COLOURS = ("#1f6f8b", "#7fb7be", "#c0c0c0", "#99582a")
WIDTH, LEFT, ROW, GAP = 760, 110, 14, 12


def bars(title: str, values: Sequence[tuple[str, str, float]]) -> str:
    """Return a chart of (group, name, value): a row for each value, groups apart, a colour for each name."""
    names = list(dict.fromkeys(name for _, name, _ in values))
    scale = (WIDTH - LEFT - 60) / max(value for *_, value in values)
    parts, y, last = [], 52, None
    for group, name, value in values:
        if group != last:
            y += GAP
            parts.append(f'<text x="{LEFT - 8}" y="{y + ROW - 3}" text-anchor="end">{escape(group)}</text>')
        last = group
        colour = COLOURS[names.index(name) % len(COLOURS)]
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{ROW - 2}" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + value * scale + 5:.1f}" y="{y + ROW - 3}" fill="#555">{value:.0f}</text>')
        y += ROW
    legend = "".join(
        f'<rect x="{LEFT + 120 * i}" y="34" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>'
        f'<text x="{LEFT + 120 * i + 15}" y="43">{escape(name)}</text>'
        for i, name in enumerate(names)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" width="{WIDTH}" height="{y + 12}"'
        ' font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>\n{legend}\n' + "\n".join(parts) + "\n</svg>\n"
    )
