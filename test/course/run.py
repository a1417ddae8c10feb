#!/usr/bin/env python3
"""Runs the programs of the course, and holds against them what its pages say.

    run.py [--lesson N]      all lessons, or one, with what its tools print
    run.py --targets BUILD   what make has to build for that: the programs of this build
    run.py --paste           writes what the tools say into the pages
    run.py --mine PROGRAM.c  your own program, in each build

What has been built is below build/, as make puts it there. The environment says which compiler it
was, so that its directory is known: CLANG=1.
"""
import argparse
import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import lessons
import said

LIMIT = 120  # seconds, for a program that should take one: the machine may be busy
BUILD_DIRECTORY = "build/clang" if os.environ.get("CLANG") else "build"
SETTINGS = {
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66:second_deadlock_stack=1:handle_abort=1",
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:exitcode=66:handle_abort=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "LC_ALL": "C",
}


class Fault(Exception):
    """What a program did and should not have done."""


def binary(lesson, source, build):
    """The path of a program in this build. A program in Go is the same in each."""
    stem = f"{lesson.folder}/{source}"
    if source.endswith(".go"):
        return f"build/{stem[:-3]}.go"
    variant = "" if build == "plain" else f"/{build}"
    return f"{BUILD_DIRECTORY}{variant}/{stem[:-2]}"


def targets(all_lessons, build):
    """What make has to build in this build."""
    wanted = []
    for lesson in all_lessons:
        if build == "plain":
            wanted += [binary(lesson, go, build) for go in lesson.in_go()]
        if build in ("plain", "thread", "address"):
            wanted += [binary(lesson, source, build) for source in lesson.sound()]
        wanted += [binary(lesson, t.source, build) for t in lesson.twins if t.build == build]
    return sorted(set(wanted))


def run(command, limit=LIMIT):
    """Runs it; returns its status, what it printed, and what it reported on standard error."""
    environment = {**os.environ, **SETTINGS}
    with tempfile.TemporaryDirectory() as scratch:
        with subprocess.Popen([os.path.abspath(command[0]), *command[1:]], cwd=scratch,
                              env=environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              start_new_session=True) as process:
            try:
                printed, reported = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                kill_all(process)
                printed, reported = process.communicate()
                raise Fault(f"{command[0]} has not ended after {limit} s\n{printed}{reported}") \
                    from None
    return process.returncode, printed, reported


def run_sound(lesson, source, build):
    """A program that is right; returns what it printed."""
    status, printed, reported = run([binary(lesson, source, build)])
    if status != 0 or reported:
        raise Fault(f"{source}, build {build}: status {status}\n{reported}")
    return printed


def check_sound(lesson, source, wanted, origin):
    """The program prints what is wanted, one in C in each build; and that comes from `origin`."""
    for build in ("plain",) if source.endswith(".go") else ("plain", "thread", "address"):
        printed = run_sound(lesson, source, build)
        if printed != wanted:
            raise Fault(f"{source}, build {build}, and {origin} do not say the same:\n"
                        f"--- {origin}\n{wanted}--- {source}\n{printed}")


def children(pid):
    """The processes that this one has started."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += [int(word) for word in file.read().split()]
    return found


def naps(pid):
    """How often each thread has gone to sleep or was interrupted; None: one of them is awake."""
    counts = {}
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
                text = file.read()
            # (One that is kept for the next function ends soon.)
            if not re.search(r"^State:\s+S", text, re.M) or text.startswith("Name:\tkept\n"):
                return None
            counts[task] = re.findall(r"ctxt_switches:\s+(\d+)", text)
    except OSError:
        raise Fault("it does not hang: it has ended") from None
    return counts


def wait_hanging(pid, limit=LIMIT):
    """Until all threads sleep, and none wakes for half a second: with no timer none ever will."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = naps(pid)
        time.sleep(0.5)
        if before and naps(pid) == before:
            return
    raise Fault(f"it does not hang: after {limit} s some thread still runs")


