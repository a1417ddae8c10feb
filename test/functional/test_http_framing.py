"""Where a request ends and the next one begins, and every byte of what is said to
it: the same as stock's. A proxy that reads requests as stock does must not be told
anything else by us. STOCK names stock's nsqd 1.3.0."""

import re
import socket

import pytest

from nsq import DEADLINE, Nsqd, running
from test_http_side_by_side import Stock, chunked, need_stock

FLAGS = ['--max-msg-size=1000', '--max-body-size=5000']


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    need_stock()
    with running(*(kind(str(tmp_path_factory.mktemp(name)), FLAGS)
                   for kind, name in ((Stock, 'stock'), (Nsqd, 'ours')))) as both:
        yield both


def dial(daemon):
    return socket.create_connection(('127.0.0.1', daemon.http_port), DEADLINE)


def everything(s):
    data = b''
    try:
        while True:
            more = s.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionResetError:  # stock does not read what it has refused
        return data


def end(s):
    try:
        s.shutdown(socket.SHUT_WR)
    except OSError:  # stock has reset the connection
        pass


def masked(data):
    return re.sub(rb'\r\nDate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n',
                  b'\r\nDate: NOW\r\n', data)


def answers(daemon, raw):
    """All that is said to these bytes, and then to their end."""
    with dial(daemon) as s:
        s.sendall(raw)
        end(s)
        return masked(everything(s))


def answers_to_pieces(daemon, raw):
    with dial(daemon) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i in range(len(raw)):
                s.sendall(raw[i:i + 1])
        except OSError:  # refused by now
            pass
        end(s)
        return masked(everything(s))


def request(line, *headers, body=b''):
    return b'\r\n'.join((line, b'Host: x') + headers) + b'\r\n\r\n' + body


PUB = b'POST /pub?topic=t HTTP/1.1'
PUB10 = b'POST /pub?topic=t HTTP/1.0'
PING = b'GET /ping HTTP/1.1'
NEXT = request(b'POST /topic/create?topic=smuggled HTTP/1.1', b'Content-Length: 0')
CHUNKED = b'Transfer-Encoding: chunked'
A32 = chunked(b'a' * 32)

