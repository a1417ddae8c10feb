"""Scenarios of the interop tests about settings, which stock's daemon does not have.

What the libraries make of each refusal, and of a daemon that holds messages back or
gives them up. README.md has the table of what they tell their user.
"""
import time

from trial import Failure, same

DEFER = 50                          # ms, of each DPUB
OPS = ['pub', 'mpub', 'dpub']
GIVES_UP = {'go': 5, 'python': 5, 'js': 0}  # attempts, by each library's default; 0: never
# What a publish may hear that meets a connection which is about to end.
NOT_CONNECTED = {'go': ['not connected'],
                 'python': ['ConnectionClosedError', 'SendError'],
                 'js': ['onnection closed', 'No active Writer connection']}

# Where answers come together with the end of the connection, they may be lost to the user. (tornado
# tells of the end as soon as it has read it, and pynsq has not looked at the answers yet.)
ENDS_EARLY = {'python'}


def refused(t, op, size, reason):
    """The library tells its user that the daemon has refused it, and why. Where the last refusal
    has ended its connection, and it has not connected anew yet, it tells that before."""
    text = f'E_{op.upper()}_FAILED {op.upper()} failed '

    def look():
        failed = t.try_publish(op, t.bodies(2 if op == 'mpub' else 1, size), DEFER)
        if len(failed) != 1:
            raise Failure(f'{op}: {failed}, not one refusal {text}... {reason}')
        error = failed[0][1]
        if text in error and reason in error:
            return True
        if not any(known in error for known in NOT_CONNECTED[t.publisher_library]):
            raise Failure(f'{op}: {error}, not {text}... {reason}')
        return False
    t.until(f'{op} refused', look)


def refused_each_way(t, reason, size=32):
    """PUB, MPUB and DPUB. Each refusal ends the connection, and the library, or its user, connects
    anew: the next one is refused as well."""
    before = connections(t), closed(t)
    for op in OPS:
        refused(t, op, size, reason)
    t.until('connection ended', lambda: not set(before[0]) & set(connections(t)))
    if t.publisher_library == 'js':
        t.until('all of them closed', lambda: closed(t) - before[1] >= len(OPS))


def connections(t):
    """The addresses from which messages of the topic were published."""
    return [c['remote_address'] for c in t.daemon.all_stats(t.topic)['producers'] or []
            if any(count['topic'] == t.topic for count in c.get('pub_counts', []))]


def closed(t):
    """How often the publisher has closed its connection, as far as it says so."""
    return sum(e['event'] == 'closed' for e in list(t.publisher.events.items)) \
        if t.publisher else 0


def taken_in_the_end(t, size=32):
    """As a user would who tries again."""
    for op in OPS:
        t.until(f'{op} taken', lambda op=op: not t.try_publish(
            op, t.bodies(2 if op == 'mpub' else 1, size), DEFER))


def nothing_waits(t, count):
    """The channel has had so many messages, and has none any more."""
    def look():
        c = t.channel('ch')
        return c['message_count'] == count and not (
            c['depth'] or c['in_flight_count'] or c['deferred_count'])
    t.until('nothing waits', look)


def bodies(consumer):
    return sorted(e['sha256'] for e in consumer.select('message'))


# --- publishers --------------------------------------------------------------


def full(t):
    """A topic that is full refuses PUB, MPUB and DPUB; when there is room it takes them."""
    t.create('ch')
    t.configure(max_depth=10)
    t.publish('mpub', t.bodies(10))
    t.until('full', lambda: t.channel('ch')['depth'] == 10)
    refused_each_way(t, 'is full: max_depth 10')
    consumer = t.consume(max_in_flight=5)
    nothing_waits(t, 10)
    taken_in_the_end(t)
    t.verify(consumer)


