"""Deletions that take a while: an answer means that it is gone, and nothing else waits.

The backlog is in thousands of files, so that removing them takes long enough for others to
come in the middle. No test depends on that they do.
"""

import concurrent.futures
import json
import os
import struct
import threading

import pytest

from nsq import wait_until

FILES = 8000
BODY = b'old'
RECORD = struct.pack('>iqH', 26 + len(BODY), 1700000000 * 10**9, 1) \
    + b'0123456789abcdef' + BODY

pytestmark = pytest.mark.operator


def write_queue(data_path, name, files):
    """A disk queue with one message in each file; links, which are made faster."""
    first = '%s/%s.diskqueue.%06d.dat' % (data_path, name, 0)
    with open(first, 'wb') as f:
        f.write(RECORD)
    for i in range(1, files):
        os.link(first, '%s/%s.diskqueue.%06d.dat' % (data_path, name, i))
    with open('%s/%s.diskqueue.meta.dat' % (data_path, name), 'w',
              encoding='ascii') as f:
        f.write('%d\n0,0\n%d,%d\n' % (files, files - 1, len(RECORD)))


@pytest.fixture
def daemon(new_nsqd):
    """Topic t with channel c, which has the backlog, and with channel other."""
    nsqd = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=%d' % len(RECORD),
                    start=False)
    write_queue(nsqd.data_path, 't:c', FILES)
    nsqd.write_metadata(json.dumps({'topics': [{
        'name': 't', 'paused': False, 'channels': [
            {'name': 'c', 'paused': False}, {'name': 'other', 'paused': False}]}],
        'version': '1.3.0'}))
    nsqd.start()
    assert nsqd.channel_stats('t', 'c')['depth'] == FILES
    return nsqd


def files_of(nsqd, queue):
    return [n for n in os.listdir(nsqd.data_path)
            if n.startswith(queue + '.diskqueue.')]


def deletion_has_begun(nsqd):
    """The files begin to go, or are gone."""
    wait_until(lambda: len(files_of(nsqd, 't:c')) < FILES, 'the files go')


class Begun:
    """A request in a thread of its own; what it was answered, and what was there then."""

    def __init__(self, nsqd, path):
        self.nsqd, self.path = nsqd, path
        self.status = self.left = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        self.status = self.nsqd.post(self.path).status
        self.left = len(files_of(self.nsqd, 't:c'))

    def end(self):
        self.thread.join()
        return self.status


DELETE_CHANNEL = '/channel/delete?topic=t&channel=c'
DELETE_TOPIC = '/topic/delete?topic=t'


def expect_new_only(nsqd, count):
    """Channel c has what is published now, and nothing else, also after a restart."""
    assert nsqd.channel_stats('t', 'c')['depth'] == 0
    new = [b'new%d' % i for i in range(count)]
    nsqd.pub('t', *new)
    nsqd.wait_channel('t', 'c', depth=count)
    nsqd.restart()
    assert nsqd.channel_stats('t', 'c')['depth'] == count
    with nsqd.subscribe('t', 'c', rdy=100) as client:
        got = []
        for _ in range(count):
            message = client.message()
            client.fin(message)
            got.append(message.body)
        assert got == new
        client.expect_quiet()
    nsqd.wait_channel('t', 'c', depth=0, in_flight_count=0)


def test_of_many_deletes_of_a_channel_none_is_answered_before_it_is_gone(daemon):
    deletes = [Begun(daemon, DELETE_CHANNEL) for _ in range(10)]
    statuses = {d.end() for d in deletes}
    assert statuses in ({200}, {200, 404})
    assert [d.left for d in deletes] == [0] * 10
    assert daemon.channel_stats('t', 'c') is None
    daemon.create('t', 'c')
    expect_new_only(daemon, 50)


@pytest.mark.ours(reason='the second delete of a topic does not wait')
def test_of_many_deletes_of_a_topic_none_is_answered_before_it_is_gone(daemon):
    deletes = [Begun(daemon, DELETE_TOPIC) for _ in range(10)]
    assert {d.end() for d in deletes} in ({200}, {200, 404})
    assert [d.left for d in deletes] == [0] * 10
    assert daemon.topic_stats('t') is None
    daemon.create('t', 'c')
    expect_new_only(daemon, 50)


