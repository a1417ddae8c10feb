#!/usr/bin/env python3
"""Runs the interop tests: stock client libraries against one nsqd.

The client programs (go/, python/, js/) only do what they are told and report
what happened to them; the scenarios are below and in settings.py, the judging in
trial.py. README.md describes the language between the two. Only the standard
library is used.
"""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback

import settings
from stacks import DAEMONS, PLAIN, STACKS, TLS, make_certificates
from trial import Daemon, Failure, Trial, gaps, same

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = ['go', 'python', 'js']

MSG_TIMEOUT = 2000       # ms, asked for by the consumers that let messages time out; what comes
                         # again must be answered within it, on a busy machine, too
MAX_MSG_SIZE = 1 << 20   # nsqd's defaults
MAX_BODY_SIZE = 5 << 20
# nsqd looks for new channels to scan for timeouts and deferred messages every
# five seconds: what waits for a scan may be late by that much.
SCAN_REFRESH = 5.0
TIME_LIMIT = 900         # seconds for all of them

# --- scenarios -------------------------------------------------------------
#
# Each takes a Trial and ends with verify(): every message arrived and was
# finished exactly once, and /stats says so.

def publish(t):
    """PUB, MPUB and DPUB; a deferred message does not arrive before its time."""
    consumer = t.consume(max_in_flight=10)
    t.warm_up(consumer, 'dpub', 1)
    t.publish('pub', t.bodies(50))
    t.publish('mpub', t.bodies(50))
    sent = {}
    for delay in 300, 800, 1500:
        bodies = t.bodies(5)
        now = time.time()
        sent.update((hashlib.sha256(body).hexdigest(), now + delay / 1000) for body in bodies)
        t.publish('dpub', bodies, delay)
    t.verify(consumer)
    for e in consumer.select('message'):
        if e['at'] < sent.get(e['sha256'], 0) - 0.002:
            raise Failure(f'deferred message early by {sent[e["sha256"]] - e["at"]:.3f} s')


def backlog(t):
    """What was published before the first consumer came waits for it."""
    t.publish('mpub', t.bodies(200))
    t.publish('pub', t.bodies(100))
    t.verify(t.consume(max_in_flight=20))


def disk(t):
    """A backlog that is larger than the memory queue goes to disk and comes back."""
    bodies = t.bodies(5000, 200)
    t.publish('pub', bodies[:1000])
    for i in range(1000, 5000, 500):
        t.publish('mpub', bodies[i:i + 500])
    if not t.daemon.stats(t.topic)['backend_depth']:
        raise Failure('nothing is on disk')
    t.verify(t.consume(max_in_flight=50))


def consumers(t):
    """Several consumers share a channel: each message goes to one of them."""
    consumer = t.consume(consumers=4, max_in_flight=2)
    other = t.consume(consumers=2, max_in_flight=2)
    for _ in range(5):
        t.publish('pub', t.bodies(100))
    t.verify(consumer, other)
    for c in consumer, other:
        same('consumers that got something', len({e['consumer'] for e in c.select('message')}),
             c.consumers)


def channels(t):
    """Each channel gets every message, with the same id."""
    group = [t.consume(channel=f'ch{i}', consumers=2, max_in_flight=10) for i in range(3)]
    t.publish('mpub', t.bodies(100))
    t.publish('pub', t.bodies(100))
    for consumer in group:
        t.verify(consumer)
    ids = [{e['id']: e['sha256'] for e in c.select('message')} for c in group]
    same('ids in the channels', [i == ids[0] for i in ids], [True] * 3)


def requeue(t):
    """REQ without delay: attempts grow."""
    consumer = t.consume(max_in_flight=5, mode='requeue', attempts=4)
    t.publish('mpub', t.bodies(20))
    t.verify(consumer, requeues=60)


def requeue_delayed(t):
    """REQ with a delay: the message does not come back before it."""
    consumer = t.consume(max_in_flight=20, mode='requeue', attempts=2, delay=700)
    t.warm_up(consumer)
    t.publish('mpub', t.bodies(20))
    t.verify(consumer, requeues=21)
    if min(gaps(consumer)) < 0.7 - 0.002:
        raise Failure(f'requeued with 0.7 s of delay, back after {min(gaps(consumer)):.3f} s')


