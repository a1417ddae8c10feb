"""A data directory moves between stock and ours, in both directions, and
every message is there once."""

import collections
import json
import os
import re

import pytest

from durable import (assert_exactly, bad_files, data_files, drain,
                     files, in_dir, make_body, publish, receive)
from nsq import wait_until

MAX_MSG_SIZE = 1024 * 1024
SIZES = [1, 2, 3, 25, 26, 27, 255, 256, 257, 4095, 4096, 4097, 65536, 300000,
         MAX_MSG_SIZE - 1, MAX_MSG_SIZE]

DIRECTIONS = pytest.mark.parametrize(
    'stock_first', [True, False], ids=['stock-to-ours', 'ours-to-stock'])

# What may lie in a data directory after a clean stop.
EXPECTED_NAME = re.compile(
    r'^(nsqd\.dat|.+\.diskqueue\.(meta|\d{6,})\.dat)$')


def hours(n):
    return n * 3600 * 1000


def sized_bodies(tag, count=60):
    bodies = [make_body(tag, i, SIZES[i]) for i in range(len(SIZES))]
    return bodies + [make_body(tag, i) for i in range(count)]


def unpause_all(daemon):
    for topic in daemon.stats()['topics']:
        name = topic['topic_name']
        assert daemon.post('/topic/unpause?topic=' + name).status == 200
        for channel in topic['channels'] or []:
            assert daemon.post('/channel/unpause?topic=%s&channel=%s' % (
                name, channel['channel_name'])).status == 200


def pause(daemon, topic, channel=None):
    path = ('/channel/pause?topic=%s&channel=%s' % (topic, channel)
            if channel else '/topic/pause?topic=%s' % topic)
    assert daemon.post(path).status == 200


def fill(daemon):
    """Messages in every state; returns {(topic, channel): bodies left}."""
    left = {}
    daemon.create('two', 'c1', 'c2')
    bodies = sized_bodies('two')
    publish(daemon, 'two', bodies, batch=7)
    left['two', 'c1'] = left['two', 'c2'] = collections.Counter(bodies)

    # A topic without a channel keeps its messages itself.
    bodies = sized_bodies('alone')
    publish(daemon, 'alone', bodies)
    left['alone', 'later'] = collections.Counter(bodies)

    # Partially consumed, in flight and deferred.
    daemon.create('states', 'ch')
    bodies = [make_body('states', i, 300) for i in range(200)]
    publish(daemon, 'states', bodies)
    with daemon.connect() as client:
        client.dpub('states', hours(1), b'published deferred')
    # (It loses its delay if it does not fit into the topic's memory queue.)
    settle(daemon)
    daemon.wait_channel('states', 'ch', message_count=201)
    done = receive(daemon, 'states', 'ch', 70)
    left['states', 'ch'] = collections.Counter(bodies + [b'published deferred'])
    left['states', 'ch'] -= collections.Counter(done)
    holder = daemon.subscribe('states', 'ch', rdy=20)
    for message in holder.messages(20)[:5]:
        holder.req(message, hours(1))
    wait_until(lambda: daemon.channel_stats('states', 'ch')['deferred_count']
               >= 5, lambda: 'five are deferred: %s' % daemon.stats())

    # Paused, the topic and the channel.
    daemon.create('paused_topic', 'ch')
    pause(daemon, 'paused_topic')
    daemon.create('paused_channel', 'ch', 'other')
    pause(daemon, 'paused_channel', 'ch')
    for topic in ('paused_topic', 'paused_channel'):
        bodies = [make_body(topic, i) for i in range(50)]
        publish(daemon, topic, bodies)
        left[topic, 'ch'] = collections.Counter(bodies)
    left['paused_channel', 'other'] = left['paused_channel', 'ch']

    # Names with every kind of character; and what is not to be kept.
    name = '.strange-NAME_0123456789.'
    daemon.create(name, name)
    publish(daemon, name, [b'strange'] * 3)
    left[name, name] = collections.Counter({b'strange': 3})
    daemon.create('kept', 'gone#ephemeral')
    publish(daemon, 'gone#ephemeral', [b'gone'])
    settle(daemon)
    return left, holder


def settle(daemon):
    """Wait until the topics have handed everything to their channels."""
    def settled():
        return all(t['depth'] == 0 or t['paused'] or not t['channels']
                   for t in daemon.stats()['topics'])
    wait_until(settled, lambda: 'topics are empty: %s' % daemon.stats())


def check_directory(path):
    odd = [n for n in files(path) if not EXPECTED_NAME.match(n)]
    assert not odd, odd


@DIRECTIONS
@pytest.mark.parametrize('memory', [0, 10, 10000])
@pytest.mark.parametrize('max_bytes', [2000, 100 * 1024 * 1024])
def test_a_directory_moves_with_everything_in_it(
        new_nsqd, data, stock_first, memory, max_bytes):
    flags = ('--mem-queue-size=%d' % memory,
             '--max-bytes-per-file=%d' % max_bytes, '--max-rdy-count=5000')
    first = new_nsqd(*flags, stock=stock_first, data_path=data)
    left, holder = fill(first)
    first.stop()
    holder.close()
    check_directory_but_bad(data, first)
    saved = first.metadata()
    assert 'gone#ephemeral' not in saved and saved['kept'] == (False, {})

    second = new_nsqd(*flags, stock=not stock_first, data_path=data)
    assert second.metadata() == saved
    assert {t for t, (paused, _) in saved.items() if paused} \
        == {'paused_topic'}
    assert second.topic_stats('paused_topic')['paused'] is True
    assert second.channel_stats('paused_channel', 'ch')['paused'] is True
    unpause_all(second)
    for (topic, channel), bodies in left.items():
        assert_exactly(bodies, drain(second, topic, channel, expect=bodies))
    assert second.stock or bad_files(data) == []
    second.stop()

    # And back: nothing is left.
    third = new_nsqd(*flags, stock=stock_first, data_path=data)
    for topic, channel in left:
        stats = third.channel_stats(topic, channel)
        assert (stats['depth'], stats['paused']) == (0, False)


