#!/usr/bin/env python3
"""Records what the dashboard shows: docs/monitoring/dashboard-data.json, for the picture of it.

A daemon runs under a load, and a real Prometheus scrapes it. In the middle consumers stop for a
while, and others are too slow or requeue. Then each expression of the dashboard is asked for.

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

from nsq import Nsqd, running  # noqa: E402 (needs the path)
from prometheus import MONITORING, Prometheus, panels  # noqa: E402

POINTS = 60
ROOT = os.path.join(MONITORING, 'dashboard-data.json')


class Load:
    """Producers and consumers until the end, with a bad patch in the middle third."""

    def __init__(self, daemon, seconds):
        self.daemon, self.began, self.seconds = daemon, time.monotonic(), seconds
        self.threads = []

    def part(self):
        """How much of the time is over; 1 and more: all."""
        return (time.monotonic() - self.began) / self.seconds

    def is_bad(self):
        return 1 / 3 < self.part() < 0.55

    def run(self, function, *words):
        self.threads.append(threading.Thread(target=function, args=words))
        self.threads[-1].start()

    def produce(self, topic, per_second, size):
        with self.daemon.connect() as client:
            while self.part() < 1:
                client.pub(topic, *[b'x' * size] * (per_second // 10))
                time.sleep(0.1)

    def consume(self, topic, channel, stops=False, fails=False):
        while self.part() < 1:
            if stops and self.is_bad():
                time.sleep(0.2)
                continue
            with self.daemon.subscribe(topic, channel, rdy=20) as client:
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


def record(server, start, end):
    """[{title, unit, series: [{legend, values}]}] between the two times."""
    step = (end - start) / POINTS
    found = []
    for title, unit, targets in panels('%ds' % max(5, 4 * step)):
        series = []
        for expression, legend in targets:
            for result in server.get('query_range', query=expression, start=start, end=end,
                                     step=step)['result']:
                name = legend
                for label, value in result['metric'].items():
                    # The port of this run is nobody's business.
                    name = name.replace('{{%s}}' % label, 'a' if label == 'instance' else value)
                values = [[round((t - start) / (end - start), 4),
                           float('%.3g' % float(v)) if v != 'NaN' else None]
                          for t, v in result['values']]
                series.append({'legend': name, 'values': values})
        found.append({'title': title, 'unit': unit, 'series': series})
    return found


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    with tempfile.TemporaryDirectory() as directory, running(Nsqd(
            directory, ['--mem-queue-size=1000', '--msg-timeout=3s', '--sync-timeout=1s'])
            ) as (daemon,):
        daemon.create('orders', 'mail', 'archive')
        daemon.create('clicks', 'count')
        os.makedirs(os.path.join(directory, 'prometheus'))
        server = Prometheus(os.path.join(directory, 'prometheus'), [daemon])
        try:
            load = Load(daemon, seconds)
            start = time.time()
            load.run(load.produce, 'orders', 300, 400)
            load.run(load.produce, 'clicks', 150, 100)
            load.run(load.consume, 'orders', 'mail', True)
            load.run(load.consume, 'orders', 'archive')
            load.run(load.consume, 'clicks', 'count', False, True)
            for thread in load.threads:
                thread.join()
            data = record(server, start + 5, time.time())
        finally:
            server.close()
    with open(ROOT, 'w', encoding='utf-8') as f:
        f.write('[\n' + ',\n'.join(json.dumps(panel) for panel in data) + '\n]\n')


if __name__ == '__main__':
    main()
