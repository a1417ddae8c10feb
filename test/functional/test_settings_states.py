"""Settings of topics and channels in each state, where no other file shows it: a backlog in memory
and on disk, in flight, deferred, paused, after a restart, on ephemeral ones, changed under load,
and two settings that touch each other. docs/settings.md says where the others are.

A lower bound of a time is measured from before its cause; all else waits for what it wants.
"""

import base64
import json
import os
import signal
import threading
import time

import pytest

from nsq import quote, wait_until
from queues import QUICK, counter, metric, put, redrive, total, wait_counter, wait_older, wait_total
from queues import daemon as place  # noqa: F401 (fixture)
from test_dead_letters import fail, take
from test_limits import bodies_of, fill, fill_in_order, try_pub, waiting

pytestmark = pytest.mark.ours(reason='stock has no settings per topic and channel')

# Of the shared daemon: most of a backlog is on disk.
FLAGS = ['--mem-queue-size=10', '--max-msg-timeout=2h']
LONG = 3600000      # of a timeout that is not to be met, in ms


@pytest.fixture
def topic(nsqd):
    name = nsqd.topic()
    nsqd.create(name, 'ch')
    return name


def pause(daemon, topic, channel=None, what='pause'):
    path = '/topic/%s?topic=%s' % (what, quote(topic))
    if channel:
        path = '/channel/%s?topic=%s&channel=%s' % (what, quote(topic), quote(channel))
    assert daemon.post(path).status == 200


def unpause(daemon, topic, channel=None):
    pause(daemon, topic, channel, 'unpause')


def has_topic(daemon, topic):
    return daemon.topic_stats(topic) is not None


def origins(daemon, topic, n):
    """The envelopes of n dead letters."""
    daemon.create(topic, 'look')
    return [json.loads(m.body) for m in take(daemon, topic, 'look', n)]


def refuses(daemon, topic):
    """The topic takes no dead letters, since a directory is where their origins are to be kept."""
    path = os.path.join(daemon.data_path, topic + '.dead-letters.dat')
    os.mkdir(path)
    return path


class Load:
    """Threads that do something until they are told; what they raise is raised at the end."""

    def __init__(self, *bodies):
        self.over = threading.Event()
        self.errors = []
        self.threads = [threading.Thread(target=self.run, args=(b,)) for b in bodies]

    def run(self, body):
        try:
            while not self.over.is_set():
                body()
        except BaseException as error:
            self.errors.append(error)
            raise

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors


# -- max_depth, max_bytes

def test_a_paused_channel_fills_up_and_its_publishers_are_refused(nsqd, topic):
    put(nsqd, topic, 'ch', max_depth=15)
    pause(nsqd, topic, 'ch')
    with nsqd.subscribe(topic, 'ch', 100), nsqd.connect() as client:
        fill(client, topic, 15)
        nsqd.wait_channel(topic, 'ch', depth=15, in_flight_count=0)
        assert 'channel ch is full' in try_pub(client, topic, b'x')
        unpause(nsqd, topic, 'ch')
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=15)
        fill(client, topic, 1)


@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGKILL])
def test_max_depth_after_a_restart(new_nsqd, end):
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1')
    daemon.create('t', 'ch')
    put(daemon, 't', max_depth=40)
    daemon.pub('t', *[b'x'] * 30)
    daemon.wait_channel('t', 'ch', depth=30)
    wait_until(lambda: 'ch' in daemon.metadata().get('t', (0, {}))[1], 'nsqd.dat has the channel')
    daemon.process.send_signal(end)
    daemon.wait_exit()
    daemon.start()
    # What was on its way from the topic to the channel may be in both after a kill. The pump hears of
    # a pause when it has nothing in its hand.
    daemon.wait_topic('t', depth=0)
    pause(daemon, 't')
    pause(daemon, 't', what='unpause')
    there = daemon.channel_stats('t', 'ch')['depth']
    assert there >= 30
    with daemon.connect() as client:
        fill(client, 't', 40 - there)
        assert 'max_depth 40' in try_pub(client, 't', b'x')


@pytest.mark.parametrize('what', ['timeout', 'disconnect'])
def test_what_comes_back_is_taken_by_a_full_channel(nsqd, topic, what):
    put(nsqd, topic, 'ch', max_depth=5, msg_timeout='1h', max_msg_timeout='1h',
        requeue_on_disconnect=what == 'disconnect')
    with nsqd.connect() as publisher:
        with nsqd.subscribe(topic, 'ch', 5) as client:
            fill(publisher, topic, 5)
            messages = client.messages(5)
            client.rdy(0)
            client.expect_usable()
            fill(publisher, topic, 5)
            if what == 'timeout':
                put(nsqd, topic, 'ch', msg_timeout='1ms')
                for message in messages:
                    client.touch(message)
                nsqd.wait_channel(topic, 'ch', depth=10, in_flight_count=0)
        nsqd.wait_channel(topic, 'ch', depth=10, in_flight_count=0)
        assert 'full' in try_pub(publisher, topic, b'x')


def test_what_waits_for_a_token_or_for_room_counts(nsqd, topic):
    put(nsqd, topic, 'ch', max_depth=5, max_in_flight=2)
    with nsqd.subscribe(topic, 'ch', 100, msg_timeout=LONG), nsqd.connect() as publisher:
        fill(publisher, topic, 7)
        nsqd.wait_channel(topic, 'ch', depth=5, in_flight_count=2)
        assert 'channel ch is full' in try_pub(publisher, topic, b'x')


