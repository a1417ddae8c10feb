"""The hooks of the site's generator, MkDocs: which pages there are, and what each shows.

  - the pages, as they lie in docs/ and test/; README.md is the first one
  - a page for each source, with numbers of lines; and sources.md, the list of them
  - for each lesson its programs in Go and in C side by side
  - in a lesson, code that is cut from a program has the numbers that it has there; a place that a
    tool names, such as lesson.c:12, is a link
"""
import html
import json
import os
import posixpath
import re
import sys

from mkdocs.structure.files import File

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beside
import links
import listing

import course  # of test/docs, where links.py has led

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
COURSE = "docs/course"
PLACE = re.compile(r"\b((?:test|common|nsqd|protocol)/[\w./-]+\.(?:c|h|go)):(\d+)")
PRE = re.compile(r"<pre>.*?</pre>", re.S)
SLOT = re.compile(r'<div class="slot" data-slot="(\d+)"></div>')
READERS = re.compile(r"^\| (operators|contributors|students) \| (.*) \|$", re.M)
WIDE = "---\ntitle: {title}\nhide: [navigation, toc]\n---\n\n"

repository = None
slots = {}  # page -> blocks of HTML that take the place of the slots in it


def slot(page, block):
    """A mark in the text of a page, in whose place the block comes when that has become HTML."""
    blocks = slots.setdefault(page, [])
    blocks.append(block)
    return f'<div class="slot" data-slot="{len(blocks) - 1}"></div>'


def url(page, path):
    """From one page of the site to another; both as paths of their Markdown."""
    to, start = [re.sub(r"(?:\bREADME)?\.md$", lambda m: ("index" if "README" in m[0] else "") + ".html", p)
                 for p in (path, page)]
    return posixpath.relpath(to, posixpath.dirname(start) or ".")


