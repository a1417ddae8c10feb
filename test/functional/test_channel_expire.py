"""channel_expire: a channel without consumers for so long is deleted, as an operator would do it."""

import json
import os
import random
import re
import threading
import time

import pytest

from lookupd import FakeLookupd
from nsq import wait_until
from queues import put
from test_flow import configure

pytestmark = pytest.mark.ours(reason='stock has no settings of channels')

FLAGS = ['--mem-queue-size=10']
# Shorter than any test, and longer than any.
SHORT, LONG = '100ms', '100h'


def wait_gone(nsqd, topic, channel='ch'):
    wait_until(lambda: nsqd.channel_stats(topic, channel) is None, '%s is gone' % channel)
    # The topic stays.
    assert nsqd.topic_stats(topic) is not None


def expired(nsqd):
    """So many channels, by /metrics."""
    found = re.search(r'^nsqd_channels_expired_total (\d+)$',
                      nsqd.get('/metrics').body.decode(), re.M)
    return int(found[1])


def test_an_unused_channel_is_deleted_with_its_messages(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, *(b'%d' % i for i in range(100)))
    nsqd.wait_channel(topic, 'ch', depth=100)
    before = expired(nsqd)
    configure(nsqd, topic, channel_expire=SHORT)
    wait_gone(nsqd, topic)
    nsqd.wait_log(r'CHANNEL\(ch\): expired, no consumer for 100ms \(channel_expire\)$')
    wait_until(lambda: topic in nsqd.metadata() and not nsqd.metadata()[topic][1],
               'nsqd.dat does not have it')
    wait_until(lambda: not [f for f in os.listdir(nsqd.data_path)
                            if f.startswith(topic + ':ch.')], 'its files are gone')
    assert expired(nsqd) >= before + 1


