"""Daemons that have little: descriptors, or threads."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile

from nsq import Nsqd, binary, not_tested, wait_until


class FewDescriptors(Nsqd):
    DESCRIPTORS = 200

    def command(self):
        return ['prlimit', '--nofile=%d' % self.DESCRIPTORS] + super().command()


# The limit counts the threads of a user wherever they are: each daemon has its own.
_users = itertools.count(700000 + os.getpid() % 1000 * 100)


class FewThreads(Nsqd):
    """A daemon that may have so many threads. They do not bind root, so it runs as a
    user of its own, from a directory which that can enter."""

    def __init__(self, threads, flags=()):
        if os.getuid() != 0:
            not_tested('only root can start a daemon as another user')
        self.threads_max = threads
        self.user = next(_users)
        self.home = tempfile.mkdtemp(prefix='nsqd-threads-')
        self.copy = shutil.copy(binary(), self.home)
        super().__init__(os.path.join(self.home, 'run'), flags)
        os.chmod(self.home, 0o755)
        for path in (self.directory, self.data_path):
            os.chown(path, self.user, self.user)

    def as_user(self):
        return ['setpriv', '--reuid=%d' % self.user, '--regid=%d' % self.user, '--clear-groups']

    def command(self):
        return (self.as_user() + ['prlimit', '--nproc=%d' % self.threads_max, self.copy]
                + super().command()[1:])

    @contextlib.contextmanager
    def crowd(self):
        """Other processes of that user, so many that the daemon gets no thread any more."""
        others = subprocess.Popen(
            self.as_user() + ['sh', '-c', 'for i in $(seq %d); do sleep 600 & done; echo there; wait'
                              % self.threads_max],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            assert others.stdout.readline() == b'there\n'
            # Nor one that it has from before.
            wait_until(lambda: self.count_threads('kept') == 0, self.thread_names)
            yield
        finally:
            os.killpg(others.pid, signal.SIGKILL)
            others.stdout.close()
            others.wait()
            # Its children are init's now, and count until that has reaped them.
            wait_until(lambda: self.processes() <= 1, "the user has the daemon's process only")

    def processes(self):
        """How many that user has, those that have ended and are not yet reaped included."""
        count = 0
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                count += os.stat('/proc/' + pid).st_uid == self.user
        return count

    def close(self):
        try:
            super().close()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
