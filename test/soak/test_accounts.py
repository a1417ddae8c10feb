"""The rules of accounts.py, each with a short history that keeps it, and one that breaks it."""

import os
import sys

import pytest

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'functional')]

# pylint: disable=wrong-import-position
import accounts
from accounts import Accounts
from journal import INF, Delivery, Event, Journal, Life, Pub, Session


class History:
    """A journal that a test writes; `at` is the time of what comes next."""

    def __init__(self, mem=10, topic='kept', durability='none'):
        self.j = Journal()
        self.topic, self.durability = topic, durability
        self.at = 0.0
        self.life(0, mem)
        self.event('create', 'x')

    def tick(self):
        self.at += 1
        return self.at

    def life(self, epoch, mem=10):
        life = Life(len(self.j.lives), epoch, {'mem': mem, 'durability': self.durability})
        life.born = life.up = self.tick()
        self.j.lives.append(life)

    @property
    def now(self):
        return self.j.lives[-1]

    def end(self, how, mem=10):
        self.now.how, self.now.end_begin, self.now.end = how, self.tick(), self.tick()
        self.life(self.now.epoch + (how == 'kill'), mem)

    def event(self, kind, channel, answered=True, topic=None):
        e = Event(kind, topic or self.topic, channel, self.now)
        e.begin = self.tick()
        e.end = self.tick() if answered else None
        self.j.events.append(e)
        return e

    def pub(self, name='m', state='acked', delay=0.0):
        p = self.j.pubs[name] = Pub(name, self.topic, 10, 'pub', delay, self.now)
        p.begin, p.state = self.tick(), state
        p.end = self.tick() if state == 'acked' else INF
        return p

    def session(self, timeout=1000.0, rdy=1):
        s = Session('s%d' % len(self.j.sessions), self.topic, 'x', self.now, timeout, False)
        s.begin, s.subscribed, s.max_rdy = self.tick(), self.tick(), rdy
        self.j.sessions.append(s)
        return s

    def delivery(self, session, name='m', attempts=1, fin=None, fate=None, delay=0.0):
        d = Delivery(name, name.encode(), session, attempts)
        d.at = self.tick()
        if fin or fate:
            d.fate, d.fate_at, d.fin, d.delay = fate or 'fin', self.tick(), fin, delay
        if fin in ('confirmed', 'failed'):
            d.answered_at = self.tick()
        self.j.deliver(d)
        return d

    def problems(self):
        return Accounts(self.j, {'kept'}, {'emptied'}).problems()

    def balanced(self):
        return not self.problems()


@pytest.fixture
def h():
    return History()


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(accounts, 'CHANNEL_BATCH', 0)
    monkeypatch.setattr(accounts, 'TOPIC_BATCH', 0)


def test_acknowledged_and_finished(h):
    h.pub()
    h.delivery(h.session(), fin='confirmed')
    assert h.balanced()


@pytest.mark.parametrize('state, balanced', [('acked', False), ('unknown', True),
                                             ('refused', True), ('half', True)])
def test_only_what_was_acknowledged_must_come(h, state, balanced):
    h.pub(state=state)
    assert h.balanced() == balanced


def test_received_and_never_finished_is_lost(h):
    h.pub()
    h.delivery(h.session())
    assert not h.balanced()


def test_a_fin_that_was_refused_does_not_count(h):
    h.pub()
    h.delivery(h.session(timeout=1), fin='failed')
    assert any('are lost' in text for text, _ in h.problems())


def test_a_fin_may_meet_a_later_delivery_to_its_consumer(h):
    h.pub()
    first = h.session(timeout=1)
    h.delivery(h.session(timeout=1), attempts=2, fate='req')
    h.delivery(first, fin='sent')
    assert h.balanced()


def test_a_message_that_nobody_sent(h):
    h.delivery(h.session(), fin='confirmed')
    assert not h.balanced()


def test_a_message_that_was_never_sent_to_its_end(h):
    h.pub(state='half')
    h.delivery(h.session(), fin='confirmed')
    assert not h.balanced()


def test_a_clean_stop_loses_nothing(h):
    h.pub()
    h.end('term')
    assert not h.balanced()


@pytest.mark.parametrize('mem, n, balanced', [(1, 2, True), (1, 3, False), (0, 1, False)])
def test_a_kill_takes_what_fits_into_memory(mem, n, balanced):
    h = History(mem)
    for i in range(n):
        h.pub(str(i))
    h.end('kill')
    assert h.balanced() == balanced     # 2: in the topic and in the channel


def test_a_kill_takes_what_is_in_flight():
    h = History(0)
    h.pub()
    s = h.session(rdy=1)
    assert not h.balanced()
    h.delivery(s)
    h.end('kill')
    assert h.balanced()


