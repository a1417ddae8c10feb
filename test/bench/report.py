"""Tables and the chart of the benchmark, made from the results of run.py."""

import os
import platform
import re
import statistics
import subprocess
import time

import peers
import svg

BEGIN = "<!-- bench:begin (written by make bench) -->"
END = "<!-- bench:end -->"


def failure(results):
    return next((r["failed"] for r in results if "failed" in r), None)


def median(results, key):
    return statistics.median(r[key] for r in results)


def pair_ratios(res, key):
    """ours / stock, pair by pair; empty where one of them has no figure."""
    if failure(res["ours"]) or failure(res["stock"]):
        return []
    return [a[key] / b[key] for a, b in zip(res["ours"], res["stock"]) if b.get(key)]


def ratio_cell(res, key):
    r = pair_ratios(res, key)
    if not r:
        return "-"
    return f"{statistics.median(r):.2f}x ({min(r):.2f} - {max(r):.2f})"


def number(x):
    if x >= 1000:
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 0.1 or x == 0 else f"{x:.4f}"


def both(res, key, scale=1.0):
    """'ours / stock' of one key."""
    cells = [number(median(res[side], key) * scale)
             if res[side] and not failure(res[side]) and key in res[side][0] else "-"
             for side in ("ours", "stock")]
    return " / ".join(cells)


def limit(res, key):
    """What the generator reaches with a server that does nothing."""
    null = res.get("null")
    return number(median(null, key)) if null and not failure(null) else "-"


def brief(row, r):
    """One run in a few words, for those who watch."""
    if "failed" in r:
        return f"failed: {r['failed']}"
    if row.kind == "latency":
        return (f"sent p50 {r['sent_p50_us']:.0f} us p99 {r['sent_p99_us']:.0f} us, "
                f"due p99 {r['due_p99_us']:.0f} us, {r.get('cpu_us', 0):.1f} us CPU")
    if row.kind == "many":
        return (f"{r['cpu_us']:.1f} us CPU {r['ctx']:.2f} ctx, sent p50 {r['sent_p50_us']:.0f} us "
                f"p99 {r['sent_p99_us']:.0f} us")
    if row.kind == "timeouts":
        return (f"{r['late_p50_ms']:.1f} ms late p50 {r['late_p99_ms']:.1f} p99 "
                f"{r['late_max_ms']:.1f} max, {r['rate']:,.0f}/s {r['cpu_us']:.2f} us CPU")
    if row.kind == "stats":
        return (f"request p50 {r['request_p50_ms']:.1f} ms {r['request_cpu_ms']:.1f} ms CPU, "
                f"sent p99 {r['quiet_sent_p99_us']:.0f} us without, "
                f"{r['busy_sent_p99_us']:.0f} with")
    if row.kind == "idle":
        return (f"{r['mem_conn_kb']:.1f} kB a connection, {r['avail_conn_kb']:.1f} as seen in "
                f"MemAvailable, {r['cpu_percent']:.2f} % CPU, "
                f"{r['threads']:.0f} threads")
    if row.kind == "storm":
        return ", ".join(f"{when}: {r[when + '_memory_kb'] / 1024:.1f} MB "
                         f"{r[when + '_threads']:.0f} threads"
                         for when in ("connected", "delivered"))
    if row.kind == "storm-latency":
        return (f"sent p99 {r['quiet_sent_p99_us']:.0f} us without, {r['busy_sent_p99_us']:.0f} "
                f"with {r['storm_rate']:.0f} connections/s, p99 {r['storm_p99_ms']:.2f} ms")
    if row.kind == "exit":
        return f"{r['exit_s'] * 1000:.0f} ms, with {r['threads']:.0f} threads"
    if row.kind in ("log", "peers"):
        return (f"{r['rate']:12,.0f}/s {r['cpu_us']:8.2f} us CPU "
                f"{r.get('ok_p99_us', 0) / 1000:8.2f} ms p99 of the OK {r['disk_b']:8.1f} B to disk "
                f"{r['peak_kb'] / 1024:8.1f} MB")
    if row.kind in ("topics", "cores", "start"):
        return ", ".join(f"{k} {v:.2f}" for k, v in r.items())
    return (f"{r['rate']:12,.0f}/s {r['cpu_us']:8.2f} us CPU {r['ctx']:8.4f} ctx "
            f"{r['peak_kb'] / 1024:8.1f} MB")


def side_failures(res):
    out = []
    for side in res:
        why = failure(res[side])
        if why:
            out.append(f"{side} failed: {why}")
    return "; ".join(out)


RATE_HEAD = ["row", "work", "messages/s", "ratio (min - max)", "null server", "CPU us/msg",
             "ratio (min - max)", "peak RSS MB", "context switches/msg"]


