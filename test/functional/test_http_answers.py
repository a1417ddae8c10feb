"""Whole answers, byte by byte, as stock's, over TLS and without it: what is said to a
request, whether the connection goes on, and in what order headers come. (What is taken for
a request at all is in test_http_framing.py.) STOCK names stock's nsqd 1.3.0."""

import re
import socket
import ssl

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from nsq import DEADLINE, Nsqd, running
from test_http_malformed import dial
from test_http_side_by_side import Stock, chunked, need_stock
from test_https import dial as dial_plain, https_port
from test_tls import context, flags

LIMITS = ['--max-msg-size=1000', '--max-body-size=5000']


@pytest.fixture(scope='module')
def pair(tmp_path_factory, server_cert):
    need_stock()
    with running(*(kind(str(tmp_path_factory.mktemp(name)),
                        list(flags(server_cert)) + LIMITS)
                   for kind, name in ((Stock, 'stock'), (Nsqd, 'ours')))) as both:
        for daemon in both:
            https_port(daemon)
        yield both


def read_all(s):
    data = b''
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return data
            data += piece
    except ConnectionError:
        return data


def exchange(daemon, raw, tls=False, pieces=False):
    """Everything that is said to these bytes and the end behind them."""
    with dial(daemon, tls) as s:
        if pieces:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for i in range(len(raw)):
                    s.sendall(raw[i:i + 1])
            except OSError:
                pass  # it has said no already
        else:
            s.sendall(raw)
        if not tls:
            try:
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        return re.sub(rb'\r\nDate: [^\r]*', b'\r\nDate: now', read_all(s))


def post(*fields, version='1.1', target='/pub?topic=framing', body=b''):
    lines = ['POST %s HTTP/%s' % (target, version), 'Host: x', *fields]
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n' + body


# Behind everything: it is answered where a request begins, and closes.
NEXT = (b'POST /topic/create?topic=behind HTTP/1.1\r\nHost: x\r\n'
        b'Connection: close\r\n\r\n')
PING = b'GET /ping HTTP/1.1\r\nHost: x\r\n'
FIVE = 'Content-Length: 5'
CHUNKED = 'Transfer-Encoding: chunked'
LONG = chunked(b'a' * 32)

# (With the end of the connection near, ours has no body: a decided difference.)
LENGTHS = [post('Content-Length:', *more, body=b'abcde')
           for more in ((), (FIVE,), ('Connection: keep-alive',), ('Content-Length: ',))] + [
    post('Content-Length: ' + v, body=b'abcde') for v in (
    '5', '+5', '-5', '0x5', '', ' ', '5, 5', '5 5', '5;', '05', '5.', '1_0', '0',
    '00000000000000000000005', '5\t', '5 ', '\t5', '5\0', '5\x0b', '5\x85',
    '9223372036854775808', '9223372036854775807', '18446744073709551621', '1001', '1000000')] + [
        post(FIVE, FIVE, body=b'abcde'), post(FIVE, 'content-length: 5 ', body=b'abcde'),
        post(FIVE, 'Content-Length: 6', body=b'abcde'),
        post('Content-Length: 6', FIVE, body=b'abcde'),
        post(FIVE, 'Content-Length: 05', body=b'abcde'),
        post(FIVE, 'Content-Length : 6', body=b'abcde'),
        post(FIVE, 'Content Length: 6', body=b'abcde'),
        post('Content-Length\t: 5', body=b'abcde'),
        post(' Content-Length: 5', body=b'abcde')]

BOTH = [post(*order, version=version, body=body)
        for order in ((FIVE, CHUNKED), (CHUNKED, FIVE), ('Content-Length: 999999', CHUNKED),
                      (CHUNKED, 'Content-Length: 0'), (CHUNKED, FIVE, FIVE),
                      (CHUNKED, FIVE, 'Content-Length: 6'), (CHUNKED, 'Content-Length: x'))
        for version in ('1.1', '1.0') for body in (LONG, b'abcde')]

ENCODINGS = [post('Transfer-Encoding: ' + v, version=version, body=LONG)
             for v in ('chunked', 'CHUNKED', 'chunked ', '\tchunked', 'identity', 'foo', '',
                       'chunked, chunked', 'gzip, chunked', 'chunked;a=b', 'xchunked',
                       '"chunked"', 'chunked\0', 'chunked\x0b', 'chun\tked')
             for version in ('1.1', '1.0')] + [
                 post(CHUNKED, CHUNKED, body=LONG), post('Transfer-Encoding : chunked', body=LONG),
                 post(CHUNKED, 'Transfer-Encoding: identity', body=LONG),
                 post('Transfer_Encoding: chunked', body=LONG)]

