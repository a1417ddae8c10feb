"""A small nsqlookupd: speaks its V1 protocol, and answers /channels."""

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import StreamRequestHandler
from urllib.parse import parse_qs, urlparse

from nsq import DEADLINE, wait_until
from servers import HttpServer, TcpServer


# After a failed command the daemon tries again with the next one, at the latest with the
# ping after 15 s.
PATIENCE = 15 + DEADLINE


class FakeLookupd:
    """Keeps what it is told: commands in order, and what is registered.

    channels maps topics to the channels that /channels answers with. While
    mute is set, it reads commands and does not answer; it is set by the command mute_at.
    http_hold and tcp_hold are events that /channels and commands wait for before they are
    answered.
    """

    def __init__(self, port=0):
        self.lock = threading.Lock()
        self.commands = []      # 'REGISTER t c', in order
        self.answered = 0       # so many of them
        self.identities = []    # the bodies of IDENTIFY
        self.connections = 0
        self.registrations = []     # a set for each connection
        self.channels = {}
        self.queries = []
        self.mute = False
        self.mute_at = None
        self.identify_response = None
        self.response_size = None   # in place of the right one
        self.http_answer = None     # in place of what channels says
        self.http_hold = threading.Event()
        self.http_hold.set()
        self.tcp_hold = threading.Event()
        self.tcp_hold.set()
        self.sockets = set()
        outer = self

        class Tcp(StreamRequestHandler):
            def handle(self):
                outer._serve(self)

        class Http(BaseHTTPRequestHandler):
            def do_GET(self):
                outer._answer(self)

            def log_message(self, *_):
                pass

        self.http = HttpServer(Http).start()
        self.tcp = TcpServer(Tcp, port).start()

    @property
    def address(self):
        return self.tcp.address

    @property
    def registered(self):
        with self.lock:
            return set().union(*self.registrations)

    def close(self):
        self.http_hold.set()
        self.tcp_hold.set()
        for server in (self.tcp, self.http):
            server.stop()
        self.drop()

    def drop(self):
        """Closes the connections, as a lookupd that restarts does."""
        with self.lock:
            for s in self.sockets:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _serve(self, handler):
        mine = set()
        with self.lock:
            self.connections += 1
            self.sockets.add(handler.request)
            self.registrations.append(mine)
        try:
            assert handler.rfile.read(4) == b'  V1'
            for line in handler.rfile:
                response = self._execute(line.decode().rstrip('\n'), handler,
                                         mine)
                self.tcp_hold.wait()
                if not self.mute:
                    size = len(response) if self.response_size is None else self.response_size
                    handler.wfile.write(struct.pack('>i', size) + response)
                    with self.lock:
                        self.answered += 1
        except OSError:
            pass
        finally:
            with self.lock:
                self.sockets.discard(handler.request)
                mine.clear()

    def _execute(self, line, handler, mine):
        name, *words = line.split(' ')
        response = b'OK'
        identity = None
        if name == 'IDENTIFY':
            size = struct.unpack('>i', handler.rfile.read(4))[0]
            identity = handler.rfile.read(size)
            response = self.identify_response or json.dumps({
                'tcp_port': self.tcp.port, 'http_port': self.http.port,
                'version': '1.3.0', 'broadcast_address': '127.0.0.1',
                'hostname': 'fake'}).encode()
        with self.lock:
            self.mute = self.mute or line == self.mute_at
            self.commands.append(line)
            if identity is not None:
                self.identities.append(identity)
            if name == 'REGISTER':
                mine.add(tuple(words))
            if name == 'UNREGISTER':
                mine.discard(tuple(words))
        return response

    def _answer(self, handler):
        url = urlparse(handler.path)
        with self.lock:
            self.queries.append((handler.path, handler.headers['Accept']))
        self.http_hold.wait()
        topic = parse_qs(url.query).get('topic', [''])[0]
        body = self.http_answer or json.dumps(
            {'channels': self.channels.get(topic, [])}).encode()
        try:
            handler.send_response(200)
            handler.send_header('Content-Length', str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass

    # -- waiting

    def wait_command(self, *commands):
        for command in commands:
            wait_until(lambda: command in self.commands,
                       lambda: 'lookupd hears %r; it heard %r' % (
                           command, self.commands))

    def wait_registered(self, *entries, gone=(), timeout=None):
        wait_until(lambda: set(entries) <= self.registered
                   and not set(gone) & self.registered,
                   lambda: 'registered are %r without %r: %r' % (
                       entries, gone, self.registered), timeout or PATIENCE)
