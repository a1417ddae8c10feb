"""IDENTIFY: what it takes, what it refuses, and the exact text it answers."""

import json
import struct

import pytest

from nsq import RESPONSE, frame, sized

MAX_BODY = 5 * 1024 * 1024

# Key order and values of stock's answer with default flags, compression off.
DEFAULTS = [
    ('max_rdy_count', 2500), ('version', '1.3.0'), ('max_msg_timeout', 900000),
    ('msg_timeout', 60000), ('tls_v1', False), ('deflate', False),
    ('deflate_level', 6), ('max_deflate_level', 6), ('snappy', False),
    ('sample_rate', 0), ('auth_required', False),
    ('output_buffer_size', 16384), ('output_buffer_timeout', 250)]

BAD_JSON = b'E_BAD_BODY IDENTIFY failed to decode JSON body'


def answer(**changes):
    """The bytes of the answer, with some values other than the default."""
    assert not set(changes) - {k for k, _ in DEFAULTS}
    return json.dumps({k: changes.get(k, v) for k, v in DEFAULTS},
                      separators=(',', ':')).encode()


def identify(client, body):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    client.command('IDENTIFY', body=body)


def negotiate(client, **fields):
    identify(client, dict(fields, feature_negotiation=True))


def test_the_answer_is_byte_for_byte_that_of_stock(client):
    negotiate(client)
    client.expect_response(
        b'{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,'
        b'"msg_timeout":60000,"tls_v1":false,"deflate":false,'
        b'"deflate_level":6,"max_deflate_level":6,"snappy":false,'
        b'"sample_rate":0,"auth_required":false,"output_buffer_size":16384,'
        b'"output_buffer_timeout":250}')
    client.expect_usable()


def test_without_feature_negotiation_the_answer_is_ok(client):
    identify(client, {'client_id': 'me', 'heartbeat_interval': 2000})
    client.expect_ok()
    client.expect_usable()


def test_feature_negotiation_false_is_answered_with_ok(client):
    identify(client, {'feature_negotiation': False})
    client.expect_ok()


def test_the_flags_of_the_daemon_show_in_the_answer(new_nsqd):
    daemon = new_nsqd('--max-rdy-count=7', '--max-msg-timeout=5s',
                      '--msg-timeout=1500ms', '--max-deflate-level=3',
                      '--output-buffer-timeout=33ms')
    with daemon.connect() as client:
        negotiate(client)
        client.expect_response(answer(
            max_rdy_count=7, max_msg_timeout=5000, msg_timeout=1500,
            deflate_level=3, max_deflate_level=3, output_buffer_timeout=33))


def test_the_flags_of_the_daemon_bound_what_a_client_may_ask_for(new_nsqd):
    daemon = new_nsqd('--max-heartbeat-interval=5s', '--max-msg-timeout=4s',
                      '--max-output-buffer-size=1000',
                      '--max-output-buffer-timeout=2s',
                      '--min-output-buffer-timeout=100ms')
    for key, good, bad, text in [
            ('heartbeat_interval', 5000, 5001, b'heartbeat interval'),
            ('msg_timeout', 4000, 4001, b'msg timeout'),
            ('output_buffer_size', 1000, 1001, b'output buffer size'),
            ('output_buffer_timeout', 2000, 2001, b'output buffer timeout'),
            ('output_buffer_timeout', 100, 99, b'output buffer timeout')]:
        with daemon.connect() as client:
            client.identify(**{key: good})
        with daemon.connect() as client:
            negotiate(client, **{key: bad})
            client.expect_fatal(b'E_BAD_BODY IDENTIFY %s (%d) is invalid'
                                % (text, bad))


# -- ranges

@pytest.mark.parametrize('value', [-1, 0, 1000, 1001, 30000, 60000])
def test_a_heartbeat_interval_in_range_is_taken(client, value):
    negotiate(client, heartbeat_interval=value)
    client.expect_response(answer())


@pytest.mark.parametrize('value', [-2, 1, 999, 60001, 2**31, 2**63 - 1,
                                   -2**63])
def test_a_heartbeat_interval_out_of_range_is_fatal(client, value):
    negotiate(client, heartbeat_interval=value)
    client.expect_fatal(
        b'E_BAD_BODY IDENTIFY heartbeat interval (%d) is invalid' % value)


@pytest.mark.parametrize('value, shown', [
    (-1, 0), (0, 250), (25, 25), (26, 26), (30000, 30000)])
