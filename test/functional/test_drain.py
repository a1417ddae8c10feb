"""Draining: --sigterm=drain, PUT /config/drain, --drain-timeout.

Nothing of it is in stock 1.3.0; the names are those of its issue 1302.
"""

import json
import signal
import threading

import pytest

from lookupd import FakeLookupd
from nsq import ERROR, MESSAGE, RESPONSE, Message, mpub_body, wait_until

pytestmark = pytest.mark.ours(reason='1.3.0 cannot drain')

REFUSED = (503, b'{"message":"DRAINING"}')


def answer(response):
    return response.status, response.body


def begin(daemon):
    assert answer(daemon.http('PUT', '/config/drain', b'true')) == (200, b'true')


def wait_refusals(daemon):
    """A signal is a little later than its sender."""
    wait_until(lambda: daemon.get('/config/drain').body == b'true', 'it drains')


def wait_end(daemon, mark):
    """It ends by itself, cleanly; the log has said why."""
    assert daemon.wait_exit() == 0, daemon.log()
    log = daemon.log()
    assert log.endswith(' INFO: NSQ: bye\n'), log[-3000:]
    assert mark in log, log[-3000:]
    return log


def held(daemon, topic='held', channel='ch', body=b'held'):
    """A consumer that has a message in its hand: the drain waits for it."""
    consumer = daemon.subscribe(topic, channel, rdy=1)
    daemon.pub(topic, body)
    return consumer, consumer.message()


@pytest.fixture
def lookupd():
    made = FakeLookupd()
    yield made
    made.close()


def lookupd_flags(lookupd):
    return ['--http-client-connect-timeout=1m', '--http-client-request-timeout=1m',
            '--lookupd-tcp-address=' + lookupd.address]


# -- the state

def test_the_state_is_shown(new_nsqd):
    daemon = new_nsqd()
    assert answer(daemon.get('/config/drain')) == (200, b'false')
    consumer, message = held(daemon)
    begin(daemon)
    assert answer(daemon.get('/config/drain')) == (200, b'true')
    begin(daemon)       # once more: nothing changes
    assert answer(daemon.get('/ping')) == (200, b'OK')
    consumer.fin(message)
    log = wait_end(daemon, 'NSQ: drained')
    assert log.count('NSQ: draining, for 1m0s at most') == 1


def test_an_empty_body_begins_it_as_upstream_has_it(new_nsqd):
    daemon = new_nsqd()
    consumer, message = held(daemon)
    assert answer(daemon.http('PUT', '/config/drain')) == (200, b'true')
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


@pytest.mark.parametrize('body', [b'maybe', b'True', b'true\n', b'\0', b'1', b'x' * 100000])
def test_another_body_is_refused(nsqd, body):
    assert answer(nsqd.http('PUT', '/config/drain', body)) == (
        400, b'{"message":"INVALID_VALUE"}')
    assert nsqd.get('/config/drain').body == b'false'


def test_other_options_still_want_a_body(nsqd):
    assert answer(nsqd.http('PUT', '/config/log_level')) == (
        413, b'{"message":"INVALID_VALUE"}')


