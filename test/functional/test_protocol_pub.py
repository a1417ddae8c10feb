"""PUB, MPUB and DPUB: every limit, and every error with its exact text."""

import struct
import threading

import pytest

from nsq import frame, ERROR, mpub_body, OK, sized

# Small limits, so that the tests at the limit are quick.
FLAGS = ['--max-msg-size=1000', '--max-body-size=5000',
         '--max-req-timeout=90s']
MAX_MSG, MAX_BODY, MAX_REQ = 1000, 5000, 90000
MAX_COUNT = (MAX_BODY - 4) // 5

VALID_NAMES = ['a', 'Z', '0', '.', '-', '_', 'a.b-c_D9', 'x#ephemeral',
               'a' * 64, 'a' * 54 + '#ephemeral']

# Each with the way in which Go's %q shows it.
INVALID_NAMES = [
    (b'', b''), (b'a' * 65, b'a' * 65),
    (b'a' * 55 + b'#ephemeral', b'a' * 55 + b'#ephemeral'),
    (b'a$', b'a$'), (b'a:b', b'a:b'), (b'a/b', b'a/b'), (b'a*', b'a*'),
    (b'#ephemeral', b'#ephemeral'), (b'a#', b'a#'),
    (b'a#ephemera', b'a#ephemera'), (b'a#ephemeralx', b'a#ephemeralx'),
    (b'a#Ephemeral', b'a#Ephemeral'),
    (b'a#ephemeral#ephemeral', b'a#ephemeral#ephemeral'),
    (b'a\tb', b'a\\tb'), (b'a\rb', b'a\\rb'), (b'a"b', b'a\\"b'),
    (b'a\\b', b'a\\\\b'), (b"a'b", b"a'b"), (b'a\x00b', b'a\\x00b'),
    (b'a\x07\x08\x0b\x0c', b'a\\a\\b\\v\\f'), (b'a\x1b', b'a\\x1b'),
    (b'a\x7f', b'a\\x7f'), (b'a\xff', b'a\\xff'), (b'\xc3', b'\\xc3'),
    ('é'.encode(), 'é'.encode()), ('日本'.encode(), '日本'.encode()),
    ('\U0001f600'.encode(), '\U0001f600'.encode()),
    ('\u200b'.encode(), b'\\u200b'), ('\u00a0'.encode(), b'\\u00a0'),
    ('\ufffd'.encode(), '\ufffd'.encode()),
    ('\ufeff'.encode(), b'\\ufeff'), ('\U000e0001'.encode(), b'\\U000e0001'),
    (b'\xed\xa0\x80', b'\\xed\\xa0\\x80'), (b'\xc0\x80', b'\\xc0\\x80'),
    (b'\xf4\x90\x80\x80', b'\\xf4\\x90\\x80\\x80')]


def depth(nsqd, topic):
    return nsqd.topic_stats(topic)['depth']


# -- PUB

def test_pub_is_answered_with_ok_and_counted(nsqd, client):
    topic = nsqd.topic()
    client.command('PUB', topic, body=b'12345')
    client.expect_ok()
    stats = nsqd.topic_stats(topic)
    assert (stats['depth'], stats['message_count'],
            stats['message_bytes']) == (1, 1, 5)


@pytest.mark.parametrize('size', [1, 2, MAX_MSG - 1, MAX_MSG])
def test_pub_takes_a_body_up_to_the_limit(nsqd, client, size):
    topic = nsqd.topic()
    client.pub(topic, b'x' * size)
    client.sub(topic, 'ch')
    client.rdy(1)
    assert client.message().body == b'x' * size


@pytest.mark.parametrize('size', [0, -1, -2**31])
def test_pub_of_an_empty_or_negative_size_is_fatal(nsqd, client, size):
    client.send(b'PUB %s\n' % nsqd.topic().encode() + struct.pack('>i', size))
    client.expect_fatal(
        b'E_BAD_MESSAGE PUB invalid message body size %d' % size)