def test_an_output_buffer_timeout_in_range_is_answered(client, value, shown):
    negotiate(client, output_buffer_timeout=value)
    client.expect_response(answer(output_buffer_timeout=shown))


@pytest.mark.parametrize('value', [-2, 1, 24, 30001, 2**40])
def test_an_output_buffer_timeout_out_of_range_is_fatal(client, value):
    negotiate(client, output_buffer_timeout=value)
    client.expect_fatal(
        b'E_BAD_BODY IDENTIFY output buffer timeout (%d) is invalid' % value)


@pytest.mark.parametrize('value, shown', [
    (0, 16384), (64, 64), (65, 65), (16384, 16384), (65536, 65536)])
def test_an_output_buffer_size_in_range_is_answered(client, value, shown):
    negotiate(client, output_buffer_size=value)
    client.expect_response(answer(output_buffer_size=shown))


def test_output_buffer_size_minus_one_switches_size_and_timeout_off(client):
    negotiate(client, output_buffer_size=-1, output_buffer_timeout=500)
    client.expect_response(answer(output_buffer_size=1,
                                  output_buffer_timeout=0))


@pytest.mark.parametrize('value', [-2, 1, 63, 65537, 2**32 + 64])
def test_an_output_buffer_size_out_of_range_is_fatal(client, value):
    negotiate(client, output_buffer_size=value)
    client.expect_fatal(
        b'E_BAD_BODY IDENTIFY output buffer size (%d) is invalid' % value)


@pytest.mark.parametrize('value', [0, 1, 50, 99])
def test_a_sample_rate_in_range_is_answered(client, value):
    negotiate(client, sample_rate=value)
    client.expect_response(answer(sample_rate=value))


@pytest.mark.parametrize('value', [-1, 100, 2**31 - 1, -2**31])
def test_a_sample_rate_out_of_range_is_fatal(client, value):
    negotiate(client, sample_rate=value)
    client.expect_fatal(
        b'E_BAD_BODY IDENTIFY sample rate (%d) is invalid' % value)


@pytest.mark.parametrize('value, shown', [
    (0, 60000), (1000, 1000), (1001, 1001), (900000, 900000)])
def test_a_msg_timeout_in_range_is_answered(client, value, shown):
    negotiate(client, msg_timeout=value)
    client.expect_response(answer(msg_timeout=shown))


@pytest.mark.parametrize('value', [-1, 1, 999, 900001, 2**62])
def test_a_msg_timeout_out_of_range_is_fatal(client, value):
    negotiate(client, msg_timeout=value)
    client.expect_fatal(
        b'E_BAD_BODY IDENTIFY msg timeout (%d) is invalid' % value)


@pytest.mark.parametrize('wrong, text', [
    (['msg_timeout', 'sample_rate', 'output_buffer_size',
      'output_buffer_timeout', 'heartbeat_interval'], b'heartbeat interval'),
    (['msg_timeout', 'sample_rate', 'output_buffer_size',
      'output_buffer_timeout'], b'output buffer timeout'),
    (['msg_timeout', 'sample_rate', 'output_buffer_size'],
     b'output buffer size'),
    (['msg_timeout', 'sample_rate'], b'sample rate')])
def test_of_several_values_out_of_range_the_first_checked_is_named(
        client, wrong, text):
    negotiate(client, **{key: -7 for key in wrong})
    client.expect_fatal(b'E_BAD_BODY IDENTIFY %s (-7) is invalid' % text)


# -- features that are off

@pytest.mark.parametrize('wanted', [
    {'tls_v1': True}, {'snappy': True}, {'deflate': True},
    {'deflate': True, 'deflate_level': 3}, {'deflate_level': 9},
    {'deflate_level': -5}, {'snappy': True, 'deflate': True},
    {'tls_v1': True, 'snappy': True}])
def test_a_feature_that_is_off_is_answered_with_false(client, wanted):
    negotiate(client, **wanted)
    client.expect_response(answer())
    # Nothing was upgraded: the stream goes on in plain text.
    client.expect_usable()


# -- JSON as Go's encoding/json takes it

