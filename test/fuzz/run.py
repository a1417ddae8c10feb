#!/usr/bin/env python3
"""Runs the fuzz targets, several at a time, and says what they did.

    run.py --build build/fuzz --time SECONDS --jobs N [TARGET...]

For each target: the inputs that once broke something (regressions/TARGET), then libFuzzer for so
many seconds. It starts from the committed corpus (corpus/TARGET) and from what earlier runs have
found (BUILD/found/TARGET). With --time 0 only these inputs are run.

An input that breaks something is kept as BUILD/broken/TARGET-*; its path is said, and how to repeat
it. Closes with the functions that the targets have reached, where all of them ran (coverage.py).
A signal, or a mistake here, kills the targets that run, and starts no other.
"""

import argparse
import concurrent.futures
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import coverage  # noqa: E402

# An input that takes longer than that hangs, in seconds: the machine may have much else to do.
HANGS = 120
# So much of the log is shown of a target that has failed.
LINES = 60
MAX_LEN = 4096
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Programs:
    """The programs that run. After stop() none does, and none starts."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running = set()
        self.stopped = False

    def run(self, command, **kwargs):
        """Returns the exit code."""
        with self.lock:
            if self.stopped:
                raise RuntimeError('stopped')
            program = subprocess.Popen(command, **kwargs)
            self.running.add(program)
        code = program.wait()
        with self.lock:
            self.running.remove(program)
        return code

    def stop(self):
        with self.lock:
            self.stopped = True
            for program in self.running:
                program.kill()


class Target:
    def __init__(self, name, args, scratch, programs):
        self.name = name
        self.args = args
        self.programs = programs
        self.program = args.build / f'fuzz_{name}'
        self.log = args.build / f'{name}.log'
        self.scratch = scratch
        self.failed = 'it was not run'

    def files(self, kind):
        where = HERE / kind / self.name
        return sorted(where.iterdir()) if where.is_dir() else []

    def command(self, *options):
        """Under libFuzzer the target's own output goes nowhere: the daemon logs a lot."""
        return [str(self.program), f'-timeout={HANGS}', '-close_fd_mask=3',
                f'-artifact_prefix={self.args.build}/broken/{self.name}-', *map(str, options)]

    def start(self, profile, *options):
        env = dict(os.environ, FUZZ_SCRATCH=str(self.scratch),
                   LLVM_PROFILE_FILE=str(self.args.build / 'profile' / profile))
        with self.log.open('ab') as log:
            return self.programs.run(self.command(*options), env=env, stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log)

    def run(self):
        began = time.monotonic()
        self.log.write_bytes(b'')
        found = self.args.build / 'found' / self.name
        found.mkdir(parents=True, exist_ok=True)
        for path in self.files('regressions'):
            if self.start(f'{self.name}-{path.name}.profraw', path) != 0:
                self.failed = f'a regression: {path.relative_to(HERE.parent.parent)}'
                return
        limit = f'-max_total_time={self.args.time}' if self.args.time else '-runs=0'
        options = [limit, f'-max_len={MAX_LEN}', '-print_final_stats=1', '-rss_limit_mb=4096']
        words = HERE / 'dictionaries' / f'{self.name}.dict'
        if words.exists():
            options.append(f'-dict={words}')
        corpus = HERE / 'corpus' / self.name
        dirs = [found, corpus] if corpus.is_dir() else [found]
        code = self.start(f'{self.name}.profraw', *options, *dirs)
        self.failed = self.artifact() if code else None
        self.seconds = time.monotonic() - began

    def text(self):
        return self.log.read_bytes().decode('utf-8', 'replace')

    def artifact(self):
        written = re.findall(r'Test unit written to (\S+)', self.text())
        return written[-1] if written else 'it broke, with no input of its own'

    def last_number(self, before):
        found = re.findall(before + r' *(\d+)', self.text())
        return int(found[-1]) if found else 0

    def count(self):
        """What it did: inputs, and edges that they reached. Also for `make proof`."""
        self.executions = self.last_number('stat::number_of_executed_units:')
        self.edges = self.last_number('cov:')
        if os.environ.get('PROOF_FILE'):
            with open(os.environ['PROOF_FILE'], 'a', encoding='utf-8') as f:
                f.write(f'{self.program.name}\t{self.executions}\texecutions\n'
                        f'{self.program.name}\t{self.edges}\tedges\n')

    def summary(self):
        return (f'{self.name:<12} {self.executions:>9} inputs {self.edges:>6} edges '
                f'{self.seconds:>5.0f} s')

    def report_failure(self):
        print('\n'.join(self.text().splitlines()[-LINES:]))
        print(f'FAILED {self.name}: {self.failed}')
        if os.path.exists(str(self.failed)):
            print(f'repeat it:  {self.program} {self.failed}\n'
                  f'when it is mended, keep it in test/fuzz/regressions/{self.name}/')


def run_all(targets, jobs, programs):
    """The slowest first would be best; nobody knows which that is."""
    lock = threading.Lock()

    def work(target):
        target.run()
        if not target.failed:
            with lock:
                target.count()
                print('ok  ', target.summary(), flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            running = [pool.submit(work, target) for target in targets]
            for future in concurrent.futures.as_completed(running):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            programs.stop()
            raise


def on_signal(number, _frame):
    """Ends main(), by way of all that it has to clean up. A second signal does not disturb that."""
    for n in SIGNALS:
        signal.signal(n, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--build', type=lambda s: pathlib.Path(s).resolve(), required=True)
    p.add_argument('--time', type=int, default=10)
    p.add_argument('--jobs', type=int, default=os.cpu_count())
    p.add_argument('targets', nargs='*')
    args = p.parse_args()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
    names = sorted(f.stem[len('fuzz_'):] for f in HERE.glob('fuzz_*.c'))
    wanted = args.targets or names
    for name in set(wanted) - set(names):
        sys.exit(f'no such target: {name} (there are {" ".join(names)})')
    args.build.mkdir(parents=True, exist_ok=True)
    alone = (args.build / 'lock').open('w')
    fcntl.flock(alone, fcntl.LOCK_EX)  # another run there has its profiles and logs to itself
    shutil.rmtree(args.build / 'profile', ignore_errors=True)
    for d in ('profile', 'broken', 'found'):
        (args.build / d).mkdir(exist_ok=True)
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix='fuzz-', dir=memory) as scratch:
        programs = Programs()
        targets = [Target(name, args, scratch, programs) for name in wanted]
        run_all(targets, args.jobs, programs)
    bad = [t for t in targets if t.failed]
    for t in bad:
        t.report_failure()
    if bad:
        sys.exit(f'{len(bad)} of {len(targets)} fuzz targets have failed')
    if set(wanted) == set(names) and not coverage.report(args.build, names):
        sys.exit(1)


if __name__ == '__main__':
    main()
