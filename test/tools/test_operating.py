"""docs/operating.md: its commands are followed, and its table is measured again."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading

import pytest

from nsq import QUIET, SCALE, Nsqd, binary, running, wait_until
from pages import DOCS, Page, Service

pytestmark = pytest.mark.ours(reason='the page is about this daemon')

PAGE = 'operating.md'
TOPIC = 'orders'
ROUNDS = 4
BENCH = os.path.join(DOCS, os.pardir, 'test', 'bench')


# -- the table

@pytest.fixture(scope='module')
def measured():
    sys.path.insert(0, BENCH)
    import footprint
    return footprint


def number(cell):
    digits, _, unit = cell.strip().partition(' ')
    return float(digits) * {'': 1, 'bytes': 1, 'KB': 1e3, 'MB': 1e6}[unit]


def page_rows():
    """{title: (memory, threads, descriptors)} of the page's table."""
    with open(os.path.join(DOCS, PAGE), encoding='utf-8') as f:
        text = f.read().partition('<!-- footprint begin -->')[2]
    return {m[1]: tuple(map(number, m.groups()[1:])) for m in re.finditer(
        r'^\| ([^|]+?) \| ([\d.]+ \w+) \| ([\d.]+) \| ([\d.]+) \|$', text, re.M)}


@pytest.mark.parametrize('kind', ['producer', 'consumer', 'http', 'topic', 'channel', 'backlog',
                                  'message'])
def test_the_table_is_true_here(kind, measured):
    """Threads and descriptors are exactly so; memory is within a factor of two, as
    neighbours and page sizes have a say."""
    out = subprocess.run(
        [sys.executable, os.path.join(BENCH, 'footprint.py'), '--nsqd=' + binary(), '--json',
         '--row=' + kind, '--scale=0.5'], stdout=subprocess.PIPE, check=True, timeout=300).stdout
    found = json.loads(out)[kind]
    memory, threads, descriptors = page_rows()[measured.TITLES[kind]]
    assert round(found['threads'], 1) == threads
    assert round(found['descriptors'], 1) == descriptors
    assert memory / 2 < found['memory'] < memory * 2


def test_the_table_has_each_row(measured):
    rows = page_rows()
    for title in measured.TITLES.values():
        assert title in rows
    assert len(rows) == len(measured.TITLES) + 1


def test_a_thread_has_two_mappings(new_nsqd):
    """What vm.max_map_count is compared with."""
    daemon = new_nsqd()

    def mappings():
        with open('/proc/%d/maps' % daemon.process.pid, encoding='utf-8') as f:
            return sum(1 for _ in f)
    before, threads = mappings(), daemon.threads()
    for i in range(50):
        daemon.create('topic%d' % i)
    wait_until(lambda: daemon.count_threads('t:') >= 50, daemon.thread_names)
    more = daemon.threads() - threads
    assert 2 * more <= mappings() - before <= 3 * more


@pytest.mark.parametrize('name', [
    'kernel.threads-max', 'kernel.pid_max', 'vm.max_map_count', 'fs.nr_open', 'fs.file-max',
    'net.core.somaxconn', 'net.ipv4.tcp_max_syn_backlog', 'net.ipv4.tcp_mem', 'net.ipv4.tcp_rmem',
    'net.ipv4.tcp_wmem', 'net.ipv4.ip_local_port_range', 'vm.dirty_bytes'])
def test_the_sysctls_of_the_page_are_there(name):
    with open(os.path.join(DOCS, PAGE), encoding='utf-8') as f:
        assert '`%s`' % name in f.read()
    assert os.path.exists('/proc/sys/' + name.replace('.', '/'))


# -- the backup

class Load:
    """Publishes and consumes until it is told to stop; knows what was acknowledged."""

    def __init__(self, daemon):
        self.acknowledged, self.received = [], []
        self.over, self.failures = threading.Event(), []
        self.daemon = daemon
        self.threads = [threading.Thread(target=self.guarded, args=(run,), daemon=True)
                        for run in (self.publish, self.consume)]
        for thread in self.threads:
            thread.start()

    def guarded(self, run):
        try:
            run()
        except Exception as error:
            self.failures.append(error)

    def publish(self):
        with self.daemon.connect() as client:
            for i in itertools.count():
                bodies = [('%d.%d.' % (i, j)).encode() * 30 for j in range(10)]
                client.pub(TOPIC, *bodies)
                self.acknowledged += bodies
                if self.over.wait(0.001):
                    return

    def consume(self):
        with self.daemon.subscribe(TOPIC, 'read', rdy=50) as client:
            while not self.over.is_set():
                try:
                    message = client.message(QUIET / SCALE)
                except TimeoutError:
                    continue
                # Before its FIN: a copy in which it is not was made after this.
                self.received.append(message.body)
                client.fin(message)

    def wait_more(self, n=500):
        enough = [len(x) + n for x in (self.acknowledged, self.received)]
        wait_until(lambda: self.failures or (len(self.acknowledged) >= enough[0]
                                             and len(self.received) >= enough[1]),
                   lambda: 'messages flow: %d %d' % (len(self.acknowledged), len(self.received)))
        assert not self.failures, self.failures

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures


