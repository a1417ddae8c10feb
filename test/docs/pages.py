#!/usr/bin/env python3
"""The pages: links, anchors and the files that they name lead somewhere.

    pages.py [DIRECTORY]     the root of the sources; "." if not given
"""
import os
import re

import tree

FOLDERS = ("nsqd", "protocol", "common", "test", "docs")
ENDINGS = (".c", ".h", ".py", ".sh", ".mk", ".md", ".txt")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A file with its folders; "<" and the like in it make it a pattern, which is left alone.
PATH = re.compile(r"(?<![\w./<>*-])(?:%s)/[\w./<>*{},-]*\w" % "|".join(FOLDERS))
# In backquotes, a C file without its folder.
FILE = re.compile(r"`([a-z][a-z0-9_]*\.[ch])`")


def anchors_of(text):
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    found = set()
    for heading in re.findall(r"^#+ +(.*?) *$", text, re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 1
        anchor = slug
        while anchor in found:
            anchor = f"{slug}-{number}"
            number += 1
        found.add(anchor)
    return found


def complaints_about(root, page, files):
    """Whatever on this page leads nowhere, as lines."""
    text = tree.read(root, page)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(os.path.join(root, target)):
            yield f"{page}: no such page: {link}"
        elif anchor and anchor not in anchors_of(tree.read(root, target)):
            yield f"{page}: no such heading: {link}"
    text = LINK.sub("]", text)
    for path in sorted(set(PATH.findall(text))):
        if path.endswith(ENDINGS) and not re.search(r"[<>*{},]", path):
            if not os.path.exists(os.path.join(root, path)):
                yield f"{page}: no such file: {path}"
    for name in sorted(set(FILE.findall(text))):
        if name not in files:
            yield f"{page}: no such file: {name}"


def check(root):
    """All complaints about the tree, as lines."""
    pages = ["README.md"] + list(tree.sources(root, ["docs"], ".md"))
    files = {os.path.basename(path) for path in tree.sources(root, FOLDERS, (".c", ".h"))}
    return [line for page in pages for line in complaints_about(root, page, files)]


if __name__ == "__main__":
    tree.run(check)
