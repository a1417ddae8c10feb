"""A disk that is full, read-only, gone, and a process out of descriptors."""

import contextlib
import os
import resource
import shutil
import subprocess
import time

import pytest

from durable import (QUICK, assert_exactly, bad_files, compare, data_files,
                     drain, in_dir, make_body, publish, receive)
from nsq import DEADLINE, ERROR, not_tested, wait_until


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; needs root."""
    path = tmp_path / 'disk'
    path.mkdir()
    if os.geteuid() != 0:
        not_tested('mounting a tmpfs needs root')
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(path)],
        capture_output=True, text=True)
    if mounted.returncode != 0:
        not_tested('cannot mount a tmpfs: ' + mounted.stderr)
    yield str(path)
    # The daemon may still hold it: the name goes now, the rest with it.
    subprocess.run(['umount', '-l', str(path)], check=True)


@contextlib.contextmanager
def hog(path):
    """Takes all the space that is left."""
    name = in_dir(path, 'hog')
    with open(name, 'wb', buffering=0) as f:
        with contextlib.suppress(OSError):
            while f.write(b'\0' * 4096) == 4096:
                pass
    yield
    os.unlink(name)


def publish_until_refused(daemon, topic, size=1000, limit=5000):
    """PUBs one by one; returns (accepted bodies, the text of the refusal)."""
    accepted = []
    with daemon.connect() as client:
        for i in range(limit):
            body = make_body('full', i, size)
            client.command('PUB', topic, body=body)
            kind, data = client.answer()
            if kind == ERROR:
                return accepted, data.decode()
            accepted.append(body)
    raise AssertionError('the disk does not get full')


def ping(daemon):
    response = daemon.get('/ping')
    return response.status, response.body.decode()


def check_records(path):
    """No torn record: every data file is a whole number of them."""
    for name in data_files(path):
        with open(in_dir(path, name), 'rb') as f:
            data = f.read()
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at:at + 4], 'big')
            assert 26 <= size and at + 4 + size <= len(data), \
                '%s is torn at %d of %d' % (name, at, len(data))
            at += 4 + size


def test_a_full_disk(new_nsqd, small_disk):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=100000',
                      data_path=small_disk)
    daemon.create('t')
    assert ping(daemon) == (200, 'OK')
    accepted, error = publish_until_refused(daemon, 't')
    assert len(accepted) > 500
    assert error.startswith('E_PUB_FAILED PUB failed '), error
    assert 'no space left on device' in error
    status, text = ping(daemon)
    assert status == 500 and text.startswith('NOK - '), text
    assert 'no space left on device' in text
    assert daemon.stats()['health'] == text

    # The other ways in; none of them may leave a part of a message behind.
    # (503 "EXITING" is what stock says of any refusal.)
    response = daemon.post('/pub?topic=t', b'x' * 5000)
    assert response.status == 503, response
    # As in stock MPUB is not all or nothing, but what is refused is not there.
    response = daemon.post('/mpub?topic=t', b'\n'.join([b'y' * 3000] * 5))
    assert response.status == 503, response
    with daemon.connect() as client:
        client.command('MPUB', 't', body=b'\0\0\0\1' + (5000).to_bytes(
            4, 'big') + b'x' * 5000)
        kind, data = client.answer()
        assert (kind, data[:26]) == (ERROR, b'E_MPUB_FAILED MPUB failed ')
    check_records(small_disk)

    # Space returns: everybody is served again, and health is good.
    subprocess.run(['mount', '-o', 'remount,size=8m', small_disk], check=True)
    daemon.create('t', 'ch')
    bodies = list(drain(daemon, 't', 'ch', expect=accepted).elements())
    daemon.pub('t', b'after')
    assert ping(daemon) == (200, 'OK')
    bodies += receive(daemon, 't', 'ch', 1)
    lost, duplicated, invented = compare(accepted + [b'after'], [
        b for b in bodies if not b.startswith(b'y')])
    assert (lost, duplicated, invented) == (0, 0, 0)
    assert bad_files(small_disk) == []


def test_a_full_disk_and_a_restart(new_nsqd, small_disk):
    """Also when nothing can be written at the end, nor at the next start."""
    daemon = new_nsqd('--mem-queue-size=0', data_path=small_disk)
    daemon.create('t')
    daemon.pub('t', b'first')
    with hog(small_disk):
        accepted, _ = publish_until_refused(daemon, 't', size=3000)
        check_records(small_disk)
        daemon.process.terminate()
        assert daemon.wait_exit() == 0
    daemon.start()
    daemon.create('t', 'ch')
    accepted.append(b'first')
    assert_exactly(accepted, drain(daemon, 't', 'ch', expect=accepted))
    assert bad_files(small_disk) == []


def test_kills_on_a_full_disk(new_nsqd, small_disk):
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1',
                      '--max-bytes-per-file=50000', data_path=small_disk)
    daemon.create('t')
    accepted = []
    for turn in range(5):
        more, _ = publish_until_refused(daemon, 't', size=700 + turn)
        accepted += more
        daemon.kill()
        # The metadata of topics cannot be written: stock does not start.
        with open(in_dir(small_disk, 'nsqd.dat'), 'rb') as f:
            assert f.read()
        make_room(small_disk, accepted, daemon)
    daemon.create('t', 'ch')
    accepted += [b'room']
    daemon.pub('t', b'room')
    assert_exactly(accepted, drain(daemon, 't', 'ch', expect=accepted))


def make_room(path, accepted, daemon):
    subprocess.run(['mount', '-o', 'remount,size=%dk' % (
        1024 + len(accepted)), path], check=True)
    daemon.start()


def test_a_channel_whose_disk_is_full_keeps_its_messages(
        new_nsqd, small_disk):
    """Acknowledged is acknowledged, also behind the topic."""
    # A file is removed when it was read: small ones, so that space returns.
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=20000',
                      data_path=small_disk)
    daemon.create('t', 'a', 'b')
    accepted, _ = publish_until_refused(daemon, 't', size=2000)
    assert_exactly(accepted, drain_both(daemon, 'a', 'b', len(accepted)))
    wait_until(lambda: publishes(daemon), 'the publisher is served again')
    wait_until(lambda: ping(daemon) == (200, 'OK'),
               lambda: 'health is good: %s %s' % ping(daemon))


def fill_memory(daemon, consumer, count=2):
    """As many messages as topic and channel hold; only channel full keeps them."""
    bodies = [make_body('fill', i) for i in range(count)]
    for body in bodies:
        daemon.pub('t', body)
        message = consumer.message()
        assert message.body == body
        consumer.fin(message)
    daemon.wait_channel('t', 'full', depth=count)
    return bodies


def publish_to_the_healthy(daemon, consumer, count):
    """Each is accepted, and delivered before the next."""
    bodies = [make_body('more', i, 500) for i in range(count)]
    for body in bodies:
        daemon.pub('t', body)
        message = consumer.message()
        assert message.body == body
        consumer.fin(message)
    return bodies


@pytest.mark.parametrize('size', [1, 2, 10])
def test_a_channel_that_a_full_disk_refuses_is_alone_with_its_trouble(
        new_nsqd, small_disk, size):
    daemon = new_nsqd('--mem-queue-size=%d' % size, data_path=small_disk)
    daemon.create('t', 'full', 'live')
    with daemon.subscribe('t', 'live', rdy=1) as consumer:
        bodies = fill_memory(daemon, consumer, size)
        with hog(small_disk):
            bodies += publish_to_the_healthy(daemon, consumer, 300)
            daemon.wait_channel('t', 'full', depth=300 + size)
            daemon.wait_channel('t', 'live', depth=0)
            daemon.wait_topic('t', depth=0)
            status, text = ping(daemon)
            assert status == 500 and 'no space left on device' in text, text
            check_calm(daemon)
        wait_until(lambda: ping(daemon) == (200, 'OK'), 'health is good')
        daemon.wait_channel('t', 'full', backend_depth=300, depth=300 + size)
    daemon.restart()
    assert_exactly(bodies, drain(daemon, 't', 'full', expect=bodies))
    assert bad_files(small_disk) == []


def test_a_consumer_needs_no_disk_for_what_that_refuses(new_nsqd, data):
    """Nor does a producer, as long as a consumer keeps up."""
    daemon = new_nsqd('--mem-queue-size=2', data_path=data)
    daemon.create('t', 'full', 'live')
    with daemon.subscribe('t', 'live', rdy=1) as consumer:
        bodies = fill_memory(daemon, consumer)
        os.rename(data, data + '.away')
        bodies += publish_to_the_healthy(daemon, consumer, 50)
        assert receive(daemon, 't', 'full', 52, rdy=10) == bodies
        # Empty, delete and a new channel need none either.
        publish_to_the_healthy(daemon, consumer, 50)
        daemon.wait_channel('t', 'full', depth=50)
        daemon.post('/channel/empty?topic=t&channel=full')
        daemon.wait_channel('t', 'full', depth=0)
        publish_to_the_healthy(daemon, consumer, 50)
        daemon.create('t', 'late')
        bodies = publish_to_the_healthy(daemon, consumer, 2)
        assert receive(daemon, 't', 'late', 2) == bodies
        daemon.post('/channel/delete?topic=t&channel=full')
        publish_to_the_healthy(daemon, consumer, 50)
    os.rename(data + '.away', data)


def test_what_is_more_than_can_be_kept_is_dropped_with_a_word(
        new_nsqd, data):
    daemon = new_nsqd('--mem-queue-size=1000', data_path=data)
    daemon.create('t', 'full', 'live')
    bodies = [make_body('b', i) for i in range(15000)]
    with daemon.subscribe('t', 'live', rdy=2500, **QUICK) as consumer, \
            daemon.connect() as producer:
        os.rename(data, data + '.away')
        for at in range(0, len(bodies), 100):
            producer.pub('t', *bodies[at:at + 100])
            for _ in range(100):
                consumer.fin(consumer.message())
    daemon.wait_log('CHANNEL\\(full\\): dropped [0-9]+ messages ')
    # The pump serves full last. It hears of a new channel between two batches, so that it
    # has nothing in hand that would find room when the channel is drained.
    daemon.create('t', 'barrier')
    depth = daemon.channel_stats('t', 'full')['depth']
    assert 11000 <= depth < 12000
    os.rename(data + '.away', data)
    # The oldest are there.
    received = drain(daemon, 't', 'full', expect=depth)
    assert_exactly(bodies[:depth], received)


def test_an_exit_says_what_the_disk_has_refused_to_the_end(new_nsqd, data):
    daemon = new_nsqd('--mem-queue-size=2', data_path=data)
    daemon.create('t', 'full', 'live')
    with daemon.subscribe('t', 'live', rdy=1) as consumer:
        fill_memory(daemon, consumer)
        os.rename(data, data + '.away')
        publish_to_the_healthy(daemon, consumer, 50)
        daemon.wait_channel('t', 'full', depth=52)
    daemon.process.terminate()
    assert daemon.wait_exit() == 0
    assert 'CHANNEL(full): 52 messages could not be flushed' in daemon.log()
    os.rename(data + '.away', data)


def test_a_kill_loses_nothing_that_only_a_full_disk_keeps_from_its_channel(
        new_nsqd, small_disk):
    """The topic's queue forgets it when its only channel has found a place."""
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1',
                      data_path=small_disk)
    daemon.create('t')
    accepted = [make_body('b', i, 500) for i in range(1000)]
    publish(daemon, 't', accepted)
    with hog(small_disk):
        daemon.create('t', 'ch')
        wait_until(lambda: daemon.channel_stats('t', 'ch')['depth'] > 0,
                   'the channel keeps some')
        wait_until(lambda: ping(daemon)[0] == 500, 'the disk has refused')
        daemon.kill()
    daemon.start()
    received = drain(daemon, 't', 'ch', expect=accepted)
    assert compare(accepted, received)[0] == 0


