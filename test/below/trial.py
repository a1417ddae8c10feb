"""One run of the workload with a fault, and the verdict on it."""

import itertools
import json
import os
import re
import shutil
import signal
import time
import traceback

from nsq import SANITIZER, Died
from record import ENDING, STARTING, WORKING, Record
from workload import (ACKED, FLAGS, REFUSED, Consumer, Daemon, DaemonBelow, Hang, Ledger, Peer,
                      Work, bodies, body, wait_for)

# So long nothing must have come before messages are called lost.
PATIENCE = 3


def prepare(directory):
    """A data directory with messages on disk: a channel's, a topic's, a paused topic's.

    Returns its path and the ledger of what is in it.
    """
    daemon, ledger = Daemon(directory, FLAGS), Ledger()
    daemon.start()
    try:
        work, peer = Work(daemon, ledger), Peer(daemon, ledger)
        work.create('old', 'ch')
        work.create('held', 'ch')
        work.create('hurt', 'ch')
        for text in bodies('old', 0, 24):
            peer.publish('old', text)
        daemon.wait_channel('old', 'ch', depth=24)
        work.insist('/topic/pause?topic=old')
        work.insist('/topic/pause?topic=held')
        for text in bodies('old', 24, 20):
            peer.publish('old', text)
        for text in bodies('before', 0, 12):
            peer.publish('held', text)
        for text in bodies('hurt', 0, 12):
            peer.publish('hurt', text)
        peer.close()
    finally:
        daemon.close()
    # A crash has left a hole at the end of a file.
    with open(max(files_of(daemon.data_path, 'hurt')), 'ab') as f:
        f.truncate(f.tell() + 300000)
    # It is found unpaused, so that the topic's pump begins with the start.
    metadata = json.loads(daemon.read_metadata())
    for topic in metadata['topics']:
        topic['paused'] = topic['name'] == 'held'
    daemon.write_metadata(metadata)
    assert not ledger.steps, ledger.steps
    return daemon.data_path, ledger


def files_of(data_path, topic):
    """Of its channel's disk queue, or of its log."""
    log = os.path.join(data_path, topic + '.log')
    if os.path.isdir(log):
        return [os.path.join(log, name) for name in os.listdir(log) if name.endswith('.seg')]
    return [os.path.join(data_path, name) for name in os.listdir(data_path)
            if re.match(topic + r':ch\.diskqueue\.\d+\.dat', name)]


class Result:
    def __init__(self, orders):
        self.orders = orders
        self.faults = []        # events
        self.wrong = []         # texts: what must not be
        self.log = ''
        self.started = True
        self.notes = []
        self.kinds, self.places, self.modules = {}, [], []
        self.doubled = 0
        self.seconds = 0.0

    def fail(self, text, *args):
        self.wrong.append(text % args if args else text)


