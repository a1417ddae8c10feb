#!/usr/bin/env python3
"""Runs the interop tests: stock client libraries against one nsqd.

The client programs (go/, python/, js/) only do what they are told and report
what happened to them; the scenarios below, and every judgement, are here.
README.md describes the language between the two. Only the standard library
is used.
"""
import argparse
import base64
import collections
import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from stacks import DAEMONS, PLAIN, STACKS, TLS, make_certificates

HERE = pathlib.Path(__file__).resolve().parent
HOST = '127.0.0.1'
CLIENTS = ['go', 'python', 'js']

MSG_TIMEOUT = 2000       # ms, asked for by the consumers that let messages time out; what comes
                         # again must be answered within it, on a busy machine, too
MAX_MSG_SIZE = 1 << 20   # nsqd's defaults
MAX_BODY_SIZE = 5 << 20
# nsqd looks for new channels to scan for timeouts and deferred messages every
# five seconds: what waits for a scan may be late by that much.
SCAN_REFRESH = 5.0
TRIAL_LIMIT = 240        # seconds for one trial: what takes 5 may take 90 on a busy machine
TIME_LIMIT = 900         # seconds for all of them
PATIENCE = 60            # seconds for the daemon to start, to answer and to stop


class Failure(Exception):
    """The daemon, or a client, did not do what it should."""


class Watched:
    """A list that another thread appends to."""

    def __init__(self):
        self.items = []
        self.changed = threading.Condition()

    def append(self, item):
        with self.changed:
            self.items.append(item)
            self.changed.notify_all()

    def wait(self, look, seconds):
        """Waits until look(items) is true; returns that, or None."""
        with self.changed:
            return self.changed.wait_for(lambda: look(self.items), max(0, seconds)) or None


