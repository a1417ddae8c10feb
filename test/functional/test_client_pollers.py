"""A client has no thread: a poller takes its steps, and its pump is a task without a thread.

It gets a thread for what may block, or while it is busy, and gives it up when it has been
silent for a moment (nsqd/client/protocol_v2.c). So silent and slow clients cost none,
however many they are, and nobody can tell.
"""

import contextlib
import os
import statistics
import threading
import time

import pytest

from nsq import (ERROR, HEARTBEAT, MAGIC, OK, RESPONSE, SCALE, frame, mpub_body, sized,
                 wait_all_read, wait_until)
from stacks import *  # pylint: disable=wildcard-import,unused-wildcard-import

pytestmark = pytest.mark.ours(reason='how many threads it needs is the business of Go')

COUNT = 1000 if SCALE == 1 else 200
# A poller reads the one; the other is for a thread.
SMALL, LARGE = b'x' * 100, b'x' * 100000


def client_threads(daemon):
    return daemon.count_threads('io:', 'pump:')


def wait_no_threads(daemon):
    wait_until(lambda: client_threads(daemon) == 0, daemon.thread_names)


@contextlib.contextmanager
def without_threads(daemon):
    """No client gets a thread meanwhile, as far as one can see: a thread that has done
    something is kept for a second. HTTP but for /pub and /mpub has them, too. (And so do
    scan-workers that end: a test that deletes channels has a daemon of its own. So do the
    threads of logs: with these only a thread that is at work is seen.)"""
    kinds = ('io:', 'pump:') if os.environ.get('DURABILITY') else ('io:', 'pump:', 'kept')
    wait_until(lambda: daemon.count_threads('http:', *kinds) == 0, daemon.thread_names)

    def check(what=''):
        names = daemon.thread_names()
        assert not [n for n in names if n.startswith(kinds)], (what, names)
    yield check
    check()


def wait_read(daemon, *clients):
    """Until the daemon has read all that these have sent."""
    wait_all_read(daemon.tcp_port, [c.socket for c in clients])


@contextlib.contextmanager
def periodically(act):
    stop = threading.Event()

    def run():
        while not stop.wait(0.02):
            act()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def publish(daemon, topic, *bodies):
    assert daemon.post('/mpub?topic=%s&binary=true' % topic,
                       mpub_body(bodies)).status == 200


@pytest.fixture
def topic(nsqd):
    """A topic that is there, with a channel 'ch'."""
    name = nsqd.topic()
    nsqd.create(name, 'ch')
    return name


# -- what needs no thread

def test_no_command_needs_a_thread_where_its_topic_is_there(nsqd, topic):
    with without_threads(nsqd) as check, nsqd.connect() as producer, \
            nsqd.connect() as consumer, nsqd.connect() as third:
        check('connect')
        for client in producer, consumer:
            client.identify(heartbeat_interval=60000)
            check('IDENTIFY')
        producer.pub(topic, b'a')
        check('PUB')
        consumer.sub(topic, 'ch')
        check('SUB')
        consumer.rdy(10)
        first = consumer.message()
        check('RDY')
        consumer.touch(first)
        consumer.command('NOP')
        producer.command('NOP')
        consumer.req(first, 0)
        again = consumer.message()
        assert (again.id, again.attempts) == (first.id, 2)
        check('REQ')
        consumer.fin(again)
        producer.pub(topic, b'b', b'c')
        assert [m.body for m in consumer.messages(2)] == [b'b', b'c']
        check('FIN, MPUB')
        producer.dpub(topic, 10, b'd')
        assert consumer.message().body == b'd'
        check('DPUB')
        # (While a thread writes a message to the consumer, an answer might need another.)
        third.sub(topic, 'ch')
        third.command('CLS')
        third.expect_response(b'CLOSE_WAIT')
        check('CLS')
        third.fin(again)
        third.expect(frame(ERROR, b'E_FIN_FAILED FIN %s failed ID not in flight' % again.id))
        producer.command('NOPE')
        producer.expect_fatal(b'E_INVALID invalid command NOPE')
        check('errors')


