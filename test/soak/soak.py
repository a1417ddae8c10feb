#!/usr/bin/env python3
"""A soak with accounting: many clients do everything at random, and then the books are balanced.

soak.py --nsqd PATH --directory DIR [--minutes N] [--seed N] [--round N]. The time is split into
rounds of half a minute. In a round actors (actors.py) talk to one daemon, which is stopped, killed,
suspended and started with other settings meanwhile; they write a journal (journal.py). Then
everything is drained, and accounts.py says whether acknowledged = finished + present + explained.
When all topics are deleted, the daemon's threads, descriptors and memory must be what they were.

A failure prints the seed, and the history of messages that are not explained. The daemon's log and
its data stay in DIR. A seed repeats what each session does; how they interleave it does not.
"""

import argparse
import collections
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'functional')]
os.environ.setdefault('TIMEOUT_SCALE', '12')    # before nsq reads it

# pylint: disable=wrong-import-position
from accounts import Accounts, is_ephemeral
from certs import Authority
from consumers import Consumer, Drain
from journal import now
from nsq import end_by, quote, short_tmp, wait_until
from operators import Operator
from producers import HttpProducer, Producer
from topics import Topics
from vandals import Vandal
from world import PATIENCE, World

MODES = ['steady', 'clean', 'kill']

CAST = [(Producer, 6), (HttpProducer, 2), (Consumer, 9), (Vandal, 1), (Operator, 2)]

# What the plain daemon may have more, in KiB, when all topics are gone, than before the first
# message. A span of messages stays while a thread keeps one of its objects for the next time:
# there are 29 sizes, with 256 KiB each (common/slab.c).
BOUNDS = {'malloc': 1024, 'spans': 2 * 29 * 256, 'RSS': 40 * 1024}


class Failure(Exception):
    pass


def chaos(world, rng, mode, seconds):
    """What happens to the daemon while the actors are at work."""
    count = collections.Counter()
    until = now() + seconds
    while True:
        pause = 1.5 + rng.random() * 4
        if now() + pause > until:
            time.sleep(max(0.0, until - now()))
            return count
        time.sleep(pause)
        settings = world.settings(rng, mode)
        what = rng.choice({'steady': ['suspend'], 'clean': ['stop', 'stop', 'stop', 'suspend'],
                           'kill': ['kill', 'kill', 'kill', 'stop', 'early', 'suspend']}[mode])
        down, signals, length = rng.random() * 0.5, rng.choice(
            [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)]), rng.random()
        count[what] += 1
        if what == 'suspend':
            world.suspend(0.1 + 1.5 * length)
            continue
        if what == 'stop':
            world.stop(signals)
        else:
            world.kill()
        time.sleep(down)
        if what == 'early':
            world.start_and_kill(world.settings(rng, mode), length * 0.1)
        world.start(settings)


def join(actors):
    """They have been told to end."""
    until = now() + 2 * PATIENCE
    for actor in actors:
        actor.join(max(0.0, until - now()))
    stuck = [actor.name for actor in actors if actor.is_alive()]
    if stuck:
        raise Failure('actors do not end: %s' % stuck)


# -- what the daemon has when nobody uses it


def resources(world):
    """Threads by name, and descriptors but for nsqlookupd's. A kept thread ends within a second."""
    return (tuple(sorted(world.daemon.thread_names())),
            world.daemon.descriptors() - world.life.settings['lookupd'])


def settled(world):
    """When the start is over: nothing has changed for half a second."""
    seen = []

    def stays():
        seen.append((now(), resources(world)))
        if seen[-1][1] != seen[0][1]:
            del seen[:-1]
        return now() - seen[0][0] > 0.5
    wait_until(stays, 'the daemon has started', PATIENCE)
    return seen[0][1]


def create_fixed(world):
    """The topics that stay, before the first message; they are in nsqd.dat."""
    for topic, channels in Topics.FIXED.items():
        for channel in (None,) + channels:
            event = world.event('create', topic, channel, world.life)
            path = '/channel/create?topic=%s&channel=%s' % (topic, channel) if channel else \
                '/topic/create?topic=' + topic
            assert world.daemon.post(path).status == 200
            event.end = now()
    wait_until(lambda: all(
        set(channels) <= set(world.daemon.metadata().get(topic, (0, {}))[1])
        for topic, channels in Topics.FIXED.items()), 'nsqd.dat has all channels', PATIENCE)