FOLDED = [post(*fields, body=b'abcde') for fields in (
    ('Content-Length:\r\n 5',), ('Content-Length:\r\n\t5',), ('Content-Length: \r\n \r\n 5',),
    ('Content-Length: 5\r\n ',), ('Content-Length: 1\r\n 2',), ('A: b\r\n c', FIVE),
    ('A:\r\n Content-Length: 5',), ('A: b\r\n\0', FIVE), ('Content-Length\r\n : 5',))] + [
        post('Transfer-Encoding:\r\n chunked', body=LONG),
        post('Transfer-Encoding: chunked\r\n ', body=LONG),
        post('Transfer-Encoding: chun\r\n ked', body=LONG),
        post('Host:\r\n y', body=LONG)]

# In place of each CR LF in turn, and of some other bytes.
CHUNKS = [b'5;x=y\r\nabcde\r\n0\r\nA: b\r\n\r\n'.replace(b'\r\n', b'\1', i).replace(
    b'\r\n', end, 1).replace(b'\1', b'\r\n') for i in range(5)
          for end in (b'\n', b'\r', b'\r\r\n', b'\0', b'\r\n\r\n')
          if not (i > 2 and end == b'\n')] + [  # (a decided difference)
              chunked(), chunked(b'abcde'), chunked(b'x' * 1000), chunked(b'x' * 1001),
              chunked(b'x' * 600, b'y' * 600), chunked(b'x' * 300000),
              b'5 \r\nabcde\r\n0\r\n\r\n', b'5 ;x\r\nabcde\r\n0\r\n\r\n',
              b' 5\r\nabcde\r\n0\r\n\r\n', b'+5\r\nabcde\r\n0\r\n\r\n',
              b'0x5\r\nabcde\r\n0\r\n\r\n', b'5g\r\nabcde\r\n0\r\n\r\n',
              b';\r\nabcde\r\n0\r\n\r\n', b'\r\nabcde\r\n0\r\n\r\n', b'-1\r\na\r\n0\r\n\r\n',
              b'00000000000000005\r\nabcde\r\n0\r\n\r\n', b'0000000000000005\r\nabcde\r\n0\r\n\r\n',
              b'ffffffffffffffff\r\na\r\n0\r\n\r\n', b'fffffffffffffffff\r\na\r\n0\r\n\r\n',
              b'5\r\nabcdef\r\n0\r\n\r\n', b'5\r\nabcd\r\n0\r\n\r\n', b'5\r\nabcde0\r\n\r\n',
              b'5;' + b'x' * 4000 + b'\r\nabcde\r\n0\r\n\r\n',
              b'5;' + b'x' * 5000 + b'\r\nabcde\r\n0\r\n\r\n',
              b'5\r\nabcde\r\n0\r\nA\r\n\r\n', b'5\r\nabcde\r\n0\r\n A: b\r\n\r\n',
              b'5\r\nabcde\r\n0\r\nA: \0\r\n\r\n', b'5\r\nabcde\r\n0\r\nA: b\r\n c\r\n\r\n',
              b'5\r\nabcde\r\n0\r\nA: ' + b'x' * 5000 + b'\r\n\r\n']

EXPECT = [post('Expect: ' + v, *fields, target=target, version=version, body=b'abcde')
          for v in ('100-continue', '100-Continue', 'x', '', '100-continue, x', '200-ok')
          for fields in ((FIVE,), ('Content-Length: 1000000',), ())
          for target in ('/pub?topic=framing', '/pub', '/ping', '/nope', '/ping/',
                         '/topic/create?topic=framing', '/mpub', '/mpub?topic=framing')
          for version in ('1.1', '1.0')
          if not (fields and 'Length: 1' in fields[0] and version == '1.0')]

METHODS = [b'%s %s HTTP/1.%d\r\nHost: x\r\n%s\r\n' % (method, target, minor, field)
           for method in (b'GET', b'HEAD', b'OPTIONS', b'PRI', b'CONNECT')
           for target in (b'/ping', b'*', b'/nope', b'x:80', b'http://y/ping', b'/ping/')
           for minor in (0, 1)
           for field in (b'', b'Connection: keep-alive\r\n', b'Connection: close\r\n',
                         b'Connection: x, Keep-Alive, y\r\n')]

