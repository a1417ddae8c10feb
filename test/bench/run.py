#!/usr/bin/python3
"""Runs the rows of the benchmark on two daemons in alternation, A B A B.

Each run has a daemon of its own, on fresh ports and a fresh data directory.
The generator checks that every message arrives and is finished once; what the
daemon says in /stats afterwards must agree. A run that fails makes its row
"failed: reason" and no more. See docs/benchmarks.md.
"""

import argparse
import ctypes
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import report
import rows

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1

START_S = 60  # a daemon must accept connections by then
RUN_S = 180  # and a run must end
SETTLE_S = 30  # what was sent last must be in the statistics by then
TOPIC = "bench"


class Failed(Exception):
    """A run that gives no figure, and why."""


def free_ports(n):
    """Sockets at ports that nobody else is given until they are closed. A daemon may
    listen there all the same."""
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
    return socks


class Daemon:
    """One nsqd process with a data directory of its own. `wrapper` is a command
    that runs it as its only child."""

    def __init__(self, binary, flags, work_dir, cores=0, wrapper=()):
        self.binary, self.flags, self.cores = binary, flags, cores
        self.wrapper = list(wrapper)
        self.dir = tempfile.mkdtemp(prefix="run.", dir=work_dir)
        self.proc = self.pid = None
        self.ports = free_ports(2)
        self.tcp, self.http = (s.getsockname()[1] for s in self.ports)
        self.start()

    def _prepare(self):
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # none outlives a runner that was killed
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if self.cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:self.cores])

    def start(self):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.proc = subprocess.Popen(
                [*self.wrapper, self.binary, f"--tcp-address=127.0.0.1:{self.tcp}",
                 f"--http-address=127.0.0.1:{self.http}", f"--data-path={self.dir}",
                 *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self._prepare)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            self.check_alive()
            try:
                for port in (self.tcp, self.http):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                self.pid = self._find_pid()
                return
            except OSError:
                time.sleep(0.005)
        raise Failed(f"does not accept connections after {START_S} s")

    def _find_pid(self):
        if not self.wrapper:
            return self.proc.pid
        with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children") as f:
            return int(f.read().split()[0])

    def check_alive(self):
        code = self.proc.poll()
        if code is not None:
            raise Failed(f"the daemon ended with {code}: {self.last_log_line()}")

    def last_log_line(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            lines = f.read().strip().splitlines()
        return lines[-1][-200:] if lines else "nothing in its log"

    def request(self, path, method="GET"):
        req = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method=method)
        try:
            with urllib.request.urlopen(req, timeout=30) as r:
                return r.read()
        except OSError as e:
            raise Failed(f"{method} {path}: {e}") from e

    def topic_stats(self):
        stats = json.loads(self.request(f"/stats?format=json&topic={TOPIC}"))
        if not stats["topics"]:
            raise Failed("the topic is not in /stats")
        return stats["topics"][0]

    def stop(self):
        """A clean stop; returns how long it took."""
        began = time.monotonic()
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(60)
        except subprocess.TimeoutExpired as e:
            raise Failed("did not stop within 60 s") from e
        return time.monotonic() - began

    def remove(self):
        # Not a clean stop: a full memory queue would be written to disk first.
        if self.proc.poll() is None:
            os.kill(self.pid or self.proc.pid, signal.SIGKILL)
            self.proc.wait()
        for s in self.ports:
            s.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def generate(bench, args, total, daemon=None):
    """Runs the generator; returns its key=value line as a dict."""
    cmd = [bench, *args]
    if total:
        cmd += ["--total", str(total)]
    if daemon:
        cmd += ["--topic", TOPIC, "--port", str(daemon.tcp), "--http-port", str(daemon.http),
                "--pid", str(daemon.pid)]
    try:
        p = subprocess.run(cmd, capture_output=True, text=True, timeout=RUN_S, check=False)
    except subprocess.TimeoutExpired as e:
        raise Failed(f"the generator did not end within {RUN_S} s") from e
    if daemon:
        daemon.check_alive()
    if p.returncode != 0:
        lines = p.stderr.strip().splitlines()
        raise Failed(lines[-1].replace("nsq_bench: error: ", "") if lines else "no reason given")
    out = {}
    for word in p.stdout.split():
        key, value = word.split("=", 1)
        try:
            out[key] = float(value)
        except ValueError:
            out[key] = value
    return out


def prefill(bench, row, daemon, total):
    """Publishes, and waits until the messages are in the channel."""
    generate(bench, row.prefill, total, daemon)
    end = time.monotonic() + 60
    while True:
        stats = daemon.topic_stats()
        if stats["channels"] and stats["channels"][0]["depth"] == total:
            return
        if time.monotonic() > end:
            raise Failed(f"the channel does not fill up: topic depth {stats['depth']}, channel "
                         f"{stats['channels'][0]['depth'] if stats['channels'] else 'missing'}")
        time.sleep(0.05)


def verify(daemon, total, consumed):
    """What the daemon counted must be what the generator counted; the last FINs may still
    be on their way."""
    end = time.monotonic() + SETTLE_S
    while True:
        try:
            return verify_once(daemon.topic_stats(), total, consumed)
        except Failed:
            if time.monotonic() > end:
                raise
        time.sleep(0.02)


def verify_once(topic, total, consumed):
    if topic["message_count"] != total:
        raise Failed(f"/stats counts {topic['message_count']} messages of {total}")
    if not consumed and topic["depth"] != total:
        raise Failed(f"/stats has a depth of {topic['depth']}, not {total}")
    if not consumed:
        return
    for c in topic["channels"]:
        left = {k: c[k] for k in ("depth", "in_flight_count", "deferred_count", "requeue_count")}
        if any(left.values()) or c["message_count"] != total:
            raise Failed(f"/stats of {c['channel_name']}: {c['message_count']} messages, {left}")


def certificate(opts):
    """Flags for a daemon with TLS; makes the certificate with the first run that asks."""
    cert, key = (os.path.join(opts.work, name) for name in ("cert.pem", "key.pem"))
    if not os.path.exists(cert):
        cmd = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365",
               "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [f"--tls-cert={cert}", f"--tls-key={key}"]


def run_load(opts, row, binary, total, perf=None, cores=0):
    flags = [f"--mem-queue-size={row.memory_queue(total)}", *row.flags]
    if row.tls():
        flags += certificate(opts)
    daemon = Daemon(binary, flags, opts.work, cores or opts.cores, perf.command if perf else ())
    try:
        if row.prefill:
            prefill(opts.bench, row, daemon, total)
        if perf:
            perf.control("enable")
        result = generate(opts.bench, row.load, total, daemon)
        if perf:
            perf.control("disable")
        if row.kind != "idle":
            verify(daemon, total, row.load[0] not in ("pub", "mpub", "http"))
        return result
    finally:
        daemon.remove()


def run_topics(opts, row, binary, total):
    """Creates topics and channels over HTTP, stops, starts again."""
    del row
    daemon = Daemon(binary, [], opts.work, opts.cores)
    try:
        began = time.monotonic()
        for i in range(total):
            daemon.request(f"/topic/create?topic=t{i}", "POST")
            for c in ("a", "b"):
                daemon.request(f"/channel/create?topic=t{i}&channel={c}", "POST")
        create = time.monotonic() - began
        rss = rss_mb(daemon.pid)
        stop = daemon.stop()
        began = time.monotonic()
        daemon.start()
        n = len(json.loads(daemon.request("/stats?format=json"))["topics"])
        if n != total:
            raise Failed(f"{n} topics of {total} after the restart")
        return {"create_s": create, "stop_s": stop, "start_s": time.monotonic() - began,
                "rss_mb": rss}
    finally:
        daemon.remove()


def run_cores(opts, row, binary, total):
    """The same load with the daemon on fewer and fewer cores; the generator has all of them."""
    out = {}
    for cores in report.CORES:
        if cores <= len(os.sched_getaffinity(0)):
            r = run_load(opts, row, binary, total, cores=cores)
            out[f"cpu_us_{cores}"], out[f"rate_{cores}"] = r["cpu_us"], r["rate"]
            out.setdefault("most_us", r["cpu_us"])  # on the most cores there are
            out["growth"] = r["cpu_us"] / out["most_us"]
    return out


def rss_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) / 1024


