"""Looking into queues: peek; one message by its id: finish, requeue; the age of the oldest.

Nothing of it is in stock 1.3.0.
"""

import glob
import json
import os
import re
import threading
import time

import pytest

from inspecting import DONE, NOT_FOUND, ON_DISK, Load, bodies, by_id, peek
from nsq import ERROR, wait_until
from queues import consuming, put

pytestmark = pytest.mark.ours(reason='1.3.0 cannot look into its queues')

# In memory only, in both, and on disk only.
PLACES = {'memory': [], 'both': ['--mem-queue-size=3'], 'disk': ['--mem-queue-size=0']}


def drained(daemon, topic, channel='ch'):
    """What is left, in the order of delivery."""
    with consuming(daemon, topic, channel) as client:
        count = daemon.channel_stats(topic, channel)['depth']
        client.rdy(count or 1)
        found = client.messages(count)
        for m in found:
            client.fin(m)
        daemon.wait_channel(topic, channel, depth=0, in_flight_count=0)
        return found


@pytest.fixture(params=sorted(PLACES))
def place(request, new_nsqd):
    return request.param, new_nsqd(*PLACES[request.param])


# -- peek

def test_ready_messages_are_seen_and_stay(place):
    where, daemon = place
    daemon.create('t', 'ch')
    sent = [b'message %d' % i for i in range(8)]
    before = time.time_ns()
    for body in sent:
        daemon.pub('t', body)
    daemon.wait_channel('t', 'ch', depth=8)
    for _ in range(3):
        seen = peek(daemon, 't')
        assert sorted(bodies(seen)) == sent
        for m in seen:
            assert re.fullmatch('[0-9a-f]{16}', m['id'])
            assert before <= m['timestamp'] <= time.time_ns()
            assert 0 < m['age'] <= time.time_ns() - before
            assert m['attempts'] == 0
            assert m['body_size'] == len(m['data'])
            assert 'client' not in m and 'due' not in m
    froms = [m['from'] for m in seen]
    assert froms == {'memory': ['memory'] * 8, 'both': ['memory'] * 3 + ['disk'] * 5,
                     'disk': ['disk'] * 8}[where]
    # One place alone, and the first of it.
    for one in ('memory', 'disk'):
        alone = peek(daemon, 't', **{'from': one})
        assert [m['id'] for m in alone] == [m['id'] for m in seen if m['from'] == one]
    assert [m['id'] for m in peek(daemon, 't', n=2)] == [m['id'] for m in seen[:2]]
    assert peek(daemon, 't', n=0) == []
    stats = daemon.channel_stats('t', 'ch')
    assert (stats['depth'], stats['in_flight_count'], stats['message_count']) == (8, 0, 8)
    assert sorted(m.body for m in drained(daemon, 't')) == sent
    assert peek(daemon, 't') == []


def test_a_topic_without_channels(place):
    where, daemon = place
    daemon.create('t')
    sent = [b'message %d' % i for i in range(8)]
    for body in sent:
        daemon.pub('t', body)
    seen = peek(daemon, 't', None)
    # Without a queue in memory each message goes to the disk.
    assert sorted(bodies(seen)) == sent
    assert {m['from'] for m in seen} <= {'memory', 'disk'}
    assert daemon.topic_stats('t')['depth'] == 8
    daemon.create('t', 'ch')
    daemon.wait_channel('t', 'ch', depth=8)
    assert sorted(m.body for m in drained(daemon, 't')) == sent
    assert peek(daemon, 't', None) == []


