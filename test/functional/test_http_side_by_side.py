"""The same requests to stock's daemon and to ours: equal answers.

Status, the headers that matter and the body are compared; in statistics, what
depends on time, memory and ports is replaced by its type, so that keys, their
order and their types must still be equal. STOCK names stock's nsqd 1.3.0.
"""

import http.client
import json
import os
import re
import socket

import pytest

from nsq import DEADLINE, Nsqd, not_tested, running, sized

FLAGS = ['--broadcast-address=127.0.0.1', '--broadcast-tcp-port=4150',
         '--broadcast-http-port=4151', '--max-msg-size=1000',
         '--max-body-size=5000', '--max-req-timeout=1m', '--node-id=7']
HEADERS = ['Content-Type', 'X-NSQ-Content-Type', 'Allow', 'Location',
           'Content-Length', 'Transfer-Encoding']


class Stock(Nsqd):
    def command(self):
        return [os.path.abspath(os.environ['STOCK'])] + super().command()[1:]

    def durability(self):
        return []


def need_stock():
    if not os.access(os.environ.get('STOCK', ''), os.X_OK):
        not_tested('no stock nsqd 1.3.0 to compare with: `make stock` builds '
                   'one, or STOCK names one')


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    need_stock()
    with running(*(kind(str(tmp_path_factory.mktemp(name)), FLAGS)
                   for kind, name in ((Stock, 'stock'), (Nsqd, 'ours')))) as both:
        yield both


# -- requests and answers


def request(method, target, body=None, *headers, version='1.1'):
    head = ['%s %s HTTP/%s' % (method, target, version), 'Host: x', *headers]
    if body is not None and not any(
            h.lower().startswith(('content-length', 'transfer-')) for h in head):
        head.append('Content-Length: %d' % len(body))
    return ('\r\n'.join(head) + '\r\n\r\n').encode('latin-1') + (body or b'')


def chunked(*chunks):
    return b''.join(b'%x\r\n%s\r\n' % (len(c), c) for c in chunks) + b'0\r\n\r\n'


class Answer:
    def __init__(self, status, headers, body, closed):
        self.status, self.headers = status, headers
        self.body, self.closed = body, closed

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return '\n    %s %r%s\n    %r' % (
            self.status, self.headers, ' closed' if self.closed else '',
            self.body)


def ask(daemon, raw, method=None):
    """Send the bytes, read one answer, and look whether that was the last."""
    with socket.create_connection(('127.0.0.1', daemon.http_port),
                                  timeout=DEADLINE) as s:
        s.sendall(raw)
        response = http.client.HTTPResponse(
            s, method=method or raw.split(b' ')[0].decode())
        response.begin()
        body = response.read()
        headers = {h: response.headers[h] for h in HEADERS
                   if response.headers[h] is not None}
        return Answer(response.status, headers, body, response.will_close)


def both(pair, raw, change=lambda body: body):
    answers = []
    for daemon in pair:
        answer = ask(daemon, raw)
        changed = change(answer.body)
        if changed != answer.body:  # it may be a few bytes longer, or just too long
            answer.headers.pop('Transfer-Encoding', None)
            answer.headers.pop('Content-Length', None)
        answer.body = changed
        answers.append(answer)
    assert answers[0] == answers[1], 'stock, then ours, to %r: %r %r' % (
        raw[:200], *answers)
    return answers[0]


# -- what cannot be equal


CHANGING = {'start_time', 'http_port', 'tcp_port', 'remote_address',
            'connect_ts', 'heap_objects', 'heap_idle_bytes',
            'heap_in_use_bytes', 'heap_released_bytes', 'next_gc_bytes',
            'gc_total_runs', 'gc_pause_usec_100', 'gc_pause_usec_99',
            'gc_pause_usec_95'}


def shape(body):
    """JSON with its keys in order, and what changes replaced by its type."""
    def mask(value):
        if isinstance(value, Object):
            return Object((k, type(v).__name__ if k in CHANGING else mask(v))
                          for k, v in value)
        if isinstance(value, list):
            return [mask(v) for v in value]
        return value

    class Object(list):
        pass
    return repr(mask(json.loads(body, object_pairs_hook=Object)))


