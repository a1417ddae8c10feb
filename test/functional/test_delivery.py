"""From PUB to FIN: what a consumer gets, how much of it, and in which order.

Nothing here waits for a message to time out; see test_timeouts.py.
"""

import select
import struct
import time

import pytest

from nsq import (DEADLINE, ERROR, HEARTBEAT, MESSAGE, OK, RESPONSE, Message,
                 frame, mpub_body, sized, wait_until)

# Longer than any test: what is buffered is flushed by something else.
NEVER = 30000


def numbered(count, start=0):
    return [b'%d' % i for i in range(start, start + count)]


# -- the message

def test_a_message_frame_has_exactly_the_documented_bytes(nsqd, client):
    topic = nsqd.topic()
    before = time.time_ns()
    client.pub(topic, b'hello')
    after = time.time_ns()
    client.sub(topic, 'ch')
    client.rdy(1)
    head = client.read(8)
    assert head == struct.pack('>ii', 4 + 8 + 2 + 16 + 5, MESSAGE)
    timestamp, attempts = struct.unpack('>qH', client.read(10))
    assert before <= timestamp <= after
    assert attempts == 1
    number = client.read(16)
    assert all(c in b'0123456789abcdef' for c in number)
    assert client.read(5) == b'hello'


@pytest.mark.parametrize('body', [
    b'\0', b'\n', b'\r\n', bytes(range(256)), b'FIN x\n' * 10,
    b'\xff' * 70000],
    ids=lambda body: repr(body[:12]))
def test_a_body_arrives_unchanged(nsqd, client, body):
    topic = nsqd.topic()
    client.pub(topic, body)
    client.sub(topic, 'ch')
    client.rdy(1)
    assert client.message().body == body


def test_ids_are_unique_and_grow(nsqd, client):
    topic = nsqd.topic()
    for start in range(0, 500, 50):
        client.pub(topic, *numbered(50, start))
    client.sub(topic, 'ch')
    client.rdy(500)
    ids = [m.id for m in client.messages(500)]
    assert ids == sorted(set(ids))


def test_an_id_holds_the_time_and_the_node_id(new_nsqd):
    daemon = new_nsqd('--node-id=777')
    before = time.time_ns() >> 20
    daemon.pub('t', 'x')
    after = time.time_ns() >> 20
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        guid = int(client.message().id, 16)
    assert guid >> 12 & 0x3ff == 777
    assert before <= (guid >> 22) + 1288834974288 <= after
    assert guid & 0xfff == 0


def test_the_messages_of_an_mpub_have_ids_of_their_own(nsqd, client):
    topic = nsqd.topic()
    client.pub(topic, *numbered(1000))
    client.sub(topic, 'ch')
    client.rdy(1000)
    assert len({m.id for m in client.messages(1000)}) == 1000


# -- RDY

def test_nothing_is_sent_before_rdy(nsqd, client):
    topic = nsqd.topic()
    client.pub(topic, b'x')
    client.sub(topic, 'ch')
    client.expect_quiet()
    assert nsqd.wait_channel(topic, 'ch', depth=1)['in_flight_count'] == 0


def test_rdy_0_gets_nothing(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=0) as client:
        client.expect_quiet()


def test_rdy_1_gets_one_message_at_a_time(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(3))
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        for body in numbered(3):
            message = client.message()
            assert message.body == body
            client.expect_quiet()
            client.fin(message)
        client.expect_quiet()


@pytest.mark.parametrize('count', [2, 7, 50])
def test_rdy_n_gets_n_unanswered_messages(nsqd, count):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(100))
    with nsqd.subscribe(topic, 'ch', rdy=count) as client:
        assert [m.body for m in client.messages(count)] == numbered(count)
        client.expect_quiet()
        nsqd.wait_channel(topic, 'ch', depth=100 - count,
                          in_flight_count=count)


