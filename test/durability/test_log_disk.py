"""Topics with a log on a disk that is full, read-only, slow, and well again."""

import contextlib
import json
import os
import subprocess
import threading
import time

import pytest

from durable import QUICK, assert_exactly, hand_over, make_body, receive
from metrics import Metrics
from nsq import DEADLINE, ERROR, not_tested, wait_all_read, wait_until
from test_disk_faults import ping, publish_until_refused, small_disk  # noqa: F401 (a fixture)


class Gate:
    """What disk_gate.c obeys."""

    def __init__(self, path):
        self.path = path

    def close(self, what):
        """For instance 'sync hold': see disk_gate.c."""
        with open(self.path + '.new', 'w') as f:
            f.write(what)
        os.rename(self.path + '.new', self.path)

    def open(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    @contextlib.contextmanager
    def closed(self, what):
        self.close(what)
        try:
            yield
        finally:
            self.open()


@pytest.fixture
def gate(tmp_path):
    gate = Gate(str(tmp_path / 'gate'))
    yield gate
    gate.open()


@pytest.fixture
def gated(new_nsqd, gate):
    """Makes a daemon whose files with '/t.log' in their paths meet the gate."""
    daemons = []

    def make(*flags):
        library = os.environ.get('DISK_GATE_SO', '')
        if not os.path.exists(library):
            not_tested('no disk_gate.so: `make durability` builds it')
        daemon = new_nsqd(*flags, start=False)
        daemon.environment = {
            'LD_PRELOAD': library, 'DISK_GATE': gate.path, 'DISK_GATE_ONLY': 't.log',
            'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'}
        daemons.append(daemon)
        return daemon.start()

    yield make
    gate.open()


def log_of(daemon, topic, look=False):
    """What /stats says of a topic's log. look: and of the message that holds it back."""
    path = '/stats?format=json&include_log=true' + ('&topic=' + topic if look else '')
    response = daemon.get(path)
    assert response.status == 200
    return next(log for log in json.loads(response.body)['logs'] if log['topic_name'] == topic)


def metric(daemon, name, **labels):
    """The value of a sample."""
    page = Metrics(daemon.get('/metrics').body)
    return page.families[name].samples[(name, tuple(sorted(labels.items())))]


def lines(daemon, words):
    return daemon.log().count(words)


def wait_ping(daemon, status):
    return wait_until(lambda: ping(daemon)[0] == status, lambda: 'ping: %s' % (ping(daemon),))


def is_refused(daemon, *words, body):
    """The text of the error. (It ends the connection, as in stock.)"""
    with daemon.connect() as client:
        client.command(*words, body=body)
        kind, data = client.answer()
        assert kind == ERROR, data
        return data.decode()


def mount_size(path, size):
    subprocess.run(['mount', '-o', 'remount,size=' + size, path], check=True)


# --- full ---------------------------------------------------------------------------------------

def test_a_full_disk(new_nsqd, small_disk):  # noqa: F811
    daemon = new_nsqd('--durability=process', '--mem-queue-size=100', '--sync-timeout=50ms',
                      data_path=small_disk)
    daemon.create('t', 'ch')
    accepted, error = publish_until_refused(daemon, 't')
    assert len(accepted) > 500
    assert error.startswith('E_PUB_FAILED PUB failed '), error
    assert 'no space left on device' in error
    status, text = ping(daemon)
    assert status == 500 and 'no space left on device' in text
    assert daemon.get('/health/ready').status == 503
    assert daemon.post('/pub?topic=t', b'x' * 5000).status == 503
    assert 'no space left' in is_refused(daemon, 'DPUB', 't', 1000, body=b'x' * 5000)
    # All or nothing.
    assert 'no space left' in is_refused(
        daemon, 'MPUB', 't', body=b'\0\0\0\2' + 2 * (b'\0\0\x27\x10' + b'y' * 10000))
    for _ in range(20):
        publish_until_refused(daemon, 't', size=5000)
    assert metric(daemon, 'nsqd_log_failing', topic='t') == 1
    assert metric(daemon, 'nsqd_log_failed_commits_total', topic='t') >= 20
    log = log_of(daemon, 't')
    assert log['failing'] and 'no space left' in log['error'] and log['failing_ns'] > 0
    # One line, however often it is tried.
    wait_until(lambda: lines(daemon, 'failed to commit') >= 1, 'a line')
    assert lines(daemon, 'failed to commit') == 1, daemon.log()

    # Those who consume do not notice.
    got = receive(daemon, 't', 'ch', 100)
    assert got == accepted[:100]
    assert ping(daemon)[0] == 500

    # Space returns: all is well, and nobody had to publish for that.
    mount_size(small_disk, '8m')
    wait_ping(daemon, 200)
    assert metric(daemon, 'nsqd_log_failing', topic='t') == 0
    wait_until(lambda: lines(daemon, 'commits again') == 1, daemon.log)
    daemon.pub('t', b'after')
    got += receive(daemon, 't', 'ch', len(accepted) - 100 + 1)
    assert got == accepted + [b'after']
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0)
    assert lines(daemon, 'failed to commit') == 1


