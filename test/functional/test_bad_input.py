"""Garbage, floods and rude clients: the daemon goes on serving the others,
and holds on to nothing afterwards."""

import os
import random
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nsq import DEADLINE, SCALE, Client, mpub_body, sized, wait_until

SEED = int(os.environ.get('SEED', '1'))

# Stock runs goroutines, and how many threads serve them is Go's business.
THREADS = pytest.mark.ours(reason='threads are not one per goroutine')


def drain(client):
    """Read until the daemon closes; returns how much there was."""
    size = 0
    client.socket.settimeout(DEADLINE)
    try:
        while True:
            data = client.socket.recv(1 << 16)
            if not data:
                return size
            size += len(data)
    except ConnectionResetError:
        return size


def send(client, data):
    """Send, although the daemon may have closed already."""
    try:
        client.send(data)
    except OSError:
        pass


def half_close(client):
    try:
        client.half_close()
    except OSError:
        pass


@pytest.fixture
def daemon(new_nsqd):
    """A daemon that must have as many descriptors (and, where a thread is a
    goroutine, threads) after the test as before."""
    daemon = new_nsqd()
    # What is created at first use and stays: topics and channels with their
    # threads, and the threads of the HTTP server.
    daemon.create('usable')
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        client.expect_usable()
    # With a log: its files, and those of its cursors.
    daemon.pub('t', b'first')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        client.fin(client.message())
        client.expect_usable()
    daemon.get('/ping')
    daemon.wait_channel('t', 'ch', client_count=0, depth=0)
    cursors = ['t.log/ch.cursor', 't.log/:topic.cursor', 'usable.log/:topic.cursor']
    for name in cursors if daemon.durability() else ():
        wait_until(lambda path=os.path.join(daemon.data_path, name): os.path.exists(path), name)
    descriptors = daemon.descriptors()
    yield daemon
    wait_until(lambda: daemon.descriptors() <= descriptors,
               lambda: '%d descriptors are %d again' % (daemon.descriptors(),
                                                        descriptors))
    with daemon.connect() as client:
        client.expect_usable()
    daemon.check()


# -- garbage

def test_random_bytes_do_no_harm(daemon):
    rng = random.Random(SEED)
    for _ in range(200):
        with daemon.connect(rng.choice([b'', b'  V2'])) as client:
            send(client, rng.randbytes(rng.randrange(1, 5000)))
            half_close(client)
            drain(client)


def random_command(rng):
    """Something that is nearly a command."""
    number = rng.choice([b'0', b'1', b'-1', b'99999', b'x', b'',
                         str(2**64).encode(), b'9' * 50])
    size = rng.choice([-2**31, -1, 0, 1, 2, 5, 1048577, 2**31 - 1])
    body = rng.choice([b'', b'x', b'{}', b'hello', b'\n\n\n',
                       mpub_body([b'x']), struct.pack('>ii', 2, 1) + b'x'])
    word = rng.choice([
        b'IDENTIFY', b'SUB', b'PUB', b'MPUB', b'DPUB', b'RDY', b'FIN', b'REQ',
        b'TOUCH', b'CLS', b'NOP', b'AUTH', b'fin', b'', b'X' * 200])
    words = [word] + rng.choices(
        [b'usable', b't', b'ch', number, b'0123456789abcdef', b'$', b'',
         b'a' * 100], k=rng.randrange(4))
    line = b' '.join(words) + rng.choice([b'\n', b'\n', b'\r\n', b''])
    return line + rng.choice([b'', sized(body), struct.pack('>i', size) + body,
                              body])


def test_thousands_of_random_commands_do_no_harm(daemon):
    rng = random.Random(SEED)
    for _ in range(300):
        with daemon.connect() as client:
            if rng.random() < 0.5:
                client.command('SUB', 't', 'ch')
            for _ in range(rng.randrange(1, 20)):
                send(client, random_command(rng))
            half_close(client)
            drain(client)
    daemon.wait_channel('t', 'ch', client_count=0)


