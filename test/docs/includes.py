#!/usr/bin/env python3
"""Which source may include which: downwards only, and never in a circle.

The folders stand in FOLDERS from top to bottom. A file includes what lies in its own folder or in
a lower one. Two folders of one rank do not know each other.

A room is a file without its extension: topic.c and topic.h are the room "topic". X_internal.h
belongs to room X, unless it declares no function but inline ones and does not include X.h. Then it
is a room of its own: such types lie at the bottom of their group, for its parts to share. The
includes of a room's files lead to other rooms, and no way may lead back.

    includes.py [DIRECTORY]     the root of the sources; "." if not given
"""
import os
import re

import tree

# From top to bottom; folders in one line have the same rank. "nsqd" is what lies directly in it.
FOLDERS = [
    ["nsqd"],
    ["nsqd/life", "nsqd/offline"],
    ["nsqd/http"],
    ["nsqd/stats"],
    ["nsqd/client", "nsqd/cluster"],
    ["nsqd/queue"],
    ["nsqd/log"],
    ["nsqd/disk"],
    ["nsqd/core"],
    ["protocol"],
    ["common"],
]
RANK = {folder: rank for rank, folders in enumerate(FOLDERS) for folder in folders}
# What may lie directly in nsqd/; all else has a folder.
TOP = {"main.c", "nsqd.c", "nsqd.h"}

# Includes that close a circle and are known: (room, included room) with the reason.
KNOWN = {
}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def includes_of(root, path):
    """(line number, included path) of each #include "..." in the file."""
    for number, line in enumerate(tree.read(root, path).splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1)


def folder_of(path):
    return os.path.dirname(path)


def complaint_about(path, number, included):
    """Why this include is refused, or None."""
    here, there = folder_of(path), folder_of(included)
    at = f"{path}:{number}"
    if there not in RANK:
        return f"{at}: includes {included}, which lies in none of the folders"
    if RANK[there] < RANK[here]:
        return f"{at}: {here}/ includes upwards, from {there}/: {included}"
    if RANK[there] == RANK[here] and there != here:
        return f"{at}: {here}/ must not know {there}/: {included}"
    return None


def complaint_about_place(path):
    """Why a file must not lie where it lies, or None."""
    folder, name = os.path.split(path)
    if folder not in RANK:
        return f"{path}: {folder}/ is none of the folders of test/docs/includes.py"
    if folder == "nsqd" and name not in TOP:
        return f"{path}: must lie in a folder of nsqd/, not directly in it"
    return None


def declares_functions(text):
    """Whether a header declares functions that are defined elsewhere: other than static ones."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^\s*#(?:.*\\\n)*.*$", " ", text, flags=re.M)
    outside = "{"
    while outside != text:  # The innermost braces first, until none is left.
        outside, text = text, re.sub(r"\{[^{}]*\}", ";", text)
    for statement in text.split(";"):
        words = statement.split()
        if words and words[0] not in ("static", "typedef", "_Static_assert"):
            if re.search(r"\w\s*\(", statement):
                return True
    return False


def is_types_only(path, text):
    """Whether X_internal.h, with this text, is for the parts of X as well: see above."""
    return f'"{path[: -len("_internal.h")]}.h"' not in text and not declares_functions(text)


def room_of(path, types):
    """The room of a file; types are the files that are is_types_only."""
    if path.endswith("_internal.h") and path not in types:
        return path[: -len("_internal.h")]
    return os.path.splitext(path)[0]


def graph_of(includes, types):
    """{room: set of the rooms that it includes} of {path: [(line, included path)]}."""
    graph = {}
    for path, lines in includes.items():
        room = room_of(path, types)
        edges = graph.setdefault(room, set())
        for _, included in lines:
            other = room_of(included, types)
            if other != room:
                edges.add(other)
                graph.setdefault(other, set())
    return graph


def way_back(graph, start):
    """The shortest way from start to start as a list of rooms, or None."""
    came_from = {}
    rooms = [start]
    for room in rooms:
        for other in sorted(graph[room]):
            if other == start:
                way = [start, room]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1] if room != start else [start, start]
            if other not in came_from:
                came_from[other] = room
                rooms.append(other)
    return None


def circles_of(graph):
    """One circle for each group of rooms that reach each other, the shortest through its first."""
    circles, seen = [], set()
    for room in sorted(graph):
        if room in seen:
            continue
        way = way_back(graph, room)
        if way:
            circles.append(way)
            seen.update(way)
    return circles


def check(root, known=KNOWN):
    """All complaints about the tree, as lines."""
    paths = list(tree.sources(root, ("nsqd", "protocol", "common"), (".c", ".h")))
    complaints = [complaint_about_place(path) for path in paths]
    allowed = {path: [] for path in paths}  # What is refused already closes no circle as well.
    for path in paths:
        for number, included in includes_of(root, path):
            complaint = complaint_about(path, number, included) if folder_of(path) in RANK else None
            complaints.append(complaint)
            if not complaint:
                allowed[path].append((number, included))
    internal = [path for path in paths if path.endswith("_internal.h")]
    types = {path for path in internal if is_types_only(path, tree.read(root, path))}
    graph = graph_of(allowed, types)
    for room, other in known:
        if room in graph and way_back(graph, room) and other in graph[room]:
            graph[room].remove(other)
        else:
            complaints.append(f"{room} -> {other} closes no circle: not to be excused any more")
    for way in circles_of(graph):
        complaints.append("includes in a circle: " + " -> ".join(way))
    return [line for line in complaints if line]


if __name__ == "__main__":
    tree.run(check)
