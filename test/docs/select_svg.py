#!/usr/bin/env python3
"""The picture of a select that waits, and of the thread that serves it: docs/select.svg, for
docs/channels.md.

Each function that it names is in the sources.

    select_svg.py                       writes it
    select_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import svg
from svg import QUEUE, STEP, THREAD, arrow, box, frame, text

PICTURE = "docs/select.svg"
FUNCTIONS = {"chan_select", "park_wait", "park_claim", "park_wake", "chan_send"}
# Below each other: what the server does. The second is where one of several wins.
STEPS = [
    "1. locks c2, finds the waiter",
    "2. park_claim: one thread wins",
    "3. copies v into A's variable",
    "4. unlocks c2",
    "5. park_wake",
]


def picture():
    """The text of the file."""
    out = [frame(12, 20, 250, 300), svg.bold(text(137, 42, "thread A: chan_select", 12))]
    for at, name in enumerate(["c1", "c2", "c3"]):
        y = 80 + 56 * at
        out += [box(30, y, 210, f"waiter: case {at}, receive from {name}", STEP),
                arrow((240, y), (338, y)), box(340, y, 110, f"{name}.recvq", QUEUE)]
    out += [text(289, 70, "queued in all,", 10), text(289, 126, "while all are", 10),
            text(289, 182, "locked", 10),
            box(72, 282, 126, "parker of A", THREAD),
            *(arrow((30, y), (22, y), (22, 282), (70, 282)) for y in (80, 136, 192)),
            text(60, 246, "all three have", 10, "start"),
            text(60, 259, "the same parker", 10, "start"),
            text(137, 314, "park_wait: A sleeps", 10)]
    out += [frame(600, 20, 268, 300), svg.bold(text(734, 42, "thread B: chan_send(c2, &v)", 12))]
    out += [text(616, 80 + 30 * at, step, 12, "start") for at, step in enumerate(STEPS)]
    out += [arrow((598, 76), (524, 76), (524, 136), (452, 136)),
            arrow((598, 196), (524, 196), (524, 282), (200, 282)),
            text(362, 274, "A wakes", 11),
            text(616, 252, "Another sender, at c1, fails", 11, "start"),
            text(616, 268, "in step 2. It drops the waiter,", 11, "start"),
            text(616, 284, "and takes the next in c1.recvq.", 11, "start")]
    out += [text(440, 346, "A wakes with case 1. It removes its waiters from c1 and c3, one lock "
                           "at a time: the claim has settled that they are dead.", 11)]
    return svg.picture(880, 360, out)


def check(root):
    """All complaints about the tree, as lines."""
    return svg.stale(root, PICTURE, picture()) + svg.unknown(root, PICTURE, FUNCTIONS)


if __name__ == "__main__":
    svg.main(PICTURE, picture(), check)
