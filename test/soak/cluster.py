"""What a daemon of a soak talks to: a nsqlookupd that sometimes is silent, and an auth server.

Each runs in threads of the soak's own process.
"""

import json
from http.server import BaseHTTPRequestHandler

from lookupd import FakeLookupd
from servers import HttpServer

# Seconds for which a daemon may believe the auth server. So it asks again while a client is there.
TTL = 2

GRANTED = json.dumps({'ttl': TTL, 'identity': 'soak', 'identity_url': '', 'authorizations': [
    {'topic': '.*', 'channels': ['.*'], 'permissions': ['publish', 'subscribe']}]}).encode()


class Lookupd(FakeLookupd):
    """A channel brings its topic, and a topic takes its channels along, as in nsqlookupd."""

    def _execute(self, line, handler, mine):
        response = super()._execute(line, handler, mine)
        name, *words = line.split(' ')
        with self.lock:
            if name == 'REGISTER':
                mine.add((words[0],))
            elif name == 'UNREGISTER' and len(words) == 1:
                mine.difference_update([entry for entry in mine if entry[0] == words[0]])
        return response


class Grants(BaseHTTPRequestHandler):
    """Every client may do everything."""

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(GRANTED)))
        self.end_headers()
        self.wfile.write(GRANTED)

    def log_message(self, *_):
        pass


class Cluster:
    def __init__(self):
        self.lookupd = Lookupd()
        # A daemon may be killed in the middle of a word.
        self.lookupd.tcp.handle_error = self.lookupd.http.handle_error = lambda *_: None
        self.authd = HttpServer(Grants).start()
        self.authd.handle_error = lambda *_: None

    def close(self):
        self.lookupd.close()
        self.authd.stop()

    def flags(self, lookupd, auth):
        """Of a daemon that talks to them. No machine is too busy to answer in a minute."""
        flags = ['--http-client-connect-timeout=60s', '--http-client-request-timeout=60s']
        if lookupd:
            flags.append('--lookupd-tcp-address=' + self.lookupd.address)
        if auth:
            flags.append('--auth-http-address=' + self.authd.address)
        return flags

    def silence(self, sleep, rng):
        """The nsqlookupd does not answer for a while; it may lose its connections as well."""
        self.lookupd.mute = True
        try:
            if rng.random() < 0.3:
                self.lookupd.drop()
            sleep(rng.random() * 2)
        finally:
            self.lookupd.mute = False