class Trial:
    """setup has: prepared, ledger, flags, shim, config."""

    def __init__(self, setup, directory, orders):
        self.setup, self.directory, self.orders = setup, directory, orders
        self.result = Result(orders)
        self.ledger = setup.ledger.copy()

    def run(self):
        began = time.monotonic()
        os.makedirs(self.directory)
        shutil.copytree(self.setup.prepared, os.path.join(self.directory, 'data'))
        record = Record(os.path.join(self.directory, 'record'))
        self.daemon = DaemonBelow(self.directory, self.setup.flags, record, self.setup.shim,
                                  self.orders)
        self.record = record
        try:
            self.live()
            self.judge_end()
            self.look_at_metadata()
            self.verify()
        except Hang as error:
            self.result.fail('hang: %s', error)
        except Died:
            self.result.fail('the daemon ended: %s', self.daemon.process.wait())
        except Exception:   # pylint: disable=broad-except
            # Whatever it is, the other runs go on.
            self.result.fail('%s', traceback.format_exc())
        finally:
            if self.daemon.alive():
                self.daemon.process.kill()
                self.daemon.process.wait()
        r = self.result
        r.faults, r.log = record.faults(), self.daemon.log()
        r.modules = record.modules
        r.kinds, r.places = record.by_kind(), record.by_place()
        for event in record.bad():
            r.fail('not a descriptor: %s', event)
        if SANITIZER.search(r.log):
            r.fail('a sanitizer report')
        r.notes = self.ledger.steps
        record.close()
        r.seconds = time.monotonic() - began
        return r

    # -- the daemon's life

    def live(self):
        self.record.set_phase(STARTING)
        try:
            self.daemon.start()
        except Died:
            self.result.started = False
            return
        self.record.set_phase(WORKING)
        work = Work(self.daemon, self.ledger)
        work.run()
        self.after(work)
        self.record.set_phase(ENDING)
        self.daemon.process.send_signal(signal.SIGTERM)

    def after(self, work):
        """Whatever has failed once: now it serves, as if nothing had been."""
        work.create('after', 'ch')
        peer = Peer(self.daemon, self.ledger)
        number = itertools.count()

        def publish():
            return peer.publish('after', body('after', next(number))) == ACKED

        def healthy():
            """The disk's health is that of the last write: so there is one."""
            return all([publish() for _ in range(12)]) and \
                work.http('GET', '/ping') == (200, b'OK')
        wait_for(healthy, 'messages can be published, and /ping is OK')
        peer.close()
        consumer = Consumer(self.daemon, self.ledger, 'after', 'ch')
        consumer.receive(12)
        consumer.close()

    def judge_end(self):
        """A daemon that ended by itself, or was told to."""
        try:
            code = self.daemon.wait_exit()
        except AssertionError:
            os.kill(self.daemon.process.pid, signal.SIGQUIT)
            self.daemon.wait_exit()
            raise Hang('the daemon does not end')
        log = self.daemon.log()
        if not self.result.started:
            if code != 1:
                self.result.fail('a start that failed ended with %s', code)
            if ' FATAL: ' not in log:
                self.result.fail('a start that failed did not say why')
            return
        if code != 0:
            self.result.fail('the exit code is %s', code)
        elif not log.endswith(' INFO: NSQ: bye\n') and \
                not any(event.ends_log for event in self.record.faults()):
            self.result.fail('the daemon said no good-bye')
        for place in self.record.left_open():
            self.result.fail('a descriptor was left open: %s', place.spec)

    def verify(self):
        """What a daemon without faults finds in the data directory."""
        directory = os.path.join(self.directory, 'verify')
        os.makedirs(directory)
        daemon = Daemon(directory, FLAGS)
        daemon.data_path = self.daemon.data_path
        daemon.start()
        try:
            found = {topic: self.drain(daemon, topic, channel)
                     for topic, channel in sorted(self.ledger.channels.items())}
        finally:
            daemon.process.kill()
            daemon.process.wait()
        for topic, got in found.items():
            self.compare(topic, got)

    def look_at_metadata(self):
        """nsqd.dat has what was created, as it was paused."""
        try:
            there = self.daemon.metadata()
        except (OSError, ValueError, KeyError) as error:
            self.result.fail('nsqd.dat: %r', error)
            return
        # The answer to its deletion may have been lost, or the request.
        there.pop('junk', None)
        wanted = {topic: (topic == 'held', {channel: False})
                  for topic, channel in self.ledger.channels.items()}
        if there != wanted:
            self.result.fail('nsqd.dat has %s', there)

    def drain(self, daemon, topic, channel):
        """Everything in the channel."""
        ledger = Ledger()
        daemon.http('POST', '/topic/unpause?topic=' + topic)
        consumer = Consumer(daemon, ledger, topic, channel)
        consumer.insist()
        expected = self.ledger.expected(topic)
        got, last = [], time.monotonic()

        def empty():
            entry = daemon.topic_stats(topic)
            stats = next(c for c in entry['channels'] if c['channel_name'] == channel)
            return entry['depth'] == stats['depth'] == stats['in_flight_count'] \
                == stats['deferred_count'] == 0

        def all_read():
            nonlocal last
            message = consumer.next(2500, 0.02)
            while message:
                got.append(message.body)
                consumer.finish(message)
                last = time.monotonic()
                message = consumer.next(None, 0.02)
            # The topic's pump may have some that are in no depth: only what is missing is waited
            # for, which costs time only where something is wrong.
            return empty() and (expected <= set(got) or time.monotonic() - last > PATIENCE)
        wait_for(all_read, '%s is read' % topic)
        consumer.close()
        return got

    def compare(self, topic, got):
        told, expected = self.ledger.told[topic], self.ledger.expected(topic)
        lost = expected - set(got)
        if lost:
            self.result.fail('%s: %d of %d acknowledged messages are lost: %s', topic, len(lost),
                             len(expected), short(lost))
        strange = set(got) - set(told)
        if strange:
            self.result.fail('%s: nobody has published %s', topic, short(strange))
        refused = {b for b in got if told.get(b) == REFUSED}
        if refused:
            self.result.fail('%s: refused, and there: %s', topic, short(refused))
        self.result.doubled += len(got) - len(set(got))
        again = set(got) & self.ledger.finished[topic]
        self.result.doubled += len(again)


def short(found):
    names = sorted(b.split(b'.')[0].decode(errors='replace') for b in found)
    return ' '.join(names[:6]) + (' ...' if len(names) > 6 else '')
