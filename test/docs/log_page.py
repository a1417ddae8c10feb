#!/usr/bin/env python3
"""The page about the log: its reader reads the golden file, and finds what is in it.

    log_page.py [DIRECTORY]     the root of the sources; "." if not given
"""
import re

import tree

PAGE = "docs/log.md"
GOLDEN = "test/unit/golden/log-1/00000000000000000001.seg.hex"
BASE = 1700000000000000000
EXPECTED = ("t", [
    (1, BASE + 1, 0, "0123456789abcdef", 0, None, None, b"hello"),
    (2, BASE + 2, BASE + 2 + 1500000000, "fedcba9876543210", 0, None, None, b"a"),
    (3, BASE + 3, 0, "00000000000000aa", 0, None, None, b""),
    (4, BASE + 4, 0, "00000000000000bb", 0, None, None, b"second"),
    (5, BASE + 1, 0, "0123456789abcdef", 3, 1, "orders", b"hello")])


def check(root):
    """All complaints about the tree, as lines."""
    code = re.findall(r"^```python\n(.*?)^```", tree.read(root, PAGE), re.S | re.M)
    if len(code) != 1:
        return [f"{PAGE}: must have one reader in Python, has {len(code)}"]
    names = {}
    exec(code[0], names)
    golden = bytes.fromhex(re.sub(r"#.*", "", tree.read(root, GOLDEN)))
    try:
        found = names["read"](golden)
    except Exception as problem:
        return [f"{PAGE}: its reader cannot read {GOLDEN}: {problem!r}"]
    return [] if found == EXPECTED else [f"{PAGE}: its reader finds {found} in {GOLDEN}"]


if __name__ == "__main__":
    tree.run(check)