def drain_both(daemon, one, other, count):
    """Empty both channels; neither may starve the other of space."""
    first, second = [], []
    with daemon.subscribe('t', one, rdy=50) as a, \
            daemon.subscribe('t', other, rdy=50) as b:
        deadline = time.monotonic() + 2 * DEADLINE
        while len(first) < count or len(second) < count:
            assert time.monotonic() < deadline, daemon.stats()
            for client, bodies in ((a, first), (b, second)):
                with contextlib.suppress(TimeoutError):
                    while len(bodies) < count:
                        message = client.message(timeout=0.05)
                        bodies.append(message.body)
                        client.fin(message)
    assert sorted(first) == sorted(second)
    return first


def publishes(daemon):
    with daemon.connect() as client:
        client.command('PUB', 't', body=b'again')
        return client.answer()[0] != ERROR


def test_a_directory_that_becomes_read_only(new_nsqd, small_disk):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=2000',
                      data_path=small_disk)
    daemon.create('t')
    before = [make_body('before', i, 300) for i in range(10)]
    publish(daemon, 't', before)
    flags = ['mount', '-o', 'remount,ro', small_disk]
    # Busy as long as a file is open for writing: after a while none is.
    wait_until(lambda: subprocess.run(
        flags, capture_output=True).returncode == 0, 'it is read-only', 30)
    _, error = publish_until_refused(daemon, 't', limit=1)
    assert 'read-only file system' in error
    assert ping(daemon)[0] == 500
    subprocess.run(['mount', '-o', 'remount,rw', small_disk], check=True)
    publish(daemon, 't', [b'after'])
    assert ping(daemon) == (200, 'OK')
    daemon.create('t', 'ch')
    bodies = before + [b'after']
    assert_exactly(bodies, drain(daemon, 't', 'ch', expect=bodies))
    assert bad_files(small_disk) == []


