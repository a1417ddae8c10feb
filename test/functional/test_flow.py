"""max_in_flight and rate: how many messages all consumers of a channel have together, and how
fast they get them. What a test holds is counted as a consumer sees it: received, not yet answered.
"""

import json
import random
import select
import time

import pytest

from nsq import DEADLINE, SCALE, wait_until
from queues import leave, put
from test_reload import reload

pytestmark = pytest.mark.ours(reason='stock has no settings of channels')

# Of the shared daemon: a small memory queue, so that most of a backlog is on disk.
FLAGS = ['--mem-queue-size=10', '--msg-timeout=%ds' % (2 * SCALE), '--max-msg-timeout=1h']
SCANNED = 12
# So many messages a second a rate may be that must not be reached by luck.
BURST_PER_SEC = 10


def configure(nsqd, topic, channel='ch', **settings):
    return json.loads(put(nsqd, topic, channel, **settings).body)


def channel_of(nsqd, topic, n=0, **settings):
    """A topic with a channel ch, settings, and n messages that wait."""
    nsqd.create(topic, 'ch')
    configure(nsqd, topic, **settings)
    if n:
        nsqd.pub(topic, *(b'%d' % i for i in range(n)))
        nsqd.wait_channel(topic, 'ch', depth=n)
    return topic


class Consumers:
    """Some of them, and all messages that they have: never more than limit."""

    def __init__(self, nsqd, topic, rdys, limit, channel='ch', **identify):
        self.nsqd, self.topic, self.channel, self.limit = nsqd, topic, channel, limit
        self.identify = identify
        self.clients = [self.join(rdy) for rdy in rdys]
        self.held = []      # (client, message)
        self.done = []

    def join(self, rdy):
        return self.nsqd.subscribe(self.topic, self.channel, rdy, **self.identify)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            leave(self.nsqd, self.topic, self.channel, self.clients)
        for client in self.clients:
            client.close()

    def receive(self, seconds=0.0):
        """Whatever is there, or comes within so long."""
        with_input = [c for c in self.clients if c.buffer] or select.select(
            [c.socket for c in self.clients], [], [], seconds)[0]
        for client in self.clients:
            if client in with_input or client.socket in with_input:
                self.held.append((client, client.message()))
                assert len(self.held) <= self.limit, self.held
        return bool(with_input)

    def receive_until(self, n):
        deadline = time.monotonic() + DEADLINE
        while len(self.held) < n:
            assert time.monotonic() < deadline, len(self.held)
            self.receive(0.1)
        return self

    def quiet(self):
        """Nothing more comes, though all are ready."""
        for client in self.clients:
            client.expect_quiet()
        return self

    def finish_one(self):
        # Counted first: the daemon may hand out another one as soon as it has the FIN.
        client, message = self.held.pop(random.randrange(len(self.held)))
        self.done.append(message)
        client.fin(message)

    def finish_all(self, n):
        """Answer at random until n are done."""
        deadline = time.monotonic() + DEADLINE
        while len(self.done) < n:
            assert time.monotonic() < deadline, (len(self.done), len(self.held))
            self.receive(0.0 if self.held else 0.1)
            if self.held and random.random() < 0.5:
                self.finish_one()
        return self


# -- max_in_flight

@pytest.mark.parametrize('rdys', [[1], [2500], [1, 1, 1], [2500, 2500, 2500], [3, 1, 2500, 40]])
def test_no_more_are_in_flight_than_the_limit(nsqd, rdys):
    topic = channel_of(nsqd, nsqd.topic(), 200, max_in_flight=3)
    with Consumers(nsqd, topic, rdys, 3, msg_timeout=3600000) as c:
        c.receive_until(min(3, sum(rdys))).quiet()
        nsqd.wait_channel(topic, 'ch', in_flight_count=len(c.held), depth=200 - len(c.held))
        c.finish_all(200)
        assert sorted(int(m.body) for m in c.done) == list(range(200))
        assert {m.attempts for m in c.done} == {1}
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0, timeout_count=0)


