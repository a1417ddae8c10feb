"""Connections that are no clients: garbage, silence, half handshakes, half requests."""

from actors import ENDINGS, Actor
from layers import Tls
from nsq import Client
from stacks import STACKS


class Vandal(Actor):
    """Breaks the rules, of every layer, and goes."""

    TCP = [b'', b'  V', b'  V1', b'GET / HTTP/1.0\r\n\r\n', b'\x16\x03\x01\x02\x00\x01',
           b'  V2', b'  V2\n', b'  V2PUB', b'  V2PUB kept', b'  V2PUB kept\n\0\0\1\0half',
           b'  V2MPUB kept\n\0\0\0\x20\0\0\0\2\0\0\0\4abcd', b'  V2IDENTIFY\n\0\0\0\2{}',
           b'  V2IDENTIFY\n\0\0\0\2{}IDENTIFY\n\0\0\0\2{}', b'  V2IDENTIFY\n\x7f\xff\xff\xff',
           b'  V2SUB kept x', b'  V2SUB kept x\nSUB kept x\n', b'  V2NOP\nNOP\nNOP\n',
           b'  V2' + b'x' * 20000]
    HTTP = [b'', b'GET', b'GET /stats', b'GET /stats HTTP/1.1\r\nHost: x\r\n', b'\0\1\2\3\r\n\r\n',
            b'POST /pub?topic=kept HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf',
            b'POST /mpub?topic=kept&binary=true HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n'
            b'\0\0\0\2\0\0\0\1',
            b'POST /pub?topic=kept HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
            b'5\r\nab']

    def session(self, rng, life):
        daemon = self.world.daemon
        address, what = rng.choice([
            (daemon.tcp_address, rng.choice(self.TCP)),
            (daemon.http_address, rng.choice(self.HTTP)),
            (daemon.https_port, rng.choice(self.HTTP))])
        upgraded = rng.random() < 0.2
        garbage = rng.randbytes(rng.choice([1, 10, 200])).replace(b'\n', b'')
        pause, reset = rng.random() * 0.3, rng.random() < 0.5
        try:
            if upgraded:
                self.after_upgrade(rng, life, garbage)
            else:
                self.plain(address, what, pause, reset)
        except ENDINGS:
            self.count['ended by the daemon'] += 1
        self.sleep(rng.random() * 0.3)

    def plain(self, address, what, pause, reset):
        self.count['vandal'] += 1
        client = Client(address, magic=None)
        try:
            client.send(what)
            self.sleep(pause)
            if reset:
                client.reset()
        finally:
            client.close()

    def after_upgrade(self, rng, life, garbage):
        """Garbage instead of a record of TLS, a chunk of snappy, a block of deflate."""
        self.count['vandal after an upgrade'] += 1
        stack = rng.choice(STACKS[1:])
        client = self.connect(life, stack)
        if client is None:
            return
        below = client.socket
        try:
            if rng.random() < 0.5:
                client.command('SUB', 'kept', 'vandal#ephemeral').expect_ok()
            while hasattr(below, 'below') and not (isinstance(below, Tls) and rng.random() < 0.5):
                below = below.below
            below.sendall(garbage)
            self.sleep(rng.random() * 0.2)
        finally:
            client.close()
