"""Damaged files: the daemon starts, serves the rest, says so, and neither
turns in circles nor aborts."""

import collections
import os
import random
import shutil
import struct
import time

import pytest

from durable import (bad_files, compare, data_files, drain, in_dir, make_body,
                     publish, receive)
from nsq import wait_until

FLAGS = ('--mem-queue-size=0', '--max-bytes-per-file=10000')
COUNT = 300


@pytest.fixture
def damaged(new_nsqd, data):
    """Write 300 messages in 7 files, damage them, start, receive."""
    def run(damage, most_lost, may_invent=0, expect_log=True):
        daemon = new_nsqd(*FLAGS, data_path=data)
        daemon.create('t')
        daemon.create('healthy')
        bodies = [make_body('b', i, 150 + i % 50) for i in range(COUNT)]
        publish(daemon, 't', bodies)
        publish(daemon, 'healthy', [b'fine'])
        daemon.stop()
        damage(data)

        before = len(daemon.log())
        daemon.start()
        daemon.create('t', 'ch')
        daemon.create('healthy', 'ch')
        received = drain(daemon, 't', 'ch', expect=COUNT - most_lost)
        lost, duplicated, invented = compare(bodies, received)
        assert lost <= most_lost, lost
        assert (duplicated, invented <= may_invent) == (0, True), invented
        assert sum(drain(daemon, 'healthy', 'ch', expect=1).values()) == 1
        log = daemon.log()[before:]
        if expect_log:
            assert 'DISKQUEUE(t) ' in log, log[-2000:]
        # It works as before, and is quiet.
        publish(daemon, 't', [b'new'] * 10)
        assert drain(daemon, 't', 'ch', expect=10) == {b'new': 10}
        used = daemon.cpu_seconds()
        time.sleep(0.3)
        assert daemon.cpu_seconds() - used < 0.15
        assert daemon.cpu_seconds() < 5
        assert len(daemon.log()) - before < 100000
        daemon.restart()
        assert daemon.channel_stats('t', 'ch')['depth'] == 0
        assert sum(received.values()) + lost - invented == COUNT
        return log
    return run


def path_of(data, index):
    return in_dir(data, data_files(data, 't')[index])


def truncate(data, index, keep):
    path = path_of(data, index)
    size = os.stat(path).st_size
    os.truncate(path, keep if keep >= 0 else size + keep)


def append(data, index, junk):
    with open(path_of(data, index), 'ab') as f:
        f.write(junk)


@pytest.mark.parametrize('keep', [-1, -3, -100, -1000, 1, 4, 29])
@pytest.mark.parametrize('index', [0, 3, -1])
def test_a_truncated_file(damaged, index, keep):
    damaged(lambda data: truncate(data, index, keep), most_lost=60)


@pytest.mark.parametrize('index', [0, 3, -1])
def test_an_empty_file(damaged, index):
    damaged(lambda data: truncate(data, index, 0), most_lost=60,
            expect_log=index != 3)


@pytest.mark.parametrize('index', [0, 3, -1])
def test_a_missing_file(damaged, index):
    damaged(lambda data: os.unlink(path_of(data, index)), most_lost=60)


@pytest.mark.parametrize('junk', [
    b'\0\0', b'\0\0\0\xff' + b'half a record', b'\0' * 4096, b'\xff' * 100,
    b'\x7f\xff\xff\xff' * 3, bytes(range(256)) * 20])
@pytest.mark.parametrize('index', [0, -1])
def test_a_torn_or_alien_tail(damaged, index, junk):
    damaged(lambda data: append(data, index, junk), most_lost=0)


@pytest.mark.parametrize('seed', range(6))
def test_flipped_bits(damaged, seed):
    def damage(data):
        dice = random.Random(seed)
        for index in range(len(data_files(data, 't'))):
            with open(path_of(data, index), 'r+b') as f:
                at = dice.randrange(os.fstat(f.fileno()).st_size)
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ 1 << dice.randrange(8)]))
    # A bit inside a body cannot be noticed: that message is another one.
    damaged(damage, most_lost=14, may_invent=7, expect_log=False)


