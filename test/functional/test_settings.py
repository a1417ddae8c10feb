"""/topic/config, /channel/config, [[policy]] and nsqd.settings.json: what can be set, and what keeps it."""

import json
import os
import resource
import subprocess
import threading

import pytest

from nsq import Nsqd, binary, not_tested, running, wait_until
from queues import config_path
from test_reload import Configured, reload

pytestmark = pytest.mark.ours(reason='stock has no settings per topic or channel')

FILE = 'nsqd.settings.json'


class Stock(Nsqd):
    def command(self):
        return [os.path.abspath(os.environ['STOCK'])] + super().command()[1:]

    def durability(self):
        return []


def get(daemon, *names):
    response = daemon.get(config_path(*names))
    assert response.status == 200, response
    return json.loads(response.body)


def values(daemon, *names):
    """What is no default: {name: (value, from)}."""
    return {k: (v['value'], v['from']) for k, v in get(daemon, *names).items()
            if v['from'] != 'default'}


def put(daemon, names, body):
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    return daemon.http('PUT', config_path(*names), body)


def must_put(daemon, names, body):
    response = put(daemon, names, body)
    assert response.status == 200, response
    return json.loads(response.body)


def settings_file(daemon):
    try:
        with open(os.path.join(daemon.data_path, FILE), encoding='utf-8') as f:
            return f.read()
    except FileNotFoundError:
        return None


def refused(response, why):
    assert response.status == 400, response
    assert json.loads(response.body) == {'message': 'INVALID_SETTING ' + why}


# -- what is shown

DEFAULTS = {
    'max_depth': 0, 'max_bytes': 0, 'overflow': 'reject', 'message_ttl': '0s', 'max_attempts': 0,
    'dead_letter_topic': '', 'dead_letter_envelope': False, 'requeue_on_disconnect': False,
    'count_disconnect_as_attempt': True, 'backoff': [], 'msg_timeout': '1m0s',
    'max_msg_timeout': '15m0s', 'max_req_timeout': '1h0m0s', 'max_in_flight': 0, 'rate': 0,
    'channel_expire': '0s', 'no_channel': 'buffer'}


def test_the_defaults_are_those_of_the_flags(new_nsqd):
    daemon = new_nsqd('--msg-timeout=7s')
    daemon.create('t', 'c')
    expected = {k: {'value': v, 'from': 'default'}
                for k, v in dict(DEFAULTS, msg_timeout='7s').items()}
    assert get(daemon, 't').items() >= expected.items()
    del expected['no_channel']
    assert get(daemon, 't', 'c').items() >= expected.items()
    assert 'no_channel' not in get(daemon, 't', 'c')
    assert settings_file(daemon) is None


def test_a_channel_inherits_from_its_topic(nsqd):
    nsqd.create('inherit', 'c', 'd')
    must_put(nsqd, ['inherit'], {'max_depth': 10, 'max_attempts': 5})
    shown = must_put(nsqd, ['inherit', 'c'], {'max_depth': 20})
    assert shown['max_depth'] == {'value': 20, 'from': 'channel'}
    assert shown['max_attempts'] == {'value': 5, 'from': 'topic'}
    assert values(nsqd, 'inherit') == {'max_depth': (10, 'topic'), 'max_attempts': (5, 'topic')}
    assert values(nsqd, 'inherit', 'd') == values(nsqd, 'inherit')
    # One that comes later as well.
    nsqd.create('inherit', 'e')
    assert values(nsqd, 'inherit', 'e') == values(nsqd, 'inherit')
    must_put(nsqd, ['inherit'], {'max_depth': None})
    must_put(nsqd, ['inherit', 'c'], {'max_depth': None})
    assert values(nsqd, 'inherit', 'c') == {'max_attempts': (5, 'topic')}


@pytest.mark.parametrize('name', ['a.b-c_D', '-', '.', 'x#ephemeral'])
def test_any_name(nsqd, name):
    nsqd.create(name, name)
    must_put(nsqd, [name, name], {'rate': 3})
    assert values(nsqd, name, name) == {'rate': (3, 'channel')}


