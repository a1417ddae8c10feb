"""One run of a row on one daemon: what is done, and whether the daemon has counted it right."""

import os
import socket
import struct
import subprocess
import time

import report
from daemon import Daemon, Failed
from generator import run_generator

TOPIC = "bench"  # or bench0, bench1, ...
FRAME_MESSAGE = 2
SETTLE_S = 30  # what was sent last must be in the statistics by then


def generate(bench, args, total, daemon=None, ends=False):
    """Runs the generator; returns its key=value line as a dict. `ends`: it ends the daemon."""
    cmd = [bench, *args]
    if total:
        cmd += ["--total", str(total)]
    if daemon:
        http = daemon.https if args[0] == "churn-http" and "--tls" in args else daemon.http
        cmd += ["--topic", TOPIC, "--port", str(daemon.tcp), "--http-port", str(http),
                "--pid", str(daemon.pid)]
    return run_generator(cmd, daemon.check_alive if daemon and not ends else None)


def prefill(bench, row, daemon, total):
    """Publishes, and waits until the messages are in the channel."""
    generate(bench, row.prefill, total, daemon)
    end = time.monotonic() + 60
    while True:
        stats = daemon.topic_stats(TOPIC)
        if stats["channels"] and stats["channels"][0]["depth"] == total:
            return
        if time.monotonic() > end:
            raise Failed(f"the channel does not fill up: topic depth {stats['depth']}, channel "
                         f"{stats['channels'][0]['depth'] if stats['channels'] else 'missing'}")
        time.sleep(0.05)


