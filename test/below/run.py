#!/usr/bin/python3
"""Faults from below: the workload again and again, each time with another call that goes wrong.

    run.py --seed 1    a sample, as in `make test`
    run.py --all       each call of the recorded run, each way to fail: about an hour
    run.py --record    only shows which calls there are, and how often
    run.py --orders 'pwritev:3:ENOSPC'     one run, with its log

NSQD names the daemon, BELOW_SO the shim. docs/testing.md says what is judged.
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'functional')]

# The runner is no pytest, but its helpers are made for it.
import crew         # noqa: E402
import faults       # noqa: E402
import trial        # noqa: E402
from certs import Authority     # noqa: E402
from lookupd import FakeLookupd     # noqa: E402
from nsq import end_by, short_tmp       # noqa: E402
from record import KINDS, Names, Place        # noqa: E402
from workload import FLAGS      # noqa: E402


class Setup:
    """What all runs share: the data directory that they begin with, certificate, flags."""

    def __init__(self, directory):
        self.shim = os.environ['BELOW_SO']
        self.directory = directory
        for name in ('prepare', 'ca'):
            os.makedirs(os.path.join(directory, name))
        self.prepared, self.ledger = trial.prepare(os.path.join(directory, 'prepare'))
        authority = Authority(os.path.join(directory, 'ca'))
        self.certificate, self.key = authority.issue('server', rsa=2048)
        self.ca = authority.cert
        self.config = os.path.join(directory, 'nsqd.cfg')
        with open(self.config, 'w', encoding='utf-8') as f:
            f.write('https_address = "127.0.0.1:0"\n')

    def serve(self):
        """In each process: a nsqlookupd, and the flags that name it."""
        # Less than it may have: a daemon asks for all of it.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1000), hard))
        self.lookupd = FakeLookupd()
        # A connection that ends in the middle of a word is nothing to talk about.
        self.lookupd.tcp.handle_error = self.lookupd.http.handle_error = lambda *_: None
        # Nobody reads what comes there, and nothing refuses it.
        self.statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.statsd.bind(('127.0.0.1', 0))
        self.flags = FLAGS + [
            '--config=' + self.config, '--tls-cert=' + self.certificate, '--tls-key=' + self.key,
            '--tls-root-ca-file=' + self.ca,
            '--lookupd-tcp-address=localhost:%d' % self.lookupd.tcp.port,
            '--statsd-address=127.0.0.1:%d' % self.statsd.getsockname()[1],
            '--statsd-interval=200ms']


def execute(setup, orders):
    directory = tempfile.mkdtemp(dir=setup.directory)
    try:
        return trial.Trial(setup, os.path.join(directory, 'run'), orders).run()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


FOR_EVER = 1 << 30
# So many failures are no accident: they are not tried again.
MANY = 10
# Less is no run of the workload: it has 165 places. (test/below/workload.py)
LEAST_PLACES = 100
# So many of the planned faults must come. On a machine with a load of 9 per processor 97 % did. A
# call of which there are few (a lock that was taken) may fail to come.
LEAST_SHARE = 0.85


class Case:
    """A place, an action, and at which calls."""

    def __eq__(self, other):
        return self.orders == other.orders

    def __init__(self, place, functions, action, nth, times=1):
        self.kind, self.functions, self.action = place.kind, functions, action
        self.times = times
        self.orders = '%s:%d:%s:%d' % (place.spec, nth, action, times)
        last = ' and all behind it' if times == FOR_EVER else \
            ' to %d' % (nth + times - 1) if times > 1 else ''
        self.name = '%s nr %d%s in %s: %s' % (place.kind, nth, last, ' < '.join(functions), action)


def noticed(result):
    """What the clients have noticed."""
    # A machine that stands still for longer than --msg-timeout takes a message away.
    return [n for n in result.notes if not re.search('E_(FIN|REQ|TOUCH)_FAILED', n)]


def judge(case, result):
    """What is wrong with this run: texts."""
    wrong = list(result.wrong)
    words = faults.way_to_end(case.kind, case.functions)
    if words and words in result.log:
        return []
    if not result.faults or wrong:
        return wrong
    notes = noticed(result)
    if faults.is_harmless(case.kind, case.action) and (notes or not result.started):
        wrong.append('it was noticed: %s' % (notes or 'the start has failed'))
    places = case.functions + ['thread ' + event.thread for event in result.faults]
    quiet = faults.why_quiet(case.kind, places, case.action) or (
        not notes and faults.why_healed(case.kind, case.functions, case.action)) or (
        # Lines were lost at the end, and so was the line that tells it.
        case.times > 1 and all(event.ends_log for event in result.faults))
    if not quiet and faults.message(case.action) not in result.log.lower():
        wrong.append('no line of the log says "%s"' % faults.message(case.action))
    return wrong


def all_cases(places, names):
    cases = []
    for place, count in places:
        functions = names.functions(place)
        for action in faults.FAULTS[place.kind]:
            if faults.applies(place.kind, functions, action):
                cases += [Case(place, functions, action, n) for n in range(1, count + 1)]
                cases.append(Case(place, functions, action, 1,
                                  FOR_EVER if action == 'short' else 3))
    return cases


def sample(places, names, rng):
    """Each place with its first two faults at the first call; the others somewhere else."""
    cases = []
    for place, count in places:
        functions = names.functions(place)
        actions = [a for a in faults.FAULTS[place.kind]
                   if faults.applies(place.kind, functions, a)]
        for i, action in enumerate(actions):
            if action == 'short':
                # Also if all of them are, to the end.
                cases.append(Case(place, functions, action, 1, FOR_EVER))
            if i == 0:
                nths = {1, count} if count < 5 else {1, rng.randint(2, count - 1), count}
            elif place.module == 0 and (i == 1 or action == 'short' or rng.random() < 0.4):
                nths = {rng.randint(1, count)}
            else:
                nths = set()
            cases += [Case(place, functions, action, n) for n in sorted(nths)]
        if actions and count >= 5:
            cases.append(Case(place, functions, actions[0], rng.randint(1, count - 2), 3))
    return cases


def dynamic_names(program, which):
    out = subprocess.run(['nm', '-D', which, program], capture_output=True, text=True,
                         check=True).stdout
    return re.findall(r' [A-Za-z] (\w+)', out)


def unknown_calls():
    return faults.unknown_calls(dynamic_names(os.environ['NSQD'], '--undefined-only'),
                                dynamic_names(os.environ['BELOW_SO'], '--defined-only'))


def shallow(recorded):
    """Why the recorded run shows that the library was not there, or the workload not done."""
    if len(recorded.places) < LEAST_PLACES:
        return 'only %d places were recorded: did LD_PRELOAD have no effect?' % len(
            recorded.places)
    unmet = sorted(set(KINDS) - set(recorded.kinds) - set(faults.unmet()))
    if unmet:
        return 'the workload does not come to: ' + ' '.join(unmet)
    return None


def chosen_kinds(text):
    """The kinds of --kinds, or None for all."""
    if not text:
        return None
    chosen = text.split(',')
    unknown = sorted(set(chosen) - set(KINDS))
    if unknown:
        raise SystemExit('below: --kinds: there is no ' + ' '.join(unknown))
    return chosen


def show_record(result, names):
    names.look_up([place for place, _ in result.places])
    for place, count in result.places:
        print('%6d %s' % (count, names.name(place)))


def report(case, result, wrong, names):
    def in_words(match):
        return names.name(Place.parse(match[0], result.modules))
    print('FAILED: %s' % case.name)
    for text in wrong:
        print('    ' + re.sub(r'\b[a-z]\w+@\d+\.[0-9a-f]+', in_words, text))
    for event in result.faults:
        print('    was: %s' % event)
    for note in result.notes[:10]:
        print('    a client saw: %s' % note)
    print('    again: --orders %s' % case.orders)
    for line in result.log.splitlines()[-12:]:
        print('    | ' + line)
    sys.stdout.flush()


class Tally:
    """What has been done, and what was wrong with it."""

    def __init__(self):
        self.runs = self.came = self.doubled = 0
        self.failures = []      # cases

    def add(self, case, result, names):
        self.runs += 1
        self.came += bool(result.faults)
        self.doubled += result.doubled
        wrong = judge(case, result)
        if wrong:
            self.failures.append(case)
            report(case, result, wrong, names)


def go_through(setup, cases, jobs, names, strict):
    """Runs them all, and prints what is wrong.

    Which thread makes the n-th call is not always the same, and a machine may be too busy for a
    deadline. So a fault counts if it does harm once more, in one of two runs that are alone.
    Where strict, the first time counts.
    """
    tally = Tally()
    with crew.Crew(jobs, setup.serve, lambda case: execute(setup, case.orders)) as workers:
        for case, result in workers.go_through(cases):
            tally.add(case, result, names)
        first = list(tally.failures)
        if strict or len(first) > MANY:
            return tally
        tally.failures, alone = [], Tally()
        for case in first:
            for _ in range(2):
                if case not in alone.failures:
                    for again in workers.go_through([case], 1):
                        alone.add(*again, names)
            if case not in alone.failures:
                print('below: went well the second time: ' + case.name)
    tally.failures = alone.failures
    return tally


def record(setup, orders):
    """A run with these orders. Without any it is tried again: the machine may be too busy."""
    setup.serve()
    for _ in range(3):
        result = execute(setup, orders)
        if orders or not result.wrong:
            break
    setup.lookupd.close()
    setup.lookupd = None
    return result


def show_run(result):
    print(result.log)
    print('\n'.join(map(str, result.faults)))
    for text in result.wrong:
        print('WRONG: ' + text)
    return 1 if result.wrong else 0


def choose(recorded, names, options):
    """The cases of this run."""
    kinds = chosen_kinds(options.kinds)
    places = [(p, n) for p, n in recorded.places if not kinds or p.kind in kinds]
    names.look_up([place for place, _ in places])
    rng = random.Random(options.seed)
    cases = all_cases(places, names) if options.all else sample(places, names, rng)
    part, parts = map(int, options.share.split('/'))
    rng.shuffle(cases)
    return cases[part - 1::parts]


def try_all(setup, recorded, names, options):
    """Each case, and what became of them. Returns how to exit."""
    began = time.monotonic()
    cases = choose(recorded, names, options)
    print('below: %d calls of %d kinds at %d places; %d faults to try; seed %d' % (
        sum(n for _, n in recorded.places), len(recorded.kinds), len(recorded.places),
        len(cases), options.seed), flush=True)
    tally = go_through(setup, cases, options.jobs, names, options.all)
    figure = os.path.join(HERE, '..', 'proof', 'figure.sh')
    subprocess.run([figure, 'below', str(tally.came), 'faults'], check=True)
    print('below: %d faults, %d met, %d failures, %d messages twice, %.0f s' % (
        tally.runs, tally.came, len(tally.failures), tally.doubled, time.monotonic() - began))
    for case in tally.failures:
        print('below: FAILED: ' + case.name)
    if tally.came == 0 or tally.came < LEAST_SHARE * len(cases) - 2:
        print('below: FAILED: only %d of %d faults were met' % (tally.came, len(cases)))
        return 1
    return 1 if tally.failures else 0


def parse_options():
    parser = argparse.ArgumentParser()
    parser.add_argument('--all', action='store_true')
    parser.add_argument('--record', action='store_true')
    parser.add_argument('--orders')
    parser.add_argument('--kinds', help='only these, with commas between them')
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--share', default='1/1', help='I/N: the I-th of N parts of the cases')
    parser.add_argument('--jobs', type=int, default=2 * len(os.sched_getaffinity(0)))
    return parser.parse_args()


def main():
    options = parse_options()
    chosen_kinds(options.kinds)
    end_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    unknown = unknown_calls()
    if unknown:
        print('below: FAILED: below.c does not wrap: ' + ' '.join(unknown))
        return 1
    with tempfile.TemporaryDirectory(prefix='below', dir=short_tmp(40)) as directory:
        setup, names = Setup(directory), Names(os.environ['NSQD'])
        recorded = record(setup, options.orders or '')
        if options.orders or recorded.wrong:
            return show_run(recorded)
        if options.record:
            show_record(recorded, names)
            return 0
        why = shallow(recorded)
        if why:
            print('below: FAILED: ' + why)
            return 1
        try:
            return try_all(setup, recorded, names, options)
        except crew.Lost as error:
            print('below: FAILED: %s' % error)
            return 1


if __name__ == '__main__':
    sys.exit(main())
