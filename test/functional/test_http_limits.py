"""More HTTP connections than the daemon may have: some are refused or closed,
it goes on answering, and it ends in time."""

import socket
import pytest

from nsq import DEADLINE, Nsqd, wait_until

# Half of the descriptors may be HTTP connections.
DESCRIPTORS = 200


class Limited(Nsqd):
    def command(self):
        return ['prlimit', '--nofile=%d' % DESCRIPTORS] + super().command()


@pytest.fixture
def limited(tmp_path):
    daemon = Limited(str(tmp_path)).start()
    yield daemon
    daemon.close()


def connect(daemon):
    return socket.create_connection(('127.0.0.1', daemon.http_port),
                                    timeout=DEADLINE)


def answers(daemon):
    try:
        return daemon.get('/ping').body == b'OK'
    except OSError:
        return False


@pytest.mark.ours(reason='net/http has no limit')
def test_idle_connections_make_room(limited):
    idle = [connect(limited) for _ in range(DESCRIPTORS)]
    wait_until(lambda: answers(limited), 'an idle connection makes room')
    assert limited.descriptors() < DESCRIPTORS
    for s in idle:
        s.close()
    wait_until(lambda: limited.descriptors() < 30, 'all descriptors are given back')
    limited.check()


def test_half_sent_requests_do_not_delay_the_end(new_nsqd):
    daemon = new_nsqd()
    halves = [b'', b'POST', b'POST /pub?topic=t HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc',
              b'POST /mpub?topic=t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab']
    sockets = []
    for half in halves * 5:
        s = connect(daemon)
        s.sendall(half)
        sockets.append(s)
    wait_until(lambda: daemon.threads() >= len(sockets), 'they are all connected')
    daemon.stop()   # which has a deadline
    for s in sockets:
        s.close()
