"""--durability: what delays cost in memory, and what becomes of them where the clock is set."""

import os
import struct
import threading
import time

import pytest

from durable import Daemon
from nsq import SCALE, close_all, wait_until

HOUR = 3600 * 1000


class OnHost(Daemon):
    """A daemon on a host whose wall clock and disk obey the test."""

    def __init__(self, directory, flags, data_path=None):
        super().__init__(directory, flags, data_path)
        self.host = os.path.join(directory, 'host')
        with open(self.host, 'wb') as f:
            f.write(bytes(16))
        self.environment = {'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '')
                            + ':verify_asan_link_order=0'}

    def set_host(self, field, value):
        """In one piece: the daemon reads it all the time."""
        with open(self.host, 'r+b') as f:
            os.pwrite(f.fileno(), struct.pack('=q', value), 8 * field)

    def set_clock(self, seconds):
        """It shows so much more than the machine's."""
        self.set_host(0, seconds * 10**9)

    def set_hang(self, hangs):
        """No read of a file at some place ends."""
        self.set_host(1, hangs)

    def command(self):
        return ['env', 'LD_PRELOAD=' + os.environ['HOST_SO'],
                'HOST_FILE=' + self.host] + super().command()

    def cursor(self, topic, channel):
        return os.stat(os.path.join(self.data_path, topic + '.log', channel + '.cursor'))


@pytest.fixture
def hosted(tmp_path):
    daemon = OnHost(str(tmp_path), ['--durability=process', '--sync-timeout=10ms'])
    try:
        yield daemon.start()
    finally:
        close_all([daemon])


def waiting(daemon, topic):
    """Messages of its channel, until they are due and then."""
    stats = daemon.channel_stats(topic, 'ch')
    return stats['deferred_count'] + stats['depth']


@pytest.mark.parametrize('hours', [5, -5], ids=['forward', 'back'])
@pytest.mark.parametrize('end', ['kill', 'stop'])
def test_the_clock_is_set(hosted, hours, end):
    """Delays are as long as they were, in this process and in the next one."""
    hosted.create('t', 'ch')
    hosted.pub('t', b'req')
    begin = time.monotonic()
    with hosted.subscribe('t', 'ch', rdy=1) as consumer:
        message = consumer.message()
        consumer.rdy(0)
        # Before the clock is set, and after.
        consumer.req(message, int(4000 * SCALE))
        consumer.expect_usable()
        with hosted.connect() as client:
            client.dpub('t', HOUR, b'in an hour')
            client.dpub('t', 1000, b'in a second')
            # Or it is due by now.
            wait_until(lambda: waiting(hosted, 't') == 3, 'all of them wait')
            before = hosted.cursor('t', 'ch').st_ino
            hosted.set_clock(3600 * hours)
            hosted.wait_log('the clock was set %s by 5h0m0s' % ('forward' if hours > 0 else 'back'))
            client.dpub('t', int(4000 * SCALE), b'later')
        consumer.rdy(1)
        message = consumer.message()
        assert message.body == b'in a second' and time.monotonic() - begin >= 1
        consumer.rdy(0)
        consumer.fin(message)
        consumer.expect_usable()
    # The cursor is written anew, with all that waits.
    wait_until(lambda: hosted.cursor('t', 'ch').st_ino != before, 'there is a snapshot')
    # What was said before has been written before that channel's file is gone.
    hosted.wait_channel('t', 'ch', in_flight_count=0)
    if end == 'kill':
        hosted.kill()
        hosted.start()
    else:
        hosted.restart()
    got = set()
    with hosted.subscribe('t', 'ch', rdy=1) as consumer:
        while got != {b'req', b'later'}:
            message = consumer.message(60 * SCALE)
            # Its end may not have been written.
            if message.body != b'in a second' or end != 'kill':
                assert message.body in {b'req', b'later'} - got, message
                got.add(message.body)
                assert time.monotonic() - begin >= 4 * SCALE
            consumer.fin(message)
        consumer.expect_quiet()
    hosted.wait_channel('t', 'ch', deferred_count=1, depth=0)


def test_a_disk_that_hangs_holds_up_its_own(hosted):
    """More channels than there are workers wait for it; timeouts of others come in time."""
    with hosted.connect() as client:
        for delay in (1.5 * SCALE, 6 * SCALE, 24 * SCALE):
            topics = ['t%d.%d' % (delay, i) for i in range(40)]
            begin, last = time.monotonic(), 0
            for topic in topics:
                hosted.create(topic, 'ch')
                client.dpub(topic, int(1000 * delay), b'x')
            due = time.monotonic() + delay
            for topic in topics:
                wait_until(lambda t=topic: waiting(hosted, t) == 1, 'it waits')
            hosted.set_hang(True)
            # Some are due already: the test is late, and begins anew.
            if time.monotonic() < begin + delay:
                break
            hosted.set_hang(False)
        # Not durable, so not on the disk.
        name = 'memory#ephemeral'
        consumer = hosted.connect()
        consumer.identify(msg_timeout=1000)
        consumer.sub(name, 'ch#ephemeral')
        consumer.rdy(1)
        client.pub(name, b'y')
        attempts = 0
        # It comes once a second, also when all the others are due; three times more then.
        while time.monotonic() < due or attempts < last + 3:
            message = consumer.message()
            attempts += 1
            assert message.attempts == attempts
            last = attempts if time.monotonic() < due else last
        hosted.set_hang(False)
        consumer.fin(message)
        consumer.close()
    for topic in topics:
        hosted.wait_channel(topic, 'ch', deferred_count=0, depth=1)


def fill(daemon, count, window=100):
    """So many DPUBs of an hour, over one connection."""
    with daemon.connect() as client:
        for _ in range(count // window):
            client.send((b'DPUB t %d\n' % HOUR + struct.pack('>I', 200) + b'x' * 200) * window)
            for _ in range(window):
                client.expect_ok()


def requeue(daemon, count):
    """So many messages are published, and requeued for an hour."""
    bodies = [b'x' * 200] * 100

    def publish():
        with daemon.connect() as client:
            for _ in range(count // len(bodies)):
                client.pub('t', *bodies)
    publisher = threading.Thread(target=publish)
    publisher.start()
    with daemon.subscribe('t', 'ch', rdy=100) as client:
        for _ in range(count):
            client.req(client.message(), HOUR)
        client.expect_usable()
    publisher.join()


@pytest.mark.skipif(SCALE > 2, reason='sanitizers keep memory for themselves')
def test_memory_of_what_waits(new_nsqd, report):
    """A million fit into 64 MB with all that a daemon has beside them; here are fewer."""
    count, first = 300_000, 12_000
    daemon = new_nsqd('--durability=process')
    daemon.create('t', 'ch')
    # What its queues take for a moment it keeps.
    fill(daemon, first)
    requeue(daemon, first)
    daemon.wait_channel('t', 'ch', deferred_count=2 * first)
    idle = daemon.rss_kib()
    fill(daemon, count // 2)
    requeue(daemon, count // 2)
    daemon.wait_channel('t', 'ch', deferred_count=2 * first + count)
    more = daemon.rss_kib() - idle
    report('%d messages that wait take %d KiB more' % (count, more))
    # 52 bytes each, of 64, leave the daemon 12 MB.
    assert more <= count * 52 // 1024
    daemon.restart()
    daemon.wait_channel('t', 'ch', deferred_count=2 * first + count)