def test_a_read_only_directory_at_start(new_nsqd, small_disk):
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    daemon = new_nsqd(data_path=small_disk, start=False)
    daemon.spawn()
    assert daemon.wait_exit() == 1
    assert 'FATAL: failed to persist metadata - ' in daemon.log()
    assert 'nsqd.dat' in daemon.log().splitlines()[-1]


def test_a_data_path_that_is_removed(new_nsqd, data):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=1000',
                      data_path=data)
    daemon.create('t', 'ch')
    publish(daemon, 't', [make_body('b', i, 200) for i in range(20)])
    # Again while the daemon's ticker puts something there.
    wait_until(lambda: shutil.rmtree(data, ignore_errors=True)
               or not os.path.exists(data), 'the directory is gone')
    # The channel may still have room in a file that is open: what it puts there after the
    # refusal says that the disk is well. So refusals, until it has no more.
    wait_until(lambda: publish_until_refused(daemon, 't', size=400)
               and ping(daemon)[0] == 500, 'the refusal is told')
    # What is gone cannot be read; the daemon stays calm about it.
    check_calm(daemon)
    daemon.process.terminate()
    assert daemon.wait_exit() == 0
    os.makedirs(data, exist_ok=True)


def check_calm(daemon, seconds=0.5):
    """No thread turns in circles, and the log does not grow without end. (What it tells may be a
    while ago.)"""
    def is_calm():
        before, lines = daemon.cpu_seconds(), daemon.log().count('\n')
        time.sleep(seconds)
        used, more = daemon.cpu_seconds() - before, daemon.log().count('\n') - lines
        return used < seconds / 2 and more < 200
    wait_until(is_calm, 'it is calm')
    assert daemon.alive()


