"""SUB and what follows it: every command in every state, every bad argument.

The states of a client are init (connected), subscribed (after SUB) and
closing (after CLS).
"""

import struct

import pytest

from nsq import ERROR, RESPONSE, frame, sized

NO_ID = b'0123456789abcdef'
MAX_RDY = 2500


@pytest.fixture
def subscribed(nsqd, client):
    client.sub(nsqd.topic(), 'ch')
    return client


@pytest.fixture
def closing(subscribed):
    subscribed.command('CLS')
    subscribed.expect_response(b'CLOSE_WAIT')
    return subscribed


# -- magic

@pytest.mark.parametrize('magic', [
    b'  V1', b'V2  ', b'  v2', b'\0\0\0\0', b'GET ', b'\n\n\n\n', b' V2 '])
def test_an_unknown_magic_is_answered_with_an_error_and_a_close(nsqd, magic):
    with nsqd.connect(magic) as client:
        client.expect_fatal(b'E_BAD_PROTOCOL')


@pytest.mark.parametrize('magic', [b'', b' ', b'  V'])
def test_a_client_that_leaves_within_the_magic_gets_nothing(nsqd, magic):
    with nsqd.connect(magic) as client:
        client.half_close()
        client.expect_closed()


def test_the_magic_may_come_byte_by_byte(nsqd):
    with nsqd.connect(b'') as client:
        for byte in (b' ', b' ', b'V', b'2'):
            client.send(byte)
        client.expect_usable()


def test_the_magic_alone_is_answered_with_nothing(client):
    client.expect_quiet()
    client.expect_usable()


# -- lines

@pytest.mark.parametrize('line, shown', [
    (b'NONSENSE', b'NONSENSE'), (b'sub t c', b'sub'), (b'nop', b'nop'),
    (b'Nop', b'Nop'), (b'NOPE', b'NOPE'), (b'', b''), (b' ', b''),
    (b' NOP', b''), (b'NOP\t', b'NOP\t'), (b'\x00', b'\x00'),
    (b'\xff\xfe', b'\xff\xfe'), (b'FIN\x00', b'FIN\x00'),
    (b'%s%d%n', b'%s%d%n'), (b'IDENTIFYX', b'IDENTIFYX'),
    (b'NOP\r\r', b'NOP\r'), (b'  V2', b'')], ids=repr)
def test_an_unknown_command_is_fatal_in_every_state(nsqd, line, shown):
    for prepare in range(3):
        with nsqd.connect() as client:
            if prepare > 0:
                client.sub('lines', 'ch')
            if prepare > 1:
                client.command('CLS')
                client.expect_response(b'CLOSE_WAIT')
            client.send(line + b'\n')
            client.expect_fatal(b'E_INVALID invalid command ' + shown)


@pytest.mark.parametrize('line', [
    b'NOP\n', b'NOP\r\n', b'NOP \n', b'NOP a b c\n', b'NOP  \r\n'], ids=repr)
def test_nop_is_answered_with_nothing(client, line):
    client.send(line)
    client.expect_usable()


def test_nop_is_taken_in_every_state(subscribed):
    subscribed.command('NOP')
    subscribed.expect_usable()
    subscribed.command('CLS')
    subscribed.expect_response(b'CLOSE_WAIT')
    subscribed.command('NOP')
    subscribed.expect_usable()


@pytest.mark.parametrize('ending', [b'\n', b'\r\n'])
def test_a_line_may_end_with_or_without_carriage_return(nsqd, client, ending):
    topic = nsqd.topic().encode()
    client.send(b'SUB %s ch%s' % (topic, ending))
    client.expect_ok()
    client.send(b'RDY 1' + ending)
    client.send(b'PUB other' + ending + sized(b'x'))
    client.expect_ok()
    client.send(b'CLS' + ending)
    client.expect_response(b'CLOSE_WAIT')
    assert nsqd.channel_stats(topic.decode(), 'ch')


def test_a_line_of_16_kib_with_its_end_is_taken(client):
    client.send(b'NOP ' + b'x' * (16384 - 5) + b'\n')
    client.expect_usable()


@pytest.mark.parametrize('size', [16384, 16385, 100000])
def test_a_line_without_end_in_16_kib_closes_without_a_frame(client, size):
    try:
        client.send(b'NOP ' + b'x' * (size - 4))
    except OSError:
        pass    # closed while we were still sending
    client.expect_closed()


def test_the_limit_holds_for_a_line_that_does_not_start_the_buffer(client):
    # 16 KiB is what a line may have, wherever it lies in the read buffer.
    client.send(b'NOP ' + b'y' * 10000 + b'\n' + b'NOP ' + b'x' * 16379
                + b'\n')
    client.expect_usable()


