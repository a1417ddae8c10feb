"""HTTPS: the same answers as over HTTP, to those who may come in."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import time

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from nsq import DEADLINE, SCALE, Nsqd, Response, mpub_body, wait_until
from test_tls import context, flags

# Somebody who connects and says nothing more has so long.
HANDSHAKE_LIMIT = 5

ALERTS = {  # what a client is told that has no certificate, or a bad one
    'tls1.3': {'none': 'TLSV13_ALERT_CERTIFICATE_REQUIRED',
               'stranger': 'TLSV1_ALERT_UNKNOWN_CA'},
    'tls1.2': {'none': 'SSLV3_ALERT_HANDSHAKE_FAILURE',
               'stranger': 'TLSV1_ALERT_UNKNOWN_CA'},
}


def https_port(daemon):
    return int(daemon.wait_log(
        r' INFO: HTTPS: listening on 127\.0\.0\.1:(\d+)\n')[1])


def dial(daemon):
    return socket.create_connection(('127.0.0.1', https_port(daemon)), DEADLINE)


def strict(daemon, **options):
    """A TLS connection for which an end without a close-notify is an error."""
    ctx = context(**options)
    ctx.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return ctx.wrap_socket(dial(daemon), suppress_ragged_eofs=False)


class Connection(http.client.HTTPSConnection):
    def __init__(self, daemon, ctx=None):
        super().__init__('127.0.0.1', https_port(daemon), timeout=DEADLINE,
                         context=ctx or context())

    def ask(self, method, path, body=None, headers=None):
        self.request(method, path, body, headers or {})
        response = self.getresponse()
        return Response(response.status, response.headers, response.read())


def ask(daemon, method, path, body=None, headers=None, ctx=None):
    connection = Connection(daemon, ctx)
    try:
        return connection.ask(method, path, body, headers)
    finally:
        connection.close()


@pytest.fixture(scope='module')
def shared_nsqd(tmp_path_factory, server_cert):
    daemon = Nsqd(str(tmp_path_factory.mktemp('https')),
                  flags(server_cert, '--max-msg-size=1048576'))
    daemon.start()
    yield daemon
    daemon.close()


# -- the same answers

def head(response):
    return {name: value for name, value in response.headers.items()
            if name != 'Date'}


@pytest.mark.parametrize('method, path, body', [
    ('GET', '/ping', None), ('GET', '/info', None),
    ('GET', '/stats?format=json&include_mem=false', None),
    ('GET', '/stats?format=json&topic=t&channel=ch&include_mem=false', None),
    ('GET', '/config/nsqlookupd_tcp_addresses', None),
    ('PUT', '/config/log_level', b'info'), ('GET', '/nosuch', None),
    ('GET', '/pub?topic=t', None), ('POST', '/pub?topic=t', b'body'),
    ('POST', '/pub', b'body'), ('POST', '/pub?topic=t', b''),
    ('POST', '/pub?topic=t', b'x' * 1048577),
    ('POST', '/mpub?topic=t', b'a\nb\n'),
    ('POST', '/mpub?topic=t&binary=true', mpub_body([b'a', b'b'])),
    ('POST', '/topic/create?topic=t', b''), ('POST', '/topic/pause?topic=t', b''),
    ('GET', '/ping/', None), ('OPTIONS', '/pub', None)])
def test_the_answers_are_those_of_http(nsqd, method, path, body):
    nsqd.create('t', 'ch')

    def both():
        found = [(r.status, head(r), r.body) for r in (
            nsqd.http(method, path, body), ask(nsqd, method, path, body))]
        return found[0] == found[1], found
    equal, found = both()
    if path.startswith('/stats'):
        # What was published is on its way, and clients of others are leaving.
        wait_until(lambda: both()[0], lambda: 'both answer the same: %r %r'
                   % tuple(both()[1]))
    else:
        assert equal, found


def test_many_requests_on_one_connection(nsqd):
    topic = nsqd.topic()
    connection = Connection(nsqd)
    for i in range(100):
        assert connection.ask('POST', '/pub?topic=' + topic,
                              b'%d' % i).body == b'OK'
    connection.close()
    nsqd.wait_topic(topic, message_count=100)


@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
def test_big_bodies_both_ways(nsqd, version):
    topic = nsqd.topic()
    bodies = [os.urandom(1 << 20) for _ in range(4)]
    connection = Connection(nsqd, context(version=version))
    assert connection.ask('POST', '/mpub?binary=true&topic=' + topic,
                          mpub_body(bodies)).body == b'OK'
    for i in range(300):
        assert connection.ask('POST', '/channel/create?topic=%s&channel=%s%d'
                              % (topic, 'c' * 50, i)).status == 200
    stats = connection.ask('GET', '/stats?format=json&topic=' + topic)
    connection.close()
    assert len(json.loads(stats.body)['topics'][0]['channels']) == 300
    with nsqd.subscribe(topic, 'c' * 50 + '0', rdy=4) as client:
        assert sorted(m.body for m in client.messages(4)) == sorted(bodies)


def test_the_end_of_a_connection_is_no_truncation(nsqd):
    with strict(nsqd) as tls:
        tls.sendall(b'GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        answer = b''
        while True:
            data = tls.recv(4096)  # an error without a close-notify
            if not data:
                break
            answer += data
    assert answer.endswith(b'\r\n\r\nOK')


def test_no_protocol_is_negotiated(nsqd):
    ctx = context()
    ctx.set_alpn_protocols(['h2', 'http/1.1'])
    with dial(nsqd) as s, ctx.wrap_socket(s) as tls:
        assert tls.selected_alpn_protocol() is None


# -- who may come in

@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
@pytest.mark.parametrize('policy, refused', [
    ('', []), ('require', ['none']), ('require-verify', ['none', 'stranger'])])
def test_policies(new_nsqd, authority, server_cert, client_cert, stranger_cert,
                  policy, refused, version):
    daemon = new_nsqd(*flags(
        server_cert, '--tls-root-ca-file=' + authority.cert,
        '--tls-client-auth-policy=' + policy, '--tls-required=tcp-https'))
    for who, cert in (('none', None), ('stranger', stranger_cert),
                      ('client', client_cert)):
        ctx = context(cert, ca=authority.cert, version=version)
        if who not in refused:
            assert ask(daemon, 'GET', '/ping', ctx=ctx).body == b'OK'
            continue
        # In TLS 1.3 the client learns it only after its handshake; a request
        # sent then might be answered by a reset, ahead of the alert.
        with pytest.raises(ssl.SSLError) as failed, dial(daemon) as s, \
                ctx.wrap_socket(s) as tls:
            tls.recv(1)
        assert failed.value.reason == ALERTS[version][who]
        why = {'none': "tls: client didn't provide a certificate",
               'stranger': 'tls: failed to verify certificate: x509: '
                           'certificate signed by unknown authority'}[who]
        daemon.wait_log(r'WARNING: http: TLS handshake error from '
                        r'127\.0\.0\.1:\d+: ' + re.escape(why))
        with pytest.raises(OSError):
            ask(daemon, 'POST', '/pub?topic=t', b'x', ctx=ctx)
    assert daemon.stats()['topics'] == []  # nobody has published


def test_a_certificate_is_not_asked_for_in_vain(new_nsqd, authority,
                                                server_cert):
    daemon = new_nsqd(*flags(server_cert,
                             '--tls-root-ca-file=' + authority.cert))
    output = subprocess.run(
        ['openssl', 's_client', '-connect',
         '127.0.0.1:%d' % https_port(daemon)], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=DEADLINE).stdout
    assert 'No client certificate CA names sent' in output
    assert 'Requested Signature Algorithms' not in output


@pytest.mark.parametrize('least', ['tls1.2', 'tls1.3'])
def test_the_lowest_version_holds_here_too(new_nsqd, server_cert, least):
    daemon = new_nsqd(*flags(server_cert, '--tls-min-version=' + least))
    older = {'tls1.2': 'tls1.1', 'tls1.3': 'tls1.2'}[least]
    with pytest.raises(OSError):
        ask(daemon, 'GET', '/ping', ctx=context(version=older))
    assert ask(daemon, 'GET', '/ping', ctx=context(version=least)).status == 200
    daemon.wait_log('WARNING: http: TLS handshake error from ')


# -- plain HTTP

REQUIRED = b'{"message": "TLS_REQUIRED", "https_port": %d}'


@pytest.mark.parametrize('way', [
    ['--tls-required=true'], ['--tls-client-auth-policy=require'],
    ['--tls-client-auth-policy=require-verify', '--tls-required=true']])
def test_plain_http_is_told_the_port_of_https(new_nsqd, server_cert, way):
    daemon = new_nsqd(*flags(server_cert, *way))
    for method, path, body in (
            ('GET', '/ping', None), ('POST', '/pub?topic=t', b'x'),
            ('GET', '/nosuch', None), ('GET', '/stats?format=json', None)):
        got = daemon.http(method, path, body)
        assert got.status == 403
        assert got.body == REQUIRED % https_port(daemon)
        assert got.headers['Content-Type'] == 'application/json; charset=utf-8'
        assert got.headers['X-Nsq-Content-Type'] == 'nsq; version=1.0'
    assert not re.search('INFO: 200|INFO: 404|TOPIC', daemon.log())


def test_without_https_the_port_is_0(new_nsqd, server_cert):
    daemon = new_nsqd(*flags(server_cert, '--https-address=',
                             '--tls-required=true'))
    assert daemon.get('/ping').body == REQUIRED % 0
    assert 'HTTPS' not in daemon.log()


@pytest.mark.parametrize('value', ['false', 'tcp-https'])
def test_plain_http_may_stay_allowed(new_nsqd, server_cert, value):
    daemon = new_nsqd(*flags(server_cert, '--tls-required=' + value))
    assert daemon.get('/ping').body == b'OK'
    assert ask(daemon, 'GET', '/ping').body == b'OK'
    log = daemon.stop()
    for kind in 'HTTP', 'HTTPS':
        assert re.search(r' INFO: %s: closing 127\.0\.0\.1:\d+\n' % kind, log)


def test_plain_http_on_the_https_port_is_told_so(nsqd):
    for request in (b'GET /ping HTTP/1.1\r\n\r\n', b'POST /pub HTTP/1.1\r\n',
                    b'HEAD / HTTP/1.0\r\n\r\n', b'OPTIONS * HTTP/1.1\r\n\r\n'):
        with dial(nsqd) as s:
            s.sendall(request)
            answer = b''
            while True:
                data = s.recv(4096)
                if not data:
                    break
                answer += data
            nsqd.wait_log(
                r'http: TLS handshake error from 127\.0\.0\.1:%d: client sent an '
                r'HTTP request to an HTTPS server$' % s.getsockname()[1])
        assert answer == (b'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP '
                          b'request to an HTTPS server.\n')


# -- what goes wrong

@pytest.mark.parametrize('garbage', [
    b'  V2', b'\x00' * 100, b'\x80\x2e\x01\x03\x01', b'\x16\x33' + b'x' * 40,
    b'\x16\x03\x01\x00\x05hello', b'\x16\x03\x01\xff\xff' + b'x' * 100000,
    b'\x15\x03\x01\x00\x02\x02\x28'])
def test_garbage_is_closed_at_once(nsqd, garbage):
    with dial(nsqd) as s:
        try:
            s.sendall(garbage)
            if len(garbage) < 20:  # more might follow
                s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
        except ConnectionError:
            pass
        nsqd.wait_log(r'http: TLS handshake error from 127\.0\.0\.1:%d: '
                      % s.getsockname()[1])
    assert ask(nsqd, 'GET', '/ping').body == b'OK'


def test_whoever_only_connects_is_logged_as_by_stock(nsqd):
    with dial(nsqd) as s:
        port = s.getsockname()[1]
    nsqd.wait_log(r' WARNING: http: TLS handshake error from 127\.0\.0\.1:%d: EOF$'
                  % port)


def halves():
    """What has been sent of a handshake when nothing more comes."""
    outgoing = ssl.MemoryBIO()
    session = context().wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    hello = outgoing.read()
    return [b'', hello[:3], hello[:len(hello) // 2], hello]


def cpu_seconds(daemon):
    with open('/proc/%d/stat' % daemon.process.pid) as f:
        fields = f.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@pytest.mark.ours(reason='waits for ever')
def test_a_handshake_has_a_limit_and_costs_nothing_while_it_waits(
        new_nsqd, server_cert):
    daemon = new_nsqd(*flags(server_cert))
    parts = halves()
    stalled = [dial(daemon) for _ in range(40)]
    start = time.monotonic()
    for i, s in enumerate(stalled):
        s.sendall(parts[i % len(parts)])
    # One that drips has no longer than the others; a client that is through has all time.
    dripping = dial(daemon)
    idle = Connection(daemon)
    assert idle.ask('GET', '/ping').body == b'OK'
    wait_until(lambda: daemon.descriptors() >= len(stalled), 'all are there')
    # A thread each, for those that have sent their first record.
    wait_until(lambda: daemon.count_threads('https:') >= len(stalled) // len(parts),
               daemon.thread_names)
    before = cpu_seconds(daemon)
    gone = 0
    hello = iter(parts[3])
    while not gone:
        assert time.monotonic() - start < HANDSHAKE_LIMIT + DEADLINE
        try:
            dripping.sendall(bytes([next(hello)]))
            dripping.settimeout(0.2)
            gone = dripping.recv(100) == b''
        except socket.timeout:
            pass
        except OSError:
            gone = True
    assert time.monotonic() - start > HANDSHAKE_LIMIT - 0.5
    for s in stalled:
        try:
            while s.recv(4096):  # perhaps the server's half of the handshake
                pass
        except ConnectionError:
            pass
        s.close()
    assert time.monotonic() - start < HANDSHAKE_LIMIT + DEADLINE
    assert cpu_seconds(daemon) - before < 1 * SCALE
    wait_until(lambda: len(re.findall(
        r'TLS handshake error from 127\.0\.0\.1:\d+: i/o timeout$',
        daemon.log(), re.M)) == len(stalled) + 1, 'all are logged')
    assert idle.ask('GET', '/ping').body == b'OK'
    idle.close()
    dripping.close()


def test_the_end_does_not_wait_for_anybody(new_nsqd, server_cert):
    daemon = new_nsqd(*flags(server_cert))
    parts = halves()
    sockets, kept = [], []
    for i in range(20):
        s = dial(daemon)
        s.sendall(parts[i % len(parts)])
        sockets.append(s)
    for half in (b'', b'POST', b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\n'
                 b'Content-Length: 9\r\n\r\nabc'):
        tls = context().wrap_socket(dial(daemon))
        tls.sendall(half)
        kept.append(tls)
    wait_until(lambda: daemon.descriptors() >= len(sockets) + len(kept),
               'they are all connected')
    daemon.stop()   # which has a deadline
    for s in sockets + kept:
        s.close()


@pytest.mark.ours(reason='connections die with the process')
@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
def test_the_end_of_the_daemon_is_no_truncation(new_nsqd, server_cert, version):
    daemon = new_nsqd(*flags(server_cert))
    idle = [strict(daemon, version=version) for _ in range(10)]
    for tls in idle[:5]:
        tls.sendall(b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n')
        assert tls.recv(4096).startswith(b'HTTP/1.1 200 OK\r\n')
    # A client's handshake can be over before the daemon's, which has a thread.
    wait_until(lambda: daemon.count_threads('https:') == 0, daemon.thread_names)
    daemon.stop()
    for tls in idle:
        while tls.recv(4096):  # the body perhaps; an error without close-notify
            pass
        tls.close()


DESCRIPTORS = 400


class Limited(Nsqd):
    def command(self):
        return ['prlimit', '--nofile=%d' % DESCRIPTORS] + super().command()


@pytest.mark.ours(reason='no limit')
def test_handshakes_that_stall_exhaust_nothing(tmp_path, server_cert):
    daemon = Limited(str(tmp_path), flags(server_cert)).start()
    try:
        stalled = [dial(daemon) for _ in range(DESCRIPTORS)]
        stalled += [socket.create_connection(
            ('127.0.0.1', daemon.http_port), DEADLINE)
            for _ in range(DESCRIPTORS)]
        # What has nothing to do with them goes on at once,
        with daemon.connect() as client:
            client.pub('t', 'x')

        def answers():
            try:
                return ask(daemon, 'GET', '/ping').body == b'OK'
            except OSError:
                return False
        # the others as soon as there is room.
        wait_until(answers, 'a stalled one makes room')
        assert daemon.descriptors() < DESCRIPTORS
        for s in stalled:
            s.close()
        wait_until(lambda: daemon.descriptors() < 30, 'all are given back')
        assert ask(daemon, 'GET', '/ping').body == b'OK'
        daemon.check()
    finally:
        daemon.close()


# -- the start

def test_an_address_in_use_ends_the_start(new_nsqd, server_cert):
    with socket.create_server(('127.0.0.1', 0)) as other:
        address = '127.0.0.1:%d' % other.getsockname()[1]
        daemon = new_nsqd(*flags(server_cert, '--https-address=' + address),
                          start=False)
        log = daemon.start_fails()
    assert log.endswith(
        ' FATAL: failed to instantiate nsqd - listen (%s) failed - '
        'listen tcp %s: bind: address already in use\n' % (address, address))


def test_there_is_no_https_on_a_unix_socket(new_nsqd, server_cert, tmp_path):
    path = str(tmp_path / 'https')
    daemon = new_nsqd(*flags(server_cert, '--https-address=' + path),
                      start=False)
    assert daemon.start_fails().endswith(
        ' FATAL: failed to instantiate nsqd - listen (%s) failed - listen tcp: '
        'address %s: missing port in address\n' % (path, path))


def test_without_a_certificate_there_is_no_https(new_nsqd):
    daemon = new_nsqd('--https-address=127.0.0.1:0')
    assert daemon.get('/ping').body == b'OK'
    assert 'HTTPS' not in daemon.stop() + daemon.log()
