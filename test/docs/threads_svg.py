#!/usr/bin/env python3
"""The map of the threads: docs/threads.svg, for docs/architecture.md.

It has all threads of the table there, and each chan that it names is in the sources.

    threads_svg.py                       writes it
    threads_svg.py --check [DIRECTORY]   1 if the file there is another; "." if not given
"""
import re

import svg
import threads
import tree
from svg import PEER, QUEUE, THREAD, arrow, box, frame, text

PICTURE = "docs/threads.svg"
CHANS = {"memory_msg_chan", "client_msg_chans", "write_chan", "read_chan", "append_chan", "work_chan",
         "exit_chan", "stop_chan", "persist_chan", "events_chan", "earlier_chan", "wake_chan"}


def of_connections():
    """The threads that serve connections."""
    return [frame(120, 30, 190, 270), text(130, 48, "connections", 12, "start"),
            box(140, 80, 150, "poller", THREAD), text(215, 112, "a thread where a step", 10),
            text(215, 124, "may block, or is busy:", 10), arrow((152, 97), (152, 143)),
            box(140, 160, 150, "io:ADDR", THREAD), box(140, 205, 150, "pump:ADDR", THREAD),
            box(140, 255, 150, "http:ADDR, https:ADDR", THREAD),
            box(10, 80, 90, "producers", PEER), arrow((100, 80), (138, 80)),
            box(10, 205, 90, "consumers", PEER), arrow((138, 205), (102, 205)),
            box(10, 255, 90, "HTTP clients", PEER), arrow((100, 255), (138, 255))]


def of_queues():
    """The threads of topics, channels and their files."""
    return [frame(400, 30, 470, 270), text(410, 48, "topics and channels", 12, "start"),
            box(430, 80, 130, "t:TOPIC", THREAD), box(660, 80, 170, "c:TOPIC/CHANNEL", THREAD),
            arrow((290, 80), (428, 80)), text(355, 72, "memory_msg_chan", 10),
            arrow((560, 80), (658, 80)), text(610, 72, "memory_msg_chan", 10),
            box(545, 150, 130, "dq:NAME, lq:NAME", THREAD),
            arrow((495, 97), (495, 150), (543, 150)), text(489, 166, "write_chan", 10, "end"),
            arrow((560, 133), (560, 115), (530, 115), (530, 99)), text(580, 128, "read_chan", 10, "start"),
            arrow((675, 150), (745, 150), (745, 99)), text(752, 128, "read_chan", 10, "start"),
            box(735, 190, 130, "log:TOPIC, mv:TOPIC", THREAD), text(800, 222, "append_chan", 10),
            arrow((690, 97), (690, 205), (292, 205)), text(355, 198, "client_msg_chans", 10),
            box(430, 255, 90, "scan", THREAD), box(594, 255, 134, "scan-worker, expire", THREAD),
            arrow((520, 255), (592, 255)), text(556, 247, "work_chan", 10),
            text(475, 290, "earlier_chan wakes it", 10),
            box(740, 255, 110, "timerproc", THREAD), text(795, 290, "tickers of pumps", 10)]


def of_process():
    """The threads that a process has once."""
    out = [frame(10, 330, 860, 130), text(20, 348, "one a process", 12, "start"),
           box(30, 380, 90, "signals", THREAD), box(200, 380, 90, "main", THREAD),
           arrow((120, 380), (198, 380)), text(159, 372, "stop_chan", 10),
           box(370, 380, 90, "close", THREAD), arrow((290, 380), (368, 380)),
           text(329, 372, "at exit", 10), text(415, 410, "up to 7", 10),
           text(245, 410, "closes exit_chan: all threads end", 10),
           box(30, 438, 90, "watchdog", THREAD, 30), box(200, 438, 130, "service manager", PEER, 30),
           box(420, 438, 72, "limits", THREAD, 30),
           arrow((120, 438), (198, 438)), text(159, 430, "WATCHDOG=1", 10)]
    for x, name, words in [(520, "metadata", ["nsqd.dat"]), (610, "lookup", ["nsqlookupd"]),
                           (700, "statsd", ["statsd"]), (790, "log", ["stderr"])]:
        out += [box(x, 380, 72, name, THREAD), arrow((x + 36, 397), (x + 36, 419)),
                box(x - 4, 436, 80, words[0], PEER, 30)]
    return out + [arrow((556, 300), (556, 361)), text(562, 320, "persist_chan", 10, "start"),
                  arrow((646, 300), (646, 361)), text(652, 320, "events_chan", 10, "start"),
                  arrow((826, 300), (826, 361)), text(820, 320, "wake_chan", 10, "end")]


def picture():
    """The text of the file."""
    return svg.picture(880, 470, of_connections() + of_queues() + of_process())


def check(root):
    """All complaints about the tree, as lines."""
    complaints = svg.stale(root, PICTURE, picture()) + svg.unknown(root, PICTURE, CHANS)
    drawn = {re.sub(r"[A-Z]+", "*", name) for words in re.findall(r">([^<]+)</text>", picture())
             for name in words.split(", ")}
    for name in sorted(threads.names_in_table(tree.read(root, threads.PAGE)) - drawn):
        complaints.append(f"{PICTURE}: the thread {name} of {threads.PAGE} is not in it")
    return complaints


if __name__ == "__main__":
    svg.main(PICTURE, picture(), check)
