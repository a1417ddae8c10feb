"""Stock's programs as the tests run them. See test/functional/nsq.py."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request

from nsq import DEADLINE, Nsqd, not_tested, wait_until


def stock_binary(name):
    path = os.path.join(os.environ.get('STOCK_DIR', 'build/stock'), name)
    if not os.access(path, os.X_OK):
        not_tested('no stock %s: `make stock` builds it, and needs Go' % name)
    return os.path.abspath(path)


class StockNsqd(Nsqd):
    """Stock's daemon, whatever NSQD names."""

    def command(self):
        return [stock_binary('nsqd')] + super().command()[1:]


class Tool:
    """A program that runs until it is closed; its output goes to files."""

    def __init__(self, directory, name, *flags, program=None, stdin=None):
        self.directory, self.name = directory, name
        self.program = program or [stock_binary(name)]
        self.flags = list(flags)
        self.stdin = stdin
        self.start()

    def start(self):
        with open(self._path('out'), 'ab') as out, \
                open(self._path('err'), 'ab') as err:
            self.process = subprocess.Popen(
                self.program + self.flags, cwd=self.directory, stdout=out,
                stderr=err, stdin=self.stdin or subprocess.DEVNULL)

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _read(self, name):
        with open(self._path(name), encoding='utf-8') as f:
            return f.read()

    @property
    def out(self):
        return self._read('out')

    @property
    def err(self):
        return self._read('err')

    def lines(self):
        """Complete lines of its output."""
        return self.out.rpartition('\n')[0].splitlines()

    def wait_lines(self, expected):
        """Wait until its output is exactly these lines, in any order."""
        wait_until(lambda: sorted(self.lines()) == sorted(expected),
                   lambda: '%s prints %r, it printed %r\n%s' % (
                       self.name, expected, self.out, self.err[-2000:]))

    def wait_exit(self):
        return self.process.wait(DEADLINE)

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit()

    def close(self):
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Server(Tool):
    """A tool that listens on ports of its choice, and says on which."""

    LISTENING = re.compile(r'INFO: (TCP|HTTP): listening on \S+:(\d+)\n')

    def __init__(self, directory, name, *flags, listens=('HTTP',)):
        super().__init__(directory, name, *flags)

        def listening():
            found = dict(self.LISTENING.findall(self.err))
            return set(listens) <= set(found) and found
        found = wait_until(listening, lambda: '%s listens: %s' % (
            name, self.err))
        self.http_address = '127.0.0.1:' + found['HTTP']
        self.tcp_address = '127.0.0.1:' + found.get('TCP', '0')

    def request(self, method, path, body=None):
        """(status, body) of one request; a body is sent as JSON."""
        request = urllib.request.Request(
            'http://%s%s' % (self.http_address, path), method=method,
            data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def ask(self, method, path, body=None):
        """The parsed answer of a request that must succeed."""
        status, answer = self.request(method, path, body)
        assert status == 200, (method, path, status, answer)
        return json.loads(answer) if answer else None

    def get(self, path):
        return self.ask('GET', path)


class Lookupd(Server):
    def __init__(self, directory):
        super().__init__(
            directory, 'nsqlookupd', '--tcp-address=127.0.0.1:0',
            '--http-address=127.0.0.1:0', '--broadcast-address=127.0.0.1',
            listens=('TCP', 'HTTP'))

    def ports(self, topic):
        """TCP ports of the daemons that have this topic."""
        status, body = self.request('GET', '/lookup?topic=' + topic)
        return sorted(p['tcp_port'] for p in json.loads(body)['producers']
                      ) if status == 200 else []


def with_lookupds(lookupds):
    """Flags of an nsqd that registers with them."""
    return ['--broadcast-address=127.0.0.1'] + [
        '--lookupd-tcp-address=' + x.tcp_address for x in lookupds]


def discover(lookupds):
    """Flags of a tool that finds its daemons there."""
    return ['--lookupd-http-address=' + x.http_address for x in lookupds]


def tcp(daemon):
    return '127.0.0.1:%d' % daemon.tcp_port


def http(daemon):
    return '127.0.0.1:%d' % daemon.http_port


def give_up(daemon, topic, *bodies):
    """Publishes to a topic with a channel ch whose consumer sends each message back, once: then
    it is in TOPIC.dead."""
    settings = {'max_attempts': 1, 'dead_letter_topic': '{topic}.dead'}
    daemon.create(topic, 'ch')
    path = '/channel/config?topic=%s&channel=ch' % topic
    assert daemon.http('PUT', path, json.dumps(settings).encode()).status == 200
    daemon.pub(topic, *bodies)
    with daemon.subscribe(topic, 'ch', rdy=1) as client:
        for _ in bodies:
            client.req(client.message())
        daemon.wait_channel(topic, 'ch', depth=0, in_flight_count=0, deferred_count=0)
    daemon.wait_channel(topic, 'ch', client_count=0)