# -- the drain


def unpause_all(world):
    """Every topic must have a channel that consumes, or its messages would stay in it."""
    for t in world.daemon.stats()['topics']:
        name = t['topic_name']
        world.daemon.post('/topic/unpause?topic=' + quote(name))
        if not [c for c in t['channels'] if not is_ephemeral(c['channel_name'])]:
            world.daemon.post('/channel/create?topic=%s&channel=drain' % quote(name))
        for c in t['channels']:
            world.daemon.post('/channel/unpause?topic=%s&channel=%s' % (
                quote(name), quote(c['channel_name'])))


def is_empty(stats):
    return all(t['depth'] == 0 and all(
        c['depth'] == c['in_flight_count'] == c['deferred_count'] == 0 for c in t['channels'])
        for t in stats['topics'])


def accounts(world):
    found = Accounts(world.journal, Topics.KEPT, Topics.EMPTIED)
    return found, found.problems()


def drain(world):
    """Receive what is present, until the books balance, or nothing more comes."""
    unpause_all(world)
    drains = {}

    def deliveries():
        return sum(map(len, list(world.journal.deliveries.values())))

    last, at, began = deliveries(), now(), now()
    while True:
        for t in world.daemon.stats()['topics']:
            for c in t['channels']:
                key = t['topic_name'], c['channel_name']
                if key not in drains:
                    drains[key] = Drain(world, *key)
                    drains[key].start()
        time.sleep(0.2)
        count, empty = deliveries(), is_empty(world.daemon.stats())
        if count != last:
            last, at = count, now()
        elif empty and now() - at > 0.5 and (
                now() - at > PATIENCE / 6 or not accounts(world)[1]):
            break
        elif now() - at > PATIENCE:
            raise Failure('nothing more is delivered, but /stats has messages: %s' % [
                (t['topic_name'], t['depth'], [
                    (c['channel_name'], c['depth'], c['in_flight_count'], c['deferred_count'])
                    for c in t['channels']]) for t in world.daemon.stats()['topics']])
    for d in drains.values():
        d.ready_to_end.set()
    join(drains.values())
    return now() - began


def message_counts(world, books):
    """message_count of the daemon that runs, beside what was sent to it."""
    stats = {t['topic_name']: t['message_count'] for t in world.daemon.stats()['topics']}
    wrong = []
    for topic in Topics.KEPT:
        least, most = books.published(topic, world.life)
        if not least <= stats.get(topic, 0) <= most:
            wrong.append('%s: message_count is %d; %d were acknowledged, %d sent' % (
                topic, stats.get(topic, 0), least, most))
    return wrong


def counts(world, books):
    """What /stats says, beside the journal."""
    wrong = []

    def no_clients():
        return all(c['client_count'] == 0 for t in world.daemon.stats()['topics']
                   for c in t['channels'])
    wait_until(no_clients, lambda: 'no clients are left: %s' % world.daemon.stats(), PATIENCE)
    wrong += message_counts(world, books)
    stats = {t['topic_name']: t for t in world.daemon.stats()['topics']}
    for topic, channels in Topics.KEPT.items():
        t = stats.get(topic)
        if t is None or not set(channels) <= {c['channel_name'] for c in t['channels']}:
            wrong.append('%s or a channel of it is gone: %s' % (topic, t))
            continue
        for c in t['channels']:
            if (len(world.journal.lives) == 1 and c['channel_name'] in channels
                    and c['message_count'] != t['message_count']):
                wrong.append('%s/%s: message_count is %d, and of the topic %d' % (
                    topic, c['channel_name'], c['message_count'], t['message_count']))
            requeued = sum(d.fate == 'req' for d in books.deliveries.get(
                (topic, c['channel_name']), ()))
            if c['requeue_count'] > requeued:
                wrong.append('%s/%s: requeue_count is %d, but only %d were sent' % (
                    topic, c['channel_name'], c['requeue_count'], requeued))
            if c['depth'] or c['in_flight_count'] or c['deferred_count'] or c['paused']:
                wrong.append('%s: not empty: %s' % (topic, c))
    return wrong


# -- a round


def delete_all(world):
    for t in world.daemon.stats()['topics']:
        world.daemon.post('/topic/delete?topic=' + quote(t['topic_name']))
    wait_until(lambda: not world.daemon.stats()['topics'], 'all topics are gone', PATIENCE)


