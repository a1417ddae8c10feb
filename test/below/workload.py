"""What the daemon is put through, with a fault from below or without; and what became of it.

The same commands come in the same order each time, one after the other. So the n-th call of a place
is the same call in each run, as far as threads allow. Each step takes any answer: an error,
or the end of the connection, is noted, and the next step goes on. What must not be is that nothing
happens at all (Hang), that the daemon ends (Died), and what trial.py and run.py look for afterwards.
"""

import collections
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import time

from nsq import (DEADLINE, ERROR, MESSAGE, RESPONSE, Died, Message, Nsqd, mpub_body,
                 wait_until)

FLAGS = ['--mem-queue-size=8', '--max-bytes-per-file=2048', '--sync-every=8',
         '--msg-timeout=4s', '--broadcast-address=127.0.0.1', '--node-id=1']
# With the end of the line: half of it may be there, and half of the port.
LISTENING = re.compile(
    r'^\[nsqd\] .* INFO: (TCP|HTTPS): listening on 127\.0\.0\.1:(\d+)\n', re.M)
# Beyond the end of the daemon. A log keeps a delay, so the look at what is left waits for it.
LATER = 1500 if os.environ.get('DURABILITY') else 60000
ACKED, REFUSED, UNKNOWN = 'acknowledged', 'refused', 'unknown'


class Hang(AssertionError):
    """The daemon lives, and does not what it has to."""


class Ledger:
    """Each message: what its publisher was told; which a consumer has finished."""

    def __init__(self):
        self.told = collections.defaultdict(dict)       # topic: {body: ACKED ...}
        self.finished = collections.defaultdict(set)    # topic: bodies
        self.channels = {}                              # topic: its channel
        self.steps = []                                 # what has not gone well, in words

    def publish(self, topic, bodies, outcome):
        for body in bodies:
            self.told[topic][body] = outcome

    def note(self, text, *args):
        self.steps.append(text % args)

    def copy(self):
        new = Ledger()
        for topic, told in self.told.items():
            new.told[topic].update(told)
        for topic, bodies in self.finished.items():
            new.finished[topic] |= bodies
        new.channels.update(self.channels)
        return new

    def expected(self, topic):
        """What must still be there."""
        return {b for b, outcome in self.told[topic].items()
                if outcome == ACKED} - self.finished[topic]


class Daemon(Nsqd):
    BASE_FLAGS = ['--tcp-address=127.0.0.1:0', '--http-address=127.0.0.1:0']


class DaemonBelow(Daemon):
    """A daemon with below.so in front of libc."""

    def __init__(self, directory, flags, record, shim, orders):
        # A crash has left the socket's file there.
        self.http_path = os.path.join(directory, 'http')
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.http_path)
        super().__init__(directory, flags + ['--http-address=' + self.http_path])
        self.record, self.shim, self.orders = record, shim, orders
        self.https_port = None

    def spawn(self):
        ours = dict(self.record.environment, LD_PRELOAD=self.shim, BELOW=self.orders)
        options = os.environ.get('ASAN_OPTIONS', '')
        ours['ASAN_OPTIONS'] = options + ':verify_asan_link_order=0'
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            return super().spawn()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def start(self):
        """Also if the log cannot say which ports it has got."""
        self.spawn()

        def ports():
            found = dict(LISTENING.findall(self.log()))
            if 'HTTPS' in found:
                return found
            if not self.alive():
                return {'ended': True}
            if any('log' in e.thread for e in self.record.faults() if e.place.kind == 'write'):
                return dict(zip(('TCP', 'HTTPS'), listening(self.process.pid)))
            return None
        found = wait_for(ports, 'the daemon listens')
        if 'HTTPS' not in found:
            raise Died()
        self.tcp_port, self.https_port = int(found['TCP']), int(found['HTTPS'])
        return self


def listening(pid):
    """The ports of a process, in the order in which it has opened them."""
    sockets = {}
    with open('/proc/%d/net/tcp' % pid, encoding='ascii') as f:
        for line in list(f)[1:]:
            fields = line.split()
            if fields[3] == '0A':
                sockets['socket:[%s]' % fields[9]] = int(fields[1].split(':')[1], 16)
    links = []
    for fd in sorted(map(int, os.listdir('/proc/%d/fd' % pid))):
        with contextlib.suppress(OSError):
            links.append(os.readlink('/proc/%d/fd/%d' % (pid, fd)))
    return [sockets[link] for link in links if link in sockets]