class Daemon:
    """The nsqd under test, on free ports and a data directory of its own."""

    def __init__(self, path, directory, name, flags):
        self.log = Watched()
        data = directory / f'{name}.data'
        data.mkdir()
        self.process = subprocess.Popen(
            [path, f'--data-path={data}', f'--tcp-address={HOST}:0', f'--http-address={HOST}:0',
             f'--https-address={HOST}:0',
             # Small, so that what is not consumed at once goes to disk.
             '--mem-queue-size=1000', *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors='replace')
        self.reader = threading.Thread(target=self._read, args=(directory / f'{name}.log',))
        self.reader.start()
        self.tcp = self._address('TCP')
        self.http = self._address('HTTP')

    def _read(self, path):
        with open(path, 'w', encoding='utf-8') as log:
            for line in self.process.stderr:
                log.write(line)
                log.flush()
                self.log.append(line)
        self.log.append('')  # wakes who waits: there will be no more

    def _address(self, name):
        pattern = re.compile(rf' {name}: listening on (\S+:\d+)$', re.M)

        def look(lines):
            if lines and lines[-1] == '':
                raise Failure('nsqd did not start:\n' + ''.join(lines[-20:]))
            return next(filter(None, map(pattern.search, lines)), None)

        found = self.log.wait(look, PATIENCE)
        if not found:
            raise Failure(f'nsqd did not log "{name}: listening on ..." in time')
        return found[1]

    def stats(self, topic):
        """The topic of /stats, or None."""
        topics = self.all_stats(topic)['topics']
        return topics[0] if topics else None

    def all_stats(self, topic):
        """What /stats says about a topic, its consumers, and all producers."""
        connection = http.client.HTTPConnection(self.http, timeout=PATIENCE)
        try:
            connection.request('GET', f'/stats?format=json&topic={topic}')
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise Failure(f'/stats: {answer.status} {body!r}')
            return json.loads(body)
        except OSError as error:
            raise Failure(f'/stats: {error!r}; nsqd: {self.process.poll() or "running"}') from error
        finally:
            connection.close()

    def stop(self):
        """Asks the daemon to exit: it must do so soon, and with 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f'nsqd did not exit within {PATIENCE} s of SIGTERM') from None
        finally:
            self.kill()
        if code:
            raise Failure(f'nsqd exited with {code} on SIGTERM')

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


class Proxy:
    """A TCP proxy before the daemon that can cut what goes through it."""

    def __init__(self, target):
        self.target = (HOST, int(target.rpartition(':')[2]))
        self.lock = threading.Lock()
        self.pairs = []
        self.listener = socket.create_server((HOST, 0))
        self.address = f'{HOST}:{self.listener.getsockname()[1]}'
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            with self.lock:
                self.pairs.append((near, far))
            for source, sink in (near, far), (far, near):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass  # a reset: for the other side this is an end, too
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        """Resets every connection, on both sides. New ones may be made."""
        with self.lock:
            for pair in self.pairs:
                for end in pair:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                    try:
                        end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
                    except OSError:
                        pass
                    end.close()
            self.pairs = []

    def close(self):
        self.listener.close()
        self.cut()


class Client:
    """A running client program."""

    connections = 1

    def __init__(self, trial, library, *arguments):
        self.trial = trial
        self.library = library
        self.events = Watched()
        self.process = subprocess.Popen(
            [*trial.suite.commands[library], *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=trial.stderr)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))
        self.events.append({'event': 'end'})

    def wait(self, what, look):
        """Waits until look(events) is true, and returns that."""
        def look_or_end(events):
            found = look(events)
            if not found and events and events[-1]['event'] == 'end':
                raise Failure(f'{self.library} ended early, waiting for {what}')
            return found
        found = self.events.wait(look_or_end, self.trial.remaining())
        if not found:
            raise Failure(f'{self.library}: no {what} in time; last of {len(self.events.items)} '
                          f'events: {self.events.items[-3:]}')
        return found

    def send(self, line):
        try:
            self.process.stdin.write(line.encode() + b'\n')
            self.process.stdin.flush()
        except OSError as error:
            raise Failure(f'{self.library}: {error!r}') from error

    def close(self):
        """The end of its input tells a client to close its connections and to exit."""
        self.process.stdin.close()
        try:
            code = self.process.wait(self.trial.remaining())
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.library} did not exit in time') from None
        if code:
            raise Failure(f'{self.library} exited with {code}')
        self.reader.join()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        try:
            self.process.stdin.close()
        except OSError:
            pass
        self.process.stdout.close()


class Consumer(Client):
    """A client that consumes, with one connection or several."""

    def __init__(self, trial, library, channel, address, consumers, options):
        self.channel = channel
        self.consumers = self.connections = consumers
        flags = [f'--{name.replace("_", "-")}={value}' for name, value in options.items()]
        super().__init__(trial, library, 'consume', f'--nsqd={address}', f'--topic={trial.topic}',
                         f'--channel={channel}', f'--consumers={consumers}',
                         *trial.stack_flags(), *flags)

    def select(self, kind):
        return [e for e in list(self.events.items) if e['event'] == kind]

    def wait_for(self, kind, count):
        self.wait(f'{count} x {kind}',
                  lambda events: sum(e['event'] == kind for e in events) >= count)

    def release(self):
        """Tells the client to finish the messages that it holds."""
        self.send('release')


class Trial:
    """One run of one scenario, with a topic, client programs and a deadline of its own."""

    def __init__(self, suite, name, publisher, consumer, stack):
        self.suite = suite
        self.stack = stack
        self.daemon = suite.daemons[stack.daemon]
        self.topic = name.replace('/', '.').replace('>', '-')
        self.publisher_library = publisher
        self.consumer_library = consumer
        self.random = random.Random(name)  # the same bodies in every run
        self.deadline = time.monotonic() + TRIAL_LIMIT
        self.stderr = open(suite.directory / f'{self.topic}.stderr', 'w+b')
        self.clients = []
        self.proxies = []
        self.publisher = None
        self.sent = []     # bodies, in the order of publishing
        self.started = time.time()

    def stack_flags(self):
        return self.stack.flags(self.suite.certificates)

    def remaining(self):
        return self.deadline - time.monotonic()

    def finished(self, channel):
        """The messages that clients say they finished: id -> how often."""
        return collections.Counter(e['id'] for c in self.clients if isinstance(c, Consumer)
                                   and c.channel == channel for e in c.select('finish'))

    def until(self, what, look):
        """Polls the daemon until look() is true, and returns that."""
        while True:
            found = look()
            if found:
                return found
            if self.remaining() <= 0:
                raise Failure(f'{what}: not in time; {self.topic} is {self.brief()}')
            time.sleep(0.05)

    def brief(self):
        stats = self.daemon.stats(self.topic)
        for channel in stats['channels'] if stats else []:
            for client in channel['clients']:
                for key in list(client):
                    if not key.endswith('_count'):
                        del client[key]
        return json.dumps(stats)

    def bodies(self, count, size=32):
        return [self.random.randbytes(size) for _ in range(count)]

    def publish(self, op, bodies, delay=0):
        """Publishes, and returns when nsqd has acknowledged all of it."""
        if not self.publisher:
            self.publisher = Client(self, self.publisher_library, 'publish',
                                    f'--nsqd={self.daemon.tcp}', *self.stack_flags())
            self.clients.append(self.publisher)
        before = len(self.publisher.events.items)
        self.sent += bodies
        self.publisher.send(json.dumps({
            'op': op, 'topic': self.topic, 'delay': delay,
            'bodies': [base64.b64encode(body).decode() for body in bodies]}))
        self.publisher.wait('acknowledgement', lambda events: len(events) > before
                            and events[-1]['event'] == 'published')
        if len(self.publisher.events.items) != before + 1:
            raise Failure(f'publish: {self.publisher.events.items[before:]}')

    def consume(self, channel='ch', consumers=1, library=None, address=None, **options):
        """Starts a consumer, and returns when nsqd has all its connections."""
        consumer = Consumer(self, library or self.consumer_library, channel,
                            address or self.daemon.tcp, consumers, options)
        self.clients.append(consumer)
        connected = sum(c.consumers for c in self.clients if isinstance(c, Consumer)
                        and c.channel == channel and c.process.poll() is None)
        self.until('subscription', lambda: self.ready_clients(channel) >= connected)
        return consumer

    def channel(self, name):
        stats = self.daemon.stats(self.topic)
        return next((c for c in stats['channels'] if c['channel_name'] == name), None) \
            if stats else None

    def ready_clients(self, name):
        channel = self.channel(name)
        return sum(c['ready_count'] > 0 for c in channel['clients']) if channel else 0

    def proxy(self):
        self.proxies.append(Proxy(self.daemon.tcp))
        return self.proxies[-1]

    def warm_up(self, consumer, op='mpub', delay=0):
        """Has one message wait for a scan for timeouts and deferred messages: from then
        on nsqd scans this channel all the time, and what is early would arrive early."""
        self.publish(op, self.bodies(1), delay)
        consumer.wait_for('finish', 1)

    def verify(self, *consumers, requeues=0, timeouts=0, errors=0, cut=False):
        """Waits until everything that was sent is finished, and checks it all.

        The consumers are all those of one channel. cut says that connections
        were: what a client finished on one of those never reached nsqd.
        """
        count = len(self.sent)
        channel = consumers[0].channel
        all_consumers = [c for c in self.clients if isinstance(c, Consumer)
                         and c.channel == channel]

        # First the clients, then nsqd: a message on its way to a client is, for a
        # moment, in none of nsqd's counts (in stock's neither).
        def clean():
            if len(self.finished(channel)) < count:
                return None
            c = self.channel(channel)
            return c and c['message_count'] == count and not (
                c['depth'] or c['in_flight_count'] or c['deferred_count']) and c
        stats = self.until('all finished', clean)

        topic = self.daemon.stats(self.topic)
        same('topic depth', topic['depth'], 0)
        same('topic message_count', topic['message_count'], count)
        same('topic message_bytes', topic['message_bytes'], sum(map(len, self.sent)))
        same('requeue_count', stats['requeue_count'], requeues)
        if not cut:
            same('timeout_count', stats['timeout_count'], timeouts)
            same('finish_count of the clients',
                 sum(c['finish_count'] for c in stats['clients']), count)
            same('message_count of the clients', sum(c['message_count'] for c in stats['clients']),
                 count + requeues + timeouts)
        timeouts = stats['timeout_count']

        for consumer in consumers:
            consumer.close()
        self.until('no clients', lambda: self.channel(channel)['client_count'] == 0)

        arrived = [e for c in all_consumers for e in c.select('message')]
        first = {}
        attempts = collections.defaultdict(list)
        for e in arrived:
            first.setdefault(e['id'], e)
            attempts[e['id']].append(e['attempts'])
            if e['sha256'] != first[e['id']]['sha256']:
                raise Failure(f'{e["id"]} arrived with two bodies')
            if not self.started - 1 < int(e['timestamp']) / 1e9 < time.time() + 1:
                raise Failure(f'timestamp of another time: {e}')
        same('ids', len(first), count)
        same('bodies', collections.Counter(e['sha256'] for e in first.values()),
             collections.Counter(hashlib.sha256(body).hexdigest() for body in self.sent))
        times = self.finished(channel)
        same('messages finished', len(times), count)
        if cut:
            # Some of the last answers, or of the last messages, were lost.
            between('deliveries', len(arrived), count, count + timeouts)
            if any(numbers != sorted(set(numbers)) for numbers in attempts.values()):
                raise Failure(f'attempts do not grow: {dict(attempts)}')
        else:
            same('deliveries', len(arrived), count + requeues + timeouts)
            same('messages finished more than once', [i for i in times if times[i] > 1], [])
            for i, numbers in attempts.items():
                same(f'attempts of {i}', sorted(numbers), list(range(1, len(numbers) + 1)))
            got = [e['error'] for c in all_consumers for e in c.select('error')]
            if len(got) != errors:
                raise Failure(f'{len(got)} errors, not {errors}: {got[:5]}')

    def verify_stack(self):
        """Checks that all connections, before verify() closes them, have the trial's layers."""
        stats = self.daemon.all_stats(self.topic)
        clients = [c for channel in stats['topics'][0]['channels'] for c in channel['clients']]
        clients += [c for c in stats['producers']
                    if any(count['topic'] == self.topic for count in c.get('pub_counts', []))]
        same('connections', len(clients), sum(c.connections for c in self.clients))
        for client in clients:
            if not self.stack.in_use(client):
                raise Failure(f'not through {self.stack.name}: {client}')

    def end(self):
        if self.publisher:
            self.publisher.close()

    def clean_up(self):
        for client in self.clients:
            client.kill()
        for proxy in self.proxies:
            proxy.close()
        self.stderr.seek(0)
        text = self.stderr.read()[-4000:].decode(errors='replace')
        self.stderr.close()
        return text


def same(what, got, wanted):
    if got != wanted:
        raise Failure(f'{what}: {shorten(got)}, not {shorten(wanted)}')


def between(what, got, low, high):
    if not low <= got <= high:
        raise Failure(f'{what}: {got}, not {low} to {high}')


def shorten(value):
    text = repr(value)
    return text if len(text) < 300 else text[:300] + '...'


def gaps(consumer, attempt=2):
    """Seconds from each message's first arrival to its arrival on a later attempt."""
    at = {(e['id'], e['attempts']): e['at'] for e in consumer.select('message')}
    return [at[i, attempt] - at[i, 1] for i, a in at if a == attempt]


# --- scenarios -------------------------------------------------------------
#
# Each takes a Trial and ends with verify(): every message arrived and was
# finished exactly once, and /stats says so.

def publish(t):
    """PUB, MPUB and DPUB; a deferred message does not arrive before its time."""
    consumer = t.consume(max_in_flight=10)
    t.warm_up(consumer, 'dpub', 1)
    t.publish('pub', t.bodies(50))
    t.publish('mpub', t.bodies(50))
    sent = {}
    for delay in 300, 800, 1500:
        bodies = t.bodies(5)
        now = time.time()
        sent.update((hashlib.sha256(body).hexdigest(), now + delay / 1000) for body in bodies)
        t.publish('dpub', bodies, delay)
    t.verify(consumer)
    for e in consumer.select('message'):
        if e['at'] < sent.get(e['sha256'], 0) - 0.002:
            raise Failure(f'deferred message early by {sent[e["sha256"]] - e["at"]:.3f} s')


def backlog(t):
    """What was published before the first consumer came waits for it."""
    t.publish('mpub', t.bodies(200))
    t.publish('pub', t.bodies(100))
    t.verify(t.consume(max_in_flight=20))


def disk(t):
    """A backlog that is larger than the memory queue goes to disk and comes back."""
    bodies = t.bodies(5000, 200)
    t.publish('pub', bodies[:1000])
    for i in range(1000, 5000, 500):
        t.publish('mpub', bodies[i:i + 500])
    if not t.daemon.stats(t.topic)['backend_depth']:
        raise Failure('nothing is on disk')
    t.verify(t.consume(max_in_flight=50))


def consumers(t):
    """Several consumers share a channel: each message goes to one of them."""
    consumer = t.consume(consumers=4, max_in_flight=2)
    other = t.consume(consumers=2, max_in_flight=2)
    for _ in range(5):
        t.publish('pub', t.bodies(100))
    t.verify(consumer, other)
    for c in consumer, other:
        same('consumers that got something', len({e['consumer'] for e in c.select('message')}),
             c.consumers)


def channels(t):
    """Each channel gets every message, with the same id."""
    group = [t.consume(channel=f'ch{i}', consumers=2, max_in_flight=10) for i in range(3)]
    t.publish('mpub', t.bodies(100))
    t.publish('pub', t.bodies(100))
    for consumer in group:
        t.verify(consumer)
    ids = [{e['id']: e['sha256'] for e in c.select('message')} for c in group]
    same('ids in the channels', [i == ids[0] for i in ids], [True] * 3)


def requeue(t):
    """REQ without delay: attempts grow."""
    consumer = t.consume(max_in_flight=5, mode='requeue', attempts=4)
    t.publish('mpub', t.bodies(20))
    t.verify(consumer, requeues=60)


def requeue_delayed(t):
    """REQ with a delay: the message does not come back before it."""
    consumer = t.consume(max_in_flight=20, mode='requeue', attempts=2, delay=700)
    t.warm_up(consumer)
    t.publish('mpub', t.bodies(20))
    t.verify(consumer, requeues=21)
    if min(gaps(consumer)) < 0.7 - 0.002:
        raise Failure(f'requeued with 0.7 s of delay, back after {min(gaps(consumer)):.3f} s')


def backoff(t):
    """REQ with the library's backoff, which plays with RDY 0 and RDY 1."""
    consumer = t.consume(max_in_flight=5, mode='backoff', attempts=2)
    t.publish('mpub', t.bodies(5))
    t.verify(consumer, requeues=5)


def touch(t):
    """TOUCH keeps messages from their timeout, past a scan for certain."""
    consumer = t.consume(max_in_flight=3, mode='touch', msg_timeout=2 * MSG_TIMEOUT,
                         hold=int(SCAN_REFRESH * 1000) + 3 * MSG_TIMEOUT)
    t.publish('mpub', t.bodies(3))
    t.verify(consumer)


def timeout(t):
    """A message that nobody answers comes back; a late FIN is an error that does no harm."""
    consumer = t.consume(max_in_flight=5, mode='hold', attempts=2, msg_timeout=MSG_TIMEOUT)
    warmed_up = time.time()
    t.warm_up(consumer)
    began = time.time()
    t.publish('mpub', t.bodies(5))
    consumer.wait_for('finish', 6)
    t.until('second FIN', lambda: t.channel('ch')['clients'][0]['finish_count'] == 6)
    consumer.release()
    consumer.wait_for('error', 6)
    for e in consumer.select('error'):
        if 'E_FIN_FAILED' not in e['error']:
            raise Failure(f'not E_FIN_FAILED: {e}')
    t.verify(consumer, timeouts=6, errors=6)
    # From the publishing on: how late a client was for the first delivery is its own affair.
    again = sorted(e['at'] for e in consumer.select('message') if e['attempts'] == 2)
    for since, at in (warmed_up, again[0]), (began, again[1]):
        if at < since + MSG_TIMEOUT / 1000 - 0.002:
            raise Failure(f'timed out after {at - since:.3f} s')


def killed(t):
    """A consumer dies holding messages: the next one gets them when they time out."""
    consumer = t.consume(max_in_flight=5, mode='hold', attempts=2, msg_timeout=MSG_TIMEOUT)
    t.publish('mpub', t.bodies(20))
    consumer.wait_for('message', 5)
    consumer.kill()
    t.until('no clients', lambda: t.channel('ch')['client_count'] == 0)
    heir = t.consume(max_in_flight=5)
    t.verify(heir, timeouts=5, cut=True)
    same('timeout_count', t.channel('ch')['timeout_count'], 5)
    same('deliveries on a second attempt',
         sorted(e['attempts'] for e in heir.select('message')), [1] * 15 + [2] * 5)
    same('finished by the heir', len(heir.select('finish')), 20)


def reconnect(t):
    """A connection is cut while its messages are held: the library connects
    again, and nsqd hands out what was in flight once more."""
    proxy = t.proxy()
    consumer = t.consume(address=proxy.address, max_in_flight=5, mode='hold', attempts=2,
                         msg_timeout=MSG_TIMEOUT)
    held = t.bodies(5)
    t.publish('mpub', held)
    consumer.wait_for('message', 5)
    proxy.cut()
    consumer.release()  # these answers go nowhere
    t.until('reconnect', lambda: t.ready_clients('ch') == 1)
    consumer.wait_for('finish', 5)
    t.until('all finished', lambda: t.channel('ch')['in_flight_count'] == 0)
    t.verify(consumer, cut=True)
    same('timeout_count', t.channel('ch')['timeout_count'], 5)
    same('attempts', sorted(e['attempts'] for e in consumer.select('message')), [1] * 5 + [2] * 5)


def cut_in_flow(t):
    """Connections are cut in mid-flow, of several consumers at once."""
    proxy = t.proxy()
    consumer = t.consume(address=proxy.address, consumers=3, max_in_flight=10,
                         msg_timeout=2 * MSG_TIMEOUT)
    for part in range(10):
        t.publish('mpub', t.bodies(300))
        if part == 4:
            consumer.wait_for('message', 1000)
            proxy.cut()
    t.verify(consumer, cut=True)


def sizes(t):
    """Bodies of 1 byte to max-msg-size, in each way to publish."""
    lengths = [1, 2, 3, 127, 128, 255, 256, 4095, 4096, 16383, 16384, 16385, 65535, 65536, 65537,
               MAX_MSG_SIZE - 1, MAX_MSG_SIZE]
    bodies = [t.random.randbytes(n) for n in lengths]
    consumer = t.consume(max_in_flight=4)
    t.publish('pub', bodies)
    t.publish('mpub', bodies)
    t.publish('dpub', bodies, 50)
    t.publish('mpub', [t.random.randbytes(t.random.randrange(1, 2000)) for _ in range(500)])
    t.verify(consumer)


def many(t):
    """20,000 small messages."""
    consumer = t.consume(consumers=2, max_in_flight=100)
    for _ in range(5):
        t.publish('pub', t.bodies(1000, 16))
    for _ in range(30):
        t.publish('mpub', t.bodies(500, 16))
    t.verify(consumer)


def stack(t):
    """20,000 messages of mixed sizes go through a stack of layers, in and out."""
    consumer = t.consume(consumers=2, max_in_flight=100)
    bodies = mixed_bodies(t.random, 20000)
    for i in range(0, 5000, 1000):
        t.publish('pub', bodies[i:i + 1000])
    for i in range(5000, 20000, 500):
        t.publish('mpub', bodies[i:i + 500])
    t.verify_stack()
    t.verify(consumer)


def mixed_bodies(source, count):
    """From 1 byte to 4 KB, few of them large; some are as large as two of snappy's
    chunks. One half is noise, the other can be compressed."""
    def body(i):
        size = source.randrange(1 << 16, 1 << 17) if i % 500 == 0 else \
            int(2 ** source.uniform(0, 12))
        return source.randbytes(size) if i % 2 else (b'message %d, ' % i * size)[:size]
    bodies = [body(i) for i in range(count)]
    source.shuffle(bodies)
    return bodies


def largest(t):
    """MPUBs of exactly max-body-size through a stack of layers, of noise and of zeros."""
    lengths = [MAX_MSG_SIZE] * 4 + [100] * 1000
    lengths.append(MAX_BODY_SIZE - 4 - sum(4 + n for n in lengths) - 4)
    consumer = t.consume(max_in_flight=4)
    for fill in t.random.randbytes, bytes:
        t.publish('mpub', [fill(n) for n in lengths])
    t.verify_stack()
    t.verify(consumer)


def mixed(t):
    """Consumers of all the libraries share a channel; another channel has all to itself."""
    libraries = list(t.suite.commands)
    group = [t.consume(library=lib, max_in_flight=3, mode='requeue', attempts=2)
             for lib in libraries]
    other = t.consume(channel='other', max_in_flight=10)
    for _ in range(4):
        t.publish('pub', t.bodies(50))
        t.publish('mpub', t.bodies(50))
    t.verify(*group, requeues=400)
    t.verify(other)
    same('libraries that got something', [bool(c.select('message')) for c in group],
         [True] * len(group))


# The slow ones come first: they mostly wait.
SAME_LIBRARY = [reconnect, touch, timeout, killed, publish, requeue_delayed,
                cut_in_flow, many, disk, backoff, requeue, consumers, channels, mixed]
MATRIX = [sizes, backlog]
OVER_TLS = [cut_in_flow]
EACH_STACK = [stack, largest]


def plan(libraries, wanted):
    """All (name, scenario, publisher, consumer, stack), in the order of their start."""
    pairs = [(p, c) for p in libraries for c in libraries]
    trials = [(f'{s.__name__}/{lib}', s, lib, lib, PLAIN)
              for s in SAME_LIBRARY for lib in libraries]
    # Not with compression: nsqjs does not survive the end of half a block.
    trials += [(f'{s.__name__}/{lib}/{TLS.name}', s, lib, lib, TLS)
               for s in OVER_TLS for lib in libraries]
    trials += [(f'{s.__name__}/{lib}/{layers.name}', s, lib, lib, layers)
               for s in EACH_STACK for layers in STACKS for lib in libraries]
    trials += [(f'{s.__name__}/{p}>{c}', s, p, c, PLAIN) for s in MATRIX for p, c in pairs]
    return [t for t in trials if not wanted or any(w in t[0] for w in wanted)]


class Suite:
    def __init__(self, clients, directory):
        self.directory = directory
        self.certificates = directory / 'certificates'
        self.daemons = {}
        self.commands = {}
        known = {
            'go': [clients / 'go/client'],
            'python': [clients / 'python/venv/bin/python', HERE / 'python/client.py'],
            'js': ['node', clients / 'js/client.js'],
        }
        for library, command in known.items():
            if (clients / library / 'ready').exists():
                self.commands[library] = [str(part) for part in command]

    def start(self, nsqd, names):
        """Starts the daemons that trials ask for."""
        make_certificates(self.certificates)
        for name in names:
            flags = [flag.format(self.certificates) for flag in DAEMONS[name]]
            self.daemons[name] = Daemon(nsqd, self.directory, name, flags)

    def stop(self):
        for daemon in self.daemons.values():
            daemon.stop()

    def kill(self):
        """Without their daemons, all trials end at once."""
        for daemon in self.daemons.values():
            daemon.process.kill()

    def clean_up(self):
        for daemon in self.daemons.values():
            daemon.kill()

    def run(self, name, scenario, publisher, consumer, layers):
        """Runs one trial; returns None, or what went wrong."""
        began = time.monotonic()
        trial = Trial(self, name, publisher, consumer, layers)
        problem = None
        try:
            scenario(trial)
            trial.end()
        except Failure as failure:
            problem = str(failure)
        except Exception:  # a fault of the runner itself
            problem = traceback.format_exc()
        stderr = trial.clean_up()
        if problem and stderr:
            problem += f'\nstderr of the clients:\n{stderr}'
        print(f'{"FAIL" if problem else "ok"}\t{name}\t{time.monotonic() - began:.1f} s'
              + (f'\n{problem}' if problem else ''), flush=True)
        return problem


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('nsqd', help='the daemon to test')
    parser.add_argument('--clients', type=pathlib.Path, default='build/interop',
                        help='where setup.sh put the clients')
    parser.add_argument('--only', action='append', default=[], metavar='TEXT',
                        help='only trials whose name contains this; may be repeated')
    parser.add_argument('--jobs', type=int, default=6, help='trials at a time')
    parser.add_argument('--list', action='store_true', help='list the trials')
    parser.add_argument('--keep', action='store_true', help='keep the logs and the data')
    args = parser.parse_args()

    if args.list:
        for name, scenario, *_ in plan(CLIENTS, args.only):
            print(f'{name:24}', ' '.join(scenario.__doc__.split()))
        return 0

    directory = pathlib.Path(tempfile.mkdtemp(prefix='interop-'))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    passed, failed = 0, 0
    suite = Suite(args.clients, directory)
    try:
        trials = plan(list(suite.commands), args.only)
        print(f'interop: {len(trials)} trials of {", ".join(suite.commands) or "no clients"} '
              f'against {args.nsqd}', flush=True)
        suite.start(args.nsqd, sorted({layers.daemon for *_, layers in trials}))
        watchdog = threading.Timer(TIME_LIMIT, suite.kill)
        watchdog.start()
        pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
        try:
            for problem in pool.map(lambda trial: suite.run(*trial), trials):
                failed += problem is not None
                passed += problem is None
        except KeyboardInterrupt:
            suite.kill()
            raise
        finally:
            watchdog.cancel()
            pool.shutdown(cancel_futures=True)
        suite.stop()
    except Failure as failure:
        print(f'FAIL\t{failure}')
        failed += 1
    finally:
        suite.clean_up()
        if failed or args.keep:
            print(f'interop: logs and data are in {directory}')
        else:
            shutil.rmtree(directory)
    missing = [c for c in CLIENTS if c not in suite.commands]
    if missing:
        print(f'SKIP: interop without {", ".join(missing)}: not set up', file=sys.stderr)
    skipped = len(plan(CLIENTS, args.only)) - passed - failed if missing else 0
    print(f'interop: {passed} passed, {failed} failed'
          + (f', {skipped} skipped' if skipped else ''))
    return 1 if failed or (missing and os.environ.get('CI') == 'true') else 0


if __name__ == '__main__':
    sys.exit(main())
