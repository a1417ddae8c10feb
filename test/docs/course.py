#!/usr/bin/env python3
"""The pages of the course, held against its programs and against the sources.

  - A block of code below the mark `<!-- cut FILE [NAME...] -->` is what this script cuts from the
    file: the functions, types and variables of these names, each with the comment above it, or the
    whole file. `from="WORDS"` and `to="WORDS"` narrow that to the lines from the first that has
    WORDS to the next that has them. FILE is in the lesson's folder, or from the root if it begins
    with a "/". No other block of code is allowed.
  - A link whose text is a name in backquotes and that leads to a C file leads to its definition.
  - Each lesson has a page with all the sections of HEADINGS, and a folder with programs. The page
    shows each program. It links to Go's list of functions, and to the next lesson.
  - A source to which a lesson links in the section IN_NSQD names that lesson in the last lines of
    its head, and no other. So one finds the way back.
  - The first page lists the lessons, with the sentences below their titles.
  - No sentence has more than MOST_WORDS words.

    course.py [DIRECTORY]    checks; "." if not given
    course.py --write        cuts anew, and writes the pages; and the lessons in the heads
"""
import os
import re
import shlex
import sys
import textwrap

import tree

PROGRAMS, PAGES = "test/course", "docs/course"
LESSON = re.compile(r"\d\d-[a-z0-9-]+$")
CUT = re.compile(r"<!-- cut ([^\n]*?) -->\n```(\w*)\n(.*?)^```\n", re.S | re.M)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
LIST = re.compile(r"(<!-- lessons -->\n).*?(<!-- end of the lessons -->\n)", re.S)
# Blocks that are cut from nothing: what is typed and printed, and what is drawn.
FREE = {"text", "sh"}
HEADINGS = [
    "In Go", "What Go's runtime does for you", "In C", "What is yours to do", "The trap",
    "The tool that catches it", "In nsqd", "Exercise",
]
IN_NSQD = "In nsqd"
LINK = re.compile(r"\[`(\w+)`\]\(([^)\s#]+\.[ch])\)")
BACK = re.compile(r"(?: \*\n)? \* Lessons in docs/course/:((?:\s+\*?\s*\d\d-[a-z0-9-]+[,.])+)\n")
SOURCES = ("common", "protocol", "nsqd")
SPDX = "/* SPDX-License-Identifier: MIT */\n"
MOST_WORDS = 25


class Mistake(Exception):
    """What a page asks for and cannot have."""


def starts_of(name):
    """How a definition of that name begins, in C or in Go."""
    name = re.escape(name)
    return re.compile(
        rf"^(?:(?![\s/*#}}])(?:__attribute__\(\(\w+\)\)|[^;={{}}()])*?\b{name}\([^;]*$"
        rf"|(?:static |typedef )*(?:const )?(?:struct|enum|union) {name} \{{"
        rf"|(?:static |extern |const )[^;(]*\b{name}(?:\[[^;]*)?(?: =.*|;(?: +/\*.*\*/)?)$"  # a variable
        rf"|#define {name}\b"
        rf"|func (?:\([^)]*\) )?{name}\(|(?:type|var|const) {name}\b)"
    )


def end_of(lines, start):
    """The line after the definition that begins there."""
    if lines[start].startswith("#define"):
        at = start
        while lines[at].endswith("\\"):
            at += 1
        return at + 1
    depth = 0
    for at in range(start, len(lines)):
        code = re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|/\*.*?\*/|//.*", "", lines[at])
        depth += code.count("{") - code.count("}")
        one_line = lines[start].startswith(("type", "var", "const")) and "{" not in lines[start]
        ends = re.match(r"\}.*$", lines[at]) or one_line or (code.rstrip().endswith(";") and at == start)
        if depth == 0 and ends:
            return at + 1
    raise Mistake("it has no end")


def with_comment(lines, start):
    """The first line of the comment above, or the line itself. (One may end the line above.)"""
    if start and lines[start - 1].endswith("*/"):
        at = start - 1
        while at > 0 and "/*" not in lines[at]:
            at -= 1
        return at if lines[at].lstrip().startswith("/*") else start
    while start and lines[start - 1].startswith("//"):
        start -= 1
    return start


def definition(lines, name, path):
    """The lines of the definition of that name; a declaration where there is nothing else."""
    pattern = starts_of(name)
    found = []
    for at, line in enumerate(lines):
        if not pattern.search(line):
            continue
        try:
            end = end_of(lines, at)
        except Mistake:
            continue
        found.append(lines[with_comment(lines, at):end])
    if len(found) != 1:
        raise Mistake(f"{path} has {len(found)} definitions of {name}")
    return found[0]


