#!/usr/bin/env python3
"""The page about the log: its readers read the golden files, and find what is in them.

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
CURSOR = "test/unit/golden/cursor-1/c.cursor.hex"
# As test_cursor_golden.c has it.
DUE = 1800000000000000000
IN_CURSOR = (
    "orders", "mail", {*range(10), 11, 12},
    {n: 1 for n in (10, *range(13, 1095))} | {20: 0, 25: 3, 40: 0, 41: 65535, 42: 2},
    {30: (DUE, 4096), 20: (DUE + 1000, 300), 41: (-1, 2**32 - 1), 42: (0, 0)})


def compare(root, reader, golden, expected):
    """What the reader finds in the golden file must be this."""
    content = bytes.fromhex(re.sub(r"#.*", "", tree.read(root, golden)))
    try:
        found = reader(content)
    except Exception as problem:
        return [f"{PAGE}: {reader.__name__} cannot read {golden}: {problem!r}"]
    return [] if found == expected else [f"{PAGE}: {reader.__name__} finds {found} in {golden}"]


def check(root):
    """All complaints about the tree, as lines."""
    code = re.findall(r"^```python\n(.*?)^```", tree.read(root, PAGE), re.S | re.M)
    if len(code) != 2:
        return [f"{PAGE}: must have two readers in Python, has {len(code)}"]
    names = {}
    exec("\n\n".join(code), names)
    return [complaint for reader, golden, expected in (
        ("read", GOLDEN, EXPECTED), ("read_cursor", CURSOR, IN_CURSOR))
        for complaint in compare(root, names[reader], golden, expected)]


if __name__ == "__main__":
    tree.run(check)
