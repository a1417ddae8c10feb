"""max_depth, max_bytes, overflow and no_channel of topics and channels, and the limits of the host:
who is refused, what is dropped, and that it heals by itself."""

import json
import re
import signal
import threading

import pytest

from nsq import ERROR, OK, RESPONSE, mpub_body, sized, wait_until
from queues import consuming, metric, put, try_pub

pytestmark = pytest.mark.ours(reason='stock has no limits')

FLAGS = ['--mem-queue-size=10', '--sync-every=1000']


def fill(client, topic, count, body=b'%d'):
    """So many messages; near a limit one may have to wait until the pump is at rest."""
    for i in range(count):
        wait_until(lambda i=i: try_pub(client, topic, body % i if b'%' in body else body) is None,
                   lambda i=i: 'message %d is taken' % i)


def fill_in_order(daemon, client, topic, numbers, body=b'%d'):
    """As fill; and none takes the way over the topic's disk, on which others would overtake it."""
    for i in numbers:
        wait_until(lambda i=i: try_pub(client, topic, body % i) is None,
                   lambda i=i: 'message %d is taken' % i)
        daemon.wait_topic(topic, depth=0)


def waiting(daemon, topic, channel=None):
    """All that waits: for the channel, or in the topic."""
    stats = daemon.topic_stats(topic)
    if not channel:
        return stats['depth']
    found = [c for c in stats['channels'] if c['channel_name'] == channel][0]
    return stats['depth'] + found['depth'] + found['deferred_count']


# --- reject -----------------------------------------------------------------------------------


@pytest.mark.parametrize('depth', [1, 5, 25])
def test_a_topic_without_channels_takes_so_many_and_no_more(nsqd, depth):
    topic = nsqd.topic()
    nsqd.create(topic)
    put(nsqd, topic, max_depth=depth)
    with nsqd.connect() as client:
        fill(client, topic, depth)
        client.command('PUB', topic, body=b'x')
        client.expect_refused(b'E_PUB_FAILED PUB failed topic is full: max_depth %d' % depth)
        client.command('DPUB', topic, 1000, body=b'x')
        client.expect_refused(b'E_DPUB_FAILED DPUB failed topic is full: max_depth %d' % depth)
        client.command('MPUB', topic, body=mpub_body([b'x']))
        client.expect_refused(b'E_MPUB_FAILED MPUB failed topic is full: max_depth %d' % depth)
    for path in '/pub?topic=', '/mpub?topic=', '/pub?defer=1000&topic=':
        answer = nsqd.post(path + topic, b'x')
        assert (answer.status, answer.body) == (503, b'{"message":"TOPIC_FULL"}')
    assert waiting(nsqd, topic) == depth
    assert metric(nsqd, 'nsq_topic_rejected_total', topic=topic, reason='topic') == 6


def test_a_channel_that_is_full_makes_its_topic_full_and_fin_makes_room(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'a', 'b')
    put(nsqd, topic, 'b', max_depth=25)
    with nsqd.connect() as client, nsqd.connect() as consumer:
        fill(client, topic, 25)
        client.command('PUB', topic, body=b'x')
        client.expect_refused(b'E_PUB_FAILED PUB failed channel b is full: max_depth 25')
        answer = nsqd.post('/pub?topic=' + topic, b'x')
        assert (answer.status, answer.body) == (503, b'{"message":"CHANNEL_FULL"}')
        nsqd.wait_channel(topic, 'b', depth=25)
        # What is in flight does not wait, and what comes back is taken.
        consumer.sub(topic, 'b')
        consumer.rdy(3)
        messages = consumer.messages(3)
        consumer.rdy(0)
        nsqd.wait_channel(topic, 'b', depth=22, in_flight_count=3)
        fill(client, topic, 3)
        assert 'full' in try_pub(client, topic, b'x')
        for message in messages:
            consumer.req(message)
        nsqd.wait_channel(topic, 'b', depth=28, in_flight_count=0)
        assert 'full' in try_pub(client, topic, b'x')
        # It heals.
        consumer.rdy(1)
        for _ in range(4):
            consumer.fin(consumer.message())
        consumer.rdy(0)
        wait_until(lambda: nsqd.channel_stats(topic, 'b')['depth'] <= 24, 'there is room')
        room = 25 - nsqd.channel_stats(topic, 'b')['depth']
        fill(client, topic, room)
        assert 'full' in try_pub(client, topic, b'x')
    assert metric(nsqd, 'nsq_topic_rejected_total', topic=topic, reason='channel') >= 5
    wait_until(lambda: waiting(nsqd, topic, 'b') == 25, 'as many wait as may')