def test_what_is_published_meanwhile_waits(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), max_in_flight=2)
    with Consumers(nsqd, topic, [10, 10], 2, msg_timeout=3600000) as c:
        nsqd.pub(topic, *'abcdef')
        c.receive_until(2).quiet()
        nsqd.wait_channel(topic, 'ch', depth=4, in_flight_count=2)
        c.finish_all(6)


def test_a_req_makes_room(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 3, max_in_flight=1)
    with Consumers(nsqd, topic, [10], 1, msg_timeout=3600000) as c:
        seen = []
        for _ in range(7):
            c.receive_until(1)
            client, message = c.held.pop()
            seen.append(message.id)
            client.req(message)
        assert len(set(seen)) == 3
        c.finish_all(3)


def test_a_deferred_message_is_not_in_flight(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 2, max_in_flight=1)
    with Consumers(nsqd, topic, [10], 1, msg_timeout=3600000) as c:
        c.receive_until(1)
        client, message = c.held.pop()
        client.req(message, 3000000)
        c.receive_until(1)
        assert c.held[0][1].id != message.id
        nsqd.wait_channel(topic, 'ch', deferred_count=1, in_flight_count=1)


def test_a_dead_consumers_messages_count_until_their_timeout(new_nsqd):
    nsqd = new_nsqd(*FLAGS, scanned=1)
    topic = channel_of(nsqd, nsqd.scanned_topic(), 20, max_in_flight=4)
    dying = nsqd.subscribe(topic, 'ch', 10)
    lost = {m.id for m in dying.messages(4)}
    dying.expect_quiet()
    dying.reset()
    nsqd.wait_channel(topic, 'ch', client_count=0)
    with Consumers(nsqd, topic, [10, 10], 4, msg_timeout=3600000) as c:
        c.finish_all(20)
        assert {m.id for m in c.done if m.attempts == 2} == lost
        nsqd.wait_channel(topic, 'ch', timeout_count=4, depth=0, in_flight_count=0)


def test_a_consumer_that_leaves_in_the_middle_of_it(nsqd):
    """Also what is on its way to it comes back, or is in flight: nothing leaks from the count."""
    topic = channel_of(nsqd, nsqd.topic(), 100, max_in_flight=2)
    for _ in range(30):
        client = nsqd.subscribe(topic, 'ch', 2500)
        client.close()
    with Consumers(nsqd, topic, [2500, 2500], 2, msg_timeout=3600000) as c:
        c.finish_all(100)
    # The limit is still 2, and not less.
    nsqd.pub(topic, *(b'%d' % i for i in range(4)))
    with Consumers(nsqd, topic, [2500], 2, msg_timeout=3600000) as c:
        c.receive_until(2).quiet().finish_all(4)


def test_it_is_set_lowered_and_lifted_while_messages_are_in_flight(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 300)
    with Consumers(nsqd, topic, [50, 50], 100, msg_timeout=3600000) as c:
        c.receive_until(100)
        configure(nsqd, topic, max_in_flight=5)
        # Nothing is taken back; and no new one comes until it is below.
        nsqd.wait_channel(topic, 'ch', in_flight_count=100)
        while len(c.held) > 5:
            c.finish_one()
            c.limit = len(c.held)
        c.limit = 5
        c.quiet()
        c.finish_one()
        c.receive_until(5).quiet()
        configure(nsqd, topic, max_in_flight=2)
        c.limit = 5
        while len(c.held) > 2:
            c.finish_one()
            c.limit = max(2, len(c.held))
        c.quiet()
        c.limit = 100
        configure(nsqd, topic, max_in_flight=None)
        c.receive_until(100).quiet().finish_all(300)


def test_switched_on_and_off_under_load(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 2000)
    with Consumers(nsqd, topic, [1, 10, 2500], 2511, msg_timeout=3600000) as c:
        for i in range(10):
            configure(nsqd, topic, max_in_flight=(7, None)[i % 2])
            c.finish_all(150 * (i + 1))
        configure(nsqd, topic, max_in_flight=7)
        while len(c.held) > 7:
            c.finish_one()
        # What was sent before is here by now, or counted in flight.
        wait_until(lambda: not c.receive(0) and
                   nsqd.channel_stats(topic, 'ch')['in_flight_count'] == len(c.held),
                   'all are here')
        while len(c.held) > 7:
            c.finish_one()
        c.limit = 7
        c.finish_all(2000)
        assert len({m.id for m in c.done}) == 2000


