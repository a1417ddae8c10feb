#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Builds the models, searches their scenarios, and then those of each mutation.

No scenario of the code as it is may have a fault, and each of `make model` must be searched to its
end. Each mutation must be found by one of its scenarios. See README.md.
"""

import argparse
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import sys
import time

from mutations import MUTATIONS, Mutation
from scenarios import CHAN, PROGRAMS, SCENARIOS, WALKS

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CHECKER = ["mc_world.c", "mc_search.c", "mc_access.c", "mc_os.c", "mc_stubs.c", "mc_walk.c",
           "mc_weak.c"]
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-fno-pie", "-fno-stack-protector",
         "-fcf-protection=none", "-Wall", "-Wextra", "-Werror"]
# What the log has of these is not too much for a model.
SMALL = ["-DLOG_BLOCK_SIZE=256", "-DLOG_FEW_SIZE=256", "-DCURSOR_BLOCK=1024", "-DLQ_BATCH=2",
         "-DLQ_DUE_BATCH=2", "-DLM_BATCH=2"]
# What is modelled: each access to memory is a call, and thread-local variables lie in a section,
# which the checker changes with the thread. The lock of a chan spins as often as the scenario says.
MODELLED = ["-fsanitize=thread", "-fno-builtin", "-include", "test/model/mc.h",
            "-include", "test/model/message_count.h",
            '-DLOCK_SPINS=mc_param("spins", 0)', *SMALL,
            '-D_Thread_local=__attribute__((section("mc_tls")))']


# The seeds of walks that are to find something. They are fixed: what is found once is found again.
SEEDS = range(1, 11)
# Seconds for one search: the longest of `make proof` takes some minutes.
TIMEOUT = 3600


class Failed(Exception):
    pass


def run(*args, **kwargs):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **kwargs)
    if done.returncode != 0:
        raise Failed(f"{' '.join(args)}\n{done.stdout}")
    return done.stdout


def compile_one(opts, source, out, modelled, include=()):
    """Compiles a source of the project, or a file of `include`, which has changed ones.

    A source may be "calm:...", "coarse:..." or both: see mc_coarse.c. "ranks:..." checks the order
    of locks.
    """
    kind, _, source = source.rpartition(":")
    changed = [os.path.join(d, source) for d in include]
    path = next((c for c in changed if os.path.exists(c)), os.path.join(ROOT, source))
    includes = [f"-I{d}" for d in (*include, ROOT)]
    # What no scenario uses is left out, and with it what that would need; calm code is one section.
    cut = [] if "calm" in kind else ["-ffunction-sections"]
    ranks = ["-DDEBUG_LOCKS"] if "ranks" in kind else []
    run(opts.cc, *FLAGS, *cut, *ranks, *(MODELLED if modelled else []),
        *(["-w"] if include else []), *includes, "-c", path, "-o", out, cwd=ROOT)
    if modelled:
        run("objcopy", f"--redefine-syms={HERE}/symbols.txt", out)
    if "coarse" in kind:
        run("objcopy", f"--redefine-syms={HERE}/coarse.txt", out)
    if "calm" in kind:
        run("objcopy", "--rename-section", ".text=mc_calm", out)


def object_of(opts, source, directory=None):
    return os.path.join(directory or opts.build, source.replace("/", "_")[:-2] + ".o")


def link(opts, program, out, changed=None):
    """`changed` has objects in place of some of the usual ones."""
    objects = [(changed or {}).get(s) or object_of(opts, s) for s in PROGRAMS[program]]
    objects += [object_of(opts, f"test/model/{s}") for s in CHECKER]
    run(opts.cc, "-no-pie", "-Wl,--gc-sections", "-o", out, *objects)


def build(opts, pool):
    os.makedirs(opts.build, exist_ok=True)
    modelled = sorted({s for sources in PROGRAMS.values() for s in sources})
    jobs = [pool.submit(compile_one, opts, s, object_of(opts, s), True) for s in modelled]
    checker = [f"test/model/{s}" for s in CHECKER]
    jobs += [pool.submit(compile_one, opts, s, object_of(opts, s), False) for s in checker]
    for job in jobs:
        job.result()
    for program in PROGRAMS:
        link(opts, program, os.path.join(opts.build, program))


def build_lesson(opts, source, out):
    """A program of the course: the chan's code, and in place of core.c a source of its own."""
    directory = out + ".objects"
    os.makedirs(directory, exist_ok=True)
    objects = []
    for one in [*CHAN, source, *(f"test/model/{s}" for s in CHECKER)]:
        objects.append(object_of(opts, one, directory))
        compile_one(opts, one, objects[-1], one not in (f"test/model/{s}" for s in CHECKER))
    run(opts.cc, "-no-pie", "-Wl,--gc-sections", "-o", out, *objects)