def test_an_unknown_command_of_nearly_16_kib_is_echoed_in_full(client):
    client.send(b'x' * 16383 + b'\n')
    client.expect_fatal(b'E_INVALID invalid command ' + b'x' * 16383)


def test_half_a_line_and_a_close_is_answered_with_nothing(client):
    client.send(b'SUB topic')
    client.half_close()
    client.expect_closed()


def test_a_client_that_half_closes_gets_its_answers_first(nsqd, client):
    client.send(b'PUB %s\n' % nsqd.topic().encode() + sized(b'x'))
    client.half_close()
    client.expect_ok()
    client.expect_closed()


# -- SUB

def test_sub_is_answered_with_ok_and_creates_topic_and_channel(nsqd, client):
    topic = nsqd.topic()
    client.command('SUB', topic, 'ch')
    client.expect_ok()
    stats = nsqd.channel_stats(topic, 'ch')
    assert stats['client_count'] == 1
    assert stats['clients'][0]['state'] == 3


def test_sub_ignores_further_parameters(nsqd, client):
    client.command('SUB', nsqd.topic(), 'ch', 'short', 'long')
    client.expect_ok()


@pytest.mark.parametrize('words', [(), ('topic',)])
def test_sub_without_enough_parameters_is_fatal(client, words):
    client.command('SUB', *words)
    client.expect_fatal(b'E_INVALID SUB insufficient number of parameters')


@pytest.mark.parametrize('name, shown', [
    (b'', b''), (b'a' * 65, b'a' * 65), (b'a$', b'a$'), (b'a"', b'a\\"'),
    (b'a\xff', b'a\\xff'), (b'#ephemeral', b'#ephemeral'),
    ('é'.encode(), 'é'.encode())], ids=repr)
def test_sub_with_an_invalid_name_is_fatal(nsqd, name, shown):
    topic = nsqd.topic().encode()
    with nsqd.connect() as client:
        client.command(b'SUB', name, b'ch')
        client.expect_fatal(
            b'E_BAD_TOPIC SUB topic name "%s" is not valid' % shown)
    with nsqd.connect() as client:
        client.command(b'SUB', topic, name)
        client.expect_fatal(
            b'E_BAD_CHANNEL SUB channel name "%s" is not valid' % shown)
    assert nsqd.topic_stats(topic.decode()) is None


def test_of_two_invalid_names_the_topic_is_reported(client):
    client.command('SUB', '$', '$')
    client.expect_fatal(b'E_BAD_TOPIC SUB topic name "$" is not valid')


@pytest.mark.parametrize('channel', [
    'a', '.', '-', '_', 'a' * 64, 'x#ephemeral'])
def test_sub_takes_a_valid_channel_name(nsqd, client, channel):
    topic = nsqd.topic()
    client.sub(topic, channel)
    assert nsqd.channel_stats(topic, channel)


def test_a_second_sub_is_fatal(nsqd, subscribed):
    subscribed.command('SUB', nsqd.topic(), 'ch')
    subscribed.expect_fatal(b'E_INVALID cannot SUB in current state')


def test_sub_after_cls_is_fatal(nsqd, closing):
    closing.command('SUB', nsqd.topic(), 'ch')
    closing.expect_fatal(b'E_INVALID cannot SUB in current state')


def test_sub_with_heartbeats_disabled_is_fatal(nsqd, client):
    client.identify(heartbeat_interval=-1)
    client.command('SUB', nsqd.topic(), 'ch')
    client.expect_fatal(b'E_INVALID cannot SUB with heartbeats disabled')


def test_the_state_is_checked_before_the_parameters(subscribed):
    subscribed.command('SUB')
    subscribed.expect_fatal(b'E_INVALID cannot SUB in current state')


def test_consumers_beyond_max_channel_consumers_are_refused(new_nsqd):
    daemon = new_nsqd('--max-channel-consumers=2')
    first = daemon.subscribe('t', 'ch')
    second = daemon.subscribe('t', 'ch')
    with daemon.connect() as client:
        client.command('SUB', 't', 'ch')
        client.expect_fatal(b'E_SUB_FAILED SUB failed consumers for t:ch '
                            b'exceeds limit of 2')
    with daemon.connect() as client:
        client.sub('t', 'other')
    first.close()
    daemon.wait_channel('t', 'ch', client_count=1)
    with daemon.connect() as client:
        client.sub('t', 'ch')
    second.close()


# -- commands that need a subscription

