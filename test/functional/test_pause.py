"""Pausing topics and channels over HTTP; what is paused stays so over a
restart."""

import pytest

pytestmark = pytest.mark.operator


def act(nsqd, what, topic, channel=None):
    """POST /topic/pause and the like, which answer with an empty body."""
    path = '/%s/%s?topic=%s' % ('channel' if channel else 'topic', what, topic)
    response = nsqd.post(path + ('&channel=' + channel if channel else ''))
    assert (response.status, response.body) == (200, b'')


# -- topics

def test_a_paused_topic_keeps_its_messages(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=10) as client:
        act(nsqd, 'pause', topic)
        nsqd.pub(topic, '1', '2', '3')
        client.expect_quiet()
        stats = nsqd.wait_topic(topic, depth=3, paused=True, message_count=3)
        assert stats['channels'][0]['depth'] == 0
        assert stats['channels'][0]['paused'] is False
        act(nsqd, 'unpause', topic)
        assert [m.body for m in client.messages(3)] == [b'1', b'2', b'3']
        nsqd.wait_topic(topic, depth=0, paused=False)


def test_pausing_a_topic_leaves_what_its_channels_have(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, 'before')
    nsqd.wait_channel(topic, 'ch', depth=1)
    act(nsqd, 'pause', topic)
    nsqd.pub(topic, 'after')
    with nsqd.subscribe(topic, 'ch', rdy=10) as client:
        assert client.message().body == b'before'
        client.expect_quiet()


def test_a_topic_may_be_paused_before_it_has_channels(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic)
    act(nsqd, 'pause', topic)
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=10) as client:
        client.expect_quiet()
        assert nsqd.topic_stats(topic)['depth'] == 1
        act(nsqd, 'unpause', topic)
        assert client.message().body == b'x'


def test_a_channel_created_on_a_paused_topic_gets_what_comes_later(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'one')
    act(nsqd, 'pause', topic)
    nsqd.pub(topic, 'x')
    nsqd.create(topic, 'two')
    act(nsqd, 'unpause', topic)
    nsqd.wait_channel(topic, 'one', depth=1)
    nsqd.wait_channel(topic, 'two', depth=1)


def test_pausing_twice_is_pausing(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    act(nsqd, 'pause', topic)
    act(nsqd, 'pause', topic)
    act(nsqd, 'unpause', topic)
    nsqd.pub(topic, 'x')
    nsqd.wait_channel(topic, 'ch', depth=1)
    act(nsqd, 'unpause', topic)


# -- channels

def test_a_paused_channel_delivers_nothing(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=10) as client, \
            nsqd.subscribe(topic, 'other', rdy=10) as other:
        act(nsqd, 'pause', topic, 'ch')
        nsqd.pub(topic, '1', '2')
        assert [m.body for m in other.messages(2)] == [b'1', b'2']
        client.expect_quiet()
        nsqd.wait_channel(topic, 'ch', depth=2, paused=True,
                          in_flight_count=0)
        act(nsqd, 'unpause', topic, 'ch')
        assert [m.body for m in client.messages(2)] == [b'1', b'2']
        nsqd.wait_channel(topic, 'ch', depth=0, paused=False)


def test_pausing_stops_a_flow(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *(b'%d' % i for i in range(1000)))
    with nsqd.subscribe(topic, 'ch', rdy=10) as client:
        for _ in range(100):
            client.fin(client.message())
        act(nsqd, 'pause', topic, 'ch')
        # The request has been answered: no more than what was under way.
        # What a pump has in its hand is in neither count.
        def settled(count):
            stats = nsqd.channel_stats(topic, 'ch')
            return (stats['in_flight_count'], stats['depth']) == (count, 900 - count)
        late = client.drain(settled)
        assert len(late) <= 10
        nsqd.wait_channel(topic, 'ch', depth=900 - len(late),
                          in_flight_count=len(late))
        act(nsqd, 'unpause', topic, 'ch')
        # RDY 10 less what it holds already.
        client.messages(10 - len(late))


def test_what_is_in_flight_when_a_channel_is_paused_can_be_answered(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, '1', '2', '3')
    with nsqd.subscribe(topic, 'ch', rdy=2) as client:
        first, second = client.messages(2)
        act(nsqd, 'pause', topic, 'ch')
        client.fin(first)
        client.touch(second)
        client.req(second)
        client.expect_usable()
        client.expect_quiet()
        nsqd.wait_channel(topic, 'ch', depth=2, in_flight_count=0)
        act(nsqd, 'unpause', topic, 'ch')
        assert {m.body for m in client.messages(2)} == {b'2', b'3'}


def test_a_consumer_may_subscribe_to_a_paused_channel(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    act(nsqd, 'pause', topic, 'ch')
    nsqd.pub(topic, 'x')
    nsqd.wait_channel(topic, 'ch', depth=1)
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        client.expect_quiet()
        act(nsqd, 'unpause', topic, 'ch')
        assert client.message().body == b'x'


# -- over a restart

def test_pausing_is_written_to_the_metadata_at_once(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    for what, paused in (('pause', True), ('unpause', False)):
        act(nsqd, what, topic)
        assert nsqd.metadata()[topic] == (paused, {'ch': False})
    for what, paused in (('pause', True), ('unpause', False)):
        act(nsqd, what, topic, 'ch')
        assert nsqd.metadata()[topic] == (False, {'ch': paused})


def test_what_is_paused_is_paused_after_a_restart(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'one', 'two')
    daemon.create('u', 'ch')
    act(daemon, 'pause', 't', 'two')
    act(daemon, 'pause', 'u')
    daemon.restart()
    assert daemon.topic_stats('t')['paused'] is False
    assert daemon.channel_stats('t', 'one')['paused'] is False
    assert daemon.channel_stats('t', 'two')['paused'] is True
    assert daemon.topic_stats('u')['paused'] is True
    daemon.pub('t', 'x')
    daemon.pub('u', 'y')
    with daemon.subscribe('t', 'one', rdy=1) as one, \
            daemon.subscribe('t', 'two', rdy=1) as two, \
            daemon.subscribe('u', 'ch', rdy=1) as other:
        assert one.message().body == b'x'
        two.expect_quiet()
        other.expect_quiet()
        act(daemon, 'unpause', 't', 'two')
        act(daemon, 'unpause', 'u')
        assert two.message().body == b'x'
        assert other.message().body == b'y'
    daemon.restart()
    assert daemon.channel_stats('t', 'two')['paused'] is False
    assert daemon.topic_stats('u')['paused'] is False
