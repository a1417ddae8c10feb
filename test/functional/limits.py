"""Daemons that have little: descriptors, or threads."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile

from nsq import Nsqd, binary, not_tested, wait_until


class FewDescriptors(Nsqd):
    DESCRIPTORS = 200

    def command(self):
        return ['prlimit', '--nofile=%d' % self.DESCRIPTORS] + super().command()


# A process with so many threads that wait.
CROWD = """
import sys, threading
for _ in range(int(sys.argv[1])):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print('there', flush=True)
threading.Event().wait()
"""

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
        """So many threads of that user that the daemon gets none any more."""
        others = subprocess.Popen(
            self.as_user() + [sys.executable, '-c', CROWD, str(self.threads_max)],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            assert others.stdout.readline() == b'there\n'
            # Nor one that it has from before.
            wait_until(lambda: self.count_threads('kept') == 0, self.thread_names)
            yield
        finally:
            # What has no parent but init counts until that has reaped it. So they are one process.
            others.kill()
            others.wait()
            others.stdout.close()

    def close(self):
        try:
            super().close()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