def test_with_a_consumer_it_stays_and_the_time_begins_when_the_last_has_left(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch', 'other')
    first, second = nsqd.subscribe(topic, 'ch', 1), nsqd.subscribe(topic, 'ch', 1)
    configure(nsqd, topic, channel_expire='1s')
    configure(nsqd, topic, 'other', channel_expire='1s')
    wait_gone(nsqd, topic, 'other')     # as old as ch is
    first.close()
    nsqd.wait_channel(topic, 'ch', client_count=1)
    before = time.monotonic()
    second.close()
    wait_gone(nsqd, topic)
    assert time.monotonic() - before >= 1


def test_of_a_topic_it_holds_for_all_its_channels(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'a', 'b', 'c')
    configure(nsqd, topic, 'b', channel_expire=LONG)
    with nsqd.subscribe(topic, 'c'):
        put(nsqd, topic, channel_expire=SHORT)
        wait_gone(nsqd, topic, 'a')
        assert nsqd.channel_stats(topic, 'b') and nsqd.channel_stats(topic, 'c')
        # Also those that come later.
        nsqd.create(topic, 'd')
        wait_gone(nsqd, topic, 'd')
    wait_gone(nsqd, topic, 'c')
    assert nsqd.channel_stats(topic, 'b')


def test_time_that_has_passed_before_counts(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    configure(nsqd, topic, channel_expire=LONG)
    configure(nsqd, topic, channel_expire='1ms')
    wait_gone(nsqd, topic)


@pytest.mark.parametrize('state', ['paused', 'deferred', 'in flight'])
def test_whatever_its_messages_do(nsqd, state):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    if state == 'paused':
        nsqd.post('/channel/pause?topic=%s&channel=ch' % topic)
    elif state == 'deferred':
        with nsqd.connect() as client:
            client.dpub(topic, 100000, b'x')
        nsqd.wait_channel(topic, 'ch', deferred_count=1)
    else:
        with nsqd.subscribe(topic, 'ch', 1) as client:
            nsqd.pub(topic, 'x')
            client.message()
    configure(nsqd, topic, channel_expire=SHORT)
    wait_gone(nsqd, topic)


def test_ephemeral_ones_do_as_always(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch#ephemeral', 'sign')
    put(nsqd, topic, channel_expire=SHORT)
    # Found in the same look, or a later one.
    wait_gone(nsqd, topic, 'sign')
    nsqd.create(topic, 'sign')
    wait_gone(nsqd, topic, 'sign')
    assert nsqd.channel_stats(topic, 'ch#ephemeral')


def test_an_ephemeral_topic_goes_with_its_last_channel(nsqd):
    topic = nsqd.topic('#ephemeral')
    nsqd.create(topic, 'ch')
    configure(nsqd, topic, channel_expire=SHORT)
    wait_until(lambda: nsqd.topic_stats(topic) is None, 'the topic is gone')


def test_after_a_restart_the_time_begins_anew(new_nsqd):
    nsqd = new_nsqd()
    nsqd.create('t', 'ch')
    configure(nsqd, 't', channel_expire='3s')
    start = time.monotonic()
    nsqd.restart()
    wait_gone(nsqd, 't')
    assert time.monotonic() - start >= 3


def test_a_channel_is_made_anew_without_what_was_set_at_run_time(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    configure(nsqd, topic, channel_expire=SHORT, max_in_flight=1)
    wait_gone(nsqd, topic)
    with nsqd.subscribe(topic, 'ch', 10) as client:
        nsqd.pub(topic, *'abc')
        assert len(client.messages(3)) == 3


def test_nsqlookupd_is_told(new_nsqd):
    lookupd = FakeLookupd()
    try:
        nsqd = new_nsqd('--lookupd-tcp-address=' + lookupd.address)
        nsqd.create('t', 'ch')
        wait_until(lambda: 'REGISTER t ch' in lookupd.commands, 'it is registered')
        configure(nsqd, 't', channel_expire=SHORT)
        wait_until(lambda: 'UNREGISTER t ch' in lookupd.commands, 'it is not any more')
        assert 'UNREGISTER t' not in lookupd.commands
    finally:
        lookupd.close()


def test_a_daemon_that_drains_keeps_its_channels(new_nsqd):
    nsqd = new_nsqd()
    nsqd.create('t', 'ch')
    nsqd.pub('t', 'x')
    nsqd.wait_channel('t', 'ch', depth=1)
    assert nsqd.http('PUT', '/config/drain', b'true').status == 200
    configure(nsqd, 't', channel_expire='1ms')
    # It looks ten times a second.
    with pytest.raises(AssertionError):
        wait_until(lambda: nsqd.channel_stats('t', 'ch') is None, 'it is gone', 0.5)
    assert nsqd.http('PUT', '/config/drain', b'false').status == 200
    wait_gone(nsqd, 't')


def test_a_consumer_that_comes_at_that_moment_gets_in(new_nsqd):
    """Each SUB is answered OK, and gets what is published after it."""
    nsqd = new_nsqd('--mem-queue-size=1')
    nsqd.create('t', 'keep')
    put(nsqd, 't', channel_expire='1ms')
    before, failed = expired(nsqd), []

    def consume(name):
        try:
            while expired(nsqd) < before + 30:
                with nsqd.subscribe('t', name, 100) as client:
                    nsqd.pub('t', name)
                    message = None
                    while message is None or message.body != name.encode():
                        message = client.message()
                        client.fin(message)
                # It is looked at ten times a second: any moment, before and after that.
                time.sleep(random.uniform(0, 0.15))
        except BaseException as error:
            failed.append(error)
            raise
    threads = [threading.Thread(target=consume, args=(n,)) for n in 'abcde']
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_many_expire_together(new_nsqd):
    nsqd = new_nsqd('--mem-queue-size=1', start=False)
    nsqd.write_metadata({'topics': [
        {'name': 't%d' % i, 'paused': False,
         'channels': [{'name': 'c%d' % j, 'paused': False} for j in range(30)]}
        for i in range(20)], 'version': '1.3.0'})
    with open(os.path.join(nsqd.data_path, 'nsqd.settings.json'), 'w') as f:
        json.dump({'topics': [{'name': 't%d' % i, 'settings': {'channel_expire': '1ms'}}
                              for i in range(20)], 'version': 1}, f)
    nsqd.start()
    wait_until(lambda: not any(t['channels'] for t in nsqd.stats()['topics']), 'all are gone')
    assert expired(nsqd) == 600
    assert nsqd.count_threads('expire') <= 1


def test_an_exit_in_the_middle_of_it(new_nsqd):
    nsqd = new_nsqd('--mem-queue-size=0')
    for i in range(20):
        nsqd.create('t%d' % i, 'a', 'b', 'c', 'd')
        nsqd.pub('t%d' % i, 'x')
    for i in range(20):
        put(nsqd, 't%d' % i, channel_expire='1ms')
    wait_until(lambda: expired(nsqd) > 0, 'it has begun')
    nsqd.stop()
    # What was not deleted is there.
    left = sum(len(channels) for _, channels in nsqd.metadata().values())
    assert left <= 79
