"""Topics and channels named ...#ephemeral: nothing of them is kept, but of other channels."""

import os

import pytest

from nsq import wait_until

SMALL = 5


def gone(nsqd, topic, channel=None):
    """Wait until the statistics no longer show it."""
    wait_until(lambda: (nsqd.channel_stats(topic, channel) if channel
                        else nsqd.topic_stats(topic)) is None,
               lambda: '%s/%s is gone' % (topic, channel))


def test_a_channel_goes_with_its_last_consumer(nsqd):
    topic = nsqd.topic()
    first = nsqd.subscribe(topic, 'ch#ephemeral')
    second = nsqd.subscribe(topic, 'ch#ephemeral')
    first.close()
    nsqd.wait_channel(topic, 'ch#ephemeral', client_count=1)
    second.close()
    gone(nsqd, topic, 'ch#ephemeral')
    assert nsqd.topic_stats(topic) is not None


def test_what_a_channel_held_goes_with_it(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch#ephemeral', rdy=1) as client:
        nsqd.pub(topic, '1', '2', '3')
        client.message()
    gone(nsqd, topic, 'ch#ephemeral')
    with nsqd.subscribe(topic, 'ch#ephemeral', rdy=10) as client:
        client.expect_quiet()
        nsqd.pub(topic, 'new')
        assert client.message().body == b'new'


def test_a_topic_goes_with_its_last_channel(nsqd):
    topic = nsqd.topic('#ephemeral')
    one = nsqd.subscribe(topic, 'one#ephemeral')
    two = nsqd.subscribe(topic, 'two#ephemeral')
    one.close()
    gone(nsqd, topic, 'one#ephemeral')
    assert nsqd.topic_stats(topic) is not None
    two.close()
    gone(nsqd, topic)


def test_a_topic_with_an_ordinary_channel_stays(nsqd):
    topic = nsqd.topic('#ephemeral')
    ordinary = nsqd.subscribe(topic, 'ordinary')
    with nsqd.subscribe(topic, 'ch#ephemeral'):
        pass
    gone(nsqd, topic, 'ch#ephemeral')
    ordinary.close()
    nsqd.wait_channel(topic, 'ordinary', client_count=0)


def test_a_topic_without_channels_waits_for_its_first(nsqd):
    topic = nsqd.topic('#ephemeral')
    nsqd.pub(topic, 'x')
    assert nsqd.topic_stats(topic)['depth'] == 1
    with nsqd.subscribe(topic, 'ch#ephemeral', rdy=1) as client:
        assert client.message().body == b'x'
    gone(nsqd, topic)


def test_messages_are_delivered_and_requeued_as_usual(nsqd):
    topic = nsqd.topic('#ephemeral')
    with nsqd.subscribe(topic, 'ch#ephemeral', rdy=10) as client:
        nsqd.pub(topic, *(b'%d' % i for i in range(100)))
        for i in range(100):
            message = client.message()
            assert message.body == b'%d' % i
            client.fin(message)
        nsqd.pub(topic, 'x')
        client.req(client.message())
        assert client.message().attempts == 2


def test_a_consumer_may_come_back_again_and_again(nsqd):
    topic = nsqd.topic('#ephemeral')
    for i in range(30):
        # SUB may meet the channel while it is being deleted.
        with nsqd.subscribe(topic, 'ch#ephemeral', rdy=1) as client:
            nsqd.wait_channel(topic, 'ch#ephemeral', client_count=1)
            nsqd.pub(topic, b'%d' % i)
            assert client.message().body == b'%d' % i
        gone(nsqd, topic)


@pytest.fixture
def small(new_nsqd):
    return new_nsqd('--mem-queue-size=%d' % SMALL)


def test_a_full_channel_drops_messages_without_an_error(small):
    with small.subscribe('t', 'ch#ephemeral') as client, \
            small.subscribe('t', 'all', rdy=100,
                            output_buffer_size=-1) as reference:
        for i in range(3 * SMALL):
            small.pub('t', b'%d' % i)
            # The topic's own queue is as small and is not to overflow.
            assert reference.message().body == b'%d' % i
        small.wait_channel('t', 'ch#ephemeral', depth=SMALL,
                           message_count=3 * SMALL)
        client.rdy(100)
        assert [m.body for m in client.messages(SMALL)] \
            == [b'%d' % i for i in range(SMALL)]
        client.expect_quiet()


def test_a_full_topic_drops_messages_without_an_error(small):
    with small.connect() as publisher:
        for i in range(3 * SMALL):
            publisher.pub('t#ephemeral', b'%d' % i)
    assert small.topic_stats('t#ephemeral')['depth'] == SMALL
    assert small.topic_stats('t#ephemeral')['message_count'] == 3 * SMALL
    with small.subscribe('t#ephemeral', 'ch', rdy=100) as client:
        assert [m.body for m in client.messages(SMALL)] \
            == [b'%d' % i for i in range(SMALL)]
        client.expect_quiet()


def test_nothing_ephemeral_is_in_the_metadata_or_on_disk(new_nsqd):
    daemon = new_nsqd()
    with daemon.subscribe('t#ephemeral', 'ch#ephemeral'), \
            daemon.subscribe('kept', 'ch#ephemeral'), \
            daemon.subscribe('kept', 'ch'):
        daemon.pub('t#ephemeral', 'x')
        daemon.pub('kept', 'x')
        daemon.wait_channel('kept', 'ch#ephemeral', depth=1)
        daemon.wait_channel('t#ephemeral', 'ch#ephemeral', depth=1)
        wait_until(lambda: 'kept' in daemon.metadata(), daemon.read_metadata)
        daemon.stop()
    assert daemon.metadata() == {'kept': (False, {'ch': False})}
    assert not [name for name in os.listdir(daemon.data_path)
                if 'ephemeral' in name]
    daemon.start()
    assert daemon.topic_stats('t#ephemeral') is None
    assert [c['channel_name'] for c in
            daemon.topic_stats('kept')['channels']] == ['ch']


def test_an_ordinary_channel_of_a_topic_keeps_its_messages_on_disk(new_nsqd):
    """Nothing names the topic, but a channel that is made again finds them."""
    daemon = new_nsqd()
    daemon.create('t#ephemeral', 'ch')
    daemon.pub('t#ephemeral', 'x')
    daemon.wait_channel('t#ephemeral', 'ch', depth=1)
    daemon.restart()
    assert daemon.topic_stats('t#ephemeral') is None
    with daemon.subscribe('t#ephemeral', 'ch', rdy=1) as client:
        assert client.message().body == b'x'
