#!/usr/bin/env python3
"""The bounds of batches, and limits: two tables of docs/architecture.md against the code.

A row names one or more constants, their value, and the files that define them. Each must be there
with that value; a time is in nanoseconds in the code. And each constant of nsqd/ or protocol/ with
BATCH in its name must have a row.

    bounds.py [DIRECTORY]     the root of the sources; "." if not given
"""
import os
import re

import tree

PAGE = "docs/architecture.md"
FOLDERS = ("nsqd", "protocol")
ALSO = ("common",)  # Batches of memory and the like are no bounds that a reader looks for.
DEFINE = re.compile(r"^#define (\w+) (.+?)[ \t]*(?:/\*.*)?$", re.M)
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "us": 10**3, "ms": 10**6, "s": 10**9}
TIMES = {"NSEC_PER_USEC": str(10**3), "NSEC_PER_MSEC": str(10**6), "NSEC_PER_SEC": str(10**9)}


def number(text, defines):
    """The value of a constant's text, or None; a cast does not count, other constants do."""
    text = re.sub(r"\((?:size_t|int64_t)\)", "", text)
    defines = {**defines, **TIMES}
    text = re.sub(r"[A-Za-z_]\w*", lambda m: defines.get(m.group(), "?"), text)
    return eval(text) if re.fullmatch(r"[\d\s()*+<]+", text) else None


def stated(text):
    """The number that a cell of the table says: "64", "10,000", "256 KiB", "5 s"."""
    m = re.fullmatch(r"([\d,]+)(?: (KiB|MiB|us|ms|s))?", text.strip())
    return int(m.group(1).replace(",", "")) * UNITS[m.group(2) or ""] if m else None


def rows(page):
    """(names, value, files) of each row of the tables that begin with "| bound |" or "| limit |"."""
    tables = re.findall(r"^\| (?:bound|limit) \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.M)
    for row in "".join(tables).splitlines():
        cells = row.split("|")
        yield re.findall(r"`(\w+)`", cells[1]), cells[2], re.findall(r"`([\w.]+)`", cells[3])


def check(root):
    """All complaints about the tree, as lines."""
    files, everywhere = {}, {}
    for path in tree.sources(root, FOLDERS + ALSO, (".c", ".h")):
        found = dict(DEFINE.findall(tree.read(root, path)))
        files.setdefault(os.path.basename(path), {}).update(found)
        if path.startswith(FOLDERS):
            everywhere.update(found)
    complaints, known = [], set()
    for names, value, where in rows(tree.read(root, PAGE)):
        known.update(names)
        for name in names:
            texts = [files.get(file, {}).get(name) for file in where]
            if not any(texts):
                complaints.append(f"{PAGE}: {name} is not defined in {', '.join(where)}")
            for text in filter(None, texts):
                if stated(value) is None or number(text, everywhere) != stated(value):
                    complaints.append(f"{PAGE}: {name} is not {value.strip()}, but {text}")
    for name in sorted(everywhere):
        if "BATCH" in name and name not in known:
            complaints.append(f"{PAGE}: no row for the bound {name}")
    return complaints


if __name__ == "__main__":
    tree.run(check)