def test_rdy_counts_what_is_in_flight_and_can_change_at_any_time(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(20))
    with nsqd.subscribe(topic, 'ch', rdy=5) as client:
        held = client.messages(5)
        client.expect_quiet()
        client.rdy(8)
        held += client.messages(3)
        client.expect_quiet()
        client.rdy(2)
        for message in held[:6]:
            client.fin(message)
        client.expect_quiet()       # two are still in flight
        client.fin(held[6])
        held.append(client.message())
        client.expect_quiet()
        client.rdy(0)
        client.fin(held[7])
        client.fin(held[8])
        client.expect_quiet()
        nsqd.wait_channel(topic, 'ch', depth=11, in_flight_count=0)
        client.rdy(2500)
        assert [m.body for m in client.messages(11)] == numbered(11, 9)


def test_rdy_0_stops_a_flow_for_good(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(2000))
    with nsqd.subscribe(topic, 'ch', rdy=10) as client:
        for _ in range(300):
            client.fin(client.message())
        client.rdy(0)
        # What was on its way still comes, but not more than RDY allowed.
        def settled(count):
            stats = nsqd.channel_stats(topic, 'ch')
            # What a pump has in its hand is in neither count.
            return (stats['in_flight_count'], stats['depth'], stats['clients'][0][
                'ready_count']) == (count, 1700 - count, 0)
        late = len(client.drain(settled))
        assert late <= 10
        nsqd.wait_channel(topic, 'ch', in_flight_count=late,
                          depth=1700 - late)
        client.expect_quiet()


def test_the_rdy_of_each_of_several_consumers_is_respected(nsqd):
    topic = nsqd.topic()
    clients = [nsqd.subscribe(topic, 'ch', rdy=n) for n in (0, 1, 2, 5)]
    nsqd.pub(topic, *numbered(20))
    nsqd.wait_channel(topic, 'ch', in_flight_count=8, depth=12)
    bodies = []
    for count, client in zip((0, 1, 2, 5), clients):
        bodies += [m.body for m in client.messages(count)]
        client.expect_quiet()
    assert sorted(bodies) == numbered(8)
    for client in clients:
        client.close()


def test_a_waiting_consumer_gets_a_message_at_once(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        for i in range(20):
            nsqd.pub(topic, b'%d' % i)
            message = client.message()
            assert message.body == b'%d' % i
            client.fin(message)


# -- sharing

def consume_all(clients, total):
    """FIN whatever arrives at any client, until total messages came.

    Returns one list of messages for each client.
    """
    got = [[] for _ in clients]
    while sum(map(len, got)) < total:
        ready = [c for c in clients if c.buffer] or select.select(
            [c.socket for c in clients], [], [], DEADLINE)[0]
        assert ready, '%s of %d arrived' % ([len(g) for g in got], total)
        for client, messages in zip(clients, got):
            if client in ready or client.socket in ready:
                message = client.message()
                messages.append(message)
                client.fin(message)
    return got


def test_consumers_of_one_channel_share_its_messages(nsqd):
    topic = nsqd.topic()
    clients = [nsqd.subscribe(topic, 'ch', rdy=10) for _ in range(3)]
    got, total = [[] for _ in clients], 0
    # More than what their RDY of 10 let each have at once; how soon depends on when
    # the kernel lets each of them have a processor.
    while any(len(messages) <= 20 for messages in got):
        assert total < 30000, list(map(len, got))
        nsqd.pub(topic, *numbered(1500, total))
        total += 1500
        for messages, more in zip(got, consume_all(clients, 1500)):
            messages += more
    assert sorted(int(m.body) for g in got for m in g) == list(range(total))
    nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0,
                      message_count=total, requeue_count=0, timeout_count=0)
    for client in clients:
        client.expect_quiet()
        client.close()


