"""Messages that a channel gives up: message_ttl, max_attempts, dead-letter topics, backoff,
requeue_on_disconnect, and /channel/redrive.

In every state: waiting in memory and on disk, in flight, deferred, paused, after a restart, on
ephemeral topics, and when a setting changes. A lower bound of a time is measured from before its
cause; an upper one is a deadline.
"""

import base64
import contextlib
import json
import os
import signal
import time

import pytest

from nsq import Nsqd, running, wait_until
from queues import (QUICK, consuming, daemon, put, redrive,  # noqa: F401 (fixture)
                    total, wait_counter, wait_older, wait_total)

pytestmark = pytest.mark.ours(reason='it has no settings per topic and channel')


@pytest.fixture
def mem(tmp_path):
    d = Nsqd(str(tmp_path))
    with running(d):
        yield d


def wait_alone(daemon, topic, channel):
    """Nobody is left who might be sent what comes next."""
    daemon.wait_channel(topic, channel, client_count=0)


def take(daemon, topic, channel, n):
    """Receives and finishes n messages; nothing more comes."""
    with consuming(daemon, topic, channel, min(n, 2000), **QUICK) as client:
        messages = []
        for _ in range(n):
            messages.append(client.message())
            client.fin(messages[-1])
        client.expect_usable()
        daemon.wait_channel(topic, channel, in_flight_count=0, depth=0)
    return messages


def some(client):
    """Receives and finishes what comes now."""
    messages = []
    with contextlib.suppress(TimeoutError):
        while True:
            messages.append(client.message(0.05))
            client.fin(messages[-1])
    return messages


def fail(client, n=1, ms=0):
    """Receives n messages, and sends them back."""
    for _ in range(n):
        client.req(client.message(), ms)


# -- max_attempts

@pytest.mark.parametrize('attempts', [1, 3])
def test_a_message_goes_to_the_dead_letter_topic_after_max_attempts(daemon, attempts):
    daemon.create('t', 'ch')
    daemon.create('t.dead', 'look')
    put(daemon, 't', max_attempts=attempts, dead_letter_topic='{topic}.dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'poison')
        for i in range(attempts):
            message = client.message()
            assert message.attempts == i + 1
            client.req(message)
        client.expect_usable()
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0, deferred_count=0)
        dead, = take(daemon, 't.dead', 'look', 1)
        assert (dead.body, dead.attempts) == (b'poison', 1)
        assert dead.timestamp >= message.timestamp
        wait_counter(daemon, 'nsqd_channel_dead_lettered_total', 't', 'ch', 1)
        # The next one is delivered as ever.
        daemon.pub('t', b'good')
        client.fin(client.message())


def test_without_a_dead_letter_topic_it_is_finished(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_attempts=2)
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'poison')
        fail(client, 2)
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
        wait_counter(daemon, 'nsqd_channel_given_up_total', 't', 'ch', 1)
        assert [t['topic_name'] for t in daemon.stats()['topics']] == ['t']
        client.expect_usable()


def test_a_requeue_with_a_delay_after_the_last_attempt_does_not_wait(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'poison')
        fail(client, ms=3600000)
        wait_total(daemon, 'dead', 1)
        daemon.wait_channel('t', 'ch', depth=0, deferred_count=0)


def test_a_timeout_is_an_attempt(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1, msg_timeout=1000) as client:
        daemon.pub('t', b'slow')
        client.message()
        wait_total(daemon, 'dead', 1)
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0, timeout_count=1)


def test_lowered_while_they_wait_it_holds_for_what_is_next_delivered(daemon):
    daemon.create('t', 'ch')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'1', b'2', b'3')
        fail(client, 5)
        message = client.message()
        client.rdy(0)
        client.req(message)
        client.expect_usable()
    daemon.wait_channel('t', 'ch', depth=3, in_flight_count=0)
    wait_alone(daemon, 't', 'ch')
    put(daemon, 't', 'ch', max_attempts=2, dead_letter_topic='dead')
    # Nobody is to be asked before somebody wants them.
    daemon.wait_channel('t', 'ch', depth=3)
    daemon.pub('t', b'new')
    with daemon.subscribe('t', 'ch', 4, **QUICK) as client:
        def settled():
            stats = daemon.wait_channel('t', 'ch', depth=0)
            return stats['in_flight_count'] + total(daemon, 'dead') == 4 and stats
        # (What comes back, and what is new, have no order between them.)
        stats = wait_until(settled, 'all are in flight, or dead letters')
        messages = client.messages(stats['in_flight_count'])
        assert b'new' in [m.body for m in messages] and all(m.attempts <= 2 for m in messages)
        for message in messages:
            client.fin(message)
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)


