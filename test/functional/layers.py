"""Layers for a Client's connection: snappy, deflate and TLS over its socket.

Each stands in for the socket: recv() gives decoded bytes (b'' at the end),
sendall() encodes and sends at once. Only the standard library is used.
"""

import functools
import ssl
import struct
import zlib

STREAM_IDENTIFIER = b'\xff\x06\x00\x00sNaPpY'


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


@functools.lru_cache(maxsize=256)   # a byte takes 0.1 us
def masked_crc32c(data):
    crc = 0xffffffff
    table = CRC_TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    crc ^= 0xffffffff
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def snappy_block(data):
    """A block of snappy's format, with a copy where one byte is repeated."""
    if len(data) > 8 and data == data[:1] * len(data):
        out = bytearray(varint(len(data)) + b'\x00' + data[:1])
        left = len(data) - 1
        while left > 0:
            n = min(left, 64)
            out += bytes([(n - 1) << 2 | 2, 1, 0])
            left -= n
        return bytes(out)
    return (varint(len(data)) + b'\xf4' + struct.pack('<H', len(data) - 1)
            + data)


def snappy_unblock(block):
    at = shift = size = 0
    while True:
        size |= (block[at] & 0x7f) << shift
        shift += 7
        at += 1
        if block[at - 1] < 0x80:
            break
    out = bytearray()
    while at < len(block):
        tag = block[at]
        at += 1
        kind, n = tag & 3, tag >> 2
        if kind == 0:
            if n >= 60:
                extra = n - 59
                n = int.from_bytes(block[at:at + extra], 'little')
                at += extra
            out += block[at:at + n + 1]
            at += n + 1
            continue
        if kind == 1:
            n, offset = (n & 7) + 4, (tag >> 5) << 8 | block[at]
            at += 1
        else:
            width = 2 if kind == 2 else 4
            n, offset = n + 1, int.from_bytes(block[at:at + width], 'little')
            at += width
        assert 0 < offset <= len(out), 'copy from before the start'
        while n > 0:
            piece = bytes(out[len(out) - offset:][:n])
            out += piece
            n -= len(piece)
    assert len(out) == size, (len(out), size)
    return bytes(out)


class Layer:
    def __init__(self, below):
        self.below = below
        self.settimeout = below.settimeout
        self.setsockopt = below.setsockopt
        self.shutdown = below.shutdown
        self.close = below.close


class Snappy(Layer):
    """compress: send compressed chunks, else uncompressed ones; check: the daemon's checksums."""

    def __init__(self, below, compress=False, check=True):
        super().__init__(below)
        self.compress, self.check = compress, check
        self.buffer = b''
        self.started = self.identified = False
        self.kinds = set()

    def sendall(self, data):
        out = b'' if self.started else STREAM_IDENTIFIER
        self.started = True
        for at in range(0, len(data), 65536):
            part = data[at:at + 65536]
            body = snappy_block(part) if self.compress else part
            out += (struct.pack('<I', len(body) + 4 << 8
                                | (0 if self.compress else 1))
                    + struct.pack('<I', masked_crc32c(part)) + body)
        self.below.sendall(out)

    def _need(self, size):
        while len(self.buffer) < size:
            data = self.below.recv(65536)
            if not data:
                return False
            self.buffer += data
        return True

    def recv(self, _size):
        while self._need(4):
            head = struct.unpack('<I', self.buffer[:4])[0]
            kind, size = head & 0xff, head >> 8
            assert size <= 4 + 76490, size
            if not self._need(4 + size):
                break
            body, self.buffer = (self.buffer[4:4 + size],
                                 self.buffer[4 + size:])
            if kind == 0xff:
                assert body == b'sNaPpY' and not self.identified
                self.identified = True
                continue
            assert self.identified and kind in (0, 1), kind
            self.kinds.add(kind)
            data = snappy_unblock(body[4:]) if kind == 0 else body[4:]
            assert len(data) <= 65536
            assert not self.check or masked_crc32c(data) == struct.unpack(
                '<I', body[:4])[0]
            if data:
                return data
        assert not self.buffer, 'cut in the middle of a chunk'
        return b''


class Deflate(Layer):
    def __init__(self, below, level=6):
        super().__init__(below)
        self.encoder = zlib.compressobj(level, zlib.DEFLATED, -15)
        self.decoder = zlib.decompressobj(-15)

    def sendall(self, data):
        self.below.sendall(self.encoder.compress(data)
                           + self.encoder.flush(zlib.Z_SYNC_FLUSH))

    def recv(self, _size):
        while True:
            raw = self.below.recv(65536)
            data = self.decoder.decompress(raw)
            if data or not raw:
                return data


class Tls(Layer):
    """TLS as the client; the constructor does the handshake.

    closed is set once the peer has said that it closes (close-notify); the
    end of the layer below without it is told apart by that, if the context
    does not have OP_IGNORE_UNEXPECTED_EOF.
    """

    def __init__(self, below, context):
        super().__init__(below)
        self.closed = False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.incoming, self.outgoing)
        self._until_done(self.ssl.do_handshake)

    def _flush(self):
        data = self.outgoing.read()
        if data:
            self.below.sendall(data)

    def _until_done(self, call, *args):
        while True:
            try:
                result = call(*args)
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self.below.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def sendall(self, data):
        data = memoryview(data)
        while data:
            data = data[self._until_done(self.ssl.write, data):]

    def recv(self, size):
        try:
            data = self._until_done(self.ssl.read, size)
        except ssl.SSLZeroReturnError:
            data = b''
        except ssl.SSLError as error:
            # (Not always the class SSLEOFError.)
            if error.reason != 'UNEXPECTED_EOF_WHILE_READING':
                raise
            return b''
        self.closed = self.closed or not data
        return data

    def close_notify(self):
        """Say that no more will be sent."""
        try:
            self.ssl.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()


class Pending(Layer):
    """What has been read already, and then the rest."""

    def __init__(self, below, data):
        super().__init__(below)
        self.data = data
        self.sendall = below.sendall

    def recv(self, size):
        data, self.data = self.data, b''
        return data or self.below.recv(size)


def push(client, layer, *args, **kwargs):
    """Put a layer on top of the client's connection."""
    client.socket = layer(Pending(client.socket, client.buffer),
                          *args, **kwargs)
    client.buffer = b''
    return client.socket