def test_in_flight_says_who_has_it_and_until_when(new_nsqd):
    daemon = new_nsqd()
    daemon.pub('t', b'one', b'two')
    with daemon.subscribe('t', 'ch', rdy=1, client_id='me', hostname='here') as a, \
            daemon.subscribe('t', 'ch', rdy=1, msg_timeout=50000) as b:
        messages = {a.message().id.decode(): a, b.message().id.decode(): b}
        seen = peek(daemon, 't', state='in_flight')
        assert {m['id'] for m in seen} == set(messages)
        # By their deadlines: 50 s comes before the 60 s of the other.
        assert [messages[m['id']] for m in seen] == [b, a]
        known = {c['client_id']: c for c in daemon.channel_stats('t', 'ch')['clients']}
        for m, seconds in zip(seen, (50, 60)):
            assert m['attempts'] == 1
            assert 0 < m['due_in'] <= seconds * 1e9
            assert abs(m['due'] - time.time_ns() - m['due_in']) < 60e9
            shown = known[m['client']['client_id']]
            assert {k: shown[k] for k in ('client_id', 'hostname', 'remote_address')} == {
                k: v for k, v in m['client'].items() if k != 'id'}
        assert seen[1]['client']['hostname'] == 'here'
        assert peek(daemon, 't') == []
    # A consumer that has gone is known by its number only, until the timeout.
    daemon.wait_channel('t', 'ch', client_count=0)
    assert all(set(m['client']) == {'id'} for m in peek(daemon, 't', state='in_flight'))