def rate_cells(row, res):
    return [row.name, row.title, both(res, "rate"), ratio_cell(res, "rate"), limit(res, "rate"),
            both(res, "cpu_us"), ratio_cell(res, "cpu_us"), both(res, "peak_kb", 1 / 1024),
            both(res, "ctx")]


CHURN_HEAD = ["row", "work", "connections/s", "ratio (min - max)", "null server", "CPU us/conn",
              "ratio (min - max)", "generator's CPU us/conn", "context switches/conn",
              "peak RSS MB"]


def churn_cells(row, res):
    return [row.name, row.title, both(res, "rate"), ratio_cell(res, "rate"), limit(res, "rate"),
            both(res, "cpu_us"), ratio_cell(res, "cpu_us"), both(res, "gen_us"),
            both(res, "ctx"), both(res, "peak_kb", 1 / 1024)]


STORM_HEAD = ["row", "work", "when", "peak MB", "ratio (min - max)", "RSS MB",
              "stacks and page tables MB", "loss of MemAvailable MB", "TCP buffers MB", "threads",
              "ms", "CPU us/conn"]


def storm_cells(row, res):
    """Two lines."""
    return [[row.name, row.title, when, both(res, f"{key}_memory_kb", 1 / 1024),
             ratio_cell(res, f"{key}_memory_kb"), both(res, f"{key}_rss_kb", 1 / 1024),
             both(res, f"{key}_kernel_kb", 1 / 1024), both(res, f"{key}_avail_kb", 1 / 1024),
             both(res, f"{key}_sockets_kb", 1 / 1024), both(res, f"{key}_threads"),
             both(res, f"{verb}_ms"), both(res, f"{verb}_cpu_us")]
            for when, key, verb in (("connecting", "connected", "connect"),
                                    ("a message each", "delivered", "deliver"))]


STORM_LATENCY_HEAD = ["row", "work", "p50 us without", "p50 us with", "p99 us without",
                      "p99 us with", "ratio (min - max)", "p99.9 us with", "connections/s",
                      "connection p50 ms", "p99 ms", "ratio (min - max)"]


def storm_latency_cells(row, res):
    return [row.name, row.title, both(res, "quiet_sent_p50_us"), both(res, "busy_sent_p50_us"),
            both(res, "quiet_sent_p99_us"), both(res, "busy_sent_p99_us"),
            ratio_cell(res, "busy_sent_p99_us"), both(res, "busy_sent_p999_us"),
            both(res, "storm_rate"), both(res, "storm_p50_ms"), both(res, "storm_p99_ms"),
            ratio_cell(res, "storm_p99_ms")]


EXIT_HEAD = ["row", "work", "ms to the end", "ratio (min - max)", "threads", "RSS MB"]


def exit_cells(row, res):
    return [row.name, row.title, both(res, "exit_s", 1000), ratio_cell(res, "exit_s"),
            both(res, "threads"), both(res, "rss_kb", 1 / 1024)]


LATENCY_HEAD = ["row", "work", "p50 us", "ratio (min - max)", "null server", "p99 us",
                "ratio (min - max)", "null server", "p99.9 us", "max us", "p50 due us",
                "p99 due us", "CPU us/msg"]


def latency_cells(row, res):
    return [row.name, row.title, both(res, "sent_p50_us"), ratio_cell(res, "sent_p50_us"),
            limit(res, "sent_p50_us"), both(res, "sent_p99_us"), ratio_cell(res, "sent_p99_us"),
            limit(res, "sent_p99_us"), both(res, "sent_p999_us"),
            both(res, "sent_max_us"), both(res, "due_p50_us"), both(res, "due_p99_us"),
            both(res, "cpu_us")]


MANY_HEAD = ["row", "work", "messages/s", "CPU us/msg", "ratio (min - max)", "null server",
             "context switches/msg", "ratio (min - max)", "null server", "p50 us",
             "ratio (min - max)", "null server", "p99 us", "ratio (min - max)", "null server"]


def many_cells(row, res):
    out = [row.name, row.title, both(res, "rate")]
    for key in ("cpu_us", "ctx", "sent_p50_us", "sent_p99_us"):
        out += [both(res, key), ratio_cell(res, key), limit(res, key)]
    return out


TIMEOUTS_HEAD = ["row", "work", "late p50 ms", "late p99 ms", "ratio (min - max)", "late max ms",
                 "again/s", "ratio (min - max)", "deadlines within ms", "CPU us/msg",
                 "ratio (min - max)"]


