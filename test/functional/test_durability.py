"""--durability: what was acknowledged and not finished is there after kill -9."""

import json
import os
import shutil
import threading
import time

import pytest

from nsq import OK, sized, wait_until
from queues import log_of, wait_deferred, wait_handed_out


def kill_and_start(daemon):
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()


def drain(daemon, topic, channel, count):
    """The bodies and attempts of so many messages, which are finished; then there are no more."""
    got = []
    with daemon.subscribe(topic, channel, rdy=10) as client:
        for _ in range(count):
            message = client.message()
            got.append((message.body, message.attempts))
            client.fin(message)
        client.expect_quiet()
    return got


def test_what_was_acknowledged_survives_kill_9(new_nsqd):
    """In memory, behind, in flight, requeued, deferred; for two channels."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=20', '--sync-timeout=10ms')
    daemon.create('t', 'a', 'b')
    bodies = [b'%d' % i for i in range(100)]
    daemon.pub('t', *bodies)
    daemon.wait_channel('t', 'a', depth=100)
    with daemon.subscribe('t', 'a', rdy=5) as client:
        messages = [client.message() for _ in range(5)]
        assert [m.body for m in messages] == bodies[:5]
        client.fin(messages[0])
        client.req(messages[1], 3600000)
        daemon.wait_channel('t', 'a', deferred_count=1)
        # More are under way; how many is not known.
        kill_and_start(daemon)
    daemon.wait_channel('t', 'b', depth=100, deferred_count=0)
    got = drain(daemon, 't', 'b', 100)
    assert [body for body, _ in got] == bodies
    assert {attempts for _, attempts in got} == {1}
    wait_handed_out(daemon, 't')
    rest = drain(daemon, 't', 'a', daemon.channel_stats('t', 'a')['depth'])
    found = {body for body, _ in rest}
    waiting = daemon.channel_stats('t', 'a')['deferred_count']
    assert len(found) == len(rest)
    assert found | {bodies[0], bodies[1]} == set(bodies)
    assert waiting == (0 if bodies[1] in found else 1)


def test_killed_again_and_again(new_nsqd):
    """With a consumer that finishes some, requeues some, and holds some when the daemon dies."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=30', '--sync-timeout=20ms')
    daemon.create('t', 'ch')
    finished, tried = set(), {}
    for life in range(5):
        bodies = [b'%d.%d' % (life, i) for i in range(60)]
        daemon.pub('t', *bodies[:40])
        for body in bodies[40:]:
            daemon.pub('t', body)
        tried.update(dict.fromkeys(bodies, 0))
        with daemon.subscribe('t', 'ch', rdy=20) as client:
            for i in range(40):
                message = client.message()
                # In each life before, one attempt more may have been under way.
                assert 1 <= message.attempts <= tried[message.body] + 1 + life
                tried[message.body] += 1
                if i % 4 == 3:
                    client.req(message, 0 if i % 8 == 3 else 100)
                elif i % 4 != 2:
                    finished.add(message.body)
                    client.fin(message)
            kill_and_start(daemon)
    left = set(tried) - finished
    got = set()
    with daemon.subscribe('t', 'ch', rdy=10) as client:
        while not left <= got:
            message = client.message()
            assert message.body in tried
            got.add(message.body)
            client.fin(message)
    daemon.wait_channel('t', 'ch', deferred_count=0)


def test_what_nsqd_dat_does_not_know(new_nsqd):
    """The daemon was killed before it wrote of a topic and its channel: they are there."""
    daemon = new_nsqd('--durability=process')
    daemon.create('t', 'ch')
    daemon.pub('t', b'1', b'2')
    daemon.pub('alone', b'3')
    daemon.wait_channel('t', 'ch', depth=2)
    daemon.process.kill()
    daemon.process.wait()
    daemon.write_metadata({'topics': [], 'version': '1.3.0'})
    daemon.start()
    assert [body for body, _ in drain(daemon, 't', 'ch', 2)] == [b'1', b'2']
    daemon.wait_topic('alone', depth=1)
    wait_until(lambda: set(daemon.metadata()) == {'t', 'alone'}, daemon.metadata)