def test_a_topic_that_is_deleted_while_its_channel_is_begins_anew_empty(daemon):
    channel = Begun(daemon, DELETE_CHANNEL)
    deletion_has_begun(daemon)
    topic = Begun(daemon, DELETE_TOPIC)
    assert topic.end() == 200
    assert topic.left == 0
    daemon.create('t', 'c')
    assert channel.end() in (200, 404)
    expect_new_only(daemon, 50)


@pytest.mark.ours(reason='answers 200 to what is then deleted')
@pytest.mark.parametrize('path', [DELETE_CHANNEL, DELETE_TOPIC])
def test_what_is_made_anew_during_a_deletion_stays(daemon, path):
    delete = Begun(daemon, path)
    deletion_has_begun(daemon)
    # Both wait for the end of what they find there.
    daemon.create('t', 'c')
    assert files_of(daemon, 't:c') == []
    assert delete.end() == 200
    expect_new_only(daemon, 50)


def test_a_deletion_holds_up_nobody_else(daemon):
    delete = Begun(daemon, DELETE_CHANNEL)
    deletion_has_begun(daemon)
    assert daemon.get('/ping').body == b'OK'
    daemon.create('u', 'c')
    daemon.pub('t', b'1')
    daemon.pub('u', b'1')
    with daemon.subscribe('t', 'other', rdy=1) as t, \
            daemon.subscribe('u', 'c', rdy=1) as u:
        t.message()
        u.message()
    for path in ('/channel/pause?topic=t&channel=c', '/channel/empty?topic=t&channel=c',
                 '/channel/unpause?topic=t&channel=c'):
        assert daemon.post(path).status in (200, 404)
    assert daemon.post('/topic/pause?topic=t').status == 200
    assert daemon.post('/topic/delete?topic=u').status == 200
    assert delete.end() == 200
    assert daemon.topic_stats('u') is None


@pytest.mark.ours(reason='ends in the middle of the deletion')
@pytest.mark.parametrize('path', [DELETE_CHANNEL, DELETE_TOPIC])
def test_the_daemons_exit_ends_a_deletion_and_wakes_those_that_wait_for_it(daemon, path):
    def ask(path):
        try:
            return daemon.post(path).status
        except OSError:
            return None     # it came too late: the listener is closed

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, path)
        deletion_has_begun(daemon)
        others = [pool.submit(ask, p) for p in (
            path, path, '/channel/create?topic=t&channel=c', '/topic/create?topic=t')]
        daemon.stop()
        assert first.result() == 200
        assert {f.result() for f in others} <= {200, 404, 503, None}
    assert files_of(daemon, 't:c') == []
    daemon.start()
    stats = daemon.channel_stats('t', 'c')
    assert stats is None or stats['depth'] == 0


@pytest.mark.ours(reason='the second delete of a topic does not wait')
def test_channels_and_their_topic_deleted_by_many_at_once_are_gone_when_answered(new_nsqd):
    nsqd = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=%d' % len(RECORD))
    names = ['c%d' % i for i in range(8)]
    for _ in range(3):
        nsqd.create('t', *names)
        nsqd.pub('t', *[BODY] * 50)
        for name in names:
            nsqd.wait_channel('t', name, depth=50)

        def delete(name):
            path = '/channel/delete?topic=t&channel=' + name if name else DELETE_TOPIC
            status = nsqd.post(path).status
            return status, files_of(nsqd, 't:' + name if name else 't')

        with concurrent.futures.ThreadPoolExecutor(18) as pool:
            answers = list(pool.map(delete, names + [None] + names + [None]))
        assert {status for status, _ in answers} <= {200, 404}
        assert [left for _, left in answers if left] == []
        assert nsqd.topic_stats('t') is None
        assert [n for n in os.listdir(nsqd.data_path) if n.startswith('t')] == []