@pytest.mark.parametrize('size', [MAX_MSG + 1, 2**31 - 1])
def test_pub_of_a_body_too_big_is_fatal(nsqd, client, size):
    client.send(b'PUB %s\n' % nsqd.topic().encode() + struct.pack('>i', size))
    client.expect_fatal(b'E_BAD_MESSAGE PUB message too big %d > %d'
                        % (size, MAX_MSG))


def test_the_default_limit_of_a_message_is_one_mebibyte(new_nsqd):
    daemon = new_nsqd()
    topic, body = 'big', bytes(range(256)) * 4096
    with daemon.connect() as client:
        client.pub(topic, body)
        client.sub(topic, 'ch')
        client.rdy(1)
        assert client.message().body == body
        client.send(b'PUB big\n' + struct.pack('>i', len(body) + 1))
        client.expect_fatal(
            b'E_BAD_MESSAGE PUB message too big 1048577 > 1048576')


def test_pub_without_a_topic_is_fatal(client):
    client.command('PUB', body=b'x')
    client.expect_fatal(b'E_INVALID PUB insufficient number of parameters')


@pytest.mark.parametrize('name', VALID_NAMES)
def test_pub_takes_a_valid_topic_name(nsqd, client, name):
    client.pub(name, b'x')
    assert nsqd.topic_stats(name)['topic_name'] == name


@pytest.mark.parametrize('name, shown', INVALID_NAMES, ids=lambda v: repr(v))
def test_pub_to_an_invalid_topic_name_is_fatal(client, name, shown):
    client.command(b'PUB', name, body=b'x')
    client.expect_fatal(
        b'E_BAD_TOPIC PUB topic name "%s" is not valid' % shown)


def test_pub_ignores_further_parameters(nsqd, client):
    topic = nsqd.topic()
    client.command('PUB', topic, 'more', 'yet', body=b'x')
    client.expect_ok()
    assert depth(nsqd, topic) == 1


def test_two_blanks_make_an_empty_topic_name(client):
    client.send(b'PUB  topic\n' + sized(b'x'))
    client.expect_fatal(b'E_BAD_TOPIC PUB topic name "" is not valid')


@pytest.mark.parametrize('size', [b'', b'\0\0\0'])
def test_pub_with_a_half_sent_size_is_fatal(nsqd, client, size):
    client.send(b'PUB %s\n' % nsqd.topic().encode() + size).half_close()
    client.expect_fatal(
        b'E_BAD_MESSAGE PUB failed to read message body size')


def test_pub_with_a_half_sent_body_is_fatal_and_publishes_nothing(
        nsqd, client):
    topic = nsqd.topic()
    nsqd.create(topic)
    client.send(b'PUB %s\n' % topic.encode() + struct.pack('>i', 5) + b'1234')
    client.half_close()
    client.expect_fatal(b'E_BAD_MESSAGE PUB failed to read message body')
    assert depth(nsqd, topic) == 0


def test_a_failed_pub_does_not_create_its_topic(nsqd, client):
    topic = nsqd.topic()
    client.send(b'PUB %s\n' % topic.encode() + struct.pack('>i', 0))
    client.expect_fatal(b'E_BAD_MESSAGE PUB invalid message body size 0')
    assert nsqd.topic_stats(topic) is None


def test_pub_may_come_byte_by_byte(nsqd, client):
    for byte in b'PUB %s\r\n' % nsqd.topic().encode() + sized(b'body'):
        client.send(bytes([byte]))
    client.expect_ok()


def test_many_pubs_in_one_write_are_all_answered_in_order(nsqd, client):
    topic = nsqd.topic()
    client.send(b''.join(b'PUB %s\n' % topic.encode() + sized(b'%d' % i)
                         for i in range(500)))
    for _ in range(500):
        client.expect_ok()
    assert depth(nsqd, topic) == 500


def test_what_was_sent_before_a_fatal_command_is_done(nsqd, client):
    topic = nsqd.topic()
    good = b'PUB %s\n' % topic.encode() + sized(b'x')
    client.send(good + good + b'NONSENSE\n' + good)
    client.expect_ok()
    client.expect_ok()
    client.expect_fatal(b'E_INVALID invalid command NONSENSE')
    assert depth(nsqd, topic) == 2


