"""Registration with nsqlookupd, and the channels that it knows."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from lookupd import FakeLookupd
from nsq import DEADLINE, dead_address, not_tested, wait_until


@pytest.fixture
def lookupds():
    made = []

    def make(**options):
        made.append(FakeLookupd(**options))
        return made[-1]
    yield make
    for lookupd in made:
        lookupd.close()


def flags(*lookupds):
    # They are a part of this process, which may be kept from running; what a test
    # itself says of these times goes behind.
    return ['--http-client-connect-timeout=1m',
            '--http-client-request-timeout=1m'] + [
        '--lookupd-tcp-address=' + getattr(x, 'address', x) for x in lookupds]


def wait_peers(nsqd, *lookupds):
    """Wait until the daemon knows whom it can ask for channels."""
    for lookupd in lookupds:
        nsqd.wait_log(re.escape('LOOKUPD(%s): peer info {' % lookupd.address))


class Silent:
    """A listener that takes no connection: connecting to it takes for ever.

    Its queue of connections is full, so that the kernel drops further ones.
    """

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(('127.0.0.1', 0))
        self.socket.listen(0)
        self.address = '127.0.0.1:%d' % self.socket.getsockname()[1]
        self.clients = []
        for _ in range(3):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(self.socket.getsockname())
            self.clients.append(s)

    def close(self):
        for s in self.clients + [self.socket]:
            s.close()


# -- the protocol

def test_identify_says_what_stock_says(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd('--broadcast-address=node.example', *flags(lookupd))
    wait_until(lambda: lookupd.identities, lambda: 'lookupd knows nsqd')
    # (A connection that was too slow is made anew.)
    assert lookupd.identities[0] == json.dumps({
        'broadcast_address': 'node.example', 'hostname': socket.gethostname(),
        'http_port': nsqd.http_port, 'tcp_port': nsqd.tcp_port,
        'version': '1.3.0'}, separators=(',', ':')).encode()


def test_the_broadcast_ports_are_told(new_nsqd, lookupds):
    lookupd = lookupds()
    new_nsqd('--broadcast-tcp-port=1', '--broadcast-http-port=2',
             *flags(lookupd))
    wait_until(lambda: lookupd.identities, lambda: 'lookupd knows nsqd')
    told = json.loads(lookupd.identities[0])
    assert (told['tcp_port'], told['http_port']) == (1, 2)


def test_topics_and_channels_come_and_go(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.create('t', 'a', 'b')
    lookupd.wait_registered(('t',), ('t', 'a'), ('t', 'b'))
    nsqd.post('/channel/delete?topic=t&channel=a')
    lookupd.wait_registered(('t',), ('t', 'b'), gone=[('t', 'a')])
    nsqd.post('/topic/delete?topic=t')
    lookupd.wait_registered(gone=[('t',), ('t', 'a'), ('t', 'b')])


def test_a_topic_that_comes_back_is_registered(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd))
    for _ in range(20):
        nsqd.create('t', 'c')
        nsqd.post('/topic/delete?topic=t')
    nsqd.create('t', 'c')
    nsqd.create('last')
    lookupd.wait_registered(('t',), ('t', 'c'), ('last',))
    nsqd.post('/topic/delete?topic=t')
    lookupd.wait_registered(gone=[('t',), ('t', 'c')])


def test_what_was_there_before_is_registered_when_it_connects(
        new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd), start=False)
    nsqd.preload(2)
    nsqd.start()
    lookupd.wait_command('REGISTER scan0 ch', 'REGISTER scan1 ch')
    assert lookupd.commands[0] == 'IDENTIFY'


def test_several_lookupds_hear_the_same(new_nsqd, lookupds):
    first, second = lookupds(), lookupds()
    nsqd = new_nsqd(*flags(first, second, first))
    nsqd.create('t', 'c')
    first.wait_command('REGISTER t', 'REGISTER t c')
    second.wait_command('REGISTER t', 'REGISTER t c')
    # One at a time: a connection that was too slow is made anew.
    wait_until(lambda: (len(first.sockets), len(second.sockets)) == (1, 1),
               lambda: 'one each: %r %r' % (first.sockets, second.sockets))


def test_ephemeral_names_are_registered_too(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd))
    with nsqd.subscribe('t#ephemeral', 'c#ephemeral'):
        lookupd.wait_registered(('t#ephemeral', 'c#ephemeral'))
    lookupd.wait_registered(gone=[('t#ephemeral',),
                                  ('t#ephemeral', 'c#ephemeral')])


def test_the_loop_pings_every_15_seconds(new_nsqd, lookupds):
    lookupd = lookupds()
    start = time.monotonic()
    nsqd = new_nsqd('--log-level=debug', *flags(lookupd))
    wait_until(lambda: 'PING' in lookupd.commands, lambda: 'PING comes', 60)
    assert time.monotonic() - start > 14.9
    nsqd.wait_log(re.escape('LOOKUPD(%s): sending heartbeat'
                            % lookupd.address))


def test_it_connects_again_and_tells_everything(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.create('t', 'c')
    lookupd.wait_registered(('t', 'c'))
    lookupd.drop()
    # News that came with the first connection may already have opened a second one.
    wait_until(lambda: not lookupd.registered or lookupd.connections >= 2,
               lambda: 'lookupd forgets')
    # The first command finds the connection closed, the next one connects.
    nsqd.create('u')
    nsqd.create('v', 'd')
    lookupd.wait_registered(('t', 'c'), ('v', 'd'))
    assert lookupd.connections >= 2


def test_a_lookupd_that_starts_later_is_found(new_nsqd, lookupds):
    address = dead_address()
    nsqd = new_nsqd(*flags(address))
    nsqd.create('t', 'c')
    lookupd = lookupds(port=int(address.split(':')[1]))
    nsqd.create('u', 'd')
    lookupd.wait_registered(('t', 'c'), ('u', 'd'))


def test_a_refused_identify_closes_the_connection(new_nsqd, lookupds):
    lookupd = lookupds()
    lookupd.identify_response = b'E_INVALID'
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.wait_log(re.escape('LOOKUPD(%s): lookupd returned E_INVALID'
                            % lookupd.address))
    # It is tried again when there is something to tell.
    lookupd.identify_response = None
    nsqd.create('t')
    lookupd.wait_registered(('t',))


@pytest.mark.parametrize('response', [b'OK', b'[]', b'{"http_port":"1"}', b'',
                                      b'{"broadcast_address":5}'])
def test_an_answer_that_is_no_peer_info_is_refused(
        new_nsqd, lookupds, response):
    lookupd = lookupds()
    lookupd.identify_response = response or b' '
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.wait_log(re.escape('LOOKUPD(%s): parsing response - '
                            % lookupd.address))
    assert nsqd.get('/ping').body == b'OK'


@pytest.mark.parametrize('size,why', [
    pytest.param(-1, 'response body size (-1) is negative',
                 marks=pytest.mark.ours(reason='dies of it')),
    (5242881, 'response body size (5242881) is greater than limit (5242880)')])
def test_an_answer_of_a_size_that_cannot_be_is_refused(new_nsqd, lookupds, size, why):
    lookupd = lookupds()
    lookupd.response_size = size
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.wait_log(re.escape(why))
    lookupd.response_size = None
    nsqd.create('t')
    lookupd.wait_registered(('t',))


def test_the_log_says_what_stock_says(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.create('t', 'c')
    lookupd.wait_command('REGISTER t c')
    address = lookupd.address
    for line in ['INFO: LOOKUP(%s): adding peer' % address,
                 'INFO: LOOKUP connecting to %s' % address,
                 'INFO: LOOKUPD(%s): peer info {TCPPort:%s HTTPPort:%d '
                 'Version:1.3.0 BroadcastAddress:127.0.0.1}' % (
                     address, address.split(':')[1],
                     lookupd.http.port),
                 'INFO: LOOKUPD(%s): topic REGISTER t' % address,
                 'INFO: LOOKUPD(%s): channel REGISTER t c' % address]:
        nsqd.wait_log(re.escape(line) + '$')
    assert 'INFO: LOOKUP: closing\n' in nsqd.stop()


# -- changes at run time

def put_addresses(nsqd, *addresses):
    response = nsqd.http('PUT', '/config/nsqlookupd_tcp_addresses',
                         json.dumps(addresses))
    assert response.status == 200


def test_addresses_change_at_run_time(new_nsqd, lookupds):
    first, second = lookupds(), lookupds()
    nsqd = new_nsqd(*flags(first))
    nsqd.create('t', 'c')
    first.wait_registered(('t', 'c'))
    put_addresses(nsqd, second.address)
    second.wait_registered(('t', 'c'))
    wait_until(lambda: not first.sockets, lambda: 'the first is left')
    nsqd.wait_log(re.escape('LOOKUP(%s): removing peer' % first.address))
    put_addresses(nsqd, first.address, second.address)
    first.wait_registered(('t', 'c'))
    # The other one was left alone, unless it was too slow and tried again.
    if second.connections != 1:
        nsqd.wait_log(re.escape('ERROR: LOOKUPD(%s): ' % second.address))
    put_addresses(nsqd)
    wait_until(lambda: not first.sockets and not second.sockets,
               lambda: 'both are left')


# -- channels that are created with a topic

def test_channels_are_created_before_the_first_message(new_nsqd, lookupds):
    first, second = lookupds(), lookupds()
    first.channels['t'] = ['b', 'a', 'x#ephemeral']
    second.channels['t'] = ['c', 'a']
    nsqd = new_nsqd(*flags(first, second))
    wait_peers(nsqd, first, second)
    nsqd.pub('t', 'hello')
    for channel in 'abc':
        nsqd.wait_channel('t', channel, depth=1)
    assert len(nsqd.topic_stats('t')['channels']) == 3
    assert first.queries == [('/channels?topic=t',
                              'application/vnd.nsq; version=1.0')]
    nsqd.wait_log(r'CI: querying nsqlookupd http://127.0.0.1:%d/channels\?'
                  'topic=t$' % first.http.port)


@pytest.mark.ours(reason='it creates them')
def test_channels_with_bad_names_are_skipped(new_nsqd, lookupds):
    lookupd = lookupds()
    lookupd.channels['t'] = ['no good', 'good', 'x' * 65, '']
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.wait_log('peer info')
    nsqd.create('t')
    nsqd.wait_channel('t', 'good', depth=0)
    assert len(nsqd.topic_stats('t')['channels']) == 1
    nsqd.wait_log('skipping creation of invalid channel no good$')


def test_the_topic_is_escaped(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd))
    nsqd.wait_log('peer info')
    nsqd.create('t.u-v_w#ephemeral')
    assert lookupd.queries[0][0] == '/channels?topic=t.u-v_w%23ephemeral'


def test_no_lookupd_that_could_be_asked(new_nsqd):
    nsqd = new_nsqd(*flags(dead_address()))
    nsqd.create('t')
    nsqd.wait_log('ERROR: no available nsqlookupd to query for channels to '
                  'pre-create for topic t$')


def test_one_that_fails_does_not_hide_the_other(new_nsqd, lookupds):
    first, second = lookupds(), lookupds()
    second.channels['t'] = ['c']
    nsqd = new_nsqd(*flags(first, second))
    wait_peers(nsqd, first, second)
    first.http.stop()
    nsqd.create('t')
    nsqd.wait_channel('t', 'c', depth=0)
    nsqd.wait_log(r'WARNING: failed to query nsqlookupd for channels to '
                  r'pre-create for topic t - .*connection refused')


def test_a_slow_answer_holds_up_its_own_topic_only(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd), '--http-client-request-timeout=1s')
    nsqd.wait_log('peer info')
    nsqd.create('old')
    lookupd.http_hold.clear()
    with nsqd.connect() as slow, nsqd.connect() as other:
        slow.command('PUB', 'new', body=b'x')
        wait_until(lambda: len(lookupd.queries) == 2, lambda: 'it asks')
        # The same topic, too, takes messages meanwhile.
        other.pub('old', 'y')
        other.pub('new', 'z')
        assert nsqd.get('/ping').body == b'OK'
        slow.expect_ok()
    nsqd.wait_topic('new', message_count=2)


# -- lookupds that are dead or slow

@pytest.mark.ours(reason='it waits 1 s per change and peer')
def test_a_dead_or_mute_lookupd_blocks_nothing(new_nsqd, lookupds):
    silent, mute, good = Silent(), lookupds(), lookupds()
    mute.mute = True
    try:
        nsqd = new_nsqd(*flags(silent, dead_address(), mute, good))
        start = time.monotonic()
        for i in range(50):
            nsqd.pub('t%d' % i, 'x')
        # Were one of the three waited for, it would be a second for each.
        assert time.monotonic() - start < 40
        good.wait_registered(('t0',), ('t49',))
        # Something is on its way to each of them when it is to end.
        for i in range(50):
            nsqd.pub('u%d' % i, 'x')
        nsqd.stop()     # which has a deadline
    finally:
        silent.close()


def heard_of_a_topic_made_anew(new_nsqd, mute, good):
    """What good hears while mute does not answer. None: this process was late with an answer of
    good's, too. Then the connection is made anew, and there is no tombstone to be ended."""
    nsqd = new_nsqd(*flags(mute, good))
    nsqd.create('t', 'c')
    good.wait_registered(('t', 'c'))
    mute.wait_registered(('t', 'c'))
    # From there on the loop waits for an answer, for a second. (Not before: it may still have
    # something to say of t.)
    mute.mute_at = 'REGISTER other'
    nsqd.create('other')
    mute.wait_command(mute.mute_at)
    nsqd.post('/topic/delete?topic=t')
    nsqd.create('t', 'c')
    nsqd.create('last')
    good.wait_command('REGISTER last')
    heard = good.commands[good.commands.index('REGISTER other'):]
    return None if 'IDENTIFY' in heard else heard