TEXT = [
    (rb'^nsqd v1\.3\.0 \(built w/[a-z]+[0-9.]+\)$', b'VERSION'),
    (rb'^start_time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$', b'START'),
    (rb'^uptime ([0-9]+h)?([0-9]+m)?[0-9.]+(\xc2\xb5|m)?s$', b'UPTIME'),
    (rb'^(   (?:heap|gc|next_gc)_[a-z0-9_]+ *\t)\d+$', rb'\1N'),
    (rb'(\[V2 [^ ]*:)\d+', rb'\1PORT'),
    (rb'connected: \d+s$', b'connected: Ns'),
    # the name is padded, and a port may have four digits
    (rb'(\[V2 [^\]]*?) *\]', rb'\1]'),
]


def text_shape(body):
    for pattern, replacement in TEXT:
        body = re.sub(pattern, replacement, body, flags=re.M)
    return body


# -- one request each


GETS = [
    '/ping', '/ping?x=%zz', '/nope', '/', '/topic', '/topic/', '/channel',
    '/stat', '/statsx', '/ping/', '/PING', '/Ping/', '//ping', '/./ping',
    '/../ping', '/x/../ping', '/ping/.', '/stats/?format=json&x=<b>"\'&y',
    '/config', '/config/', '/config//', '/config/x/', '/config/x/y',
    '/CONFIG/Log_Level', '/config/log_level/?a=b', '/config/nope',
    '/config/%6cog_level', '/config/log_level%2F', '/config/../ping',
    '/pub?topic=t', '/topic/create?topic=t', '/debug/setblockrate',
    '/debug/freememory', '/debug/pprof', '/info/', '/%70ing', '/ping%2f',
    '/ping%20', '/ping;a=b', '/p+ing', '/ping#x', 'http://x/ping',
    'http://x/nope?a', '/PING?a=\xe9', '/ping?\xe9', '/ping?', '/stats//',
]


@pytest.mark.parametrize('target', GETS)
def test_get(pair, target):
    both(pair, request('GET', target))


@pytest.mark.parametrize('method', ['GET', 'POST', 'PUT', 'DELETE', 'HEAD',
                                    'OPTIONS', 'PATCH', 'TRACE', 'BREW'])
@pytest.mark.parametrize('target', [
    '/ping', '/info/', '/pub', '/PUB', '/mpub/', '/stats/', '/topic/create',
    '/topic/delete/', '/channel/pause', '/config/x', '/CONFIG/x', '/config/',
    '/debug/setblockrate', '/debug/freememory', '/nope', '/'])
def test_methods(pair, method, target):
    if target == '/debug/freememory' and method == 'POST':
        pytest.skip('ours: 200; stock frees memory, and then fails with 500')
    both(pair, request(method, target, b'' if method in ('POST', 'PUT') else None),
         lambda body: b'' if target == '/info/' and method == 'GET' else body)


def test_options_of_the_server(pair):
    both(pair, request('OPTIONS', '*'))


@pytest.mark.parametrize('target', ['ping', '/%zz', '/ping%', '/pi\x01ng', '/a b',
                                    '*'])
def test_bad_targets(pair, target):
    both(pair, request('GET', target))


# -- publishing


SIZES = [b'', b'x', b'y' * 999, b'z' * 1000, b'b' * 1001, b'c' * 4000]


@pytest.mark.parametrize('query', [
    'topic=t', '', 'topic=', 'topic', 'topic=a%20b', 'topic=' + 'x' * 65,
    'topic=a&topic=b', 'topic=%zz', 'topic=a;b', 'x;y&topic=a', 'topic=t%00',
    'Topic=t', 'topic=t%23ephemeral', '&&topic=t&', '=x&topic=t',
    't%6fpic=t', 'topic=t+'])
@pytest.mark.parametrize('path', ['/pub', '/mpub'])
def test_publish_arguments(pair, path, query):
    both(pair, request('POST', '%s?%s' % (path, query), b'body'))
    both(pair, request('POST', '%s?%s' % (path, query), b''))


@pytest.mark.parametrize('body', SIZES, ids=len)
@pytest.mark.parametrize('path', ['/pub?topic=s', '/pub', '/mpub?topic=s'])
def test_publish_sizes(pair, path, body):
    both(pair, request('POST', path, body))
    both(pair, request('POST', path, chunked(body) if body else chunked(),
                       'Transfer-Encoding: chunked'))


