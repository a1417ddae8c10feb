#!/usr/bin/env python3
"""What a client, a topic, a channel and a message cost the daemon: bytes, threads, descriptors.

    footprint.py --nsqd=build/nsqd [--scale=0.1] [--row=topic,channel] [--write=docs/operating.md]

Each row has a daemon of its own. It looks at /proc before and after it has made so many of one
thing. Bytes are resident memory, page tables, and 16 KiB of the kernel for each thread; what the
kernel keeps for a socket is not counted. At the end all of them at once are compared with the sum
that the rows foretell.
"""
import argparse
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

sys.dont_write_bytecode = True
from daemon import Daemon, Failed

BEGIN, END = "<!-- footprint begin -->", "<!-- footprint end -->"
KERNEL_STACK = 16384
BODY = 200
# Channels that have each message of the row "copy".
COPIES = 4
# Threads that are kept for the next one end after a second without work.
SETTLE_S, REST_S = 60, 3.0


class Cost:
    """What a process has: bytes, threads, descriptors."""

    def __init__(self, memory, threads, descriptors):
        self.memory, self.threads, self.descriptors = memory, threads, descriptors

    @classmethod
    def of(cls, pid):
        with open(f"/proc/{pid}/status") as f:
            status = dict(re.findall(r"^(\w+):\s+(\d+)", f.read(), re.M))
        threads = int(status["Threads"])
        memory = (int(status["VmRSS"]) + int(status["VmPTE"])) * 1024 + threads * KERNEL_STACK
        return cls(memory, threads, len(os.listdir(f"/proc/{pid}/fd")))

    def since(self, before, n):
        return Cost((self.memory - before.memory) / n, (self.threads - before.threads) / n,
                    (self.descriptors - before.descriptors) / n)


def settled(daemon):
    """The cost when threads and descriptors have been the same for a while."""
    end = time.monotonic() + SETTLE_S
    last, since = None, time.monotonic()
    while True:
        now = Cost.of(daemon.pid)
        if last is None or (now.threads, now.descriptors) != (last.threads, last.descriptors):
            last, since = now, time.monotonic()
        elif time.monotonic() - since > REST_S:
            return now
        if time.monotonic() > end:
            raise Failed(f"it does not settle: {now.threads} threads")
        time.sleep(0.05)


