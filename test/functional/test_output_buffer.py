"""What IDENTIFY says of the output buffer holds in every stack of layers.

No layer buffers by itself: what has left the buffer, because that is switched off, too
small, or its time is over, is on the wire. A heartbeat would send it, too, but not
before DEADLINE is over.
"""

import random

import pytest

from stacks import *  # pylint: disable=wildcard-import,unused-wildcard-import

# Stock's deflate keeps what has left the buffer until that is flushed by its timer, by the
# end of RDY, or by a heartbeat.
AT_ONCE = [pytest.param(stack, marks=pytest.mark.ours(
    reason='deflate waits for a flush')) if 'deflate' in stack else stack
           for stack in STACKS]


def subscribe(nsqd, client, stack, **identify):
    topic = nsqd.topic()
    upgrade(client, stack, **identify).sub(topic, 'ch')
    client.rdy(10)
    nsqd.wait_channel(topic, 'ch', client_count=1)
    return topic


def noise(size):
    """Which no compressor makes smaller."""
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize('timeout', [-1, 25, 30000])
@pytest.mark.parametrize('stack', AT_ONCE)
def test_not_buffered_is_on_the_wire_at_once(nsqd, stack, timeout):
    with nsqd.connect() as client:
        topic = subscribe(nsqd, client, stack, output_buffer_size=-1,
                          output_buffer_timeout=timeout)
        for size in 1, 200, 20000, 1:
            nsqd.pub(topic, noise(size))
            message = client.message()
            assert message.body == noise(size)
            if size == 200:
                client.fin(message)


@pytest.mark.parametrize('buffer', [64, 1000, 16384, 65536])
@pytest.mark.parametrize('stack', AT_ONCE)
def test_what_is_larger_than_the_buffer_is_on_the_wire_at_once(nsqd, stack, buffer):
    """With what was in it; there is no timer."""
    with nsqd.connect() as client:
        topic = subscribe(nsqd, client, stack, output_buffer_size=buffer,
                          output_buffer_timeout=-1)
        for body in b'x', noise(3 * buffer), b'y', noise(2 * buffer + 500):
            nsqd.pub(topic, body)
            if len(body) > 1:
                nsqd.wait_channel(topic, 'ch', depth=0)
        assert sorted(len(client.message().body) for _ in range(4)) == sorted(
            [1, 3 * buffer, 1, 2 * buffer + 500])


@pytest.mark.parametrize('buffer, timeout', [
    (0, 0), (0, 25), (64, 25), (1000, 25), (65536, 25)])
@pytest.mark.parametrize('stack', STACKS)
def test_what_is_in_the_buffer_goes_when_its_time_is_over(nsqd, stack, buffer, timeout):
    with nsqd.connect() as client:
        topic = subscribe(nsqd, client, stack, output_buffer_size=buffer,
                          output_buffer_timeout=timeout)
        for size in 1, 40, 500:
            nsqd.pub(topic, noise(size))
            assert client.message().body == noise(size)


@pytest.mark.parametrize('buffer, timeout', [
    (0, -1), (0, 30000), (1000, -1), (65536, 30000)])
@pytest.mark.parametrize('stack', STACKS)
def test_what_fits_into_the_buffer_stays_there(nsqd, stack, buffer, timeout):
    """Until it is full, or the client has no room for more."""
    with nsqd.connect() as client:
        topic = subscribe(nsqd, client, stack, output_buffer_size=buffer,
                          output_buffer_timeout=timeout)
        nsqd.pub(topic, b'x')
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=1)
        client.expect_quiet()
        nsqd.pub(topic, *[b'y'] * 9)
        assert [len(client.message().body) for _ in range(10)] == [1] * 10