FRAMES = {
    # Both lengths: the chunks are the body.
    'both': request(PUB, b'Content-Length: 5', CHUNKED, body=A32),
    'both-reversed': request(PUB, CHUNKED, b'Content-Length: 5', body=A32),
    'both-long': request(PUB, b'Content-Length: 9999', CHUNKED, body=A32),
    'both-bad': request(PUB, b'Content-Length: x', CHUNKED, body=A32),
    'both-0': request(PUB, b'Content-Length: 0', CHUNKED, body=A32),
    'both-1.0': request(PUB10, b'Content-Length: 5', CHUNKED, body=A32),
    'both-1.0-reversed': request(PUB10, CHUNKED, b'Content-Length: 5', body=A32),
    'both-mpub': request(b'POST /mpub?topic=t HTTP/1.1', b'Content-Length: 1', CHUNKED,
                         body=A32),
    'chunks-1.0': request(PUB10, CHUNKED, body=A32),
    # Lengths.
    'folded-length': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 5\r\n\r\nhello',
    'folded-tab': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\t\t5 \r\n\r\nhello',
    'folded-lf': b'POST /pub?topic=t HTTP/1.1\nHost: x\nContent-Length:\n 5\n\nhello',
    'folded-number': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n 2\r\n\r\nhello',
    'folded-twice': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n \r\n 5\r\n\r\nhello',
    'folded-behind': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n \r\n\r\nhello',
    'folded-first': b'GET /ping HTTP/1.1\r\n Host: x\r\n\r\n',
    'folded-host': b'GET /ping HTTP/1.1\r\nHost:\r\n x\r\n\r\n',
    'folded-encoding': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n' + A32,
    'folded-encoding-blank': b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n \r\n\r\n' + A32,
    'length-plus': request(PUB, b'Content-Length: +5', body=b'hello'),
    'length-minus': request(PUB, b'Content-Length: -5', body=b'hello'),
    'length-hex': request(PUB, b'Content-Length: 0x5', body=b'hello'),
    'length-empty': request(PUB, b'Content-Length:', body=b'hello'),
    'length-blank': request(PUB, b'Content-Length:   ', body=b'hello'),
    'length-list': request(PUB, b'Content-Length: 5, 5', body=b'hello'),
    'length-twice': request(PUB, b'Content-Length: 5', b'Content-Length: 5', body=b'hello'),
    'length-twice-blank': request(PUB, b'Content-Length: 5', b'Content-Length:  5 ', body=b'hello'),
    'length-differs': request(PUB, b'Content-Length: 5', b'Content-Length: 05', body=b'hello'),
    'length-zeros': request(PUB, b'Content-Length: 00005', body=b'hello'),
    'length-underscore': request(PUB, b'Content-Length: 1_0', body=b'hello'),
    'length-max': request(PUB, b'Content-Length: 9223372036854775807', body=b'hello'),
    'length-over': request(PUB, b'Content-Length: 9223372036854775808', body=b'hello'),
    'length-nul': request(PUB, b'Content-Length: 5\0', body=b'hello'),
    'length-vt': request(PUB, b'Content-Length: \x0b5', body=b'hello'),
    'length-inner': request(PUB, b'Content-Length: 5 5', body=b'hello'),
    'length-name-blank': request(PUB, b'Content-Length : 5', body=b'hello'),
    'length-case': request(PUB, b'cOnTeNt-LeNgTh: 5', body=b'hello'),
    'get-with-body': request(PING, b'Content-Length: 5', body=b'hello'),
    'cut-body': request(PUB, b'Content-Length: 50', body=b'hello'),
    'cut-body-1.0': request(PUB10, b'Content-Length: 50', body=b'hello'),
    'cut-mpub': request(b'POST /mpub?topic=t HTTP/1.1', b'Content-Length: 50', body=b'a\nb'),
    'cut-mpub-binary': request(b'POST /mpub?topic=t&binary=true HTTP/1.1', b'Content-Length: 50',
                               body=b'\0\0\0\2\0\0\0\1x'),
    'cut-config': request(b'PUT /config/log_level HTTP/1.1', b'Content-Length: 50', body=b'info'),
    'cut-discarded': request(b'POST /topic/pause?topic=t HTTP/1.1', b'Content-Length: 50', body=b'x'),
    'cut-ignored': request(b'POST /topic/create?topic=t HTTP/1.1', b'Content-Length: 50', body=b'x'),
    'cut-head': b'GET /ping HTTP/1.1\r\nHost: x\r\n',
    'cut-line': b'GET /ping HTTP/1.1',
    'too-long': request(PUB, b'Content-Length: 1001', body=b'x' * 1001),
    'too-long-mpub': request(b'POST /mpub?topic=t HTTP/1.1', b'Content-Length: 5001',
                             body=b'x' * 5001),
    # Encodings.
    'encoding-case': request(PUB, b'Transfer-Encoding: ChUnKeD', body=A32),
    'encoding-identity': request(PUB, b'Transfer-Encoding: identity', body=A32),
    'encoding-list': request(PUB, b'Transfer-Encoding: gzip, chunked', body=A32),
    'encoding-twice': request(PUB, CHUNKED, CHUNKED, body=A32),
    'encoding-empty': request(PUB, b'Transfer-Encoding:', body=A32),
    'encoding-blank': request(PUB, b'Transfer-Encoding: \tchunked \t', body=A32),
    'encoding-vt': request(PUB, b'Transfer-Encoding: \x0bchunked', body=A32),
    'encoding-x': request(PUB, b'Transfer-Encoding: xchunked', body=A32),
    'encoding-and-bad-length': request(PUB, b'Transfer-Encoding: x', b'Content-Length: y'),
    'trailer-forbidden': request(PUB, CHUNKED, b'Trailer: Content-Length', body=A32),
    'trailer-forbidden-list': request(PUB, CHUNKED, b'Trailer: a, transfer-encoding', body=A32),
    'trailer-allowed': request(PUB, CHUNKED, b'Trailer: A',
                               body=b'1\r\nx\r\n0\r\nA: b\r\n\r\n'),
    'trailer-unchunked': request(PUB, b'Trailer: Content-Length', b'Content-Length: 1', body=b'x'),
    'host-tab': b'GET /ping HTTP/1.1\r\nHost: x\t\r\n\r\n',
    'host-blank': b'GET /ping HTTP/1.1\r\nHost:   x   \r\n\r\n',
    'host-empty': b'GET /ping HTTP/1.1\r\nHost:\r\n\r\n',
    'host-nul': b'GET /ping HTTP/1.1\r\nHost: x\0y\r\n\r\n',
    'host-none-1.0': b'GET /ping HTTP/1.0\r\n\r\n',
    'host-twice-1.0': b'GET /ping HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n',
    'host-absolute': b'GET http://a b/ping HTTP/1.1\r\nHost: x\r\n\r\n',
    'nul-in-value': request(PING, b'A: b\0c'), 'nul-in-name': request(PING, b'A\0: b'),
    'cr-in-value': request(PING, b'A: b\rc'), 'cr-cr': b'GET /ping HTTP/1.1\r\nHost: x\r\r\n\r\n',
    'del-in-value': request(PING, b'A: \x7f'), 'latin-value': request(PING, b'A: \xe9'),
    'latin-name': request(PING, b'\xe9: a'), 'empty-name': request(PING, b': a'),
    'name-only': request(PING, b'abc'), 'name-quote': request(PING, b'a"b: c'),
    'name-and-encoding': request(PUB, b'a b: c', b'Transfer-Encoding: x'),
    'lf-only': b'GET /ping HTTP/1.1\nHost: x\n\n',
    'lf-mixed': b'GET /ping HTTP/1.1\r\nHost: x\n\r\n',
    'no-version': b'GET /ping\r\n\r\n', 'version-0.9': request(b'GET /ping HTTP/0.9'),
    'version-1.2': request(b'GET /ping HTTP/1.2'), 'version-2.0': request(b'GET /ping HTTP/2.0'),
    'version-1.10': request(b'GET /ping HTTP/1.10'), 'version-x': request(b'GET /ping HTTP/x.1'),
    'version-2.0-and-bad-header': b'GET /ping HTTP/2.0\r\nbad\r\n\r\n',
    'preface': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'preface-host': request(b'PRI * HTTP/2.0'),
    'connect': request(b'CONNECT x:80 HTTP/1.1'), 'connect-path': request(b'CONNECT /ping HTTP/1.1'),
    'connect-no-host': b'CONNECT x:80 HTTP/1.1\r\n\r\n',
    'options-all': request(b'OPTIONS * HTTP/1.1'), 'get-all': request(b'GET * HTTP/1.1'),
    'options-all-body': request(b'OPTIONS * HTTP/1.1', b'Content-Length: 3', body=b'abc'),
    'head': request(b'HEAD /ping HTTP/1.1'), 'head-1.0': request(b'HEAD /ping HTTP/1.0'),
    'head-keep-1.0': request(b'HEAD /ping HTTP/1.0', b'Connection: keep-alive'),
    # What Connection says.
    'keep-1.0': request(b'GET /ping HTTP/1.0', b'Connection: keep-alive'),
    'keep-1.0-case': request(b'GET /ping HTTP/1.0', b'Connection: Keep-Alive'),
    'keep-1.0-list': request(b'GET /ping HTTP/1.0', b'Connection: foo, keep-alive'),
    'keep-1.0-blank': request(b'GET /ping HTTP/1.0', b'Connection: foo keep-alive'),
    'keep-1.0-close': request(b'GET /ping HTTP/1.0', b'Connection: keep-alive, close'),
    'keep-1.0-second': request(b'GET /ping HTTP/1.0', b'Connection: a', b'Connection: keep-alive'),
    'keep-1.0-long': request(b'GET /config/ HTTP/1.0', b'Connection: keep-alive'),
    'close': request(PING, b'Connection: close'),
    'close-list': request(PING, b'Connection: a,close ,b'),
    'close-blank': request(PING, b'Connection: a close'),
    'close-second': request(PING, b'Connection: keep-alive', b'Connection: close'),
    'close-part': request(PING, b'Connection: closed'),
    'upgrade': request(PING, b'Connection: Upgrade', b'Upgrade: h2c'),
    # Expectations.
    'expect-other': request(PUB, b'Expect: foo', b'Content-Length: 1', body=b'x'),
    'expect-other-1.0': request(PUB10, b'Expect: foo', b'Content-Length: 1', body=b'x'),
    'expect-other-get': request(PING, b'Expect: foo'), 'expect-empty': request(PING, b'Expect:'),
    'expect': request(PUB, b'Expect: 100-continue', b'Content-Length: 1', body=b'x'),
    'expect-case': request(PUB, b'Expect: 100-Continue', b'Content-Length: 1', body=b'x'),
    'expect-list': request(PUB, b'Expect: a, 100-continue', b'Content-Length: 1', body=b'x'),
    'expect-second': request(PUB, b'Expect: 100-continue', b'Expect: a', b'Content-Length: 1', body=b'x'),
    'expect-1.0': request(PUB10, b'Expect: 100-continue', b'Content-Length: 1', body=b'x'),
    'expect-none': request(PUB, b'Expect: 100-continue', b'Content-Length: 0'),
    'expect-chunked': request(PUB, b'Expect: 100-continue', CHUNKED, body=A32),
    'expect-too-long': request(PUB, b'Expect: 100-continue', b'Content-Length: 2000'),
    'expect-405': request(b'PUT /pub?topic=t HTTP/1.1', b'Expect: 100-continue', b'Content-Length: 9'),
    'expect-404': request(b'POST /nope HTTP/1.1', b'Expect: 100-continue', b'Content-Length: 9'),
    'expect-create': request(b'POST /topic/create?topic=t HTTP/1.1', b'Expect: 100-continue',
                             b'Content-Length: 0'),
    'expect-redirect': request(b'POST /pub/ HTTP/1.1', b'Expect: 100-continue', b'Content-Length: 9'),
    'expect-pause': request(b'POST /topic/pause?topic=t HTTP/1.1', b'Expect: 100-continue',
                            b'Content-Length: 1', body=b'x'),
    'blank-first': b'\r\n' + request(PING), 'blanks-first': b'\n\n' + request(PING),
    'posts-and-blanks': request(PUB, b'Content-Length: 1', body=b'x') + b'\r\n' + request(PING),
    'posts-and-4-blanks': request(PUB, b'Content-Length: 1', body=b'x') + b'\r\n\n\r' + request(PING),
    'posts-and-6-blanks': request(PUB, b'Content-Length: 1', body=b'x') + b'\r\n\r\n\r\n' + request(PING),
    'gets-and-blanks': request(PING) + b'\r\n' + request(PING),
    'ends-after-3': request(PING) + b'GET', 'ends-after-4': request(PING) + b'GET ',
}