def test_of_max_depth_and_max_bytes_the_first_that_is_reached_holds(nsqd, topic):
    put(nsqd, topic, max_depth=10, max_bytes=100)
    with nsqd.connect() as client:
        fill(client, topic, 2, b'x' * 50)
        assert 'max_bytes 100' in try_pub(client, topic, b'x')
        nsqd.wait_channel(topic, 'ch', depth=2)
        assert nsqd.post('/channel/empty?topic=%s&channel=ch' % topic).status == 200
        fill(client, topic, 10, b'x')
        assert 'max_depth 10' in try_pub(client, topic, b'x')


def take_one(consumer, received):
    """Finishes a message, if there is one: then it is true."""
    try:
        message = consumer.message(0.1)
    except TimeoutError:
        return False
    received.append(message.id)
    consumer.fin(message)
    return True


def consume_until(consume, condition, what):
    """As long as something comes the deadline is not the one of all, of which there may be many."""
    while wait_until(lambda: consume() or (condition() and 'all'), what) != 'all':
        pass


def test_limits_are_changed_under_load(nsqd, topic):
    """Whatever holds: each message that was taken is received once, or counted as dropped."""
    taken, received = [], []

    def publish():
        with nsqd.connect() as client:
            for _ in range(20):
                if try_pub(client, topic, b'x' * 20) is None:
                    taken.append(1)

    with nsqd.subscribe(topic, 'ch', 100, msg_timeout=LONG) as consumer:
        def consume():
            return take_one(consumer, received)
        with Load(publish, publish, publish, consume):
            for i in range(12):
                for settings in ({'max_depth': 5}, {'max_bytes': 100}, {'overflow': 'drop-head'},
                                 {'max_depth': None}, {'max_bytes': None, 'overflow': None}):
                    put(nsqd, topic, **settings)
                wait_until(lambda i=i: len(received) > 10 * i, 'the consumer gets on')

        def all_are_known():
            return len(taken) == len(received) + metric(
                nsqd, 'nsq_topic_channel_overflow_total', topic=topic) + metric(
                    nsqd, 'nsq_topic_dropped_total', topic=topic)
        consume_until(consume, all_are_known,
                      lambda: '%d are known, it is %d' % (len(taken), len(received)))
    assert len(set(received)) == len(received)


# -- drop-head

def test_drop_head_of_a_paused_topic(nsqd, topic):
    put(nsqd, topic, max_depth=20, overflow='drop-head')
    pause(nsqd, topic)
    with nsqd.connect() as client:
        fill(client, topic, 60)
    nsqd.wait_topic(topic, depth=20)
    unpause(nsqd, topic)
    nsqd.wait_channel(topic, 'ch', depth=20)
    assert sorted(bodies_of(nsqd, topic, 'ch')) == list(range(40, 60))


def test_drop_head_of_a_channel_alone_leaves_its_paused_topic(nsqd, topic):
    put(nsqd, topic, 'ch', max_depth=20, overflow='drop-head')
    pause(nsqd, topic)
    with nsqd.connect() as client:
        fill(client, topic, 60)
    assert waiting(nsqd, topic) == 60
    unpause(nsqd, topic)
    nsqd.wait_topic(topic, depth=0)
    nsqd.wait_channel(topic, 'ch', depth=20)


def test_drop_head_after_a_restart(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=10')
    daemon.create('t', 'ch')
    put(daemon, 't', max_depth=20, overflow='drop-head')
    with daemon.connect() as client:
        fill_in_order(daemon, client, 't', range(50))
    daemon.wait_channel('t', 'ch', depth=20, message_count=50)
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=20)
    with daemon.connect() as client:
        fill_in_order(daemon, client, 't', range(50, 100))
    daemon.wait_channel('t', 'ch', depth=20, message_count=50)
    assert sorted(bodies_of(daemon, 't', 'ch')) == list(range(80, 100))