def slug(heading, _):
    """The anchor of a heading, as the check of the pages has it (test/docs/pages.py)."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def title_of(page):
    return re.search(r"^# (.*)$", repository.text(page), re.M)[1].replace("`", "")


def beside_page(lesson):
    return f"{COURSE}/{lesson}/side-by-side.md"


# Which pages there are


def on_config(config):
    global repository
    repository = links.Repository(ROOT)
    slots.clear()
    config.mdx_configs["toc"]["slugify"] = slug
    config.nav = navigation()
    config.watch = []
    return config


def navigation():
    """The pages in their order: the course, then the others by their readers, as the README has it."""
    pages = [p for p in repository.pages if p != "README.md" and not p.startswith(COURSE + "/")]
    lessons = [p for p in repository.pages if p.startswith(COURSE + "/")]
    nav = [{"Home": "README.md"}]
    if lessons:
        first = f"{COURSE}/README.md"
        nav.append({"Course": [p for p in [first] if p in lessons] + [p for p in lessons if p != first]})
    docs = []
    for reader, row in READERS.findall(repository.text("README.md")):
        known = [p for p in dict.fromkeys(re.findall(r"\]\((docs/[\w-]+\.md)\)", row)) if p in pages]
        pages = [p for p in pages if p not in known]
        docs.append({f"For {reader}": known})
    more = [p if p.startswith("docs/") else {p.split("/")[1]: p} for p in pages]
    nav.append({"Documentation": docs + ([{"More": more}] if more else [])})
    return nav + [{"Sources": links.SOURCES_PAGE}]


def on_files(files, config):
    def add(path, content):
        files.append(File.generated(config, path, content=content))

    for path in repository.pages:
        files.append(File(path, ROOT, config.site_dir, config.use_directory_urls))
    for path in links.tree.sources(ROOT, ["docs"], (".svg", ".png")):
        files.append(File(path, ROOT, config.site_dir, config.use_directory_urls))
    for path in sorted(repository.sources):
        add(path + ".md", source_page(path))
    add(links.SOURCES_PAGE, sources_page())
    for lesson in beside.lessons(ROOT):
        if beside.programs(ROOT, lesson) and f"{COURSE}/{lesson}.md" in repository.pages:
            add(beside_page(lesson), page_side_by_side(lesson))
    return files


# The pages that are made


def summary(path):
    """The first sentence of the comment with which a source begins."""
    text = repository.text(path)
    if path.endswith((".c", ".h")):
        text = re.sub(r"^\s*(?:/\*|\*)?[ \t]*", "", course.head_of(text), flags=re.M)
    elif path.endswith(".py"):
        text = text.partition('"""')[2].partition('"""')[0]
    else:
        lines = re.findall(r"^(?:#|//) ?(?!!)(.*)$", text, re.M)
        text = "\n".join(lines)
    found = re.match(r"(.*?[.:])(?:\s|$)", " ".join(text.split()))
    if not found:
        return ""
    return re.sub(r"(`[^`]*`)|([_*`<\[|\\])", lambda mark: mark[1] or "\\" + mark[2], found[1].rstrip(":"))


def anchor_of(folder):
    return slug(folder, "-")


def sources_page():
    """The list of the sources, by folders."""
    out = ["---\nhide: [navigation]\n---\n\n# Sources\n", "Each source has a page, with numbers of lines.\n"]
    folders = {}
    for path in repository.sources:
        folders.setdefault(posixpath.dirname(path), []).append(path)
    order = {name: n for n, name in enumerate(("nsqd", "protocol", "common", "test"))}
    for folder in sorted(folders, key=lambda f: (order.get(f.split("/")[0], len(order)), f)):
        out.append(f"\n## {folder or 'At the top'}\n\n| file | what |\n|---|---|")
        out += [f"| [`{posixpath.basename(path)}`]({path}.md) | {summary(path)} |"
                for path in sorted(folders[folder])]
    return "\n".join(out) + "\n"


def source_page(path):
    """A source: where it lies, its lessons, the names that it defines, and all of it."""
    page, text = path + ".md", repository.text(path)
    folder, name = posixpath.split(path)
    out = [WIDE.format(title=name) + f"# `{name}`\n"]
    back = posixpath.relpath(links.SOURCES_PAGE, folder or ".")
    out.append(f"In [{folder or 'the top folder'}]({back}#{anchor_of(folder or 'At the top')})")
    lessons = [f"{COURSE}/{lesson}.md" for lesson in course.named_in(course.head_of(text))]
    lessons += [f"{COURSE}/{folder.split('/')[-1]}.md"] if folder.startswith(links.PROGRAMS + "/") else []
    lessons = [lesson for lesson in lessons if lesson in repository.pages]
    if lessons:
        out[-1] += ". In the course: " + ", ".join(
            f"[{title_of(lesson)}]({repository.link(page, lesson)})" for lesson in lessons)
    out[-1] += "."
    names = links.definitions(path, text)
    if names:
        out.append("\nDefines " + ", ".join(f"[`{n}`](#L{line})" for n, line, _ in names) + ".\n"
                   "{ .defines }")
    lines = listing.highlighted(path, text)
    lines = listing.with_includes(
        lines, lambda header: url(page, header + ".md") if header in repository.sources else None)
    out.append("\n" + slot(page, listing.listing(lines, range(1, len(lines) + 1), named=True)))
    return "\n".join(out) + "\n"


def page_side_by_side(lesson):
    """The programs of a lesson, those in Go beside those in C."""
    page = beside_page(lesson)
    title = title_of(f"{COURSE}/{lesson}.md")
    out = [WIDE.format(title=f'"{title}: Go and C"') + f"# {title}: Go and C side by side\n",
           f"Back to [the lesson](../{lesson}.md). Functions and types of one name stand beside each "
           "other.\n"]
    for program in beside.programs(ROOT, lesson):
        paths = [f"{links.PROGRAMS}/{lesson}/{program}{ending}" for ending in (".go", ".c")]
        texts = [repository.text(path) for path in paths]
        shown = [listing.highlighted(path, text) for path, text in zip(paths, texts)]
        cells = "".join(f'<p class="side"><a href="{url(page, path + ".md")}">{program}'
                        f"{os.path.splitext(path)[1]}</a></p>" for path in paths)
        for row in beside.rows(*[beside.pieces(path, text) for path, text in zip(paths, texts)]):
            for path, lines, part in zip(paths, shown, row):
                while part and not part[-1][1]:
                    part = part[:-1]
                numbers = [number for number, _ in part]
                code = [lines[number - 1] for number in numbers]
                block = listing.listing(code, numbers, url(page, path + ".md")) if part else ""
                side = "go" if path.endswith(".go") else "c"
                cells += f'<div class="side {side}">{block}</div>'
        out.append(f"## {program}\n\n" + slot(page, f'<div class="sides">{cells}</div>') + "\n")
    return "\n".join(out)


# What the pages show


def on_page_markdown(markdown, page, config, files):
    path = page.file.src_uri
    if path not in repository.pages:
        return markdown
    if path == "README.md":
        page.meta["hide"] = ["navigation"]
    text = repository.rewritten(path)
    lesson = posixpath.basename(path)[:-3]
    if posixpath.dirname(path) == COURSE:
        text = course.CUT.sub(lambda block: cut(path, lesson, block), text)
    return text


def cut(page, lesson, block):
    """Code that was cut from a program, with the numbers that its lines have there."""
    name = block[1].split()[0].strip("\"'")
    path = name[1:] if name.startswith("/") else f"{links.PROGRAMS}/{lesson}/{name}"
    if path not in repository.sources:
        return block[0]
    lines = block[3].removesuffix("\n").split("\n")
    numbers = listing.numbers_of(lines, repository.text(path).split("\n"))
    to = url(page, path + ".md")
    shown = listing.listing(listing.highlighted(path, block[3]), numbers, to)
    head = f'<a href="{to}">{html.escape(name.lstrip("/"))}</a>'
    program, ending = os.path.splitext(name)
    other = {".c": "Go", ".go": "C"}.get(ending)
    if other and program in beside.programs(ROOT, lesson):
        both = url(page, beside_page(lesson))
        head += f' · <a href="{both}#{slug(program, "-")}">side by side with {other}</a>'
    return slot(page, f'<p class="from">{head}</p>{shown}') + "\n"


def on_page_content(content, page, config, files):
    path = page.file.src_uri

    def placed(match):
        if match[1] not in repository.sources:
            return match[0]
        return f'<a href="{url(path, match[1] + ".md")}#L{match[2]}">{match[0]}</a>'

    content = PRE.sub(lambda block: PLACE.sub(placed, block[0]), content)
    if path.endswith(".md") and path[:-3] in repository.sources:
        lines = repository.text(path[:-3]).count("\n") + 1
        page.present_anchor_ids |= {f"L{number}" for number in range(1, lines + 1)}
        return content  # on_post_page fills the slot: the search shall find names, not all the code
    return filled(path, content)


def filled(path, content):
    return SLOT.sub(lambda match: slots[path][int(match[1])], content)


def on_post_page(output, page, config):
    return filled(page.file.src_uri, output)


def on_post_build(config):
    """The search also finds each function and type of the daemon, at its line."""
    index = os.path.join(config.site_dir, "search", "search_index.json")
    with open(index, encoding="utf-8") as file:
        search = json.load(file)
    search["docs"] += [
        {"location": f"{path}.html#L{line}", "title": name, "text": f"{kind} in {path}"}
        for path in sorted(repository.sources) if path.startswith(links.C_FOLDERS)
        for name, line, kind in links.definitions(path, repository.text(path))
        if kind == "type" or kind == "function" and is_definition(path, line)]
    with open(index, "w", encoding="utf-8") as file:
        json.dump(search, file, separators=(",", ":"))


def is_definition(path, line):
    """Whether a function has its body there, and is not merely declared."""
    rest = "\n".join(repository.text(path).split("\n")[line - 1:line + 10])
    return re.match(r"[^;{]*\{", rest) is not None