def test_a_daemon_without_messages_ends_at_once(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    begin(daemon)
    wait_end(daemon, 'NSQ: drained')


# -- publishers

def test_publishers_are_refused_in_stocks_shapes(new_nsqd):
    daemon = new_nsqd()
    consumer, message = held(daemon)
    begin(daemon)
    for topic in ('held', 'new'):
        assert answer(daemon.post('/pub?topic=' + topic, b'x')) == REFUSED
        assert answer(daemon.post('/pub?topic=%s&defer=10' % topic, b'x')) == REFUSED
        assert answer(daemon.post('/mpub?topic=' + topic, b'x\ny')) == REFUSED
        assert answer(daemon.post('/mpub?topic=' + topic, b'\n')) == REFUSED
        assert answer(daemon.post('/mpub?binary=true&topic=' + topic,
                                  mpub_body([b'x']))) == REFUSED
        for words, body, code in [
                (('PUB', topic), b'x', b'E_PUB_FAILED PUB'),
                (('MPUB', topic), mpub_body([b'x', b'y']), b'E_MPUB_FAILED MPUB'),
                (('DPUB', topic, 10), b'x', b'E_DPUB_FAILED DPUB')]:
            with daemon.connect() as client:
                client.command(*words, body=body)
                client.expect_fatal(code + b' failed draining')
    assert answer(daemon.post('/topic/create?topic=new')) == REFUSED
    # What is wrong anyway is still called so.
    assert daemon.post('/pub?topic=held', b'').body == b'{"message":"MSG_EMPTY"}'
    assert daemon.post('/pub?topic=$', b'x').body == b'{"message":"INVALID_TOPIC"}'
    # Nothing of all this is there.
    assert [t['topic_name'] for t in daemon.stats()['topics']] == ['held']
    assert daemon.topic_stats('held')['message_count'] == 1
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


def test_a_list_that_was_begun_is_taken_whole_or_not_at_all(new_nsqd):
    # Its publisher would publish all of it again, elsewhere.
    daemon = new_nsqd('--mem-queue-size=100000', '--max-body-size=50000000')
    consumer, message = held(daemon)
    answers = []

    def publish():
        with daemon.connect() as client:
            while True:
                client.command('MPUB', 'lists', body=mpub_body([b'x'] * 3000))
                answers.append(client.answer())
                if answers[-1][0] == ERROR:
                    return
    daemon.create('lists', 'ch')
    publisher = threading.Thread(target=publish)
    publisher.start()
    wait_until(lambda: len(answers) > 20, 'lists come')
    begin(daemon)
    publisher.join()
    assert answers[-1] == (ERROR, b'E_MPUB_FAILED MPUB failed draining')
    assert daemon.topic_stats('lists')['message_count'] == 3000 * (len(answers) - 1)
    assert daemon.post('/topic/delete?topic=lists').status == 200
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


def test_consumers_go_on(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%d' % i for i in range(100)])
    consumer, message = held(daemon)
    begin(daemon)
    # New ones come in, at channels that are there, and at new ones of topics that are.
    with daemon.subscribe('t', 'ch', rdy=10) as other:
        got = []
        for _ in range(100):
            m = other.message()
            got.append(m.body)
            other.fin(m)
        assert sorted(got, key=int) == [b'%d' % i for i in range(100)]
        daemon.subscribe('t', 'another', rdy=1).close()
    with daemon.connect() as client:
        client.command('SUB', 'new', 'ch')
        client.expect_fatal(b'E_SUB_FAILED SUB failed draining')
    # It is neither lost nor done when it comes back.
    consumer.req(message)
    message = consumer.message()
    assert message.attempts == 2
    consumer.touch(message)
    consumer.req(message, 50)
    message = consumer.message()
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


# -- the end

def test_it_waits_for_what_is_deferred(new_nsqd):
    daemon = new_nsqd()
    with daemon.subscribe('t', 'ch', rdy=1) as consumer:
        with daemon.connect() as client:
            client.dpub('t', 700, b'later')
        begin(daemon)
        message = consumer.message()
        assert message.body == b'later'
        consumer.fin(message)
        wait_end(daemon, 'NSQ: drained')


def test_it_waits_for_a_message_that_times_out(new_nsqd):
    daemon = new_nsqd('--msg-timeout=200ms')
    with daemon.subscribe('t', 'ch', rdy=1) as dies:
        daemon.pub('t', b'x')
        dies.message()
        begin(daemon)
    with daemon.subscribe('t', 'ch', rdy=1) as consumer:
        message = consumer.message()
        assert message.attempts >= 2    # the first one may have had it again
        consumer.fin(message)
        wait_end(daemon, 'NSQ: drained')


@pytest.mark.parametrize('name', ['e#ephemeral', 't'])
def test_it_waits_for_an_ephemeral_channel(new_nsqd, name):
    daemon = new_nsqd()
    with daemon.subscribe(name, 'ch#ephemeral', rdy=1) as consumer:
        daemon.pub(name, b'a', b'b')
        message = consumer.message()
        begin(daemon)
        consumer.fin(message)
        consumer.fin(consumer.message())
        wait_end(daemon, 'NSQ: drained')


def test_the_end_of_an_ephemeral_consumer_ends_the_wait(new_nsqd):
    daemon = new_nsqd()
    consumer = daemon.subscribe('e#ephemeral', 'ch#ephemeral', rdy=1)
    daemon.pub('e#ephemeral', b'a', b'b')
    consumer.message()
    begin(daemon)
    consumer.close()
    wait_end(daemon, 'NSQ: drained')


def test_a_backlog_on_disk_is_drained(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'%d' % i for i in range(2000)])
    begin(daemon)
    with daemon.subscribe('t', 'ch', rdy=100) as consumer:
        got = set()
        for _ in range(2000):
            message = consumer.message()
            got.add(message.body)
            consumer.fin(message)
        assert len(got) == 2000
        wait_end(daemon, 'NSQ: drained')


def never_finished(daemon):
    """A consumer that holds one of three messages."""
    consumer = daemon.subscribe('t', 'ch', rdy=1)
    daemon.pub('t', b'a', b'b', b'c')
    consumer.message()
    return consumer


def channel_without_consumers(daemon):
    daemon.create('t', 'ch')
    daemon.pub('t', b'a', b'b', b'c')


def topic_without_channels(daemon):
    daemon.pub('t', b'a', b'b', b'c')


def paused_channel(daemon):
    daemon.create('t', 'ch')
    assert daemon.post('/channel/pause?topic=t&channel=ch').status == 200
    daemon.pub('t', b'a', b'b', b'c')
    return daemon.subscribe('t', 'ch', rdy=1)


def deferred_for_long(daemon):
    daemon.create('t', 'ch')
    with daemon.connect() as client:
        for body in (b'a', b'b', b'c'):
            client.dpub('t', 600000, body)


@pytest.mark.parametrize('prepare', [
    never_finished, channel_without_consumers, topic_without_channels, paused_channel,
    deferred_for_long])
@pytest.mark.parametrize('memory', [10000, 0])
def test_the_timeout_ends_it_with_nothing_lost(new_nsqd, prepare, memory):
    daemon = new_nsqd('--drain-timeout=300ms', '--mem-queue-size=%d' % memory)
    consumer = prepare(daemon)
    begin(daemon)
    log = wait_end(daemon, 'WARNING: NSQ: the drain ends, its time is up; '
                           '3 messages of 1 topics are kept on disk')
    assert 'NSQ: drained' not in log
    if consumer:
        consumer.close()
    daemon.start()
    assert answer(daemon.get('/config/drain')) == (200, b'false')
    daemon.post('/channel/unpause?topic=t&channel=ch')
    with daemon.subscribe('t', 'ch', rdy=3) as client:
        assert sorted(m.body for m in client.messages(3)) == [b'a', b'b', b'c']


def test_without_a_timeout_it_goes_on(new_nsqd):
    daemon = new_nsqd('--drain-timeout=0')
    consumer, message = held(daemon)
    begin(daemon)
    daemon.wait_log('NSQ: draining, for ever at most')
    consumer.expect_quiet()
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


# -- signals

def test_sigterm_is_a_clean_shutdown_by_default(new_nsqd):
    daemon = new_nsqd()
    channel_without_consumers(daemon)
    assert 'drain' not in daemon.stop()


def test_sigterm_drains_if_told_so(new_nsqd):
    daemon = new_nsqd('--sigterm=drain')
    consumer, message = held(daemon)
    daemon.process.send_signal(signal.SIGTERM)
    wait_refusals(daemon)
    assert answer(daemon.post('/pub?topic=held', b'x')) == REFUSED
    # Its supervisor waits for its end: nobody can call that off.
    assert answer(daemon.http('PUT', '/config/drain', b'false')) == (
        503, b'{"message":"EXITING"}')
    assert answer(daemon.http('PUT', '/config/drain', b'true')) == (200, b'true')
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


@pytest.mark.parametrize('second', [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_is_a_clean_shutdown_at_once(new_nsqd, second):
    daemon = new_nsqd('--sigterm=drain', '--drain-timeout=0')
    held(daemon)
    daemon.process.send_signal(signal.SIGTERM)
    wait_refusals(daemon)
    log = daemon.stop(second)
    assert 'NSQ: the drain ends, by %s; 1 messages of 1 topics are kept on disk' % (
        second.name) in log
    daemon.start()
    assert daemon.channel_stats('held', 'ch')['depth'] == 1
    daemon.stop(signal.SIGINT)      # without a limit its drain would have no end


def test_sigint_never_drains(new_nsqd):
    daemon = new_nsqd('--sigterm=drain')
    channel_without_consumers(daemon)
    assert 'drain' not in daemon.stop(signal.SIGINT)


def test_sigterm_after_an_operators_drain(new_nsqd):
    daemon = new_nsqd()
    held(daemon)
    begin(daemon)
    daemon.stop()       # by default it is a clean shutdown


def test_sigterm_makes_an_operators_drain_final(new_nsqd):
    daemon = new_nsqd('--sigterm=drain')
    consumer, message = held(daemon)
    begin(daemon)
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: daemon.http('PUT', '/config/drain', b'false').status == 503
               or begin(daemon), 'it is final')
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


def test_a_signal_during_the_start_drains_once_it_has_started(new_nsqd):
    daemon = new_nsqd('--sigterm=drain', start=False)
    daemon.spawn()
    wait_until(lambda: ' ID: ' in daemon.log(), daemon.log)
    daemon.process.send_signal(signal.SIGTERM)
    wait_end(daemon, 'NSQ: drained')


@pytest.mark.parametrize('flag, text', [
    ('--sigterm=stop', '--sigterm must be clean-shutdown or drain'),
    ('--sigterm=', '--sigterm must be clean-shutdown or drain'),
    ('--drain-timeout=-1s', '--drain-timeout must be [0,'),
])
def test_what_cannot_be_is_refused(new_nsqd, flag, text):
    log = new_nsqd(flag, start=False).start_fails()
    assert 'FATAL: failed to instantiate nsqd - ' + text in log


# -- calling it off

def test_it_can_be_called_off(new_nsqd, lookupd):
    daemon = new_nsqd(*lookupd_flags(lookupd))
    daemon.create('empty', 'ch')
    consumer, message = held(daemon)
    lookupd.wait_registered(('empty', 'ch'), ('held', 'ch'))
    begin(daemon)
    lookupd.wait_command('UNREGISTER empty ch', 'UNREGISTER empty')
    assert answer(daemon.http('PUT', '/config/drain', b'false')) == (200, b'false')
    daemon.wait_log('NSQ: the drain is called off')
    daemon.pub('held', b'more')
    lookupd.wait_registered(('empty', 'ch'), ('held', 'ch'))
    # And begun again.
    begin(daemon)
    assert answer(daemon.post('/pub?topic=held', b'x')) == REFUSED
    consumer.fin(message)
    message = consumer.message()
    assert message.body == b'more'
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')


def test_changes_of_mind_under_load(new_nsqd):
    """What is acknowledged while it is called off is drained as well."""
    daemon = new_nsqd()
    taken, over = [], threading.Event()

    def publish(n):
        i = 0
        while not over.is_set():
            body = b'%d-%d' % (n, i)
            i += 1
            status, data = answer(daemon.post('/pub?topic=t', body))
            assert (status, data) in [(200, b'OK'), REFUSED], data
            if status == 200:
                taken.append(body)
    consumer, message = held(daemon)
    with Consumers(daemon, 't', 'ch', 2) as consumers:
        threads = [threading.Thread(target=publish, args=(n,)) for n in range(2)]
        for t in threads:
            t.start()
        try:
            for i in range(20):
                begin(daemon)
                assert daemon.http('PUT', '/config/drain', b'false').status == 200
                wait_until(lambda: len(taken) > 5 * i, 'it takes messages')
            begin(daemon)
        finally:
            over.set()
            for t in threads:
                t.join()
        consumer.fin(message)
        wait_end(daemon, 'NSQ: drained')
    assert sorted(consumers.got) == sorted(taken)


# -- nsqlookupd

def test_what_is_empty_is_unregistered(new_nsqd, lookupd):
    daemon = new_nsqd(*lookupd_flags(lookupd))
    daemon.create('empty', 'a', 'b')
    daemon.create('nothing')
    consumer, message = held(daemon)
    daemon.create('held', 'idle')       # it has had no message
    lookupd.wait_registered(('empty', 'a'), ('empty', 'b'), ('nothing',), ('held', 'ch'), ('held', 'idle'))
    begin(daemon)
    lookupd.wait_command('UNREGISTER empty a', 'UNREGISTER empty b', 'UNREGISTER empty',
                         'UNREGISTER nothing', 'UNREGISTER held idle')
    assert 'UNREGISTER held ch' not in lookupd.commands
    assert 'UNREGISTER held' not in lookupd.commands
    # A connection that is made anew is told of the rest alone.
    before = len(lookupd.commands)
    lookupd.drop()
    lookupd.wait_registered(('held', 'ch'), gone=(('empty', 'a'), ('empty', 'b'), ('nothing',), ('held', 'idle')))
    assert 'REGISTER empty a' not in lookupd.commands[before:]
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')
    # It is there again when the daemon starts again.
    assert set(daemon.metadata()) == {'empty', 'nothing', 'held'}
    assert set(daemon.metadata()['empty'][1]) == {'a', 'b'}


def test_a_new_channel_of_an_empty_topic_is_unregistered_with_its_topic(new_nsqd, lookupd):
    # A nsqlookupd that is told of a channel takes its topic for registered, too.
    daemon = new_nsqd(*lookupd_flags(lookupd))
    daemon.create('empty', 'ch')
    held(daemon)
    begin(daemon)
    lookupd.wait_command('UNREGISTER empty ch', 'UNREGISTER empty')
    daemon.subscribe('empty', 'new', rdy=1).close()
    lookupd.wait_command('UNREGISTER empty new')
    wait_until(lambda: 'UNREGISTER empty' in lookupd.commands[
        lookupd.commands.index('UNREGISTER empty new'):], lookupd.commands)


# -- under load

class Consumers:
    """They finish what they get, until the daemon goes."""

    def __init__(self, daemon, topic, channel, count, rdy=50):
        self.got = []
        self.failures = []
        self.clients = [daemon.subscribe(topic, channel, rdy=rdy) for _ in range(count)]
        self.threads = [threading.Thread(target=self.run, args=(c,)) for c in self.clients]

    def run(self, client):
        try:
            while True:
                kind, data = client.answer()
                if kind != MESSAGE:
                    self.failures.append(data)
                    continue
                message = Message(data)
                client.fin(message)
                # It has been finished, if the daemon has ended because nothing was left.
                self.got.append(message.body)
        except (EOFError, OSError):
            pass

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        for t in self.threads:
            t.join()
        for c in self.clients:
            c.close()
        assert not self.failures


class Publishers:
    """They publish by TCP until they are refused; taken is what was acknowledged."""

    def __init__(self, daemon, topic, count):
        self.taken = []
        self.refusals = []
        self.threads = [threading.Thread(target=self.run, args=(daemon, topic, n))
                        for n in range(count)]
        for t in self.threads:
            t.start()

    def run(self, daemon, topic, n):
        with daemon.connect() as client:
            i = 0
            while True:
                bodies = [b'%d-%d' % (n, i + k) for k in range(1 + i % 7)]
                i += len(bodies)
                if len(bodies) == 1:
                    client.command('PUB', topic, body=bodies[0])
                else:
                    client.command('MPUB', topic, body=mpub_body(bodies))
                kind, data = client.answer()
                if kind == ERROR:
                    self.refusals.append(data)
                    return
                assert (kind, data) == (RESPONSE, b'OK')
                self.taken += bodies

    def join(self):
        for t in self.threads:
            t.join()


@pytest.mark.parametrize('memory', [10000, 10])
def test_under_load_nothing_is_lost_and_nothing_comes_twice(new_nsqd, memory):
    daemon = new_nsqd('--sigterm=drain', '--mem-queue-size=%d' % memory)
    daemon.create('t', 'a', 'b')
    with Consumers(daemon, 't', 'a', 3) as a, Consumers(daemon, 't', 'b', 1, rdy=1) as b:
        publishers = Publishers(daemon, 't', 3)
        wait_until(lambda: len(publishers.taken) > 2000, 'messages flow')
        daemon.process.send_signal(signal.SIGTERM)
        publishers.join()
        wait_end(daemon, 'NSQ: drained')
    assert {text.split(b' ', 1)[1] for text in publishers.refusals} <= {
        b'PUB failed draining', b'MPUB failed draining'}
    assert len(publishers.refusals) == 3
    assert sorted(a.got) == sorted(publishers.taken)
    assert sorted(b.got) == sorted(publishers.taken)
    daemon.start()
    for channel in 'ab':
        assert daemon.channel_stats('t', channel)['depth'] == 0


def test_publishers_that_try_all_the_time_do_not_hold_it_up(new_nsqd):
    daemon = new_nsqd()
    over = threading.Event()

    def publish():
        while not over.is_set():
            try:
                with daemon.connect() as client:
                    client.send(b'PUB t\n\0\0\0\1x' * 200)
                    while client.answer()[0] == RESPONSE:
                        pass
            except (EOFError, OSError):
                pass
    daemon.create('t', 'ch')
    consumer, message = held(daemon)
    begin(daemon)
    threads = [threading.Thread(target=publish) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        consumer.fin(message)
        wait_end(daemon, 'NSQ: drained')
    finally:
        over.set()
        for t in threads:
            t.join()
    daemon.start()
    assert daemon.channel_stats('t', 'ch')['depth'] == 0


def test_a_publisher_that_stops_in_the_middle_does_not_hold_it_up(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    clients = []
    for begun in (b'PUB t\n\0\0\0\x0axxx', b'MPUB t\n\0\0\0\x10\0\0\0\2\0\0\0\1x', b'PUB t\n'):
        clients.append(daemon.connect())
        clients[-1].send(begun)
    begin(daemon)
    wait_end(daemon, 'NSQ: drained')
    for client in clients:
        client.close()


def test_stats_go_on_meanwhile(new_nsqd):
    daemon = new_nsqd()
    consumer, message = held(daemon)
    begin(daemon)
    assert json.loads(daemon.get('/stats?format=json').body)['health'] == 'OK'
    assert daemon.channel_stats('held', 'ch')['in_flight_count'] == 1
    consumer.fin(message)
    wait_end(daemon, 'NSQ: drained')