def outstanding(t):
    """Many PUBs at once, and room for the first of them, again and again: what the library calls
    published the daemon has taken, and nothing that the library calls refused."""
    t.create()
    room, doubtful = 0, []

    def publish(count):
        bodies = t.bodies(count)
        failed = t.try_publish('pub', bodies)
        doubtful.extend(bodies[i] for i, error in failed if 'E_PUB_FAILED' not in error)
        return t.daemon.stats(t.topic)['message_count'] == room and len(failed)
    # An order may meet a connection that the last refusal is about to end.
    for more, count in [(10, 20), (500, 1500)] + [(10, 30)] * 10:
        room += more
        t.configure(max_depth=room)
        t.until(f'{room} taken', lambda n=count: publish(n))
    refused(t, 'pub', 32, f'topic is full: max_depth {room}')
    t.configure(max_depth=None)
    consumer = t.consume(max_in_flight=100)
    consumer.wait_for('finish', room)
    nothing_waits(t, room)
    taken = bodies(consumer)
    same('bodies', len(set(taken)), room)
    lost = set(t.digests(t.sent)) - set(taken)
    same('called published, and not taken', lost, set())
    more = set(taken) - set(t.digests(t.sent))
    if t.publisher_library in ENDS_EARLY:
        more -= set(t.digests(doubtful))
    same('not called published, and taken', more, set())
    consumer.close()


def no_channel(t):
    """A topic without a channel refuses, if it is told so, until it has one."""
    t.publish('pub', t.bodies(1))
    t.configure(no_channel='reject')
    refused_each_way(t, 'no channel')
    t.create('ch')
    taken_in_the_end(t)
    t.verify(t.consume(max_in_flight=5))


def host_limit(t):
    """A host that is full refuses; when consumers have made room it takes messages again."""
    t.own_daemon('--max-memory-bytes=100000')
    t.create('ch')
    t.publish('mpub', t.bodies(90, 1000))
    refused_each_way(t, 'memory is full: --max-memory-bytes', size=20000)
    consumer = t.consume(max_in_flight=5)
    nothing_waits(t, 90)
    taken_in_the_end(t, size=20000)
    t.verify(consumer)


def drain(t):
    """A daemon that drains refuses, and closes the connection; called off, it takes messages
    from the library again, which has connected anew."""
    t.own_daemon()
    t.create('ch')
    t.publish('mpub', t.bodies(10))
    old = connections(t)
    t.daemon.request('PUT', '/config/drain', 'true')
    refused(t, 'pub', 32, 'draining')
    t.until('connection closed', lambda: not set(old) & set(connections(t)))
    if not t.try_publish('pub', t.bodies(1)):
        raise Failure('published to a daemon that drains')
    t.daemon.request('PUT', '/config/drain', 'false')
    taken_in_the_end(t)
    t.verify(t.consume(max_in_flight=5))


# --- consumers ---------------------------------------------------------------


def rate(t):
    """Consumers get no more messages a second than that, and all in the end."""
    t.create('ch')
    t.configure('ch', rate=20)
    consumer = t.consume(consumers=2, max_in_flight=10)
    began = time.time()
    t.publish('mpub', t.bodies(40))
    t.verify(consumer)
    # Two at once, which is a tenth of a second's worth, and then 20 a second. A library that is
    # late makes it later.
    for i, at in enumerate(sorted(e['at'] for e in consumer.select('message'))):
        if at < began + (i + 1 - 2) / 20 - 0.01:
            raise Failure(f'message {i + 1} after {at - began:.3f} s')


def in_flight(t):
    """Consumers have no more messages than that together, and get all in the end."""
    t.create('ch')
    t.configure('ch', max_in_flight=3)
    consumer = t.consume(consumers=2, max_in_flight=5, mode='hold', attempts=2)
    t.publish('mpub', t.bodies(10))

    def look(in_flight, depth):
        c = t.channel('ch')
        return (c['in_flight_count'], c['depth']) == (in_flight, depth)
    for count in 3, 6, 9, 10:
        consumer.wait_for('message', count)
        t.until(f'{count} delivered', lambda n=count: look(3 if n < 10 else 1, 10 - n))
        same('messages', len(consumer.select('message')), count)
        consumer.release()
    nothing_waits(t, 10)
    same('messages', len({e['id'] for e in consumer.select('message')}), 10)
    same('bodies', len(set(bodies(consumer))), 10)
    consumer.close()


