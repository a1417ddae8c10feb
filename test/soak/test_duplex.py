"""duplex.py: both sides send more than their buffers hold, and neither waits for the other."""

import os
import socket
import sys
import threading

import pytest

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'functional')]

# pylint: disable=wrong-import-position
from duplex import Duplex

SIZE = 1 << 20


@pytest.fixture(name='pair')
def _pair():
    ours, peer = socket.socketpair(socket.AF_UNIX)
    with ours, peer:
        for side in ours, peer:
            side.settimeout(20)
        yield ours, peer


def read(receive, size):
    data = b''
    while len(data) < size:
        piece = receive(65536)
        if not piece:
            break
        data += piece
    return data


def test_it_receives_while_it_cannot_send(pair):
    ours, peer = pair
    theirs, mine = os.urandom(SIZE), os.urandom(SIZE)
    got = []

    def stubborn():     # as the daemon, which reads no command before its answer is sent
        peer.sendall(theirs)
        got.append(read(peer.recv, SIZE))
    thread = threading.Thread(target=stubborn)
    thread.start()
    duplex = Duplex(ours)
    duplex.sendall(mine)
    thread.join()
    assert got == [mine]
    assert read(duplex.recv, SIZE) == theirs
    peer.sendall(b'x')
    assert duplex.recv(10) == b'x'


def test_a_peer_that_reads_nothing_costs_its_time_out_only(pair):
    duplex = Duplex(pair[0])
    duplex.settimeout(0.1)
    with pytest.raises(TimeoutError):
        duplex.sendall(bytes(SIZE))


def test_a_peer_that_sends_no_more_can_still_be_sent_to(pair):
    ours, peer = pair
    peer.sendall(b'last')
    peer.shutdown(socket.SHUT_WR)
    duplex = Duplex(ours)
    sender = threading.Thread(target=duplex.sendall, args=(bytes(SIZE),))
    sender.start()
    got = read(peer.recv, SIZE)
    sender.join()
    assert got == bytes(SIZE)
    assert read(duplex.recv, SIZE) == b'last'


def test_a_peer_that_is_gone_is_an_error(pair):
    ours, peer = pair
    peer.close()
    with pytest.raises(OSError):
        Duplex(ours).sendall(bytes(SIZE))
