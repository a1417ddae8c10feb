"""Where the daemon listens: unix sockets, IPv6, and what it says about them."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import stat
import sys
import tempfile
from http.server import BaseHTTPRequestHandler

import pytest

from lookupd import FakeLookupd
from nsq import DEADLINE, MAGIC, Client, Nsqd, Response, not_tested, short_tmp, wait_until
from servers import HttpServer


@pytest.fixture
def tmp_path():
    """In place of pytest's, whose name may be too long for a unix socket in it."""
    with tempfile.TemporaryDirectory(prefix='nsqd', dir=short_tmp(40)) as directory:
        yield pathlib.Path(directory)


class Anywhere(Nsqd):
    """A daemon whose sockets a test names; it is up when its HTTP port is."""

    umask = 0o022

    def __init__(self, directory, tcp, web='127.0.0.1:0', *flags):
        super().__init__(directory, flags)
        self.flags += ['--tcp-address=' + tcp, '--http-address=' + web]

    def command(self):
        return [sys.executable, '-c', 'import os, sys; os.umask(%d); '
                'os.execv(sys.argv[1], sys.argv[1:])' % self.umask
                ] + super().command()

    def start(self):
        before = len(self.log())
        self.spawn()

        def addresses():
            found = dict(re.findall(r' INFO: (TCP|HTTP): listening on (.*)\n',
                                    self.log()[before:]))
            return len(found) == 2 and found
        self.addresses = wait_until(
            addresses, lambda: 'nsqd listens:\n' + self.log())
        return self


@pytest.fixture
def anywhere(tmp_path):
    daemons = []

    def make(*args, umask=0o022, start=True):
        directory = tmp_path / ('daemon%d' % len(daemons))
        directory.mkdir()
        daemon = Anywhere(str(directory), *args)
        daemon.umask = umask
        daemons.append(daemon)
        return daemon.start() if start else daemon
    yield make
    for daemon in daemons:
        daemon.close()


def dial(address):
    """Connects to what Go prints: a path, "@abstract", "[::1]:4150"."""
    match = re.fullmatch(r'\[?([0-9a-f.:]+?)\]?:(\d+)', address)
    if match:
        host = match[1].replace('::', '::1') if match[1] == '::' else match[1]
        return socket.create_connection((host, int(match[2])), DEADLINE)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(DEADLINE)
    s.connect('\0' + address[1:] if address[0] == '@' else address)
    return s


class AnyClient(Client):
    def __init__(self, address):
        self.socket = dial(address)
        self.buffer = b''
        self.send(MAGIC)


def request(address, method, path, body=None):
    connection = http.client.HTTPConnection('nsqd', timeout=DEADLINE)
    connection.sock = dial(address)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        connection.close()


def expect_works(daemon):
    """Publish and consume by either way in."""
    tcp, web = daemon.addresses['TCP'], daemon.addresses['HTTP']
    assert request(web, 'POST', '/channel/create?topic=t&channel=c').status == 404
    assert request(web, 'POST', '/topic/create?topic=t').status == 200
    assert request(web, 'POST', '/channel/create?topic=t&channel=c').status == 200
    assert request(web, 'POST', '/pub?topic=t', b'one').body == b'OK'
    with AnyClient(tcp) as client:
        client.pub('t', 'two')
        client.sub('t', 'c')
        client.rdy(2)
        messages = client.messages(2)
        assert sorted(m.body for m in messages) == [b'one', b'two']
        stats = json.loads(request(web, 'GET', '/stats?format=json').body)
        for message in messages:
            client.fin(message)
    return stats['topics'][0]['channels'][0]['clients'][0]


def have_v6():
    with socket.socket(socket.AF_INET6) as s:
        try:
            s.bind(('::1', 0))
        except OSError:
            return False
    return True


needs_v6 = pytest.mark.skipif(not have_v6(), reason='no IPv6 on this machine')


# -- unix sockets

def test_all_works_over_unix_sockets(anywhere, tmp_path):
    tcp, web = str(tmp_path / 'tcp'), str(tmp_path / 'http')
    daemon = anywhere(tcp, web)
    assert daemon.addresses == {'TCP': tcp, 'HTTP': web}
    client = expect_works(daemon)
    # A peer without a name, as Go shows it; so it has no host to be known by.
    assert (client['remote_address'], client['client_id'],
            client['hostname']) == ('@', '', '')
    info = json.loads(request(web, 'GET', '/info').body)
    assert (info['tcp_port'], info['http_port']) == (-1, -1)
    daemon.stop()
    log = daemon.log()
    assert not os.path.exists(tcp) and not os.path.exists(web)
    for line in (' INFO: TCP: new client(@)',
                 " INFO: CLIENT(@): desired protocol magic '  V2'",
                 ' INFO: PROTOCOL(V2): [@] exiting ioloop',
                 ' INFO: TCP: closing ' + tcp, ' INFO: HTTP: closing ' + web):
        assert line + '\n' in log, (line, log)
    assert re.search(r' INFO: 200 GET /info \(@\) ', log)