def test_deferred_messages_count(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, max_depth=10)
    with nsqd.connect() as client, nsqd.connect() as consumer:
        for _ in range(6):
            client.dpub(topic, 3600000, b'x')
        fill(client, topic, 4)
        assert 'full' in try_pub(client, topic, b'x')
        nsqd.wait_channel(topic, 'c', depth=4, deferred_count=6)
        consumer.sub(topic, 'c')
        consumer.rdy(1)
        consumer.req(consumer.message(), 3600000)
        wait_until(lambda: nsqd.channel_stats(topic, 'c')['deferred_count'] == 7, 'it is deferred')
        consumer.rdy(0)
        nsqd.wait_channel(topic, 'c', in_flight_count=1)
        fill(client, topic, 1)
        assert 'full' in try_pub(client, topic, b'x')


def test_an_mpub_is_taken_as_a_whole_or_not_at_all(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    put(nsqd, topic, max_depth=400)
    with nsqd.connect() as client:
        client.command('MPUB', topic, body=mpub_body([b'x'] * 401))
        client.expect_refused(b'E_MPUB_FAILED MPUB failed topic is full: max_depth 400')
        assert waiting(nsqd, topic) == 0
        client.pub(topic, *[b'x'] * 300)
        client.command('MPUB', topic, body=mpub_body([b'x'] * 101))
        client.expect_refused(b'E_MPUB_FAILED MPUB failed topic is full: max_depth 400')
        assert nsqd.post('/mpub?topic=' + topic, b'x\n' * 101).status == 503
        assert waiting(nsqd, topic) == 300
        assert nsqd.post('/mpub?topic=' + topic, b'x\n' * 50).status == 200
        client.pub(topic, *[b'x'] * 50)
        assert waiting(nsqd, topic) == 400
        assert 'full' in try_pub(client, topic, b'x')


def answers_up_to_the_end(client):
    """Until the daemon has ended the connection."""
    found = []
    while True:
        try:
            found.append(client.answer())
        except EOFError:
            return found


def send_what_is_taken(client, data):
    """The daemon may have ended the connection before it is all sent."""
    try:
        client.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


@pytest.mark.parametrize('size', [1, 1000])
@pytest.mark.parametrize('channel', [None, 'c'])
def test_what_is_behind_the_first_refused_publication_is_not_looked_at(nsqd, channel, size):
    topic = nsqd.topic()
    nsqd.create(topic, *[channel] if channel else [])
    put(nsqd, topic, max_depth=70)
    pub = b'PUB %s\n' % topic.encode() + sized(b'x' * size)
    with nsqd.connect() as client:
        sender = threading.Thread(target=send_what_is_taken, args=(client, pub * 10000))
        sender.start()
        *taken, error = answers_up_to_the_end(client)
        sender.join()
    assert taken == [(RESPONSE, b'OK')] * len(taken)
    assert error in [(ERROR, b'E_PUB_FAILED PUB failed topic is full: max_depth 70'),
                     (ERROR, b'E_PUB_FAILED PUB failed channel c is full: max_depth 70')]
    # The pump may be at work, and then a batch may be counted twice for a moment.
    assert len(taken) <= 70 if channel else len(taken) == 70
    wait_until(lambda: waiting(nsqd, topic, channel) == len(taken), 'those that were taken wait')
    assert nsqd.topic_stats(topic)['message_count'] == len(taken)
    # Of those that were not answered nobody knows whether they would have been refused.
    reason = 'channel' if b'channel' in error[1] else 'topic'
    assert metric(nsqd, 'nsq_topic_rejected_total', topic=topic, reason=reason) == 1


@pytest.mark.parametrize('command', ['PUB', 'DPUB', 'MPUB'])
def test_after_a_refusal_no_command_is_executed(nsqd, command):
    full, other = nsqd.topic(), nsqd.topic()
    for topic in full, other:
        nsqd.create(topic)
    put(nsqd, full, max_depth=1)
    words, body = {'PUB': ('', b'x'), 'DPUB': (' 10', b'x'),
                   'MPUB': ('', mpub_body([b'x']))}[command]
    first, second = (b'%s %s%s\n' % (command.encode(), topic.encode(), words.encode())
                     + sized(body) for topic in (full, other))
    with nsqd.connect() as client:
        client.send(first * 2 + second + b'PUB %s\n' % other.encode() + sized(b'x') + b'NOP\n')
        client.expect_ok()
        client.expect_fatal(b'E_%s_FAILED %s failed topic is full: max_depth 1' % (
            (command.encode(),) * 2))
    assert waiting(nsqd, full) == 1
    assert nsqd.topic_stats(other)['message_count'] == 0


@pytest.mark.parametrize('channel', [None, 'c'])
def test_publishers_at_once_never_go_beyond_it(nsqd, channel):
    topic = nsqd.topic()
    nsqd.create(topic, *[channel] if channel else [])
    put(nsqd, topic, max_depth=500)
    taken, errors = [], []

    def publish(number):
        try:
            with nsqd.connect() as client:
                for i in range(200):
                    if i % 10 == number:
                        client.command('MPUB', topic, body=mpub_body([b'x'] * 7))
                        ok = client.answer()[0] == RESPONSE
                        taken.append(7 if ok else 0)
                        if not ok:
                            client.expect_closed()
                            client.reconnect()
                    else:
                        taken.append(0 if try_pub(client, topic, b'x') else 1)
        except Exception as error:      # pylint: disable=broad-except
            errors.append(error)
    threads = [threading.Thread(target=publish, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append(nsqd.topic_stats(topic)['depth'])
    for thread in threads:
        thread.join()
    assert not errors
    assert max(seen) <= 500
    assert sum(taken) == 500
    wait_until(lambda: waiting(nsqd, topic, channel) == 500, 'those that were taken wait')


def test_bytes_count_in_memory_and_on_disk(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, max_bytes=100000)
    with nsqd.connect() as client, nsqd.connect() as consumer:
        fill(client, topic, 99, b'x' * 1000)
        assert try_pub(client, topic, b'x' * 1001) == (
            'E_PUB_FAILED PUB failed channel c is full: max_bytes 100000')
        fill(client, topic, 1, b'x' * 600)
        fill(client, topic, 1, b'x' * 400)
        assert 'max_bytes' in try_pub(client, topic, b'x')
        nsqd.wait_channel(topic, 'c', depth=101)
        assert nsqd.channel_stats(topic, 'c')['backend_depth'] > 80
        consumer.sub(topic, 'c')
        consumer.rdy(1)
        sizes = 0
        for _ in range(60):
            message = consumer.message()
            sizes += len(message.body)
            consumer.fin(message)
        consumer.rdy(0)
        left = consumer.drain(lambda n: nsqd.channel_stats(topic, 'c')['in_flight_count'] == n)
        sizes += sum(len(m.body) for m in left)
        nsqd.wait_topic(topic, depth=0)
        while sizes >= 100:
            fill(client, topic, 1, b'x' * 100)
            sizes -= 100
        assert 'max_bytes' in try_pub(client, topic, b'x' * 100)


@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGKILL])
def test_bytes_are_right_after_a_restart(new_nsqd, end):
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1')
    daemon.create('t', 'c')
    put(daemon, 't', max_bytes=50000)
    with daemon.connect() as client:
        for _ in range(30):
            client.pub('t', b'x' * 1000)
    daemon.wait_channel('t', 'c', depth=30)
    if end == signal.SIGTERM:
        daemon.restart()
    else:
        daemon.process.kill()
        daemon.wait_exit()
        daemon.start()
    # What was on its way from the topic to the channel may be in both after a kill.
    depth = wait_until(lambda: waiting(daemon, 't', 'c') >= 30 and waiting(daemon, 't', 'c'),
                       'they are there')
    daemon.wait_channel('t', 'c', depth=depth)
    with daemon.connect() as client:
        fill(client, 't', 50 - depth, b'x' * 1000)
        assert 'max_bytes' in try_pub(client, 't', b'x')


def test_limits_that_are_switched_on_count_what_is_there(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    with nsqd.connect() as client:
        for _ in range(30):
            client.pub(topic, b'x' * 100)
        nsqd.wait_channel(topic, 'c', depth=30)
        for _ in range(3):
            put(nsqd, topic, max_bytes=3100)
            put(nsqd, topic, max_bytes=None)
        put(nsqd, topic, max_bytes=3100)
        fill(client, topic, 1, b'x' * 100)
        assert 'max_bytes' in try_pub(client, topic, b'x')
        put(nsqd, topic, max_bytes=None, max_depth=32)
        fill(client, topic, 1)
        assert 'max_depth' in try_pub(client, topic, b'x')
        put(nsqd, topic, max_depth=None)
        fill(client, topic, 100)
        put(nsqd, topic, max_depth=1, max_bytes=1)
        assert 'full' in try_pub(client, topic, b'x')
        nsqd.wait_channel(topic, 'c', depth=132)    # what the topic still has comes behind the empty
        assert nsqd.post('/channel/empty?topic=%s&channel=c' % topic).status == 200
        fill(client, topic, 1, b'x')
        assert 'full' in try_pub(client, topic, b'x')


def test_emptying_a_topic_makes_room(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    put(nsqd, topic, max_depth=30, max_bytes=30)
    with nsqd.connect() as client:
        for _ in range(3):
            fill(client, topic, 30, b'x')
            assert 'full' in try_pub(client, topic, b'x')
            assert nsqd.post('/topic/empty?topic=' + topic).status == 200
            assert waiting(nsqd, topic) == 0


def test_a_paused_topic_fills_up(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, 'c', max_depth=20)
    assert nsqd.post('/topic/pause?topic=' + topic).status == 200
    with nsqd.connect() as client:
        fill(client, topic, 20)
        assert 'channel c is full' in try_pub(client, topic, b'x')
        assert nsqd.post('/topic/unpause?topic=' + topic).status == 200
        nsqd.wait_channel(topic, 'c', depth=20)
        assert 'channel c is full' in try_pub(client, topic, b'x')
        assert nsqd.post('/channel/delete?topic=%s&channel=c' % topic).status == 200
        fill(client, topic, 30)


def test_ephemeral_ones_have_limits_too(nsqd):
    topic = nsqd.topic('#ephemeral')
    nsqd.create(topic, 'c#ephemeral')
    put(nsqd, topic.replace('#', '%23'), 'c%23ephemeral', max_depth=5)
    with nsqd.connect() as client:
        fill(client, topic, 5)
        assert 'channel c#ephemeral is full' in try_pub(client, topic, b'x')


# --- no_channel -------------------------------------------------------------------------------


def test_no_channel(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    put(nsqd, topic, no_channel='reject')
    with nsqd.connect() as client:
        client.command('PUB', topic, body=b'x')
        client.expect_refused(b'E_PUB_FAILED PUB failed no channel')
        answer = nsqd.post('/pub?topic=' + topic, b'x')
        assert (answer.status, answer.body) == (503, b'{"message":"NO_CHANNEL"}')
        assert waiting(nsqd, topic) == 0
        put(nsqd, topic, no_channel='drop')
        client.pub(topic, b'1')
        client.pub(topic, b'2', b'3')
        client.dpub(topic, 1000, b'4')
        assert nsqd.post('/pub?topic=' + topic, b'5').status == 200
        stats = nsqd.topic_stats(topic)
        assert (stats['depth'], stats['message_count']) == (0, 5)
        assert metric(nsqd, 'nsq_topic_dropped_total', topic=topic) == 5
        assert metric(nsqd, 'nsq_topic_rejected_total', topic=topic, reason='no_channel') == 2
        nsqd.create(topic, 'c')
        client.pub(topic, b'6')
        nsqd.wait_channel(topic, 'c', depth=1)
        assert nsqd.post('/channel/delete?topic=%s&channel=c' % topic).status == 200
        client.pub(topic, b'7')
        assert waiting(nsqd, topic) == 0
        put(nsqd, topic, no_channel=None)
        client.pub(topic, b'8')
        assert waiting(nsqd, topic) == 1


# --- drop-head --------------------------------------------------------------------------------


def bodies_of(daemon, topic, channel):
    """All that the channel hands out, in order."""
    depth = daemon.channel_stats(topic, channel)['depth']
    with consuming(daemon, topic, channel, 1) as consumer:
        found = []
        for _ in range(depth):
            message = consumer.message()
            found.append(int(message.body))
            consumer.fin(message)
        return found


@pytest.mark.parametrize('depth', [1, 5, 40])
def test_drop_head_keeps_the_newest(nsqd, depth):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, max_depth=depth, overflow='drop-head')
    with nsqd.connect() as client:
        fill_in_order(nsqd, client, topic, range(100))
    nsqd.wait_channel(topic, 'c', depth=depth)
    wait_until(lambda: metric(nsqd, 'nsq_topic_channel_overflow_total', topic=topic,
                              channel='c') == 100 - depth, 'the others are dropped, and counted')
    assert sorted(bodies_of(nsqd, topic, 'c')) == list(range(100 - depth, 100))


def test_drop_head_of_a_topic_without_channels(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    put(nsqd, topic, max_depth=40, overflow='drop-head')
    with nsqd.connect() as client:
        fill(client, topic, 100)
        nsqd.wait_topic(topic, depth=40)
        wait_until(lambda: metric(nsqd, 'nsq_topic_dropped_total', topic=topic) == 60,
                   'the others are counted')
        nsqd.create(topic, 'c')
        nsqd.wait_channel(topic, 'c', depth=40)
    assert sorted(bodies_of(nsqd, topic, 'c')) == list(range(60, 100))


def test_drop_head_when_it_is_switched_on_and_by_bytes(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    with nsqd.connect() as client:
        fill_in_order(nsqd, client, topic, range(100), b'%03d')
        nsqd.wait_channel(topic, 'c', depth=100)
        put(nsqd, topic, max_bytes=150, overflow='drop-head')
        nsqd.wait_channel(topic, 'c', depth=50)
        client.pub(topic, b'100')
        client.pub(topic, b'101', b'102')
        nsqd.wait_channel(topic, 'c', depth=50)
        wait_until(lambda: metric(nsqd, 'nsq_topic_channel_overflow_total', topic=topic) == 53,
                   'they are dropped')
    assert sorted(bodies_of(nsqd, topic, 'c')) == list(range(53, 103))


def test_drop_head_of_deferred_messages_and_while_paused(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, 'c', max_depth=10, overflow='drop-head')
    assert nsqd.post('/channel/pause?topic=%s&channel=c' % topic).status == 200
    with nsqd.connect() as client:
        fill(client, topic, 30)
        nsqd.wait_channel(topic, 'c', depth=10)
        for i in range(15):
            client.dpub(topic, 3600000, b'%d' % i)
        nsqd.wait_channel(topic, 'c', depth=0, deferred_count=10)


def test_drop_head_leaves_what_is_in_flight(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, max_depth=5, overflow='drop-head')
    with nsqd.connect() as client, nsqd.connect() as consumer:
        consumer.sub(topic, 'c')
        consumer.rdy(3)
        fill(client, topic, 3)
        messages = consumer.messages(3)
        consumer.rdy(0)
        nsqd.wait_channel(topic, 'c', depth=0, in_flight_count=3)
        for i in range(3, 30):
            client.pub(topic, b'%d' % i)
        nsqd.wait_channel(topic, 'c', depth=5, in_flight_count=3)
        # It comes back, is the oldest, and goes.
        consumer.req(messages[0])
        nsqd.wait_channel(topic, 'c', depth=5, in_flight_count=2)


def test_drop_head_under_load_is_not_far_behind(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'c')
    put(nsqd, topic, max_depth=100, overflow='drop-head')
    with nsqd.connect() as client:
        for _ in range(50):
            client.send(b''.join(b'MPUB %s\n' % topic.encode() + body for body in [
                len(mpub_body([b'x'] * 200)).to_bytes(4, 'big') + mpub_body([b'x'] * 200)]))
            client.expect(OK)
            # In the channel and in its topic, a batch too much each, and one on its way.
            assert waiting(nsqd, topic, 'c') <= 100 + 5 * 256
    nsqd.wait_channel(topic, 'c', depth=100)


# --- the host ---------------------------------------------------------------------------------


def test_memory_of_the_host(new_nsqd):
    daemon = new_nsqd('--max-memory-bytes=100000', '--mem-queue-size=1000')
    daemon.create('t', 'c')
    with daemon.connect() as client, daemon.connect() as consumer:
        taken = 0
        while not try_pub(client, 't', b'x' * 1000):
            taken += 1
        assert 95 <= taken <= 100
        client.command('PUB', 't', body=b'x' * 1000)
        client.expect_refused(b'E_PUB_FAILED PUB failed memory is full: --max-memory-bytes')
        answer = daemon.post('/pub?topic=t', b'x' * 1000)
        assert (answer.status, answer.body) == (503, b'{"message":"MEMORY_FULL"}')
        assert daemon.get('/ping').body == b'OK'
        limits = json.loads(daemon.get('/stats?format=json&include_limits=true').body)['limits']
        assert limits['max-memory-bytes']['reached'] is True
        assert limits['max-memory-bytes']['limit'] == 100000
        assert metric(daemon, 'nsqd_limit_reached', limit='max-memory-bytes') == 1
        assert 'limits' not in daemon.stats()
        consumer.sub('t', 'c')
        consumer.rdy(100)
        for _ in range(taken):
            consumer.fin(consumer.message())
        wait_until(lambda: not try_pub(client, 't', b'x'), 'there is room again')
        wait_until(lambda: metric(daemon, 'nsqd_limit_reached', limit='max-memory-bytes') == 0,
                   'it is told')
    daemon.wait_log(r'--max-memory-bytes is left again')
    assert len(re.findall(r'--max-memory-bytes is reached', daemon.log())) == 1


def test_disk_of_the_host_and_the_part_of_topics_with_limits_of_their_own(new_nsqd):
    daemon = new_nsqd('--max-disk-bytes=100000', '--mem-queue-size=0')
    daemon.create('greedy', 'c')
    daemon.create('modest', 'c')
    put(daemon, 'modest', max_bytes=5000)
    with daemon.connect() as client, daemon.connect() as consumer:
        taken = 0
        full = 'E_PUB_FAILED PUB failed disk is full: --max-disk-bytes'
        # A batch that moves from one queue to another may not be counted: none does.
        assert daemon.post('/topic/pause?topic=greedy').status == 200
        while not try_pub(client, 'greedy', b'x' * 970):
            taken += 1
        # A tenth is not theirs. A record has 30 bytes beside the body.
        assert taken == 90
        assert daemon.post('/topic/unpause?topic=greedy').status == 200
        daemon.wait_topic('greedy', depth=0)
        daemon.wait_channel('greedy', 'c', depth=90)
        assert try_pub(client, 'greedy', b'x' * 970) == full
        fill(client, 'modest', 5, b'x' * 970)
        assert 'max_bytes' in try_pub(client, 'modest', b'x' * 970)
        answer = daemon.post('/pub?topic=greedy', b'x')
        assert (answer.status, answer.body) == (503, b'{"message":"DISK_FULL"}')
        ephemeral = daemon.post('/pub?topic=e%23ephemeral', b'x')
        assert ephemeral.status == 200
        consumer.sub('greedy', 'c')
        consumer.rdy(10)
        for _ in range(20):
            consumer.fin(consumer.message())
        wait_until(lambda: not try_pub(client, 'greedy', b'x'), 'there is room again')
    daemon.wait_log(r'--max-disk-bytes is left again')


def test_free_disk(new_nsqd):
    daemon = new_nsqd('--min-free-disk=100%')
    with daemon.connect() as client:
        assert try_pub(client, 't', b'x') == 'E_PUB_FAILED PUB failed disk is full: --min-free-disk'
        assert daemon.get('/ping').body == b'OK'
        assert daemon.post('/pub?topic=t', b'x').status == 503
        limits = json.loads(daemon.get('/stats?format=json&include_limits=true').body)['limits']
        assert limits['min-free-disk']['reached'] is True
    assert len(re.findall(r'--min-free-disk is reached', daemon.log())) == 1


def test_limits_of_the_host_are_reloaded(new_nsqd, tmp_path):
    config = tmp_path / 'nsqd.cfg'
    config.write_text('min_free_disk = "100%"\n')
    daemon = new_nsqd('--config=' + str(config))
    with daemon.connect() as client:
        assert 'min-free-disk' in try_pub(client, 't', b'x')
        config.write_text('min_free_disk = ""\n')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log('NSQ: reloaded')
        assert try_pub(client, 't', b'x') is None
        config.write_text('max_memory_bytes = 1\n')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: try_pub(client, 't', b'xx'), 'the limit holds')


@pytest.mark.parametrize('flag', ['--min-free-disk=x', '--min-free-disk=101%', '--min-free-disk=-1',
                                  '--min-free-disk=5GB', '--max-disk-bytes=-1',
                                  '--max-memory-bytes=x'])
def test_bad_flags_are_refused(new_nsqd, flag):
    daemon = new_nsqd(flag, start=False)
    daemon.spawn()
    assert daemon.wait_exit() != 0
    assert flag.split('=')[0].lstrip('-') in daemon.log()
