"""What is pushed to statsd, and when."""

import re
import socket
import time

import pytest

from nsq import DEADLINE, SCALE


class Statsd:
    """A UDP socket; pushes are told apart by the pause between them."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('127.0.0.1', 0))
        self.socket.settimeout(DEADLINE)
        self.address = '127.0.0.1:%d' % self.socket.getsockname()[1]
        self.datagrams = []

    def close(self):
        self.socket.close()

    def datagram(self):
        self.datagrams.append(self.socket.recv(65536).decode())
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
        lines = []
        while not any('p.topic.t.channel.c.clients' in x for x in lines):
            lines = statsd.lines_until(r'^p\.mem\.gc_runs:')
    assert lines[:12] == [
        'p.topic.t.message_count:2|c', 'p.topic.t.message_bytes:9|c',
        'p.topic.t.depth:0|g', 'p.topic.t.backend_depth:0|g',
        'p.topic.t.channel.c.message_count:2|c',
        'p.topic.t.channel.c.depth:1|g',
        'p.topic.t.channel.c.backend_depth:0|g',
        'p.topic.t.channel.c.in_flight_count:1|g',
        'p.topic.t.channel.c.deferred_count:0|g',
        'p.topic.t.channel.c.requeue_count:0|c',
        'p.topic.t.channel.c.timeout_count:0|c',
        'p.topic.t.channel.c.clients:1|g']
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


@pytest.mark.ours(reason='it sends a negative count')
def test_a_topic_made_anew_starts_from_0(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, '--statsd-mem-stats=false'))
    nsqd.pub('t', 'a', 'b', 'c')
    statsd.lines_until(r't\.message_count:3')
    nsqd.post('/topic/delete?topic=t')
    nsqd.pub('t', 'a', 'b')
    lines = statsd.lines_until(r't\.message_count:[^0]')
    assert 'p.topic.t.message_count:2|c' in lines


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
    times = []
    while not any('.channel.c.clients' in d for d in statsd.datagrams):
        statsd.datagram()
        times.append(time.monotonic())
    pauses = [b - a for a, b in zip(times, times[1:])]
    assert len(pauses) >= 2
    expected = 2 / len(times)
    assert min(pauses) > 0.5 * expected
    # Exit does not wait for the interval.
    start = time.monotonic()
    assert 'INFO: STATSD: closing\n' in nsqd.stop()
    assert time.monotonic() - start < 2 * SCALE


@pytest.mark.ours(reason='it panics')
def test_a_short_interval_is_not_spread(new_nsqd, statsd):
    nsqd = new_nsqd(*flags(statsd, interval='20ms'))
    nsqd.create('t')
    start = time.monotonic()
    for _ in range(5):
        statsd.lines_until(r'topic\.t\.depth')
    assert time.monotonic() - start < 2 * SCALE


def test_an_address_that_does_not_resolve_is_logged(new_nsqd):
    nsqd = new_nsqd('--statsd-address=no-such-host.invalid:8125',
                    '--statsd-interval=' + INTERVAL)
    nsqd.wait_log(r'ERROR: failed to create UDP socket to '
                  r'statsd\(no-such-host.invalid:8125\)')