# -- MPUB

def test_mpub_publishes_every_message_in_order(nsqd, client):
    topic = nsqd.topic()
    bodies = [b'%d' % i for i in range(100)]
    client.command('MPUB', topic, body=mpub_body(bodies))
    client.expect_ok()
    stats = nsqd.topic_stats(topic)
    assert (stats['depth'], stats['message_count'], stats['message_bytes']) \
        == (100, 100, sum(map(len, bodies)))
    client.sub(topic, 'ch')
    client.rdy(100)
    assert [m.body for m in client.messages(100)] == bodies


def test_mpub_takes_a_single_message(nsqd, client):
    topic = nsqd.topic()
    client.command('MPUB', topic, body=mpub_body([b'x']))
    client.expect_ok()
    assert depth(nsqd, topic) == 1


def test_mpub_takes_a_body_of_the_greatest_size(nsqd, client):
    bodies = [b'x' * MAX_MSG] * 4
    bodies.append(b'y' * (MAX_BODY - len(mpub_body(bodies)) - 4))
    assert len(mpub_body(bodies)) == MAX_BODY
    topic = nsqd.topic()
    client.command('MPUB', topic, body=mpub_body(bodies))
    client.expect_ok()
    assert depth(nsqd, topic) == 5


def test_mpub_takes_the_greatest_count(nsqd, client):
    topic = nsqd.topic()
    client.command('MPUB', topic, body=mpub_body([b'x'] * MAX_COUNT))
    client.expect_ok()
    assert depth(nsqd, topic) == MAX_COUNT


def test_mpub_without_a_topic_is_fatal(client):
    client.command('MPUB', body=mpub_body([b'x']))
    client.expect_fatal(b'E_INVALID MPUB insufficient number of parameters')


@pytest.mark.parametrize('name, shown', INVALID_NAMES[:6], ids=repr)
def test_mpub_to_an_invalid_topic_name_is_fatal(client, name, shown):
    client.command(b'MPUB', name, body=mpub_body([b'x']))
    # Stock names the code twice.
    client.expect_fatal(b'E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "%s" '
                        b'is not valid' % shown)


@pytest.mark.parametrize('size', [0, -1, -2**31])
def test_mpub_of_an_empty_or_negative_size_is_fatal(nsqd, client, size):
    client.send(b'MPUB %s\n' % nsqd.topic().encode()
                + struct.pack('>i', size))
    client.expect_fatal(b'E_BAD_BODY MPUB invalid body size %d' % size)


@pytest.mark.parametrize('size', [MAX_BODY + 1, 2**31 - 1])
def test_mpub_of_a_body_too_big_is_fatal(nsqd, client, size):
    client.send(b'MPUB %s\n' % nsqd.topic().encode()
                + struct.pack('>i', size))
    client.expect_fatal(b'E_BAD_BODY MPUB body too big %d > %d'
                        % (size, MAX_BODY))


@pytest.mark.parametrize('count', [0, -1, -2**31, MAX_COUNT + 1, 2**31 - 1])
def test_mpub_of_an_invalid_count_is_fatal(nsqd, client, count):
    client.command('MPUB', nsqd.topic(),
                   body=struct.pack('>i', count) + sized(b'x'))
    client.expect_fatal(b'E_BAD_BODY MPUB invalid message count %d' % count)


@pytest.mark.parametrize('size', [0, -1, -2**31])
@pytest.mark.parametrize('before', [0, 1, 2])
def test_mpub_with_an_invalid_message_publishes_none(
        nsqd, client, size, before):
    topic = nsqd.topic()
    client.command('MPUB', topic, body=(
        struct.pack('>i', 3) + sized(b'x') * before + struct.pack('>i', size)))
    client.expect_fatal(b'E_BAD_MESSAGE MPUB invalid message(%d) body size %d'
                        % (before, size))
    assert depth(nsqd, topic) == 0