def search(binary, arguments, states, trace=False):
    """Returns whether it found a fault, and what it says."""
    args = [binary, *arguments.split(), f"states={states}"] + (["trace=1"] if trace else [])
    try:
        done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(args)}: no end after {TIMEOUT} s") from None
    if done.returncode not in (0, 1):
        raise Failed(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}")
    return done.returncode == 1, done.stdout


def name_lines(binary, text):
    """Adds to each address of code the line of the source."""
    addresses = sorted(set(re.findall(r" at (0x[0-9a-f]+)", text)))
    if not addresses:
        return text
    # The address is that after the call.
    before = [hex(int(a, 16) - 1) for a in addresses]
    lines = run("addr2line", "-s", "-e", binary, *before).split("\n")
    where = dict(zip(addresses, (line.split(" (")[0] for line in lines)))
    return re.sub(r" at (0x[0-9a-f]+)", lambda m: " at " + where[m.group(1)], text)


# --- the code as it is ----------------------------------------------------------------------------


def number_of(what, text):
    found = re.search(rf"(\d+) {what},", text)
    return int(found.group(1)) if found else 0


def say_figure(name, value, unit):
    """Tells `make proof` what was done."""
    run(f"{ROOT}/test/proof/figure.sh", name, str(value), unit)


def search_scenario(opts, scenario):
    program, _, arguments = scenario.name.partition(" ")
    binary = os.path.join(opts.build, program)
    states = opts.states or scenario.states
    found, text = search(binary, arguments, states)
    if found:
        text = name_lines(binary, search(binary, arguments, states, True)[1])
    return found, text.strip()


def search_all(opts, pool, scenarios):
    bad = total = 0
    for scenario, (found, text) in zip(scenarios,
                                       pool.map(lambda s: search_scenario(opts, s), scenarios)):
        # What `make model` claims has been searched to its end.
        found = found or ("as far as" in text and not scenario.only_proof)
        total += number_of("states", text)
        bad += found
        print(f"{'FAULT' if found else 'ok   '} {scenario.name.split(' ')[0]:8} {text}", flush=True)
        say_figure(scenario.name, number_of("states", text), "states")
    print(f"{len(scenarios)} scenarios, {total} states, "
          f"{bad} with a fault or not searched to the end")
    return bad == 0


def walk_all(opts, pool, walks):
    """The code as it is, in random runs in the memory of C11."""
    bad = 0

    def walk(w):
        program, _, arguments = w.name.partition(" ")
        binary = os.path.join(opts.build, program)
        arguments += f" walk={max(w.runs, opts.walks)} seed={opts.seed}"
        found, text = search(binary, arguments, 0)
        if found:
            text = name_lines(binary, search(binary, arguments, 0, True)[1])
        return found, text.strip()
    for w, (found, text) in zip(walks, pool.map(walk, walks)):
        bad += found
        print(f"{'FAULT' if found else 'ok   '} {w.name.split(' ')[0]:8} {text}", flush=True)
        say_figure(w.name, max(w.runs, opts.walks), "walks")
    print(f"{len(walks)} scenarios of {opts.walks} walks or more, seed {opts.seed}, "
          f"{bad} with a fault")
    return bad == 0


# --- mutations ------------------------------------------------------------------------------------


def mutate(opts, number, mutation):
    """A directory with the changed file."""
    with open(os.path.join(ROOT, mutation.file)) as f:
        text = f.read()
    if text.count(mutation.old) != 1:
        raise Failed(f"mutation \"{mutation.rule}\": its text is {text.count(mutation.old)} times "
                     f"in {mutation.file}")
    directory = os.path.join(opts.build, f"mutation-{number}")
    path = os.path.join(directory, mutation.file)
    # What another mutation of that number has left would be compiled as well.
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as f:
        f.write(text.replace(mutation.old, mutation.new))
    return directory


