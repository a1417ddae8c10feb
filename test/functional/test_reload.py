"""SIGHUP: what is read again, what changes at once, and what needs a restart. Stock dies of it."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import threading

import pytest

from certs import authority     # noqa: F401 (fixture)
from lookupd import FakeLookupd
from nsq import wait_until
from test_https import https_port
from test_tls import context, upgrade

pytestmark = pytest.mark.ours(reason='stock dies of SIGHUP')


class Configured:
    """A daemon, and its config file."""

    def __init__(self, new_nsqd, path, text='', flags=()):
        self.path = str(path)
        self.write(text)
        self.daemon = new_nsqd('--config=' + self.path, *flags)

    def write(self, text):
        # As editors and mounted ConfigMaps do it: by another file.
        with open(self.path + '.new', 'w', encoding='utf-8') as f:
            f.write(text)
        os.rename(self.path + '.new', self.path)

    def reload(self, text=None):
        """Returns what the log says about it, without its first and last line."""
        if text is not None:
            self.write(text)
        return reload(self.daemon)


def reload(daemon):
    before = len(daemon.log())
    daemon.process.send_signal(signal.SIGHUP)
    found = wait_until(
        lambda: re.search(r'NSQ: reloading upon SIGHUP\n((?:.*\n)*?)'
                          r'.*NSQ: (reloaded|failed to reload.*)\n', daemon.log()[before:]),
        daemon.log)
    lines = [line.split(' ', 3)[3] for line in found[1].splitlines()
             if ' NSQ: ' in line and ' NSQ: persisting ' not in line]
    return lines + ([] if found[2] == 'reloaded' else [found[2]])


@pytest.fixture
def configured(new_nsqd, tmp_path):
    def make(text='', *flags):
        return Configured(new_nsqd, tmp_path / 'nsqd.cfg', text, flags)
    return make


def option(daemon, key):
    return json.loads(daemon.get('/config/' + key).body)


# -- options

def test_nothing_has_changed(configured):
    c = configured('log_level = "info"\n')
    assert c.reload() == []
    assert c.daemon.get('/ping').body == b'OK'


def test_without_a_config_file(new_nsqd):
    daemon = new_nsqd()
    assert reload(daemon) == []


def test_the_log_level(configured):
    c = configured('log_level = "info"\n')
    assert c.reload('log_level = "debug"\n') == [
        'INFO: NSQ: log_level is "DEBUG" now, and was "INFO"']
    assert option(c.daemon, 'log_level') == 1
    assert c.reload('') == ['INFO: NSQ: log_level is "INFO" now, and was "DEBUG"']
    assert option(c.daemon, 'log_level') == 2


def test_the_command_line_still_beats_the_file(configured):
    c = configured('', '--max-rdy-count=7')
    assert c.reload('max_rdy_count = 9\n') == []
    assert option(c.daemon, 'max_rdy_count') == 7


@pytest.mark.parametrize('key, value, shown, was', [
    ('max_rdy_count', '10', 10, 2500),
    ('msg_timeout', '"7s"', 7000000000, 60000000000),
    ('max_msg_timeout', '"1h"', 3600000000000, 900000000000),
    ('max_req_timeout', '"2h"', 7200000000000, 3600000000000),
    ('max_heartbeat_interval', '"30s"', 30000000000, 60000000000),
    ('max_output_buffer_size', '1000', 1000, 65536),
    ('max_output_buffer_timeout', '"1s"', 1000000000, 30000000000),
    ('min_output_buffer_timeout', '"1ms"', 1000000, 25000000),
    ('output_buffer_timeout', '"100ms"', 100000000, 250000000),
    ('max_channel_consumers', '3', 3, 0),
    ('drain_timeout', '"5s"', 5000000000, 60000000000),
    ('http_client_connect_timeout', '"3s"', 3000000000, 2000000000),
    ('http_client_request_timeout', '"3s"', 3000000000, 5000000000),
])
def test_limits_change_and_come_back(configured, key, value, shown, was):
    c = configured()
    lines = c.reload('%s = %s\n' % (key, value))
    assert len(lines) == 1 and lines[0].startswith('INFO: NSQ: %s is "' % key), lines
    assert option(c.daemon, key) == shown
    assert len(c.reload('')) == 1
    assert option(c.daemon, key) == was


def test_a_limit_holds_at_once_for_those_that_are_connected(configured):
    c = configured()
    with c.daemon.subscribe('t', 'ch') as client:
        client.rdy(100)
        client.expect_usable()
        c.reload('max_rdy_count = 10\n')
        client.rdy(100)
        client.expect_fatal(b'E_INVALID RDY count 100 out of range 0-10')


def test_what_cannot_change_is_named_each_time(configured):
    c = configured('mem_queue_size = 10\n')
    wanted = [
        'WARNING: NSQ: mem_queue_size cannot change at run time: it stays "10", and is "20" '
        'after a restart',
        'WARNING: NSQ: statsd_prefix cannot change at run time: it stays "nsq.%s", and is "x" '
        'after a restart']
    text = 'mem_queue_size = 20\nstatsd_prefix = "x"\n'
    assert c.reload(text) == wanted
    assert c.reload(text) == wanted
    assert option(c.daemon, 'mem_queue_size') == 10
    assert c.reload('mem_queue_size = 10\n') == []


def test_both_kinds_at_once(configured):
    c = configured()
    assert c.reload('max_rdy_count = 5\nmax_msg_size = 10\n') == [
        'WARNING: NSQ: max_msg_size cannot change at run time: it stays "1048576", and is "10" '
        'after a restart',
        'INFO: NSQ: max_rdy_count is "5" now, and was "2500"']
    c.daemon.pub('t', b'x' * 11)


def test_unknown_keys_are_named_again(configured):
    c = configured()
    c.write('max_rdy = 3\n')
    before = len(c.daemon.log())
    assert reload(c.daemon) == []
    assert re.search(r'WARNING: config file .*, line 1: unknown key max_rdy is ignored',
                     c.daemon.log()[before:])


def test_warnings_have_the_format_of_the_log(configured):
    c = configured()
    c.write('log_format = "json"\nmax_rdy = 3\n')
    before = len(c.daemon.log())
    assert reload(c.daemon) == [
        'WARNING: NSQ: log_format cannot change at run time: it stays "text", and is "json" '
        'after a restart']
    assert re.search(r'\n\[nsqd\] .* WARNING: config file .*, line 2: unknown key',
                     c.daemon.log()[before:])


@pytest.mark.parametrize('text, why', [
    ('max_rdy_count = \n', 'failed to load config file .* - toml: line 1'),
    ('max_rdy_count = "many"\n', 'failed to load config file .* - line 1: invalid value for '
                                 'max_rdy_count: an integer is wanted'),
    ('log_level = "loud"\n', 'failed parsing log_level loud'),
    ('max_rdy_count = 1\nmax_rdy_count = 2\n', 'failed to load config file'),
    ('max_deflate_level = 10\n', '--max-deflate-level must be'),
    ('drain_timeout = "-1s"\n', '--drain-timeout must be'),
    ('tls_required = true\n', 'cannot require TLS client connections without TLS key and cert'),
    ('e2e_processing_latency_percentiles = [2.0]\n', 'invalid E2E processing latency percentile'),
    ('\0', 'failed to load config file'),
    ('max_output_buffer_size = 99999999999\n', '--max-output-buffer-size must be'),
])
def test_a_broken_file_changes_nothing(configured, text, why):
    c = configured('max_rdy_count = 3\n')
    lines = c.reload('log_level = "error"\nmax_rdy_count = 5\n' + text
                     if 'max_rdy' not in text and 'log_level' not in text else text)
    assert len(lines) == 1, lines
    assert re.match('failed to reload, nothing has changed - ' + why, lines[0]), lines
    assert option(c.daemon, 'max_rdy_count') == 3
    assert option(c.daemon, 'log_level') == 2
    # And it can be mended.
    assert c.reload('max_rdy_count = 4\n') == [
        'INFO: NSQ: max_rdy_count is "4" now, and was "3"']


@pytest.mark.parametrize('make', [
    os.remove, lambda path: (os.remove(path), os.mkfifo(path)),
    lambda path: (os.remove(path), os.mkdir(path))])
def test_a_file_that_is_no_file_changes_nothing(configured, make):
    c = configured('max_rdy_count = 3\n')
    make(c.path)
    lines = c.reload()
    assert len(lines) == 1 and 'nothing has changed - failed to load config file' in lines[0]
    assert option(c.daemon, 'max_rdy_count') == 3


def test_what_an_operator_has_set_stays(configured):
    c = configured('log_level = "info"\n')
    assert c.daemon.http('PUT', '/config/log_level', b'debug').status == 200
    assert c.reload('log_level = "info"\nmax_rdy_count = 4\n') == [
        'INFO: NSQ: max_rdy_count is "4" now, and was "2500"']
    assert option(c.daemon, 'log_level') == 1


def test_lookupds(configured):
    a, b = FakeLookupd(), FakeLookupd()
    try:
        c = configured('nsqlookupd_tcp_addresses = ["%s"]\n' % a.address)
        c.daemon.create('t', 'ch')
        a.wait_registered(('t', 'ch'))
        lines = c.reload('nsqlookupd_tcp_addresses = ["%s"]\n' % b.address)
        assert lines == ['INFO: NSQ: nsqlookupd_tcp_addresses is "%s" now, and was "%s"' % (
            b.address, a.address)]
        b.wait_registered(('t', 'ch'))
        wait_until(lambda: not a.registered, 'the old one has been left')
        assert option(c.daemon, 'nsqlookupd_tcp_addresses') == [b.address]
        # An operator's addresses are not undone by a change elsewhere.
        c.daemon.http('PUT', '/config/nsqlookupd_tcp_addresses', b'["%s"]' % a.address.encode())
        c.reload('nsqlookupd_tcp_addresses = ["%s"]\nmax_rdy_count = 4\n' % b.address)
        assert option(c.daemon, 'nsqlookupd_tcp_addresses') == [a.address]
        a.wait_registered(('t', 'ch'))
    finally:
        a.close()
        b.close()


# -- certificates

class Pair:
    """Certificate and key where the daemon looks for them."""

    def __init__(self, authority, directory):
        self.authority = authority
        self.cert, self.key = str(directory / 'cert.pem'), str(directory / 'key.pem')
        self.number = 0

    @property
    def flags(self):
        return ['--tls-cert=' + self.cert, '--tls-key=' + self.key,
                '--https-address=127.0.0.1:0']

    def issue(self):
        """Puts a new pair there; returns the certificate as clients see it."""
        self.number += 1
        cert, key = self.authority.issue('%s-%d' % (os.path.basename(
            os.path.dirname(self.cert)), self.number))
        shutil.copy(cert, self.cert)
        shutil.copy(key, self.key)
        with open(cert, encoding='ascii') as f:
            return ssl.PEM_cert_to_DER_cert(f.read())


@pytest.fixture
def pair(authority, tmp_path):      # noqa: F811
    return Pair(authority, tmp_path)


AGAIN = ['INFO: NSQ: certificate and key have been read again']


def https(daemon):
    return context().wrap_socket(socket.create_connection(('127.0.0.1', https_port(daemon))))


def shown_by_https(daemon):
    with https(daemon) as s:
        return s.getpeercert(True)


def ping(connection):
    connection.sendall(b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n')
    data = b''
    while not data.endswith(b'OK'):
        got = connection.recv(4096)
        assert got, data
        data += got


def test_new_handshakes_get_the_new_certificate_and_nobody_is_dropped(new_nsqd, pair):
    first = pair.issue()
    daemon = new_nsqd(*pair.flags)
    assert shown_by_https(daemon) == first
    consumer = upgrade(daemon.connect())
    consumer.sub('t', 'ch')
    consumer.rdy(1)
    web = https(daemon)
    ping(web)
    half = daemon.connect()         # it will ask for TLS later
    for number in range(3):
        new = pair.issue()
        assert reload(daemon) == AGAIN
        assert shown_by_https(daemon) == new
        daemon.pub('t', b'%d' % number)
        message = consumer.message()
        assert message.body == b'%d' % number
        consumer.fin(message)
        ping(web)
    upgrade(half)
    half.pub('t', b'by the new one')
    assert consumer.message().body == b'by the new one'
    for c in (consumer, half, web):
        c.close()


def test_one_that_cannot_be_used_changes_nothing(new_nsqd, pair):
    first = pair.issue()
    daemon = new_nsqd(*pair.flags)
    for break_it, why in [
            (lambda: open(pair.key, 'w').close(), '--tls-key .*: '),
            (lambda: open(pair.cert, 'w').close(), '--tls-cert .*: '),
            (lambda: os.remove(pair.key), '.*no such file or directory'),
            (lambda: os.mkfifo(pair.key), '.*key.pem'),
    ]:
        break_it()
        lines = reload(daemon)
        assert len(lines) == 1, lines
        assert re.match('failed to reload, nothing has changed - ' + '.*' + why, lines[0]), lines
        assert shown_by_https(daemon) == first
    os.remove(pair.key)
    new = pair.issue()
    assert reload(daemon) == AGAIN
    assert shown_by_https(daemon) == new


def test_a_pair_that_is_half_written_changes_nothing(new_nsqd, pair):
    first = pair.issue()
    daemon = new_nsqd(*pair.flags)
    with open(pair.cert, 'rb') as f:
        old = f.read()
    new = pair.issue()
    with open(pair.cert, 'rb') as f:
        fresh = f.read()
    for half in (old, fresh[:len(fresh) // 2]):
        with open(pair.cert, 'wb') as f:
            f.write(half)
        lines = reload(daemon)
        assert len(lines) == 1 and 'nothing has changed' in lines[0], lines
        assert shown_by_https(daemon) == first
    with open(pair.cert, 'wb') as f:
        f.write(fresh)
    assert reload(daemon) == AGAIN
    assert shown_by_https(daemon) == new


def test_other_files(configured, authority, tmp_path):      # noqa: F811
    pairs = []
    for name in 'ab':
        (tmp_path / name).mkdir()
        pairs.append(Pair(authority, tmp_path / name))
    certs = [p.issue() for p in pairs]
    text = 'tls_cert = "%s"\ntls_key = "%s"\n'
    c = configured(text % (pairs[0].cert, pairs[0].key), '--https-address=127.0.0.1:0')
    assert shown_by_https(c.daemon) == certs[0]
    lines = c.reload(text % (pairs[1].cert, pairs[1].key))
    assert sorted(lines)[1:] == sorted(
        'INFO: NSQ: %s is "%s" now, and was "%s"' % (key, getattr(pairs[1], attr),
                                                    getattr(pairs[0], attr))
        for key, attr in (('tls_cert', 'cert'), ('tls_key', 'key')))
    assert shown_by_https(c.daemon) == certs[1]
    # TLS itself can be neither switched off ...
    lines = c.reload('')
    assert len(lines) == 3 and sum('cannot change at run time' in line for line in lines) == 2
    assert shown_by_https(c.daemon) == certs[1]


def test_tls_cannot_be_switched_on(configured, pair):
    pair.issue()
    c = configured('')
    lines = c.reload('tls_cert = "%s"\ntls_key = "%s"\n' % (pair.cert, pair.key))
    assert len(lines) == 2 and all('cannot change at run time' in line for line in lines)
    with c.daemon.connect() as client:
        assert client.identify(tls_v1=True)['tls_v1'] is False


def test_another_ca(new_nsqd, authority, pair, tmp_path):       # noqa: F811
    pair.issue()
    ca = str(tmp_path / 'ca.pem')
    (tmp_path / 'strange').mkdir()
    strange = type(authority)(tmp_path / 'strange')
    shutil.copy(strange.cert, ca)
    daemon = new_nsqd('--tls-client-auth-policy=require-verify', '--tls-root-ca-file=' + ca,
                      *pair.flags)
    mine = authority.issue('reload-client', usage='clientAuth')
    theirs = strange.issue('reload-stranger', usage='clientAuth')
    old = upgrade(daemon.connect(), context(cert=theirs))
    old.pub('t', b'x')
    shutil.copy(authority.cert, ca)
    assert reload(daemon) == AGAIN
    new = upgrade(daemon.connect(), context(cert=mine))
    new.pub('t', b'x')
    old.pub('t', b'x')
    with pytest.raises((AssertionError, OSError, EOFError)):
        upgrade(daemon.connect(), context(cert=theirs)).pub('t', b'x')
    old.close()
    new.close()


def test_handshakes_and_reloads_at_once(new_nsqd, pair):
    pair.issue()
    daemon = new_nsqd(*pair.flags)
    over = threading.Event()
    failures, done = [], [0]

    def shake():
        while not over.is_set():
            try:
                with upgrade(daemon.connect()) as client:
                    client.pub('t', b'x')
                shown_by_https(daemon)
                done[0] += 1
            except Exception as error:      # pylint: disable=broad-except
                failures.append(error)
                return
    threads = [threading.Thread(target=shake) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(15):
            reload(daemon)
        wait_until(lambda: failures or done[0] > 20, 'handshakes go on')
    finally:
        over.set()
        for t in threads:
            t.join()
    assert not failures


# -- moments

def test_a_signal_during_the_start_is_obeyed_after_it(new_nsqd):
    daemon = new_nsqd(start=False)
    daemon.spawn()
    # The first line comes when the signal is waited for.
    wait_until(lambda: ' ID: ' in daemon.log(), daemon.log)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log('NSQ: reloaded')
    log = daemon.log()
    assert log.index('TCP: listening on') < log.index('NSQ: reloading')


def test_signals_during_the_exit_change_nothing(new_nsqd):
    daemon = new_nsqd()
    client = daemon.subscribe('t', 'ch', rdy=2500)
    for _ in range(4):
        daemon.pub('t', *[b'x' * 100000] * 40)
    client.message()        # and it reads no more: the exit waits a second for it
    daemon.process.send_signal(signal.SIGTERM)
    # All the time, so that some come during the exit, however late this thread is.
    wait_until(lambda: daemon.process.send_signal(signal.SIGHUP) or not daemon.alive(),
               daemon.log)
    assert daemon.wait_exit() == 0
    assert daemon.log().endswith('NSQ: bye\n')


def test_many_signals_at_once(configured):
    c = configured()
    c.write('max_rdy_count = 4\n')
    for _ in range(200):
        c.daemon.process.send_signal(signal.SIGHUP)
    # The log is a little behind what it tells of.
    c.daemon.wait_log('NSQ: max_rdy_count is "4" now')
    assert c.reload() == []


def test_a_drain_goes_on(configured):
    c = configured('drain_timeout = "1h"\n')
    consumer = c.daemon.subscribe('t', 'ch', rdy=1)
    c.daemon.pub('t', b'x')
    message = consumer.message()
    assert c.daemon.http('PUT', '/config/drain', b'true').status == 200
    c.daemon.wait_log('NSQ: draining')
    assert c.reload('drain_timeout = "100ms"\n') == [
        'INFO: NSQ: drain_timeout is "100ms" now, and was "1h0m0s"']
    assert c.daemon.wait_exit() == 0
    assert 'its time is up; 1 messages of 1 topics' in c.daemon.log()
    assert message.body == b'x'