CHUNKS = {
    'lf': b'5\nhello\n0\n\n', 'lf-size': b'5\nhello\r\n0\r\n\r\n', 'lf-data': b'5\r\nhello\n0\r\n\r\n',
    'lf-last': b'5\r\nhello\r\n0\n\r\n',
    'cr-size': b'5\rhello\r\n0\r\n\r\n', 'cr-cr': b'5\r\r\nhello\r\n0\r\n\r\n',
    'extension': b'5;a=b\r\nhello\r\n0\r\n\r\n', 'extension-blank': b'5 ;a\r\nhello\r\n0\r\n\r\n',
    'extension-quoted': b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n', 'extension-cr': b'5;a\rb\r\nhello\r\n0\r\n\r\n',
    'extension-last': b'5\r\nhello\r\n0;x\r\n\r\n', 'blank': b'5 \t\r\nhello\r\n0\r\n\r\n',
    'blank-first': b' 5\r\nhello\r\n0\r\n\r\n', 'zeros': b'0005\r\nhello\r\n000\r\n\r\n',
    'plus': b'+5\r\nhello\r\n0\r\n\r\n', 'hex-prefix': b'0x5\r\nhello\r\n0\r\n\r\n',
    'upper': b'A\r\nhellohello\r\n0\r\n\r\n', 'empty-size': b'\r\nhello\r\n0\r\n\r\n',
    'digits-16': b'0000000000000005\r\nhello\r\n0\r\n\r\n',
    'digits-17': b'00000000000000005\r\nhello\r\n0\r\n\r\n',
    'huge': b'ffffffffffffffff\r\nhello\r\n0\r\n\r\n', 'half-huge': b'7fffffffffffffff\r\nhello',
    'minus': b'-1\r\nhello\r\n0\r\n\r\n', 'short': b'4\r\nhello\r\n0\r\n\r\n',
    'long': b'6\r\nhello\r\n0\r\n\r\n', 'cut-size': b'5', 'cut-cr': b'5\r', 'cut-data': b'5\r\nhel',
    'cut-end': b'5\r\nhello', 'cut-last': b'5\r\nhello\r\n0\r\n', 'cut-last-cr': b'5\r\nhello\r\n0\r\n\r',
    'nothing': b'', 'empty': b'0\r\n\r\n', 'trailer': b'1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n',
    'trailer-bad': b'1\r\nx\r\n0\r\nbad\r\n\r\n', 'trailer-folded': b'1\r\nx\r\n0\r\nA: b\r\n c\r\n\r\n',
    'trailer-blank': b'1\r\nx\r\n0\r\n A: b\r\n\r\n', 'trailer-cut': b'1\r\nx\r\n0\r\nA: b\r\n',
    'trailer-nul': b'1\r\nx\r\n0\r\nA: \0\r\n\r\n',
    'trailer-long': b'1\r\nx\r\n0\r\nA: ' + b'b' * 5000 + b'\r\n\r\n',
    'trailer-length': b'1\r\nx\r\n0\r\nContent-Length: 7\r\n\r\n',
    'singles': chunked(*[b'x'] * 900), 'too-many': chunked(*[b'x'] * 1100),
    'much-extension': b''.join(b'1;' + b'e' * 3000 + b'\r\nx\r\n' for _ in range(8)) + b'0\r\n\r\n',
    'long-line': b'1;' + b'e' * 5000 + b'\r\nx\r\n0\r\n\r\n',
    'line-4096': b'1;' + b'e' * 4092 + b'\r\nx\r\n0\r\n\r\n',
    'line-4097': b'1;' + b'e' * 4093 + b'\r\nx\r\n0\r\n\r\n',
}


