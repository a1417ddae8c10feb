"""Transports: snappy and deflate, as IDENTIFY negotiates them."""

import json
import os
import random
import re
import struct
import zlib

import pytest

from layers import STREAM_IDENTIFIER, Deflate, Snappy, masked_crc32c, push
from nsq import ERROR, RESPONSE, frame, mpub_body, sized, wait_until

FLAGS = ['--snappy=true', '--deflate=true']

MAX_MSG = 1024 * 1024
MAX_BODY = 5 * 1024 * 1024

STACKS = ['snappy', 'snappy-compressed', 'deflate', 'deflate-1', 'deflate-9']


def upgrade(client, stack, **identify):
    """IDENTIFY for the stack, and the layers on the client's side."""
    if stack.startswith('snappy'):
        answer = client.identify(snappy=True, **identify)
        assert (answer['snappy'], answer['deflate']) == (True, False)
        push(client, Snappy, compress='compressed' in stack)
    else:
        level = int(stack.partition('-')[2] or 6)
        answer = client.identify(deflate=True, deflate_level=level, **identify)
        assert (answer['snappy'], answer['deflate']) == (False, True)
        assert answer['deflate_level'] == min(level, 6)
        push(client, Deflate, level)
    client.expect_ok()
    return client


def consume(client, count):
    """Finish so many messages; returns their bodies."""
    bodies = []
    while len(bodies) < count:
        message = client.message()
        client.fin(message)
        bodies.append(message.body)
    return bodies


def negotiated(**changes):
    values = {'max_rdy_count': 2500, 'version': '1.3.0',
              'max_msg_timeout': 900000, 'msg_timeout': 60000,
              'tls_v1': False, 'deflate': False, 'deflate_level': 6,
              'max_deflate_level': 6, 'snappy': False, 'sample_rate': 0,
              'auth_required': False, 'output_buffer_size': 16384,
              'output_buffer_timeout': 250}
    values.update(changes)
    return json.dumps(values, separators=(',', ':')).encode()


# -- negotiation

@pytest.mark.parametrize('wanted, level', [
    ({}, 6), ({'deflate_level': 3}, 3), ({'deflate_level': 1}, 1),
    ({'deflate_level': 9}, 6), ({'deflate_level': 0}, 6),
    ({'deflate_level': -1}, 6), ({'deflate_level': 1 << 40}, 6)])
def test_the_deflate_level_is_what_is_asked_for_up_to_the_maximum(
        client, wanted, level):
    body = dict(wanted, deflate=True, feature_negotiation=True)
    client.command('IDENTIFY', body=json.dumps(body).encode())
    client.expect_response(negotiated(deflate=True, deflate_level=level))
    push(client, Deflate)
    client.expect_ok()
    client.expect_usable()


def test_max_deflate_level_is_a_flag(new_nsqd):
    nsqd = new_nsqd('--deflate=true', '--max-deflate-level=9')
    with nsqd.connect() as client:
        answer = client.identify(deflate=True, deflate_level=8)
        assert (answer['deflate_level'], answer['max_deflate_level']) == (8, 9)


def test_a_level_without_deflate_is_ignored(client):
    body = {'deflate_level': 2, 'feature_negotiation': True}
    client.command('IDENTIFY', body=json.dumps(body).encode())
    client.expect_response(negotiated())
    client.expect_usable()


def test_snappy_is_answered_byte_for_byte_as_by_stock(client):
    body = {'snappy': True, 'feature_negotiation': True}
    client.command('IDENTIFY', body=json.dumps(body).encode())
    client.expect_response(negotiated(snappy=True))
    ok = frame(RESPONSE, b'OK')
    client.expect(STREAM_IDENTIFIER
                  + struct.pack('<I', (len(ok) + 4) << 8 | 1)
                  + struct.pack('<I', masked_crc32c(ok)) + ok)


