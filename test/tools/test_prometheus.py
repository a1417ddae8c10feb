"""Debian's Prometheus scrapes the daemon; promtool reads its page, our rules and dashboard."""

import os
import re

import pytest

from metrics import scrape
from prometheus import MONITORING, Prometheus, dashboard, panels, promtool
from nsq import wait_until

pytestmark = pytest.mark.ours(reason='it has no /metrics')

FLAGS = ['--e2e-processing-latency-percentile=0.99,0.95', '--mem-queue-size=5',
         '--sync-every=1', '--msg-timeout=1s']

# The names that others have given are not as promtool likes them. What it says about others is a
# mistake of ours.
OTHERS = re.compile(r'nsq_(?!topic_channel_dropped|topic_channel_\w+_seconds)\w+ '
                    r'(counter metrics should have "_total" suffix'
                    r'|non-histogram and non-summary metrics should not have "_count" suffix)')


@pytest.fixture
def used(nsqd):
    """A daemon in which each metric has something to say, and its topic."""
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    with nsqd.subscribe(topic, 'ch', rdy=1) as client:
        nsqd.pub(topic, *[b'x' * 1000] * 40)
        client.req(client.message(), 0)
        for _ in range(10):
            client.fin(client.message())
        client.message()        # this one times out
        nsqd.wait_channel(topic, 'ch', timeout_count=1)
        yield nsqd, topic


@pytest.mark.parametrize('query', ['', '?include_clients=true'])
def test_promtool_has_nothing_to_say_but_about_names_that_others_gave(used, query):
    daemon, _ = used
    code, said = promtool('check', 'metrics', stdin=daemon.get('/metrics' + query).body)
    assert code in (0, 3), said
    assert [line for line in said.splitlines() if not OTHERS.fullmatch(line)] == []


def test_promtool_does_see_mistakes():
    code, said = promtool('check', 'metrics', stdin=b'# HELP a_b x\n# TYPE a_b counter\na_b 1\n')
    assert code == 3 and '_total' in said
    code, said = promtool('check', 'metrics', stdin=b'a{b="c\\x"} 1\n')
    assert code == 1, said


def test_prometheus_has_the_numbers(used, tmp_path):
    daemon, topic = used
    server = Prometheus(str(tmp_path), [daemon])
    try:
        server.wait_query('nsq_topic_message_count{topic="%s"} == 40' % topic)
        # Each name of the page has arrived.
        page = scrape(daemon, openmetrics=True)
        known = {labels['__name__'] for labels in server.get(
            'series', **{'match[]': '{job="nsqd"}'})}
        for family in page.families.values():
            for name, _ in family.samples:
                assert name in known, name
        value = server.wait_query('nsq_topic_channel_timeout_count{topic="%s",channel="ch"} >= 1'
                                  % topic)
        assert value[0][0]['job'] == 'nsqd'
        assert server.wait_query(
            'nsq_topic_channel_publish_to_deliver_seconds_count{topic="%s"} >= 11' % topic)
        # It reads OpenMetrics, where ours are counters, and those of the mixin keep their names.
        metadata = server.get('targets/metadata', metric='nsqd_network_sent_bytes')
        assert [m['type'] for m in metadata] == ['counter'], metadata
    finally:
        server.close()


def test_each_panel_of_the_dashboard_shows_something(used, new_nsqd, tmp_path):
    daemon, topic = used
    durable = new_nsqd('--durability=process')
    durable.create('logged', 'ch')
    durable.pub('logged', b'kept')
    durable.create('full#ephemeral')
    answer = durable.http('PUT', '/topic/config?topic=full%23ephemeral', b'{"max_depth":1}')
    assert answer.status == 200, answer
    assert [durable.post('/pub?topic=full%23ephemeral', b'x').status for _ in range(2)] == [200, 503]
    server = Prometheus(str(tmp_path), [daemon, durable])
    try:
        for title, _, targets in panels():
            for expression, _ in targets:
                assert server.wait_query(expression), (title, expression)
        for variable in dashboard()['templating']['list'][1:]:
            label = re.fullmatch(r'label_values\((.*), (\w+)\)', variable['query']['query'])
            expression = re.sub(r'"\$\w+"', '".*"', label[1])
            assert any(label[2] in labels for labels, _ in server.wait_query(expression))
        assert topic in {labels.get('topic') for labels, _ in server.query('nsq_topic_depth')}
    finally:
        server.close()


def test_rules_load_and_an_alert_fires(new_nsqd, tmp_path):
    daemon = new_nsqd()
    with open(os.path.join(daemon.data_path, 't.diskqueue.000001.dat.bad'), 'wb'):
        pass
    server = Prometheus(str(tmp_path), [daemon], rules=[os.path.join(MONITORING, 'alerts.yml')])
    try:
        def firing():
            return [a['labels']['alertname'] for a in server.get('alerts')['alerts']
                    if a['state'] == 'firing']
        wait_until(firing, lambda: 'an alert fires: %s' % server.err[-2000:])
        assert firing() == ['NsqdBadFiles']
        for group in server.get('rules')['groups']:
            for rule in group['rules']:
                assert rule['health'] in ('ok', 'unknown'), rule
    finally:
        server.close()


def test_promtool_takes_the_rules_and_their_tests():
    for words in (['check', 'rules', 'alerts.yml'], ['test', 'rules', 'alerts-test.yml'],
                  ['check', 'config', 'prometheus.yml']):
        code, said = promtool(*words[:2], os.path.join(MONITORING, words[2]))
        assert code == 0, said


def test_each_alert_has_a_test():
    def read(name):
        with open(os.path.join(MONITORING, name), encoding='utf-8') as f:
            return f.read()
    alerts = re.findall(r'- alert: (\w+)', read('alerts.yml'))
    tests = re.findall(r'alertname: (\w+)\n +exp_alerts:( \[\])?', read('alerts-test.yml'))
    assert sorted(tests) == sorted([(a, '') for a in alerts] + [(a, ' []') for a in alerts])