# -- what is refused

@pytest.mark.parametrize('method', ['GET', 'PUT'])
def test_what_is_not_there(nsqd, method):
    nsqd.create('there')
    for where, status, why in [
            (config_path('nowhere'), 404, 'TOPIC_NOT_FOUND'),
            (config_path('nowhere', 'c'), 404, 'TOPIC_NOT_FOUND'),
            (config_path('there', 'nowhere'), 404, 'CHANNEL_NOT_FOUND'),
            (config_path('a b').replace(' ', '+'), 400, 'INVALID_TOPIC'),
            ('/topic/config', 400, 'MISSING_ARG_TOPIC'),
            ('/channel/config?topic=there', 400, 'MISSING_ARG_CHANNEL')]:
        response = nsqd.http(method, where, b'{}' if method == 'PUT' else None)
        assert (response.status, json.loads(response.body)) == (status, {'message': why}), where
    assert nsqd.topic_stats('nowhere') is None


@pytest.mark.parametrize('body, why', [
    ('', 'a JSON object of settings is wanted'),
    ('{', 'a JSON object of settings is wanted'),
    ('[]', 'a JSON object of settings is wanted'),
    ('null', 'a JSON object of settings is wanted'),
    ('{"max_depth":1}x', 'a JSON object of settings is wanted'),
    ('[' * 30000, 'a JSON object of settings is wanted'),
    ('{"max_depth":1,"max_deep":2}', 'there is no setting max_deep'),
    ('{"max_depth":1,"max_attempts":1e3}', 'max_attempts: an integer from 0 to 65535 is wanted'),
    ('{"max_depth":1,"max_depth":2}', 'max_depth: it comes twice'),
    ('{"max_depth":9223372036854775808}',
     'max_depth: an integer from 0 to 4611686018427387903 is wanted'),
    ('{"max_depth":1,"msg_timeout":"1h"}',
     'msg_timeout: 1h0m0s is more than max_msg_timeout, 15m0s'),
    ('{"backoff":%s}' % ('[' * 9000 + ']' * 9000),
     'backoff: a list of durations from 0s to 1281023h53m38.427387903s is wanted, such as "30s"'),
], ids=range(12))
def test_a_bad_setting_changes_nothing(nsqd, body, why):
    nsqd.create('bad')
    must_put(nsqd, ['bad'], {'rate': 7})
    before = settings_file(nsqd)
    response = put(nsqd, ['bad'], body)
    if 'list of durations' in why:
        why = 'backoff: a list of at most 32 durations is wanted'
    refused(response, why)
    assert values(nsqd, 'bad') == {'rate': (7, 'topic')}
    assert settings_file(nsqd) == before


def test_the_longest_body(nsqd):
    nsqd.create('long')
    body = '{"rate":5' + ' ' * (65536 - 10) + '}'
    assert put(nsqd, ['long'], body).status == 200
    response = put(nsqd, ['long'], body + ' ')
    assert response.status == 413
    assert json.loads(response.body) == {'message': 'BODY_TOO_BIG'}
    refused(put(nsqd, ['long'], '{"%s":1}' % ('x' * 65000)), 'there is no setting ' + 'x' * 64)


def test_what_is_of_the_topic_alone(nsqd):
    nsqd.create('alone', 'c')
    must_put(nsqd, ['alone'], {'no_channel': 'drop'})
    refused(put(nsqd, ['alone', 'c'], {'no_channel': 'drop'}), 'no_channel: not of a channel')


def test_other_methods(nsqd):
    nsqd.create('methods')
    assert nsqd.post(config_path('methods'), b'{"rate":1}').status == 405
    assert values(nsqd, 'methods') == {}


# -- what is kept