def test_random_identify_bodies_do_no_harm(daemon):
    rng = random.Random(SEED)
    good = (b'{"client_id":"x","heartbeat_interval":30000,"sample_rate":5,'
            b'"feature_negotiation":true,"msg_timeout":[1,{"a":null}]}')
    for _ in range(300):
        body = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            what, at = rng.randrange(3), rng.randrange(len(body))
            if what == 0:
                body[at] = rng.randrange(256)
            elif what == 1:
                del body[at:at + rng.randrange(1, 10)]
            else:
                body[at:at] = rng.choice([b'{', b'[', b'"', b'\\u', b'\0',
                                          b'1e999', b',', b'}'])
            body = body or bytearray(b'{')
        with daemon.connect() as client:
            client.command('IDENTIFY', body=bytes(body))
            half_close(client)
            drain(client)


def test_a_flood_of_errors_that_nobody_reads_ends(daemon):
    # The daemon cannot write its answers; it must neither keep them for ever
    # nor stop serving the others.
    with daemon.connect(receive_buffer=4096) as client:
        client.identify(heartbeat_interval=1000)
        client.sub('t', 'ch')
        client.socket.settimeout(0.5)
        flood = b'FIN 0123456789abcdef\n' * 5000
        try:
            for _ in range(200):
                client.socket.sendall(flood)
        except OSError:
            pass
        with daemon.connect() as other:
            other.expect_usable()
        daemon.wait_channel('t', 'ch', client_count=0)


# -- sizes that promise more than there is

@pytest.mark.parametrize('start', [
    b'PUB t\n' + struct.pack('>i', 1000000),
    b'DPUB t 0\n' + struct.pack('>i', 1000000),
    b'MPUB t\n' + struct.pack('>ii', 5000000, 1000000),
    b'IDENTIFY\n' + struct.pack('>i', 5000000),
    b'AUTH\n' + struct.pack('>i', 5000000)], ids=lambda v: repr(v[:8]))
def test_a_body_that_never_comes_holds_up_nobody(daemon, start):
    clients = [daemon.connect() for _ in range(20)]
    for client in clients:
        client.send(start + b'some')
    with daemon.connect() as other:
        other.expect_usable()
    before = daemon.topic_stats('t')['message_count']
    for i, client in enumerate(clients):
        client.reset() if i % 2 else client.close()
    daemon.stats()
    assert daemon.topic_stats('t')['message_count'] == before


def test_a_promise_alone_does_not_cost_memory(daemon):
    # A size of 1 MiB is not a reason to touch 1 MiB for each connection.
    clients = [daemon.connect() for _ in range(100)]
    for client in clients:
        client.send(b'MPUB t\n' + struct.pack('>ii', 5000000, 1)
                    + struct.pack('>i', 1048576) + b'x')
    with open('/proc/%d/status' % daemon.process.pid) as f:
        resident = [int(line.split()[1]) for line in f
                    if line.startswith('VmRSS:')][0]
    limit = 400 * 1024 if SCALE > 1 else 200 * 1024
    assert resident < limit, '%d KiB' % resident
    for client in clients:
        client.close()


# -- disconnects

@pytest.mark.parametrize('leave', ['close', 'reset'])
def test_a_disconnect_may_come_anywhere_in_a_conversation(daemon, leave):
    talk = (b'  V2IDENTIFY\n' + sized(b'{"feature_negotiation":true}')
            + b'PUB usable\n' + sized(b'body')
            + b'MPUB usable\n' + sized(mpub_body([b'a', b'b']))
            + b'SUB t ch\nRDY 5\nFIN 0123456789abcdef\nNOP\nCLS\n')
    for end in range(0, len(talk) + 1):
        client = daemon.connect(b'')
        client.send(talk[:end])
        getattr(client, leave)()
    daemon.wait_channel('t', 'ch', client_count=0)


def test_500_connects_and_disconnects_leave_nothing_behind(daemon):
    for i in range(500):
        client = daemon.connect(b'  V2' if i % 3 else b'')
        if i % 5 == 0:
            client.send(b'SUB t ch\nRDY 1\n')
        client.reset() if i % 2 else client.close()
    daemon.wait_channel('t', 'ch', client_count=0)