def test_finishing_makes_room(new_nsqd, small_disk):  # noqa: F811
    """The first segment goes when its messages are finished; then publishers are served."""
    mount_size(small_disk, '80m')
    daemon = new_nsqd('--durability=process', '--mem-queue-size=5', '--sync-timeout=50ms',
                      data_path=small_disk)
    daemon.create('t', 'ch')
    accepted, _ = publish_until_refused(daemon, 't', size=1000000)
    assert len(accepted) >= 68
    wait_ping(daemon, 500)
    assert log_of(daemon, 't')['segments'] == 2
    assert metric(daemon, 'nsqd_log_holds_oldest_segment', topic='t', channel='ch') == 1
    got = receive(daemon, 't', 'ch', 68, rdy=5)
    wait_ping(daemon, 200)
    wait_until(lambda: log_of(daemon, 't')['segments'] == 1, lambda: log_of(daemon, 't'))
    assert metric(daemon, 'nsqd_log_holds_oldest_segment', topic='t', channel='ch') == 0
    daemon.pub('t', b'after')
    got += receive(daemon, 't', 'ch', len(accepted) - 68 + 1, rdy=5)
    assert got == accepted + [b'after']


def test_a_full_disk_and_kills(new_nsqd, small_disk):  # noqa: F811
    daemon = new_nsqd('--durability=disk', '--mem-queue-size=10', data_path=small_disk)
    daemon.create('t', 'ch')
    accepted, _ = publish_until_refused(daemon, 't', size=3000)
    for turn in range(3):
        daemon.kill()
        # A start writes nsqd.dat, as in stock.
        mount_size(small_disk, '%dk' % (1024 + 128 * (turn + 1)))
        daemon.start()
        more, error = publish_until_refused(daemon, 't', size=3000)
        assert 'no space left' in error
        accepted += more
    assert_exactly(accepted, receive(daemon, 't', 'ch', len(accepted)))
    daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)


# --- read-only, and other errors ----------------------------------------------------------------