def backoff(t):
    """REQ with the library's backoff, which plays with RDY 0 and RDY 1."""
    consumer = t.consume(max_in_flight=5, mode='backoff', attempts=2)
    t.publish('mpub', t.bodies(5))
    t.verify(consumer, requeues=5)


def touch(t):
    """TOUCH keeps messages from their timeout, past a scan for certain."""
    consumer = t.consume(max_in_flight=3, mode='touch', msg_timeout=2 * MSG_TIMEOUT,
                         hold=int(SCAN_REFRESH * 1000) + 3 * MSG_TIMEOUT)
    t.publish('mpub', t.bodies(3))
    t.verify(consumer)


def timeout(t):
    """A message that nobody answers comes back; a late FIN is an error that does no harm."""
    consumer = t.consume(max_in_flight=5, mode='hold', attempts=2, msg_timeout=MSG_TIMEOUT)
    warmed_up = time.time()
    t.warm_up(consumer)
    began = time.time()
    t.publish('mpub', t.bodies(5))
    consumer.wait_for('finish', 6)
    t.until('second FIN', lambda: t.channel('ch')['clients'][0]['finish_count'] == 6)
    consumer.release()
    consumer.wait_for('error', 6)
    for e in consumer.select('error'):
        if 'E_FIN_FAILED' not in e['error']:
            raise Failure(f'not E_FIN_FAILED: {e}')
    t.verify(consumer, timeouts=6, errors=6)
    # From the publishing on: how late a client was for the first delivery is its own affair.
    again = sorted(e['at'] for e in consumer.select('message') if e['attempts'] == 2)
    for since, at in (warmed_up, again[0]), (began, again[1]):
        if at < since + MSG_TIMEOUT / 1000 - 0.002:
            raise Failure(f'timed out after {at - since:.3f} s')


def killed(t):
    """A consumer dies holding messages: the next one gets them when they time out."""
    consumer = t.consume(max_in_flight=5, mode='hold', attempts=2, msg_timeout=MSG_TIMEOUT)
    t.publish('mpub', t.bodies(20))
    consumer.wait_for('message', 5)
    consumer.kill()
    t.until('no clients', lambda: t.channel('ch')['client_count'] == 0)
    heir = t.consume(max_in_flight=5)
    t.verify(heir, timeouts=5, cut=True)
    same('timeout_count', t.channel('ch')['timeout_count'], 5)
    same('deliveries on a second attempt',
         sorted(e['attempts'] for e in heir.select('message')), [1] * 15 + [2] * 5)
    same('finished by the heir', len(heir.select('finish')), 20)


def reconnect(t):
    """A connection is cut while its messages are held: the library connects
    again, and nsqd hands out what was in flight once more."""
    proxy = t.proxy()
    consumer = t.consume(address=proxy.address, max_in_flight=5, mode='hold', attempts=2,
                         msg_timeout=MSG_TIMEOUT)
    held = t.bodies(5)
    t.publish('mpub', held)
    consumer.wait_for('message', 5)
    proxy.cut()
    consumer.release()  # these answers go nowhere
    t.until('reconnect', lambda: t.ready_clients('ch') == 1)
    consumer.wait_for('finish', 5)
    t.until('all finished', lambda: t.channel('ch')['in_flight_count'] == 0)
    t.verify(consumer, cut=True)
    same('timeout_count', t.channel('ch')['timeout_count'], 5)
    same('attempts', sorted(e['attempts'] for e in consumer.select('message')), [1] * 5 + [2] * 5)


def cut_in_flow(t):
    """Connections are cut in mid-flow, of several consumers at once."""
    proxy = t.proxy()
    consumer = t.consume(address=proxy.address, consumers=3, max_in_flight=10,
                         msg_timeout=2 * MSG_TIMEOUT)
    for part in range(10):
        t.publish('mpub', t.bodies(300))
        if part == 4:
            consumer.wait_for('message', 1000)
            proxy.cut()
    t.verify(consumer, cut=True)


def sizes(t):
    """Bodies of 1 byte to max-msg-size, in each way to publish."""
    lengths = [1, 2, 3, 127, 128, 255, 256, 4095, 4096, 16383, 16384, 16385, 65535, 65536, 65537,
               MAX_MSG_SIZE - 1, MAX_MSG_SIZE]
    bodies = [t.random.randbytes(n) for n in lengths]
    consumer = t.consume(max_in_flight=4)
    t.publish('pub', bodies)
    t.publish('mpub', bodies)
    t.publish('dpub', bodies, 50)
    t.publish('mpub', [t.random.randbytes(t.random.randrange(1, 2000)) for _ in range(500)])
    t.verify(consumer)


