"""Code as the site shows it: highlighted, each line with its number, which is a link to that line.

The numbers are not part of the text, so they are not copied with it.
"""
import html
import re

import pygments
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

OPTIONS = {"stripnl": False, "ensurenl": False}
INCLUDE = re.compile(r'(<span class="cpf">)(&quot;|")([\w./-]+)\2(</span>)')


def highlighted(path, text):
    """The lines of a text as HTML; its path tells the language."""
    try:
        lexer = get_lexer_for_filename(path, **OPTIONS)
    except ClassNotFound:
        lexer = TextLexer(**OPTIONS)
    out = pygments.highlight(text.removesuffix("\n"), lexer, HtmlFormatter(nowrap=True))
    return out.removesuffix("\n").split("\n")


def listing(lines, numbers, page="", named=False):
    """A block of code. `page` is where the numbers lead; with `named` each line is a place to which
    links lead. A line without a number (0) separates pieces."""
    out, column = [], []
    for line, number in zip(lines, numbers):
        if not number:
            column.append('<span class="at"></span>')
            out.append(f'<span class="line">{line}</span>\n')
            continue
        place = f' id="L{number}"' if named else ""
        column.append(f'<a class="at" href="{page}#L{number}" data-line="{number}" tabindex="-1"></a>')
        out.append(f'<span class="line"{place}>{line}</span>\n')
    return (f'<div class="listing highlight"><div class="numbers" aria-hidden="true">{"".join(column)}</div>'
            f'<pre><code>{"".join(out)}</code></pre></div>')


def with_includes(lines, link):
    """The same lines, where each header that link(path) knows is a link."""
    def anew(match):
        to = link(match[3])
        header = match[2] + match[3] + match[2]
        return match[1] + (f'<a href="{html.escape(to)}">{header}</a>' if to else header) + match[4]

    return [INCLUDE.sub(anew, line) for line in lines]


def numbers_of(block, lines):
    """The number of each line of a block that was cut from these lines, maybe in several pieces,
    maybe moved to the left. 0 for a line that is not theirs."""
    block, lines = [[line.strip() for line in part] for part in (block, lines)]
    numbers, at = [], 0
    while at < len(block):
        length, start = max(
            ((same_from(block, at, lines, n), -n) for n in range(len(lines)) if block[at]),
            default=(0, 0))
        if not length:
            numbers.append(0)
            at += 1
            continue
        numbers += range(1 - start, 1 - start + length)
        at += length
    return numbers


def same_from(block, at, lines, start):
    """How many lines of the block are those from start on; blank ones at the end do not count."""
    n = 0
    while at + n < len(block) and start + n < len(lines) and block[at + n] == lines[start + n]:
        n += 1
    while n and not block[at + n - 1]:
        n -= 1
    return n
