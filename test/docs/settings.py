#!/usr/bin/env python3
"""The settings of topics and channels: the table of docs/settings.md against nsqd/core/settings.c.

Both have the same rows in the same order; what a setting is of, and its type and range, are the
same. Each setting of the table is also a field of the structure in nsqd/core/settings.h.

    settings.py [DIRECTORY]     the root of the sources; "." if not given
"""
import re

import tree

SOURCE = "nsqd/core/settings.c"
HEADER = "nsqd/core/settings.h"
PAGE = "docs/settings.md"
ROWS = re.compile(r"^static const struct row rows\[\] = \{\n(.*?)^\};", re.S | re.M)
ROW = re.compile(r"\bROW\((\w+),\s*(\w+),\s*(\w+),\s*([^,]+),\s*([^,]+),\s*(\w+)\)")
WORDS = re.compile(r"^static const char \*const (\w+_words)\[\] = \{(.*?)NULL\};", re.S | re.M)
TABLE = re.compile(r"^\| setting \| of \| value \| default \| meaning \|\n\|[-|]+\n((?:\|.*\n)+)",
                   re.M)
SCOPES = {"BOTH": "topic, channel", "SETTING_TOPIC": "topic", "SETTING_CHANNEL": "channel"}
NUMBERS = {"INT64_MAX / 2": "2^62 - 1", "UINT16_MAX": "65535", "INT32_MAX": "2147483647",
           "0": ""}
LEAST = {"0": "", "NSEC_PER_MSEC": " from 1ms"}


def value_of(kind, least, most, words):
    """What the page says of a value."""
    if kind == "an_integer":
        return f"{least} to {NUMBERS.get(most, most)}"
    if kind == "a_duration":
        return "duration" + LEAST.get(least, " from " + least)
    if kind == "a_choice":
        return ", ".join(f"`{word}`" for word in words)
    return {"a_bool": "boolean", "a_pattern": "name", "durations": "durations"}.get(kind, kind)


def in_code(root):
    """[(name, of, value)]"""
    source = tree.read(root, SOURCE)
    words = {name: re.findall(r'"([^"]+)"', text) for name, text in WORDS.findall(source)}
    rows = ROWS.search(source)
    return [(name, SCOPES.get(scope, scope),
             value_of(kind, least.strip(), most.strip(), words.get(choice, [])))
            for name, kind, scope, least, most, choice in ROW.findall(rows.group(1) if rows else "")]


def on_page(root):
    """The same, of the page; and the names of rows without a default or a meaning."""
    table = TABLE.search(tree.read(root, PAGE))
    rows, bare = [], []
    for line in (table.group(1) if table else "").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not all(cells):
            bare.append(cells[0])
        rows.append((cells[0].strip("`"), *cells[1:3]))
    return rows, bare


def check(root):
    """All complaints about the tree, as lines."""
    code, (page, bare) = in_code(root), on_page(root)
    complaints = [f"{PAGE}: five cells are wanted: {name}" for name in bare]
    if not code:
        return [f"{SOURCE}: no table of settings"]
    if [row[0] for row in code] != [row[0] for row in page]:
        return complaints + [f"{PAGE}: the settings are not those of {SOURCE}, in their order: "
                             + ", ".join(row[0] for row in code)]
    for mine, theirs in zip(code, page):
        for what, a, b in zip(("name", "of", "value"), mine, theirs):
            if a != b:
                complaints.append(f"{PAGE}: {mine[0]}: {what} is \"{b}\", but \"{a}\" in the code")
    fields = set(re.findall(r"\b(\w+)(?:\[\w+\])?;", tree.read(root, HEADER)))
    return complaints + [f"{HEADER}: no field {name}" for name, _, _ in code if name not in fields]


if __name__ == "__main__":
    tree.run(check)
