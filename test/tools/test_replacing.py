"""docs/replacing.md, followed word for word: in a cluster, under load, both ways.

The page's commands turn a node from stock into this daemon and back, while a publisher and
consumers go on. Each message that was acknowledged comes out of each channel.
"""

import contextlib
import glob
import itertools
import json
import os
import signal
import threading

import pytest

from nsq import QUIET, SCALE, binary, wait_until
from pages import Page, Service
from tools import Lookupd, Server, discover, stock_binary, with_lookupds

pytestmark = pytest.mark.ours(reason='the page is about the change to this daemon')

PAGE = 'replacing.md'
TOPIC = 'orders'
BATCH = 10
# So many batches are acknowledged between two steps, at least.
STRETCH = 20


class Publisher(threading.Thread):
    """Publishes batches without a pause. One that gets no answer goes to the other node."""

    def __init__(self, *daemons):
        super().__init__(daemon=True)
        self.daemons = daemons
        self.acknowledged = []
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            for number in itertools.count():
                bodies = ['%d-%d' % (number, i) for i in range(BATCH)]
                self.publish(bodies)
                self.acknowledged += bodies
                if self.over.wait(0.001):
                    return
        except Exception as error:
            self.failure = error

    def publish(self, bodies):
        def taken():
            for daemon in self.daemons:
                with contextlib.suppress(OSError, EOFError, AssertionError):
                    with daemon.connect() as client:
                        client.pub(TOPIC, *bodies)
                        return True
            return False
        wait_until(taken, 'a node takes messages')

    def wait_more(self):
        """Until it has had so many more batches acknowledged."""
        enough = len(self.acknowledged) + STRETCH * BATCH
        wait_until(lambda: len(self.acknowledged) >= enough or self.failure,
                   lambda: 'messages flow: %d' % len(self.acknowledged))
        assert not self.failure, self.failure

    def finish(self):
        self.over.set()
        self.join()
        assert not self.failure, self.failure
        return set(self.acknowledged)


@contextlib.contextmanager
def closing(make, *args):
    thing = make(*args)
    try:
        yield thing
    finally:
        thing.close()


@pytest.fixture
def cluster(new_nsqd, tmp_path_factory):
    """(service, other node, lookupd, nsqadmin, page); the service's program is stock's."""
    def directory(name):
        return str(tmp_path_factory.mktemp(name))
    with contextlib.ExitStack() as stack:
        lookupd = stack.enter_context(closing(Lookupd, directory('nsqlookupd')))
        config = ('mem_queue_size = %d\nbroadcast_address = "127.0.0.1"\n'
                  'nsqlookupd_tcp_addresses = ["%s"]\n')

        def make(mem_queue_size):
            service = stack.enter_context(closing(Service, directory('node'), config % (
                mem_queue_size, lookupd.tcp_address)))
            service.install(stock_binary('nsqd'))
            other = new_nsqd(*with_lookupds([lookupd]), '--mem-queue-size=50')
            admin = stack.enter_context(closing(
                Server, directory('nsqadmin'), 'nsqadmin', '--http-address=127.0.0.1:0',
                '--lookupd-http-address=' + lookupd.http_address))
            page = Page(PAGE, directory('here'), {
                'build/nsqd': binary(), '/usr/local/bin': service.bin, '/etc/nsq': service.etc,
                '/var/lib/nsq': service.data, '127.0.0.1:4151': service.http_address,
                '127.0.0.1:4161': lookupd.http_address, '127.0.0.1:4171': admin.http_address,
                'grep -q 4150': 'grep -q %d' % service.daemon.tcp_port}, [service.shims])
            page.run('systemctl start nsqd')
            wait_up(service)
            return service, other, lookupd, admin, page
        yield make


def wait_up(service):
    def answers():
        with contextlib.suppress(OSError):
            return service.daemon.get('/ping').body == b'OK'
        return False
    wait_until(answers, lambda: service.daemon.log()[-2000:])


def nodes(lookupd, admin):
    """What nsqlookupd and nsqadmin say of each node: {TCP port: (HTTP port, version)}."""
    def of(answer):
        return {n['tcp_port']: (n['http_port'], n['version']) for n in answer}
    return of(lookupd.get('/nodes')['producers']), of(admin.get('/api/nodes')['nodes'])


def is_settled(daemon, channel):
    """Nothing of a channel is waiting, in flight, or still in its topic."""
    stats = daemon.channel_stats(TOPIC, channel)
    return not daemon.topic_stats(TOPIC)['depth'] and not any(
        stats[k] for k in ('depth', 'in_flight_count', 'deferred_count'))


def drained(daemon, channel):
    """All bodies of a channel that nobody has read."""
    bodies = set()
    with daemon.subscribe(TOPIC, channel, rdy=100) as client:
        def take_what_is_there():
            with contextlib.suppress(TimeoutError):
                while True:
                    message = client.message(QUIET / SCALE)
                    client.fin(message)
                    bodies.add(message.body.decode())
            return is_settled(daemon, channel)
        wait_until(take_what_is_there, lambda: daemon.channel_stats(TOPIC, channel))
    return bodies