def test_random_bytes_instead_of_a_file(damaged):
    def damage(data):
        with open(path_of(data, 2), 'wb') as f:
            f.write(random.Random(1).randbytes(10000))
    damaged(damage, most_lost=60)


def test_alien_names_are_left_alone(damaged, data):
    aliens = ['t.diskqueue.dat', 't.diskqueue.00000x.dat', 'x', '.hidden',
              't.diskqueue.000001.dat.bak', 't.diskqueue.0000001.dat',
              't.diskqueue.-00001.dat', 'other.diskqueue.000000.dat']

    def damage(path):
        for name in aliens:
            with open(in_dir(path, name), 'w') as f:
                f.write('alien')
        os.mkdir(in_dir(path, 'lost+found'))
    damaged(damage, most_lost=0, expect_log=False)
    for name in aliens:
        with open(in_dir(data, name)) as f:
            assert f.read() == 'alien'


META = 't.diskqueue.meta.dat'


@pytest.mark.parametrize('text', [
    '', '\n', 'garbage', '300\n0,0\n', '300\n0,0\n6,x\n', '-5\n0,0\n6,100\n',
    '300\n9,0\n6,100\n', '300\n0,0\n99999999,0\n', '0\n0,0\n0,0\n',
    '99999999999999999999\n0,0\n6,100\n', '300\n0,7\n6,100\n',
    '300\n0,0\n2147483647,2147483647\n', '\0' * 4096])
def test_metadata_of_a_queue_that_cannot_be(damaged, text):
    def damage(data):
        with open(in_dir(data, META), 'w') as f:
            f.write(text)
    # A read position in the middle of a record costs that record.
    damaged(damage, most_lost=1, expect_log=False)


def test_metadata_of_a_queue_that_is_missing(damaged):
    damaged(lambda data: os.unlink(in_dir(data, META)), most_lost=0)


def test_metadata_of_a_queue_from_before(new_nsqd, data, tmp_path):
    """Older than the data: what it does not know of is found."""
    daemon = new_nsqd(*FLAGS, data_path=data)
    daemon.create('t')
    publish(daemon, 't', [make_body('b', i, 100) for i in range(50)])
    daemon.stop()
    older = tmp_path / 'older'
    shutil.copy(in_dir(data, META), older)
    daemon.start()
    publish(daemon, 't', [make_body('b', i, 100) for i in range(50, 400)])
    daemon.stop()
    shutil.copy(older, in_dir(data, META))
    daemon.start()
    assert daemon.topic_stats('t')['depth'] == 400
    daemon.create('t', 'ch')
    assert sum(drain(daemon, 't', 'ch', expect=400).values()) == 400
    assert bad_files(data) == []


def test_metadata_of_a_queue_that_is_a_directory(new_nsqd, data):
    daemon = new_nsqd(*FLAGS, data_path=data)
    os.mkdir(in_dir(data, META))
    daemon.create('t')
    with daemon.connect() as client:
        client.command('PUB', 't', body=b'x')
        assert client.answer()[1].startswith(b'E_PUB_FAILED')
    assert daemon.cpu_seconds() < 2
    os.rmdir(in_dir(data, META))
    wait_until(lambda: daemon.post('/pub?topic=t', b'x').status == 200,
               'it works again')


