#!/usr/bin/env python3
"""The atomic accesses of the code: the tables of docs/memory-order.md against the sources.

Each access is a call that names its operation. A table has it: variable, operation, order, and the
function that makes it. Each _Atomic variable has a row with its name, and each row is of the code.
An access without a call (`c->closing = true`) is a complaint, too, where nothing but an _Atomic has
that name; the build with clang refuses the others (NAMED in the Makefile).

    memory_order.py [DIRECTORY]           the root of the sources; "." if not given
    memory_order.py --list [DIRECTORY]    what the sources have, as rows without reasons
"""
import collections
import re
import sys

import tree

PAGE = "docs/memory-order.md"
FOLDERS = ("common", "protocol", "nsqd")
CALL = re.compile(r"\b(atomic_[a-z]\w*|__atomic_\w+|__sync_\w+)\s*\(")
ORDER = re.compile(r"\b(?:memory_order_|__ATOMIC_)(\w+)")
FUNCTION = re.compile(r"^[A-Za-z_][^;{}=#]*?\b(\w+)\([^;{}]*\)\s*\{", re.M)
# The end of a declaration: the last name before one of these.
ATOMIC = re.compile(r"_Atomic\b[^;,={]*?(\w+)(?:\[[^\]]*\])*\s*(?=[;,=)])")
COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', re.S)
HEAD = "| variable | operation | order | in |"

Access = collections.namedtuple("Access", "variable operation order file function")


def without_comments(text):
    """The text with comments and strings blanked, so that places and lines stay the same."""
    return COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def arguments(code, start):
    """The arguments of the call whose parenthesis opens at start, and where it closes."""
    depth, begin, found = 0, start + 1, []
    for at in range(start, len(code)):
        c = code[at]
        depth += (c in "([{") - (c in ")]}")
        if (c == "," and depth == 1) or depth == 0:
            found.append(code[begin:at])
            begin = at + 1
        if depth == 0:
            return found, at
    return found, len(code)


def variable(argument):
    """The last name: `&c->counts[i]` is counts, and `next` is next."""
    names = re.findall(r"[A-Za-z_]\w*", re.sub(r"\[[^\]]*\]", "", argument))
    return names[-1] if names else "?"


def order(call, args):
    """The order that a call names, or has without one; of two, that upon failure comes second."""
    named = [o.lower() for o in ORDER.findall(" ".join(args))]
    if call.endswith("_init"):
        return "none"
    # An order that a variable has cannot be read here: no row has that.
    return ", ".join(named) or ("not named" if call.endswith("_explicit") else "seq_cst")


def end_of_body(code, start):
    """Where the braces close of which the first has opened just before."""
    depth = 1
    for m in re.compile(r"[{}]").finditer(code, start):
        depth += 1 if m.group() == "{" else -1
        if depth == 0:
            return m.end()
    return len(code)


def accesses(path, code):
    """All atomic accesses of a file. What a macro or an initializer does has no function: "-"."""
    functions = [(m.start(), end_of_body(code, m.end()), m.group(1)) for m in FUNCTION.finditer(code)]
    for m in CALL.finditer(code):
        args, _ = arguments(code, m.end() - 1)
        operation = re.sub(r"^(atomic_|__atomic_|__)|_explicit$", "", m.group(1))
        inside = [name for start, end, name in functions if start < m.start() < end]
        yield Access(
            variable(args[0]), operation, order(m.group(1), args), path, inside[-1] if inside else "-"
        )


def declared(code):
    """The names of the _Atomic variables and members that are declared there."""
    return {m.group(1) for m in ATOMIC.finditer(code)}


def implicit(path, code, names):
    """Places at which one of these names is used, but not in a call, nor is its address taken."""
    calls = [(m.end() - 1, arguments(code, m.end() - 1)[1]) for m in CALL.finditer(code)]
    for m in re.finditer(r"(?:->|\.)\s*(%s)\b" % "|".join(map(re.escape, sorted(names))), code):
        begin = re.search(r"&?[\w\[\]>.-]*$", code[: m.start()]).group()
        initializes = re.match(r"\s*=[^=]", code[m.end() :]) and re.search(
            r"[{,]\s*$", code[: m.start()]
        )
        if begin.startswith("&") or initializes or any(b < m.start() < e for b, e in calls):
            continue
        yield f"{path}:{code.count(chr(10), 0, m.start()) + 1}: {m.group(1)} is atomic, and used without a call"


