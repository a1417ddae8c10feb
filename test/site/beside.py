"""Two programs side by side, the same one in Go and in C.

Each is cut into its functions and types. Those of one name stand beside each other; what has no
counterpart stands above the next pair.
"""
import difflib
import os
import re

import links

SPDX = "/* SPDX-License-Identifier: MIT */"
LESSON = re.compile(r"\d\d-[a-z0-9-]+$")


def lessons(root):
    """The folders of the lessons."""
    where = os.path.join(root, links.PROGRAMS)
    return sorted(n for n in os.listdir(where) if LESSON.match(n)) if os.path.isdir(where) else []


def programs(root, lesson):
    """The names, without their endings, of what the lesson has in both languages."""
    files = set(os.listdir(os.path.join(root, links.PROGRAMS, lesson)))
    return sorted(name[:-3] for name in files if name.endswith(".go") and name[:-3] + ".c" in files)


def pieces(path, text):
    """The program in pieces: (key, lines), the lines as pairs of number and text. The key is what a
    definition has in common in both languages, its kind and its name; None if there is none."""
    keys = {line: (kind, name.replace("_", "").lower())
            for name, line, kind in links.definitions(path, text)}
    found, current = [], []
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        if line == SPDX:
            continue
        if current and not current[-1][1] and re.match(r"[^\s{}]", line):
            found.append(current)
            current = []
        current.append((number, line))
    found.append(current)
    return [(next((keys[n] for n, _ in part if n in keys), None), part) for part in found]


def rows(go, c):
    """The pieces of both in rows: (lines in Go, lines in C), either may be empty."""
    # A piece without a key is like no other.
    keys = [[key or (side, n) for n, (key, _) in enumerate(part)]
            for side, part in (("go", go), ("c", c))]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    found, left, right = [], 0, 0
    for at, at_c, size in matcher.get_matching_blocks():
        found.append(([line for _, part in go[left:at] for line in part],
                      [line for _, part in c[right:at_c] for line in part]))
        found += [(go[at + n][1], c[at_c + n][1]) for n in range(size)]
        left, right = at + size, at_c + size
    return [(a, b) for a, b in found if a or b]