def test_what_is_merged_still_ends_a_tombstone(new_nsqd, lookupds):
    """Deleted and created again while the loop waits for somebody else: REGISTER alone
    would leave a tombstone standing, which hides the topic from consumers."""
    heard = wait_until(lambda: heard_of_a_topic_made_anew(new_nsqd, lookupds(), lookupds()),
                       'this process is in time', timeout=3 * DEADLINE)
    for name in 't', 't c':
        assert 'UNREGISTER ' + name in heard
        assert heard.index('UNREGISTER ' + name) < max(
            i for i, command in enumerate(heard) if command == 'REGISTER ' + name)


@pytest.mark.ours(reason='it waits for the answer')
def test_exit_does_not_wait_for_an_answer(new_nsqd, lookupds):
    lookupd = lookupds()
    nsqd = new_nsqd(*flags(lookupd), '--http-client-request-timeout=60s')
    nsqd.wait_log('peer info')
    lookupd.http_hold.clear()
    with nsqd.connect() as client:
        client.command('PUB', 'new', body=b'x')
        wait_until(lambda: lookupd.queries, lambda: 'it asks')
        nsqd.stop()     # which has a deadline, sooner than the answer's


def test_names_that_do_not_resolve_do_not_stop_it(new_nsqd, lookupds):
    good = lookupds()
    nsqd = new_nsqd(*flags('no-such-host.invalid:4160', 'noport', good))
    nsqd.create('t')
    # A name server that does not answer is waited for.
    good.wait_registered(('t',), timeout=60)
    nsqd.wait_log(r'LOOKUP\(no-such-host.invalid:4160\): adding peer')


