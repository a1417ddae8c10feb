"""One message of a durable channel, wherever it is: peek shows it; finish and requeue find it by its
id, and what was finished does not come again after kill -9.

Nothing of it is in stock 1.3.0.
"""

import os
import time

import pytest

from inspecting import DONE, NOT_FOUND, Load, bodies, by_id, peek
from nsq import ERROR, wait_until
from queues import consuming, log_of, put

pytestmark = pytest.mark.ours(reason='stock has no log')

DURABLE = ['--durability=process', '--sync-timeout=20ms']
UNKNOWN = (409, b'{"message":"MESSAGE_NOT_IN_MEMORY"}')
HOUR = 3600 * 1000


def memory(n):
    return '--mem-queue-size=%d' % n


def ids_of(daemon, **args):
    return {m['data']: m['id'] for m in peek(daemon, 't', **args)}


def write_cursors(daemon):
    """What consumers have answered is in the cursors' files: a topic that is paused writes them."""
    for what in 'pause', 'unpause':
        assert daemon.post('/topic/%s?topic=t' % what).status == 200


def kill_and_start(daemon):
    """What an operator has finished before must not come again, however shortly before."""
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()


def unfinished(daemon):
    """Of all cursors."""
    return sum(c['unfinished'] for c in log_of(daemon, 't')['cursors'])


def drained(daemon, count):
    daemon.wait_channel('t', 'ch', depth=count)
    with consuming(daemon, 't', 'ch', rdy=min(count, 2000) or 1) as client:
        found = []
        for _ in range(count):
            found.append(client.message())
            client.fin(found[-1])
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
    write_cursors(daemon)
    return found


def settled(daemon, before, states=('ready', 'in_flight', 'deferred')):
    """All bodies that are seen, in any state, once each; before: how many."""
    seen = [m['data'] for state in states for m in peek(daemon, 't', state=state, n=1000)]
    assert len(seen) == len(set(seen)) == before
    return set(seen)


# -- waiting for its time

@pytest.mark.parametrize('size', [0, 10000])
def test_deferred_by_a_publisher(new_nsqd, size):
    daemon = new_nsqd(*DURABLE, memory(size))
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for seconds in (300, 100, 200, 400):
            client.dpub('t', seconds * 1000, b'%d' % seconds)
    daemon.wait_channel('t', 'ch', deferred_count=4)
    for _ in range(2):
        seen = peek(daemon, 't', state='deferred')
        assert bodies(seen) == [b'100', b'200', b'300', b'400']
        for m, seconds in zip(seen, (100, 200, 300, 400)):
            assert (seconds - 60) * 1e9 < m['due_in'] <= seconds * 1e9
            assert abs(m['due'] - time.time_ns() - m['due_in']) < 60e9
            assert (m['attempts'], m['from'], m['body_size']) == (0, 'disk', 3)
        assert bodies(peek(daemon, 't', state='deferred', n=1, body=2)) == [b'10']
        assert peek(daemon, 't') == peek(daemon, 't', state='in_flight') == []
        kill_and_start(daemon)
        daemon.wait_channel('t', 'ch', deferred_count=4)
    ids = {m['data']: m['id'] for m in seen}
    assert by_id(daemon, 'finish', 't', ids[b'300']) == DONE
    assert by_id(daemon, 'finish', 't', ids[b'300']) == NOT_FOUND
    assert by_id(daemon, 'requeue', 't', ids[b'300']) == NOT_FOUND
    assert by_id(daemon, 'requeue', 't', ids[b'400'], delay='10s') == DONE
    assert by_id(daemon, 'requeue', 't', ids[b'100']) == DONE
    daemon.wait_channel('t', 'ch', deferred_count=2, depth=1, requeue_count=0)
    assert bodies(peek(daemon, 't', state='deferred')) == [b'400', b'200']
    assert peek(daemon, 't', state='deferred')[0]['due_in'] <= 10e9
    assert bodies(peek(daemon, 't')) == [b'100']
    kill_and_start(daemon)
    found, = drained(daemon, 1)
    assert (found.body, found.id.decode(), found.attempts) == (b'100', ids[b'100'], 1)
    # It was put off to be due earlier than it was.
    daemon.wait_channel('t', 'ch', deferred_count=1, depth=1)
    assert drained(daemon, 1)[0].body == b'400'
    assert bodies(peek(daemon, 't', state='deferred')) == [b'200']


