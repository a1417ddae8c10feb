"""Pictures in docs/, as the scripts here draw them. Each has a background of its own, so it can be
read on a dark page as well."""
import os
import sys
from html import escape

import tree

THREAD, QUEUE, PEER, STEP, LINE = "#bee3f8", "#feebc8", "#e2e8f0", "#c6f6d5", "#2d3748"


def text(x, y, words, size=12, anchor="middle"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="#1a202c" '
            f'text-anchor="{anchor}">{escape(words)}</text>')


def box(x, y, width, words, fill, height=34):
    """A box around y, from x on; what runs has round corners."""
    radius = 12 if fill in (THREAD, STEP) else 2
    return (f'<rect x="{x}" y="{y - height // 2}" width="{width}" height="{height}" rx="{radius}" '
            f'fill="{fill}" stroke="{LINE}"/>' + text(x + width // 2, y + 4, words))


def arrow(*points, dashed=False):
    """A line through the points, with a head at the last one."""
    way = "L".join(f"{x} {y}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="M{way}" fill="none" stroke="{LINE}"{dash} marker-end="url(#head)"/>'


def picture(width, height, parts):
    """The text of a file."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           f'width="{width}" height="{height}" font-family="sans-serif">',
           '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
           f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker>'
           '</defs>',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    return "\n".join(out + parts + ["</svg>", ""])


def stale(root, path, wanted):
    """A complaint if the file is another than wanted."""
    full = os.path.join(root, path)
    if os.path.exists(full) and tree.read(root, path) == wanted:
        return []
    return [f"{path} is stale: test/docs/{os.path.basename(path)[:-4]}_svg.py writes it"]


def main(path, wanted, check):
    """Writes the file; with --check runs that."""
    if sys.argv[1:2] == ["--check"]:
        del sys.argv[1]
        tree.run(check)
    with open(path, "w", encoding="utf-8") as file:
        file.write(wanted)
