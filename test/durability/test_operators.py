"""Empty, delete and pause, by HTTP, reach the disk."""

import pytest

from durable import data_files, drain, make_body, publish, receive
from nsq import wait_until

FLAGS = ('--mem-queue-size=5', '--max-bytes-per-file=2000')


@pytest.fixture
def nsqd(new_nsqd):
    """Topic t with 200 messages in channels a and b, and in topic alone."""
    daemon = new_nsqd(*FLAGS)
    daemon.create('t', 'a', 'b')
    for topic in ('t', 'alone'):
        publish(daemon, topic, [make_body(topic, i, 100) for i in range(200)])
    for channel in 'ab':
        daemon.wait_channel('t', channel, depth=200)
    assert len(daemon.data_files('t:a')) > 5
    assert len(daemon.data_files('alone')) > 5
    return daemon


def ask(daemon, path):
    assert daemon.post(path).status == 200


def queue_files(daemon, queue):
    return [n for n in daemon.files() if n.startswith(queue + '.diskqueue.')]


def test_empty_a_channel(nsqd):
    ask(nsqd, '/channel/empty?topic=t&channel=a')
    assert queue_files(nsqd, 't:a') == []
    assert nsqd.channel_stats('t', 'a')['depth'] == 0
    nsqd.restart()
    assert nsqd.channel_stats('t', 'a')['depth'] == 0
    assert nsqd.channel_stats('t', 'b')['depth'] == 200
    # And it works on.
    publish(nsqd, 't', [b'x'] * 100)
    nsqd.wait_channel('t', 'a', depth=100)
    assert drain(nsqd, 't', 'a', expect=100) == {b'x': 100}


def test_empty_a_channel_with_messages_in_flight_and_deferred(nsqd):
    with nsqd.subscribe('t', 'a', rdy=20) as client:
        for message in client.messages(20)[:5]:
            client.req(message, 3600000)
        nsqd.wait_channel('t', 'a', deferred_count=5)
        client.rdy(0)
        ask(nsqd, '/channel/empty?topic=t&channel=a')
        nsqd.wait_channel('t', 'a', depth=0, in_flight_count=0,
                          deferred_count=0)
        nsqd.stop()
    assert data_files(nsqd.data_path, 't:a') == []
    nsqd.start()
    assert nsqd.channel_stats('t', 'a')['depth'] == 0


def test_empty_a_topic(nsqd):
    ask(nsqd, '/topic/empty?topic=alone')
    assert queue_files(nsqd, 'alone') == []
    nsqd.restart()
    assert nsqd.topic_stats('alone')['depth'] == 0
    assert nsqd.channel_stats('t', 'a')['depth'] == 200


def test_delete_a_channel(nsqd):
    ask(nsqd, '/channel/delete?topic=t&channel=a')
    assert queue_files(nsqd, 't:a') == []
    wait_until(lambda: nsqd.metadata()['t'] == (False, {'b': False}),
               'nsqd.dat knows')
    nsqd.restart()
    assert nsqd.channel_stats('t', 'a') is None
    assert nsqd.channel_stats('t', 'b')['depth'] == 200
    # A channel of that name begins empty.
    nsqd.create('t', 'a')
    assert nsqd.channel_stats('t', 'a')['depth'] == 0


def test_delete_a_topic(nsqd):
    publish(nsqd, 'tt', [b'x'] * 50)
    ask(nsqd, '/topic/delete?topic=t')
    assert queue_files(nsqd, 't') == queue_files(nsqd, 't:a') == []
    wait_until(lambda: 't' not in nsqd.metadata(), 'nsqd.dat knows')
    nsqd.restart()
    assert nsqd.topic_stats('t') is None
    # A name that begins alike is another's.
    assert nsqd.topic_stats('tt')['depth'] == 50


def test_delete_with_a_consumer_and_a_publisher(nsqd):
    with nsqd.subscribe('t', 'a', rdy=10) as client:
        client.messages(10)
        ask(nsqd, '/topic/delete?topic=t')
        client.expect_closed()
    assert queue_files(nsqd, 't:a') == queue_files(nsqd, 't:b') == []
    nsqd.pub('t', b'new')
    nsqd.create('t', 'a')
    assert receive(nsqd, 't', 'a', 1) == [b'new']


@pytest.mark.parametrize('path,paused', [
    ('/topic/%s?topic=t', lambda d: d.metadata()['t'][0]),
    ('/channel/%s?topic=t&channel=a',
     lambda d: d.metadata()['t'][1]['a'])])
def test_pause_and_unpause_are_on_disk(nsqd, path, paused):
    ask(nsqd, path % 'pause')
    # Also if nothing follows, not even a clean stop.
    wait_until(lambda: paused(nsqd), 'nsqd.dat knows')
    nsqd.kill()
    nsqd.start()
    assert paused(nsqd)
    ask(nsqd, path % 'unpause')
    wait_until(lambda: not paused(nsqd), 'nsqd.dat knows')
    nsqd.restart()
    assert not paused(nsqd)
    assert len(receive(nsqd, 't', 'b', 20)) == 20