def test_a_restart_and_a_kill_keep_what_was_answered(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'c', 'e#ephemeral')
    daemon.create('u#ephemeral', 'c')
    must_put(daemon, ['t'], {'backoff': ['1s', '1m'], 'dead_letter_topic': '{topic}.dead'})
    must_put(daemon, ['t', 'c'], {'message_ttl': '24h', 'requeue_on_disconnect': True})
    must_put(daemon, ['t', 'e#ephemeral'], {'rate': 1})
    must_put(daemon, ['u#ephemeral'], {'rate': 2})
    must_put(daemon, ['u#ephemeral', 'c'], {'rate': 3})
    topic, channel = get(daemon, 't'), get(daemon, 't', 'c')
    wait_until(lambda: daemon.metadata().get('t') == (False, {'c': False}), 'nsqd.dat is written')
    text = settings_file(daemon)
    assert 'ephemeral' not in text
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    assert (get(daemon, 't'), get(daemon, 't', 'c')) == (topic, channel)
    daemon.stop()
    assert settings_file(daemon) == text
    daemon.start()
    assert (get(daemon, 't'), get(daemon, 't', 'c')) == (topic, channel)
    daemon.create('t', 'e#ephemeral')
    assert values(daemon, 't', 'e#ephemeral') == values(daemon, 't')


def test_a_deletion_forgets(new_nsqd):
    daemon = new_nsqd()
    for name in ('t', 't2'):
        daemon.create(name, 'c')
        must_put(daemon, [name], {'rate': 1})
        must_put(daemon, [name, 'c'], {'rate': 2})
    assert daemon.post('/channel/delete?topic=t&channel=c').status == 200
    daemon.create('t', 'c')
    assert values(daemon, 't', 'c') == {'rate': (1, 'topic')}
    assert daemon.post('/topic/delete?topic=t').status == 200
    daemon.create('t', 'c')
    assert values(daemon, 't') == values(daemon, 't', 'c') == {}
    assert values(daemon, 't2', 'c') == {'rate': (2, 'channel')}
    assert '"t"' not in settings_file(daemon)
    # Pausing, emptying and consumers do not.
    assert daemon.post('/topic/empty?topic=t2').status == 200
    assert daemon.post('/channel/pause?topic=t2&channel=c').status == 200
    daemon.subscribe('t2', 'c').close()
    assert values(daemon, 't2', 'c') == {'rate': (2, 'channel')}


@pytest.mark.parametrize('text, why', [
    ('', 'invalid JSON'),
    ('{"topics":[{"name":"t","settings":{"rate":1}', 'invalid JSON'),
    ('{"topics":[],"version":2}', 'version 2 is newer than this nsqd'),
    ('{"topics":[{"name":"t","settings":{"rat":1}}],"version":1}', 't: there is no setting rat'),
])
def test_a_start_refuses_a_file_that_is_none(new_nsqd, text, why):
    daemon = new_nsqd()
    daemon.create('t', 'c')
    daemon.stop()
    before = daemon.read_metadata()
    name = os.path.join(daemon.data_path, FILE)
    with open(name, 'w', encoding='utf-8') as f:
        f.write(text)
    daemon.spawn()
    assert daemon.process.wait(60) == 1
    assert 'failed to load settings - failed to read settings from %s - %s' % (
        name, why) in daemon.log()
    assert settings_file(daemon) == text
    assert daemon.read_metadata() == before
    os.unlink(name)
    daemon.start()
    assert values(daemon, 't', 'c') == {}


def test_stock_ignores_policies_and_file(new_nsqd, tmp_path):
    """It starts with both, and leaves both as they are; then they hold here again."""
    stock = os.environ.get('STOCK', '')
    if not os.access(stock, os.X_OK):
        not_tested('no stock nsqd')
    config = tmp_path / 'nsqd.cfg'
    config.write_text(POLICIES)
    daemon = new_nsqd('--config=%s' % config)
    daemon.create('orders.eu', 'mail')
    must_put(daemon, ['orders.eu', 'mail'], {'rate': 5, 'backoff': ['1s']})
    shown, text = get(daemon, 'orders.eu', 'mail'), settings_file(daemon)
    daemon.stop()
    other = Stock(daemon.directory, ['--config=%s' % config], daemon.data_path)
    other.log_path += '.stock'
    with running(other):
        assert other.channel_stats('orders.eu', 'mail')
        assert other.get(config_path('orders.eu')).status == 404
        other.pub('orders.eu', 'x')
    assert settings_file(daemon) == text
    daemon.start()
    assert get(daemon, 'orders.eu', 'mail') == shown


