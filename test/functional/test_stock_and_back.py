"""From stock's files to --durability and back: nothing is lost, nothing comes twice.

STOCK names stock's nsqd 1.3.0, which reads what --export-stock has written.
"""

import os
import subprocess

import pytest

from nsq import DEADLINE, Nsqd, SANITIZER, binary, not_tested, running, wait_until

pytestmark = pytest.mark.ours(reason='stock has no logs')

DURABLE = ['--durability=process', '--mem-queue-size=20', '--sync-timeout=10ms']


class Stock(Nsqd):
    def command(self):
        return [os.path.abspath(os.environ['STOCK'])] + super().command()[1:]


@pytest.fixture(params=['stock', 'ours'])
def reader(request, tmp_path_factory):
    """Makes a daemon without durability on a data path: stock's, or ours."""
    if request.param == 'stock' and not os.access(os.environ.get('STOCK', ''), os.X_OK):
        not_tested('no stock nsqd 1.3.0: `make stock` builds one, or STOCK names one')
    kind = Stock if request.param == 'stock' else Nsqd

    def make(data_path, *flags):
        return kind(str(tmp_path_factory.mktemp('reader')), flags, data_path)
    return make


def export(path, *flags, code=0):
    run = subprocess.run([binary(), '--export-stock', '--data-path=%s' % path, *flags],
                         capture_output=True, timeout=DEADLINE * 3, check=False)
    out, err = run.stdout.decode(), run.stderr.decode(errors='replace')
    assert not SANITIZER.search(err), err
    assert run.returncode == code, out + err
    return out + err


def tree(path):
    """All files below, with what is in them."""
    found = {}
    for directory, _, files in os.walk(path):
        for name in files:
            name = os.path.join(directory, name)
            with open(name, 'rb') as f:
                found[os.path.relpath(name, path)] = f.read()
    return found


def drain(daemon, topic, channel, count):
    """The bodies and attempts of so many messages, which are finished; then there are no more."""
    got = []
    with daemon.subscribe(topic, channel, rdy=1) as client:
        for _ in range(count):
            message = client.message()
            got.append((message.body, message.attempts))
            client.fin(message)
        client.expect_quiet()
    daemon.wait_channel(topic, channel, depth=0, in_flight_count=0, deferred_count=0)
    return got


def drain_until(daemon, topic, channel, mark):
    """The bodies of all that come before the mark. All are finished; then there are no more."""
    got = []
    with daemon.subscribe(topic, channel, rdy=1) as client:
        while not got or got[-1] != mark:
            message = client.message()
            got.append(message.body)
            client.fin(message)
        client.expect_quiet()
    return got[:-1]


def numbers(count, of=b'%d'):
    return [of % i for i in range(count)]


def use(daemon):
    """Channel a: 0 is finished; 1 is deferred, 2 comes back, and 3 and 4 are in flight at the end.
    Channel b has all, and nobody has b's messages. Topic alone has no channel."""
    daemon.create('t', 'a', 'b')
    daemon.pub('t', *numbers(100))
    daemon.pub('alone', *numbers(30))
    daemon.wait_channel('t', 'a', depth=100)
    daemon.wait_channel('t', 'b', depth=100)
    client = daemon.subscribe('t', 'a', rdy=5)
    held = [client.message() for _ in range(5)]
    client.fin(held[0])
    client.req(held[1], 3600000)
    daemon.wait_channel('t', 'a', deferred_count=1)
    return client


# -- the way back

def test_what_the_logs_hold_comes_to_stock(new_nsqd, reader):
    """After a clean stop: each message once, in the order of the log, with its attempts."""
    daemon = new_nsqd(*DURABLE)
    client = use(daemon)
    daemon.stop()
    client.close()
    said = export(daemon.data_path)
    assert 't:a: 99 messages, 1 of them deferred\n' in said
    assert 't:b: 100 messages, 0 of them deferred\n' in said
    assert 'alone: 30 messages, 0 of them deferred\n' in said
    assert 't.log was put aside as t.log:exported\n' in said
    assert 'in all: 229 messages in 4 queues of 2 topics; deferred: 1; damaged: 0\n' in said
    other = reader(daemon.data_path)
    with running(other):
        other.wait_channel('t', 'a', depth=99)
        got = drain(other, 't', 'a', 99)
        assert [body for body, _ in got] == numbers(100)[1:]
        tries = dict(got)
        assert tries[b'1'] == 2 and tries[b'3'] == 2 and tries[b'99'] == 1
        assert drain(other, 't', 'b', 100) == [(body, 1) for body in numbers(100)]
        other.wait_topic('alone', depth=30)
        other.create('alone', 'ch')
        assert drain(other, 'alone', 'ch', 30) == [(body, 1) for body in numbers(30)]
    assert not [name for name in os.listdir(daemon.data_path) if name.endswith('.bad')]


