"""Servers that the tests play themselves: nsqlookupd, an auth server, a target of
nsq_to_http.

socketserver listens with room for 5 connections. A client that finds no room is not
refused but left without an answer by the kernel, and tries again after a second: on a busy
machine that is past the client's deadline, and looks like a fault of the daemon. So no
test makes a server of its own; they all have room for everybody at once.
"""

import socketserver
import threading
from http.server import ThreadingHTTPServer


class Roomy:
    """What the servers have in common: a thread for each connection, and room."""

    request_queue_size = 128
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, handler, port=0):
        super().__init__(('127.0.0.1', port), handler)

    @property
    def port(self):
        return self.server_address[1]

    @property
    def address(self):
        return '127.0.0.1:%d' % self.port

    def start(self):
        threading.Thread(target=self.serve_forever, args=(0.02,),
                         daemon=True).start()
        return self

    def stop(self):
        """No more connections are taken; those that are there stay."""
        self.shutdown()
        self.server_close()


class HttpServer(Roomy, ThreadingHTTPServer):
    pass


class TcpServer(Roomy, socketserver.ThreadingTCPServer):
    pass
