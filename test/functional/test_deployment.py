"""What scrapers, probes and side-cars do in the wild, request by request."""

import json
import os
import re
import shutil
import socket
import subprocess

import pytest

from lookupd import FakeLookupd
from nsq import DEADLINE, SCALE, binary, not_tested, wait_until


def run(*command):
    if not shutil.which(command[0]):
        not_tested('no ' + command[0])
    return subprocess.run(command, capture_output=True, timeout=DEADLINE)


def test_the_health_check_of_images(nsqd):
    got = run('wget', '-q', '-O', '-',
              'http://127.0.0.1:%d/ping' % nsqd.http_port)
    assert (got.returncode, got.stdout, got.stderr) == (0, b'OK', b'')


def test_the_probes_of_kubernetes(nsqd):
    # kubelet closes after each probe, and wants a status below 400.
    with socket.create_connection(('127.0.0.1', nsqd.http_port),
                                  timeout=DEADLINE) as probe:
        probe.sendall(b'GET /ping HTTP/1.1\r\nHost: 10.0.0.7:4151\r\n'
                      b'User-Agent: kube-probe/1.29\r\nAccept: */*\r\n'
                      b'Connection: close\r\n\r\n')
        answer = b''
        while True:
            data = probe.recv(4096)
            if not data:
                break
            answer += data
    head, _, body = answer.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 200 OK\r\n') and body == b'OK'
    assert b'\r\nContent-Type: text/plain; charset=utf-8' in head


def test_the_process_has_the_name_of_its_program(nsqd):
    # pgrep, killall and monitoring look for it there.
    with open('/proc/%d/comm' % nsqd.process.pid) as comm:
        assert comm.read() == os.path.basename(binary()) + '\n'


KEDA = ('/stats?format=json&include_clients=false&include_mem=false&topic=%s')


def test_the_scaler_of_keda(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'idle', 'busy')
    nsqd.pub(topic, 'a', 'b', 'c')
    for channel in 'busy', 'idle':
        nsqd.wait_channel(topic, channel, depth=3)
    nsqd.wait_topic(topic, depth=0)
    nsqd.post('/channel/pause?topic=%s&channel=idle' % topic)
    found = json.loads(nsqd.get(KEDA % topic).body)
    assert 'memory' not in found and found['producers'] is None
    (entry,) = found['topics']
    assert (entry['topic_name'], entry['depth']) == (topic, 0)
    assert [(c['channel_name'], c['depth'], c['paused'], c['clients'])
            for c in entry['channels']] == [
                ('busy', 3, False, None), ('idle', 3, True, None)]
    # A topic that is here without the channel does not count.
    found = json.loads(nsqd.get(KEDA % topic + '&channel=nope').body)
    assert found['topics'] == []


def walk(value, path=''):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, path + '.' + key)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, path)
    else:
        yield path, value


def test_the_numbers_of_telegraf_are_integers(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, 'a', 'b')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        client.message()
        response = nsqd.get('/stats?format=json&topic=' + topic)
        # A float would be 1.0 or 1e+06 in the text.
        found = json.loads(response.body, parse_float=lambda text: text)
    assert found['version'] == '1.3.0' and found['health'] == 'OK'
    strings = {'.version', '.health', '.topics.topic_name',
               '.topics.channels.channel_name'}
    for path, value in walk(found):
        if path.startswith('.topics.channels.clients'):
            assert value is not None, path
        elif path in strings:
            assert isinstance(value, str), path
        # (A client of another test may still be going.)
        elif not path.endswith('percentiles') and not path.startswith('.producers'):
            assert isinstance(value, int), (path, value)
    assert len(found['memory']) == 9


def test_a_side_car_that_sets_the_lookupds(new_nsqd):
    daemon = new_nsqd('--broadcast-address=127.0.0.1')
    url = 'http://127.0.0.1:%d/config/' % daemon.http_port
    first, second = FakeLookupd(), FakeLookupd()
    try:
        daemon.create('t', 'ch')
        # Both shapes of curl that are in use; both say that they send a form.
        for flag, lookupd in (('-d', first), ('--data-binary', second)):
            got = run('curl', '-sS', '-X', 'PUT', flag,
                      json.dumps([lookupd.address]),
                      url + 'nsqlookupd_tcp_addresses')
            assert got.stdout == json.dumps([lookupd.address]).encode()
            lookupd.wait_registered(('t', 'ch'))
        assert daemon.get('/config/nsqlookupd_tcp_addresses').body == \
            json.dumps([second.address]).encode()
    finally:
        first.close()
        second.close()