@pytest.mark.parametrize('command', [
    'RDY', 'RDY 1', 'RDY x', 'FIN', 'FIN x', 'FIN 0123456789abcdef', 'REQ',
    'REQ 0123456789abcdef 0', 'TOUCH', 'TOUCH 0123456789abcdef', 'CLS',
    'CLS x'])
def test_before_sub_it_is_fatal(client, command):
    client.command(command)
    client.expect_fatal(b'E_INVALID cannot %s in current state'
                        % command.split()[0].encode())


# -- RDY

@pytest.mark.parametrize('words, count', [
    ((), 1), ((0,), 0), ((1,), 1), ((MAX_RDY,), MAX_RDY), (('0005',), 5),
    (('',), 0), ((7, 'x'), 7),
    # 2^64 + 3: the number wraps around in stock, and nobody checks.
    ((2**64 + 3,), 3)])
def test_rdy_in_range_is_answered_with_nothing(
        nsqd, client, words, count):
    topic = nsqd.topic()
    client.sub(topic, 'ch')
    client.command('RDY', *words)
    client.expect_usable()
    assert nsqd.channel_stats(topic, 'ch')['clients'][0]['ready_count'] \
        == count


@pytest.mark.parametrize('count, shown', [
    (MAX_RDY + 1, MAX_RDY + 1), (2**31, 2**31), (2**63 - 1, 2**63 - 1),
    (2**63, -2**63), (2**64 - 1, -1)])
def test_rdy_out_of_range_is_fatal(subscribed, count, shown):
    subscribed.rdy(count)
    subscribed.expect_fatal(
        b'E_INVALID RDY count %d out of range 0-2500' % shown)


def test_max_rdy_count_bounds_rdy(new_nsqd):
    daemon = new_nsqd('--max-rdy-count=3')
    with daemon.subscribe('t', 'ch', rdy=3) as client:
        client.expect_usable()
        client.rdy(4)
        client.expect_fatal(b'E_INVALID RDY count 4 out of range 0-3')


@pytest.mark.parametrize('text', [b'x', b'-1', b'+1', b'1.0', b'1x', b'\xff'])
def test_rdy_with_an_unreadable_count_is_fatal(subscribed, text):
    subscribed.rdy(text)
    subscribed.expect_fatal(b'E_INVALID RDY could not parse count ' + text)


@pytest.mark.parametrize('count', ['1', '0', 'x', '-1', '99999'])
def test_rdy_after_cls_is_ignored_whatever_it_says(closing, count):
    closing.rdy(count)
    closing.expect_usable()


# -- FIN, REQ, TOUCH

@pytest.mark.parametrize('command', ['FIN', 'REQ', 'TOUCH'])
def test_without_parameters_it_is_fatal(subscribed, command):
    subscribed.command(command)
    subscribed.expect_fatal(
        b'E_INVALID %s insufficient number of params' % command.encode())


def test_req_without_a_timeout_is_fatal(subscribed):
    subscribed.command('REQ', NO_ID)
    subscribed.expect_fatal(b'E_INVALID REQ insufficient number of params')


@pytest.mark.parametrize('command', ['FIN %s', 'REQ %s 0', 'TOUCH %s'])
@pytest.mark.parametrize('number', ['', '1', 'a' * 15, 'a' * 17])
def test_an_id_of_the_wrong_length_is_fatal(subscribed, command, number):
    subscribed.command(command % number)
    subscribed.expect_fatal(b'E_INVALID invalid message ID')


@pytest.mark.parametrize('number', [
    NO_ID, b'x' * 16, b'\xff' * 16, b'%s%d%n%s%d%n%s%d', b'0' * 15 + b'\x00'])
def test_an_id_not_in_flight_is_an_error_but_not_fatal(subscribed, number):
    subscribed.command('FIN', number)
    subscribed.expect_error(
        b'E_FIN_FAILED FIN %s failed ID not in flight' % number)
    subscribed.command('REQ', number, 0)
    subscribed.expect_error(
        b'E_REQ_FAILED REQ %s failed ID not in flight' % number)
    subscribed.command('TOUCH', number)
    subscribed.expect_error(
        b'E_TOUCH_FAILED TOUCH %s failed ID not in flight' % number)


def test_an_id_not_in_flight_is_an_error_after_cls_too(closing):
    closing.command('FIN', NO_ID, 'more')
    closing.expect_error(
        b'E_FIN_FAILED FIN %s failed ID not in flight' % NO_ID)
    closing.command('REQ', NO_ID, 0, 'more')
    closing.expect_error(
        b'E_REQ_FAILED REQ %s failed ID not in flight' % NO_ID)
    closing.command('TOUCH', NO_ID, 'more')
    closing.expect_error(
        b'E_TOUCH_FAILED TOUCH %s failed ID not in flight' % NO_ID)