@pytest.mark.parametrize('stock_begins', [True, False])
def test_ping_pong(new_nsqd, data, stock_begins):
    """Eight owners in turn, each consumes a part and publishes more."""
    flags = ('--mem-queue-size=20', '--max-bytes-per-file=3000')
    daemons = [new_nsqd(*flags, start=False, data_path=data, stock=stock)
               for stock in (stock_begins, not stock_begins)]
    topics = ['t%d' % i for i in range(3)]
    left = {(t, c): collections.Counter() for t in topics for c in 'ab'}
    for turn in range(8):
        daemon = daemons[turn % 2].start()
        holders = []
        for topic in topics:
            daemon.create(topic, 'a', 'b')
            bodies = [make_body('%s.%d' % (topic, turn), i, 1 + 37 * i)
                      for i in range(40)]
            publish(daemon, topic, bodies, batch=11)
            for channel in 'ab':
                left[topic, channel].update(bodies)
            settle(daemon)
            # One channel falls behind, the other nearly keeps up.
            for channel, count in (('a', 13), ('b', 37)):
                done = receive(daemon, topic, channel, count, rdy=5)
                left[topic, channel] -= collections.Counter(done)
                holders.append(daemon.subscribe(topic, channel, rdy=3))
                holders[-1].messages(3)
        daemon.stop()
        for holder in holders:
            holder.close()
        check_directory_but_bad(data, daemon)
    daemon = daemons[0].start()
    for (topic, channel), bodies in left.items():
        assert daemon.channel_stats(topic, channel)['depth'] \
            == sum(bodies.values())
        assert_exactly(bodies, drain(daemon, topic, channel, expect=bodies))


def check_directory_but_bad(path, daemon):
    """Stock leaves finished files behind as .bad; ours must not."""
    if daemon.stock:
        for name in bad_files(path):
            os.unlink(in_dir(path, name))
    check_directory(path)


def test_both_write_the_same_files(new_nsqd):
    """Same messages: the same names, sizes, positions, apart from the ids."""
    found = []
    for stock in (True, False):
        daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=4000',
                          stock=stock)
        for i in range(100):
            publish(daemon, 'topic', [make_body('b', i, 1 + i * 7)])
        daemon.stop()
        meta = in_dir(daemon.data_path, 'topic.diskqueue.meta.dat')
        with open(meta) as f:
            text = f.read()
        names = data_files(daemon.data_path)
        sizes = [os.stat(in_dir(daemon.data_path, n)).st_size for n in names]
        modes = {oct(os.stat(in_dir(daemon.data_path, n)).st_mode)
                 for n in names + ['topic.diskqueue.meta.dat', 'nsqd.dat']}
        found.append((files(daemon.data_path), sizes, text, modes))
    assert found[0] == found[1]


def test_the_metadata_file_has_the_same_bytes(new_nsqd, data):
    """One name each, since the order of several is random in stock."""
    contents = []
    for stock in (True, False, True):
        daemon = new_nsqd(stock=stock, data_path=data)
        daemon.create('topic', 'channel')
        pause(daemon, 'topic', 'channel')
        daemon.stop()
        contents.append(daemon.read_metadata())
    assert contents[0] == contents[1] == contents[2] == (
        b'{"topics":[{"name":"topic","paused":false,"channels":[{"name":'
        b'"channel","paused":true}]}],"version":"1.3.0"}')


def test_a_metadata_file_with_many_names_moves_on_unchanged(new_nsqd, data):
    first = new_nsqd(stock=True, data_path=data)
    for i in range(30):
        first.create('topic%d' % i, *('c%d' % k for k in range(i % 4)))
    pause(first, 'topic7')
    pause(first, 'topic11', 'c1')
    first.stop()
    written = json.loads(first.read_metadata())
    second = new_nsqd(data_path=data)
    second.stop()
    ours = json.loads(second.read_metadata())
    for root in (written, ours):
        root['topics'].sort(key=lambda t: t['name'])
        for topic in root['topics']:
            (topic['channels'] or []).sort(key=lambda c: c['name'])
    assert ours == written


def test_a_finished_file_that_stock_has_not_left_yet(new_nsqd, data):
    """Stock may stop with its reader at the end of a file that is full."""
    flags = ('--mem-queue-size=0', '--max-bytes-per-file=1000')
    first = new_nsqd(*flags, stock=True, data_path=data)
    first.create('t', 'c')
    # Read to the end first, then let the writer go on to the next file.
    for i in range(30):
        body = make_body('t', i, 150)
        publish(first, 't', [body])
        if i % 6 != 5:
            assert receive(first, 't', 'c', 1, rdy=1) != []
    # The topic gives the last one to the channel a moment after it was published.
    depth = first.wait_channel('t', 'c', message_count=30)['depth']
    first.stop()
    before = bad_files(data)
    second = new_nsqd(*flags, data_path=data)
    received = drain(second, 't', 'c', expect=depth)
    assert sum(received.values()) == depth
    assert bad_files(data) == before