def test_a_side_car_that_sets_the_log_level(new_nsqd):
    daemon = new_nsqd()
    for level, number in ('error', b'4'), ('debug', b'1'):
        got = run('curl', '-sS', '-X', 'PUT', '-d', level,
                  'http://127.0.0.1:%d/config/log_level' % daemon.http_port)
        assert got.returncode == 0 and got.stdout == number
        daemon.create('t-' + level)
    wait_until(lambda: 'TOPIC(t-debug): created' in daemon.log(),
               lambda: 'it is logged')
    assert 'TOPIC(t-error): created' not in daemon.log()


@pytest.mark.ours(reason='an ERROR line for each')
def test_a_health_check_that_only_connects_is_one_line_of_the_log(new_nsqd):
    daemon = new_nsqd()
    before = len(daemon.log())
    for i in range(10):
        probe = daemon.connect(b'')
        probe.reset() if i % 2 else probe.close()
    # One that says something, and something else than it should, is no health check.
    half = daemon.connect(b' ')
    half.close()
    daemon.wait_log('ERROR: failed to read protocol version - unexpected EOF$')
    wait_until(lambda: daemon.count_threads('io:') == 0, daemon.thread_names)
    # Lines are written a little later, but in their order.
    daemon.create('last')
    daemon.wait_log(r'TOPIC\(last\): created')
    lines = [line for line in daemon.log()[before:].splitlines()
             if 'TOPIC(last)' not in line and 'POST /topic/create' not in line
             and 'NSQ: persisting' not in line]
    assert sum('TCP: new client(' in line for line in lines) == 11
    assert len(lines) == 12 and sum(' ERROR: ' in line for line in lines) == 1, lines


def with_descriptors(daemon, soft, hard):
    """Start it from a shell with these limits, as a service manager would."""
    shell = ['sh', '-c', 'ulimit -Sn %d && ulimit -Hn %d && exec "$@"' % (soft, hard), 'sh']
    plain = daemon.command
    daemon.command = lambda: shell + plain()
    return daemon.start()


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(new_nsqd):
    daemon = with_descriptors(new_nsqd(start=False), 64, 900)
    with open('/proc/%d/limits' % daemon.process.pid) as f:
        line, = [line for line in f if line.startswith('Max open files')]
    assert line.split()[3:5] == ['900', '900']
    clients = [daemon.connect() for _ in range(100)]
    for client in clients:
        client.expect_usable()
        client.close()


@pytest.mark.ours(reason='without descriptors it serves nobody')
def test_ping_is_answered_when_clients_have_used_up_the_descriptors(new_nsqd):
    daemon = with_descriptors(new_nsqd(start=False), 200, 200)
    clients, refused = [], 0
    for _ in range(250):
        client = daemon.connect(b'')
        clients.append(client)
        if len(clients) % 50 == 0:
            assert daemon.get('/ping').status == 200
    for client in clients:
        try:
            client.send(b'  V2')
            client.pub('t', 'x')
        except (EOFError, OSError, AssertionError):
            refused += 1
    assert 50 <= refused <= 150
    assert [daemon.get('/ping').status for _ in range(10)] == [200] * 10
    assert daemon.topic_stats('t')['message_count'] == 250 - refused
    for client in clients:
        client.close()
    wait_until(lambda: daemon.descriptors() < 50, daemon.descriptors)
    daemon.pub('t', 'x')


def resident_mb(daemon):
    with open('/proc/%d/status' % daemon.process.pid) as f:
        return int(re.search(r'^VmRSS:\s*(\d+) kB$', f.read(), re.M)[1]) / 1024


@pytest.mark.skipif(SCALE > 1, reason='sanitizers keep memory for themselves')
@pytest.mark.operator
def test_freememory_gives_back_what_deleted_topics_had(new_nsqd):
    daemon = new_nsqd()
    body = b'\n'.join([b'a' * 1000] * 4000)
    for i in range(20):
        assert daemon.post('/mpub?topic=t%d' % i, body).status == 200
    assert resident_mb(daemon) > 80
    for i in range(20):
        assert daemon.post('/topic/delete?topic=t%d' % i).status == 200
    daemon.post('/debug/freememory')
    # What threads are still on their way out have is theirs for a moment.
    wait_until(lambda: daemon.post('/debug/freememory') and resident_mb(daemon) < 30,
               lambda: 'the memory is given back: %d MB' % resident_mb(daemon))