def verify(daemon, row, total, again):
    """What the daemon counted must be what the generator counted; the last FINs may still
    be on their way. `again` messages came once more than they should, with attempts that say so.
    """
    end = time.monotonic() + SETTLE_S
    n = row.topics()
    while True:
        topics = {t["topic_name"]: t for t in daemon.stats()["topics"]}
        try:
            for i in range(n):
                verify_topic(row, topics, TOPIC if n == 1 else f"{TOPIC}{i}",
                             total // n + (i < total % n), again)
            return
        except Failed:
            if time.monotonic() > end:
                raise
        time.sleep(0.02)


def verify_topic(row, topics, name, total, again):
    if name not in topics:
        raise Failed(f"the topic {name} is not in /stats")
    topic = topics[name]
    if topic["message_count"] != total:
        raise Failed(f"/stats of {name} counts {topic['message_count']} messages of {total}")
    if not row.channels() and topic["depth"] != total:
        raise Failed(f"/stats has a depth of {topic['depth']}, not {total}")
    if len(topic["channels"]) != row.channels():
        raise Failed(f"/stats of {name} has {len(topic['channels'])} channels")
    for c in topic["channels"]:
        wrong = {k: c[k] for k, n in (("depth", 0), ("in_flight_count", 0), ("deferred_count", 0),
                                      ("requeue_count", 0), ("message_count", 1))
                 if c[k] != row.counts.get(k, n) * total}
        timeouts = c["timeout_count"] - row.counts.get("timeout_count", 0) * total
        if timeouts < 0 or timeouts > again:
            wrong["timeout_count"] = c["timeout_count"]
        if wrong:
            raise Failed(f"/stats of {name}/{c['channel_name']}, {total} messages: {wrong}")


KEYS = {"rsa": ["rsa:2048"], "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}


def certificate(opts, kind):
    """Flags for a daemon with TLS; makes the certificate with the first run that asks."""
    cert, key = (os.path.join(opts.work, f"{name}-{kind}.pem") for name in ("cert", "key"))
    if not os.path.exists(cert):
        cmd = ["openssl", "req", "-x509", "-newkey", *KEYS[kind], "-nodes", "-days", "365",
               "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
        made = subprocess.run(cmd, capture_output=True, text=True, check=False)
        if made.returncode:
            raise Failed(f"openssl req: {made.stderr}")
    return [f"--tls-cert={cert}", f"--tls-key={key}"]


def start(opts, row, binary, total, perf=None, cores=0):
    flags = [f"--mem-queue-size={row.memory_queue(total)}", *row.flags]
    if row.tls():
        flags += certificate(opts, row.certificate)
    return Daemon(binary, flags, opts.work, cores or opts.cores, perf.command if perf else (),
                  row.stored_topics(), row.config)


def run_load(opts, row, binary, total, perf=None, cores=0):
    daemon = start(opts, row, binary, total, perf, cores)
    try:
        if row.prefill:
            prefill(opts.bench, row, daemon, total)
        if perf:
            perf.control("enable")
        result = generate(opts.bench, row.load, total, daemon)
        if perf:
            perf.control("disable")
        if row.kind == "churn":
            verify_churn(opts, row, daemon, int(result["msgs"]))
            # Threads that have ended took their switches with them.
            if not perf:
                result["ctx"] = daemon.kill() / result["msgs"]
        elif row.kind != "idle":
            verify(daemon, row, total or int(result["msgs"]), int(result["redelivered"]))
        if row.kind == "storm-latency":
            verify_storm(daemon, int(result["storm_published"]))
        return result
    finally:
        daemon.remove()


def verify_churn(opts, row, daemon, made):
    """What each connection has published must be there, and come. Of the channels that they
    have made none may be left."""
    if row.load[0] == "churn-sub":
        verify(daemon, row, 0, 0)
    else:
        verify(daemon, row, made, 0)
        generate(opts.bench, ["sub", "--rdy", "2500"], made, daemon)


def verify_storm(daemon, published):
    """The topic of the short connections."""
    topic = daemon.topic_stats(f"{TOPIC}-storm")
    if topic["message_count"] != published:
        raise Failed(f"/stats counts {topic['message_count']} messages of the {published} that "
                     "short connections have published")


def numbers_left(daemon, n):
    """The numbers of the n messages that the channel has."""
    numbers = set()
    with socket.create_connection(("127.0.0.1", daemon.tcp), SETTLE_S) as s, s.makefile("rb") as f:
        s.sendall(f"  V2SUB {TOPIC} ch\nRDY 2500\n".encode())
        while n > 0:
            size, kind = struct.unpack(">II", f.read(8))
            data = f.read(size - 4)
            if kind == FRAME_MESSAGE:
                s.sendall(b"FIN " + data[10:26] + b"\n")
                numbers.add(struct.unpack("<Q", data[26:34])[0])
                n -= 1
    return numbers


def verify_exit(daemon, result):
    """What the next daemon finds: the channel, and those messages that have not come."""
    topic = daemon.topic_stats(TOPIC)
    if [c["channel_name"] for c in topic["channels"]] != ["ch"]:
        raise Failed("after the exit the channel is not there")
    left = topic["depth"] + topic["channels"][0]["depth"]
    if result["mode"] == "exit" and left:
        raise Failed(f"after the exit there are {left} messages, which were finished")
    unseen = {int(n) for n in str(result.pop("unseen", "")).split(",") if n}
    lost = unseen - numbers_left(daemon, left)
    if lost:
        raise Failed(f"{len(lost)} messages that were acknowledged are lost, of {len(unseen)} "
                     "that had not come before the exit")


def run_exit(opts, row, binary, total):
    """The generator ends the daemon."""
    daemon = start(opts, row, binary, total)
    try:
        result = generate(opts.bench, row.load, total, daemon, ends=True)
        daemon.await_exit()
        daemon.start()
        verify_exit(daemon, result)
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
        n = len(daemon.stats()["topics"])
        if n != total:
            raise Failed(f"{n} topics of {total} after the restart")
        return {"create_s": create, "stop_s": stop, "start_s": time.monotonic() - began,
                "rss_mb": rss}
    finally:
        daemon.remove()


def run_start(opts, row, binary, total):
    """How long a start takes with a backlog: after a clean stop, and after kill -9."""
    daemon = start(opts, row, binary, total)
    try:
        prefill(opts.bench, row, daemon, total)
        result = {"stop_s": daemon.stop()}
        for key in ("start_s", "kill_start_s"):
            began = time.monotonic()
            daemon.start()
            result[key] = time.monotonic() - began
            depth = daemon.topic_stats(TOPIC)["channels"][0]["depth"]
            if depth != total:
                raise Failed(f"{key}: a depth of {depth}, not {total}")
            result["rss_mb"] = rss_mb(daemon.pid)
            daemon.kill()
        return result
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
    """How many a run has. A row about a number of topics or connections has that number, whatever
    the scale."""
    if row.kind in ("topics", "storm", "exit") or not row.total:
        return row.total
    return max(int(row.total * opts.scale), 200)