def test_dead_letters_are_over(new_nsqd):
    daemon = new_nsqd('--durability=process', '--sync-timeout=10ms')
    daemon.create('t', 'ch')
    daemon.create('dead', 'look')
    settings = json.dumps({'max_attempts': 2, 'dead_letter_topic': 'dead'}).encode()
    answer = daemon.http('PUT', '/channel/config?topic=t&channel=ch', settings)
    assert answer.status == 200, answer
    daemon.pub('t', b'bad', b'good')
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        for _ in range(3):
            message = client.message()
            if message.body == b'good':
                client.fin(message)
            else:
                client.req(message)
    daemon.wait_channel('dead', 'look', depth=1)
    daemon.wait_channel('t', 'ch', depth=0)
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0)
    assert [body for body, _ in drain(daemon, 'dead', 'look', 1)] == [b'bad']


def test_a_delay_is_one_after_a_restart(new_nsqd):
    daemon = new_nsqd('--durability=process')
    daemon.create('t', 'ch')
    begin = time.time()
    with daemon.connect() as client:
        client.dpub('t', 1500, b'later')
    wait_deferred(daemon, 't', 'ch', begin + 1.5)
    daemon.restart()
    wait_deferred(daemon, 't', 'ch', begin + 1.5)
    with daemon.subscribe('t', 'ch', rdy=1) as client:
        message = client.message()
        assert message.body == b'later' and message.attempts == 1
        assert time.time() - begin >= 1.5
        client.fin(message)
    daemon.restart()
    daemon.wait_channel('t', 'ch', deferred_count=0, depth=0)


def test_dpubs_that_come_in_one_piece_survive_kill_9(new_nsqd):
    """They share commits; each keeps its delay."""
    daemon = new_nsqd('--durability=disk')
    daemon.create('t', 'a', 'b')
    sent = [b'DPUB t 3600000\n'] * 100 + [b'DPUB t 1800000\n'] + [b'DPUB t 10\n'] * 10
    with daemon.connect() as client:
        client.send(b''.join(command + sized(b'%d' % i) for i, command in enumerate(sent)))
        client.expect(OK * len(sent))
        kill_and_start(daemon)
    for channel in 'a', 'b':
        daemon.wait_channel('t', channel, deferred_count=101, depth=10)
        assert {int(body) for body, _ in drain(daemon, 't', channel, 10)} == set(range(101, 111))


class Written:
    """Waits until what was heard before is in a channel's cursor, as seen from outside."""

    def __init__(self, daemon, topic, channel):
        self.daemon, self.topic = daemon, topic
        self.path = os.path.join(daemon.data_path, topic + '.log', channel + '.cursor')

    def _changed(self, was):
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return None
        now = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return now if now != was else None

    def wait(self, consumer):
        """
        The consumer's FINs have been heard. The write that is under way may be of what was known
        before; the one that begins after it has all. So each is given something to write.
        """
        was = self._changed(None)
        for i in range(2):
            body = b'mark %d' % i
            self.daemon.pub(self.topic, body)
            message = consumer.message()
            assert message.body == body
            consumer.fin(message)
            was = wait_until(lambda: self._changed(was), 'the cursor is written')    # pylint: disable=cell-var-from-loop


@pytest.mark.parametrize('kind', ['process', 'disk'])
def test_what_was_written_as_finished_does_not_come_again(new_nsqd, kind):
    """Nor do attempts begin anew. The next life has the other durability."""
    daemon = new_nsqd('--durability=' + kind, '--sync-timeout=20ms', '--mem-queue-size=30')
    daemon.create('t', 'ch')
    bodies = [b'%d' % i for i in range(200)]
    daemon.pub('t', *bodies)
    with daemon.subscribe('t', 'ch', rdy=50) as client:
        held = []
        for i in range(200):
            message = client.message()
            if i % 10 == 0:
                held.append(message)
            else:
                client.fin(message)
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=20)
        Written(daemon, 't', 'ch').wait(client)
        daemon.process.kill()
        daemon.process.wait()
    daemon.flags[0] = '--durability=' + ('disk' if kind == 'process' else 'process')
    daemon.start()
    wait_handed_out(daemon, 't')
    got = drain(daemon, 't', 'ch', daemon.channel_stats('t', 'ch')['depth'])
    # The last mark may come again.
    assert [(m.body, 2) for m in held] == [g for g in got if g[0] != b'mark 1']


