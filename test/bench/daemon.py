"""One daemon under measurement: a process on fresh ports with a data directory of its own."""

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1

START_S = 60  # a daemon must accept connections by then


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
    that runs it as its only child; `topics` are there from the start; `config` is
    what its config file has."""

    def __init__(self, binary, flags, work_dir, cores=0, wrapper=(), topics=(), config=""):
        self.binary, self.flags, self.cores = binary, flags, cores
        self.wrapper = list(wrapper)
        self.dir = tempfile.mkdtemp(prefix="run.", dir=work_dir)
        self.proc = self.pid = None
        self.ports = free_ports(3)
        self.tcp, self.http, self.https = (s.getsockname()[1] for s in self.ports)
        if topics:
            self._store(topics)
        if config:
            self._configure(config)
        self.start()

    def _store(self, topics):
        """As if an earlier daemon had left these topics, with a channel each."""
        channel = {"name": "ch", "paused": False}
        with open(os.path.join(self.dir, "nsqd.dat"), "w") as f:
            json.dump({"version": "1.3.0", "topics": [
                {"name": name, "paused": False, "channels": [channel]} for name in topics]}, f)

    def _configure(self, text):
        path = os.path.join(self.dir, "nsqd.cfg")
        with open(path, "w") as f:
            f.write(text)
        self.flags = [*self.flags, f"--config={path}"]

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
                 f"--https-address=127.0.0.1:{self.https}", *self.flags],
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

    def stats(self, query=""):
        return json.loads(self.request(f"/stats?format=json{query}"))

    def topic_stats(self, topic):
        topics = self.stats(f"&topic={topic}")["topics"]
        if not topics:
            raise Failed(f"the topic {topic} is not in /stats")
        return topics[0]

    def stop(self):
        """A clean stop; returns how long it took."""
        began = time.monotonic()
        self.proc.send_signal(signal.SIGTERM)
        self.await_exit()
        return time.monotonic() - began

    def await_exit(self):
        """It has been told to stop; it must have done so, without a complaint."""
        try:
            code = self.proc.wait(60)
        except subprocess.TimeoutExpired as e:
            raise Failed("did not stop within 60 s") from e
        if code != 0:
            raise Failed(f"the daemon ended with {code}: {self.last_log_line()}")

    def kill(self):
        """Returns the context switches of all its threads, those that had ended before as well:
        the kernel adds them up, and tells the parent only."""
        os.kill(self.pid or self.proc.pid, signal.SIGKILL)
        _, status, used = os.wait4(self.proc.pid, 0)
        self.proc.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_nvcsw + used.ru_nivcsw

    def remove(self):
        # Not a clean stop: a full memory queue would be written to disk first.
        if self.proc.poll() is None:
            self.kill()
        for s in self.ports:
            s.close()
        shutil.rmtree(self.dir, ignore_errors=True)
