"""Clients that are idle have no threads, and nobody can tell.

A client is parked after two seconds; see nsqd/netpoll.h. Each test but those
that say so waits for that, and then looks at what brings it back. The last one
is about topics that are idle: they keep their threads, and take little memory.
"""

import time

import pytest

from nsq import HEARTBEAT, RESPONSE, SCALE, frame, mpub_body, wait_until

pytestmark = pytest.mark.ours(reason='threads that end while their client is idle')


def client_threads(daemon):
    """Of io_loops and message pumps."""
    return daemon.count_threads('io:', 'pump:')


def publish(daemon, topic, *bodies):
    """Over HTTP: a publisher's threads are none of clients."""
    path = '/mpub?topic=%s&binary=true' % topic
    assert daemon.post(path, mpub_body(bodies)).status == 200


def wait_parked(daemon, left=0):
    wait_until(lambda: client_threads(daemon) == left,
               lambda: '%d threads of clients' % client_threads(daemon))


@pytest.fixture
def nsqd(new_nsqd):
    return new_nsqd()


def test_a_parked_client_goes_on_where_it_was(nsqd):
    with nsqd.connect() as client, nsqd.connect() as second:
        for _ in range(2):
            start = time.monotonic()
            client.identify(heartbeat_interval=60000)
            there = client_threads(nsqd)
            assert there >= 2 or time.monotonic() - start > 2
            wait_parked(nsqd)
            client.expect_usable()
        # What it did before still holds: a second SUB is one too many.
        client.sub('t', 'ch')
        wait_parked(nsqd)
        client.command('SUB', 't', 'ch')
        client.expect_fatal(b'E_INVALID cannot SUB in current state')
        second.command('NOP')
        second.command('PUB', 't', body=b'half a command later')
        second.expect_ok()


def test_half_a_command_is_not_idle(nsqd):
    with nsqd.connect() as client:
        client.send(b'PUB')
        time.sleep(2.5)
        assert client_threads(nsqd) == 2
        client.send(b' t\n' + b'\0\0\0\5he')
        time.sleep(2.5)
        assert client_threads(nsqd) == 2
        client.send(b'llo')
        client.expect_ok()


def test_a_consumer_with_a_message_in_flight_is_not_idle(nsqd):
    publish(nsqd, 't', b'a')
    with nsqd.subscribe('t', 'ch', rdy=1) as client:
        message = client.message()
        time.sleep(2.5)
        assert client_threads(nsqd) == 2
        client.fin(message)
        nsqd.wait_channel('t', 'ch', in_flight_count=0)
        wait_parked(nsqd)


def test_a_message_reaches_a_parked_consumer(nsqd):
    with nsqd.subscribe('t', 'ch', rdy=1) as client:
        for body in (b'a', b'b'):
            wait_parked(nsqd)
            publish(nsqd, 't', body)
            message = client.message()
            assert message.body == body
            client.fin(message)
        nsqd.wait_channel('t', 'ch', depth=0, in_flight_count=0, client_count=1)


@pytest.mark.parametrize('size', [0, 10000], ids=['disk', 'memory'])
def test_a_backlog_is_shared_by_parked_consumers(new_nsqd, size):
    daemon = new_nsqd('--mem-queue-size=%d' % size)
    clients = [daemon.subscribe('t', 'ch', rdy=5) for _ in range(12)]
    wait_parked(daemon)
    publish(daemon, 't', *[b'%d' % i for i in range(60)])
    # All of them have to come back for that.
    daemon.wait_channel('t', 'ch', depth=0, in_flight_count=60)
    bodies = [m.body for client in clients for m in client.messages(5)]
    assert sorted(bodies, key=int) == [b'%d' % i for i in range(60)]
    for client in clients:
        client.close()


def test_no_more_consumers_are_called_than_there_is_need_for(nsqd):
    clients = [nsqd.subscribe('t', 'ch', rdy=1) for _ in range(100)]
    wait_parked(nsqd)
    publish(nsqd, 't', *[b'%d' % i for i in range(10)])
    nsqd.wait_channel('t', 'ch', depth=0, in_flight_count=10)
    # Those who were called in vain would come now, and stay for two seconds.
    time.sleep(0.5)
    assert 20 <= client_threads(nsqd) <= 50
    for client in clients:
        client.close()


