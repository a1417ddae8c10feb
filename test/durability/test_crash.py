"""kill -9, again and again, under load: what was acknowledged is counted."""

import collections
import contextlib
import os
import random
import threading
import time

import pytest

from durable import (bad_files, compare, drain, in_dir, make_body, publish,
                     receive)
from nsq import wait_until

# Files are small, so that many kills fall between one and the next.
FLAGS = ('--mem-queue-size=0', '--max-bytes-per-file=20000')
KILLS = 60

PUBLISHERS = 3


class Publisher(threading.Thread):
    """Publishes until the daemon is gone, and knows what was acknowledged."""

    def __init__(self, daemon, topic, tag):
        super().__init__()
        self.client = daemon.connect()
        self.topic, self.tag = topic, tag
        self.acknowledged, self.sent = [], []

    def run(self):
        number = 0
        try:
            while True:
                # Every fourth command is an MPUB.
                n = 7 if number % 4 == 3 else 1
                bodies = [make_body(self.tag, number + i, 30 + (
                    (number + i) * 61) % 3000) for i in range(n)]
                number += n
                self.sent += bodies
                self.client.pub(self.topic, *bodies)
                self.acknowledged += bodies
        except (EOFError, OSError, AssertionError):
            # AssertionError: the end of the stream in the middle of an OK.
            self.client.close()


class Consumer(threading.Thread):
    """Receives and finishes until the daemon is gone."""

    def __init__(self, daemon, topic, channel, rdy):
        super().__init__()
        self.client = daemon.subscribe(topic, channel, rdy=rdy)
        self.received = []

    def run(self):
        try:
            while True:
                message = self.client.message()
                self.received.append(message.body)
                self.client.fin(message)
        except (EOFError, OSError, AssertionError):
            self.client.close()


def start_after_crash(daemon, dice):
    """Now and then the daemon is killed while it recovers, too."""
    while dice.random() < 0.2:
        daemon.spawn()
        time.sleep(dice.random() * 0.05)
        assert daemon.alive(), daemon.log()[-4000:]
        daemon.kill()
    daemon.start()


def one_life(daemon, number, dice, threads=()):
    """Publish for a moment, kill; returns (acknowledged, sent)."""
    publishers = [Publisher(daemon, 't', '%d-%d' % (number, i))
                  for i in range(PUBLISHERS)]
    for thread in publishers + list(threads):
        thread.start()
    wait_until(lambda: all(p.acknowledged for p in publishers),
               lambda: 'publishers are served: ' + daemon.log()[-2000:])
    # A moment at random is the point of the test.
    time.sleep(dice.random() * 0.15)
    daemon.kill()
    for thread in publishers + list(threads):
        thread.join()
    return (sum((p.acknowledged for p in publishers), []),
            sum((p.sent for p in publishers), []))


def quiet_log(daemon):
    """The log of hundreds of lives would be read as often."""
    os.truncate(daemon.log_path, 0)


@pytest.mark.parametrize('sync_every', [1, 2500])
def test_no_acknowledged_message_is_lost(new_nsqd, report, sync_every):
    dice = random.Random(sync_every)
    daemon = new_nsqd(*FLAGS, '--sync-every=%d' % sync_every)
    # One channel, so that messages go through two queues; and the topic's own.
    daemon.create('t', 'ch')
    kills = KILLS if sync_every == 1 else KILLS // 3
    acknowledged = collections.Counter()
    sent = collections.Counter()
    received = collections.Counter()
    start = time.monotonic()
    for number in range(kills):
        acked, tried = one_life(daemon, number, dice)
        acknowledged.update(acked)
        sent.update(tried)
        quiet_log(daemon)
        start_after_crash(daemon, dice)
        if number % 10 == 9:
            received.update(drain(daemon, 't', 'ch', expect=acknowledged - received))
    received.update(drain(daemon, 't', 'ch', expect=acknowledged - received))
    lost, _, _ = compare(acknowledged, received)
    _, duplicated, invented = compare(sent, received)
    report('%d kills in %.0f s: %d acknowledged, %d delivered, %d lost, '
           '%d duplicated, %d invented, %d files .bad' % (
               kills, time.monotonic() - start, sum(acknowledged.values()),
               sum(received.values()), lost, duplicated, invented,
               len(bad_files(daemon.data_path))))
    assert (lost, invented) == (0, 0)
    # What the pump of the topic, and the last drain, had in hand.
    assert duplicated <= kills * 2 * 256