def test_an_end_right_behind_a_command_is_seen(daemon):
    """What has come and its end are one event of the kernel, which is told once."""
    for _ in range(100):
        with daemon.connect() as client:
            client.expect_usable()
            client.command('PUB', 'usable', body=b'x').half_close()
            client.expect_ok()
            client.expect_closed()


def test_an_end_right_behind_a_request_is_seen(daemon):
    request = b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n'

    def expect_answer(client):
        answer = b''
        while not answer.endswith(b'\r\n\r\nOK'):
            answer += client.read(1)
    for _ in range(100):
        with Client(daemon.http_port, magic=b'') as client:
            client.send(request)
            expect_answer(client)
            client.send(request).half_close()
            expect_answer(client)
            client.expect_closed()


def visit(daemon, chance):
    """A connection that does anything, and leaves in any way."""
    http = chance.random() < 0.2
    client = Client(daemon.http_port if http else daemon.tcp_port,
                    magic=b'' if http or chance.random() < 0.1 else b'  V2')
    said = chance.choice([
        b'', b'GET /stats HTTP/1.1\r\nHost: x\r\n\r\n' * 9,
        b'POST /pub?topic=usable HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel',
    ] if http else [
        b'', b'PUB usable\n' + sized(b'x' * 3000), b'SUB t ch\nRDY 10\n',
        b'SUB crowd#ephemeral ch#ephemeral\nRDY 1\n', b'IDENTIFY\n' + sized(b'{}'),
        b'PUB usable\n' + struct.pack('>i', 1000) + b'half',
    ])
    send(client, said)
    if chance.random() < 0.5:
        half_close(client)
        if chance.random() < 0.5:
            drain(client)
    client.reset() if chance.random() < 0.5 else client.close()


def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(daemon):
    def come_and_go(seed):
        chance = random.Random(seed)
        for _ in range(120):
            visit(daemon, chance)
    with ThreadPoolExecutor(6) as crowd:
        visitors = [crowd.submit(come_and_go, SEED * 100 + i) for i in range(6)]
        with daemon.connect() as client:
            while not all(v.done() for v in visitors):
                client.expect_usable()
        for visitor in visitors:
            visitor.result()
    daemon.wait_channel('t', 'ch', client_count=0)


def test_500_connections_at_once_are_served(daemon):
    clients = [daemon.connect() for _ in range(500)]
    for client in clients:
        client.command('SUB', 't', 'ch')
    for client in clients:
        client.expect_ok()
        client.rdy(1)
    daemon.wait_channel('t', 'ch', client_count=500)
    daemon.pub('t', *[b'x'] * 500)
    daemon.wait_channel('t', 'ch', in_flight_count=500)
    for client in clients:
        client.fin(client.message())
        client.close()
    daemon.wait_channel('t', 'ch', client_count=0, in_flight_count=0, depth=0)


# -- clients that do not read

def test_a_consumer_that_stops_reading_is_disconnected(daemon):
    stuck = daemon.connect(receive_buffer=4096)
    stuck.identify(heartbeat_interval=1000)
    stuck.sub('t', 'ch')
    # More than the sockets hold, but not all: a batch may be as large as that.
    stuck.rdy(60)
    daemon.pub('t', *[b'x' * 100000] * 40)
    daemon.pub('t', *[b'x' * 100000] * 40)
    with daemon.connect() as other:
        other.expect_usable()
    daemon.wait_channel('t', 'ch', client_count=0)
    # What it did not take from the channel goes to others.
    finished = 0
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        while True:
            try:
                client.fin(client.message(timeout=0.5))
                finished += 1
            except TimeoutError:
                # It may only be slow.
                if daemon.channel_stats('t', 'ch')['depth'] == 0:
                    break
        assert finished > 0
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=80 - finished)
    stuck.close()


def test_a_consumer_that_does_not_read_does_not_hold_up_another(daemon):
    stuck = daemon.connect(receive_buffer=4096)
    stuck.sub('t', 'ch')
    stuck.rdy(100)
    daemon.pub('t', *[b'x' * 100000] * 40)
    daemon.pub('t', *[b'x' * 100000] * 40)
    daemon.pub('t', *[b'x' * 100000] * 40)
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        # The stuck one holds at most its RDY; the rest is for this one.
        for _ in range(20):
            client.fin(client.message())
    stuck.close()


