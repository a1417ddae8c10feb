"""Topics and channels as the tests of settings set them, and count what waits in them."""

import contextlib
import json
import re
import time

import pytest

from metrics import Metrics
from nsq import ERROR, RESPONSE, Nsqd, quote, running, wait_until

# Both ways that a message waits.
STATES = {'memory': (), 'disk': ('--mem-queue-size=0',)}
# A consumer of a dead-letter topic waits for its output no longer.
QUICK = {'output_buffer_timeout': 25}


@pytest.fixture(params=sorted(STATES))
def daemon(request, tmp_path):
    """A daemon whose messages wait in memory, and one whose messages wait on disk."""
    d = Nsqd(str(tmp_path), STATES[request.param])
    with running(d):
        yield d


def config_path(topic, channel=None):
    if channel is None:
        return '/topic/config?topic=' + quote(topic)
    return '/channel/config?topic=%s&channel=%s' % (quote(topic), quote(channel))


def put(daemon, topic, channel=None, status=200, **settings):
    answer = daemon.http('PUT', config_path(topic, channel), json.dumps(settings).encode())
    assert answer.status == status, answer
    return answer


def redrive(daemon, topic, channel, n=None, status=200):
    answer = daemon.post('/channel/redrive?topic=%s&channel=%s%s' % (
        quote(topic), quote(channel), '' if n is None else '&n=%s' % n))
    assert answer.status == status, answer
    return json.loads(answer.body)


def metric(daemon, name, **labels):
    """The sample of that name whose labels are at least these; 0: there is none."""
    for line in daemon.get('/metrics').body.decode().splitlines():
        if not re.match(re.escape(name) + r'[{ ]', line):
            continue
        if all('%s="%s"' % item in line for item in labels.items()):
            return float(line.rpartition(' ')[2])
    return 0


def counter(daemon, name, topic, channel):
    """The sample of that channel, which must be there."""
    page = Metrics(daemon.get('/metrics').body)
    samples = page.families[name].samples
    for (_, labels), value in samples.items():
        if dict(labels) == {'topic': topic, 'channel': channel}:
            return float(value)
    raise AssertionError('no sample')


def wait_counter(daemon, name, topic, channel, value):
    wait_until(lambda: counter(daemon, name, topic, channel) == value, lambda: '%s is %s, not %s' % (
        name, counter(daemon, name, topic, channel), value))


def try_pub(client, topic, body):
    """None: it was taken; else the error, which ends the connection: there is a new one."""
    client.command('PUB', topic, body=body)
    kind, data = client.answer()
    assert kind in (RESPONSE, ERROR), (kind, data)
    if kind == RESPONSE:
        return None
    client.expect_closed()
    client.reconnect()
    return data.decode()


def leave(daemon, topic, channel, clients):
    """Closes clients of that channel. Then they are not sent what comes next."""
    gone = {'%s:%d' % client.socket.getsockname() for client in clients}
    for client in clients:
        client.close()

    def left():
        stats = daemon.channel_stats(topic, channel)
        return not stats or gone.isdisjoint(c['remote_address'] for c in stats['clients'] or [])
    wait_until(left, lambda: '%s have left %s' % (gone, channel))


@contextlib.contextmanager
def consuming(daemon, topic, channel, rdy=None, **identify):
    """A consumer. When it has gone nobody is left who might be sent what comes next."""
    with daemon.subscribe(topic, channel, rdy, **identify) as client:
        yield client
        leave(daemon, topic, channel, [client])


def wait_deferred(daemon, topic, channel, due):
    """The channel's only message is deferred, unless it is due (wall clock, s) by now."""
    keys = 'deferred_count', 'depth', 'in_flight_count'

    def there():
        stats = daemon.channel_stats(topic, channel) or {}
        found = [stats.get(key, 0) for key in keys]
        return found if sum(found) == 1 else None
    found = wait_until(there, lambda: '%s has one message' % channel)
    # Two clocks are looked at, one after the other.
    assert found[0] == 1 or time.time() >= due - 0.002


def wait_older(message, ns):
    """Since it was published so many ns have passed."""
    wait_until(lambda: time.time_ns() - message.timestamp > ns, 'it is older than %d ns' % ns)


def total(daemon, topic):
    """Messages of a topic that wait, wherever."""
    stats = daemon.topic_stats(topic)
    if stats is None:
        return 0
    return stats['depth'] + sum(c['depth'] for c in stats['channels'] or [])


def log_of(daemon, topic):
    """What /stats says of the topic's log."""
    answer = daemon.get('/stats?format=json&include_log=true&topic=' + quote(topic))
    log, = json.loads(answer.body)['logs']
    return log


def wait_handed_out(daemon, topic):
    """The channels have got all that the topic's log has. (What its pump has in its hand is in no
    depth.)"""
    def left():
        return log_of(daemon, topic)['cursors'][0]['unfinished']
    wait_until(lambda: left() == 0, lambda: '%s hands out %d messages' % (topic, left()))


def wait_total(daemon, topic, n):
    wait_until(lambda: total(daemon, topic) == n,
               lambda: '%s has %d messages, it has %d' % (topic, n, total(daemon, topic)))
