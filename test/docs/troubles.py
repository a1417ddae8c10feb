#!/usr/bin/env python3
"""The symptoms of docs/troubleshooting.md: each text is one that the code can say.

What stands in backquotes in the first column of a table is looked up in the strings of the C
sources, piece by piece between "...". A single word, such as a key of /stats, may be a name there.

    troubles.py [DIRECTORY]     the root of the sources; "." if not given
"""
import re

import tree

PAGE = "docs/troubleshooting.md"
FOLDERS = ("nsqd", "protocol", "common")
COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|/\*.*?\*/', re.S)
LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"(?:\s*"(?:\\.|[^"\\\n])*")*')
QUOTED = re.compile(r'"((?:\\.|[^"\\\n])*)"')
# Made of parts: "E_" + command + "_FAILED" in protocol_v2_reply.c.
MADE = re.compile(r"E_(?:[A-Z]+)_FAILED")


def strings_of(text):
    """The strings of a C source; those that stand together are one."""
    text = COMMENT.sub(lambda m: m[1] or " ", text)
    for m in LITERALS.finditer(text):
        yield "".join(QUOTED.findall(m[0])).replace('\\"', '"')


def symptoms(page):
    """(line, text in backquotes) of the first columns."""
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("|"):
            for text in re.findall(r"`([^`]+)`", line.split("|")[1]):
                yield number, text


def check(root):
    """All complaints about the tree, as lines."""
    strings, words, complaints = [], set(), []
    for path in tree.sources(root, FOLDERS, (".c", ".h")):
        text = tree.read(root, path)
        strings.extend(strings_of(text))
        words.update(re.findall(r"\w+", COMMENT.sub(" ", text)))
    for number, text in symptoms(tree.read(root, PAGE)):
        for piece in text.split("..."):
            # Around what differs there may be signs that are not the code's.
            piece = piece.strip(" ") if len(piece.strip(" ()")) > 2 else ""
            known = piece in words or any(piece in s for s in strings)
            if not known and MADE.fullmatch(piece):
                known = any("E_%s_FAILED" in s for s in strings)
            if not known:
                complaints.append(f"{PAGE}:{number}: the code never says {piece!r}")
    return complaints


if __name__ == "__main__":
    tree.run(check)
