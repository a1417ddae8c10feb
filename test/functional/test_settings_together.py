"""Settings that touch each other: what one of them moves, the others count."""

import time

import pytest

from nsq import Nsqd, running, wait_until
from queues import QUICK, STATES, daemon, metric, put, redrive, wait_total  # noqa: F401 (fixture)

pytestmark = pytest.mark.ours(reason='it has no settings per topic and channel')

DISK = STATES['disk']


@pytest.fixture
def disk(tmp_path):
    d = Nsqd(str(tmp_path), DISK)
    with running(d):
        yield d


def fail_all(daemon, topic, channel, bodies):
    """All of them are delivered, and come back at once."""
    with daemon.subscribe(topic, channel, len(bodies), **QUICK) as client:
        daemon.pub(topic, *bodies)
        for _ in bodies:
            client.req(client.message())
        daemon.wait_channel(topic, channel, in_flight_count=0)
    # Nobody is left who might be sent what comes next.
    daemon.wait_channel(topic, channel, client_count=0)


def dead_letters(daemon, count, size=100):
    """There are so many in the channel look of the topic dead."""
    fail_all(daemon, 't', 'ch', [b'%0*d' % (size, i) for i in range(count)])
    daemon.wait_channel('dead', 'look', depth=count)


@pytest.fixture
def dead(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    return daemon


# -- what is redriven counts no more

def test_redriven_bytes_make_room(dead):
    put(dead, 'dead', 'look', max_bytes=1000)
    for _ in range(3):
        dead_letters(dead, 8)
        assert redrive(dead, 'dead', 'look', 8)['redriven'] == 8
        dead.post('/channel/empty?topic=t&channel=ch')
    for i in range(10):
        wait_until(lambda: dead.post('/pub?topic=dead', b'x' * 100).status == 200,
                   lambda i=i: 'there is room for message %d' % i)
    wait_until(lambda: dead.post('/pub?topic=dead', b'x').status == 503, 'it is full')


def test_what_is_too_much_is_dropped_after_a_redrive(dead):
    dead_letters(dead, 8)
    assert redrive(dead, 'dead', 'look', 8)['redriven'] == 8
    put(dead, 'dead', 'look', max_depth=10, overflow='drop-head')
    dead.pub('dead', *[b'%d' % i for i in range(50)])
    wait_until(lambda: metric(dead, 'nsq_topic_channel_overflow_total', topic='dead') == 40,
               'what is too much is dropped')
    dead.wait_channel('dead', 'look', depth=10)


def test_what_a_redrive_leaves_was_not_in_flight(dead):
    put(dead, 'dead', 'look', max_in_flight=2)
    dead.pub('dead', *[b'%d' % i for i in range(20)])
    dead.wait_channel('dead', 'look', depth=20)
    assert redrive(dead, 'dead', 'look', 20)['skipped'] == 20
    with dead.subscribe('dead', 'look', 20, **QUICK) as client:
        for i in range(20):
            message = client.message()
            assert dead.channel_stats('dead', 'look')['in_flight_count'] <= 2
            client.fin(message)


# -- the limits of a dead-letter topic

def test_dead_letters_wait_while_their_topic_is_full(dead):
    put(dead, 'dead', max_depth=5)
    fail_all(dead, 't', 'ch', [b'%d' % i for i in range(20)])
    dead.wait_channel('dead', 'look', depth=5)
    dead.wait_channel('t', 'ch', depth=15)
    dead.wait_log(r'dead letters wait, since topic\(dead\) refuses them - .* is full: max_depth 5')
    assert dead.channel_stats('dead', 'look')['depth'] == 5
    # It makes room, and they come.
    got = set()
    with dead.subscribe('dead', 'look', 3, **QUICK) as client:
        while len(got) < 20:
            message = client.message()
            assert message.body not in got
            got.add(message.body)
            client.fin(message)
    dead.wait_channel('t', 'ch', depth=0)
    assert got == {b'%d' % i for i in range(20)}


@pytest.mark.parametrize('channel', [True, False], ids=['channel', 'no channel'])
def test_a_dead_letter_topic_drops_its_oldest(daemon, channel):
    daemon.create('t', 'ch')
    daemon.create('dead', *['look'] * channel)
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    put(daemon, 'dead', max_depth=5, overflow='drop-head')
    for i in range(20):
        fail_all(daemon, 't', 'ch', [b'%d' % i])
        wait_until(lambda i=i: metric(daemon, 'nsqd_channel_dead_lettered_total', topic='t') == i + 1,
                   lambda i=i: '%d is a dead letter' % i)
    wait_total(daemon, 'dead', 5)
    daemon.create('dead', 'look')
    with daemon.subscribe('dead', 'look', 5, **QUICK) as client:
        assert {client.message().body for _ in range(5)} == {b'%d' % i for i in range(15, 20)}


def test_what_waits_for_the_dead_letter_topic_counts(dead):
    put(dead, 'dead', max_depth=1)
    put(dead, 't', 'ch', max_depth=10)
    fail_all(dead, 't', 'ch', [b'%d' % i for i in range(10)])
    dead.wait_channel('dead', 'look', depth=1)
    dead.wait_channel('t', 'ch', depth=9)
    wait_until(lambda: dead.post('/pub?topic=t', b'x').status == 200, 'there is room for one')
    dead.wait_channel('t', 'ch', depth=10)
    answer = dead.post('/pub?topic=t', b'x')
    assert (answer.status, answer.body) == (503, b'{"message":"CHANNEL_FULL"}')


# -- what nobody asks for

@pytest.mark.parametrize('paused', [False, True], ids=['no consumer', 'paused'])
def test_drop_head_beside_a_ttl(daemon, paused):
    """The pump has a batch in its hand, to look how old it is: that is dropped first."""
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', message_ttl='1h', max_depth=10, overflow='drop-head')
    if paused:
        daemon.post('/channel/pause?topic=t&channel=ch')
    for i in range(0, 1000, 50):
        daemon.pub('t', *[b'%d' % k for k in range(i, i + 50)])
        daemon.wait_channel('t', 'ch', depth=10)
    wait_until(lambda: metric(daemon, 'nsq_topic_channel_overflow_total', topic='t') == 990,
               'all but the last ten are dropped')
    daemon.wait_channel('t', 'ch', depth=10)
    if paused:
        daemon.post('/channel/unpause?topic=t&channel=ch')
    with daemon.subscribe('t', 'ch', 10, **QUICK) as client:
        got = [client.message().body for _ in range(10)]
    assert sorted(got) == [b'%d' % k for k in range(990, 1000)]


def test_overflow_goes_to_the_dead_letter_topic(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_depth=10, overflow='drop-head', dead_letter_topic='dead',
        message_ttl='1h')
    bodies = [b'%d' % i for i in range(600)]
    for i in range(0, 600, 30):
        daemon.pub('t', *bodies[i:i + 30])
    daemon.wait_channel('t', 'ch', depth=10)
    daemon.wait_channel('dead', 'look', depth=590)
    got = []
    for topic, channel, n in ('t', 'ch', 10), ('dead', 'look', 590):
        with daemon.subscribe(topic, channel, n, **QUICK) as client:
            got += [client.message().body for _ in range(n)]
    assert sorted(got) == sorted(bodies)


def test_looks_for_what_has_expired_do_not_run_ahead(disk):
    """The disk forgets what is in the dead-letter topic, while there is more to come."""
    disk.create('t', 'ch')
    disk.pub('t', *[b'%d' % i for i in range(3000)])
    disk.wait_channel('t', 'ch', depth=3000)
    disk.create('dead', 'look')
    put(disk, 'dead', max_depth=600)
    put(disk, 't', 'ch', message_ttl='1ms', dead_letter_topic='dead')
    disk.wait_channel('dead', 'look', depth=600)
    disk.wait_log(r'topic\(dead\) refuses them')
    assert disk.channel_stats('t', 'ch')['backend_depth'] >= 3000 - 600 - 256


# -- a pump with nothing to do

def cpu_seconds(daemon):
    with open('/proc/%d/stat' % daemon.process.pid, encoding='ascii') as f:
        fields = f.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


IDLE = {
    'ttl': {'message_ttl': '1h'},
    'drop-head': {'message_ttl': '1h', 'max_depth': 10, 'overflow': 'drop-head'},
    'flow': {'message_ttl': '1h', 'max_in_flight': 1, 'rate': 1},
    'refused': {'message_ttl': '1ms', 'dead_letter_topic': 'dead'},
    'all': {'message_ttl': '1ms', 'max_depth': 10, 'overflow': 'drop-head', 'max_in_flight': 1,
            'rate': 1, 'max_attempts': 2, 'backoff': ['1h'], 'dead_letter_topic': 'dead'},
}


@pytest.mark.parametrize('name', sorted(IDLE))
def test_a_pump_that_cannot_go_on_sleeps(daemon, name):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 'dead', max_depth=1)
    put(daemon, 't', 'ch', **IDLE[name])
    with daemon.subscribe('t', 'ch', 1, **QUICK):
        daemon.pub('t', *[b'%d' % i for i in range(200)])
        wait_until(lambda: daemon.topic_stats('t')['depth'] == 0, 'all are in the channel')
        begin, cpu = time.monotonic(), cpu_seconds(daemon)
        wait_until(lambda: time.monotonic() - begin >= 2, 'two seconds')
        used = cpu_seconds(daemon) - cpu
    assert used < 0.5, '%s: %.2f s of 2 s' % (name, used)