def inferior(debugger, program):
    """The process in which the debugger runs the program."""
    deadline = time.monotonic() + LIMIT
    while debugger.poll() is None and time.monotonic() < deadline:
        for pid in children(debugger.pid):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{pid}/exe", program):
                    return pid
        time.sleep(0.02)
    raise Fault("the debugger has not started it")


def watched(pid):
    """What the process watches by epoll, as the kernel shows it; a line for each descriptor."""
    text = ""
    for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[eventpoll]":
                with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                    text += "".join(line for line in file if line.startswith("tfd:"))
    return text


def stacks_of(program):
    """Runs a program that hangs, in the debugger; returns where its threads are.

    What it watches by epoll follows: a stack does not say for what a thread waits there.
    """
    command = ["gdb", "-q", "-nx", "-batch"]
    for said_to_it in ("set pagination off", "set print thread-events off",
                       "set debuginfod enabled off", "set startup-with-shell off", "run",
                       "thread apply all backtrace"):
        command += ["-ex", said_to_it]
    with subprocess.Popen(command + [os.path.abspath(program)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **SETTINGS}, start_new_session=True) as debugger:
        try:
            pid = inferior(debugger, program)
            wait_hanging(pid)
            epolls = watched(pid)
            os.kill(pid, signal.SIGINT)
            return debugger.communicate(timeout=LIMIT)[0] + epolls
        except (Fault, OSError, subprocess.TimeoutExpired) as fault:
            kill_all(debugger)
            raise Fault(f"{os.path.basename(program)}: {fault}\n"
                        f"{debugger.communicate()[0]}") from None