def settled(daemons, channel):
    wait_until(lambda: all(is_settled(d, channel) for d in daemons),
               lambda: 'all of %s is finished: %r' % (
                   channel, [d.channel_stats(TOPIC, channel) for d in daemons]))


def lines_below(directory):
    lines = set()
    for path in glob.glob(os.path.join(str(directory), '*')):
        with open(path, encoding='utf-8') as f:
            lines |= set(f.read().splitlines())
    return lines


def follow_before(page, service):
    said = page.follow('Before')
    assert 'nsqd would start' in said
    assert json.loads(said.splitlines()[-3])['tcp_port'] == service.daemon.tcp_port


def test_replacing_and_going_back(cluster, tool, tmp_path):
    service, other, lookupd, admin, page = cluster(50)
    node = service.daemon
    for daemon in (node, other):
        daemon.create(TOPIC, 'file', 'kept')
    writer = tool('nsq_to_file', '--topic=' + TOPIC, '--channel=file', '--max-in-flight=30',
                  '--output-dir=%s' % tmp_path, '--sync-interval=50ms',
                  '--consumer-opt=lookupd_poll_interval,100ms', *discover([lookupd]))
    for daemon in (node, other):
        daemon.wait_channel(TOPIC, 'file', client_count=1)
    before = wait_until(lambda: len(nodes(lookupd, admin)[1]) == 2 and nodes(lookupd, admin),
                        'both nodes are known')
    assert service.version_line() is None
    publisher = Publisher(node, other)
    publisher.start()
    publisher.wait_more()

    follow_before(page, service)
    said = page.follow('Replace one node')
    assert 'topic %s: depth' % TOPIC in said and 'OK' in said and 'nsqd-c v' in said
    assert service.version_line().startswith('nsqd-c v')
    wait_until(lambda: nodes(lookupd, admin) == before, lambda: (nodes(lookupd, admin), before))
    publisher.wait_more()
    node.wait_channel(TOPIC, 'file', client_count=1)

    said = page.follow('Go back')
    assert 'nsqd v1.3.0 (built w/go' in said
    assert service.version_line() is None
    wait_until(lambda: nodes(lookupd, admin) == before, lambda: (nodes(lookupd, admin), before))
    publisher.wait_more()
    node.wait_channel(TOPIC, 'file', client_count=1)

    sent = publisher.finish()
    assert len(sent) >= 3 * STRETCH * BATCH
    settled((node, other), 'file')
    assert writer.stop() == 0
    written = lines_below(tmp_path)
    assert sent <= written, sorted(sent - written)[:10]
    kept = drained(node, 'kept') | drained(other, 'kept')
    assert sent <= kept, sorted(sent - kept)[:10]
    assert not glob.glob(os.path.join(service.data, '*.bad'))


def test_replacing_and_going_back_after_a_crash(cluster):
    service, other, _, _, page = cluster(0)
    node = service.daemon
    for daemon in (node, other):
        daemon.create(TOPIC, 'kept')
    follow_before(page, service)
    page.follow('Replace one node')
    assert service.version_line().startswith('nsqd-c v')
    publisher = Publisher(node, other)
    publisher.start()
    publisher.wait_more()
    node.process.send_signal(signal.SIGKILL)
    node.process.wait()
    page.follow('Go back after a crash')
    assert service.version_line() is None
    publisher.wait_more()
    sent = publisher.finish()
    kept = drained(node, 'kept') | drained(other, 'kept')
    assert sent <= kept, sorted(sent - kept)[:10]
    assert not glob.glob(os.path.join(service.data, '*.bad'))


def test_replacing_runs_all_commands_of_the_page():
    page = Page(PAGE, '/', {})
    assert page.left == ['Before', 'Replace one node', 'Go back', 'Go back after a crash']


@pytest.mark.parametrize('flag', [
    '--log-format=json', '--log-dedup=1s', '--log-quiet-probes', '--sigterm=drain',
    '--drain-timeout=1s', '--auth-http-request-method=get',
    '--enable-experiment=topology-aware-consumption', '--topology-region=r', '--topology-zone=z'])
def test_replacing_names_each_flag_that_stock_does_not_know(flag, tmp_path):
    with open(os.path.join(os.path.dirname(__file__), '../../docs', PAGE), encoding='utf-8') as f:
        assert '`%s`' % flag.partition('=')[0] in f.read()
    here = Page(PAGE, tmp_path, {})
    assert 'flag provided but not defined' in here.run(
        '%s %s --version || true' % (stock_binary('nsqd'), flag))
    assert 'nsqd v1.3.0' in here.run('%s %s --version' % (binary(), flag))
