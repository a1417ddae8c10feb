"""Stock's command line tools read from the daemon, and write to it."""

import glob
import gzip
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import pytest

from nsq import dead_address, wait_until
from servers import HttpServer
from tools import give_up, http, tcp

FLAGS = ['--broadcast-address=127.0.0.1']


def bodies(name, count):
    return ['%s %04d' % (name, i) for i in range(count)]


def done(daemon, topic, channel, count):
    """Wait until the channel has finished so many messages."""
    daemon.wait_channel(topic, channel, depth=0, in_flight_count=0,
                        deferred_count=0, message_count=count)


def test_nsq_tail(nsqd, tool):
    topic = nsqd.topic()
    nsqd.create(topic)
    tail = tool('nsq_tail', '--topic=' + topic, '--channel=tail#ephemeral',
                '--print-topic', '--nsqd-tcp-address=' + tcp(nsqd))
    nsqd.wait_channel(topic, 'tail#ephemeral', client_count=1)
    nsqd.pub(topic, *bodies('line', 300))
    tail.wait_lines(['%s | %s' % (topic, b) for b in bodies('line', 300)])
    assert tail.stop() == 0
    # Its channel goes with it.
    wait_until(lambda: nsqd.channel_stats(topic, 'tail#ephemeral') is None,
               lambda: 'the ephemeral channel is gone')


def test_nsq_tail_ends_by_itself(nsqd, tool):
    topic = nsqd.topic()
    nsqd.create(topic, 'tail')
    nsqd.pub(topic, *bodies('line', 10))
    tail = tool('nsq_tail', '-n=4', '--topic=' + topic, '--channel=tail',
                '--nsqd-tcp-address=' + tcp(nsqd))
    assert tail.wait_exit() == 0
    assert len(tail.lines()) >= 4


def written(directory, topic):
    """Every line that nsq_to_file wrote for a topic."""
    lines = []
    for path in glob.glob(os.path.join(directory, '**', topic + '.*'),
                          recursive=True):
        read = gzip.open if path.endswith('.gz') else open
        with read(path, 'rt', encoding='utf-8') as f:
            lines += f.read().splitlines()
    return sorted(lines)


def test_nsq_to_file_writes_what_was_published(nsqd, tool, tmp_path):
    topics = [nsqd.topic() for _ in range(3)]
    for topic in topics:
        nsqd.create(topic, 'file')
        nsqd.pub(topic, *bodies(topic, 200))
    writer = tool('nsq_to_file', '--channel=file', '--sync-interval=50ms',
                  '--output-dir=%s' % tmp_path, '--max-in-flight=50',
                  '--nsqd-tcp-address=' + tcp(nsqd),
                  *('--topic=' + topic for topic in topics))
    for topic in topics:
        done(nsqd, topic, 'file', 200)
    # It is away for a while, and then goes on where it was.
    assert writer.stop() == 0
    for topic in topics:
        nsqd.wait_channel(topic, 'file', client_count=0)
        nsqd.pub(topic, *bodies('more', 100))
        nsqd.wait_channel(topic, 'file', depth=100)
    writer.start()
    for topic in topics:
        done(nsqd, topic, 'file', 300)
    assert writer.stop() == 0
    for topic in topics:
        assert written(tmp_path, topic) == sorted(
            bodies(topic, 200) + bodies('more', 100))


@pytest.mark.ours(reason='it has no dead letters')
def test_they_read_dead_letters(nsqd, tool, tmp_path):
    topic = nsqd.topic()
    lines = bodies('line', 20)
    dead = topic + '.dead'
    nsqd.create(dead, 'tail', 'file')
    give_up(nsqd, topic, *lines)
    tail = tool('nsq_tail', '--topic=' + dead, '--channel=tail',
                '--nsqd-tcp-address=' + tcp(nsqd))
    writer = tool('nsq_to_file', '--channel=file', '--topic=' + dead,
                  '--sync-interval=50ms', '--output-dir=%s' % tmp_path,
                  '--nsqd-tcp-address=' + tcp(nsqd))
    tail.wait_lines(lines)
    done(nsqd, dead, 'file', 20)
    assert writer.stop() == 0
    assert written(tmp_path, dead) == sorted(lines)


def test_nsq_to_file_survives_a_restart_of_the_daemon(
        new_nsqd, tool, tmp_path):
    # Ports that nobody else is given while the daemon is away.
    daemon = new_nsqd('--tcp-address=' + dead_address(),
                      '--http-address=' + dead_address())
    daemon.create('t', 'file')
    daemon.pub('t', *bodies('before', 100))
    writer = tool('nsq_to_file', '--channel=file', '--topic=t', '--gzip',
                  '--sync-interval=50ms', '--output-dir=%s' % tmp_path,
                  '--nsqd-tcp-address=' + tcp(daemon),
                  '--consumer-opt=lookupd_poll_interval,100ms')
    done(daemon, 't', 'file', 100)
    daemon.restart()
    daemon.pub('t', *bodies('after', 100))
    done(daemon, 't', 'file', 100)
    assert writer.stop() == 0
    assert written(tmp_path, 't') == sorted(
        bodies('before', 100) + bodies('after', 100))


