"""The daemon can have no more threads: a container's pids limit, or a user's.

As another user, since a user's limit does not bind root: so these tests need root.
"""

import contextlib
import threading
import time

import pytest

from limits import FewThreads
from nsq import (DEADLINE, HEARTBEAT, MAGIC, OK, RESPONSE, SCALE, mpub_body, running, sized,
                 wait_until)

pytestmark = pytest.mark.ours(reason='how many threads it needs is the business of Go')

# It starts with some 12, so that there is room for 40 more; sanitizers have one of their own.
LIMIT = 53
ROOM = 40


@pytest.fixture
def nsqd():
    daemon = FewThreads(LIMIT)
    with running(daemon):
        yield daemon
        daemon.check()


def check_others_are_served(daemon, name):
    """With a new topic and a new channel: that takes five threads."""
    with daemon.connect() as other:
        other.pub(name, b'x')
        with daemon.subscribe(name, 'ch', rdy=1) as consumer:
            message = consumer.message()
            assert message.body == b'x'
            consumer.fin(message)
    assert daemon.get('/ping').status == 200


COUNT = 500 if SCALE == 1 else 150
PUB = b'PUB t\n' + sized(b'x' * 100)


@pytest.mark.parametrize('half', [b'PU', PUB[:-50]], ids=['line', 'body'])
def test_half_a_command_takes_no_thread_from_others(nsqd, half):
    clients = []
    for _ in range(COUNT):
        client = nsqd.connect()
        # Each one is served: by those who are idle before it.
        client.identify(heartbeat_interval=-1)
        client.send(half)
        clients.append(client)
    check_others_are_served(nsqd, 'new')
    for client in clients:
        client.send(PUB[len(half):])
    for client in clients:
        client.expect_ok()
        client.close()
    assert nsqd.topic_stats('t')['message_count'] == COUNT


def test_connections_that_say_nothing_take_no_thread_from_others(nsqd):
    clients = [nsqd.connect(MAGIC[:i % 4]) for i in range(ROOM - 10)]
    wait_until(lambda: nsqd.count_threads('io:') == 0, nsqd.thread_names)
    clients += [nsqd.connect(MAGIC[:i % 4]) for i in range(ROOM - 10)]
    check_others_are_served(nsqd, 'new')
    wait_until(lambda: nsqd.count_threads('io:') == 0, nsqd.thread_names)
    for i, client in enumerate(clients):
        client.send(MAGIC[i % (ROOM - 10) % 4:])
        client.pub('t', b'x')
        client.close()


def test_a_drip_takes_no_thread_from_others(nsqd):
    clients = []
    for _ in range(100):
        clients.append(nsqd.connect())
        clients[-1].identify(heartbeat_interval=-1)
    stop = threading.Event()

    def drip():
        for at in range(len(PUB)):
            for client in clients:
                client.send(PUB[at:at + 1])
            if stop.wait(0.2):
                at += 1
                break
        for client in clients:
            client.send(PUB[at:])
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        for i in range(3):
            check_others_are_served(nsqd, 'new%d' % i)
            time.sleep(0.5)
    finally:
        stop.set()
        thread.join()
    for client in clients:
        client.expect_ok()
        client.close()


def test_a_burst_is_served_or_refused_at_once(nsqd):
    clients = []
    for _ in range(200):
        client = nsqd.connect(b'')
        client.send(MAGIC + b'IDENTIFY\n' + sized(b'{}'))
        clients.append(client)
    end = time.monotonic() + DEADLINE
    for _ in range(3):
        assert nsqd.get('/ping').status == 200
    served = 0
    for client in clients:
        client.socket.settimeout(max(0.01, end - time.monotonic()))
        with contextlib.suppress(ConnectionError):
            answer = client.socket.recv(100)
            assert answer in (b'', OK)
            served += answer == OK
    assert served >= ROOM // 4
    for client in clients:
        client.close()
    wait_until(lambda: nsqd.count_threads('io:', 'pump:') == 0, nsqd.thread_names)
    check_others_are_served(nsqd, 'new')


