"""The daemon of a soak, through all its lives, and what its actors share."""

import functools
import http.client
import os
import random
import re
import shutil
import signal
import socket
import threading
import time
import zlib

from cluster import Cluster
from cursors import Cursors
from journal import Event, Journal, Life, Pub, now
from nsq import DEADLINE, SANITIZER, Died, Nsqd, dead_address, wait_until
from test_tls import flags as tls_flags

# How long anything may take, before it counts as never: for a sanitized daemon on a busy machine.
PATIENCE = 120

# The daemon allows 5 s for a handshake. A busy machine may keep a client from it for as long.
HANDSHAKE = 4

# Lines of the log that are about clients who broke a rule, or went away in the middle: the actors
# do so on purpose. All other lines at WARNING, ERROR and FATAL are findings.
PEER = r'(?:127\.0\.0\.1:\d+|@)'
EXPECTED_LINES = [re.compile(p) for p in (
    r'ERROR: \[%s\] - ' % PEER,     # the answer to a client (protocol_v2_reply.c)
    r'ERROR: client\(%s\) - ' % PEER,
    r'ERROR: failed to read protocol version - ',
    r"ERROR: client\(%s\) bad protocol magic '" % PEER,
    r'ERROR: PROTOCOL\(V2\): \[%s\] messagePump error - ' % PEER,
    # A stop does not wait for the auth server.
    r'WARNING: PROTOCOL\(V2\): \[%s\] AUTH failed .*: canceled$' % PEER,
    # The nsqlookupd was silent, or the daemon was being stopped.
    r'ERROR: LOOKUPD\(127\.0\.0\.1:\d+\): ',
    r'(?:WARNING|ERROR): (?:failed to query|no available) nsqlookupd\b',
    # A channel was deleted that moment; a kept one is not, or its messages would be missed.
    r'ERROR: TOPIC\([^)]+\) ERROR: failed to put msg\([0-9a-f]+\) to channel\([^)]+\) - exiting$',
    r'WARNING: http: TLS handshake error from 127\.0\.0\.1:\d+: ',
    # Others write to the same disk.
    r'WARNING: LOG\([^)]+\): the disk is slow, a commit takes ',
)]
# After a kill the metadata of a disk queue is older than its files (diskqueue_meta.c).
AFTER_KILL = re.compile(
    r'WARNING: DISKQUEUE\((?P<topic>[^):]+)[^)]*\) (?:'
    r'\S+ metadata writePos \d+ < file size of \d+, recovering'
    r'|metadata \(.*\) does not fit the data files, counting them'
    r'|file \d+ does not end in a whole record, skipping to new file'
    r'|found \d+ messages in data files (?:that do not fit the|without) metadata)$')
# A kill in the middle of a write leaves a torn record, which no publisher was told of. The reader
# may come to it in a later life.
TORN = re.compile(
    r'ERROR: DISKQUEUE\([^)]+\) reading at \d+ of \S+ - damaged record, skipping \d+ bytes$'
    r'|WARNING: DISKQUEUE\([^)]+\) jump to next file and saving bad file as \S+$'
    r'|WARNING: LOG\([^)]+\): cutting off \d+ bytes behind the last whole commit in \S+$')
BAD_LINE = re.compile(r' (?:WARNING|ERROR|FATAL): ')


