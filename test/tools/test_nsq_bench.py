"""nsq-bench, as an operator runs it: the recipes of its own help, against any nsqd."""

import os
import re
import shlex
import socket
import subprocess
import threading

import pytest

from nsq import dead_address

BENCH = os.path.abspath(os.environ.get('NSQ_BENCH', 'build/test/bench/nsq_bench'))


def bench(*arguments):
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True,
                          check=False, timeout=120)


def recipes():
    """The command lines in the help, as lists, in their order."""
    lines = re.findall(r'^ +nsq-bench (.*)$', bench('--help').stdout, re.M)
    return [shlex.split(line) for line in lines]


def smaller(arguments):
    """The same on a smaller scale."""
    for old, new in (('--seconds=10', '--seconds=0.2'), ('1000000', '5000')):
        arguments = [a.replace(old, new) for a in arguments]
    return arguments


def values(answer):
    assert answer.returncode == 0, answer
    return dict(pair.split('=') for pair in answer.stdout.split())


def run_recipes(daemon):
    said = []
    for arguments in recipes():
        mode, *flags = smaller(arguments)
        port, http = daemon.tcp_port, daemon.http_port
        said.append(values(bench(mode, '--port=%d' % port, '--http-port=%d' % http, *flags)))
    return said


def test_recipes_of_the_help(nsqd):
    said = run_recipes(nsqd)
    assert [v['mode'] for v in said] == ['mpubsub', 'latency', 'mpub', 'sub']
    assert int(said[0]['msgs']) > 0
    assert float(said[1]['due_p50_us']) > 0
    assert [v['msgs'] for v in said[2:]] == ['5000', '5000']


def test_recipes_against_stock(stock_nsqd):
    said = run_recipes(stock_nsqd())
    assert [v['msgs'] for v in said[2:]] == ['5000', '5000']


def test_the_host_may_be_a_name(nsqd):
    said = values(bench('pub', '--host=localhost', '--port=%d' % nsqd.tcp_port, '--total=10',
                        '--topic=' + nsqd.topic()))
    assert said['msgs'] == '10'


@pytest.mark.parametrize('arguments, reason', [
    (['pub', '--total=1', '--host=no.such.host.invalid'], '--host no.such.host.invalid: '),
    (['pub', '--total=none'], 'must be a number'),
    (['pub'], 'one of --total and --seconds is needed'),
    (['exit', '--total=1'], 'needs --pid'),
])
def test_mistakes_are_told(arguments, reason):
    answer = bench(*arguments)
    assert answer.returncode == 1
    assert reason in answer.stderr


def test_an_unknown_mode_shows_the_usage():
    answer = bench('faster')
    assert answer.returncode == 2
    assert answer.stdout.startswith('usage: nsq-bench MODE')


def test_a_server_that_is_not_there_is_told():
    port = dead_address().rpartition(':')[2]
    answer = bench('pub', '--total=1', '--port=' + port)
    assert answer.returncode == 1
    assert 'Connection refused' in answer.stderr


# -- other servers: as much of each as the generator knows


def redis(stream, words, store):
    if words == [b'PING']:
        return b'+PONG\r\n'
    values = []
    for _ in range(int(words[0][1:])):
        size = int(stream.readline()[1:])
        values.append(stream.read(size + 2)[:-2])
    assert values[:4] == [b'XADD', b'bench', b'*', b'm']
    return b'$3\r\n1-0\r\n' if store(values[4]) else b'-OOM no memory\r\n'


def beanstalkd(stream, words, store):
    if words[0] == b'use':
        return b'USING %s\r\n' % words[1]
    assert words[0] == b'put'
    body = stream.read(int(words[4]) + 2)[:-2]
    return b'INSERTED 1\r\n' if store(body) else b'OUT_OF_MEMORY\r\n'


def nats(stream, words, store):
    if words[0] in (b'CONNECT', b'SUB'):
        return b''
    if words == [b'PING']:
        return b'PONG\r\n'
    assert words[:2] == [b'PUB', b'bench']
    good = store(stream.read(int(words[3]) + 2)[:-2])
    answer = b'{"stream":"bench", "seq":1}' if good else b'{"error":{"code":503}}'
    return b'MSG %s 1 %d\r\n%s\r\n' % (words[2], len(answer), answer)


class OtherServer:
    """Answers one connection, and keeps the bodies. It refuses those behind the first `most`."""

    def __init__(self, answer, most):
        self.answer, self.most, self.bodies = answer, most, []
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.listener.settimeout(60)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def store(self, body):
        self.bodies.append(body)
        return len(self.bodies) <= self.most

    def serve(self):
        connection, _ = self.listener.accept()
        with connection, connection.makefile('rb') as stream:
            try:
                if self.answer is nats:
                    connection.sendall(b'INFO {}\r\n')
                while line := stream.readline():
                    connection.sendall(self.answer(stream, line.split(), self.store))
            except OSError:
                pass  # the generator has ended the run

    def close(self):
        self.thread.join()
        self.listener.close()


@pytest.mark.parametrize('answer', [redis, beanstalkd, nats])
def test_other_servers(answer):
    server = OtherServer(answer, most=300)
    said = values(bench(answer.__name__, '--port=%d' % server.port, '--conns=1', '--total=300',
                        '--outstanding=7', '--ok-times'))
    server.close()
    assert said['msgs'] == '300'
    assert float(said['ok_p99_us']) > 0
    assert sorted(int.from_bytes(body[:8], 'little') for body in server.bodies) == list(range(300))
    assert {len(body) for body in server.bodies} == {200}


@pytest.mark.parametrize('answer, reason', [
    (redis, '-OOM no memory'), (beanstalkd, 'OUT_OF_MEMORY'), (nats, '{"error":{"code":503}}')])
def test_other_servers_that_refuse(answer, reason):
    server = OtherServer(answer, most=20)
    refused = bench(answer.__name__, '--port=%d' % server.port, '--conns=1', '--total=300',
                    '--outstanding=7')
    server.close()
    assert refused.returncode == 1
    assert 'the server says: ' + reason in refused.stderr