LINES = [b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'PRI * HTTP/2.0\r\nHost: x\r\n\r\n',
         b'GET /ping\r\n\r\n', b'GET /ping HTTP/0.9\r\n\r\n', b'GET /ping HTTP/1.7\r\nHost: x\r\n\r\n',
         b'GET /ping HTTP/1.1\nHost: x\n\n', b'GET http:///ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET http:ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http://x:y/ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET 1http://x/ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET ://x/ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n', b'GET //x/ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http://x HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET http://x?y HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http:/ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET http://a b/ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http://<x>/ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET http://a@b/ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http://[::1]/ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET http://[::1/ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http://%41/ping HTTP/1.1\r\nHost: x\r\n\r\n',
         b'GET /ping HTTP/1.1\r\nHost: x\t\r\n\r\n', b'GET /ping HTTP/1.1\r\nHost: x\0\r\n\r\n',
         b'GET /ping HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n', b'GET /ping HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n',
         b'GET /pi\0ng HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /ping HTTP/1.1\r\nHost: x\r\nA: b\r\rc\r\n\r\n',
         b'\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /ping HTTP/1.1\r\nHost: x\r\nTrailer: Content-Length\r\n\r\n']

BEHIND_A_BODY = [post(FIVE, body=b'abcde' + between) for between in (
    b'\r\n', b'\n', b'\r\n\r\n', b'\r\n\r\n\r\n', b'\0', b'f')]

CASES = LENGTHS + BOTH + ENCODINGS + FOLDED + [
    post(CHUNKED, body=c) for c in CHUNKS] + METHODS + LINES + BEHIND_A_BODY + EXPECT


def name(raw):
    return '%.90r' % raw.replace(b'HTTP/1.1\r\nHost: x', b'').replace(b'topic=framing', b'')


@pytest.mark.parametrize('raw', CASES, ids=name)
def test_what_is_said_and_where_it_ends(pair, raw):
    stock, ours = (exchange(daemon, raw + NEXT) for daemon in pair)
    assert ours == stock != b''


@pytest.mark.parametrize('raw', LENGTHS[:6] + BOTH + FOLDED + [
    post(CHUNKED, body=c) for c in CHUNKS if len(c) < 100] + LINES, ids=name)
def test_however_it_is_cut(pair, raw):
    """The same, byte by byte; and what is behind a refusal is no request."""
    whole, cut = (exchange(pair[1], raw + NEXT, pieces=p) for p in (False, True))
    assert cut == whole


@pytest.mark.parametrize('raw', LENGTHS[6:12] + BOTH[:4] + FOLDED[:4] + LINES[:4] + BEHIND_A_BODY, ids=name)
def test_over_tls_too(pair, raw):
    stock, ours = (exchange(daemon, raw + NEXT, tls=True) for daemon in pair)
    assert ours == stock != b''


# -- bodies that are cut short, by an end that leaves the other direction open

CUT = [post(FIVE, body=b'ab'), post(FIVE, target='/mpub?topic=framing', body=b'a\nb'),
       post(FIVE, target='/mpub?topic=framing', body=b'a\n'),
       post(FIVE, target='/mpub?topic=framing&binary=true', body=b'\0\0\0'),
       post(FIVE, target='/topic/create?topic=framing', body=b'ab'),
       post(FIVE, target='/nope', body=b'ab'),
       post(CHUNKED, body=b'5\r\nab'), post(CHUNKED, body=b'5\r\nabcde\r\n'),
       post(CHUNKED, body=b'5\r\nabcde\r\n0\r\n'), post(CHUNKED, body=b''),
       post(CHUNKED, target='/mpub?topic=framing', body=b'5\r\nab'),
       post(FIVE, version='1.0', body=b'ab'), post(FIVE, body=b''),
       b'PUT /config/log_level HTTP/1.1\r\nHost: x\r\n' + FIVE.encode() + b'\r\n\r\nin',
       PING, PING + b'\r\n', PING + b'\r\nGET', PING + b'\r\nGET /']


@pytest.mark.parametrize('raw', CUT, ids=name)
def test_an_end_within_a_request(pair, raw):
    stock, ours = (exchange(daemon, raw) for daemon in pair)
    assert ours == stock