def wait_not_dialled(nsqd, address, why):
    """It is left alone for a moment after each attempt: so there is more than one change."""
    pattern = r'ERROR: LOOKUPD\(%s\): .* - %s$' % (re.escape(address), why)
    topics = itertools.count()

    def told():
        nsqd.create('t%d' % next(topics))
        return re.search(pattern, nsqd.log(), re.M)
    wait_until(told, lambda: 'the log has %r:\n%s' % (pattern, nsqd.log()))


@pytest.mark.parametrize('address,why', [
    ('user@localhost:4160', 'lookup user@localhost: no such host'),
    ('localhost:4160/x', 'lookup tcp/4160/x: unknown port'),
    ('localhost:4160?x', 'lookup tcp/4160\\?x: unknown port'),
    ('localhost:4160#x', 'lookup tcp/4160#x: unknown port'),
    ('127.0.1:4160', 'lookup 127.0.1: no such host'),
    ('localhost:no-such-service', 'lookup tcp/no-such-service: unknown port'),
])
def test_what_is_no_address_is_not_dialled(new_nsqd, address, why):
    """libcurl would find a host in it, and connect to that."""
    wait_not_dialled(new_nsqd(*flags(address)), address, 'dial tcp: ' + why)


def test_a_port_may_be_the_name_of_a_service(new_nsqd):
    address = '127.0.0.1:Gopher'    # where nobody listens
    wait_not_dialled(new_nsqd(*flags(address)), address,
                     r'dial tcp 127\.0\.0\.1:70: connect: connection refused')


