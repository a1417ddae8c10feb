"""More HTTP connections than the daemon may have, and connections that hold what
others need: those with the least to show for their time are closed, /ping is
answered, work at an honest speed goes on, and the daemon ends in time."""

import contextlib
import socket
import threading
import time

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from limits import FewDescriptors
from nsq import DEADLINE, wait_all_read, wait_until
from test_https import ask as ask_https, https_port
from test_tls import context, flags

pytestmark = pytest.mark.ours(reason='net/http has no limit')

# Half of the descriptors may be HTTP connections, a quarter of them HTTPS.
DESCRIPTORS = FewDescriptors.DESCRIPTORS


@pytest.fixture
def limited(tmp_path, server_cert):
    daemon = FewDescriptors(str(tmp_path), flags(server_cert)).start()
    yield daemon
    daemon.close()


def connect(daemon, tls=False):
    port = https_port(daemon) if tls else daemon.http_port
    return socket.create_connection(('127.0.0.1', port), DEADLINE)


def ping(daemon, tls=False):
    return (ask_https(daemon, 'GET', '/ping') if tls else daemon.get('/ping')).body


def answers(daemon):
    try:
        return ping(daemon) == b'OK'
    except OSError:
        return False


def ping_again(daemon, tls):
    """What makes room may be in the middle of an answer. On a slow machine that may take longer
    than a new connection waits for room: then it is refused, and tries again."""
    def answer():
        try:
            return ping(daemon, tls)
        except OSError:
            return None
    return wait_until(answer, 'a ping is answered')


def test_idle_connections_make_room(limited):
    idle = [connect(limited) for _ in range(DESCRIPTORS)]
    wait_until(lambda: answers(limited), 'an idle connection makes room')
    assert limited.descriptors() < DESCRIPTORS
    for s in idle:
        s.close()
    wait_until(lambda: limited.descriptors() < 30, 'all descriptors are given back')
    limited.check()


# -- who holds a connection, and does little with it


def send(s, data):
    """False: it has been closed."""
    try:
        s.sendall(data)
        return True
    except OSError:
        return False


PING = b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n'
POST = b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n'
CHUNKS = b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
BIG = b'GET /stats?format=json HTTP/1.1\r\nHost: x\r\n\r\n'

# What each begins with, and what it sends again and again.
DRIPS = {
    'silent': (b'', b''), 'head': (b'GET /ping HTTP/1.1\r\nA: ', b'x'),
    'line': (b'GET /', b'x'), 'body': (POST, b'x'), 'chunks': (CHUNKS, b'1\r\nx\r\n'),
    'extension': (CHUNKS + b'1;', b'x'), 'kept': (PING, b''),
    'kept-head': (PING + b'GET', b'x'), 'unread': (BIG * 20, b''),
    'blank': (b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
              b'\r\n'),
}


@contextlib.contextmanager
def dripping(connections, drip):
    """A byte of each of them, all the time; and who is closed comes back."""
    stop = threading.Event()

    def run():
        while not stop.wait(0.1):
            for s in connections:
                if drip:
                    send(s, drip)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for s in connections:
            s.close()


@pytest.mark.parametrize('name', DRIPS)
@pytest.mark.parametrize('tls', [False, True], ids=['http', 'https'])
def test_nobody_is_locked_out_by_connections_that_do_little(limited, tls, name):
    first, drip = DRIPS[name]
    for i in range(100):  # so that statistics do not fit into a socket
        limited.create('topic%d' % i)
    connections = []
    for _ in range(DESCRIPTORS):
        s = connect(limited, tls)
        if tls and name != 'silent':
            try:
                s = context().wrap_socket(s)
            except OSError:  # it has had to go already
                continue
        if send(s, first):
            connections.append(s)
    with dripping(connections, drip):
        for _ in range(5):
            assert ping_again(limited, tls) == b'OK'
            time.sleep(0.05)
    wait_until(lambda: limited.descriptors() < 30, 'all descriptors are given back')
    limited.check()


