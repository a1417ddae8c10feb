"""What a client may do by HTTP: tokens, scopes, and the read-only listener. Stock has none of it."""

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from nsq import DEADLINE, SCALE, Nsqd, Response, running, wait_all_read, wait_until
from test_command_line import check_config
from test_https import ask as ask_https
from test_reload import reload
from test_service_manager import passing, sockets  # noqa: F401 (fixture)
from test_tls import context, flags

pytestmark = pytest.mark.ours(reason='stock lets everybody do everything by HTTP')

PAGE = os.path.join(os.path.dirname(__file__), '..', '..', 'docs', 'access.md')
ROUTES = re.findall(r'^\| `(\w+) (\S+)` \| (\w+) \| (yes)? ?\|$',
                    open(PAGE, encoding='utf-8').read(), re.M)

TOKENS = {
    'read': 'token-that-may-read-1',
    'publish': 'token-that-may-publish-2',
    'admin': 'token-that-may-do-all-3',
    'read,publish': 'token-that-may-do-two-4',
}
MAY = {'none': set(), 'read': {'read'}, 'publish': {'publish'},
       'admin': {'read', 'publish', 'admin'}, 'read,publish': {'read', 'publish'}}
UNAUTHORIZED, FORBIDDEN = b'{"message":"UNAUTHORIZED"}', b'{"message":"FORBIDDEN"}'


def write_tokens(path, lines):
    """As an editor does it: by another file. Lines are text, or bytes."""
    data = b''.join(line if isinstance(line, bytes) else line.encode() + b'\n' for line in lines)
    with open(str(path) + '.new', 'wb') as f:
        f.write(data)
    os.chmod(str(path) + '.new', 0o600)
    os.rename(str(path) + '.new', str(path))
    return str(path)


def tokens_file(directory):
    return write_tokens(directory / 'tokens', ['# of the tests', ''] + [
        '%s %s' % (token, scopes) for scopes, token in TOKENS.items()])


@pytest.fixture(scope='module')
def shared_nsqd(tmp_path_factory):
    directory = tmp_path_factory.mktemp('access')
    daemon = Nsqd(str(directory), ['--http-auth-file=' + tokens_file(directory),
                                   '--http-readonly-address=127.0.0.1:0'])
    with running(daemon):
        yield daemon


@pytest.fixture(scope='module')
def open_nsqd(tmp_path_factory):
    """Without the flag."""
    daemon = Nsqd(str(tmp_path_factory.mktemp('open')))
    with running(daemon):
        yield daemon


def bearer(token):
    return {'Authorization': 'Bearer ' + token}


def basic(token, user='anybody'):
    return {'Authorization': 'Basic ' + base64.b64encode(
        ('%s:%s' % (user, token)).encode()).decode()}


def readonly_port(daemon):
    return int(daemon.wait_log(
        r' INFO: HTTP \(read-only\): listening on 127\.0\.0\.1:(\d+)\n')[1])