def test_after_kill_9(new_nsqd, reader):
    """What had been finished in time does not come again; the rest does, in order."""
    daemon = new_nsqd(*DURABLE)
    with use(daemon):
        def written():
            with open(os.path.join(daemon.data_path, 't.log', 'a.cursor'), 'rb') as f:
                return len(f.read()) > 400
        wait_until(written, 'the cursor is written')
        daemon.process.kill()
        daemon.process.wait()
    export(daemon.data_path)
    # Else what comes from the topic is in memory, and may overtake what is on disk.
    other = reader(daemon.data_path, '--mem-queue-size=0')
    with running(other):
        other.pub('t', b'mark')
        for channel in 'ab':
            got = drain_until(other, 't', channel, b'mark')
            # Before the kill the topic had handed out all; perhaps not all of that was written.
            assert len(set(got)) == len(got)
            assert set(numbers(100)) - set(got) <= ({b'0'} if channel == 'a' else set())
            assert channel == 'a' or got == numbers(100)


def test_again_and_again(new_nsqd, reader):
    """There and back three times; each time more comes behind what is there."""
    path = None
    for life in range(3):
        daemon = new_nsqd(*DURABLE, data_path=path)
        path = daemon.data_path
        daemon.create('t', 'a')
        daemon.pub('t', *numbers(20, b'%d.%%d' % life))
        daemon.wait_channel('t', 'a', depth=20 * (life + 1))
        daemon.stop()
        export(path)
    assert {'t.log:exported', 't.log:exported-2', 't.log:exported-3'} <= set(os.listdir(path))
    other = reader(path)
    with running(other):
        other.wait_channel('t', 'a', depth=60)
        assert drain(other, 't', 'a', 60) == [
            (body, 1) for life in range(3) for body in numbers(20, b'%d.%%d' % life)]


def test_many_files(new_nsqd, reader):
    """The queue's files are as large as the options say."""
    daemon = new_nsqd('--durability=process', '--mem-queue-size=2')
    daemon.create('t', 'a')
    bodies = [b'%d' % i * 100 for i in range(300)]
    daemon.pub('t', *bodies)
    daemon.wait_channel('t', 'a', depth=300)
    daemon.stop()
    export(daemon.data_path, '--max-bytes-per-file=5000')
    assert len([f for f in os.listdir(daemon.data_path) if f.startswith('t:a.diskqueue.0')]) > 10
    other = reader(daemon.data_path, '--max-bytes-per-file=5000')
    with running(other):
        assert [body for body, _ in drain(other, 't', 'a', 300)] == bodies


def test_a_channel_that_only_the_log_knows(new_nsqd, reader):
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'a')
    daemon.pub('t', b'1')
    daemon.wait_channel('t', 'a', depth=1)
    daemon.process.kill()
    daemon.process.wait()
    os.remove(daemon.metadata_path)
    export(daemon.data_path)
    other = reader(daemon.data_path)
    with running(other):
        other.wait_channel('t', 'a', depth=1)
        assert drain(other, 't', 'a', 1) == [(b'1', 1)]


def test_a_failure_leaves_all_as_it_was(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'a')
    daemon.pub('t', *numbers(50), b'x' * 5000)
    daemon.pub('u', b'1')
    daemon.wait_channel('t', 'a', depth=51)
    said = export(daemon.data_path, code=1)
    assert 'cannot flock directory' in said
    daemon.stop()
    before = tree(daemon.data_path)
    said = export(daemon.data_path, '--max-msg-size=4000', code=1)
    assert 't:a: invalid message write size (5026)' in said
    assert tree(daemon.data_path) == before
    # The disk takes no more than that: a file may not be larger.
    run = subprocess.run(
        ['sh', '-c', 'ulimit -f 1; exec "$@"', 'sh', binary(), '--export-stock',
         '--data-path=' + daemon.data_path], capture_output=True, timeout=DEADLINE, check=False)
    assert run.returncode != 0
    left = tree(daemon.data_path)
    assert {name: left[name] for name in before} == before
    assert export(daemon.data_path).count(' was put aside as ') == 2
    assert not os.path.exists(os.path.join(daemon.data_path, 'export-stock.tmp'))