def test_a_peer_that_has_a_name_is_known_by_it(anywhere, tmp_path):
    tcp, web = str(tmp_path / 'tcp'), str(tmp_path / 'http')
    daemon = anywhere(tcp, web)
    for name, shown in (('\0nsqd-test-%d' % os.getpid(),
                         '@nsqd-test-%d' % os.getpid()),
                        (str(tmp_path / 'peer'), str(tmp_path / 'peer'))):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(name)
            s.connect(tcp)
            daemon.wait_log(re.escape('TCP: new client(%s)' % shown))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / 'asks'))
        s.connect(web)
        s.sendall(b'GET /ping HTTP/1.0\r\n\r\n')
        daemon.wait_log(re.escape('200 GET /ping (%s) ' % (tmp_path / 'asks')))


def test_an_auth_server_is_told_no_ip_of_a_unix_socket(anywhere, tmp_path, monkeypatch):
    """A client chooses the name of its own socket, and so nothing that others are told."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(403)

        def log_message(self, *_):
            pass

    authd = HttpServer(Handler).start()
    tcp = str(tmp_path / 'tcp')
    monkeypatch.chdir(tmp_path)
    try:
        anywhere(tcp, '127.0.0.1:0', '--auth-http-address=' + authd.address)
        for name in '10.1.2.3:99', '\x0010.1.2.3:99', '[::1]:99':
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(name)
                s.settimeout(DEADLINE)
                s.connect(tcp)
                s.sendall(MAGIC + b'AUTH\n\0\0\0\1x')
                assert b'E_AUTH_FAILED' in s.recv(100)
    finally:
        authd.stop()
    assert ['remote_ip=&' in path for path in asked] == [True] * 3, asked


@pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
def test_the_mode_is_all_less_the_umask(anywhere, tmp_path, umask):
    paths = [str(tmp_path / 'tcp'), str(tmp_path / 'http')]
    anywhere(*paths, umask=umask)
    for path in paths:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o777 & ~umask


@pytest.mark.ours(reason='the address is in use until somebody removes the file')
def test_what_a_crash_left_behind_is_replaced(anywhere, tmp_path):
    tcp, web = str(tmp_path / 'tcp'), str(tmp_path / 'http')
    daemon = anywhere(tcp, web)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.wait_exit()
    assert os.path.exists(tcp) and os.path.exists(web)
    daemon.start()
    expect_works(daemon)
    daemon.stop()
    assert [f for f in os.listdir(tmp_path) if not f.startswith('daemon')] == []


@pytest.mark.parametrize('used', ['tcp', 'http'])
def test_a_socket_in_use_is_not_taken_away(anywhere, tmp_path, used):
    tcp, web = str(tmp_path / 'tcp'), str(tmp_path / 'http')
    first = anywhere(tcp, web)
    second = anywhere(tcp if used == 'tcp' else str(tmp_path / 'other'),
                      web if used == 'http' else '127.0.0.1:0',
                      start=False).spawn()
    path = tcp if used == 'tcp' else web
    assert second.wait_exit() == 1
    assert second.log().endswith(
        ' FATAL: failed to instantiate nsqd - listen (%s) failed - '
        'listen unix %s: bind: address already in use\n' % (path, path))
    first.check()
    expect_works(first)
    assert not [f for f in os.listdir(tmp_path) if f.startswith('tcp.')]


def test_a_file_that_is_no_socket_is_left_alone(anywhere, tmp_path):
    path = str(tmp_path / 'precious')
    with open(path, 'w') as f:
        f.write('data')
    daemon = anywhere(path, start=False).spawn()
    assert daemon.wait_exit() == 1
    assert 'bind: address already in use\n' in daemon.log()
    with open(path) as f:
        assert f.read() == 'data'


def test_an_abstract_socket_needs_no_file(anywhere):
    names = {kind: '@nsqd-%s-%d' % (kind, os.getpid()) for kind in ('TCP', 'HTTP')}
    daemon = anywhere(names['TCP'], names['HTTP'])
    assert daemon.addresses == names
    expect_works(daemon)
    assert os.listdir(daemon.directory) == ['data', 'log'] or \
        sorted(os.listdir(daemon.directory)) == ['data', 'log']


def test_an_empty_tcp_address_means_no_port(anywhere):
    # As in stock it is a socket all the same: one whose name nobody knows.
    daemon = anywhere('')
    assert re.fullmatch(r'@[0-9a-f]{5}', daemon.addresses['TCP'])
    info = json.loads(request(daemon.addresses['HTTP'], 'GET', '/info').body)
    assert info['tcp_port'] == -1
    expect_works(daemon)


# -- what others are told

@pytest.mark.parametrize('web', ['path', ''])
@pytest.mark.parametrize('flags, ports', [
    ([], (0, 0)),
    (['--broadcast-tcp-port=1', '--broadcast-http-port=2'], (1, 2))])
def test_lookupd_is_told_no_port_of_a_unix_socket(
        anywhere, tmp_path, web, flags, ports):
    lookupd = FakeLookupd()
    try:
        daemon = anywhere(
            str(tmp_path / 'tcp'), web and str(tmp_path / web),
            '--broadcast-address=node.example',
            '--lookupd-tcp-address=' + lookupd.address, *flags,
            start=False).spawn()
        wait_until(lambda: lookupd.identities, lambda: 'lookupd knows nsqd')
        told = json.loads(lookupd.identities[0])
        assert (told['broadcast_address'], told['tcp_port'],
                told['http_port']) == ('node.example', *ports)
        daemon.wait_log('TCP: listening on ')
    finally:
        lookupd.close()


# -- TCP

@needs_v6
@pytest.mark.parametrize('host', ['[::1]', '[::]', ''])
def test_ipv6(anywhere, host):
    daemon = anywhere(host + ':0', host + ':0')
    shown = host or '[::]'
    for address in daemon.addresses.values():
        assert re.fullmatch(re.escape(shown) + r':\d+', address), address
    client = expect_works(daemon)
    assert re.fullmatch(r'\[::1\]:\d+', client['remote_address'])
    assert client['client_id'] == '::1'
    info = json.loads(request(daemon.addresses['HTTP'], 'GET', '/info').body)
    for kind in 'TCP', 'HTTP':
        assert daemon.addresses[kind].endswith(
            ':%d' % info[kind.lower() + '_port'])
    if host != '[::1]':
        with socket.create_connection(
                ('127.0.0.1', info['tcp_port']), DEADLINE) as s:
            daemon.wait_log(re.escape(
                'TCP: new client(127.0.0.1:%d)' % s.getsockname()[1]))
    daemon.stop()
    log = daemon.log()
    assert re.search(r'TCP: new client\(\[::1\]:\d+\)\n', log)
    assert re.search(r'200 GET /info \(\[::1\]:\d+\) ', log)


@pytest.mark.parametrize('flag, address, why', [
    ('tcp', ':nosuchservice', 'listen tcp: lookup tcp/nosuchservice: unknown port'),
    ('tcp', '127.0.0.1:65536', 'listen tcp: address 65536: invalid port'),
    ('http', ':-1', 'listen tcp: address -1: invalid port'),
    ('http', '/no/such/dir/http',
     'listen unix /no/such/dir/http: bind: no such file or directory'),
    ('tcp', 'x' * 108, 'listen unix %s: bind: invalid argument' % ('x' * 108))])
def test_what_cannot_be_listened_on_ends_the_start(
        anywhere, flag, address, why):
    tcp, web = [address if flag == kind else '127.0.0.1:0'
                for kind in ('tcp', 'http')]
    daemon = anywhere(tcp, web, start=False).spawn()
    assert daemon.wait_exit() == 1
    assert daemon.log().endswith(
        ' FATAL: failed to instantiate nsqd - listen (%s) failed - %s\n'
        % (address, why))


def test_a_port_may_be_the_name_of_a_service(anywhere):
    try:
        number = socket.getservbyname('svn', 'tcp')
    except OSError:
        not_tested('no /etc/services')
    # In use it would say so with the number, and that is an answer, too.
    daemon = anywhere('127.0.0.1:SVN', start=False).spawn()
    wait_until(lambda: re.search(r'127\.0\.0\.1:%d\b' % number, daemon.log()),
               lambda: 'the number is found:\n' + daemon.log())
    if daemon.alive():
        daemon.wait_log('HTTP: listening on ')