def timeouts_cells(row, res):
    return [row.name, row.title, both(res, "late_p50_ms"), both(res, "late_p99_ms"),
            ratio_cell(res, "late_p99_ms"), both(res, "late_max_ms"), both(res, "rate"),
            ratio_cell(res, "rate"), both(res, "span_ms"), both(res, "cpu_us"),
            ratio_cell(res, "cpu_us")]


STATS_HEAD = ["row", "work", "request p50 ms", "ratio (min - max)", "max ms",
              "request's CPU ms", "ratio (min - max)", "p50 us without", "p50 us with",
              "p99 us without", "p99 us with", "ratio (min - max)", "answer kB"]


def stats_cells(row, res):
    return [row.name, row.title, both(res, "request_p50_ms"), ratio_cell(res, "request_p50_ms"),
            both(res, "request_max_ms"), both(res, "request_cpu_ms"),
            ratio_cell(res, "request_cpu_ms"), both(res, "quiet_sent_p50_us"),
            both(res, "busy_sent_p50_us"), both(res, "quiet_sent_p99_us"),
            both(res, "busy_sent_p99_us"), ratio_cell(res, "busy_sent_p99_us"),
            both(res, "answer_kb")]


IDLE_HEAD = ["row", "work", "RSS and kernel stacks kB/connection", "ratio (min - max)",
             "MemAvailable kB/connection", "ratio (min - max)", "RSS kB/connection",
             "CPU % of a core", "context switches/s", "threads", "us to open one"]


def idle_cells(row, res):
    return [row.name, row.title, both(res, "mem_conn_kb"), ratio_cell(res, "mem_conn_kb"),
            both(res, "avail_conn_kb"), ratio_cell(res, "avail_conn_kb"),
            both(res, "rss_conn_kb"), both(res, "cpu_percent"), both(res, "ctx_per_s"),
            both(res, "threads"), both(res, "open_us")]


TOPICS_HEAD = ["row", "work", "create s", "ratio (min - max)", "RSS MB", "ratio (min - max)",
               "stop s", "start s"]


def topics_cells(row, res):
    return [row.name, row.title, both(res, "create_s"), ratio_cell(res, "create_s"),
            both(res, "rss_mb"), ratio_cell(res, "rss_mb"), both(res, "stop_s"),
            both(res, "start_s")]


CORES = (4, 2, 1)
CORES_HEAD = ["row", "work", *(f"CPU us/msg on {n}" for n in CORES), "growth to 1",
              "ratio (min - max)", *(f"messages/s on {n}" for n in CORES)]


def cores_cells(row, res):
    """"-" where this machine has fewer cores; the growth is from the most that it has."""
    return [row.name, row.title, *(both(res, f"cpu_us_{n}") for n in CORES), both(res, "growth"),
            ratio_cell(res, "growth"), *(both(res, f"rate_{n}") for n in CORES)]


LOG_HEAD = ["row", "work", "messages/s", "ratio (min - max)", "CPU us/msg", "ratio (min - max)",
            "p99 of the OK ms", "ratio (min - max)", "B to disk/msg", "ratio (min - max)",
            "peak RSS MB", "ratio (min - max)"]


def log_cells(row, res):
    out = [row.name, row.title]
    for key, scale in (("rate", 1), ("cpu_us", 1), ("ok_p99_us", 1e-3), ("disk_b", 1),
                       ("peak_kb", 1 / 1024)):
        out += [both(res, key, scale), ratio_cell(res, key)]
    return out


START_HEAD = ["row", "work", "start s", "ratio (min - max)", "start after kill -9 s",
              "ratio (min - max)", "stop s", "RSS MB"]


def start_cells(row, res):
    return [row.name, row.title, both(res, "start_s"), ratio_cell(res, "start_s"),
            both(res, "kill_start_s"), ratio_cell(res, "kill_start_s"), both(res, "stop_s"),
            both(res, "rss_mb")]


PEERS_HEAD = ["row", "server", "an OK survives", "messages/s", "ours to it (min - max)",
              "CPU us/msg", "ours to it (min - max)", "p50 of the OK ms", "p99 ms",
              "ours to it (min - max)", "B to disk/msg"]


def peers_cells(row, res):
    """A line for each server, with the ratios of ours to it."""
    out = []
    for side in [side for side in res if side != "null"]:
        title, promise = peers.describe(row.name, side)
        line = [f"{row.name}: {side}", title, promise]
        pair = {"ours": res["ours"], "stock": res[side]}
        for key, scale, with_ratio in (("rate", 1, True), ("cpu_us", 1, True),
                                       ("ok_p50_us", 1e-3, False), ("ok_p99_us", 1e-3, True),
                                       ("disk_b", 1, False)):
            known = res[side] and not failure(res[side])
            line.append(number(median(res[side], key) * scale) if known else "-")
            if with_ratio:
                line.append("" if side == "ours" else ratio_cell(pair, key))
        out.append(line)
    return out