class Peer:
    """A client that survives its connection: it makes another one."""

    def __init__(self, daemon, ledger, setup=None):
        self.daemon, self.ledger, self.setup = daemon, ledger, setup
        self.client = None

    def close(self):
        if self.client:
            self.client.close()
        self.client = None

    def lost(self, why):
        self.ledger.note('connection lost: %s', why)
        self.close()
        if not self.daemon.alive():
            raise Died()

    def connected(self):
        """A connection that is set up, or None."""
        if self.client:
            return self.client
        try:
            self.client = self.daemon.connect()
            if self.setup and not self.setup(self):
                self.close()
        except TimeoutError as error:
            raise Hang('no answer to a new client: %s' % error)
        except (OSError, EOFError) as error:
            self.lost(error)
        return self.client

    def insist(self):
        """A connection, however often it has to be tried."""
        return wait_for(self.connected, 'a client can connect')

    def ask(self, *command, **body):
        """One command and its answer: (ACKED, text), (REFUSED, text) or (UNKNOWN, '')."""
        if not self.connected():
            return REFUSED, 'no connection'
        try:
            self.client.command(*command, **body)
            kind, data = self.client.answer()
        except TimeoutError as error:
            raise Hang('no answer to %s: %s' % (command, error))
        except (OSError, EOFError) as error:
            self.lost(error)
            return UNKNOWN, ''
        if kind == ERROR:
            self.ledger.note('%s: %s', ' '.join(map(str, command)), data.decode())
            return REFUSED, data.decode()
        return ACKED, data

    def publish(self, topic, *bodies, defer=None):
        if len(bodies) > 1:
            outcome, _ = self.ask('MPUB', topic, body=mpub_body(bodies))
            # The first of them may be there, as in stock.
            outcome = UNKNOWN if outcome == REFUSED else outcome
        elif defer is not None:
            outcome, _ = self.ask('DPUB', topic, defer, body=bodies[0])
        else:
            outcome, _ = self.ask('PUB', topic, body=bodies[0])
        self.ledger.publish(topic, bodies, outcome)
        return outcome


def wait_for(condition, what, timeout=None):
    try:
        return wait_until(condition, what, timeout)
    except AssertionError as error:
        raise Hang(str(error))


def body(tag, i, size=150):
    return ('%s-%d.' % (tag, i)).encode().ljust(size, b'.')


def bodies(tag, first, n):
    return [body(tag, i) for i in range(first, first + n)]


class Consumer(Peer):
    """Subscribed, on whichever connection; finishes what it is told to."""

    def __init__(self, daemon, ledger, topic, channel):
        super().__init__(daemon, ledger, self.subscribe)
        self.topic, self.channel = topic, channel

    def subscribe(self, peer):
        peer.client.command('IDENTIFY', body=json.dumps(
            {'output_buffer_timeout': 25, 'client_id': 'c'}).encode())
        if peer.client.answer()[0] != RESPONSE:
            return False
        peer.client.command('SUB', self.topic, self.channel)
        kind, data = peer.client.answer()
        if kind != RESPONSE:
            self.ledger.note('SUB: %s', data)
            return False
        self.ledger.channels[self.topic] = self.channel
        return True

    def next(self, rdy, timeout=0.05):
        """A message, or None if none has come or the connection is lost."""
        try:
            if rdy:
                self.client.command('RDY', rdy)
            kind, data = self.client.answer(timeout)
        except TimeoutError:
            return None
        except (OSError, EOFError) as error:
            self.lost(error)
            return None
        if kind == ERROR:
            self.ledger.note('consumer of %s: %s', self.topic, data)
            return None
        return Message(data) if kind == MESSAGE else None

    def finish(self, message):
        try:
            self.client.command('FIN', message.id)
            self.ledger.finished[self.topic].add(message.body)
        except OSError as error:
            self.lost(error)

    def requeue(self, message, ms):
        try:
            self.client.command('TOUCH', message.id)
            self.client.command('REQ', message.id, ms)
        except OSError as error:
            self.lost(error)

    def receive(self, n, each=None):
        """n messages, as long as so many must be there; each(i, message) may keep one from FIN."""
        deadline = time.monotonic() + DEADLINE
        got = 0
        ready = None
        while got < n:
            if time.monotonic() > deadline:
                if len(self.ledger.expected(self.topic)) == 0:
                    return
                raise Hang('%s/%s: %d of %d messages' % (self.topic, self.channel, got, n))
            if not self.client:
                self.insist()
                ready = None
            message = self.next(5 if ready is None else None)
            ready = 5 if self.client else None
            if message:
                if not each or each(got, message):
                    self.finish(message)
                got += 1
            elif not self.ledger.expected(self.topic):
                return
        with contextlib.suppress(OSError):
            self.client.command('RDY', 0)


