"""Every stack of layers that a connection can have: a daemon that has them, and the client's side."""

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from layers import Deflate, Snappy, Tls, push
from nsq import Nsqd, running
from test_tls import context, flags

STACKS = ['plain', 'tls', 'snappy', 'deflate', 'tls-snappy', 'tls-deflate']


@pytest.fixture(scope='module')
def shared_nsqd(tmp_path_factory, server_cert):
    daemon = Nsqd(str(tmp_path_factory.mktemp('stacks')),
                  flags(server_cert, '--snappy=true', '--deflate=true'))
    with running(daemon):
        yield daemon


def upgrade(client, stack, **identify):
    """IDENTIFY for this stack of layers; the client reads and writes through it."""
    names = stack.split('-')
    for name in names:
        identify.update({'tls': {'tls_v1': True}, 'plain': {}}.get(name, {name: True}))
    client.identify(**identify)
    for name in names:
        if name == 'plain':
            continue
        if name == 'tls':
            push(client, Tls, context())
        elif name == 'snappy':
            push(client, Snappy, check=False)
        else:
            push(client, Deflate, 1)
        client.expect_ok()
    return client