def test_order_is_kept_through_kills(new_nsqd):
    """What nobody has been handed comes in the order in which it was published."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=40', '--max-bytes-per-file=4096')
    daemon.create('t', 'ch')
    bodies = []
    for life in range(4):
        new = [b'%d.%03d' % (life, i) for i in range(150)]
        bodies += new
        daemon.pub('t', *new[:100])
        for body in new[100:]:
            daemon.pub('t', body)
        kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=600)
    assert drain(daemon, 't', 'ch', 600) == [(body, 1) for body in bodies]


@pytest.mark.parametrize('at_once', [True, False])
def test_a_directory_that_is_copied_while_in_use(new_nsqd, tmp_path, at_once):
    """A snapshot of one moment has all that was acknowledged. Another copy opens, and goes on."""
    daemon = new_nsqd('--durability=process', '--sync-timeout=10ms', '--max-bytes-per-file=8192')
    daemon.create('t', 'a', 'b')
    acked, over = [], threading.Event()

    def publish():
        with daemon.connect() as client:
            i = 0
            while not over.is_set():
                body = b'%d' % i
                client.pub('t', body)
                acked.append(body)
                i += 1

    def consume():
        with daemon.subscribe('t', 'a', rdy=20) as client:
            while not over.is_set():
                client.fin(client.message())
    threads = [threading.Thread(target=publish), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(acked) > 300, 'some are published')
        copy = str(tmp_path / 'copy')
        if at_once:
            with daemon.frozen():
                before = list(acked)
                shutil.copytree(daemon.data_path, copy)
        else:
            copy_what_is_there(daemon.data_path, copy)
            before = []
    finally:
        over.set()
        # The consumer may wait for a message.
        daemon.pub('t', b'last')
        for thread in threads:
            thread.join()
    other = new_nsqd('--durability=process', data_path=copy)
    other.pub('t', b'new')
    with other.subscribe('t', 'b', rdy=100) as client:
        got = []
        while not got or got[-1] != b'new':
            message = client.message()
            got.append(message.body)
            client.fin(message)
    assert len(set(got)) == len(got)
    assert got[:len(before)] == before
    numbers = [int(body) for body in got[:-1]]
    assert numbers == sorted(numbers)


def copy_what_is_there(source, target):
    """As cp does: files grow and vanish meanwhile."""
    for directory, _, names in os.walk(source):
        there = os.path.join(target, os.path.relpath(directory, source))
        os.makedirs(there, exist_ok=True)
        for name in names:
            try:
                shutil.copyfile(os.path.join(directory, name), os.path.join(there, name))
            except FileNotFoundError:
                pass


def test_a_drain_waits_for_what_is_deferred(new_nsqd):
    daemon = new_nsqd('--durability=process')
    daemon.create('t', 'ch')
    with daemon.subscribe('t', 'ch', rdy=1) as consumer:
        begin = time.time()
        with daemon.connect() as client:
            client.dpub('t', 300, b'later')
        wait_deferred(daemon, 't', 'ch', begin + 0.3)
        assert daemon.http('PUT', '/config/drain', b'true').status == 200
        message = consumer.message()
        consumer.req(message, 300)
        message = consumer.message()
        assert (message.body, message.attempts) == (b'later', 2)
        consumer.fin(message)
        assert daemon.wait_exit() == 0
    assert 'INFO: NSQ: drained\n' in daemon.log()


def test_clean_restarts_move_nothing(new_nsqd):
    daemon = new_nsqd('--durability=disk', '--mem-queue-size=10')
    bodies = [b'%d' % i for i in range(50)]
    daemon.pub('t', *bodies)
    daemon.restart()
    daemon.wait_topic('t', depth=50)
    daemon.create('t', 'ch')
    daemon.wait_channel('t', 'ch', depth=50)
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=50)
    assert [body for body, _ in drain(daemon, 't', 'ch', 50)] == bodies
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0)


@pytest.mark.parametrize('memory', [10000, 300, 50, 0])
def test_a_clean_restart_keeps_the_order(new_nsqd, memory):
    """Of what was in memory, and what was not. What came back has its attempts."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=%d' % memory)
    daemon.create('t', 'ch')
    bodies = [b'%d' % i for i in range(1000)]
    daemon.pub('t', *bodies)
    with daemon.subscribe('t', 'ch', rdy=20) as client:
        messages = client.messages(20)
        client.rdy(0)
        for message in messages[10:]:
            client.req(message)
        daemon.wait_channel('t', 'ch', depth=990, in_flight_count=10)
        daemon.restart()
    daemon.restart()
    got = drain(daemon, 't', 'ch', 1000)
    back = [(body, 2) for body in bodies[10:20]]
    assert sorted(g for g in got if g in back) == back
    assert [g for g in got if g not in back] == [
        (body, 2 if i < 10 else 1) for i, body in enumerate(bodies) if not 10 <= i < 20]