def test_deferred_by_a_consumer(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'ch')
    daemon.pub('t', b'1', b'2', b'3')
    with consuming(daemon, 't', 'ch', rdy=3) as client:
        for m in client.messages(3):
            client.req(m, HOUR)
        daemon.wait_channel('t', 'ch', deferred_count=3, in_flight_count=0)
        ids = ids_of(daemon, state='deferred')
        assert [m['attempts'] for m in peek(daemon, 't', state='deferred')] == [1, 1, 1]
        assert by_id(daemon, 'finish', 't', ids[b'1']) == DONE
        # Its consumer gets it at once.
        assert by_id(daemon, 'requeue', 't', ids[b'2']) == DONE
        again = client.message()
        assert (again.body, again.attempts) == (b'2', 2)
        assert by_id(daemon, 'finish', 't', ids[b'2']) == DONE
        daemon.wait_channel('t', 'ch', in_flight_count=0, depth=0, deferred_count=1)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', in_flight_count=0, depth=0, deferred_count=1)
    assert by_id(daemon, 'finish', 't', ids[b'1']) == NOT_FOUND
    assert by_id(daemon, 'finish', 't', ids[b'3']) == DONE
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=0)
    assert daemon.topic_stats('t')['depth'] == 0


def test_what_was_requeued_does_not_wait_anew(new_nsqd):
    """Its publisher has asked for an hour; a consumer has it when the daemon is killed."""
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        client.dpub('t', HOUR, b'now')
        client.dpub('t', HOUR, b'later')
    daemon.wait_channel('t', 'ch', deferred_count=2)
    ids = ids_of(daemon, state='deferred')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        assert by_id(daemon, 'requeue', 't', ids[b'now']) == DONE
        assert client.message().body == b'now'
        write_cursors(daemon)
        kill_and_start(daemon)
    found, = drained(daemon, 1)
    assert (found.body, found.attempts) == (b'now', 2)
    daemon.wait_channel('t', 'ch', deferred_count=1, depth=0)


def test_one_of_many_that_wait(new_nsqd):
    """More than a look shows: one that is due late is found by its id."""
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'ch')
    count = 3000
    with daemon.connect() as client:
        for i in range(count):
            client.command('DPUB', 't', HOUR - 1000 * i, body=b'%d' % i)
        for i in range(count):
            client.expect_ok()
    daemon.wait_channel('t', 'ch', deferred_count=count)
    seen = peek(daemon, 't', state='deferred', n=1000)
    assert bodies(seen) == [b'%d' % (count - 1 - i) for i in range(1000)]
    with consuming(daemon, 't', 'ch') as client:
        assert by_id(daemon, 'requeue', 't', seen[999]['id']) == DONE
        client.rdy(1)
        client.fin(client.message())
    daemon.wait_channel('t', 'ch', deferred_count=count - 1, depth=0)