def test_a_directory_instead_of_a_data_file_may_be_a_mistake(new_nsqd, data):
    """Nobody can read it, and it may be a file in a moment: tried again."""
    daemon = new_nsqd(*FLAGS, data_path=data)
    daemon.create('t')
    bodies = [make_body('b', i, 150) for i in range(COUNT)]
    publish(daemon, 't', bodies)
    daemon.stop()
    path = path_of(data, 2)
    os.rename(path, path + '.aside')
    os.mkdir(path)
    daemon.start()
    daemon.create('t', 'ch')
    wait_until(lambda: ' - read: is a directory' in daemon.log().lower(),
               daemon.log)
    assert daemon.cpu_seconds() < 2
    os.rmdir(path)
    os.rename(path + '.aside', path)
    assert drain(daemon, 't', 'ch', expect=bodies) == collections.Counter(bodies)
    assert bad_files(data) == []


def fill_files(daemon, topic, count=8):
    """So many data files, of ten messages each; returns their bodies."""
    bodies = [make_body('b', i, 1000) for i in range(10 * count)]
    publish(daemon, topic, bodies, batch=10)
    return bodies


@pytest.mark.parametrize('what', ['directory', 'fifo', 'loop', 'dangling'])
def test_what_is_no_data_file_is_set_aside(new_nsqd, data, what):
    """All other messages come, and new ones; nothing is deleted."""
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=10300',
                      data_path=data)
    daemon.create('t', 'ch')
    daemon.create('other', 'ch')
    daemon.post('/channel/pause?topic=t&channel=ch')
    daemon.post('/topic/pause?topic=t')
    bodies = fill_files(daemon, 't')
    daemon.stop()
    path = path_of(data, 3)
    os.unlink(path)
    {'directory': os.mkdir, 'fifo': os.mkfifo,
     'loop': lambda p: os.symlink(os.path.basename(p), p),
     'dangling': lambda p: os.symlink('nowhere', p)}[what](path)
    daemon.start()
    daemon.post('/channel/unpause?topic=t&channel=ch')
    daemon.post('/topic/unpause?topic=t')
    # Others are served, and it is not waited for.
    assert daemon.post('/pub?topic=other', b'x').status == 200
    publish(daemon, 't', [b'new'] * 5)
    received = collections.Counter()
    expected = collections.Counter(bodies[:30] + bodies[40:] + [b'new'] * 5)
    with daemon.subscribe('t', 'ch', rdy=100) as client:
        while sum(received.values()) < sum(expected.values()):
            message = client.message()
            received[message.body] += 1
            client.fin(message)
    assert received == expected
    wait_until(lambda: bad_files(data) == [os.path.basename(path) + '.bad'],
               lambda: 'set aside: %s' % os.listdir(data))
    assert daemon.cpu_seconds() < 2


def fake_heads(size, length):
    """Heads of records one behind the other, of any length: none is one."""
    head = b'%016x' % 0x123456789
    return b''.join(
        struct.pack('>iQH', length(at), 1700000000 * 10 ** 9, 1) + head
        for at in range(0, size, 30))


MIB = 1 << 20


@pytest.mark.parametrize('content', [
    fake_heads(2 * MIB, lambda at: 1000000),
    fake_heads(2 * MIB, lambda at: max(26, min(MIB, 2 * MIB - at - 10))),
    b'\0' * (2 * MIB), random.Random(1).randbytes(2 * MIB), None],
    ids=['heads', 'nested', 'zeros', 'noise', 'sparse'])
def test_a_start_does_not_wait_for_hostile_files(new_nsqd, data, content):
    """Ten of them, without metadata: 25 s in a daemon that reads first."""
    topics = ['t%d' % i for i in range(10)]
    for topic in topics:
        name = in_dir(data, topic + '.diskqueue.000000.dat')
        with open(name, 'wb') as f:
            if content is None:
                f.truncate(4096 * MIB)
            else:
                f.write(content)
    daemon = new_nsqd('--mem-queue-size=0', data_path=data, start=False)
    daemon.write_metadata({'version': '1.3.0', 'topics': [
        {'name': topic, 'paused': False, 'channels': [
            {'name': 'ch', 'paused': False}]} for topic in topics]})
    begin = time.monotonic()
    daemon.start()
    for topic in topics:
        assert daemon.post('/pub?topic=' + topic, b'new').status == 200
    assert time.monotonic() - begin < 15
    # And it comes to an end: what is new is behind what is hostile.
    wait_until(lambda: all(
        daemon.channel_stats(t, 'ch')['depth'] and
        not daemon.topic_stats(t)['depth'] for t in topics),
        lambda: 'all have been read: %s' % daemon.stats())
    wait_until(lambda: len(bad_files(data)) == len(topics),
               lambda: 'all are set aside: %s' % bad_files(data))