def many(t):
    """20,000 small messages."""
    consumer = t.consume(consumers=2, max_in_flight=100)
    for _ in range(5):
        t.publish('pub', t.bodies(1000, 16))
    for _ in range(30):
        t.publish('mpub', t.bodies(500, 16))
    t.verify(consumer)


def stack(t):
    """20,000 messages of mixed sizes go through a stack of layers, in and out."""
    consumer = t.consume(consumers=2, max_in_flight=100)
    bodies = mixed_bodies(t.random, 20000)
    for i in range(0, 5000, 1000):
        t.publish('pub', bodies[i:i + 1000])
    for i in range(5000, 20000, 500):
        t.publish('mpub', bodies[i:i + 500])
    t.verify_stack()
    t.verify(consumer)


def mixed_bodies(source, count):
    """From 1 byte to 4 KB, few of them large; some are as large as two of snappy's
    chunks. One half is noise, the other can be compressed."""
    def body(i):
        size = source.randrange(1 << 16, 1 << 17) if i % 500 == 0 else \
            int(2 ** source.uniform(0, 12))
        return source.randbytes(size) if i % 2 else (b'message %d, ' % i * size)[:size]
    bodies = [body(i) for i in range(count)]
    source.shuffle(bodies)
    return bodies


def largest(t):
    """MPUBs of exactly max-body-size through a stack of layers, of noise and of zeros."""
    lengths = [MAX_MSG_SIZE] * 4 + [100] * 1000
    lengths.append(MAX_BODY_SIZE - 4 - sum(4 + n for n in lengths) - 4)
    consumer = t.consume(max_in_flight=4)
    for fill in t.random.randbytes, bytes:
        t.publish('mpub', [fill(n) for n in lengths])
    t.verify_stack()
    t.verify(consumer)


def mixed(t):
    """Consumers of all the libraries share a channel; another channel has all to itself."""
    libraries = list(t.suite.commands)
    group = [t.consume(library=lib, max_in_flight=3, mode='requeue', attempts=2)
             for lib in libraries]
    other = t.consume(channel='other', max_in_flight=10)
    for _ in range(4):
        t.publish('pub', t.bodies(50))
        t.publish('mpub', t.bodies(50))
    t.verify(*group, requeues=400)
    t.verify(other)
    same('libraries that got something', [bool(c.select('message')) for c in group],
         [True] * len(group))


# The slow ones come first: they mostly wait.
SAME_LIBRARY = [reconnect, *settings.SCENARIOS, touch, timeout, killed, publish, requeue_delayed,
                cut_in_flow, many, disk, backoff, requeue, consumers, channels, mixed]
MATRIX = [sizes, backlog]
OVER_TLS = [cut_in_flow]
EACH_STACK = [stack, largest]


def plan(libraries, wanted, layered=True):
    """All (name, scenario, publisher, consumer, stack), in the order of their start."""
    pairs = [(p, c) for p in libraries for c in libraries]
    trials = [(f'{s.__name__}/{lib}', s, lib, lib, PLAIN)
              for s in SAME_LIBRARY for lib in libraries]
    # Not with compression: nsqjs does not survive the end of half a block.
    trials += [(f'{s.__name__}/{lib}/{TLS.name}', s, lib, lib, TLS)
               for s in OVER_TLS for lib in libraries]
    trials += [(f'{s.__name__}/{lib}/{layers.name}', s, lib, lib, layers)
               for s in EACH_STACK for layers in STACKS for lib in libraries if layered]
    trials += [(f'{s.__name__}/{p}>{c}', s, p, c, PLAIN) for s in MATRIX for p, c in pairs]
    return [t for t in trials if not wanted or any(w in t[0] for w in wanted)]


