#!/usr/bin/env python3
"""Runs the fuzz targets, several at a time, and says what they did.

    run.py --build build/fuzz --time SECONDS --jobs N [TARGET...]

For each target: the inputs that once broke something (regressions/TARGET), then libFuzzer for so
many seconds. It starts from the committed corpus (corpus/TARGET) and from what earlier runs have
found (BUILD/found/TARGET). With --time 0 only these inputs are run.

An input that breaks something is kept as BUILD/broken/TARGET-*; its path is said, and how to repeat
it. Closes with the functions that the targets have reached, where all of them ran (coverage.py).
"""

import argparse
import fcntl
import os
import pathlib
import re
import shutil
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


class Target:
    def __init__(self, name, args, scratch):
        self.name = name
        self.args = args
        self.program = args.build / f'fuzz_{name}'
        self.log = args.build / f'{name}.log'
        self.scratch = scratch
        self.failed = None

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
            done = subprocess.run(self.command(*options), env=env, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, check=False)
        return done.returncode

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
        if self.start(f'{self.name}.profraw', *options, *dirs) != 0:
            self.failed = self.artifact()
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


def run_all(targets, jobs):
    """The slowest first would be best; nobody knows which that is."""
    waiting = list(targets)
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                target = waiting.pop(0)
            target.run()
            if not target.failed:
                with lock:
                    target.count()
                print('ok  ', target.summary(), flush=True)

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--build', type=lambda s: pathlib.Path(s).resolve(), required=True)
    p.add_argument('--time', type=int, default=10)
    p.add_argument('--jobs', type=int, default=os.cpu_count())
    p.add_argument('targets', nargs='*')
    args = p.parse_args()
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
        targets = [Target(name, args, scratch) for name in wanted]
        run_all(targets, args.jobs)
    bad = [t for t in targets if t.failed]
    for t in bad:
        t.report_failure()
    if bad:
        sys.exit(f'{len(bad)} of {len(targets)} fuzz targets have failed')
    if set(wanted) == set(names) and not coverage.report(args.build, names):
        sys.exit(1)


if __name__ == '__main__':
    main()
