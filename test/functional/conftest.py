"""Fixtures: a daemon shared by a module, or one started by the test itself.

Whichever daemon a test uses, it is checked after the test: it must be alive
(unless the test ended it) and no sanitizer may have reported anything.
"""

import os
import subprocess

import pytest

import with_logs
from nsq import Nsqd, binary, running, close_all


def pytest_configure(config):
    if 'NSQD' not in os.environ:
        raise pytest.UsageError('set NSQD to the daemon to be tested')
    os.environ['NSQD'] = os.path.abspath(os.environ['NSQD'])
    config.addinivalue_line(
        'markers', 'ours(reason): this daemon is deliberately better than '
        'stock here; skipped when the tests run against stock')
    config.addinivalue_line(
        'markers', 'operator: needs HTTP endpoints beyond /ping, /pub, /mpub, '
        '/topic/create, /channel/create and /stats?format=json')


def pytest_make_parametrize_id(config, val, argname):
    """Short names for long values: pytest puts the name into the environment, and with
    that of a test that sends a megabyte no daemon can be started."""
    del config, argname
    if isinstance(val, (bytes, str)) and len(val) > 60:
        return '%.30r-%d' % (val[:30], len(val))
    return None


def is_stock():
    """Stock names the Go release that built it; this daemon cannot."""
    version = subprocess.run([binary(), '--version'], capture_output=True,
                             text=True, timeout=60)
    return '(built w/go' in version.stdout


def leave_out_with_logs(config, items):
    """With DURABILITY each topic has a log: tests that are about something else are left out."""
    used = set()
    for item in items:
        why, entry = with_logs.reason(item.path.name, item.name)
        if why:
            used.add((item.path.name, entry))
            item.add_marker(pytest.mark.skip(reason='with a log: ' + why))
    # Where one test of a file was asked for, the others are not there.
    files = {item.path.name for item in items} if '::' not in ''.join(config.args) else ()
    stale = [(file, entry) for file in files for entry in with_logs.OTHERWISE.get(file, ())
             if (file, entry) not in used]
    if stale:
        raise pytest.UsageError('with_logs.py: no such tests: %s' % stale)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if os.environ.get('DURABILITY'):
        leave_out_with_logs(config, items)
    if not any(item.get_closest_marker('ours') for item in items):
        return
    if is_stock():
        for item in items:
            mark = item.get_closest_marker('ours')
            if mark:
                item.add_marker(pytest.mark.skip(
                    reason='stock differs: ' + mark.kwargs['reason']))


@pytest.fixture(scope='session')
def stock():
    """Whether the daemon under test is the stock one."""
    return is_stock()


@pytest.fixture(scope='module')
def shared_nsqd(request, tmp_path_factory):
    """The module's daemon, with the flags in the module's FLAGS.

    A module that sets SCANNED gets that many topics whose time-outs are
    looked after from the start (see Nsqd.preload).
    """
    module = request.module
    daemon = Nsqd(str(tmp_path_factory.mktemp(module.__name__)),
                  getattr(module, 'FLAGS', ()))
    if getattr(module, 'SCANNED', 0):
        daemon.preload(module.SCANNED)
    with running(daemon):
        yield daemon


@pytest.fixture
def nsqd(shared_nsqd):
    """The module's shared daemon; use topic names of your own."""
    if not shared_nsqd.alive():
        # An earlier test killed it and was reported; this one is not to blame.
        shared_nsqd.start()
    yield shared_nsqd
    shared_nsqd.check()


@pytest.fixture
def new_nsqd(tmp_path_factory):
    """Makes daemons for one test: new_nsqd('--flag', ...) is one, started."""
    daemons = []

    def make(*flags, start=True, scanned=0, data_path=None):
        daemon = Nsqd(str(tmp_path_factory.mktemp('nsqd')), flags, data_path)
        daemons.append(daemon)
        if scanned:
            daemon.preload(scanned)
        return daemon.start() if start else daemon

    yield make
    close_all(daemons)


@pytest.fixture
def client(nsqd):
    """A fresh connection to the shared daemon."""
    with nsqd.connect() as connection:
        yield connection
