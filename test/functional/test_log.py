"""The log: its formats, probes that say nothing, errors that come again and again."""

import json
import os
import re
import socket
import subprocess

import pytest

from certs import authority, server_cert    # noqa: F401 (fixtures)
from nsq import Nsqd, binary, dead_address, running, wait_until
from test_https import https_port

pytestmark = pytest.mark.ours(reason='1.3.0 writes text, all of it')

KEYS = ['time', 'level', 'component', 'topic', 'channel', 'client', 'message']
TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z')


class Json(Nsqd):
    """Its log is read as JSON; to the harness it looks like text."""

    def raw(self):
        return super().log()

    def lines(self):
        raw = self.raw()
        return [json.loads(line) for line in raw[:raw.rfind('\n') + 1].splitlines()]

    def log(self):
        return ''.join('[nsqd] x %s: %s\n' % (m['level'], m['message']) for m in self.lines())


@pytest.fixture
def daemon(tmp_path):
    with running(Json(str(tmp_path), ['--log-format=json', '--log-level=debug'])) as (made,):
        yield made


def find(daemon, message):
    """The last line with that message."""
    return wait_until(lambda: [m for m in daemon.lines() if re.search(message, m['message'])],
                      daemon.raw)[-1]


def check_all(daemon):
    for line in daemon.lines():
        assert list(line) == KEYS
        assert all(isinstance(v, str) for v in line.values())
        assert TIME.fullmatch(line['time'])
        assert line['level'] in ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'FATAL')


def about(line):
    return {k: line[k] for k in ('level', 'component', 'topic', 'channel', 'client') if line[k]}


def test_each_line_is_an_object_with_the_same_fields(daemon):
    daemon.create('t', 'ch')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        daemon.pub('t', b'x')
        client.fin(client.message())
        address = '127.0.0.1:%d' % client.socket.getsockname()[1]
    daemon.get('/ping')
    assert about(find(daemon, r'^TOPIC\(t\): created$')) == {
        'level': 'INFO', 'component': 'TOPIC', 'topic': 't'}
    assert about(find(daemon, r'^TOPIC\(t\): new channel')) == {
        'level': 'INFO', 'component': 'TOPIC', 'topic': 't', 'channel': 'ch'}
    assert about(find(daemon, r'^TCP: new client\(%s' % re.escape(address))) == {
        'level': 'INFO', 'component': 'TCP', 'client': address}
    assert about(find(daemon, r'^PROTOCOL\(V2\): \[%s' % re.escape(address)))['client'] == address
    assert about(find(daemon, '^200 GET /ping'))['component'] == 'HTTP'
    daemon.stop()
    assert daemon.lines()[-1]['message'] == 'NSQ: bye'
    check_all(daemon)


def test_any_bytes_are_valid_json(daemon):
    for magic in (b'\0\x01\n"', b'\\\xff\xfe\x80', b'<>&\x7f', b'\xe2\x80\xa8x'):
        with daemon.connect(magic=magic):
            pass
    with daemon.connect() as client:
        client.command(b'\xc3\x28"\\\x00', b'\x1b[31m')
        client.frame()
    daemon.http('GET', '/%22%5c%00%ff%0a')
    find(daemon, 'GET /')
    daemon.stop()
    check_all(daemon)
    assert all('\n' not in line and '\0' not in line for line in daemon.raw().splitlines())


