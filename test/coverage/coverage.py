#!/usr/bin/env python3
"""Which lines of the daemon's sources the tests have run: a table by file, and the functions that
none of them calls.

    coverage.py OBJECTS     the directory of the objects of a build with SANITIZE=coverage

"Coverage" in docs/testing.md lists the files that are below LEAST, each with a reason. Fails if one
that is below is missing there. Fails as well if one that stands there is above by more than MARGIN,
or is no more.
"""
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys

LEAST = 90.0  # per cent of the lines of a file
MARGIN = 1.5  # a listed file may be as much above: a line or two are run by luck
PAGE = "docs/testing.md"
OURS = ("common/", "protocol/", "nsqd/")
LISTED = re.compile(r"^\| `((?:common|protocol|nsqd)/[\w/.]+)` \| (\S.*) \|$", re.M)


class File:
    def __init__(self):
        self.lines = collections.Counter()
        self.functions = collections.Counter()

    def covered(self):
        return sum(1 for count in self.lines.values() if count)

    def percent(self):
        return 100.0 * self.covered() / len(self.lines)


def notes(directory):
    """The files that the compiler wrote, one for each object of the daemon.

    Those of a source that has been removed, or has another name now, count no more."""
    for top in OURS:
        for folder, _, files in os.walk(os.path.join(directory, top)):
            for note in (os.path.join(folder, name) for name in files if name.endswith(".gcno")):
                source = os.path.relpath(note, directory).removesuffix(".gcno") + ".c"
                if os.path.exists(source):
                    yield note


def gcov(note):
    """What gcov says about one object: the files that it is made of."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", note], check=False,
                          capture_output=True)
    if done.returncode:  # otherwise it only says which objects nobody has run
        sys.exit(f"coverage: gcov {note}: {done.stderr.decode()}")
    return [file for line in done.stdout.splitlines() for file in json.loads(line)["files"]]


def merge(reports):
    """The files by name. A header's lines are the sum of what all that include it have run."""
    files = collections.defaultdict(File)
    for report in reports:
        for part in report:
            if not part["file"].startswith(OURS):
                continue
            file = files[part["file"]]
            for line in part["lines"]:
                file.lines[line["line_number"]] += line["count"]
            for function in part["functions"]:
                file.functions[function["name"]] += function["execution_count"]
    return {name: file for name, file in files.items() if file.lines}


def table(files):
    """Lines of text, the file that is run least first."""
    out = [f"{'file':<44} {'lines':>6} {'run':>6} {'%':>6}"]
    for name, file in sorted(files.items(), key=lambda item: (item[1].percent(), item[0])):
        out.append(f"{name:<44} {len(file.lines):>6} {file.covered():>6} {file.percent():>6.1f}")
    lines, run = (sum(n) for n in zip(*((len(f.lines), f.covered()) for f in files.values())))
    out.append(f"{'all':<44} {lines:>6} {run:>6} {100.0 * run / lines:>6.1f}")
    return out


def uncalled(files):
    """Each function that was not called, as file and name."""
    return [f"{name}: {function}" for name, file in sorted(files.items())
            for function, count in sorted(file.functions.items()) if not count]


def complaints(files, page):
    """Where the page and the figures differ, as lines."""
    listed = dict(LISTED.findall(page))
    for name, file in sorted(files.items()):
        if file.percent() < LEAST and name not in listed:
            yield f"{name}: {file.percent():.1f} % of its lines are run, and {PAGE} gives no reason"
        elif file.percent() >= LEAST + MARGIN and name in listed:
            yield f"{name}: {file.percent():.1f} % of its lines are run: take it out of {PAGE}"
    yield from (f"{name}: {PAGE} lists it, and there is no such file" for name in listed
                if name not in files)


def figures(files):
    """What `make proof` adds up."""
    if os.environ.get("PROOF_FILE"):
        with open(os.environ["PROOF_FILE"], "a", encoding="utf-8") as file:
            file.write(f"run\t{sum(f.covered() for f in files.values())}\tlines\n")


def main():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        files = merge(pool.map(gcov, sorted(notes(sys.argv[1]))))
    if not files:
        sys.exit(f"coverage: nothing is built in {sys.argv[1]}")
    print("\n".join(table(files)))
    print("\nfunctions that no test calls:")
    print("\n".join(uncalled(files)) or "none")
    with open(PAGE, encoding="utf-8") as file:
        wrong = list(complaints(files, file.read()))
    print()
    print("\n".join(wrong) or "coverage: ok")
    figures(files)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
