"""What is a topic's log in the data path, and what only has a name like one."""

import os

import pytest

pytestmark = pytest.mark.ours(reason='stock has no logs')

DURABLE = ['--durability=process', '--mem-queue-size=20', '--sync-timeout=10ms']


def fill(path):
    """Directories and files of somebody else. Returns all names below the path."""
    for name in ('empty.log', 'notes.log', 'nearly.log', 'no_topic:.log'):
        os.mkdir(os.path.join(path, name))
    for name in ('file.log', 'notes.log/readme', 'nearly.log/1.seg', 'nearly.log/a.cursor',
                 'nearly.log/00000000000000000000.seg', 'no_topic:.log/00000000000000000001.seg'):
        with open(os.path.join(path, name), 'wb') as f:
            f.write(b'not ours')
    os.symlink('nowhere', os.path.join(path, 'link.log'))
    return names(path)


def names(path):
    return sorted(os.path.relpath(os.path.join(directory, name), path)
                  for directory, dirs, files in os.walk(path) for name in dirs + files)


@pytest.mark.parametrize('flags', [[], DURABLE], ids=['none', 'process'])
def test_only_a_directory_with_a_segment_is_a_log(new_nsqd, flags):
    daemon = new_nsqd(*flags, start=False)
    before = fill(daemon.data_path)
    daemon.start()
    assert daemon.stats()['topics'] == []
    daemon.stop()
    assert [n for n in names(daemon.data_path) if n in before] == before


def test_a_topic_may_have_the_name_of_such_a_directory(new_nsqd):
    daemon = new_nsqd(start=False)
    before = fill(daemon.data_path)
    daemon.start()
    for topic in ('empty', 'notes', 'nearly', 'file', 'link'):
        daemon.create(topic, 'a')
        daemon.pub(topic, b'1')
        daemon.wait_channel(topic, 'a', depth=1)
    daemon.restart()
    for topic in ('empty', 'notes', 'nearly', 'file', 'link'):
        daemon.wait_channel(topic, 'a', depth=1)
    assert [n for n in names(daemon.data_path) if n in before] == before


def start_elsewhere(new_nsqd, tmp_path):
    """A daemon whose topic t with a message in channel a has its log behind a link, and where."""
    daemon = new_nsqd(*DURABLE)
    daemon.create('t', 'a')
    daemon.pub('t', b'1')
    daemon.wait_channel('t', 'a', depth=1)
    daemon.stop()
    log, elsewhere = os.path.join(daemon.data_path, 't.log'), str(tmp_path / 'elsewhere')
    os.rename(log, elsewhere)
    os.symlink(elsewhere, log)
    daemon.start()
    return daemon, elsewhere


def test_a_log_that_is_elsewhere_by_a_link_is_one(new_nsqd, tmp_path):
    daemon, _ = start_elsewhere(new_nsqd, tmp_path)
    daemon.wait_channel('t', 'a', depth=1)
    daemon.stop()
    other = new_nsqd(start=False, data_path=daemon.data_path)
    assert 'cannot create topic t - it has a log' in other.start_fails()


def test_a_topic_whose_log_is_elsewhere_is_deleted(new_nsqd, tmp_path):
    daemon, elsewhere = start_elsewhere(new_nsqd, tmp_path)
    assert daemon.post('/topic/delete?topic=t').status == 200
    assert [n for n in os.listdir(daemon.data_path) if n.startswith('t.log')] == []
    assert os.listdir(elsewhere) == []
    daemon.create('t', 'a')
    daemon.pub('t', b'2')
    daemon.wait_channel('t', 'a', depth=1)
    daemon.restart()
    daemon.wait_channel('t', 'a', depth=1)