def compare(pair, raw):
    stock, ours = (answers(daemon, raw) for daemon in pair)
    assert ours == stock
    return ours


@pytest.mark.parametrize('name', FRAMES)
def test_a_request_alone(pair, name):
    compare(pair, FRAMES[name])


@pytest.mark.parametrize('name', FRAMES)
def test_a_request_and_another_one_behind_it(pair, name):
    compare(pair, FRAMES[name] + NEXT + request(PING, b'Connection: close'))


CREATE = request(b'POST /topic/create?topic=t HTTP/1.1', b'Content-Length: 0')


@pytest.mark.parametrize('name', FRAMES)
def test_a_request_in_a_thread(pair, name):
    """To create a topic may block: so a thread does that, and goes on with what follows."""
    compare(pair, CREATE + FRAMES[name] + request(PING, b'Connection: close'))


@pytest.mark.parametrize('name', FRAMES)
def test_a_request_byte_by_byte(pair, name):
    raw = FRAMES[name]
    stock, ours = (answers_to_pieces(daemon, raw) for daemon in pair)
    assert ours == stock


@pytest.mark.parametrize('name', CHUNKS)
@pytest.mark.parametrize('path', ['pub', 'mpub'])
def test_chunks(pair, path, name):
    head = request(b'POST /%s?topic=t HTTP/1.1' % path.encode(), CHUNKED)
    compare(pair, head + CHUNKS[name])
    compare(pair, head + CHUNKS[name] + request(PING, b'Connection: close'))


