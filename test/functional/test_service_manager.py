"""A service manager's protocols: sd_notify, the watchdog, passed sockets.

The test plays systemd. It hears the datagrams, and passes sockets that it has opened itself.
"""

import contextlib
import itertools
import json
import os
import re
import socket
import sys
import time

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from nsq import DEADLINE, QUIET, Client, short_tmp
from test_https import ask
from test_tls import flags

pytestmark = pytest.mark.ours(reason='it knows nothing of service managers')

FATAL = ' FATAL: failed to instantiate nsqd - '


class Manager:
    """The datagrams of a service, in their order."""

    names = itertools.count()

    def __init__(self, directory=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if directory:
            self.name = os.path.join(directory, 'notify')
            self.socket.bind(self.name)
        else:
            self.name = '@nsqd test %d %d' % (os.getpid(), next(self.names))
            self.socket.bind('\0' + self.name[1:])

    def heard(self, timeout=DEADLINE):
        """The assignments of the next datagram."""
        self.socket.settimeout(timeout)
        text = self.socket.recv(4096).decode()
        return dict(line.split('=', 1) for line in text.split('\n'))

    def hears_nothing(self, seconds):
        with pytest.raises(TimeoutError):
            self.heard(seconds)

    def close(self):
        self.socket.close()


@pytest.fixture
def manager():
    with contextlib.closing(Manager()) as made:
        yield made


def managed(daemon, manager, **environment):
    daemon.environment = {'NOTIFY_SOCKET': manager.name, **environment}
    return daemon


# -- sd_notify

def expect_life(daemon, manager):
    """READY=1 when it serves, STOPPING=1 when it stops, and nothing else."""
    daemon.write_metadata({'version': '1.3.0', 'topics': [
        {'name': 'loaded', 'paused': False, 'channels': []}]})
    managed(daemon, manager).spawn()
    told = manager.heard()
    assert told.pop('READY') == '1'
    tcp, http = (int(port) for port in re.fullmatch(
        r'TCP port (\d+), HTTP port (\d+), HTTPS port 0', told.pop('STATUS')).groups())
    assert not told
    # No try may fail from here on: whoever waits for the service comes now.
    daemon.tcp_port, daemon.http_port = tcp, http
    with daemon.connect() as client:
        client.pub('t', 'x')
    assert daemon.get('/ping').body == b'OK'
    assert {t['topic_name'] for t in daemon.stats()['topics']} == {'loaded', 't'}
    daemon.stop()
    assert manager.heard() == {'STOPPING': '1'}
    manager.hears_nothing(0.001)


def test_a_manager_hears_when_it_is_ready_and_when_it_stops(new_nsqd, manager):
    expect_life(new_nsqd(start=False), manager)


def test_the_managers_socket_may_be_a_path(new_nsqd, tmp_path_factory, tmp_path):
    short = short_tmp(len('/notify')) and tmp_path_factory.mktemp('m')
    with contextlib.closing(Manager(str(short or tmp_path))) as manager:
        expect_life(new_nsqd(start=False), manager)


def test_a_start_that_fails_is_never_ready(new_nsqd, manager):
    first = new_nsqd()
    managed(new_nsqd(start=False, data_path=first.data_path), manager).start_fails()
    manager.hears_nothing(0.001)


def test_a_manager_that_is_slow_to_read_hears_it_all_the_same(new_nsqd, manager):
    """Its queue is full; READY=1 must not be lost, as the manager would kill the daemon then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b'OTHER=1', '\0' + manager.name[1:])
        daemon = managed(new_nsqd(start=False), manager).start()
        told = manager.heard()
        while 'OTHER' in told:
            told = manager.heard()
        assert told['READY'] == '1'
        assert daemon.get('/ping').body == b'OK'


@pytest.mark.parametrize('name, complaint', [
    ('nope', 'NOTIFY_SOCKET=nope: neither a path nor an abstract name'),
    ('vsock:2:1', 'NOTIFY_SOCKET=vsock:2:1: neither a path nor an abstract name'),
    ('/' + 200 * 'x', 'NOTIFY_SOCKET=/x+: too long'),
    ('/nowhere/notify', 'notifying the service manager: no such file or directory'),
    ('@nobody listens here', 'notifying the service manager: connection refused'),
])
def test_a_manager_that_cannot_be_told_stops_nobody(new_nsqd, name, complaint):
    daemon = new_nsqd(start=False)
    daemon.environment = {'NOTIFY_SOCKET': name, 'WATCHDOG_USEC': '20000000'}
    daemon.start()
    daemon.wait_log(' WARNING: %s\n' % complaint)
    daemon.stop()


def test_without_a_manager_there_is_no_word_of_it(new_nsqd):
    daemon = new_nsqd()
    log = daemon.stop() + daemon.log()
    assert 'WARNING' not in log and 'WATCHDOG' not in log


# -- the watchdog

def test_signs_of_life_come_at_half_the_watchdogs_time(new_nsqd, manager):
    half = 0.1
    daemon = managed(new_nsqd(start=False), manager, WATCHDOG_USEC=str(int(2e6 * half)))
    began = time.monotonic()
    daemon.start()
    told = [manager.heard() for _ in range(6)]
    # One that is late does not move the next one, so two may be close to each other.
    assert time.monotonic() - began > 3 * half
    assert sum('READY' in one for one in told) == 1
    assert told.count({'WATCHDOG': '1'}) == 5
    with daemon.frozen():
        # What was under way is there; nothing more comes.
        with contextlib.suppress(BlockingIOError):
            while True:
                manager.heard(0)
        manager.hears_nothing(3 * half)
    assert manager.heard() == {'WATCHDOG': '1'}
    daemon.stop()
    told = []
    with contextlib.suppress(BlockingIOError):
        while True:
            told.append(manager.heard(0))
    assert told.count({'STOPPING': '1'}) == 1


@pytest.mark.parametrize('pid', ['1', 'x', ''])
def test_a_watchdog_of_another_process_is_not_fed(new_nsqd, manager, pid):
    daemon = managed(new_nsqd(start=False), manager, WATCHDOG_USEC='1000', WATCHDOG_PID=pid)
    daemon.start()
    assert 'READY' in manager.heard()
    manager.hears_nothing(QUIET)
    assert daemon.count_threads('watchdog') == 0


@pytest.mark.parametrize('text', ['0', '-5', '1s', '99999999999999999999'])
def test_a_time_that_is_none_is_said_in_the_log(new_nsqd, manager, text):
    daemon = managed(new_nsqd(start=False), manager, WATCHDOG_USEC=text).start()
    daemon.wait_log(' WARNING: WATCHDOG_USEC=%s: not a number of microseconds\n' % text)
    assert 'READY' in manager.heard()
    manager.hears_nothing(QUIET)


def test_the_shortest_time_costs_no_processor(new_nsqd, manager):
    daemon = managed(new_nsqd(start=False), manager, WATCHDOG_USEC='1').start()
    began = time.monotonic()
    for _ in range(50):
        manager.heard()
    assert time.monotonic() - began > 0.02
    daemon.stop()


# -- passed sockets

# It has the process number of the daemon that it becomes, which LISTEN_PID must say.
LAUNCHER = '''
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(',')]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.setdefault('LISTEN_PID', str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
'''


def passing(daemon, *sockets, names=None, **environment):
    """Let the daemon start with these sockets, as from systemd."""
    # It inherits what it was told of the manager; descriptors of the test are not for it.
    daemon.descriptors_passed = [s.fileno() for s in sockets]
    daemon.environment.update(LISTEN_FDS=str(len(sockets)), **environment)
    if names is not None:
        daemon.environment['LISTEN_FDNAMES'] = names
    numbers = ','.join(str(fd) for fd in daemon.descriptors_passed)
    plain = daemon.command
    daemon.command = lambda: [sys.executable, '-c', LAUNCHER, numbers] + plain()
    return daemon


def info(daemon):
    return json.loads(daemon.get('/info').body)


def listener():
    return socket.create_server(('127.0.0.1', 0), backlog=128)


def port(s):
    return s.getsockname()[1]


@pytest.fixture
def sockets():
    made = [listener() for _ in range(3)]
    yield made
    for s in made:
        s.close()


@pytest.mark.parametrize('names, order', [
    (None, (0, 1)), ('nsqd.socket:nsqd.socket', (0, 1)), ('tcp:http', (0, 1)),
    ('http:tcp', (1, 0))])
def test_passed_sockets_take_the_place_of_the_addresses(new_nsqd, sockets, names, order):
    daemon = passing(new_nsqd('--tcp-address=127.0.0.1:1', '--http-address=', start=False),
                     *sockets[:2], names=names).start()
    tcp, http = (sockets[i] for i in order)
    assert (daemon.tcp_port, daemon.http_port) == (port(tcp), port(http))
    with daemon.connect() as client:
        client.pub('t', 'x')
    found = info(daemon)
    assert (found['tcp_port'], found['http_port']) == (port(tcp), port(http))
    daemon.stop()


def test_one_passed_socket_leaves_the_other_address_as_it_is(new_nsqd, sockets):
    daemon = passing(new_nsqd(start=False), sockets[0], names='http').start()
    assert daemon.http_port == port(sockets[0]) != daemon.tcp_port
    assert daemon.get('/ping').body == b'OK'
    with daemon.connect() as client:
        client.expect_usable()


def test_https_by_a_passed_socket(new_nsqd, sockets, server_cert):
    daemon = passing(new_nsqd(*flags(server_cert), start=False), *sockets).start()
    assert ask(daemon, 'GET', '/ping').body == b'OK'
    assert info(daemon)['tcp_port'] == port(sockets[0])
    daemon.wait_log(r'HTTPS: listening on 127\.0\.0\.1:%d\n' % port(sockets[2]))


def test_a_client_that_comes_between_two_daemons_waits_and_is_served(new_nsqd, sockets):
    """What socket activation is for: a restart refuses nobody."""
    daemon = passing(new_nsqd(start=False), *sockets[:2]).start()
    daemon.pub('t', 'x')
    daemon.stop()
    client = Client(port(sockets[0]))
    client.command('PUB', 't', body=b'y')
    daemon.start()
    client.expect_ok()
    client.close()
    daemon.wait_topic('t', depth=2)


def test_a_passed_unix_socket_keeps_its_file(new_nsqd, sockets, tmp_path_factory, tmp_path):
    directory = tmp_path_factory.mktemp('s') if short_tmp(10) else tmp_path
    path = str(directory / 's')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen(10)
        daemon = passing(new_nsqd(start=False), s, names='tcp').spawn()
        daemon.wait_log('TCP: listening on %s\n' % re.escape(path))
        daemon.wait_log('HTTP: listening on ')
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(path)
            client.sendall(b'  V2NOP\n')
        daemon.stop()
        assert os.path.exists(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_sockets_for_another_process_are_none(new_nsqd, sockets):
    daemon = passing(new_nsqd(start=False), *sockets[:2], LISTEN_PID='1').start()
    assert not {daemon.tcp_port, daemon.http_port} & {port(s) for s in sockets}


def expect_refused(daemon, complaint):
    log = daemon.start_fails()
    lines = log.splitlines()
    assert lines and re.search(FATAL + complaint + '$', lines[-1]), log


@pytest.mark.parametrize('count, names, complaint', [
    (2, 'tcp:tcp', 'LISTEN_FDNAMES: two sockets are called tcp'),
    (2, 'tcp:nope', 'LISTEN_FDNAMES=tcp:nope: some of these names are known, and some are not'),
    ('x', None, 'LISTEN_FDS=x: not a number of sockets'),
    (5, None, 'LISTEN_FDS=5: at most 4 sockets are of use'),
    (3, None, r'listen \(https\) failed - a passed socket needs --tls-cert and --tls-key'),
])
def test_sockets_that_cannot_be_told_apart_end_the_start(
        new_nsqd, sockets, count, names, complaint):
    daemon = passing(new_nsqd(start=False), *sockets, names=names)
    daemon.environment['LISTEN_FDS'] = str(count)
    expect_refused(daemon, complaint)


def test_what_does_not_listen_ends_the_start(new_nsqd, tmp_path):
    with socket.socket() as s:
        expect_refused(passing(new_nsqd(start=False), s),
                       r'listen \(tcp\) failed - passed socket 3: does not listen')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        expect_refused(passing(new_nsqd(start=False), s, names='http'),
                       r'listen \(http\) failed - passed socket 3: '
                       'neither TCP nor a unix stream')
    with open(tmp_path / 'file', 'wb') as f:
        expect_refused(passing(new_nsqd(start=False), f),
                       r'listen \(tcp\) failed - passed socket 3: getsockopt: '
                       'socket operation on non-socket')


def test_version_and_help_do_not_look_at_it(new_nsqd):
    daemon = new_nsqd('--version', start=False)
    daemon.environment = {'LISTEN_FDS': 'x', 'NOTIFY_SOCKET': 'x', 'WATCHDOG_USEC': 'x'}
    daemon.spawn()
    assert daemon.wait_exit() == 0
