"""The daemon stands still, and goes on: a frozen container, a suspended machine.

A deadline that has passed meanwhile is no proof of silence: what has come in counts
before the deadline does. Each test freezes the daemon for longer than a deadline, has
the peer say something during that, and finds it still connected.
"""

import contextlib
import ssl
import time

import pytest

from certs import authority, server_cert    # noqa: F401 (fixtures)
from lookupd import FakeLookupd
from nsq import HEARTBEAT, RESPONSE, wait_until

# Two heartbeats of the shortest interval that there is are a client's patience.
INTERVAL = 1000
TOO_LONG = 2 * INTERVAL / 1000 + 0.3
IN_TIME = 2 * INTERVAL / 1000 - 0.1

OURS = pytest.mark.ours(reason='it keeps whom it looks at in time by chance')


PUB = b'PUB usable\n\0\0\0\1x'


def say(clients, data, spoke):
    """False: they had been silent for so long that the daemon may have closed one of them."""
    try:
        for client in clients:
            client.send(data)
    except OSError:
        if time.monotonic() - spoke < IN_TIME:
            raise
    return time.monotonic() - spoke < IN_TIME


def frozen_while_they_speak(daemon, before, meanwhile):
    """More clients than a poller looks at in one go, once they have said both.

    None: one of them, or the standstill, came so late that the daemon may have closed some before.
    """
    clients, spoke = [daemon.connect() for _ in range(80)], time.monotonic()
    for i, client in enumerate(clients):
        client.identify(heartbeat_interval=INTERVAL)
        begun = time.monotonic()
        if not say(clients[:i], b'NOP\n', spoke):
            return None
        spoke = begun
    if not say(clients, before, spoke):
        return None
    with daemon.frozen():
        if time.monotonic() - spoke > IN_TIME:
            return None
        time.sleep(TOO_LONG)
        for client in clients:
            client.send(meanwhile)
    return clients


@OURS
@pytest.mark.parametrize('before, meanwhile, after', [
    (b'', b'NOP\n', PUB), (b'', PUB, b''), (PUB[:5], PUB[5:], b''),
    (PUB[:-1], PUB[-1:], b'')], ids=['NOP', 'PUB', 'line', 'body'])
def test_clients_that_have_spoken_meanwhile_stay(new_nsqd, before, meanwhile, after):
    daemon = new_nsqd()
    clients = wait_until(lambda: frozen_while_they_speak(daemon, before, meanwhile),
                         'it stands still in time')
    for client in clients:
        client.send(after)
    for client in clients:
        assert client.answer() == (RESPONSE, b'OK')
        client.close()


def test_a_client_that_was_silent_all_the_time_still_goes(new_nsqd):
    daemon = new_nsqd()
    with daemon.connect() as client:
        client.identify(heartbeat_interval=INTERVAL)
        with daemon.frozen():
            time.sleep(TOO_LONG)
        with pytest.raises(EOFError):
            while True:
                assert client.frame() == (RESPONSE, HEARTBEAT)


@OURS
def test_a_handshake_that_goes_on_meanwhile_counts(new_nsqd, server_cert):
    """5 s are what a TLS handshake has."""
    cert, key = server_cert
    daemon = new_nsqd('--tls-cert=' + cert, '--tls-key=' + key, '--https-address=')
    with daemon.connect() as client:
        answer = client.identify(tls_v1=True)
        assert answer['tls_v1']
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        with daemon.frozen():
            time.sleep(5.3)
            client.send(outgoing.read())
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(client.socket.recv(65536))
        client.send(outgoing.read())


def frozen_before_an_answer(new_nsqd, lookupd):
    """A daemon that has said REGISTER t, and was answered while it stood still, for longer than
    it waits. None: it was stopped so late that it may have given up before that."""
    daemon = new_nsqd('--lookupd-tcp-address=' + lookupd.address)
    daemon.wait_log('peer info {')
    lookupd.tcp_hold.clear()
    begun = time.monotonic()
    daemon.create('t')
    lookupd.wait_command('REGISTER t')
    with daemon.frozen():
        # It waits for a second.
        if time.monotonic() - begun > 0.9:
            return None
        time.sleep(1.3)
        lookupd.tcp_hold.set()
        wait_until(lambda: lookupd.answered == len(lookupd.commands), 'it is answered')
    return daemon


def test_an_answer_of_nsqlookupd_that_has_come_meanwhile_counts(new_nsqd):
    with contextlib.ExitStack() as stack:
        def try_it():
            lookupd = FakeLookupd()
            stack.callback(lookupd.close)
            daemon = frozen_before_an_answer(new_nsqd, lookupd)
            return daemon and (daemon, lookupd)
        daemon, lookupd = wait_until(try_it, 'it stands still in time')
        daemon.create('u')
        lookupd.wait_registered(('t',), ('u',))
        # By the same connection. (Of what comes behind, this process may be late to tell.)
        heard = lookupd.commands
        assert heard[:heard.index('REGISTER u')].count('IDENTIFY') == 1
        daemon.wait_log('topic REGISTER u$')
        assert ' ERROR: ' not in daemon.log().partition('topic REGISTER u\n')[0]