def test_drop_head_of_ephemeral_ones(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    nsqd.create(topic, channel)
    put(nsqd, topic, channel, max_depth=5, overflow='drop-head')
    with nsqd.connect() as client:
        for i in range(20):
            client.pub(topic, b'%d' % i)
            # Memory has room for 10: what it has no room for would be the newest, as in stock.
            nsqd.wait_channel(topic, channel, message_count=i + 1, depth=min(i + 1, 5))
    with nsqd.subscribe(topic, channel, 5) as consumer:
        assert [int(m.body) for m in consumer.messages(5)] == list(range(15, 20))


def test_memory_has_no_room_for_what_an_ephemeral_channel_may_hold(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    nsqd.create(topic, channel)
    put(nsqd, topic, channel, max_depth=50, overflow='drop-head')
    with nsqd.connect() as client:
        for i in range(30):
            client.pub(topic, b'%d' % i)
            nsqd.wait_topic(topic, depth=0)
    nsqd.wait_channel(topic, channel, depth=10, message_count=30)
    with nsqd.subscribe(topic, channel, 10) as consumer:
        assert [int(m.body) for m in consumer.messages(10)] == list(range(10))


# -- drop-head, and dead letters

def test_what_overflows_becomes_a_dead_letter(place):
    place.create('t', 'ch')
    put(place, 't', max_depth=20, overflow='drop-head', dead_letter_topic='{topic}.dead',
        dead_letter_envelope=True)
    with place.connect() as client:
        fill(client, 't', 100)
    place.wait_channel('t', 'ch', depth=20)
    wait_total(place, 't.dead', 80)
    wait_until(lambda: metric(place, 'nsq_topic_channel_overflow_total', topic='t',
                              channel='ch') == 80, 'they are counted')
    wait_counter(place, 'nsqd_channel_dead_lettered_total', 't', 'ch', 80)
    assert counter(place, 'nsqd_channel_given_up_total', 't', 'ch') == 0
    place.create('t.dead', 'look')
    place.wait_channel('t.dead', 'look', depth=80)
    # And back again, when there is room for them.
    put(place, 't', max_depth=None)
    assert redrive(place, 't.dead', 'look', 30)['redriven'] == 30
    place.wait_channel('t', 'ch', depth=50)
    found = origins(place, 't.dead', 50)
    assert {(o['topic'], o['channel'], o['reason'], o['attempts']) for o in found} == {
        ('t', 'ch', 'overflow', 0)}
    dead = [int(base64.b64decode(o['body'])) for o in found]
    assert sorted(dead + bodies_of(place, 't', 'ch')) == list(range(100))
    assert max(dead) < 80


def test_a_backlog_that_becomes_too_much_is_dead_letters(place):
    place.create('t', 'ch')
    place.pub('t', *[b'%d' % i for i in range(500)])
    place.wait_channel('t', 'ch', depth=500)
    put(place, 't', 'ch', max_depth=1, overflow='drop-head', dead_letter_topic='dead')
    place.wait_channel('t', 'ch', depth=1)
    wait_total(place, 'dead', 499)
    assert bodies_of(place, 't', 'ch') == [499]


def test_deferred_ones_that_overflow_are_dead_letters(place):
    place.create('t', 'ch')
    with place.connect() as client:
        for i in range(8):
            client.dpub('t', LONG - 1000 * i, b'%d' % i)
    place.wait_channel('t', 'ch', deferred_count=8)
    put(place, 't', 'ch', max_depth=3, overflow='drop-head', dead_letter_topic='dead')
    place.wait_channel('t', 'ch', deferred_count=3)
    place.create('dead', 'look')
    # Those that are due first go.
    assert sorted(int(m.body) for m in take(place, 'dead', 'look', 5)) == list(range(3, 8))


def test_what_overflows_in_the_topic_itself_is_no_dead_letter(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    put(nsqd, topic, max_depth=5, overflow='drop-head', dead_letter_topic=topic + '.dead')
    with nsqd.connect() as client:
        fill(client, topic, 25)
    nsqd.wait_topic(topic, depth=5)
    wait_until(lambda: metric(nsqd, 'nsq_topic_dropped_total', topic=topic) == 20,
               'they are counted')
    assert not has_topic(nsqd, topic + '.dead')


def test_what_overflows_waits_while_its_topic_refuses(place):
    place.create('t', 'ch')
    blocker = refuses(place, 'dead')
    put(place, 't', 'ch', max_depth=5, overflow='drop-head', dead_letter_topic='dead')
    with place.connect() as client:
        fill(client, 't', 25)
    wait_until(lambda: metric(place, 'nsq_topic_channel_overflow_total', topic='t') == 20,
               '20 are too much')
    # They are still here.
    place.wait_channel('t', 'ch', depth=25)
    os.rmdir(blocker)
    place.wait_channel('t', 'ch', depth=5)
    wait_total(place, 'dead', 20)


def test_overflow_and_expiry_together_lose_nothing(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', max_depth=10, overflow='drop-head', message_ttl='100ms',
        dead_letter_topic='dead', dead_letter_envelope=True)
    with place.connect() as client:
        for i in range(60):
            client.pub('t', b'%d' % i)
    place.wait_channel('t', 'ch', depth=0)
    wait_total(place, 'dead', 60)
    found = origins(place, 'dead', 60)
    assert {o['reason'] for o in found} <= {'overflow', 'expired'}
    assert sorted(int(base64.b64decode(o['body'])) for o in found) == list(range(60))


# -- the settings of a dead-letter topic itself

def test_dead_letters_wait_until_their_topic_has_room(place):
    place.create('t', 'ch')
    place.create('dead', 'look')
    put(place, 'dead', max_depth=2)
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 10) as client, place.connect() as publisher:
        place.pub('t', *[b'%d' % i for i in range(10)])
        fail(client, 10)
        place.wait_channel('t', 'ch', depth=8, in_flight_count=0)
        place.wait_channel('dead', 'look', depth=2)
        assert 'full' in try_pub(publisher, 'dead', b'x')
        put(place, 'dead', max_depth=0)
        place.wait_channel('dead', 'look', depth=10)
        place.wait_channel('t', 'ch', depth=0)


def test_drop_head_holds_on_a_dead_letter_topic(place):
    place.create('t', 'ch')
    place.create('dead', 'look')
    put(place, 'dead', max_depth=2, overflow='drop-head')
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 10) as client:
        place.pub('t', *[b'%d' % i for i in range(10)])
        fail(client, 10)
        wait_counter(place, 'nsqd_channel_dead_lettered_total', 't', 'ch', 10)
        place.wait_topic('dead', depth=0)
        place.wait_channel('dead', 'look', depth=2)


@pytest.mark.parametrize('no_channel', ['drop', 'reject'])
def test_a_dead_letter_waits_in_its_topic_whatever_no_channel_says(place, no_channel):
    place.create('t', 'ch')
    place.create('dead')
    put(place, 'dead', no_channel=no_channel)
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        fail(client)
        wait_total(place, 'dead', 1)


# -- no_channel

@pytest.mark.parametrize('no_channel', ['drop', 'reject'])
def test_what_waits_already_stays_for_the_next_channel(nsqd, no_channel):
    topic = nsqd.topic()
    nsqd.create(topic)
    nsqd.pub(topic, *[b'%d' % i for i in range(30)])
    put(nsqd, topic, no_channel=no_channel)
    with nsqd.connect() as client:
        assert (try_pub(client, topic, b'x') is None) == (no_channel == 'drop')
    assert waiting(nsqd, topic) == 30
    nsqd.create(topic, 'ch')
    nsqd.wait_channel(topic, 'ch', depth=30)


def test_no_channel_while_paused_and_on_an_ephemeral_topic(nsqd):
    for topic in nsqd.topic(), nsqd.topic('#ephemeral'):
        nsqd.create(topic)
        pause(nsqd, topic)
        put(nsqd, topic, no_channel='reject')
        with nsqd.connect() as client:
            assert try_pub(client, topic, b'x') == 'E_PUB_FAILED PUB failed no channel'
            put(nsqd, topic, no_channel='drop')
            fill(client, topic, 3)
            assert waiting(nsqd, topic) == 0
            nsqd.create(topic, 'ch')
            fill(client, topic, 3)
            assert waiting(nsqd, topic) == 3


def test_no_channel_after_a_restart(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t')
    daemon.create('with', 'ch')
    put(daemon, 't', no_channel='reject')
    put(daemon, 'with', no_channel='reject')
    daemon.restart()
    with daemon.connect() as client:
        assert 'no channel' in try_pub(client, 't', b'x')
        fill(client, 'with', 1)


def test_no_channel_is_changed_under_load(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    taken, refused = [], []

    def publish():
        with nsqd.connect() as client:
            for _ in range(20):
                (refused if try_pub(client, topic, b'x') else taken).append(1)
    with Load(publish, publish):
        for i in range(30):
            put(nsqd, topic, no_channel=('drop', 'reject', None)[i % 3])
            seen = len(taken) + len(refused)
            wait_until(lambda seen=seen: len(taken) + len(refused) > seen, 'one was answered')
    dropped = metric(nsqd, 'nsq_topic_dropped_total', topic=topic)
    assert waiting(nsqd, topic) + dropped == len(taken)
    assert metric(nsqd, 'nsq_topic_rejected_total', topic=topic, reason='no_channel') == len(refused)


# -- message_ttl

@pytest.mark.parametrize('channel', ['none', 'paused topic'])
def test_in_the_topic_itself_nothing_expires(place, channel):
    place.create('t', *[] if channel == 'none' else ['ch'])
    put(place, 't', message_ttl='1ms')
    if channel != 'none':
        pause(place, 't')
    place.pub('t', b'x', b'y')
    # A channel of another topic shows that enough time has passed.
    place.create('sign', 'ch')
    put(place, 'sign', message_ttl='1ms')
    for i in range(3):
        place.pub('sign', b'x')
        wait_counter(place, 'nsqd_channel_expired_total', 'sign', 'ch', i + 1)
    assert place.topic_stats('t')['depth'] == 2
    if channel == 'none':
        place.create('t', 'ch')
    else:
        unpause(place, 't')
    wait_counter(place, 'nsqd_channel_expired_total', 't', 'ch', 2)
    place.wait_channel('t', 'ch', depth=0)


def test_the_age_goes_on_over_a_restart(place):
    place.create('t', 'ch')
    put(place, 't', message_ttl='1500ms', dead_letter_topic='dead', dead_letter_envelope=True)
    place.pub('t', b'x')
    published = time.time_ns()
    place.restart()
    wait_total(place, 'dead', 1)
    origin, = origins(place, 'dead', 1)
    assert origin['reason'] == 'expired' and origin['timestamp'] <= published
    assert origin['time'] - origin['timestamp'] >= 1500000000


def test_expiry_in_an_ephemeral_channel(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    nsqd.create(topic, channel)
    put(nsqd, topic, message_ttl='100ms')
    nsqd.pub(topic, b'x')
    wait_counter(nsqd, 'nsqd_channel_expired_total', topic, channel, 1)
    nsqd.wait_channel(topic, channel, depth=0)


@pytest.mark.parametrize('flow', [{'max_in_flight': 1}, {'rate': 1}])
def test_what_waits_for_its_turn_expires(nsqd, topic, flow):
    put(nsqd, topic, 'ch', **flow)
    with nsqd.subscribe(topic, 'ch', msg_timeout=LONG) as client:
        nsqd.pub(topic, b'1', b'2', b'3')
        nsqd.wait_channel(topic, 'ch', depth=3)
        client.rdy(10)
        message = client.message()
        if 'rate' in flow:
            client.rdy(1)
            client.expect_usable()
        put(nsqd, topic, 'ch', message_ttl='1ms')
        wait_counter(nsqd, 'nsqd_channel_expired_total', topic, 'ch', 2)
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=1)
        client.fin(message)


def test_a_ttl_is_changed_under_load(nsqd, topic):
    received = []
    published = 3000
    with nsqd.subscribe(topic, 'ch', 50, msg_timeout=LONG) as consumer:
        def consume():
            return take_one(consumer, received)

        def publish():
            if publish.left > 0:
                nsqd.pub(topic, *[b'x'] * 50)
                publish.left -= 50
            else:
                time.sleep(0.01)
        publish.left = published
        with Load(consume, publish):
            for _ in range(20):
                put(nsqd, topic, message_ttl='1ms')
                put(nsqd, topic, message_ttl='1h')
                put(nsqd, topic, message_ttl=None)
            wait_until(lambda: publish.left == 0, 'all are published')
        consume_until(consume, lambda: published == len(received) + counter(
            nsqd, 'nsqd_channel_expired_total', topic, 'ch'), 'all are known')
    assert len(set(received)) == len(received)


# -- max_attempts

def test_lowered_while_in_flight_it_holds_when_it_comes_back(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 2) as client:
        place.pub('t', b'1', b'2')
        first, second = client.messages(2)
        put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        place.wait_channel('t', 'ch', in_flight_count=2)
        # A success is one.
        client.fin(first)
        client.req(second)
        wait_total(place, 'dead', 1)
        place.wait_channel('t', 'ch', depth=0, in_flight_count=0)


def test_lowered_while_deferred_it_holds_when_it_is_due(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 1, **QUICK) as client:
        place.pub('t', b'x')
        message = client.message()
        client.req(message, LONG)
        place.wait_channel('t', 'ch', deferred_count=1)
        put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        place.wait_channel('t', 'ch', deferred_count=1)
        assert place.post('/channel/message/requeue?topic=t&channel=ch&id='
                          + message.id.decode()).status == 200
        wait_total(place, 'dead', 1)
        place.wait_channel('t', 'ch', depth=0, in_flight_count=0, deferred_count=0)


def test_the_last_attempt_comes_back_while_paused(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        message = client.message()
        pause(place, 't', 'ch')
        client.req(message)
        wait_total(place, 'dead', 1)
        place.wait_channel('t', 'ch', depth=0)


def test_lowered_while_paused_it_holds_from_unpause_on(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 1, **QUICK) as client:
        place.pub('t', b'x')
        message = client.message()
        pause(place, 't', 'ch')
        client.req(message)
        place.wait_channel('t', 'ch', depth=1, in_flight_count=0)
        put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
        place.wait_channel('t', 'ch', depth=1)
        unpause(place, 't', 'ch')
        wait_total(place, 'dead', 1)


def test_attempts_are_counted_on_after_a_restart(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', max_attempts=3, dead_letter_topic='dead', dead_letter_envelope=True)
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        fail(client)
        message = client.message()
        client.rdy(0)
        client.req(message)
        place.wait_channel('t', 'ch', depth=1, in_flight_count=0)
    place.restart()
    with place.subscribe('t', 'ch', 1) as client:
        message = client.message()
        assert message.attempts == 3
        client.req(message)
        origin, = origins(place, 'dead', 1)
        assert (origin['reason'], origin['attempts']) == ('max_attempts', 3)


def test_max_attempts_comes_before_the_age_when_it_comes_back(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        message = client.message()
        put(place, 't', 'ch', max_attempts=1, message_ttl='1ms', dead_letter_topic='dead',
            dead_letter_envelope=True)
        client.req(message)
        origin, = origins(place, 'dead', 1)
        assert origin['reason'] == 'max_attempts'


def test_the_age_comes_before_max_attempts_when_it_waits(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        message = client.message()
        client.rdy(0)
        client.req(message)
        place.wait_channel('t', 'ch', depth=1)
        wait_older(message, 1000000)
    put(place, 't', 'ch', max_attempts=1, message_ttl='1ms', dead_letter_topic='dead',
        dead_letter_envelope=True)
    origin, = origins(place, 'dead', 1)
    assert origin['reason'] == 'expired'


@pytest.mark.parametrize('mine', [3, 5, 6])
def test_a_library_that_finishes_after_5_attempts(place, mine):
    """As go-nsq and pynsq do: what comes for the sixth time is finished, and no handler has it."""
    place.create('t', 'ch')
    put(place, 't', 'ch', max_attempts=mine, dead_letter_topic='dead')
    handled = 0
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'poison')
        while True:
            message = client.message()
            if message.attempts > 5:
                client.fin(message)
                break
            handled += 1
            client.req(message)
            if handled == min(mine, 5) and mine <= 5:
                break
        assert handled == min(mine, 5)
        place.wait_channel('t', 'ch', depth=0, in_flight_count=0)
        if mine <= 5:
            wait_total(place, 'dead', 1)
        else:
            client.expect_usable()
            assert not has_topic(place, 'dead')


def test_max_attempts_is_changed_under_load(nsqd, topic):
    """Each message is finished once, or given up once."""
    done, count = [], 1000
    nsqd.pub(topic, *[b'%d' % i for i in range(count)])
    nsqd.wait_channel(topic, 'ch', depth=count)
    with nsqd.subscribe(topic, 'ch', 50, msg_timeout=LONG) as consumer:
        def consume():
            try:
                message = consumer.message(0.1)
            except TimeoutError:
                return False
            if message.attempts == 1 and int(message.body) % 2:
                consumer.req(message)
            else:
                done.append(message.body)
                consumer.fin(message)
            return True
        with Load(consume):
            for i in range(30):
                put(nsqd, topic, 'ch', max_attempts=(1, None)[i % 2],
                    dead_letter_topic=(topic + '.dead', None)[i // 2 % 2])
                wait_until(lambda i=i: len(done) + counter(
                    nsqd, 'nsqd_channel_dead_lettered_total', topic, 'ch') + counter(
                        nsqd, 'nsqd_channel_given_up_total', topic, 'ch') >= 10 * i, 'it gets on')
        put(nsqd, topic, 'ch', max_attempts=None)
        consume_until(consume, lambda: count == len(done) + counter(
            nsqd, 'nsqd_channel_given_up_total', topic, 'ch') + counter(
                nsqd, 'nsqd_channel_dead_lettered_total', topic, 'ch'), 'all are known')
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0, deferred_count=0)
    assert len(set(done)) == len(done)
    assert total(nsqd, topic + '.dead') == counter(
        nsqd, 'nsqd_channel_dead_lettered_total', topic, 'ch')


# -- dead_letter_topic, dead_letter_envelope

@pytest.mark.parametrize('new', ['other', None])
def test_what_waits_for_a_topic_goes_to_the_new_one(place, new):
    place.create('t', 'ch')
    refuses(place, 'dead')
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 10) as client:
        place.pub('t', *[b'%d' % i for i in range(10)])
        fail(client, 10)
        place.wait_channel('t', 'ch', depth=10, in_flight_count=0)
        put(place, 't', 'ch', dead_letter_topic=new)
        place.wait_channel('t', 'ch', depth=0)
    if new:
        wait_total(place, new, 10)
    else:
        # As if there had been none.
        wait_counter(place, 'nsqd_channel_given_up_total', 't', 'ch', 10)


def test_the_envelope_holds_for_what_is_put_next(place):
    place.create('t', 'ch')
    place.create('dead', 'look')
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 1) as client:
        for body, envelope in (b'1', False), (b'2', True), (b'3', False):
            put(place, 't', 'ch', dead_letter_envelope=envelope)
            place.pub('t', body)
            fail(client)
            found, = take(place, 'dead', 'look', 1)
            if envelope:
                assert base64.b64decode(json.loads(found.body)['body']) == body
            else:
                assert found.body == body


@pytest.mark.parametrize('how', ['empty', 'delete', 'channel_expire'])
def test_what_an_operator_throws_away_is_no_dead_letter(place, how):
    place.create('t', 'ch')
    put(place, 't', 'ch', max_attempts=1, message_ttl='1h', dead_letter_topic='dead')
    place.pub('t', b'1', b'2')
    place.wait_channel('t', 'ch', depth=2)
    if how == 'channel_expire':
        put(place, 't', 'ch', channel_expire='1ms')
    else:
        assert place.post('/channel/%s?topic=t&channel=ch' % how).status == 200
    wait_until(lambda: (place.channel_stats('t', 'ch') or {'depth': 0})['depth'] == 0, 'all is gone')
    assert not has_topic(place, 'dead')


def test_what_waits_for_its_topic_counts_for_max_depth(place):
    place.create('t', 'ch')
    blocker = refuses(place, 'dead')
    put(place, 't', 'ch', max_depth=5, max_bytes=100, max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 5) as client, place.connect() as publisher:
        fill(publisher, 't', 5)
        fail(client, 5)
        place.wait_channel('t', 'ch', depth=5, in_flight_count=0)
        assert 'max_depth 5' in try_pub(publisher, 't', b'x')
        put(place, 't', 'ch', max_depth=None, max_bytes=5)
        assert 'max_bytes 5' in try_pub(publisher, 't', b'x')
        os.rmdir(blocker)
        wait_total(place, 'dead', 5)
        fill(publisher, 't', 1)


def test_a_redrive_is_taken_by_a_full_channel(place):
    place.create('t', 'ch')
    place.create('dead', 'look')
    put(place, 't', 'ch', max_attempts=1, max_depth=2, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 2) as client, place.connect() as publisher:
        fill(publisher, 't', 2)
        fail(client, 2)
        place.wait_channel('dead', 'look', depth=2)
        client.rdy(0)
        client.expect_usable()
        fill(publisher, 't', 2)
        place.wait_channel('t', 'ch', depth=2)
        assert redrive(place, 'dead', 'look', 2)['redriven'] == 2
        place.wait_channel('t', 'ch', depth=4)
        assert 'full' in try_pub(publisher, 't', b'x')


# -- requeue_on_disconnect

def test_set_while_in_flight_it_holds_when_the_connection_ends(place):
    place.create('t', 'ch')
    place.pub('t', b'x')
    with place.subscribe('t', 'ch', 1, msg_timeout=60000) as client:
        client.message()
        put(place, 't', 'ch', requeue_on_disconnect=True)
        place.wait_channel('t', 'ch', in_flight_count=1)
    place.wait_channel('t', 'ch', in_flight_count=0, depth=1)
    with place.subscribe('t', 'ch', 1, msg_timeout=60000) as client:
        client.message()
        put(place, 't', 'ch', requeue_on_disconnect=False)
    place.wait_channel('t', 'ch', client_count=0)
    assert place.channel_stats('t', 'ch')['in_flight_count'] == 1


def test_deferred_ones_stay_deferred_when_the_connection_ends(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', requeue_on_disconnect=True)
    place.pub('t', b'1', b'2')
    with place.subscribe('t', 'ch', 2) as client:
        first, _ = client.messages(2)
        client.req(first, LONG)
        client.expect_usable()
    place.wait_channel('t', 'ch', in_flight_count=0, depth=1, deferred_count=1)


def test_a_connection_ends_while_the_channel_is_paused(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', requeue_on_disconnect=True)
    place.pub('t', b'x')
    with place.subscribe('t', 'ch', **QUICK) as stays:
        with place.subscribe('t', 'ch', 1, msg_timeout=60000) as goes:
            goes.message()
            stays.rdy(1)
            stays.expect_usable()
            pause(place, 't', 'ch')
        place.wait_channel('t', 'ch', depth=1, in_flight_count=0, client_count=1)
        unpause(place, 't', 'ch')
        assert stays.message().attempts == 2


def test_a_connection_ends_on_an_ephemeral_channel(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    with nsqd.subscribe(topic, channel) as stays:
        put(nsqd, topic, channel, requeue_on_disconnect=True)
        with nsqd.subscribe(topic, channel, 5, msg_timeout=60000) as goes:
            nsqd.pub(topic, *'abcde')
            goes.messages(5)
        nsqd.wait_channel(topic, channel, depth=5, in_flight_count=0)
        stays.rdy(5)
        assert {m.attempts for m in stays.messages(5)} == {2}
    wait_until(lambda: not has_topic(nsqd, topic), 'it goes with its last consumer')


def test_a_connection_that_ends_delays_nothing_and_makes_room(place):
    """With backoff and max_in_flight."""
    place.create('t', 'ch')
    put(place, 't', 'ch', requeue_on_disconnect=True, backoff=['1h'], max_in_flight=1)
    place.pub('t', b'x')
    with place.subscribe('t', 'ch', **QUICK) as stays:
        with place.subscribe('t', 'ch', 1, msg_timeout=60000) as goes:
            goes.message()
            stays.rdy(1)
        assert stays.message().attempts == 2


def test_requeue_on_disconnect_after_a_restart(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', requeue_on_disconnect=True)
    place.pub('t', b'x')
    place.restart()
    with place.subscribe('t', 'ch', 1, msg_timeout=60000) as client:
        client.message()
    place.wait_channel('t', 'ch', in_flight_count=0, depth=1)


def test_requeue_on_disconnect_is_changed_under_load(nsqd, topic):
    """Consumers come and go: each message is finished, and none is there twice."""
    count, done = 500, set()
    nsqd.pub(topic, *[b'%d' % i for i in range(count)])

    def come_and_go():
        with nsqd.subscribe(topic, 'ch', 20, msg_timeout=1000, **QUICK) as client:
            try:
                for n in range(10):
                    message = client.message(0.1)
                    if n % 2:
                        client.fin(message)
                        done.add(message.body)
            except TimeoutError:
                pass
    with Load(come_and_go, come_and_go):
        for i in range(20):
            seen = len(done)
            put(nsqd, topic, 'ch', requeue_on_disconnect=bool(i % 2),
                count_disconnect_as_attempt=bool(i % 3))
            wait_until(lambda seen=seen: len(done) > seen or len(done) > count / 2, 'it gets on')
    # FINs that were on their way with a connection's end may not have been read.
    with nsqd.subscribe(topic, 'ch', 50, msg_timeout=LONG, **QUICK) as client:
        again = set()

        def rest():
            try:
                message = client.message(0.1)
            except TimeoutError:
                stats = nsqd.channel_stats(topic, 'ch')
                # What the pump has in its hand is in no count.
                return len(done) == count and stats['depth'] + stats['in_flight_count'] == 0
            assert message.id not in again
            again.add(message.id)
            done.add(message.body)
            client.fin(message)
            return False
        wait_until(rest, lambda: 'all have come: %d of %d' % (len(done), count))


# -- backoff

def test_backoff_that_is_set_while_in_flight_holds_when_it_comes_back(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 2) as client:
        place.pub('t', b'1', b'2')
        first, second = client.messages(2)
        put(place, 't', 'ch', backoff=['1h'])
        client.req(first)
        place.wait_channel('t', 'ch', deferred_count=1, in_flight_count=1)
        # What is deferred stays so, whatever is set then.
        put(place, 't', 'ch', backoff=None)
        client.rdy(1)
        client.req(second)
        assert client.message().id == second.id
        place.wait_channel('t', 'ch', deferred_count=1, in_flight_count=1)


def test_backoff_while_paused(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', backoff=['1s'])
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        message = client.message()
        pause(place, 't', 'ch')
        client.req(message)
        # Deferred, then due; but it waits for the pause to end.
        place.wait_channel('t', 'ch', deferred_count=0, in_flight_count=0, depth=1)
        unpause(place, 't', 'ch')
        assert client.message().attempts == 2


def test_after_a_restart_nothing_waits_for_a_backoff(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', backoff=['1h'])
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        fail(client)
        place.wait_channel('t', 'ch', deferred_count=1)
    place.restart()
    with place.subscribe('t', 'ch', 1) as client:
        message = client.message()
        assert message.attempts == 2
        # The setting itself is there again.
        client.req(message)
        place.wait_channel('t', 'ch', deferred_count=1)


def test_backoff_of_an_ephemeral_channel_beyond_max_req_timeout(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    with nsqd.subscribe(topic, channel, 1) as client:
        put(nsqd, topic, channel, backoff=['3h'], max_req_timeout='1ms')
        nsqd.pub(topic, b'x')
        client.req(client.message())
        nsqd.wait_channel(topic, channel, deferred_count=1)
        peeked = json.loads(nsqd.get('/channel/peek?topic=%s&channel=%s&state=deferred' % (
            quote(topic), quote(channel))).body)['messages']
        assert peeked[0]['due_in'] > 3600 * 10**9


def test_max_attempts_comes_before_backoff(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', backoff=['1h'], max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        fail(client)
        wait_total(place, 'dead', 1)
        place.wait_channel('t', 'ch', depth=0, deferred_count=0)


def test_what_waits_for_its_backoff_expires_when_it_is_due(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', backoff=['2s'], dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        message = client.message()
        put(place, 't', 'ch', message_ttl='1ms')
        start = time.monotonic()
        client.req(message)
        wait_total(place, 'dead', 1)
        assert time.monotonic() - start >= 1.9


def test_backoff_is_changed_under_load(nsqd, topic):
    count, done = 300, []
    nsqd.pub(topic, *[b'%d' % i for i in range(count)])
    with nsqd.subscribe(topic, 'ch', 50, msg_timeout=LONG, **QUICK) as consumer:
        def consume():
            try:
                message = consumer.message(0.1)
            except TimeoutError:
                return
            if message.attempts < 4:
                consumer.req(message)
            else:
                done.append(message.body)
                consumer.fin(message)
        with Load(consume):
            for i in range(20):
                put(nsqd, topic, 'ch', backoff=(['1ms', '20ms'], None, ['5ms'])[i % 3])
            while len(done) < count:
                seen = len(done)
                wait_until(lambda seen=seen: len(done) > seen, 'one more is finished')
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0, deferred_count=0)
    assert len(set(done)) == count


# -- the timeouts

def test_a_channels_timeout_while_paused(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', msg_timeout='500ms')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        client.message()
        pause(place, 't', 'ch')
        place.wait_channel('t', 'ch', depth=1, in_flight_count=0)
        assert place.channel_stats('t', 'ch')['timeout_count'] >= 1
        unpause(place, 't', 'ch')
        assert client.message().attempts >= 2


def expect_cut(client):
    """A REQ with a long delay comes back at once."""
    message = client.message()
    client.req(message, LONG)
    again = client.message()
    assert (again.id, again.attempts) == (message.id, message.attempts + 1)


def times_out(daemon, topic, channel):
    """A consumer that does not answer, and then goes; and one whose REQ is cut to nothing."""
    with daemon.subscribe(topic, channel, 1) as client:
        daemon.pub(topic, b'x')
        client.message()
    daemon.wait_channel(topic, channel, depth=1, in_flight_count=0, client_count=0)
    assert daemon.channel_stats(topic, channel)['timeout_count'] >= 1
    put(daemon, topic, channel, msg_timeout=None)
    with daemon.subscribe(topic, channel, 1) as client:
        expect_cut(client)


def test_a_channels_timeouts_after_a_restart(place):
    place.create('t', 'ch')
    put(place, 't', 'ch', msg_timeout='500ms', max_req_timeout='0s')
    place.restart()
    times_out(place, 't', 'ch')


def test_timeouts_of_an_ephemeral_channel(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    with nsqd.subscribe(topic, channel) as client:
        put(nsqd, topic, channel, msg_timeout='500ms', max_msg_timeout='1h', max_req_timeout='0s')
        client.rdy(1)
        nsqd.pub(topic, b'x')
        client.message()
        client.rdy(0)
        wait_until(lambda: nsqd.channel_stats(topic, channel)['timeout_count'] >= 1, 'it is late')
        nsqd.wait_channel(topic, channel, depth=1, in_flight_count=0)
        put(nsqd, topic, channel, msg_timeout='1h')
        with nsqd.subscribe(topic, channel, 1, **QUICK) as other:
            expect_cut(other)


def test_what_is_deferred_stays_so_when_max_req_timeout_is_lowered(place):
    place.create('t', 'ch')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x', b'y')
        fail(client, ms=LONG)
        place.wait_channel('t', 'ch', deferred_count=1)
        put(place, 't', 'ch', max_req_timeout='0s')
        message = client.message()
        client.req(message, LONG)
        assert client.message().id == message.id
        place.wait_channel('t', 'ch', deferred_count=1)


# -- rate

def test_what_comes_back_counts_for_the_rate(nsqd, topic):
    put(nsqd, topic, 'ch', rate=2)
    with nsqd.subscribe(topic, 'ch', 1, msg_timeout=LONG, **QUICK) as client:
        start = time.monotonic()
        nsqd.pub(topic, b'x')
        for delay in (0, 1, 0, 1):
            fail(client, ms=delay)
        client.fin(client.message())
        # Five deliveries, of which the first may be a burst.
        assert time.monotonic() - start >= 4 / 2


def test_the_rate_of_an_ephemeral_channel(nsqd):
    topic, channel = nsqd.topic('#ephemeral'), 'ch#ephemeral'
    with nsqd.subscribe(topic, channel, 100, msg_timeout=LONG) as client:
        put(nsqd, topic, channel, rate=2)
        start = time.monotonic()
        nsqd.pub(topic, *'abcde')
        client.messages(5)
        assert time.monotonic() - start >= 4 / 2


# -- a dead-letter topic that is paused, and one that refuses for long

def test_a_dead_letter_topic_that_is_paused_takes_them(place):
    place.create('t', 'ch')
    place.create('dead', 'look')
    pause(place, 'dead')
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 1) as client:
        place.pub('t', b'x')
        fail(client)
        place.wait_channel('t', 'ch', depth=0, in_flight_count=0)
        place.wait_topic('dead', depth=1)
        unpause(place, 'dead')
        place.wait_channel('dead', 'look', depth=1)


def test_no_more_than_10000_wait_for_a_topic_that_refuses(place):
    place.create('t', 'ch')
    blocker = refuses(place, 'dead')
    for _ in range(24):
        place.pub('t', *[b'x'] * 500)
    place.wait_channel('t', 'ch', depth=12000)
    put(place, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    with place.subscribe('t', 'ch', 100, msg_timeout=900000, **QUICK) as client:
        # Each of them waits for its topic when it comes back.
        fail(client, 10000)
        # What was on its way when it became full has been delivered as well. Nothing else is.
        extra = client.drain(
            lambda n: place.channel_stats('t', 'ch')['in_flight_count'] == n)
        for message in extra:
            client.req(message)
        client.expect_usable()
        assert len(extra) <= 100 + 256
        place.wait_channel('t', 'ch', depth=12000, in_flight_count=0)
        os.rmdir(blocker)
        # Those that wait are dead letters now, and the others are delivered.
        fail(client, 2000 - len(extra))
        wait_total(place, 'dead', 12000)
        place.wait_channel('t', 'ch', depth=0, in_flight_count=0)


def test_no_more_than_10000_overflow_while_their_topic_refuses(place):
    place.create('t', 'ch')
    blocker = refuses(place, 'dead')
    for _ in range(24):
        place.pub('t', *[b'x'] * 500)
    place.wait_channel('t', 'ch', depth=12000)

    def overflow():
        return metric(place, 'nsq_topic_channel_overflow_total', topic='t', channel='ch')
    put(place, 't', 'ch', max_depth=5, overflow='drop-head', dead_letter_topic='dead')
    wait_until(lambda: overflow() >= 10000, 'it is full')
    place.pub('t', *[b'x'] * 500)
    place.wait_topic('t', depth=0)
    place.wait_channel('t', 'ch', depth=12500)
    assert overflow() <= 10000 + 256
    os.rmdir(blocker)
    place.wait_channel('t', 'ch', depth=5)
    wait_until(lambda: total(place, 'dead') == 12495, 'they are there')