def test_with_a_sample_rate_what_is_left_out_is_not_in_flight(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 400, max_in_flight=2)
    with Consumers(nsqd, topic, [2500, 1], 2, msg_timeout=3600000, sample_rate=10) as c:
        wait_until(lambda: (c.receive(0), c.held and c.finish_one(),
                            nsqd.channel_stats(topic, 'ch')['depth'] == 0)[2], 'all are gone')
        assert len(c.done) < 200


def test_a_paused_channel_goes_on_where_it_was(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 20, max_in_flight=3)
    with Consumers(nsqd, topic, [10], 3, msg_timeout=3600000) as c:
        c.receive_until(3)
        nsqd.post('/channel/pause?topic=%s&channel=ch' % topic)
        c.finish_one()
        c.quiet()
        nsqd.post('/channel/unpause?topic=%s&channel=ch' % topic)
        c.receive_until(3).quiet().finish_all(20)


def test_emptying_makes_room(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 20, max_in_flight=3)
    with Consumers(nsqd, topic, [10], 3, msg_timeout=3600000) as c:
        c.receive_until(3)
        nsqd.post('/channel/empty?topic=%s&channel=ch' % topic)
        c.held.clear()
        nsqd.pub(topic, *'abcd')
        c.receive_until(3).quiet().finish_all(4)


def test_it_survives_a_restart(new_nsqd):
    nsqd = new_nsqd('--mem-queue-size=10')
    topic = channel_of(nsqd, 't', 30, max_in_flight=3)
    with Consumers(nsqd, topic, [10], 3) as c:
        c.receive_until(3)
    nsqd.restart()
    nsqd.wait_channel(topic, 'ch', depth=30)
    with Consumers(nsqd, topic, [10, 10], 3, msg_timeout=600000) as c:
        c.receive_until(3).quiet().finish_all(30)


def test_an_ephemeral_channel_has_it_too(new_nsqd, tmp_path):
    path = tmp_path / 'nsqd.cfg'
    path.write_text('[[policy]]\nmatch = "*/*"\nmax_in_flight = 2\n')
    nsqd = new_nsqd('--config=%s' % path)
    with Consumers(nsqd, 't', [10], 2, channel='ch#ephemeral') as c:
        nsqd.pub('t', *'abcdef')
        c.receive_until(2).quiet().finish_all(6)
        # A reload as well.
        path.write_text('[[policy]]\nmatch = "*/*"\nmax_in_flight = 4\n')
        reload(nsqd)
        c.limit = 4
        nsqd.pub('t', *'ghijkl')
        c.receive_until(4).quiet().finish_all(12)


# -- rate

def expect_rate(nsqd, topic, rate, clients, count):
    """count messages come; never more than a burst and what the time that has passed allows."""
    burst = max(1, rate // BURST_PER_SEC)
    received = 0
    start = time.monotonic()
    for client, rdy in clients:
        client.rdy(rdy)
    while received < count:
        with_input = [c for c, _ in clients if c.buffer] or [
            c for c, _ in clients
            if c.socket in select.select([c.socket for c, _ in clients], [], [], DEADLINE)[0]]
        assert with_input, received
        for client in with_input:
            client.fin(client.message())
            received += 1
            # By this test's clock around the whole: it began before the daemon's.
            assert received <= burst + rate * (time.monotonic() - start) + 1e-6
    return time.monotonic() - start


@pytest.mark.parametrize('rdys', [[1], [2500], [1, 5, 2500]])
@pytest.mark.parametrize('rate, count', [(1, 3), (7, 15), (100, 200), (5000, 2000)])
def test_no_more_than_the_rate(nsqd, rdys, rate, count):
    topic = channel_of(nsqd, nsqd.topic(), count, rate=rate)
    clients = [(nsqd.subscribe(topic, 'ch', msg_timeout=3600000), rdy) for rdy in rdys]
    try:
        took = expect_rate(nsqd, topic, rate, clients, count)
        # And it is not much less, where a machine that has other things to do can be so fast.
        if rate <= 100:
            assert took <= count / rate + DEADLINE
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)
    finally:
        for client, _ in clients:
            client.close()


