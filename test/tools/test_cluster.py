"""One of stock's daemons and two of ours, consumers that find them.

nsqlookupd, nsq_to_file (go-nsq) and pynsq are stock's. One of ours is stopped
and started while messages flow: nothing is lost, each message is finished. With
--durability it is killed with kill -9.
"""

import glob
import os
import threading

import pytest

from nsq import DEADLINE, dead_address, not_tested, wait_until
from tools import discover, with_lookupds

HERE = os.path.dirname(os.path.abspath(__file__))
CHANNELS = ['file', 'py']
ROUND = 100
# pynsq tries the same daemon again after ten seconds at the earliest.
RECONNECT = 15


def python_with_pynsq():
    path = os.path.join(os.environ.get('INTEROP_DIR', 'build/interop'),
                        'python', 'venv', 'bin', 'python')
    if not os.access(path, os.X_OK):
        not_tested('no pynsq: `make build/interop/python/ready`')
    return path


class Cluster:
    def __init__(self, daemons, topic):
        self.daemons, self.topic = daemons, topic
        self.sent = set()
        self.accepted = [0] * len(daemons)

    def publish(self, which, name):
        bodies = ['%s-%d-%d' % (name, which, i) for i in range(ROUND)]
        daemon = self.daemons[which]
        with daemon.connect() as client:
            for at in range(0, ROUND, 10):
                client.pub(self.topic, *bodies[at:at + 10])
        self.sent.update(bodies)

    def publish_all(self, name, but=None):
        threads = [threading.Thread(target=self.publish, args=(i, name))
                   for i in range(len(self.daemons)) if i != but]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)

    def wait_finished(self):
        for daemon in self.daemons:
            for channel in CHANNELS:
                wait_until(lambda: self.finished(daemon, channel),
                           lambda: 'all is finished; there is %r' % (
                               daemon.channel_stats(self.topic, channel)),
                           RECONNECT + DEADLINE)

    def finished(self, daemon, channel):
        topic = daemon.topic_stats(self.topic)
        stats = next(c for c in topic['channels']
                     if c['channel_name'] == channel)
        # What the topic has not yet given to the channel is in neither's counts.
        if topic['depth'] or stats['message_count'] < topic['message_count']:
            return False
        return stats['client_count'] == 1 and not any(
            stats[name] for name in
            ('depth', 'in_flight_count', 'deferred_count'))


def lines_below(directory):
    lines = []
    for path in glob.glob(os.path.join(directory, '*')):
        with open(path, encoding='utf-8') as f:
            lines += f.read().splitlines()
    return lines


def end(daemon, killed):
    if killed:
        daemon.process.kill()
        daemon.process.wait()
    else:
        daemon.stop()


@pytest.mark.parametrize('durability', ['none', 'process', 'disk'])
def test_a_mixed_cluster(new_nsqd, stock_nsqd, lookupds, tool, tmp_path, durability):
    flags = with_lookupds(lookupds) + ['--mem-queue-size=50']
    ours = flags + ['--durability=' + durability]
    # The one that is stopped comes back at the same ports, as an operator's would;
    # nobody else is given them meanwhile.
    daemons = [stock_nsqd(*flags),
               new_nsqd(*ours, '--tcp-address=' + dead_address(),
                        '--http-address=' + dead_address()),
               new_nsqd(*ours)]
    cluster = Cluster(daemons, 'mixed')
    for daemon in daemons:
        daemon.create('mixed', *CHANNELS)
    for lookupd in lookupds:
        wait_until(lambda: len(lookupd.ports('mixed')) == 3,
                   lambda: 'three daemons: %r' % lookupd.ports('mixed'))
    python = python_with_pynsq()
    writer = tool('nsq_to_file', '--topic=mixed', '--channel=file',
                  '--output-dir=%s' % tmp_path, '--sync-interval=50ms',
                  '--max-in-flight=30',
                  '--consumer-opt=lookupd_poll_interval,200ms',
                  *discover(lookupds))
    reader = tool('pynsq', '--topic=mixed', '--channel=py',
                  *discover(lookupds),
                  program=[python, os.path.join(HERE, 'pynsq_consumer.py')])

    cluster.publish_all('all')
    cluster.wait_finished()
    # Messages are on their way to the consumers when it is asked to stop, or killed.
    stopped = daemons[1]
    cluster.publish(1, 'just before')
    end(stopped, durability != 'none')
    for lookupd in lookupds:
        wait_until(lambda: stopped.tcp_port not in lookupd.ports('mixed'),
                   lambda: 'it has left')
    cluster.publish_all('without', but=1)
    stopped.start()
    cluster.publish_all('again')
    for lookupd in lookupds:
        wait_until(lambda: len(lookupd.ports('mixed')) == 3,
                   lambda: 'it is back')
    cluster.wait_finished()

    wait_until(lambda: cluster.sent <= set(reader.lines()),
               lambda: 'pynsq got all; it lacks %r' % sorted(
                   cluster.sent - set(reader.lines()))[:10])
    assert set(reader.lines()) == cluster.sent
    assert writer.stop() == 0
    assert set(lines_below(tmp_path)) == cluster.sent