def kill_all(process):
    """It, and what it has started, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def functions_at(program, addresses):
    """For each address the function that it is in; not one that the compiler has put into that."""
    text = subprocess.run(["addr2line", "-a", "-f", "-i", "-e", program, *addresses], check=True,
                          text=True, stdout=subprocess.PIPE).stdout
    # An address, and then the name and the line of each function, from the innermost on.
    return {hex(int(part.split("\n")[0], 16)): part.split("\n")[-3]
            for part in re.split(r"^(?=0x)", text, flags=re.M)[1:]}


def schedule_of(program, trace, each_access):
    """The checker's trace, with a line for each stay of a thread in a function, or for each access.

    The checker prints a line for each access to memory: its number, the thread, what it does, where.
    """
    steps = re.findall(r"^ *\d+ (.*?)  +(\S+) +\S+ at (\S+)(?: \((.*)\))?$", trace, re.M)
    functions = functions_at(program, sorted({a for _, _, a, _ in steps if a != "(nil)"}))
    lines = []
    for thread, what, address, remark in steps:
        words = what if what in ("begins", "sleeps") else functions[address]
        if each_access and what != words:
            words += ": " + what + (f", {remark}" if remark else "")
        line = f"{thread:12} {words}"
        if lines[-1:] != [line]:
            lines.append(line)
    return "".join(line + "\n" for line in lines)


def run_model(program):
    """The checker, with the threads of the twin; returns how it makes them fail.

    First it looks for an order of the threads' steps. If it has tried all, and none is wrong, it
    takes random walks in the memory of C11, in which a load may read an old store.
    """
    before = ""
    status, printed, reported = run([program, "lesson", "trace=1"])
    walks = status == 0 and ": ok: " in printed
    if walks:
        before = printed
        status, printed, reported = run([program, "lesson", "walk=10000", "trace=1"])
    if status != 1:
        raise Fault(f"{program}: the model checker finds nothing: status {status}\n"
                    f"{before}{printed}{reported}")
    return before + printed.split("\n", 1)[0] + "\n" + schedule_of(program, printed, walks)


def run_twin(lesson, twin):
    """A broken program; returns what it and its tool have printed."""
    program = binary(lesson, twin.source, twin.build)
    if twin.how == "hangs":
        return stacks_of(program)
    if twin.build == "model":
        return run_model(program)
    status, printed, reported = run([program])
    # A sanitizer that is told of an abort() says where it was, and ends with a status of its own.
    aborted = status == -signal.SIGABRT or (status > 0 and "Sanitizer: ABRT on" in reported)
    right = {"reported": status > 0, "aborts": aborted, "ends": status == 0}
    if not right[twin.how]:
        raise Fault(f"{twin.source}, build {twin.build}, has not been caught: status {status}, "
                    f"not \"{lessons.ENDS[twin.how]}\"\n{printed}{reported}")
    return printed + reported


def check_twin(lesson, twin):
    """It is caught, for the fault that it has, and in the words of the page."""
    output = run_twin(lesson, twin)
    wanted = [lesson.resolved(words) for words in twin.says]
    if not wanted:
        raise Fault(f"{twin.source}: lesson.txt does not say what its tool says")
    missing = said.first_missing(wanted, output)
    if missing:
        raise Fault(f"{twin.source}, build {twin.build}: its tool does not say, or not there:\n"
                    f"    {missing}\n--- what it said\n{output}")
    missing = said.missing_of_page(lesson, twin, output)
    if missing:
        raise Fault(f"{lesson.page}: {twin.source}, build {twin.build}, does not print:\n"
                    f"    {missing}\n--- what it printed\n{output}\n(`make course-paste` writes it)")
    return output


def check(lesson):
    """All of a lesson; returns what the tools said of each twin."""
    for go, source in lesson.pairs:
        check_sound(lesson, source, run_sound(lesson, go, "plain"), go)
    for source, lines in lesson.alone:
        if not lines:
            raise Fault(f"{source}: lesson.txt does not say what it prints")
        check_sound(lesson, source, "".join(line + "\n" for line in lines), "lesson.txt")
    return [(twin, check_twin(lesson, twin)) for twin in lesson.twins]


def report(lesson, outputs, verbose):
    """A line about a lesson, or what its tools have printed."""
    if verbose:
        for twin, output in outputs:
            print(f"--- {lesson.folder}/{twin.source}, build {twin.build}\n{output}")
    same, twins = len(lesson.pairs), len(lesson.twins)
    print(f"ok   {lesson.number:2} {lesson.title}: {same} in Go and C print the same, "
          f"{twins} broken {'twin is' if twins == 1 else 'twins are'} caught", flush=True)


def run_all(chosen, verbose):
    """Runs the lessons side by side. False: one has failed."""
    good = True
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [(lesson, pool.submit(check, lesson)) for lesson in chosen]
        for lesson, future in futures:
            try:
                report(lesson, future.result(), verbose)
            except (Fault, lessons.Mistake) as fault:
                print(f"FAIL {lesson.number:2} {lesson.title}: {fault}", flush=True)
                good = False
    return good


def run_mine(program):
    """A reader's program in each build: what it prints, and what the tools say of it."""
    stem = os.path.splitext(os.path.basename(program))[0]
    good = True
    for build in ("plain", "thread", "address"):
        variant = "" if build == "plain" else f"/{build}"
        print(f"--- {program}, build {build}", flush=True)
        try:
            status, printed, reported = run([f"{BUILD_DIRECTORY}{variant}/mine/{stem}"], 20)
        except Fault as fault:
            print(fault, flush=True)
            good = False
            continue
        print(f"{printed}{reported}--- it ended with {status}", flush=True)
        good = good and status == 0 and not reported
    return good


def paste(chosen):
    """Writes what the tools say now into the pages."""
    for lesson in chosen:
        for twin in lesson.twins:
            said.paste(lesson, twin, run_twin(lesson, twin))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--lesson", type=int)
    parser.add_argument("--targets", choices=lessons.BUILDS)
    parser.add_argument("--paste", action="store_true")
    parser.add_argument("--mine")
    options = parser.parse_args()
    if options.mine:
        return 0 if run_mine(options.mine) else 1
    chosen = lessons.read_all()
    if options.lesson is not None:
        chosen = [lesson for lesson in chosen if lesson.number == options.lesson]
        if not chosen:
            raise lessons.Mistake(f"there is no lesson {options.lesson}")
    if options.targets:
        print(" ".join(targets(chosen, options.targets)))
        return 0
    if options.paste:
        paste(chosen)
        return 0
    return 0 if run_all(chosen, options.lesson is not None) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (lessons.Mistake, Fault) as mistake:
        sys.exit(f"run.py: {mistake}")