@pytest.mark.parametrize('defer', [
    '0', '1', '60000', '60001', '-1', '', 'x', '1x', ' 1', '+5', '1.5', '0x1',
    '1_0', '99999999999999999999'])
def test_defer(pair, defer):
    both(pair, request('POST', '/pub?topic=d&defer=' + defer.replace('+', '%2B')
                       .replace(' ', '%20'), b'x'))


@pytest.mark.parametrize('body', [
    b'\n', b'a\nb', b'a\nb\n', b'\n\na\n\n', b'x' * 1001, b'x\n' * 2500,
    b'x\n' * 2499 + b'xx', b'x\n' * 2500 + b'y', b'x' * 1000 + b'\n' + b'y' * 1001,
    (b'x' * 999 + b'\n') * 5, (b'x' * 999 + b'\n') * 5 + b'x', b'x' * 5000,
    b'x' * 5001, b'\r\n'], ids=lambda b: '%d-%s' % (len(b), b[-2:]))
def test_mpub_lines(pair, body):
    both(pair, request('POST', '/mpub?topic=m', body))
    both(pair, request('POST', '/mpub?topic=m', chunked(body),
                       'Transfer-Encoding: chunked'))


def count(n):
    return n.to_bytes(4, 'big', signed=True)


BINARY = {
    'empty': b'', 'short': b'\0\0\0', 'zero': count(0), 'minus': count(-1),
    'one': count(1) + sized(b'x'), 'two': count(2) + sized(b'x') + sized(b'y'),
    'missing': count(2) + sized(b'x'), 'half-size': count(1) + b'\0\0',
    'half-body': count(1) + count(5) + b'abc', 'empty-body': count(1) + count(0),
    'negative-body': count(1) + count(-5), 'biggest': count(1) + sized(b'x' * 1000),
    'too-big': count(1) + sized(b'x' * 1001), 'too-many': count(1000),
    'most': count(999), 'trailing': count(1) + sized(b'x') + b'rest',
}


@pytest.mark.parametrize('name', BINARY)
@pytest.mark.parametrize('value', ['true', '1', '', 'yes', 'TRUE'])
def test_mpub_binary(pair, name, value):
    both(pair, request('POST', '/mpub?topic=m&binary=' + value, BINARY[name]))


@pytest.mark.parametrize('value', ['false', '0'])
def test_mpub_not_binary(pair, value):
    both(pair, request('POST', '/mpub?topic=m&binary=' + value, BINARY['one']))


@pytest.mark.parametrize('size', [1, 1001])
def test_expect_continue(pair, size):
    """Consent to the body that fits; in its place the error where it does not."""
    answers = []
    for daemon in pair:
        with socket.create_connection(('127.0.0.1', daemon.http_port),
                                      timeout=DEADLINE) as s:
            s.sendall(request('POST', '/pub?topic=e', None, 'Expect: 100-continue',
                              'Content-Length: %d' % size))
            first = s.recv(12)
            if first.endswith(b'100'):
                s.sendall(b'x' * size)
            answers.append((first, b'MSG_TOO_BIG' in s.recv(65536)))
    assert answers[0] == answers[1]


# -- connections


def test_keep_alive(pair):
    assert not both(pair, request('GET', '/ping')).closed
    assert both(pair, request('GET', '/ping', None, 'Connection: close')).closed
    assert both(pair, request('GET', '/ping', version='1.0')).closed
    both(pair, request('GET', '/ping', None, 'Connection: keep-alive', version='1.0'))


def test_pipelining(pair):
    raw = (request('POST', '/pub?topic=p', b'1') * 3 + request('GET', '/nope')
           + request('GET', '/ping', None, 'Connection: close'))
    statuses = []
    for daemon in pair:
        with socket.create_connection(('127.0.0.1', daemon.http_port),
                                      timeout=DEADLINE) as s:
            s.sendall(raw)
            answer = b''.join(iter(lambda: s.recv(65536), b''))
        statuses.append(re.findall(rb'HTTP/1\.1 (\d+)', answer))
    assert statuses[0] == statuses[1] == [b'200'] * 3 + [b'404', b'200']


# -- topics and channels


