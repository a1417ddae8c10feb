"""Where the links of the pages lead on the site.

On the site each page lies where it lies among the sources, so a link to another page stays as it is.
A source has a page of its own, PATH.html:

  - a link to a source leads to that page. If its text is a name in backquotes, it leads to the line
    that defines the name.
  - a path of a source or of a page in backquotes becomes a link, as does the name of a C file.
  - in the list of Go's functions each C function becomes a link to its line.
"""
import os
import posixpath
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs"))
import tree

C_FOLDERS = ("common", "protocol", "nsqd")
PROGRAMS = "test/course"
# What is shown of other folders, if a page names it.
ENDINGS = (".c", ".h", ".go", ".py", ".sh", ".mk", ".js", ".txt", ".md", "Makefile")
# Beside the pages lie also units, scripts and alerts: text, whatever its name ends with.
NO_TEXT = (".svg", ".png")
MOST_BYTES = 200_000
GO_MAP = "docs/go-map.md"
SOURCES_PAGE = "sources.md"

TOKEN = re.compile(
    r"(?P<fence>^[ ]*(?P<ticks>```+)[^\n]*\n.*?^[ ]*(?P=ticks)[ ]*$)"
    r"|(?P<codes>``[^\n]*?``)"
    r"|(?P<heading>^\#[^\n]*$)"
    r"|(?P<image>!\[[^\]]*\]\([^)]*\))"
    r"|\[(?P<text>(?:`[^`]*`|[^\[\]`])*)\]\((?P<target>[^)\s]+)\)"
    r"|(?<!`)`(?P<code>[^`\n]+)`(?!`)",
    re.M | re.S,
)
GO_ROW = re.compile(r"^(\| [^|]* \| )([^|]*)( \| `([^`|]+)` \|)", re.M)
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:")

WORDS = r"(?!static_assert|_Static_assert|return\b|else\b)[A-Za-z_][\w\s*]*[\s*]"
DEFINITIONS = {
    ".c": re.compile(
        rf"^(?:{WORDS}(?P<function>\w+)\([^;]*$"
        r"|(?:static |typedef )*(?:const )?(?:struct|enum|union) (?P<type>\w+) \{"
        r"|(?:static |extern |const |_Thread_local |_Atomic )+[^;(=]*?\b(?P<variable>\w+)"
        r"(?:\[[^;=]*)?(?: =.*|;)$"
        r"|\#define (?P<macro>\w+))",
        re.M,
    ),
    ".go": re.compile(
        r"^(?:func (?:\([^)]*\) )?(?P<function>\w+)|type (?P<type>\w+)|(?:var|const) (?P<variable>\w+))",
        re.M,
    ),
    ".py": re.compile(r"^(?:def|class) (?P<function>\w+)", re.M),
    ".sh": re.compile(r"^(?P<function>\w+)\(\) [{(]", re.M),
    ".js": re.compile(r"^(?:async )?function (?P<function>\w+)", re.M),
}
PROTOTYPE = re.compile(rf"^{WORDS}(?P<function>\w+)\(", re.M)
NO_NAMES = {"__attribute__"}


def definitions(path, text):
    """What a source defines at its top level, in its order: (name, line, kind). In a header, also the
    functions that it declares."""
    ending = os.path.splitext(path)[1]
    patterns = [DEFINITIONS.get(".c" if ending == ".h" else ending)]
    if ending == ".h":
        patterns.append(PROTOTYPE)
    found = {}
    for pattern in filter(None, patterns):
        for match in pattern.finditer(text):
            name, kind = match[match.lastgroup], match.lastgroup
            if name not in NO_NAMES:
                line = text.count("\n", 0, match.start(kind)) + 1
                found.setdefault((name, kind), (name, line, kind))
    return sorted(found.values(), key=lambda definition: definition[1])


def line_of(path, text, name):
    """The line that defines the name, as a function if there are several; else the first one that
    has it outside of the comments."""
    found = [(kind != "function", line) for known, line, kind in definitions(path, text) if known == name]
    if found:
        return min(found)[1]
    word = re.compile(rf"\b{re.escape(name)}\b")
    for number, line in enumerate(text.split("\n"), 1):
        if word.search(line) and not re.match(r"\s*(?:/?\*|//|#include)", line):
            return number
    return None


