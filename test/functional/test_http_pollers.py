"""HTTP connections are the pollers': a thread is for what may block. So silent and slow
connections cost none, however many they are, and nobody waits for them."""

import contextlib
import itertools
import os
import re
import threading

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from limits import FewThreads
from nsq import SCALE, running, wait_until
from test_http_limits import DRIPS, PING, connect, dripping, send
from test_tls import context, flags

pytestmark = pytest.mark.ours(reason='how many threads it needs is the business of Go')

OK_PING = b'HTTP/1.1 200 OK\r\n'
COUNT = 1000 if SCALE == 1 else 300


def ask(s, raw=PING):
    """The answer to a short request on a connection that is kept."""
    s.sendall(raw)
    answer = s.recv(4096)
    while answer and not answer.endswith(b'OK'):
        answer += s.recv(4096)
    return answer


def no_thread_is_left(daemon):
    wait_until(lambda: daemon.count_threads('http:', 'https:') == 0, daemon.thread_names)


def test_a_thousand_connections_cost_no_thread(nsqd):
    nsqd.create('t')
    no_thread_is_left(nsqd)
    before = nsqd.threads()
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(connect(nsqd)) for _ in range(COUNT)]
        for i, s in enumerate(kept):
            if i % 2:
                assert ask(s).startswith(OK_PING)
        assert nsqd.count_threads('http:') == 0
        body = b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'
        for s in kept:
            assert ask(s, body).startswith(OK_PING)
        assert nsqd.count_threads('http:') == 0
        assert nsqd.threads() <= before
    assert nsqd.topic_stats('t')['message_count'] == COUNT


def test_a_thread_is_given_back(nsqd):
    """Between two requests that need one."""
    with connect(nsqd) as s:
        for i in range(2):
            s.sendall(b'POST /topic/create?topic=t%d HTTP/1.1\r\nHost: x\r\n\r\n' % i)
            assert s.recv(4096).startswith(OK_PING)
            no_thread_is_left(nsqd)
            assert ask(s).startswith(OK_PING)
            assert nsqd.count_threads('http:') == 0


def test_a_thread_is_given_back_also_by_one_that_is_never_silent(nsqd):
    with connect(nsqd) as s:
        s.sendall(b'POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\n\r\n')
        assert s.recv(4096).startswith(OK_PING)

        def thread_is_gone():
            for _ in range(20):
                assert ask(s).startswith(OK_PING)
            return nsqd.count_threads('http:') == 0
        wait_until(thread_is_gone, nsqd.thread_names)


def test_https_needs_a_thread_for_the_handshake_only(new_nsqd, server_cert):
    daemon = new_nsqd(*flags(server_cert))
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(context().wrap_socket(connect(daemon, tls=True)))
                for _ in range(50)]
        no_thread_is_left(daemon)
        for s in kept:
            assert ask(s).startswith(OK_PING)
        assert daemon.count_threads('https:') == 0


SLOW = [name for name in DRIPS if name != 'unread']