def sources_touched(mutation, program):
    """A header is in all of them."""
    if mutation.file.endswith(".h"):
        return list(PROGRAMS[program])
    return [s for s in PROGRAMS[program] if s.rpartition(":")[2] == mutation.file]


def build_changed(opts, program, sources, directory):
    """The program with these sources as the directory has them."""
    changed = {source: object_of(opts, source, directory) for source in sources}
    for source, out in changed.items():
        compile_one(opts, source, out, True, (directory,))
    binary = os.path.join(directory, program)
    link(opts, program, binary, changed)
    return binary


def find(opts, number, mutation):
    """The scenario that finds it, or None."""
    directory = mutate(opts, number, mutation)
    built = {}
    for name in mutation.scenarios:
        program, _, arguments = name.partition(" ")
        if program not in built:
            sources = sources_touched(mutation, program)
            built[program] = build_changed(opts, program, sources, directory)
        # A walk that has no luck goes on, up to so far.
        for tail in [f" seed={seed}" for seed in SEEDS] if "walk=" in name else [""]:
            found, text = search(built[program], arguments + tail, opts.states or 2000000)
            if found:
                return name, text.split("FAULT: ")[1].split("\n")[0]
    return None


def find_all(opts, pool, chosen):
    survivors = 0
    for (_, mutation), found in zip(chosen, pool.map(lambda m: find(opts, *m), chosen)):
        survivors += found is None
        what = f"by {found[0]}: {found[1]}" if found else "NOT FOUND"
        print(f"{'found' if found else 'FAULT'} {mutation.rule}: {what}", flush=True)
    print(f"{len(chosen)} mutations, {survivors} not found")
    say_figure("found", len(chosen) - survivors, "mutations")
    return survivors == 0


# --- memory orders: each is weakened, one at a time -----------------------------------------------

ORDERED = ["common/chan.c", "common/chan_internal.h", "common/park.c", "common/park.h",
           "common/select.c", "common/runnext.c", "common/timerproc.c", "common/netpoll.c"]
# An atomic access with an order, or without one: then it is seq_cst.
STRONG = re.compile(r"memory_order_(?:acquire|release|acq_rel|seq_cst)\b"
                    r"|\batomic_(?:load|store|exchange|fetch_\w+?|compare_exchange_\w+?)(?=\()")


def weaker(match):
    """The orders next below that of the access: if each is found, it is none too strong."""
    order = match.group().removeprefix("memory_order_")
    if order in ("acquire", "release"):
        return ["relaxed"]
    if order == "acq_rel":
        return ["acquire", "release"]
    operation = match.group().removeprefix("atomic_")
    return {"load": ["acquire"], "store": ["release"]}.get(operation, ["acq_rel"])


def weakened(text, match, order):
    """The text with that order for the access."""
    if match.group().startswith("memory_order"):
        return text[:match.start()] + f"memory_order_{order}" + text[match.end():]
    depth, end = 0, match.end()
    while True:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            break
        end += 1
    orders = f", memory_order_{order}"
    if "compare" in match.group():
        orders += ", memory_order_acquire"
    return (text[:match.end()] + "_explicit" + text[match.end():end] + orders + text[end:])


def weak_sites():
    for file in ORDERED:
        with open(os.path.join(ROOT, file)) as f:
            text = f.read()
        for match in STRONG.finditer(text):
            if match.group().endswith("_explicit"):
                continue
            line = text.count("\n", 0, match.start()) + 1
            for order in weaker(match):
                yield file, line, f"{text.splitlines()[line - 1].strip()} as {order}", Mutation(
                    f"{file}:{line}", file, text, weakened(text, match, order),
                    [w.name for w in WALKS])


def find_by_walks(opts, number, mutation):
    directory = mutate(opts, f"order-{number}", mutation)
    built = {}
    for seed, name in ((s, n) for s in SEEDS for n in mutation.scenarios):
        program, _, arguments = name.partition(" ")
        sources = [s for s in PROGRAMS[program]
                   if s == mutation.file
                   or (mutation.file.endswith(".h") and s.startswith("common/"))]
        if not sources:
            continue
        if program not in built:
            built[program] = build_changed(opts, program, sources, directory)
        found, text = search(built[program], f"{arguments} walk={opts.walks} seed={seed}", 0)
        if found:
            return f"{name} seed={seed}", text.split("FAULT: ")[1].split("\n")[0]
    return None


