"""Clients that are idle have no threads, and nobody can tell.

A client is parked after two seconds; see nsqd/client/netpoll.h. Each test but those
that say so waits for that, and then looks at what brings it back. The last one
is about topics that are idle: they keep their threads, and take little memory.
"""

import ssl
import time

import pytest

from certs import authority, server_cert    # noqa: F401 (fixtures)
from layers import Deflate, Snappy, Tls, push
from nsq import (ERROR, HEARTBEAT, MAGIC, OK, RESPONSE, SCALE, frame, mpub_body, sized,
                 wait_until)

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


STACKS = [('snappy',), ('deflate',), ('tls',), ('tls', 'snappy'), ('tls', 'deflate')]


def upgrade(client, stack, **identify):
    client.identify(**{'tls_v1' if x == 'tls' else x: True for x in stack}, **identify)
    for name in stack:
        if name == 'tls':
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            push(client, Tls, context)
        else:
            push(client, Snappy if name == 'snappy' else Deflate)
        client.expect_ok()


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


# All commands that come in parts: a connection says one after the other, up to a SUB.
JSON = b'{"client_id":"x","heartbeat_interval":60000}'
TALK = (MAGIC + b'IDENTIFY\n' + sized(JSON) + b'PUB t\n' + sized(b'body')
        + b'DPUB t 1\r\n' + sized(b'later') + b'NOP\n'
        + b'MPUB t\n' + sized(mpub_body([b'a', b'bc', b'def'])) + b'SUB t ch\nRDY 0\n')
ANSWERS = OK * 5


def test_a_part_of_a_command_costs_no_thread_wherever_it_is_cut(nsqd):
    """And is no obstacle: parked there, and once more a byte later, it goes on."""
    cuts = range(len(TALK))
    clients = [nsqd.connect(b'') for _ in cuts]
    for cut, client in zip(cuts, clients):
        client.send(TALK[:cut])
    wait_parked(nsqd)
    for cut, client in zip(cuts, clients):
        client.send(TALK[cut:cut + 1])
    wait_parked(nsqd)
    for cut, client in zip(cuts, clients):
        client.send(TALK[cut + 1:])
    for client in clients:
        client.expect(ANSWERS)
        client.close()
    nsqd.wait_topic('t', message_count=5 * len(clients))


def test_what_drips_in_costs_no_thread(nsqd):
    clients = [nsqd.connect(b'') for _ in range(50)]
    talk = MAGIC + b'MPUB t\n' + sized(mpub_body([b'a' * 9, b'b']))
    threads = 0
    for i in range(len(talk)):
        for client in clients:
            client.send(talk[i:i + 1])
        time.sleep(0.1)
        if i > 20 and i < len(talk) - 1:
            threads = max(threads, client_threads(nsqd))
    # They were parked after a second, and none came back before all was there.
    assert threads == 0 or SCALE > 1
    for client in clients:
        client.expect_ok()
        client.close()