def test_every_channel_gets_a_copy_of_every_message(nsqd):
    topic = nsqd.topic()
    clients = [nsqd.subscribe(topic, 'ch%d' % i, rdy=100) for i in range(4)]
    nsqd.pub(topic, *numbered(100))
    copies = [client.messages(100) for client in clients]
    first = [(m.id, m.timestamp, m.attempts, m.body) for m in copies[0]]
    for copy in copies[1:]:
        assert [(m.id, m.timestamp, m.attempts, m.body)
                for m in copy] == first
    # A FIN on one channel is not one on another.
    clients[0].fin(copies[0][0])
    nsqd.wait_channel(topic, 'ch0', in_flight_count=99)
    nsqd.wait_channel(topic, 'ch1', in_flight_count=100)
    clients[1].fin(copies[1][0])
    clients[1].expect_usable()
    for client in clients:
        client.close()


def test_attempts_are_counted_per_channel(nsqd):
    topic = nsqd.topic()
    one = nsqd.subscribe(topic, 'one', rdy=1)
    two = nsqd.subscribe(topic, 'two', rdy=1)
    nsqd.pub(topic, 'x')
    for attempt in (1, 2, 3):
        message = one.message()
        assert message.attempts == attempt
        one.req(message)
    assert two.message().attempts == 1
    one.close()
    two.close()


def test_messages_wait_in_the_topic_for_its_first_channel(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(5))
    assert nsqd.topic_stats(topic)['depth'] == 5
    first = nsqd.subscribe(topic, 'first', rdy=10)
    assert [m.body for m in first.messages(5)] == numbered(5)
    second = nsqd.subscribe(topic, 'second', rdy=10)
    second.expect_quiet()
    nsqd.pub(topic, 'new')
    assert (first.message().body, second.message().body) == (b'new', b'new')
    first.close()
    second.close()


def test_a_channel_keeps_messages_while_it_has_no_consumer(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, *numbered(5))
    nsqd.wait_channel(topic, 'ch', depth=5)
    with nsqd.subscribe(topic, 'ch', rdy=10) as client:
        assert [m.body for m in client.messages(5)] == numbered(5)


def test_one_consumer_gets_the_messages_in_order(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100) as client:
        with nsqd.connect() as publisher:
            for start in range(0, 3000, 30):
                publisher.pub(topic, *numbered(30, start))
        [got] = consume_all([client], 3000)
    assert [m.body for m in got] == numbered(3000)


def test_the_messages_of_each_publisher_keep_their_order(nsqd):
    topic = nsqd.topic()
    publishers = [nsqd.connect() for _ in range(4)]
    with nsqd.subscribe(topic, 'ch', rdy=50) as client:
        for i in range(100):
            for n, publisher in enumerate(publishers):
                publisher.command('PUB', topic, body=b'%d %d' % (n, i))
        [got] = consume_all([client], 400)
    for n, publisher in enumerate(publishers):
        for _ in range(100):
            publisher.expect_ok()
        publisher.close()
        mine = [m.body for m in got if m.body.startswith(b'%d ' % n)]
        assert mine == [b'%d %d' % (n, i) for i in range(100)]


# -- FIN

def test_fin_is_answered_with_nothing_and_finishes_the_message(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        client.fin(client.message())
        client.expect_usable()
        stats = nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)
        mine = stats['clients'][0]
        assert (mine['message_count'], mine['finish_count'],
                mine['in_flight_count']) == (1, 1, 0)


def test_a_second_fin_fails(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        message = client.message()
        client.fin(message)
        client.fin(message)
        client.expect_error(
            b'E_FIN_FAILED FIN %s failed ID not in flight' % message.id)


def test_a_client_cannot_answer_for_another(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as owner, \
            nsqd.subscribe(topic, 'ch') as other:
        message = owner.message()
        for command, words in (('FIN', ()), ('REQ', (0,)), ('TOUCH', ())):
            other.command(command, message.id, *words)
            other.expect_error(
                b'E_%s_FAILED %s %s failed client does not own message'
                % (command.encode(), command.encode(), message.id))
        owner.touch(message)
        owner.fin(message)
        owner.expect_usable()
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)


def test_an_id_of_another_channel_is_not_in_flight(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'one', rdy=1) as one:
        nsqd.pub(topic, 'x')
        message = one.message()
        with nsqd.subscribe(topic, 'two') as two:
            two.fin(message)
            two.expect_error(
                b'E_FIN_FAILED FIN %s failed ID not in flight' % message.id)


def test_fins_may_come_in_any_order(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(200))
    with nsqd.subscribe(topic, 'ch', rdy=200) as client:
        messages = client.messages(200)
        for message in messages[1::2] + messages[-2::-2]:
            client.fin(message)
        client.expect_usable()
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)