def weaken_all(opts, pool, sites):
    """Each order that is weakened must be found: one that nothing needs is a fault as well."""
    jobs = [pool.submit(find_by_walks, opts, i, m) for i, _, _, _, m in sites]
    survivors = 0
    for (_, file, line, text, _), job in zip(sites, jobs):
        found = job.result()
        survivors += found is None
        print(f"{'found' if found else 'FAULT'} {file}:{line} {text}: "
              f"{f'by {found[0]}: {found[1]}' if found else 'NOT FOUND'}", flush=True)
    print(f"{len(sites)} memory orders weakened, {survivors} not found")
    say_figure("weakened", len(sites) - survivors, "orders")
    return survivors == 0


# --- what is to be done ---------------------------------------------------------------------------


def parameters(name):
    """Of a scenario, in any order, and how far it is walked: 0 is a search."""
    words = name.split()
    runs = sum(int(w.removeprefix("walk=")) for w in words if w.startswith("walk="))
    return frozenset(w for w in words if not w.startswith("walk=")), runs


def check_bases():
    """A fault says something only if there is none in the same scenario of the code as it is."""
    searched = {parameters(s.name)[0] for s in SCENARIOS}
    walked = {parameters(w.name)[0]: w.runs for w in WALKS}
    for mutation in MUTATIONS:
        for name in mutation.scenarios:
            words, runs = parameters(name)
            if walked.get(words, 0) < runs or (runs == 0 and words not in searched):
                raise Failed(f"mutation \"{mutation.rule}\": without it \"{name}\" is not tried "
                             "as far")


def choose(opts):
    """The scenarios, walks, mutations and orders that are to be tried."""
    check_bases()
    scenarios = [s for s in SCENARIOS if opts.only in s.name and (opts.proof or not s.only_proof)]
    walks = [w for w in WALKS if opts.only in w.name]
    mutations = [(i, m) for i, m in enumerate(MUTATIONS)
                 if any(opts.only in text for text in (m.rule, m.file, *m.scenarios))]
    sites = [(i, *site) for i, site in enumerate(weak_sites())
             if opts.only in f"{site[0]}:{site[1]}"]
    if opts.no_scenarios:
        scenarios = walks = []
    mutations = [] if opts.no_mutations else mutations
    sites = sites if opts.weaken else []
    if not scenarios + walks + mutations + sites:
        raise Failed(f"nothing has \"{opts.only}\" in its name")
    return scenarios, walks, mutations, sites


def try_all(opts, pool):
    """Whether all is well."""
    scenarios, walks, mutations, sites = choose(opts)
    build(opts, pool)
    ok = [not sites or weaken_all(opts, pool, sites),
          opts.no_scenarios or search_all(opts, pool, scenarios),
          opts.no_scenarios or walk_all(opts, pool, walks),
          opts.no_mutations or find_all(opts, pool, mutations)]
    return all(ok)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/model"))
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--states", type=int, help="at most so many per scenario")
    parser.add_argument("--only", default="",
                        help="scenarios and mutations with this in their name")
    parser.add_argument("--proof", action="store_true", help="the long ones as well")
    parser.add_argument("--no-mutations", action="store_true")
    parser.add_argument("--no-scenarios", action="store_true")
    parser.add_argument("--weaken", action="store_true")
    parser.add_argument("--walks", type=int,
                        help="so many for each scenario (1,000; with --proof 20,000)")
    parser.add_argument("--seed", type=int, help="of the walks (1; with --proof a new one)")
    parser.add_argument("--lesson", nargs=2, metavar=("SOURCE", "PROGRAM"),
                        help="build only a program of the course")
    opts = parser.parse_args()
    if opts.lesson:
        try:
            build_lesson(opts, *opts.lesson)
        except Failed as e:
            sys.exit(f"model: {e}")
        return
    opts.walks = opts.walks or (20000 if opts.proof else 1000)
    opts.seed = opts.seed or (random.randrange(1, 1 << 31) if opts.proof else 1)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(opts.jobs) as pool:
        try:
            ok = try_all(opts, pool)
        except Failed as e:
            sys.exit(f"model: {e}")
    print(f"model: {'ok' if ok else 'FAILED'} ({time.monotonic() - began:.0f} s)")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
