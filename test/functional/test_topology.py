"""--enable-experiment=topology-aware-consumption, as on stock's master."""

import json
import os
import select
import threading

import pytest

from lookupd import FakeLookupd
from nsq import DEADLINE, wait_until

AWARE = ['--enable-experiment=topology-aware-consumption',
         '--topology-zone=z1', '--topology-region=r1']
NEAR = {'zone': {'topology_zone': 'z1', 'topology_region': 'r1'},
        'region': {'topology_zone': 'z2', 'topology_region': 'r1'},
        'far': {'topology_zone': 'z9', 'topology_region': 'r9'},
        'silent': {}}
# One message at a time goes out at once.
UNBUFFERED = {'output_buffer_size': -1, 'output_buffer_timeout': -1}
KEYS = ['zone_local_msg_count', 'region_local_msg_count', 'global_msg_count']

pytestmark = pytest.mark.ours(reason='1.3.0 does not have it')


def consumers(daemon, topic, rdy, names):
    return {name: daemon.subscribe(topic, 'ch', rdy, **UNBUFFERED,
                                   **NEAR[name]) for name in names}


def receive(clients):
    """The client that gets the next message, and the message."""
    for name, client in clients.items():
        if client.buffer:
            return name, client, client.message()
    by_socket = {c.socket: (name, c) for name, c in clients.items()}
    ready, _, _ = select.select(list(by_socket), [], [], DEADLINE)
    assert ready, 'nobody got it'
    name, client = by_socket[ready[0]]
    return name, client, client.message()


def all_sleep(daemon):
    """No thread that delivers messages is running, or is kept from it."""
    tasks = '/proc/%d/task' % daemon.process.pid
    for task in os.listdir(tasks):
        try:
            with open(os.path.join(tasks, task, 'stat')) as f:
                name, _, state = f.read().partition('(')[2].rpartition(') ')
        except (FileNotFoundError, ProcessLookupError):
            continue
        # (A poller takes their steps, too.)
        if name.startswith(('t:', 'c:', 'pump:', 'io:', 'poller')) and state[0] != 'S':
            return False
    return True


def counts(daemon, topic):
    stats = daemon.channel_stats(topic, 'ch')
    return [stats.get(key, 0) for key in KEYS]


# -- off


@pytest.mark.parametrize('flags', [[], AWARE[1:]])
def test_without_the_experiment_nothing_shows(new_nsqd, flags):
    lookupd = FakeLookupd()
    try:
        daemon = new_nsqd('--broadcast-address=b', *flags,
                          '--lookupd-tcp-address=' + lookupd.address)
        wait_until(lambda: lookupd.identities, lambda: 'lookupd heard of it')
        daemon.create('t', 'ch')
        daemon.pub('t', 'a')
        with daemon.connect() as client:
            answer = client.identify(**NEAR['zone'])
            client.sub('t', 'ch')
            client.rdy(1)
            client.fin(client.message())
            seen = [json.dumps(answer), daemon.get('/info').body.decode(),
                    daemon.get('/stats?format=json').body.decode(),
                    lookupd.identities[0].decode(), daemon.log()]
        for text in seen:
            assert 'opology' not in text and 'local_msg' not in text \
                and 'global_msg' not in text
    finally:
        lookupd.close()


@pytest.mark.parametrize('flags', [[], AWARE])
@pytest.mark.parametrize('value', [5, [1], {}, None, True])
def test_a_value_of_the_wrong_type_is_ignored(new_nsqd, flags, value):
    with new_nsqd(*flags).connect() as client:
        client.identify(topology_zone=value, topology_region=value)
        client.expect_usable()


# -- on


def test_where_it_shows(new_nsqd):
    lookupd = FakeLookupd()
    try:
        daemon = new_nsqd('--broadcast-address=b', *AWARE,
                          '--lookupd-tcp-address=' + lookupd.address)
        wait_until(lambda: lookupd.identities, lambda: 'lookupd heard of it')
        assert list(json.loads(lookupd.identities[0])) == [
            'broadcast_address', 'hostname', 'http_port', 'tcp_port',
            'topology_region', 'topology_zone', 'version']
        info = list(json.loads(daemon.get('/info').body).items())
        assert info[-2:] == [('topology_zone', 'z1'),
                             ('topology_region', 'r1')]
        with daemon.connect() as client:
            answer = client.identify(topology_zone='a"b', topology_region='c')
            assert list(answer.items())[-2:] == [('topology_region', 'r1'),
                                                 ('topology_zone', 'z1')]
            client.sub('t', 'ch')
            shown = list(daemon.channel_stats('t', 'ch')['clients'][0].items())
            assert shown[14:17] == [('user_agent', ''),
                                    ('topology_zone', 'a"b'),
                                    ('topology_region', 'c')]
        daemon.wait_log('MsgTimeout:0 TopologyRegion:c TopologyZone:a"b}')
    finally:
        lookupd.close()


