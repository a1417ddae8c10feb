"""Ending: signals, exit codes, the last words, and what stands in the way of
a start."""

import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from certs import authority, server_cert    # noqa: F401 (fixtures)
from nsq import (DEADLINE, OK, Nsqd, binary, dead_address, running, sized,
                 wait_until)


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_with_exit_code_0(new_nsqd, signum):
    daemon = new_nsqd()
    log = daemon.stop(signum)
    # The order is that of stock.
    lines = [line.split(' INFO: ')[-1] for line in log.splitlines()]
    marks = ['NSQ: persisting topic/channel metadata to '
             + daemon.metadata_path, 'NSQ: closing topics',
             'NSQ: stopping subsystems', 'NSQ: bye']
    assert [line for line in lines if line in marks] == marks
    assert 'TCP: closing 127.0.0.1:%d' % daemon.tcp_port in lines
    assert 'HTTP: closing 127.0.0.1:%d' % daemon.http_port in lines


def test_a_signal_right_after_the_start_is_obeyed(new_nsqd):
    daemon = new_nsqd(start=False)
    daemon.spawn()
    wait_until(lambda: ' ID: ' in daemon.log(), daemon.log)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_exit()
    # Whether it had its handler already or not, the next one starts.
    daemon.start()


# Those that the Go runtime does not end a process for (runtime/sigtab_linux_generic.go).
HARMLESS = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGALRM,
            signal.SIGCHLD, signal.SIGURG, signal.SIGXCPU, signal.SIGXFSZ,
            signal.SIGVTALRM, signal.SIGPROF, signal.SIGWINCH, signal.SIGIO,
            signal.SIGPWR, *range(signal.SIGRTMIN + 1, signal.SIGRTMAX + 1)]


def test_signals_that_go_ignores_change_nothing(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        for signum in HARMLESS:
            daemon.process.send_signal(signum)
            # It has been delivered before this comes back.
            daemon.pub('t', b'after %d' % signum)
            message = client.message()
            assert message.body == b'after %d' % signum
            client.fin(message)
    daemon.wait_channel('t', 'ch', client_count=0)  # or it is still sent what comes next
    daemon.pub('t', *[b'%d' % i for i in range(100)])
    daemon.wait_channel('t', 'ch', depth=100)
    for signum in HARMLESS:
        daemon.process.send_signal(signum)
    daemon.restart()
    assert daemon.channel_stats('t', 'ch')['depth'] == 100


class OwnGroup(Nsqd):
    """A process group of its own, below ours: the kernel stops none that is orphaned."""

    def command(self):
        return [sys.executable, '-c', 'import os, sys; os.setpgid(0, 0); '
                'os.execv(sys.argv[1], sys.argv[1:])'] + super().command()


@pytest.mark.parametrize('signum', [signal.SIGTSTP, signal.SIGTTIN,
                                    signal.SIGTTOU])
def test_signals_that_stop_a_process_stop_it(tmp_path, signum):
    with running(OwnGroup(str(tmp_path))) as (daemon,):
        check_stops(daemon, signum)


def check_stops(daemon, signum):
    def state():
        with open('/proc/%d/stat' % daemon.process.pid) as stat:
            return stat.read().rpartition(')')[2].split()[0]
    daemon.process.send_signal(signum)
    wait_until(lambda: state() == 'T', state)
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.get('/ping').body == b'OK'


def test_a_limit_of_the_file_size_is_an_error_and_no_end(new_nsqd):
    # The kernel sends SIGXFSZ to the thread that writes.
    daemon = new_nsqd('--mem-queue-size=0')
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (0, 1 << 20))
    assert daemon.post('/pub?topic=t', b'x').status == 503
    assert daemon.get('/ping').status == 500
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20,) * 2)
    assert daemon.post('/pub?topic=t', b'x').status == 200


# -- SIGQUIT

def hold_up(daemon):
    """A client that does not read: the exit waits a second for it."""
    client = daemon.subscribe('held', 'ch', rdy=2500)
    for _ in range(4):
        daemon.pub('held', *[b'x' * 100000] * 40)
    client.message()
    return client


def threads_of(daemon):
    return os.listdir('/proc/%d/task' % daemon.process.pid)


def name_of(daemon, tid):
    """15 bytes of it: the kernel keeps no more. A new thread has its creator's until it runs."""
    try:
        with open('/proc/%d/task/%s/comm' % (daemon.process.pid, tid)) as f:
            return f.read().rstrip('\n')
    except FileNotFoundError:
        return ''