def test_metadata_of_a_queue_without_the_last_newline(new_nsqd, data):
    daemon = new_nsqd('--mem-queue-size=0', data_path=data)
    daemon.create('t', 'ch')
    bodies = [make_body('b', i, 100) for i in range(100)]
    publish(daemon, 't', bodies)
    assert receive(daemon, 't', 'ch', 60) == bodies[:60]
    # Else some are left with the topic, and come to the channel after the start.
    daemon.wait_channel('t', 'ch', depth=40, message_count=100)
    daemon.wait_topic('t', depth=0)
    daemon.stop()
    for name in ('t', 't:ch'):
        path = in_dir(data, name + '.diskqueue.meta.dat')
        os.truncate(path, os.stat(path).st_size - 1)
    daemon.start()
    assert daemon.channel_stats('t', 'ch')['depth'] == 40
    assert drain(daemon, 't', 'ch', expect=40) == collections.Counter(bodies[60:])
    assert bad_files(data) == []


@pytest.mark.parametrize('content', [
    b'', b'{', b'{"topics":[', b'{"topics":{}}', b'[]', b'{"topics":[1]}',
    b'\0' * 100, b'{"topics":[{"name":"a"}]', b'{"topics":[{"name":5}]}'])
def test_a_broken_nsqd_dat_stops_the_start(new_nsqd, data, content):
    daemon = new_nsqd(*FLAGS, data_path=data)
    publish(daemon, 't', [b'kept'])
    daemon.stop()
    good = daemon.read_metadata()
    daemon.write_metadata(content)
    before = {n: os.stat(in_dir(data, n)).st_mtime_ns
              for n in os.listdir(data)}
    daemon.spawn()
    assert daemon.wait_exit() == 1
    assert ' FATAL: failed to load metadata - ' in daemon.log()
    assert daemon.metadata_path in daemon.log().splitlines()[-1]
    assert before == {n: os.stat(in_dir(data, n)).st_mtime_ns
                      for n in os.listdir(data)}
    assert daemon.read_metadata() == content
    daemon.write_metadata(good)
    daemon.start()
    assert daemon.topic_stats('t')['depth'] == 1


def test_unknown_and_invalid_names_in_nsqd_dat(new_nsqd, data):
    daemon = new_nsqd(data_path=data, start=False)
    daemon.write_metadata({
        'version': '9.9.9', 'unknown': [1, {'a': None}],
        'topics': [
            {'name': 'good', 'paused': False, 'extra': 1, 'channels': [
                {'name': 'ch', 'paused': True, 'more': {}},
                {'name': 'in valid', 'paused': False}, {'name': ''}]},
            {'name': '../etc', 'paused': False, 'channels': []},
            {'name': 'x' * 65, 'paused': False, 'channels': [
                {'name': 'ch'}]}]})
    daemon.start()
    assert [t['topic_name'] for t in daemon.stats()['topics']] == ['good']
    assert daemon.channel_stats('good', 'ch')['paused'] is True
    log = daemon.log()
    for name in ('../etc', 'x' * 65):
        assert 'WARNING: skipping creation of invalid topic %s\n' % name in log
    for name in ('in valid', ''):
        assert 'WARNING: skipping creation of invalid channel %s\n' % name \
            in log
    daemon.stop()
    assert daemon.metadata() == {'good': (False, {'ch': True})}