def test_what_consumers_hold_is_all_that_may_be_lost(new_nsqd, report):
    dice = random.Random(3)
    daemon = new_nsqd(*FLAGS, '--sync-every=1')
    daemon.create('t', 'ch')
    rdy = 5
    acknowledged = collections.Counter()
    sent = collections.Counter()
    received = collections.Counter()
    kills = KILLS // 3
    for number in range(kills):
        consumer = Consumer(daemon, 't', 'ch', rdy)
        acked, tried = one_life(daemon, number, dice, [consumer])
        acknowledged.update(acked)
        sent.update(tried)
        received.update(consumer.received)
        quiet_log(daemon)
        start_after_crash(daemon, dice)
    received.update(drain(daemon, 't', 'ch'))
    lost, _, _ = compare(acknowledged, received)
    _, duplicated, invented = compare(sent, received)
    report('%d kills with a consumer: %d acknowledged, %d delivered, %d lost '
           '(in flight), %d duplicated' % (
               kills, sum(acknowledged.values()), sum(received.values()),
               lost, duplicated))
    assert invented == 0
    assert lost <= kills * rdy


def remove(obstacle):
    with contextlib.suppress(FileNotFoundError):  # after 5 s the daemon moves it aside
        os.rmdir(obstacle)


def test_messages_between_topic_and_channel_survive_a_kill(new_nsqd):
    """The topic's pump holds them, while the channel's disk refuses."""
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1')
    daemon.create('t', 'ch')
    obstacle = in_dir(daemon.data_path, 't:ch.diskqueue.000000.dat')
    os.mkdir(obstacle)
    bodies = [make_body('b', i) for i in range(300)]
    publish(daemon, 't', bodies)
    wait_until(lambda: 'failed to write message to backend' in daemon.log(), daemon.log)
    # More commands: the topic's queue syncs its position with each.
    for i in range(300, 320):
        bodies.append(make_body('b', i))
        publish(daemon, 't', bodies[-1:])
    daemon.kill()
    remove(obstacle)
    daemon.start()
    received = drain(daemon, 't', 'ch', expect=bodies)
    assert set(received) == set(bodies)
    assert sum(received.values()) == len(bodies)


def test_messages_in_the_topics_hand_come_only_once_after_a_stop(new_nsqd):
    """As above, but a clean stop, when the disk is well again."""
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1')
    daemon.create('t', 'ch')
    obstacle = in_dir(daemon.data_path, 't:ch.diskqueue.000000.dat')
    os.mkdir(obstacle)
    bodies = [make_body('b', i) for i in range(300)]
    publish(daemon, 't', bodies)
    wait_until(lambda: 'failed to write message to backend' in daemon.log(), daemon.log)
    remove(obstacle)
    daemon.restart()
    received = drain(daemon, 't', 'ch', expect=bodies)
    assert received == collections.Counter(bodies)


def test_what_was_finished_does_not_come_back_for_ever(new_nsqd):
    """The read position follows, at the latest with the sync timeout."""
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1',
                      '--sync-timeout=100ms')
    daemon.create('t', 'ch')
    bodies = [make_body('b', i) for i in range(100)]
    publish(daemon, 't', bodies)
    done = receive(daemon, 't', 'ch', 60)
    assert done == bodies[:60]

    def depth(queue):
        name = in_dir(daemon.data_path, queue + '.diskqueue.meta.dat')
        with open(name) as f:
            return int(f.readline())
    wait_until(lambda: (depth('t'), depth('t:ch')) == (0, 40),
               lambda: '40 are left: %d, %d' % (depth('t'), depth('t:ch')))
    daemon.kill()
    daemon.start()
    assert drain(daemon, 't', 'ch', expect=40) == collections.Counter(bodies[60:])
