#!/usr/bin/env python3
"""The HTTP routes and their scopes: the table in docs/access.md is made from that of nsqd/http/http.c.

A route without a scope is a complaint. (It does not compile either: a function is no scope.)

    access.py [DIRECTORY]     the root of the sources; "." if not given
    access.py --write         writes the table
"""
import re
import sys

import tree

SOURCE = "nsqd/http/http.c"
PAGE = "docs/access.md"
BEGIN, END = "<!-- made by test/docs/access.py --write -->\n", "<!-- end -->\n"
TABLE = re.compile(r"const struct http_route http_routes\[\] = \{\n(.*?)\n\};", re.S)
ROW = re.compile(r'\{\s*HTTP_(\w+),\s*"([^"]+)",\s*(\w+)([^}]*)\}')
SCOPES = {"HTTP_OPEN": "none", "HTTP_READ": "read", "HTTP_PUBLISH": "publish",
          "HTTP_ADMIN": "admin"}


def routes(source):
    """(method, path, scope, on the read-only listener?) of each row, in its order."""
    table = TABLE.search(source)
    return [(method, path, scope, "HTTP_PUBLIC" in rest)
            for method, path, scope, rest in ROW.findall(table[1] if table else "")]


def made(source):
    """The table, as the page has it."""
    out = ["| route | scope | read-only listener |", "|---|---|---|"]
    for method, path, scope, public in routes(source):
        out.append(f"| `{method} {path}` | {SCOPES.get(scope, '?')} | {'yes' if public else ''} |")
    return "\n".join(out)


def check(root):
    """All complaints about the tree, as lines."""
    source, page, complaints = tree.read(root, SOURCE), tree.read(root, PAGE), []
    found = routes(source)
    table = TABLE.search(source)
    if not found or len(found) != len(re.findall(r"\{\s*HTTP_", table[1])):
        complaints.append(f"{SOURCE}: http_routes has rows that cannot be read")
    for method, path, scope, public in found:
        if scope not in SCOPES:
            complaints.append(f"{SOURCE}: {method} {path} has no scope, but {scope}")
        elif public and SCOPES[scope] not in ("none", "read"):
            complaints.append(f"{SOURCE}: {method} {path} is {SCOPES[scope]}, and public")
    if page.partition(BEGIN)[2].partition(END)[0].strip() != made(source).strip():
        complaints.append(f"{PAGE}: the table is stale: test/docs/access.py --write makes it")
    return complaints


def write():
    page = tree.read(".", PAGE)
    head, _, rest = page.partition(BEGIN)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(head + BEGIN + "\n" + made(tree.read(".", SOURCE)) + "\n\n" + END
                   + rest.partition(END)[2])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        tree.run(check)