def test_a_kill_takes_what_is_deferred():
    h = History(0)
    h.pub(delay=1)
    h.end('kill')
    assert h.balanced()


def test_a_kill_does_not_take_what_came_after_it():
    h = History(1)
    h.end('kill', 1)
    h.pub()
    assert not h.balanced()


def test_a_loss_is_counted_once():
    h = History(1)
    h.pub('a')
    h.pub('b')
    h.end('kill', 0)
    h.pub('c')
    h.end('kill', 0)
    assert [ids for _, ids in h.problems()] == [['c']]


def test_a_repeat_needs_a_cause(h):
    h.pub()
    h.delivery(h.session())
    h.delivery(h.session(), attempts=2, fin='confirmed')
    assert not h.balanced()


def test_the_end_of_a_consumer_is_no_cause(h):
    h.pub()
    s = h.session()
    h.delivery(s)
    s.end = h.tick()
    h.delivery(h.session(), attempts=2, fin='confirmed')
    assert not h.balanced()


@pytest.mark.parametrize('cause', ['req', 'timeout', 'stop'])
def test_causes_of_a_repeat(h, cause):
    h.pub()
    h.delivery(h.session(timeout=1 if cause == 'timeout' else 1000.0),
               fate='req' if cause == 'req' else None)
    if cause == 'stop':
        h.end('term')
    h.delivery(h.session(), attempts=2, fin='confirmed')
    assert h.balanced()


def test_the_same_attempt_twice(h):
    h.pub()
    h.delivery(h.session(), fate='req')
    h.delivery(h.session(), fin='confirmed')
    assert not h.balanced()


def test_what_is_finished_does_not_come_again(h):
    h.pub()
    h.delivery(h.session(), fin='confirmed')
    h.end('term')
    h.delivery(h.session(), attempts=2, fin='confirmed')
    assert not h.balanced()


def test_a_fin_after_the_time_out_may_have_ended_another_delivery(h):
    h.pub()
    first = h.session(timeout=1)
    h.delivery(first, fin='confirmed')
    h.delivery(h.session(), attempts=2)     # read late
    assert h.balanced()


def test_after_a_kill_it_may():
    h = History(0)
    h.pub()
    h.delivery(h.session(), fin='confirmed')
    h.end('kill')
    h.delivery(h.session(), fin='confirmed')
    assert h.balanced()


def test_a_fin_in_time_does_not_fail(h):
    h.pub()
    h.delivery(h.session(), fin='failed')
    h.delivery(h.session(), attempts=2, fin='confirmed')
    assert any('refused' in text for text, _ in h.problems())


def test_an_operator_empties():
    h = History(topic='emptied')
    h.pub()
    assert not h.balanced()
    h.event('empty', 'x')
    assert h.balanced()
    h.pub('later')
    assert [ids for _, ids in h.problems()] == [['later']]


def test_an_operator_deletes_and_creates():
    h = History(topic='other')
    h.pub()
    assert not h.balanced()
    h.event('delete', 'x')
    assert h.balanced()
    h.pub('nowhere')
    h.event('create', 'x')
    assert h.balanced()
    h.pub('there')
    assert [ids for _, ids in h.problems()] == [['there']]


def test_a_deletion_without_an_answer_may_come_until_the_life_ends():
    h = History(topic='other')
    h.event('delete', 'x', answered=False)
    h.event('create', 'x')
    h.pub()
    assert h.balanced()


def test_nothing_comes_back_from_a_deleted_topic():
    h = History(topic='other')
    h.pub()
    before = h.session()
    h.event('delete', None)
    h.delivery(before, fin='confirmed')
    assert h.balanced()
    h.pub('again')
    h.event('delete', None)
    h.event('create', 'x')
    h.delivery(h.session(), 'again', fin='confirmed')
    assert any('came back' in text for text, _ in h.problems())


@pytest.mark.parametrize('channel', [None, 'x'])
def test_nothing_comes_during_a_pause(h, channel):
    h.pub('before')
    h.event('pause', channel)
    s = h.session()
    h.delivery(s, 'before', fin='confirmed')
    h.pub('during')
    h.event('unpause', channel)
    h.delivery(s, 'during', fin='confirmed')
    assert h.balanced()
    h.event('pause', channel)
    h.pub('early')
    h.delivery(s, 'early', fin='confirmed')
    h.event('unpause', channel)
    assert [ids for _, ids in h.problems()] == [['early']]


def test_a_kill_takes_no_more_from_a_topic_that_was_emptied_before():
    h = History(0, topic='emptied')
    h.event('empty', 'x')
    h.pub('0')
    h.pub('1')
    h.end('kill')
    assert not h.balanced()


def test_a_kill_may_end_a_pause(h):
    h.event('pause', 'x')
    h.end('kill')
    h.pub()
    h.delivery(h.session(), fin='confirmed')
    assert h.balanced()