def test_out_of_descriptors(new_nsqd, data):
    """Stock received 86 of these 1000, and renamed 11 good files."""
    flags = ('--mem-queue-size=0', '--max-bytes-per-file=10000')
    daemon = new_nsqd(*flags, data_path=data)
    daemon.create('t')
    bodies = [make_body('b', i, 100) for i in range(1000)]
    publish(daemon, 't', bodies)
    daemon.stop()
    assert len(data_files(data)) >= 13

    daemon = new_nsqd(*flags, '--sync-timeout=100ms', data_path=data)
    daemon.create('t', 'ch')
    consumer = daemon.subscribe('t', 'ch')
    # What is on its way from the topic to the channel has files open.
    daemon.wait_channel('t', 'ch', depth=len(bodies))
    wait_until(lambda: not open_data_files(daemon), 'the files are closed')
    before = limit_descriptors(daemon, 3)
    consumer.rdy(2500)
    received = []
    with contextlib.suppress(TimeoutError):
        while len(received) < len(bodies):
            message = consumer.message(timeout=0.5)
            received.append(message.body)
            consumer.fin(message)
    daemon.wait_log('too many open files')
    assert bad_files(data) == []
    check_calm(daemon)
    limit_descriptors(daemon, before)
    while len(received) < len(bodies):
        message = consumer.message()
        received.append(message.body)
        consumer.fin(message)
    consumer.close()
    assert_exactly(bodies, received)
    assert bad_files(data) == []
    assert daemon.alive()


def open_data_files(daemon):
    fds = '/proc/%d/fd' % daemon.process.pid
    paths = []
    for fd in os.listdir(fds):
        with contextlib.suppress(FileNotFoundError):
            paths.append(os.readlink(os.path.join(fds, fd)))
    return [path for path in paths if path.endswith('.dat')]


def limit_descriptors(daemon, soft):
    """Returns the limit before. What is open stays open."""
    pid = daemon.process.pid
    before, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return before


def test_a_reader_that_keeps_up_leaves_no_files(new_nsqd):
    """Stock leaves 26 finished files behind as .bad."""
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=2000',
                      '--sync-timeout=100ms')
    daemon.create('t', 'ch')
    bodies = [make_body('b', i, 200) for i in range(200)]
    received = []
    with daemon.subscribe('t', 'ch', rdy=1) as consumer:
        for body in bodies:
            daemon.pub('t', body)
            message = consumer.message()
            received.append(message.body)
            consumer.fin(message)
    daemon.wait_channel('t', 'ch', client_count=0)  # the last FIN was heard
    assert received == bodies
    assert bad_files(daemon.data_path) == []

    def finished_files_are_gone():
        return len(daemon.data_files('t')) <= 1 \
            and len(daemon.data_files('t:ch')) <= 1
    wait_until(finished_files_are_gone, lambda: str(daemon.files()))
    daemon.restart()
    assert daemon.channel_stats('t', 'ch')['depth'] == 0