def has_thread(daemon, name):
    return name[:15] in [name_of(daemon, tid) for tid in threads_of(daemon)]


def test_sigquit_shows_the_stacks_of_all_threads_and_ends_with_code_2(new_nsqd):
    daemon = new_nsqd()
    clients = [daemon.subscribe('topic-of-a-long-name', 'ch', rdy=1)
               for _ in range(3)]
    if has_thread(daemon, 'poller'):  # stock's threads have no names
        for name in ('t:topic-of-a-long-name', 'c:topic-of-a-long-name/ch'):
            wait_until(lambda: has_thread(daemon, name), name)
    # A thread that has served a client is kept for the next function for a second.
    wait_until(lambda: daemon.count_threads('io:', 'pump:', 'kept') == 0, daemon.thread_names)
    before = len(daemon.log())
    threads = threads_of(daemon)
    daemon.process.send_signal(signal.SIGQUIT)
    assert daemon.wait_exit() == 2
    dump = daemon.log()[before:]
    assert '\nSIGQUIT: quit\n' in '\n' + dump
    if not daemon_is_stock(daemon):
        for tid in threads:
            assert '\nthread %s [' % tid in dump, dump
        for name in ('main', 'scan', 'poller', 't:topic-of-a-long-name',
                     'c:topic-of-a-long-name/ch', 'log', 'signals'):
            assert ' [%s]:\n' % name in dump, dump
        assert dump.count(' [poller]:\n') >= 2
        # Handlers run late under ThreadSanitizer: threads that sleep are named only.
        with open(binary(), 'rb') as program:
            silent = b'__tsan_init' in program.read()
        assert silent or re.search(r' \[t:topic-of-a-long-name\]:\n(\t.*\n)*'
                         r'\ttopic_message_pump\+', dump), dump
    for client in clients:
        client.close()


def daemon_is_stock(daemon):
    return 'goroutine' in daemon.log()


@pytest.mark.ours(reason='may wait for ever for whoever reads stderr')
def test_sigquit_is_obeyed_during_the_exit_and_while_nobody_reads_the_log(new_nsqd):
    daemon = new_nsqd()
    # A client that does not read holds up the exit for a second.
    with hold_up(daemon):
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_log('TCP: closing')
        daemon.process.send_signal(signal.SIGQUIT)
        assert daemon.wait_exit() in (0, 2)  # 0: the exit was quicker
    reader, writer = os.pipe()
    with open(reader, 'rb'), open(writer, 'wb') as log:
        other = new_nsqd(start=False)
        process = subprocess.Popen(other.command(), stderr=log,
                                   stdin=subprocess.DEVNULL)
        try:
            # Full, once the daemon is at work.
            wait_until(lambda: os.path.exists(
                os.path.join(other.data_path, 'nsqd.dat')), lambda: 'it starts')
            os.set_blocking(writer, False)
            with pytest.raises(BlockingIOError):
                while True:
                    os.write(writer, b'x' * 4096)
            process.send_signal(signal.SIGQUIT)
            assert process.wait(DEADLINE + 10) == 2
        finally:
            process.kill()
            process.wait()


# -- signals in a row