def ask_readonly(daemon, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection('127.0.0.1', readonly_port(daemon), timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())


def get(daemon, path, token=None):
    return daemon.http('GET', path, headers=bearer(token) if token else {})


def exchange(port, raw):
    """All that is said to these bytes, until the end."""
    with socket.create_connection(('127.0.0.1', port), DEADLINE) as s:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
        answer = b''
        while True:
            more = s.recv(65536)
            if not more:
                return answer
            answer += more


def request(path, *headers, method='GET', body=b''):
    """headers are bytes."""
    return b'\r\n'.join([b'%s %s HTTP/1.1' % (method.encode(), path.encode()), b'Host: x',
                         b'Content-Length: %d' % len(body), *headers, b'', body])


def status(answer):
    return int(answer.split(b' ', 2)[1])


def statuses(answer):
    return [int(code) for code in re.findall(rb'HTTP/1\.1 (\d+) ', answer)]


# -- routes and scopes

def test_the_page_has_the_routes():
    """What the other tests take from there."""
    scopes = {(method, path): scope for method, path, scope, _ in ROUTES}
    assert scopes['POST', '/pub'] == scopes['POST', '/mpub'] == 'publish'
    assert {route for route, scope in scopes.items() if scope == 'none'} == {
        ('GET', '/ping'), ('GET', '/health/live'), ('GET', '/health/ready')}
    for route in (('GET', '/stats'), ('GET', '/metrics'), ('GET', '/info'), ('GET', '/config/:opt')):
        assert scopes[route] == 'read'
    for route in (('POST', '/topic/delete'), ('PUT', '/config/:opt'), ('GET', '/debug/')):
        assert scopes[route] == 'admin'
    assert {path for _, path, _, public in ROUTES if public} == {
        '/ping', '/stats', '/metrics', '/health/live', '/health/ready'}


def body_of(method):
    return b'info' if method in ('PUT', 'POST') else None


@pytest.mark.parametrize('method, path, scope', [route[:3] for route in ROUTES])
@pytest.mark.parametrize('credentials', [bearer, basic])
def test_each_route_asks_for_its_scope(nsqd, open_nsqd, method, path, scope, credentials):
    path = path.replace(':opt', 'log_level')
    granted = open_nsqd.http(method, path, body_of(method)).status
    assert granted not in (401, 403)
    for scopes, may in MAY.items():
        headers = credentials(TOKENS[scopes]) if scopes != 'none' else {}
        answer = nsqd.http(method, path, body_of(method), headers)
        if scope == 'none' or scope in may:
            assert answer.status == granted, (scopes, answer)
        elif scopes == 'none':
            assert (answer.status, answer.body) == (401, UNAUTHORIZED)
        else:
            assert (answer.status, answer.body) == (403, FORBIDDEN), scopes
    unknown = nsqd.http(method, path, body_of(method), credentials('x' * 20))
    assert unknown.status == (granted if scope == 'none' else 401)


def test_a_token_does_what_it_may(nsqd):
    topic = nsqd.topic()

    def do(method, path, scopes, body=None):
        return nsqd.http(method, path, body, bearer(TOKENS[scopes]))
    assert do('POST', '/topic/create?topic=' + topic, 'admin').status == 200
    assert do('POST', '/channel/create?channel=c&topic=' + topic, 'admin').status == 200
    assert do('POST', '/pub?topic=' + topic, 'publish', b'one').body == b'OK'
    assert do('POST', '/mpub?topic=' + topic, 'read,publish', b'two\nthree\n').body == b'OK'
    # Refused, and nothing has come of it.
    assert do('POST', '/pub?topic=' + topic, 'read', b'four').status == 403
    assert do('POST', '/mpub?topic=never', 'read', b'four').status == 403
    assert do('POST', '/topic/delete?topic=' + topic, 'publish').status == 403
    assert nsqd.post('/topic/delete?topic=' + topic).status == 401
    stats = json.loads(do('GET', '/stats?format=json', 'read').body)
    counts = {t['topic_name']: t['message_count'] for t in stats['topics']}
    assert counts[topic] == 3 and 'never' not in counts
    # The TCP port is not concerned.
    with nsqd.subscribe(topic, 'c', rdy=1) as client:
        assert client.message().body == b'one'


@pytest.mark.parametrize('path', ['/stats', '/metrics', '/debug/', '/pub?topic=t'])
def test_refusals_have_stocks_shape(nsqd, path):
    method = 'POST' if path.startswith('/pub') else 'GET'
    low = 'read' if path != '/stats' and path != '/metrics' else 'publish'
    for headers, code, body in (({}, 401, UNAUTHORIZED), (bearer(TOKENS[low]), 403, FORBIDDEN)):
        answer = nsqd.http(method, path, None, headers)
        assert (answer.status, answer.body) == (code, body)
        assert answer.headers['Content-Type'] == 'application/json; charset=utf-8'
        assert answer.headers['X-NSQ-Content-Type'] == 'nsq; version=1.0'
        assert answer.headers.get_all('WWW-Authenticate') == (
            ['Bearer realm="nsqd"', 'Basic realm="nsqd"'] if code == 401 else None)


@pytest.mark.parametrize('method, path, code', [
    ('GET', '/nosuch', 404), ('GET', '/pub', 405), ('OPTIONS', '/pub', 200), ('GET', '/ping/', 301)])
def test_what_the_router_answers_needs_no_token(nsqd, open_nsqd, method, path, code):
    ours, theirs = (d.http(method, path) for d in (nsqd, open_nsqd))
    assert ours.status == theirs.status == code and ours.body == theirs.body


@pytest.mark.parametrize('headers', [{}, bearer('x' * 20), {'Authorization': 'nonsense'}], ids=str)
def test_without_the_flag_nobody_is_asked(open_nsqd, headers):
    topic = open_nsqd.topic()
    for method, path in (('POST', '/topic/create?topic=' + topic), ('GET', '/stats'),
                         ('POST', '/topic/delete?topic=' + topic), ('GET', '/debug/')):
        assert open_nsqd.http(method, path, None, headers).status == 200


# -- what is no token

def encoded(text):
    return b'Basic ' + base64.b64encode(text)


GOOD = TOKENS['admin'].encode()
BAD = {
    'prefix': b'Bearer ' + GOOD[:-1],
    'suffix': b'Bearer ' + GOOD + b'x',
    'case': b'Bearer ' + GOOD.upper(),
    'scheme': b'Digest ' + GOOD,
    'no-scheme': GOOD,
    'no-blank': b'Bearer' + GOOD,
    'tab': b'Bearer\t' + GOOD,
    'empty': b'',
    'bearer-alone': b'Bearer',
    'basic-alone': b'Basic',
    'two': b'Bearer ' + GOOD + b', Bearer ' + GOOD,
    'quoted': b'Bearer "' + GOOD + b'"',
    'as-basic': b'Basic ' + GOOD,
    'no-colon': encoded(GOOD),
    'as-user': encoded(GOOD + b':'),
    'no-base64': b'Basic \xff\xfe\xfd\xfc',
    'bad-base64': encoded(b'x:' + GOOD)[:-2] + b'*=',
    'no-padding': encoded(b'xx:' + GOOD).rstrip(b'=')[:-1],
    'nul-behind': encoded(b'x:' + GOOD + b'\0'),
    'nul-before': encoded(b'x:\0' + GOOD),
    'newline': encoded(b'x:' + GOOD + b'\n'),
    'empty-password': encoded(b'x:'),
    'empty-both': encoded(b':'),
    'non-utf8': b'Bearer \xc3\x28' + GOOD,
    'certificate': b'Bearer cert:' + GOOD,
    'comment': b'Bearer #',
    'long': b'Bearer ' + b'x' * 20000,
    'long-basic': encoded(b'x' * 20000 + b':' + GOOD),
    'blanks': b'Bearer ' + b' ' * 20000 + GOOD,
}


@pytest.mark.parametrize('value', BAD.values(), ids=BAD.keys())
def test_what_is_no_token_is_unknown(nsqd, value):
    raw = request('/stats', b'Authorization: ' + value) + request('/ping')
    answer = exchange(nsqd.http_port, raw)
    assert status(answer) == 401 and UNAUTHORIZED in answer
    assert answer.endswith(b'OK'), 'the connection goes on'


def test_a_nul_byte_in_the_header_is_malformed(nsqd):
    answer = exchange(nsqd.http_port, request('/stats', b'Authorization: Bearer ' + GOOD + b'\0'))
    assert status(answer) == 400


@pytest.mark.parametrize('value', [
    b'Bearer ' + GOOD, b'bearer ' + GOOD, b'BEARER   ' + GOOD, b'Bearer\r\n ' + GOOD,
    b' Bearer ' + GOOD + b'  ', encoded(b':' + GOOD), encoded(b'x:' + GOOD),
    encoded(b'\xff\0:' + GOOD), encoded(b'x' * 500 + b':' + GOOD)])
def test_what_is_a_token(nsqd, value):
    answer = exchange(nsqd.http_port, request('/debug/', b'Authorization: ' + value))
    assert status(answer) == 200


@pytest.mark.parametrize('names', [
    [b'Authorization', b'Authorization'], [b'authorization', b'AUTHORIZATION'],
    [b'Authorization'] * 500])
def test_several_headers_are_none(nsqd, names):
    """A proxy may have looked at another one."""
    good = [name + b': Bearer ' + GOOD for name in names]
    assert status(exchange(nsqd.http_port, request('/stats', *good))) == 401
    mixed = [good[0], b'Authorization: Basic eDp5']
    assert status(exchange(nsqd.http_port, request('/stats', *mixed))) == 401
    assert status(exchange(nsqd.http_port, request('/stats', *reversed(mixed)))) == 401


def test_a_head_that_is_too_long_is_refused_as_ever(nsqd):
    for line in (b'Authorization: Bearer ' + b'x' * 40000, b'\r\n'.join(
            [b'Authorization: Bearer ' + GOOD] * 2000)):
        assert status(exchange(nsqd.http_port, request('/stats', line))) == 431


def test_other_places_are_not_looked_at(nsqd):
    token = TOKENS['admin']
    for path, headers in (
            ('/stats?access_token=%s&token=%s' % (token, token), {}),
            ('/stats', {'X-Auth-Token': token, 'Proxy-Authorization': 'Bearer ' + token,
                        'Cookie': 'token=' + token})):
        assert nsqd.http('GET', path, None, headers).status == 401
    raw = request('/stats', b'Trailer: Authorization', b'Transfer-Encoding: chunked').replace(
        b'Content-Length: 0\r\n', b'') + b'0\r\nAuthorization: Bearer %s\r\n\r\n' % GOOD
    assert status(exchange(nsqd.http_port, raw)) == 401


def test_a_token_counts_for_its_request_alone(nsqd):
    raw = (request('/stats', b'Authorization: Bearer ' + GOOD) + request('/stats')
           + request('/debug/', b'Authorization: Bearer ' + TOKENS['read'].encode())
           + request('/debug/', b'Authorization: Bearer ' + GOOD) + request('/debug/'))
    assert statuses(exchange(nsqd.http_port, raw)) == [200, 401, 403, 200, 401]


# -- the body of a request that is refused

LARGE = 200 * 1000


@pytest.mark.parametrize('path', ['/pub?topic=t', '/mpub?topic=t', '/topic/create?topic=t'])
@pytest.mark.parametrize('headers', [(), (b'Authorization: Bearer ' + TOKENS['read'].encode(),)],
                         ids=['unknown', 'low'])
def test_nobody_is_asked_for_a_body_that_is_refused(nsqd, path, headers):
    code = 403 if headers else 401
    raw = request(path, b'Expect: 100-continue', *headers, method='POST').replace(
        b'Content-Length: 0', b'Content-Length: 100000')
    with socket.create_connection(('127.0.0.1', nsqd.http_port), DEADLINE) as s:
        s.sendall(raw)
        answer = b''
        while b'\r\n\r\n' not in answer:
            answer += s.recv(65536)
    assert status(answer) == code and b'\r\nConnection: close\r\n' in answer
    # Without that the body is read over, and the connection goes on.
    raw = request(path, *headers, method='POST', body=b'x' * LARGE) + request('/ping')
    answer = exchange(nsqd.http_port, raw)
    assert status(answer) == code and answer.endswith(b'OK')
    chunks = b'%x\r\n%s\r\n0\r\n\r\n' % (LARGE, b'x' * LARGE)
    raw = request(path, *headers, b'Transfer-Encoding: chunked', method='POST').replace(
        b'Content-Length: 0\r\n', b'') + chunks + request('/ping')
    answer = exchange(nsqd.http_port, raw)
    assert status(answer) == code and answer.endswith(b'OK')


def test_a_body_that_is_too_long_ends_the_connection(nsqd):
    raw = request('/pub?topic=t', method='POST').replace(
        b'Content-Length: 0', b'Content-Length: 1000000000')
    answer = exchange(nsqd.http_port, raw + b'x' * 100)
    assert status(answer) == 401 and b'\r\nConnection: close\r\n' in answer


def rss(daemon):
    with open('/proc/%d/status' % daemon.process.pid) as f:
        return int(re.search(r'^VmRSS:\s+(\d+) kB$', f.read(), re.M)[1])


def rss_of_half_bodies(nsqd, size):
    """Of the daemon, while 200 connections have sent so much of a body, without rights."""
    head = request('/pub?topic=t', method='POST').replace(
        b'Content-Length: 0', b'Content-Length: 250000')
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.create_connection(
            ('127.0.0.1', nsqd.http_port), DEADLINE)) for _ in range(200)]
        for s in made:
            s.sendall(head + b'x' * size)
        wait_all_read(nsqd.http_port, made)
        kib = rss(nsqd)
        for s in made:
            s.sendall(b'x' * (250000 - size))
        for s in made:
            assert s.recv(20).startswith(b'HTTP/1.1 401')
    return kib