def test_a_thousand_consumers_cost_no_thread(nsqd, topic):
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(without_threads(nsqd))
        consumers = []
        for i in range(COUNT):
            consumers.append(stack.enter_context(nsqd.connect()))
            consumers[-1].identify(heartbeat_interval=60000)
            consumers[-1].sub(topic, 'ch')
            if i % 100 == 0:
                check('SUB %d' % i)
        for i, consumer in enumerate(consumers):
            if i % 50 == 0:     # one that is quick would get a thread, after 64 commands
                producer = stack.enter_context(nsqd.connect())
                producer.identify(heartbeat_interval=-1)
            consumer.rdy(1)
            producer.pub(topic, b'%d' % i)
            message = consumer.message()
            assert message.body == b'%d' % i
            consumer.rdy(0)     # first: the next message is for the next consumer
            consumer.fin(message)
            if i % 100 == 0:
                check('message %d' % i)
    # Without their threads, too, they have left.
    nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0, client_count=0)


def test_a_burst_for_many_consumers_needs_few_threads(nsqd, topic):
    """A thread takes the steps of many pumps."""
    with contextlib.ExitStack() as stack:
        consumers = [stack.enter_context(nsqd.subscribe(topic, 'ch', rdy=1))
                     for _ in range(200)]
        wait_no_threads(nsqd)
        publish(nsqd, topic, *[b'%d' % i for i in range(200)])
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=200)
        assert client_threads(nsqd) <= 40
        bodies = [consumer.message().body for consumer in consumers]
        assert sorted(bodies, key=int) == [b'%d' % i for i in range(200)]
        wait_no_threads(nsqd)


# -- what needs one

def test_a_thread_is_given_up(nsqd):
    """Between two commands that need one."""
    topics = [nsqd.topic() for _ in range(3)]
    with nsqd.connect() as client:
        for topic in topics:
            client.pub(topic, b'makes a topic')
            wait_no_threads(nsqd)
        client.sub(topics[0], 'new')
        with without_threads(nsqd):
            client.pub(topics[0], b'a', b'b')
            client.rdy(3)
            assert sorted(m.body for m in client.messages(3)) == [b'a', b'b', b'makes a topic']


