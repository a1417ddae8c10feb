"""All settings change, again and again, while messages go every way that there is.

At the end of it each message that was taken is there once: finished by a consumer, or a dead letter,
or waiting. SETTINGS_ROUNDS: so often the settings change.
"""

import base64
import json
import os
import random
import re
import threading

import pytest

from nsq import ERROR, MESSAGE, Nsqd, RESPONSE, mpub_body, running, wait_until
from queues import put

pytestmark = pytest.mark.ours(reason='it has no settings per topic and channel')

ROUNDS = int(os.environ.get('SETTINGS_ROUNDS', '150'))
CHANNELS = 'a', 'b'

# Nothing of this drops a message that is no dead letter.
CHANNEL_SETTINGS = {
    'message_ttl': (None, '50ms', '1s', '1h'),
    'max_attempts': (None, 1, 2, 5),
    'max_depth': (None, 10, 1000),
    'max_bytes': (None, 2000, 100000),
    'overflow': (None, 'drop-head', 'reject'),
    'rate': (None, 1000, 100000),
    'max_in_flight': (None, 1, 7, 300),
    'backoff': (None, ['1ms'], ['5ms', '50ms']),
    'requeue_on_disconnect': (None, True),
    'count_disconnect_as_attempt': (None, False),
    'msg_timeout': (None, '200ms'),
    'dead_letter_envelope': (None, True),
}
TOPIC_SETTINGS = {'max_depth': (None, 300, 3000), 'max_bytes': (None, 50000)}
DEAD_SETTINGS = {'max_depth': (None, 1, 100000), 'max_bytes': (None, 1000, 10000000),
                 'message_ttl': (None, '1h'), 'rate': (None, 100000)}
STEADY = {'dead_letter_topic': '{topic}.{channel}.dead'}


def some_of(rng, table):
    return {k: rng.choice(v) for k, v in table.items() if rng.random() < 0.5}


class Load:
    def __init__(self, daemon):
        self.daemon = daemon
        self.stop_publishing, self.stop = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.published = set()
        self.finished = {c: {} for c in CHANNELS}   # body: how often
        self.unsure = {c: set() for c in CHANNELS}  # a FIN was too late
        self.failures = []
        self.refused = 0

    def guarded(self, f, *args):
        try:
            f(*args)
        except BaseException as error:      # told by the test's own thread
            self.failures.append((f.__name__, repr(error)))

    def publish(self, number):
        rng, n = random.Random(number), 0
        with self.daemon.connect() as client:
            while not self.stop_publishing.is_set():
                bodies = [b'%d-%d' % (number, n + i) for i in range(rng.choice((1, 1, 5, 40)))]
                n += len(bodies)
                if len(bodies) == 1 and rng.random() < 0.3:
                    client.command('DPUB', 't', rng.choice((1, 30)), body=bodies[0])
                elif len(bodies) == 1:
                    client.command('PUB', 't', body=bodies[0])
                else:
                    client.command('MPUB', 't', body=mpub_body(bodies))
                kind, data = client.answer()
                if kind == RESPONSE:
                    with self.lock:
                        self.published.update(bodies)
                else:
                    assert re.match(rb'E_D?M?PUB_FAILED .* is full: max_', data), data
                    client.expect_closed()
                    client.reconnect()
                    self.refused += 1
                    self.stop_publishing.wait(0.01)

    def consume(self, channel, number):
        rng = random.Random(number)
        while not self.stop.is_set():
            rdy = rng.choice((1, 10, 200))
            with self.daemon.subscribe('t', channel, rdy, output_buffer_timeout=25) as client:
                self.consume_some(client, channel, rng)

    def consume_some(self, client, channel, rng):
        held, ids = [], {}
        left = rng.choice((20, 300, 2000))
        while True:
            left -= 1
            if left == 0 or (left > 0 and self.stop.is_set()):
                # Behind the answers to all that was sent before.
                client.command('CLS')
                left = -1
            try:
                kind, data = client.answer(0.1)
            except TimeoutError:
                continue
            if (kind, data) == (RESPONSE, b'CLOSE_WAIT'):
                return
            if kind == ERROR:
                found = re.match(rb'E_(FIN|REQ)_FAILED (?:FIN|REQ) (\S+) failed', data)
                assert found, data
                with self.lock:
                    self.unsure[channel].add(ids.get(found.group(2)))
                continue
            assert kind == MESSAGE, data
            message_id, body = data[10:26], data[26:]
            ids[message_id] = body
            what = rng.random() if left > 0 else 0
            if what < 0.1:
                held.append(message_id)     # until its timeout, or the end of the connection
            elif what < 0.3:
                client.command('REQ', message_id, rng.choice((0, 0, 20)))
            else:
                self.finish(channel, body)
                client.command('FIN', message_id)
            if held and rng.random() < 0.2:
                client.command('REQ', held.pop(), 0)

    def finish(self, channel, body):
        with self.lock:
            times = self.finished[channel]
            times[body] = times.get(body, 0) + 1

    def look(self, number):
        rng = random.Random(number)
        while not self.stop.is_set():
            channel = rng.choice(CHANNELS)
            topic, name = rng.choice((('t', channel), ('t.%s.dead' % channel, 'look')))
            path = '/channel/peek?topic=%s&channel=%s&n=%d&state=%s' % (
                topic, name, rng.choice((1, 100, 1000)),
                rng.choice(('ready', 'in_flight', 'deferred')))
            answer = self.daemon.get(path)
            assert answer.status == 200, answer
            ids = [m['id'] for m in json.loads(answer.body)['messages']]
            assert len(set(ids)) == len(ids)
            if rng.random() < 0.3:
                answer = self.daemon.post('/channel/redrive?topic=t.%s.dead&channel=look&n=%d' % (
                    channel, rng.choice((1, 50))))
                assert answer.status == 200, answer
            if rng.random() < 0.1:
                for what in ('pause', 'unpause'):
                    kind, where = rng.choice((('topic', 'topic=t'),
                                              ('channel', 'topic=t&channel=' + channel)))
                    assert self.daemon.post('/%s/%s?%s' % (kind, what, where)).status == 200


