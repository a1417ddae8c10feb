"""msg_timeout, max_msg_timeout and max_req_timeout of a channel: see also test_timeouts.py."""

import time

import pytest

from nsq import ERROR, RESPONSE, SCALE, wait_until
from test_flow import channel_of, configure
from test_inspect import peek
from test_reload import reload

pytestmark = pytest.mark.ours(reason='stock has no settings of channels')

FLAGS = ['--msg-timeout=50m', '--max-msg-timeout=60m', '--max-req-timeout=50m']
SCANNED = 20
SHORT = '500ms'
SHORT_S = 0.5


@pytest.fixture
def topic(nsqd):
    return nsqd.scanned_topic()


def expect_again(client, start, at_least):
    """The message comes back, no sooner than that after start."""
    message = client.message()
    assert message.attempts == 2
    assert time.monotonic() - start >= at_least
    return message


def test_a_client_that_asks_for_none_has_the_channels(nsqd, topic):
    channel_of(nsqd, topic, msg_timeout=SHORT)
    with nsqd.subscribe(topic, 'ch', 1) as client:
        start = time.monotonic()
        nsqd.pub(topic, 'x')
        assert client.message().attempts == 1
        expect_again(client, start, SHORT_S)


def test_one_that_asks_keeps_its_own(nsqd, topic):
    channel_of(nsqd, topic, msg_timeout=SHORT)
    with nsqd.subscribe(topic, 'ch', 1, msg_timeout=3000) as client:
        start = time.monotonic()
        nsqd.pub(topic, 'x')
        assert client.message().attempts == 1
        expect_again(client, start, 3)


def test_one_that_asks_for_more_than_the_channel_allows_gets_that(nsqd, topic):
    channel_of(nsqd, topic, msg_timeout=SHORT, max_msg_timeout='1s')
    with nsqd.subscribe(topic, 'ch', 1, msg_timeout=3000000) as client:
        start = time.monotonic()
        nsqd.pub(topic, 'x')
        assert client.message().attempts == 1
        expect_again(client, start, 1)


def test_a_change_holds_for_what_is_delivered_next(nsqd, topic):
    channel_of(nsqd, topic)
    with nsqd.subscribe(topic, 'ch', 2) as client:
        nsqd.pub(topic, 'before')
        before = client.message()
        configure(nsqd, topic, msg_timeout=SHORT)
        start = time.monotonic()
        nsqd.pub(topic, 'after')
        assert client.message().body == b'after'
        assert expect_again(client, start, SHORT_S).body == b'after'
        configure(nsqd, topic, msg_timeout=None)

        def long_ones():
            """By body, when none is to time out within half an hour."""
            seen = {m['data']: m for m in peek(nsqd, topic, state='in_flight')}
            return len(seen) == 2 and all(m['due_in'] > 1800e9 for m in seen.values()) and seen
        # It may have timed out once more by now. What is delivered next has the flag's 50 minutes.
        seen = wait_until(long_ones, 'both have a long time')
        assert seen[b'after']['attempts'] >= 2
        # This one has kept its own all the time.
        assert (seen[b'before']['id'], seen[b'before']['attempts']) == (before.id.decode(), 1)


def test_identify_answers_what_it_always_did(nsqd, topic):
    channel_of(nsqd, topic, msg_timeout=SHORT)
    with nsqd.connect() as client:
        assert client.identify()['msg_timeout'] == 50 * 60 * 1000
    with nsqd.connect() as client:
        answer = client.identify(msg_timeout=4321)
        assert (answer['msg_timeout'], answer['max_msg_timeout']) == (4321, 60 * 60 * 1000)


def test_touch_begins_the_channels_timeout_anew(nsqd, topic):
    timeout = 2 * SCALE
    channel_of(nsqd, topic, msg_timeout='%dms' % (1000 * timeout))
    with nsqd.subscribe(topic, 'ch', 1) as client:
        nsqd.pub(topic, 'x')
        message = client.message()
        client.expect_quiet(timeout / 4)
        start = time.monotonic()
        client.touch(message)
        expect_again(client, start, timeout)


def test_touch_ends_at_the_channels_longest(nsqd, topic):
    channel_of(nsqd, topic, msg_timeout=SHORT, max_msg_timeout='1s')
    with nsqd.subscribe(topic, 'ch', 1, msg_timeout=1000) as client:
        nsqd.pub(topic, 'x')
        start = time.monotonic()
        message = client.message()
        came = None
        while came is None:
            client.touch(message)
            client.command('NOP')
            try:
                came = client.answer(0.05)
            except TimeoutError:
                pass
            assert time.monotonic() - start < 60
        # The message, or the answer to a TOUCH that was late.
        assert came[0] in (1, 2)
        assert time.monotonic() - start >= 0.9


