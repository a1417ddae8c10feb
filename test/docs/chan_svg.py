#!/usr/bin/env python3
"""The picture of a chan's inside: docs/chan.svg, for docs/channels.md.

Each field and function that it names is in the sources.

    chan_svg.py                       writes it
    chan_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import svg
from svg import QUEUE, STEP, THREAD, arrow, box, frame, text

PICTURE = "docs/chan.svg"
# What it names and the sources have.
NAMES = set()


def named(x, y, name, anchor="start", size=12):
    """A field or a function."""
    NAMES.add(name)
    return svg.bold(text(x, y, name, size, anchor))


def field(y, name, *words):
    """A field of the chan, and what it says."""
    return named(36, y, name) + "".join(
        text(130, y + 14 * i, line, 11, "start") for i, line in enumerate(words))


def chan():
    """The struct, with a ring that is full, the oldest value at 1."""
    ring = [box(36 + 52 * i, 250, 50, f"v{(i - 1) % 5 + 1}", QUEUE, 30) for i in range(5)]
    return [frame(20, 40, 300, 270), text(170, 30, "a chan, make(chan T, 5), full", 13),
            field(66, "lock", "0 free, 1 held, 2 held and wanted"),
            field(90, "hints", "can one receive, can one send:", "readable without the lock"),
            field(130, "closed", "no more values"),
            field(154, "count", "5 values, len(c)"),
            field(178, "cap", "5 places, cap(c)"),
            field(202, "head", "1: the oldest value"),
            named(36, 230, "ring"), *ring,
            arrow((137, 206), (137, 222), (113, 222), (113, 234)),
            text(170, 290, "when v1 is taken, the oldest sender's value", 11),
            text(170, 303, "takes its place, and head becomes 2", 11)]


def waiter(x, y, words):
    """A waiter, in a thread's stack."""
    return [box(x, y, 110, "waiter", STEP, 30), text(x + 55, y - 22, words, 11)]


def picture():
    """The text of the file."""
    NAMES.update(["recvq", "sendq", "demandq", "waiter", "parker"])
    out = chan()
    out += [box(370, 70, 90, "sendq", QUEUE, 30), arrow((320, 70), (368, 70)),
            arrow((460, 70), (508, 70)), arrow((620, 70), (668, 70)),
            *waiter(510, 70, "the oldest sender"), *waiter(670, 70, "the next one"),
            text(370, 106, "senders wait here while the ring is full", 11, "start")]
    out += [box(370, 155, 90, "recvq", QUEUE, 30), arrow((320, 155), (368, 155)),
            text(370, 191, "receivers wait here while the ring is empty", 11, "start"),
            box(370, 230, 90, "demandq", QUEUE, 30), arrow((320, 230), (368, 230)),
            text(370, 266, "selects wait here for a receiver (Go has no such queue)", 11, "start")]
    out += [frame(20, 340, 840, 130), text(30, 360, "a waiter: on the stack of its thread", 12, "start"),
            field(386, "v", "the thread's own array of values: a value goes from there to there, or to the ring"),
            field(410, "max", "how many it has, or wants"),
            field(434, "n", "how many have been moved"),
            field(458, "parker", "whom to wake"),
            box(700, 454, 130, "parker", THREAD, 26),
            arrow((226, 454), (698, 454)),
            text(765, 434, "where the thread sleeps", 11)]
    return svg.picture(880, 484, out)


def check(root):
    """All complaints about the tree, as lines."""
    return svg.stale(root, PICTURE, picture()) + svg.unknown(root, PICTURE, NAMES)


if __name__ == "__main__":
    svg.main(PICTURE, picture(), check)