def drained(daemon, channel):
    bodies = set()
    with daemon.subscribe(TOPIC, channel, rdy=100) as client:
        def take():
            try:
                while True:
                    message = client.message(QUIET / SCALE)
                    client.fin(message)
                    bodies.add(message.body)
            except TimeoutError:
                stats = daemon.channel_stats(TOPIC, channel)
                return not daemon.topic_stats(TOPIC)['depth'] and not any(
                    stats[k] for k in ('depth', 'in_flight_count', 'deferred_count'))
        wait_until(take, lambda: daemon.stats(), timeout=120)
    return bodies


@pytest.fixture
def service(tmp_path):
    # Small files: many are begun and removed while they are copied.
    one = Service(tmp_path / 'node', 'mem_queue_size = 0\nmax_bytes_per_file = 30000\n')
    one.install(binary())
    yield one
    one.close()


def test_a_backup_of_a_running_daemon_and_its_restore(service, tmp_path):
    os.makedirs(tmp_path / 'here')
    page = Page(PAGE, tmp_path / 'here', {
        'docs/install/nsqd-backup': os.path.join(DOCS, 'install', 'nsqd-backup'),
        'build/nsqd': binary(), '/var/lib/nsq': service.data,
        '/backup': str(tmp_path / 'backup'), '127.0.0.1:4151': service.http_address},
        [service.shims])
    page.run('systemctl start nsqd')
    wait_until(lambda: 'HTTP: listening' in service.daemon.log(), service.daemon.log)
    daemon = service.daemon
    daemon.create(TOPIC, 'read', 'kept')
    load = Load(daemon)
    copies = []
    for i in range(ROUNDS):
        load.wait_more()
        before = set(load.acknowledged)
        page.run('rm -rf %s/backup/nsq' % tmp_path)
        said = page.follow('Back up a running daemon')
        assert 'topic %s: depth' % TOPIC in said
        after = set(load.received)
        to = str(tmp_path / ('copy%d' % i))
        os.rename(tmp_path / 'backup' / 'nsq', to)
        copies.append((to, before, after))
    load.stop()
    known = set(load.acknowledged)
    for to, before, after in copies[:-1]:
        os.makedirs(to + '.run')
        restored = Nsqd(to + '.run', ['--mem-queue-size=0'], to)
        with running(restored):
            check(restored, before, after, known)
    # The last one as the page does it.
    to, before, after = copies[-1]
    os.rename(to, tmp_path / 'backup' / 'nsq')
    page.follow('Restore')
    check(daemon, before, after, known)
    page.all_followed()


def check(restored, before, after, known):
    """All that was acknowledged before is there, and of the other channel what nobody had."""
    kept, read = drained(restored, 'kept'), drained(restored, 'read')
    assert before <= kept, 'lacks %d of %d' % (len(before - kept), len(before))
    assert kept <= known
    assert before - after <= read, 'lacks %d of %d' % (len(before - after - read), len(before))
    assert read <= known


# `cp` as the script finds it: behind the one whose number TURN names, the topic's backlog
# moves to its channel, and its files go.
CP = """#!/usr/bin/python3
import glob, json, os, subprocess, sys, time, urllib.request
code = subprocess.run(['/bin/cp', *sys.argv[1:]]).returncode
with open(%(calls)r, 'a') as f:
    f.write('x')
    f.flush()
    if f.tell() == %(turn)d:
        def ask(path, body=None):
            return urllib.request.urlopen('http://%(http)s' + path, body, 30).read()
        first = glob.glob(%(data)r + '/orders.diskqueue.000000.dat')
        assert first
        ask('/topic/unpause?topic=orders', b'')
        while glob.glob(first[0]) or json.loads(
                ask('/stats?format=json&topic=orders'))['topics'][0]['depth']:
            time.sleep(0.01)
sys.exit(code)
"""
# Two of metadata, four of data, nsqd.dat.
FILES_COPIED = 7