def test_what_an_actor_noted_counts_until_the_life_ends(h):
    h.j.problems.append((h.tick(), 'before', h.now))
    h.now.end_begin = h.tick()
    h.j.problems.append((h.tick(), 'after', h.now))
    h.j.problems.append((h.tick(), 'always', None))
    assert [text for text, _ in h.problems()] == ['before', 'always']


# -- with a log

@pytest.fixture
def log():
    return History(durability='process')


def kill_written(h, written=True):
    """A kill; what happened before is in the cursor's file, or nothing is."""
    h.now.written = {('kept', 'x'): h.tick()} if written else {}
    h.end('kill')


def test_with_a_log_a_kill_takes_nothing(log):
    log.pub()
    kill_written(log)
    assert any('are lost' in text for text, _ in log.problems())


def test_with_a_log_what_was_created_stays():
    h = History(topic='other', durability='process')
    h.end('kill')
    h.pub()
    assert not h.balanced()


@pytest.mark.parametrize('written, balanced', [(True, False), (False, True)])
def test_with_a_log_what_was_written_as_finished_does_not_come_again(log, written, balanced):
    log.pub()
    log.delivery(log.session(), fin='confirmed')
    kill_written(log, written)
    log.delivery(log.session(), attempts=2, fin='confirmed')
    assert log.balanced() == balanced


@pytest.mark.parametrize('written, balanced', [(True, False), (False, True)])
def test_with_a_log_an_attempt_that_was_written_counts(log, written, balanced):
    log.pub()
    log.delivery(log.session())
    kill_written(log, written)
    log.delivery(log.session(), attempts=1, fin='confirmed')
    assert log.balanced() == balanced


def test_with_a_log_the_fin_of_an_earlier_life_is_not_enough(log):
    log.pub()
    log.delivery(log.session(), fin='sent')
    kill_written(log, False)
    log.delivery(log.session())
    assert any('are lost' in text for text, _ in log.problems())


def test_with_a_log_a_kill_makes_no_copies(log):
    log.pub()
    kill_written(log)
    log.delivery(log.session())
    log.delivery(log.session(), attempts=2, fin='confirmed')
    assert not log.balanced()


@pytest.mark.parametrize('delay, balanced', [(1.0, True), (100.0, False)])
@pytest.mark.parametrize('end', [None, 'term', 'kill'])
def test_with_a_log_a_delay_is_one_in_every_life(log, end, delay, balanced):
    log.pub(delay=delay)
    if end:
        log.end(end)
    log.delivery(log.session(), fin='confirmed')
    assert log.balanced() == balanced


@pytest.mark.parametrize('delay, written, balanced', [
    (1.0, True, True), (100.0, True, False), (100.0, False, True)])
def test_with_a_log_a_req_that_was_written_is_waited_for(log, delay, written, balanced):
    log.pub()
    log.delivery(log.session(), fate='req', delay=delay).answered_at = log.tick()
    kill_written(log, written)
    log.delivery(log.session(), attempts=2, fin='confirmed')
    assert log.balanced() == balanced


@pytest.mark.parametrize('end', ['term', 'kill'])
def test_an_ephemeral_topic_has_no_log(end):
    """Its channel x has a disk queue: a restart forgets delays, and a kill makes copies."""
    h = History(topic='fleeting#ephemeral', durability='process')
    h.pub('delayed', delay=100.0)
    h.pub('requeued')
    h.delivery(h.session(), 'requeued', fate='req', delay=100.0).answered_at = h.tick()
    h.end(end)
    h.delivery(h.session(), 'delayed', fin='confirmed')
    h.delivery(h.session(), 'requeued', attempts=2, fin='confirmed')
    if end == 'kill':
        h.delivery(h.session(), 'requeued', attempts=1, fin='confirmed')
    assert h.problems() == []


def test_a_delay_is_one_in_its_life(h):
    h.pub()
    h.delivery(h.session(), fate='req', delay=100.0).answered_at = h.tick()
    h.delivery(h.session(), attempts=2, fin='confirmed')
    assert any('before their time' in text for text, _ in h.problems())


def test_without_a_log_a_delay_may_be_forgotten(h):
    """The topic's memory was full."""
    h.pub(delay=100.0)
    h.delivery(h.session(), fin='confirmed')
    assert h.problems() == []


def test_a_restart_without_a_log_forgets_delays(h):
    h.pub(delay=100.0)
    h.end('term')
    h.delivery(h.session(), fin='confirmed')
    assert h.balanced()


def test_counts():
    h = History()
    h.pub('a')
    h.pub('b', state='unknown')
    h.pub('c', state='half')
    assert Accounts(h.j, {'kept'}).published('kept', h.now) == (1, 2)
