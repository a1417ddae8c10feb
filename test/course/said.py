"""What a tool has said, held against what a lesson's page shows of it.

A page shows the output of a twin's tool in a block below a mark:

    <!-- said PROGRAM.c -->
    ```text
    WARNING: ThreadSanitizer: data race (pid=N)
    ...
    ```

Its lines are lines of the output, in their order. `...` stands for what is left out: lines, or a
part of a line. What differs from run to run is shown as N, or is left out: see `plain`.
"""
import os
import re

import lessons

BLOCK = re.compile(r"<!-- said (\S+)(?: (\w+))? -->\n```text\n(.*?)```\n", re.S)

# What differs from run to run, from machine to machine, or says nothing to a reader.
NOISE = [
    (r"0x0*[1-9a-f][0-9a-f]{5,}", "0xN"),  # a small one says something: NULL and some bytes
    (r"(pid[=:] ?|LWP |tid=|process |==)\d+", r"\1N"),
    (r"\bT[1-9]\d*\b", "TN"),
    (r"^Thread \d+ \(", "Thread N ("),
    (r"\[Thread debugging.*|Using host libthread_db.*", ""),
    (r" \(BuildId: [0-9a-f]+\)", ""),
    (r" \([^ ()]*\+0x[0-9a-f]+N?\)", ""),
    (r"/\S*/(test|common)/", r"\1/"),
    (r"\S*/build/", "build/"),
    (r"\b((?:common|protocol|nsqd)/[\w/]+\.[ch]):\d+(:\d+)?", r"\1:N"),  # it changes with the project
    (r" \(\d+ states, depth \d+, [\d.]+ s\)", ""),
    (r"\s+$", ""),
]


def plain(line):
    """The line without what differs from run to run."""
    for pattern, instead in NOISE:
        line = re.sub(pattern, instead, line)
    return line


def pattern_of(words, whole):
    """A regular expression for WORDS, in which `...` stands for anything."""
    parts = [re.escape(part.strip() if not whole else part) for part in words.split("...")]
    return re.compile(("^%s$" if whole else "%s") % ".*".join(parts))


def first_missing(wanted, output, whole=False):
    """The first of the wanted lines that the output has not, in this order; None: it has all."""
    lines = [plain(line) for line in output.split("\n")]
    at = 0
    for words in wanted:
        if words.strip() in ("...", ""):
            continue
        pattern = pattern_of(plain(words), whole)
        while at < len(lines) and not pattern.search(lines[at]):
            at += 1
        if at == len(lines):
            return words
        at += 1
    return None


def read_page(lesson):
    """The text of a lesson's page."""
    with open(os.path.join(lesson.root, lesson.page), encoding="utf-8") as file:
        return file.read()


def blocks_of(text, twin):
    """The blocks of a page that show what this twin's tool says, as matches."""
    return [block for block in BLOCK.finditer(text)
            if block[1] == twin.source and (block[2] or twin.build) == twin.build]


def missing_of_page(lesson, twin, output):
    """A line that the page shows and the output has not; None: it has all."""
    blocks = blocks_of(read_page(lesson), twin)
    if not blocks:
        return f"(the page has no block `<!-- said {twin.source} -->`)"
    for block in blocks:
        missing = first_missing(block[3].split("\n"), output, whole=True)
        if missing:
            return missing
    return None


def numbered(line):
    """A regular expression for the line with other numbers; what is not `...` is in groups."""
    parts = [re.sub(r"\d+", r"\\d+", re.escape(part)) for part in line.split("...")]
    return re.compile("^%s$" % ".*".join(f"({part})" for part in parts))


def pasted(shown, output):
    """The lines of a block as the output has them now. An empty block takes all of it."""
    lines = [plain(line) for line in output.split("\n")]
    if not any(line.strip() for line in shown):
        return [line for line in lines if line]
    result, at = [], 0
    for line in shown:
        if line.strip() not in ("...", ""):
            matches = [(n, numbered(plain(line)).match(lines[n])) for n in range(at, len(lines))]
            at, match = next((pair for pair in matches if pair[1]), (0, None))
            if not match:
                raise lessons.Mistake(f"it does not say any more: {line}")
            at += 1
            line = "...".join(match.groups())
        result.append(line)
    return result


def paste(lesson, twin, output):
    """Writes the blocks of this twin anew."""
    text = read_page(lesson)
    for block in reversed(blocks_of(text, twin)):
        new = "".join(line + "\n" for line in pasted(block[3].split("\n")[:-1], output))
        text = text[:block.start(3)] + new + text[block.end(3):]
    with open(os.path.join(lesson.root, lesson.page), "w", encoding="utf-8") as file:
        file.write(text)