@pytest.mark.parametrize('body', [
    b'{}', b'null', b' \t\r\n{} \n', b'{"client_id":null}',
    b'{"heartbeat_interval":null,"feature_negotiation":null,"snappy":null,'
    b'"sample_rate":null,"hostname":null}',
    b'{"unknown":1}', b'{"":0}', b'{"unknown":{"a":[1,{"b":null}],"c":"d"}}',
    b'{"unknown":1e999}', b'{"unknown":-0.5E-7}',
    b'{"client_id":"\\u0041\\ud83d\\ude00\\n\\/"}',
    b'{"client_id":"\\ud800"}', b'{"client_id":"\\u0000"}',
    b'{"client_id":"\xff\xfe"}', b'{"client_id":"\x7f"}',
    b'{"heartbeat_interval":-0}',
    b'{"client_id":"' + b'x' * 10000 + b'"}',
    b'{"unknown":' + b'[' * 9000 + b']' * 9000 + b'}'],
    ids=lambda body: repr(body[:40]))
def test_a_body_that_go_would_decode_is_taken(client, body):
    identify(client, body)
    client.expect_ok()
    client.expect_usable()


@pytest.mark.parametrize('body', [
    b' ', b'garbage', b'{', b'}', b'{]', b'{}x', b'{}{}', b'{} 1', b'{}\x00',
    b'\x00', b'\xef\xbb\xbf{}', b'{"client_id":"a",}', b'{,}', b'{"a"}',
    b'{"a":}', b'{"a":1 "b":2}', b"{'client_id':'a'}", b'{client_id:"a"}',
    b'{"client_id":"a', b'{"client_id":"a\nb"}', b'{"client_id":"\x01"}',
    b'{"client_id":"\\x"}', b'{"client_id":"\\u12"}', b'{"a":01}',
    b'{"a":+1}', b'{"a":1.}', b'{"a":.5}', b'{"a":1e}', b'{"a":-}',
    b'{"a":0x10}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":True}',
    b'{"a":nul}', b'{"a":truex}', b'{/**/}', b'{"a":[1,]}', b'{"a":[1}',
    b'{"a":1}\x0b',
    b'{"unknown":' + b'[' * 10001 + b']' * 10001 + b'}'],
    ids=lambda body: repr(body[:40]))
def test_a_body_that_is_not_json_is_fatal(client, body):
    identify(client, body)
    client.expect_fatal(BAD_JSON)


@pytest.mark.parametrize('body', [b'[]', b'[{}]', b'1', b'"x"', b'true'])
def test_a_body_that_is_not_an_object_is_fatal(client, body):
    identify(client, body)
    client.expect_fatal(BAD_JSON)


INTEGERS = ['heartbeat_interval', 'output_buffer_size',
            'output_buffer_timeout', 'deflate_level', 'sample_rate',
            'msg_timeout']


@pytest.mark.parametrize('key', INTEGERS)
@pytest.mark.parametrize('value', [
    '"1000"', '1000.0', '1e3', 'true', '[1000]', '{}',
    '9223372036854775808', '-9223372036854775809'])
def test_a_number_of_the_wrong_type_is_fatal(client, key, value):
    identify(client, b'{"%s":%s}' % (key.encode(), value.encode()))
    client.expect_fatal(BAD_JSON)


@pytest.mark.parametrize('value', [2**31, -2**31 - 1])
def test_a_sample_rate_beyond_32_bits_is_fatal(client, value):
    identify(client, {'sample_rate': value})
    client.expect_fatal(BAD_JSON)


@pytest.mark.parametrize('key', [
    'feature_negotiation', 'tls_v1', 'deflate', 'snappy'])
@pytest.mark.parametrize('value', ['1', '0', '"true"', '[]', '{}'])
def test_a_boolean_of_the_wrong_type_is_fatal(client, key, value):
    identify(client, b'{"%s":%s}' % (key.encode(), value.encode()))
    client.expect_fatal(BAD_JSON)


@pytest.mark.parametrize('key', ['client_id', 'hostname', 'user_agent'])
@pytest.mark.parametrize('value', ['1', 'true', '[]', '{}'])
def test_a_string_of_the_wrong_type_is_fatal(client, key, value):
    identify(client, b'{"%s":%s}' % (key.encode(), value.encode()))
    client.expect_fatal(BAD_JSON)


def test_a_wrong_type_is_reported_before_a_value_out_of_range(client):
    identify(client, {'heartbeat_interval': 1, 'client_id': 5})
    client.expect_fatal(BAD_JSON)


@pytest.mark.parametrize('key', [
    'SAMPLE_RATE', 'Sample_Rate', 'sAmPlE_rAtE'])
def test_keys_are_matched_without_regard_to_case(client, key):
    identify(client, {key: 5, 'Feature_Negotiation': True})
    client.expect_response(answer(sample_rate=5))


