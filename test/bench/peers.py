"""Other servers beside ours: Redis Streams, beanstalkd and NATS JetStream.

Each has the same load in the same run on the same disk, by the same generator (peers.c). A server
that is not installed gives no figure, and says what is missing. None of them is pinned or tuned but
for what it promises.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from daemon import LIBC, PR_SET_PDEATHSIG, Failed, free_ports
from generator import run_generator

TOPIC = "bench"
START_S = 60
NATS = "build/peers/nats-server"

KILL = "`kill -9`"
POWER = f"{KILL} and a loss of power"
ONE_SECOND = f"{KILL}; of a loss of power all but the last second"
# By the first two words of a row's name and by side: the words for the table, and what an OK survives.
TEXTS = {
    ("peers-disk", "ours"): ("nsqd, `--durability=disk`", POWER),
    ("peers-disk", "stock"): ("stock, `--mem-queue-size=0 --sync-every=1`", POWER),
    ("peers-process", "ours"): ("nsqd, `--durability=process`", KILL),
    ("peers-process", "stock"): ("stock, memory queue", "nothing"),
}
PEERS = {
    "redis-always": ("peers-disk", "Redis Streams, `appendfsync always`", POWER),
    "beanstalkd-sync": ("peers-disk", "beanstalkd, `-f 0`", POWER),
    "nats-sync": ("peers-disk", "NATS JetStream, file, `sync_interval: always`", POWER),
    "redis-everysec": ("peers-process", "Redis Streams, `appendfsync everysec`", ONE_SECOND),
    "beanstalkd": ("peers-process", "beanstalkd, `-F`", KILL),
    "nats": ("peers-process", "NATS JetStream, file, `sync_interval: 2m`", KILL),
}


def _promise(row):
    return "-".join(row.split("-")[:2])


def of_row(name):
    """The servers of a row, and which binary each needs."""
    return {side: _binary(side) for side, (row, *_) in PEERS.items()
            if row == _promise(name)}


def describe(row, side):
    """The server in words, and what an OK of it survives."""
    return PEERS[side][1:] if side in PEERS else TEXTS[_promise(row), side]


def _binary(side):
    return {"redis": "redis-server", "beanstalkd": "beanstalkd", "nats": NATS}[side.split("-")[0]]


def _redis(side, directory, port):
    del directory
    how = side.removeprefix("redis-")
    return ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
            "--appendfsync", how]


def _beanstalkd(side, directory, port):
    sync = ["-f", "0"] if side.endswith("-sync") else ["-F"]
    return ["-l", "127.0.0.1", "-p", str(port), "-b", directory, *sync]


def _nats(side, directory, port):
    path = os.path.join(directory, "nats.conf")
    sync = "always" if side.endswith("-sync") else "2m"
    with open(path, "w") as f:
        f.write(f'host: 127.0.0.1\nport: {port}\n'
                f'jetstream {{ store_dir: "{directory}", sync_interval: {sync} }}\n')
    return ["-c", path]


def _create_stream(port):
    """The stream of NATS, in a file, with its defaults."""
    wanted = f'{{"name":"{TOPIC}","subjects":["{TOPIC}"],"storage":"file"}}'
    with socket.create_connection(("127.0.0.1", port), START_S) as s, s.makefile("rb") as f:
        s.sendall(f'CONNECT {{"verbose":false}}\r\nSUB answer 1\r\n'
                  f'PUB $JS.API.STREAM.CREATE.{TOPIC} answer {len(wanted)}\r\n{wanted}\r\n'
                  .encode())
        while not (line := f.readline()).startswith(b"MSG "):
            if not line or line.startswith(b"-ERR"):
                raise Failed(f"no stream: {line.decode()}")
        answer = f.read(int(line.split()[-1]))
        if b'"error"' in answer:
            raise Failed(f"no stream: {answer.decode()}")


def _await(process, port, log):
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            with open(log, errors="replace") as f:
                raise Failed(f"it ended with {process.returncode}: {f.read()[-200:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise Failed(f"it does not accept connections after {START_S} s")


def run(opts, row, side):
    """One run of a server; what the generator says."""
    binary = shutil.which(_binary(side))
    if not binary:
        raise Failed(f"there is no {_binary(side)}")
    kind = side.split("-")[0]
    directory = tempfile.mkdtemp(prefix="run.", dir=opts.work)
    ports = free_ports(1)
    port = ports[0].getsockname()[1]
    flags = {"redis": _redis, "beanstalkd": _beanstalkd, "nats": _nats}[kind](side, directory, port)
    ports[0].close()
    log_path = os.path.join(directory, "log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [os.path.abspath(binary), *flags], cwd=directory, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    try:
        _await(process, port, log_path)
        if kind == "nats":
            _create_stream(port)
        return run_generator([opts.bench, kind, *row.load[1:], "--topic", TOPIC,
                              "--port", str(port), "--pid", str(process.pid)])
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)