@pytest.mark.parametrize('tls', [False, True], ids=['http', 'https'])
def test_work_at_an_honest_speed_is_not_disturbed(limited, tls):
    """A body that comes in at 100 KB/s, while others need room all the time."""
    size, pieces = 100000, 20
    s = connect(limited, tls)
    if tls:
        s = context().wrap_socket(s)
    s.sendall(b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % size)
    others = []
    for _ in range(pieces):
        s.sendall(b'x' * (size // pieces))
        others += [connect(limited, tls) for _ in range(DESCRIPTORS // 10)]
        time.sleep(0.05)
    assert s.recv(65536).startswith(b'HTTP/1.1 200 OK\r\n')
    for s in others + [s]:
        s.close()


def test_half_sent_requests_do_not_delay_the_end(new_nsqd):
    daemon = new_nsqd()
    before = daemon.descriptors()
    daemon.create('t')
    halves = [b'', b'POST', b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc',
              b'POST /mpub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab']
    sockets = []
    for half in halves * 5:
        s = connect(daemon)
        s.sendall(half)
        sockets.append(s)
    wait_until(lambda: daemon.descriptors() >= before + len(sockets),
               'they are all connected')
    # What is unread when the daemon closes makes an end that is no end, but a reset.
    wait_all_read(daemon.http_port, sockets)
    daemon.stop()   # which has a deadline
    for s in sockets:
        # Its request was not wrong, it has only not come. (A head that is read only when the exit
        # has begun is told so.)
        answer = s.recv(100)
        assert answer == b'' or answer.startswith(b'HTTP/1.1 503 ')
        s.close()


def test_an_answer_that_nobody_reads_does_not_delay_the_end(new_nsqd):
    daemon = new_nsqd()
    for i in range(100):
        daemon.create('topic%d' % i)
    with connect(daemon) as s:
        s.settimeout(0.5)
        with contextlib.suppress(OSError):
            while True:  # until nothing goes in any more
                s.sendall(BIG * 100)
        daemon.stop()


# -- out of descriptors


@pytest.mark.parametrize('tls', [False, True], ids=['http', 'https'])
def test_slow_connections_do_not_hold_the_last_descriptors(limited, tls):
    """TCP clients have nearly all of them, so these are far from their own limit."""
    clients = [socket.create_connection(('127.0.0.1', limited.tcp_port), DEADLINE)
               for _ in range(DESCRIPTORS)]
    limited.wait_log('the last of %d descriptors are for others' % DESCRIPTORS)
    slow = [connect(limited, tls) for _ in range(DESCRIPTORS // 2)]
    with dripping(slow, b'G'):
        for _ in range(5):
            start = time.monotonic()
            assert ping_again(limited, tls) == b'OK'
            # (With nothing done for it, when the clients' time for their magic is over.)
            assert time.monotonic() - start < DEADLINE
    for s in clients:
        s.close()
    wait_until(lambda: limited.descriptors() < 30, 'all descriptors are given back')
    limited.check()


# -- a machine that stood still


def test_what_came_in_during_a_standstill_is_answered(new_nsqd, server_cert):
    """The handshake's time has run out meanwhile, but its bytes have come."""
    daemon = new_nsqd(*flags(server_cert))
    before = daemon.descriptors()
    with connect(daemon, tls=True) as s:
        done = threading.Event()
        found = []

        def handshake():
            with context().wrap_socket(s) as tls:
                tls.sendall(PING)
                found.append(tls.recv(4096))
            done.set()
        wait_until(lambda: daemon.descriptors() == before + 1, 'it is there')
        with daemon.frozen():
            thread = threading.Thread(target=handshake)
            thread.start()
            time.sleep(5.5)  # the limit of a handshake is 5 s
        thread.join(DEADLINE)
        assert found and found[0].startswith(b'HTTP/1.1 200 OK\r\n')
