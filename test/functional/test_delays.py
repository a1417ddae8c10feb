"""--durability: a delay is a delay, whatever happens, and costs neither a thread nor much memory."""

import os
import random
import resource
import time

import pytest

from limits import FewThreads
from nsq import running, wait_until

pytestmark = pytest.mark.ours(reason='stock forgets a delay when it ends')

# By so much a message may seem to come too early: two clocks are looked at, one after the other.
EARLY = 0.002


def kill_and_start(daemon):
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()


def flush(daemon, topic, mark):
    """Wait until all that happened by now is in the cursors' files, of channels made after mark.

    They are written one after the other, the youngest first. So what is written twice from now
    on was written behind the others the second time."""
    path = os.path.join(daemon.data_path, topic + '.log', mark + '.cursor')
    with daemon.subscribe(topic, mark, rdy=1) as client:
        for _ in range(2):
            message = client.message()
            size = os.path.getsize(path)
            client.req(message)
            wait_until(lambda: os.path.getsize(path) > size, 'the cursor is written')


def consume(daemon, topic, channel, count):
    """So many messages: body, attempts, when it came. They are finished."""
    got = []
    with daemon.subscribe(topic, channel, rdy=1) as client:
        for _ in range(count):
            message = client.message()
            got.append((message.body, message.attempts, time.time()))
            client.fin(message)
        client.expect_quiet()
    return got


def check_times(got, due):
    """None came before it was due; each came once."""
    assert sorted(body for body, _, _ in got) == sorted(due)
    for body, _, came in got:
        assert came >= due[body] - EARLY, (body, came - due[body])


@pytest.mark.parametrize('memory', [1000, 0])
@pytest.mark.parametrize('again', ['running', 'restart', 'kill'])
def test_dpub_and_req(new_nsqd, memory, again):
    """Some of them run out while no daemon is there."""
    daemon = new_nsqd('--durability=process', '--sync-timeout=10ms', '--mem-queue-size=%d' % memory)
    daemon.create('t', 'mark', 'ch')
    generator, due, came_back = random.Random(1), {}, 12
    daemon.pub('t', *[b'req%d' % i for i in range(came_back)])
    with daemon.subscribe('t', 'ch', rdy=came_back) as client:
        messages = [client.message() for _ in range(came_back)]
        client.rdy(0)
        for message in messages:
            delay = generator.randrange(1, 1500)
            due[message.body] = time.time() + delay / 1000
            client.req(message, delay)
        # Behind its answer all of them have been executed.
        client.expect_usable()
    with daemon.connect() as client:
        for i in range(30):
            delay = generator.randrange(1, 1500)
            due[b'dpub%d' % i] = time.time() + delay / 1000
            client.dpub('t', delay, b'dpub%d' % i)
    daemon.wait_topic('t', depth=0)
    if again == 'restart':
        daemon.restart()
    elif again == 'kill':
        flush(daemon, 't', 'mark')
        kill_and_start(daemon)
    got = consume(daemon, 't', 'ch', len(due))
    check_times(got, due)
    for body, attempts, _ in got:
        # What was on its way when the daemon died may have had one more.
        most = 2 if body.startswith(b'req') else 1
        assert 1 <= attempts <= most + (again == 'kill')
    daemon.wait_channel('t', 'ch', deferred_count=0, depth=0, in_flight_count=0)


def test_many_channels_wait_without_threads(new_nsqd):
    channels = ['ch%d' % i for i in range(60)]
    daemon = new_nsqd('--durability=process', '--mem-queue-size=100')
    daemon.create('t', *channels)
    with daemon.connect() as client:
        client.dpub('t', 3600000, b'later')
        due = time.time() + 0.4
        client.dpub('t', 400, b'sooner')
    for channel in channels:
        daemon.wait_channel('t', channel, deferred_count=1, depth=1)
        assert time.time() >= due - EARLY
    # (There may be some while all workers are late.)
    wait_until(lambda: daemon.count_threads('lq:') == 0, daemon.thread_names)
    daemon.restart()
    for channel in channels:
        daemon.wait_channel('t', channel, deferred_count=1, depth=1)
    for channel in channels[::10]:
        with daemon.subscribe('t', channel, rdy=1) as client:
            message = client.message()
            assert message.body == b'sooner'
            client.fin(message)
            client.expect_quiet()
    # What is left of the others is in memory.
    wait_until(lambda: daemon.count_threads('lq:') == 0, daemon.thread_names)