def test_the_last_of_two_equal_keys_counts(client):
    identify(client, b'{"sample_rate":5,"feature_negotiation":true,'
                     b'"SAMPLE_RATE":6,"sample_rate":7}')
    client.expect_response(answer(sample_rate=7))


def test_an_exact_key_does_not_outweigh_a_later_one_of_other_case(client):
    identify(client, b'{"sample_rate":5,"feature_negotiation":true,'
                     b'"SAMPLE_RATE":6}')
    client.expect_response(answer(sample_rate=6))


def test_a_key_with_escapes_is_matched(client):
    identify(client, b'{"s\\u0061mple_rate":5,"feature_negotiation":true}')
    client.expect_response(answer(sample_rate=5))


def test_a_null_leaves_an_earlier_value(client):
    identify(client, b'{"sample_rate":5,"feature_negotiation":true,'
                     b'"sample_rate":null}')
    client.expect_response(answer(sample_rate=5))


# -- sizes

def test_an_empty_body_is_fatal(client):
    client.send(b'IDENTIFY\n' + struct.pack('>i', 0))
    client.expect_fatal(b'E_BAD_BODY IDENTIFY invalid body size 0')


@pytest.mark.parametrize('size', [-1, -2**31])
def test_a_negative_body_size_is_fatal(client, size):
    client.send(b'IDENTIFY\n' + struct.pack('>i', size))
    client.expect_fatal(b'E_BAD_BODY IDENTIFY invalid body size %d' % size)


@pytest.mark.parametrize('size', [MAX_BODY + 1, 2**31 - 1])
def test_a_body_too_big_is_fatal(client, size):
    client.send(b'IDENTIFY\n' + struct.pack('>i', size))
    client.expect_fatal(
        b'E_BAD_BODY IDENTIFY body too big %d > %d' % (size, MAX_BODY))


def test_a_body_of_the_greatest_size_is_taken(client):
    identify(client, b'{}' + b' ' * (MAX_BODY - 2))
    client.expect_ok()


@pytest.mark.parametrize('size', [b'', b'\0', b'\0\0\0'])
def test_a_body_size_that_ends_too_soon_is_fatal(client, size):
    client.send(b'IDENTIFY\n' + size).half_close()
    client.expect_fatal(b'E_BAD_BODY IDENTIFY failed to read body size')


@pytest.mark.parametrize('body', [b'', b'{', b'{"a":1'])
def test_a_body_that_ends_too_soon_is_fatal(client, body):
    client.send(b'IDENTIFY\n' + struct.pack('>i', 7) + body).half_close()
    client.expect_fatal(b'E_BAD_BODY IDENTIFY failed to read body')


def test_a_body_may_come_byte_by_byte(client):
    for byte in b'IDENTIFY\n' + sized(b'{"feature_negotiation":true}'):
        client.send(bytes([byte]))
    client.expect_response(answer())


def test_parameters_are_ignored(client):
    client.send(b'IDENTIFY one two\r\n' + sized(b'{}'))
    client.expect_ok()


# -- states

def test_messages_keep_to_the_first_identify(nsqd):
    """Stock's message pump takes one only; what answers FIN with the next message, too."""
    topic = nsqd.topic()
    nsqd.pub(topic, b'a', b'b')
    with nsqd.connect() as client:
        client.identify(msg_timeout=1000)
        client.identify(msg_timeout=60000)
        client.sub(topic, 'ch')
        client.rdy(1)
        client.fin(client.message())
        first = client.message()
        again = client.message()    # after the second, give or take the scan
        assert (again.id, again.attempts) == (first.id, 2)


def test_a_second_identify_is_taken_before_sub(client):
    negotiate(client, sample_rate=5, msg_timeout=2000)
    client.expect_response(answer(sample_rate=5, msg_timeout=2000))
    # A value that is not given keeps what the first one set, but the sample
    # rate, of which 0 is a value.
    negotiate(client, output_buffer_timeout=100)
    client.expect_response(answer(msg_timeout=2000,
                                  output_buffer_timeout=100))


def test_identify_after_sub_is_fatal(nsqd, client):
    client.sub(nsqd.topic(), 'ch')
    client.command('IDENTIFY')
    client.expect_fatal(b'E_INVALID cannot IDENTIFY in current state')


