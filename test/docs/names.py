#!/usr/bin/env python3
"""The names of the code that the pages mention: each is in the sources.

What stands in backquotes and has a "_" in it, such as `topic_put_messages` or `channel.exit_chan`,
is taken for a name of the code. Each word of it must be a word of some source file.

    names.py [DIRECTORY]     the root of the sources; "." if not given
"""
import os
import re

import tree

FOLDERS = ("nsqd", "protocol", "common", "test")
ENDINGS = (".c", ".h", ".py", ".mk", ".sh", ".txt")
NAME = re.compile(r"`([a-z]\w*(?:\.\w+)?)(?:\(\))?`")
# This page lists Go's names, and is made from the sources.
GENERATED = "docs/go-map.md"


def words_of(root):
    """All words of the sources, and of the names of their files."""
    words = set(re.findall(r"\w+", tree.read(root, "Makefile")))
    for path in tree.sources(root, FOLDERS, ENDINGS):
        words.update(re.findall(r"\w+", os.path.basename(path) + "\n" + tree.read(root, path)))
    return words


def check(root):
    """All complaints about the tree, as lines."""
    words, complaints = words_of(root), []
    for page in ["README.md"] + list(tree.sources(root, ["docs"], ".md")):
        if page == GENERATED:
            continue
        for name in sorted(set(NAME.findall(tree.read(root, page)))):
            if "_" in name and not words.issuperset(re.findall(r"\w+", name)):
                complaints.append(f"{page}: nothing in the sources is called {name}")
    return complaints


if __name__ == "__main__":
    tree.run(check)