def test_a_channel_that_is_there_when_it_is_killed(new_nsqd):
    """As soon as a message is acknowledged, which goes to all channels that have been made."""
    daemon = new_nsqd('--durability=process', '--sync-timeout=1h')
    for life in range(5):
        channels = ['ch%d' % i for i in range(life + 1)]
        daemon.create('t', channels[-1])
        daemon.pub('t', b'%d' % life)
        daemon.process.kill()
        daemon.process.wait()
        daemon.write_metadata({'topics': [], 'version': '1.3.0'})
        daemon.start()
        # The next channel would get what the topic has not handed out by then.
        wait_handed_out(daemon, 't')
    for i, channel in enumerate(channels):
        assert drain(daemon, 't', channel, 5 - i) == [(b'%d' % life, 1) for life in range(i, 5)]


def test_empty_and_delete(new_nsqd):
    daemon = new_nsqd('--durability=process', '--mem-queue-size=10')
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%d' % i for i in range(50)])
    daemon.wait_channel('t', 'ch', depth=50)
    assert daemon.post('/channel/empty?topic=t&channel=ch').status == 200
    daemon.wait_channel('t', 'ch', depth=0)
    daemon.pub('t', b'new')
    assert drain(daemon, 't', 'ch', 1) == [(b'new', 1)]
    daemon.pub('t', b'gone')
    assert daemon.post('/channel/delete?topic=t&channel=ch').status == 200
    daemon.create('t', 'ch')
    daemon.pub('t', b'newer')
    assert drain(daemon, 't', 'ch', 1) == [(b'newer', 1)]
    assert daemon.post('/topic/delete?topic=t').status == 200
    assert daemon.post('/topic/create?topic=t').status == 200
    daemon.create('t', 'ch')
    daemon.pub('t', b'first')
    assert drain(daemon, 't', 'ch', 1) == [(b'first', 1)]
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0)


def test_what_was_emptied_does_not_come_again(new_nsqd):
    """Not even if the daemon is killed as soon as it has said so."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=10', '--sync-timeout=1h')
    daemon.create('t', 'ch')
    daemon.create('u')
    for topic in ('t', 'u'):
        daemon.pub(topic, *[b'%d' % i for i in range(50)])
    daemon.wait_channel('t', 'ch', depth=50)
    daemon.wait_topic('u', depth=50)
    assert daemon.post('/channel/empty?topic=t&channel=ch').status == 200
    assert daemon.post('/topic/empty?topic=u').status == 200
    kill_and_start(daemon)
    daemon.create('u', 'ch')
    for topic in ('t', 'u'):
        daemon.pub(topic, b'new')
        assert drain(daemon, topic, 'ch', 1) == [(b'new', 1)]


def test_a_deletion_that_was_cut_short_goes_on(new_nsqd):
    daemon = new_nsqd('--durability=process')
    daemon.pub('t', b'kept')
    daemon.stop()
    deleted = os.path.join(daemon.data_path, 'gone.log:deleted')
    os.mkdir(deleted)
    for name in ('00000000000000000001.seg', 'ch.cursor'):
        with open(os.path.join(deleted, name), 'wb') as f:
            f.write(b'x' * 100)
    daemon.start()
    assert not os.path.exists(deleted)
    daemon.wait_topic('t', depth=1)


def test_without_durability_a_log_is_not_left_behind(new_nsqd):
    daemon = new_nsqd('--durability=process')
    daemon.pub('t', b'kept')
    daemon.stop()
    other = new_nsqd('--durability=none', start=False, data_path=daemon.data_path)
    other.spawn()
    assert other.wait_exit() != 0
    assert '--export-stock' in other.log()


SMALL_FILES = ('--max-bytes-per-file=65536', '--sync-timeout=20ms')


def segments(daemon, topic):
    """The segments of a topic's log, the oldest first."""
    names = os.listdir(os.path.join(daemon.data_path, topic + '.log'))
    return sorted(name for name in names if name.endswith('.seg'))