def test_identify_after_cls_is_fatal(nsqd, client):
    client.sub(nsqd.topic(), 'ch')
    client.command('CLS')
    client.expect_response(b'CLOSE_WAIT')
    identify(client, {})
    client.expect_fatal(b'E_INVALID cannot IDENTIFY in current state')


def test_identify_after_pub_is_taken(client):
    client.expect_usable()
    identify(client, {})
    client.expect_ok()


def test_commands_sent_behind_identify_are_answered_in_order(nsqd, client):
    client.send(b'IDENTIFY\n' + sized(b'{"feature_negotiation":true}')
                + b'SUB %s ch\nNOP\nCLS\n' % nsqd.topic().encode())
    client.expect(frame(RESPONSE, answer()) + frame(RESPONSE, b'OK')
                  + frame(RESPONSE, b'CLOSE_WAIT'))


def test_what_identify_says_shows_in_the_statistics(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch', client_id='id', hostname='host',
                        user_agent='agent/1 <é&>', sample_rate=3):
        nsqd.wait_channel(topic, 'ch', client_count=1)
        shown = nsqd.channel_stats(topic, 'ch')['clients'][0]
    assert (shown['client_id'], shown['hostname'], shown['user_agent'],
            shown['sample_rate']) == ('id', 'host', 'agent/1 <é&>', 3)


def test_without_identify_a_client_is_named_by_its_address(nsqd):
    topic = nsqd.topic()
    with nsqd.subscribe(topic, 'ch') as client:
        address = '%s:%d' % client.socket.getsockname()
        shown = nsqd.channel_stats(topic, 'ch')['clients'][0]
    assert (shown['client_id'], shown['hostname'], shown['user_agent'],
            shown['remote_address']) == ('127.0.0.1', '127.0.0.1', '', address)


@pytest.mark.parametrize('text', [b'\xff', b'\xed\xa0\x80', b'a\xc3'])
def test_invalid_utf8_is_shown_as_the_replacement_character(
        nsqd, client, text):
    topic = nsqd.topic()
    identify(client, b'{"client_id":"<%s>"}' % text)
    client.expect_ok()
    client.sub(topic, 'ch')
    shown = nsqd.channel_stats(topic, 'ch')['clients'][0]['client_id']
    assert shown == '<%s>' % {b'\xff': '\ufffd', b'\xed\xa0\x80': '\ufffd' * 3,
                              b'a\xc3': 'a\ufffd'}[text]


# -- zeros: Go's strings hold them like any other byte

def test_a_zero_in_a_name_is_shown_and_cuts_nothing(nsqd):
    topic = nsqd.topic()
    body = (br'{"client_id":"a\u0000b","hostname":"h\u0000i","user_agent":"u\u0000/1",'
            br'"feature_negotiation\u0000":true,"sample_rate\u0000":200}')
    with nsqd.connect() as client:
        client.command('IDENTIFY', body=body)
        client.expect_ok()      # the features were not asked for
        client.sub(topic, 'ch')
        found, = nsqd.channel_stats(topic, 'ch')['clients']
        assert [found[x] for x in ('client_id', 'hostname', 'user_agent')] == [
            'a\0b', 'h\0i', 'u\0/1']
        raw = nsqd.get('/stats?format=json&topic=' + topic).body
        assert br'"client_id":"a\u0000b","hostname":"h\u0000i"' in raw
        port = client.socket.getsockname()[1]
        text = nsqd.get('/stats?topic=' + topic).body
        line = b'[V2 h\0i:%d u\0/1 ' % port
        assert line in text
    nsqd.wait_log('IDENTIFY: {ClientID:a\0b Hostname:h\0i .* UserAgent:u\0/1 MsgTimeout:0')


def test_a_zero_in_a_magic_or_a_command_is_logged_as_it_is(nsqd):
    with nsqd.connect(b'V\0\x012') as client:
        client.expect_fatal(b'E_BAD_PROTOCOL')
    nsqd.wait_log("ERROR: client.* bad protocol magic 'V\0\x012'$")
    with nsqd.connect() as client:
        client.command(b'NO\0PE')
        client.expect_fatal(b'E_INVALID invalid command NO\0PE')
        port = client.socket.getsockname()[1]
    nsqd.wait_log(r'ERROR: \[127.0.0.1:%d\] - E_INVALID invalid command NO\0PE$' % port)
    nsqd.wait_log(r'ERROR: client\(127.0.0.1:%d\) - E_INVALID invalid command NO\0PE$' % port)
