#!/usr/bin/env python3
"""The names of the threads: those in the code against the thread table of docs/architecture.md.

The code names a thread in a call of wait_group_wrap or gothread_adopt: by a literal, or by what
snprintf has made of a format. Or a function that is some struct's thread_name writes it so, with
snprintf, to "out". The table's first column names it in backquotes, with capitals for
what varies: "io:%s" is `io:ADDR`. Both become "io:*" here.

    threads.py [DIRECTORY]     the root of the sources; "." if not given
"""
import itertools
import re

import tree

PAGE = "docs/architecture.md"
STARTER = "common/gothread.c"
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def arguments(text, start):
    """The arguments of the call whose opening parenthesis is text[start], as texts."""
    found, depth, begin, i = [], 0, start + 1, start
    while i < len(text):
        c = text[i]
        if c == '"':
            i = LITERAL.match(text, i).end()
            continue
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        if depth == 0 or (c == "," and depth == 1):
            found.append(text[begin:i].strip())
            begin = i + 1
        if depth == 0:
            return found
        i += 1
    return found


def expand(args):
    """What snprintf makes of (format, argument...): each %s is a literal of its argument, or *."""
    parts = re.split(r"%[a-z]+", LITERAL.match(args[0]).group(1))
    choices = [LITERAL.findall(arg) or ["*"] for arg in args[1:]]
    for words in itertools.product(*choices):
        yield "".join(a + b for a, b in itertools.zip_longest(parts, words, fillvalue=""))


def names_of(expression, before):
    """The names that an argument stands for; before is the code of the function up to the call."""
    literals = LITERAL.findall(expression)
    if literals:
        return literals
    if not re.fullmatch(r"\w+", expression):
        return []
    made = list(re.finditer(r"\bsnprintf(\()\s*" + expression + r"\b", before))
    if made:
        return list(expand(arguments(before, made[-1].start(1))[2:]))
    values = re.findall(r"\b" + expression + r"\s*=([^;]*);", before)
    return LITERAL.findall(values[-1]) if values else []


def without_comments(text):
    """The source with blanks in place of its comments."""
    return re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


def members_of(text):
    """The members of tables that are wait_group_wrap: ".start = wait_group_wrap"."""
    return set(re.findall(r"\.(\w+)\s*=\s*wait_group_wrap\b", text))


def threads_of(text, members):
    """(line number, names) of each thread that a source without comments starts."""
    # Behind "x.start = wait_group_wrap", in whatever file, there is "x->start(...)".
    calls = "|".join([r"\bwait_group_wrap", r"\bgothread_adopt"] + [r"->" + m for m in members])
    for call in re.finditer(r"(?:" + calls + r")(\()", text):
        args = arguments(text, call.start(1))
        if args and re.match(r"(const|struct)\b[^()]*\*\s*\w+$", args[0]):
            continue  # The definition.
        function = text.rfind("\n}", 0, call.start()) + 1
        name = args[0] if "gothread_adopt" in call.group() else args[1]
        line = text.count("\n", 0, call.start()) + 1
        before = text[function : call.start()]
        if not re.search(r"->thread_name\([^()]*\b" + re.escape(name) + r"\b", before):
            yield line, names_of(name, before)
    for writer in re.findall(r"\.thread_name\s*=\s*(\w+)", text):
        body = re.search(r"\b" + writer + r"\([^()]*\)\s*(\{.*?\n\})", text, re.S)
        line = text.count("\n", 0, body.start()) + 1 if body else 1
        yield line, names_of("out", body.group(1)) if body else []


def names_in_table(page):
    """The names in the first column of the table that begins with "| thread |"."""
    table = re.search(r"^\| thread \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.M)
    names = set()
    for row in table.group(1).splitlines() if table else []:
        first = re.sub(r"\(.*?\)", "", row.split("|")[1])
        names.update(re.sub(r"[A-Z]+", "*", name) for name in re.findall(r"`([^`]+)`", first))
    return names


def check(root):
    """All complaints about the tree, as lines."""
    complaints, places = [], {}
    texts = {path: without_comments(tree.read(root, path))
             for path in tree.sources(root, ("nsqd", "protocol", "common"), ".c")}
    members = sorted(set().union(*map(members_of, texts.values())))
    for path, text in texts.items():
        if "pthread_create" in text and path != STARTER:
            complaints.append(f"{path}: only {STARTER} calls pthread_create")
        for line, names in threads_of(text, members):
            if not names:
                complaints.append(f"{path}:{line}: starts a thread, its name is not clear")
            for name in names:
                places.setdefault(name, f"{path}:{line}")
    table = names_in_table(tree.read(root, PAGE))
    for name in sorted(set(places) - table):
        complaints.append(f"{places[name]}: thread {name} is not in the thread table of {PAGE}")
    for name in sorted(table - set(places)):
        complaints.append(f"{PAGE}: no thread of the code is called {name}")
    return complaints


if __name__ == "__main__":
    tree.run(check)