class Suite:
    def __init__(self, clients, directory):
        self.directory = directory
        self.certificates = directory / 'certificates'
        self.nsqd = None
        self.daemons = {}
        self.commands = {}
        known = {
            'go': [clients / 'go/client'],
            'python': [clients / 'python/venv/bin/python', HERE / 'python/client.py'],
            'js': ['node', clients / 'js/client.js'],
        }
        for library, command in known.items():
            if (clients / library / 'ready').exists():
                self.commands[library] = [str(part) for part in command]

    def start(self, nsqd, names):
        """Starts the daemons that trials ask for."""
        self.nsqd = nsqd
        make_certificates(self.certificates)
        for name in names:
            flags = [flag.format(self.certificates) for flag in DAEMONS[name]]
            self.daemons[name] = Daemon(nsqd, self.directory, name, flags)

    def has_settings(self):
        """Stock's daemon has none."""
        daemon = next(iter(self.daemons.values()), None)
        return daemon and daemon.ask('GET', '/topic/config')[0] != 404

    def stop(self):
        for daemon in self.daemons.values():
            daemon.stop()

    def kill(self):
        """Without their daemons, all trials end at once."""
        for daemon in self.daemons.values():
            daemon.process.kill()

    def clean_up(self):
        for daemon in self.daemons.values():
            daemon.kill()

    def run(self, name, scenario, publisher, consumer, layers):
        """Runs one trial; returns None, or what went wrong."""
        began = time.monotonic()
        trial = Trial(self, name, publisher, consumer, layers)
        problem = None
        try:
            scenario(trial)
            trial.end()
        except Failure as failure:
            problem = str(failure)
        except Exception:  # a fault of the runner itself
            problem = traceback.format_exc()
        stderr = trial.clean_up()
        if problem and stderr:
            problem += f'\nstderr of the clients:\n{stderr}'
        print(f'{"FAIL" if problem else "ok"}\t{name}\t{time.monotonic() - began:.1f} s'
              + (f'\n{problem}' if problem else ''), flush=True)
        return problem


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('nsqd', help='the daemon to test')
    parser.add_argument('--clients', type=pathlib.Path, default='build/interop',
                        help='where setup.sh put the clients')
    parser.add_argument('--only', action='append', default=[], metavar='TEXT',
                        help='only trials whose name contains this; may be repeated')
    parser.add_argument('--plain', action='store_true',
                        help='without those that go through each stack of layers')
    parser.add_argument('--jobs', type=int, default=6, help='trials at a time')
    parser.add_argument('--list', action='store_true', help='list the trials')
    parser.add_argument('--keep', action='store_true', help='keep the logs and the data')
    args = parser.parse_args()

    if args.list:
        for name, scenario, *_ in plan(CLIENTS, args.only, not args.plain):
            print(f'{name:24}', ' '.join(scenario.__doc__.split()))
        return 0

    directory = pathlib.Path(tempfile.mkdtemp(prefix='interop-'))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    passed, failed = 0, 0
    suite = Suite(args.clients, directory)
    try:
        trials = plan(list(suite.commands), args.only, not args.plain)
        print(f'interop: {len(trials)} trials of {", ".join(suite.commands) or "no clients"} '
              f'against {args.nsqd}', flush=True)
        suite.start(args.nsqd, sorted({layers.daemon for *_, layers in trials}))
        if not suite.has_settings():
            known = [trial for trial in trials if trial[1] not in settings.SCENARIOS]
            print(f'interop: this nsqd has no settings: {len(trials) - len(known)} trials less')
            trials = known
        watchdog = threading.Timer(TIME_LIMIT, suite.kill)
        watchdog.start()
        pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
        try:
            for problem in pool.map(lambda trial: suite.run(*trial), trials):
                failed += problem is not None
                passed += problem is None
        except KeyboardInterrupt:
            suite.kill()
            raise
        finally:
            watchdog.cancel()
            pool.shutdown(cancel_futures=True)
        suite.stop()
    except Failure as failure:
        print(f'FAIL\t{failure}')
        failed += 1
    finally:
        suite.clean_up()
        if failed or args.keep:
            print(f'interop: logs and data are in {directory}')
        else:
            shutil.rmtree(directory)
    missing = [c for c in CLIENTS if c not in suite.commands]
    if missing:
        print(f'SKIP: interop without {", ".join(missing)}: not set up', file=sys.stderr)
    skipped = len(plan(CLIENTS, args.only, not args.plain)) - passed - failed if missing else 0
    print(f'interop: {passed} passed, {failed} failed'
          + (f', {skipped} skipped' if skipped else ''))
    return 1 if failed or (missing and os.environ.get('CI') == 'true') else 0


if __name__ == '__main__':
    sys.exit(main())