# -- none is left

@pytest.fixture
def starved(nsqd):
    """It can have none beside those that it has. To call it ends that."""
    nsqd.create('t', 'ch', 'full')
    with contextlib.ExitStack() as stack:
        stack.enter_context(nsqd.crowd())
        yield stack.close


def test_clients_that_need_no_thread_are_served(nsqd, starved):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(nsqd.connect()) for _ in range(100)]
        for i, client in enumerate(clients):
            client.identify(heartbeat_interval=60000)
            client.pub('t', b'%d' % i)
        for client in clients:
            client.sub('t', 'ch')
        for i, client in enumerate(clients):
            client.rdy(1)
            message = client.message()
            assert message.body == b'%d' % i
            client.touch(message)
            client.rdy(0)
            client.fin(message)
        starved()
        wait_until(lambda: nsqd.get('/stats').status == 200, '/stats has a thread')
        nsqd.wait_channel('t', 'ch', depth=0, in_flight_count=0)


@pytest.mark.parametrize('command', [
    b'PUB t\n' + sized(b'x' * 1000000), b'DPUB t 0\n' + sized(b'x' * 1000000),
    b'MPUB t\n' + sized(mpub_body([b'x' * 1000] * 900))], ids=['PUB', 'DPUB', 'MPUB'])
@pytest.mark.usefixtures('starved')
def test_large_bodies_need_no_thread(nsqd, command):
    """They are faster with one."""
    with nsqd.connect() as client:
        client.send(command + command)
        client.expect(OK + OK)


@pytest.mark.usefixtures('starved')
def test_a_busy_client_needs_no_thread(nsqd):
    with nsqd.connect() as client:
        for _ in range(50):
            client.send(PUB * 100)
            client.expect(OK * 100)


@pytest.mark.usefixtures('starved')
def test_heartbeats_need_no_thread(nsqd):
    # Twice that they may be silent, and each waits for the other's here.
    with nsqd.connect() as silent, nsqd.subscribe('t', 'ch', heartbeat_interval=2500) as one:
        silent.identify(heartbeat_interval=2500)
        for _ in range(3):
            for client in silent, one:
                assert client.frame() == (RESPONSE, HEARTBEAT)
                client.command('NOP')


@pytest.mark.parametrize('command', [
    b'PUB new\n' + sized(b'x'), b'DPUB new 0\n' + sized(b'x'),
    b'MPUB new\n' + sized(mpub_body([b'x'])), b'SUB t new\n', b'SUB new ch\n'],
                         ids=['PUB', 'DPUB', 'MPUB', 'channel', 'topic'])
def test_a_client_that_needs_a_thread_is_refused_if_there_is_none_for_a_second(
        nsqd, starved, command):
    clients = [nsqd.connect() for _ in range(20)]
    for client in clients:
        client.send(command)
    for client in clients:
        client.expect_closed()
        client.close()
    starved()

    def served():
        with nsqd.connect() as client, contextlib.suppress(EOFError):
            client.send(command)
            return client.frame() == (RESPONSE, b'OK')
    wait_until(served, nsqd.thread_names)   # it does not try all the time


def test_a_client_that_does_not_read_holds_up_nobody(nsqd, starved):
    bodies = [b'%d' % i * 1000 for i in range(100, 110)]
    with nsqd.connect(receive_buffer=65536) as full, nsqd.connect() as producer, \
            nsqd.subscribe('t', 'ch', rdy=1) as consumer:
        full.identify(heartbeat_interval=60000)
        full.sub('t', 'full')
        full.rdy(2500)
        for _ in range(200):
            producer.pub('t', *bodies)
            for body in bodies:
                message = consumer.message()
                assert message.body == body
                consumer.fin(message)
        starved()   # what it has not taken waits for a thread
        assert sorted(m.body for m in full.messages(2000)) == sorted(bodies * 200)