def check_resources(world, before, plain):
    daemon = world.daemon
    names, descriptors = before['resources']
    try:
        wait_until(lambda: resources(world) == (names, descriptors), 'x', PATIENCE)
    except AssertionError:
        has, open_now = resources(world)
        return ['threads and descriptors are not back: more threads %s, fewer %s; '
                '%d descriptors, %d before' % (
                    dict(collections.Counter(has) - collections.Counter(names)),
                    dict(collections.Counter(names) - collections.Counter(has)),
                    open_now, descriptors)], ''
    if not plain:
        return [], ''
    memory = daemon.memory()
    return (['%s: %d KiB, and %d before; the bound is %d more' % (what, memory[what], was, bound)
             for what, was, bound in ((w, before['memory'][w], BOUNDS[w]) for w in BOUNDS)
             if memory[what] > was + bound],
            ', '.join('%s %d KiB (%d before)' % (what, memory[what], before['memory'][what])
                      for what in BOUNDS))


def may_be_left(world, name):
    """Files that nothing owns any more, and that are no fault.

    An exit leaves those of channels of ephemeral topics, which it forgets, as stock does. A kill
    leaves what was being written (.tmp), and a torn record (.bad). It also leaves the files of
    topics that it kept from being deleted, or from being in nsqd.dat. The next start removes
    nsqd.dat's .tmp alone; stock none. All of them are older than the last kill. Logs leave nothing.
    """
    topic = re.split(r'[:.]diskqueue\.|:', name)[0]
    if re.fullmatch(r'nsqd\.dat\.\d+\.tmp', name):
        return False
    if name == 'nsqd.dat' or is_ephemeral(topic):
        return True
    if world.durable:
        return False
    if os.path.getmtime(os.path.join(world.daemon.data_path, name)) > world.killed_at:
        return False
    return name.endswith(('.tmp', '.bad')) or topic not in Topics.FIXED


def leftovers(world):
    names = [n for n in os.listdir(world.daemon.data_path) if not may_be_left(world, n)]
    return ['files are left: %s' % sorted(names)] if names else []


# -- what nsqlookupd has been told


def told(world, wanted):
    """Waits until nsqlookupd has these registrations; what is wrong."""
    if not world.life.settings['lookupd']:
        return []
    lookupd = world.cluster.lookupd
    try:
        wait_until(lambda: lookupd.registered == wanted(), 'x', PATIENCE)
    except AssertionError:
        has, there = lookupd.registered, wanted()
        return ['nsqlookupd has %s too many, and is without %s' % (
            sorted(has - there), sorted(there - has))]
    return []


def registrations(world):
    topics = world.daemon.stats()['topics']
    return {(t['topic_name'],) for t in topics} | {
        (t['topic_name'], c['channel_name']) for t in topics for c in t['channels']}


def perform(world, mode, seconds):
    """The actors and the daemon's fates."""
    actors = [kind(world, '%s%d' % (kind.__name__.lower(), i)) for kind, n in CAST
              for i in range(n)]
    for actor in actors:
        actor.start()
    try:
        fates = chaos(world, world.rng('daemon'), mode, seconds)
    finally:
        world.over.set()
    join(actors)
    done = sum((actor.count for actor in actors), collections.Counter())
    return fates, done, sum(actor.sessions for actor in actors)


def tell(world, problems, books):
    """The problems, and the histories of some messages of each."""
    lines = []
    for text, ids in problems[:20]:
        lines.append('* ' + text)
        for name in ids[:3]:
            lines.append('  %s:' % name)
            lines += ['    ' + line for line in world.journal.history(name)]
        if len(ids) > 3:
            lines.append('  and %d more: %s' % (len(ids) - 3, ' '.join(ids[3:30])))
    if len(problems) > 20:
        lines.append('* and %d more' % (len(problems) - 20))
    lines.append('  (%s)' % books.summary())
    return '\n'.join(lines)


