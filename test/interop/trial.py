"""One trial of the interop tests: the daemon, the client programs, and the judging.

run.py and settings.py have the scenarios, README.md the language between a trial and
its clients. Only the standard library is used.
"""
import base64
import collections
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

HOST = '127.0.0.1'
TRIAL_LIMIT = 240        # seconds for one trial: what takes 5 may take 90 on a busy machine
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
        durability = os.environ.get('DURABILITY')   # of all topics, in all trials
        if durability:
            flags = [f'--durability={durability}', *flags]
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
        return json.loads(self.request('GET', f'/stats?format=json&topic={topic}'))

    def request(self, method, path, body=None):
        """The body of an answer that has to be 200."""
        status, answer = self.ask(method, path, body)
        if status != 200:
            raise Failure(f'{method} {path}: {status} {answer!r}')
        return answer

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.http, timeout=PATIENCE)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            raise Failure(f'{method} {path}: {error!r}; '
                          f'nsqd: {self.process.poll() or "running"}') from error
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

    def __init__(self, trial, library, topic, channel, address, consumers, options):
        self.topic = topic
        self.channel = channel
        self.consumers = self.connections = consumers
        flags = [f'--{name.replace("_", "-")}={value}' for name, value in options.items()]
        super().__init__(trial, library, 'consume', f'--nsqd={address}', f'--topic={topic}',
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
        self.own = None    # a daemon of this trial's alone, to be stopped at its end
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
                                   and (c.topic, c.channel) == (self.topic, channel)
                                   for e in c.select('finish'))

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

    @staticmethod
    def digests(bodies):
        return sorted(hashlib.sha256(body).hexdigest() for body in bodies)

    def publish(self, op, bodies, delay=0):
        """Publishes, and returns when nsqd has acknowledged all of it."""
        events = self.order(op, bodies, delay)
        if len(events) != 1:
            raise Failure(f'publish: {events}')
        self.sent += bodies

    def try_publish(self, op, bodies, delay=0):
        """Publishes as far as the daemon takes it. Returns index and text of each error that the
        library tells its user; what it does not call an error, it calls published."""
        failed = [(e['index'], e['error']) for e in self.order(op, bodies, delay)
                  if e['event'] == 'failed']
        indexes = {index for index, _ in failed}
        if op != 'mpub':
            self.sent += [body for i, body in enumerate(bodies) if i not in indexes]
        elif not failed:
            self.sent += bodies
        return failed

    def start_publisher(self):
        if not self.publisher:
            self.publisher = Client(self, self.publisher_library, 'publish',
                                    f'--nsqd={self.daemon.tcp}', *self.stack_flags())
            self.clients.append(self.publisher)

    def order(self, op, bodies, delay):
        """Tells the publisher to publish; returns its events, up to the end of this order."""
        self.start_publisher()
        before = len(self.publisher.events.items)
        self.publisher.send(json.dumps({
            'op': op, 'topic': self.topic, 'delay': delay,
            'bodies': [base64.b64encode(body).decode() for body in bodies]}))

        def ended(events):
            for i in range(before, len(events)):
                if events[i]['event'] == 'published':
                    return events[before:i + 1]
            return None
        return self.publisher.wait('acknowledgement', ended)

    def consume(self, channel='ch', consumers=1, library=None, address=None, **options):
        """Starts a consumer, and returns when nsqd has all its connections."""
        consumer = self.start_consumer(self.topic, channel, consumers, library, address, options)
        connected = sum(c.consumers for c in self.clients if isinstance(c, Consumer)
                        and (c.topic, c.channel) == (self.topic, channel)
                        and c.process.poll() is None)
        self.until('subscription', lambda: self.ready_clients(channel) >= connected)
        return consumer

    def start_consumer(self, topic, channel='ch', consumers=1, library=None, address=None,
                       options=None):
        """Starts one that may consume another topic than the trial's."""
        consumer = Consumer(self, library or self.consumer_library, topic, channel,
                            address or self.daemon.tcp, consumers, options or {})
        self.clients.append(consumer)
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

    def verify(self, *consumers, requeues=0, timeouts=0, errors=0, cut=False, returned=0):
        """Waits until everything that was sent is finished, and checks it all.

        The consumers are all those of one channel. cut says that connections
        were: what a client finished on one of those never reached nsqd; returned,
        how many messages came back by that, and not by a timeout.
        """
        count = len(self.sent)
        channel = consumers[0].channel
        all_consumers = [c for c in self.clients if isinstance(c, Consumer)
                         and (c.topic, c.channel) == (self.topic, channel)]

        # First the clients, then nsqd: a message on its way to a client is, for a
        # moment, in none of nsqd's counts (in stock's neither).
        def clean():
            if len(self.finished(channel)) < count:
                return None
            c = self.channel(channel)
            if not c or c['message_count'] != count or (
                    c['depth'] or c['in_flight_count'] or c['deferred_count']):
                return None
            # A client counts what it has finished when the channel knows it already.
            return (cut or sum(one['finish_count'] for one in c['clients']) >= count) and c
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
            between('deliveries', len(arrived), count, count + timeouts + returned)
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

    def own_daemon(self, *flags):
        """From now on the trial has a daemon that no other trial uses."""
        self.daemon = self.own = Daemon(self.suite.nsqd, self.suite.directory,
                                        f'{self.topic}.nsqd', flags)

    def create(self, channel=None):
        """The topic, or a channel of it."""
        self.daemon.request('POST', f'/topic/create?topic={self.topic}')
        if channel:
            self.daemon.request('POST', f'/channel/create?topic={self.topic}&channel={channel}')

    def configure(self, channel=None, **settings):
        """Sets the topic's settings, or a channel's; None takes one back."""
        path = f'/channel/config?topic={self.topic}&channel={channel}' if channel \
            else f'/topic/config?topic={self.topic}'
        self.daemon.request('PUT', path, json.dumps(settings))

    def end(self):
        if self.publisher:
            self.publisher.close()
        if self.own:
            self.own.stop()

    def clean_up(self):
        for client in self.clients:
            client.kill()
        for proxy in self.proxies:
            proxy.close()
        if self.own:
            self.own.kill()
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
