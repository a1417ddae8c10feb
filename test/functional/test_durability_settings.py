"""A topic with a log, and what can be set: an MPUB is whole, limits hold, dead letters come and go
back, delays may be long; and durability itself is a setting."""

import http.client
import json
import threading
import time

import pytest

from nsq import mpub_body, wait_until
from queues import counter, put, redrive, try_pub, wait_deferred, wait_handed_out

pytestmark = pytest.mark.ours(reason='stock has no log')

FLAGS = ['--durability=process', '--mem-queue-size=10', '--sync-timeout=20ms']
# The same twice: in memory, and read again from the log.
MEMORY = {'memory': 10000, 'small': 4, 'none': 0}
WEEK = 7 * 24 * 3600 * 1000


@pytest.fixture(params=sorted(MEMORY))
def daemon(request, new_nsqd):
    return new_nsqd('--durability=process', '--mem-queue-size=%d' % MEMORY[request.param],
                    '--sync-timeout=20ms')


def kill_and_start(daemon):
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()


def settle_and_kill(daemon):
    """What was finished in the last moments might come again: so there is a clean stop before."""
    daemon.restart()
    kill_and_start(daemon)


def take(daemon, topic, channel, count, rdy=10):
    """So many messages, which are finished; then there are no more."""
    # A consumer that was there before might still be sent some.
    daemon.wait_channel(topic, channel, client_count=0)
    with daemon.subscribe(topic, channel, rdy=rdy) as client:
        got = []
        for _ in range(count):
            got.append(client.message())
            client.fin(got[-1])
        daemon.wait_channel(topic, channel, depth=0, in_flight_count=0)
    daemon.wait_channel(topic, channel, client_count=0)
    return got


def take_all(daemon, topic, channel):
    """The bodies of all that are there now."""
    count = daemon.channel_stats(topic, channel)['depth']
    return bodies(take(daemon, topic, channel, count, rdy=100))


def bodies(messages):
    return [m.body for m in messages]


# --- MPUB ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('by', ['tcp', 'http', 'http-lines'])
@pytest.mark.parametrize('count', [256, 257, 3000])
def test_an_mpub_of_any_size_keeps_its_order(daemon, by, count):
    daemon.create('t', 'a', 'b')
    wanted = [b'%d' % i for i in range(count)]
    if by == 'tcp':
        with daemon.connect() as client:
            client.command('MPUB', 't', body=mpub_body(wanted))
            client.expect_ok()
    elif by == 'http':
        assert daemon.post('/mpub?topic=t&binary=true', mpub_body(wanted)).status == 200
    else:
        assert daemon.post('/mpub?topic=t', b'\n'.join(wanted)).status == 200
    daemon.wait_channel('t', 'b', depth=count)
    assert bodies(take(daemon, 't', 'a', count, rdy=100)) == wanted
    kill_and_start(daemon)
    daemon.wait_channel('t', 'b', depth=count)
    assert bodies(take(daemon, 't', 'b', count, rdy=100)) == wanted


