"""Pictures in docs/, as the scripts here draw them. Each has a background of its own, so it can be
read on any page. Where the reader prefers dark pages its colours are those of DARK."""
import os
import re
import sys
from html import escape

import tree

THREAD, QUEUE, PEER, STEP = "thread", "queue", "peer", "step"
LIGHT = {
    "page": "#fff", "text": "#1a202c", "line": "#2d3748", "frame": "#a0aec0",
    THREAD: "#bee3f8", QUEUE: "#feebc8", PEER: "#e2e8f0", STEP: "#c6f6d5",
}
DARK = {
    "page": "#16181d", "text": "#edf2f7", "line": "#cbd5e0", "frame": "#718096",
    THREAD: "#2a4365", QUEUE: "#744210", PEER: "#4a5568", STEP: "#22543d",
}


def rules(colours):
    """The colours as CSS."""
    out = f'text,.head{{fill:{colours["text"]}}}.line{{stroke:{colours["line"]}}}'
    out += f'.frame{{stroke:{colours["frame"]}}}'
    fills = ("page", THREAD, QUEUE, PEER, STEP)
    return out + "".join(f".{name}{{fill:{colours[name]}}}" for name in fills)


STYLE = (f"<style>{rules(LIGHT)}\n"
         f"@media (prefers-color-scheme:dark){{{rules(DARK)}}}</style>")


def text(x, y, words, size=12, anchor="middle"):
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'


def bold(words):
    """A text in bold letters."""
    return words.replace("<text ", '<text font-weight="bold" ')


def frame(x, y, width, height):
    """A thin line around what belongs together."""
    return (f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="4" '
            'fill="none"/>')


def box(x, y, width, words, fill, height=34):
    """A box around y, from x on; what runs has round corners."""
    radius = 12 if fill in (THREAD, STEP) else 2
    return (f'<rect x="{x}" y="{y - height // 2}" width="{width}" height="{height}" rx="{radius}" '
            f'class="line {fill}"/>' + text(x + width // 2, y + 4, words))


def arrow(*points, dashed=False):
    """A line through the points, with a head at the last one."""
    way = "L".join(f"{x} {y}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path class="line" d="M{way}" fill="none"{dash} marker-end="url(#head)"/>'


def picture(width, height, parts):
    """The text of a file."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           f'width="{width}" height="{height}" font-family="sans-serif">',
           '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
           'markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>',
           STYLE, f'<rect class="page" width="{width}" height="{height}"/>']
    return "\n".join(out + parts + ["</svg>", ""])


def unknown(root, path, names):
    """Complaints about names of functions and fields that no source has."""
    words = set()
    for source in tree.sources(root, ("nsqd", "protocol", "common"), (".c", ".h")):
        words.update(re.findall(r"\w+", tree.read(root, source)))
    return [f"{path}: nothing in the sources is called {name}" for name in sorted(names - words)]


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
