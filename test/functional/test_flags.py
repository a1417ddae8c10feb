"""Flags that no other module is about: each does what it says."""

import os
import socket
import time

import pytest

from nsq import QUIET, wait_until


def wait_log(daemon, text):
    wait_until(lambda: text in daemon.log(),
               lambda: '%r is logged:\n%s' % (text, daemon.log()))


def test_log_prefix(new_nsqd):
    daemon = new_nsqd('--log-prefix=[other] ', start=False).spawn()
    wait_log(daemon, 'HTTP: listening on ')
    lines = daemon.stop().splitlines()
    assert lines and all(line.startswith('[other] 20') for line in lines)


@pytest.mark.parametrize('level, seen', [
    ('debug', True), ('info', True), ('warn', False), ('error', False),
    ('fatal', False)])
def test_log_level(new_nsqd, tmp_path, level, seen):
    path = str(tmp_path / 'http')
    daemon = new_nsqd('--log-level=' + level, '--http-address=' + path,
                      start=False).spawn()
    wait_until(lambda: os.path.exists(path), lambda: 'it listens')
    # Stock may not be ready for the signal yet, and die of it.
    daemon.process.terminate()
    daemon.wait_exit()
    assert (' INFO: ' in daemon.log()) == seen


@pytest.mark.parametrize('off', ['http', 'https'])
def test_an_empty_address_switches_off(new_nsqd, off):
    daemon = new_nsqd('--%s-address=' % off, start=False).spawn()
    wait_log(daemon, 'TCP: listening on ')
    if off == 'https':
        wait_log(daemon, ' HTTP: listening on ')
    time.sleep(QUIET)
    log = daemon.stop()
    assert ' %s: listening on ' % off.upper() not in log


@pytest.mark.parametrize('size', [0, 3, 10])
def test_mem_queue_size(new_nsqd, size):
    daemon = new_nsqd('--mem-queue-size=%d' % size)
    daemon.create('t', 'ch')
    daemon.create('lonely')
    for topic in 't', 'lonely':
        daemon.pub(topic, *[str(i) for i in range(10)])
    daemon.wait_channel('t', 'ch', depth=10, backend_depth=10 - size)
    daemon.wait_topic('lonely', depth=10, backend_depth=10 - size)


def data_files(daemon):
    return sorted(name for name in os.listdir(daemon.data_path)
                  if '.diskqueue.0' in name)


def test_max_bytes_per_file(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=1000')
    daemon.create('t')
    for _ in range(20):
        daemon.pub('t', b'x' * 200)
    # 230 bytes each: a file is followed by the next when it is beyond 1000.
    names = data_files(daemon)
    assert len(names) >= 4, names
    sizes = [os.path.getsize(os.path.join(daemon.data_path, name))
             for name in names]
    assert max(sizes) <= 1000 + 230 and sum(sizes) == 20 * 230


def saved_depth(daemon):
    """What the metadata of the topic's queue says, as it is at a sync."""
    try:
        with open(os.path.join(daemon.data_path,
                               't.diskqueue.meta.dat')) as f:
            return int(f.readline())
    except FileNotFoundError:
        return 0


def test_sync_every(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=5',
                      '--sync-timeout=1h')
    daemon.create('t')
    with daemon.connect() as client:
        for _ in range(4):
            client.pub('t', 'x')
        assert saved_depth(daemon) < 4
        for _ in range(4):
            client.pub('t', 'x')
        wait_until(lambda: saved_depth(daemon) >= 5, lambda: 'it is synced')


def test_sync_timeout(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1000000',
                      '--sync-timeout=100ms')
    daemon.create('t')
    daemon.pub('t', 'x')
    wait_until(lambda: saved_depth(daemon) == 1, lambda: 'it is synced')


def scan_workers(daemon):
    return daemon.thread_names().count('scan-worker')


@pytest.mark.ours(reason='goroutines have no names')
@pytest.mark.parametrize('channels, most, workers', [
    (1, 4, 1), (12, 4, 3), (40, 4, 4), (40, 2, 2)])
def test_queue_scan_worker_pool_max(new_nsqd, channels, most, workers):
    # A quarter of the channels, at least one, at most what the flag says.
    daemon = new_nsqd('--queue-scan-worker-pool-max=%d' % most,
                      scanned=channels)
    wait_until(lambda: scan_workers(daemon) == workers,
               lambda: '%d workers: %d' % (workers, scan_workers(daemon)))


def test_queue_scan_selection_count(new_nsqd):
    # One channel at a time, and still every one has its turn.
    daemon = new_nsqd('--queue-scan-selection-count=1', '--msg-timeout=200ms',
                      scanned=4)
    clients = []
    for _ in range(4):
        topic = daemon.scanned_topic()
        daemon.pub(topic, 'x')
        clients.append(daemon.subscribe(topic, 'ch', 1))
        assert clients[-1].message().attempts == 1
    for client in clients:
        assert client.message().attempts == 2
        client.close()


def test_the_limits_of_sizes_are_those_of_the_flags(new_nsqd):
    daemon = new_nsqd('--max-msg-size=10', '--max-body-size=50')
    with daemon.connect() as client:
        client.pub('t', b'x' * 10)
        client.command('PUB', 't', body=b'x' * 11)
        client.expect_fatal(b'E_BAD_MESSAGE PUB message too big 11 > 10')
    with daemon.connect() as client:
        client.command('IDENTIFY', body=b'{' + b' ' * 50 + b'}')
        client.expect_fatal(b'E_BAD_BODY IDENTIFY body too big 52 > 50')


def test_http_client_connect_timeout(new_nsqd):
    # Nobody accepts: with its queue full, the kernel drops further attempts.
    listener, others = socket.socket(), []
    listener.bind(('127.0.0.1', 0))
    listener.listen(0)
    for _ in range(3):
        others.append(socket.socket())
        others[-1].setblocking(False)
        others[-1].connect_ex(listener.getsockname())
    daemon = new_nsqd(
        '--auth-http-address=127.0.0.1:%d' % listener.getsockname()[1],
        '--http-client-connect-timeout=300ms',
        '--http-client-request-timeout=1h')
    with daemon.connect() as client:
        client.identify()
        client.command('AUTH', body=b'secret')
        client.expect_fatal(b'E_AUTH_FAILED AUTH failed')
    for s in others + [listener]:
        s.close()