def test_both_at_once_are_refused(client):
    body = {'snappy': True, 'deflate': True, 'feature_negotiation': True}
    client.command('IDENTIFY', body=json.dumps(body).encode())
    client.expect_fatal(b'E_IDENTIFY_FAILED cannot enable both deflate and '
                        b'snappy compression')


@pytest.mark.parametrize('wanted', ['snappy', 'deflate'])
def test_without_feature_negotiation_nothing_is_upgraded(client, wanted):
    client.command('IDENTIFY', body=json.dumps({wanted: True}).encode())
    client.expect_ok()
    client.expect_usable()


@pytest.mark.parametrize('flag, wanted', [
    ('--snappy=false', {'snappy': True}),
    ('--deflate=false', {'deflate': True})])
def test_each_can_be_switched_off(new_nsqd, flag, wanted):
    nsqd = new_nsqd('--snappy=true', '--deflate=true', flag)
    with nsqd.connect() as client:
        answer = client.identify(**wanted)
        assert (answer['snappy'], answer['deflate']) == (False, False)
        client.expect_usable()
    with nsqd.connect() as client:
        # So the other one is not in its way.
        answer = client.identify(snappy=True, deflate=True)
        assert answer['snappy'] != answer['deflate']


@pytest.mark.ours(reason='starts a new stream below the first one')
@pytest.mark.parametrize('stack', ['snappy', 'deflate'])
def test_a_second_identify_leaves_the_stream_as_it_is(client, stack):
    upgrade(client, stack)
    answer = client.identify(snappy=True, deflate=True)
    assert (answer['snappy'], answer['deflate']) == (False, False)
    client.expect_usable()


@pytest.mark.ours(reason='drops what it has read beyond the IDENTIFY')
@pytest.mark.parametrize('layer, wanted', [
    (Snappy, 'snappy'), (Deflate, 'deflate')])
def test_what_came_together_with_the_identify_is_not_lost(
        client, layer, wanted):
    class Both:
        settimeout = setsockopt = shutdown = close = None
        sent = b''

        def sendall(self, data):
            self.sent += data
    both = Both()
    body = json.dumps({wanted: True, 'feature_negotiation': True}).encode()
    top = layer(both)
    top.sendall(b'NOP\nPUB early\n' + struct.pack('>i', 1) + b'x')
    client.send(b'IDENTIFY\n' + struct.pack('>i', len(body)) + body
                + both.sent)
    assert json.loads(client.frame()[1])[wanted]
    push(client, layer)
    client.expect_ok()
    client.expect_ok()


# -- traffic

@pytest.mark.parametrize('stack', STACKS)
def test_messages_of_all_sizes_go_both_ways(nsqd, stack):
    dice = random.Random(stack)
    topic = nsqd.topic()
    sizes = [1, 2, 60, 61, 200, 4096, 16384, 16385, 65536, 65537, 200000]
    bodies = [bytes([i % 256]) * n if i % 2 else dice.randbytes(n)
              for i, n in enumerate(sizes * 2)]
    with nsqd.connect() as publisher, nsqd.connect() as consumer:
        upgrade(publisher, stack)
        upgrade(consumer, stack).sub(topic, 'ch')
        consumer.rdy(7)
        for body in bodies[:11]:
            publisher.pub(topic, body)
        publisher.pub(topic, *bodies[11:])
        assert sorted(consume(consumer, len(bodies))) == sorted(bodies)
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)


@pytest.mark.parametrize('stack', STACKS)
def test_an_mpub_near_max_body_size(nsqd, stack):
    topic = nsqd.topic()
    bodies = [bytes([i]) * (MAX_MSG - 100) for i in range(4)]
    bodies.append(b'y' * 1000)
    bodies.append(b'z' * (MAX_BODY - len(mpub_body(bodies)) - 4))
    assert len(mpub_body(bodies)) == MAX_BODY
    with nsqd.connect() as publisher, nsqd.connect() as consumer:
        upgrade(publisher, stack).pub(topic, *bodies)
        upgrade(consumer, stack).sub(topic, 'ch')
        consumer.rdy(2)
        assert sorted(consume(consumer, 6)) == sorted(bodies)