def test_a_dead_letter_topic_has_no_dead_letters_of_its_own(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', max_attempts=1, dead_letter_topic='dead')
    put(daemon, 'dead', max_attempts=1)
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'poison')
        fail(client)
    with daemon.subscribe('dead', 'look', 1, **QUICK) as client:
        for attempt in range(1, 5):
            message = client.message()
            assert (message.body, message.attempts) == (b'poison', attempt)
            client.req(message)
    # It is one after a restart, too.
    daemon.restart()
    with daemon.subscribe('dead', 'look', 1, **QUICK) as client:
        for _ in range(3):
            fail(client)


# -- message_ttl

@pytest.mark.parametrize('target', [None, 'dead'])
def test_what_has_expired_is_not_delivered(daemon, target):
    daemon.create('t', 'ch')
    daemon.pub('t', b'old 1', b'old 2')
    daemon.wait_channel('t', 'ch', depth=2)
    if target:
        put(daemon, 't', dead_letter_topic=target)
    put(daemon, 't', message_ttl='1ms')
    # Without a consumer as well.
    daemon.wait_channel('t', 'ch', depth=0)
    wait_counter(daemon, 'nsqd_channel_expired_total', 't', 'ch', 2)
    if target:
        daemon.create(target, 'look')
        assert [m.body for m in take(daemon, target, 'look', 2)] == [b'old 1', b'old 2']
    put(daemon, 't', message_ttl='1h')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'young')
        assert client.message().body == b'young'


