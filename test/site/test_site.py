#!/usr/bin/env python3
"""Shows what becomes of links, of code and of programs in two languages on the site."""
import html
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import beside
import links
import listing

TOPIC = """/* SPDX-License-Identifier: MIT */
/* A topic. */
#include "common/chan.h"

struct pump {
	int n;
};

static int pump(struct pump *p)
{
	return p->n;
}

int topic_new(const char *name,
	      int n)
{
	return n;
}
"""


class Tree(unittest.TestCase):
    """A tree of files in a directory of the test's own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.write("README.md", "# nsqd\n\nSee [topics](docs/topic.md).\n")
        self.write("docs/topic.md", "# Topics\n")
        self.write("nsqd/queue/topic.c", TOPIC)
        self.write("common/chan.h", "enum { CHAN_MAX = 3 };\n\nvoid chan_free(struct chan *c);\n")

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def rewritten(self, page, text):
        self.write(page, text)
        return links.Repository(self.root).rewritten(page)


class Links(Tree):
    def test_a_source_leads_to_its_page(self):
        self.assertEqual(self.rewritten("docs/a.md", "See [it](../nsqd/queue/topic.c).\n"),
                         "See [it](../nsqd/queue/topic.c.md).\n")

    def test_a_name_leads_to_its_line(self):
        for name, line in (("topic_new", 14), ("topic_new()", 14), ("pump", 9)):
            self.assertEqual(self.rewritten("docs/course/01-a.md", f"[`{name}`](../../nsqd/queue/topic.c)"),
                             f"[`{name}`](../../nsqd/queue/topic.c.md#L{line})")

    def test_a_name_that_is_only_declared_or_used_leads_to_its_line(self):
        self.assertIn("chan.h.md#L3)", self.rewritten("docs/a.md", "[`chan_free`](../common/chan.h)"))
        self.assertIn("chan.h.md#L1)", self.rewritten("docs/a.md", "[`CHAN_MAX`](../common/chan.h)"))
        self.assertIn("chan.h.md)", self.rewritten("docs/a.md", "[`nowhere`](../common/chan.h)"))

    def test_a_link_over_two_lines_leads_there_as_well(self):
        self.assertEqual(self.rewritten("docs/a.md", "[a long\ntext](../common/chan.h)"),
                         "[a long\ntext](../common/chan.h.md)")

    def test_other_links_stay_as_they_are(self):
        for text in ("[t](topic.md)", "[t](topic.md#topics)", "[t](#here)", "[n](https://nsq.io/a.c)",
                     "![picture](way.svg)", "[gone](../nsqd/gone.c)"):
            self.assertEqual(self.rewritten("docs/a.md", text + "\n"), text + "\n")

    def test_paths_and_names_of_files_become_links(self):
        self.assertEqual(self.rewritten("docs/a.md", "`nsqd/queue/topic.c`, `chan.h`, `docs/topic.md`, `topic.md`"),
                         "[`nsqd/queue/topic.c`](../nsqd/queue/topic.c.md), [`chan.h`](../common/chan.h.md), "
                         "[`docs/topic.md`](topic.md), [`topic.md`](topic.md)")

    def test_a_name_that_two_files_have_stays_as_it_is(self):
        self.write("nsqd/http/topic.c", TOPIC)
        self.assertEqual(self.rewritten("docs/a.md", "`topic.c` and `none.c`"), "`topic.c` and `none.c`")

    def test_code_and_headings_stay_as_they_are(self):
        for text in ("```c\n[`a`](../common/chan.h) `chan.h`\n```", "# `chan.h`", "``a `chan.h` b``"):
            self.assertEqual(self.rewritten("docs/a.md", text + "\n"), text + "\n")

    def test_in_the_list_of_go_functions_each_leads_to_its_line(self):
        row = "| `NewTopic` | `topic_new`, `gone` | `nsqd/queue/topic.c` | |\n"
        self.assertEqual(self.rewritten("docs/go-map.md", row),
                         "| `NewTopic` | [`topic_new`](../nsqd/queue/topic.c.md#L14), `gone` "
                         "| [`nsqd/queue/topic.c`](../nsqd/queue/topic.c.md) | |\n")

    def test_what_a_page_names_has_a_page(self):
        self.write("test/go-build.sh", "main() {\n}\n")
        self.write("test/other.sh", "")
        self.write("docs/a.md", "`test/go-build.sh`, `test/gone.sh`, `build/nsqd`")
        sources = links.Repository(self.root).sources
        self.assertEqual(sources, {"test/go-build.sh", "nsqd/queue/topic.c", "common/chan.h"})

    def test_definitions_have_their_kind(self):
        self.assertEqual(links.definitions("topic.c", TOPIC),
                         [("pump", 5, "type"), ("pump", 9, "function"), ("topic_new", 14, "function")])
        self.assertEqual(links.definitions("a.go", "type pump struct {\n}\n\nfunc (p *pump) Run() {\n}\n"),
                         [("pump", 1, "type"), ("Run", 4, "function")])


class Listing(unittest.TestCase):
    def test_each_line_has_its_number(self):
        shown = listing.listing(listing.highlighted("a.c", "\nint a;\n/* b\n */\n"), range(1, 5), "a.html")
        self.assertEqual(shown.count('class="line"'), 4)
        self.assertIn('href="a.html#L4" data-line="4"', shown)
        self.assertNotIn('id="', shown)

    def test_a_line_is_a_place(self):
        self.assertIn('<span class="line" id="L1">', listing.listing(["x"], [1], named=True))

    def test_no_line_reaches_into_the_next(self):
        for line in listing.highlighted("a.c", "/* a\n * b\n */\nint c;\n"):
            self.assertEqual(line.count("<span"), line.count("</span>"), line)

    def test_a_block_of_several_pieces_has_the_numbers_of_its_file(self):
        lines = TOPIC.split("\n")
        self.assertEqual(listing.numbers_of(lines[4:7] + [""] + lines[13:17], lines),
                         [5, 6, 7, 0, 14, 15, 16, 17])

    def test_a_block_that_was_moved_to_the_left_has_its_numbers(self):
        self.assertEqual(listing.numbers_of(["return p->n;"], TOPIC.split("\n")), [11])

    def test_a_line_from_elsewhere_has_no_number(self):
        self.assertEqual(listing.numbers_of(["...", "struct pump {"], TOPIC.split("\n")), [0, 5])

    def test_a_header_is_a_link(self):
        lines = listing.highlighted("a.c", '#include "common/chan.h"\n#include "gone.h"\n')
        shown = listing.with_includes(lines, {"common/chan.h": "../common/chan.h.html"}.get)
        self.assertIn('<a href="../common/chan.h.html">"common/chan.h"</a>', html.unescape(shown[0]))
        self.assertNotIn("<a", shown[1])


class Beside(unittest.TestCase):
    GO = "// Go.\npackage main\n\nfunc runPump() {\n\ta()\n\n\tb()\n}\n\nfunc main() {\n}\n"
    C = ("/* SPDX-License-Identifier: MIT */\n/* C. */\n#include <stdio.h>\n\nstruct pump {\n\tint n;\n};\n\n"
         "static void run_pump(void *arg)\n{\n\ta();\n}\n\nint main(void)\n{\n}\n")

    def rows(self):
        rows = beside.rows(beside.pieces("a.go", self.GO), beside.pieces("a.c", self.C))
        return [tuple(part[0][1] if part else None for part in row) for row in rows]

    def test_what_has_one_name_stands_in_one_row(self):
        self.assertEqual(self.rows(), [("// Go.", "/* C. */"), ("func runPump() {", "static void run_pump(void *arg)"),
                                       ("func main() {", "int main(void)")])

    def test_a_type_does_not_stand_beside_a_function(self):
        self.GO, self.C = (text.replace("runPump", "pump").replace("run_pump", "pump")
                           for text in (self.GO, self.C))
        self.assertIn(("func pump() {", "static void pump(void *arg)"), self.rows())

    def test_a_piece_without_a_counterpart_stands_alone(self):
        self.GO = "package main\n\nfunc main() {\n}\n\nfunc last() {\n}\n"
        self.assertEqual(self.rows()[-1], ("func last() {", None))

    def test_every_line_is_shown_once(self):
        rows = beside.rows(beside.pieces("a.go", self.GO), beside.pieces("a.c", self.C))
        for side, first, text in ((0, 1, self.GO), (1, 2, self.C)):
            numbers = [number for row in rows for number, _ in row[side]]
            self.assertEqual(numbers, list(range(first, text.count("\n") + 1)))


if __name__ == "__main__":
    unittest.main()
