"""The HTTP API: exact status, body, and the headers that clients look at."""

import json
import re
import socket
import struct

import pytest

from nsq import DEADLINE, mpub_body, wait_until

FLAGS = ['--max-msg-size=1000', '--max-body-size=5000',
         '--max-req-timeout=90s']

JSON = 'application/json; charset=utf-8'
TEXT = 'text/plain; charset=utf-8'
VERSION = 'nsq; version=1.0'

operator = pytest.mark.operator


def check(response, status, body=b'', kind=None):
    """Compare a response of the V1 API with exactly what stock sends."""
    assert (response.status, response.body) == (status, body)
    assert response.headers['X-NSQ-Content-Type'] == VERSION
    assert response.headers['Content-Length'] == str(len(body))
    assert response.headers['Content-Type'] == (kind or (TEXT if body
                                                         else None))
    assert response.headers['Date']


def check_error(response, status, text):
    check(response, status, json.dumps({'message': text},
                                       separators=(',', ':')).encode(), JSON)


def raw(nsqd, request):
    """Send these bytes, read until the daemon closes."""
    with socket.create_connection(('127.0.0.1', nsqd.http_port)) as s:
        s.settimeout(DEADLINE)
        s.sendall(request)
        data = b''
        while True:
            try:
                part = s.recv(65536)
            except ConnectionResetError:
                part = b''
            if not part:
                return data
            data += part


def depth(nsqd, topic):
    return nsqd.topic_stats(topic)['depth']


# -- /ping

def test_ping_is_ok_without_a_newline(nsqd):
    response = nsqd.get('/ping')
    assert (response.status, response.body) == (200, b'OK')
    assert response.headers['Content-Type'] == TEXT
    assert response.headers['Content-Length'] == '2'


def test_ping_ignores_a_query(nsqd):
    assert nsqd.get('/ping?x=%zz').body == b'OK'


# -- not there, not so

@pytest.mark.parametrize('path', [
    '/', '/nope', '/pingx', '/topic', '/topic/', '/topic/nope', '/stat'])
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_an_unknown_path_is_not_found(nsqd, method, path):
    check_error(nsqd.http(method, path), 404, 'NOT_FOUND')


@pytest.mark.parametrize('method, path', [
    ('POST', '/ping'), ('PUT', '/ping'), ('HEAD', '/ping'),
    ('DELETE', '/stats'), ('POST', '/stats'), ('GET', '/pub'),
    ('PUT', '/pub?topic=t'), ('GET', '/mpub'), ('GET', '/topic/create'),
    ('GET', '/channel/create?topic=t&channel=c')])
def test_a_method_that_is_not_for_this_path_is_refused(nsqd, method, path):
    response = nsqd.http(method, path)
    assert response.status == 405
    assert response.headers['X-NSQ-Content-Type'] == VERSION
    if method != 'HEAD':
        assert response.body == b'{"message":"METHOD_NOT_ALLOWED"}'


@operator
@pytest.mark.parametrize('path', ['/ping/', '//ping', '/PING', '/x/../ping'])
def test_a_path_that_is_nearly_right_is_redirected(nsqd, path):
    response = nsqd.get(path)
    assert response.status == 301
    assert response.headers['Location'] == '/ping'
    assert response.headers['Content-Type'] == 'text/html; charset=utf-8'
    assert response.body == b'<a href="/ping">Moved Permanently</a>.\n\n'


@operator
def test_a_method_refused_is_told_what_is_allowed(nsqd):
    for path, allowed in (('/ping', 'GET, OPTIONS'),
                          ('/pub', 'OPTIONS, POST'),
                          ('/config/log_level', 'GET, OPTIONS, PUT')):
        response = nsqd.http('DELETE', path)
        assert (response.status, response.headers['Allow']) == (405, allowed)
        response = nsqd.http('OPTIONS', path)
        assert (response.status, response.body) == (200, b'')
        assert response.headers['Allow'] == allowed


# -- /pub

def test_pub_publishes_the_body(nsqd):
    topic = nsqd.topic()
    check(nsqd.post('/pub?topic=' + topic, b'hello'), 200, b'OK')
    stats = nsqd.topic_stats(topic)
    assert (stats['depth'], stats['message_count'],
            stats['message_bytes']) == (1, 1, 5)
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        assert client.message().body == b'hello'


@pytest.mark.parametrize('body', [
    b'\n', b'\0', bytes(range(256)), b'x' * 1000])
def test_pub_takes_any_bytes_up_to_the_limit(nsqd, body):
    topic = nsqd.topic()
    check(nsqd.post('/pub?topic=' + topic, body), 200, b'OK')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        assert client.message().body == body