def test_deferred_says_when_it_is_due(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for seconds in (300, 100, 200):
            client.dpub('t', seconds * 1000, b'%d' % seconds)
    daemon.wait_channel('t', 'ch', deferred_count=3)
    seen = peek(daemon, 't', state='deferred')
    assert bodies(seen) == [b'100', b'200', b'300']
    for m, seconds in zip(seen, (100, 200, 300)):
        assert (seconds - 60) * 1e9 < m['due_in'] <= seconds * 1e9
        assert 'client' not in m
    assert bodies(peek(daemon, 't', state='deferred', n=1)) == [b'100']
    assert peek(daemon, 't') == peek(daemon, 't', state='in_flight') == []
    assert daemon.channel_stats('t', 'ch')['deferred_count'] == 3


def test_a_paused_channel_and_an_ephemeral_one(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=10')
    daemon.create('t', 'ch', 'e%23ephemeral')
    with daemon.subscribe('t', 'ch', rdy=5):
        daemon.post('/channel/pause?topic=t&channel=ch')
        daemon.pub('t', b'x')
        daemon.wait_channel('t', 'ch', depth=1)
        assert bodies(peek(daemon, 't')) == [b'x']
        seen = peek(daemon, 't', 'e%23ephemeral')
        assert bodies(seen) == [b'x']
        assert by_id(daemon, 'finish', 't', seen[0]['id'], 'e%23ephemeral') == DONE
        assert by_id(daemon, 'finish', 't', seen[0]['id']) == DONE
        daemon.wait_channel('t', 'ch', depth=0)


def test_bodies_are_cut_and_their_size_is_said(place):
    _, daemon = place
    daemon.create('t', 'ch')
    every = bytes(range(256))
    sent = [b'\0', every, every * 4096]
    for body in sent:
        daemon.pub('t', body)
    daemon.wait_channel('t', 'ch', depth=3)

    def by_size(**args):
        found = sorted(peek(daemon, 't', **args), key=lambda m: m['body_size'])
        assert [m['body_size'] for m in found] == [1, 256, 1 << 20]
        return bodies(found)
    assert by_size() == [b'\0', every, every * 16]
    assert by_size(body=0) == [b'', b'', b'']
    assert by_size(body=3) == [b'\0', b'\0\1\2', b'\0\1\2']
    assert by_size(body=1 << 20, n=8) == sent
    assert by_size(body=(1 << 20) - 1, n=8)[2] == sent[2][:-1]


@pytest.mark.parametrize('args, message', [
    ('n=1001', 'INVALID_N'), ('n=-1', 'INVALID_N'), ('n=', 'INVALID_N'), ('n=1x', 'INVALID_N'),
    ('n=+1', 'INVALID_N'), ('n=%201', 'INVALID_N'), ('n=99999999999999999999', 'INVALID_N'),
    ('body=8388609', 'INVALID_BODY'), ('body=-1', 'INVALID_BODY'), ('body=a', 'INVALID_BODY'),
    ('n=1000&body=8389', 'TOO_MANY_BYTES'), ('n=2&body=8388608', 'TOO_MANY_BYTES'),
    ('state=lost', 'INVALID_STATE'), ('state=', 'INVALID_STATE'), ('from=tape', 'INVALID_FROM'),
])
def test_arguments_that_cannot_be(nsqd, args, message):
    nsqd.create('args', 'ch')
    refused = (400, b'{"message":"%s"}' % message.encode())
    for path in ('/channel/peek?topic=args&channel=ch&', '/topic/peek?topic=args&'):
        response = nsqd.get(path + args)
        assert (response.status, response.body) == refused


def test_the_largest_arguments(nsqd):
    nsqd.create('args', 'ch')
    for args in ({'n': 1000, 'body': 8388}, {'n': 1, 'body': 8388608}, {'n': 0, 'body': 8388608}):
        assert peek(nsqd, 'args', **args) == []


def test_names_and_methods(nsqd):
    nsqd.create('names', 'ch')

    def answer(method, path):
        response = nsqd.http(method, path)
        return response.status, json.loads(response.body)['message']
    both = 'topic=names&channel=ch'
    for method, path in (('GET', '/channel/peek'), ('POST', '/channel/message/finish'),
                         ('POST', '/channel/message/requeue')):
        assert answer(method, path) == (400, 'MISSING_ARG_TOPIC')
        assert answer(method, path + '?topic=names') == (400, 'MISSING_ARG_CHANNEL')
        assert answer(method, path + '?topic=n%20&channel=ch') == (400, 'INVALID_ARG_TOPIC')
        assert answer(method, path + '?topic=none&channel=ch') == (404, 'TOPIC_NOT_FOUND')
        assert answer(method, path + '?topic=names&channel=no') == (404, 'CHANNEL_NOT_FOUND')
        other = {'GET': 'POST', 'POST': 'GET'}[method]
        assert answer(other, path + '?' + both) == (405, 'METHOD_NOT_ALLOWED')
    assert answer('GET', '/topic/peek') == (400, 'MISSING_ARG_TOPIC')
    assert answer('GET', '/topic/peek?topic=none') == (404, 'TOPIC_NOT_FOUND')
    assert answer('GET', '/topic/peek?topic=names&state=deferred') == (400, 'INVALID_STATE')
    for what in ('finish', 'requeue'):
        path = '/channel/message/%s?%s' % (what, both)
        assert answer('POST', path) == (400, 'MISSING_ARG_ID')
        for bad in ('', '1', '0' * 15, '0' * 17, '0' * 1000, '%00' * 17):
            assert answer('POST', path + '&id=' + bad) == (400, 'INVALID_ID')
        for odd in ('g' * 16, '%00' * 16, '%ff' * 16):
            assert answer('POST', path + '&id=' + odd)[1] in ('MESSAGE_NOT_FOUND', 'INVALID_ID')
    path = '/channel/message/requeue?%s&id=%s&delay=' % (both, '0' * 16)
    for bad in ('', '-1', '1x', 'x', '3600001', '1h1ms', '-1s', '99999999999999999999',
                '9999999999999999h'):
        assert answer('POST', path + bad) == (400, 'INVALID_DELAY'), bad
    for good in ('0', '3600000', '1h', '1.5s'):
        assert answer('POST', path + good) == (404, 'MESSAGE_NOT_FOUND'), good


# -- dead letters

def failed(daemon, *sent):
    """The first delivery of each, which is sent back; by body."""
    with consuming(daemon, 't', 'ch', rdy=len(sent)) as client:
        for body in sent:
            daemon.pub('t', body)
        found = client.messages(len(sent))
        for m in found:
            client.req(m)
        client.expect_usable()
    return {m.body: m for m in found}


@pytest.mark.parametrize('channel', ['look', None], ids=['channel', 'topic'])
def test_a_dead_letter_says_where_it_came_from(place, channel):
    _, daemon = place
    daemon.create('t', 'ch')
    daemon.create('dead', *['look'] if channel else [])
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    before = time.time_ns()
    sent = failed(daemon, *[b'message %d' % i for i in range(8)])
    daemon.pub('dead', b'no dead letter')
    wait_until(lambda: len(peek(daemon, 'dead', channel)) == 9, 'all are there')
    for _ in range(2):
        for m in peek(daemon, 'dead', channel):
            if m['data'] == b'no dead letter':
                assert 'dead_letter' not in m
                continue
            was = sent[m['data']]
            origin = m['dead_letter']
            assert before <= origin.pop('time') <= time.time_ns()
            assert origin == {'topic': 't', 'channel': 'ch', 'id': was.id.decode(),
                              'timestamp': was.timestamp, 'attempts': 1, 'reason': 'max_attempts'}
            assert m['attempts'] == 0
        daemon.restart()
    # In flight as well.
    daemon.create('dead', 'look')
    with daemon.subscribe('dead', 'look', rdy=9) as client:
        client.messages(9)
        seen = peek(daemon, 'dead', 'look', state='in_flight')
        assert sorted(m['data'] for m in seen if 'dead_letter' in m) == sorted(sent)


def test_what_waits_for_its_dead_letter_topic_is_seen(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    put(daemon, 'dead', max_depth=1)
    put(daemon, 't', 'ch', max_attempts=1, dead_letter_topic='dead')
    daemon.pub('dead', b'full')
    daemon.wait_channel('dead', 'look', depth=1)
    sent = failed(daemon, b'1', b'2', b'3')
    daemon.wait_channel('t', 'ch', depth=3, in_flight_count=0)
    seen = peek(daemon, 't')
    assert {m['data']: (m['id'].encode(), m['from'], m['reason']) for m in seen} == {
        body: (m.id, 'given_up', 'max_attempts') for body, m in sent.items()}
    # And can be reached.
    ids = {m['data']: m['id'] for m in seen}
    assert by_id(daemon, 'finish', 't', ids[b'1']) == DONE
    assert by_id(daemon, 'finish', 't', ids[b'1']) == NOT_FOUND
    daemon.wait_channel('t', 'ch', depth=2)
    put(daemon, 't', 'ch', max_attempts=None)
    assert by_id(daemon, 'requeue', 't', ids[b'2']) == DONE
    assert {m['data']: m['from'] for m in peek(daemon, 't')} == {
        b'2': 'memory', b'3': 'given_up'}
    daemon.post('/channel/empty?topic=dead&channel=look')
    daemon.wait_channel('dead', 'look', depth=1)
    assert bodies(peek(daemon, 'dead', 'look')) == [b'3']
    assert [m.body for m in drained(daemon, 't')] == [b'2']



# -- one message by its id

def test_finish_and_requeue_in_flight(new_nsqd):
    daemon = new_nsqd()
    daemon.pub('t', b'one', b'two')
    with daemon.subscribe('t', 'ch', rdy=2) as client:
        one, two = client.messages(2)
        assert by_id(daemon, 'finish', 't', one.id.decode()) == DONE
        daemon.wait_channel('t', 'ch', in_flight_count=1, depth=0, requeue_count=0)
        assert daemon.channel_stats('t', 'ch')['clients'][0]['in_flight_count'] == 1
        # It is told nothing; its own answer comes too late, as after a timeout.
        client.fin(one)
        client.expect_error(b'E_FIN_FAILED FIN %s failed ID not in flight' % one.id)
        assert by_id(daemon, 'finish', 't', one.id.decode()) == NOT_FOUND
        # Back at once: the consumer has room for it.
        assert by_id(daemon, 'requeue', 't', two.id.decode()) == DONE
        again = client.message()
        assert (again.id, again.attempts) == (two.id, 2)
        daemon.wait_channel('t', 'ch', in_flight_count=1, depth=0, requeue_count=1)
        # After a delay, in ms or as a duration.
        assert by_id(daemon, 'requeue', 't', two.id.decode(), delay='3000000') == DONE
        daemon.wait_channel('t', 'ch', in_flight_count=0, deferred_count=1, requeue_count=2)
        seen = peek(daemon, 't', state='deferred')
        assert 2900e9 < seen[0]['due_in'] <= 3000e9
        assert (seen[0]['attempts'], seen[0]['data']) == (2, b'two')
        client.req(two)
        client.expect_error(b'E_REQ_FAILED REQ %s failed ID not in flight' % two.id)
        stats = daemon.wait_channel('t', 'ch', in_flight_count=0)['clients'][0]
        assert stats['in_flight_count'] == 0


def test_the_consumer_gets_others_in_the_place_of_what_was_taken(new_nsqd):
    """RDY counts what is in flight: one that is finished by others makes room."""
    daemon = new_nsqd()
    daemon.pub('t', *[b'%d' % i for i in range(50)])
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        for i in range(50):
            m = client.message()
            what = ('finish', 'requeue')[i % 2]
            args = {'delay': '1h'} if i % 2 else {}
            assert by_id(daemon, what, 't', m.id.decode(), **args) == DONE
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0, deferred_count=25)


def test_finish_and_requeue_deferred(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for body in (b'one', b'two', b'three'):
            client.dpub('t', 3000000, body)
    daemon.wait_channel('t', 'ch', deferred_count=3)
    ids = {m['data']: m['id'] for m in peek(daemon, 't', state='deferred')}
    assert by_id(daemon, 'finish', 't', ids[b'one']) == DONE
    assert by_id(daemon, 'requeue', 't', ids[b'two'], delay='10s') == DONE
    assert bodies(peek(daemon, 't', state='deferred')) == [b'two', b'three']
    assert peek(daemon, 't', state='deferred')[0]['due_in'] <= 10e9
    assert by_id(daemon, 'requeue', 't', ids[b'three']) == DONE
    assert bodies(peek(daemon, 't')) == [b'three']
    stats = daemon.channel_stats('t', 'ch')
    assert (stats['requeue_count'], stats['depth'], stats['deferred_count']) == (0, 1, 1)


def test_a_deferred_message_that_holds_the_log_back_is_finished_or_put_off(new_nsqd):
    daemon = new_nsqd('--durability=process', '--sync-timeout=20ms')
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for i in range(1500):
            client.dpub('t', 3000000 - i * 1000, b'%d' % i)
    daemon.wait_channel('t', 'ch', deferred_count=1500)

    def held():
        logs = json.loads(daemon.get('/stats?format=json&include_log=true&topic=t').body)['logs']
        return logs[0]['held_by']
    # It is due last, and so is among those that peek does not show.
    first = held()
    assert first['state'] == 'deferred' and first['message'] == 1
    assert by_id(daemon, 'finish', 't', first['id']) == DONE
    assert by_id(daemon, 'finish', 't', first['id']) == NOT_FOUND
    second = held()
    assert second['message'] == 2
    assert by_id(daemon, 'requeue', 't', second['id'], delay='500s') == DONE
    daemon.wait_channel('t', 'ch', deferred_count=1499, requeue_count=0)
    daemon.restart()
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    daemon.wait_channel('t', 'ch', deferred_count=1499, depth=0)
    assert peek(daemon, 't', state='deferred', n=1)[0]['id'] == second['id']
    assert by_id(daemon, 'requeue', 't', second['id']) == DONE
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        message = client.message()
        assert (message.body, message.attempts) == (b'1', 1)
        client.fin(message)


def test_finish_and_requeue_ready_in_memory(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%03d' % i for i in range(500)])
    daemon.wait_channel('t', 'ch', depth=500)
    ids = {m['data']: m['id'] for m in peek(daemon, 't', n=1000)}
    for body in (b'000', b'250', b'499'):
        assert by_id(daemon, 'finish', 't', ids[body]) == DONE
        assert by_id(daemon, 'finish', 't', ids[body]) == NOT_FOUND
    assert by_id(daemon, 'requeue', 't', ids[b'001']) == DONE       # now the last one
    assert by_id(daemon, 'requeue', 't', ids[b'002'], delay='1h') == DONE
    daemon.wait_channel('t', 'ch', depth=496, deferred_count=1, requeue_count=0)
    gone = {0, 1, 2, 250, 499}
    assert [m.body for m in drained(daemon, 't')] == [
        b'%03d' % i for i in range(500) if i not in gone] + [b'001']


def test_what_is_on_disk_stays_there(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%04d' % i for i in range(1200)])
    daemon.wait_channel('t', 'ch', depth=1200)
    seen = peek(daemon, 't', n=1000)
    for m in (seen[0], seen[999]):
        assert by_id(daemon, 'finish', 't', m['id']) == ON_DISK
        assert by_id(daemon, 'requeue', 't', m['id']) == ON_DISK
    # Too many are there to say that it is not.
    unknown = (409, b'{"message":"MESSAGE_NOT_IN_MEMORY"}')
    assert by_id(daemon, 'finish', 't', '0' * 16) == unknown
    assert len(drained(daemon, 't')) == 1200
    assert by_id(daemon, 'finish', 't', '0' * 16) == NOT_FOUND
    # Once a consumer has it, it can be finished.
    daemon.pub('t', b'later')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        assert by_id(daemon, 'finish', 't', client.message().id.decode()) == DONE
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)


def test_the_last_of_a_batch_from_disk(new_nsqd):
    """What was finished by id does not come again after a restart, nor is another lost."""
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1')
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%d' % i for i in range(20)])
    with daemon.subscribe('t', 'ch', rdy=10) as client:
        got = client.messages(10)
        for m in got[:5]:
            assert by_id(daemon, 'finish', 't', m.id.decode()) == DONE
        daemon.wait_channel('t', 'ch', depth=5, in_flight_count=10)
        more = client.messages(5)
    daemon.restart()
    left = {m.body for m in drained(daemon, 't')}
    assert left == {m.body for m in got[5:]} | {m.body for m in more} | {
        b'%d' % i for i in range(15, 20)}


def test_while_it_drains(new_nsqd):
    daemon = new_nsqd()
    daemon.pub('t', b'held', b'left')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        held = client.message()
        assert daemon.http('PUT', '/config/drain', b'true').status == 200
        left = peek(daemon, 't')
        assert bodies(left) == [b'left']
        assert by_id(daemon, 'finish', 't', left[0]['id']) == DONE
        # The last message goes: the drain is over.
        assert by_id(daemon, 'finish', 't', held.id.decode()) == DONE
        assert daemon.wait_exit() == 0


# -- large, busy and damaged queues

def test_200000_on_disk_are_not_read(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=1000000')
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for i in range(200):
            client.pub('t', *[b'%07d' % (1000 * i + k) for k in range(1000)])
    daemon.wait_channel('t', 'ch', depth=200000)
    before = read_bytes(daemon)
    seen = peek(daemon, 't', n=1000)
    assert bodies(seen) == [b'%07d' % i for i in range(1000)]
    # 1,000 records have 37,000 bytes: a block or two of one file, of the seven.
    assert read_bytes(daemon) - before < 600000
    assert bodies(peek(daemon, 't', n=1)) == [b'0000000']
    assert daemon.channel_stats('t', 'ch')['depth'] == 200000


def read_bytes(daemon):
    return sample(daemon, 'nsqd_disk_read_bytes_total')


def sample(daemon, name):
    text = daemon.get('/metrics').body.decode()
    return float(re.search(r'^%s (\S+)$' % re.escape(name), text, re.M)[1])


def test_looking_on_over_files_that_end(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=100')
    daemon.create('t', 'ch')
    sent = [b'%d' % i for i in range(100)]
    daemon.pub('t', *sent)
    daemon.wait_channel('t', 'ch', depth=100)
    assert len(glob.glob(os.path.join(daemon.data_path, 't:ch.diskqueue.0*'))) > 20
    assert bodies(peek(daemon, 't', n=1000)) == sent
    assert [m.body for m in drained(daemon, 't')] == sent


def test_damage_is_skipped_as_the_reader_does(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t', 'ch')
    sent = [b'%05d' % i for i in range(1000)]
    daemon.pub('t', *sent)
    daemon.wait_channel('t', 'ch', depth=1000)
    daemon.stop()
    path, = glob.glob(os.path.join(daemon.data_path, 't:ch.diskqueue.0*'))
    with open(path, 'r+b') as f:
        f.seek(35 * 10 + 2)
        f.write(b'\xff' * 300)
    daemon.start()
    seen = bodies(peek(daemon, 't', n=1000))
    assert len(seen) < 1000 and seen[:9] == sent[:9] and seen[-900:] == sent[-900:]
    assert [m.body for m in drained_all(daemon, len(seen))] == seen


def drained_all(daemon, count):
    with consuming(daemon, 't', 'ch', rdy=2500) as client:
        found = client.messages(count)
        for m in found:
            client.fin(m)
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
        return found


@pytest.mark.parametrize('flags', PLACES.values(), ids=PLACES)
def test_under_full_load_no_message_is_lost_or_doubled(new_nsqd, flags):
    """Publishers, consumers, and others who look, finish and requeue whatever they see."""
    daemon = new_nsqd('--max-bytes-per-file=100000', *flags)
    daemon.create('t', 'ch')
    count, load = 20000, Load()
    received, finished = [], set()

    def publish():
        with daemon.connect() as client:
            for i in range(0, count, 50):
                client.pub('t', *[b'%06d' % k for k in range(i, i + 50)])

    def consume():
        with daemon.subscribe('t', 'ch', rdy=100) as client:
            while not load.stop.is_set():
                try:
                    kind, data = client.answer(0.3)
                except TimeoutError:
                    continue
                if kind == ERROR:
                    # Somebody else has finished or requeued it.
                    assert re.match(rb'E_(FIN|REQ)_FAILED .* ID not in flight|E_FIN_FAILED .*'
                                    rb'client does not own', data), data
                    continue
                received.append((data[10:26], data[26:]))
                client.command('FIN', data[10:26])

    load.start((publish,), (consume,), (consume,),
               *[(load.operate, daemon, 't', seed, 200, 97, finished.add) for seed in range(2)])
    # A message that came back comes twice; none is missing, and none is there that was not sent.
    expected = {b'%06d' % i for i in range(count)}

    def all_bodies():
        return {body for _, body in list(received)} | set(finished)

    load.wait(lambda: all_bodies() == expected, 'all of them have come')
    load.wait_done(daemon, 't')
    load.end()
    assert all_bodies() == expected
    assert len(received) >= count - len(finished)


def test_an_answer_is_given_while_the_channel_is_emptied_deleted_and_made(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=5', '--max-bytes-per-file=500')
    daemon.create('t', 'ch')
    stop, failures = threading.Event(), []

    def look():
        while not stop.is_set():
            for path in ('/channel/peek?topic=t&channel=ch&n=100', '/topic/peek?topic=t'):
                response = daemon.get(path)
                if response.status not in (200, 404):
                    failures.append(response.body)
            response = daemon.post('/channel/message/finish?topic=t&channel=ch&id=' + '0' * 16)
            if response.status not in (404, 409):
                failures.append(response.body)
    threads = [threading.Thread(target=look) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(20):
        daemon.pub('t', *[b'x' * 50] * 40)
        daemon.post('/channel/empty?topic=t&channel=ch')
        daemon.pub('t', *[b'x' * 50] * 40)
        assert daemon.post('/channel/delete?topic=t&channel=ch').status == 200
        daemon.pub('t', *[b'x' * 50] * 40)
        assert daemon.post('/topic/empty?topic=t').status == 200
        daemon.create('t', 'ch')
    stop.set()
    for t in threads:
        t.join()
    assert not failures, failures[:3]


# -- the age of the oldest

def age(daemon, channel=True):
    return sample(daemon, 'nsq_topic_channel_oldest_message_age_seconds'
                  '{topic="t",channel="ch"}' if channel else
                  'nsq_topic_oldest_message_age_seconds{topic="t"}')


def test_the_age_of_the_oldest_message(place):
    _, daemon = place
    daemon.create('t')
    assert age(daemon, channel=False) == 0
    before = time.time()
    daemon.pub('t', *[b'x'] * 10)
    wait_until(lambda: age(daemon, channel=False) > 0, 'the topic knows its oldest message')
    assert age(daemon, channel=False) <= time.time() - before
    daemon.create('t', 'ch')
    daemon.wait_channel('t', 'ch', depth=10)
    wait_until(lambda: age(daemon) > 0.05, 'it grows older')
    assert age(daemon) <= time.time() - before
    wait_until(lambda: age(daemon, channel=False) == 0, 'it has left the topic')
    drained(daemon, 't')
    wait_until(lambda: age(daemon) == 0, 'nothing waits')
