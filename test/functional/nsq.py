"""Harness of the functional tests: a daemon to start, and the two ways in.

Nsqd runs the binary named by the environment variable NSQD, Client speaks the
V2 protocol byte by byte, http() does one request. Nothing here hides what is
on the wire: a test compares frames with exact bytes.

Every wait has a deadline and ends as soon as its condition holds. Deadlines
are stretched by the environment variable TIMEOUT_SCALE, because a sanitized
daemon is about ten times slower.
"""

import contextlib
import ctypes
import fcntl
import http.client
import itertools
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

import pytest

SCALE = float(os.environ.get('TIMEOUT_SCALE', '1'))

# Long enough for a loaded machine: only a failing test waits it out. It must be less
# than the 30 s after which nsqd flushes and beats whatever a test has asked for, and
# less than the minute that answers may take in tests which do not wait for them.
DEADLINE = max(20, 10 * SCALE)

# How long "nothing arrives" is watched. It must be short, as it is always
# waited out, and a daemon that is too slow to do wrong within it gets away.
QUIET = 0.15 * min(SCALE, 3)

RESPONSE, ERROR, MESSAGE = 0, 1, 2
MAGIC = b'  V2'
HEARTBEAT = b'_heartbeat_'

SANITIZER = re.compile(
    r'ThreadSanitizer|AddressSanitizer|LeakSanitizer|runtime error')

LISTENING = re.compile(
    # With the end of the line: half of it may be there, and half of the port.
    r'^\[nsqd\] .* INFO: (TCP|HTTP): listening on 127\.0\.0\.1:(\d+)\n', re.M)


def not_tested(reason):
    """Skip the test because of what is missing here; in CI nothing may be missing.

    `make check` says it once more at its very end: SKIPPED names the file for that.
    """
    if os.environ.get('CI') == 'true':
        pytest.fail(reason)
    if os.environ.get('SKIPPED'):
        test = os.environ.get('PYTEST_CURRENT_TEST', '').split('[')[0].split(' ')[0]
        with open(os.environ['SKIPPED'], 'a', encoding='utf-8') as f:
            f.write('NOT TESTED: %s: %s\n' % (test, ' '.join(reason.split())))
    pytest.skip(reason)


def binary():
    return os.environ['NSQD']


_dead = []


def wait_all_read(port, sockets):
    """Until the daemon at that port has read all that was sent by these sockets."""
    server = ':%04X' % port
    ports = {':%04X' % s.getsockname()[1] for s in sockets}

    def unread():
        for s in sockets:
            if fcntl.ioctl(s, termios.TIOCOUTQ, b'\0\0\0\0') != b'\0\0\0\0':
                return True
        with open('/proc/net/tcp') as f:
            for line in f:
                if server in line:
                    _, local, remote, _, queues = line.split()[:5]
                    if (local.endswith(server) and remote[-5:] in ports
                            and not queues.endswith(':00000000')):
                        return True
        return False
    wait_until(lambda: not unread(), 'the daemon has read it')


def dead_address():
    """An address where nobody listens.

    Its port stays taken for the rest of the run: a free one might be somebody
    else's listener a moment later. A test may still start its own server there.
    """
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', 0))
    _dead.append(s)
    return '127.0.0.1:%d' % s.getsockname()[1]


