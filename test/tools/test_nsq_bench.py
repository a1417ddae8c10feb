"""nsq-bench, as an operator runs it: the recipes of its own help, against any nsqd."""

import os
import re
import shlex
import subprocess

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
