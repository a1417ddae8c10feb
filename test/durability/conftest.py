"""Fixtures of the durability tests; the harness is that of the functional ones.

NSQD is the daemon under test, STOCK an nsqd 1.3.0 to exchange data directories
with. Whatever a test leaves behind is ended and removed here.
"""

import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'functional'))

import durable  # noqa: E402 (needs the path)
from nsq import close_all  # noqa: E402 (likewise)


def pytest_configure(config):
    for name in ('NSQD', 'STOCK'):
        if name not in os.environ:
            raise pytest.UsageError('set %s to a daemon' % name)
        os.environ[name] = os.path.abspath(os.environ[name])


@pytest.fixture
def new_nsqd(tmp_path):
    """Makes daemons: new_nsqd('--flag', ..., stock=False, data_path=None)."""
    daemons = []

    def make(*flags, start=True, **options):
        directory = tmp_path / ('nsqd%d' % len(daemons))
        directory.mkdir()
        daemon = durable.Daemon(str(directory), flags, **options)
        daemons.append(daemon)
        return daemon.start() if start else daemon

    yield make
    try:
        close_all(daemons)
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def data(tmp_path):
    """A data directory for several daemons, one after the other."""
    path = tmp_path / 'data'
    path.mkdir()
    return str(path)


@pytest.fixture
def report(request):
    """Adds a line to the figures that are printed when all tests are done."""
    def line(text):
        with open(os.environ.get('FIGURES', os.devnull), 'a') as f:
            f.write('%s: %s\n' % (request.node.name, text))
    return line