@pytest.mark.skipif(SCALE > 1, reason='sanitizers keep memory for themselves')
def test_bodies_without_rights_take_no_memory(nsqd):
    """A message of the greatest size is announced and nearly sent, on many connections: that takes
    no more memory than such connections take which have sent next to nothing."""
    few = rss_of_half_bodies(nsqd, 10)
    grown = rss_of_half_bodies(nsqd, 240000) - few
    assert grown < 200 * 150, '%d KiB for 200 connections' % grown


# -- no secrets

def test_no_token_is_told_to_anybody(new_nsqd, tmp_path):
    """(One in a query would be in the log: it is not for there.)"""
    nsqd = new_nsqd('--http-auth-file=' + tokens_file(tmp_path), '--log-level=debug')
    headers = bearer(TOKENS['admin'])
    for path in ('/stats', '/nosuch', '/config/http_auth_file', '/config/nosuch', '/stats?%zz'):
        for each in (headers, basic(TOKENS['admin']), bearer(TOKENS['publish']), bearer('x' * 300)):
            answer = nsqd.http('GET', path, None, each)
            assert b'token-that' not in answer.body
    shown = nsqd.http('GET', '/config/http_auth_file', None, headers)
    assert shown.body.decode().endswith('/tokens')
    nsqd.wait_log(r' INFO: 401 GET /stats \(127\.0\.0\.1:\d+\) ')
    nsqd.wait_log(r' INFO: 403 GET /stats \(127\.0\.0\.1:\d+\) ')
    log = nsqd.log()
    for secret in TOKENS.values():
        assert secret not in log
        assert base64.b64encode(secret.encode()).decode()[4:-4] not in log


