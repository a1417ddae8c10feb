"""Stock's tools with TLS, snappy and deflate on their connections.

They ask for them with go-nsq's options, which bound TLS at version 1.2.
"""

import pytest

from nsq import wait_until
from stacks import DAEMONS, PLAIN, STACKS, make_certificates
from tools import tcp

# Some are larger than two of snappy's chunks, and larger than a TLS record.
LINES = ['%d: %s' % (i, 'word ' * (30000 if i % 20 == 0 else i))
         for i in range(200)]


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp('tls') / 'certificates'
    make_certificates(directory)
    return directory


def options(stack, certificates):
    """go-nsq's options for a stack of layers."""
    found = [stack.compression] if stack.compression else []
    if stack.tls:
        found += ['tls_v1', 'tls_root_ca_file,%s/ca.pem' % certificates]
    if stack.daemon == 'cert':
        found += ['tls_cert,%s/client.pem' % certificates,
                  'tls_key,%s/client.key' % certificates]
    return found


@pytest.mark.parametrize('stack', [s for s in STACKS if s != PLAIN],
                         ids=lambda stack: stack.name)
def test_tools_through(new_nsqd, tool, tmp_path, certificates, stack):
    """stdin > to_nsq > topic a > nsq_to_nsq > topic b > nsq_tail, nsq_to_file"""
    nsqd = new_nsqd('--https-address=127.0.0.1:0', '--snappy', '--deflate',
                    *(f.format(certificates) for f in DAEMONS[stack.daemon]))
    found = options(stack, certificates)
    consumer = ['--consumer-opt=' + option for option in found]
    producer = ['--producer-opt=' + option for option in found]
    nsqd.create('a', 'copy')
    nsqd.create('b', 'tail', 'file')
    tail = tool('nsq_tail', '--topic=b', '--channel=tail', *consumer,
                '--nsqd-tcp-address=' + tcp(nsqd))
    writer = tool('nsq_to_file', '--topic=b', '--channel=file', *consumer,
                  '--output-dir=%s' % tmp_path, '--sync-interval=50ms',
                  '--nsqd-tcp-address=' + tcp(nsqd))
    tool('nsq_to_nsq', '--topic=a', '--channel=copy', *consumer, *producer,
         '--destination-topic=b', '--nsqd-tcp-address=' + tcp(nsqd),
         '--destination-nsqd-tcp-address=' + tcp(nsqd))

    (tmp_path / 'stdin').write_text('\n'.join(LINES) + '\n', encoding='ascii')
    with open(tmp_path / 'stdin', 'rb') as stdin:
        feeder = tool('to_nsq', '--topic=a', '--nsqd-tcp-address=' + tcp(nsqd),
                      *producer, stdin=stdin)
    assert feeder.wait_exit() == 0, feeder.err

    done = {'message_count': len(LINES), 'depth': 0, 'in_flight_count': 0,
            'requeue_count': 0, 'client_count': 1}
    clients = [client for topic, channel in (
        ('a', 'copy'), ('b', 'tail'), ('b', 'file'))
        for client in nsqd.wait_channel(topic, channel, **done)['clients']]
    # to_nsq has gone, and nsqd will notice.
    clients += wait_until(
        lambda: (lambda p: len(p) == 1 and p)(nsqd.stats()['producers']),
        lambda: 'one producer: %r' % nsqd.stats()['producers'])
    assert len(clients) == 4
    assert all(map(stack.in_use, clients)), clients
    if stack.tls:
        assert {client['tls_version'] for client in clients} == {'TLS1.2'}

    tail.wait_lines(LINES)
    assert writer.stop() == 0
    # One file, or two if an hour has begun meanwhile.
    written = ''.join(f.read_text('ascii') for f in tmp_path.glob('b.*'))
    assert sorted(written.splitlines()) == sorted(LINES)
