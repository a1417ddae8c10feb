"""What is pushed to statsd, and when."""

import collections
import re
import socket
import struct
import time

import pytest

from nsq import DEADLINE, wait_until


# (Python does not know it; it is the same on all of Linux that nsqd runs on.)
SO_TIMESTAMPNS = 35


class Statsd:
    """A UDP socket; pushes are told apart by the pause between them."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('127.0.0.1', 0))
        self.socket.settimeout(DEADLINE)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.address = '127.0.0.1:%d' % self.socket.getsockname()[1]
        self.datagrams = []
        self.times = []     # when the kernel got them: we may be late

    def close(self):
        self.socket.close()

    def datagram(self):
        data, ancillary, _, _ = self.socket.recvmsg(65536, 64)
        [seconds, nanoseconds] = struct.unpack('@ll', ancillary[0][2][:16])
        self.datagrams.append(data.decode())
        self.times.append(seconds + nanoseconds / 1e9)
        return self.datagrams[-1]

    def lines_until(self, pattern):
        """The lines up to the first that matches, in order."""
        lines = []
        while True:
            for line in self.datagram().splitlines():
                lines.append(line)
            if any(re.search(pattern, line) for line in lines):
                return lines


@pytest.fixture
def statsd():
    made = Statsd()
    yield made
    made.close()


# Of which stock spreads the datagrams over all but a second.
INTERVAL = '1100ms'


def flags(statsd, *more, interval=INTERVAL):
    return ['--statsd-address=' + statsd.address, '--statsd-prefix=p',
            '--statsd-interval=' + interval] + list(more)


MEM = ['heap_objects', 'heap_idle_bytes', 'heap_in_use_bytes',
       'heap_released_bytes', 'gc_pause_usec_100', 'gc_pause_usec_99',
       'gc_pause_usec_95', 'next_gc_bytes']


def test_the_names_and_their_order_are_stocks(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd))
    nsqd.create('t', 'c')
    nsqd.pub('t', 'four', 'five5')
    nsqd.wait_channel('t', 'c', depth=2)
    with nsqd.subscribe('t', 'c', rdy=1):
        nsqd.wait_channel('t', 'c', in_flight_count=1)
        # On a slow machine something has been pushed meanwhile, and then the
        # counters are those of several pushes.
        lines, counted = [], collections.Counter()
        while 'p.topic.t.channel.c.in_flight_count:1|g' not in lines:
            lines = statsd.lines_until(r'^p\.mem\.gc_runs:')
            for line in lines:
                name, _, value = line.partition(':')
                if value.endswith('|c'):
                    counted[name] += int(value[:-2])
    assert [x if x.endswith('|g') else re.sub(r':\d+\|c$', ':N|c', x)
            for x in lines[:12]] == [
        'p.topic.t.message_count:N|c', 'p.topic.t.message_bytes:N|c',
        'p.topic.t.depth:0|g', 'p.topic.t.backend_depth:0|g',
        'p.topic.t.channel.c.message_count:N|c',
        'p.topic.t.channel.c.depth:1|g',
        'p.topic.t.channel.c.backend_depth:0|g',
        'p.topic.t.channel.c.in_flight_count:1|g',
        'p.topic.t.channel.c.deferred_count:0|g',
        'p.topic.t.channel.c.requeue_count:N|c',
        'p.topic.t.channel.c.timeout_count:N|c',
        'p.topic.t.channel.c.clients:1|g']
    assert [counted['p.topic.t.' + name] for name in (
        'message_count', 'message_bytes', 'channel.c.message_count',
        'channel.c.requeue_count', 'channel.c.timeout_count')] == [
            2, 9, 2, 0, 0]
    assert [re.sub(r':\d+\|g$', '', x) for x in lines[12:20]] == [
        'p.mem.' + name for name in MEM]
    assert re.match(r'p\.mem\.gc_runs:\d+\|c$', lines[20])
    assert len(lines) == 21
    nsqd.wait_log('INFO: STATSD: pushing stats to ' + statsd.address)


def test_counters_are_differences(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, '--statsd-mem-stats=false'))
    nsqd.create('t')
    total, nonzero = 0, 0
    for batch in range(3):
        nsqd.pub('t', 'a', 'b', 'c')
        goal = 3 * (batch + 1)
        while total < goal:
            for line in statsd.datagram().splitlines():
                found = re.match(r'p\.topic\.t\.message_count:(\d+)\|c', line)
                if found:
                    total += int(found.group(1))
                    nonzero += found.group(1) != '0'
        assert total == goal
    assert nonzero >= 3
    # Nothing new: the counter is 0, the gauge stays.
    lines = statsd.lines_until(r't\.message_count:0\|c')
    assert 'p.topic.t.depth:9|g' in lines


def count_until(statsd, goal):
    """The counts of topic t add up to goal, in one push or in two."""
    total = 0
    while total < goal:
        for value in re.findall(r'^p\.topic\.t\.message_count:(.*)\|c$',
                                statsd.datagram(), re.M):
            assert int(value) >= 0
            total += int(value)
    assert total == goal


@pytest.mark.ours(reason='it sends a negative count')
def test_a_topic_made_anew_starts_from_0(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, '--statsd-mem-stats=false'))
    nsqd.pub('t', 'a', 'b', 'c')
    count_until(statsd, 3)
    nsqd.post('/topic/delete?topic=t')
    nsqd.pub('t', 'a', 'b')
    count_until(statsd, 2)


def test_ephemeral_ones_can_be_left_out(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, '--statsd-exclude-ephemeral',
                           '--statsd-mem-stats=false'))
    nsqd.create('t', 'c', 'd#ephemeral')
    nsqd.create('e#ephemeral', 'f')
    nsqd.create('u')
    seen = statsd.lines_until(r'topic\.u\.')
    seen += statsd.lines_until(r'topic\.u\.')
    assert any('.channel.c.' in x for x in seen)
    assert not any('ephemeral' in x for x in seen)


def test_without_mem_stats(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, '--statsd-mem-stats=false'))
    nsqd.create('t')
    for _ in range(2):
        assert not any('.mem.' in x for x in statsd.lines_until('t.depth'))


def test_datagrams_have_a_size_and_whole_lines(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, '--statsd-udp-packet-size=200'))
    nsqd.create('t', *'abcdef')
    statsd.lines_until(r'topic\.t\.channel\.f\.clients')
    statsd.lines_until('mem.gc_runs')
    for datagram in statsd.datagrams:
        assert len(datagram) <= 200 and datagram.endswith('\n')
    assert max(map(len, statsd.datagrams)) > 150


def test_the_default_prefix_names_the_node(new_nsqd, statsd):
    nsqd = new_nsqd('--statsd-address=' + statsd.address,
                    '--statsd-interval=' + INTERVAL,
                    '--broadcast-address=node.example')
    line = statsd.datagram().splitlines()[0]
    assert line.startswith('nsq.node_example_%d.' % nsqd.http_port)


def test_datagrams_are_spread_over_the_interval(new_nsqd, statsd):
    """Of an interval of 3 s, 2 s are for the spreading."""
    nsqd = new_nsqd(*flags(statsd, '--statsd-udp-packet-size=400',
                           '--statsd-mem-stats=false', interval='3s'))
    nsqd.create('t', 'a', 'b', 'c')
    while not any('.channel.c.clients' in d for d in statsd.datagrams):
        statsd.datagram()
    sent = [t - statsd.times[0] for t in statsd.times]
    assert len(sent) >= 3
    # Each has its time, before which it is not sent; it may well be late.
    pause = 2 / len(sent)
    assert all(at > (i - 0.5) * pause for i, at in enumerate(sent)), sent
    # In the middle of the next one, too, the exit does not wait for the rest.
    statsd.datagram()
    assert 'INFO: STATSD: closing\n' in nsqd.stop()


def test_the_exit_waits_for_no_interval(new_nsqd, statsd):
    # stop() has a deadline.
    nsqd = new_nsqd(*flags(statsd, interval='1h'))
    nsqd.create('t')
    assert 'INFO: STATSD: closing\n' in nsqd.stop()


@pytest.mark.ours(reason='it panics')
def test_a_short_interval_is_not_spread(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, interval='20ms'))
    nsqd.create('t')
    start = time.monotonic()
    for _ in range(40):
        statsd.lines_until(r'topic\.t\.depth')
    # Each would take a second.
    assert time.monotonic() - start < 30


def test_an_address_that_does_not_resolve_is_logged(new_nsqd):
    nsqd = new_nsqd('--statsd-address=no-such-host.invalid:8125',
                    '--statsd-interval=' + INTERVAL)
    # A name server that does not answer is waited for.
    wait_until(lambda: 'ERROR: failed to create UDP socket to statsd('
               'no-such-host.invalid:8125)' in nsqd.log(), nsqd.log, 60)