def test_pub_of_an_empty_body_is_refused(nsqd):
    check_error(nsqd.post('/pub?topic=' + nsqd.topic()), 400, 'MSG_EMPTY')


def test_pub_of_a_body_too_big_is_refused(nsqd):
    topic = nsqd.topic()
    check_error(nsqd.post('/pub?topic=' + topic, b'x' * 1001),
                413, 'MSG_TOO_BIG')
    assert nsqd.topic_stats(topic) is None


@pytest.mark.parametrize('query, text', [
    ('', 'MISSING_ARG_TOPIC'), ('?', 'MISSING_ARG_TOPIC'),
    ('?topi=x', 'MISSING_ARG_TOPIC'), ('?Topic=x', 'MISSING_ARG_TOPIC'),
    ('?topic', 'INVALID_TOPIC'), ('?topic=', 'INVALID_TOPIC'),
    ('?topic=a$', 'INVALID_TOPIC'), ('?topic=a%20b', 'INVALID_TOPIC'),
    ('?topic=a+b', 'INVALID_TOPIC'), ('?topic=%00', 'INVALID_TOPIC'),
    ('?topic=' + 'a' * 65, 'INVALID_TOPIC'),
    ('?topic=&topic=good', 'INVALID_TOPIC'),
    ('?topic=%zz', 'INVALID_REQUEST'), ('?topic=%', 'INVALID_REQUEST'),
    ('?topic=a;b=c', 'INVALID_REQUEST')])
@pytest.mark.parametrize('path', ['/pub', '/mpub', '/topic/create'])
def test_a_missing_or_invalid_topic_is_refused(nsqd, path, query, text):
    check_error(nsqd.post(path + query, b'x'), 400, text)


@pytest.mark.parametrize('query, topic', [
    ('topic=quoted%2Dname', 'quoted-name'), ('x=y&topic=second', 'second'),
    ('topic=first&topic=ignored$', 'first'), ('&&topic=blank&', 'blank'),
    ('%74opic=key', 'key'), ('topic=web%23ephemeral', 'web#ephemeral')])
def test_the_topic_is_read_from_the_query_as_go_reads_it(nsqd, query, topic):
    check(nsqd.post('/pub?' + query, b'x'), 200, b'OK')
    assert depth(nsqd, topic) == 1