class Work:
    """The workload, step by step."""

    def __init__(self, daemon, ledger):
        self.daemon, self.ledger = daemon, ledger

    def connection(self, tls):
        if tls:
            return http.client.HTTPSConnection('127.0.0.1', self.daemon.https_port,
                                               timeout=DEADLINE, context=insecure())
        connection = http.client.HTTPConnection('127.0.0.1', self.daemon.http_port,
                                                timeout=DEADLINE)
        if isinstance(self.daemon, DaemonBelow):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(DEADLINE)
            connection.sock.connect(self.daemon.http_path)
        return connection

    def http(self, method, path, data=None, tls=False):
        """(status, body); (0, b'') if the connection is lost."""
        try:
            connection = self.connection(tls)
            try:
                connection.request(method, path, data)
                response = connection.getresponse()
                status, text = response.status, response.read()
            finally:
                connection.close()
        except TimeoutError:
            raise Hang('no answer to %s %s' % (method, path))
        except (OSError, EOFError, http.client.HTTPException) as error:
            self.ledger.note('%s %s: %r', method, path, error)
            if not self.daemon.alive():
                raise Died()
            return 0, b''
        if status != 200:
            self.ledger.note('%s %s: %d %s', method, path, status, text[:100])
        return status, text

    def insist(self, path):
        """POSTs until it has gone well."""
        wait_for(lambda: self.http('POST', path)[0] == 200, 'POST %s goes well' % path)

    def create(self, topic, channel):
        self.insist('/topic/create?topic=' + topic)
        self.insist('/channel/create?topic=%s&channel=%s' % (topic, channel))
        self.ledger.channels[topic] = channel

    def publish_http(self, topic, *bodies):
        call = '/mpub?binary=true&topic=' if len(bodies) > 1 else '/pub?topic='
        data = mpub_body(bodies) if len(bodies) > 1 else bodies[0]
        status, _ = self.http('POST', call + topic, data)
        self.ledger.publish(topic, bodies, ACKED if status == 200 else
                            UNKNOWN if status == 0 or len(bodies) > 1 else REFUSED)

    # -- the steps

    def run(self):
        for step in (self.backlog, self.produce, self.consume, self.pause, self.remove,
                     self.bury, self.encrypted, self.look):
            step()

    def backlog(self):
        """What lay on disk: some of it."""
        consumer = Consumer(self.daemon, self.ledger, 'old', 'ch')
        consumer.receive(12)
        consumer.close()

    def produce(self):
        self.create('work', 'ch')
        peer = Peer(self.daemon, self.ledger)
        for i in range(20):
            peer.publish('work', body('pub', i))
        peer.publish('work', *bodies('mpub', 0, 12))
        for i in range(3):
            peer.publish('work', body('dpub', i), defer=[40, LATER][i % 2])
        peer.close()
        self.publish_http('work', body('http', 0))
        self.publish_http('work', *bodies('http', 1, 8))

    def consume(self):
        """Finishes some, requeues some, leaves two in flight."""
        def each(i, message):
            if i % 7 == 3:
                consumer.requeue(message, [0, 50][i // 7 % 2])
                return False
            return i < 25
        consumer = Consumer(self.daemon, self.ledger, 'work', 'ch')
        consumer.receive(27, each)
        consumer.close()

    def pause(self):
        self.insist('/channel/pause?topic=work&channel=ch')
        self.insist('/channel/unpause?topic=work&channel=ch')
        self.insist('/topic/pause?topic=held')
        peer = Peer(self.daemon, self.ledger)
        peer.publish('held', *bodies('held', 0, 6))
        for i in range(6, 20):
            peer.publish('held', body('held', i))
        peer.close()
        self.insist('/topic/unpause?topic=work')

    def remove(self):
        self.create('junk', 'ch')
        del self.ledger.channels['junk']
        for i in range(2):
            self.http('POST', '/mpub?binary=true&topic=junk', mpub_body(bodies('junk', 0, 30)))
            self.http('POST', '/channel/empty?topic=junk&channel=ch')
        self.http('POST', '/channel/delete?topic=junk&channel=ch')
        self.http('POST', '/mpub?binary=true&topic=junk', mpub_body(bodies('junk', 0, 30)))
        self.http('POST', '/topic/delete?topic=junk')

    def bury(self):
        """Messages expire, and become dead letters. If it takes long, it is not waited for."""
        self.create('poor', 'ch')
        del self.ledger.channels['poor']
        self.http('PUT', '/channel/config?topic=poor&channel=ch',
                  b'{"message_ttl":"1ms","dead_letter_topic":"poor.dead"}')
        self.http('POST', '/mpub?binary=true&topic=poor', mpub_body(bodies('poor', 0, 30)))
        with contextlib.suppress(Hang):
            wait_for(lambda: b'"depth":30' in self.http(
                'GET', '/stats?format=json&topic=poor.dead')[1], 'dead letters are there', 3)
        for topic in 'poor', 'poor.dead':
            self.http('POST', '/topic/delete?topic=' + topic)

    def encrypted(self):
        """TLS and deflate; then HTTPS."""
        def setup(peer):
            peer.client.command('IDENTIFY', body=json.dumps(
                {'tls_v1': True, 'feature_negotiation': True}).encode())
            if peer.client.answer()[0] != RESPONSE:
                return False
            if peer.client.buffer:
                return False    # an error, where the handshake was to begin
            peer.client.socket = insecure().wrap_socket(peer.client.socket)
            return peer.client.answer()[0] == RESPONSE
        peer = Peer(self.daemon, self.ledger, setup)
        for i in range(4):
            peer.publish('work', body('tls', i, 3000))
        peer.close()
        self.http('GET', '/ping', tls=True)

    def look(self):
        for path in ('/ping', '/stats?format=json', '/stats', '/info', '/config/log_level',
                     '/debug/', '/metrics', '/health/live', '/health/ready'):
            self.http('GET', path)
        self.http('POST', '/debug/freememory')


def insecure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
