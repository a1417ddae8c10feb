"""What the durability tests share: daemons of both kinds, bodies that can be
told apart, and consumers that count."""

import collections
import os
import re
import resource

from nsq import DEADLINE, SCALE, Nsqd, not_tested, wait_until

# The default is ten times that, for every pause of the stream.
QUICK = {'output_buffer_timeout': 25}

DATA_FILE = re.compile(r'^(.+)\.diskqueue\.(\d{6,})\.dat$')


class Daemon(Nsqd):
    """A daemon, ours or stock, on a data directory that may be shared."""

    def __init__(self, directory, flags=(), data_path=None, stock=False,
                 limits=()):
        super().__init__(directory, flags, data_path)
        self.stock = stock
        self.limits = limits

    def command(self):
        binary = os.environ['STOCK' if self.stock else 'NSQD']
        if self.stock and not os.access(binary, os.X_OK):
            not_tested('no stock nsqd 1.3.0: `make stock` builds it')
        command = [binary] + super().command()[1:]
        # A limit of resources is set by a shell, which becomes the daemon.
        if self.limits:
            command = ['/bin/sh', '-c', 'ulimit %s; exec "$@"' % ' '.join(
                self.limits), 'sh'] + command
        return command

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop_slowly(self):
        """Stop with a deadline for a machine on which all is slow."""
        self.process.terminate()
        assert self.wait_exit(120 * SCALE) == 0, self.log()[-4000:]

    def cpu_seconds(self):
        with open('/proc/%d/stat' % self.process.pid) as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def rss_kib(self):
        with open('/proc/%d/status' % self.process.pid) as f:
            return int(re.search(r'^VmRSS:\s+(\d+) kB$', f.read(), re.M)[1])

    # -- files

    def files(self):
        return files(self.data_path)

    def data_files(self, queue=None):
        return data_files(self.data_path, queue)


def files(path):
    return sorted(os.listdir(path))


def data_files(path, queue=None):
    """The names of the data files, of one queue or of all."""
    found = ((name, DATA_FILE.match(name)) for name in files(path))
    return [name for name, m in found if m and queue in (None, m[1])]


def bad_files(path):
    return [name for name in files(path) if name.endswith('.bad')]


def in_dir(path, name):
    return os.path.join(path, name)


def make_body(tag, number, size=None):
    """A body that says who it is, as far as its size allows."""
    text = ('%s.%d.' % (tag, number)).encode()
    if size is None:
        return text
    return (text * (size // len(text) + 1))[:size]


def mpub(client, topic, bodies, batch=100):
    for i in range(0, len(bodies), batch):
        client.pub(topic, *bodies[i:i + batch])


def publish(daemon, topic, bodies, batch=100):
    with daemon.connect() as client:
        mpub(client, topic, bodies, batch)


def receive(daemon, topic, channel, count, rdy=200):
    """Receive and finish exactly so many messages; returns their bodies."""
    bodies = []
    others = consumers(daemon, topic, channel)
    with daemon.subscribe(topic, channel, **QUICK) as client:
        while len(bodies) < count:
            # As many as RDY allows, which is 0 before the first is finished:
            # so the daemon never hands out more than is wanted.
            n = min(rdy, count - len(bodies))
            client.rdy(n)
            messages = client.messages(n)
            client.rdy(0)
            for message in messages:
                client.fin(message)
                bodies.append(message.body)
            daemon.wait_channel(topic, channel, in_flight_count=0)
    wait_left(daemon, topic, channel, others)
    return bodies


def consumers(daemon, topic, channel):
    return (daemon.channel_stats(topic, channel) or {}).get('client_count', 0)


def wait_left(daemon, topic, channel, others):
    """Until only the others are consumers: a client that has closed may still be sent what
    is published next, and that comes back a minute later."""
    wait_until(lambda: consumers(daemon, topic, channel) <= others,
               lambda: 'one of %d consumers has left' % (others + 1))


def hand_over(daemon, topic):
    """The topic's pump has nothing in its hand: it hears of these between two messages. (What
    ours has taken from a file is in the depth of the topic meanwhile; stock's is nowhere.)"""
    for action in 'pause', 'unpause':
        assert daemon.post('/topic/%s?topic=%s' % (action, topic)).status == 200


def drain(daemon, topic, channel, timeout=None, expect=0):
    """Receive and finish until the channel is empty, and what is expected has come: bodies, or so
    many. Returns a Counter. (A message in the hand of a pump is in no count. So that the channel is
    empty does not say, by itself, that all have come.)"""
    bodies = collections.Counter()

    def is_missing():
        if isinstance(expect, int):
            return max(0, expect - sum(bodies.values()))
        return sum((collections.Counter(expect) - bodies).values())

    def is_empty():
        entry = daemon.topic_stats(topic)
        stats = daemon.channel_stats(topic, channel)
        return (entry['depth'] == 0 and stats['depth'] == 0
                and stats['in_flight_count'] == 0
                and stats['deferred_count'] == 0)

    others = consumers(daemon, topic, channel)
    with daemon.subscribe(topic, channel, rdy=1000, **QUICK) as client:
        quiet, told = 0, not daemon.stock

        def step():
            nonlocal quiet, told
            try:
                message = client.message(timeout=0.02)
            except TimeoutError:
                quiet = quiet + 1 if is_empty() else 0
                if quiet >= 2 and not told:
                    hand_over(daemon, topic)
                    quiet, told = 0, True
                return quiet >= 2 and not is_missing()
            while True:
                bodies[message.body] += 1
                client.fin(message)
                if not client.buffer:
                    return False
                message = client.message()
        wait_until(step, lambda: '%s/%s is empty after %d messages, %d are missing: %s' % (
            topic, channel, sum(bodies.values()), is_missing(), daemon.stats()),
            timeout or 6 * DEADLINE)
    wait_left(daemon, topic, channel, others)
    return bodies


def compare(expected, received):
    """(lost, duplicated, invented) as numbers of messages."""
    expected, received = (collections.Counter(c) for c in (expected, received))
    lost = sum(max(0, n - received[b]) for b, n in expected.items())
    invented = sum(n for b, n in received.items() if b not in expected)
    duplicated = sum(max(0, n - expected[b]) for b, n in received.items()
                     if b in expected)
    return lost, duplicated, invented


def assert_exactly(expected, received):
    """Every message once."""
    lost, duplicated, invented = compare(expected, received)
    assert (lost, duplicated, invented) == (0, 0, 0), \
        '%d lost, %d duplicated, %d invented of %d' % (
            lost, duplicated, invented, sum(
                collections.Counter(expected).values()))


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
