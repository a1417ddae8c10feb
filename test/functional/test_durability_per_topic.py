"""Durability as a setting of each topic, at the start and before it: which logs a start leaves alone,
which it refuses, and what --check-config and --inspect-data say of that.

Nothing of it is in stock 1.3.0.
"""

import json
import os
import shutil
import subprocess

import pytest

from nsq import DEADLINE, SANITIZER, binary
from queues import consuming, put

pytestmark = pytest.mark.ours(reason='stock has no log')

QUICK = '--sync-timeout=20ms'
NONE = '--durability=none'
KEPT = '[[policy]]\nmatch = "kept*"\ndurability = "process"\n'
LOST = '[[policy]]\nmatch = "lost*"\ndurability = "none"\n'


def offline(what, daemon, *flags, code=0):
    """What nsqd says of the daemon's data path, with its flags and these."""
    run = subprocess.run([binary(), what, '--data-path=%s' % daemon.data_path, *daemon.flags, *flags],
                         capture_output=True, timeout=DEADLINE * 3, check=False)
    text = run.stdout.decode() + run.stderr.decode(errors='replace')
    assert not SANITIZER.search(text), text
    assert run.returncode == code, text
    return text


def same_path(new_nsqd, daemon, *flags):
    """Another daemon, not started yet, with the data of one that has ended."""
    return new_nsqd(QUICK, *flags, start=False, data_path=daemon.data_path)


def files(daemon):
    found = {}
    for directory, _, names in os.walk(daemon.data_path):
        for name in names:
            with open(os.path.join(directory, name), 'rb') as f:
                found[os.path.join(directory, name)] = f.read()
    return found


def filled(daemon, topic, *sent):
    daemon.create(topic, 'ch')
    daemon.pub(topic, *sent)
    daemon.wait_channel(topic, 'ch', depth=len(sent))


def drained(daemon, topic, count):
    daemon.wait_channel(topic, 'ch', depth=count)
    with consuming(daemon, topic, 'ch', rdy=count) as client:
        found = client.messages(count)
        for m in found:
            client.fin(m)
        daemon.wait_channel(topic, 'ch', depth=0, in_flight_count=0)
    return [m.body for m in found]


def config_of(tmp_path, text):
    path = tmp_path / 'nsqd.cfg'
    path.write_text(text)
    return '--config=%s' % path


def durability(daemon, topic):
    return json.loads(daemon.get('/topic/config?topic=' + topic).body)['durability']


def refused(daemon, topic, why, count):
    return ('cannot create topic %s - it has a log, and %s: %d messages in it are not finished. nsqd '
            '--data-path=%s --export-stock writes them into stock\'s files' % (
                topic, why, count, daemon.data_path))


SETTING = 'its setting durability is none'
FLAG = '--durability is none'


# -- the flag says none, and the topic does not

@pytest.mark.parametrize('by', ['put', 'policy'])
def test_a_topic_that_is_set_to_process_needs_no_flag(new_nsqd, tmp_path, by):
    flags = [config_of(tmp_path, KEPT)] if by == 'policy' else []
    daemon = new_nsqd(QUICK, NONE, *flags)
    if by == 'put':
        daemon.create('kept')
        put(daemon, 'kept', durability='process')
        daemon.restart()
    filled(daemon, 'kept', b'1', b'2')
    filled(daemon, 'other', b'x')
    assert os.path.isdir(os.path.join(daemon.data_path, 'kept.log'))
    assert not os.path.exists(os.path.join(daemon.data_path, 'other.log'))
    daemon.stop()
    before = files(daemon)
    assert 'nsqd would start' in offline('--check-config', daemon)
    assert 'would fail' not in offline('--inspect-data', daemon)
    assert files(daemon) == before
    daemon.start()
    assert drained(daemon, 'kept', 2) == [b'1', b'2']
    assert drained(daemon, 'other', 1) == [b'x']


# -- the flag does not say none, and the topic does

