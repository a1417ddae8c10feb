#!/usr/bin/env python3
"""The picture of a message's way: docs/way.svg, for the README.

    way_svg.py                       writes it
    way_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import svg
from svg import PEER, QUEUE, STEP, THREAD, arrow, box, text

PICTURE = "docs/way.svg"


def queue(x, y, name):
    """The two queues of a topic or channel, in one frame."""
    return (svg.frame(x - 8, y - 52, 116, 104) + text(x + 50, y - 58, name, 11)
            + box(x, y - 24, 100, "memory", QUEUE) + box(x, y + 24, 100, "disk (dq:NAME)", QUEUE))


def channel(y, name, consumers):
    """A channel with its pump, and its consumers below each other."""
    parts = [queue(410, y, f"channel {name}"), box(552, y, 104, f"c:TOPIC/{name}", THREAD),
             arrow((518, y), (550, y))]
    for at in consumers:
        parts += [arrow((656, y), (688, at)), box(690, at, 88, "its pump", STEP),
                  arrow((778, at), (804, at)), box(806, at, 84, "consumer", PEER)]
    return parts


def picture():
    """The text of the file."""
    out = [box(10, 160, 76, "producer", PEER), arrow((86, 160), (104, 160)),
           box(106, 160, 68, "io_loop", STEP), arrow((174, 160), (190, 160)),
           queue(200, 160, "topic"), arrow((308, 160), (322, 160)),
           box(324, 160, 60, "t:TOPIC", THREAD),
           arrow((384, 152), (401, 100)), arrow((384, 168), (401, 220))]
    out += channel(90, "a", (65, 115)) + channel(230, "b", (230,))
    out += [arrow((848, 247), (848, 300), (460, 300), (460, 284), dashed=True),
            text(654, 316, "FIN: done. REQ, or its timeout (scan): back into the queue", 11),
            box(10, 310, 64, "thread", THREAD), box(82, 310, 144, "steps of any thread", STEP),
            box(234, 310, 56, "queue", QUEUE), box(298, 310, 56, "peer", PEER)]
    return svg.picture(900, 330, out)


def check(root):
    """All complaints about the tree, as lines."""
    return svg.stale(root, PICTURE, picture())


if __name__ == "__main__":
    svg.main(PICTURE, picture(), check)