def test_the_rate_is_changed_under_load(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 500, rate=1)
    with nsqd.subscribe(topic, 'ch', 2500, msg_timeout=3600000) as client:
        first = client.message()
        # It waits for the next by now, which would come in a second: but it hears at once.
        configure(nsqd, topic, rate=1000000)
        for message in [first] + client.messages(499):
            client.fin(message)
        nsqd.wait_channel(topic, 'ch', depth=0, in_flight_count=0)
        configure(nsqd, topic, rate=2)
        start = time.monotonic()
        nsqd.pub(topic, *(b'%d' % i for i in range(10)))
        client.messages(4)
        assert time.monotonic() - start >= 3 / 2
        configure(nsqd, topic, rate=None)
        client.messages(6)


def test_a_rate_that_is_lowered_holds_for_what_the_pump_has_taken(nsqd):
    """At most what was on its way comes later than the answer to the change."""
    topic = channel_of(nsqd, nsqd.topic(), 3000, rate=100000)
    with nsqd.subscribe(topic, 'ch', 1, msg_timeout=3600000) as client:
        for _ in range(20):
            client.fin(client.message())
        configure(nsqd, topic, rate=2)
        client.rdy(2500)
        start = time.monotonic()
        client.messages(6)
        # One was on its way, one in the bucket.
        assert time.monotonic() - start >= 3 / 2


def test_rate_and_max_in_flight_together(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 60, rate=100, max_in_flight=2)
    start = time.monotonic()
    with Consumers(nsqd, topic, [10, 10], 2, msg_timeout=3600000) as c:
        c.finish_all(60)
        assert time.monotonic() - start >= (60 - 10) / 100


def test_a_paused_channel_saves_no_more_than_a_burst(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 20, rate=5)
    nsqd.post('/channel/pause?topic=%s&channel=ch' % topic)
    with nsqd.subscribe(topic, 'ch', 100, msg_timeout=3600000) as client:
        client.expect_quiet(1)
        start = time.monotonic()
        nsqd.post('/channel/unpause?topic=%s&channel=ch' % topic)
        client.messages(6)
        assert time.monotonic() - start >= 5 / 5


def test_what_waits_for_a_token_is_depth_and_outlives_a_restart(new_nsqd):
    nsqd = new_nsqd()
    topic = channel_of(nsqd, 't', 10, rate=1)
    with nsqd.subscribe(topic, 'ch', 100) as client:
        client.message()
        stats = nsqd.channel_stats(topic, 'ch')
        assert stats['depth'] + stats['in_flight_count'] == 10
        nsqd.restart()
    nsqd.wait_channel(topic, 'ch', depth=10)
    configure(nsqd, topic, rate=None)
    with nsqd.subscribe(topic, 'ch', 100) as client:
        assert len({m.body for m in client.messages(10)}) == 10


def test_the_daemon_exits_at_once_though_messages_wait_for_tokens(new_nsqd):
    nsqd = new_nsqd()
    topic = channel_of(nsqd, 't', 10, rate=1, max_in_flight=1)
    with nsqd.subscribe(topic, 'ch', 100) as client:
        client.message()
        nsqd.stop()


def test_a_channel_is_deleted_while_its_pump_is_held_up(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), 10, rate=1, max_in_flight=1)
    with nsqd.subscribe(topic, 'ch', 100) as client:
        client.message()
        assert nsqd.post('/channel/delete?topic=%s&channel=ch' % topic).status == 200
        client.expect_closed()


# -- another channel

def test_only_that_channel_is_held_up(nsqd):
    topic = channel_of(nsqd, nsqd.topic(), max_in_flight=1)
    nsqd.create(topic, 'free')
    nsqd.pub(topic, *(b'%d' % i for i in range(50)))
    with nsqd.subscribe(topic, 'ch', 100), nsqd.subscribe(topic, 'free', 100) as free:
        assert len(free.messages(50)) == 50
