#!/usr/bin/env python3
"""The picture of a client's states: docs/client.svg, for docs/architecture.md.

Each function that it names is in the sources, and its stages are those of enum client_stage.

    client_svg.py                       writes it
    client_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import re

import svg
import tree
from svg import PEER, QUEUE, STEP, THREAD, arrow, box, text

PICTURE = "docs/client.svg"
WIDTH, HEIGHT = 900, 512
HEADER = "nsqd/client/client_v2.h"
STAGES = ["ACCEPTED", "MAGIC", "COMMANDS", "LEAVING", "OVER"]
# The functions that make the transitions.
FUNCTIONS = set()


def by(x, y, function, *why, anchor="middle"):
    """A transition: the function, and below it when it makes it."""
    FUNCTIONS.add(function)
    lines = [svg.bold(text(x, y, function, 11, anchor))]
    return "".join(lines + [text(x, y + 13 * i, line, 10, anchor) for i, line in enumerate(why, 1)])


def row(y, height, name):
    return svg.frame(8, y, WIDTH - 16, height) + text(18, y + 18, name, 12, "start")


def stage():
    return [row(8, 150, "stage: what is to be done"),
            box(20, 72, 90, STAGES[0], QUEUE), arrow((110, 72), (188, 72)),
            by(149, 62, "await_magic"),
            box(190, 72, 80, STAGES[1], QUEUE), arrow((270, 72), (368, 72)),
            by(319, 62, "read_magic"), text(319, 88, '"  V2"', 10),
            box(370, 72, 110, STAGES[2], QUEUE), arrow((480, 72), (608, 72)),
            by(544, 50, "protocol_v2_io_loop", "the end, an error"),
            box(610, 72, 90, STAGES[3], QUEUE), arrow((700, 72), (808, 72)),
            by(754, 50, "protocol_v2_leave", "pump ended, bye"),
            box(810, 72, 70, STAGES[4], QUEUE),
            arrow((230, 89), (230, 126), (655, 126), (655, 91)), arrow((425, 89), (425, 125)),
            by(320, 121, "read_magic"), text(320, 139, "other bytes, the end, 60 s", 10),
            by(544, 121, "no_thread"), text(544, 139, "no thread for a second", 10)]


def place():
    return [row(170, 150, "place: which thread does it"),
            box(60, 250, 170, "waits, at the pollers", PEER),
            box(370, 250, 130, "a poller's step", STEP),
            box(670, 250, 190, "its own thread, io:ADDR", THREAD),
            arrow((230, 242), (368, 242)), by(299, 218, "on_event", "input, a deadline, a kick"),
            arrow((370, 258), (232, 258)), by(301, 274, "park", "nothing more to do"),
            arrow((500, 242), (668, 242)), by(584, 218, "give_thread", "may block, or is busy"),
            arrow((765, 267), (765, 304), (145, 304), (145, 269)),
            by(584, 285, "thread_loop", "silent for 250 ms, or sends little at a time")]


def pump():
    return [row(332, 172, "pump: what sends messages and heartbeats"),
            box(40, 412, 100, "not started", PEER),
            box(360, 412, 110, "ownerless", STEP),
            box(640, 412, 210, "with an owner, pump:ADDR", THREAD),
            arrow((140, 412), (358, 412)),
            by(250, 402, "protocol_v2_start_message_pump"),
            text(250, 428, "SUB, the first heartbeat is due,", 10),
            text(250, 441, "answers that the socket does not take", 10),
            arrow((470, 404), (638, 404)), by(555, 380, "go", "a step may block, or there is much"),
            arrow((640, 420), (472, 420)), by(555, 436, "leave", "asleep for 250 ms"),
            box(385, 478, 60, "ended", PEER), arrow((415, 429), (415, 459)),
            arrow((745, 429), (745, 478), (447, 478)),
            by(600, 473, "ended"), text(600, 491, "the client leaves, or cannot be written to", 10)]


def picture():
    """The text of the file."""
    return svg.picture(WIDTH, HEIGHT, stage() + place() + pump())


def check(root):
    """All complaints about the tree, as lines."""
    complaints = svg.stale(root, PICTURE, picture())
    complaints += svg.unknown(root, PICTURE, FUNCTIONS)
    stages = re.findall(r"^\tSTAGE_(\w+)", tree.read(root, HEADER), re.M)
    if stages != STAGES:
        complaints.append(f"{PICTURE}: the stages of {HEADER} are {', '.join(stages)}")
    return complaints


if __name__ == "__main__":
    svg.main(PICTURE, picture(), check)
