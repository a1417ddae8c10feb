"""What is no HTTP request is refused in stock's words, byte by byte, over TLS
and without it. STOCK names stock's nsqd 1.3.0."""

import socket

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from nsq import DEADLINE, Nsqd, running, wait_until
from test_http_side_by_side import Stock, need_stock
from test_https import https_port
from test_tls import context, flags


@pytest.fixture(scope='module')
def pair(tmp_path_factory, server_cert):
    need_stock()
    with running(*(kind(str(tmp_path_factory.mktemp(name)), flags(server_cert))
                   for kind, name in ((Stock, 'stock'), (Nsqd, 'ours')))) as both:
        for daemon in both:
            https_port(daemon)  # it says so last, and nobody has waited for it
        yield both


def dial(daemon, tls):
    port = https_port(daemon) if tls else daemon.http_port
    s = socket.create_connection(('127.0.0.1', port), DEADLINE)
    # An end without a close-notify is an error.
    return context().wrap_socket(s, suppress_ragged_eofs=False) if tls else s


def answer(daemon, tls, raw):
    """Everything until the daemon closes."""
    with dial(daemon, tls) as s:
        s.sendall(raw)
        return b''.join(iter(lambda: s.recv(65536), b''))


def head(*lines):
    return b'\r\n'.join(lines) + b'\r\n\r\n'


PING = b'GET /ping HTTP/1.1'