def test_a_backlog_of_many_batches_shrinks_without_a_consumer(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    for i in range(10):
        daemon.pub('t', *[b'%d' % (i * 100 + k) for k in range(100)])
    daemon.wait_channel('t', 'ch', depth=1000)
    put(daemon, 't', 'ch', message_ttl='1s', dead_letter_topic='dead')
    daemon.wait_channel('t', 'ch', depth=0)
    assert sorted(int(m.body) for m in take(daemon, 'dead', 'look', 1000)) == list(range(1000))


def test_one_that_expires_while_it_waits_goes_about_then(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', message_ttl='2s', dead_letter_topic='dead')
    start = time.monotonic()
    daemon.pub('t', b'x')
    wait_total(daemon, 'dead', 1)
    assert time.monotonic() - start >= 1.9
    daemon.wait_channel('t', 'ch', depth=0)


def test_expired_while_paused(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', message_ttl='200ms', dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.post('/channel/pause?topic=t&channel=ch')
        daemon.pub('t', b'x', b'y')
        wait_total(daemon, 'dead', 2)
        daemon.post('/channel/unpause?topic=t&channel=ch')
        client.expect_usable()


def test_what_is_young_is_all_delivered_with_a_ttl(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', message_ttl='1h', max_attempts=100, dead_letter_topic='dead')
    bodies = [b'%d' % i for i in range(3000)]
    for i in range(0, 3000, 100):
        daemon.pub('t', *bodies[i:i + 100])
    daemon.wait_channel('t', 'ch', depth=3000)
    got = take(daemon, 't', 'ch', 3000)
    assert sorted(int(m.body) for m in got) == list(range(3000))
    assert total(daemon, 'dead') == 0


def test_one_that_is_deferred_expires_when_it_is_due(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', message_ttl='300ms', dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        client.dpub('t', 1000, b'later')
        daemon.wait_channel('t', 'ch', deferred_count=1)
        wait_total(daemon, 'dead', 1)
        client.expect_usable()


def test_one_that_is_in_flight_expires_when_it_comes_back(daemon):
    daemon.create('t', 'ch')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        message = client.message()
        put(daemon, 't', 'ch', message_ttl='1ms', dead_letter_topic='dead')
        # It is the consumer's as long as that has it.
        daemon.wait_channel('t', 'ch', in_flight_count=1)
        # Younger than that it would be delivered once more.
        wait_older(message, 1000000)
        client.req(message)
        wait_total(daemon, 'dead', 1)


def test_a_ttl_holds_on_a_dead_letter_topic(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', max_attempts=1, dead_letter_topic='dead')
    put(daemon, 'dead', message_ttl='500ms')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        fail(client)
    wait_counter(daemon, 'nsqd_channel_expired_total', 'dead', 'look', 1)
    daemon.wait_channel('dead', 'look', depth=0)


# -- backoff

def test_backoff_delays_what_comes_back_without_a_delay(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', backoff=['300ms', '600ms'])
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        for least in (0.3, 0.6, 0.6):
            message = client.message()
            start = time.monotonic()
            client.req(message)
            daemon.wait_channel('t', 'ch', deferred_count=1, in_flight_count=0)
            again = client.message()
            assert time.monotonic() - start >= least
            client.req(again, 1)
        client.fin(client.message())


def test_a_delay_of_its_own_is_kept(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', backoff=['1h'])
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        fail(client, ms=100)
        client.fin(client.message())


def test_backoff_of_a_timeout(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', backoff=['1h'])
    with daemon.subscribe('t', 'ch', 1, msg_timeout=1000) as client:
        daemon.pub('t', b'x')
        client.message()
        daemon.wait_channel('t', 'ch', deferred_count=1, in_flight_count=0, timeout_count=1)


# -- requeue_on_disconnect

def test_in_flight_comes_back_when_the_connection_ends(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', requeue_on_disconnect=True)
    daemon.pub('t', *[b'%d' % i for i in range(500)])
    with daemon.subscribe('t', 'ch', 500, msg_timeout=60000) as client, \
            daemon.subscribe('t', 'ch') as other:
        first = client.messages(500)
        assert {m.attempts for m in first} == {1}
        client.reset()
        daemon.wait_channel('t', 'ch', in_flight_count=0, depth=500)
        other.rdy(500)
        again = other.messages(500)
        assert {m.attempts for m in again} == {2}
        assert {m.id for m in again} == {m.id for m in first}
        for m in again:
            other.fin(m)
        daemon.wait_channel('t', 'ch', in_flight_count=0, depth=0, requeue_count=0)
    wait_counter(daemon, 'nsqd_channel_requeued_on_disconnect_total', 't', 'ch', 500)


def test_a_disconnect_need_not_count_as_an_attempt(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', requeue_on_disconnect=True, count_disconnect_as_attempt=False,
        max_attempts=1, dead_letter_topic='dead')
    daemon.pub('t', b'x')
    for _ in range(3):
        with daemon.subscribe('t', 'ch', 1) as client:
            assert client.message().attempts == 1
        daemon.wait_channel('t', 'ch', in_flight_count=0, depth=1)
    put(daemon, 't', 'ch', count_disconnect_as_attempt=True)
    with daemon.subscribe('t', 'ch', 1) as client:
        assert client.message().attempts == 1
    wait_total(daemon, 'dead', 1)


def test_others_keep_what_they_have(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', requeue_on_disconnect=True)
    daemon.pub('t', b'1', b'2')
    with daemon.subscribe('t', 'ch', 1) as stays:
        mine = stays.message()
        with daemon.subscribe('t', 'ch', 1) as goes:
            theirs = goes.message()
        again = None
        stays.rdy(2)
        again = stays.message()
        assert again.id == theirs.id
        stays.fin(mine)
        stays.fin(again)
        daemon.wait_channel('t', 'ch', in_flight_count=0, depth=0)


def test_a_consumer_that_answers_no_heartbeat(mem):
    mem.create('t', 'ch')
    put(mem, 't', 'ch', requeue_on_disconnect=True)
    mem.pub('t', b'x')
    with mem.subscribe('t', 'ch', 1, heartbeat_interval=2000) as client:
        client.message()
        mem.wait_channel('t', 'ch', in_flight_count=0, depth=1, client_count=0)


def test_without_the_setting_it_waits_for_its_timeout(mem):
    mem.create('t', 'ch')
    mem.pub('t', b'x')
    with mem.subscribe('t', 'ch', 1) as client:
        client.message()
    mem.wait_channel('t', 'ch', client_count=0)
    assert mem.channel_stats('t', 'ch')['in_flight_count'] == 1


# -- the topic

def test_the_envelope_has_all_that_is_known(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=2, dead_letter_topic='dead', dead_letter_envelope=True)
    body = bytes(range(256)) + b'"\\'
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', body)
        message = client.message()
        client.req(message)
        fail(client)
    dead, = take(daemon, 'dead', 'look', 1)
    found = json.loads(dead.body)
    assert base64.b64decode(found.pop('body')) == body
    when = found.pop('time')
    assert message.timestamp <= when <= dead.timestamp
    assert found == {'topic': 't', 'channel': 'ch', 'id': message.id.decode(),
                     'timestamp': message.timestamp, 'attempts': 2, 'reason': 'max_attempts'}


def test_an_envelope_that_would_be_too_long_is_left_out(tmp_path):
    with running(Nsqd(str(tmp_path), ['--max-msg-size=1000'])) as (daemon,):
        daemon.create('t', 'ch')
        daemon.create('dead', 'look')
        put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead',
            dead_letter_envelope=True)
        with daemon.subscribe('t', 'ch', 1) as client:
            daemon.pub('t', b'x' * 1000)
            fail(client)
        daemon.wait_channel('dead', 'look', depth=1)
        wait_alone(daemon, 't', 'ch')
        assert redrive(daemon, 'dead', 'look')['redriven'] == 1
        assert take(daemon, 't', 'ch', 1)[0].body == b'x' * 1000


def test_names_that_are_too_long_are_cut(daemon):
    topic, channel = 't' * 60, 'c' * 60
    daemon.create(topic, channel)
    put(daemon, topic, channel, max_attempts=1, dead_letter_topic='{topic}.{channel}.dead')
    with daemon.subscribe(topic, channel, 1) as client:
        daemon.pub(topic, b'x')
        fail(client)

    def dead():
        names = [t['topic_name'] for t in daemon.stats()['topics']]
        return [n for n in names if n != topic]
    name, = wait_until(dead, 'the topic is there')
    assert len(name) == 64 and name.startswith('t' * 50)
    daemon.create(name, 'look')
    daemon.wait_channel(name, 'look', depth=1)
    wait_alone(daemon, topic, channel)
    assert redrive(daemon, name, 'look')['redriven'] == 1
    assert take(daemon, topic, channel, 1)[0].body == b'x'


@pytest.mark.parametrize('names', [('t#ephemeral', 'ch#ephemeral', 'dead'),
                                   ('t', 'ch', 'dead#ephemeral')])
def test_ephemeral_topics(mem, names):
    topic, channel, dead = names
    with mem.subscribe(topic, channel, 1) as client, \
            mem.subscribe(dead, 'look#ephemeral') as look:
        put(mem, topic, channel, max_attempts=1, dead_letter_topic=dead)
        mem.pub(topic, b'x')
        fail(client)
        mem.wait_channel(dead, 'look#ephemeral', depth=1)
        assert redrive(mem, dead, 'look#ephemeral')['redriven'] == 1
        again = client.message()
        assert (again.body, again.attempts) == (b'x', 1)
        client.fin(again)
        look.expect_usable()


def test_taken_back_what_waits_for_it_is_delivered(daemon):
    """max_attempts and dead_letter_topic are taken back: the message is as any other."""
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_attempts=2, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        fail(client)
        client.rdy(0)
        put(daemon, 't', 'ch', max_attempts=None)
        client.rdy(1)
        for _ in range(4):
            fail(client)


@pytest.mark.parametrize('settings', [
    {'dead_letter_topic': 'a'}, {'dead_letter_topic': 'b'},
    {'dead_letter_topic': 'bad name'}, {'max_attempts': 65536}, {'max_attempts': -1},
    {'backoff': ['1s', 'x']}, {'backoff': '1s'}, {'message_ttl': '-1s'}])
def test_what_cannot_be_is_refused(mem, settings):
    mem.create('a', 'ch')
    mem.create('b', 'ch')
    put(mem, 'b', 'ch', dead_letter_topic='a')
    answer = put(mem, 'a', 'ch', status=400, **settings)
    assert list(settings)[0].encode() in answer.body


# -- refused, and lost to nobody

def test_a_disk_that_refuses_keeps_the_message_here(tmp_path):
    """No side file can be made: a directory is in its place. It heals."""
    with running(Nsqd(str(tmp_path))) as (daemon,):
        daemon.create('t', 'ch')
        daemon.create('dead', 'look')
        blocker = os.path.join(daemon.data_path, 'dead.dead-letters.dat')
        os.mkdir(blocker)
        put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        with daemon.subscribe('t', 'ch', 1) as client:
            daemon.pub('t', b'x')
            fail(client)
            daemon.wait_log(r'CHANNEL\(ch\): 1 dead letters wait')
            daemon.wait_channel('t', 'ch', depth=1)
            daemon.pub('t', b'good')
            client.fin(client.message())
            daemon.wait_channel('t', 'ch', depth=1)
            os.rmdir(blocker)
            daemon.wait_channel('t', 'ch', depth=0)
            assert total(daemon, 'dead') == 1


def test_what_waits_for_its_topic_survives_a_stop(tmp_path):
    with running(Nsqd(str(tmp_path))) as (daemon,):
        daemon.create('t', 'ch')
        blocker = os.path.join(daemon.data_path, 'dead.dead-letters.dat')
        os.mkdir(blocker)
        put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        with daemon.subscribe('t', 'ch', 20) as client:
            daemon.pub('t', *[b'%d' % i for i in range(20)])
            fail(client, 20)
            daemon.wait_channel('t', 'ch', depth=20, in_flight_count=0)
        daemon.stop()
        os.rmdir(blocker)
        daemon.start()
        with daemon.subscribe('t', 'ch', 1) as client:
            wait_total(daemon, 'dead', 20)
            client.expect_usable()


def test_emptying_takes_those_as_well(tmp_path):
    with running(Nsqd(str(tmp_path))) as (daemon,):
        daemon.create('t', 'ch')
        os.mkdir(os.path.join(daemon.data_path, 'dead.dead-letters.dat'))
        put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        with daemon.subscribe('t', 'ch', 1) as client:
            daemon.pub('t', b'x')
            fail(client)
            daemon.wait_channel('t', 'ch', depth=1, in_flight_count=0)
            assert daemon.post('/channel/empty?topic=t&channel=ch').status == 200
            daemon.wait_channel('t', 'ch', depth=0)


def test_the_dead_letter_topic_is_deleted_while_it_is_used(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 50) as client:
        for i in range(10):
            daemon.pub('t', *[b'%d' % k for k in range(50)])
            fail(client, 50)
            daemon.post('/topic/delete?topic=dead')
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
    daemon.post('/topic/delete?topic=dead')
    assert [f for f in os.listdir(daemon.data_path) if f.startswith('dead')] == []


def test_ten_thousand_dead_letters_and_back(daemon):
    daemon.create('t', 'ch')
    daemon.create('t', 'other')
    daemon.create('t.dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='{topic}.dead')
    bodies = [b'%d %s' % (i, os.urandom(i % 50)) for i in range(10000)]
    with daemon.subscribe('t', 'ch', 2500, **QUICK) as client:
        for i in range(0, 10000, 500):
            daemon.pub('t', *bodies[i:i + 500])
            fail(client, 500)
        daemon.wait_channel('t.dead', 'look', depth=10000)
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
    wait_alone(daemon, 't', 'ch')
    answer = redrive(daemon, 't.dead', 'look', 4000)
    assert (answer['redriven'], answer['skipped'], answer['depth']) == (4000, 0, 6000)
    answer = redrive(daemon, 't.dead', 'look', 10000)
    assert (answer['redriven'], answer['depth']) == (6000, 0)
    # Only to the channel that has given them up.
    daemon.wait_channel('t', 'other', depth=10000)
    assert sorted(m.body for m in take(daemon, 't', 'ch', 10000)) == sorted(bodies)


def test_the_origins_are_forgotten_when_no_dead_letter_is_left(tmp_path):
    daemon = Nsqd(str(tmp_path), ('--mem-queue-size=5',))
    files = [os.path.join(daemon.data_path, 'dead' + s)
             for s in ('.dead-letters.dat', '.dead-letters.old.dat')]

    def redriven():
        return redrive(daemon, 'dead', 'a', 1)['redriven']
    with running(daemon):
        daemon.create('t', 'ch')
        daemon.create('dead', 'a', 'b')
        put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        with daemon.subscribe('t', 'ch', 30) as client:
            daemon.pub('t', *[b'%d' % i for i in range(30)])
            fail(client, 30)
        wait_total(daemon, 'dead', 60)
        size = os.stat(files[0]).st_size
        assert size == 30 * 256
        take(daemon, 'dead', 'a', 30)
        # The other channel has its own.
        daemon.restart()
        assert os.stat(files[0]).st_size == size
        take(daemon, 'dead', 'b', 30)
        with open(files[1], 'wb') as f:
            f.write(bytes(256))
        daemon.restart()
        assert os.stat(files[0]).st_size == 0
        assert not os.path.exists(files[1])
        # It goes on being a dead-letter topic, which has none of its own.
        put(daemon, 'dead', 'a', max_attempts=1, dead_letter_topic='more')
        with daemon.subscribe('dead', 'a', 1, **QUICK) as client:
            daemon.pub('dead', b'x')
            fail(client, 3)
            client.fin(client.message())
            daemon.wait_channel('dead', 'a', depth=0, in_flight_count=0)
        with daemon.subscribe('t', 'ch', 1) as client:
            daemon.pub('t', b'y')
            fail(client)
        daemon.wait_channel('dead', 'a', depth=1)
        wait_alone(daemon, 't', 'ch')
        assert redriven() == 1


# -- redrive

def test_redrive_of_an_envelope_restores_the_body(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead', dead_letter_envelope=True)
    bodies = [bytes(range(n)) for n in range(1, 60)]
    with daemon.subscribe('t', 'ch', 100) as client:
        daemon.pub('t', *bodies)
        fail(client, len(bodies))
    daemon.wait_channel('dead', 'look', depth=len(bodies))
    put(daemon, 't', 'ch', max_attempts=None)
    # Also after a restart.
    daemon.restart()
    daemon.wait_channel('dead', 'look', depth=len(bodies))
    assert redrive(daemon, 'dead', 'look', 100)['redriven'] == len(bodies)
    got = take(daemon, 't', 'ch', len(bodies))
    assert sorted(m.body for m in got) == sorted(bodies)
    assert {m.attempts for m in got} == {1}


def test_redrive_says_what_cannot_be(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        fail(client)
    daemon.wait_channel('dead', 'look', depth=1)
    daemon.pub('dead', b'alien')
    daemon.wait_channel('dead', 'look', depth=2)
    daemon.post('/channel/delete?topic=t&channel=ch')
    answer = redrive(daemon, 'dead', 'look', 10)
    assert answer == {'redriven': 0, 'skipped': 2, 'no_origin': 1, 'no_channel': 1,
                      'refused': 0, 'depth': 2}
    daemon.create('t', 'ch')
    assert redrive(daemon, 'dead', 'look', 10)['redriven'] == 1
    assert take(daemon, 't', 'ch', 1)[0].body == b'x'
    assert [m.body for m in take(daemon, 'dead', 'look', 1)] == [b'alien']


def test_redrive_of_nothing_and_of_nonsense(mem):
    mem.create('t', 'ch')
    assert redrive(mem, 't', 'ch', 5)['redriven'] == 0
    for n in ('0', '-1', 'x', '10001', '99999999999999999999', ''):
        assert redrive(mem, 't', 'ch', n, status=400) == {'message': 'INVALID_N'}
    assert redrive(mem, 't', 'none', status=404) == {'message': 'CHANNEL_NOT_FOUND'}


def test_redrive_while_the_ttl_is_watched(daemon):
    """The pump has a batch in its hand, to look how old it is: that is redriven as well."""
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    put(daemon, 'dead', message_ttl='1h')
    with daemon.subscribe('t', 'ch', 100) as client:
        daemon.pub('t', *[b'%d' % i for i in range(100)])
        fail(client, 100)
    wait_total(daemon, 'dead', 100)
    wait_alone(daemon, 't', 'ch')
    done = 0

    def all_are_there():
        nonlocal done
        done += redrive(daemon, 'dead', 'look', 100)['redriven']
        return done == 100
    wait_until(all_are_there, lambda: '100 are redriven, it is %d' % done)
    daemon.wait_channel('t', 'ch', depth=100)


# -- kill -9

def test_kill_9_loses_nothing_on_disk(tmp_path):
    """Expired from disk, again and again killed: each message is here or there, or twice."""
    flags = ['--mem-queue-size=0', '--sync-every=1']
    daemon = Nsqd(str(tmp_path), flags)
    bodies = [b'%d' % i for i in range(4000)]
    with running(daemon):
        daemon.create('t', 'ch')
        daemon.create('dead', 'look')
        for i in range(0, 4000, 500):
            daemon.pub('t', *bodies[i:i + 500])
        daemon.wait_channel('t', 'ch', depth=4000)
        put(daemon, 't', 'ch', message_ttl='1ms', dead_letter_topic='dead')
        for _ in range(100):
            wait_until(lambda: total(daemon, 'dead') or total(daemon, 't') == 0, 'it goes on')
            if total(daemon, 't') == 0:
                break
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
            daemon.start()
        daemon.wait_channel('t', 'ch', depth=0)
        wait_until(lambda: daemon.channel_stats('dead', 'look')['depth'] >= 4000,
                   lambda: 'all are there: %s' % daemon.topic_stats('dead'))
        daemon.wait_topic('dead', depth=0)
        n = daemon.channel_stats('dead', 'look')['depth']
        got = take(daemon, 'dead', 'look', n)
        assert {m.body for m in got} == set(bodies)


def test_kill_9_while_consumers_fail(tmp_path):
    """What no consumer has ever had is lost never; what one has had is in the dead-letter topic,
    or it was in flight, and is lost as in stock."""
    daemon = Nsqd(str(tmp_path), ['--mem-queue-size=0', '--sync-every=1'])
    bodies = [b'%d' % i for i in range(2000)]
    had = set()
    with running(daemon):
        daemon.create('t', 'ch')
        daemon.create('dead', 'look')
        put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        for i in range(0, 2000, 500):
            daemon.pub('t', *bodies[i:i + 500])
        daemon.wait_channel('t', 'ch', depth=2000)
        for life in range(12):
            with daemon.subscribe('t', 'ch', 1 + life % 3, **QUICK) as client:
                for _ in range(20 + 7 * life):
                    message = client.message()
                    had.add(message.body)
                    client.req(message)
                daemon.process.send_signal(signal.SIGKILL)
                daemon.process.wait()
                # What it had sent is on its way.
                try:
                    while True:
                        had.add(client.message(1).body)
                except (EOFError, OSError, TimeoutError, AssertionError):
                    pass
            daemon.start()
        put(daemon, 't', 'ch', max_attempts=None)
        missing = set(bodies) - had
        with consuming(daemon, 'dead', 'look', 2000, **QUICK) as dead, \
                consuming(daemon, 't', 'ch', 2000, **QUICK) as left:
            def all_have_come():
                for client in dead, left:
                    missing.difference_update(m.body for m in some(client))
                return not missing
            wait_until(all_have_come, lambda: '%d are lost: %s' % (
                len(missing), sorted(missing)[:5]))


# -- a drain, and an exit under load

def test_a_drain_keeps_them_here(daemon):
    """No new messages while it drains, dead letters included; called off, it goes on."""
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', b'x')
        message = client.message()
        assert daemon.http('PUT', '/config/drain', b'true').status == 200
        client.req(message)
        daemon.wait_log(r'dead letters wait, since topic\(dead\) refuses them - draining')
        daemon.wait_channel('t', 'ch', depth=1, in_flight_count=0)
        assert daemon.http('PUT', '/config/drain', b'false').status == 200
        wait_total(daemon, 'dead', 1)
        daemon.wait_channel('t', 'ch', depth=0)


def test_exit_under_load_loses_nothing(daemon):
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    bodies = [b'%d' % i for i in range(2000)]
    daemon.pub('t', *bodies)
    daemon.wait_channel('t', 'ch', depth=2000)
    with daemon.subscribe('t', 'ch', 2000, **QUICK) as client:
        fail(client, 300)
        daemon.restart()
    # (What a pump has in its hand is in no depth.)
    wait_until(lambda: total(daemon, 't') + total(daemon, 'dead') == 2000, daemon.stats)
    # Those that have had their attempt go when they are next looked at.
    got = []
    with daemon.subscribe('t', 'ch', 2000, **QUICK) as client:
        def all_are_known():
            client.send(b'NOP\n')
            return len(got) + total(daemon, 'dead') == 2000
        while not all_are_known():
            try:
                message = client.message(0.2)
            except TimeoutError:
                continue
            got.append(message.body)
            client.fin(message)
    got += [m.body for m in take(daemon, 'dead', 'look', 2000 - len(got))]
    assert sorted(got) == sorted(bodies)
