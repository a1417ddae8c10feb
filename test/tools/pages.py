"""Follows a page of docs/: runs its commands as they stand there, in their order.

A command of a page is a line of a block that opens with ```sh. Addresses and paths that a test
cannot have are put in place of the page's, and nothing else is changed. Programs that talk to a
service manager (systemctl, journalctl) are scripts in front of PATH; see Service.
"""

import os
import re
import shutil
import signal
import socketserver
import subprocess
import threading

from nsq import DEADLINE, Nsqd, dead_address

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, 'docs')
BLOCK = re.compile(r'^```sh\n(.*?)^```$', re.M | re.S)
HEADING = re.compile(r'^#+ +(.*?) *$', re.M)
# A command of a page may wait for a daemon, which has a deadline of its own.
PATIENCE = 6 * DEADLINE


def sections(page):
    """The blocks of commands below each heading of a page: {heading: [block]}."""
    with open(os.path.join(DOCS, page), encoding='utf-8') as f:
        text = f.read()
    headings = list(HEADING.finditer(BLOCK.sub(lambda m: ' ' * len(m[0]), text)))
    ends = [h.start() for h in headings[1:]] + [len(text)]
    return {h[1]: BLOCK.findall(text[h.end():end]) for h, end in zip(headings, ends)}


class Page:
    """Somebody who follows a page in a directory of his own."""

    def __init__(self, name, directory, instead, path=()):
        """instead: what is put in place of the page's words; path: folders before PATH's."""
        self.sections, self.directory = sections(name), str(directory)
        self.instead = instead
        self.left = [heading for heading, blocks in self.sections.items() if blocks]
        self.environment = {**os.environ, 'LC_ALL': 'C.UTF-8',
                            'PATH': os.pathsep.join([*map(str, path), os.environ['PATH']])}

    def text(self, block):
        words = sorted(self.instead, key=len, reverse=True)
        if not words:
            return block
        return re.sub('|'.join(map(re.escape, words)), lambda m: self.instead[m[0]], block)

    def follow(self, heading, check=True, only=None):
        """Run the commands below a heading, or one block of them. Returns what they print."""
        if heading in self.left:
            self.left.remove(heading)
        blocks = self.sections[heading]
        assert blocks, 'no commands below %r' % heading
        return ''.join(self.run(self.text(block), check)
                       for block in (blocks if only is None else [blocks[only]]))

    def run(self, script, check=True):
        done = subprocess.run(['bash', '-euo', 'pipefail', '-c', script], cwd=self.directory,
                              env=self.environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
        assert not check or done.returncode == 0, '%s\nprinted\n%s' % (script, done.stdout)
        return done.stdout

    def all_followed(self):
        assert not self.left, 'no test follows %r' % self.left


SHIMS = {
    'systemctl': 'import socket, sys\n'
                 's = socket.socket(socket.AF_UNIX)\n'
                 's.connect(%(socket)r)\n'
                 's.sendall((" ".join(sys.argv[1:]) + "\\n").encode())\n'
                 'answer = s.makefile().readline().strip()\n'
                 'sys.exit(None if answer == "done" else answer or "no answer")\n',
    'journalctl': 'import sys\n'
                  'assert sys.argv[1:3] == ["-u", "nsqd"], sys.argv\n'
                  'sys.stdout.write(open(%(log)r, errors="replace").read())\n',
}


class _Unit(Nsqd):
    """The daemon as a unit starts it: with a config file, and no other flag."""

    def command(self):
        return self.flags


class Service:
    """`systemctl start|stop|restart|reload nsqd` for a unit whose ExecStart is BIN/nsqd --config=ETC/nsqd.cfg.

    One thread does what the scripts ask for; it lives as long as the daemons that it starts.
    """

    def __init__(self, directory, config):
        self.directory = str(directory)
        self.bin, self.etc, self.data = (
            os.path.join(self.directory, name) for name in ('bin', 'etc', 'data'))
        for path in (self.bin, self.etc, self.data, self.shims):
            os.makedirs(path)
        self.tcp_address, self.http_address = dead_address(), dead_address()
        with open(self.config, 'w', encoding='utf-8') as f:
            f.write('tcp_address = "%s"\nhttp_address = "%s"\ndata_path = "%s"\n%s' % (
                self.tcp_address, self.http_address, self.data, config))
        self.daemon = _Unit(self.directory,
                            [os.path.join(self.bin, 'nsqd'), '--config=' + self.config])
        self.daemon.tcp_port, self.daemon.http_port = (
            int(a.rpartition(':')[2]) for a in (self.tcp_address, self.http_address))
        self._listen()

    @property
    def shims(self):
        return os.path.join(self.directory, 'shims')

    @property
    def config(self):
        return os.path.join(self.etc, 'nsqd.cfg')

    def install(self, program):
        shutil.copy(program, os.path.join(self.bin, 'nsqd'))

    def _listen(self):
        service = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                words = self.rfile.readline().decode().split()
                try:
                    service._do(*words)
                    answer = 'done'
                except Exception as error:      # the script that asked fails with it
                    answer = repr(error)
                self.wfile.write((answer + '\n').encode())
        # Relative to the directory of the test, as its own path may be too long for a socket.
        path = os.path.join('/tmp', 'nsq-service-%d-%d' % (os.getpid(), id(self)))
        self.server = socketserver.UnixStreamServer(path, Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        for name, script in SHIMS.items():
            with open(os.path.join(self.shims, name), 'w', encoding='utf-8') as f:
                f.write('#!/usr/bin/python3\n'
                        + script % {'socket': path, 'log': self.daemon.log_path})
                os.chmod(f.fileno(), 0o755)
        self.socket = path

    def _do(self, verb, *words):
        assert words[-1] == 'nsqd', words
        if verb == 'reload':        # the ExecReload of docs/install/nsqd.service
            self.daemon.process.send_signal(signal.SIGHUP)
        if verb in ('stop', 'restart') and self.daemon.alive():
            self.daemon.process.send_signal(signal.SIGTERM)
            assert self.daemon.wait_exit() == 0
        if verb in ('start', 'restart'):
            assert not self.daemon.alive()
            self.daemon.spawn()

    def version_line(self):
        """The line of the log that names this implementation, of the last start; or None."""
        last = self.daemon.log().rpartition('nsqd v1.3.0 (built w/')[2]
        found = re.search(r'INFO: (nsqd-c v\S+)$', last, re.M)
        return found and found[1]

    def close(self):
        try:
            self.daemon.close()     # it ends with the thread that has started it
        finally:
            self.server.shutdown()
            self.server.server_close()
            os.unlink(self.socket)
