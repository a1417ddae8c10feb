"""Processes that go through the cases, and nothing of them that stays.

A worker that dies (the OOM killer may take one) ends the run at once: its pipe says so. A worker
that is told to end (SIGTERM) ends its daemon first, and one that is killed takes its daemon along
(`Nsqd.spawn`). So it is with the workers when the runner is killed.
"""

import multiprocessing
import multiprocessing.connection
import signal

from nsq import die_with_parent, end_by

# So long a worker may take to end its daemon, before it is killed.
LAST_WORDS = 10


class Lost(Exception):
    """A worker is gone, and what it was about with it."""


def _work(pipe, start, run):
    """A worker: it takes cases until there are no more."""
    # Ctrl-C reaches all processes; the runner is the one that says what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_by(signal.SIGTERM)
    die_with_parent()
    start()
    while True:
        case = pipe.recv()
        pipe.send((case, run(case)))


class Crew:
    """jobs processes. Each calls start() once, and run(case) for each case that it gets."""

    def __init__(self, jobs, start, run):
        self.jobs, self.start, self.run = jobs, start, run
        self.workers = {}       # pipe: process

    def __enter__(self):
        for _ in range(self.jobs):
            ours, theirs = multiprocessing.Pipe()
            worker = multiprocessing.Process(target=_work, args=(theirs, self.start, self.run))
            self.workers[ours] = worker
            worker.start()
            theirs.close()      # so that its end is the end of what can be read
        return self

    def __exit__(self, *_):
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.join(LAST_WORDS)
            worker.kill()
            worker.join()

    def go_through(self, cases, jobs=None):
        """(case, result) of each case, in the order in which they end; jobs of them at a time."""
        left, busy = iter(cases), set()
        idle = list(self.workers)[:jobs]
        while True:
            while idle:
                case = next(left, None)
                if case is None:
                    break
                pipe = idle.pop()
                self._send(pipe, case)
                busy.add(pipe)
            if not busy:
                return
            for pipe in multiprocessing.connection.wait(busy):
                busy.discard(pipe)
                idle.append(pipe)
                yield self._result(pipe)

    def _send(self, pipe, case):
        try:
            pipe.send(case)
        except OSError:
            raise self._lost(pipe) from None

    def _result(self, pipe):
        try:
            return pipe.recv()
        except (EOFError, OSError):
            raise self._lost(pipe) from None

    def _lost(self, pipe):
        worker = self.workers[pipe]
        worker.join(LAST_WORDS)
        return Lost('a worker has ended by itself: exit code %s' % worker.exitcode)