def narrowed(lines, first, last, path):
    """From the line that has `first` to the next one that has `last`, moved to the left."""
    start = next((n for n, line in enumerate(lines) if first in line), None)
    if start is None:
        raise Mistake(f"{path} has no line with {first}")
    end = next((n for n in range(start, len(lines)) if last in lines[n]), None)
    if end is None:
        raise Mistake(f"{path} has no line with {last} after {first}")
    taken = lines[start:end + 1]
    indent = min(len(line) - len(line.lstrip()) for line in taken if line.strip())
    return [line[indent:] for line in taken]


def cut(root, lesson, words):
    """What a mark asks for, as text."""
    words = shlex.split(words)
    path = words[0][1:] if words[0].startswith("/") else f"{PROGRAMS}/{lesson}/{words[0]}"
    if not os.path.isfile(os.path.join(root, path)):
        raise Mistake(f"no such file: {path}")
    text = tree.read(root, path)
    lines = text.removeprefix(SPDX).rstrip("\n").split("\n")
    bounds = dict(word.split("=", 1) for word in words[1:] if word.startswith(("from=", "to=")))
    names = [word for word in words[1:] if not word.startswith(("from=", "to="))]
    pieces = [definition(lines, name, path) for name in names] or [lines]
    if bounds:
        pieces = [narrowed(piece, bounds.get("from", ""), bounds.get("to", ""), path)
                  for piece in pieces]
    return "\n\n".join("\n".join(piece) for piece in pieces) + "\n"


def filled(root, page, text, complaints):
    """The page with each block cut anew."""
    lesson = os.path.basename(page)[:-3]

    def anew(block):
        try:
            return (f"<!-- cut {block[1]} -->\n```{block[2]}\n"
                    f"{cut(root, lesson, block[1])}```\n")
        except Mistake as mistake:
            complaints.append(f"{page}: cut {block[1]}: {mistake}")
            return block[0]

    return listed(root, CUT.sub(anew, text))


def listed(root, text):
    """The first page with the list of the lessons as they are."""
    rows = ""
    for page in tree.sources(root, [PAGES], ".md"):
        found = re.match(r"# (\d+)\. (.*)\n\n((?:.+\n)+)", tree.read(root, page))
        if found:
            words = " ".join(found[3].split())
            rows += f"{found[1]}. [{found[2]}]({os.path.basename(page)}). {words}\n"
    return LIST.sub(lambda block: block[1] + rows + block[2], text)


def complaints_about_blocks(root, page, text):
    """Blocks that are stale, or typed by hand."""
    complaints = []
    if filled(root, page, text, complaints) != text:
        complaints.append(f"{page} is stale: `make course-pages` cuts its code anew")
    for block in FENCE.finditer(CUT.sub("", text)):
        if block[1] not in FREE:
            complaints.append(f"{page}: code that is not cut from a program: {block[2].strip()[:50]}")
    return complaints


def defines(text, name):
    """Whether a C file has a definition or declaration of that name."""
    return bool(re.search(rf"^(?![\s*#/])[^\n=]*\b{name}\b\s*[({{;\[=]|^#define {name}\b|^\t{name}\b[,;= ]",
                          text, re.M) or re.search(rf"^(?:enum|struct|union) {name}\b", text, re.M))


def complaints_about_links(root, page, text):
    """Links to functions that are elsewhere."""
    for name, link in LINK.findall(text):
        path = os.path.normpath(os.path.join(os.path.dirname(page), link))
        if os.path.exists(os.path.join(root, path)) and not defines(tree.read(root, path), name):
            yield f"{page}: {path} does not define {name}"


def section(text, heading):
    """The text below that heading, up to the next of its kind."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    return found[1] if found else ""


def linked_sources(page, text):
    """The sources to which the lesson leads."""
    links = [link for _, link in LINK.findall(section(text, IN_NSQD))]
    return {os.path.normpath(os.path.join(os.path.dirname(page), link)) for link in links}


def sentences(text):
    """The sentences of a page's prose, without code and tables."""
    text = re.sub(r"(?s:^```.*?^```$)|^\|.*$|^#.*$|<!--.*?-->|</?[a-z][^>]*>", "", text, flags=re.M)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    for block in re.split(r"\n\s*\n|\n\s*(?:[*-]|\d+\.) ", text):
        yield from re.split(r"(?<=[.!?:])[)\"*]*\s+", " ".join(block.split()))


def complaints_about_words(page, text):
    """Sentences that are too long."""
    for sentence in sentences(text):
        if len(re.findall(r"[\w'-]+", sentence)) > MOST_WORDS:
            yield f"{page}: more than {MOST_WORDS} words: {sentence}"


