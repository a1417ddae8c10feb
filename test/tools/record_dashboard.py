#!/usr/bin/env python3
"""Records what the dashboard shows: docs/monitoring/dashboard-data.json, for the picture of it.

Two daemons run under a load, one of them with durable topics, and a real Prometheus scrapes them. In
the middle consumers stop for a while, and others are too slow or requeue: so limits are reached, and
there are dead letters. Then each expression of the dashboard is asked for.

    NSQD=build/nsqd PROMETHEUS_DIR=build/prometheus record_dashboard.py [SECONDS]
"""

import json
import os
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, 'functional'))

from nsq import Nsqd, mpub_body, running  # noqa: E402 (needs the path)
from prometheus import MONITORING, Prometheus, panels  # noqa: E402

POINTS = 60
ROOT = os.path.join(MONITORING, 'dashboard-data.json')


class Load:
    """Producers and consumers until the end, with a bad patch in the middle third."""

    def __init__(self, seconds):
        self.began, self.seconds = time.monotonic(), seconds
        self.threads = []

    def part(self):
        """How much of the time is over; 1 and more: all."""
        return (time.monotonic() - self.began) / self.seconds

    def is_bad(self):
        return 1 / 3 < self.part() < 0.55

    def run(self, function, *words):
        self.threads.append(threading.Thread(target=function, args=words))
        self.threads[-1].start()

    def produce(self, daemon, topic, per_second, size):
        with daemon.connect() as client:
            while self.part() < 1:
                # A limit may refuse them: that does not end the connection.
                client.command('MPUB', topic, body=mpub_body([b'x' * size] * (per_second // 10)))
                client.answer()
                time.sleep(0.1)

    def consume(self, daemon, topic, channel, stops=False, fails=False):
        while self.part() < 1:
            if stops and self.is_bad():
                time.sleep(0.2)
                continue
            with daemon.subscribe(topic, channel, rdy=20) as client:
                n = 0
                while self.part() < 1 and not (stops and self.is_bad()):
                    try:
                        message = client.message(0.5)
                    except TimeoutError:
                        continue
                    n += 1
                    if fails and self.is_bad() and n % 4 == 0:
                        if n % 8 == 0:
                            client.req(message, 2000)
                        continue        # the others time out
                    client.fin(message)


def record(server, daemons, start, end):
    """[{title, unit, series: [{legend, values}]}] between the two times."""
    # The ports of this run are nobody's business.
    names = {'127.0.0.1:%d' % d.http_port: letter for d, letter in zip(daemons, 'ab')}
    step = (end - start) / POINTS
    found = []
    for title, unit, targets in panels('%ds' % max(5, 4 * step)):
        series = []
        for expression, legend in targets:
            for result in server.get('query_range', query=expression, start=start, end=end,
                                     step=step)['result']:
                name = legend
                for label, value in result['metric'].items():
                    name = name.replace('{{%s}}' % label, names.get(value, value))
                values = [[round((t - start) / (end - start), 4),
                           float('%.3g' % float(v)) if v != 'NaN' else None]
                          for t, v in result['values']]
                series.append({'legend': name, 'values': values})
        found.append({'title': title, 'unit': unit, 'series': series})
    return found


def configure(daemon, path, **settings):
    answer = daemon.http('PUT', path, json.dumps(settings).encode())
    assert answer.status == 200, answer


def load_and_record(daemons, directory, seconds):
    daemon, durable = daemons
    daemon.create('orders', 'mail', 'archive')
    daemon.create('clicks', 'count')
    daemon.create('events', 'index')
    durable.create('payments', 'ledger', 'audit')
    configure(daemon, '/channel/config?topic=orders&channel=mail',
              max_depth=4000, overflow='drop-head')
    configure(daemon, '/channel/config?topic=clicks&channel=count',
              max_attempts=2, dead_letter_topic='clicks.dead')
    configure(daemon, '/topic/config?topic=events', max_depth=1000)
    server = Prometheus(directory, daemons)
    try:
        load = Load(seconds)
        start = time.time()
        load.run(load.produce, daemon, 'orders', 300, 400)
        load.run(load.produce, daemon, 'clicks', 150, 100)
        load.run(load.produce, daemon, 'events', 100, 100)
        load.run(load.produce, durable, 'payments', 200, 300)
        load.run(load.consume, daemon, 'orders', 'mail', True)
        load.run(load.consume, daemon, 'orders', 'archive')
        load.run(load.consume, daemon, 'clicks', 'count', False, True)
        load.run(load.consume, daemon, 'events', 'index', True)
        load.run(load.consume, durable, 'payments', 'ledger')
        load.run(load.consume, durable, 'payments', 'audit', True)
        for thread in load.threads:
            thread.join()
        return record(server, daemons, start + 5, time.time())
    finally:
        server.close()


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    flags = ['--mem-queue-size=1000', '--msg-timeout=3s', '--sync-timeout=1s']
    with tempfile.TemporaryDirectory() as directory:
        places = [os.path.join(directory, name) for name in ('a', 'b', 'prometheus')]
        for place in places:
            os.mkdir(place)
        with running(Nsqd(places[0], flags), Nsqd(places[1], [*flags, '--durability=disk'])
                     ) as daemons:
            data = load_and_record(daemons, places[2], seconds)
    with open(ROOT, 'w', encoding='utf-8') as f:
        f.write('[\n' + ',\n'.join(json.dumps(panel) for panel in data) + '\n]\n')


if __name__ == '__main__':
    main()