# -- the file

def refused(tmp_path, content, **how):
    path = tmp_path / 'tokens'
    path.write_bytes(content)
    path.chmod(0o600)
    said = check_config('--http-auth-file=%s' % path, '--data-path=%s' % tmp_path, **how)
    assert 'token-that' not in said
    return said


@pytest.mark.parametrize('content, line', [
    (b'', None), (b'# nothing\n', None), (b'token-that-is-good-1\n', 1),
    (b'token-that-is-good-1 write\n', 1), (b'# x\n\ntoken-that read\n', 3),
    (b'token-that-is-good-1 read\n' * 2, 2), (b'token-that-is\0good-1 read\n', 1),
    (b'token-that-is-g\xc3\xb6\xc3\xb6d-1 read\n', 1), (b'token-that-is-good-1 read admin\n', 1),
    (b'token-that-is-good-1 read' + b' ' * 2000 + b'\n', 1),
    (b''.join(b'token-that-is-number-%d read\n' % i for i in range(10001)), 10001)])
def test_a_file_with_a_mistake_ends_the_start(new_nsqd, tmp_path, content, line):
    said = refused(tmp_path, content, code=1)
    where = '--http-auth-file %s: %s' % (tmp_path / 'tokens', 'line %d: ' % line if line else '')
    assert 'error: ' + where in said
    daemon = new_nsqd('--http-auth-file=%s' % (tmp_path / 'tokens'), start=False).spawn()
    assert daemon.wait_exit() == 1
    assert 'FATAL: failed to instantiate nsqd - ' + where in daemon.log()
    assert 'token-that' not in daemon.log()