def is_little(daemon, topic, body_size):
    """The log has no more than four times what is wanted of it, and the newest segments."""
    log = log_of(daemon, topic)
    wanted = max(c['unfinished'] for c in log['cursors'])
    return log['bytes'] <= 4 * wanted * (body_size + 100) + 5 * 65536


@pytest.mark.parametrize('durability', ['process', 'disk'])
def test_old_messages_do_not_hold_the_log(new_nsqd, durability):
    """In flight, requeued, deferred: their segments go, and they stay what they are."""
    daemon = new_nsqd('--durability=' + durability, *SMALL_FILES)
    daemon.create('t', 'ch')
    daemon.pub('t', b'held', b'later', b'back')
    with daemon.subscribe('t', 'ch', rdy=3) as holder:
        held, later, back = (holder.message() for _ in range(3))
        assert [m.body for m in (held, later, back)] == [b'held', b'later', b'back']
        holder.req(later, 3600000)
        with daemon.connect() as publisher:
            publisher.dpub('t', 3600000, b'deferred')
        daemon.wait_channel('t', 'ch', deferred_count=2, in_flight_count=2)
        holder.rdy(0)
        with daemon.subscribe('t', 'ch', rdy=50) as other:
            for _ in range(20):
                daemon.pub('t', *[b'x' * 4000] * 20)
                for _ in range(20):
                    other.fin(other.message())
        wait_until(lambda: is_little(daemon, 't', 4000), lambda: segments(daemon, 't'))
        holder.fin(held)
        holder.req(back)
        daemon.wait_channel('t', 'ch', depth=1, in_flight_count=0, deferred_count=2)
    assert drain(daemon, 't', 'ch', 1) == [(b'back', 2)]
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=2)
    kill_and_start(daemon)
    daemon.wait_channel('t', 'ch', depth=0, deferred_count=2)
    assert drain(daemon, 't', 'ch', 0) == []


class Ledger:
    """What was promised about the messages of a channel, life after life."""

    def __init__(self):
        self.published, self.done, self.hour, self.tried = set(), set(), set(), {}

    def take(self, message, life):
        """A life that was cut short may have handed it out without anybody seeing it."""
        assert message.body[:12] in self.published
        seen = self.tried.get(message.body, 0)
        assert 1 <= message.attempts <= seen + 1 + life, message
        self.tried[message.body] = seen + 1

    def settle(self, client, message, i):
        if i % 40 == 7:
            self.hour.add(message.body[:12])
            client.req(message, 3600000)
        elif i % 40 == 17:
            client.req(message, 300)
        elif i % 40 == 27:
            client.req(message)
        elif i % 40 != 37:
            self.done.add(message.body[:12])
            client.fin(message)


def test_killed_while_old_messages_are_copied(new_nsqd):
    """Nothing is lost, and nothing waits that was finished, however often segments go."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=100', *SMALL_FILES)
    daemon.create('t', 'ch')
    ledger = Ledger()
    for life in range(5):
        with daemon.subscribe('t', 'ch', rdy=60) as client:
            for batch in range(20):
                bodies = [b'%2d %3d %3d  ' % (life, batch, i) for i in range(20)]
                ledger.published.update(bodies)
                daemon.pub('t', *[body + b'.' * 3000 for body in bodies])
                for i in range(20):
                    message = client.message()
                    ledger.take(message, life)
                    ledger.settle(client, message, 20 * batch + i)
            wait_until(lambda: is_little(daemon, 't', 3000), lambda: segments(daemon, 't'))
            kill_and_start(daemon)
    assert segments(daemon, 't')[0] > '%020d.seg' % 1000
    left, again = ledger.published - ledger.done - ledger.hour, set()
    with daemon.subscribe('t', 'ch', rdy=10) as client:
        while not left <= again:
            message = client.message()
            ledger.take(message, 5)
            assert message.body[:12] not in again
            again.add(message.body[:12])
            client.fin(message)
    # What an hour was asked for waits, or comes at once if that was not written by then.
    waiting = daemon.channel_stats('t', 'ch')['deferred_count']
    assert len(ledger.hour - again) <= waiting <= len(ledger.hour)
