#!/usr/bin/env python3
"""The top level of the project: nothing lies there but what belongs there.

A program that is tried by hand leaves its files where it runs, and `git add -A` takes them along.

    top.py [DIRECTORY]     the root of the project; "." if not given
"""
import os
import subprocess

import tree

BELONGS = {"Makefile", "README.md", "LICENSE", "nsqd", "common", "protocol", "test", "docs"}
# What a build makes, where there is no git that ignores it.
BUILT = {"build"}


def names_at(root):
    """What git has or would add; where git cannot tell, what is there."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
    )
    if not os.path.exists(os.path.join(root, ".git")) or listed.returncode != 0:
        return set(os.listdir(root)) - BUILT
    return {os.fsdecode(path).split("/")[0] for path in listed.stdout.split(b"\0") if path}


def check(root):
    """All complaints about the tree, as lines."""
    strange = sorted(n for n in names_at(root) if n not in BELONGS and not n.startswith("."))
    return [f"{name}: does not belong to the top level" for name in strange]


if __name__ == "__main__":
    tree.run(check)