@pytest.mark.parametrize('kind', ['missing', 'directory', 'fifo', 'device'])
def test_only_a_regular_file_will_do(new_nsqd, tmp_path, kind):
    path = '/dev/zero' if kind == 'device' else str(tmp_path / 'tokens')
    if kind == 'directory':
        os.mkdir(path)
    elif kind == 'fifo':
        os.mkfifo(path)
    check_config('--http-auth-file=' + path, '--data-path=%s' % tmp_path, code=1)
    daemon = new_nsqd('--http-auth-file=' + path, start=False).spawn()
    assert daemon.wait_exit() == 1
    assert 'FATAL: failed to instantiate nsqd - --http-auth-file: ' in daemon.log()


def test_a_file_that_others_can_read_is_warned_of(new_nsqd, tmp_path):
    path = tokens_file(tmp_path)
    os.chmod(path, 0o644)
    said = check_config('--http-auth-file=' + path, '--data-path=%s' % tmp_path, code=0)
    assert 'warning: --http-auth-file %s: other users may read' % path in said
    daemon = new_nsqd('--http-auth-file=' + path)
    daemon.wait_log(r' WARNING: --http-auth-file .*: other users may read')
    os.chmod(path, 0o640)
    assert 'warning' not in check_config(
        '--http-auth-file=' + path, '--data-path=%s' % tmp_path, code=0)


