#!/usr/bin/env python3
"""The order of the locks and what each guards: common/lock_rank.h against docs/architecture.md.

The comment above each X(RANK_..., "name") and the third column of the table of locks are the same
words; the table may put names into backquotes.

    locks.py [DIRECTORY]     the root of the sources; "." if not given
"""
import re

import tree

HEADER = "common/lock_rank.h"
PAGE = "docs/architecture.md"
IN_HEADER = re.compile(r'(?:/\*((?:(?!\*/).)*)\*/\s*)?X\(RANK_\w+, "([^"]+)"\)', re.S)
IN_TABLE = re.compile(r"^\| (\d+) \| ([^|]*) \| ([^|]*) \|$", re.M)


def words(text):
    return " ".join(text.replace("`", "").split())


def locks_in_header(text):
    """(name, meaning) of each rank, from the first to the last."""
    text = re.sub(r"\\\n\s*(\* )?", "\n", text)
    return [(m.group(2), words(m.group(1) or "")) for m in IN_HEADER.finditer(text)]


def locks_in_table(text):
    """(number, name, meaning) of each row."""
    return [(int(n), words(name), words(guards)) for n, name, guards in IN_TABLE.findall(text)]


def check(root):
    """All complaints about the tree, as lines."""
    header = locks_in_header(tree.read(root, HEADER))
    table = locks_in_table(tree.read(root, PAGE))
    complaints = []
    if not header:
        complaints.append(f"{HEADER}: no lock ranks found")
    if [number for number, _, _ in table] != list(range(1, len(table) + 1)):
        complaints.append(f"{PAGE}: the ranks of the locks are not numbered from 1")
    names = [name for name, _ in header], [name for _, name, _ in table]
    if names[0] != names[1]:
        complaints.append(
            f"the lock order of {PAGE} is not that of {HEADER}: "
            + ", ".join(names[1]) + " -- against -- " + ", ".join(names[0])
        )
        return complaints
    for (name, meaning), (_, _, guards) in zip(header, table):
        if not meaning or meaning != guards:
            complaints.append(
                f'{name} guards "{guards}" in {PAGE}, but "{meaning}" in {HEADER}'
            )
    return complaints


if __name__ == "__main__":
    tree.run(check)
