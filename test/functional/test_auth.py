"""AUTH: what is asked, what the answers allow, and what the client is told."""

import gzip
import json
import re
import shutil
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest

from nsq import ERROR, RESPONSE, dead_address, mpub_body, not_tested, wait_until
from servers import HttpServer

ALL = {'ttl': 3600, 'identity': 'me', 'identity_url': 'http://me',
       'authorizations': [{'topic': '.*', 'channels': ['.*'],
                           'permissions': ['subscribe', 'publish']}]}


class Authd:
    """An auth server that answers what the test says, and keeps the questions."""

    def __init__(self, answer=ALL, tls=None):
        self.answer = answer    # what to send as JSON, or bytes
        self.status = 200
        self.headers = []
        self.requests = []      # (method, path, headers, body)
        self.hold = threading.Event()
        self.hold.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer._answer(self)
            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = HttpServer(Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True)
        self.port, self.address = self.server.port, self.server.address
        self.server.start()

    def _answer(self, handler):
        size = int(handler.headers.get('Content-Length') or 0)
        self.requests.append((handler.command, handler.path,
                              dict(handler.headers), handler.rfile.read(size)))
        self.hold.wait()
        body = self.answer
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            handler.send_response(self.status)
            for header in self.headers:
                handler.send_header(*header)
            handler.send_header('Content-Length', str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass

    def close(self):
        self.hold.set()
        self.server.stop()


@pytest.fixture
def authds():
    made = []

    def make(*args, **options):
        made.append(Authd(*args, **options))
        return made[-1]
    yield make
    for authd in made:
        authd.close()


@pytest.fixture
def authd(authds):
    return authds()


def flags(*authds):
    # The auth servers are a part of this process, which may be kept from running; what
    # a test itself says of these times goes behind.
    return ['--http-client-connect-timeout=1m',
            '--http-client-request-timeout=1m'] + [
        '--auth-http-address=' + getattr(x, 'address', x) for x in authds]


def auth(client, secret=b'secret'):
    client.command('AUTH', body=secret)
    return client.frame()


def allow(topic='.*', channels=('.*',), permissions=('subscribe', 'publish'),
          ttl=3600):
    return {'ttl': ttl, 'authorizations': [
        {'topic': topic, 'channels': list(channels),
         'permissions': list(permissions)}]}


# -- the question

def test_the_query_is_stocks(new_nsqd, authd):
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        auth(client, b'a b&c=\xc3\xa9/\x00')
    method, path, headers, body = authd.requests[0]
    assert (method, path, body) == ('GET', (
        '/auth?common_name=&remote_ip=127.0.0.1'
        '&secret=a+b%26c%3D%C3%A9%2F%00&tls=false'), b'')
    assert headers['Accept'] == 'application/vnd.nsq; version=1.0'


def test_an_address_may_be_a_url(new_nsqd, authd):
    nsqd = new_nsqd(*flags('http://%s/a/b' % authd.address))
    with nsqd.connect() as client:
        auth(client)
    assert authd.requests[0][1].startswith('/a/b?common_name=&')


@pytest.mark.ours(reason='the request method is from its master')
def test_post_sends_json(new_nsqd, authd):
    nsqd = new_nsqd('--auth-http-request-method=post', *flags(authd))
    with nsqd.connect() as client:
        assert auth(client, b's"1')[0] == RESPONSE
    method, path, headers, body = authd.requests[0]
    assert (method, path, headers['Content-Type']) == (
        'POST', '/auth', 'application/json')
    assert body == (b'{"common_name":[""],"remote_ip":["127.0.0.1"],'
                    b'"secret":["s\\"1"],"tls":["false"]}')


def test_any_of_several_servers_will_do(new_nsqd, authds):
    first, second = authds(), authds()
    nsqd = new_nsqd(*flags(first, second, dead_address()))
    for _ in range(30):
        with nsqd.connect() as client:
            assert auth(client)[0] == RESPONSE
    # The order is random.
    assert first.requests and second.requests


@pytest.mark.ours(reason='it sends it, and the server may take it')
@pytest.mark.parametrize('method', ['get', 'post'])
def test_a_secret_of_any_size_is_an_answer(new_nsqd, authds, method):
    """Its URL is longer than libcurl takes; that client is told, and no other is hurt."""
    authd = authds({'ttl': 0})
    nsqd = new_nsqd('--auth-http-request-method=' + method, *flags(authd))
    for size in 2700000, 5 * 1024 * 1024:
        with nsqd.connect() as client:
            client.command('AUTH', body=b'\xff' * size)
            client.expect_fatal(b'E_AUTH_FAILED AUTH failed')
    nsqd.wait_log('URL of .* bytes is too long' if method == 'get' else 'invalid TTL')
    assert nsqd.get('/ping').body == b'OK'


@pytest.mark.ours(reason='1.3.0 has no such flag; its master refuses them, too')
@pytest.mark.parametrize('method', ['put', 'GET', ''])
def test_another_request_method_ends_the_start(new_nsqd, method):
    nsqd = new_nsqd('--auth-http-request-method=' + method, start=False)
    nsqd.start_fails()
    nsqd.wait_log('FATAL: failed to instantiate nsqd - '
                  '--auth-http-request-method must be post or get$')


@pytest.mark.parametrize('flag', ['connect', 'request'])
@pytest.mark.parametrize('time', ['-1s', '0', '1ns', '2562047h'])
def test_times_of_any_size(new_nsqd, authd, flag, time):
    """An answer comes, or the time is over: that is all that may be."""
    nsqd = new_nsqd(*flags(authd), '--http-client-%s-timeout=%s' % (flag, time))
    with nsqd.connect() as client:
        kind, data = auth(client)
        assert kind == RESPONSE or data == b'E_AUTH_FAILED AUTH failed'
    assert nsqd.get('/ping').body == b'OK'


# -- the answer to AUTH

JSON = b'{"identity":"me","identity_url":"http://me","permission_count":1}'


def test_a_server_that_failed_is_not_in_the_answer(new_nsqd, authds):
    """Which of them is asked first is chance: the reasons of one are nobody's business
    when another one answers."""
    authd = authds(dict(ALL, ttl=1))
    nsqd = new_nsqd(*flags(authd, dead_address(), dead_address()))
    for _ in range(12):
        with nsqd.connect() as client:
            assert auth(client) == (RESPONSE, JSON)
    authd.answer = {'ttl': 1, 'authorizations': []}
    for _ in range(6):
        with nsqd.connect() as client:
            client.command('AUTH', body=b'secret')
            client.expect_fatal(b'E_UNAUTHORIZED AUTH no authorizations found')


def test_a_server_that_failed_is_forgotten_after_a_refresh(new_nsqd, authds):
    """(What would leak is seen by LeakSanitizer.)"""
    authd = authds(allow(topic='^t$', ttl=1))
    nsqd = new_nsqd(*flags(authd, dead_address(), dead_address()))
    with nsqd.connect() as client:
        auth(client)
        for _ in range(2):
            time.sleep(1.1)     # the time to live
            client.pub('t', 'x')
        client.command('PUB', 'u', body=b'x')
        client.expect_fatal(b'E_UNAUTHORIZED AUTH failed for PUB on "u" ""')


def test_the_last_of_two_keys_wins(new_nsqd, authds):
    answer = json.dumps(ALL)[:-1] + ', "ttl": 1, "TTL": 3600, "identity": null}'
    nsqd = new_nsqd(*flags(authds(answer.encode())))
    with nsqd.connect() as client:
        assert auth(client) == (RESPONSE, JSON)
        client.pub('t', 'x')


def test_an_answer_may_be_compressed(new_nsqd, authds):
    authd = authds(gzip.compress(json.dumps(ALL).encode()))
    authd.headers = [('Content-Encoding', 'gzip')]
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        assert auth(client) == (RESPONSE, JSON)
    assert authd.requests[0][2]['Accept-Encoding'] == 'gzip'


@pytest.mark.ours(reason='it reads all of it')
def test_a_bomb_is_an_answer_that_is_too_large(new_nsqd, authds):
    authd = authds(gzip.compress(b' ' * (100 << 20)))
    authd.headers = [('Content-Encoding', 'gzip')]
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        client.command('AUTH', body=b'secret')
        client.expect_fatal(b'E_AUTH_FAILED AUTH failed')
    nsqd.wait_log('response body larger than 67108864 bytes')

def test_auth_answers_with_the_identity(new_nsqd, authd):
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        assert client.identify()['auth_required'] is True
        assert auth(client) == (RESPONSE, (
            b'{"identity":"me","identity_url":"http://me",'
            b'"permission_count":1}'))
        client.sub('t', 'c')
        stats = nsqd.channel_stats('t', 'c')['clients'][0]
        assert (stats['authed'], stats['auth_identity'],
                stats['auth_identity_url']) == (True, 'me', 'http://me')
        keys = list(stats)
        at = keys.index('user_agent')
        assert keys[at + 1:at + 4] == ['authed', 'auth_identity',
                                       'auth_identity_url']


def test_an_empty_identity_is_not_shown(new_nsqd, authds):
    nsqd = new_nsqd(*flags(authds(allow())))
    with nsqd.connect() as client:
        assert auth(client)[1] == (
            b'{"identity":"","identity_url":"","permission_count":1}')
        client.sub('t', 'c')
        stats = nsqd.channel_stats('t', 'c')['clients'][0]
        assert stats['authed'] is True
        assert 'auth_identity' not in stats
        assert 'auth_identity_url' not in stats


def test_auth_is_refused_where_it_is_off(nsqd):
    with nsqd.connect() as client:
        assert client.identify()['auth_required'] is False
        client.command('AUTH', body=b'secret')
        client.expect_fatal(b'E_AUTH_DISABLED AUTH disabled')


def test_a_second_auth_is_refused(new_nsqd, authd):
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        auth(client)
        client.command('AUTH', body=b'other')
        client.expect_fatal(b'E_INVALID AUTH already set')
    assert len(authd.requests) == 1


def test_nothing_is_allowed(new_nsqd, authds):
    nsqd = new_nsqd(*flags(authds({'ttl': 10, 'authorizations': []})))
    with nsqd.connect() as client:
        client.command('AUTH', body=b'secret')
        client.expect_fatal(b'E_UNAUTHORIZED AUTH no authorizations found')


def test_reasons_go_to_the_log_only(new_nsqd, authd):
    dead = dead_address()
    authd.status, authd.answer = 500, b'out of "order"'
    nsqd = new_nsqd(*flags(authd, dead))
    with nsqd.connect() as client:
        client.command('AUTH', body=b'top-secret')
        client.expect_fatal(b'E_AUTH_FAILED AUTH failed')
    line = nsqd.wait_log(
        r' WARNING: PROTOCOL\(V2\): \[.*\] AUTH failed .*').group()
    assert ('failed to auth against %s - got response 500 Internal Server '
            'Error "out of \\"order\\""' % authd.address) in line
    assert 'failed to auth against %s - ' % dead in line and '; ' in line


@pytest.mark.ours(reason='its log shows the whole URL')
def test_the_secret_is_not_logged(new_nsqd):
    nsqd = new_nsqd('--log-level=debug', *flags(dead_address()))
    with nsqd.connect() as client:
        assert auth(client, b'top-secret')[0] == ERROR
    nsqd.wait_log('AUTH failed')
    nsqd.stop()
    assert 'top-secret' not in nsqd.log()


@pytest.mark.parametrize('answer,reason', [
    (b'nonsense', None),
    (b'[]', None),
    (allow(ttl=0), r'invalid TTL 0 \(must be >0\)'),
    (allow(ttl=-5), r'invalid TTL -5 \(must be >0\)'),
    (allow(ttl='1'), None),
    (allow(ttl=1.5), None),
    (allow(permissions=['publish', 'admin']), 'unknown permission admin'),
    (allow(topic='('), r'unable to compile topic "\(" error parsing regexp: '),
    (allow(channels=['a', 'b**']),
     r'unable to compile channel "b\*\*" error parsing regexp: '),
    (allow(topic=r'(a)\\1'.replace('\\\\', '\\')), 'unable to compile topic'),
    (allow(topic='(?=a)'), 'unable to compile topic'),
    ({'ttl': 5, 'authorizations': 'x'}, None),
    ({'ttl': 5, 'identity': 5, 'authorizations': []}, None),
])
def test_answers_that_cannot_be_used(new_nsqd, authds, answer, reason):
    authd = authds(answer)
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        client.command('AUTH', body=b'secret')
        client.expect_fatal(b'E_AUTH_FAILED AUTH failed')
    nsqd.wait_log(r'AUTH failed failed to auth against %s - %s' % (
        re.escape(authd.address), reason or ''))


@pytest.mark.parametrize('depth', [64, 150, 999, 100000])
@pytest.mark.parametrize('field', ['topic', 'channel'])
@pytest.mark.parametrize('form', ['(a)', '(?:a|)', '((?i)a)*'])
def test_no_depth_of_a_pattern_ends_the_daemon(new_nsqd, authds, depth, field, form):
    opening, middle, closing = form.partition('a')
    pattern = opening * depth + middle + closing * depth
    nsqd = new_nsqd(*flags(authds(
        allow(topic=pattern) if field == 'topic' else allow(channels=[pattern]))))
    with nsqd.connect() as client:
        kind, data = auth(client)
        if kind == RESPONSE and field == 'topic':
            client.pub('a', 'x')
        elif kind == ERROR:
            assert depth > 64 and data == b'E_AUTH_FAILED AUTH failed'
    assert nsqd.get('/ping').body == b'OK'


@pytest.mark.parametrize('answer', [
    b'[' * 9999 + b']' * 9999, b'[' * 1000000, b'{"a":' * 9999 + b'1' + b'}' * 9999,
    b'{"ttl":5,"x":' + b'[' * 9998 + b']' * 9998 + b'}',
    b'{"authorizations":[' * 5000])
def test_no_depth_of_an_answer_ends_the_daemon(new_nsqd, authds, answer):
    nsqd = new_nsqd(*flags(authds(answer)))
    with nsqd.connect() as client:
        assert auth(client)[0] == ERROR
    assert nsqd.get('/ping').body == b'OK'


# -- what is allowed

def test_commands_wait_for_auth(new_nsqd, authd):
    nsqd = new_nsqd(*flags(authd))
    for words, body in [(['PUB', 't'], b'x'),
                        (['MPUB', 't'], mpub_body([b'x'])),
                        (['DPUB', 't', '100'], b'x'),
                        (['SUB', 't', 'c'], None)]:
        with nsqd.connect() as client:
            client.command(*words, body=body)
            client.expect_fatal(b'E_AUTH_FIRST AUTH required before '
                                + words[0].encode())
    assert not authd.requests
    assert nsqd.stats()['topics'] == []


def outcome(nsqd, *words, body=None):
    with nsqd.connect() as client:
        assert auth(client)[0] == RESPONSE
        client.command(*words, body=body)
        return client.frame()


OK = (RESPONSE, b'OK')


def unauthorized(text):
    return (ERROR, b'E_UNAUTHORIZED AUTH failed for ' + text)


@pytest.mark.parametrize('answer,publish,subscribe', [
    (allow(), True, True),
    (allow(permissions=['publish']), True, False),
    (allow(permissions=['subscribe']), False, True),
    (allow(permissions=[]), False, False),
    (allow(topic='^orders$'), True, True),
    (allow(topic='^order$'), False, False),
    # Not anchored unless the expression is.
    (allow(topic='rd'), True, True),
    (allow(topic='ORDERS'), False, False),
    (allow(topic='(?i)ORDERS'), True, True),
    # To publish, an expression must match the empty channel.
    (allow(channels=['^mail$']), False, True),
    (allow(channels=['^mail$', '^$']), True, True),
    (allow(channels=['x', 'mai[kl]']), False, True),
    (allow(channels=[]), False, False),
    (allow(topic=''), True, True),
    # A zero does not end a pattern: the part before it would allow more.
    (allow(topic='^orders\0$'), False, False),
    (allow(channels=['\0']), False, False),
])
def test_permissions_are_regular_expressions(
        new_nsqd, authds, answer, publish, subscribe):
    nsqd = new_nsqd(*flags(authds(answer)))
    assert outcome(nsqd, 'PUB', 'orders', body=b'x') == (
        OK if publish else unauthorized(b'PUB on "orders" ""'))
    assert outcome(nsqd, 'MPUB', 'orders', body=mpub_body([b'x'])) == (
        OK if publish else unauthorized(b'MPUB on "orders" ""'))
    assert outcome(nsqd, 'DPUB', 'orders', '5', body=b'x') == (
        OK if publish else unauthorized(b'DPUB on "orders" ""'))
    assert outcome(nsqd, 'SUB', 'orders', 'mail') == (
        OK if subscribe else unauthorized(b'SUB on "orders" "mail"'))


def test_one_of_several_authorizations_is_enough(new_nsqd, authds):
    answer = {'ttl': 10, 'authorizations': [
        {'topic': '^a$', 'channels': ['.*'], 'permissions': ['publish']},
        {'topic': '^b$', 'channels': ['^c'], 'permissions': ['subscribe']}]}
    nsqd = new_nsqd(*flags(authds(answer)))
    assert outcome(nsqd, 'PUB', 'a', body=b'x') == OK
    assert outcome(nsqd, 'PUB', 'b', body=b'x')[0] == ERROR
    assert outcome(nsqd, 'SUB', 'a', 'c')[0] == ERROR
    assert outcome(nsqd, 'SUB', 'b', 'c1') == OK


def test_what_came_before_a_refused_command_is_done(new_nsqd, authds):
    nsqd = new_nsqd(*flags(authds(allow(topic='^good$'))))
    with nsqd.connect() as client:
        auth(client)
        client.send(b'PUB good\n\0\0\0\1a' * 3 + b'PUB bad\n\0\0\0\1b')
        for _ in range(3):
            client.expect_ok()
        client.expect_fatal(
            b'E_UNAUTHORIZED AUTH failed for PUB on "bad" ""')
    assert nsqd.topic_stats('good')['message_count'] == 3
    assert nsqd.topic_stats('bad') is None


# -- time to live

def test_an_answer_that_expired_is_asked_for_again(new_nsqd, authds):
    authd = authds(allow(ttl=1))
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        start = time.monotonic()
        auth(client)
        client.pub('t', 'a')
        if time.monotonic() - start < 1:
            assert len(authd.requests) == 1
        del authd.requests[1:]
        time.sleep(1.1)     # the time to live
        client.pub('t', 'b')
        assert len(authd.requests) == 2
        assert authd.requests[0][1] == authd.requests[1][1]
        authd.answer = allow(topic='^other$')
        time.sleep(1.1)
        client.command('PUB', 't', body=b'c')
        client.expect_fatal(b'E_UNAUTHORIZED AUTH failed for PUB on "t" ""')
    assert nsqd.topic_stats('t')['message_count'] == 2


def test_a_server_that_is_gone_when_the_answer_expires(new_nsqd, authds):
    authd = authds(allow(ttl=1))
    nsqd = new_nsqd(*flags(authd))
    with nsqd.connect() as client:
        auth(client)
        authd.status = 503
        time.sleep(1.1)
        client.command('PUB', 't', body=b'c')
        client.expect_fatal(b'E_AUTH_FAILED AUTH failed')


def test_a_slow_server_holds_up_nobody_else(new_nsqd, authd):
    # Long enough for an answer on a slow machine; the held one waits it out.
    nsqd = new_nsqd(*flags(authd), '--http-client-request-timeout=3s')
    with nsqd.connect() as first, nsqd.connect() as second:
        assert auth(first)[0] == RESPONSE
        authd.hold.clear()
        second.command('AUTH', body=b'x')
        wait_until(lambda: len(authd.requests) == 2, lambda: 'it asks')
        first.pub('t', 'a')
        second.expect_fatal(b'E_AUTH_FAILED AUTH failed')


@pytest.mark.ours(reason='it waits for the answer')
def test_exit_does_not_wait_for_the_server(new_nsqd, authd):
    nsqd = new_nsqd(*flags(authd), '--http-client-request-timeout=60s')
    authd.hold.clear()
    with nsqd.connect() as client:
        client.command('AUTH', body=b'x')
        wait_until(lambda: authd.requests, lambda: 'it asks')
        nsqd.stop()     # which has a deadline, sooner than the answer's


# -- TLS to the server

@pytest.mark.ours(reason='it waits for the answer')
def test_an_exit_that_cuts_a_question_short_refuses_nobody(new_nsqd, authd):
    daemon = new_nsqd(*flags(authd))
    authd.hold.clear()
    with daemon.connect() as client:
        client.command('AUTH', body=b'secret')
        wait_until(lambda: authd.requests, 'the server is asked')
        daemon.stop()
        client.expect_closed()


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that is its own authority: (cert, key)."""
    if not shutil.which('openssl'):
        not_tested('openssl is not installed')
    directory = tmp_path_factory.mktemp('certs')
    cert, key = str(directory / 'cert.pem'), str(directory / 'key.pem')
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
         '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=authd',
         '-addext', 'subjectAltName=IP:127.0.0.1'],
        check=True)
    return cert, key


def test_https_with_our_root_ca(new_nsqd, authds, certificate):
    authd = authds(tls=certificate)
    nsqd = new_nsqd('--tls-root-ca-file=' + certificate[0],
                    *flags('https://%s/auth' % authd.address))
    with nsqd.connect() as client:
        assert auth(client)[0] == RESPONSE


def test_https_with_an_unknown_ca_fails(new_nsqd, authds, certificate):
    authd = authds(tls=certificate)
    nsqd = new_nsqd(*flags('https://%s/auth' % authd.address))
    with nsqd.connect() as client:
        client.command('AUTH', body=b'secret')
        client.expect_fatal(b'E_AUTH_FAILED AUTH failed')
    assert not authd.requests
    nsqd.wait_log('AUTH failed .*certificate')


def test_a_403_may_point_to_https(new_nsqd, authds, certificate):
    secure, plain = authds(tls=certificate), authds()
    plain.status, plain.answer = 403, {'message': 'TLS_REQUIRED',
                                       'https_port': secure.port}
    nsqd = new_nsqd('--tls-root-ca-file=' + certificate[0], *flags(plain))
    with nsqd.connect() as client:
        assert auth(client)[0] == RESPONSE
    assert secure.requests[0][1] == plain.requests[0][1]


@pytest.mark.parametrize('content,text', [
    (None, 'no such file or directory'),
    ('a directory', 'is a directory'),
    ('no certificate', 'failed to append certificate to pool')])
def test_a_root_ca_that_cannot_be_used_ends_the_start(
        new_nsqd, tmp_path, content, text):
    path = tmp_path / 'ca.pem'
    if content == 'a directory':
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    nsqd = new_nsqd('--tls-root-ca-file=%s' % path, start=False)
    nsqd.start_fails()
    nsqd.wait_log('failed to build client TLS config - .*' + text)


class Redirecting(Authd):
    """Sends everybody on, so many times, before it answers."""

    def __init__(self, times):
        self.times = times
        super().__init__()

    def _answer(self, handler):
        on = len(self.requests) < self.times
        self.status = 302 if on else 200
        self.headers = [('Location', '/%d' % len(self.requests))] if on else []
        super()._answer(handler)


@pytest.mark.parametrize('times, asked', [(9, 10), (10, 10)])
def test_no_more_than_nine_redirects_are_followed(new_nsqd, times, asked):
    server = Redirecting(times)
    try:
        daemon = new_nsqd(*flags(server))
        with daemon.connect() as client:
            kind, data = auth(client)
            if times < 10:
                assert (kind, json.loads(data)['identity']) == (RESPONSE, 'me')
            else:
                assert (kind, data) == (ERROR, b'E_AUTH_FAILED AUTH failed')
        assert len(server.requests) == asked
    finally:
        server.close()