@pytest.mark.parametrize('by', ['put', 'policy'])
def test_a_topic_that_is_set_to_none_leaves_no_log_behind(new_nsqd, tmp_path, by):
    daemon = new_nsqd(QUICK, '--durability=process')
    filled(daemon, 'lost', b'1', b'2', b'3')
    filled(daemon, 'kept', b'4')
    if by == 'put':
        put(daemon, 'lost', durability='none')
        daemon.wait_log(r'TOPIC\(lost\): durability is none from the next start on, and stays what '
                        r'it is until then\. That start is refused while messages in its log are '
                        r'not finished')
        # As is said of the daemon that runs, before anybody ends it.
        assert refused(daemon, 'lost', SETTING, 3) in offline('--check-config', daemon, code=1)
    daemon.stop()
    flags = [config_of(tmp_path, LOST)] if by == 'policy' else []
    other = same_path(new_nsqd, daemon, '--durability=process', *flags)
    before = files(daemon)
    reason = refused(daemon, 'lost', SETTING, 3)
    assert reason in other.start_fails()
    said = offline('--check-config', other, code=1)
    assert reason in said and 'topic kept' not in said
    assert 'a start would fail: durability is none where there are logs with unfinished ' \
        'messages: 1' in offline('--inspect-data', other, code=1)
    assert files(daemon) == before
    # As the message says. What the other topics have comes from stock's files first.
    assert 'lost:ch: 3 messages' in offline('--export-stock', other)
    assert 'nsqd would start' in offline('--check-config', other)
    other.start()
    assert durability(other, 'lost')['value'] == 'none'
    assert drained(other, 'lost', 3) == [b'1', b'2', b'3']
    other.pub('kept', b'5')
    other.pub('lost', b'6')
    other.wait_channel('kept', 'ch', depth=2)
    assert not os.path.exists(os.path.join(daemon.data_path, 'lost.log'))
    assert os.path.isdir(os.path.join(daemon.data_path, 'kept.log'))
    other.process.kill()
    other.process.wait()
    other.start()
    assert drained(other, 'kept', 2) == [b'4', b'5']


def test_both_say_none(new_nsqd, tmp_path):
    """The message names the flag: without it nothing would help."""
    daemon = new_nsqd(QUICK, '--durability=process')
    filled(daemon, 'lost', b'1')
    filled(daemon, 'other', b'1')
    put(daemon, 'lost', durability='none')
    daemon.stop()
    other = same_path(new_nsqd, daemon, NONE)
    said = offline('--check-config', other, code=1)
    assert refused(daemon, 'lost', FLAG, 1) in said
    assert refused(daemon, 'other', FLAG, 1) in said
    assert 'messages: 2' in offline('--inspect-data', other, code=1)
    other.start_fails()


def test_set_back_it_starts_again(new_nsqd):
    """What was set at run time is in a file, which can be put right while nothing runs."""
    daemon = new_nsqd(QUICK, '--durability=process')
    filled(daemon, 'lost', b'1')
    put(daemon, 'lost', durability='none')
    daemon.stop()
    daemon.start_fails()
    os.remove(os.path.join(daemon.data_path, 'nsqd.settings.json'))
    daemon.start()
    assert drained(daemon, 'lost', 1) == [b'1']


def test_what_is_finished_is_put_aside(new_nsqd):
    """A log of which nothing is wanted any more stands in nobody's way; and a later one is another."""
    daemon = new_nsqd(QUICK, '--durability=process')
    for life in range(2):
        filled(daemon, 't', b'%d' % life)
        drained(daemon, 't', 1)
        put(daemon, 't', durability='none')
        daemon.stop()
        assert 'nsqd would start' in offline('--check-config', daemon)
        assert 'would fail' not in offline('--inspect-data', daemon)
        daemon.start()
        daemon.wait_log(r'TOPIC\(t\): all in its log is finished: it was put aside as '
                        r't\.log:finished')
        daemon.wait_channel('t', 'ch', depth=0)
        assert [f for f in sorted(os.listdir(daemon.data_path)) if f.startswith('t.log')] == [
            't.log:finished']
        filled(daemon, 't', b'in memory')
        put(daemon, 't', durability=None)
        daemon.wait_log(r'TOPIC\(t\): durability is process from the next start on')
        # What the end has written to disk comes first.
        daemon.restart()
        assert drained(daemon, 't', 1) == [b'in memory']