@pytest.mark.parametrize('turn', range(FILES_COPIED + 1))
def test_a_backlog_that_moves_during_the_backup_is_in_it(turn, service, tmp_path):
    page = Page(PAGE, tmp_path, {}, [service.shims])
    page.run('systemctl start nsqd')
    wait_until(lambda: 'HTTP: listening' in service.daemon.log(), service.daemon.log)
    daemon = service.daemon
    daemon.create(TOPIC, 'kept')
    bodies = [b'%d.' % i * 1000 for i in range(30)]
    daemon.pub(TOPIC, *bodies[:5])
    daemon.wait_channel(TOPIC, 'kept', depth=5)
    daemon.post('/topic/pause?topic=' + TOPIC)
    for body in bodies[5:]:
        daemon.pub(TOPIC, body)
    daemon.wait_topic(TOPIC, depth=25)
    path = os.path.join(service.shims, 'cp')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(CP % {'calls': str(tmp_path / 'calls'), 'turn': turn, 'data': service.data,
                      'http': service.http_address})
    os.chmod(path, 0o755)
    page.run('%s %s copy' % (os.path.join(DOCS, 'install', 'nsqd-backup'), service.data))
    calls = os.path.getsize(tmp_path / 'calls')
    # The metadata of a queue may not have been written yet.
    assert calls >= FILES_COPIED - 2
    if turn == 0 or turn > calls:
        daemon.post('/topic/unpause?topic=' + TOPIC)
    os.makedirs(tmp_path / 'run')
    with running(Nsqd(str(tmp_path / 'run'), ['--mem-queue-size=0'], tmp_path / 'copy')) as (one,):
        one.post('/topic/unpause?topic=' + TOPIC)
        assert drained(one, 'kept') == set(bodies)


def test_dead_letters_in_a_backup_know_where_they_came_from(new_nsqd, tmp_path):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create(TOPIC, 'mail')
    daemon.create('dead', 'look')
    assert daemon.http('PUT', '/channel/config?topic=orders&channel=mail', json.dumps(
        {'max_attempts': 1, 'dead_letter_topic': 'dead'})).status == 200
    bodies = {b'%d' % i for i in range(20)}
    with daemon.subscribe(TOPIC, 'mail', 20) as client:
        daemon.pub(TOPIC, *bodies)
        for message in client.messages(20):
            client.req(message)
        daemon.wait_channel('dead', 'look', depth=20)
    subprocess.run([os.path.join(DOCS, 'install', 'nsqd-backup'), daemon.data_path,
                    tmp_path / 'copy'], check=True)
    os.makedirs(tmp_path / 'run')
    with running(Nsqd(str(tmp_path / 'run'), ['--mem-queue-size=0'], tmp_path / 'copy')) as (one,):
        # What was on its way from the topic to its channel may be in both.
        one.wait_topic('dead', depth=0)
        assert one.channel_stats('dead', 'look')['depth'] >= 20
        answer = json.loads(one.post('/channel/redrive?topic=dead&channel=look&n=100').body)
        assert answer['redriven'] >= 20 and answer['skipped'] == 0, answer
        assert drained(one, 'mail') == bodies


@pytest.mark.parametrize('args', [[], ['.'], ['/nowhere', 'x'], ['.', '.'], ['.', 'y']])
def test_nsqd_backup_refuses_what_it_cannot_do(args, tmp_path):
    (tmp_path / 'x').write_text('', encoding='utf-8')
    done = subprocess.run([os.path.join(DOCS, 'install', 'nsqd-backup'), *args], cwd=tmp_path,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode and 'nsqd-backup' in done.stderr
    assert os.listdir(tmp_path) == ['x']


def test_nsqd_backup_goes_through_links_and_strange_names(tmp_path):
    real, link, to = tmp_path / ' a b ', tmp_path / '-link', tmp_path / '-to'
    real.mkdir()
    names = ['nsqd.dat', 't.diskqueue.meta.dat', 't.diskqueue.000000.dat',
             't:c#ephemeral.diskqueue.meta.dat', 't:c.diskqueue.1000000.dat',
             't.dead-letters.dat', 't.dead-letters.old.dat', 'nsqd.settings.json']
    for name in names + ['t.diskqueue.000000.dat.bad', 'nsqd.dat.7.tmp', 'other']:
        (real / name).write_text(name, encoding='utf-8')
    link.symlink_to(real)
    subprocess.run([os.path.join(DOCS, 'install', 'nsqd-backup'), '-link', '-to'], cwd=tmp_path,
                   check=True)
    assert sorted(os.listdir(to)) == sorted(names)
    assert all((to / name).read_text(encoding='utf-8') == name for name in names)


def test_nsqd_backup_says_when_it_cannot_write(tmp_path):
    os.makedirs(tmp_path / 'from')
    (tmp_path / 'from' / 'nsqd.dat').write_text('{}', encoding='utf-8')
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'cp').write_text('#!/bin/sh\necho no space >&2; exit 1\n', encoding='utf-8')
    (tmp_path / 'bin' / 'cp').chmod(0o755)
    done = subprocess.run(
        [os.path.join(DOCS, 'install', 'nsqd-backup'), tmp_path / 'from', tmp_path / 'to'],
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'PATH': '%s:%s' % (tmp_path / 'bin', os.environ['PATH'])})
    assert done.returncode == 1 and 'no space' in done.stderr
