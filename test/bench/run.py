#!/usr/bin/python3
"""Runs the rows of the benchmark on two daemons in alternation, A B A B.

Each run has a daemon of its own, on fresh ports and a fresh data directory.
The generator checks that every message arrives and is finished once; what the
daemon says in /stats afterwards must agree. A run that fails makes its row
"failed: reason" and no more. See docs/benchmarks.md.
"""

import argparse
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile

import report
import peers
import rows
from daemon import Failed
from measure import generate, messages, run_cores, run_exit, run_load, run_start, run_topics


def run_once(opts, row, side, binary):
    """`side` is "ours", "stock", or one of the other servers of this row."""
    total = messages(opts, row)
    row = row.of(side, opts.scale)
    run = {"topics": run_topics, "cores": run_cores, "exit": run_exit,
           "start": run_start}.get(row.kind, run_load)
    try:
        if side in peers.PEERS:
            return peers.run(opts, row, side)
        return run(opts, row, binary, total)
    except Failed as e:
        return {"failed": str(e)}


def run_null_once(opts, row):
    """The same load on a server that does nothing: more than the generator's limit nobody can
    reach. None for rows that the null server does not know."""
    if not row.for_null_server():
        return None
    try:
        return generate(opts.bench, [*row.load, "--null"], messages(opts, row))
    except Failed as e:
        return {"failed": str(e)}


def run_row(opts, row):
    """Alternates between the daemons and the null server; a list of results for each."""
    sides = {"ours": opts.ours, "stock": opts.stock}
    if row.kind == "peers" and opts.stock:
        sides |= peers.of_row(row.name)
    results = {side: [] for side in [*sides, "null"]}
    for _ in range(opts.pairs):
        for side, binary in sides.items():
            if binary is None or any("failed" in r for r in results[side]):
                continue
            results[side].append(run_once(opts, row, side, binary))
            print(f"  {row.name:21}{side:6} {report.brief(row, results[side][-1])}",
                  file=sys.stderr, flush=True)
        limit = run_null_once(opts, row) if opts.stock else None
        if limit:
            results["null"].append(limit)
    return results


def print_transport_limits(opts):
    """The null server knows no layers: what the generator's CPU time per message allows, beside
    the daemon's."""
    print("Over TLS, snappy and deflate (messages per second of the generator's CPU time; its own "
          "CPU per message, and the daemon's):")
    for row in rows.ROWS:
        if row.group != "transport":
            continue
        r = run_once(opts, row, "ours", opts.ours)
        if "failed" in r:
            print(f"  {row.name:19}failed: {r['failed']}")
        else:
            print(f"  {row.name:19}{1e6 / r['gen_us']:12,.0f}/s {r['gen_us']:8.3f} us "
                  f"{r['cpu_us']:8.3f} us")


def run_null(opts):
    """The generator against a server that does nothing."""
    print("The generator's limit (null server, messages/s; generator's own CPU per message):")
    for row in rows.select(opts.row):
        r = run_null_once(opts, row)
        if r is None:
            continue
        if "failed" in r:
            print(f"  {row.name:19}failed: {r['failed']}")
        elif row.kind in ("latency", "many"):
            print(f"  {row.name:19}{r['sent_p50_us']:8.0f} us p50 {r['sent_p99_us']:8.0f} us p99")
        else:
            print(f"  {row.name:19}{r['rate']:12,.0f}/s {r['gen_us']:8.3f} us")
    print_transport_limits(opts)


class Perf:
    """perf record around a daemon from its start, so that it sees every thread,
    but counting only between enable and disable."""

    def __init__(self, work_dir):
        self.dir = tempfile.mkdtemp(prefix="perf.", dir=work_dir)
        self.data, ctl, ack = (os.path.join(self.dir, n) for n in ("data", "ctl", "ack"))
        os.mkfifo(ctl)
        os.mkfifo(ack)
        self.ctl = os.open(ctl, os.O_RDWR)
        self.ack = os.open(ack, os.O_RDWR)
        self.command = ["perf", "record", "-q", "-g", "-F", "499", "-o", self.data,
                        "--delay=-1", f"--control=fifo:{ctl},{ack}", "--"]

    def control(self, word):
        os.write(self.ctl, f"{word}\n".encode())
        if not select.select([self.ack], [], [], 10)[0]:
            raise Failed(f"perf does not {word}")
        os.read(self.ack, 64)

    def report(self, *args):
        text = subprocess.run(["perf", "report", "--stdio", "-i", self.data, *args], text=True,
                              capture_output=True, check=False).stdout
        return [re.sub(r"\s+-\s+-\s*$", "", line) for line in text.splitlines()
                if line.strip() and not line.startswith("#")]


def run_profile(opts, row, out):
    """Records the daemon with perf while the row's load runs."""
    if shutil.which("perf") is None:
        raise SystemExit("make profile needs perf (Debian package linux-perf)")
    perf = Perf(opts.work)
    total = messages(opts, row)
    result = run_load(opts, row.of("ours", opts.scale), opts.ours, total, perf)
    sections = [
        ("Functions", 90, ["--no-children", "-g", "none", "--sort", "dso,symbol"]),
        ("Threads", 60, ["--no-children", "-g", "none", "--sort", "comm"]),
        ("Threads and functions", 100, ["--no-children", "-g", "none", "--sort", "comm,symbol"]),
        ("Call graph", 400, ["--children", "--sort", "symbol",
                             "-g", "caller,0.5,callee,function,percent"]),
    ]
    with open(out, "w") as f:
        f.write(f"# {row.name}: {report.brief(row, result)}\n")
        for title, limit, args in sections:
            f.write(f"\n## {title}\n\n" + "\n".join(perf.report(*args)[:limit]) + "\n")
    shutil.rmtree(perf.dir)
    print(f"{row.name}: {report.brief(row, result)}\nprofile: {out}")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--bench", default="build/test/bench/nsq_bench", help="the load generator")
    p.add_argument("--ours", default="build/nsqd")
    p.add_argument("--stock", default="build/stock/nsqd")
    p.add_argument("--no-stock", action="store_true", help="run --ours alone")
    p.add_argument("--row", default="all", help="rows or groups, with commas; or list")
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--scale", type=float, default=1.0, help="multiplies the messages of a run")
    p.add_argument("--cores", type=int, default=0, help="pin the daemons to so many cores")
    p.add_argument("--work", default="build/bench", help="data directories go here")
    p.add_argument("--write", metavar="FILE.md", help="put the tables into this page")
    p.add_argument("--null", action="store_true", help="print the generator's limit")
    p.add_argument("--profile", metavar="FILE", help="profile --ours under one row")
    opts = p.parse_args()
    os.makedirs(opts.work, exist_ok=True)
    opts.work = os.path.abspath(opts.work)
    if opts.no_stock:
        opts.stock = None
    return opts


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with all clean-up
    opts = arguments()
    if opts.row == "list":
        for row in rows.ROWS:
            print(f"{row.name:18}{row.group:10}{row.title}")
        return 0
    if opts.null:
        run_null(opts)
        return 0
    selected = rows.select(opts.row)
    if opts.profile:
        try:
            run_profile(opts, selected[0], opts.profile)
        except Failed as e:
            raise SystemExit(f"{selected[0].name}: failed: {e}") from e
        return 0
    results = [(row, run_row(opts, row)) for row in selected]
    print(report.text(results))
    if opts.write:
        report.write(opts, results)
    return 1 if any("failed" in r for _, res in results for r in res["ours"]) else 0


if __name__ == "__main__":
    sys.exit(main())
