#!/usr/bin/env python3
"""The version: common/version.h says it, and docs/CHANGELOG.md has an entry for it, as the first.

    version.py [DIRECTORY]     the root of the sources; "." if not given
"""
import re

import tree

HEADER, PAGE = "common/version.h", "docs/CHANGELOG.md"
VERSION = re.compile(r'^#define PRODUCT_VERSION "(.*)"$', re.M)
ENTRY = re.compile(r"^## (\S+)", re.M)


def check(root):
    """All complaints about the tree, as lines."""
    versions = VERSION.findall(tree.read(root, HEADER))
    entries = ENTRY.findall(tree.read(root, PAGE))
    if len(versions) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", versions[0]):
        return [f"{HEADER}: PRODUCT_VERSION must be one version like 1.2.3, not {versions}"]
    complaints = [f"{PAGE}: two entries are called {entry}"
                  for entry in sorted(set(entries)) if entries.count(entry) > 1]
    # Above it there may be what is not released yet.
    if entries[0:1] == ["Unreleased"]:
        del entries[0]
    if entries[0:1] != versions:
        complaints.append(f"{PAGE}: the first entry must be {versions[0]}, as {HEADER} says")
    return complaints


if __name__ == "__main__":
    tree.run(check)
