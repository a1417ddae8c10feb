"""GET /metrics, and the health checks beside /ping. (test_http_health.c has the exit.)"""

import json
import os
import resource
import socket
import threading
import time

import pytest

from metrics import OPENMETRICS, TEXT, Metrics, scrape
from nsq import wait_until

pytestmark = pytest.mark.ours(reason='it has no /metrics')

FLAGS = ['--e2e-processing-latency-percentile=0.99,0.95,0.994']

# As Grafana's mixin and lovoo's exporter have them, for each channel. In what /stats calls it.
MIXIN = {'message_count': 'message_count', 'depth': 'depth', 'backend_depth': 'backend_depth',
         'in_flight_count': 'in_flight_count', 'deferred_count': 'deferred_count',
         'requeue_count': 'requeue_count', 'timeout_count': 'timeout_count',
         'clients': 'client_count'}
EXPORTER = {'nsq_' + field: field for field in (
    'message_count', 'depth', 'backend_depth', 'in_flight_count', 'deferred_count',
    'requeue_count', 'timeout_count', 'client_count')}
TOPIC = ('message_count', 'message_bytes', 'depth', 'backend_depth')


def test_the_numbers_are_those_of_stats(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch', 'idle')
    nsqd.post('/channel/pause?topic=%s&channel=idle' % topic)
    with nsqd.subscribe(topic, 'ch', rdy=2) as client:
        nsqd.pub(topic, *[b'%03d' % i for i in range(10)])
        first, second = client.message(), client.message()
        client.rdy(0)
        client.req(first, 3600 * 1000)
        client.fin(second)
        nsqd.wait_channel(topic, 'idle', depth=10)
        nsqd.wait_channel(topic, 'ch', depth=8, in_flight_count=0, deferred_count=1,
                          client_count=1)
        stats, found = nsqd.topic_stats(topic), scrape(nsqd)
    for field in TOPIC:
        assert found.value('nsq_topic_' + field, topic=topic) == stats[field]
    for channel in stats['channels']:
        labels = {'topic': topic, 'channel': channel['channel_name']}
        for name, field in MIXIN.items():
            assert found.value('nsq_topic_channel_' + name, **labels) == channel[field], name
        for name, field in EXPORTER.items():
            assert found.value(name, **labels, type='channel',
                               paused=str(channel['paused']).lower()) == channel[field], name
        assert found.value('nsq_topic_channel_paused', **labels) == channel['paused']
    assert found.value('nsq_channel_count', topic=topic, type='topic') == 2
    assert found.value('nsq_depth', topic=topic, type='topic', paused='false') == 0
    assert found.value('nsq_topic_channel_requeue_count', topic=topic, channel='ch') == 1


def test_percentiles_have_the_names_of_statsd(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        nsqd.pub(topic, b'x')
        client.fin(client.message())
        nsqd.wait_channel(topic, 'ch', in_flight_count=0)
        found = wait_until(
            lambda: (lambda m: m.value('nsq_topic_channel_e2e_processing_latency_99', topic=topic)
                     and m)(scrape(nsqd)), 'a latency is known')
    names = {name for name in found.names() if 'e2e' in name}
    # 0.994 would be called 99, too, and 0.994 comes before 0.99.
    assert names == {'nsq_topic_e2e_processing_latency_99', 'nsq_topic_e2e_processing_latency_95',
                     'nsq_topic_channel_e2e_processing_latency_99',
                     'nsq_topic_channel_e2e_processing_latency_95',
                     'nsq_e2e_latency_99p', 'nsq_e2e_latency_95p'}
    assert found.value('nsq_topic_e2e_processing_latency_99', topic=topic) > 0
    assert found.value('nsq_e2e_latency_99p', topic=topic, type='topic') > 0
    assert found.value('nsq_e2e_latency_95p', topic=topic, type='channel') > 0


def test_histograms_count_each_message_once(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch', 'idle')
    began = time.time()
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        nsqd.pub(topic, b'x')
        client.req(client.message(), 0)
        client.fin(client.message())
        nsqd.wait_channel(topic, 'ch', in_flight_count=0)
    most = time.time() - began + 1
    found = scrape(nsqd)
    for name in ('publish_to_deliver', 'deliver_to_finish'):
        name = 'nsq_topic_channel_%s_seconds' % name
        assert found.families[name].type == 'histogram'
        # The second delivery is not counted as a first one.
        assert found.value(name + '_count', topic=topic, channel='ch') == 1
        assert 0 <= found.value(name + '_sum', topic=topic, channel='ch') <= most
        buckets = [(float(dict(labels)['le']), value)
                   for labels, value in found.samples(name + '_bucket').items()
                   if dict(labels)['topic'] == topic]
        values = [value for _, value in sorted(buckets)]
        assert values == sorted(values) and values[-1] == 1 and len(values) == 9
    # One that never delivered anything has none.
    assert found.value('nsq_topic_channel_deliver_to_finish_seconds_count', topic=topic,
                       channel='idle') is None
    without = scrape(nsqd, '?include_histograms=false')
    assert not [name for name, family in without.families.items()
                if family.type == 'histogram' and name.startswith('nsq_')]


def test_a_message_that_waits_is_counted_where_it_belongs(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, b'x')
    nsqd.wait_channel(topic, 'ch', depth=1)
    time.sleep(0.12)        # it has to be older than a bound; being late does no harm
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        client.fin(client.message())
        nsqd.wait_channel(topic, 'ch', in_flight_count=0)
    found = scrape(nsqd, '?topic=' + topic)
    name = 'nsq_topic_channel_publish_to_deliver_seconds'
    assert found.value(name + '_bucket', le='0.1') == 0
    assert found.value(name + '_bucket', le='+Inf') == 1
    assert found.value(name + '_sum') >= 0.12


def test_the_query_is_that_of_stats(nsqd):
    one, other = nsqd.topic(), nsqd.topic()
    nsqd.create(one, 'a', 'b')
    nsqd.create(other, 'b')

    def channels(query):
        return {(dict(labels)['topic'], dict(labels)['channel']) for labels in
                scrape(nsqd, query).samples('nsq_topic_channel_depth')}
    assert channels('?topic=' + one) == {(one, 'a'), (one, 'b')}
    assert channels('?topic=%s&channel=a' % one) == {(one, 'a')}
    assert {(one, 'b'), (other, 'b')} <= channels('?channel=b')
    assert (one, 'a') not in channels('?channel=b')
    assert channels('?topic=none') == channels('?topic=a%00b') == set()
    response = nsqd.get('/metrics?x=%zz')
    assert (response.status, response.body) == (400, b'INVALID_REQUEST')
    exporter = {'nsq_depth', 'nsq_client_count'}
    assert exporter <= scrape(nsqd, '?topic=' + one).names()
    assert not exporter & scrape(nsqd, '?include_exporter=false').names()


def test_clients_are_shown_when_asked_for(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    # Two that cannot be told apart but by their number; with all that must be escaped.
    odd = 'a"b\\c\nd\x00e\ufffd'
    with nsqd.connect() as producer, nsqd.connect() as client, nsqd.connect() as twin:
        for c in (client, twin):
            c.identify(client_id=odd, hostname='h', user_agent='ua')
            c.sub(topic, 'ch')
            c.rdy(3)
        producer.pub(topic, b'x')
        nsqd.wait_channel(topic, 'ch', client_count=2, in_flight_count=1)
        found = scrape(nsqd, '?include_clients=true&topic=' + topic)
        assert 'nsq_client_ready_count' not in scrape(nsqd).names()
        ready = {labels: value for labels, value in
                 found.samples('nsq_client_ready_count').items()}
        assert list(ready.values()) == [3, 3]
        for labels in map(dict, ready):
            assert labels['client_id'] == odd.replace('\x00', '\ufffd')
            assert (labels['topic'], labels['channel']) == (topic, 'ch')
            assert labels['remote_address'].startswith('127.0.0.1:')
        assert sum(found.samples('nsq_client_message_count').values()) == 1
        assert list(found.samples('nsq_producer_message_count').values()) == [1]
        scrape(nsqd, '?include_clients=1', openmetrics=True)


def test_bytes_that_are_no_text_do_not_spoil_the_page(nsqd):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    with nsqd.connect() as client:
        body = b'{"client_id":"\xff\xfe\\u0000\\ud800","hostname":"\\n"}'
        client.send(b'IDENTIFY\n' + len(body).to_bytes(4, 'big') + body)
        client.answer()
        client.sub(topic, 'ch')
        found = scrape(nsqd, '?include_clients=true&topic=' + topic)
    (labels,) = found.samples('nsq_client_ready_count')
    assert '\0' not in dict(labels)['client_id'] and '\ufffd' in dict(labels)['client_id']
    assert dict(labels)['hostname'] == '\n'


def test_both_formats_have_the_same_samples(nsqd):
    nsqd.create(nsqd.topic(), 'ch')
    text, open_text = scrape(nsqd), scrape(nsqd, openmetrics=True)

    def keys(page):
        return {key for family in page.families.values() for key in family.samples}
    assert keys(text) == keys(open_text)
    assert open_text.families['process_cpu_seconds'].type == 'counter'
    assert text.families['process_cpu_seconds_total'].type == 'counter'
    assert text.families['nsq_topic_message_count'].type == 'counter'
    assert open_text.families['nsq_topic_message_count'].type == 'unknown'


@pytest.mark.parametrize('accept, expected', [
    (None, TEXT), ('*/*', TEXT), ('text/plain', TEXT), ('application/json', TEXT),
    ('application/openmetrics-text', OPENMETRICS),
    ('application/openmetrics-text;q=0.1, text/plain', TEXT)])
def test_accept_decides_about_the_format(nsqd, accept, expected):
    headers = {} if accept is None else {'Accept': accept}
    assert nsqd.http('GET', '/metrics', headers=headers).headers['Content-Type'] == expected


def test_a_connection_may_change_its_mind(nsqd):
    connection = nsqd.http_connection()
    for accept, expected in [('application/openmetrics-text', OPENMETRICS), ('*/*', TEXT),
                             ('application/openmetrics-text', OPENMETRICS)]:
        connection.request('GET', '/metrics', headers={'Accept': accept})
        response = connection.getresponse()
        assert response.headers['Content-Type'] == expected
        response.read()
    connection.request('GET', '/ping')
    response = connection.getresponse()
    assert response.headers['Content-Type'] == 'text/plain; charset=utf-8'
    assert response.read() == b'OK'
    connection.close()


def test_other_methods_are_refused(nsqd):
    assert nsqd.post('/metrics').status == 405
    assert nsqd.http('HEAD', '/metrics').status == nsqd.http('HEAD', '/stats').status


def test_a_body_is_read_and_ignored(nsqd):
    assert nsqd.http('GET', '/metrics', b'x' * 100000).status == 200


def test_the_process_is_described(nsqd):
    found = scrape(nsqd)
    assert found.value('nsqd_build_info', version='1.3.0') == 1
    assert found.value('nsqd_healthy') == 1
    assert found.value('process_start_time_seconds') == pytest.approx(
        nsqd.stats()['start_time'], abs=1)
    assert 0 < found.value('process_resident_memory_bytes') <= found.value(
        'process_virtual_memory_bytes')
    assert 0 < found.value('process_threads') < 1000
    assert 0 < found.value('process_open_fds') <= found.value('process_max_fds')
    wait_until(lambda: scrape(nsqd).value('process_open_fds') <= nsqd.descriptors() + 20,
               'descriptors are counted')
    with open('/proc/sys/kernel/threads-max') as f:
        assert found.value('nsqd_threads_limit', limit='system') == int(f.read())
    used = scrape(nsqd).value('process_cpu_seconds_total')
    wait_until(lambda: scrape(nsqd).value('process_cpu_seconds_total') > used,
               'work takes processor time')


def test_connections_and_bytes_are_counted(new_nsqd):
    daemon = new_nsqd()
    before = scrape(daemon)
    assert before.value('nsqd_connections', kind='tcp') == 0
    assert before.value('nsqd_connections', kind='http') == 1
    assert before.value('nsqd_connections', kind='https') == 0
    with daemon.subscribe('t', 'ch', rdy=1) as client, socket.create_connection(
            ('127.0.0.1', daemon.http_port)):
        daemon.pub('t', b'x' * 100000)
        client.fin(client.message())
        wait_until(lambda: scrape(daemon).value('nsqd_connections', kind='tcp') == 1,
                   'the consumer is counted')
        wait_until(lambda: scrape(daemon).value('nsqd_connections', kind='http') == 2,
                   'the silent connection is counted')
        after = scrape(daemon)
    for name in ('received', 'sent'):
        name = 'nsqd_network_%s_bytes_total' % name
        assert after.value(name) - before.value(name) > 100000
    wait_until(lambda: scrape(daemon).value('nsqd_connections', kind='tcp') == 0,
               'nobody is connected')


def test_the_disk_is_described(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0', '--sync-every=1')
    before = scrape(daemon)
    daemon.create('t', 'ch')
    daemon.pub('t', *[b'x' * 1000] * 100)
    daemon.wait_channel('t', 'ch', depth=100)
    found = scrape(daemon)
    # Once for the topic, once for the channel.
    assert found.value('nsqd_disk_written_bytes_total') >= 2 * 100 * 1030
    assert found.value('nsqd_disk_read_bytes_total') >= 100 * 1030
    assert found.value('nsqd_disk_sync_duration_seconds_count') > before.value(
        'nsqd_disk_sync_duration_seconds_count')
    assert found.value('nsqd_disk_sync_errors_total') == 0
    assert found.value('nsqd_data_path_bytes') >= 100 * 1030
    assert found.value('nsqd_data_path_files', kind='data') >= 3
    assert found.value('nsqd_data_path_files', kind='bad') == 0
    assert 0 < found.value('nsqd_filesystem_available_bytes') <= found.value(
        'nsqd_filesystem_size_bytes')


def test_bad_files_are_counted(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t', 'ch')
    daemon.pub('t', b'x')
    daemon.wait_channel('t', 'ch', depth=1)
    daemon.stop()
    with open(os.path.join(daemon.data_path, 't:ch.diskqueue.meta.dat'), 'wb') as f:
        f.write(b'damage')
    for name in ('foreign', 'nsqd.dat.bad'):
        with open(os.path.join(daemon.data_path, name), 'wb') as f:
            f.write(b'x')
    daemon.start()
    found = scrape(daemon)
    assert found.value('nsqd_disk_moved_aside_total') == 1
    assert found.value('nsqd_data_path_files', kind='bad') == 2
    # nsqd.dat may be on its way: its temporary file is of this kind.
    wait_until(lambda: scrape(daemon).value('nsqd_data_path_files', kind='other') == 1,
               'no file but "foreign" is there')


def test_a_data_path_that_cannot_be_listed_has_no_sample(new_nsqd):
    daemon = new_nsqd()
    assert scrape(daemon).families['nsqd_data_path_files'].samples
    os.rename(daemon.data_path, daemon.data_path + '.away')
    try:
        found = scrape(daemon)
    finally:
        os.rename(daemon.data_path + '.away', daemon.data_path)
    for name in 'data_path_files', 'data_path_bytes', 'filesystem_size_bytes':
        assert not found.families['nsqd_' + name].samples


def test_scrapes_are_not_logged(new_nsqd):
    daemon = new_nsqd()
    scrape(daemon)
    for path in ('/health/live', '/health/ready'):
        assert daemon.get(path).status == 200
    daemon.get('/ping')
    daemon.wait_log(r'200 GET /ping')
    assert 'metrics' not in daemon.log() and 'health' not in daemon.log()


def test_messages_go_on_while_many_channels_are_scraped(new_nsqd):
    """Scrapes one after the other, and a consumer that gets all that is published meanwhile."""
    daemon = new_nsqd()
    for i in range(20):
        daemon.create('many%d' % i, *['ch%d' % j for j in range(20)])
    daemon.create('t', 'ch')
    over = threading.Event()
    pages = []

    def read():
        while not over.is_set() or not pages:
            pages.append(daemon.get('/metrics?include_clients=true').body)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        with daemon.subscribe('t', 'ch', rdy=1) as client:
            for i in range(100):
                daemon.pub('t', b'%d' % i)
                client.fin(client.message())
    finally:
        over.set()
        reader.join()
    for body in pages[0], pages[-1]:
        assert len(Metrics(body).samples('nsq_topic_channel_depth')) == 401


# -- health checks

def test_clients_that_do_not_read_cannot_fill_the_memory(new_nsqd):
    # The page is large: topics, channels and percentiles, all with long names.
    daemon = new_nsqd('--e2e-processing-latency-percentile=' + ','.join(
        '%.2f' % (i / 100) for i in range(1, 100)))
    daemon.stop()
    daemon.write_metadata({'version': '1.3.0', 'topics': [
        {'name': 't%02d' % i + 'x' * 60, 'paused': False, 'channels': [
            {'name': '%d' % j + 'y' * 60, 'paused': False} for j in range(10)]}
        for i in range(40)]})
    daemon.start()
    size = len(daemon.get('/metrics').body)
    most = (256 << 20) // size
    assert size > 4 << 20
    sockets = []

    def ask():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(('127.0.0.1', daemon.http_port))
        sock.sendall(b'GET /metrics HTTP/1.1\r\nHost: nsqd\r\n\r\n')
        sockets.append(sock)
        assert sock.recv(1) == b'H'     # the page is made

    def is_bounded():
        ask()
        # (This one has a connection as well; and some may have taken all of it by now.)
        return scrape(daemon, '?topic=none').value('nsqd_connections', kind='http') < most + 8
    try:
        for _ in range(most + 10):
            ask()
        wait_until(is_bounded, lambda: 'some of %d have gone' % len(sockets))
        assert len(daemon.get('/metrics').body) > 4 << 20
    finally:
        for sock in sockets:
            sock.close()


def test_live_is_ok(nsqd):
    response = nsqd.get('/health/live')
    assert (response.status, response.body) == (200, b'OK')


def test_ready_is_json(nsqd):
    response = nsqd.get('/health/ready')
    assert (response.status, json.loads(response.body)) == (
        200, {'status': 'ready', 'reasons': []})
    assert response.headers['Content-Type'] == 'application/json; charset=utf-8'


def test_a_daemon_that_drains_is_not_ready_but_alive(new_nsqd):
    daemon = new_nsqd()
    daemon.create('kept', 'ch')
    daemon.pub('kept', 'x')         # so the drain goes on
    assert daemon.http('PUT', '/config/drain', b'true').status == 200
    response = daemon.get('/health/ready')
    assert (response.status, json.loads(response.body)) == (
        503, {'status': 'not ready', 'reasons': ['the daemon drains']})
    assert daemon.get('/health/live').body == b'OK'
    assert daemon.http('PUT', '/config/drain', b'false').status == 200
    assert daemon.get('/health/ready').status == 200


def test_a_disk_that_refuses_is_not_ready_but_alive(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (0, 1 << 20))
    assert daemon.post('/pub?topic=t', b'x').status == 503
    response = daemon.get('/health/ready')
    answer = json.loads(response.body)
    assert (response.status, answer['status']) == (503, 'not ready')
    (reason,) = answer['reasons']
    assert reason.startswith('NOK - ') and 'file too large' in reason
    assert daemon.get('/health/live').body == b'OK'
    assert scrape(daemon).value('nsqd_healthy') == 0
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20,) * 2)
    assert daemon.post('/pub?topic=t', b'x').status == 200
    assert daemon.get('/health/ready').status == 200
    assert scrape(daemon).value('nsqd_healthy') == 1
