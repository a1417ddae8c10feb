"""A lesson of the course: its folder, the programs in it, and what is to be said of them.

The folder test/course/NN-NAME has the programs, and the page is docs/course/NN-NAME.md. The file
`lesson.txt` in the folder says what the build does with the programs, a line each:

    title WORDS                    what the lesson is about
    same PROGRAM.go PROGRAM.c      both print the same; the one in C has no report in any build
    alone PROGRAM.c                it has no counterpart in Go; it has no report in any build
    alone PROGRAM.go               it has no counterpart in C
    twin PROGRAM.c BUILD [HOW]     a broken program, the build that shows it, and how it ends

Below an `alone`, and indented, are all the lines that it prints, and below a `twin` some of those
that its tool prints, in their order:

    prints WORDS
    says WORDS

In WORDS, `...` stands for anything, and `FILE.c:@TAG` for the line of that file in the lesson's
folder which ends with the comment `/* @TAG */`. So a twin that is caught for another fault than
its own has not been caught.

BUILD is one of BUILDS below. HOW, where it is not `reported`, is one of ENDS.
"""
import os
import re

FOLDER = "test/course"
PAGES = "docs/course"
LESSON = re.compile(r"(\d\d)-([a-z0-9-]+)$")

# The variants in which make can build a program of the course: the variables that it takes.
BUILDS = {
    "plain": "",
    "thread": "SANITIZE=thread",
    "address": "SANITIZE=address",
    "perturb": "PERTURB=1",
    "model": "",
}

ENDS = {
    "reported": "the tool's report ends it with a status that is not 0",
    "aborts": "it ends itself with abort()",
    "hangs": "all its threads sleep for ever; the debugger says where",
    "ends": "it ends with 0, and what it prints is wrong",
}


class Mistake(Exception):
    """What lesson.txt says cannot be: where, and why."""


class Twin:
    """A broken program, and what shows that it is."""

    def __init__(self, source, build, how):
        self.source, self.build, self.how = source, build, how
        self.says = []


class Lesson:
    """What lesson.txt says. Sources are named as they are there, without the folder."""

    def __init__(self, root, name):
        self.root, self.name = root, name
        self.number = int(name[:2])
        self.folder = f"{FOLDER}/{name}"
        self.page = f"{PAGES}/{name}.md"
        self.title = ""
        self.pairs, self.alone, self.twins = [], [], []
        with open(os.path.join(root, self.folder, "lesson.txt"), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    self.take(line.rstrip("\n"))
                except Mistake as mistake:
                    raise Mistake(f"{self.folder}/lesson.txt:{number}: {mistake}") from None

    def take(self, line):
        """One line of lesson.txt."""
        words = line.split()
        if not words or words[0].startswith("#"):
            return
        verb, rest = words[0], words[1:]
        if verb == "title" and rest:
            self.title = " ".join(rest)
        elif verb == "same" and len(rest) == 2:
            self.pairs.append((self.known(rest[0], ".go"), self.known(rest[1], ".c")))
        elif verb == "alone" and len(rest) == 1:
            self.alone.append((self.known(rest[0], (".c", ".go")), []))
        elif verb == "prints" and self.alone:
            self.alone[-1][1].append(line.strip().partition(" ")[2])
        elif verb == "twin" and len(rest) in (2, 3):
            self.take_twin(*rest)
        elif verb == "says" and rest and self.twins:
            self.twins[-1].says.append(line.split(None, 1)[1].strip())
        else:
            raise Mistake(f"not understood: {line}")

    def take_twin(self, source, build, how="reported"):
        """twin PROGRAM.c BUILD [HOW]"""
        if build not in BUILDS:
            raise Mistake(f"no such build: {build}")
        if how not in ENDS:
            raise Mistake(f"a twin does not end so: {how}")
        self.twins.append(Twin(self.known(source, ".c"), build, how))

    def known(self, source, ending):
        """The name, if such a file is there."""
        if not source.endswith(ending) or not os.path.exists(self.path(source)):
            raise Mistake(f"no such program: {source}")
        return source

    def path(self, source):
        """Where a file of this lesson is."""
        return os.path.join(self.root, self.folder, source)

    def resolved(self, words):
        """WORDS of a `says` with the numbers of the lines for its tags."""
        return re.sub(r"([\w.-]+\.c):@([\w-]+)", self.line_of, words)

    def line_of(self, match):
        """FILE.c:@TAG as FILE.c:NUMBER."""
        source, tag = match.groups()
        with open(self.path(self.known(source, ".c")), encoding="utf-8") as file:
            lines = [n for n, line in enumerate(file, 1) if f"/* @{tag} */" in line]
        if len(lines) != 1:
            raise Mistake(f"{self.folder}/{source}: {len(lines)} lines with /* @{tag} */, not one")
        return f"{source}:{lines[0]}"

    def sound(self):
        """The programs in C that are right: each is run in each build."""
        return [c for _, c in self.pairs] + [c for c, _ in self.alone if c.endswith(".c")]

    def in_go(self):
        """The programs in Go."""
        return [go for go, _ in self.pairs] + [go for go, _ in self.alone if go.endswith(".go")]


def names(root="."):
    """The folders of the lessons, in their order."""
    where = os.path.join(root, FOLDER)
    return sorted(name for name in os.listdir(where) if LESSON.match(name))


def read_all(root="."):
    """All lessons, in their order."""
    return [Lesson(root, name) for name in names(root)]