STEPS = [
    '/topic/create?topic=st', '/topic/create', '/topic/create?topic=a%20b',
    '/topic/empty?topic=st', '/topic/empty', '/topic/empty?topic=none',
    '/topic/empty?topic=a%20b', '/topic/pause?topic=st', '/topic/pause',
    '/topic/pause?topic=none', '/topic/pause?topic=a%20b',
    '/topic/unpause?topic=st', '/topic/unpause?topic=none', '/topic/unpause',
    '/channel/create?topic=st&channel=c', '/channel/create?topic=st',
    '/channel/create', '/channel/create?channel=c',
    '/channel/create?topic=none&channel=c', '/channel/create?topic=st&channel=',
    '/channel/create?topic=a%20b&channel=c', '/channel/create?topic=st&channel=a%20b',
    '/channel/create?topic=st&channel=e%23ephemeral',
    '/channel/empty?topic=st&channel=c', '/channel/empty?topic=st&channel=none',
    '/channel/empty?topic=none&channel=c', '/channel/empty?topic=st',
    '/channel/pause?topic=st&channel=c', '/channel/pause?topic=st&channel=none',
    '/channel/unpause?topic=st&channel=c', '/channel/unpause?topic=st&channel=none',
    '/channel/delete?topic=st&channel=c', '/channel/delete?topic=st&channel=c',
    '/channel/delete?topic=st', '/channel/delete?topic=%zz',
    '/topic/delete?topic=st', '/topic/delete?topic=st', '/topic/delete',
    '/topic/delete?topic=a%20b', '/topic/delete?topic=%zz',
]


def test_topics_and_channels(pair):
    for target in STEPS:
        both(pair, request('POST', target, b''))
        both(pair, request('GET', '/stats?format=json&topic=st'), shape)


def test_a_body_where_none_belongs(pair):
    both(pair, request('POST', '/topic/create?topic=body', b'x' * 100000))
    both(pair, request('GET', '/ping', b'x' * 100))


# -- statistics


def test_info(pair):
    both(pair, request('GET', '/info'), shape)


QUERIES = ['', 'topic=full', 'topic=none', 'topic=full&channel=ch',
           'topic=full&channel=none', 'channel=ch', 'include_clients=false',
           'include_mem=false', 'include_clients=0&include_mem=0',
           'include_clients=no', 'include_mem=', 'topic=&channel=', 'topic=%zz']


@pytest.fixture(scope='module')
def busy(pair):
    """Consumers, a producer, a paused channel, messages everywhere."""
    clients = []
    for daemon in pair:
        for target in ('/topic/create?topic=full', '/topic/create?topic=bare',
                       '/channel/create?topic=full&channel=ch',
                       '/channel/create?topic=full&channel=paused',
                       '/channel/create?topic=bare&channel=aaa',
                       '/channel/pause?topic=full&channel=paused',
                       '/topic/pause?topic=bare'):
            assert daemon.post(target).status == 200
        producer = daemon.connect()
        producer.identify(client_id='p"<\u00e9>', hostname='host.example',
                          user_agent='side/1.0 by side')
        producer.pub('full', b'one', b'two', b'three')
        producer.pub('full', b'four')
        producer.dpub('full', 50000, b'later')
        consumer = daemon.subscribe('full', 'ch', 2, client_id='c',
                                    hostname='c.example', user_agent='')
        consumer.message()
        consumer.fin(consumer.message())
        consumer.message()
        clients += [producer, consumer]
        daemon.wait_channel('full', 'ch', in_flight_count=2, deferred_count=1)
        daemon.wait_channel('full', 'paused', depth=4)
    yield pair
    for client in clients:
        client.close()


@pytest.mark.parametrize('query', QUERIES)
def test_stats_json(busy, query):
    both(busy, request('GET', '/stats?format=json&' + query), shape)


@pytest.mark.parametrize('query', QUERIES + ['format=text', 'format=JSON'])
def test_stats_text(busy, query):
    both(busy, request('GET', '/stats?' + query), text_shape)


# -- configuration


