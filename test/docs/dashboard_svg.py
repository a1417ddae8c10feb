#!/usr/bin/env python3
"""The picture of the dashboard: docs/monitoring/dashboard.svg, of what a real run has shown.

`make dashboard` records docs/monitoring/dashboard-data.json (test/tools/record_dashboard.py), and
calls this. The titles are those of dashboard.json. One file is light or dark, as the reader is.

    dashboard_svg.py           writes it
    dashboard_svg.py --check   complains if it is stale
"""
import itertools
import json
import sys
from html import escape

import svg
import tree

PICTURE = "docs/monitoring/dashboard.svg"
DATA = "docs/monitoring/dashboard-data.json"
DASHBOARD = "docs/monitoring/dashboard.json"
# A panel, with its margin; its plot within it.
WIDTH, HEIGHT, MARGIN = 310, 190, 10
LEFT, TOP, RIGHT, BOTTOM = 52, 30, 10, 46
# Of series: told apart on white and on black, also by those who see few colours.
LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9"]
DARK = ["#56b4e9", "#e69f00", "#2fc79a", "#e7a3c8", "#f0e442", "#9bb8ff"]


def style():
    def colours(text, soft, line, page, panel, series):
        return (f"text{{fill:{text}}}.soft{{fill:{soft}}}.page{{fill:{page}}}"
                f".panel{{fill:{panel};stroke:{line}}}.grid{{stroke:{line}}}"
                + "".join(f".s{i}{{stroke:{c}}}.f{i}{{fill:{c}}}" for i, c in enumerate(series)))
    return ("<style>polyline{fill:none;stroke-width:1.5}"
            + colours("#1a202c", "#4a5568", "#cbd5e0", "#ffffff", "#f7fafc", LIGHT)
            + "@media (prefers-color-scheme:dark){"
            + colours("#f7fafc", "#cbd5e0", "#4a5568", "#11151c", "#1c222c", DARK) + "}</style>")


def label(value, unit):
    """A value of the axis, in few signs."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"
    of_bytes = unit in ("bytes", "Bps")
    for size, sign in ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")) if of_bytes else (
            (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g} {sign}{'B' if of_bytes else ''}"
    return f"{value:.3g}{' B' if of_bytes else ''}"


def nice(top, of_bytes):
    """The next round number."""
    if top <= 0:
        return 1
    if of_bytes:
        unit = 1 << (int(top).bit_length() - 1) // 10 * 10
        return nice(top / unit, False) * unit
    power = 10.0 ** len(str(int(top))) / 10 if top >= 1 else 1.0
    while power > top:
        power /= 10
    return next(power * k for k in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if power * k >= top * 0.999)


def panel(at, title, unit, series):
    """The parts of a panel whose corner is at that place."""
    x, y = at
    # What never happened needs no line in a small legend.
    series = [s for s in series if any(v for _, v in s["values"])] or series[:1]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    points = [v for s in series for _, v in s["values"] if v is not None]
    top = nice(max(points, default=0), unit in ("bytes", "Bps"))
    out = [f'<rect class="panel" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>',
           f'<text x="{x + 10}" y="{y + 19}" font-size="12" font-weight="bold">{escape(title)}</text>']
    for k in range(3):
        h = y + TOP + height - height * k / 2
        out += [f'<path class="grid" d="M{x + LEFT} {h:g}h{width}"/>',
                f'<text class="soft" x="{x + LEFT - 5}" y="{h + 3:g}" font-size="9" '
                f'text-anchor="end">{escape(label(top * k / 2, unit))}</text>']
    for i, s in enumerate(series):
        for known, run in itertools.groupby(s["values"], lambda p: p[1] is not None):
            line = " ".join(f"{x + LEFT + width * t:.1f},{y + TOP + height * (1 - v / top):.1f}"
                            for t, v in run if known)
            if known:
                out.append(f'<polyline class="s{i % len(LIGHT)}" points="{line}"/>')
    where, row = x + 10, y + HEIGHT - 29
    for i, s in enumerate(series):
        room = 16 + 5.2 * len(s["legend"])
        if where + room > x + WIDTH and where > x + 10:
            where, row = x + 10, row + 11
        out += [f'<rect class="f{i % len(LIGHT)}" x="{where:g}" y="{row - 6}" width="8" height="3"/>',
                f'<text class="soft" x="{where + 11:g}" y="{row}" font-size="9">'
                f'{escape(s["legend"])}</text>']
        where += room + 6
    return out


def picture(data):
    """The text of the file."""
    rows = (len(data) + 2) // 3
    width, height = 3 * (WIDTH + MARGIN) + MARGIN, rows * (HEIGHT + MARGIN) + MARGIN
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           f'width="{width}" height="{height}" font-family="sans-serif">', style(),
           f'<rect class="page" width="{width}" height="{height}"/>']
    for i, one in enumerate(data):
        out += panel((MARGIN + i % 3 * (WIDTH + MARGIN), MARGIN + i // 3 * (HEIGHT + MARGIN)),
                     one["title"], one["unit"], one["series"])
    return "\n".join(out + ["</svg>", ""])


def check(root):
    """All complaints about the tree, as lines."""
    data = json.loads(tree.read(root, DATA))
    shown = [(p["title"], p["fieldConfig"]["defaults"]["unit"])
             for p in json.loads(tree.read(root, DASHBOARD))["panels"]]
    if [(one["title"], one["unit"]) for one in data] != shown:
        return [f"{DATA} is of another dashboard: make dashboard records it anew"]
    return svg.stale(root, PICTURE, picture(data))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        del sys.argv[1]
        tree.run(check)
    with open(PICTURE, "w", encoding="utf-8") as file:
        file.write(picture(json.loads(tree.read(".", DATA))))