def test_a_read_only_disk(gated, gate):
    daemon = gated('--durability=process', '--mem-queue-size=100', '--sync-timeout=50ms')
    daemon.create('t', 'ch')
    daemon.create('other', 'ch')
    bodies = [make_body('a', i) for i in range(50)]
    daemon.pub('t', *bodies)
    gate.close('all EROFS')
    for _ in range(10):
        assert 'read-only file system' in is_refused(daemon, 'PUB', 't', body=b'no')
    status, text = ping(daemon)
    assert status == 500 and 'read-only' in text
    # Another topic's disk is well: that does not hide it.
    daemon.pub('other', b'yes')
    assert ping(daemon)[0] == 500
    # Delivery, FIN, and REQ with a delay go on; the cursor waits.
    assert receive(daemon, 't', 'ch', 20) == bodies[:20]
    with daemon.subscribe('t', 'ch', rdy=1, **QUICK) as client:
        client.req(client.message(), 3600000)
        client.rdy(0)
        daemon.wait_channel('t', 'ch', deferred_count=1)
    wait_until(lambda: metric(daemon, 'nsqd_log_cursors_failing', topic='t') > 0, 'they fail')
    wait_until(lambda: 'failed to write the cursor of channel ch' in daemon.log(), daemon.log)
    gate.open()
    wait_ping(daemon, 200)
    wait_until(lambda: metric(daemon, 'nsqd_log_cursors_failing', topic='t') == 0, 'they work')
    assert lines(daemon, 'failed to commit') == lines(daemon, 'commits again') == 1
    assert (lines(daemon, 'failed to write the cursor of channel ch')
            == lines(daemon, 'the cursor of channel ch is written again') == 1)
    # All of that is in the cursor now.
    daemon.kill()
    daemon.start()
    daemon.wait_channel('t', 'ch', deferred_count=1)
    assert set(receive(daemon, 't', 'ch', daemon.channel_stats('t', 'ch')['depth'])) <= set(
        bodies[20:])


def test_a_sync_that_fails(gated, gate):
    """What was refused never comes, not after a restart either."""
    daemon = gated('--durability=disk', '--mem-queue-size=100', '--sync-timeout=50ms')
    daemon.create('t', 'ch')
    daemon.pub('t', b'1', b'2')
    with gate.closed('sync EIO'):
        for _ in range(5):
            assert 'input/output error' in is_refused(daemon, 'PUB', 't', body=b'no')
        assert ping(daemon)[0] == 500
        assert metric(daemon, 'nsqd_log_failed_syncs_total', topic='t') >= 1
    wait_ping(daemon, 200)
    daemon.pub('t', b'3')
    daemon.restart()
    assert receive(daemon, 't', 'ch', 3) == [b'1', b'2', b'3']
    daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)


def test_a_deleted_topic_fails_no_more(gated, gate):
    daemon = gated('--durability=process', '--sync-timeout=50ms')
    daemon.pub('t', b'1')
    with gate.closed('write EIO'):
        is_refused(daemon, 'PUB', 't', body=b'no')
        assert ping(daemon)[0] == 500
        daemon.post('/topic/delete?topic=t')
        wait_ping(daemon, 200)


def test_a_disk_that_cannot_be_read_for_a_while(gated, gate):
    """Nothing is given up, and the log has one line each way."""
    daemon = gated('--durability=process', '--mem-queue-size=0', '--sync-timeout=50ms')
    daemon.create('t', 'ch')
    gate.close('read ENOMEM')
    bodies = [make_body('a', i) for i in range(20)]
    daemon.pub('t', *bodies)
    daemon.wait_log(r'ERROR: LOG\(t\): failed to read for t - .*cannot allocate memory')
    assert ping(daemon) == (200, 'OK')
    gate.open()
    assert receive(daemon, 't', 'ch', 20) == bodies
    assert lines(daemon, 'failed to read for t ') == lines(daemon, 'reads again for t') == 1
    assert metric(daemon, 'nsqd_log_lost_messages_total', topic='t') == 0


# --- slow ---------------------------------------------------------------------------------------

class Publisher(threading.Thread):
    """Waits for the answer to one PUB."""

    def __init__(self, daemon, body):
        super().__init__(daemon=True)
        self.client, self.answer = daemon.connect(), None
        self.client.command('PUB', 't', body=body)
        self.start()

    def run(self):
        with contextlib.suppress(Exception):
            self.answer = self.client.answer()
        self.client.close()


class Request(threading.Thread):
    """Waits for the answer to a POST."""

    def __init__(self, daemon, path):
        super().__init__(daemon=True)
        self.nsqd, self.path, self.status = daemon, path, None
        self.start()

    def run(self):
        with contextlib.suppress(Exception):
            self.status = self.nsqd.post(self.path).status