def play(world, mode, seconds, plain):
    """One round. Returns what to print about it; raises Failure."""
    world.start(world.settings(world.rng('settings'), mode))
    before = {'resources': settled(world), 'memory': world.daemon.memory()}
    create_fixed(world)
    fates, done, sessions = perform(world, mode, seconds)
    world.must_live()
    counted = []
    if mode != 'steady':
        counted = message_counts(world, Accounts(world.journal, Topics.KEPT))
        # What is in flight need not wait for its time-out then.
        world.stop()
        world.start(world.settings(world.rng('settings at the end'), mode))
    took = drain(world)
    books, problems = accounts(world)
    wrong = counted + counts(world, books) + told(world, lambda: registrations(world))
    delete_all(world)
    wrong += told(world, set)
    more, memory = check_resources(world, before, plain)
    world.stop()
    problems += [(text, []) for text in wrong + more + leftovers(world)]
    problems += [('in the log: ' + line, []) for line in world.bad_lines(Topics.FIXED)[:10]]
    if problems:
        raise Failure(tell(world, problems, books))
    return '%d sessions, %d lives (%s); %s; drained in %.1f s%s\n    %s' % (
        sessions, len(world.journal.lives),
        ', '.join('%d %s' % (n, what) for what, n in sorted(fates.items())) or 'nothing',
        books.summary(), took, '; ' + memory if memory else '',
        ', '.join('%d %s' % (n, what) for what, n in sorted(done.items())))


def rounds_of(seconds):
    """How many rounds, and the seconds of each."""
    n = max(1, round(seconds / 33))
    return n, seconds / n


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--nsqd', required=True)
    parser.add_argument('--directory', required=True, help='for logs and data')
    parser.add_argument('--minutes', type=float, default=1.67)
    parser.add_argument('--seed', default='')
    parser.add_argument('--round', type=int, help='this one only')
    parser.add_argument('--variant', default='plain')
    parser.add_argument('--durable', action='store_true', help='all topics have logs')
    args = parser.parse_args()
    os.environ['NSQD'] = os.path.abspath(args.nsqd)
    directory = os.path.abspath(args.directory)
    seed = args.seed or str(int.from_bytes(os.urandom(4), 'big'))
    messages = 0
    number, length = rounds_of(args.minutes * 60)
    print('soak (%s): seed %s, %d rounds of %.0f s' % (args.variant, seed, number, length),
          flush=True)
    # (The kernel ends the daemon.)
    end_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with tempfile.TemporaryDirectory(prefix='soak', dir=short_tmp(20)) as certificates:
        certificate = Authority(certificates).issue('server', rsa=2048)
        for i in range(number) if args.round is None else [args.round]:
            mode = MODES[i % len(MODES)]
            world = World(os.path.join(directory, 'round%d' % i), '%s.%d' % (seed, i),
                          certificate, certificates, args.durable)
            try:
                # A drain and the end take some of the time.
                said = play(world, mode, max(5.0, length - 6), args.variant == 'plain')
            except (Failure, AssertionError) as error:
                return fail(world, seed, i, mode, str(error), args)
            except Exception:  # pylint: disable=broad-except
                return fail(world, seed, i, mode, traceback.format_exc(), args)
            finally:
                world.close()
            print('  %s, round %d, %s: %s' % (args.variant, i, mode, said), flush=True)
            messages += len(world.journal.pubs)
            shutil.rmtree(world.directory)
    print('ok   soak (%s): %d messages' % (args.variant, messages), flush=True)
    if os.environ.get('PROOF_FILE'):
        with open(os.environ['PROOF_FILE'], 'a', encoding='utf-8') as f:
            f.write('soak %s%s\t%d\tmessages\n' % (
                args.variant, ' durable' if args.durable else '', messages))
    return 0


def fail(world, seed, i, mode, text, args):
    """Say what is known, and where the rest is. The daemon ends."""
    if world.daemon.alive():
        world.daemon.process.kill()
        world.daemon.process.wait()
    if not text.startswith('* '):
        # It did not come as far as the accounts: what they say may be the cause.
        books, problems = accounts(world)
        text += '\nThe accounts by then:\n' + tell(world, problems, books)
    print("FAILED soak (%s), round %d (%s): seed %s\n%s\nlog and data: %s\n"
          "again: make soak SEED=%s MINUTES=%g SOAK_ARGS='--round %d'%s%s" % (
              args.variant, i, mode, seed, text, world.directory, seed, args.minutes, i,
              ' DURABLE=1' if args.durable else '', '' if args.variant == 'plain' else ' SANITIZE=' + args.variant), flush=True)
    return 1


if __name__ == '__main__':
    sys.exit(main())
