"""Topics with a log, on a disk that takes its time for each sync (test/below/below.c does that).

Publishers of such a topic wait for it. Nobody else does: consumers, other topics and /stats go on,
at the same pollers. And no thread waits for a publisher. What a test has seen "meanwhile" says
nothing if it was as slow as the disk: then it begins anew.
"""

import contextlib
import os
import select
import signal
import threading

import pytest

from nsq import HEARTBEAT, RESPONSE, SCALE, mpub_body, not_tested, wait_until
from queues import put

# Of a sync. What is to happen meanwhile takes a hundredth of that.
SLOW = 2 * min(SCALE, 2)
# The fixture's: of the segment, of the cursors, and of the message. These are fast.
SYNCS_BEFORE = 3
PUBLISHERS = 100


@pytest.fixture
def daemon(new_nsqd):
    """With a topic `slow`, whose segment is there, and its channel `ch`."""
    below = os.environ.get('BELOW_SO')
    if not below or not os.path.exists(below):
        not_tested('BELOW_SO names no library that makes a disk slow')
    daemon = new_nsqd('--durability=disk', start=False)
    daemon.environment.update(
        LD_PRELOAD=below, BELOW='fdatasync:%d:slow=%d:1000000' % (SYNCS_BEFORE + 1, 1000 * SLOW),
        ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0')
    daemon.start()
    daemon.create('slow', 'ch')
    daemon.create('other#ephemeral')
    daemon.pub('slow', b'first')
    return daemon


def answered(clients):
    return select.select([c.socket for c in clients], [], [], 0)[0]


def clients_of(daemon):
    return daemon.channel_stats('slow', 'ch')['clients']


def attempts():
    """To see something meanwhile."""
    yield from range(10)
    pytest.fail('the test was always as slow as the disk')


def wait_no_threads(daemon):
    wait_until(lambda: daemon.count_threads('io:', 'http:') == 0, daemon.thread_names)


def test_nobody_else_waits(daemon):
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(daemon.connect()) for _ in range(PUBLISHERS)]
        others = [opened.enter_context(daemon.connect()) for _ in range(8)]
        consumer = opened.enter_context(daemon.subscribe('slow', 'ch', rdy=1))
        message = consumer.message()
        finished = 0
        wait_no_threads(daemon)
        for _ in attempts():
            for client in clients:
                client.command('PUB', 'slow', body=b'x')
            for client in others:
                client.command('PUB', 'other#ephemeral', body=b'x')
                client.expect_ok()
            consumer.fin(message)
            finished += 1
            wait_until(lambda: clients_of(daemon)[0]['finish_count'] == finished, daemon.stats)
            threads = daemon.count_threads('io:')
            meanwhile = not answered(clients)
            for client in clients:
                client.expect_ok()
            message = consumer.message()
            if meanwhile:
                assert threads == 0
                return


def test_a_publisher_that_waits_is_alive(daemon):
    """It gets heartbeats, and what it says is done behind its PUB, in order."""
    for _ in attempts():
        with daemon.connect() as client, daemon.connect() as witness:
            client.identify(heartbeat_interval=1000)
            client.command('PUB', 'slow', body=b'x')
            client.command('MPUB', 'slow', body=mpub_body([b'a', b'b']))
            client.command('PUB', 'slow', body=b'')
            witness.command('PUB', 'slow', body=b'y')
            beats = 0
            while client.frame() == (RESPONSE, HEARTBEAT):
                beats += 1
            meanwhile = beats > 0
            client.expect_ok()
            client.expect_fatal(b'E_BAD_MESSAGE PUB invalid message body size 0')
            witness.expect_ok()
            if meanwhile:
                return


def test_a_client_closes_and_its_message_is_kept(daemon):
    with daemon.subscribe('slow', 'ch', rdy=100) as consumer:
        consumer.fin(consumer.message())
        for i in range(10):
            with daemon.connect() as client:
                client.command('PUB', 'slow', body=b'%d' % i)
        got = {consumer.message().body for _ in range(10)}
        assert got == {b'%d' % i for i in range(10)}
    wait_until(lambda: not daemon.stats()['producers'], daemon.stats)


def test_its_topic_is_deleted(daemon):
    """The deletion waits for the disk; then the publisher has its OK."""
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(daemon.connect()) for _ in range(PUBLISHERS)]
        for client in clients:
            client.command('PUB', 'slow', body=b'x')
        assert daemon.post('/topic/delete?topic=slow').status == 200
        for client in clients:
            # Its PUB was first, or the deletion; or even that was over, and this made it anew.
            kind, text = client.frame()
            assert text in (b'OK', b'E_PUB_FAILED PUB failed exiting'), (kind, text)
    daemon.create('slow', 'ch')
    daemon.pub('slow', b'again')
    with daemon.subscribe('slow', 'ch', rdy=1) as consumer:
        while (message := consumer.message()).body != b'again':
            consumer.fin(message)


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_the_daemon_ends(daemon, how):
    """What was answered with OK is there, also if nobody was there to read that."""
    oks = []
    clients = [daemon.connect() for _ in range(PUBLISHERS)]
    for i, client in enumerate(clients):
        client.command('PUB', 'slow', body=b'%d' % i)

    def read():
        for i, client in enumerate(clients):
            with contextlib.suppress(EOFError, OSError):
                if client.frame() == (RESPONSE, b'OK'):
                    oks.append(b'%d' % i)

    reader = threading.Thread(target=read)
    reader.start()
    daemon.process.send_signal(how)
    daemon.process.wait()
    reader.join()
    for client in clients:
        client.close()
    del daemon.environment['BELOW']
    daemon.start()
    with daemon.subscribe('slow', 'ch', rdy=2 * PUBLISHERS) as consumer:
        got = {consumer.message().body}
        stats = daemon.channel_stats('slow', 'ch')
        left = stats['depth'] + stats['in_flight_count'] - 1
        got |= {consumer.message().body for _ in range(left)}
    assert set(oks) <= got


def test_a_limit_that_begins_meanwhile_holds_up_nobody(daemon):
    """It begins when no message is on its way, and waits for that without a lock."""
    for i in attempts():
        with daemon.connect() as client:
            client.command('PUB', 'slow', body=b'x')
            thread = threading.Thread(target=put, args=(daemon, 'slow', 'ch'),
                                      kwargs={'max_depth': 1000 * (i % 2)})
            thread.start()
            for _ in range(10):
                assert clients_of(daemon) == []
                with daemon.connect() as other:
                    other.sub('slow', 'ch')
                wait_until(lambda: clients_of(daemon) == [], 'it has gone')
            seen = not answered([client])
            client.expect_ok()
            thread.join()
        if seen:
            return
