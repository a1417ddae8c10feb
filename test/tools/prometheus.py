"""Debian's Prometheus, and promtool, as the tests run them."""

import json
import os
import re
import subprocess
import urllib.parse
import urllib.request

from nsq import DEADLINE, not_tested, wait_until
from tools import Tool

MONITORING = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir,
                          'docs', 'monitoring')


def program(name):
    path = os.path.join(os.environ.get('PROMETHEUS_DIR', 'build/prometheus'), name)
    if not os.access(path, os.X_OK):
        not_tested("no %s: Debian's package prometheus has it" % name)
    return os.path.abspath(path)


def promtool(*words, stdin=None):
    """(exit code, what it said)."""
    done = subprocess.run([program('promtool'), *words], input=stdin, capture_output=True,
                          timeout=10 * DEADLINE, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


class Prometheus(Tool):
    """A server that scrapes these nsqds; its data lie in a directory of its own."""

    LISTENING = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')

    def __init__(self, directory, daemons, interval='1s', rules=()):
        config = os.path.join(directory, 'prometheus.yml')
        with open(config, 'w', encoding='utf-8') as f:
            json.dump({
                'global': {'scrape_interval': interval, 'scrape_timeout': interval,
                           'evaluation_interval': interval},
                'rule_files': [os.path.abspath(rule) for rule in rules],
                'scrape_configs': [{'job_name': 'nsqd', 'static_configs': [
                    {'targets': ['127.0.0.1:%d' % d.http_port for d in daemons]}]}]}, f)
        super().__init__(
            directory, 'prometheus', '--config.file=' + config,
            '--storage.tsdb.path=' + os.path.join(directory, 'tsdb'),
            '--web.listen-address=127.0.0.1:0', program=[program('prometheus')])
        # Until then it answers 503.
        wait_until(lambda: 'msg="Server is ready' in self.err,
                   lambda: 'prometheus is ready: ' + self.err)
        found = self.LISTENING.search(self.err)
        self.url = 'http://127.0.0.1:%s' % found[1]

    def get(self, path, **query):
        """The data of an answer of its API."""
        url = '%s/api/v1/%s?%s' % (self.url, path, urllib.parse.urlencode(query))
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            answer = json.load(answer)
        assert answer['status'] == 'success', answer
        return answer['data']

    def query(self, expression):
        """[(labels, value)] of now."""
        return [(r['metric'], float(r['value'][1]))
                for r in self.get('query', query=expression)['result']]

    def wait_query(self, expression):
        """The same, when there is something."""
        return wait_until(lambda: self.query(expression),
                          lambda: 'prometheus has %s: %s' % (expression, self.err[-2000:]))

    def target(self):
        """The only one, once it has been scraped."""
        def scraped():
            found = self.get('targets')['activeTargets']
            return found[0] if found and found[0]['health'] != 'unknown' else None
        return wait_until(scraped, 'the target has been scraped')


def dashboard():
    with open(os.path.join(MONITORING, 'dashboard.json'), encoding='utf-8') as f:
        return json.load(f)


def panels(interval='5m'):
    """[(title, unit, [(expression, legend)])] of the dashboard, for all that there is."""
    def whole(expression):
        return re.sub(r'"\$\w+"', '".*"', expression.replace('$__rate_interval', interval))
    return [(panel['title'], panel['fieldConfig']['defaults']['unit'],
             [(whole(t['expr']), t['legendFormat']) for t in panel['targets']])
            for panel in dashboard()['panels']]