@pytest.mark.ours(reason='it dies of some')
@pytest.mark.parametrize('address', [
    'x' * 900000 + ':4160', 'x:' + '9' * 900000, 'http://x:1/' * 1000, ':' * 1000,
    '[' * 1000, '%00:1', 'x\0y:1', '\xff:1', '', '\0', '[::1%' + 'z' * 100000 + ']:1'])
def test_an_address_of_any_kind_is_an_error_at_most(new_nsqd, lookupds, address):
    good = lookupds()
    nsqd = new_nsqd(*flags(good))
    put_addresses(nsqd, address, good.address)
    nsqd.create('t', 'c')
    good.wait_registered(('t', 'c'))
    nsqd.stop()


@pytest.mark.ours(reason='it dies of some')
@pytest.mark.parametrize('response', [
    {'broadcast_address': 'x' * 4500000, 'http_port': 1},
    {'broadcast_address': 'a\0b', 'http_port': 1},
    {'broadcast_address': 'user@x/?#', 'http_port': -1},
    {'broadcast_address': '\x01\r\n', 'http_port': 2 ** 63 - 1},
    {'broadcast_address': '', 'http_port': 0}])
def test_an_address_that_a_lookupd_tells_is_an_error_at_most(
        new_nsqd, lookupds, response):
    bad, good = lookupds(), lookupds()
    bad.identify_response = json.dumps(response).encode()
    good.channels['t'] = ['c']
    nsqd = new_nsqd('--max-body-size=100000000', *flags(bad, good))
    # (Not by the log, which has no lines of megabytes.)
    bad.wait_command('IDENTIFY')
    nsqd.create('first')
    good.wait_registered(('first',))
    nsqd.create('t')
    nsqd.wait_channel('t', 'c', depth=0)