def test_to_nsq(nsqd, tool):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    source = subprocess.Popen(
        ['printf', '%s\\n'] + bodies('stdin', 100), stdout=subprocess.PIPE)
    feeder = tool('to_nsq', '--topic=' + topic,
                  '--nsqd-tcp-address=' + tcp(nsqd), stdin=source.stdout)
    source.stdout.close()
    assert feeder.wait_exit() == 0, feeder.err
    assert source.wait() == 0
    nsqd.wait_channel(topic, 'ch', depth=100)
    with nsqd.subscribe(topic, 'ch', rdy=100) as client:
        got = client.messages(100)
        for message in got:
            client.fin(message)
        done(nsqd, topic, 'ch', 100)
    assert sorted(m.body.decode() for m in got) == bodies('stdin', 100)


@pytest.mark.parametrize('direction', ['to_stock', 'from_stock'])
def test_nsq_to_nsq(nsqd, stock_nsqd, tool, direction):
    topic = nsqd.topic()
    stock = stock_nsqd()
    source, target = (nsqd, stock) if direction == 'to_stock' \
        else (stock, nsqd)
    source.create(topic, 'copy')
    target.create(topic + '-copy', 'ch')
    source.pub(topic, *bodies('copied', 300))
    tool('nsq_to_nsq', '--topic=' + topic, '--channel=copy',
         '--nsqd-tcp-address=' + tcp(source),
         '--destination-topic=%s-copy' % topic,
         '--destination-nsqd-tcp-address=' + tcp(target))
    done(source, topic, 'copy', 300)
    target.wait_channel(topic + '-copy', 'ch', depth=300)
    with target.subscribe(topic + '-copy', 'ch', rdy=300) as client:
        got = sorted(m.body.decode() for m in client.messages(300))
    assert got == bodies('copied', 300)


@pytest.mark.parametrize('how', ['post', 'get'])
def test_nsq_to_http(nsqd, tool, how):
    received, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body):
            # Every tenth is refused once, and must come again.
            with lock:
                refuse = body.endswith('0') and body not in refused
                (refused if refuse else received).append(body)
            self.send_response(503 if refuse else 200)
            self.send_header('Content-Length', '0')
            self.end_headers()

        def do_POST(self):
            self.answer(self.rfile.read(
                int(self.headers['Content-Length'])).decode())

        def do_GET(self):
            self.answer(unquote(self.path.partition('=')[2]))

        def log_message(self, *_):
            pass

    refused = []
    topic = nsqd.topic()
    nsqd.create(topic, 'web')
    count = 30
    sent = ['web-%04d' % i for i in range(count)]
    nsqd.pub(topic, *sent)
    server = HttpServer(Handler).start()
    try:
        url = 'http://%s/x' % server.address
        tool('nsq_to_http', '--topic=' + topic, '--channel=web',
             '--nsqd-tcp-address=' + tcp(nsqd),
             '--consumer-opt=max_backoff_duration,50ms',
             '--consumer-opt=default_requeue_delay,10ms',
             '--' + how + '=' + (url if how == 'post' else url + '?b=%s'))
        wait_until(lambda: sorted(received) == sent,
                   lambda: 'all are there: %r' % received)
        stats = nsqd.wait_channel(topic, 'web', depth=0, in_flight_count=0,
                                  deferred_count=0)
        assert sorted(received) == sent
        assert sorted(refused) == sent[::10]
        # Each refusal came back, and at most a failed connection beside them.
        assert stats['requeue_count'] >= len(refused)
    finally:
        server.stop()


def test_nsq_stat(nsqd, tool):
    topic = nsqd.topic()
    nsqd.create(topic, 'ch')
    nsqd.pub(topic, *bodies('counted', 42))
    with nsqd.subscribe(topic, 'ch', rdy=2) as client:
        client.messages(2)
        # All of it has gone from the topic to the channel.
        nsqd.wait_channel(topic, 'ch', depth=40, message_count=42)
        nsqd.wait_topic(topic, depth=0)
        stat = tool('nsq_stat', '--topic=' + topic, '--channel=ch',
                    '--nsqd-http-address=' + http(nsqd), '--interval=100ms',
                    '--count=2')
        assert stat.wait_exit() == 0, stat.err
    rows = [line.replace('|', ' ').split() for line in stat.lines()]
    numbers = [row for row in rows if row and all(
        word.lstrip('-').isdigit() for word in row)]
    # Two rates; depth, memory, disk, in flight, deferred; requeued, timed out,
    # messages, clients.
    assert numbers and numbers[0] == [
        '0', '0', '40', '40', '0', '2', '0', '0', '0', '42', '1'], stat.out