def test_a_newer_log_is_refused(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.pub('t', b'1')
    daemon.pub('a', b'1')
    daemon.stop()
    path = os.path.join(daemon.data_path, 't.log', ':topic.cursor')
    crc = crc32c
    with open(path, 'r+b') as f:
        for at in (0, 192):
            f.seek(at)
            head = bytearray(f.read(188))
            head[8:12] = (2).to_bytes(4, 'big')
            f.seek(at)
            f.write(bytes(head) + crc(head).to_bytes(4, 'big'))
    before = tree(daemon.data_path)
    assert 'it has version 2 of the format' in export(daemon.data_path, code=1)
    assert tree(daemon.data_path) == before


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


# -- the way there

def before(reader, data_path, *flags):
    """A daemon without durability leaves 30 messages for each of two channels, and 20 in a topic."""
    with running(reader(data_path, *flags)) as (daemon,):
        daemon.create('t', 'a', 'b')
        daemon.pub('t', *numbers(30))
        daemon.pub('alone', *numbers(20))
        daemon.wait_channel('t', 'a', depth=30)
        daemon.wait_channel('t', 'b', depth=30)
        daemon.stop()


def disk_queues(path):
    """Without what a kill has left of a file that was to replace another one."""
    return {name: text for name, text in tree(path).items()
            if '.diskqueue.' in name and not name.endswith('.tmp')}


def test_what_stock_has_left_comes_first(new_nsqd, reader, tmp_path):
    before(reader, tmp_path)
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.wait_channel('t', 'a', depth=30)
    daemon.pub('t', *numbers(70, b'new%d'))
    daemon.pub('alone', *numbers(10, b'new%d'))
    daemon.wait_channel('t', 'a', depth=100)
    daemon.wait_topic('alone', depth=30)
    assert drain(daemon, 't', 'a', 100) == [
        (body, 1) for body in numbers(30) + numbers(70, b'new%d')]
    daemon.create('alone', 'ch')
    assert [body for body, _ in drain(daemon, 'alone', 'ch', 30)] == (
        numbers(20) + numbers(10, b'new%d'))
    # What is new is in the log, whatever is still on the disk.
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    assert drain(daemon, 't', 'b', 100) == [
        (body, 1) for body in numbers(30) + numbers(70, b'new%d')]
    daemon.restart()
    # All that stock has had is gone.
    assert disk_queues(tmp_path) == {}
    daemon.pub('t', b'1', b'2')
    daemon.pub('alone', b'3')
    assert [body for body, _ in drain(daemon, 't', 'a', 2)] == [b'1', b'2']
    daemon.restart()
    assert [body for body, _ in drain(daemon, 't', 'b', 2)] == [b'1', b'2']
    daemon.stop()
    assert disk_queues(tmp_path) == {}


def test_in_the_middle(new_nsqd, reader, tmp_path):
    """Restarts while some of stock's messages are left, in flight, requeued and deferred."""
    before(reader, tmp_path)
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.pub('t', *numbers(20, b'new%d'))
    daemon.wait_channel('t', 'a', depth=50)
    with daemon.subscribe('t', 'a', rdy=6) as client:
        held = [client.message() for _ in range(6)]
        assert [m.body for m in held] == numbers(6)
        client.fin(held[0])
        client.req(held[1], 3600000)
        daemon.wait_channel('t', 'a', deferred_count=1)
        client.req(held[2])
        # It has gone round, and is there once more.
        assert client.message().body in numbers(7)
        daemon.restart()
    daemon.wait_channel('t', 'a', depth=49, deferred_count=0)
    got = drain(daemon, 't', 'a', 49)
    bodies = [body for body, _ in got]
    assert sorted(bodies) == sorted(numbers(30)[1:] + numbers(20, b'new%d'))
    # What was in nobody's hand is in order; and all of stock's is before the log's.
    assert [b for b in bodies if b in numbers(30)[9:]] == numbers(30)[9:]
    assert bodies[29:] == numbers(20, b'new%d')
    assert dict(got)[b'1'] == 2


def test_killed_in_the_middle(new_nsqd, tmp_path):
    """Again and again, while stock's messages are left: all that is new and unfinished is there."""
    daemon = new_nsqd(data_path=tmp_path)
    daemon.create('t', 'a', 'b')
    daemon.pub('t', *numbers(150))
    daemon.wait_channel('t', 'a', depth=150)
    daemon.wait_channel('t', 'b', depth=150)
    daemon.stop()
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    finished, new = set(), set()
    for life in range(4):
        bodies = numbers(40, b'%d.%%d' % life)
        daemon.pub('t', *bodies)
        new.update(bodies)
        with daemon.subscribe('t', 'a', rdy=10) as client:
            for i in range(60):
                message = client.message()
                if i % 5 == 4:
                    client.req(message, 0 if i % 2 else 50)
                else:
                    client.fin(message)
                    finished.add(message.body)
            daemon.process.kill()
            daemon.process.wait()
            daemon.start()
    left = new - finished
    assert left
    got = set()
    with daemon.subscribe('t', 'a', rdy=10) as client:
        while not left <= got:
            message = client.message()
            assert message.body in new or message.body in numbers(150)
            got.add(message.body)
            client.fin(message)
    # Nobody has b's. What the disk queue has had is in order, and before the log's.
    daemon.wait_channel('t', 'b', depth=150 + len(new))
    bodies = [body for body, _ in drain(daemon, 't', 'b', 150 + len(new))]
    assert bodies == numbers(150) + [b for life in range(4) for b in numbers(40, b'%d.%%d' % life)]


def test_more_than_memory_has_room_for_comes_back(new_nsqd, reader, tmp_path):
    """Stock's messages time out and are requeued while memory is full of the log's."""
    before(reader, tmp_path)
    daemon = new_nsqd('--durability=process', '--mem-queue-size=3', '--msg-timeout=1s',
                      data_path=tmp_path)
    with daemon.subscribe('t', 'a', rdy=30) as client:
        held = [client.message() for _ in range(30)]
        daemon.pub('t', *numbers(20, b'new%d'))
        daemon.wait_channel('t', 'a', message_count=20)
        for message in held[:15]:
            client.req(message)
    daemon.wait_channel('t', 'a', in_flight_count=0, depth=50)
    daemon.restart()
    daemon.wait_channel('t', 'a', depth=50)
    got = [body for body, _ in drain(daemon, 't', 'a', 50)]
    assert sorted(got) == sorted(numbers(30) + numbers(20, b'new%d'))
    assert [b for b in got if b.startswith(b'new')] == numbers(20, b'new%d')


def test_a_topics_backlog_goes_to_all_its_channels(new_nsqd, reader, tmp_path):
    """A paused topic has stock's messages, then the log's; a channel comes meanwhile."""
    with running(reader(tmp_path)) as (daemon,):
        daemon.create('t', 'a')
        assert daemon.post('/topic/pause?topic=t').status == 200
        daemon.pub('t', *numbers(50))
        daemon.stop()
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.pub('t', *numbers(50, b'new%d'))
    daemon.wait_topic('t', depth=100)
    daemon.create('t', 'b')
    assert daemon.post('/topic/unpause?topic=t').status == 200
    bodies = numbers(50) + numbers(50, b'new%d')
    for channel in 'ab':
        daemon.wait_channel('t', channel, depth=100)
        assert [body for body, _ in drain(daemon, 't', channel, 100)] == bodies
    daemon.pub('t', b'last')
    assert drain(daemon, 't', 'a', 1) == [(b'last', 1)]
    daemon.wait_channel('t', 'b', depth=1)


def test_empty_delete_and_peek(new_nsqd, reader, tmp_path):
    before(reader, tmp_path)
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.pub('t', *numbers(5, b'new%d'))
    daemon.wait_channel('t', 'a', depth=35)
    assert daemon.post('/channel/empty?topic=t&channel=a').status == 200
    daemon.wait_channel('t', 'a', depth=0)
    assert daemon.post('/channel/delete?topic=t&channel=b').status == 200
    assert [f for f in os.listdir(tmp_path) if f.startswith('t:b.')] == []
    daemon.pub('t', b'1')
    assert drain(daemon, 't', 'a', 1) == [(b'1', 1)]
    daemon.restart()
    daemon.wait_channel('t', 'a', depth=0)
    assert daemon.post('/topic/delete?topic=t').status == 200
    assert daemon.post('/topic/delete?topic=alone').status == 200
    assert [f for f in os.listdir(tmp_path) if not f.startswith('nsqd.dat')] == []


def test_back_while_both_have_messages(new_nsqd, reader, tmp_path):
    """The export puts what the logs hold behind what is left in stock's files."""
    before(reader, tmp_path)
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.pub('t', *numbers(70, b'new%d'))
    daemon.pub('alone', *numbers(10, b'new%d'))
    daemon.wait_channel('t', 'a', depth=100)
    daemon.wait_channel('t', 'b', depth=100)
    # All but one file are full, and the first of them are half read.
    assert len(drain_some(daemon, 't', 'a', 10)) == 10
    daemon.stop()
    export(tmp_path)
    other = reader(tmp_path, '--mem-queue-size=0')
    with running(other):
        other.wait_channel('t', 'a', depth=90)
        assert [body for body, _ in drain(other, 't', 'a', 90)] == (
            numbers(30)[10:] + numbers(70, b'new%d'))
        assert [body for body, _ in drain(other, 't', 'b', 100)] == (
            numbers(30) + numbers(70, b'new%d'))
        other.create('alone', 'ch')
        assert [body for body, _ in drain(other, 'alone', 'ch', 30)] == (
            numbers(20) + numbers(10, b'new%d'))


def test_back_after_a_kill_in_the_middle(new_nsqd, reader, tmp_path):
    """What a crash has left of a disk queue is counted first; then the log's comes behind it."""
    with running(reader(tmp_path, '--mem-queue-size=0')) as (daemon,):
        daemon.create('t', 'a', 'b')
        daemon.pub('t', *numbers(60))
        daemon.wait_channel('t', 'a', depth=60)
        daemon.wait_channel('t', 'b', depth=60)
        daemon.stop()
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.pub('t', *numbers(40, b'new%d'))
    daemon.wait_channel('t', 'a', depth=100)
    with daemon.subscribe('t', 'a', rdy=4) as client:
        for _ in range(30):
            client.fin(client.message())
        daemon.process.kill()
        daemon.process.wait()
    export(tmp_path)
    other = reader(tmp_path, '--mem-queue-size=0')
    with running(other):
        other.pub('t', b'mark')
        # What the disk queue has given away and not written down may come again, in its place.
        assert drain_until(other, 't', 'b', b'mark') == numbers(60) + numbers(40, b'new%d')
        got = drain_until(other, 't', 'a', b'mark')
        assert got[-40:] == numbers(40, b'new%d')
        old = got[:-40]
        assert len(set(old)) == len(old) and set(numbers(60)[38:]) <= set(old) <= set(numbers(60))


def test_back_after_a_kill_with_nothing_in_the_log(new_nsqd, reader, tmp_path):
    """Stock gets files whose positions are right, and condemns none."""
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=300', data_path=tmp_path)
    daemon.create('t', 'a')
    daemon.pub('t', *numbers(60))
    daemon.wait_channel('t', 'a', depth=60)
    daemon.stop()
    daemon = new_nsqd(*DURABLE, '--max-bytes-per-file=300', data_path=tmp_path)
    daemon.wait_channel('t', 'a', depth=60)
    with daemon.subscribe('t', 'a', rdy=1) as client:
        for _ in range(25):
            client.fin(client.message())
        daemon.process.kill()
        daemon.process.wait()
    export(tmp_path, '--max-bytes-per-file=300')
    other = reader(tmp_path, '--mem-queue-size=0', '--max-bytes-per-file=300')
    with running(other):
        # The one that was in flight may be lost, as ever; and what was finished may come again.
        depth = other.channel_stats('t', 'a')['depth']
        got = [body for body, _ in drain(other, 't', 'a', depth)]
        assert got == numbers(60)[60 - depth:] and 34 <= depth <= 60
    assert not [name for name in os.listdir(tmp_path) if name.endswith('.bad')]


@pytest.mark.parametrize('moment', range(6))
def test_an_export_is_killed(new_nsqd, tmp_path, moment):
    """Whenever that is: the same command completes it, and each message is there once."""
    daemon = new_nsqd(*DURABLE, data_path=tmp_path)
    daemon.create('t', 'a', 'b')
    bodies = numbers(3000)
    daemon.pub('t', *bodies)
    daemon.wait_channel('t', 'a', depth=3000)
    daemon.wait_channel('t', 'b', depth=3000)
    daemon.stop()
    files = [tmp_path / name for name in (
        'export-stock.tmp', 'export-stock.tmp/t:a.diskqueue.meta.dat',
        'export-stock.tmp/t:b.diskqueue.000000.dat', 'export-stock.tmp/ready',
        't:a.diskqueue.000000.dat', 't.log:exported')]
    with subprocess.Popen([binary(), '--export-stock', '--data-path=%s' % tmp_path],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: files[moment].exists() or run.poll() is not None, 'it has come so far')
        run.kill()
    export(tmp_path)
    other = new_nsqd(data_path=tmp_path)
    for channel in 'ab':
        other.wait_channel('t', channel, depth=3000)
    assert drain_some(other, 't', 'a', 3000, rdy=100) == bodies
    assert not (tmp_path / 'export-stock.tmp').exists()


def drain_some(daemon, topic, channel, count, rdy=1):
    with daemon.subscribe(topic, channel, rdy=rdy) as client:
        got = []
        for i in range(count):
            message = client.message()
            got.append(message.body)
            if i + 1 == count:
                client.rdy(0)
            client.fin(message)
        client.expect_quiet()
    return got


# -- a start without durability

def test_nothing_unfinished_is_left_behind(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'a')
    daemon.pub('t', b'1', b'2')
    daemon.wait_channel('t', 'a', depth=2)
    daemon.stop()
    before = tree(daemon.data_path)
    other = new_nsqd(start=False, data_path=daemon.data_path)
    log = other.start_fails()
    assert ('cannot create topic t - it has a log, and --durability is none: 2 messages in it are '
            'not finished. nsqd --data-path=%s --export-stock writes them into stock\'s files'
            % daemon.data_path) in log
    assert tree(daemon.data_path) == before
    daemon.start()
    assert len(drain(daemon, 't', 'a', 2)) == 2
    daemon.stop()
    os.remove(daemon.metadata_path)
    other.start()
    other.wait_log(r'TOPIC\(t\): all in its log is finished: it was put aside as t\.log:finished')
    other.wait_channel('t', 'a', depth=0)
    # It does not come back.
    assert other.post('/topic/delete?topic=t').status == 200
    other.restart()
    assert other.stats()['topics'] == []
    assert 't.log:finished' in os.listdir(daemon.data_path)


def test_an_export_that_was_cut_short_is_completed_first(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.pub('t', b'1')
    daemon.stop()
    staging = os.path.join(daemon.data_path, 'export-stock.tmp')
    os.mkdir(staging)
    with open(os.path.join(staging, 'ready'), 'w') as f:
        f.write('t.log\n')
    for name, text in (('t.diskqueue.000000.dat', b'\0\0\0\x1b' + b'\0' * 9 + b'\0' + b'0' * 16
                        + b'1'), ('t.diskqueue.meta.dat', b'1\n0,0\n0,31\n')):
        with open(os.path.join(staging, name), 'wb') as f:
            f.write(text)
    for flags in ([], DURABLE):
        other = new_nsqd(*flags, start=False, data_path=daemon.data_path)
        assert '--export-stock was cut short: nsqd --data-path=%s --export-stock completes it' \
            % daemon.data_path in other.start_fails()
    said = export(daemon.data_path)
    assert 't.log was put aside as t.log:exported\nan earlier export, which was cut short, is ' \
        'complete\n' in said
    assert 'in all: 0 messages' in said
    other = new_nsqd(data_path=daemon.data_path)
    other.create('t', 'a')
    other.wait_channel('t', 'a', depth=1)