def test_warnings_and_the_end_of_a_failed_start_are_json(tmp_path):
    config = tmp_path / 'nsqd.cfg'
    config.write_text('log_format = "json"\nno_such_key = 1\nmax_deflate_level = 10\n')
    done = subprocess.run([binary(), '--config=%s' % config, '--data-path=%s' % tmp_path],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[0]['level'] == 'WARNING' and 'no_such_key' in lines[0]['message']
    assert lines[-1]['level'] == 'FATAL'
    assert all(list(line) == KEYS for line in lines)


def test_lines_that_nobody_reads_are_counted_in_json(tmp_path):
    read_end, write_end = os.pipe()
    daemon = Nsqd(str(tmp_path))
    with open(os.devnull, 'rb') as null, open(str(tmp_path / 'out'), 'wb') as out:
        process = subprocess.Popen(
            [binary(), '--tcp-address=', '--http-address=%s/http' % tmp_path,
             '--data-path=%s' % daemon.data_path, '--log-format=json'],
            stdin=null, stdout=out, stderr=write_end)
    os.close(write_end)
    try:
        wait_until(lambda: os.path.exists('%s/http' % tmp_path), 'it listens')
        request = b'GET /%s HTTP/1.1\r\nHost: x\r\n\r\n' % (b'x' * 8000)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect('%s/http' % tmp_path)
            for _ in range(300):
                s.sendall(request)
                data = b''
                while not data.endswith(b'"}'):
                    data += s.recv(65536)
        process.terminate()
        with open(read_end, encoding='utf-8') as log:
            lines = [json.loads(line) for line in log]
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert all(list(line) == KEYS for line in lines)
    assert any(re.fullmatch(r'\d+ log lines dropped: nobody reads them', line['message'])
               for line in lines)


def test_text_is_the_default(new_nsqd):
    made = new_nsqd()
    assert made.get('/config/log_format').body == b'text'
    assert re.match(r'\[nsqd\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} INFO: nsqd v1', made.log())


@pytest.mark.parametrize('flag, text', [
    ('--log-format=xml', '--log-format must be text or json'),
    ('--log-dedup=-1s', '--log-dedup must be [0,'),
])
def test_what_cannot_be_is_refused(new_nsqd, flag, text):
    log = new_nsqd(flag, start=False).start_fails()
    assert 'FATAL: failed to instantiate nsqd - ' + text in log


# -- probes

def probe(port):
    with socket.create_connection(('127.0.0.1', port)) as s:
        return 'client(127.0.0.1:%d)' % s.getsockname()[1]


def gone(daemon):
    """All connections that came before have been seen to end."""
    wait_until(lambda: daemon.count_threads('io:') == 0 and daemon.descriptors() ==
               daemon.idle_descriptors, 'the probes are gone')


def check_probes(daemon, probes, seen):
    for p in probes:
        if seen:
            daemon.wait_log(re.escape(p))
        else:
            assert p not in daemon.log()


@pytest.mark.parametrize('flags, seen', [([], True), (['--log-quiet-probes'], False)])
def test_a_probe(new_nsqd, flags, seen):
    daemon = new_nsqd(*flags)
    daemon.idle_descriptors = daemon.descriptors()
    probes = [probe(daemon.tcp_port) for _ in range(3)]
    gone(daemon)
    with daemon.connect() as client:
        client.expect_usable()
        address = 'client(127.0.0.1:%d)' % client.socket.getsockname()[1]
    # Lines come in order: behind this one there is none of the probes any more.
    daemon.wait_log(re.escape('TCP: new ' + address) + '$')
    check_probes(daemon, probes, seen)


def test_one_that_says_something_else_is_no_probe(new_nsqd):
    daemon = new_nsqd('--log-quiet-probes')
    for magic in (b'HTTP', b'  V'):
        client = daemon.connect(magic=magic)
        address = re.escape('127.0.0.1:%d' % client.socket.getsockname()[1])
        client.half_close()
        daemon.wait_log(r'TCP: new client\(%s\)\n(.*\n)*?.*ERROR: (client\(%s\) bad protocol magic'
                        r'|failed to read protocol version - unexpected EOF)' % (
                            address, address))
        client.close()


@pytest.mark.parametrize('flags, seen', [([], True), (['--log-quiet-probes'], False)])
def test_a_probe_of_https(new_nsqd, server_cert, flags, seen):     # noqa: F811
    daemon = new_nsqd('--tls-cert=' + server_cert[0], '--tls-key=' + server_cert[1],
                      '--https-address=127.0.0.1:0', *flags)
    daemon.idle_descriptors = daemon.descriptors()
    probes = [probe(https_port(daemon)) for _ in range(3)]
    gone(daemon)
    with socket.create_connection(('127.0.0.1', https_port(daemon))) as s:
        s.sendall(b'what?')
        daemon.wait_log(re.escape('TLS handshake error from 127.0.0.1:%d' % s.getsockname()[1]))
    check_probes(daemon, [p[7:-1] for p in probes], seen)


# -- errors that come again

def failures(daemon):
    return re.findall(r'ERROR: (failed to read protocol version - unexpected EOF.*)\n',
                      daemon.log())


def torn(daemon):
    with daemon.connect(magic=b'  V') as client:
        client.half_close()
        client.expect_closed()


def test_by_default_each_line_is_written(new_nsqd):
    daemon = new_nsqd()
    for _ in range(5):
        torn(daemon)
    wait_until(lambda: len(failures(daemon)) == 5, daemon.log)


def test_an_error_that_comes_again_is_counted(new_nsqd):
    daemon = new_nsqd('--log-dedup=1h')
    for _ in range(5):
        torn(daemon)
    log = daemon.stop()
    # An INFO is never counted.
    assert len(re.findall('INFO: TCP: new client', daemon.log())) == 5
    assert failures(daemon) == [
        'failed to read protocol version - unexpected EOF',
        'failed to read protocol version - unexpected EOF (repeated 4 times in 1h0m0s)']
    assert log.endswith('INFO: NSQ: bye\n')


def test_the_count_is_told_at_the_end_of_its_time(new_nsqd):
    daemon = new_nsqd('--log-dedup=300ms')
    for _ in range(20):
        torn(daemon)
    wait_until(lambda: 'repeated' in daemon.log(), daemon.log)

    def total():
        """All are there: those that were written, and those that were counted."""
        n = 0
        for line in failures(daemon):
            repeated = re.search(r' \(repeated (\d+) times in 300ms\)$', line)
            n += int(repeated[1]) if repeated else 1
        return n
    wait_until(lambda: total() == 20, daemon.log)


def test_counted_in_json(tmp_path):
    with running(Json(str(tmp_path), ['--log-format=json', '--log-dedup=1h'])) as (made,):
        for _ in range(3):
            torn(made)
        made.stop()
        messages = [m['message'] for m in made.lines() if m['level'] == 'ERROR']
    assert messages == ['failed to read protocol version - unexpected EOF',
                        'failed to read protocol version - unexpected EOF '
                        '(repeated 2 times in 1h0m0s)']


def test_a_lookupd_that_is_gone_is_one_line(new_nsqd):
    address = dead_address()
    daemon = new_nsqd('--log-dedup=1h', '--lookupd-tcp-address=' + address)
    for i in range(5):
        daemon.create('t%d' % i)
    daemon.wait_log(re.escape('ERROR: LOOKUPD(%s): connecting - ' % address))
    daemon.stop()
    lines = re.findall(r'ERROR: LOOKUPD\(.*\): connecting - .*connection refused\n', daemon.log())
    assert len(lines) == 1
