#!/usr/bin/env python3
"""Shows that the look at the site finds each fault, in a site of a few small pages."""
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import check
import chromium

PAGE = ('<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>t</title>'
        '<link rel="icon" href="data:,"><body style="margin: 0"><div class="md-container"><article class="md-content">'
        "%s</article></div>")
SIDES = ('<div class="sides"><div class="go" style="%s"><p>go</div><div class="c" style="%s"><p>c</div></div>')
DOT = ('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        check.TABS = 1
        cls.browser = cls.enterClassContext(chromium.Chromium())

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.site = os.path.join(directory.name, "site")
        self.shots = os.path.join(directory.name, "shots")
        os.makedirs(self.shots)
        self.write("index.html", PAGE % '<p><a href="docs/a.html#here">a</a> <img src="dot.svg">')
        self.write("docs/a.html", PAGE % '<p id="here"><a href="../index.html">back</a>')
        self.write("dot.svg", DOT)

    def write(self, path, text):
        path = os.path.join(self.site, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def complaints(self):
        walk = check.Walk(self.site, self.shots, check.serve(self.site))
        walk.walk(self.browser)
        self.counts = walk.follow_links()
        return walk.complaints

    def assert_found(self, body, *words, page="docs/b.html"):
        """One complaint about a page with that body, with these words."""
        self.write(page, PAGE % body)
        found = self.complaints()
        self.assertEqual(len(found), 1, found)
        for word in (page, *words):
            self.assertIn(word, found[0])

    def test_a_good_site_passes(self):
        self.assertEqual(self.complaints(), [])
        self.assertEqual(self.counts, (2, 0))
        self.assertEqual(sorted(os.listdir(self.shots)), ["index-1280.png", "index-390.png"])

    def test_a_dead_link(self):
        self.assert_found('<a href="gone.html">x</a>', "a dead link", "docs/gone.html")

    def test_a_place_that_is_not_there(self):
        self.assert_found('<a href="a.html#gone">x</a>', "no such place", "a.html#gone")

    def test_a_strange_link(self):
        self.assert_found('<a href="file:///etc/passwd">x</a>', "a strange link")

    def test_a_link_to_another_host_is_not_followed(self):
        self.write("docs/b.html", PAGE % '<a href="https://nsq.io/x">x</a>')
        self.assertEqual(self.complaints(), [])
        self.assertEqual(self.counts[1], 1)

    def test_a_number_that_leads_elsewhere(self):
        self.assert_found('<span id="L1"><a class="at" href="#L1" data-line="2">x</a></span>', "1 numbers of lines")

    def test_a_number_beside_another_line(self):
        block = ('<div class="listing" style="display: flex"><div>%s</div>'
                 '<pre style="margin: 0"><span class="line">a</span>\n<span class="line">b</span></pre></div>')
        number = '<div class="at" style="line-height: %s">1</div>'
        self.assert_found(block % (number % 1.2), "1 blocks whose numbers")
        self.assert_found(block % (number % 3 * 2), "1 blocks whose numbers")

    def test_a_script_that_fails(self):
        self.assert_found("<script>gone()</script>", "script:", "gone is not defined")

    def test_a_script_that_complains(self):
        self.assert_found("<script>console.error('too', 'bad')</script>", "console: too bad")

    def test_a_script_that_is_missing(self):
        self.assert_found('<script src="gone.js"></script>', "log:", "404", "gone.js")

    def test_a_picture_that_is_not_one(self):
        self.write("docs/bad.svg", "no picture")
        self.assert_found('<img src="bad.svg">', "a picture is not shown", "bad.svg")

    def test_another_host(self):
        self.write("docs/b.html", PAGE % '<link rel="stylesheet" href="https://fonts.example/a.css">')
        self.assertTrue(any("asks another host: https://fonts.example/a.css" in c for c in self.complaints()))

    def test_a_page_that_is_too_wide(self):
        self.assert_found('<table style="width: 800px"><td>wide', "at 390", "wider", "TD. wide")

    def test_a_table_that_can_be_moved(self):
        self.write("docs/b.html", PAGE % '<div style="overflow: auto"><table style="width: 800px"><td>wide')
        self.assertEqual(self.complaints(), [])

    def test_markdown_in_the_text(self):
        for text in ("see [x](y.md)", "text:\n* item", "**loud", "a `code", "{ .class }"):
            self.assert_found(f"<p>{text}</p>", "Markdown is left", page="docs/b.html")

    def test_go_beside_c(self):
        page = "docs/course/01-a/side-by-side.html"
        self.assert_found(SIDES % ("", ""), "at 1280 C is not beside Go", page=page)
        left, right = "float: left; width: 180px", "margin-left: 180px"
        self.assert_found(SIDES % (left, right), "at 390 C is not below Go", page=page)
        self.write(page, PAGE % "<p>nothing")
        self.assertIn(f"{page}: nothing stands side by side", self.complaints())


if __name__ == "__main__":
    unittest.main()