# No first line of a request.
LINES = [
    b'garbage\r\n\r\n', b'GET\r\n', b'GET\r\n\r\n', b' GET /ping HTTP/1.1\r\n\r\n',
    b'GET /\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n',
    b'GET /ping HTTP/2.0\r\n\r\n', b'GET /ping HTTP/0.9\r\n\r\n',
    b'GET /ping XTTP/1.1\r\n\r\n', b'GET /ping http/1.1\r\n\r\n',
    b'GET /ping HTTP/1.1 \r\n\r\n',
    b'\0\1\2\3\r\n\r\n', b'GET  /ping HTTP/1.1\r\nHost: x\r\n\r\n',
    b'\r\n' + b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n', b'\n', b' \n']

# A first line, but no request.
HEADS = [
    head(PING), head(PING, b'Host: a', b'Host: b'), head(PING, b'Host: a b'),
    head(PING, b'Host: x\1'), head(PING, b'Host: x', b'A: \1'),
    head(PING, b'Host: x', b'A'), head(PING, b': a'),
    head(PING, b'Host: x', b'A B: c'), head(PING, b' Host: x'),
    head(PING, b'Host : x'), head(PING, b'Host: x', b'A(: b'),
    head(b'G(T /ping HTTP/1.1', b'Host: x'), head(b'G@T / HTTP/1.1', b'Host: x'),
    head(b'GET /p ing HTTP/1.1', b'Host: x'), head(b'GET ping HTTP/1.1', b'Host: x'),
    head(b'GET /%zz HTTP/1.1', b'Host: x'), head(b'GET /\x7f HTTP/1.1', b'Host: x'),
    head(PING, b'Host: x', b'Content-Length: -1'),
    head(PING, b'Host: x', b'Content-Length: x'),
    head(PING, b'Host: x', b'Content-Length: 99999999999999999999'),
    head(PING, b'Host: x', b'Content-Length: 1', b'Content-Length: 2') + b'ab',
    head(PING, b'Host: x', b'Transfer-Encoding: foo')]


@pytest.mark.parametrize('raw', LINES + HEADS, ids=lambda raw: repr(raw[:60]))
def test_refused_over_tls(pair, raw):
    stock, ours = (answer(daemon, True, raw) for daemon in pair)
    assert ours == stock
    assert ours.startswith(b'HTTP/1.1 ')


@pytest.mark.parametrize('raw', LINES + HEADS,
                         ids=lambda raw: repr(raw[:60]))
def test_refused(pair, raw):
    stock, ours = (answer(daemon, False, raw) for daemon in pair)
    assert ours == stock


@pytest.mark.parametrize('raw', [b'G', b'GET /ping HTTP/1.1'], ids=repr)
def test_an_end_within_the_first_line(pair, raw):
    answers = []
    for daemon in pair:
        with dial(daemon, False) as s:
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            answers.append(b''.join(iter(lambda: s.recv(65536), b'')))
    assert answers[0] == answers[1] != b''


def test_a_first_line_may_come_in_pieces(pair):
    for daemon in pair:
        with dial(daemon, False) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head(PING, b'Host: x', b'Connection: close'):
                s.sendall(bytes([byte]))
            assert b''.join(iter(lambda: s.recv(65536), b'')).endswith(b'OK')


def test_who_is_refused_and_stays_is_left_behind(pair):
    """Refused, but neither closing nor silent: others are served meanwhile, and
    it is closed when somebody comes after its time."""
    ours = pair[1]
    with dial(ours, False) as s:
        s.sendall(b'garbage\n')
        while s.recv(65536):
            pass

        def is_closed():
            assert ours.get('/ping').body == b'OK'
            try:
                s.sendall(b'x')
            except OSError:
                return True
        wait_until(is_closed, 'the connection is closed')


def test_who_only_connects_is_closed_at_exit(new_nsqd):
    daemon = new_nsqd()
    silent, garbage = dial(daemon, False), dial(daemon, False)
    garbage.sendall(b'garbage\n')
    while garbage.recv(65536):
        pass
    daemon.stop()
    assert silent.recv(100) == b''
    silent.close()
    garbage.close()


@pytest.mark.parametrize('tls', [True, False], ids=['https', 'http'])
@pytest.mark.ours(reason='a head may have 1 MiB')
@pytest.mark.parametrize('raw', [PING + b'\r\nHost: x\r\nA: ', b'GET /'], ids=repr)
def test_too_long(pair, raw, tls):
    """(Stock takes 1 MiB before it says the same.)"""
    status = b'431 Request Header Fields Too Large'
    assert answer(pair[1], tls, raw + b'x' * 40000) == (
        b'HTTP/1.1 ' + status + b'\r\nContent-Type: text/plain; charset=utf-8\r\n'
        b'Connection: close\r\n\r\n' + status)


@pytest.mark.parametrize('tls', [True, False], ids=['https', 'http'])
def test_refused_after_others(pair, tls):
    """The second request on a connection."""
    ping = head(PING, b'Host: x')
    ends = []
    for daemon in pair:
        all_of_it = answer(daemon, tls, ping + head(PING, b'Host: a', b'Host: b'))
        assert all_of_it.startswith(b'HTTP/1.1 200 OK\r\n')
        ends.append(all_of_it[all_of_it.index(b'OK', 20):])
    assert ends[0] == ends[1]


@pytest.mark.parametrize('tls', [True, False], ids=['https', 'http'])
def test_who_says_nothing_is_told_nothing(pair, tls):
    for daemon in pair:
        with dial(daemon, tls) as s:
            if tls:
                s.unwrap()
            else:
                s.shutdown(socket.SHUT_WR)
                assert s.recv(100) == b''


def test_refusals_are_not_logged(pair):
    """As with stock: a scan of ports shall not fill the log."""
    # Lines of what other tests have asked for may still be coming.
    for daemon in pair:
        daemon.get('/begin')
        daemon.wait_log('404 GET /begin .*\n')
    before = [daemon.log() for daemon in pair]
    for raw in LINES[:2] + HEADS[:2]:
        for daemon in pair:
            answer(daemon, True, raw)
    # The log of what comes after is there, so that of what was before is, too.
    for daemon, log in zip(pair, before):
        daemon.get('/nosuch')
        daemon.wait_log('404 GET /nosuch')
        assert [line for line in daemon.log()[len(log):].splitlines()
                if '404 GET' not in line] == []