def test_the_longest_of_a_policy_caps_the_flags_timeout(new_nsqd, tmp_path):
    path = tmp_path / 'nsqd.cfg'
    path.write_text('msg_timeout = "50m"\n[[policy]]\nmatch = "scan*/*"\nmax_msg_timeout = "500ms"\n')
    nsqd = new_nsqd('--config=%s' % path, '--max-msg-timeout=60m', scanned=1)
    topic = nsqd.scanned_topic()
    with nsqd.subscribe(topic, 'ch', 1) as client:
        start = time.monotonic()
        nsqd.pub(topic, 'x')
        client.message()
        expect_again(client, start, SHORT_S)


def test_flags_alone_may_say_more_than_the_longest(new_nsqd):
    """As stock does it: the first timeout is not cut."""
    nsqd = new_nsqd('--msg-timeout=2s', '--max-msg-timeout=1s', scanned=1)
    topic = nsqd.scanned_topic()
    with nsqd.subscribe(topic, 'ch', 1) as client:
        start = time.monotonic()
        nsqd.pub(topic, 'x')
        client.message()
        expect_again(client, start, 2)


def test_what_does_not_go_together_is_refused(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    answer = nsqd.http('PUT', '/channel/config?topic=%s&channel=ch' % topic,
                       '{"msg_timeout":"2s","max_msg_timeout":"1s"}')
    assert answer.status == 400
    assert b'msg_timeout' in answer.body


# -- REQ

def test_a_reqs_delay_is_clamped_to_the_channels(nsqd, topic):
    channel_of(nsqd, topic, max_req_timeout='1s')
    with nsqd.subscribe(topic, 'ch', 1) as client:
        nsqd.pub(topic, 'x')
        message = client.message()
        start = time.monotonic()
        client.req(message, 40 * 60 * 1000)
        expect_again(client, start, 1)
        nsqd.wait_log(r'REQ timeout 2400000000000 out of range 0-1000000000\. '
                      r'Setting to 1000000000$')


def test_a_longest_of_0_makes_each_req_one_without_delay(nsqd, topic):
    channel_of(nsqd, topic, max_req_timeout='0s')
    with nsqd.subscribe(topic, 'ch', 1) as client:
        nsqd.pub(topic, 'x')
        client.req(client.message(), 1000000)
        assert client.message().attempts == 2


def test_it_may_be_more_than_the_flag(nsqd, topic):
    channel_of(nsqd, topic, max_req_timeout='100h')
    with nsqd.subscribe(topic, 'ch', 1) as client:
        nsqd.pub(topic, 'x')
        client.req(client.message(), 90 * 3600 * 1000)
        nsqd.wait_channel(topic, 'ch', deferred_count=1, in_flight_count=0)
        assert 'out of range 0-360000000000000' not in nsqd.log()


def test_dpub_goes_by_the_flag(nsqd, topic):
    channel_of(nsqd, topic, max_req_timeout='1s')
    with nsqd.connect() as client:
        client.dpub(topic, 40 * 60 * 1000, b'x')
        nsqd.wait_channel(topic, 'ch', deferred_count=1)
    assert nsqd.post('/pub?topic=%s&defer=%d' % (topic, 40 * 60 * 1000), b'x').status == 200
    nsqd.wait_channel(topic, 'ch', deferred_count=2)


def test_a_reload_changes_the_timeout_of_clients_that_are_there(new_nsqd, tmp_path):
    path = tmp_path / 'nsqd.cfg'
    path.write_text('msg_timeout = "1h"\nmax_msg_timeout = "1h"\n')
    nsqd = new_nsqd('--config=%s' % path)
    nsqd.create('t', 'ch')
    with nsqd.subscribe('t', 'ch', 2) as client, \
            nsqd.subscribe('t', 'ch', msg_timeout=3600000) as asks:
        nsqd.pub('t', b'before')
        before = client.message()
        path.write_text('msg_timeout = "100ms"\nmax_msg_timeout = "1h"\n')
        reload(nsqd)
        nsqd.pub('t', b'after')
        assert client.message().body == b'after'
        wait_until(lambda: nsqd.channel_stats('t', 'ch')['timeout_count'] > 0, 'it times out')
        # The other one keeps its deadline.
        client.rdy(0)
        client.fin(before)
        client.command('PUB', 'usable', body=b'x')
        while True:
            kind, data = client.answer()
            assert kind != ERROR, data
            if kind == RESPONSE:
                break
        nsqd.wait_channel('t', 'ch', depth=1, in_flight_count=0)
        # So does a client that has asked for a time.
        asks.rdy(1)
        message = asks.message()
        nsqd.wait_channel('t', 'ch', in_flight_count=1, depth=0)
        asks.fin(message)
        nsqd.wait_channel('t', 'ch', depth=0, in_flight_count=0)