@pytest.mark.parametrize('name', SLOW)
def test_a_drip_costs_no_thread_and_delays_nobody(nsqd, name):
    first, drip = DRIPS[name]
    nsqd.create('t')
    connections = [connect(nsqd) for _ in range(COUNT // 5)]
    for s in connections:
        assert send(s, first)
    with dripping(connections, drip):
        no_thread_is_left(nsqd)
        for _ in range(20):
            assert nsqd.get('/ping').body == b'OK'
            assert nsqd.post('/pub?topic=t', b'x').body == b'OK'
        assert nsqd.count_threads('http:') == 0


def fill(s):
    """Ask until nothing goes in any more; nobody reads the answers."""
    s.settimeout(0.5)
    with contextlib.suppress(OSError):
        while True:
            s.sendall(PING * 1000)


def test_clients_that_do_not_read_delay_nobody(nsqd):
    with contextlib.ExitStack() as stack:
        unread = [stack.enter_context(connect(nsqd)) for _ in range(8)]
        threads = [threading.Thread(target=fill, args=(s,)) for s in unread]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Their answers are what threads wait for. (Perhaps it has only now begun to read.)
        wait_until(lambda: nsqd.count_threads('http:') == len(unread), nsqd.thread_names)
        for _ in range(20):
            assert nsqd.get('/ping').body == b'OK'
    no_thread_is_left(nsqd)


def test_a_large_body_flows_in_a_thread(new_nsqd):
    daemon = new_nsqd('--max-msg-size=20000000', '--max-body-size=20000000')
    daemon.create('t')
    head = b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n'
    with connect(daemon) as s:
        s.sendall(head + b'x' * 10000000)
        no_thread_is_left(daemon)  # the rest does not come
        for _ in range(10):
            s.sendall(b'x' * 100000)
            assert daemon.get('/ping').body == b'OK'
        s.sendall(b'x' * 9000000)
        assert s.recv(4096).startswith(OK_PING)
    assert daemon.topic_stats('t')['message_bytes'] == 20000000


def test_memory_that_is_full_needs_a_thread(new_nsqd):
    """And the connection is the pollers' again."""
    daemon = new_nsqd('--mem-queue-size=10')
    daemon.create('t')
    with connect(daemon) as s:
        body = b'POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'
        for _ in range(30):
            assert ask(s, body).startswith(OK_PING)
        no_thread_is_left(daemon)
        assert ask(s).startswith(OK_PING)
    assert daemon.topic_stats('t')['depth'] == 30


def status_of(daemon, name):
    """Of the thread of that name; None: it has not told its name yet."""
    tasks = '/proc/%d/task' % daemon.process.pid
    for task in os.listdir(tasks):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), \
                open(os.path.join(tasks, task, 'status'), encoding='ascii') as f:
            status = f.read()
            if re.search(r'^Name:\t%s$' % name, status, re.M):
                return status
    return None


def switches(daemon, name):
    """How often the thread of that name has gone to sleep."""
    status = wait_until(lambda: status_of(daemon, name), daemon.thread_names)
    return int(re.search(r'^voluntary_ctxt_switches:\t(\d+)$', status, re.M)[1])


def test_a_message_wakes_no_pump(nsqd):
    """The poller takes the steps of the topic's pump and the channel's, one after the other."""
    nsqd.create('alone', 'ch')
    body = b'POST /pub?topic=alone HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'
    count = 50
    with nsqd.subscribe('alone', 'ch', rdy=1) as consumer, connect(nsqd) as s:
        before = [switches(nsqd, name) for name in ('t:alone', 'c:alone/ch')]
        for _ in range(count):
            assert ask(s, body).startswith(OK_PING)
            consumer.fin(consumer.message())
        after = [switches(nsqd, name) for name in ('t:alone', 'c:alone/ch')]
    assert sum(after) - sum(before) < count


# -- out of threads


THREADS = 60


@pytest.fixture(scope='module')
def starved():
    """Topics have used up all threads that it may have; one has got what it wants."""
    daemon = FewThreads(THREADS * (4 if SCALE > 1 else 1))
    with running(daemon):
        daemon.create('t')
        for i in range(daemon.threads_max):
            if daemon.post('/topic/create?topic=t%d' % i).status != 200:
                break
        else:
            pytest.fail('it has threads for all of them')
        yield daemon
        daemon.check()


def test_ping_and_pub_go_on_without_threads(starved):
    with connect(starved) as s:
        for _ in range(20):
            assert starved.get('/ping').body == b'OK'
            assert starved.post('/pub?topic=t', b'x').body == b'OK'
            assert starved.post('/mpub?topic=t', b'x\ny').body == b'OK'
            assert ask(s).startswith(OK_PING)


_names = itertools.count()


@pytest.mark.parametrize('method, path', [
    ('GET', '/debug/?%d'), ('POST', '/topic/create?topic=new%d'), ('POST', '/mpub?topic=new%d')])
def test_what_needs_a_thread_is_refused(starved, method, path):
    """Not for ever: so a request may also get one. A topic that it makes takes that away."""
    def refused():
        response = starved.http(method, path % next(_names), b'x')
        return response.status == 503 and response.body == b'{"message":"OUT_OF_THREADS"}'
    wait_until(refused, starved.log)
    with connect(starved) as s:  # the connection goes on
        s.sendall(b'%s %s HTTP/1.1\r\nHost: x\r\n\r\n' % (
            method.encode(), (path % next(_names)).encode()))
        assert b'\r\n\r\n' in s.recv(4096)
        assert ask(s).startswith(OK_PING)


@pytest.mark.parametrize('action', ['pause', 'unpause', 'empty'])
def test_an_operator_may_help_without_a_thread(starved, action):
    """A poller lends itself. (Deletion goes the same way, but would end the want.)"""
    for _ in range(2):
        assert starved.post('/topic/%s?topic=t' % action).status == 200
    assert starved.get('/ping').body == b'OK'


def test_a_long_body_is_read_without_a_thread(starved):
    body = b'x' * 1000000
    assert starved.post('/pub?topic=t', body).body == b'OK'


def test_clients_that_do_not_read_are_ended(starved):
    """If they get no thread: after a while, one may be free again."""
    before = starved.descriptors()
    with contextlib.ExitStack() as stack:
        unread = [stack.enter_context(connect(starved)) for _ in range(4)]
        for s in unread:
            fill(s)
        wait_until(lambda: starved.descriptors() < before + len(unread), starved.log)
    assert starved.get('/ping').body == b'OK'


def test_silent_connections_do_not_matter(starved):
    with contextlib.ExitStack() as stack:
        for i in range(300):
            s = stack.enter_context(connect(starved))
            send(s, [b'', b'G', b'GET /ping HTTP/1.1\r\nHost: x\r\n'][i % 3])
        for _ in range(5):
            assert starved.get('/ping').body == b'OK'