def test_ten_thousand_tokens(new_nsqd, tmp_path):
    path = write_tokens(tmp_path / 'tokens', (
        'token-number-%05d %s' % (i, ('read', 'publish', 'admin')[i % 3]) for i in range(10000)))
    daemon = new_nsqd('--http-auth-file=' + path)
    for i, code in ((0, 200), (1, 403), (2, 200), (5001, 200), (9999, 200), (9998, 200),
                    (10000, 401)):
        assert get(daemon, '/stats', 'token-number-%05d' % i).status == code, i


# -- SIGHUP

A, B = 'token-of-the-first-one', 'token-of-the-second-one'


def test_a_reload_reads_the_file_again(new_nsqd, tmp_path):
    path = write_tokens(tmp_path / 'tokens', [A + ' read'])
    daemon = new_nsqd('--http-auth-file=' + path)
    connection = daemon.http_connection()

    def ask(token):
        connection.request('GET', '/stats', headers=bearer(token))
        response = connection.getresponse()
        response.read()
        return response.status
    assert (ask(A), ask(B)) == (200, 401)
    write_tokens(path, [B + ' read', A + ' publish'])
    assert reload(daemon) == ['INFO: NSQ: tokens have been read again: 2']
    assert (ask(A), ask(B)) == (403, 200)
    # The connection that is open is no exception.
    write_tokens(path, [B + ' read'])
    reload(daemon)
    assert (ask(A), ask(B)) == (401, 200)
    connection.close()


@pytest.mark.parametrize('spoil', ['mistake', 'empty', 'missing', 'fifo', 'directory'])
def test_a_broken_file_changes_nothing(new_nsqd, tmp_path, spoil):
    path = write_tokens(tmp_path / 'tokens', [A + ' read'])
    config = tmp_path / 'nsqd.cfg'
    config.write_text('http_auth_file = "%s"\n' % path)
    daemon = new_nsqd('--config=%s' % config)
    config.write_text('http_auth_file = "%s"\nmax_rdy_count = 7\n' % path)
    if spoil in ('mistake', 'empty'):
        write_tokens(path, [B + ' read', A + ' secret'] if spoil == 'mistake' else [])
    else:
        os.unlink(path)
    if spoil == 'fifo':
        os.mkfifo(path)
    elif spoil == 'directory':
        os.mkdir(path)
    said = reload(daemon)
    assert len(said) == 1 and said[0].startswith(
        'failed to reload, nothing has changed - --http-auth-file'), said
    assert A not in daemon.log() and 'secret' not in daemon.log()
    assert [get(daemon, '/stats', token).status for token in (A, B, None)] == [200, 401, 401]
    assert get(daemon, '/config/max_rdy_count', A).body == b'2500'


def test_tokens_are_switched_on_and_not_off(new_nsqd, tmp_path):
    first = write_tokens(tmp_path / 'first', [A + ' read'])
    second = write_tokens(tmp_path / 'second', [B + ' read'])
    config = tmp_path / 'nsqd.cfg'
    config.write_text('')
    daemon = new_nsqd('--config=%s' % config)
    assert get(daemon, '/stats').status == 200
    for path, codes in ((first, [200, 401, 401]), (second, [401, 200, 401])):
        config.write_text('http_auth_file = "%s"\n' % path)
        assert 'INFO: NSQ: tokens have been read again: 1' in reload(daemon)
        assert [get(daemon, '/stats', token).status for token in (A, B, None)] == codes
    config.write_text('')
    assert ('WARNING: NSQ: http_auth_file cannot change at run time: it stays "%s", and is "" '
            'after a restart' % second) in reload(daemon)
    assert [get(daemon, '/stats', token).status for token in (A, B, None)] == [401, 200, 401]


def test_reloads_under_load(new_nsqd, tmp_path):
    """A is in each file, and is never refused; B comes and goes, and is as the last file says."""
    path = write_tokens(tmp_path / 'tokens', [A + ' read'])
    daemon = new_nsqd('--http-auth-file=' + path)
    stop, wrong = threading.Event(), []

    def load():
        connection = daemon.http_connection()
        while not stop.is_set():
            for token, codes in ((A, {200}), (B, {200, 401}), ('x' * 20, {401})):
                connection.request('GET', '/config/log_level', headers=bearer(token))
                response = connection.getresponse()
                response.read()
                if response.status not in codes:
                    wrong.append((token, response.status))
        connection.close()
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for i in range(30):
            rest = [B + ' read'] if i % 2 else ['another-token-%05d admin' % k for k in range(3000)]
            write_tokens(path, rest + [A + ' read'])
            reload(daemon)
            assert get(daemon, '/stats', B).status == (200 if i % 2 else 401)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_signal_while_the_file_is_written(new_nsqd, tmp_path):
    """In place, and not by another file: what is half written is refused, or it is whole."""
    path = write_tokens(tmp_path / 'tokens', [A + ' read'])
    daemon = new_nsqd('--http-auth-file=' + path)
    with open(path, 'r+b') as f:
        f.truncate(0)
        said = reload(daemon)
        assert 'there is no token in it' in said[0]
        f.write(A.encode() + b' rea')
        f.flush()
        assert 'failed to reload' in reload(daemon)[0]
        f.write(b'd\n')
    assert reload(daemon) == ['INFO: NSQ: tokens have been read again: 1']
    assert get(daemon, '/stats', A).status == 200