@pytest.mark.parametrize('text', [b'x', b'-1', b'1.5', b'1s'])
def test_req_with_an_unreadable_timeout_is_fatal(subscribed, text):
    subscribed.command('REQ', NO_ID, text)
    subscribed.expect_fatal(b'E_INVALID REQ could not parse timeout ' + text)


@pytest.mark.parametrize('timeout', ['', 3600001, 2**63, 2**64 - 1, 2**64])
def test_req_clamps_a_timeout_out_of_range(subscribed, timeout):
    # The number is taken; it is the message that is not there.
    subscribed.command('REQ', NO_ID, timeout)
    subscribed.expect_error(
        b'E_REQ_FAILED REQ %s failed ID not in flight' % NO_ID)


def test_many_failing_commands_are_all_answered_in_order(subscribed):
    subscribed.send(b''.join(b'FIN %016d\n' % i for i in range(300)))
    subscribed.expect(b''.join(frame(
        ERROR, b'E_FIN_FAILED FIN %016d failed ID not in flight' % i)
        for i in range(300)))
    subscribed.expect_usable()


# -- CLS

def test_cls_is_answered_with_close_wait(subscribed):
    subscribed.command('CLS', 'more')
    subscribed.expect_response(b'CLOSE_WAIT')
    subscribed.expect_usable()


def test_a_second_cls_is_fatal(closing):
    closing.command('CLS')
    closing.expect_fatal(b'E_INVALID cannot CLS in current state')


# -- AUTH, when it is off

def test_auth_is_fatal_when_auth_is_off(client):
    client.command('AUTH', body=b'secret')
    client.expect_fatal(b'E_AUTH_DISABLED AUTH disabled')


def test_auth_with_parameters_is_fatal(client):
    client.command('AUTH', 'x', body=b'secret')
    client.expect_fatal(b'E_INVALID AUTH invalid number of parameters')


@pytest.mark.parametrize('size', [0, -1])
def test_auth_with_an_empty_or_negative_size_is_fatal(client, size):
    client.send(b'AUTH\n' + struct.pack('>i', size))
    client.expect_fatal(b'E_BAD_BODY AUTH invalid body size %d' % size)


def test_auth_with_a_body_too_big_is_fatal(client):
    client.send(b'AUTH\n' + struct.pack('>i', 5242881))
    client.expect_fatal(b'E_BAD_BODY AUTH body too big 5242881 > 5242880')


@pytest.mark.parametrize('sent, text', [
    (b'', b'E_BAD_BODY AUTH failed to read body size'),
    (b'\0\0\0\5abc', b'E_BAD_BODY AUTH failed to read body')])
def test_auth_half_sent_is_fatal(client, sent, text):
    client.send(b'AUTH\n' + sent).half_close()
    client.expect_fatal(text)


def test_auth_after_sub_is_fatal(subscribed):
    subscribed.command('AUTH', body=b'secret')
    subscribed.expect_fatal(b'E_INVALID cannot AUTH in current state')


def test_auth_after_cls_is_fatal(closing):
    closing.command('AUTH', body=b'secret')
    closing.expect_fatal(b'E_INVALID cannot AUTH in current state')


# -- several at once

def test_a_whole_conversation_in_one_write_is_answered_in_order(nsqd):
    topic = nsqd.topic().encode()
    with nsqd.connect(b'') as client:
        client.send(
            b'  V2IDENTIFY\n' + sized(b'{"client_id":"x"}')
            + b'PUB other\n' + sized(b'x') + b'SUB %s ch\nRDY 0\nNOP\n' % topic
            + b'FIN %s\nCLS\nRDY 7\nSUB a b\n' % NO_ID)
        client.expect(
            frame(RESPONSE, b'OK') * 3
            + frame(ERROR, b'E_FIN_FAILED FIN %s failed ID not in flight'
                    % NO_ID)
            + frame(RESPONSE, b'CLOSE_WAIT')
            + frame(ERROR, b'E_INVALID cannot SUB in current state'))
        client.expect_closed()


def test_a_fatal_error_takes_the_consumer_off_its_channel(nsqd, client):
    topic = nsqd.topic()
    client.sub(topic, 'ch')
    client.command('NONSENSE')
    client.expect_fatal(b'E_INVALID invalid command NONSENSE')
    nsqd.wait_channel(topic, 'ch', client_count=0)