def wait_until(condition, what, timeout=None):
    """Return the first true value of condition(), or fail after timeout.

    what says what was waited for: a text, or a function that makes one.
    """
    deadline = time.monotonic() + (DEADLINE if timeout is None else timeout)
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError('gave up waiting until %s' % (
                what() if callable(what) else what))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent():
    """The kernel kills this process when the thread that has started it ends, however it ends.

    A run of tests that is killed leaves no daemon behind, then.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_by(*signals):
    """These signals unwind the stack of the main thread, as Ctrl-C does."""
    def end(number, _):
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)
    for number in signals:
        if signal.getsignal(number) != signal.SIG_IGN:      # as nohup wants it
            signal.signal(number, end)


def short_tmp(rest):
    """Where a file may lie whose name, with rest bytes behind the directory's, is a unix socket's.

    Such a name has at most 107 bytes, and TMPDIR may be long. None: TMPDIR will do.
    """
    return '/tmp' if len(os.fsencode(tempfile.gettempdir())) + rest > 107 else None


class Died(Exception):
    """The daemon ended when it should not have."""


class Nsqd:
    """One daemon, on free ports and with a data directory of its own."""

    # Compression and TLS are negotiated as false by a daemon without them;
    # the flags make one that has them answer alike.
    BASE_FLAGS = ['--tcp-address=127.0.0.1:0', '--http-address=127.0.0.1:0',
                  '--snappy=false', '--deflate=false']

    def __init__(self, directory, flags=(), data_path=None):
        self.directory = directory
        self.data_path = str(data_path or os.path.join(directory, 'data'))
        os.makedirs(self.data_path, exist_ok=True)
        self.flags = list(flags)
        self.log_path = os.path.join(directory, 'log')
        self.environment = {}       # on top of this process's
        self.descriptors_passed = ()
        self.process = None
        self.tcp_port = self.http_port = None
        self._topics = itertools.count()
        self._scanned = None

    # -- life

    def command(self):
        return ([binary()] + self.BASE_FLAGS + self.durability()
                + ['--data-path=' + self.data_path] + self.flags)

    def durability(self):
        """What the environment names for all daemons of a run, unless the test says."""
        kind = os.environ.get('DURABILITY')
        if not kind or any(re.match('--?durability', flag) for flag in self.flags):
            return []
        return ['--durability=' + kind]

    def spawn(self):
        """Start the process, without waiting until it listens.

        It must not be called by a thread that ends before the daemon.
        """
        env = {**os.environ, **self.environment}
        # A report must not stop the others from being printed, and the exit
        # code must say that there was one.
        env.setdefault('TSAN_OPTIONS', 'exitcode=66 second_deadlock_stack=1')
        env.setdefault('UBSAN_OPTIONS', 'print_stacktrace=1')
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(
                self.command(), env=env, cwd=self.directory, pass_fds=self.descriptors_passed,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        return self

    def start(self):
        before = len(self.log())
        self.spawn()

        def ports():
            found = dict(LISTENING.findall(self.log()[before:]))
            if len(found) < 2 and self.process.poll() is not None:
                raise Died('nsqd did not start (exit code %s):\n%s'
                           % (self.process.returncode, self.log()[before:]))
            return len(found) == 2 and found
        found = wait_until(ports, lambda: 'nsqd listens:\n' + self.log())
        self.tcp_port, self.http_port = int(found['TCP']), int(found['HTTP'])
        return self

    def log(self):
        try:
            with open(self.log_path, encoding='utf-8', errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def wait_log(self, pattern):
        """Wait until a line matches: lines are written a little later."""
        return wait_until(lambda: re.search(pattern, self.log(), re.M),
                          lambda: 'the log has %r:\n%s' % (
                              pattern, self.log()[-8000:]))

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, timeout=None):
        try:
            return self.process.wait(DEADLINE if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError('nsqd does not end:\n' + self.log()[-4000:])

    def start_fails(self):
        """Starts it in vain; returns the log."""
        self.spawn()
        assert self.wait_exit() == 1
        return self.log()

    def check(self):
        """Fail if the daemon died, or if a sanitizer had something to say."""
        log = self.log()
        found = SANITIZER.search(log)
        if found:
            at = max(0, log.rfind('\n', 0, found.start()) - 200)
            # Moved aside, so that the next test is not blamed for it.
            os.rename(self.log_path, self.log_path + '.reported')
            raise AssertionError('sanitizer report:\n' + log[at:at + 8000])
        if not self.alive():
            raise AssertionError('nsqd died (%s):\n%s' % (
                self.process.returncode if self.process else 'not started',
                log[-4000:]))

    def stop(self, signum=signal.SIGTERM):
        """Ask the daemon to end, and check that it does so cleanly."""
        before = len(self.log())
        self.process.send_signal(signum)
        code = self.wait_exit()
        log = self.log()
        assert not SANITIZER.search(log), 'sanitizer report:\n' + log[-8000:]
        assert code == 0, 'exit code %s:\n%s' % (code, log[-4000:])
        assert log[before:].endswith(' INFO: NSQ: bye\n'), log[-4000:]
        return log[before:]

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        """End the daemon whatever its state; used when a test is over."""
        if self.alive():
            try:
                self.stop()
            finally:
                if self.alive():
                    self.process.kill()
                    self.process.wait()
        elif self.process is not None:
            log = self.log()
            assert not SANITIZER.search(log), 'sanitizer report:\n' + log

    @contextlib.contextmanager
    def frozen(self):
        """All its threads stand still, as in a suspended machine."""
        tasks = '/proc/%d/task' % self.process.pid

        def state(thread):
            try:
                with open('%s/%s/stat' % (tasks, thread)) as f:
                    return f.read().rpartition(')')[2].split()[0]
            except OSError:
                return 'ended'
        self.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: {state(t) for t in os.listdir(tasks)} == {'T'},
                       'all threads have stopped')
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def threads(self):
        with open('/proc/%d/status' % self.process.pid) as f:
            return int(re.search(r'^Threads:\t(\d+)$', f.read(), re.M)[1])

    def thread_names(self):
        """Of all threads, as the kernel knows them: 15 bytes."""
        tasks = '/proc/%d/task' % self.process.pid
        names = []
        for task in os.listdir(tasks):
            try:
                with open(os.path.join(tasks, task, 'comm')) as f:
                    names.append(f.read().rstrip('\n'))
            except (FileNotFoundError, ProcessLookupError):
                pass    # it has just ended
        return names

    def count_threads(self, *kinds):
        """How many threads have a name that starts with one of these."""
        return sum(name.startswith(kinds) for name in self.thread_names())

    def descriptors(self):
        return len(os.listdir('/proc/%d/fd' % self.process.pid))

    # -- names

    def topic(self, suffix=''):
        """A topic name that no other test of this daemon uses."""
        return 'topic%d%s' % (next(self._topics), suffix)

    def preload(self, count):
        """Create topics scan0, scan1 ... with a channel ch before the start.

        A queue scan loop looks for new channels every five seconds only (as
        stock's does), so that a time-out on a fresh channel may be that late.
        Channels of nsqd.dat are known to it from the start.
        """
        names = ['scan%d' % i for i in range(count)]
        self.write_metadata({'topics': [
            {'name': name, 'paused': False,
             'channels': [{'name': 'ch', 'paused': False}]} for name in names],
            'version': '1.3.0'})
        self._scanned = iter(names)

    def scanned_topic(self):
        return next(self._scanned)

    # -- files

    @property
    def metadata_path(self):
        return os.path.join(self.data_path, 'nsqd.dat')

    def write_metadata(self, content):
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        with open(self.metadata_path, 'wb') as f:
            f.write(content)

    def read_metadata(self):
        with open(self.metadata_path, 'rb') as f:
            return f.read()

    def metadata(self):
        """Topics of nsqd.dat: {topic: (paused, {channel: paused})}."""
        data = json.loads(self.read_metadata())
        return {t['name']: (t['paused'], {c['name']: c['paused']
                                          for c in t['channels'] or []})
                for t in data['topics'] or []}

    # -- ways in

    def connect(self, magic=MAGIC, **options):
        return Client(self.tcp_port, magic, **options)

    def subscribe(self, topic, channel, rdy=None, **identify):
        client = self.connect()
        if identify:
            client.identify(**identify)
        client.sub(topic, channel)
        if rdy is not None:
            client.rdy(rdy)
        return client

    def http_connection(self, timeout=DEADLINE):
        return http.client.HTTPConnection('127.0.0.1', self.http_port, timeout=timeout)

    def http(self, method, path, body=None, headers=None):
        connection = self.http_connection()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path):
        return self.http('GET', path)

    def post(self, path, body=b''):
        return self.http('POST', path, body)

    def pub(self, topic, *bodies):
        """Publish over TCP: PUB for one body, MPUB for several."""
        with self.connect() as client:
            client.pub(topic, *bodies)

    def create(self, topic, *channels):
        assert self.post('/topic/create?topic=' + quote(topic)).status == 200
        for channel in channels:
            assert self.post('/channel/create?topic=%s&channel=%s' % (
                quote(topic), quote(channel))).status == 200

    def stats(self):
        response = self.get('/stats?format=json')
        assert response.status == 200
        return json.loads(response.body)

    def topic_stats(self, topic):
        for entry in self.stats()['topics']:
            if entry['topic_name'] == topic:
                return entry
        return None

    def channel_stats(self, topic, channel):
        entry = self.topic_stats(topic)
        for found in (entry or {}).get('channels') or []:
            if found['channel_name'] == channel:
                return found
        return None

    def wait_topic(self, topic, **fields):
        """Wait until the topic's statistics show these values."""
        return self._wait(lambda: self.topic_stats(topic), topic, fields)

    def wait_channel(self, topic, channel, **fields):
        return self._wait(lambda: self.channel_stats(topic, channel),
                          '%s/%s' % (topic, channel), fields)

    @staticmethod
    def _wait(read, name, fields):
        last = {}

        def holds():
            last['stats'] = stats = read()
            return stats is not None and stats if all(
                (stats or {}).get(k) == v for k, v in fields.items()) else None
        return wait_until(holds, lambda: '%s has %s, it has %s' % (
            name, fields, last.get('stats')))


def close_all(daemons):
    """Close every one of them, and only then say what was wrong."""
    errors = []
    for daemon in daemons:
        try:
            daemon.close()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, '\n'.join(errors)


@contextlib.contextmanager
def running(*daemons):
    """They run; and are all ended, also if one does not start or does not end well."""
    with contextlib.ExitStack() as stack:
        for daemon in daemons:
            stack.callback(daemon.close)
            daemon.start()
        yield daemons


def quote(name):
    return name.replace('#', '%23')


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return 'HTTP %d %r' % (self.status, self.body)


def frame(kind, data):
    return struct.pack('>ii', len(data) + 4, kind) + data


OK = frame(RESPONSE, b'OK')


def sized(body):
    return struct.pack('>i', len(body)) + body


def mpub_body(bodies):
    """The body of MPUB: the number of messages, then each with its size."""
    return struct.pack('>i', len(bodies)) + b''.join(map(sized, bodies))


class Message:
    def __init__(self, data):
        self.timestamp, self.attempts = struct.unpack('>qH', data[:10])
        self.id, self.body = data[10:26], data[26:]

    def __repr__(self):
        return '<%s attempt %d %r>' % (
            self.id.decode(), self.attempts, self.body[:40])


class Client:
    """A connection to the TCP port; every read has a deadline."""

    def __init__(self, address, magic=MAGIC, receive_buffer=None):
        """address: a port of 127.0.0.1, or the path of a unix socket."""
        self.arguments = address, magic, receive_buffer
        self.connect()

    def connect(self):
        address, magic, receive_buffer = self.arguments
        unix = isinstance(address, str)
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(address if unix else ('127.0.0.1', address))
        if not unix:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b''
        if magic:
            self.send(magic)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reconnect(self):
        self.close()
        self.connect()

    def reset(self):
        """Close with RST instead of FIN, as a machine that crashed does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               struct.pack('ii', 1, 0))
        self.socket.close()

    def half_close(self):
        """No more will be sent; answers can still be read."""
        self.socket.shutdown(socket.SHUT_WR)

    # -- sending

    def send(self, data):
        self.socket.sendall(data)
        return self

    def command(self, *words, body=None):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.send(b' '.join(words) + b'\n'
                  + (b'' if body is None else sized(body)))
        return self

    def identify(self, **fields):
        """IDENTIFY with feature negotiation; returns the parsed response."""
        fields.setdefault('feature_negotiation', True)
        self.command('IDENTIFY', body=json.dumps(fields).encode())
        kind, data = self.frame()
        assert kind == RESPONSE, data
        return json.loads(data)

    def sub(self, topic, channel):
        self.command('SUB', topic, channel)
        self.expect_ok()

    def rdy(self, count):
        self.command('RDY', count)

    def fin(self, message):
        self.command('FIN', message.id)

    def req(self, message, milliseconds=0):
        self.command('REQ', message.id, milliseconds)

    def touch(self, message):
        self.command('TOUCH', message.id)

    def pub(self, topic, *bodies):
        bodies = [b if isinstance(b, bytes) else b.encode() for b in bodies]
        if len(bodies) == 1:
            self.command('PUB', topic, body=bodies[0])
        else:
            self.command('MPUB', topic, body=mpub_body(bodies))
        self.expect_ok()

    def dpub(self, topic, milliseconds, body):
        self.command('DPUB', topic, milliseconds, body=body)
        self.expect_ok()

    # -- receiving

    def read(self, size, deadline=None):
        """Exactly so many bytes; EOFError when the daemon closed before."""
        if deadline is None:
            deadline = time.monotonic() + DEADLINE
        while len(self.buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError('only %r arrived' % self.buffer[:200])
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                # A close with input unread is a reset; what the daemon sent
                # before it has been read already.
                data = b''
            except socket.timeout:
                raise TimeoutError('only %r arrived' % self.buffer[:200])
            finally:
                # What is sent next has its own time: a part of a command breaks the stream.
                self.socket.settimeout(DEADLINE)
            if not data:
                raise EOFError('closed after %r' % self.buffer[:200])
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def frame(self, timeout=None):
        """The next frame as (type, data)."""
        deadline = time.monotonic() + (DEADLINE if timeout is None
                                       else timeout * SCALE)
        # Peek at the size, so that a time-out leaves the stream in step.
        head = self.read(4, deadline)
        try:
            data = self.read(struct.unpack('>i', head)[0], deadline)
        except TimeoutError:
            self.buffer = head + self.buffer
            raise
        return struct.unpack('>i', data[:4])[0], data[4:]

    def skip_heartbeats(self, deadline):
        """Answer those that come before anything else.

        On a slow machine half a minute may pass in any test.
        """
        beat = frame(RESPONSE, HEARTBEAT)
        while True:
            while len(self.buffer) < len(beat) and beat.startswith(self.buffer):
                self.buffer = self.read(len(self.buffer) + 1, deadline) + self.buffer
            if not self.buffer.startswith(beat):
                return
            self.buffer = self.buffer[len(beat):]
            self.command('NOP')

    def expect(self, data):
        """The next bytes of the stream are exactly these."""
        # Piece by piece, so that a wrong answer fails at once although it is
        # shorter than the right one.
        deadline = time.monotonic() + DEADLINE
        got = b''
        if not data.startswith(frame(RESPONSE, HEARTBEAT)):
            try:
                self.skip_heartbeats(deadline)
            except (EOFError, TimeoutError, OSError):
                pass    # and so it will be below
        while len(got) < len(data):
            try:
                got += self.read(1, deadline)
                at_hand = min(len(self.buffer), len(data) - len(got))
                got += self.read(at_hand)
            except (EOFError, TimeoutError) as error:
                raise AssertionError('expected %r, got %r, then %s'
                                     % (data, got, error))
            if not data.startswith(got):
                try:
                    self.read(1 << 20, time.monotonic() + 0.1)
                except (EOFError, TimeoutError):
                    pass
                raise AssertionError('expected %r, got %r'
                                     % (data, (got + self.buffer)[:2000]))

    def expect_ok(self):
        self.expect(OK)

    def expect_response(self, text):
        self.expect(frame(RESPONSE, text))

    def expect_error(self, text):
        """An error that leaves the connection open."""
        self.expect(frame(ERROR, text))
        self.expect_usable()

    def expect_fatal(self, text):
        """An error, after which the daemon closes the connection."""
        self.expect(frame(ERROR, text))
        self.expect_closed()

    def expect_refused(self, text):
        """A fatal error, as expect_fatal; then a new connection, as libraries make it."""
        self.expect_fatal(text)
        self.reconnect()

    def expect_closed(self, timeout=None):
        deadline = time.monotonic() + (DEADLINE if timeout is None
                                       else timeout * SCALE)
        try:
            data = self.read(1, deadline)
        except EOFError:
            return
        except TimeoutError:
            raise AssertionError('the connection is still open')
        raise AssertionError('expected the end, got %r' % (data + self.buffer))

    def expect_usable(self):
        """The connection still takes commands, in whatever state it is."""
        self.command('PUB', 'usable', body=b'x')
        self.expect_ok()

    def expect_quiet(self, seconds=None):
        """Nothing arrives for a short while."""
        try:
            self.skip_heartbeats(time.monotonic() + (seconds or QUIET))
        except TimeoutError:
            if not self.buffer:
                return
        except EOFError:
            raise AssertionError('the connection was closed')
        raise AssertionError('expected nothing, got %r' % self.buffer)

    def answer(self, timeout=None):
        """The next frame but for heartbeats, which are answered."""
        while True:
            kind, data = self.frame(timeout)
            if (kind, data) != (RESPONSE, HEARTBEAT):
                return kind, data
            self.command('NOP')

    def message(self, timeout=None):
        """The next message; heartbeats before it are answered."""
        kind, data = self.answer(timeout)
        assert kind == MESSAGE, 'expected a message, got %r' % data
        return Message(data)

    def drain(self, settled):
        """Messages until none comes for a moment and settled(count) is true.

        What is on its way when a flow has been stopped may be late, however long
        one waits; settled asks the daemon how many it has sent.
        """
        found = []

        def step():
            try:
                while True:
                    found.append(self.message(QUIET / SCALE))
            except TimeoutError:
                return settled(len(found))
        wait_until(step, lambda: 'nothing more comes after %d' % len(found))
        return found

    def messages(self, count):
        return [self.message() for _ in range(count)]
