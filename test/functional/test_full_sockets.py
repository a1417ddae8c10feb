"""A daemon that cannot write goes on reading: what io_loop does for the pump never waits."""

import array
import fcntl
import random
import signal
import termios
import time

import pytest

from nsq import MESSAGE, QUIET, RESPONSE, SCALE, Message, mpub_body, sized, wait_until
from stacks import *  # pylint: disable=wildcard-import,unused-wildcard-import


def finish_and_publish(client, topic, messages, bodies, rdy):
    """A worker with one thread: answers rdy messages by as many FINs and an MPUB, and only then reads on."""
    results = b'MPUB %s\n' % topic.encode() + sized(mpub_body(bodies))
    ids, finished, published = [], 0, 0
    client.rdy(rdy)
    while published < messages // rdy:
        kind, data = client.answer()
        if kind == MESSAGE:
            ids.append(Message(data).id)
        else:
            assert (kind, data) == (RESPONSE, b'OK')
            published += 1
        if len(ids) == rdy:
            client.send(b''.join(b'FIN %s\n' % i for i in ids) + results)
            finished, ids = finished + len(ids), []
    return finished


# Some are for the pump to write, some are small enough for io_loop, which leaves it a rest.
@pytest.mark.parametrize('size, rdy', [(1_000_000, 16), (700_000, 16), (60_000, 64)])
@pytest.mark.parametrize('stack', STACKS)
def test_a_client_that_finishes_a_batch_and_publishes_before_it_reads_on(
        nsqd, stack, size, rdy):
    topic, body = nsqd.topic(), random.Random(size).randbytes(size)
    nsqd.create(topic, 'ch')
    with nsqd.connect() as publisher:
        for _ in range(2 * rdy):
            publisher.pub(topic, body)
    with nsqd.connect(receive_buffer=65536) as client:
        upgrade(client, stack).sub(topic, 'ch')
        assert finish_and_publish(client, topic + 'results', 2 * rdy,
                                  [body] * (5_000_000 // size), rdy) == 2 * rdy
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)
    for name in topic, topic + 'results':
        nsqd.post('/topic/delete?topic=' + name)


def wait_until_no_more_fits(client):
    """The daemon is in the middle of a write: more lies before the client than the sockets hold."""
    there = [-1]

    def nothing_new():
        size = array.array('i', [0])
        fcntl.ioctl(client.socket, termios.FIONREAD, size)
        there.append(size[0])
        return there[-1] > 0 and there[-8:] == 8 * there[-1:]
    wait_until(nothing_new, lambda: '%d bytes are all that fits' % there[-1])


def read_what_is_there(client):
    """Until nothing comes any more."""
    client.socket.settimeout(QUIET)
    try:
        while True:
            client.buffer += client.socket.recv(1 << 20)
    except TimeoutError:
        pass


@pytest.mark.ours(reason='by chance it ends the connection')
def test_after_a_standstill_the_daemon_looks_again_before_it_gives_a_client_up(new_nsqd):
    """It was stopped while it wrote, and so the deadline of the write passed; but the client reads."""
    nsqd = new_nsqd()
    bodies = [b'%d' % i * 1_000_000 for i in range(10)]
    deadline = 2 * min(SCALE, 3)
    nsqd.create('t', 'ch')
    for body in bodies:
        nsqd.pub('t', body)
    with nsqd.connect(receive_buffer=1 << 19) as client:
        client.identify(heartbeat_interval=int(1000 * deadline))
        client.sub('t', 'ch')
        client.rdy(10)
        wait_until_no_more_fits(client)
        nsqd.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        read_what_is_there(client)
        client.command('NOP')
        # The standstill itself: longer than a write may take, shorter than a client may be silent.
        time.sleep(max(0, begun + 1.25 * deadline - time.monotonic()))
        nsqd.process.send_signal(signal.SIGCONT)
        messages = client.messages(10)
        assert sorted(m.body for m in messages) == sorted(bodies)
        for message in messages:
            client.fin(message)
        nsqd.wait_channel('t', 'ch', depth=0, in_flight_count=0)