def complaints_about_lesson(root, page, text, following):
    """What a lesson lacks."""
    lesson = os.path.basename(page)[:-3]
    have = re.findall(r"^## (.*)$", text, re.M)
    if [h for h in have if h in HEADINGS] != HEADINGS:
        yield f"{page}: its sections are not {', '.join(HEADINGS)}"
    if not re.match(rf"# {int(lesson[:2])}\. ", text):
        yield f"{page}: its title does not begin with its number"
    shown = {shlex.split(block[1])[0] for block in CUT.finditer(text)}
    folder = os.path.join(root, PROGRAMS, lesson)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith((".c", ".go")) and name not in shown:
            yield f"{page}: does not show {PROGRAMS}/{lesson}/{name}"
    if "../go-map.md#" not in text:
        yield f"{page}: no link to a Go file of docs/go-map.md"
    if following and f"]({following}.md)" not in text:
        yield f"{page}: no link to the next lesson"


def head_of(text):
    """The comment with which a source opens; its end is left out."""
    return text.removeprefix(SPDX).split("*/", 1)[0]


def named_in(head):
    """The lessons that this head names."""
    found = BACK.search(head)
    return re.findall(r"[\w-]+", found[1].replace("*", " ")) if found else []


def with_lessons(text, lessons):
    """A source whose head names these lessons, and no other."""
    head = head_of(text)
    new = BACK.sub("", head)
    if lessons:
        words = "Lessons in docs/course/: " + ", ".join(sorted(lessons)) + "."
        lines = textwrap.wrap(words, 96, break_on_hyphens=False, break_long_words=False)
        if "\n" not in new:  # a comment of one line
            new = "/*\n * " + new.removeprefix("/* ").rstrip() + "\n "
        new = new.rstrip(" ") + " *\n" + "".join(f" * {line}\n" for line in lines) + " "
    return text.replace(head, new, 1)


def complaints_about_heads(root, led):
    """Sources that do not lead back to their lessons, or to one that does not know them."""
    for path in tree.sources(root, SOURCES, (".c", ".h")):
        named, wanted = set(named_in(head_of(tree.read(root, path)))), led.get(path, set())
        for lesson in sorted(wanted - named):
            yield f"{path}: its head does not name the lesson {lesson}, which leads here"
        for lesson in sorted(named - wanted):
            yield f"{path}: the lesson {lesson} does not lead here"


def lessons_of_sources(root):
    """For each source the lessons that lead to it."""
    led = {}
    for page in tree.sources(root, [PAGES], ".md"):
        for path in linked_sources(page, tree.read(root, page)):
            led.setdefault(path, set()).add(os.path.basename(page)[:-3])
    return led


def check(root):
    """All complaints about the tree, as lines."""
    complaints = []
    where = os.path.join(root, PROGRAMS)
    lessons = sorted(n for n in os.listdir(where) if LESSON.match(n)) if os.path.isdir(where) else []
    for page in tree.sources(root, [PAGES], ".md"):
        text = tree.read(root, page)
        name = os.path.basename(page)[:-3]
        complaints += complaints_about_blocks(root, page, text)
        complaints += complaints_about_links(root, page, text)
        complaints += complaints_about_words(page, text)
        if name not in lessons:
            if LESSON.match(name):
                complaints.append(f"{page}: there is no folder {PROGRAMS}/{name}")
            continue
        following = dict(zip(lessons, lessons[1:])).get(name)
        complaints += complaints_about_lesson(root, page, text, following)
    for lesson in lessons:
        if not os.path.exists(os.path.join(root, PAGES, lesson + ".md")):
            complaints.append(f"{PROGRAMS}/{lesson}: there is no page {PAGES}/{lesson}.md")
    return complaints + list(complaints_about_heads(root, lessons_of_sources(root)))


def lessons_of_functions(root):
    """For each function the lessons that lead to it."""
    led = {}
    for page in tree.sources(root, [PAGES], ".md"):
        for name, _ in LINK.findall(section(tree.read(root, page), IN_NSQD)):
            led.setdefault(name, set()).add(os.path.basename(page)[:-3])
    return led


def write_file(root, path, text):
    """Writes it if it is another."""
    if tree.read(root, path) != text:
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)


def write(root):
    """Cuts all blocks anew, and names the lessons in the heads; returns what it cannot cut."""
    complaints = []
    led = lessons_of_sources(root)
    for path in tree.sources(root, SOURCES, (".c", ".h")):
        write_file(root, path, with_lessons(tree.read(root, path), led.get(path, ())))
    for page in tree.sources(root, [PAGES], ".md"):
        write_file(root, page, filled(root, page, tree.read(root, page), complaints))
    return complaints


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        del sys.argv[1]
        tree.run(write)
    tree.run(check)
