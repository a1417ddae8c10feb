#!/usr/bin/env python3
"""The picture of the order of the locks: docs/locks.svg, for docs/architecture.md. It is made from
common/lock_rank.h, so a new lock is in it.

    locks_svg.py                       writes it
    locks_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import locks
import svg
import tree
from svg import PEER, QUEUE, arrow, box, text

PICTURE = "docs/locks.svg"
ROW, TOP = 44, 34
# The two that are no ranks: they come after all that are, and are not checked by them.
BELOW = [
    ("the lock of a chan", "its ring and its waiters; of several only in a select, by address"),
    ("timerproc.c", "the deadlines of tickers; under it nothing"),
]


def picture(root):
    """The text of the file."""
    rows = locks.locks_in_header(tree.read(root, locks.HEADER))
    out = [text(20, 18, "A thread takes locks downwards only, and never two of one rank.", 12, "start")]
    for at, (name, guards) in enumerate(rows + BELOW):
        y = TOP + ROW * at + 17
        number = str(at + 1) if at < len(rows) else ""
        out += [text(30, y + 4, number, 11, "end"),
                box(40, y, 190, name, QUEUE if number else PEER, 30),
                text(246, y + 4, guards, 11, "start")]
        if at:
            out.append(arrow((135, y - ROW + 15), (135, y - 15)))
    return svg.picture(800, TOP + ROW * len(rows + BELOW), out)


def check(root):
    """All complaints about the tree, as lines."""
    return svg.stale(root, PICTURE, picture(root))


if __name__ == "__main__":
    svg.main(PICTURE, picture("."), check)