# -- HTTPS and certificates

def test_https_asks_as_well(new_nsqd, tmp_path, server_cert):
    daemon = new_nsqd('--http-auth-file=' + tokens_file(tmp_path), *flags(server_cert))
    assert ask_https(daemon, 'GET', '/ping').status == 200
    assert ask_https(daemon, 'GET', '/stats').status == 401
    for scopes, code in (('read', 200), ('publish', 403)):
        assert ask_https(
            daemon, 'GET', '/stats', headers=bearer(TOKENS[scopes])).status == code


@pytest.fixture
def named(authority):
    def make(name):
        return context(cert=authority.issue('access', '/CN=' + name, usage='clientAuth'))
    return make


def test_a_verified_certificate_counts_by_its_name(new_nsqd, tmp_path, server_cert, authority, named):
    path = write_tokens(tmp_path / 'tokens', [
        'cert:nsqadmin admin', 'cert:grafana read', A + ' publish'])
    daemon = new_nsqd('--http-auth-file=' + path, '--tls-client-auth-policy=require-verify',
                      '--tls-root-ca-file=' + authority.cert, *flags(server_cert))
    for name, stats, debug in (('nsqadmin', 200, 200), ('grafana', 200, 403), ('else', 401, 401),
                               ('nsqadmin2', 401, 401), (A, 401, 401)):
        ctx = named(name)
        assert ask_https(daemon, 'GET', '/stats', ctx=ctx).status == stats, name
        assert ask_https(daemon, 'GET', '/debug/', ctx=ctx).status == debug, name
    # Beside a token it has what both have.
    ctx = named('grafana')
    assert ask_https(daemon, 'POST', '/pub?topic=t', b'x', bearer(A), ctx).status == 200
    assert ask_https(daemon, 'GET', '/stats', None, bearer(A), ctx).status == 200
    assert ask_https(daemon, 'POST', '/pub?topic=t', b'x', ctx=ctx).status == 403
    # By its name alone nobody is anybody.
    assert ask_https(daemon, 'GET', '/debug/', None, bearer('cert:nsqadmin'), ctx).status == 403


def test_a_certificate_that_is_not_verified_does_not_count(new_nsqd, tmp_path, server_cert, named):
    path = write_tokens(tmp_path / 'tokens', ['cert:nsqadmin admin'])
    daemon = new_nsqd('--http-auth-file=' + path, '--tls-client-auth-policy=require',
                      *flags(server_cert))
    daemon.wait_log(r' WARNING: --http-auth-file .*: cert: has no effect without ')
    assert ask_https(daemon, 'GET', '/stats', ctx=named('nsqadmin')).status == 401


# -- the read-only listener

@pytest.mark.parametrize('method, path, scope, public', ROUTES)
def test_the_read_only_listener_serves_what_is_public(nsqd, open_nsqd, method, path, scope, public):
    del scope
    path = path.replace(':opt', 'log_level')
    for headers in ({}, bearer(TOKENS['admin']), bearer('x' * 20)):
        answer = ask_readonly(nsqd, method, path, body_of(method), headers)
        if public:
            assert answer.status == open_nsqd.http(method, path).status == 200
        else:
            assert (answer.status, answer.body) == (403, FORBIDDEN)


