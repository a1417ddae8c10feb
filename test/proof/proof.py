#!/usr/bin/env python3
"""Runs the parts of `make proof` one after another, and says at the end what they did.

    proof.py DIRECTORY PART...

Each part is the target proof-PART of the Makefile. What it prints goes to DIRECTORY/PART.log, and to
the terminal. The environment variable PROOF_FILE names DIRECTORY/PART.txt, to which the part appends
lines: what it did, how often, in which unit, with tabs between them.

A part fails if its target fails, or if a line is none of these. It fails as well if a unit that
belongs to it (UNITS) is missing or zero. So a part that does nothing does not pass. The others are run all the same.

Ctrl-C, or another signal that ends it, ends the part that runs. The others are left out, and the
summary says what has been done. What the parts of an earlier run have left in DIRECTORY stays there,
unless they are run again.
"""
import collections
import os
import re
import signal
import subprocess
import sys
import time

# What each part must have done.
UNITS = {
    "tests": ["tests"],
    "functional-durable": ["tests"],
    "interop-durable": ["tests"],
    "coverage": ["lines"],
    "perturb": ["tests"],
    "model": ["states", "walks", "mutations", "orders"],
    "fuzz": ["executions", "edges"],
    "soak": ["messages"],
    "soak-thread": ["messages"],
    "soak-address": ["messages"],
    "soak-durable": ["messages"],
    "soak-durable-thread": ["messages"],
    "soak-faults": ["faults"],
    "below-durable": ["faults"],
    "below": ["faults"],
}
PASSED = re.compile(r"^ok   test_\w+ \((\d+) tests\)|^(?:interop: )?(\d+) passed\b")


class Part:
    def __init__(self, name):
        self.name, self.seconds, self.figures, self.complaints = name, 0, [], []


def tests_in(log):
    """How many tests of C and of Python have passed, by what their runners print."""
    with open(log, encoding="utf-8", errors="replace") as lines:
        found = (PASSED.match(line) for line in lines)
        return sum(int(m[1] or m[2]) for m in found if m)


def figures_in(path):
    """The lines of a part's file as (name, value, unit); ValueError says which line is none."""
    figures = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if len(fields) != 3 or not re.fullmatch(r"\d+(\.\d+)?", fields[1]) or not fields[2]:
                    raise ValueError(f"not name, value and unit: {line!r}")
                figures.append((fields[0], float(fields[1]), fields[2]))
    return figures


def totals(figures):
    """The sum for each unit, in the order in which the units come."""
    sums = collections.OrderedDict()
    for _, value, unit in figures:
        sums[unit] = sums.get(unit, 0) + value
    return sums


class Runner:
    """Runs one command after another, each in a process group of its own, until a signal comes."""

    def __init__(self):
        self.process = self.stopped_by = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.stop)

    def stop(self, number, _frame):
        """The command gets the signal, too. What it still says is awaited."""
        self.stopped_by = number
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def say(self, command, log, environment):
        """What it says goes to the log and to the terminal. Returns its exit code."""
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment,
                              start_new_session=True) as self.process:
            if self.stopped_by:  # meanwhile
                self.stop(self.stopped_by, None)
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
        return self.process.returncode


def remove_old(base):
    """What an earlier run of the part has left. Its figures would be added to the new ones."""
    for suffix in (".txt", ".log"):
        if os.path.lexists(base + suffix):
            os.remove(base + suffix)


def run(name, directory, runner):
    part, base = Part(name), os.path.join(directory, name)
    remove_old(base)
    # With CI, what cannot be tested here is a failure: it has not been proved.
    environment = dict(os.environ, CI="true", PROOF_FILE=os.path.abspath(base + ".txt"))
    began = time.monotonic()
    make = os.environ.get("MAKE", "make").split()
    with open(base + ".log", "wb") as log:
        jobs = f"-j{os.cpu_count()}"
        code = runner.say(make + ["--no-print-directory", jobs, "proof-" + name], log, environment)
    part.seconds = time.monotonic() - began
    if runner.stopped_by:
        part.complaints.append("stopped")
    elif code != 0:
        part.complaints.append(f"exit {code}")
    try:
        part.figures = figures_in(base + ".txt")
    except ValueError as error:
        part.complaints.append(str(error))
    if "tests" in UNITS[name]:
        part.figures.append((name, tests_in(base + ".log"), "tests"))
    part.complaints += [f"has no {unit}" for unit in UNITS[name] if not totals(part.figures).get(unit)]
    return part


def number(value):
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def summary(parts):
    """What the parts did, as lines."""
    lines = ["", f"{'part':<14} {'result':<8} {'minutes':>8}  what it did"]
    for part in parts:
        did = ", ".join(f"{number(n)} {unit}" for unit, n in totals(part.figures).items())
        lines.append(f"{part.name:<14} {'FAILED' if part.complaints else 'ok':<8} "
                     f"{part.seconds / 60:>8.1f}  {'; '.join([did] * bool(did) + part.complaints)}")
    everything = totals([figure for part in parts for figure in part.figures])
    lines += ["", "proof: " + ", ".join(f"{number(n)} {unit}" for unit, n in everything.items())
              + f" in {number(sum(part.seconds for part in parts) // 60)} minutes"]
    return lines


def main():
    directory, names = sys.argv[1], sys.argv[2:]
    unknown = [name for name in names if name not in UNITS]
    if unknown or not names:
        sys.exit(f"proof: there is no part {', '.join(unknown)}; there are: {' '.join(UNITS)}")
    os.makedirs(directory, exist_ok=True)
    runner, parts = Runner(), []
    for name in names:
        if not runner.stopped_by:
            parts.append(run(name, directory, runner))
    lines = summary(parts)
    with open(os.path.join(directory, "summary"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines[1:]) + "\n")
    print("\n".join(lines))
    done = [part.name for part in parts]
    left_out = [name for name in UNITS if name not in done]
    if left_out:
        print("left out: " + " ".join(left_out))
    if runner.stopped_by:
        sys.exit(128 + runner.stopped_by)
    sys.exit(1 if any(part.complaints for part in parts) else 0)


if __name__ == "__main__":
    main()
