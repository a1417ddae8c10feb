#!/usr/bin/env python3
"""Every source says under which licence it stands, and opens with what it is.

A .c file of common/, protocol/ or nsqd/ also says which Go file it mirrors (or that Go has none),
and which threads run in it.

    heads.py [DIRECTORY]     the root of the sources; "." if not given
"""
import os
import re

import tree

FOLDERS = ["common", "protocol", "nsqd", "test/unit", "test/bench"]
SPEAKING = ("common/", "protocol/", "nsqd/")
SPDX = "/* SPDX-License-Identifier: MIT */"
GO_FILE = re.compile(r"\bmirrors\b|\bno go file\b|\bgo has\b|\bstock has no such\b", re.I)
THREADS = re.compile(r"\bthreads?\b|\bruns in\b", re.I)

# Heads that still lack their Go file or their threads; to be emptied.
LACKING = {
}


def complaints_about(path, text, lacking):
    """What the head of this file lacks, as lines."""
    first, _, rest = text.partition("\n")
    if first != SPDX:
        return [f"{path}: no SPDX line"]
    if not rest.startswith("/*"):
        return [f"{path}: does not open with what it is"]
    if not path.startswith(SPEAKING) or not path.endswith(".c"):
        return []
    head = re.sub(r"\s*\n \* ?", " ", rest[: rest.index("*/")])  # One line: "Runs\n * in".
    found = []
    if not GO_FILE.search(head):
        found.append("which Go file it mirrors, or that Go has none")
    if not THREADS.search(head):
        found.append("which threads run in it")
    name = os.path.basename(path)
    if name in lacking:
        if not found:
            return [f"{path}: its head lacks nothing any more: take it out of LACKING"]
        return []
    return [f"{path}: its head does not say {what}" for what in found]


def check(root, lacking=LACKING):
    """All complaints about the tree, as lines."""
    complaints = []
    for path in tree.sources(root, FOLDERS, (".c", ".h")):
        complaints += complaints_about(path, tree.read(root, path), lacking)
    return complaints


if __name__ == "__main__":
    tree.run(check)