@pytest.mark.parametrize('answer', [
    b'[' * 9999 + b']' * 9999, b'[' * 1000000, b'{"channels":' * 100000,
    b'{"channels":["\xff\xfe","\\u0000","a\\u0000b"],"channels":["c"]}',
    b'{"channels":["c"],"x":' + b'[' * 9998 + b']' * 9998 + b'}'])
def test_channels_of_any_shape_are_an_error_at_most(new_nsqd, lookupds, answer):
    bad, good = lookupds(), lookupds()
    bad.http_answer = answer
    good.channels['t'] = ['c']
    nsqd = new_nsqd(*flags(bad, good))
    wait_peers(nsqd, bad, good)
    nsqd.create('t')
    nsqd.wait_channel('t', 'c', depth=0)
    assert len(nsqd.topic_stats('t')['channels']) == 1


def test_more_changes_than_are_kept(new_nsqd, lookupds):
    """Far more names than lookupd hears of while it does not answer."""
    lookupd = lookupds()
    nsqd = new_nsqd('--mem-queue-size=1', *flags(lookupd))
    nsqd.create('t', 'keep')
    lookupd.wait_registered(('t', 'keep'))
    lookupd.mute = True
    for i in range(200):
        nsqd.create('u%d' % i)
        nsqd.post('/topic/delete?topic=u%d' % i)
    lookupd.mute = False
    nsqd.create('last')
    # It is left alone for a while after each attempt that failed.
    lookupd.wait_registered(('t', 'keep'), ('last',), gone=[('u0',), ('u199',)])