def tls_half_closed(daemon, raw):
    """The same, over TLS: their close-notify follows the bytes, and then they read."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context().wrap_bio(incoming, outgoing)
    with dial_plain(daemon) as s:
        def pump(step):
            while True:
                try:
                    done = step()
                except ssl.SSLWantReadError:
                    done = None
                s.sendall(outgoing.read())
                if done is not None:
                    return done
                piece = s.recv(65536)
                if not piece:
                    return b''
                incoming.write(piece)
        pump(lambda: session.do_handshake() or True)
        pump(lambda: session.write(raw))
        with pytest.raises(ssl.SSLWantReadError):
            session.unwrap()
        answer = b''
        while True:
            try:
                piece = pump(lambda: session.read(65536))
            except ssl.SSLError:
                piece = b''  # their close-notify
            if not piece:
                return re.sub(rb'\r\nDate: [^\r]*', b'\r\nDate: now', answer)
            answer += piece


@pytest.mark.parametrize('raw', CUT, ids=name)
def test_an_end_within_a_request_over_tls(pair, raw):
    stock, ours = (tls_half_closed(daemon, raw) for daemon in pair)
    assert ours == stock


# -- what is in the messages

@pytest.mark.parametrize('fields', [(FIVE, CHUNKED), (CHUNKED, FIVE),
                                    ('Content-Length: 999999', CHUNKED)], ids=repr)
def test_with_both_lengths_the_chunks_are_the_message(pair, fields):
    ours = pair[1]
    topic = ours.topic()
    raw = post(*fields, target='/pub?topic=' + topic, body=LONG)
    assert b' 200 OK' in exchange(ours, raw)
    with ours.subscribe(topic, 'c', rdy=1) as client:
        assert client.message().body == b'a' * 32


@pytest.mark.parametrize('fields', [(FIVE, CHUNKED), (CHUNKED, FIVE)], ids=repr)
def test_in_http_1_0_there_are_no_chunks(pair, fields):
    ours = pair[1]
    topic = ours.topic()
    raw = post(*fields, target='/pub?topic=' + topic, version='1.0', body=b'20\r\naNEXT')
    assert exchange(ours, raw + NEXT).count(b'HTTP/1.') == 1
    with ours.subscribe(topic, 'c', rdy=1) as client:
        assert client.message().body == b'20\r\na'


# -- consent

@pytest.mark.parametrize('target, status', [
    ('/ping', 405), ('/nope', 404), ('/pub?topic=framing', 413), ('/mpub', 400),
    ('/mpub?topic=a%20b', 400), ('/topic/create?topic=framing', 200)])
@pytest.mark.parametrize('length', [2000])
def test_nobody_is_asked_for_a_body_that_nobody_reads(pair, target, status, length):
    """The answer comes at once, and the connection ends with it."""
    heads = []
    for daemon in pair:
        with dial(daemon, False) as s:
            s.sendall(post('Expect: 100-continue', 'Content-Length: %d' % length, target=target))
            answer = b''
            while b'\r\n\r\n' not in answer:
                answer += s.recv(65536)
            heads.append(answer.partition(b'\r\n')[0])
            assert b'\r\nConnection: close\r\n' in answer
    assert heads[0] == heads[1] and heads[1].split()[1] == b'%d' % status


def test_consent_comes_when_the_handler_begins_to_read(pair):
    for daemon in pair:
        for kind, body in ((FIVE, b'abcde'), (CHUNKED, chunked(b'abcde'))):
            with dial(daemon, False) as s:
                s.sendall(post('Expect: 100-continue', kind))
                assert s.recv(100) == b'HTTP/1.1 100 Continue\r\n\r\n'
                s.sendall(body + PING + b'\r\n')
                got = b''
                while got.count(b'OK') < 4:
                    got += s.recv(65536)


# -- answers

def test_long_answers_are_in_chunks_as_stock_sends_them(pair):
    for daemon in pair:
        for i in range(60):
            daemon.create('long%d' % i, 'c')
    for version, end in (('1.1', b'\r\n0\r\n\r\n'), ('1.0', b'}')):
        raw = (b'GET /stats?format=json&include_mem=false HTTP/%s\r\nHost: x\r\n\r\n'
               % version.encode())
        heads = []
        for daemon in pair:
            answer = exchange(daemon, raw)
            assert len(answer) > 4096 and answer.endswith(end)
            heads.append(answer.partition(b'\r\n\r\n')[0])
        assert heads[0] == heads[1]