@functools.lru_cache
def addresses():
    """Of all daemons of this process, one after the other."""
    return [dead_address() for _ in range(3)]


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__('nsqd', timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon(Nsqd):
    """On fixed addresses, which stay ours while it is down: no client may reach another's daemon.

    Its TCP and its HTTP listen on ports, or on unix sockets.
    """

    def __init__(self, directory, certificate, sockets):
        self.tcp, self.web, self.https = addresses()
        self.sockets = sockets
        self.fixed = tls_flags(certificate, '--snappy=true', '--deflate=true',
                               '--https-address=' + self.https)
        super().__init__(directory, self.fixed)
        self.https_port = int(self.https.rpartition(':')[2])
        self.tcp_address = self.http_address = None     # ports, or paths

    def listen_flags(self, unix):
        """How the next start listens."""
        if unix:
            self.tcp_address = os.path.join(self.sockets, 'tcp')
            self.http_address = os.path.join(self.sockets, 'http')
            tcp, web = self.tcp_address, self.http_address
        else:
            tcp, web = self.tcp, self.web
            self.tcp_address, self.http_address = (
                int(address.rpartition(':')[2]) for address in (tcp, web))
        return ['--tcp-address=' + tcp, '--http-address=' + web]

    def start(self):
        before = len(self.log())
        self.spawn()

        def listens():
            log = self.log()[before:]
            if not self.alive():
                raise Died('nsqd did not start (exit code %s):\n%s' % (
                    self.process.returncode, log))
            return len(set(re.findall(r' INFO: (TCP|HTTPS?): listening on .*\n', log))) == 3
        wait_until(listens, lambda: 'nsqd listens:\n' + self.log(), PATIENCE)
        return self

    def http_connection(self, timeout=DEADLINE):
        if isinstance(self.http_address, str):
            return UnixHTTPConnection(self.http_address, timeout)
        return http.client.HTTPConnection('127.0.0.1', self.http_address, timeout=timeout)

    def rss_kib(self):
        with open('/proc/%d/status' % self.process.pid, encoding='ascii') as f:
            return int(re.search(r'^VmRSS:\s+(\d+) kB$', f.read(), re.M)[1])

    def memory(self):
        """KiB: of malloc, in use; spans of messages in use (common/slab.h); RSS."""
        self.post('/debug/freememory')
        text = self.get('/debug/').body.decode()
        used = sum(int(re.search(r'^ +%s +(\d+)$' % name, text.replace('\t', ' '), re.M)[1])
                   for name in ('arena_used_bytes', 'mapped_bytes'))
        in_use = self.stats()['memory']['heap_in_use_bytes']
        return {'malloc': used // 1024, 'spans': max(0, in_use - used) // 1024,
                'RSS': self.rss_kib()}


class World:
    """What a round happens in: one data directory, one daemon at a time, and a journal."""

    def __init__(self, directory, seed, certificate, sockets, durable=False):
        """sockets: a directory with a short name. durable: all topics have logs."""
        self.directory, self.seed, self.durable = directory, seed, durable
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        self.daemon = Daemon(directory, certificate, sockets)
        self.cluster = Cluster()
        self.killed_at = 0.0                # the wall's time when the last kill was over
        self.journal = Journal()
        self.life = None
        self.running = threading.Event()    # the daemon listens
        self.over = threading.Event()       # the actors are to end
        self.cursors = Cursors(self.daemon.data_path)
        if durable:
            self.cursors.start()

    def close(self):
        self.cursors.over.set()
        self.cluster.close()

    def rng(self, *names):
        """The generator of one actor, of one session: a function of the seed alone."""
        return random.Random('.'.join(map(str, (self.seed,) + names)))

    # -- lives

    def settings(self, rng, mode):
        """What differs from start to start. (What a kill may take is what fits into memory.)"""
        settings = self.common_settings(rng, mode)
        if self.durable:
            # A kill takes nothing. What it may bring again is what was not written by then.
            settings.update({'durability': rng.choice(['process', 'process', 'disk']),
                             'mem': rng.choice([0, 1, 10, 100, 1000]),
                             'sync-timeout': rng.choice(['20ms', '100ms', '500ms'])})
        return settings

    @staticmethod
    def common_settings(rng, mode):
        return {
            'mem': rng.choice([0, 0, 0, 1, 10, 100] if mode == 'kill' else [0, 1, 10, 100, 1000]),
            'sync-every': rng.choice([1, 10, 2500]),
            'sync-timeout': rng.choice(['50ms', '500ms', '2s']),
            'max-bytes-per-file': rng.choice([65536, 1 << 20, 104857600]),
            'msg-timeout': rng.choice(['2s', '5s', '10s']),
            'max-msg-timeout': rng.choice(['60s', '15m']),
            'output-buffer-timeout': rng.choice(['25ms', '250ms']),
            'queue-scan-worker-pool-max': rng.choice([1, 4]),
            'log-level': rng.choice(['info', 'info', 'debug']),
        }

    def surroundings(self, number):
        """How a life listens, and which servers it has. They come in turns."""
        n = number + zlib.crc32(str(self.seed).encode()) % 12
        return {'unix': n % 3 == 0, 'lookupd': n % 2 == 0, 'auth': n % 4 == 1}

    def begin_life(self, settings):
        last = self.life
        number = last.number + 1 if last else 0
        around = self.surroundings(number)
        epoch = (last.epoch + (last.how == 'kill')) if last else 0
        life = Life(number, epoch, {**settings, **around})
        life.after_kill = last is not None and last.how == 'kill'
        life.log_from = (os.path.getsize(self.daemon.log_path)
                         if os.path.exists(self.daemon.log_path) else 0)
        self.daemon.flags = (
            self.daemon.fixed + self.daemon.listen_flags(around['unix'])
            + self.cluster.flags(around['lookupd'], around['auth'])
            + ['--%s=%s' % ('mem-queue-size' if name == 'mem' else name, value)
               for name, value in settings.items()])
        self.journal.lives.append(life)
        self.life = life
        return life

    def start(self, settings):
        life = self.begin_life(settings)
        self.daemon.start()
        life.up = now()
        self.running.set()

    def start_and_kill(self, settings, after):
        """A life that ends while the daemon starts."""
        life = self.begin_life(settings)
        self.daemon.spawn()
        time.sleep(after)
        self._kill(life)

    def must_live(self):
        """A daemon that has ended by itself must not pass for one that was killed."""
        if not self.daemon.alive():
            self.daemon.check()

    def _kill(self, life):
        self.must_live()
        life.how, life.end_begin = 'kill', now()
        self.daemon.process.kill()
        self.daemon.process.wait()
        life.end, self.killed_at = now(), time.time()
        life.written = self.cursors.end_of_life()

    def kill(self):
        self.running.clear()
        self._kill(self.life)

    def stop(self, signals=(signal.SIGTERM,)):
        """A clean stop; it must be one."""
        life = self.life
        self.running.clear()
        self.must_live()
        life.how, life.end_begin = 'term', now()
        for number in signals[1:]:
            self.daemon.process.send_signal(number)
        self.daemon.stop(signals[0])
        life.end = now()
        self.cursors.end_of_life()

    def suspend(self, seconds):
        self.must_live()
        since = now()
        with self.daemon.frozen():
            time.sleep(seconds)
        self.life.suspensions.append((since, now()))

    def await_life(self):
        """Wait until there is a daemon; its life, or None if the round is over."""
        while not self.over.is_set():
            life = self.life
            if self.running.wait(0.05) and life.up is not None and life is self.life:
                return life
        return None

    # -- messages

    def pub(self, name, topic, size, kind, delay, life):
        assert name not in self.journal.pubs, name
        pub = self.journal.pubs[name] = Pub(name, topic, size, kind, delay, life)
        return pub

    def event(self, kind, topic, channel, life):
        event = Event(kind, topic, channel, life)
        self.journal.events.append(event)
        return event

    # -- the log

    def bad_lines(self, stay):
        """Lines of the log that nobody has provoked, and reports of a sanitizer.

        stay: the topics that are there from start to start. What a kill leaves of others may be
        met in any later life.
        """
        bad, killed_before = [], False
        starts = [life.log_from for life in self.journal.lives]
        with open(self.daemon.log_path, 'rb') as f:
            whole = f.read()
        for life, begin, end in zip(self.journal.lives, starts, starts[1:] + [len(whole)]):
            for line in whole[begin:end].decode('utf-8', 'replace').splitlines():
                if not BAD_LINE.search(line) or any(p.search(line) for p in EXPECTED_LINES):
                    continue
                if killed_before and TORN.search(line):
                    continue
                left_by_kill = AFTER_KILL.search(line)
                if left_by_kill and (life.after_kill or (
                        killed_before and left_by_kill['topic'] not in stay)):
                    continue
                bad.append(line)
            killed_before = killed_before or life.how == 'kill'
        found = SANITIZER.search(whole.decode('utf-8', 'replace'))
        if found:
            bad.append(whole.decode('utf-8', 'replace')[max(0, found.start() - 200):][:8000])
        return bad


def body(pub):
    """Of a message: its id, and then letters that follow from the id, so that each byte counts."""
    head = b'soak %s ' % pub.id.encode()
    if pub.size <= len(head):
        return head
    text = b'%08x' % zlib.crc32(head)
    return head + (text * ((pub.size - len(head)) // len(text) + 1))[:pub.size - len(head)]


def id_of(data):
    """The id in a body, or None if it is no message of a soak."""
    words = data.split(b' ', 2)
    if len(words) < 3 or words[0] != b'soak':
        return None
    return words[1].decode('ascii', 'replace')
