#!/usr/bin/env python3
"""Looks at the site in a headless browser, as its readers do.

    check.py SITE SHOTS     the folder of the site; the folder for the pictures

Each page is loaded, and looked at on a screen of 1280 and of 390 pixels:

  - each link leads to a page that is there, and to a place that is on it
  - no script fails, nothing is missing, and nothing is asked of another host
  - no page is wider than its screen, and all pictures are shown
  - no mark of Markdown is left in the text, and each line of code has its number beside it

A link to another host is not followed. On lessons Go stands beside C, or above it where there is no
room. The search finds words of a lesson and the name of a function. The page gets dark and light. At
the end SHOTS has a picture of each lesson at both widths.
"""
import base64
import concurrent.futures
import functools
import html
import http.server
import os
import re
import sys
import threading
import time
import urllib.parse

import chromium

WIDE, NARROW = 1280, 390
TABS = 2
TALLEST = 16000  # pixels of a picture
SHOWN = re.compile(r"docs/course/|index\.html$")

LOOK = r"""
(() => {
    const text = new Set();
    for (const block of document.querySelectorAll(".md-content p, .md-content li, .md-content td")) {
        const words = [...block.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("");
        const marks = block.tagName === "P"
            ? /(^|\n)\s*([*+-] |\d+\. |\||```)[^\n]*|\]\([^)\n]*\)|\{ ?\.[^}\n]*\}|\*\*|`/
            : /\]\([^)\n]*\)|\{ ?\.[^}\n]*\}|\*\*|`/;
        const bad = words.match(marks);
        if (bad) text.add(bad[0].trim());
    }
    return {
        links: [...document.querySelectorAll("a[href]:not(.at), area[href]")].map(a => a.href),
        ids: [...document.querySelectorAll("[id]")].map(e => e.id),
        blind: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src),
        text: [...text],
        crooked: [...document.querySelectorAll(".listing")].filter(listing => {
            const numbers = listing.querySelectorAll(".at"), lines = listing.querySelectorAll(".line");
            const at = numbers[numbers.length - 1], line = lines[lines.length - 1];
            return numbers.length !== lines.length
                || Math.abs(at.getBoundingClientRect().bottom - line.getBoundingClientRect().bottom) > 6;
        }).length,
        numbers: [...document.querySelectorAll("a.at")].filter(
            a => a.hash !== "#L" + a.dataset.line).length,
        targets: [...new Set([...document.querySelectorAll("a.at")].map(a => a.href.split("#")[0]))],
    };
})()
"""
# What makes a page wider than its screen: what sticks out of it without a way to move it there.
WIDER = r"""
(() => {
    const page = document.documentElement, width = page.clientWidth;
    if (page.scrollWidth <= width && document.body.scrollWidth <= width) return "";
    const out = [...document.querySelectorAll(".md-container *")].filter(
        e => e.getBoundingClientRect().right > width + 1);
    const last = out.filter(e => !out.some(o => o !== e && e.contains(o)));
    return page.scrollWidth + " pixels: " + last.slice(0, 3).map(
        e => e.tagName + "." + e.className + " " + e.textContent.slice(0, 40)).join("; ");
})()
"""
# Boxes of what stands side by side: Go and C of each row.
SIDES = r"""
[...document.querySelectorAll(".sides div.go")].map(go => [go, go.nextElementSibling]).filter(
    ([go, c]) => go.firstChild && c.firstChild).map(([go, c]) => {
        const a = go.getBoundingClientRect(), b = c.getBoundingClientRect();
        return [a.left, a.top, a.right, a.bottom, b.left, b.top];
    })
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_):
        pass


def serve(folder):
    """A server for the folder; returns its address."""
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def pages_of(folder):
    """The pages of the site, as sorted paths below its folder."""
    found = []
    for where, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(where, n), folder) for n in names if n.endswith(".html")]
    return sorted(found)


def is_lesson(page):
    return re.match(r"docs/course/\d\d-", page) is not None


class Walk:
    """What has been seen so far."""

    def __init__(self, folder, shots, address):
        self.folder, self.shots, self.address = folder, shots, address
        self.pages = pages_of(folder)
        self.looks = {}  # page -> what LOOK says
        self.complaints = []

    def complain(self, page, words):
        self.complaints.append(f"{page}: {words}")

    def look(self, tab, page):
        """One page, at both widths."""
        tab.resize(WIDE)
        tab.load(self.address + urllib.parse.quote(page))
        look = self.looks[page] = tab.evaluate(LOOK)
        for picture in look["blind"]:
            self.complain(page, f"a picture is not shown: {picture}")
        for words in look["text"]:
            self.complain(page, f"Markdown is left in the text: {words}")
        if look["crooked"]:
            self.complain(page, f"{look['crooked']} blocks whose numbers are not beside their lines")
        if look["numbers"]:
            self.complain(page, f"{look['numbers']} numbers of lines lead elsewhere")
        self.measure(tab, page, WIDE)
        tab.resize(NARROW)
        self.measure(tab, page, NARROW)
        for words in tab.take_errors():
            self.complain(page, words)

    def measure(self, tab, page, width):
        """The page at that width."""
        if wider := tab.evaluate(WIDER):
            self.complain(page, f"at {width} it is wider than its screen: {wider}")
        if not SHOWN.match(page):
            return
        sides = tab.evaluate(SIDES)
        if page.endswith("side-by-side.html") and not sides:
            self.complain(page, "nothing stands side by side")
        for left, top, right, bottom, c_left, c_top in sides:
            beside = abs(c_top - top) < 2 and c_left >= right
            below = abs(c_left - left) < 2 and c_top >= bottom
            if not (beside if width == WIDE else below):
                self.complain(page, f"at {width} C is not {'beside' if width == WIDE else 'below'} Go")
                break
        self.shoot(tab, page, str(width))

    def shoot(self, tab, page, suffix):
        """A picture of the page."""
        name = page.removesuffix(".html").removeprefix("docs/").replace("/", "-")
        with open(os.path.join(self.shots, f"{name}-{suffix}.png"), "wb") as file:
            file.write(base64.b64decode(tab.picture(TALLEST)))

    def walk(self, browser):
        """All pages, with several tabs."""
        left = iter(self.pages)
        lock = threading.Lock()

        def work():
            tab = browser.tab()
            while True:
                with lock:
                    page = next(left, None)
                if page is None:
                    return
                try:
                    self.look(tab, page)
                except chromium.Failure as failure:
                    self.complain(page, failure)

        with concurrent.futures.ThreadPoolExecutor(TABS) as pool:
            for done in [pool.submit(work) for _ in range(TABS)]:
                done.result()

    def follow_links(self):
        """Each link of each page; returns how many there are, and how many lead to other hosts."""
        ids = {page: set(look["ids"]) for page, look in self.looks.items()}
        inside, outside = 0, set()
        for page, look in sorted(self.looks.items()):
            for link in sorted(set(look["links"] + look["targets"])):
                if not link.startswith(self.address):
                    outside.add(link)
                    if not re.match(r"https?://[\w.-]+(/|$)", link):
                        self.complain(page, f"a strange link: {link}")
                    continue
                inside += 1
                path, _, anchor = link.removeprefix(self.address).partition("#")
                path = urllib.parse.unquote(path.partition("?")[0])
                path = os.path.normpath(path + "index.html" if path.endswith("/") or not path else path)
                if not os.path.isfile(os.path.join(self.folder, path)):
                    self.complain(page, f"a dead link: {link}")
                elif anchor and urllib.parse.unquote(anchor) not in ids.get(path, ()):
                    self.complain(page, f"no such place: {link}")
        return inside, len(outside)

    def try_search(self, tab, words, wanted, anchor=""):
        """Types words into the search, and clicks on the page that they must find."""
        tab.load(self.address + "index.html")
        tab.evaluate('document.querySelector("[data-md-component=search-query]").focus()')
        tab.call("Input.insertText", text=words)
        try:
            result = '.md-search-result__item a[href]'
            tab.wait_until(f"!!document.querySelector('{result}')")
            found = tab.evaluate(
                f"[...document.querySelectorAll('{result}')].map(a => a.href)")
        except chromium.Failure:
            found = []
        found = [link.removeprefix(self.address) for link in found[:5]]
        hits = [n for n, link in enumerate(found) if link.startswith(wanted) and anchor in link]
        if not hits:
            self.complain("search", f"{words}: {wanted} is not among the first: {found}")
            return
        tab.evaluate(f"setTimeout(() => document.querySelectorAll('{result}')[{hits[0]}].click())")
        tab.wait_until(f"location.pathname === '/{wanted}'")

    def try_palette(self, tab):
        """Makes the page dark and light again, with a click each."""
        tab.resize(WIDE)
        tab.load(self.address + "index.html")
        scheme = "document.body.getAttribute('data-md-color-scheme')"
        click = "document.querySelector('.md-header__option label:not([hidden])').click()"
        for wanted in ("slate", "default"):
            tab.evaluate(click)
            tab.wait_until(f"{scheme} === '{wanted}'")
            if wanted == "slate":
                for page in ["index.html"] + [p for p in self.pages if is_lesson(p)][:2]:
                    tab.load(self.address + page)
                    tab.wait_until(f"{scheme} === '{wanted}'")
                    self.shoot(tab, page, f"{WIDE}-dark")
                tab.load(self.address + "index.html")

    def try_what_moves(self, browser):
        """The search and the palette."""
        tab = browser.tab()
        tab.resize(WIDE)
        lesson = next((p for p in self.pages if is_lesson(p)), None)
        if lesson:
            with open(os.path.join(self.folder, lesson), encoding="utf-8") as file:
                title = re.search(r"<h1[^>]*>(.*?)<a", file.read(), re.S)[1]
            self.try_search(tab, re.sub(r"<[^>]*>|^[\d. ]+", "", html.unescape(title)), lesson)
        self.try_search(tab, "chan_select", "common/select.c.html", "#L")
        self.try_palette(tab)
        for words in tab.take_errors():
            self.complain("search and palette", words)


def main():
    folder, shots = sys.argv[1:3]
    began = time.monotonic()
    os.makedirs(shots, exist_ok=True)
    for old in os.listdir(shots):
        os.remove(os.path.join(shots, old))
    walk = Walk(folder, shots, serve(folder))
    with chromium.Chromium() as browser:
        walk.walk(browser)
        try:
            walk.try_what_moves(browser)
        except chromium.Failure as failure:
            walk.complain("search and palette", failure)
    inside, outside = walk.follow_links()
    for line in sorted(set(walk.complaints)):
        print(f"site: {line}", file=sys.stderr)
    print(f"site: {len(walk.pages)} pages at {WIDE} and {NARROW} pixels, {inside} links, {outside} to other "
          f"hosts (not followed), {len(os.listdir(shots))} pictures in {shots}, "
          f"{time.monotonic() - began:.0f} s")
    sys.exit(1 if walk.complaints or not walk.pages else 0)


if __name__ == "__main__":
    main()