def test_the_last_of_many_by_its_id(new_nsqd):
    """Far beyond those that are due first."""
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'ch')
    count = 20000
    with daemon.connect() as client:
        client.dpub('t', HOUR, b'last')
        daemon.wait_channel('t', 'ch', deferred_count=1)
        last, = ids_of(daemon, state='deferred').values()
        for i in range(count):
            client.command('DPUB', 't', HOUR // 2, body=b'%d' % i)
        for i in range(count):
            client.expect_ok()
    daemon.wait_channel('t', 'ch', deferred_count=count + 1)
    assert by_id(daemon, 'requeue', 't', last) == DONE
    assert drained(daemon, 1)[0].body == b'last'
    assert by_id(daemon, 'finish', 't', last) == NOT_FOUND


# -- in the log alone

@pytest.mark.parametrize('size', [0, 5])
def test_behind(new_nsqd, size):
    """The first are in memory, the next read already, and the others in the log alone."""
    daemon = new_nsqd(*DURABLE, memory(size))
    daemon.create('t', 'ch')
    count = 1500
    daemon.pub('t', *[b'%04d' % i for i in range(count)])
    daemon.wait_channel('t', 'ch', depth=count)
    ids = ids_of(daemon, n=1000)
    assert sorted(ids) == [b'%04d' % i for i in range(1000)]
    wanted = list(range(count))
    for i in (0, 3, 5, 6, 100, 255, 256, 257, 600, 999):
        assert by_id(daemon, 'finish', 't', ids[b'%04d' % i]) == DONE, i
        assert by_id(daemon, 'finish', 't', ids[b'%04d' % i]) == NOT_FOUND, i
        wanted.remove(i)
    back = (1, 8, 101, 700)
    for i in back:
        assert by_id(daemon, 'requeue', 't', ids[b'%04d' % i]) == DONE, i
        wanted.remove(i)
    for i in (2, 9, 702):
        assert by_id(daemon, 'requeue', 't', ids[b'%04d' % i], delay='1h') == DONE, i
        wanted.remove(i)
    daemon.wait_channel('t', 'ch', depth=len(wanted) + len(back), deferred_count=3,
                        requeue_count=0)
    assert bodies(peek(daemon, 't', state='deferred')) == [b'0002', b'0009', b'0702']
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=len(wanted) + len(back), deferred_count=3)
    got = [int(m.body) for m in drained(daemon, len(wanted) + len(back))]
    assert [i for i in got if i not in back] == wanted
    assert sorted(i for i in got if i in back) == sorted(back)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=3)
    assert by_id(daemon, 'finish', 't', '0' * 16) == NOT_FOUND


def test_others_have_it_still(new_nsqd):
    """What one channel is rid of, the other gets; and what a channel never had, it does not have."""
    daemon = new_nsqd(*DURABLE, memory(0))
    daemon.create('t', 'ch')
    daemon.pub('t', b'1', b'2')
    daemon.wait_channel('t', 'ch', depth=2)
    ids = ids_of(daemon)
    daemon.create('t', 'other')
    daemon.pub('t', b'3')
    daemon.wait_channel('t', 'other', depth=1)
    daemon.wait_channel('t', 'ch', depth=3)
    ids = ids_of(daemon)
    assert by_id(daemon, 'finish', 't', ids[b'1'], 'other') == NOT_FOUND
    assert by_id(daemon, 'finish', 't', ids[b'3'], 'other') == DONE
    assert by_id(daemon, 'finish', 't', ids[b'2']) == DONE
    daemon.wait_channel('t', 'other', depth=0)
    assert [m.body for m in drained(daemon, 2)] == [b'1', b'3']


def test_what_comes_back_while_there_is_no_room(new_nsqd):
    """It waits in the cursor, and is due: with those that are read again, or in their batch."""
    daemon = new_nsqd(*DURABLE, memory(0))
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%03d' % i for i in range(600)])
    with consuming(daemon, 't', 'ch', rdy=300) as client:
        held = client.messages(300)
        client.rdy(0)
        for m in held:
            client.req(m)
        client.expect_usable()
        daemon.wait_channel('t', 'ch', depth=600, in_flight_count=0)
    write_cursors(daemon)
    ids = {m.body: m.id.decode() for m in held}
    wanted = {b'%03d' % i for i in range(600)}
    assert settled(daemon, 600) == wanted
    for i in (0, 1, 63, 64, 65, 128, 299):
        assert by_id(daemon, 'finish', 't', ids[b'%03d' % i]) == DONE
        assert by_id(daemon, 'finish', 't', ids[b'%03d' % i]) == NOT_FOUND
        wanted.remove(b'%03d' % i)
    assert by_id(daemon, 'requeue', 't', ids[b'002']) == DONE
    assert by_id(daemon, 'requeue', 't', ids[b'200'], delay='1h') == DONE
    assert settled(daemon, 593) == wanted
    daemon.wait_channel('t', 'ch', depth=592, deferred_count=1)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=592, deferred_count=1)
    got = {m.body: m for m in drained(daemon, 592)}
    assert set(got) == wanted - {b'200'}
    assert {m.attempts for body, m in got.items() if body < b'300'} == {2}


