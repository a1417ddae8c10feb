"""--inspect-data and --check-config over the logs of --durability."""

import os
import time

import pytest

from test_command_line import inspect, nsqd_says
from test_stock_and_back import DURABLE, numbers, tree, use

pytestmark = pytest.mark.ours(reason='stock has no logs')


def logs(answer):
    return {log['topic_name']: log for log in answer['logs']}


def segment(path, topic):
    return os.path.join(path, topic + '.log', '00000000000000000001.seg')


def test_it_says_what_each_channel_has_not_finished(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    client = use(daemon)
    daemon.stop()
    client.close()
    begin = tree(daemon.data_path)
    answer = inspect(daemon.data_path, '--durability=process')
    assert answer['strange_files'] == []
    log = logs(answer)['t']
    assert (log['first'], log['next'], log['records'], log['lost']) == (1, 101, 100, 0)
    assert log['topic']['messages'] == 0 and log['topic']['floor'] == 101
    a, b = log['channels']
    assert (a['channel_name'], a['floor'], a['messages'], a['deferred'], a['lost']) == (
        'a', 2, 99, 1, 0)
    assert 3500 < a['first_due'] / 1e9 - time.time() < 3601
    assert a['bytes'] == sum(map(len, numbers(100)[1:]))
    assert (b['channel_name'], b['floor'], b['messages'], b['first_due']) == ('b', 1, 100, 0)
    alone = logs(answer)['alone']
    assert alone['topic']['messages'] == 30 and alone['channels'] == []
    totals = answer['totals']
    assert (totals['logs'], totals['log_messages'], totals['unreadable_logs']) == (2, 229, 0)
    text, err, _ = nsqd_says('--inspect-data', '--data-path=' + daemon.data_path,
                             '--durability=disk', code=0)
    assert err == ''
    assert '\nlog t: numbers 1 to 100, 100 records in ' in text
    assert '\n  channel a of the log: from number 2 on, 99 messages in 189 bytes, 1 of them ' in text
    assert '\nin logs: 2 logs, 229 messages, ' in text
    assert tree(daemon.data_path) == begin
    # Without durability no start.
    _, err, _ = nsqd_says('--inspect-data', '--data-path=' + daemon.data_path, code=1)
    assert 'logs with unfinished messages: 2' in err


def test_beside_a_daemon(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    with use(daemon):
        answer = inspect(daemon.data_path, '--durability=process')
        assert answer['in_use'] and logs(answer)['t']['records'] == 100
    daemon.check()


def test_damage_is_counted(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'a')
    daemon.pub('t', *numbers(100, b'number %d'))
    daemon.wait_channel('t', 'a', depth=100)
    daemon.stop()
    path = segment(daemon.data_path, 't')
    with open(path, 'r+b') as f:
        data = f.read()
        for i in (10, 50, 51):
            f.seek(data.index(b'number %d' % i))
            f.write(b'X')
    log = logs(inspect(daemon.data_path, '--durability=process'))['t']
    assert (log['records'], log['lost'], log['damaged_places']) == (97, 3, 3)
    assert (log['channels'][0]['messages'], log['channels'][0]['lost']) == (97, 3)
    said, err, _ = nsqd_says('--export-stock', '--data-path=' + daemon.data_path, code=0)
    assert 'nsqd: t:a: 3 messages are damaged, and left out\n' in err
    assert 'in all: 97 messages in 2 queues of 1 topics; deferred: 0; damaged: 3\n' in said


@pytest.mark.parametrize('spoil', [
    lambda f, n: f.truncate(0),
    lambda f, n: f.truncate(n - 10),
    lambda f, n: f.truncate(300),
    lambda f, n: (f.seek(0), f.write(os.urandom(n))),
    lambda f, n: (f.seek(390), f.write(os.urandom(n))),
    lambda f, n: (f.seek(n), f.write(os.urandom(100000))),
], ids=['empty', 'torn', 'no head', 'random', 'random content', 'longer'])
@pytest.mark.parametrize('name', ['a.cursor', ':topic.cursor', '00000000000000000001.seg'])
def test_a_file_of_any_bytes(new_nsqd, name, spoil):
    """A start finds what is said: never more than there was, and nothing twice."""
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'a')
    daemon.pub('t', *numbers(100))
    daemon.wait_channel('t', 'a', depth=100)
    daemon.stop()
    path = os.path.join(daemon.data_path, 't.log', name)
    with open(path, 'r+b') as f:
        spoil(f, os.path.getsize(path))
    begin = tree(daemon.data_path)
    out, _, code = nsqd_says('--inspect-data', '--durability=process',
                             '--data-path=' + daemon.data_path)
    assert tree(daemon.data_path) == begin
    assert code == 0 or 'a start would fail' in out
    _, _, checked = nsqd_says('--check-config', '--durability=process',
                              '--data-path=' + daemon.data_path)
    assert checked == code
    if code == 0:
        log = logs(inspect(daemon.data_path, '--durability=process'))['t']
        messages = log['topic']['messages'] + log['channels'][0]['messages']
        daemon.start()
        daemon.wait_channel('t', 'a', depth=messages)
    else:
        assert 'cannot create topic' in daemon.start_fails()


def test_strange_logs(new_nsqd, tmp_path):
    """What is no log of a topic is a file as any other; what was put aside is named so."""
    (tmp_path / 'a file.log').touch()
    (tmp_path / 'file.log').touch()
    os.mkfifo(tmp_path / 'fifo.log')
    os.symlink('/nowhere', tmp_path / 'link.log')
    for name in ('bad name.log', 't.log:exported', 't.log:finished', 't.log:deleted',
                 'export-stock.tmp', 'empty.log'):
        (tmp_path / name).mkdir()
    answer = inspect(tmp_path)
    kinds = {f['name']: f['kind'] for f in answer['strange_files']}
    assert kinds == {
        'a file.log': 'other', 'file.log': 'other', 'fifo.log': 'other', 'link.log': 'other',
        'bad name.log': 'other', 't.log:exported': 'aside', 't.log:finished': 'aside',
        't.log:deleted': 'aside', 'export-stock.tmp': 'temporary', 'empty.log': 'other'}
    assert logs(answer) == {}
    out, _, _ = nsqd_says('--export-stock', '--data-path=%s' % tmp_path, code=0)
    assert 'put aside' not in out
    daemon = new_nsqd(data_path=tmp_path)
    assert set(daemon.metadata()) == set()


def test_check_config_says_what_the_start_says(new_nsqd):
    daemon = new_nsqd(*DURABLE)
    daemon.pub('t', b'1', b'2')
    daemon.stop()
    path = '--data-path=' + daemon.data_path
    nsqd_says('--check-config', path, '--durability=disk', code=0)
    _, err, _ = nsqd_says('--check-config', path, code=1)
    other = new_nsqd(start=False, data_path=daemon.data_path)
    reason = 'cannot create topic t - it has a log, and --durability is none: 2 messages in it'
    assert reason in err and reason in other.start_fails()
    os.mkdir(daemon.data_path + '/export-stock.tmp')
    open(daemon.data_path + '/export-stock.tmp/ready', 'w').close()
    for flag in ('--check-config', '--inspect-data'):
        _, err, _ = nsqd_says(flag, path, '--durability=disk', code=1)
        assert '--export-stock was cut short' in err