def in_time(function, *args):
    """It does not wait for the disk, which is held for as long as it takes."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert result, '%s waits for the disk' % (args or function,)
    return result[0]


@pytest.mark.parametrize('durability, what', [
    ('disk', 'sync hold'), ('disk', 'write hold'), ('process', 'write hold')])
def test_a_slow_disk_holds_its_publishers_alone(gated, gate, durability, what):
    """A commit takes as long as the test goes on. Consumers, other topics, /stats, new channels and
    topics do not wait. A request for what a crash must not undo does, and holds up nobody."""
    daemon = gated('--durability=' + durability, '--mem-queue-size=10', '--sync-timeout=50ms')
    daemon.create('t', 'ch')
    daemon.create('other', 'ch')
    bodies = [make_body('a', i) for i in range(40)]
    daemon.pub('t', *bodies)
    gate.close(what)
    publishers = [Publisher(daemon, make_body('held', i)) for i in range(3)]
    wait_until(lambda: metric(daemon, 'nsqd_log_commit_age_seconds', topic='t') > 0.5, 'it ages')
    daemon.wait_log(r'WARNING: LOG\(t\): the disk is slow, a commit takes \S+ and more')
    # What does not wait.
    assert in_time(receive, daemon, 't', 'ch', 30) == bodies[:30]
    in_time(daemon.pub, 'other', b'1')
    assert in_time(receive, daemon, 'other', 'ch', 1) == [b'1']
    for path in ('/stats?format=json', '/metrics', '/stats?format=json&include_log=true&topic=t',
                 '/channel/peek?topic=t&channel=ch'):
        assert in_time(daemon.get, path).status == 200, path
    assert in_time(daemon.get, '/ping').status == 200
    in_time(daemon.create, 't', 'new', 'newer')
    in_time(daemon.pub, 'new.topic', b'2')
    requests = [Request(daemon, path) for path in (
        '/channel/empty?topic=t&channel=newer', '/topic/pause?topic=t', '/topic/empty?topic=other')]
    wait_until(lambda: in_time(daemon.topic_stats, 't')['paused'], 'it is paused')
    in_time(daemon.create, 't', 'newest')
    for path in '/channel/pause?topic=t&channel=ch', '/channel/unpause?topic=t&channel=ch':
        assert in_time(daemon.post, path).status == 200, path
    requests[2].join(DEADLINE)
    assert [p.answer for p in publishers] == [None] * 3
    assert [r.status for r in requests] == [None, None, 200]
    gate.open()
    for thread in publishers + requests:
        thread.join(DEADLINE)
    assert [p.answer for p in publishers] == [(0, b'OK')] * 3
    assert [r.status for r in requests] == [200] * 3
    assert daemon.post('/topic/unpause?topic=t').status == 200
    got = receive(daemon, 't', 'ch', 13)
    assert got[:10] == bodies[30:] and len(set(got)) == 13
    assert sorted(receive(daemon, 't', 'new', 3)) == sorted(got[10:])

    def is_fast():
        daemon.pub('t', b'again')
        return 'the disk is fast again, the slowest commit took' in daemon.log()
    wait_until(is_fast, daemon.log)
    assert lines(daemon, 'the disk is slow') == lines(daemon, 'the disk is fast again') == 1
    assert metric(daemon, 'nsqd_log_commit_age_seconds', topic='t') == 0


@pytest.mark.parametrize('what', ['sync hold', 'all hold'])
def test_an_exit_waits_for_a_slow_disk(gated, gate, what):
    """And ends well when that has answered: the message was kept, or its publisher has no OK."""
    daemon = gated('--durability=disk', '--sync-timeout=50ms')
    daemon.create('t', 'ch')
    daemon.pub('t', b'1')
    with gate.closed(what):
        publisher = Publisher(daemon, b'2')
        wait_until(lambda: metric(daemon, 'nsqd_log_commit_age_seconds', topic='t') > 0.1, 'held')
        daemon.process.terminate()
        daemon.wait_log('TCP: closing ')
        assert daemon.alive() and publisher.answer is None
    assert daemon.wait_exit() == 0
    publisher.join(DEADLINE)
    daemon.start()
    expected = [b'1', b'2'] if publisher.answer == (0, b'OK') else [b'1']
    depth = daemon.wait_channel('t', 'ch', in_flight_count=0)['depth']
    assert depth >= len(expected)
    assert receive(daemon, 't', 'ch', depth)[:len(expected)] == expected


def test_a_topic_on_a_slow_disk_is_deleted(gated, gate):
    """When the disk has answered; nobody else waits meanwhile."""
    daemon = gated('--durability=disk', '--sync-timeout=50ms')
    daemon.create('t', 'ch')
    daemon.create('other')
    gate.close('sync hold')
    publisher = Publisher(daemon, b'1')
    wait_until(lambda: metric(daemon, 'nsqd_log_commit_age_seconds', topic='t') > 0.1, 'held')
    deletion = daemon.http_connection()
    deletion.request('POST', '/topic/delete?topic=t')
    wait_all_read(daemon.http_port, [deletion.sock])
    in_time(daemon.pub, 'other', b'2')
    in_time(daemon.get, '/stats?format=json')
    in_time(daemon.get, '/metrics')
    assert os.path.exists(os.path.join(daemon.data_path, 't.log'))
    gate.open()
    assert deletion.getresponse().status == 200
    deletion.close()
    publisher.join(DEADLINE)
    wait_until(lambda: daemon.topic_stats('t') is None, 'it is gone')
    assert not os.path.exists(os.path.join(daemon.data_path, 't.log'))


# --- what holds it back -------------------------------------------------------------------------

def test_what_holds_the_log_back(new_nsqd):
    daemon = new_nsqd('--durability=process', '--sync-timeout=20ms', '--mem-queue-size=10')
    daemon.create('t', 'quick', 'slow')
    before = time.time_ns()
    daemon.pub('t', *[make_body('a', i) for i in range(20)])
    daemon.wait_channel('t', 'slow', depth=20)
    receive(daemon, 't', 'quick', 20)
    held = log_of(daemon, 't', look=True)['held_by']
    assert (held['channel_name'], held['message'], held['state']) == ('slow', 1, 'queued')
    assert held['body_bytes'] == len(make_body('a', 0))
    assert before <= held['timestamp'] <= time.time_ns()
    with daemon.subscribe('t', 'slow', rdy=1, **QUICK) as client:
        message = client.message()
        held = log_of(daemon, 't', look=True)['held_by']
        assert (held['state'], held['id']) == ('in flight', message.id.decode())
        assert held['client'] > 0
        client.rdy(0)
        client.req(message, 3600000)
        daemon.wait_channel('t', 'slow', deferred_count=1)
        held = log_of(daemon, 't', look=True)['held_by']
        assert (held['state'], held['id']) == ('deferred', message.id.decode())
        assert held['due'] > before + 3000 * 10**9
    first = held['unchanged_ns']
    wait_until(lambda: log_of(daemon, 't', look=True)['held_by']['unchanged_ns'] > first, 'it grows')
    cursors = {c['channel_name']: c for c in log_of(daemon, 't')['cursors']}
    assert cursors['slow']['unfinished'] == 20 and cursors['slow']['waiting'] >= 1
    assert cursors['quick']['unfinished'] == cursors[None]['unfinished'] == 0
    assert cursors['slow']['held_bytes'] > 20 * 56 > cursors['quick']['held_bytes'] == 0
    # Without topic= nobody looks at the disk.
    assert 'held_by' not in log_of(daemon, 't')
    # Nobody holds it: there is nothing to be shown.
    assert daemon.post('/channel/empty?topic=t&channel=slow').status == 200
    wait_until(lambda: 'held_by' not in log_of(daemon, 't', look=True), 'nothing holds it')


def test_a_topic_without_channels_holds_its_log(new_nsqd):
    daemon = new_nsqd('--durability=process')
    daemon.pub('t', b'1', b'2')
    held = log_of(daemon, 't', look=True)['held_by']
    assert (held['channel_name'], held['message'], held['state']) == (None, 1, 'queued')


def test_damage_is_counted(new_nsqd):
    daemon = new_nsqd('--durability=process', '--mem-queue-size=0')
    daemon.create('t', 'ch')
    daemon.pub('t', *[make_body('a', i, 100) for i in range(10)])
    daemon.stop()
    path = os.path.join(daemon.data_path, 't.log', '%020d.seg' % 1)
    with open(path, 'r+b') as f:
        data = f.read()
        f.seek(data.index(make_body('a', 4, 100)))
        f.write(b'X')
    daemon.start()
    got = receive(daemon, 't', 'ch', 9)
    assert make_body('a', 4, 100) not in got and len(set(got)) == 9
    assert metric(daemon, 'nsqd_log_damaged_total', topic='t') >= 1
    assert metric(daemon, 'nsqd_log_lost_messages_total', topic='t') >= 1
    daemon.wait_log(r'LOG\(t\): 1 messages are lost')


def test_without_a_log_nobody_sees_any_of_this(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    assert 'nsqd_log_' not in daemon.get('/metrics').body.decode()
    stats = json.loads(daemon.get('/stats?format=json&include_log=true&topic=t').body)
    assert stats.pop('logs') == []
    assert set(stats) == {'version', 'health', 'start_time', 'topics', 'memory', 'producers'}
    logged = new_nsqd('--durability=process')
    logged.create('t', 'ch')
    assert 'logs' not in json.loads(logged.get('/stats?format=json').body)
    assert logged.get('/stats?include_log=true').body.count(b'log') == 0


# --- a backup -----------------------------------------------------------------------------------

def test_a_backup_of_a_running_daemon(new_nsqd, tmp_path):
    """Messages come meanwhile, and cursors move on."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'docs', 'install',
                          'nsqd-backup')
    daemon = new_nsqd('--durability=process', '--sync-timeout=10ms', '--mem-queue-size=5')
    daemon.create('t', 'all', 'some')
    before = [make_body('before', i, 1000) for i in range(100)]
    for body in before:
        daemon.pub('t', body)
    receive(daemon, 't', 'some', 40, rdy=5)
    done = threading.Event()

    def consume():
        while not done.is_set():
            receive(daemon, 't', 'some', 1, rdy=1)

    def produce():
        i = 0
        while not done.is_set():
            daemon.pub('t', make_body('after', i, 1000))
            i += 1
    threads = [threading.Thread(target=f, daemon=True) for f in (consume, produce)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(3):
            subprocess.run([script, daemon.data_path, str(tmp_path / ('copy%d' % turn))], check=True)
    finally:
        done.set()
        for thread in threads:
            thread.join(DEADLINE)
    daemon.stop()
    for turn in range(3):
        copy = new_nsqd('--durability=process', '--mem-queue-size=5',
                        data_path=str(tmp_path / ('copy%d' % turn)))
        # What the topic's cursor does not know of yet is dealt out first.
        copy.wait_topic('t', depth=0)
        hand_over(copy, 't')
        got = receive(copy, 't', 'all', copy.channel_stats('t', 'all')['depth'], rdy=5)
        assert got[:100] == before
        rest = receive(copy, 't', 'some', copy.channel_stats('t', 'some')['depth'], rdy=5)
        # What comes twice is bounded by the copy's time; nothing is missing at its end.
        assert not rest or got[-len(rest):] == rest
        assert metric(copy, 'nsqd_log_damaged_total', topic='t') == 0
        copy.stop()
        subprocess.run(['rm', '-rf', copy.data_path], check=True)
