"""Percentiles of the time from publish to finish."""

import re
import socket
import time

from nsq import DEADLINE, wait_until

PERCENTILES = ['--e2e-processing-latency-percentile=0.5',
               '--e2e-processing-latency-percentile=1.0,0.99']


def latency(stats):
    return stats['e2e_processing_latency']


def values(stats):
    return {p['quantile']: p['value'] for p in latency(stats)['percentiles']}


def finish_all(nsqd, topic, channel, count):
    with nsqd.subscribe(topic, channel, rdy=count) as client:
        for message in client.messages(count):
            client.fin(message)
        # Its time is noted after it has left what is in flight; when this is
        # answered it has been.
        client.expect_usable()
        nsqd.wait_channel(topic, channel, in_flight_count=0, depth=0)
    # Or what is published next is sent to it.
    nsqd.wait_channel(topic, channel, client_count=0)


def test_nothing_is_measured_by_default(new_nsqd):
    nsqd = new_nsqd()
    nsqd.create('t', 'c')
    nsqd.pub('t', 'x')
    finish_all(nsqd, 't', 'c', 1)
    for stats in (nsqd.topic_stats('t'), nsqd.channel_stats('t', 'c')):
        assert latency(stats) == {'count': 0, 'percentiles': None}


def test_before_the_first_message_all_are_0(new_nsqd):
    nsqd = new_nsqd(*PERCENTILES)
    nsqd.create('t', 'c')
    nsqd.create('u')
    expected = {'count': 0, 'percentiles': [
        {'quantile': 1, 'value': 0}, {'quantile': 0.99, 'value': 0},
        {'quantile': 0.5, 'value': 0}]}
    assert latency(nsqd.channel_stats('t', 'c')) == expected
    assert latency(nsqd.topic_stats('t')) == expected
    # A topic without channels has nobody to ask.
    assert latency(nsqd.topic_stats('u')) == {'count': 0, 'percentiles': None}


def test_percentiles_in_descending_order_from_the_flags(new_nsqd):
    nsqd = new_nsqd(*PERCENTILES)
    nsqd.create('t', 'c')
    start = time.monotonic()
    nsqd.pub('t', *['x'] * 90)
    finish_all(nsqd, 't', 'c', 90)
    first = (time.monotonic() - start) * 1e9
    nsqd.pub('t', *['x'] * 10)
    time.sleep(0.6)     # what is measured
    finish_all(nsqd, 't', 'c', 10)
    taken = (time.monotonic() - start) * 1e9
    stats = latency(nsqd.channel_stats('t', 'c'))
    assert stats['count'] == 100
    assert [p['quantile'] for p in stats['percentiles']] == [1, 0.99, 0.5]
    high, higher, low = (stats['percentiles'][i]['value'] for i in (1, 0, 2))
    assert 0 < low <= high <= higher < taken
    assert high >= 0.6e9
    assert low < first


def test_a_topic_has_those_of_all_its_channels(new_nsqd):
    nsqd = new_nsqd(*PERCENTILES)
    nsqd.create('t', 'fast', 'slow')
    nsqd.pub('t', *['x'] * 20)
    finish_all(nsqd, 't', 'fast', 20)
    time.sleep(0.4)
    finish_all(nsqd, 't', 'slow', 20)
    fast, slow = (nsqd.channel_stats('t', c) for c in ('fast', 'slow'))
    topic = nsqd.topic_stats('t')
    assert latency(fast)['count'] == latency(slow)['count'] == 20
    assert latency(topic)['count'] == 40
    assert values(topic)[1] == values(slow)[1] >= 0.4e9
    assert values(fast)[1] < values(slow)[0.5]
    # Asking for one channel does not change the topic's.
    only = nsqd.get('/stats?format=json&topic=t&channel=fast').body.decode()
    assert re.findall(r'"e2e_processing_latency":\{"count":(\d+),', only) == [
        '20', '40']


def test_the_text_shows_them_for_people(new_nsqd):
    nsqd = new_nsqd(*PERCENTILES)
    nsqd.create('t', 'c')
    nsqd.pub('t', 'x')
    time.sleep(0.01)
    finish_all(nsqd, 't', 'c', 1)
    text = nsqd.get('/stats').body.decode()
    human = r'(\d+\.\d(?:s|ms)), \1, \1'
    assert re.search(r'\[t              \] .* e2e%: ' + human + '\n', text)
    assert re.search(r'\[c                        \] .* e2e%: ' + human + '\n',
                     text)


def test_what_is_older_than_the_window_is_forgotten(new_nsqd):
    nsqd = new_nsqd(*PERCENTILES, '--e2e-processing-latency-window-time=2s')
    nsqd.create('t', 'c')
    start = time.monotonic()
    nsqd.pub('t', 'x', 'y')
    finish_all(nsqd, 't', 'c', 2)
    count = latency(nsqd.channel_stats('t', 'c'))['count']
    # Half of the window is the least that it remembers.
    assert count == 2 or time.monotonic() - start > 1
    wait_until(lambda: latency(nsqd.channel_stats('t', 'c'))['count'] == 0
               and latency(nsqd.topic_stats('t'))['count'] == 0,
               lambda: 'the window has passed')


def test_a_requeued_message_counts_from_its_publishing(new_nsqd):
    nsqd = new_nsqd(*PERCENTILES)
    nsqd.create('t', 'c')
    nsqd.pub('t', 'x')
    with nsqd.subscribe('t', 'c', rdy=1) as client:
        time.sleep(0.2)
        client.req(client.message())
        assert latency(nsqd.channel_stats('t', 'c'))['count'] == 0
        client.fin(client.message())
        client.expect_usable()
        nsqd.wait_channel('t', 'c', in_flight_count=0, depth=0)
    assert values(nsqd.channel_stats('t', 'c'))[0.5] >= 0.2e9


def test_statsd_gets_them_too(new_nsqd):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(('127.0.0.1', 0))
        statsd.settimeout(DEADLINE)
        nsqd = new_nsqd(*PERCENTILES, '--statsd-prefix=p',
                        '--statsd-address=127.0.0.1:%d'
                        % statsd.getsockname()[1], '--statsd-interval=1100ms',
                        '--statsd-mem-stats=false')
        nsqd.create('t', 'c')
        nsqd.pub('t', 'x')
        finish_all(nsqd, 't', 'c', 1)
        seen = ''
        while not re.search(r'channel\.c\.e2e_processing_latency_50:[1-9]',
                            seen):
            seen += statsd.recv(65536).decode()
    last = seen[seen.rindex('p.topic.t.message_count'):]
    for name in ('p.topic.t.', 'p.topic.t.channel.c.'):
        assert re.findall(re.escape(name)
                          + r'e2e_processing_latency_(\d+):\d+\|g', last) == [
            '100', '99', '50']