TABLES = [("rate", RATE_HEAD, rate_cells), ("latency", LATENCY_HEAD, latency_cells),
          ("many", MANY_HEAD, many_cells),
          ("timeouts", TIMEOUTS_HEAD, timeouts_cells), ("stats", STATS_HEAD, stats_cells),
          ("idle", IDLE_HEAD, idle_cells), ("topics", TOPICS_HEAD, topics_cells),
          ("churn", CHURN_HEAD, churn_cells), ("storm", STORM_HEAD, storm_cells),
          ("storm-latency", STORM_LATENCY_HEAD, storm_latency_cells),
          ("exit", EXIT_HEAD, exit_cells), ("cores", CORES_HEAD, cores_cells),
          ("log", LOG_HEAD, log_cells), ("start", START_HEAD, start_cells),
          ("peers", PEERS_HEAD, peers_cells)]


def lines_of(cells):
    """Most rows have one line in their table."""
    return cells if isinstance(cells[0], list) else [cells]


def tables(results):
    """(kind, rows of cells, failures) of each table that has rows."""
    for kind, head, cells in TABLES:
        mine = [(row, res) for row, res in results if row.kind == kind]
        if mine:
            yield (kind, [head] + [line for row, res in mine for line in lines_of(cells(row, res))],
                   [f"{row.name}: {side_failures(res)}" for row, res in mine
                    if side_failures(res)])


def text(results):
    """For a terminal. The cells read ours / stock."""
    out = []
    for _, lines, failed in tables(results):
        lines = [line[:1] + line[2:] for line in lines]  # without the long title
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        out += ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines]
        out += failed + [""]
    return "\n".join(out)


def markdown_table(lines):
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + " --- |" * len(lines[0])] + body)


def cpu_model():
    with open("/proc/cpuinfo") as f:
        m = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    return m.group(1) if m else platform.machine()


def machine():
    with open("/proc/meminfo") as f:
        gb = int(re.search(r"MemTotal:\s+(\d+)", f.read()).group(1)) / 1024 / 1024
    kernel = re.match(r"[\d.]+", platform.release()).group(0)
    return (f"{len(os.sched_getaffinity(0))} cores ({cpu_model()}), {gb:.0f} GB, "
            f"Linux {kernel}")


def version(binary):
    if not binary:
        return "not run"
    p = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    return (p.stdout or p.stderr).strip().splitlines()[0]


TITLES = {
    "rate": "Throughput",
    "latency": "Latency, publish to receive",
    "many": "Many topics, ten messages a second on each",
    "timeouts": "Timeouts",
    "stats": "Statistics of many topics",
    "idle": "Idle connections",
    "topics": "Many idle topics",
    "churn": "A connection for each piece of work",
    "storm": "Many consumers connect at once",
    "storm-latency": "Latency while connections come and go",
    "exit": "The end, with many connections",
    "cores": "Fewer cores: CPU per message",
    "log": "With a log",
    "start": "A start with a backlog",
    "peers": "Beside other servers",
}


def markdown(opts, results):
    out = [f"Taken {time.strftime('%Y-%m-%d', time.gmtime())}, {opts.pairs} pairs, "
           f"--scale={opts.scale:g}, on {machine()}",
           "", f"* ours: `{version(opts.ours)}`", f"* stock: `{version(opts.stock)}`", "",
           "In each cell: ours / stock, medians. Ratios are ours to stock, pair by pair.", "",
           "![Ratios to stock](benchmarks.svg)"]
    for kind, lines, failed in tables(results):
        out += ["", f"### {TITLES[kind]}", "", markdown_table(lines)]
        if failed:
            out += [""] + [f"* {f}" for f in failed]
    return "\n".join(out)


def chart(results):
    """What the chart shows: throughput and CPU per message, as ratios."""
    bars = []
    for row, res in results:
        if row.kind in ("rate", "churn"):
            bars.append((row.name, pair_ratios(res, "rate"), pair_ratios(res, "cpu_us")))
    return svg.ratio_chart(bars, "rate", "CPU")


def write(opts, results):
    """Puts the tables between the marks of the page, and the chart beside it."""
    with open(opts.write) as f:
        page = f.read()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{opts.write} has no marks for the tables")
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with open(opts.write, "w") as f:
        f.write(f"{before}{BEGIN}\n\n{markdown(opts, results)}\n\n{END}{after}")
    with open(os.path.splitext(opts.write)[0] + ".svg", "w") as f:
        f.write(chart(results))