OPTIONS = '''
id node_id log_level log_prefix logger tcp_address http_address https_address
broadcast_address broadcast_tcp_port broadcast_http_port
nsqlookupd_tcp_addresses lookupd_tcp_address auth_http_addresses
http_client_connect_timeout http_client_request_timeout mem_queue_size
max_bytes_per_file sync_every sync_timeout queue_scan_interval
queue_scan_selection_count queue_scan_worker_pool_max queue_scan_dirty_percent
msg_timeout max_msg_timeout max_msg_size max_body_size max_req_timeout
client_timeout max_heartbeat_interval max_rdy_count max_output_buffer_size
max_output_buffer_timeout min_output_buffer_timeout output_buffer_timeout
max_channel_consumers statsd_address statsd_prefix statsd_interval
statsd_mem_stats statsd_udp_packet_size statsd_exclude_ephemeral
e2e_processing_latency_window_time e2e_processing_latency_percentiles
e2e_processing_latency_percentile tls_cert tls_key tls_client_auth_policy
tls_root_ca_file tls_required tls_min_version deflate max_deflate_level snappy
ID LogLevel MSG_TIMEOUT msg-timeout'''.split()


@pytest.mark.parametrize('option', OPTIONS)
def test_get_config(pair, option):
    both(pair, request('GET', '/config/' + option))


def test_data_path(pair):
    both(pair, request('GET', '/config/data_path'), lambda body: b'')


@pytest.mark.parametrize('option, value', [
    ('log_level', b'debug'), ('log_level', b'INFO'), ('log_level', b'warn'),
    ('log_level', b'loud'), ('log_level', b''), ('log_level', b'info\n'),
    ('log_level', b'"info"'), ('log_level', b'x' * 1001), ('log_level', b'info'),
    ('nsqlookupd_tcp_addresses', b'["127.0.0.1:1"]'),
    ('nsqlookupd_tcp_addresses', b'["a", "b<c"]'),
    ('nsqlookupd_tcp_addresses', b' [ ] \n'),
    ('nsqlookupd_tcp_addresses', b'[]'),
    ('nsqlookupd_tcp_addresses', b'["a"] x'),
    ('nsqlookupd_tcp_addresses', b'["a",]'),
    ('nsqlookupd_tcp_addresses', b'"a"'), ('nsqlookupd_tcp_addresses', b'[1]'),
    ('nsqlookupd_tcp_addresses', b'{}'), ('nsqlookupd_tcp_addresses', b'nul'),
    ('nsqlookupd_tcp_addresses', b''), ('nsqlookupd_tcp_addresses', b'[]'),
    ('mem_queue_size', b'1'), ('nope', b'1'), ('nope', b''),
])
def test_put_config(pair, option, value):
    both(pair, request('PUT', '/config/' + option, value))
    both(pair, request('GET', '/config/' + option))
    # Other tests, and the daemon's end, are looked for in the log.
    both(pair, request('PUT', '/config/log_level', b'info'))


# -- debugging


@pytest.mark.parametrize('query', ['', '?rate=', '?rate=x', '?rate=1x', '?rate=%zz',
                                   '?rate=99999999999999999999', '?rate=a%22b'])
def test_set_block_rate(pair, query):
    both(pair, request('PUT', '/debug/setblockrate' + query, b''))


# -- the log


def test_log(pair):
    """A line for each request but those that publish, with the same words."""
    targets = ['/ping', '/nope', '/stats?format=json', '/config/nope',
               '/PING', '/a%20b?c=%zz', '/\xe9', '/ping?\xe9', 'http://x/ping?a']
    lines = []
    for daemon in pair:
        # A line may be written after its answer has been sent, so what other tests
        # have asked for may still be coming: only what is between these two counts.
        ask(daemon, request('GET', '/begin'))
        for target in targets:
            ask(daemon, request('GET', target))
        ask(daemon, request('POST', '/pub?topic=l', b'x'))
        ask(daemon, request('POST', '/topic/delete?topic=l', b''))
        ask(daemon, request('HEAD', '/ping'))
        ask(daemon, request('POST', '/topic/pause?topic=l&x=%zz', b''))
        ask(daemon, request('GET', '/end'))
        daemon.wait_log(' 404 GET /end .*\n')
        logged = daemon.log().partition(' 404 GET /begin ')[2]
        lines.append(re.findall(
            r' (INFO: [0-9]{3} [A-Z]+ .* \(127\.0\.0\.1:)[0-9]+\) [0-9.]+(?:[mn\u00b5]?s)$',
            logged.partition(' 404 GET /end ')[0], re.M))
    assert lines[0] == lines[1]
    assert len(lines[0]) == 11