@pytest.mark.parametrize('stack', STACKS)
def test_one_message_is_not_held_back(nsqd, stack):
    """Neither by the output buffer beyond its time-out, nor by the layer."""
    topic = nsqd.topic()
    with nsqd.connect() as consumer:
        upgrade(consumer, stack, output_buffer_timeout=30,
                output_buffer_size=64).sub(topic, 'ch')
        consumer.rdy(10)
        for body in b'x', b'y' * 10000:
            nsqd.pub(topic, body)
            assert consume(consumer, 1) == [body]


@pytest.mark.parametrize('stack', STACKS)
def test_heartbeats_come_through_the_layer(nsqd, stack):
    with nsqd.connect() as client:
        # A client that answers a second late must not be gone.
        upgrade(client, stack, heartbeat_interval=2000)
        for _ in range(2):
            client.expect_response(b'_heartbeat_')
            client.command('NOP')


@pytest.mark.parametrize('stack', STACKS)
def test_a_fatal_error_arrives_before_the_end(nsqd, stack):
    with nsqd.connect() as client:
        upgrade(client, stack).command('NONSENSE')
        assert client.frame() == (ERROR, b'E_INVALID invalid command NONSENSE')
        client.expect_closed()


@pytest.mark.parametrize('stack', STACKS)
def test_stats_name_the_compression(nsqd, stack):
    topic = nsqd.topic()
    with nsqd.connect() as client:
        upgrade(client, stack, client_id=topic).sub(topic, 'ch')
        stats = nsqd.channel_stats(topic, 'ch')['clients'][0]
        name = stack.partition('-')[0]
        assert (stats['snappy'], stats['deflate']) == (
            name == 'snappy', name == 'deflate')
        assert stats['tls'] is False


def test_snappy_compresses_what_compresses(nsqd):
    topic = nsqd.topic()
    with nsqd.connect() as client:
        upgrade(client, 'snappy').sub(topic, 'ch')
        client.rdy(1)
        nsqd.pub(topic, b'a' * 100000)
        consume(client, 1)
        assert 0 in client.socket.kinds


@pytest.mark.parametrize('stack', STACKS)
def test_an_exit_with_a_consumer_under_load_loses_nothing(new_nsqd, stack):
    nsqd = new_nsqd(*FLAGS)
    bodies = [b'%d' % i * 50 for i in range(3000)]
    nsqd.create('load', 'ch')
    nsqd.pub('load', *bodies)
    with nsqd.connect() as client:
        upgrade(client, stack).sub('load', 'ch')
        client.rdy(100)
        consume(client, 500)

        def finished():
            stats = nsqd.channel_stats('load', 'ch')
            return stats['depth'] + stats['in_flight_count'] == 2500
        wait_until(finished, 'what was finished is gone')
        nsqd.stop()
    nsqd.start()
    nsqd.wait_topic('load')
    nsqd.wait_channel('load', 'ch', depth=2500)


# -- bad input

CHUNK = struct.Struct('<I')


def data_chunk(kind, body, crc=None):
    crc = masked_crc32c(body) if crc is None else crc
    return (CHUNK.pack((len(body) + 4) << 8 | kind)
            + struct.pack('<I', crc) + body)


@pytest.mark.parametrize('sent', [
    b'NOP\n', STREAM_IDENTIFIER[:-1] + b'y' + b'NOP\n',
    STREAM_IDENTIFIER + data_chunk(1, b'NOP\n', 1),
    STREAM_IDENTIFIER + CHUNK.pack(0),
    STREAM_IDENTIFIER + CHUNK.pack(0x02),
    STREAM_IDENTIFIER + b'\x00\xff\xff\xff',
    STREAM_IDENTIFIER + b'\x00\x09\x00\x00----\xff\xff\xff\x7f\x00',
    data_chunk(1, b'NOP\n')], ids=range(8))