@pytest.mark.parametrize('size', [MAX_MSG + 1, 2**31 - 1])
def test_mpub_with_a_message_too_big_publishes_none(nsqd, client, size):
    topic = nsqd.topic()
    client.command('MPUB', topic, body=(
        struct.pack('>i', 2) + sized(b'x') + struct.pack('>i', size)))
    client.expect_fatal(b'E_BAD_MESSAGE MPUB message too big %d > %d'
                        % (size, MAX_MSG))
    assert depth(nsqd, topic) == 0


def test_a_failed_mpub_leaves_its_topic_created(nsqd, client):
    topic = nsqd.topic()
    client.send(b'MPUB %s\n' % topic.encode() + struct.pack('>i', 0))
    client.expect_fatal(b'E_BAD_BODY MPUB invalid body size 0')
    assert depth(nsqd, topic) == 0


@pytest.mark.parametrize('sent, text', [
    (b'', b'E_BAD_BODY MPUB failed to read body size'),
    (b'\0\0', b'E_BAD_BODY MPUB failed to read body size'),
    (b'\0\0\0\x20', b'E_BAD_BODY MPUB failed to read message count'),
    (b'\0\0\0\x20\0', b'E_BAD_BODY MPUB failed to read message count'),
    (b'\0\0\0\x20\0\0\0\2',
     b'E_BAD_MESSAGE MPUB failed to read message(0) body size'),
    (b'\0\0\0\x20\0\0\0\2\0\0\0\1',
     b'E_BAD_MESSAGE MPUB failed to read message body'),
    (b'\0\0\0\x20\0\0\0\2\0\0\0\1x',
     b'E_BAD_MESSAGE MPUB failed to read message(1) body size'),
    (b'\0\0\0\x20\0\0\0\2\0\0\0\1x\0\0\0',
     b'E_BAD_MESSAGE MPUB failed to read message(1) body size'),
    (b'\0\0\0\x20\0\0\0\2\0\0\0\1x\0\0\0\2y',
     b'E_BAD_MESSAGE MPUB failed to read message body')], ids=repr)
def test_mpub_half_sent_is_fatal_and_publishes_none(nsqd, client, sent, text):
    topic = nsqd.topic()
    nsqd.create(topic)
    client.send(b'MPUB %s\n' % topic.encode() + sent).half_close()
    client.expect_fatal(text)
    assert depth(nsqd, topic) == 0


@pytest.mark.parametrize('claimed', [1, 9, 4999])
def test_the_count_and_not_the_size_says_where_an_mpub_ends(
        nsqd, client, claimed):
    topic = nsqd.topic()
    client.send(b'MPUB %s\n' % topic.encode() + struct.pack('>i', claimed)
                + mpub_body([b'one', b'two']))
    client.expect_ok()
    client.expect_usable()
    assert depth(nsqd, topic) == 2


def test_bytes_after_the_last_message_are_read_as_a_command(nsqd, client):
    topic = nsqd.topic()
    client.send(b'MPUB %s\n' % topic.encode()
                + sized(mpub_body([b'one']) + b'junk\n'))
    client.expect_ok()
    client.expect_fatal(b'E_INVALID invalid command junk')
    assert depth(nsqd, topic) == 1


# -- DPUB

def test_dpub_with_zero_is_delivered_at_once(nsqd, client):
    topic = nsqd.topic()
    client.dpub(topic, 0, b'x')
    client.sub(topic, 'ch')
    client.rdy(1)
    assert client.message().body == b'x'


def test_dpub_is_counted_as_deferred_once_it_reaches_a_channel(nsqd, client):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    client.dpub(topic, 60000, b'xyz')
    nsqd.wait_channel(topic, 'ch', deferred_count=1, depth=0,
                      message_count=1, in_flight_count=0)
    assert nsqd.topic_stats(topic)['message_bytes'] == 3


@pytest.mark.ours(reason='its delay is lost while the pump is busy')
@pytest.mark.parametrize('mem_queue_size', [0, 1])
def test_dpub_keeps_its_delay_beside_a_busy_publisher(new_nsqd,
                                                      mem_queue_size):
    daemon = new_nsqd('--mem-queue-size=%d' % mem_queue_size)
    daemon.create('t', 'a', 'b')
    over = threading.Event()

    def publish():
        with daemon.connect() as busy:
            while not over.is_set():
                busy.pub('t', *[b'now'] * 20)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        with daemon.connect() as client:
            for _ in range(200):
                client.dpub('t', 60000, b'later')
    finally:
        over.set()
        thread.join()
    for channel in 'a', 'b':
        daemon.wait_channel('t', channel, deferred_count=200)