@pytest.mark.parametrize('name', ['lf', 'extension', 'trailer', 'long', 'cut-last', 'zeros'])
def test_chunks_byte_by_byte(pair, name):
    raw = request(PUB, CHUNKED) + CHUNKS[name]
    stock, ours = (answers_to_pieces(daemon, raw) for daemon in pair)
    assert ours == stock


def test_a_bare_line_feed_does_not_end_a_trailer(pair):
    """Here stock takes what follows for the next request (if there is an empty line
    later on); a proxy need not."""
    answer = answers(pair[1], request(PUB, CHUNKED, body=b'5\r\nhello\r\n0\r\n\n' + NEXT))
    assert answer.startswith(b'HTTP/1.1 500 ') and answer.count(b'HTTP/1.1') == 1


def test_chunks_in_http_1_0_end_the_connection(pair):
    """They are no chunks there, so nobody knows where they end."""
    raw = request(PUB10, CHUNKED, b'Connection: keep-alive', body=A32)
    answer = answers(pair[1], raw + NEXT)
    assert answer.startswith(b'HTTP/1.0 400 ') and answer.count(b'HTTP/1') == 1
    assert b'keep-alive' not in answer


def test_nothing_has_been_smuggled(pair):
    """What was sent behind a request that was refused."""
    ours = pair[1]
    before = {t['topic_name'] for t in ours.stats()['topics']}
    for raw in (FRAMES['encoding-twice'], FRAMES['length-differs'], FRAMES['host-nul'],
                request(PUB, CHUNKED) + CHUNKS['lf'], request(PUB10, CHUNKED, body=A32),
                FRAMES['length-minus'], FRAMES['length-name-blank'][:-5]):
        topic = b'smuggled_%d' % len(before)
        answers(ours, raw + NEXT.replace(b'smuggled', topic))
    after = {t['topic_name'] for t in ours.stats()['topics']}
    assert after - before <= {'t'}