def test_an_mpub_is_there_whole_or_not_at_all_after_kill_9(new_nsqd):
    """Killed while several publish, again and again: each has its last one, and no part of one."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=300')
    size, lives = 700, 4
    acknowledged = []

    def publish(life, number):
        try:
            with daemon.connect() as client:
                for i in range(1000):
                    name = b'%d-%d-%d' % (life, number, i)
                    client.command('MPUB', 't', body=mpub_body([name] * size))
                    client.expect_ok()
                    acknowledged.append(name)
        except (OSError, AssertionError):
            pass  # it was killed
    daemon.create('t', 'ch')
    for life in range(lives):
        threads = [threading.Thread(target=publish, args=(life, n)) for n in range(3)]
        for thread in threads:
            thread.start()
        before = len(acknowledged)
        wait_until(lambda n=before + 8: len(acknowledged) >= n, 'some are acknowledged')
        daemon.process.kill()
        daemon.process.wait()
        for thread in threads:
            thread.join()
        daemon.start()
    found = {}
    daemon.wait_topic('t', depth=0)
    depth = daemon.channel_stats('t', 'ch')['depth']
    assert depth % size == 0 and depth >= size * len(acknowledged)
    with daemon.subscribe('t', 'ch', rdy=2000) as client:
        for _ in range(depth):
            message = client.message()
            found[message.body] = found.get(message.body, 0) + 1
            client.fin(message)
        client.expect_usable()
    assert set(found.values()) == {size}
    assert set(acknowledged) <= set(found)
    # What nobody has acknowledged: at most one of each publisher and life.
    assert len(found) - len(acknowledged) <= 3 * lives


def test_an_mpub_is_refused_whole_by_a_limit(daemon):
    daemon.create('t', 'ch')
    put(daemon, 't', max_depth=500)
    with daemon.connect() as client:
        client.command('MPUB', 't', body=mpub_body([b'x'] * 501))
        client.expect_refused(b'E_MPUB_FAILED MPUB failed topic is full: max_depth 500')
        assert daemon.channel_stats('t', 'ch')['depth'] == daemon.topic_stats('t')['depth'] == 0
        client.command('MPUB', 't', body=mpub_body([b'x'] * 500))
        client.expect_ok()
        daemon.wait_channel('t', 'ch', depth=500)
        assert try_pub(client, 't', b'x') == (
            'E_PUB_FAILED PUB failed channel ch is full: max_depth 500')
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=500)


# --- limits ---------------------------------------------------------------------------------------


def test_what_was_dropped_or_emptied_in_the_topic_stays_so(daemon):
    """Its channels have not got it, and a restart does not bring it to them."""
    daemon.create('t', 'ch')
    daemon.pub('t', b'old')
    daemon.wait_channel('t', 'ch', depth=1)
    assert daemon.post('/topic/pause?topic=t').status == 200
    put(daemon, 't', max_depth=8, overflow='drop-head')
    with daemon.connect() as client:
        for i in range(30):
            assert try_pub(client, 't', b'%d' % i) is None
    daemon.wait_topic('t', depth=8)
    kill_and_start(daemon)
    daemon.wait_topic('t', depth=8)
    daemon.wait_channel('t', 'ch', depth=1)
    assert daemon.post('/topic/unpause?topic=t').status == 200
    daemon.wait_channel('t', 'ch', depth=8)
    # The channel inherits the limit, and its oldest one goes.
    assert bodies(take(daemon, 't', 'ch', 8)) == [b'%d' % i for i in range(22, 30)]
    assert daemon.post('/topic/pause?topic=t').status == 200
    daemon.pub('t', b'x', b'y', b'z')
    assert daemon.post('/topic/empty?topic=t').status == 200
    daemon.wait_topic('t', depth=0)
    daemon.restart()
    daemon.wait_topic('t', depth=0)
    daemon.wait_channel('t', 'ch', depth=0)
    daemon.pub('t', b'new')
    assert daemon.post('/topic/unpause?topic=t').status == 200
    assert bodies(take(daemon, 't', 'ch', 1)) == [b'new']


def test_what_waits_for_its_time_counts(daemon):
    """By DPUB, and by REQ; after kill -9 as well, when nobody has it in memory."""
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_depth=6)
    full = 'E_PUB_FAILED PUB failed channel ch is full: max_depth 6'
    with daemon.connect() as client:
        for i in range(4):
            client.dpub('t', 3600000, b'd%d' % i)
        daemon.wait_channel('t', 'ch', deferred_count=4)
        daemon.pub('t', b'1', b'2')
        with daemon.subscribe('t', 'ch', rdy=1) as consumer:
            message = consumer.message()
            consumer.rdy(0)
            consumer.req(message, 3600000)
            consumer.expect_usable()
        daemon.wait_channel('t', 'ch', depth=1, deferred_count=5, in_flight_count=0)
        assert try_pub(client, 't', b'x') == full
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=1, deferred_count=5)
    with daemon.connect() as client:
        assert try_pub(client, 't', b'x') == full
    put(daemon, 't', 'ch', max_depth=None, max_bytes=1000)
    # Of equal size, what is estimated after a restart is exact.
    with daemon.connect() as client:
        assert 'max_bytes' in try_pub(client, 't', b'x' * 1000)
        assert try_pub(client, 't', b'y' * 900) is None


def test_drop_head_with_a_log(daemon):
    """The oldest go, in memory, in the log, and at last those that wait; none comes back."""
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', max_depth=10, overflow='drop-head')
    with daemon.connect() as client:
        for i in range(4):
            client.dpub('t', 1800000 + i, b'd%d' % i)
        daemon.wait_channel('t', 'ch', deferred_count=4)
        for i in range(50):
            assert try_pub(client, 't', b'%d' % i) is None
        daemon.wait_channel('t', 'ch', depth=6, deferred_count=4)
        kill_and_start(daemon)
    wait_until(lambda: daemon.channel_stats('t', 'ch')['depth'] == 6,
               lambda: daemon.channel_stats('t', 'ch'))
    put(daemon, 't', 'ch', max_depth=2)
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=2)
    put(daemon, 't', 'ch', max_depth=3)
    daemon.pub('t', b'last')
    daemon.wait_channel('t', 'ch', depth=1, deferred_count=2)
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=1, deferred_count=2)
    assert bodies(take(daemon, 't', 'ch', 1)) == [b'last']


def test_bytes_of_the_host_are_those_that_are_wanted(new_nsqd):
    daemon = new_nsqd('--durability=process', '--max-disk-bytes=100000', '--sync-timeout=20ms')
    daemon.create('t', 'a', 'b')
    with daemon.connect() as client:
        taken = 0
        while not try_pub(client, 't', b'x' * 944):
            taken += 1
        # A record has a head of 56 bytes.
        assert 98 <= taken <= 101
        daemon.restart()
    with daemon.connect() as client:
        assert 'max-disk-bytes' in try_pub(client, 't', b'x')
        take(daemon, 't', 'a', taken)
        assert 'max-disk-bytes' in try_pub(client, 't', b'x')
        take(daemon, 't', 'b', taken)
        wait_until(lambda: not try_pub(client, 't', b'x'), 'there is room again')


# --- dead letters -----------------------------------------------------------------------------------


def test_a_dead_letter_survives_kill_9_on_its_way_there_and_back(daemon):
    daemon.create('t', 'ch', 'other')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    wanted = [b'%d' % i for i in range(40)]
    daemon.pub('t', *wanted)
    with daemon.subscribe('t', 'ch', rdy=40) as client:
        for _ in wanted:
            client.req(client.message())
        daemon.wait_channel('dead', 'look', depth=40)
    daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
    settle_and_kill(daemon)
    daemon.wait_channel('dead', 'look', depth=40)
    put(daemon, 't', 'ch', max_attempts=0)
    answer = redrive(daemon, 'dead', 'look', 100)
    assert (answer['redriven'], answer['skipped'], answer['depth']) == (40, 0, 0)
    settle_and_kill(daemon)
    daemon.wait_channel('dead', 'look', depth=0)
    daemon.wait_channel('t', 'ch', depth=40)
    daemon.wait_channel('t', 'other', depth=40)
    got = take(daemon, 't', 'ch', 40)
    assert set(bodies(got)) == set(wanted) and {m.attempts for m in got} == {1}
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0)
    assert bodies(take(daemon, 't', 'other', 40)) == wanted
    daemon.restart()
    for channel in 'ch', 'other':
        daemon.wait_channel('t', channel, depth=0)
    daemon.wait_topic('t', depth=0)


def test_redrive_looks_at_each_once(daemon):
    """Those that stay do not come before the others; and a second look finds them again."""
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    daemon.pub('dead', *[b'alien %d' % i for i in range(300)])
    daemon.pub('t', *[b'%d' % i for i in range(20)])
    with daemon.subscribe('t', 'ch', rdy=20) as client:
        for _ in range(20):
            client.req(client.message())
    daemon.wait_channel('dead', 'look', depth=320)
    daemon.wait_channel('t', 'ch', client_count=0)
    put(daemon, 't', 'ch', max_attempts=0)
    answer = redrive(daemon, 'dead', 'look', 320)
    assert answer == {'redriven': 20, 'skipped': 300, 'no_origin': 300, 'no_channel': 0,
                      'refused': 0, 'depth': 300}
    assert redrive(daemon, 'dead', 'look', 1000)['skipped'] == 300
    take(daemon, 't', 'ch', 20)
    settle_and_kill(daemon)
    daemon.wait_channel('dead', 'look', depth=300)
    take(daemon, 'dead', 'look', 300)


def test_what_was_redriven_is_emptied_and_finished_as_any_other(daemon):
    """While its topic is paused, what is redriven is ahead of what the topic still holds."""
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    daemon.pub('t', *[b'%d' % i for i in range(20)])
    with daemon.subscribe('t', 'ch', rdy=20) as client:
        for _ in range(20):
            client.req(client.message())
    daemon.wait_channel('dead', 'look', depth=20)
    daemon.wait_channel('t', 'ch', client_count=0)
    put(daemon, 't', 'ch', max_attempts=0)
    assert daemon.post('/topic/pause?topic=t').status == 200
    daemon.pub('t', b'first')
    assert redrive(daemon, 'dead', 'look', 10)['redriven'] == 10
    daemon.pub('t', b'second')
    daemon.wait_channel('t', 'ch', depth=10)
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=10)
    daemon.wait_topic('t', depth=2)
    assert daemon.post('/channel/empty?topic=t&channel=ch').status == 200
    daemon.wait_channel('t', 'ch', depth=0)
    daemon.restart()
    assert redrive(daemon, 'dead', 'look', 10)['redriven'] == 10
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=10)
    assert len(take(daemon, 't', 'ch', 10)) == 10
    assert daemon.post('/topic/unpause?topic=t').status == 200
    assert bodies(take(daemon, 't', 'ch', 2)) == [b'first', b'second']
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0)
    daemon.wait_topic('t', depth=0)


def test_redrive_under_load(new_nsqd):
    """Publishers and consumers go on; each message is there once, and after kill -9 none is lost."""
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'ch', 'other')
    daemon.create('dead', 'look')
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    dead = {b'dead %d' % i for i in range(400)}
    daemon.pub('t', *sorted(dead))
    with daemon.subscribe('t', 'ch', rdy=400) as client:
        for _ in dead:
            client.req(client.message())
        daemon.wait_channel('dead', 'look', depth=400)
    # All that follows may take less than --sync-timeout: else the kill would bring these again.
    daemon.restart()
    put(daemon, 't', 'ch', max_attempts=0)
    ends = threading.Event()
    published = []

    def publish(number):
        with daemon.connect() as client:
            while not ends.is_set():
                some = [b'new %d %d' % (number, len(published) + i) for i in range(20)]
                client.command('MPUB', 't', body=mpub_body(some))
                client.expect_ok()
                published.extend(some)
    threads = [threading.Thread(target=publish, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        assert redrive(daemon, 'dead', 'look', 40)['redriven'] == 40
    wait_until(lambda: len(published) > 500, 'some are published')
    ends.set()
    for thread in threads:
        thread.join()
    kill_and_start(daemon)
    total = len(published) + len(dead)
    wait_until(lambda: daemon.channel_stats('t', 'ch')['depth'] +
               daemon.topic_stats('t')['depth'] == total,
               lambda: '%d are there: %s' % (total, daemon.topic_stats('t')))
    got = bodies(take(daemon, 't', 'ch', total, rdy=1000))
    assert sorted(got) == sorted(published + sorted(dead))
    # In order, but for what was redriven.
    assert [b for b in got if b not in dead] == [
        b for b in bodies(take(daemon, 't', 'other', total, rdy=1000)) if b not in dead]


def test_a_kill_in_the_middle_of_redrive_loses_none(new_nsqd):
    """Whenever it comes: each dead letter is there, or back. One may be both."""
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    wanted = {b'%d' % i for i in range(600)}
    daemon.pub('t', *sorted(wanted))
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', rdy=600) as client:
        for _ in wanted:
            client.req(client.message())
        daemon.wait_channel('dead', 'look', depth=600)
    daemon.restart()
    put(daemon, 't', 'ch', max_attempts=0)

    def go_on():
        try:
            while daemon.post('/channel/redrive?topic=dead&channel=look&n=7').status == 200:
                redrives.append(None)
        except (OSError, http.client.HTTPException):
            pass  # it was killed
    for more in 0, 1, 5, 12:
        redrives = []
        threads = [threading.Thread(target=go_on) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda n=more: len(redrives) >= n, 'some are back')
        daemon.process.kill()
        daemon.process.wait()
        for thread in threads:
            thread.join()
        daemon.start()
        wait_handed_out(daemon, 't')
        wait_handed_out(daemon, 'dead')
    back, there = (take_all(daemon, *queue) for queue in [('t', 'ch'), ('dead', 'look')])
    assert set(back) | set(there) == wanted
    assert len(back) >= 7 and len(there) == len(set(there))


def test_a_disconnect_that_is_no_attempt_is_none_after_kill_9(new_nsqd):
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'ch')
    put(daemon, 't', 'ch', requeue_on_disconnect=True, count_disconnect_as_attempt=False)
    daemon.pub('t', b'1', b'2')
    for attempts in 1, 1:
        with daemon.subscribe('t', 'ch', rdy=2) as client:
            assert [client.message().attempts for _ in range(2)] == [attempts] * 2
        daemon.wait_channel('t', 'ch', depth=2, in_flight_count=0, client_count=0)
    assert counter(daemon, 'nsqd_channel_requeued_on_disconnect_total', 't', 'ch') == 4
    settle_and_kill(daemon)
    assert {m.attempts for m in take(daemon, 't', 'ch', 2)} == {1}


# --- long delays ------------------------------------------------------------------------------------


def test_a_delay_of_weeks_where_there_is_a_log(new_nsqd):
    flags = ('--max-defer-timeout=720h', '--sync-timeout=20ms')
    daemon = new_nsqd('--durability=process', *flags)
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        client.dpub('t', 30 * 24 * 3600 * 1000, b'a month')
        client.dpub('fresh', WEEK, b'a week')  # a topic that this makes
        client.command('DPUB', 't', 30 * 24 * 3600 * 1000 + 1, body=b'x')
        client.expect_fatal(b'E_INVALID DPUB timeout 2592000001 out of range 0-2592000000')
    assert daemon.post('/pub?topic=t&defer=%d' % WEEK, b'a week').status == 200
    answer = daemon.post('/pub?topic=t&defer=2592000001', b'x')
    assert (answer.status, answer.body) == (400, b'{"message":"INVALID_DEFER"}')
    daemon.pub('t', b'put off')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        client.req(client.message(), WEEK)
        daemon.wait_channel('t', 'ch', deferred_count=3, depth=0)
    settle_and_kill(daemon)
    daemon.wait_channel('t', 'ch', deferred_count=3, depth=0)
    # What is set for a channel holds.
    put(daemon, 't', 'ch', max_req_timeout='100ms')
    daemon.pub('t', b'put off')
    daemon.wait_channel('t', 'ch', client_count=0)
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        client.req(client.message(), WEEK)
        client.fin(client.message())
    daemon.wait_log(r'REQ timeout 604800000000000 out of range 0-100000000\.')


def test_without_a_log_max_req_timeout_holds(new_nsqd):
    daemon = new_nsqd('--max-defer-timeout=720h')
    daemon.create('t')
    with daemon.connect() as client:
        client.command('DPUB', 't', 3600001, body=b'x')
        client.expect_fatal(b'E_INVALID DPUB timeout 3600001 out of range 0-3600000')
    with daemon.connect() as client:
        client.command('DPUB', 'fresh', 3600001, body=b'x')
        client.expect_fatal(b'E_INVALID DPUB timeout 3600001 out of range 0-3600000')
    assert daemon.post('/pub?topic=t&defer=3600001', b'x').status == 400
    with new_nsqd('--durability=process').connect() as client:
        client.command('DPUB', 't', 3600001, body=b'x')
        client.expect_fatal(b'E_INVALID DPUB timeout 3600001 out of range 0-3600000')


@pytest.mark.parametrize('value', ['721h', '-1s'])
def test_a_max_defer_timeout_that_cannot_be(new_nsqd, value):
    daemon = new_nsqd('--max-defer-timeout=' + value, start=False)
    daemon.start_fails()
    assert 'max-defer-timeout' in daemon.log()


# --- durability -------------------------------------------------------------------------------------


def test_durability_is_a_setting_of_a_topic(new_nsqd, tmp_path):
    config = tmp_path / 'nsqd.cfg'
    config.write_text('[[policy]]\nmatch = "kept.*"\ndurability = "process"\n')
    daemon = new_nsqd('--config=' + str(config))
    for topic in 'kept.1', 'lost', 'kept#ephemeral':
        daemon.pub(topic, b'x')
    kill_and_start(daemon)
    daemon.wait_topic('kept.1', depth=1)
    wait_until(lambda: (daemon.topic_stats('lost') or {'depth': 0})['depth'] == 0, 'it is lost')
    shown = json.loads(daemon.get('/topic/config?topic=kept.1').body)['durability']
    assert shown == {'value': 'process', 'from': 'policy', 'match': 'kept.*'}
    daemon.pub('lost', b'x')
    shown = json.loads(daemon.get('/topic/config?topic=lost').body)['durability']
    assert shown == {'value': 'none', 'from': 'default'}


def test_durability_of_a_channel_cannot_be(new_nsqd, tmp_path):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    assert json.loads(put(daemon, 't', 'ch', status=400, durability='disk').body) == {
        'message': 'INVALID_SETTING durability: not of a channel'}
    assert json.loads(put(daemon, 't', status=400, durability='tape').body) == {
        'message': 'INVALID_SETTING durability: one of "none", "process", "disk" is wanted'}
    config = tmp_path / 'nsqd.cfg'
    config.write_text('[[policy]]\nmatch = "t/c"\ndurability = "process"\n')
    other = new_nsqd('--config=' + str(config), start=False)
    other.start_fails()
    assert 'durability' in other.log()


def test_durability_changes_between_process_and_disk_at_once(new_nsqd):
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'ch')
    daemon.pub('t', b'1')
    shown = json.loads(put(daemon, 't', durability='disk').body)['durability']
    assert shown == {'value': 'disk', 'from': 'topic'}
    daemon.wait_log(r'TOPIC\(t\): durability is disk now')
    daemon.pub('t', b'2')
    put(daemon, 't', durability='process')
    daemon.pub('t', b'3')
    put(daemon, 't', durability='disk')
    # Its lines are written a little later, and it is to be killed.
    daemon.wait_log(r'TOPIC\(t\): durability is process now')
    kill_and_start(daemon)
    daemon.pub('t', b'4')
    assert bodies(take(daemon, 't', 'ch', 4)) == [b'1', b'2', b'3', b'4']


def test_durability_that_needs_a_restart_says_so(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    put(daemon, 't', durability='process')
    daemon.wait_log(r'TOPIC\(t\): durability is process from the next start on')
    daemon.restart()
    daemon.pub('t', b'kept')
    daemon.wait_channel('t', 'ch', depth=1)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=1)
    put(daemon, 't', durability=None)
    daemon.wait_log(r'TOPIC\(t\): durability is none from the next start on')
    assert bodies(take(daemon, 't', 'ch', 1)) == [b'kept']


def test_durability_changes_under_load(new_nsqd):
    """Each acknowledged message is there after kill -9, whatever it was meanwhile."""
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'ch')
    acknowledged, ends = [], threading.Event()

    def publish(number):
        with daemon.connect() as client:
            while not ends.is_set():
                body = b'%d %d' % (number, len(acknowledged))
                client.pub('t', body)
                acknowledged.append(body)
    threads = [threading.Thread(target=publish, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for i in range(10):
        before = len(acknowledged)
        put(daemon, 't', durability=('disk', 'process')[i % 2])
        wait_until(lambda n=before + 10: len(acknowledged) >= n, 'they go on')
    ends.set()
    for thread in threads:
        thread.join()
    kill_and_start(daemon)
    wait_until(lambda: daemon.channel_stats('t', 'ch')['depth'] +
               daemon.topic_stats('t')['depth'] == len(acknowledged),
               lambda: daemon.topic_stats('t'))
    assert sorted(bodies(take(daemon, 't', 'ch', len(acknowledged), rdy=500))) == sorted(
        acknowledged)


def test_a_drain_waits_for_what_a_log_defers(new_nsqd):
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'ch')
    begin = time.time()
    with daemon.connect() as client:
        client.dpub('t', 1500, b'later')
    wait_deferred(daemon, 't', 'ch', begin + 1.5)
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        assert daemon.http('PUT', '/config/drain', b'true').status == 200
        message = client.message()
        assert message.body == b'later'
        client.fin(message)
        assert daemon.wait_exit() == 0