def test_thirty_days(new_nsqd):
    month = 30 * 24 * 3600 * 1000
    daemon = new_nsqd('--durability=process', '--max-req-timeout=721h')
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        client.dpub('t', month, b'in a month')
        client.dpub('t', 100, b'soon')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        message = client.message()
        assert (message.body, message.attempts) == (b'soon', 1)
        client.req(message, month)
        client.expect_quiet()
    daemon.wait_channel('t', 'ch', deferred_count=2, depth=0)
    daemon.restart()
    daemon.wait_channel('t', 'ch', deferred_count=2, depth=0)


def test_a_pause_holds_back_what_is_due(new_nsqd):
    daemon = new_nsqd('--durability=process')
    daemon.create('t', 'ch')
    assert daemon.post('/channel/pause?topic=t&channel=ch').status == 200
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        with daemon.connect() as other:
            other.dpub('t', 10, b'x')
        daemon.wait_channel('t', 'ch', deferred_count=0, depth=1)
        client.expect_quiet()
        assert daemon.post('/channel/unpause?topic=t&channel=ch').status == 200
        assert client.message().body == b'x'


def test_empty_while_they_become_due(new_nsqd):
    """Whatever empty finds is gone for good, and what comes later is there."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=20', '--sync-timeout=10ms')
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for i in range(200):
            client.dpub('t', 1 + i % 100, b'old')
    daemon.wait_channel('t', 'ch', message_count=200)
    assert daemon.post('/channel/empty?topic=t&channel=ch').status == 200
    daemon.wait_channel('t', 'ch', deferred_count=0, depth=0)
    with daemon.connect() as client:
        client.dpub('t', 20, b'new')
    assert [body for body, _, _ in consume(daemon, 't', 'ch', 1)] == [b'new']
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', deferred_count=0)


def test_no_thread_is_to_be_had():
    """What becomes due meanwhile goes into memory all the same, and later all is written."""
    daemon = FewThreads(53, ['--durability=process', '--mem-queue-size=50', '--sync-timeout=10ms'])
    with running(daemon):
        daemon.create('t', 'mark', 'ch')
        with daemon.connect() as client:
            for i in range(20):
                client.dpub('t', 500, b'%d' % i)
        due = time.monotonic() + 0.5
        with daemon.crowd():
            wait_until(lambda: time.monotonic() > due, 'they are due')
        daemon.wait_channel('t', 'ch', deferred_count=0, depth=20)
        got = consume(daemon, 't', 'ch', 20)
        assert {attempts for _, attempts, _ in got} == {1}
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
        flush(daemon, 't', 'mark')
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        daemon.wait_channel('t', 'ch', deferred_count=0, depth=0)
        daemon.check()


def test_no_descriptor_is_to_be_had(new_nsqd):
    """What is due waits until it can be read."""
    daemon = new_nsqd('--durability=process')
    daemon.create('t', 'ch')
    daemon.pub('t', b'x')
    with daemon.subscribe('t', 'ch', rdy=1) as consumer:
        message = consumer.message()
        pid, kind = daemon.process.pid, resource.RLIMIT_NOFILE
        soft, hard = resource.prlimit(pid, kind)
        resource.prlimit(pid, kind, (3, hard))
        consumer.req(message, 1)
        daemon.wait_log('failed to read what has waited in t:ch')
        resource.prlimit(pid, kind, (soft, hard))
        message = consumer.message()
        assert (message.body, message.attempts) == (b'x', 2)
        consumer.fin(message)
    daemon.wait_log('what has waited in t:ch is read again')
    daemon.wait_channel('t', 'ch', deferred_count=0, depth=0)