@pytest.mark.parametrize('size', [0, 5])
def test_with_what_stock_has_left(new_nsqd, size):
    """Stock's messages wait before those of the log; each is what it is."""
    daemon = new_nsqd('--durability=none', memory(0))
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'old %d' % i for i in range(20)])
    daemon.wait_channel('t', 'ch', depth=20)
    daemon.stop()
    daemon = new_nsqd(*DURABLE, memory(size), data_path=daemon.data_path)
    daemon.pub('t', *[b'new %d' % i for i in range(20)])
    daemon.wait_channel('t', 'ch', depth=40)
    ids = ids_of(daemon, n=1000)
    assert len(ids) == 40
    assert by_id(daemon, 'finish', 't', ids[b'old 3']) == (409, b'{"message":"MESSAGE_IS_ON_DISK"}')
    assert by_id(daemon, 'finish', 't', ids[b'new 3']) == DONE
    assert by_id(daemon, 'requeue', 't', ids[b'new 4'], delay='1h') == DONE
    assert bodies(peek(daemon, 't', state='deferred')) == [b'new 4']
    wanted = [b'old %d' % i for i in range(20)] + [b'new %d' % i for i in range(20) if i not in (3, 4)]
    assert [m.body for m in drained(daemon, 38)] == wanted


def test_a_long_log(new_nsqd):
    """Of many segments those are read in which it may be; else it says that it does not know."""
    daemon = new_nsqd(*DURABLE, memory(0), '--max-bytes-per-file=100000')
    daemon.create('t', 'ch')
    ids, count = {}, 3000
    for i in range(0, count, 100):
        daemon.pub('t', *[b'%06d' % k + b'x' * 500 for k in range(i, i + 100)])
    daemon.wait_channel('t', 'ch', depth=count)
    with daemon.connect() as client:
        client.dpub('t', HOUR, b'deferred')
    daemon.wait_channel('t', 'ch', deferred_count=1)
    ids = {m['data'][:6]: m['id'] for m in peek(daemon, 't', n=1000)}
    deferred, = ids_of(daemon, state='deferred').values()
    for i in (999, 500, 0):
        assert by_id(daemon, 'finish', 't', ids[b'%06d' % i]) == DONE
    assert by_id(daemon, 'finish', 't', deferred) == DONE
    for strange in ('0' * 16, 'f' * 16):
        assert by_id(daemon, 'finish', 't', strange) == UNKNOWN
    # What was finished is known to be, however much else waits.
    assert by_id(daemon, 'finish', 't', ids[b'000500']) == NOT_FOUND
    daemon.wait_channel('t', 'ch', depth=count - 3, deferred_count=0)
    kill_and_start(daemon)
    got = [int(m.body[:6]) for m in drained(daemon, count - 3)]
    assert got == [i for i in range(count) if i not in (0, 500, 999)]


def test_copies(new_nsqd):
    """What was copied, so that its segment may go, is found by its id: deferred, and in flight."""
    daemon = new_nsqd(*DURABLE, memory(100), '--max-bytes-per-file=4096')
    daemon.create('t', 'ch')
    with daemon.connect() as publisher, consuming(daemon, 't', 'ch', rdy=2) as client:
        daemon.pub('t', b'held 1', b'held 2')
        held = {m.body: m.id.decode() for m in client.messages(2)}
        publisher.dpub('t', HOUR, b'deferred 1')
        publisher.dpub('t', HOUR, b'deferred 2')
        daemon.wait_channel('t', 'ch', deferred_count=2)
        ids = ids_of(daemon, state='deferred')
        client.rdy(10)

        def moved_on():
            for _ in range(100):
                daemon.pub('t', b'x' * 100)
                client.fin(client.message())
            # These four are in the first one.
            return '%020d.seg' % 1 not in os.listdir(os.path.join(daemon.data_path, 't.log'))
        wait_until(moved_on, 'they are copied')
        client.rdy(0)
        client.expect_usable()
        assert by_id(daemon, 'finish', 't', held[b'held 1']) == DONE
        assert by_id(daemon, 'requeue', 't', held[b'held 2'], delay='1h') == DONE
        assert by_id(daemon, 'finish', 't', ids[b'deferred 1']) == DONE
        assert by_id(daemon, 'requeue', 't', ids[b'deferred 2']) == DONE
        daemon.wait_channel('t', 'ch', in_flight_count=0, depth=1, deferred_count=1)
        write_cursors(daemon)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', in_flight_count=0, depth=1, deferred_count=1)
    assert [m.body for m in drained(daemon, 1)] == [b'deferred 2']
    assert by_id(daemon, 'requeue', 't', held[b'held 2']) == DONE
    found, = drained(daemon, 1)
    assert (found.body, found.id.decode(), found.attempts) == (b'held 2', held[b'held 2'], 2)


