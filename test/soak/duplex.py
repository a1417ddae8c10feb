"""The socket of an actor that never waits to send while it has something to receive.

Both buffers of a connection can be full: the daemon waits until the client reads, and the client
waits until the daemon does. Neither goes on, until the daemon's time for a write is over. The
libraries of NSQ's clients read in a thread of their own. An actor has one thread, which reads here.
The buffers of a unix socket are small, and each command takes a part of its own there: some 280
FINs fill one.
"""

import select
import time

from layers import Layer


class Duplex(Layer):
    """The lowest layer of a client's connection."""

    def __init__(self, below):
        super().__init__(below)
        self.timeout = below.gettimeout()
        self.settimeout = self.set_timeout
        self.received = []
        self.ended = False      # the daemon sends no more

    def set_timeout(self, seconds):
        self.timeout = seconds
        self.below.settimeout(seconds)

    def sendall(self, data):
        """TimeoutError if it takes longer than a receive may."""
        data, until = memoryview(data), time.monotonic() + self.timeout
        while data:
            poll = select.poll()
            poll.register(self.below, select.POLLOUT | (0 if self.ended else select.POLLIN))
            events = poll.poll(max(0.0, until - time.monotonic()) * 1000)
            if not events:
                raise TimeoutError('%d bytes were not taken' % len(data))
            if events[0][1] & ~select.POLLIN:   # also an error, which this call will tell
                data = data[self.below.send(data):]
            else:
                self.read()

    def read(self):
        """What has come is received later."""
        piece = self.below.recv(65536)
        if piece:
            self.received.append(piece)
        else:
            self.ended = True

    def recv(self, size):
        if self.received:
            return self.received.pop(0)
        return b'' if self.ended else self.below.recv(size)