def test_the_read_only_listener_needs_no_tokens(new_nsqd):
    daemon = new_nsqd('--http-readonly-address=127.0.0.1:0')
    assert ask_readonly(daemon, 'GET', '/ping').body == b'OK'
    assert ask_readonly(daemon, 'POST', '/pub?topic=t', b'x').status == 403
    assert ask_readonly(daemon, 'POST', '/pub?topic=t', b'x' * LARGE).status == 403
    assert ask_readonly(daemon, 'GET', '/nosuch').status == 404
    assert daemon.post('/pub?topic=t', b'x').status == 200
    stats = json.loads(ask_readonly(daemon, 'GET', '/stats?format=json').body)
    assert [t['message_count'] for t in stats['topics']] == [1]
    port = readonly_port(daemon)
    assert json.loads(daemon.get('/info').body)['http_port'] == daemon.http_port != port
    # Those before it may not have ended yet; this one is counted.
    wait_until(lambda: b'nsqd_connections{kind="http"} 1\n' in ask_readonly(
        daemon, 'GET', '/metrics').body, 'one connection is left')
    log = daemon.stop()
    assert ' INFO: HTTP (read-only): closing 127.0.0.1:%d\n' % port in log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(('127.0.0.1', port), DEADLINE)


def test_the_read_only_listener_is_plain_also_where_tls_is_required(
        new_nsqd, server_cert, authority):
    daemon = new_nsqd('--http-readonly-address=127.0.0.1:0', '--tls-required',
                      '--tls-client-auth-policy=require-verify',
                      '--tls-root-ca-file=' + authority.cert, *flags(server_cert))
    assert b'TLS_REQUIRED' in daemon.get('/ping').body
    assert ask_readonly(daemon, 'GET', '/ping').body == b'OK'
    assert ask_readonly(daemon, 'GET', '/info').body == FORBIDDEN


def test_the_read_only_listener_by_a_unix_socket(new_nsqd, tmp_path):
    daemon = new_nsqd('--http-readonly-address=./ro', '--http-address=127.0.0.1:0')
    daemon.wait_log(r' INFO: HTTP \(read-only\): listening on ')
    path = os.path.join(daemon.directory, 'ro')
    directory = os.open(daemon.directory, os.O_PATH)
    try:        # by a name that is short enough
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect('/proc/self/fd/%d/ro' % directory)
            s.sendall(request('/ping') + request('/info', b'Connection: close'))
            answer = b''
            while not answer.endswith(FORBIDDEN):
                more = s.recv(65536)
                assert more, answer
                answer += more
    finally:
        os.close(directory)
    assert status(answer) == 200
    daemon.stop()
    assert not os.path.exists(path)


def test_the_read_only_listener_is_passed_by_its_name(new_nsqd, sockets):  # noqa: F811
    ports = [s.getsockname()[1] for s in sockets]
    daemon = passing(new_nsqd(start=False), *sockets, names='http-readonly:tcp:http').start()
    assert (daemon.tcp_port, daemon.http_port) == (ports[1], ports[2])
    assert readonly_port(daemon) == ports[0]
    assert ask_readonly(daemon, 'GET', '/ping').body == b'OK'
    assert ask_readonly(daemon, 'GET', '/info').status == 403


def test_an_address_of_the_read_only_listener_that_is_taken(new_nsqd):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        address = '127.0.0.1:%d' % taken.getsockname()[1]
        daemon = new_nsqd('--http-readonly-address=' + address, start=False).spawn()
        assert daemon.wait_exit() == 1
    assert 'listen (%s) failed' % address in daemon.log()


@pytest.mark.parametrize('flag', ['tcp-address', 'http-address'])
def test_one_address_for_two_is_found_before_the_start(tmp_path, flag):
    said = check_config('--%s=:4150' % flag, '--http-readonly-address=:4150',
                        *(['--http-address=:0'] if flag == 'tcp-address' else []),
                        '--data-path=%s' % tmp_path, code=1)
    assert '--%s and --http-readonly-address are one address: :4150' % flag in said
    said = check_config('--http-readonly-address=:99999', '--data-path=%s' % tmp_path, code=1)
    assert 'error: --http-readonly-address: listen (:99999) failed' in said


def test_a_full_read_only_listener_leaves_the_others_alone(new_nsqd):
    daemon = new_nsqd('--http-readonly-address=127.0.0.1:0')
    port = readonly_port(daemon)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(('127.0.0.1', port), DEADLINE))
        assert daemon.get('/ping').body == b'OK'
        assert ask_readonly(daemon, 'GET', '/ping').body == b'OK'
    os.kill(daemon.process.pid, signal.SIGTERM)
    wait_until(lambda: not daemon.alive(), 'it has ended')