def test_a_fin_sent_the_moment_a_message_arrives_never_fails(nsqd):
    # A message is in flight before its first byte is written.
    topic = nsqd.topic()
    clients = [nsqd.subscribe(topic, 'ch', rdy=3, output_buffer_size=-1)
               for _ in range(2)]
    nsqd.pub(topic, *numbered(2000))
    consume_all(clients, 2000)
    for client in clients:
        client.expect_usable()
        client.close()
    nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)


# -- REQ

def test_req_0_brings_the_message_back_at_once(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        first = client.message()
        client.req(first)
        second = client.message()
        assert (second.id, second.timestamp, second.body, second.attempts) \
            == (first.id, first.timestamp, first.body, 2)
        client.fin(second)
        client.expect_usable()
        stats = nsqd.wait_channel(topic, 'ch', requeue_count=1,
                                  message_count=1)
        assert stats['clients'][0]['requeue_count'] == 1


def test_req_0_may_go_to_another_consumer(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as first:
        message = first.message()
        first.rdy(0)
        with nsqd.subscribe(topic, 'ch', rdy=1) as second:
            first.req(message)
            assert (second.message().id, first.expect_quiet()) \
                == (message.id, None)


def test_req_0_queues_the_message_behind_the_others(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, *numbered(3))
    nsqd.wait_channel(topic, 'ch', depth=3)
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        client.req(client.message())
        bodies = []
        for _ in range(3):
            message = client.message()
            bodies.append(message.body)
            client.fin(message)
    assert bodies == [b'1', b'2', b'0']


def test_req_with_a_timeout_defers_the_message(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        message = client.message()
        client.req(message, 60000)
        client.expect_quiet()
        nsqd.wait_channel(topic, 'ch', deferred_count=1, in_flight_count=0,
                          depth=0, requeue_count=1)
        client.fin(message)
        client.expect_error(
            b'E_FIN_FAILED FIN %s failed ID not in flight' % message.id)


def test_attempts_grow_with_every_delivery(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        for attempt in range(1, 300):
            message = client.message()
            assert message.attempts == attempt
            client.req(message)


# -- CLS and leaving

def test_after_cls_nothing_more_is_sent_but_answers_are_taken(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(10))
    with nsqd.subscribe(topic, 'ch', rdy=4) as client:
        held = client.messages(4)
        client.command('CLS')
        client.expect_response(b'CLOSE_WAIT')
        client.rdy(10)
        client.fin(held[0])
        client.req(held[1])
        client.touch(held[2])
        client.expect_quiet()
        client.expect_usable()
        stats = nsqd.wait_channel(topic, 'ch', depth=7, in_flight_count=2)
        mine = stats['clients'][0]
        assert (mine['state'], mine['ready_count'], mine['finish_count'],
                mine['requeue_count']) == (4, 0, 1, 1)


@pytest.mark.parametrize('leave', ['close', 'reset', 'half_close'])
def test_what_a_leaving_consumer_holds_stays_in_flight(nsqd, leave):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(3))
    client = nsqd.subscribe(topic, 'ch', rdy=2)
    client.messages(2)
    getattr(client, leave)()
    nsqd.wait_channel(topic, 'ch', client_count=0, in_flight_count=2, depth=1)
    with nsqd.subscribe(topic, 'ch', rdy=10) as other:
        assert other.message().body == b'2'
        other.expect_quiet()
    client.close()


def test_a_fin_right_before_leaving_counts(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, 'x')
    client = nsqd.subscribe(topic, 'ch', rdy=1)
    client.fin(client.message())
    client.close()
    nsqd.wait_channel(topic, 'ch', client_count=0, in_flight_count=0, depth=0)


# -- sampling

def test_a_sampling_client_gets_a_part_and_the_rest_is_dropped(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(2000))
    with nsqd.subscribe(topic, 'ch', rdy=2500, sample_rate=20,
                        output_buffer_timeout=25) as client:
        nsqd.wait_channel(topic, 'ch', depth=0, message_count=2000)
        got = len(client.drain(lambda n: nsqd.channel_stats(topic, 'ch')[
            'in_flight_count'] == n))
        # 21 of 100 in stock; ten standard deviations to either side.
        assert 240 <= got <= 620
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=got)


def test_sample_rate_0_gets_everything(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(500))
    with nsqd.subscribe(topic, 'ch', rdy=2500, sample_rate=0) as client:
        assert [m.body for m in client.messages(500)] == numbered(500)


def test_sampling_concerns_one_client_only(nsqd):
    topic = nsqd.topic()
    sampling = nsqd.subscribe(topic, 'one', rdy=2500, sample_rate=1)
    full = nsqd.subscribe(topic, 'two', rdy=2500)
    nsqd.pub(topic, *numbered(500))
    assert [m.body for m in full.messages(500)] == numbered(500)
    assert nsqd.wait_channel(topic, 'one', depth=0)['in_flight_count'] < 100
    sampling.close()
    full.close()


# -- output buffering

def test_a_buffered_message_is_flushed_when_the_timeout_ends(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100,
                        output_buffer_timeout=100) as client:
        nsqd.pub(topic, 'x')
        assert client.message().body == b'x'


def test_a_message_waits_in_the_buffer_for_the_timeout(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100,
                        output_buffer_timeout=NEVER) as client:
        nsqd.pub(topic, 'x')
        nsqd.wait_channel(topic, 'ch', in_flight_count=1)
        client.expect_quiet()


@pytest.mark.parametrize('timeout', [NEVER, -1])
def test_a_client_that_has_what_it_asked_for_is_flushed_at_once(
        nsqd, timeout):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=2,
                        output_buffer_timeout=timeout) as client:
        nsqd.pub(topic, 'one')
        nsqd.wait_channel(topic, 'ch', in_flight_count=1)
        client.expect_quiet()
        nsqd.pub(topic, 'two')
        assert [m.body for m in client.messages(2)] == [b'one', b'two']


def test_a_response_flushes_the_messages_before_it(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100,
                        output_buffer_timeout=NEVER) as client:
        nsqd.pub(topic, *numbered(3))
        nsqd.wait_channel(topic, 'ch', in_flight_count=3)
        client.expect_quiet()
        client.command('PUB', 'other', body=b'x')
        assert [m.body for m in client.messages(3)] == numbered(3)
        client.expect_ok()


def test_an_error_flushes_the_messages_before_it(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100,
                        output_buffer_timeout=NEVER) as client:
        nsqd.pub(topic, 'x')
        nsqd.wait_channel(topic, 'ch', in_flight_count=1)
        client.command('FIN', 'y' * 16)
        assert client.message().body == b'x'
        client.expect(frame(ERROR, b'E_FIN_FAILED FIN yyyyyyyyyyyyyyyy failed '
                                   b'ID not in flight'))


def test_rdy_0_flushes_the_buffer(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100,
                        output_buffer_timeout=NEVER) as client:
        nsqd.pub(topic, 'x')
        nsqd.wait_channel(topic, 'ch', in_flight_count=1)
        client.rdy(0)
        assert client.message().body == b'x'


def test_a_message_greater_than_the_buffer_is_not_held_back(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100, output_buffer_size=64,
                        output_buffer_timeout=NEVER) as client:
        nsqd.pub(topic, 'x' * 1000)
        assert client.message().body == b'x' * 1000


def test_output_buffer_size_minus_one_switches_buffering_off(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=100,
                        output_buffer_size=-1) as client:
        nsqd.pub(topic, 'x')
        assert client.message().body == b'x'


def test_a_full_buffer_is_sent_before_the_timeout(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', rdy=2500,
                        output_buffer_timeout=NEVER) as client:
        nsqd.pub(topic, *['x' * 1000] * 100)
        # The default buffer holds 16 KiB: at least the rest of it comes.
        client.messages(80)


# -- heartbeats

def test_a_heartbeat_is_sent_every_interval(nsqd, client):
    # A client that takes longer than that to answer is disconnected.
    interval = 2
    start = time.monotonic()
    client.identify(heartbeat_interval=1000 * interval)
    for i in (1, 2, 3):
        assert client.frame() == (RESPONSE, HEARTBEAT)
        assert time.monotonic() - start >= i * interval - 0.1
        client.command('NOP')
    client.expect_usable()


def test_a_silent_client_is_disconnected_after_two_intervals(nsqd):
    topic = nsqd.topic()
    start = time.monotonic()
    with nsqd.subscribe(topic, 'ch', heartbeat_interval=1000) as client:
        assert client.frame() == (RESPONSE, HEARTBEAT)
        # The second may or may not be sent before the end.
        try:
            while True:
                assert client.frame() == (RESPONSE, HEARTBEAT)
        except EOFError:
            pass
        assert time.monotonic() - start >= 1.95
        nsqd.wait_channel(topic, 'ch', client_count=0)


def test_any_command_counts_as_life(nsqd, client):
    # Twice that it may be silent; and so may we be, without our will.
    client.identify(heartbeat_interval=2000)
    end = time.monotonic() + 4.6
    while time.monotonic() < end:
        client.command('PUB', 'usable', body=b'x')
        while client.frame() != (RESPONSE, b'OK'):
            pass
        time.sleep(0.3)
    client.buffer = b''


def test_a_heartbeat_reaches_a_client_that_is_being_sent_messages(nsqd):
    topic = nsqd.topic()
    nsqd.pub(topic, *numbered(10))
    with nsqd.subscribe(topic, 'ch', rdy=1, heartbeat_interval=1000) as client:
        beats = 0
        end = time.monotonic() + DEADLINE
        while beats < 2 and time.monotonic() < end:
            kind, data = client.frame()
            if kind == MESSAGE:
                client.req(Message(data))
            else:
                assert (kind, data) == (RESPONSE, HEARTBEAT)
                client.command('NOP')
                beats += 1
        assert beats == 2


# -- much of everything

def test_thousands_of_messages_through_several_channels_are_all_finished(
        nsqd):
    topic = nsqd.topic()
    clients = [nsqd.subscribe(topic, 'ch%d' % (i % 2), rdy=200)
               for i in range(4)]
    with nsqd.connect() as publisher:
        publisher.send(b''.join(
            b'PUB %s\n' % topic.encode() + struct.pack('>i', 4) + b'%04d' % i
            for i in range(2500)))
        got = consume_all(clients, 5000)
        publisher.expect(OK * 2500)
    for channel in range(2):
        bodies = [m.body for g in got[channel::2] for m in g]
        assert sorted(bodies) == [b'%04d' % i for i in range(2500)]
        nsqd.wait_channel(topic, 'ch%d' % channel, depth=0, in_flight_count=0,
                          message_count=2500)
    for client in clients:
        client.close()


def test_messages_published_while_a_consumer_leaves_are_all_there(nsqd):
    with nsqd.connect() as publisher:
        for _ in range(20):
            topic = nsqd.topic()
            leaving = nsqd.subscribe(topic, 'ch', rdy=2500)
            # The consumer goes while its pump is being served.
            publisher.send(b'MPUB %s\n' % topic.encode()
                           + sized(mpub_body(numbered(200))))
            leaving.close()
            publisher.expect_ok()
            wait_until(
                lambda: (lambda stats: stats['client_count'] == 0
                         and stats['depth'] + stats['in_flight_count'] == 200)
                (nsqd.channel_stats(topic, 'ch')),
                lambda: nsqd.channel_stats(topic, 'ch'))
