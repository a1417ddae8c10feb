#!/usr/bin/env python3
"""The picture of a message's way: docs/way.svg, for the README.

    way_svg.py                       writes it
    way_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import os
import sys
from html import escape

import tree

PICTURE = "docs/way.svg"
WIDTH, HEIGHT = 900, 330
THREAD, QUEUE, PEER, LINE = "#bee3f8", "#feebc8", "#e2e8f0", "#2d3748"
BOX = 34  # the height of a box


def text(x, y, words, size=12, anchor="middle"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="#1a202c" '
            f'text-anchor="{anchor}">{escape(words)}</text>')


def box(x, y, width, words, fill):
    """A box around y, from x on; threads have round corners."""
    radius = 12 if fill == THREAD else 2
    return (f'<rect x="{x}" y="{y - BOX // 2}" width="{width}" height="{BOX}" rx="{radius}" '
            f'fill="{fill}" stroke="{LINE}"/>' + text(x + width // 2, y + 4, words))


def arrow(*points, dashed=False):
    """A line through the points, with a head at the last one."""
    way = "L".join(f"{x} {y}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="M{way}" fill="none" stroke="{LINE}"{dash} marker-end="url(#head)"/>'


def queue(x, y, name):
    """The two queues of a topic or channel, in one frame."""
    return (f'<rect x="{x - 8}" y="{y - 52}" width="116" height="104" rx="4" fill="none" '
            f'stroke="#a0aec0"/>' + text(x + 50, y - 58, name, 11)
            + box(x, y - 24, 100, "memory", QUEUE) + box(x, y + 24, 100, "disk (dq:NAME)", QUEUE))


def channel(y, name, consumers):
    """A channel with its pump, and its consumers below each other."""
    parts = [queue(410, y, f"channel {name}"), box(552, y, 104, f"c:TOPIC/{name}", THREAD),
             arrow((518, y), (550, y))]
    for at in consumers:
        parts += [arrow((656, y), (688, at)), box(690, at, 88, "pump:ADDR", THREAD),
                  arrow((778, at), (804, at)), box(806, at, 84, "consumer", PEER)]
    return parts


def picture():
    """The text of the file."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
           '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
           f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker>'
           '</defs>',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           box(10, 160, 76, "producer", PEER), arrow((86, 160), (104, 160)),
           box(106, 160, 68, "io:ADDR", THREAD), arrow((174, 160), (190, 160)),
           queue(200, 160, "topic"), arrow((308, 160), (322, 160)),
           box(324, 160, 60, "t:TOPIC", THREAD),
           arrow((384, 152), (401, 100)), arrow((384, 168), (401, 220))]
    out += channel(90, "a", (65, 115)) + channel(230, "b", (230,))
    out += [arrow((848, 247), (848, 300), (460, 300), (460, 284), dashed=True),
            text(654, 316, "FIN: done. REQ, or its timeout (scan-worker): back into the queue", 11),
            box(10, 310, 76, "thread", THREAD), box(94, 310, 76, "queue", QUEUE),
            box(178, 310, 76, "peer", PEER)]
    return "\n".join(out + ["</svg>", ""])


def check(root):
    """All complaints about the tree, as lines."""
    path = os.path.join(root, PICTURE)
    if os.path.exists(path) and tree.read(root, PICTURE) == picture():
        return []
    return [f"{PICTURE} is stale: test/docs/way_svg.py writes it"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        del sys.argv[1]
        tree.run(check)
    with open(PICTURE, "w", encoding="utf-8") as file:
        file.write(picture())