def test_a_bad_snappy_stream_ends_the_connection(nsqd, sent):
    with nsqd.connect() as client:
        upgrade(client, 'snappy')
        client.socket.below.sendall(sent)
        client.expect_closed()


def test_snappy_chunks_that_may_be_skipped_are(client):
    upgrade(client, 'snappy')
    client.socket.below.sendall(
        STREAM_IDENTIFIER + b'\xfe\x10\x00\x00' + b'p' * 16
        + b'\x80\x00\x00\x00' + STREAM_IDENTIFIER + b'\xfd\xff\xff\x00'
        + b'q' * 65535)
    client.expect_usable()


@pytest.mark.parametrize('sent', [
    b'\x06', b'\x00\x05\x00\xfa\xfehello', b'\xff' * 100], ids=range(3))
def test_a_bad_deflate_stream_ends_the_connection(nsqd, sent):
    with nsqd.connect() as client:
        upgrade(client, 'deflate')
        client.socket.below.sendall(sent)
        client.expect_closed()


def test_a_command_before_what_spoils_a_deflate_stream_is_executed(nsqd):
    """Also when both come in together."""
    topic = nsqd.topic()
    with nsqd.connect() as client:
        encoder = upgrade(client, 'deflate').socket.encoder
        client.socket.below.sendall(
            encoder.compress(b'PUB %s\n' % topic.encode() + sized(b'x'))
            + encoder.flush(zlib.Z_SYNC_FLUSH) + b'\x06\xff\xff')
        client.expect_ok()
        client.expect_closed()
    nsqd.wait_topic(topic, message_count=1)


def resident(nsqd):
    with open('/proc/%d/status' % nsqd.process.pid) as f:
        return int(re.search(r'VmHWM:\s+(\d+) kB', f.read())[1]) * 1024


def sanitized():
    return any(name in os.environ['NSQD'] for name in ('/thread/', '/address/'))


@pytest.mark.parametrize('stack', ['snappy-compressed', 'deflate-9'])
def test_a_bomb_does_not_grow_the_daemon(new_nsqd, stack):
    nsqd = new_nsqd(*FLAGS)
    with nsqd.connect() as client:
        # The commands may take longer than a heartbeat's time.
        upgrade(client, stack, heartbeat_interval=-1)
        before = resident(nsqd)
        if 'snappy' in stack:
            # A line that does not end: refused when the buffer is full.
            client.send(b'A' * 65536)
            client.expect_closed()
        else:
            # 64 MiB, in less than 200 KiB; where memory is not looked at, a few
            for _ in range(1000 if not sanitized() else 100):
                client.send(b'NOP\n' * 16384)
            client.expect_usable()
        if not sanitized():
            assert resident(nsqd) - before < 8 * 1024 * 1024


@pytest.mark.parametrize('stack', STACKS)
def test_clients_that_vanish_leave_nothing_behind(new_nsqd, stack):
    nsqd = new_nsqd(*FLAGS)
    topic = 'gone'
    before = nsqd.descriptors()
    for i in range(20):
        client = nsqd.connect()
        upgrade(client, stack)
        if i % 2:
            client.sub(topic, 'ch')
        client.socket.below.close() if i % 3 else client.close()
    nsqd.wait_topic(topic)
    wait_until(lambda: nsqd.channel_stats(topic, 'ch')['client_count'] == 0,
               'the clients are gone')
    # What a topic and a channel take stays.
    wait_until(lambda: nsqd.count_threads('io:', 'pump:') == 0, 'threads end')
    wait_until(lambda: nsqd.descriptors() <= before + 6,
               lambda: '%d descriptors are %d again' % (
                   nsqd.descriptors(), before))