# -- logs of topics that are in no metadata

@pytest.mark.parametrize('flag, topics', [
    (NONE, {'kept': True, 'lost': False}),
    ('--durability=process', {'kept': True, 'lost': False, 'other': True}),
])
def test_a_log_that_no_metadata_names(new_nsqd, tmp_path, flag, topics):
    """Killed before nsqd.dat was written, or that was lost: the setting of each name counts."""
    daemon = new_nsqd(QUICK, '--durability=process')
    for topic in topics:
        filled(daemon, topic, b'1', b'2')
    daemon.stop()
    os.remove(daemon.metadata_path)
    # These are no logs.
    os.mkdir(os.path.join(daemon.data_path, 'no topic.log'))
    with open(os.path.join(daemon.data_path, 'file.log'), 'w', encoding='ascii') as f:
        f.write('x')
    other = same_path(new_nsqd, daemon, config_of(tmp_path, KEPT + LOST), flag)
    why = FLAG if flag == NONE else SETTING
    said = offline('--check-config', other, code=1)
    assert refused(daemon, 'lost', why, 2) in said and said.count('cannot create topic') == 1
    assert refused(daemon, 'lost', why, 2) in other.start_fails()
    # Before its deletion had ended, or by hand: then nobody asks for it.
    shutil.rmtree(os.path.join(daemon.data_path, 'lost.log'))
    assert 'nsqd would start' in offline('--check-config', other)
    other.start()
    for topic in sorted(set(topics) - {'lost'}):
        assert drained(other, topic, 2) == [b'1', b'2']
    assert {t['topic_name'] for t in other.stats()['topics']} == set(topics) - {'lost'}


def test_settings_that_cannot_be_read(new_nsqd):
    """What a start would refuse, both say; and it is that."""
    daemon = new_nsqd(QUICK, '--durability=process')
    filled(daemon, 't', b'1')
    daemon.stop()
    with open(os.path.join(daemon.data_path, 'nsqd.settings.json'), 'w', encoding='ascii') as f:
        f.write('{"topics":')
    reason = 'failed to load settings - failed to read settings from'
    said = offline('--check-config', daemon, code=1)
    assert reason in said and '1 error ' in said
    assert reason in offline('--inspect-data', daemon, code=1)
    assert reason in daemon.start_fails()


# -- what is in effect

def test_config_says_what_is_in_effect(new_nsqd):
    daemon = new_nsqd(QUICK, '--durability=process')
    daemon.create('t', 'ch')
    daemon.create('e%23ephemeral')
    assert durability(daemon, 't') == {'value': 'process', 'from': 'default'}
    # It never has a log.
    assert durability(daemon, 'e%23ephemeral') == {
        'value': 'process', 'from': 'default', 'in_effect': 'none'}
    answer = json.loads(put(daemon, 't', durability='none').body)['durability']
    assert answer == durability(daemon, 't') == {
        'value': 'none', 'from': 'topic', 'in_effect': 'process'}
    put(daemon, 't', durability='disk')
    assert durability(daemon, 't') == {'value': 'disk', 'from': 'topic'}
    put(daemon, 't', durability='none')
    assert durability(daemon, 't') == {'value': 'none', 'from': 'topic', 'in_effect': 'disk'}
    assert 'durability' not in json.loads(
        daemon.get('/channel/config?topic=t&channel=ch').body)
    daemon.restart()
    assert durability(daemon, 't') == {'value': 'none', 'from': 'topic'}
    put(daemon, 't', durability='process')
    assert durability(daemon, 't') == {'value': 'process', 'from': 'topic', 'in_effect': 'none'}
    daemon.restart()
    assert durability(daemon, 't') == {'value': 'process', 'from': 'topic'}