# -- while all goes on

@pytest.mark.parametrize('size', [0, 20, 10000])
def test_under_load_each_is_over_once(new_nsqd, size):
    """Publishers, consumers, and operators who finish and requeue what they see; and kill -9."""
    daemon = new_nsqd(*DURABLE, memory(size))
    daemon.create('t', 'ch')
    count, load = 6000, Load()
    received, finished = [], []

    def publish():
        with daemon.connect() as client:
            for i in range(0, count, 20):
                client.pub('t', *[b'%06d' % k for k in range(i, i + 19)])
                client.dpub('t', 1 + i % 500, b'%06d' % (i + 19))

    def consume():
        with daemon.subscribe('t', 'ch', rdy=50) as client:
            n = 0
            while not load.stop.is_set():
                try:
                    kind, data = client.answer(0.3)
                except TimeoutError:
                    continue
                if kind == ERROR:
                    assert b'not in flight' in data or b'does not own' in data, data
                    continue
                n += 1
                if n % 5 == 0:
                    client.command('REQ', data[10:26], str(n % 300))
                    continue
                received.append(data[26:])
                client.command('FIN', data[10:26])

    load.start((publish,), (consume,),
               *[(load.operate, daemon, 't', seed, 100, 17, finished.append) for seed in range(2)])
    everything = {b'%06d' % i for i in range(count)}
    load.wait(lambda: set(received) | set(finished) == everything,
              lambda: len(everything - set(received) - set(finished)))
    # With those that a pump has in its hand, which no channel's count has.
    load.wait(lambda: unfinished(daemon) == 0, lambda: '%d are left' % unfinished(daemon))
    load.end()
    # Each was finished by an operator at most once.
    assert len(finished) == len(set(finished))
    write_cursors(daemon)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=0)
    daemon.wait_topic('t', depth=0)


def test_emptied_paused_and_expiring(new_nsqd):
    daemon = new_nsqd(*DURABLE, memory(3))
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        client.dpub('t', HOUR, b'deferred')
    daemon.wait_channel('t', 'ch', deferred_count=1)
    ids = ids_of(daemon, state='deferred')
    assert daemon.post('/channel/pause?topic=t&channel=ch').status == 200
    assert by_id(daemon, 'requeue', 't', ids[b'deferred']) == DONE
    daemon.wait_channel('t', 'ch', depth=1, deferred_count=0)
    # Paused, nobody gets it, and yet it is seen and found.
    wait_until(lambda: bodies(peek(daemon, 't')) == [b'deferred'], 'it is seen')
    assert by_id(daemon, 'requeue', 't', ids[b'deferred'], delay='1h') == DONE
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=1)
    put(daemon, 't', message_ttl='1ms')
    assert by_id(daemon, 'finish', 't', ids[b'deferred']) == DONE
    daemon.pub('t', *[b'%d' % i for i in range(20)])
    with daemon.connect() as client:
        client.dpub('t', HOUR, b'again')
    daemon.wait_channel('t', 'ch', deferred_count=1)
    ids = ids_of(daemon, state='deferred')
    assert daemon.post('/channel/empty?topic=t&channel=ch').status == 200
    assert by_id(daemon, 'finish', 't', ids[b'again']) == NOT_FOUND
    assert peek(daemon, 't', state='deferred') == []
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=0)