def test_pub_with_defer_defers(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    check(nsqd.post('/pub?topic=%s&defer=60000' % topic, b'x'), 200, b'OK')
    nsqd.wait_channel(topic, 'ch', deferred_count=1, depth=0)


@pytest.mark.parametrize('defer', ['0', '1', '90000', '%2B5', '007', '-0'])
def test_pub_takes_a_defer_in_range(nsqd, defer):
    check(nsqd.post('/pub?topic=%s&defer=%s' % (nsqd.topic(), defer), b'x'),
          200, b'OK')


@pytest.mark.parametrize('defer', [
    '', 'x', '-1', '1.5', '1s', '90001', '9223372036854775808', '%201',
    '0x1', '1_0'])
def test_pub_refuses_a_defer_out_of_range(nsqd, defer):
    check_error(nsqd.post('/pub?topic=%s&defer=%s' % (nsqd.topic(), defer),
                          b'x'), 400, 'INVALID_DEFER')


def test_pub_checks_size_then_topic_then_defer(nsqd):
    check_error(nsqd.post('/pub?defer=x', b'x' * 1001), 413, 'MSG_TOO_BIG')
    check_error(nsqd.post('/pub?defer=x', b''), 400, 'MSG_EMPTY')
    check_error(nsqd.post('/pub?defer=x', b'x'), 400, 'MISSING_ARG_TOPIC')


# -- /mpub

def received(nsqd, topic, count):
    with nsqd.subscribe(topic, 'ch', rdy=count + 1) as client:
        bodies = [m.body for m in client.messages(count)]
        client.expect_quiet()
        return bodies


@pytest.mark.parametrize('body, messages', [
    (b'a\nb\nc', [b'a', b'b', b'c']), (b'a\nb\nc\n', [b'a', b'b', b'c']),
    (b'a', [b'a']), (b'\n\na\n\n\nb\n\n', [b'a', b'b']),
    (b'a\r\nb\r\n', [b'a\r', b'b\r']), (b' \n\t\n', [b' ', b'\t']),
    (b'a\0b\nc', [b'a\0b', b'c']),
    (b'x' * 1000 + b'\n' + b'y' * 1000, [b'x' * 1000, b'y' * 1000])],
    ids=lambda v: repr(v[:20]))
def test_mpub_publishes_a_message_for_each_line(nsqd, body, messages):
    topic = nsqd.topic()
    check(nsqd.post('/mpub?topic=' + topic, body), 200, b'OK')
    assert received(nsqd, topic, len(messages)) == messages


@pytest.mark.parametrize('body', [b'', b'\n', b'\n\n\n'])
def test_mpub_of_nothing_is_ok_and_creates_the_topic(nsqd, body):
    topic = nsqd.topic()
    check(nsqd.post('/mpub?topic=' + topic, body), 200, b'OK')
    assert depth(nsqd, topic) == 0


def test_mpub_with_a_line_too_long_publishes_none(nsqd):
    topic = nsqd.topic()
    check_error(nsqd.post('/mpub?topic=' + topic, b'a\n' + b'x' * 1001),
                413, 'MSG_TOO_BIG')
    assert depth(nsqd, topic) == 0


def test_mpub_takes_a_body_up_to_the_limit(nsqd):
    topic = nsqd.topic()
    check(nsqd.post('/mpub?topic=' + topic, b'12345678\n' * 555 + b'12345'),
          200, b'OK')
    assert depth(nsqd, topic) == 556
    check_error(nsqd.post('/mpub?topic=' + topic, b'1234\n' * 1000 + b'x'),
                413, 'BODY_TOO_BIG')
    assert depth(nsqd, topic) == 556


@pytest.mark.parametrize('binary', ['true', '1', 'yes', 'TRUE', ''])
def test_mpub_in_binary_takes_the_body_of_the_command_mpub(nsqd, binary):
    topic = nsqd.topic()
    bodies = [b'a\nb', b'\n', b'c']
    check(nsqd.post('/mpub?topic=%s&binary=%s' % (topic, binary),
                    mpub_body(bodies)), 200, b'OK')
    assert received(nsqd, topic, 3) == bodies


@pytest.mark.parametrize('binary', ['false', '0'])
def test_mpub_may_say_that_it_is_not_binary(nsqd, binary):
    topic = nsqd.topic()
    check(nsqd.post('/mpub?topic=%s&binary=%s' % (topic, binary), b'a\nb'),
          200, b'OK')
    assert depth(nsqd, topic) == 2


@pytest.mark.parametrize('body, text', [
    (b'', 'BAD_BODY'), (b'\0\0', 'BAD_BODY'), (b'\0\0\0\0', 'BAD_BODY'),
    (struct.pack('>i', -1), 'BAD_BODY'), (struct.pack('>i', 1000), 'BAD_BODY'),
    (b'\0\0\0\1', 'BAD_MESSAGE'), (b'\0\0\0\1\0\0\0\0', 'BAD_MESSAGE'),
    (b'\0\0\0\1\0\0\0\2x', 'BAD_MESSAGE'),
    (b'\0\0\0\1\xff\xff\xff\xff', 'BAD_MESSAGE'),
    (b'\0\0\0\1' + struct.pack('>i', 1001) + b'x' * 1001, 'BAD_MESSAGE'),
    (b'\0\0\0\2\0\0\0\1x', 'BAD_MESSAGE')], ids=lambda v: repr(v[:20]))
def test_a_broken_binary_mpub_publishes_none(nsqd, body, text):
    topic = nsqd.topic()
    check_error(nsqd.post('/mpub?topic=%s&binary=true' % topic, body),
                413, text)
    assert depth(nsqd, topic) == 0


# -- how bodies come

def chunked(path, *chunks):
    return (b'POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
            b'Transfer-Encoding: chunked\r\n\r\n' % path.encode()
            + b''.join(b'%x\r\n%s\r\n' % (len(c), c) for c in chunks)
            + b'0\r\n\r\n')


def test_a_chunked_body_is_taken(nsqd):
    topic = nsqd.topic()
    answer = raw(nsqd, chunked('/pub?topic=' + topic, b'one ', b'two'))
    assert answer.startswith(b'HTTP/1.1 200 OK\r\n')
    assert answer.endswith(b'\r\n\r\nOK')
    assert received(nsqd, topic, 1) == [b'one two']


def test_a_chunked_body_too_big_is_refused(nsqd):
    topic = nsqd.topic()
    answer = raw(nsqd, chunked('/pub?topic=' + topic, *[b'x' * 100] * 11))
    assert answer.startswith(b'HTTP/1.1 413 ')
    assert answer.endswith(b'{"message":"MSG_TOO_BIG"}')
    assert nsqd.topic_stats(topic) is None
    answer = raw(nsqd, chunked('/mpub?topic=' + topic, *[b'xxx\n' * 90] * 14))
    assert answer.endswith(b'{"message":"BODY_TOO_BIG"}')
    assert depth(nsqd, topic) == 0


def test_expect_100_continue_is_answered(nsqd):
    topic = nsqd.topic()
    with socket.create_connection(('127.0.0.1', nsqd.http_port)) as s:
        s.settimeout(DEADLINE)
        s.sendall(b'POST /pub?topic=%s HTTP/1.1\r\nHost: x\r\n'
                  b'Content-Length: 5\r\nExpect: 100-continue\r\n\r\n'
                  % topic.encode())
        assert s.recv(1000).startswith(b'HTTP/1.1 100 Continue\r\n')
        s.sendall(b'hello')
        assert s.recv(1000).startswith(b'HTTP/1.1 200 OK\r\n')
    assert received(nsqd, topic, 1) == [b'hello']


def test_a_body_that_ends_too_soon_publishes_nothing(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    with socket.create_connection(('127.0.0.1', nsqd.http_port)) as s:
        s.sendall(b'POST /pub?topic=%s HTTP/1.1\r\nHost: x\r\n'
                  b'Content-Length: 5\r\n\r\nhel' % topic.encode())
        s.shutdown(socket.SHUT_WR)
        s.settimeout(DEADLINE)
        while s.recv(1000):
            pass
    assert depth(nsqd, topic) == 0


def test_a_connection_serves_many_requests(nsqd):
    topic = nsqd.topic()
    request = (b'POST /pub?topic=%s HTTP/1.1\r\nHost: x\r\n'
               b'Content-Length: 5\r\n\r\nhello' % topic.encode())
    with socket.create_connection(('127.0.0.1', nsqd.http_port)) as s:
        s.settimeout(DEADLINE)
        for _ in range(20):
            s.sendall(request)
            data = b''
            while not data.endswith(b'\r\n\r\nOK'):
                data += s.recv(1000)
            assert data.startswith(b'HTTP/1.1 200 OK\r\n')
    assert depth(nsqd, topic) == 20


def test_http_1_0_is_served_and_closed(nsqd):
    answer = raw(nsqd, b'GET /ping HTTP/1.0\r\n\r\n')
    assert answer.startswith(b'HTTP/1.0 200 OK\r\n')
    assert answer.endswith(b'\r\n\r\nOK')


@pytest.mark.parametrize('request_bytes', [
    b'\r\n\r\n', b'  V2', b'GARBAGE\r\n\r\n', b'GET\r\n\r\n',
    b'\0' * 100 + b'\r\n\r\n', b'GET /ping HTTP/9.9\r\n\r\n',
    b'POST /pub?topic=t HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
    b'POST /pub?topic=t HTTP/1.1\r\nContent-Length: x\r\n\r\n'], ids=repr)
def test_what_is_not_http_does_no_harm(nsqd, request_bytes):
    with socket.create_connection(('127.0.0.1', nsqd.http_port)) as s:
        s.sendall(request_bytes)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(DEADLINE)
        try:
            answer = s.recv(1000)
        except ConnectionResetError:
            answer = b''
    assert not answer.startswith(b'HTTP/1.1 2')
    assert nsqd.get('/ping').body == b'OK'


# -- /topic/create, /channel/create

def test_topic_create_is_answered_with_an_empty_body(nsqd):
    topic = nsqd.topic()
    for _ in range(2):
        check(nsqd.post('/topic/create?topic=' + topic), 200)
    assert nsqd.topic_stats(topic)['channels'] == []


def test_channel_create_is_answered_with_an_empty_body(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    for _ in range(2):
        check(nsqd.post('/channel/create?topic=%s&channel=ch' % topic), 200)
    assert nsqd.channel_stats(topic, 'ch')


@pytest.mark.parametrize('query, status, text', [
    ('', 400, 'MISSING_ARG_TOPIC'), ('?topic=a$', 400, 'INVALID_ARG_TOPIC'),
    ('?topic=', 400, 'INVALID_ARG_TOPIC'),
    ('?channel=c', 400, 'MISSING_ARG_TOPIC'),
    ('?topic=t', 400, 'MISSING_ARG_CHANNEL'),
    ('?topic=t&channel=', 400, 'INVALID_ARG_CHANNEL'),
    ('?topic=t&channel=c$', 400, 'INVALID_ARG_CHANNEL'),
    ('?topic=unknown&channel=c', 404, 'TOPIC_NOT_FOUND'),
    ('?topic=%zz&channel=c', 400, 'INVALID_REQUEST')])
@pytest.mark.parametrize('path', [
    'create', *(pytest.param(p, marks=operator) for p in (
        'delete', 'empty', 'pause', 'unpause'))])
def test_a_channel_action_with_bad_arguments_is_refused(
        nsqd, path, query, status, text):
    check_error(nsqd.post('/channel/' + path + query), status, text)


# -- the other topic and channel actions

@operator
@pytest.mark.parametrize('path', ['delete', 'empty', 'pause', 'unpause'])
def test_a_topic_action_needs_a_topic(nsqd, path):
    check_error(nsqd.post('/topic/' + path), 400, 'MISSING_ARG_TOPIC')
    check_error(nsqd.post('/topic/%s?topic=%%zz' % path),
                400, 'INVALID_REQUEST')
    check_error(nsqd.post('/topic/%s?topic=unknown' % path),
                404, 'TOPIC_NOT_FOUND')
    # Only emptying looks at the name itself.
    if path == 'empty':
        check_error(nsqd.post('/topic/empty?topic=a$'), 400, 'INVALID_TOPIC')
    else:
        check_error(nsqd.post('/topic/%s?topic=a$' % path),
                    404, 'TOPIC_NOT_FOUND')


@operator
@pytest.mark.parametrize('path', ['delete', 'empty', 'pause', 'unpause'])
def test_a_channel_action_needs_an_existing_channel(nsqd, path):
    topic = nsqd.topic()
    nsqd.create(topic)
    check_error(nsqd.post('/channel/%s?topic=%s&channel=no' % (path, topic)),
                404, 'CHANNEL_NOT_FOUND')


@operator
def test_topic_delete_takes_everything_along(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'one', 'two')
    nsqd.pub(topic, '1', '2')
    with nsqd.subscribe(topic, 'one', rdy=1) as client:
        client.message()
        check(nsqd.post('/topic/delete?topic=' + topic), 200)
        client.expect_closed()
    assert nsqd.topic_stats(topic) is None
    check_error(nsqd.post('/topic/delete?topic=' + topic),
                404, 'TOPIC_NOT_FOUND')
    with nsqd.subscribe(topic, 'one', rdy=1) as client:
        client.expect_quiet()


@operator
def test_topic_empty_drops_what_waits_in_the_topic(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, '1', '2')
    check(nsqd.post('/topic/empty?topic=' + topic), 200)
    assert nsqd.topic_stats(topic)['depth'] == 0
    assert nsqd.topic_stats(topic)['message_count'] == 2


@operator
def test_channel_empty_drops_queued_in_flight_and_deferred(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=1) as client, \
            nsqd.connect() as publisher:
        publisher.pub(topic, b'1', b'2', b'3')
        publisher.dpub(topic, 60000, b'4')
        message = client.message()
        nsqd.wait_channel(topic, 'ch', depth=2, in_flight_count=1,
                          deferred_count=1)
        client.rdy(0)
        client.expect_usable()
        check(nsqd.post('/channel/empty?topic=%s&channel=ch' % topic), 200)
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0,
                          deferred_count=0)
        client.fin(message)
        client.expect_error(
            b'E_FIN_FAILED FIN %s failed ID not in flight' % message.id)
        client.rdy(1)
        publisher.pub(topic, b'new')
        assert client.message().body == b'new'


@operator
def test_channel_delete_disconnects_its_consumers_only(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'one') as one, \
            nsqd.subscribe(topic, 'two') as two:
        nsqd.pub(topic, 'x')
        check(nsqd.post('/channel/delete?topic=%s&channel=one' % topic), 200)
        one.expect_closed()
        two.rdy(1)
        assert two.message().body == b'x'
    assert [c['channel_name'] for c in nsqd.topic_stats(topic)['channels']] \
        == ['two']


# -- /stats

TOPIC_KEYS = ['topic_name', 'channels', 'depth', 'backend_depth',
              'message_count', 'message_bytes', 'paused',
              'e2e_processing_latency']
CHANNEL_KEYS = ['channel_name', 'depth', 'backend_depth', 'in_flight_count',
                'deferred_count', 'message_count', 'requeue_count',
                'timeout_count', 'client_count', 'clients', 'paused',
                'e2e_processing_latency']
CLIENT_KEYS = ['client_id', 'hostname', 'version', 'remote_address', 'state',
               'ready_count', 'in_flight_count', 'message_count',
               'finish_count', 'requeue_count', 'connect_ts', 'sample_rate',
               'deflate', 'snappy', 'user_agent', 'tls', 'tls_cipher_suite',
               'tls_version', 'tls_negotiated_protocol',
               'tls_negotiated_protocol_is_mutual']
MEMORY_KEYS = ['heap_objects', 'heap_idle_bytes', 'heap_in_use_bytes',
               'heap_released_bytes', 'gc_pause_usec_100', 'gc_pause_usec_99',
               'gc_pause_usec_95', 'next_gc_bytes', 'gc_total_runs']
NO_LATENCY = {'count': 0, 'percentiles': None}


def test_stats_of_a_fresh_daemon_are_byte_for_byte_as_in_stock(new_nsqd):
    response = new_nsqd().get('/stats?format=json&include_mem=false')
    body = re.sub(rb'"start_time":\d{10}', b'"start_time":0', response.body)
    assert body == (b'{"version":"1.3.0","health":"OK","start_time":0,'
                    b'"topics":[],"producers":null}')
    assert response.headers['Content-Type'] == JSON
    assert response.headers['X-NSQ-Content-Type'] == VERSION


def test_stats_have_the_keys_of_stock_in_their_order(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch') as client, nsqd.connect() as publisher:
        publisher.pub(topic, b'x')
        nsqd.wait_channel(topic, 'ch', depth=1)
        stats = nsqd.stats()
        assert list(stats) == ['version', 'health', 'start_time', 'topics',
                               'memory', 'producers']
        assert list(stats['memory']) == MEMORY_KEYS
        assert all(type(v) is int for v in stats['memory'].values())
        [entry] = [t for t in stats['topics'] if t['topic_name'] == topic]
        assert list(entry) == TOPIC_KEYS
        [channel] = entry['channels']
        assert list(channel) == CHANNEL_KEYS
        assert list(channel['clients'][0]) == CLIENT_KEYS
        [producer] = [
            p for p in stats['producers'] if p['remote_address'] ==
            '%s:%d' % publisher.socket.getsockname()]
        keys = list(CLIENT_KEYS)
        keys.insert(keys.index('tls'), 'pub_counts')
        assert list(producer) == keys
        client.expect_usable()


def test_stats_have_the_values_of_stock(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=2, client_id='me') as client:
        nsqd.pub(topic, 'abc', 'de', 'f')
        client.messages(2)
        nsqd.wait_channel(topic, 'ch', depth=1, message_count=3)
        entry = nsqd.wait_topic(topic, depth=0)
        [channel] = entry.pop('channels')
        assert entry == {
            'topic_name': topic, 'depth': 0, 'backend_depth': 0,
            'message_count': 3, 'message_bytes': 6, 'paused': False,
            'e2e_processing_latency': NO_LATENCY}
        [shown] = channel.pop('clients')
        assert channel == {
            'channel_name': 'ch', 'depth': 1, 'backend_depth': 0,
            'in_flight_count': 2, 'deferred_count': 0, 'message_count': 3,
            'requeue_count': 0, 'timeout_count': 0, 'client_count': 1,
            'paused': False, 'e2e_processing_latency': NO_LATENCY}
        assert shown.pop('connect_ts') > 1600000000
        assert shown == {
            'client_id': 'me', 'hostname': '', 'version': 'V2',
            'remote_address': '%s:%d' % client.socket.getsockname(),
            'state': 3, 'ready_count': 2, 'in_flight_count': 2,
            'message_count': 2, 'finish_count': 0, 'requeue_count': 0,
            'sample_rate': 0, 'deflate': False, 'snappy': False,
            'user_agent': '', 'tls': False, 'tls_cipher_suite': '',
            'tls_version': '', 'tls_negotiated_protocol': '',
            'tls_negotiated_protocol_is_mutual': False}


def test_stats_escape_strings_as_go_does(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch',
                        user_agent='<a>&"\\/\x01\t\n\x7f\u2028é') as client:
        body = nsqd.get('/stats?format=json&topic=' + topic).body
        assert (rb'"user_agent":"\u003ca\u003e\u0026\"\\/\u0001\t\n'
                + b'\x7f\\u2028\xc3\xa9"') in body
        client.expect_usable()


def test_topics_and_channels_are_sorted_by_name(new_nsqd):
    daemon = new_nsqd()
    names = ['b', 'a', '_', 'B', 'a.b', 'a-b', '10', '9', 'aa']
    for name in names:
        daemon.create(name, *names)
    stats = daemon.stats()['topics']
    assert [t['topic_name'] for t in stats] == sorted(names)
    for topic in stats:
        assert [c['channel_name'] for c in topic['channels']] == sorted(names)


@operator
def test_stats_can_be_asked_for_one_topic(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'one', 'two')
    topics = json.loads(nsqd.get(
        '/stats?format=json&topic=' + topic).body)['topics']
    assert [t['topic_name'] for t in topics] == [topic]
    assert [c['channel_name'] for c in topics[0]['channels']] == ['one', 'two']
    body = nsqd.get('/stats?format=json&include_mem=false&topic=unknown').body
    assert b'"topics":null,"producers":null}' in body


@operator
def test_stats_can_be_asked_for_one_channel(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'one', 'two')
    path = '/stats?format=json&topic=%s&channel=' % topic
    topics = json.loads(nsqd.get(path + 'two').body)['topics']
    assert [c['channel_name'] for c in topics[0]['channels']] == ['two']
    assert json.loads(nsqd.get(path + 'no').body)['topics'] == []


@operator
@pytest.mark.parametrize('value', ['false', '0'])
def test_stats_can_leave_out_clients(nsqd, value):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch') as client:
        client.expect_usable()
        stats = json.loads(nsqd.get(
            '/stats?format=json&include_clients=%s&topic=%s'
            % (value, topic)).body)
        assert stats['topics'][0]['channels'][0]['clients'] is None
        assert stats['topics'][0]['channels'][0]['client_count'] == 1
        assert stats['producers'] is None


@operator
def test_stats_can_leave_out_memory(nsqd):
    for value, there in (('false', False), ('0', False), ('true', True),
                         ('1', True), ('no', True), ('', True)):
        body = nsqd.get('/stats?format=json&include_mem=' + value).body
        assert ('memory' in json.loads(body)) is there


@operator
def test_stats_with_a_bad_query_are_refused(nsqd):
    check_error(nsqd.get('/stats?format=%zz'), 400, 'INVALID_REQUEST')


@operator
def test_stats_in_text_have_the_lines_of_stock(new_nsqd):
    daemon = new_nsqd()
    response = daemon.get('/stats')
    assert response.headers['Content-Type'] == TEXT
    text = response.body.decode()
    memory = ''.join(r'   %-25s\t\d+\n' % key for key in MEMORY_KEYS)
    assert re.fullmatch(
        r'nsqd v1\.3\.0 \(.*\)\n'
        r'start_time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)\n'
        r'uptime (\d+h)?(\d+m)?[0-9.]+(s|ms|µs)\n'
        r'\nHealth: OK\n'
        r'\nMemory:\n' + memory +
        r'\nTopics: None\n'
        r'\nProducers: None\n', text), text


@operator
def test_stats_in_text_list_topics_channels_and_clients(new_nsqd):
    daemon = new_nsqd()
    with daemon.subscribe('t', 'ch', rdy=2, hostname='host',
                          user_agent='agent/1') as client, \
            daemon.connect() as publisher:
        publisher.pub('t', b'1', b'2', b'3')
        client.fin(client.messages(2)[0])
        client.message()
        daemon.wait_channel('t', 'ch', message_count=3, depth=0)
        daemon.post('/topic/create?topic=empty')
        daemon.post('/topic/pause?topic=empty')
        daemon.post('/channel/pause?topic=t&channel=ch')
        text = daemon.get('/stats?include_mem=false').body.decode()
        mine = client.socket.getsockname()[1]
        other = publisher.socket.getsockname()[1]
    expected = (
        '\nHealth: OK\n'
        '\nTopics:'
        '\n*P [empty          ] depth: 0     be-depth: 0     msgs: 0        '
        'e2e%: \n'
        '\n   [t              ] depth: 0     be-depth: 0     msgs: 3        '
        'e2e%: \n'
        '   *P [ch                       ] depth: 0     be-depth: 0     '
        'inflt: 2    def: 0    re-q: 0     timeout: 0     msgs: 3        '
        'e2e%: \n'
        + '        [V2 %-21s] state: 3 inflt: 2    rdy: 2    fin: 1        '
          're-q: 0        msgs: 3        connected: ' % (
              'host:%d agent/1' % mine)
        + 'N\n'
        '\nProducers:\n'
        + '   [V2 %-21s] msgs: 3        topics: t=3 connected: ' % (
            '127.0.0.1:%d ' % other)
        + 'N\n')
    shown = re.sub(r'connected: \d+s', 'connected: N', text)
    assert shown[shown.index('\nHealth'):] == expected


# -- /info

@operator
def test_info_says_what_the_daemon_is(new_nsqd):
    daemon = new_nsqd('--broadcast-address=some.where',
                      '--max-heartbeat-interval=59s',
                      '--max-output-buffer-size=70000',
                      '--max-output-buffer-timeout=29s',
                      '--max-deflate-level=5')
    response = daemon.get('/info')
    body = re.sub(rb'"start_time":\d{10}', b'"start_time":0', response.body)
    assert body.decode() == (
        '{"version":"1.3.0","broadcast_address":"some.where",'
        '"hostname":"%s","http_port":%d,"tcp_port":%d,"start_time":0,'
        '"max_heartbeat_interval":59000000000,'
        '"max_output_buffer_size":70000,'
        '"max_output_buffer_timeout":29000000000,"max_deflate_level":5}'
        % (socket.gethostname(), daemon.http_port, daemon.tcp_port))
    assert response.headers['Content-Type'] == JSON


# -- /config

@operator
@pytest.mark.parametrize('option, body', [
    ('max_msg_size', b'1000'), ('max_body_size', b'5000'),
    ('max_req_timeout', b'90000000000'), ('msg_timeout', b'60000000000'),
    ('mem_queue_size', b'10000'), ('nsqlookupd_tcp_addresses', b'[]'),
    ('auth_http_addresses', b'[]'), ('log_level', b'2'),
    ('max_rdy_count', b'2500'), ('deflate', b'false'), ('snappy', b'false'),
    ('sync_every', b'2500'), ('sync_timeout', b'2000000000'),
    ('tls_required', b'0'), ('tls_min_version', b'769'),
    ('e2e_processing_latency_percentiles', b'[]'),
    ('statsd_interval', b'60000000000'), ('statsd_mem_stats', b'true')])
def test_config_shows_an_option_as_json(nsqd, option, body):
    check(nsqd.get('/config/' + option), 200, body, JSON)


@operator
@pytest.mark.parametrize('option, body', [
    ('tcp_address', b'127.0.0.1:0'), ('tls_cert', b''),
    ('statsd_address', b''), ('log_prefix', b'[nsqd] ')])
def test_config_shows_a_string_as_it_is(nsqd, option, body):
    check(nsqd.get('/config/' + option), 200, body)


@operator
def test_config_of_an_unknown_option_is_refused(nsqd):
    for option in ('nope', 'max-msg-size', 'queue_scan_interval', 'config'):
        check_error(nsqd.get('/config/' + option), 400, 'INVALID_OPTION')
        check_error(nsqd.http('PUT', '/config/' + option, b'1'),
                    400, 'INVALID_OPTION')


@pytest.mark.ours(reason='has no such page')
def test_the_debug_page_tells_threads_that_are_kept_from_those_that_run(nsqd):
    def shows_one():
        nsqd.post('/topic/create?topic=short-lived')
        nsqd.post('/topic/delete?topic=short-lived')
        page = nsqd.get('/debug/').body.decode()
        running = re.findall(r'^   \d+ +[A-Z] +[\d.]+  (\S+)$', page, re.M)
        assert {'main', 'scan', 'signals'} <= set(running), page
        assert 't:short-lived' not in running
        kept = int(re.search(r'^   kept +\t(\d+)$', page, re.M)[1])
        return 1 <= kept <= 64 and 'kept' in running
    wait_until(shows_one, 'the thread of the deleted topic is kept')


@pytest.mark.ours(reason='frees memory as well, and then fails with 500')
def test_memory_is_given_back_on_demand(nsqd):
    response = nsqd.post('/debug/freememory')
    assert (response.status, response.body) == (200, b'')


@pytest.mark.ours(reason='has the Go runtime, with its profiles')
def test_what_belongs_to_the_go_runtime_is_not_implemented(nsqd):
    for page in ('', 'cmdline', 'symbol', 'profile', 'heap', 'goroutine', 'block', 'threadcreate'):
        response = nsqd.get('/debug/pprof/' + page)
        assert (response.status, b'GET /debug/' in response.body) == (501, True)
    assert nsqd.post('/debug/pprof/symbol').status == 501
    response = nsqd.http('PUT', '/debug/setblockrate?rate=-1')
    assert (response.status, response.body) == (501, b'block profiles belong to the Go runtime')


@operator
def test_the_log_level_can_be_changed(new_nsqd):
    daemon = new_nsqd()
    for text, number in (('debug', b'1'), ('ERROR', b'4'), ('Info', b'2')):
        check(daemon.http('PUT', '/config/log_level', text), 200, number, JSON)
        check(daemon.get('/config/log_level'), 200, number, JSON)
    for bad in ('loud', '2', ' info'):
        check_error(daemon.http('PUT', '/config/log_level', bad),
                    400, 'INVALID_VALUE')
    check_error(daemon.http('PUT', '/config/log_level', b''),
                413, 'INVALID_VALUE')


@operator
def test_only_some_options_can_be_changed(nsqd):
    check_error(nsqd.http('PUT', '/config/max_msg_size', b'5'),
                400, 'INVALID_OPTION')
    check_error(nsqd.http('PUT', '/config/nsqlookupd_tcp_addresses', b'x'),
                400, 'INVALID_VALUE')
    check(nsqd.http('PUT', '/config/nsqlookupd_tcp_addresses', b'[]'),
          200, b'[]', JSON)


# -- what is logged

def test_requests_are_logged_as_in_stock_but_for_publishing(nsqd):
    topic = nsqd.topic()
    nsqd.post('/pub?topic=' + topic, b'x')
    nsqd.post('/mpub?topic=' + topic, b'x')
    nsqd.post('/topic/create?topic=' + topic)
    nsqd.post('/channel/create?topic=unknown&channel=c')
    nsqd.get('/nope')
    for text in (r'200 POST /topic/create\?topic=' + topic,
                 r'404 POST /channel/create\?topic=unknown&channel=c',
                 r'404 GET /nope'):
        nsqd.wait_log(r' INFO: %s \(127\.0\.0\.1:\d+\) [0-9.]+(s|ms|µs|ns)$'
                      % text)
    assert 'pub?topic=' + topic not in nsqd.log()