def ambiguous(sources, names):
    """Those of the names that a member that is not atomic has as well."""
    member = re.compile(r"^\t+(?!return|goto|else|case)[a-z_][\w\s*]*?[\s*](%s)(?:\[[^\]]*\])*[;,]"
                        % "|".join(map(re.escape, sorted(names))), re.M)
    found = set()
    for code in sources.values():
        found.update(m.group(1) for m in member.finditer(code) if "_Atomic" not in m.group())
    return found


def rows(page):
    """(line, cells) of each row of the tables that begin so; a cell that is empty is that above."""
    inside, above = False, []
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith(HEAD):
            inside, above = True, []
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            cells = [c or (above[i] if i < len(above) and i < 4 else "") for i, c in enumerate(cells)]
            above = cells
            yield number, cells


def places(cell):
    """(file, function, how often) of the cell "`a.c`: `f`, `g` twice; `b.c`: `h`"."""
    for part in cell.split(";"):
        file, _, functions = part.partition(":")
        for name, often in re.findall(r"`([\w-]+)`(?: (twice|three times))?", functions):
            yield file.strip(" `"), name, {"": 1, "twice": 2, "three times": 3}[often]


def names_of(cells):
    """The variables of a row."""
    return re.findall(r"`(?:[\w*]+\.)*(\w+)`", cells[0])


def stated(page, paths):
    """The accesses of the tables, and complaints about rows that cannot be read."""
    known = {}
    for path in paths:
        known.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    found, complaints = collections.Counter(), []
    for line, cells in rows(page):
        names = names_of(cells)
        if len(cells) < 6 or not names or not list(places(cells[3])):
            complaints.append(f"{PAGE}:{line}: a row of six cells: names, operation, order, `file`: `function`")
            continue
        for file, function, often in places(cells[3]):
            where = [p for p in paths if p == file] or known.get(file, [])
            if len(where) != 1:
                complaints.append(f"{PAGE}:{line}: {file} is {'no file' if not where else 'not one file'}")
                continue
            found[Access(names[0], cells[1].strip("`"), cells[2].strip("`"), where[0], function)] += often
    return found, complaints


def compare(code, page):
    """Complaints where the two counters differ."""
    for access in sorted(set(code) | set(page)):
        if code[access] != page[access]:
            yield (f"{access.file}: {access.function}: {access.operation} of {access.variable}, "
                   f"{access.order}: {code[access]} in the code, {page[access]} in {PAGE}")


def in_code(sources):
    found = collections.Counter()
    for path, code in sources.items():
        found.update(accesses(path, code))
    return found


def read(root):
    return {path: without_comments(tree.read(root, path))
            for path in tree.sources(root, FOLDERS, (".c", ".h"))}


def check(root):
    """All complaints about the tree, as lines."""
    sources, page = read(root), tree.read(root, PAGE)
    names = set().union(*(declared(code) for code in sources.values()))
    found, complaints = stated(page, list(sources))
    complaints += compare(in_code(sources), found)
    in_page = {name for _, cells in rows(page) for name in names_of(cells)}
    for name in sorted(names - in_page):
        complaints.append(f"{PAGE}: no row for the _Atomic {name}")
    clear = names - ambiguous(sources, names)
    for path, code in sources.items():
        complaints += implicit(path, code, clear)
    return complaints


def print_list(root):
    for access, often in sorted(in_code(read(root)).items()):
        print(f"| `{access.variable}` | {access.operation} | {access.order} | `{access.file}`: "
              f"`{access.function}`{'' if often == 1 else f' x{often}'} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--list"]:
        print_list(sys.argv[2] if len(sys.argv) > 2 else ".")
    else:
        tree.run(check)