@pytest.mark.parametrize('queue', ['memory', 'disk'])
def test_the_nearest_consumer_that_is_ready_is_served_first(new_nsqd, queue):
    daemon = new_nsqd(*AWARE, '--mem-queue-size=%d' % (
        100 if queue == 'memory' else 0))
    daemon.create('t', 'ch')
    clients = consumers(daemon, 't', 20, ['far', 'region', 'zone'])
    order = []
    with daemon.connect() as publisher:
        for _ in range(60):
            # The client that got the last one is to be back at its queue, else it is
            # passed over.
            wait_until(lambda: all_sleep(daemon), 'they all wait')
            publisher.pub('t', 'x')
            order.append(receive(clients)[0])
    # Each takes 20 in the end; at random 7 of the first 20 would go to each.
    assert sorted(order) == ['far'] * 20 + ['region'] * 20 + ['zone'] * 20
    assert order[:20].count('zone') >= 14, order
    assert order[40:].count('far') >= 14, order
    assert counts(daemon, 't') == [20, 20, 20]
    for client in clients.values():
        client.close()


@pytest.mark.parametrize('names', [['far'], ['silent'], ['region', 'silent']])
def test_who_is_far_gets_what_nobody_near_takes(new_nsqd, names):
    daemon = new_nsqd(*AWARE, '--mem-queue-size=5')
    daemon.create('t', 'ch')
    clients = consumers(daemon, 't', 10, names + ['zone'])
    clients['zone'].close()
    daemon.wait_channel('t', 'ch', client_count=len(names))
    del clients['zone']
    daemon.pub('t', *[str(i) for i in range(50)])
    got = set()
    for _ in range(50):
        _, client, message = receive(clients)
        got.add(message.body)
        client.fin(message)
    assert len(got) == 50
    assert counts(daemon, 't')[0] == 0 and sum(counts(daemon, 't')) == 50
    for client in clients.values():
        client.close()


@pytest.mark.parametrize('flags, counted', [
    (AWARE[:1], [10, 0, 30]),
    (AWARE[:2], [10, 10, 20]),
    (AWARE[:1] + AWARE[2:], [10, 20, 10])])
def test_a_node_without_a_zone_or_a_region(new_nsqd, flags, counted):
    # Counted as in stock, where none is equal to none.
    daemon = new_nsqd(*flags)
    daemon.create('t', 'ch')
    clients = consumers(daemon, 't', 10, ['zone', 'region', 'far', 'silent'])
    daemon.pub('t', *[str(i) for i in range(40)])
    got = [receive(clients)[0] for _ in range(40)]
    assert all(got.count(name) == 10 for name in clients)
    assert counts(daemon, 't') == counted
    for client in clients.values():
        client.close()


def test_nothing_is_lost_under_load(new_nsqd):
    daemon = new_nsqd(*AWARE, '--mem-queue-size=20')
    daemon.create('t', 'ch')
    clients = [daemon.subscribe('t', 'ch', 5, **NEAR[name])
               for name in NEAR for _ in range(2)]
    total, got, lock = 3000, set(), threading.Lock()
    ended = threading.Event()

    def consume(client):
        client.socket.setblocking(True)
        while not ended.is_set():
            try:
                message = client.message(0.2)
            except (TimeoutError, EOFError):
                continue
            with lock:
                got.add(message.body)
            client.fin(message)
    threads = [threading.Thread(target=consume, args=(c,)) for c in clients]
    for thread in threads:
        thread.start()
    try:
        for at in range(0, total, 100):
            daemon.pub('t', *[str(at + i) for i in range(100)])
            if at % 500 == 0:
                daemon.post('/channel/pause?topic=t&channel=ch')
                daemon.post('/channel/unpause?topic=t&channel=ch')
        wait_until(lambda: len(got) == total,
                   lambda: 'all are there: %d' % len(got))
        daemon.wait_channel('t', 'ch', depth=0, in_flight_count=0)
        assert sum(counts(daemon, 't')) == total
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()


def test_an_exit_with_something_in_hand_loses_nothing(new_nsqd):
    daemon = new_nsqd(*AWARE)
    daemon.create('t', 'ch')
    clients = consumers(daemon, 't', 3, ['far', 'zone'])
    daemon.pub('t', *[str(i) for i in range(200)])
    for _ in range(4):
        receive(clients)
    daemon.restart()
    daemon.wait_channel('t', 'ch', depth=200)
    for client in clients.values():
        client.close()