def test_a_large_body_may_pause(nsqd):
    bodies = [b'%d' % i * 1000 for i in range(100, 400)]
    mpub = b'MPUB t\n' + sized(mpub_body(bodies))
    pub = b'PUB t\n' + sized(b'x' * 1000000)
    with nsqd.connect() as one, nsqd.connect() as two:
        for part in range(4):
            one.send(mpub[len(mpub) * part // 4:len(mpub) * (part + 1) // 4])
            two.send(pub[len(pub) * part // 4:len(pub) * (part + 1) // 4])
            if part < 3:
                wait_parked(nsqd)
        one.send(b'PUB t\n' + sized(b'behind'))
        one.expect(OK + OK)
        two.expect_ok()
    with nsqd.subscribe('t', 'ch', rdy=2500) as consumer:
        got = [m.body for m in consumer.messages(302)]
        assert sorted(got) == sorted(bodies + [b'behind', b'x' * 1000000])


@pytest.mark.parametrize('first, rest, error', [
    (b'PU', b'B $\n', b'E_BAD_TOPIC PUB topic name "$" is not valid'),
    (b'PU', b'B\n', b'E_INVALID PUB insufficient number of parameters'),
    (b'NO', b'PE\n', b'E_INVALID invalid command NOPE'),
    (b'PUB t\n', b'\0\0\0\0', b'E_BAD_MESSAGE PUB invalid message body size 0'),
    (b'PUB t\n', b'\0\x10\0\1', b'E_BAD_MESSAGE PUB message too big 1048577 > 1048576'),
    (b'DPUB t', b' x\n', b'E_INVALID DPUB could not parse timeout x'),
    (b'DPUB t ', b'9999999\n', b'E_INVALID DPUB timeout 9999999 out of range 0-3600000'),
    (b'AUTH', b' x\n', b'E_INVALID AUTH invalid number of parameters'),
    (b'IDENTIFY\n\0', b'\x50\0\1', b'E_BAD_BODY IDENTIFY body too big 5242881 > 5242880'),
    (b'MPUB t\n\0\0\1\0', b'\0\0\0\0', b'E_BAD_BODY MPUB invalid message count 0'),
    (b'MPUB t\n\0\0\1\0\0\0\0\2\0\0\0\1x', b'\xff\xff\xff\xff',
     b'E_BAD_MESSAGE MPUB invalid message(1) body size -1')])
def test_what_is_wrong_is_said_at_once_behind_a_pause(nsqd, first, rest, error):
    with nsqd.connect() as client:
        client.send(first)
        wait_parked(nsqd)
        client.send(rest)
        client.expect_fatal(error)


def test_a_line_without_end_is_refused_behind_a_pause(nsqd):
    with nsqd.connect() as client:
        client.send(b'x')
        wait_parked(nsqd)
        for _ in range(4):
            client.send(b'x' * 4096)
        client.expect_closed()


def test_a_bad_magic_is_refused_behind_a_pause(nsqd):
    with nsqd.connect(b' ') as client:
        wait_parked(nsqd)
        client.send(b' V3')
        client.expect_fatal(b'E_BAD_PROTOCOL')


def test_half_a_command_keeps_nobody_alive(nsqd):
    """Its time is that of any command: two heartbeats."""
    start = time.monotonic()
    with nsqd.subscribe('t', 'ch', heartbeat_interval=2500) as client:
        client.send(b'PUB t\n' + sized(b'half')[:-2])
        wait_parked(nsqd)
        answer = client.frame()
        while answer == (RESPONSE, HEARTBEAT):
            answer = client.frame()
        assert answer == (ERROR, b'E_BAD_MESSAGE PUB failed to read message body')
        client.expect_closed()
        assert time.monotonic() - start >= 4.9


def test_a_consumer_with_half_a_command_still_gets_messages(nsqd):
    with nsqd.subscribe('t', 'ch', rdy=1) as client:
        client.send(b'PUB u\n' + sized(b'half')[:-2])
        wait_parked(nsqd)
        publish(nsqd, 't', b'a')
        message = client.message()
        client.send(b'lf')
        client.expect_ok()
        client.fin(message)
        nsqd.wait_channel('t', 'ch', depth=0, in_flight_count=0)


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


@pytest.mark.parametrize('stack', STACKS)
def test_a_connection_with_layers_is_parked_like_any(new_nsqd, server_cert, stack):
    daemon = new_nsqd('--snappy=true', '--deflate=true',
                      '--https-address=', '--tls-cert=' + server_cert[0],
                      '--tls-key=' + server_cert[1])
    with daemon.connect() as client, daemon.connect() as silent:
        for one in client, silent:
            upgrade(one, stack, heartbeat_interval=3000 if one is client else -1)
        # A part of a record, or of a chunk.
        silent.socket.below.sendall(b'\x17\3\3' if stack[-1] == 'tls' else b'\0')
        wait_parked(daemon)
        assert client.frame() == (RESPONSE, HEARTBEAT)
        client.command('NOP')
        assert client.frame() == (RESPONSE, HEARTBEAT)
        time.sleep(0.1)
        assert client_threads(daemon) == 0
        for data in b'NOP\nPUB t\n', sized(b'half')[:-2]:
            client.send(data)
            wait_parked(daemon)
        client.send(b'lf')
        assert client.answer() == (RESPONSE, b'OK')
        client.sub('t', 'ch')
        client.rdy(1)
        wait_parked(daemon)
        assert client.message().body == b'half'


@pytest.mark.parametrize('stack', STACKS)
def test_what_a_layer_holds_is_taken_though_its_socket_is_silent(
        new_nsqd, server_cert, stack):
    daemon = new_nsqd('--snappy=true', '--deflate=true',
                      '--https-address=', '--tls-cert=' + server_cert[0],
                      '--tls-key=' + server_cert[1])
    large = b'PUB t\n' + sized(b'x' * 1000000)
    with daemon.connect() as client:
        # No heartbeat, whose answer would be input.
        upgrade(client, stack, heartbeat_interval=-1)
        client.send(large[:8])
        wait_parked(daemon)
        client.send(large[8:])
        client.expect_ok()


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