def test_memory_that_is_full_needs_a_thread(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=10')
    daemon.create('t')
    with daemon.connect() as client:
        for _ in range(30):
            client.pub('t', b'x')
        wait_no_threads(daemon)
        client.command('NOP')
        client.expect_quiet()
        assert client_threads(daemon) == 0
    daemon.wait_topic('t', depth=30)


def test_a_full_socket_needs_a_thread_and_holds_up_nobody(nsqd, topic):
    big, other = b'x' * 900000, nsqd.topic()
    nsqd.create(topic, 'full')
    nsqd.create(other, 'ch')
    full = [nsqd.connect(receive_buffer=65536) for _ in range(4)]
    for client in full:
        client.identify(heartbeat_interval=60000)
        client.sub(topic, 'full')
        client.rdy(100)
    with nsqd.subscribe(topic, 'ch', rdy=1) as consumer, nsqd.connect() as producer, \
            nsqd.subscribe(other, 'ch', rdy=1) as another:
        for _ in range(40):
            producer.pub(topic, big)
            message = consumer.message()
            assert message.body == big
            consumer.fin(message)
        wait_until(lambda: nsqd.count_threads('pump:') == len(full), nsqd.thread_names)
        for _ in range(20):
            producer.pub(other, b'x')
            another.fin(another.message())
        assert nsqd.count_threads('pump:') == len(full)

        def reads():
            with contextlib.suppress(TimeoutError):
                while True:
                    full[0].fin(full[0].message(0.05))
            return nsqd.count_threads('pump:') < len(full)
        wait_until(reads, 'the one that reads gives its thread up')
    for i, client in enumerate(full):
        client.reset() if i % 2 else client.close()
    wait_no_threads(nsqd)
    for channel in 'ch', 'full':
        nsqd.post('/channel/empty?topic=%s&channel=%s' % (topic, channel))


@pytest.mark.parametrize('stack', STACKS[1:])
def test_a_layer_needs_a_thread_for_its_beginning_only(nsqd, topic, stack):
    with nsqd.connect() as client, nsqd.connect() as producer:
        upgrade(client, stack)
        with without_threads(nsqd):
            client.sub(topic, 'ch')
            for _ in range(5):
                client.rdy(1)
                producer.pub(topic, SMALL)
                client.fin(client.message())


# -- parts of commands

# All commands that come in parts: a connection says one after the other, up to a SUB.
JSON = b'{"client_id":"x","heartbeat_interval":60000}'


def talk(topic):
    return (MAGIC + b'IDENTIFY\n' + sized(JSON) + b'PUB %s\n' % topic + sized(b'body')
            + b'DPUB %s 1\r\n' % topic + sized(b'later') + b'NOP\n'
            + b'MPUB %s\n' % topic + sized(mpub_body([b'a', b'bc', b'def']))
            + b'SUB %s ch\nRDY 0\n' % topic)


def test_a_part_of_a_command_costs_no_thread_wherever_it_is_cut(nsqd, topic):
    """And is no obstacle: it waits there, and once more a byte later, and goes on."""
    text = talk(topic.encode())
    cuts = range(len(text))
    with without_threads(nsqd) as check:
        clients = [nsqd.connect(b'') for _ in cuts]
        for cut, client in zip(cuts, clients):
            client.send(text[:cut])
        wait_read(nsqd, *clients)
        check()
        for cut, client in zip(cuts, clients):
            client.send(text[cut:cut + 1])
        wait_read(nsqd, *clients)
        check()
        for cut, client in zip(cuts, clients):
            client.send(text[cut + 1:])
        for client in clients:
            client.expect(OK * 5)
            client.close()
    nsqd.wait_topic(topic, message_count=5 * len(clients))


def test_what_drips_in_costs_no_thread(nsqd, topic):
    clients = [nsqd.connect(b'') for _ in range(50)]
    text = MAGIC + b'MPUB %s\n' % topic.encode() + sized(mpub_body([b'a' * 9, b'b']))
    with nsqd.connect() as other, without_threads(nsqd) as check:
        for i in range(len(text)):
            for client in clients:
                client.send(text[i:i + 1])
            other.pub(topic, b'x')  # the pollers have had time for the byte
            check(i)
        for client in clients:
            client.expect_ok()
            client.close()


@pytest.mark.parametrize('command', [
    b'PUB %s\n' + sized(LARGE), b'DPUB %s 0\n' + sized(LARGE),
    b'MPUB %s\n' + sized(mpub_body([SMALL] * 900))], ids=['PUB', 'DPUB', 'MPUB'])
def test_a_large_body_that_drips_in_costs_no_thread_for_long(nsqd, topic, command):
    command = command % topic.encode()
    clients = [nsqd.connect() for _ in range(10)]
    half = len(command) // 2
    for client in clients:
        client.send(command[:half])
    sent = [half]

    def drip():
        if sent[0] < len(command) - 10:
            for client in clients:
                client.send(command[sent[0]:sent[0] + 10])
            sent[0] += 10
    with periodically(drip):
        wait_no_threads(nsqd)
        with nsqd.connect() as other:
            for _ in range(20):
                other.pub(topic, b'x')
        wait_no_threads(nsqd)
    for client in clients:
        client.send(command[sent[0]:])
        client.expect_ok()
        client.close()


def test_a_large_body_may_pause(nsqd, topic):
    name = topic.encode()
    bodies = [b'%d' % i * 1000 for i in range(100, 400)]
    mpub = b'MPUB %s\n' % name + sized(mpub_body(bodies))
    pub = b'PUB %s\n' % name + sized(b'x' * 1000000)
    with nsqd.connect() as one, nsqd.connect() as two:
        for part in range(4):
            one.send(mpub[len(mpub) * part // 4:len(mpub) * (part + 1) // 4])
            two.send(pub[len(pub) * part // 4:len(pub) * (part + 1) // 4])
            if part < 3:
                wait_read(nsqd, one, two)
                wait_no_threads(nsqd)
        one.send(b'PUB %s\n' % name + sized(b'behind'))
        one.expect(OK + OK)
        two.expect_ok()
    with nsqd.subscribe(topic, 'ch', rdy=2500) as consumer:
        got = [m.body for m in consumer.messages(302)]
        assert sorted(got) == sorted(bodies + [b'behind', b'x' * 1000000])


@pytest.mark.parametrize('first, rest, error', [
    (b'PU', b'B $\n', b'E_BAD_TOPIC PUB topic name "$" is not valid'),
    (b'PU', b'B\n', b'E_INVALID PUB insufficient number of parameters'),
    (b'NO', b'PE\n', b'E_INVALID invalid command NOPE'),
    (b'PUB t\n', b'\0\0\0\0', b'E_BAD_MESSAGE PUB invalid message body size 0'),
    (b'PUB t\n', b'\0\x10\0\1', b'E_BAD_MESSAGE PUB message too big 1048577 > 1048576'),
    (b'DPUB t', b' x\n', b'E_INVALID DPUB could not parse timeout x'),
    (b'DPUB t ', b'9999999\n', b'E_INVALID DPUB timeout 9999999 out of range 0-3600000'),
    (b'AUTH', b' x\n', b'E_INVALID AUTH invalid number of parameters'),
    (b'IDENTIFY\n\0', b'\x50\0\1', b'E_BAD_BODY IDENTIFY body too big 5242881 > 5242880'),
    (b'MPUB t\n\0\0\1\0', b'\0\0\0\0', b'E_BAD_BODY MPUB invalid message count 0'),
    (b'MPUB t\n\0\0\1\0\0\0\0\2\0\0\0\1x', b'\xff\xff\xff\xff',
     b'E_BAD_MESSAGE MPUB invalid message(1) body size -1')])
def test_what_is_wrong_is_said_at_once_behind_a_pause(nsqd, first, rest, error):
    with nsqd.connect() as client:
        client.send(first)
        wait_read(nsqd, client)
        client.send(rest)
        client.expect_fatal(error)


def test_a_line_without_end_is_refused_behind_a_pause(nsqd):
    with nsqd.connect() as client:
        client.send(b'x')
        wait_read(nsqd, client)
        for _ in range(4):
            client.send(b'x' * 4096)
        client.expect_closed()


def test_a_bad_magic_is_refused_behind_a_pause(nsqd):
    with nsqd.connect(b' ') as client:
        wait_read(nsqd, client)
        client.send(b' V3')
        client.expect_fatal(b'E_BAD_PROTOCOL')


def test_a_consumer_with_half_a_command_still_gets_messages(nsqd, topic):
    with nsqd.subscribe(topic, 'ch', rdy=1) as client, nsqd.connect() as producer:
        client.send(b'PUB %s\n' % topic.encode() + sized(b'half')[:-2])
        wait_read(nsqd, client)
        producer.pub(topic, b'a')
        message = client.message()
        client.send(b'lf')
        client.expect_ok()
        client.fin(message)
        message = client.message()
        assert message.body == b'half'
        client.fin(message)
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)


@pytest.mark.parametrize('stack', STACKS[1:])
def test_parts_of_records_and_chunks_cost_no_thread(nsqd, topic, stack):
    command = b'PUB %s\n' % topic.encode() + sized(b'half')
    with nsqd.connect() as client, nsqd.connect() as silent:
        for one in client, silent:
            upgrade(one, stack, heartbeat_interval=60000 if one is client else -1)
        with without_threads(nsqd):
            silent.socket.below.sendall(b'\x17\3\3' if stack == 'tls' else b'\0')
            for data in b'NOP\n' + command[:4], command[4:-2], command[-2:]:
                client.send(data)
            client.expect_ok()
            client.sub(topic, 'ch')
            client.rdy(1)
            assert client.message().body == b'half'


@pytest.mark.parametrize('stack', STACKS)
def test_what_a_layer_holds_is_taken_though_its_socket_is_silent(nsqd, topic, stack):
    large = b'PUB %s\n' % topic.encode() + sized(b'x' * 1000000)
    with nsqd.connect() as client:
        # No heartbeat, whose answer would be input.
        upgrade(client, stack, heartbeat_interval=-1)
        client.send(large[:12])
        wait_no_threads(nsqd)
        client.send(large[12:])
        client.expect_ok()


# -- messages

@pytest.mark.parametrize('size', [0, 10000], ids=['disk', 'memory'])
def test_a_backlog_is_shared_by_silent_consumers(new_nsqd, size):
    daemon = new_nsqd('--mem-queue-size=%d' % size)
    clients = [daemon.subscribe('t', 'ch', rdy=5) for _ in range(12)]
    wait_no_threads(daemon)
    publish(daemon, 't', *[b'%d' % i for i in range(60)])
    # All of them have to take their share for that.
    daemon.wait_channel('t', 'ch', depth=0, in_flight_count=60)
    bodies = [m.body for client in clients for m in client.messages(5)]
    assert sorted(bodies, key=int) == [b'%d' % i for i in range(60)]
    for client in clients:
        client.close()


def test_rdy_0_gets_nothing(nsqd, topic):
    with nsqd.subscribe(topic, 'ch', rdy=0) as none, nsqd.connect() as producer, \
            nsqd.subscribe(topic, 'ch', rdy=3) as client, without_threads(nsqd):
        producer.pub(topic, b'a', b'b', b'c', b'd')
        assert [m.body for m in client.messages(3)] == [b'a', b'b', b'c']
        none.expect_quiet()
        none.rdy(1)
        assert none.message().body == b'd'


def test_a_consumer_that_leaves_or_stops_leaves_it_to_others(nsqd, topic):
    """The consumer whose turn it is may just be going; the message does not wait for it."""
    for leave in (lambda c: c.close(), lambda c: c.rdy(0)):
        with nsqd.subscribe(topic, 'ch', rdy=1) as first, \
                nsqd.subscribe(topic, 'ch', rdy=1) as second:
            leave(first)
            publish(nsqd, topic, b'a', b'b')
            message = second.message()
            second.fin(message)
        nsqd.wait_channel(topic, 'ch', client_count=0)
        nsqd.post('/channel/empty?topic=%s&channel=ch' % topic)


def test_a_message_of_a_paused_channel_waits_for_its_unpause(nsqd, topic):
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        nsqd.post('/channel/pause?topic=%s&channel=ch' % topic)
        publish(nsqd, topic, b'a')
        client.expect_quiet()
        nsqd.wait_channel(topic, 'ch', depth=1)
        wait_no_threads(nsqd)
        nsqd.post('/channel/unpause?topic=%s&channel=ch' % topic)
        assert client.message().body == b'a'


# -- time

def test_heartbeats_of_silent_clients_cost_no_thread(nsqd, topic):
    with contextlib.ExitStack() as opened:
        clients = []
        for stack in STACKS:
            for subscribed in False, True:
                clients.append(opened.enter_context(nsqd.connect()))
                upgrade(clients[-1], stack, heartbeat_interval=1500)
                if subscribed:
                    clients[-1].sub(topic, 'ch')
                say_nothing(clients)
        beat(clients)
        with without_threads(nsqd) as check:
            say_nothing(clients)  # that has taken a while
            # More than two intervals: the answers count as life.
            for _ in range(3):
                beat(clients)
                check()
        for client in clients:
            client.expect_usable()


def say_nothing(clients):
    """So that those do not go which have been there for long."""
    for client in clients:
        client.command('NOP')


def beat(clients):
    for client in clients:
        assert client.frame() == (RESPONSE, HEARTBEAT)
        client.command('NOP')


def test_silent_clients_are_disconnected(nsqd, topic):
    """After two heartbeats without an answer."""
    clients = []
    with contextlib.ExitStack() as opened:
        for stack in STACKS:
            clients.append(opened.enter_context(nsqd.connect()))
            upgrade(clients[-1], stack, heartbeat_interval=2000)
            clients[-1].sub(topic, 'ch')
            start = time.monotonic()
            say_nothing(clients)
        nsqd.wait_channel(topic, 'ch', client_count=0)
        assert time.monotonic() - start >= 3.9
        for client in clients:
            assert client.frame() == (RESPONSE, HEARTBEAT)
    wait_no_threads(nsqd)


def test_half_a_command_keeps_nobody_alive(nsqd, topic):
    """Its time is that of any command: two heartbeats."""
    start = time.monotonic()
    frames = []
    with nsqd.subscribe(topic, 'ch', heartbeat_interval=2000) as client:
        client.send(b'PUB %s\n' % topic.encode() + sized(b'half')[:-2])
        with contextlib.suppress(EOFError):
            while True:
                frames.append(client.frame())
        assert time.monotonic() - start >= 3.9
    # A heartbeat may be due just then.
    assert (ERROR, b'E_BAD_MESSAGE PUB failed to read message body') in frames


# -- the end

def test_clients_may_leave(nsqd, topic):
    leaves = [nsqd.subscribe(topic, 'ch', rdy=1) for _ in range(3)]
    nsqd.wait_channel(topic, 'ch', client_count=3)
    with without_threads(nsqd):
        leaves[0].close()
        leaves[1].reset()
        leaves[2].half_close()
        leaves[2].expect_closed()
    nsqd.wait_channel(topic, 'ch', client_count=0)


def test_a_deleted_channel_disconnects_its_consumers(new_nsqd):
    daemon = new_nsqd()
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        daemon.post('/channel/delete?topic=t&channel=ch')
        client.expect_closed()


def test_ephemeral_channels_end_with_their_last_consumers(new_nsqd):
    """For that they get a thread each, which they give up."""
    nsqd, name = new_nsqd(), 't#ephemeral'
    for end in 'close', 'reset', 'half_close':
        clients = [nsqd.subscribe(name, 'ch%d#ephemeral' % i) for i in range(30)]
        for client in clients:
            getattr(client, end)()
        wait_until(lambda: nsqd.topic_stats(name) is None,
                   lambda: 'the topic is gone: %s' % nsqd.topic_stats(name))
        for client in clients:
            client.close()
    wait_no_threads(nsqd)


def test_the_daemon_stops_with_thousands_of_clients(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    starts = [b'', MAGIC[:2], MAGIC, MAGIC + b'PU', MAGIC + b'PUB t\n' + sized(SMALL)[:-1],
              MAGIC + b'SUB t ch\n', MAGIC + b'SUB t ch\nRDY 1\n', MAGIC + b'SUB t ch\nCLS\n']
    clients = []
    for i in range(2 * COUNT):
        clients.append(daemon.connect(b''))
        clients[-1].send(starts[i % len(starts)])
    daemon.pub('t', *[b'x'] * (COUNT // 8))
    daemon.wait_channel('t', 'ch', client_count=2 * COUNT // 8 * 3)
    daemon.stop()
    for client in clients:
        with contextlib.suppress(EOFError):
            while True:
                client.frame()
        client.close()


def test_a_storm_of_connections_holds_up_nobody(nsqd, topic):
    """Of a client's commands half are answered before a few new connections are."""
    stop, served = threading.Event(), [0, 0]

    def storm(me):
        while not stop.is_set():
            with nsqd.connect() as client:
                client.pub(topic, b'x')
            served[me] += 1
    threads = [threading.Thread(target=storm, args=(i,)) for i in range(len(served))]
    with nsqd.connect() as client:
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: all(served), 'the storm has begun')
            between = []
            for _ in range(100):
                before = sum(served)
                client.pub(topic, b'y')
                between.append(sum(served) - before)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert statistics.median(between) < 20, between


# -- topics

@pytest.mark.skipif(SCALE > 1, reason='memory, and sanitizers take their own')
def test_idle_topics_take_little_memory(new_nsqd):
    """They keep their threads."""
    daemon = new_nsqd()

    def resident():
        with open('/proc/%d/status' % daemon.process.pid) as f:
            return [int(line.split()[1]) for line in f
                    if line.startswith('VmRSS:')][0]

    daemon.create('first', 'a', 'b')
    before = resident()
    for i in range(200):
        daemon.create('t%d' % i, 'a', 'b')
    # 40 KiB for a topic with two channels, of which 24 are the stacks of three pumps.
    assert (resident() - before) / 200 < 64


def test_a_client_that_is_never_silent_gives_its_thread_up_as_well(nsqd):
    """It has got it for one command, and sends others now and then."""
    with nsqd.connect() as client:
        client.pub(nsqd.topic(), b'a')
        topic = nsqd.topic()

        def thread_is_gone():
            for _ in range(20):
                client.pub(topic, b'b')
            return client_threads(nsqd) == 0
        wait_until(thread_is_gone, nsqd.thread_names)