class Connection:
    """A client that says what it must, and then waits."""

    def __init__(self, daemon, **identify):
        self.socket = socket.create_connection(("127.0.0.1", daemon.tcp), 30)
        self.encode = bytes
        self.socket.sendall(b"  V2")
        body = json.dumps({"feature_negotiation": True, "heartbeat_interval": 60000, **identify})
        self.send(b"IDENTIFY\n" + struct.pack(">i", len(body)) + body.encode())
        self.frame()

    def send(self, data):
        self.socket.sendall(self.encode(data))

    def read(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise Failed("the daemon has closed a connection")
            data += piece
        return data

    def frame(self):
        data = self.read(struct.unpack(">i", self.read(4))[0])
        if struct.unpack(">i", data[:4])[0] == 1:
            raise Failed(data[4:].decode())
        return data[4:]

    def close(self):
        self.socket.close()


def producer(daemon, _):
    return Connection(daemon)


def consumer(daemon, _):
    client = Connection(daemon)
    client.send(b"SUB t ch\n")
    client.frame()
    client.send(b"RDY 1\n")
    return client


def tls(daemon, _):
    client = Connection(daemon, tls_v1=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client.socket = context.wrap_socket(client.socket)
    client.frame()
    return client


def deflate(daemon, _):
    client = Connection(daemon, deflate=True, deflate_level=6)
    client.read(1)      # of the OK, compressed
    packer = zlib.compressobj(wbits=-15)
    client.encode = lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return client


def snappy(daemon, _):
    client = Connection(daemon, snappy=True)
    client.read(10)     # the head of the stream
    return client


def http(daemon, _):
    client = socket.create_connection(("127.0.0.1", daemon.http), 30)
    client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    data = b""
    while not data.endswith(b"OK"):
        data += client.recv(4096) or b"the end: OK"
    return client


def post(daemon, path, body=b""):
    url = f"http://127.0.0.1:{daemon.http}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=30) as r:
        r.read()


def topic(daemon, i):
    post(daemon, f"/topic/create?topic=topic{i}")


def channel(daemon, i):
    post(daemon, f"/channel/create?topic=t&channel=channel{i}")


def backlog(daemon, i):
    """A queue on disk, with messages: its topic has been there before."""
    post(daemon, f"/mpub?topic=b{i}", b"x" * BODY + b"\n" + b"y" * BODY)


# So many messages are made at a time.
BATCH = 100


def message(daemon, _, query="/mpub?topic=full"):
    post(daemon, query, b"\n".join([b"x" * BODY] * BATCH))


def copy(daemon, i):
    """Of messages that each channel of the topic has."""
    message(daemon, i, "/mpub?topic=copied")


def deferred(daemon, i):
    for _ in range(BATCH):
        post(daemon, "/pub?topic=late&defer=600000", b"x" * BODY)


CLIENTS = {f.__name__: f for f in (producer, consumer, tls, deflate, snappy, http)}
# What makes one of a kind, or BATCH of them.
MAKERS = CLIENTS | {f.__name__: f for f in (topic, channel, backlog, message, copy, deferred)}
KINDS = tuple(MAKERS)
TITLES = {
    "producer": "a client that waits, and has not subscribed: a producer",
    "consumer": "a client that waits, and has subscribed: a consumer",
    "tls": "a client that waits, over TLS",
    "deflate": "a client that waits, with deflate",
    "snappy": "a client that waits, with snappy",
    "http": "a connection by HTTP that waits",
    "topic": "a topic",
    "channel": "a channel",
    "backlog": "a disk queue with messages, on top of its topic or channel",
    "message": f"a message in memory, beside its body of {BODY} bytes",
    "copy": f"the same in {COPIES} channels, which share the body",
    "deferred": f"a deferred message, beside its body of {BODY} bytes",
}
COUNTS = {"producer": 1000, "consumer": 1000, "tls": 300, "deflate": 200, "snappy": 300,
          "http": 1000, "topic": 500, "channel": 500, "backlog": 200, "message": 1000,
          "copy": 500, "deferred": 200}


def prepare(kind, daemon, n):
    """What must be there before, so that it is not counted."""
    post(daemon, "/topic/create?topic=t")
    post(daemon, "/channel/create?topic=t&channel=ch")
    if kind == "backlog":
        for i in range(n + 1):
            post(daemon, f"/topic/create?topic=b{i}")
    if kind in ("copy", "deferred"):
        name = "copied" if kind == "copy" else "late"
        post(daemon, f"/topic/create?topic={name}")
        for i in range(COPIES if kind == "copy" else 1):
            post(daemon, f"/channel/create?topic={name}&channel=c{i}")


def make(kind, daemon, n, stack):
    """Make so many of a kind; clients stay until the stack is unwound."""
    for i in range(n):
        thing = MAKERS[kind](daemon, i + 1)
        if thing is not None:
            stack.callback(thing.close)


def flags_for(kind, certificate):
    memory = 0 if kind == "backlog" else 100_000_000
    return [f"--mem-queue-size={memory}", f"--tls-cert={certificate}", f"--tls-key={certificate}",
            "--log-level=error"]


@contextlib.contextmanager
def running(opts, kind, work, n):
    daemon = Daemon(opts.nsqd, flags_for(kind, os.path.join(work, "pem")), work)
    try:
        prepare(kind, daemon, n)
        yield daemon
    finally:
        daemon.remove()


def units(kind, n):
    """Of how many the cost is the sum, when make() was told n."""
    return n * BATCH if kind in ("message", "copy", "deferred") else n


def measure(opts, kind, work, n):
    with running(opts, kind, work, n) as daemon, contextlib.ExitStack() as stack:
        if kind not in CLIENTS:     # the first one has costs of its own
            MAKERS[kind](daemon, 0)
        before = settled(daemon)
        make(kind, daemon, n, stack)
        daemon.check_alive()
        cost = settled(daemon).since(before, units(kind, n))
    if units(kind, n) != n:
        cost.memory -= BODY
    return cost


def at_rest(opts, work):
    with running(opts, "rest", work, 0) as daemon:
        return settled(daemon)


def together(opts, work, rest, costs, scale):
    """Many things in one daemon: (foretold, measured)."""
    counts = {kind: max(1, int(COUNTS[kind] * scale / 2))
              for kind in ("producer", "consumer", "http", "topic", "channel", "message")
              if kind in costs}
    with running(opts, "mixed", work, 0) as daemon, contextlib.ExitStack() as stack:
        for kind, n in counts.items():
            make(kind, daemon, n, stack)
        found = settled(daemon)
    told = Cost(rest.memory, rest.threads, rest.descriptors)
    for kind, n in counts.items():
        n = units(kind, n)
        told.memory += n * (costs[kind].memory + (BODY if kind == "message" else 0))
        told.threads += n * costs[kind].threads
        told.descriptors += n * costs[kind].descriptors
    return told, found


def shown(number):
    """Bytes as a reader wants them."""
    if number < 1000:
        return f"{number:.0f} bytes"
    return f"{number / 1000:.1f} KB" if number < 1e6 else f"{number / 1e6:.0f} MB"


def share(number):
    """A count for each: nought, or with the digit that matters."""
    return "0" if abs(number) < 0.05 else f"{number:.1f}".removesuffix(".0")


def table(rest, costs, mixed):
    lines = ["| what | memory | threads | descriptors |", "|---|---|---|---|",
             f"| the daemon alone, with {os.cpu_count()} processors | {shown(rest.memory)} | "
             f"{rest.threads} | {rest.descriptors} |"]
    for kind, cost in costs.items():
        lines.append(f"| {TITLES[kind]} | {shown(max(0, cost.memory))} | {share(cost.threads)} | "
                     f"{share(cost.descriptors)} |")
    if mixed:
        told, found = mixed
        lines += ["", f"Many of them at once: the sum of the rows is {shown(told.memory)}, "
                  f"{told.threads:.0f} threads and {told.descriptors:.0f} descriptors;",
                  f"measured were {shown(found.memory)}, {found.threads} and "
                  f"{found.descriptors}."]
    return "\n".join(lines)


def write(page, text):
    with open(page, encoding="utf-8") as f:
        before, _, rest = f.read().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page} has no marks for the table")
    with open(page, "w", encoding="utf-8") as f:
        f.write(f"{before}{BEGIN}\n{text}\n{END}{after}")


def certify(work):
    path = os.path.join(work, "pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-keyout",
                    path + ".key", "-out", path], check=True, capture_output=True)
    with open(path, "a") as whole, open(path + ".key") as key:
        whole.write(key.read())


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--nsqd", default="build/nsqd")
    p.add_argument("--row", default="all", help=", ".join(KINDS) + ", or all")
    p.add_argument("--scale", type=float, default=1.0, help="fewer or more of everything")
    p.add_argument("--write", metavar="FILE.md", help="put the table into this page")
    p.add_argument("--json", action="store_true", help="print numbers instead of a table")
    opts = p.parse_args()
    opts.nsqd = os.path.abspath(opts.nsqd)
    kinds = KINDS if opts.row == "all" else tuple(opts.row.split(","))
    if not set(kinds) <= set(KINDS):
        p.error(f"--row={opts.row}: must be some of {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory(prefix="footprint.") as work:
        certify(work)
        rest = at_rest(opts, work)
        costs = {kind: measure(opts, kind, work, max(1, int(COUNTS[kind] * opts.scale)))
                 for kind in kinds}
        mixed = together(opts, work, rest, costs, opts.scale) if kinds == KINDS else None
    if opts.json:
        print(json.dumps({"rest": vars(rest), **{k: vars(c) for k, c in costs.items()}}))
        return
    text = table(rest, costs, mixed)
    print(text)
    if opts.write:
        write(opts.write, text)


if __name__ == "__main__":
    try:
        main()
    except Failed as e:
        sys.exit(f"footprint: {e}")
