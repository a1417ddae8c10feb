"""Fixtures: those of the functional tests, and stock's programs too."""

import importlib.util
import os
import sys

import pytest

FUNCTIONAL = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          os.pardir, 'functional')
sys.path.insert(0, FUNCTIONAL)
# For stacks.py, the stacks of layers that connections can have.
sys.path.insert(0, os.path.join(FUNCTIONAL, os.pardir, 'interop'))

# By its path, because this file has the same name.
_spec = importlib.util.spec_from_file_location(
    'functional_conftest', os.path.join(FUNCTIONAL, 'conftest.py'))
functional = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(functional)

pytest_configure = functional.pytest_configure
shared_nsqd = functional.shared_nsqd
nsqd = functional.nsqd
new_nsqd = functional.new_nsqd
pytest_collection_modifyitems = functional.pytest_collection_modifyitems

from nsq import binary  # noqa: E402 (needs the path)
from pages import Service  # noqa: E402
from tools import Lookupd, StockNsqd, Tool  # noqa: E402


@pytest.fixture(scope='module')
def lookupds(tmp_path_factory):
    """Two nsqlookupds, shared by the module."""
    both = [Lookupd(str(tmp_path_factory.mktemp('nsqlookupd')))
            for _ in range(2)]
    yield both
    for lookupd in both:
        lookupd.close()


@pytest.fixture
def tool(tmp_path_factory):
    """Makes running tools: tool('nsq_tail', '--topic=t', ...)."""
    running = []

    def make(name, *flags, **options):
        running.append(Tool(str(tmp_path_factory.mktemp(name)), name, *flags,
                            **options))
        return running[-1]
    yield make
    for one in running:
        one.close()


@pytest.fixture
def stock_nsqd(tmp_path_factory):
    """Makes daemons of stock's."""
    daemons = []

    def make(*flags):
        daemons.append(StockNsqd(str(tmp_path_factory.mktemp('stock')), flags))
        return daemons[-1].start()
    yield make
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def service(tmp_path):
    """A node as the pages set it up, whose installed daemon is this one."""
    one = Service(tmp_path / 'node', 'broadcast_address = "127.0.0.1"\n')
    one.install(binary())
    yield one
    one.close()