def test_rdy_0_stays_parked_and_gets_nothing(nsqd):
    with nsqd.subscribe('t', 'ch', rdy=0) as none, \
            nsqd.subscribe('t', 'ch', rdy=3) as client:
        wait_parked(nsqd)
        publish(nsqd, 't', b'a', b'b', b'c', b'd')
        assert [m.body for m in client.messages(3)] == [b'a', b'b', b'c']
        none.expect_quiet()
        nsqd.wait_channel('t', 'ch', depth=1, in_flight_count=3)
        assert client_threads(nsqd) <= 2
        none.rdy(1)
        assert none.message().body == b'd'


def test_a_called_consumer_that_leaves_or_stops_leaves_it_to_others(nsqd):
    """Whoever is called may just be going; the message does not wait for it."""
    for leave in (lambda c: c.close(), lambda c: c.rdy(0)):
        first = nsqd.subscribe('t', 'ch', rdy=1)
        wait_parked(nsqd)
        second = nsqd.subscribe('t', 'ch', rdy=1)
        wait_parked(nsqd)
        leave(first)
        publish(nsqd, 't', b'a', b'b')
        message = second.message()
        second.fin(message)
        for client in (first, second):
            client.close()
        nsqd.wait_channel('t', 'ch', client_count=0)
        nsqd.post('/channel/empty?topic=t&channel=ch')


def test_a_message_of_a_paused_channel_waits_for_its_unpause(nsqd):
    with nsqd.subscribe('t', 'ch', rdy=1) as client:
        wait_parked(nsqd)
        nsqd.post('/channel/pause?topic=t&channel=ch')
        publish(nsqd, 't', b'a')
        client.expect_quiet()
        nsqd.wait_channel('t', 'ch', depth=1)
        assert client_threads(nsqd) == 0
        nsqd.post('/channel/unpause?topic=t&channel=ch')
        assert client.message().body == b'a'


def test_heartbeats_go_on_and_their_answers_wake_nobody(nsqd):
    with nsqd.connect() as client:
        client.identify(heartbeat_interval=3000)
        wait_parked(nsqd)
        # More than two intervals: the answers count as life.
        for _ in range(3):
            assert client.frame() == (RESPONSE, HEARTBEAT)
            client.command('NOP')
        time.sleep(0.2)
        assert client_threads(nsqd) == 0
        client.expect_usable()


def test_a_silent_client_is_disconnected_while_it_is_parked(nsqd):
    start = time.monotonic()
    with nsqd.subscribe('t', 'ch', heartbeat_interval=2500) as client:
        wait_parked(nsqd)
        client.expect(frame(RESPONSE, HEARTBEAT))
        nsqd.wait_channel('t', 'ch', client_count=0)
        assert time.monotonic() - start >= 4.9


def test_a_parked_client_may_leave(nsqd):
    leaves = [nsqd.subscribe('t', 'ch', rdy=1) for _ in range(3)]
    wait_parked(nsqd)
    nsqd.wait_channel('t', 'ch', client_count=3)
    leaves[0].close()
    leaves[1].reset()
    leaves[2].half_close()
    nsqd.wait_channel('t', 'ch', client_count=0)
    leaves[2].expect_closed()
    wait_parked(nsqd)


def test_a_deleted_channel_disconnects_the_parked(nsqd):
    with nsqd.subscribe('t', 'ch', rdy=1) as client:
        wait_parked(nsqd)
        nsqd.post('/channel/delete?topic=t&channel=ch')
        client.expect_closed()


def test_a_compressed_connection_keeps_its_threads(new_nsqd):
    daemon = new_nsqd('--snappy=true')
    with daemon.connect() as client:
        assert client.identify(snappy=True)['snappy']
        time.sleep(2.5)
        assert client_threads(daemon) == 2


def test_the_daemon_stops_with_parked_clients(nsqd):
    clients = [nsqd.subscribe('t', 'ch', rdy=1) for _ in range(20)]
    wait_parked(nsqd)
    nsqd.stop()
    for client in clients:
        client.expect_closed()


@pytest.mark.skipif(SCALE > 1, reason='memory, and sanitizers take their own')
def test_idle_topics_take_little_memory(nsqd):
    def resident():
        with open('/proc/%d/status' % nsqd.process.pid) as f:
            return [int(line.split()[1]) for line in f
                    if line.startswith('VmRSS:')][0]

    nsqd.create('first', 'a', 'b')
    before = resident()
    for i in range(200):
        nsqd.create('t%d' % i, 'a', 'b')
    # 40 KiB for a topic with two channels, of which 24 are the stacks of three pumps.
    assert (resident() - before) / 200 < 64