def check_exit_without_readers(daemon, prepare=lambda client: None):
    """Ten consumers that do not read: each would take a second, if one waited
    for the other. Nothing of an ephemeral channel is written to disk, which
    might take as long."""
    count = 10
    clients = []
    for i in range(count):
        client = daemon.connect(receive_buffer=4096)
        prepare(client)
        client.sub('t#ephemeral', 'ch%d#ephemeral' % i)
        client.rdy(100)
        clients.append(client)
    daemon.pub('t#ephemeral', *[b'x' * 100000] * 45)
    daemon.wait_topic('t#ephemeral', depth=0)
    start = time.monotonic()
    daemon.stop()
    assert time.monotonic() - start < (count - 1) * SCALE
    for client in clients:
        client.close()


def test_consumers_that_do_not_read_do_not_hold_up_the_exit(new_nsqd):
    check_exit_without_readers(new_nsqd())


def test_a_publisher_that_does_not_read_its_answers_does_no_harm(daemon):
    # An ephemeral topic drops what is too much, so that no disk is involved.
    with daemon.connect(receive_buffer=4096) as client:
        client.socket.settimeout(0.5)
        try:
            for _ in range(200):
                client.socket.sendall((b'PUB full#ephemeral\n' + sized(b'x'))
                                      * 1000)
        except OSError:
            pass
        with daemon.connect() as other:
            other.expect_usable()


# -- one client's fault

def test_the_fault_of_one_client_does_not_reach_another(daemon):
    with daemon.subscribe('t', 'ch', rdy=1) as good:
        for rude in (b'GARBAGE\n', b'PUB t\n\xff\xff\xff\xff', b'SUB\n',
                     b'SUB t ch\nRDY -1\n', b'SUB t ch\nFIN x\n',
                     b'IDENTIFY\n' + sized(b'[]'), b'x' * 20000,
                     b'MPUB t\n' + sized(struct.pack('>i', -1))):
            with daemon.connect() as client:
                send(client, rude)
                drain(client)
            daemon.pub('t', 'still here')
            message = good.message()
            assert message.body == b'still here'
            good.fin(message)


# -- the log

GONE = r'(write tcp \S+: )?write: (connection reset by peer|broken pipe)'


@pytest.mark.parametrize('first, commands, why', [
    (b'', (b'PUB t\n' + sized(b'x')) * 200, 'failed to send response - ' + GONE),
    (b'', b'PUB t\n' + sized(b'x'), 'failed to send response - ' + GONE),
    (b'SUB t ch\n', b'FIN 0123456789abcdef\n' * 200,
     'E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight')],
                         ids=['PUBs', 'PUB', 'FINs'])
def test_the_log_says_why_an_answer_could_not_be_sent(daemon, first, commands, why):
    with daemon.connect() as client:
        client.identify(output_buffer_size=64)
        if first:
            client.send(first)
            client.expect_ok()
        port = client.socket.getsockname()[1]
        # When it goes on, the commands are there, and their sender is not.
        with daemon.frozen():
            client.send(commands)
            client.reset()
    daemon.wait_log(r' ERROR: client\(127\.0\.0\.1:%d\) - %s$' % (port, why))
    if first:
        daemon.wait_log(r' ERROR: \[127\.0\.0\.1:%d\] - %s - ID not in flight$'
                        % (port, GONE))


# -- threads

@THREADS
def test_the_threads_of_topics_and_channels_end_with_them(new_nsqd):
    daemon = new_nsqd()
    clients = [daemon.subscribe('t%d#ephemeral' % (i % 5),
                                'ch%d#ephemeral' % i) for i in range(20)]
    wait_until(lambda: daemon.count_threads('t:') == 5
               and daemon.count_threads('c:') == 20, daemon.thread_names)
    for client in clients:
        client.close()
    wait_until(lambda: daemon.stats()['topics'] == [],
               lambda: 'there are no topics: %s' % daemon.stats())
    wait_until(lambda: daemon.count_threads('t:', 'c:', 'io:', 'pump:') == 0,
               daemon.thread_names)