def messages(opts, row):
    """How many a run has. A row about a number of topics has that number, whatever the scale."""
    if row.kind == "topics" or not row.total:
        return row.total
    return max(int(row.total * opts.scale), 200)


def run_once(opts, row, binary):
    total = messages(opts, row)
    run = {"topics": run_topics, "cores": run_cores}.get(row.kind, run_load)
    try:
        return run(opts, row, binary, total)
    except Failed as e:
        return {"failed": str(e)}


def run_null_once(opts, row):
    """The same load on a server that does nothing: more than the generator's limit nobody can
    reach. None for rows that the null server does not know."""
    if row.kind not in ("rate", "latency") or row.group == "transport":
        return None
    try:
        return generate(opts.bench, [*row.load, "--null"], messages(opts, row))
    except Failed as e:
        return {"failed": str(e)}


def run_row(opts, row):
    """Alternates between the daemons and the null server; a list of results for each."""
    results = {"ours": [], "stock": [], "null": []}
    for _ in range(opts.pairs):
        for side, binary in (("ours", opts.ours), ("stock", opts.stock)):
            if binary is None or any("failed" in r for r in results[side]):
                continue
            results[side].append(run_once(opts, row, binary))
            print(f"  {row.name:19}{side:6} {report.brief(row, results[side][-1])}",
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
        r = run_once(opts, row, opts.ours)
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
        elif row.kind == "latency":
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
    result = run_load(opts, row, opts.ours, total, perf)
    sections = [
        ("Functions", 60, ["--no-children", "-g", "none", "--sort", "dso,symbol"]),
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