class Repository:
    """What of the sources becomes a page."""

    def __init__(self, root):
        self.root = root
        self.texts = {}
        self.pages = [path for path in ["README.md"] if os.path.exists(os.path.join(root, path))]
        self.pages += tree.sources(root, ["docs"], ".md")
        self.pages += [path for path in tree.sources(root, ["test"], "README.md")
                       if re.fullmatch(r"test/[^/]+/README\.md", path)]
        self.sources = set(tree.sources(root, C_FOLDERS, (".c", ".h")))
        self.sources |= set(tree.sources(root, [PROGRAMS], (".c", ".h", ".go")))
        self.by_name = {}
        for path in sorted(self.sources):
            self.by_name.setdefault(os.path.basename(path), []).append(path)
        for page in self.pages:
            self.sources |= {path for path in self.named_on(page) if path not in self.pages}

    def text(self, path):
        if path not in self.texts:
            self.texts[path] = tree.read(self.root, path)
        return self.texts[path]

    def is_shown(self, path):
        """Whether a file of the tree can have a page."""
        full = os.path.join(self.root, path)
        is_text = path.endswith(ENDINGS) or path.startswith("docs/") and not path.endswith(NO_TEXT)
        return (is_text and not path.startswith(("../", "build/", "."))
                and os.path.isfile(full) and os.path.getsize(full) <= MOST_BYTES)

    def named_on(self, page):
        """The files to which the page links, or whose path it has in backquotes."""
        for token in TOKEN.finditer(self.text(page)):
            target = token["target"] and not OUTSIDE.match(token["target"]) and resolved(page, token["target"])
            for path in (target, token["code"]):
                if path and self.is_shown(path):
                    yield path

    def found(self, page, word):
        """The file that a word in backquotes on that page names, or None."""
        if word in self.sources or word in self.pages:
            return word
        beside = posixpath.join(posixpath.dirname(page), word)
        if word.endswith(".md") and beside in self.pages:
            return beside
        paths = self.by_name.get(word, [])
        return paths[0] if len(paths) == 1 else None

    def link(self, page, path, name=None):
        """The link from a page to a file, to the line that defines the name if there is one."""
        start = posixpath.dirname(page) or "."
        if path in self.pages:
            return posixpath.relpath(path, start)
        line = line_of(path, self.text(path), name) if name else None
        return posixpath.relpath(path + ".md", start) + (f"#L{line}" if line else "")

    def rewritten(self, page):
        """The text of the page, as the site has it."""
        text = self.text(page)
        if page == GO_MAP:
            text = GO_ROW.sub(lambda row: self.row(page, row), text)
        return TOKEN.sub(lambda token: self.token(page, token), text)

    def row(self, page, row):
        """A row of the list of Go's functions, with links to the C functions."""
        path = row[4]
        if path not in self.sources:
            return row[0]
        known = {name for name, _, _ in definitions(path, self.text(path))}
        to = posixpath.relpath(path, posixpath.dirname(page))
        names = re.sub(r"`(\w+)`", lambda n: f"[{n[0]}]({to})" if n[1] in known else n[0], row[2])
        return row[1] + names + row[3]

    def token(self, page, token):
        """A piece of a page: only links and code in prose become something else."""
        if token["code"]:
            path = self.found(page, token["code"])
            return f"[{token[0]}]({self.link(page, path)})" if path and path != page else token[0]
        if not token["target"] or OUTSIDE.match(token["target"]):
            return token[0]
        path = resolved(page, token["target"])
        if path not in self.sources:
            return token[0]
        name = re.fullmatch(r"`(\w+)(?:\(\))?`", token["text"])
        return f"[{token['text']}]({self.link(page, path, name and name[1])})"


def resolved(page, target):
    """The path of a link's target below the root; of the page itself for an anchor alone."""
    path = target.partition("#")[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
