"""A bar chart of ratios as SVG text."""

import math
import statistics
from html import escape

LEFT, RIGHT, TOP, PLOT = 130, 70, 46, 560
BAR, GAP = 11, 12
RATE, COST = "#2b6cb0", "#c05621"


def _text(x, y, s, anchor="start", size=12, fill="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" '
            f'text-anchor="{anchor}">{escape(s)}</text>')


def _bar(y, ratios, scale, fill):
    mid = statistics.median(ratios)
    x = LEFT + mid * scale
    lo, hi = LEFT + min(ratios) * scale, LEFT + max(ratios) * scale
    c = y + BAR / 2
    return [f'<rect x="{LEFT}" y="{y:.1f}" width="{mid * scale:.1f}" height="{BAR}" '
            f'fill="{fill}"/>',
            f'<path d="M{lo:.1f} {c:.1f}H{hi:.1f}" stroke="#222" stroke-width="1"/>',
            _text(max(x, hi) + 5, y + BAR - 1, f"{mid:.2f}x", size=10)]


def ratio_chart(rows, first, second):
    """rows: (name, ratios, ratios); a bar is the median, its line min to max."""
    every = [r for _, a, b in rows for r in a + b]
    top = max(1, math.ceil(max(every, default=1) * 2) / 2)
    scale = PLOT / top
    height = TOP + len(rows) * (2 * BAR + GAP) + 30
    width = LEFT + PLOT + RIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           f'width="{width}" height="{height}" font-family="sans-serif">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>',
           f'<rect x="{LEFT}" y="10" width="12" height="12" fill="{RATE}"/>',
           _text(LEFT + 18, 20, f"{first} (longer is better)"),
           f'<rect x="{LEFT + 270}" y="10" width="12" height="12" fill="{COST}"/>',
           _text(LEFT + 288, 20, f"{second} (shorter is better)")]
    step = 0.5 if top <= 5 else 1 if top <= 10 else 5
    for i in range(int(top / step) + 1):
        x = LEFT + i * step * scale
        one = i * step == 1
        out.append(f'<path d="M{x:.1f} {TOP - 8}V{height - 24}" '
                   f'stroke="{"#222" if one else "#ddd"}"/>')
        out.append(_text(x, height - 8, "stock" if one else f"{i * step:g}x", "middle", 11))
    y = TOP
    for name, a, b in rows:
        out.append(_text(LEFT - 8, y + BAR + 4, name, "end"))
        if a and b:
            out += _bar(y, a, scale, RATE) + _bar(y + BAR, b, scale, COST)
        else:
            out.append(_text(LEFT + 6, y + BAR + 4, "no ratio", size=10, fill="#777"))
        y += 2 * BAR + GAP
    return "\n".join(out + ["</svg>", ""])