def test_check_config_reads_the_file(tmp_path):
    (tmp_path / FILE).write_text('{"topics":[],"version":7}')
    done = subprocess.run([binary(), '--check-config', '--data-path=%s' % tmp_path],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'version 7 is newer than this nsqd' in done.stdout + done.stderr


def test_a_full_disk_changes_nothing(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'c')
    must_put(daemon, ['t'], {'rate': 1})
    before = settings_file(daemon)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (8, 1 << 20))
    response = put(daemon, ['t', 'c'], {'rate': 2})
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20,) * 2)
    assert (response.status, response.body) == (500, b'{"message":"INTERNAL_ERROR"}')
    assert values(daemon, 't', 'c') == {'rate': (1, 'topic')}
    assert settings_file(daemon) == before
    assert [n for n in os.listdir(daemon.data_path) if n.startswith(FILE)] == [FILE]
    must_put(daemon, ['t', 'c'], {'rate': 2})


def test_a_data_path_that_is_gone_is_no_bad_setting(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t')
    os.rename(daemon.data_path, daemon.data_path + '.away')
    response = put(daemon, ['t'], {'rate': 2})
    os.rename(daemon.data_path + '.away', daemon.data_path)
    assert response.status == 500
    assert values(daemon, 't') == {}
    daemon.wait_log(r'ERROR: TOPIC\(t\): settings cannot be kept - open .*: no such file')


def test_a_thousand_topics(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=1')
    connection = daemon.http_connection()

    def request(method, where, body=b''):
        connection.request(method, where, body)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return response.read()
    for i in range(1000):
        request('POST', '/topic/create?topic=t%d' % i)
        request('PUT', config_path('t%d' % i), json.dumps({'rate': i}))
    connection.close()
    assert len(json.loads(settings_file(daemon))['topics']) == 1000
    daemon.stop()
    daemon.start()
    for i in (0, 1, 499, 999):
        assert values(daemon, 't%d' % i) == {'rate': (i, 'topic')}


def test_changes_beside_all_else(new_nsqd):
    """Two that are set together are seen together, while others delete and publish."""
    daemon = new_nsqd()
    over, wrong = threading.Event(), []

    def until_over(step):
        def run():
            try:
                while not over.is_set():
                    step()
            except Exception as error:      # pylint: disable=broad-except
                wrong.append(repr(error))
        return threading.Thread(target=run)

    def watch():
        response = daemon.get(config_path('t', 'c'))
        assert response.status in (200, 404, 503), response
        if response.status == 200:
            shown = json.loads(response.body)
            if shown['rate']['value'] != shown['max_depth']['value']:
                wrong.append(response.body)

    threads = [until_over(step) for step in (
        watch,
        lambda: daemon.post('/pub?topic=t', b'x'),
        lambda: daemon.post('/channel/create?topic=t&channel=c'),
        lambda: daemon.post('/channel/delete?topic=t&channel=c'),
        lambda: daemon.post('/topic/delete?topic=t'))]
    for t in threads:
        t.start()
    try:
        for i in range(200):
            names = ['t', 'c'] if i % 2 else ['t']
            response = put(daemon, names, {'rate': i, 'max_depth': i})
            assert response.status in (200, 404, 503), response
    finally:
        over.set()
        for t in threads:
            t.join()
    assert not wrong, wrong[:3]
    daemon.create('t', 'c')
    assert daemon.post('/topic/delete?topic=t').status == 200
    assert json.loads(settings_file(daemon) or '{"topics":[]}')['topics'] == []


# -- policies

POLICIES = '''
[[policy]]
match = "orders.*"
max_depth = 100
message_ttl = "24h"

[[policy]]
match = "orders.*/mail"
max_attempts = 5
max_depth = 50
'''


@pytest.fixture
def configured(new_nsqd, tmp_path):
    def make(text='', *flags):
        return Configured(new_nsqd, tmp_path / 'nsqd.cfg', text, flags)
    return make


def test_policies_in_the_order_of_the_file(configured):
    daemon = configured(POLICIES).daemon
    daemon.create('orders.eu', 'mail', 'sms')
    daemon.create('orders', 'mail')
    topic = {'max_depth': (100, 'policy'), 'message_ttl': ('24h0m0s', 'policy')}
    assert values(daemon, 'orders.eu') == topic
    assert values(daemon, 'orders.eu', 'sms') == topic
    assert values(daemon, 'orders.eu', 'mail') == dict(
        topic, max_depth=(50, 'policy'), max_attempts=(5, 'policy'))
    assert values(daemon, 'orders', 'mail') == {}
    assert get(daemon, 'orders.eu', 'mail')['max_depth']['match'] == 'orders.*/mail'
    must_put(daemon, ['orders.eu'], {'max_depth': 7})
    assert values(daemon, 'orders.eu', 'mail')['max_depth'] == (7, 'topic')
    assert 'unknown' not in daemon.log() and 'policy' not in daemon.log()


def test_a_reload_takes_policies_and_flags(configured):
    c = configured(POLICIES)
    daemon = c.daemon
    daemon.create('orders.eu', 'mail')
    must_put(daemon, ['orders.eu', 'mail'], {'rate': 3})
    lines = c.reload('msg_timeout = "5s"\n[[policy]]\nmatch = "*"\nmax_depth = 9\n')
    assert 'INFO: NSQ: there are 1 policies now' in lines
    assert values(daemon, 'orders.eu') == {'max_depth': (9, 'policy')}
    assert values(daemon, 'orders.eu', 'mail') == {
        'max_depth': (9, 'policy'), 'rate': (3, 'channel')}
    assert get(daemon, 'orders.eu')['msg_timeout'] == {'value': '5s', 'from': 'default'}
    assert reload(daemon) == []
    c.reload('')
    assert values(daemon, 'orders.eu') == {}


BROKEN = [
    ('[[policy]]\nrate = 1\n', 'line 1: a policy without match'),
    ('[[policy]]\nmatch = "a/b/c"\n', 'line 2: match: a pattern for topics is wanted'),
    ('\n[[policy]]\nmatch = "a"\nrat = 1\n', 'line 4: there is no setting rat'),
    ('[[policy]]\nmatch = "a"\nrate = "1"\n', 'line 3: rate: an integer from 0 to 1000000000'),
    ('[[policy]]\nmatch = "a/b"\nno_channel = "drop"\n',
     'line 1: policy a/b: no_channel: not of a channel'),
    ('[[policy]]\nmatch = "a"\nmsg_timeout = "1h"\n',
     'line 1: policy a: msg_timeout: 1h0m0s is more than max_msg_timeout, 15m0s'),
    ('[[policy]]\nmatch = "a"\nmatch = "b"\n', 'line 3'),
]


@pytest.mark.parametrize('text, why', BROKEN, ids=range(len(BROKEN)))
def test_a_broken_policy(configured, new_nsqd, tmp_path, text, why):
    """A reload changes nothing; a start and --check-config say why."""
    c = configured(POLICIES)
    c.daemon.create('orders.eu')
    before = get(c.daemon, 'orders.eu')
    lines = c.reload('max_rdy_count = 5\n' + text)
    assert len(lines) == 1 and lines[0].startswith('failed to reload'), lines
    assert get(c.daemon, 'orders.eu') == before
    other = tmp_path / 'broken.cfg'
    other.write_text(text)
    daemon = new_nsqd('--config=%s' % other, start=False)
    daemon.spawn()
    assert daemon.process.wait(60) == 1
    assert why in daemon.log()
    done = subprocess.run([binary(), '--check-config', '--config=%s' % other,
                           '--data-path=%s' % tmp_path],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert why in done.stdout + done.stderr