def dead_letters(t):
    """The daemon gives a message up after as many deliveries as the library would, and has it in
    the dead-letter topic: no library has finished it before."""
    t.create('ch')
    t.configure('ch', max_attempts=5, dead_letter_topic='{topic}.dead')
    consumer = t.consume(max_in_flight=5, mode='requeue', attempts=100,
                         max_attempts=GIVES_UP[t.consumer_library])
    undertaker = t.start_consumer(f'{t.topic}.dead')
    t.publish('mpub', t.bodies(10))
    t.publish('pub', t.bodies(5))
    undertaker.wait_for('finish', 15)
    consumer.wait_for('message', 15 * 5)
    nothing_waits(t, 15)
    same('attempts', sorted(e['attempts'] for e in consumer.select('message')),
         sorted(list(range(1, 6)) * 15))
    same('finish_count', [c['finish_count'] for c in t.channel('ch')['clients']], [0])
    same('bodies of dead letters', bodies(undertaker), sorted(set(bodies(consumer))))
    same('attempts of dead letters', {e['attempts'] for e in undertaker.select('message')}, {1})
    same('errors', consumer.select('error') + undertaker.select('error'), [])
    consumer.close()
    undertaker.close()


def ttl(t):
    """What is too old is not delivered, but a dead letter; what is not too old is delivered."""
    t.create('ch')
    t.configure('ch', message_ttl='100ms', dead_letter_topic='{topic}.dead')
    t.publish('mpub', t.bodies(5))
    nothing_waits(t, 5)
    t.configure('ch', message_ttl='1h')
    t.publish('mpub', t.bodies(5))
    consumer = t.consume(max_in_flight=5)
    undertaker = t.start_consumer(f'{t.topic}.dead')
    consumer.wait_for('finish', 5)
    undertaker.wait_for('finish', 5)
    nothing_waits(t, 10)
    same('bodies', bodies(consumer), t.digests(t.sent[5:]))
    same('bodies of dead letters', bodies(undertaker), t.digests(t.sent[:5]))
    consumer.close()
    undertaker.close()


def disconnect(t):
    """A connection is cut while its messages are held: another consumer gets them at once."""
    t.create('ch')
    t.configure('ch', requeue_on_disconnect=True)
    proxy = t.proxy()
    holder = t.consume(address=proxy.address, max_in_flight=5, mode='hold', attempts=2)
    t.publish('mpub', t.bodies(5))
    holder.wait_for('message', 5)
    heir = t.consume(max_in_flight=5)
    proxy.cut()
    holder.release()  # these answers go nowhere
    heir.wait_for('finish', 5)
    t.verify(holder, heir, cut=True, returned=5)
    # Their timeout is a minute, and none has had it.
    same('timeout_count', t.channel('ch')['timeout_count'], 0)
    same('attempts', sorted(e['attempts'] for e in heir.select('message')), [2] * 5)


def channel_timeout(t):
    """A library that asks for no timeout has the channel's."""
    t.create('ch')
    t.configure('ch', msg_timeout='2s')
    consumer = t.consume(max_in_flight=5, mode='hold', attempts=2)
    began = time.time()
    t.publish('mpub', t.bodies(5))
    consumer.wait_for('finish', 5)
    t.until('second FIN', lambda: t.channel('ch')['clients'][0]['finish_count'] == 5)
    consumer.release()
    consumer.wait_for('error', 5)
    t.verify(consumer, timeouts=5, errors=5)
    after = min(e['at'] for e in consumer.select('message') if e['attempts'] == 2) - began
    if not 2 - 0.002 < after < 60:  # a minute is the daemon's
        raise Failure(f'timed out after {after:.3f} s')


# Those first that wait.
SCENARIOS = [channel_timeout, rate, drain, disconnect, host_limit, full, outstanding, no_channel,
             in_flight, dead_letters, ttl]