def test_dpubs_that_come_in_one_piece_keep_their_topics_and_delays(nsqd, client):
    a, b = nsqd.topic(), nsqd.topic()
    nsqd.create(a, 'ch')
    nsqd.create(b, 'ch')
    sent = [(b'DPUB %s 60000', a)] * 70 + [(b'DPUB %s 0', a), (b'PUB %s', a)] * 3 + [
        (b'DPUB %s 30000', a), (b'DPUB %s 60000', b), (b'PUB %s', b), (b'DPUB %s 60000', b)]
    client.send(b''.join(command % topic.encode() + b'\n' + sized(b'%d' % i)
                         for i, (command, topic) in enumerate(sent)))
    client.expect(OK * len(sent))
    nsqd.wait_channel(a, 'ch', deferred_count=71, depth=6)
    nsqd.wait_channel(b, 'ch', deferred_count=2, depth=1)
    client.sub(a, 'ch')
    client.rdy(10)
    assert sorted(int(client.message().body) for _ in range(6)) == list(range(70, 76))


def test_dpubs_before_a_bad_one_are_answered(nsqd, client):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    good = b'DPUB %s 60000\n' % topic.encode() + sized(b'x')
    client.send(good * 3 + b'DPUB %s 60000\n' % topic.encode() + sized(b''))
    client.expect(OK * 3)
    client.expect_fatal(b'E_BAD_MESSAGE DPUB invalid message body size 0')
    nsqd.wait_channel(topic, 'ch', deferred_count=3)


def test_dpub_to_a_paused_topic_is_deferred_from_its_end_on(nsqd, client):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    assert nsqd.post('/topic/pause?topic=' + topic).status == 200
    client.dpub(topic, 60000, b'later')
    nsqd.wait_topic(topic, depth=1)
    assert nsqd.channel_stats(topic, 'ch')['deferred_count'] == 0
    assert nsqd.post('/topic/unpause?topic=' + topic).status == 200
    nsqd.wait_channel(topic, 'ch', deferred_count=1, depth=0)


def test_dpub_without_enough_parameters_is_fatal(nsqd, client):
    client.command('DPUB', nsqd.topic(), body=b'x')
    client.expect_fatal(b'E_INVALID DPUB insufficient number of parameters')


@pytest.mark.parametrize('name, shown', INVALID_NAMES[:6], ids=repr)
def test_dpub_to_an_invalid_topic_name_is_fatal(client, name, shown):
    client.command(b'DPUB', name, b'100', body=b'x')
    client.expect_fatal(
        b'E_BAD_TOPIC DPUB topic name "%s" is not valid' % shown)


@pytest.mark.parametrize('text', [b'x', b'-1', b'+1', b'1.5', b'1s', b'0x1'])
def test_dpub_with_an_unreadable_timeout_is_fatal(nsqd, client, text):
    client.command('DPUB', nsqd.topic(), text, body=b'x')
    client.expect_fatal(b'E_INVALID DPUB could not parse timeout ' + text)


@pytest.mark.parametrize('number', [0, 1, MAX_REQ - 1, MAX_REQ, '0090000', ''])
def test_dpub_takes_a_timeout_up_to_the_limit(nsqd, client, number):
    client.dpub(nsqd.topic(), number, b'x')


@pytest.mark.parametrize('number', [
    MAX_REQ + 1, 10**12,
    # Milliseconds that do not fit a duration, nor a signed number.
    2**63 - 1, 2**64 - 1])
def test_dpub_with_a_timeout_out_of_range_is_fatal(nsqd, client, number):
    client.command('DPUB', nsqd.topic(), number, body=b'x')
    client.expect_fatal(b'E_INVALID DPUB timeout %d out of range 0-%d'
                        % (number, MAX_REQ))