@pytest.mark.parametrize('first', [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_that_comes_again_changes_nothing(new_nsqd, first, stock):
    daemon = new_nsqd('--mem-queue-size=100000')
    for i in range(4):
        daemon.pub('t', *[b'%d %0100d' % (i, k) for k in range(2500)])
    daemon.process.send_signal(first)
    # From then on without a pause, until it has ended.
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    if not stock:
        signals.append(signal.SIGHUP)
    count = 0
    while daemon.alive():
        if count < 10000:
            daemon.process.send_signal(signals[count % len(signals)])
        count += 1
        time.sleep(0.0001)
    assert daemon.wait_exit() == 0
    assert daemon.log().endswith(' INFO: NSQ: bye\n')
    daemon.start()
    assert daemon.topic_stats('t')['depth'] == 10000


def logs_a_second_signal(daemon):
    with hold_up(daemon):
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_log('TCP: closing')
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.wait_exit() == 0
    return ' INFO: NSQ: ignoring SIGINT, already stopping\n' in daemon.log()


@pytest.mark.ours(reason='does not log it')
def test_a_stop_signal_that_comes_again_is_logged(new_nsqd):
    # Its end is held up for a second only: we may have come too late.
    wait_until(lambda: logs_a_second_signal(new_nsqd()), 'it logs that it ignores SIGINT')


@pytest.mark.ours(reason='is not ready for a signal before it has started, and dies of it')
def test_a_stop_signal_during_the_start_is_a_clean_stop_after_it(new_nsqd):
    daemon = new_nsqd(start=False)
    topics = [{'name': 'topic%04d' % i, 'paused': False, 'channels': None}
              for i in range(1000)]
    daemon.write_metadata({'topics': topics, 'version': '1.3.0'})
    daemon.spawn()
    while ' ID: ' not in daemon.log() and daemon.alive():
        time.sleep(0.0005)
    for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        daemon.process.send_signal(signum)
    assert daemon.wait_exit() == 0
    assert daemon.log().endswith(' INFO: NSQ: bye\n')
    assert json.loads(daemon.read_metadata())['topics'] == topics


def test_a_log_that_nobody_reads_any_more_ends_the_daemon_by_sigpipe(new_nsqd, stock):
    daemon = new_nsqd('--mem-queue-size=1000', start=False)
    process = subprocess.Popen(daemon.command(), cwd=daemon.directory,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        log = ''
        while 'HTTP: listening on' not in log:
            log += process.stderr.readline().decode()
        port = int(re.search(r'HTTP: listening on 127.0.0.1:(\d+)', log).group(1))
        daemon.http_port = port
        assert daemon.post('/pub?topic=t', b'x').status == 200
        process.stderr.close()
        try:
            daemon.post('/topic/create?topic=other')
        except OSError:
            pass  # stock has gone before it answers
        assert process.wait(DEADLINE) == -signal.SIGPIPE
    finally:
        process.kill()
        process.wait()
    if not stock:  # which loses its memory
        daemon.start()
        assert daemon.topic_stats('t')['depth'] == 1


def test_clients_in_every_state_are_disconnected(new_nsqd):
    daemon = new_nsqd()
    silent = daemon.connect(b'')
    init = daemon.connect()
    init.expect_usable()
    idle = daemon.subscribe('t', 'ch')
    ready = daemon.subscribe('t', 'ch', rdy=100)
    closing = daemon.subscribe('t', 'ch')
    closing.command('CLS')
    closing.expect_response(b'CLOSE_WAIT')
    half = daemon.connect()
    half.expect_usable()
    half.send(b'PUB t\n' + struct.pack('>i', 100) + b'half')
    line = daemon.connect()
    line.expect_usable()
    line.send(b'PU')
    no_heartbeat = daemon.connect()
    no_heartbeat.identify(heartbeat_interval=-1)
    # A connection that has not yet said its protocol is the one that stock
    # waits for.
    silent.close()
    daemon.stop()
    for client in (init, idle, ready, closing, half, line, no_heartbeat):
        try:
            while True:
                client.frame()
        except EOFError:
            pass
        client.close()


# Our own end is no fault of a client: one that has sent a part of a command is told
# nothing, as if the connection had broken. An error would say that the message is poison.
SIZE = struct.pack('>i', 100)
HALVES = [b'PU', b'PUB t\n', b'PUB t\n\0\0', b'PUB t\n' + SIZE, b'PUB t\n' + SIZE + b'half',
          b'DPUB t 0\n', b'DPUB t 0\n' + SIZE + b'half',
          b'MPUB t\n', b'MPUB t\n' + SIZE, b'MPUB t\n' + SIZE + b'\0\0\0\2\0',
          b'MPUB t\n' + SIZE + struct.pack('>ii', 2, 50) + b'half',
          b'MPUB t\n' + SIZE + struct.pack('>ii', 2, 1) + b'x' + struct.pack('>i', 50)]
STARTS = [b'IDENTIFY\n', b'IDENTIFY\n' + SIZE + b'{', b'AUTH\n', b'AUTH\n' + SIZE + b'secret']


def expect_the_end_alone(clients, log, stock):
    for client in clients:
        client.expect_closed()
        client.close()
    # Stock logs that it could not write its errors.
    assert stock or not re.search(' ERROR: ', log), log


def test_half_a_command_at_exit_is_nobodys_fault(new_nsqd, stock):
    daemon = new_nsqd()
    clients = []
    for half in HALVES + STARTS:
        clients.append(daemon.connect())
        # With this answer the half has been read, too.
        clients[-1].send(b'PUB t\n' + sized(b'x') + half)
        clients[-1].expect(OK)
    expect_the_end_alone(clients, daemon.stop(), stock)
    daemon.start()
    assert daemon.topic_stats('t')['depth'] == len(clients)


@pytest.mark.operator
@pytest.mark.parametrize('delete', ['/topic/delete?topic=s', '/channel/delete?topic=s&channel=ch'])
def test_half_a_command_when_the_channel_goes_is_nobodys_fault(
        new_nsqd, delete, stock):
    daemon = new_nsqd()
    clients = []
    for half in HALVES:
        clients.append(daemon.subscribe('s', 'ch'))
        clients[-1].send(b'PUB t\n' + sized(b'x') + half)
        clients[-1].expect(OK)
    before = len(daemon.log())
    assert daemon.post(delete).status == 200
    expect_the_end_alone(clients, daemon.log()[before:], stock)


def test_half_a_handshake_at_exit_is_nobodys_fault(new_nsqd, server_cert, stock):
    cert, key = server_cert
    daemon = new_nsqd('--tls-cert=' + cert, '--tls-key=' + key, '--https-address=')
    clients = [daemon.connect() for _ in range(2)]
    for client in clients:
        assert client.identify(tls_v1=True)['tls_v1']
    clients[0].send(b'\x16\x03\x01')
    expect_the_end_alone(clients, daemon.stop(), stock)


@pytest.mark.ours(reason='waits for ever for a connection without magic')
def test_a_client_without_magic_does_not_hold_up_the_exit(new_nsqd):
    daemon = new_nsqd()
    with daemon.connect(b'') as client, daemon.connect(b'  ') as other:
        daemon.stop()
        client.expect_closed()
        other.expect_closed()


@pytest.mark.ours(reason='may miss a client that connects meanwhile, and '
                  'waits for it for ever')
def test_clients_that_connect_during_the_exit_do_not_hold_it_up(new_nsqd):
    daemon = new_nsqd()
    clients = []
    ended = threading.Event()

    def connect():
        # Some get through before the listener is closed, some do not.
        mine = []
        while not ended.is_set():
            try:
                client = daemon.connect(b'')
                clients.append(client)
                mine.append(client)
                client.send(b'  V2SUB t ch\n')
                # However long the exit takes, there are descriptors left.
                if len(mine) > 200:
                    mine.pop(0).close()
            except OSError:
                pass

    threads = [threading.Thread(target=connect) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(clients) > 50, lambda: 'clients connect')
        daemon.stop()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()


def test_an_idle_http_connection_does_not_hold_up_the_exit(new_nsqd):
    daemon = new_nsqd()
    with socket.create_connection(('127.0.0.1', daemon.http_port)) as idle, \
            socket.create_connection(('127.0.0.1', daemon.http_port)) as kept:
        idle.sendall(b'GET /pi')
        kept.sendall(b'GET /ping HTTP/1.1\r\nHost: x\r\n\r\n')
        kept.settimeout(DEADLINE)
        assert kept.recv(100).startswith(b'HTTP/1.1 200 OK\r\n')
        daemon.stop()   # which has a deadline


def test_exit_under_load_is_clean(new_nsqd):
    daemon = new_nsqd()
    stopping = threading.Event()
    errors = []

    def publish(n):
        try:
            with daemon.connect() as client:
                while True:
                    client.pub('topic%d' % (n % 2), b'x' * 100, b'y', b'z')
        except (EOFError, OSError):
            pass
        except AssertionError as error:
            # In the middle of the exit a publisher may be told so.
            text = str(error)
            if 'E_MPUB_FAILED MPUB failed exiting' not in text \
                    and 'closed' not in text:
                errors.append(text)
        if not stopping.is_set():
            errors.append('publisher ended before the exit')

    def consume(n):
        try:
            with daemon.subscribe('topic%d' % (n % 2), 'ch%d' % (n % 3),
                                  rdy=50) as client:
                while True:
                    client.fin(client.message())
        except (EOFError, OSError):
            pass
        except AssertionError as error:
            # A FIN may come after its message has been written to disk, and a
            # consumer that is slow to start may be cut off in its SUB.
            text = str(error)
            if 'E_FIN_FAILED' not in text and 'closed' not in text:
                errors.append(text)
        if not stopping.is_set():
            errors.append('consumer ended before the exit')

    threads = [threading.Thread(target=f, args=(n,))
               for f in (publish, consume) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: sum(t['message_count'] for t in
                               daemon.stats()['topics']) > 1000,
                   lambda: 'messages flow')
    finally:
        stopping.set()
        daemon.stop()
        for thread in threads:
            thread.join()
    assert not errors, errors


def test_the_ports_are_free_at_once_for_the_next_daemon(new_nsqd):
    # Ports that nobody else is given while the daemon is away.
    daemon = new_nsqd('--tcp-address=' + dead_address(),
                      '--http-address=' + dead_address())
    client = daemon.subscribe('t', 'ch')
    for _ in range(3):
        daemon.restart()
        client.close()
        client = daemon.subscribe('t', 'ch')
    client.close()


def test_a_reader_that_goes_away_does_not_kill_the_daemon(new_nsqd):
    daemon = new_nsqd()
    # SIGPIPE must be ignored wherever a socket is written.
    for _ in range(10):
        client = daemon.subscribe('t', 'ch', rdy=2500)
        daemon.pub('t', *[b'x' * 10000] * 50)
        client.message()
        client.reset()
    daemon.wait_channel('t', 'ch', client_count=0)
    daemon.check()


# -- the standard descriptors

@pytest.mark.parametrize('closed', [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_standard_descriptors_that_are_closed_become_dev_null(new_nsqd, closed):
    daemon = new_nsqd('--http-address=' + os.path.join('.', 'http.sock'), start=False)

    def close():
        for fd in closed:
            os.close(fd)
    with open(daemon.log_path, 'ab') as log:
        daemon.process = subprocess.Popen(
            daemon.command(), cwd=daemon.directory, preexec_fn=close,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    http = os.path.join(daemon.directory, 'http.sock')
    wait_until(lambda: os.path.exists(http), daemon.log)
    for fd in range(3):
        leads_to = os.readlink('/proc/%d/fd/%d' % (daemon.process.pid, fd))
        assert leads_to == (os.devnull if fd in closed or fd == 0
                            else daemon.log_path)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait_exit() == 0
    assert daemon.log() == '' if 2 in closed else ' NSQ: bye\n' in daemon.log()


# -- what stands in the way of a start

def test_a_data_path_in_use_is_refused(new_nsqd):
    daemon = new_nsqd()
    other = new_nsqd(start=False, data_path=daemon.data_path)
    assert (' FATAL: failed to instantiate nsqd - failed to lock data-path: '
            'cannot flock directory %s - resource temporarily unavailable '
            '(possibly in use by another instance of nsqd)\n'
            % daemon.data_path) in other.start_fails()
    daemon.create('t')
    daemon.stop()
    other.start()
    assert other.topic_stats('t') is not None


def test_a_data_path_that_does_not_exist_is_refused(new_nsqd):
    daemon = new_nsqd(start=False)
    os.rmdir(daemon.data_path)
    assert (' FATAL: failed to instantiate nsqd - failed to lock data-path: '
            'open %s: no such file or directory\n' % daemon.data_path) \
        in daemon.start_fails()
    assert not os.path.exists(daemon.data_path)


@pytest.mark.parametrize('flag, attribute', [
    ('tcp', 'tcp_port'), ('http', 'http_port')])
def test_an_address_in_use_is_refused(new_nsqd, flag, attribute):
    daemon = new_nsqd()
    address = '127.0.0.1:%d' % getattr(daemon, attribute)
    other = new_nsqd('--%s-address=%s' % (flag, address), start=False)
    assert (' FATAL: failed to instantiate nsqd - listen (%s) failed - listen '
            'tcp %s: bind: address already in use\n' % (address, address)) \
        in other.start_fails()


@pytest.mark.parametrize('flag, text', [
    ('--node-id=1024', '--node-id must be [0,1024)'),
    ('--node-id=-1', '--node-id must be [0,1024)'),
    ('--max-deflate-level=0', '--max-deflate-level must be [1,9]'),
    ('--max-deflate-level=10', '--max-deflate-level must be [1,9]')])
def test_a_flag_out_of_range_is_refused(new_nsqd, flag, text):
    daemon = new_nsqd(flag, start=False)
    assert ' FATAL: failed to instantiate nsqd - %s\n' % text \
        in daemon.start_fails()


def test_version_is_printed_to_stdout():
    run = subprocess.run([binary(), '--version'], capture_output=True,
                         text=True, timeout=DEADLINE)
    assert run.returncode == 0
    # The first line is stock's; a daemon may add its own name below.
    assert re.fullmatch(r'nsqd v1\.3\.0 \(built w/.+\)',
                        run.stdout.splitlines()[0])
    assert run.stderr == ''


def test_the_log_has_the_line_format_of_stock(new_nsqd):
    log = new_nsqd('--node-id=7').stop()
    first = log.splitlines()[0]
    assert first.startswith('[nsqd] 20'), first
    day, clock, level = first.split()[1:4]
    time.strptime(day, '%Y/%m/%d')
    time.strptime(clock[:8], '%H:%M:%S')
    assert len(clock) == 15 and clock[8] == '.' and clock[9:].isdigit()
    assert level == 'INFO:'