def collect(daemon, channel, missing):
    """All that waits in the channel, and all its dead letters, finished: two tables that count their
    bodies. missing(waiting, dead): what must still come. A pump may have it in its hand, where no
    count has it; so counts alone do not say that all has come.
    """
    found = {}, {}
    # Whatever is late, nothing times out that has been delivered here.
    consumer = dict(rdy=500, output_buffer_timeout=25, msg_timeout=600000)
    dead = 't.%s.dead' % channel

    def take(client, bodies):
        """So many have come."""
        n = 0
        try:
            while True:
                message = client.message(0.05)
                bodies[message.body] = bodies.get(message.body, 0) + 1
                client.fin(message)
                n += 1
        except TimeoutError:
            return n

    def left():
        stats = [daemon.channel_stats('t', channel), daemon.channel_stats(dead, 'look')]
        return sum(daemon.topic_stats(topic)['depth'] for topic in ('t', dead)) + sum(
            s[key] for s in stats for key in ('depth', 'in_flight_count', 'deferred_count'))

    with daemon.subscribe('t', channel, **consumer) as first, \
            daemon.subscribe(dead, 'look', **consumer) as second:
        def more_or_all():
            n = take(first, found[0]) + take(second, found[1])
            return n or (not missing(*found) and left() == 0 and 'all')
        # There may be many. As long as some come, the deadline is not the one of all.
        while wait_until(more_or_all, lambda: '%s: %d are left, and %d are lost: %s' % (
                channel, left(), len(missing(*found)), sorted(missing(*found))[:5])) != 'all':
            pass
    return found


def calm(daemon):
    for channel in CHANNELS:
        put(daemon, 't.%s.dead' % channel, None, **{k: None for k in DEAD_SETTINGS})
        put(daemon, 't', channel, **{k: None for k in CHANNEL_SETTINGS})
        daemon.post('/channel/unpause?topic=t&channel=' + channel)
    put(daemon, 't', None, **{k: None for k in TOPIC_SETTINGS})
    daemon.post('/topic/unpause?topic=t')


def unwrapped(bodies):
    """Of dead letters that are in an envelope."""
    found = {}
    for body, n in bodies.items():
        if body.startswith(b'{'):
            body = base64.b64decode(json.loads(body)['body'])
        found[body] = found.get(body, 0) + n
    return found


@pytest.mark.parametrize('flags', [(), ('--mem-queue-size=0',), ('--mem-queue-size=30',)],
                         ids=['memory', 'disk', 'both'])
def test_nothing_is_lost_or_doubled_while_settings_change(tmp_path, flags):
    daemon = Nsqd(str(tmp_path), ('--msg-timeout=1s', '--max-bytes-per-file=100000') + flags)
    with running(daemon):
        daemon.create('t', *CHANNELS)
        for channel in CHANNELS:
            daemon.create('t.%s.dead' % channel, 'look')
            put(daemon, 't', channel, **STEADY)
        load = Load(daemon)
        threads = [threading.Thread(target=load.guarded, args=a) for a in (
            (load.publish, 1), (load.publish, 2), (load.consume, 'a', 3), (load.consume, 'a', 4),
            (load.consume, 'b', 5), (load.look, 6))]
        for t in threads:
            t.start()
        rng = random.Random(7)
        for i in range(ROUNDS):
            if load.failures:
                break
            channel = rng.choice(CHANNELS)
            put(daemon, 't', channel, **some_of(rng, CHANNEL_SETTINGS))
            if i % 5 == 0:
                put(daemon, 't', None, **some_of(rng, TOPIC_SETTINGS))
            if i % 7 == 0:
                put(daemon, 't.%s.dead' % channel, None, **some_of(rng, DEAD_SETTINGS))
            if i % 50 == 49:
                calm(daemon)
        load.stop_publishing.set()
        calm(daemon)
        load.stop.set()
        for t in threads:
            t.join()
        assert not load.failures, load.failures
        calm(daemon)
        check_books(daemon, load)


def check_books(daemon, load):
    for channel in CHANNELS:
        def times(waiting, dead, channel=channel):
            """So often each was finished or waited."""
            counts = dict(load.finished[channel])
            for found in waiting, unwrapped(dead):
                for body, n in found.items():
                    counts[body] = counts.get(body, 0) + n
            return counts

        waiting, dead = collect(daemon, channel, lambda *found: load.published - times(*found).keys())
        counts = times(waiting, dead)
        assert counts.keys() == load.published
        twice = {b for b, n in counts.items() if n > 1} - load.unsure[channel]
        assert not twice, '%s: %d of %d twice: %s' % (
            channel, len(twice), len(counts), sorted(twice)[:5])
        assert len(dead) > 0 or ROUNDS < 50
    assert len(load.published) > 0
