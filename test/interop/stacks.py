"""The stacks of layers that the bytes of a connection can go through.

What the daemon needs for each (flags, certificates), what a client program is
told, and how the daemon's /stats shows that the stack was really in use. The
tests with stock's tools (test/tools) use this, too.
"""
import shutil
import subprocess
import typing


class Stack(typing.NamedTuple):
    name: str
    daemon: str            # the key of DAEMONS: what this stack asks of it
    compression: str = ''  # snappy or deflate

    @property
    def tls(self):
        return self.daemon != 'plain'

    def flags(self, certificates):
        """What a client program is told."""
        flags = []
        if self.tls:
            flags.append(f'--tls-ca={certificates / "ca.pem"}')
        if self.daemon == 'cert':
            flags += [f'--tls-cert={certificates / "client.pem"}',
                      f'--tls-key={certificates / "client.key"}']
        if self.compression:
            flags.append(f'--compression={self.compression}')
        return flags

    def in_use(self, client):
        """Whether a client's entry in /stats says that it uses this stack, and no other."""
        return (client['tls'], client['snappy'], client['deflate']) == (
            self.tls, self.compression == 'snappy', self.compression == 'deflate')


PLAIN = Stack('plain', 'plain')
TLS = Stack('tls', 'tls')
STACKS = [
    PLAIN,
    TLS,
    Stack('cert', 'cert'),
    Stack('snappy', 'plain', 'snappy'),
    Stack('deflate', 'plain', 'deflate'),
    Stack('tls-snappy', 'tls', 'snappy'),
    Stack('tls-deflate', 'tls', 'deflate'),
]

# The flags of the daemons, which take the directory of the certificates. With
# tcp-https, plain HTTP is still there for the runner.
CERTIFICATE = ['--tls-cert={0}/server.pem', '--tls-key={0}/server.key']
DAEMONS = {
    'plain': [],
    'tls': CERTIFICATE,
    'cert': [*CERTIFICATE, '--tls-root-ca-file={0}/ca.pem',
             '--tls-client-auth-policy=require-verify', '--tls-required=tcp-https'],
}


def make_certificates(directory):
    """Makes an authority, and certificates for the server and a client: NAME.pem, NAME.key."""
    if not shutil.which('openssl'):
        raise RuntimeError('no openssl to make certificates with (Debian: openssl)')

    def make(name, subject, *options):
        done = subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
             '-nodes', '-days', '2', '-subj', f'/CN={subject}', '-keyout', f'{name}.key',
             '-out', f'{name}.pem', *options],
            cwd=directory, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'openssl req: {done.stderr}')

    def signed(name, *extensions):
        make(name, name, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-addext',
             'basicConstraints=critical,CA:false',
             *(word for e in extensions for word in ('-addext', e)))

    directory.mkdir()
    make('ca', 'authority of the interop tests')
    # nsqjs, told an IP address, asks for localhost.
    signed('server', 'subjectAltName=IP:127.0.0.1,DNS:localhost', 'extendedKeyUsage=serverAuth')
    signed('client', 'extendedKeyUsage=clientAuth')