@pytest.mark.parametrize('size', [0, -1, -2**31])
def test_dpub_of_an_empty_or_negative_size_is_fatal(nsqd, client, size):
    client.send(b'DPUB %s 1\n' % nsqd.topic().encode()
                + struct.pack('>i', size))
    client.expect_fatal(
        b'E_BAD_MESSAGE DPUB invalid message body size %d' % size)


def test_dpub_of_a_body_too_big_is_fatal(nsqd, client):
    client.send(b'DPUB %s 1\n' % nsqd.topic().encode()
                + struct.pack('>i', MAX_MSG + 1))
    client.expect_fatal(b'E_BAD_MESSAGE DPUB message too big %d > %d'
                        % (MAX_MSG + 1, MAX_MSG))


@pytest.mark.parametrize('sent, text', [
    (b'\0\0', b'E_BAD_MESSAGE DPUB failed to read message body size'),
    (b'\0\0\0\2x', b'E_BAD_MESSAGE DPUB failed to read message body')])
def test_dpub_half_sent_is_fatal(nsqd, client, sent, text):
    client.send(b'DPUB %s 1\n' % nsqd.topic().encode() + sent).half_close()
    client.expect_fatal(text)


# -- in every state

PUBLISH = [('PUB', (), b'x'), ('MPUB', (), mpub_body([b'x'])),
           ('DPUB', ('0',), b'x')]


@pytest.mark.parametrize('command, words, body', PUBLISH)
def test_a_subscribed_client_may_publish(nsqd, client, command, words, body):
    client.sub(nsqd.topic(), 'ch')
    topic = nsqd.topic()
    client.command(command, topic, *words, body=body)
    client.expect_ok()
    assert depth(nsqd, topic) == 1


@pytest.mark.parametrize('command, words, body', PUBLISH)
def test_a_closing_client_may_publish(nsqd, client, command, words, body):
    client.sub(nsqd.topic(), 'ch')
    client.command('CLS')
    client.expect_response(b'CLOSE_WAIT')
    topic = nsqd.topic()
    client.command(command, topic, *words, body=body)
    client.expect_ok()
    assert depth(nsqd, topic) == 1


@pytest.mark.parametrize('command, words, body', PUBLISH)
def test_a_client_with_heartbeats_disabled_may_publish(
        nsqd, client, command, words, body):
    client.identify(heartbeat_interval=-1)
    client.command(command, nsqd.topic(), *words, body=body)
    client.expect_ok()


def test_a_client_may_publish_to_what_it_consumes(nsqd, client):
    topic = nsqd.topic()
    client.sub(topic, 'ch')
    client.rdy(1)
    client.command('PUB', topic, body=b'x')
    kinds = sorted(client.frame() for _ in range(2))
    assert kinds[0] == (0, b'OK') and kinds[1][1].endswith(b'x')


def test_the_limits_hold_for_each_command_alone(nsqd, client):
    topic = nsqd.topic()
    for _ in range(12):
        client.pub(topic, b'x' * MAX_MSG)
    assert depth(nsqd, topic) == 12


def test_an_error_of_one_publisher_does_not_reach_another(nsqd, client):
    topic = nsqd.topic()
    with nsqd.connect() as other:
        other.send(b'PUB %s\n' % topic.encode() + struct.pack('>i', 3) + b'ab')
        client.send(b'PUB %s\n' % topic.encode() + struct.pack('>i', -5))
        client.expect(frame(
            ERROR, b'E_BAD_MESSAGE PUB invalid message body size -5'))
        other.send(b'c')
        other.expect_ok()
    assert depth(nsqd, topic) == 1


def test_pubs_of_a_client_are_counted_per_topic_in_the_statistics(
        nsqd, client):
    topic = nsqd.topic()
    client.pub(topic, b'1', b'2', b'3')
    client.pub(topic, b'4')
    client.dpub(topic, 0, b'5')
    address = '%s:%d' % client.socket.getsockname()
    [mine] = [p for p in nsqd.stats()['producers']
              if p['remote_address'] == address]
    assert mine['pub_counts'] == [{'topic': topic, 'count': 5}]