# -- the real one

STOCK = os.path.join(os.path.dirname(os.environ.get('STOCK', 'build/stock/x')),
                     'nsqlookupd')


class StockLookupd:
    def __init__(self, directory):
        self.log_path = os.path.join(directory, 'nsqlookupd.log')
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(
                [STOCK, '--tcp-address=127.0.0.1:0',
                 '--http-address=127.0.0.1:0',
                 '--broadcast-address=127.0.0.1'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        found = {}

        def listening():
            with open(self.log_path) as f:
                found.update(re.findall(
                    r'INFO: (TCP|HTTP): listening on \S+:(\d+)\n', f.read(),
                    re.M))
            return len(found) == 2
        wait_until(listening, lambda: 'nsqlookupd listens')
        self.address = '127.0.0.1:' + found['TCP']
        self.http_port = found['HTTP']

    def get(self, path):
        with urllib.request.urlopen('http://127.0.0.1:%s%s' % (
                self.http_port, path), timeout=DEADLINE) as response:
            return json.load(response)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)


def test_two_real_nsqlookupds(new_nsqd, tmp_path):
    if not os.access(STOCK, os.X_OK):
        not_tested('no stock nsqlookupd: `make stock` builds it')
    for name in 'ab':
        (tmp_path / name).mkdir()
    lookupds = [StockLookupd(str(tmp_path / name)) for name in 'ab']
    try:
        nsqd = new_nsqd('--broadcast-address=127.0.0.1', *flags(*lookupds))
        other = new_nsqd('--broadcast-address=127.0.0.1', *flags(*lookupds))
        nsqd.create('t', 'a', 'b#ephemeral')
        for lookupd in lookupds:
            wait_until(lambda: sorted(lookupd.get('/channels?topic=t')[
                'channels']) == ['a', 'b#ephemeral'], lambda: 'lookupd knows')
            found = lookupd.get('/lookup?topic=t')['producers'][0]
            assert (found['tcp_port'], found['http_port'],
                    found['version']) == (nsqd.tcp_port, nsqd.http_port,
                                          '1.3.0')
        # The other daemon learns the channel from them.
        wait_peers(other, *lookupds)
        other.pub('t', 'hello')
        other.wait_channel('t', 'a', depth=1)
        assert len(other.topic_stats('t')['channels']) == 1
        nsqd.post('/topic/delete?topic=t')
        for lookupd in lookupds:
            wait_until(lambda: [p['tcp_port'] for p in lookupd.get(
                '/lookup?topic=t')['producers']] == [other.tcp_port],
                lambda: 'one producer is left')
        other.stop()
        for lookupd in lookupds:
            wait_until(lambda: not lookupd.get('/lookup?topic=t')['producers'],
                       lambda: 'none is left')
    finally:
        for lookupd in lookupds:
            lookupd.close()
