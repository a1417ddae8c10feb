"""A restart with 1,000,000 messages on disk: time and memory, beside stock's.

    NSQD=build/nsqd STOCK=build/stock/nsqd python3 test/durability/backlog.py

Printed, not asserted: see `make durability-backlog`.
"""

import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'functional'))

import durable  # noqa: E402 (needs the path)

FLAGS = ('--mem-queue-size=0', '--max-body-size=50000000')
BATCH = 10000


def measure(stock, count):
    directory = tempfile.mkdtemp()
    try:
        daemon = durable.Daemon(directory, FLAGS, stock=stock).start()
        daemon.create('t')
        with daemon.connect() as client:
            durable.mpub(client, 't', [b'%0200d' % i for i in range(BATCH)]
                         * (count // BATCH), BATCH)
        daemon.stop_slowly()
        start = time.monotonic()
        daemon.start()
        assert daemon.topic_stats('t')['depth'] == count
        seconds = time.monotonic() - start
        print('%-5s %9d messages on disk: start in %.3f s, RSS %d KiB' % (
            'stock' if stock else 'ours', count, seconds, daemon.rss_kib()))
        daemon.stop_slowly()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    for name in ('NSQD', 'STOCK'):
        os.environ[name] = os.path.abspath(os.environ[name])
    for count in (BATCH, 1000000):
        for stock in (True, False):
            measure(stock, count)


if __name__ == '__main__':
    main()
