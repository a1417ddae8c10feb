"""Certificates for the tests of TLS, made with openssl where they are needed."""

import base64
import os
import subprocess

import pytest


def _run(*args):
    done = subprocess.run(['openssl', *args], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'openssl {args[0]}: {done.stderr}')


def write_rsa_key(path, p, q, e=65537):
    """The RSA key of two primes, in PEM: a large one takes no time when they are known."""
    def der(tag, content):
        size = len(content)
        octets = size.to_bytes((size.bit_length() + 7) // 8, 'big')
        return bytes([tag]) + (bytes([size]) if size < 128 else
                               bytes([128 | len(octets)]) + octets) + content

    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = [0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)]
    text = base64.encodebytes(der(0x30, b''.join(
        der(2, n.to_bytes(n.bit_length() // 8 + 1, 'big')) for n in numbers)))
    with open(path, 'wb') as f:
        f.write(b'-----BEGIN RSA PRIVATE KEY-----\n' + text
                + b'-----END RSA PRIVATE KEY-----\n')


class Authority:
    """A CA, and what it signs: each is (path of certificate, path of key)."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.cert = self._path('ca.pem')
        self.key = self._path('ca.key')
        self._generate('ca', '/CN=ca', 'basicConstraints=critical,CA:true',
                       '-x509')

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _generate(self, name, subject, extension, *args, rsa=0):
        key = ['rsa:%d' % rsa] if rsa else ['ec', '-pkeyopt',
                                        'ec_paramgen_curve:prime256v1']
        out = self._path(name + '.pem')
        _run('req', '-newkey', *key, '-nodes', '-days', '2', '-subj', subject,
             '-keyout', self._path(name + '.key'), '-out', out,
             '-addext', extension, *args)
        return out, self._path(name + '.key')

    def issue(self, name, subject=None, usage='serverAuth', rsa=0,
              days='2', key=None):
        if key:
            request = self._path(name + '.pem')
            _run('req', '-new', '-key', key, '-subj', '/CN=' + name, '-out', request)
        else:
            request, key = self._generate(
                name, subject or '/CN=' + name,
                'subjectAltName=IP:127.0.0.1,DNS:localhost', rsa=rsa)
        extensions = self._path(name + '.ext')
        with open(extensions, 'w') as f:
            f.write('subjectAltName=IP:127.0.0.1,DNS:localhost\n'
                    'extendedKeyUsage=%s\n' % usage)
        _run('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey',
             self.key, '-CAcreateserial', '-days', days, '-extfile',
             extensions, '-out', request + '.signed')
        os.rename(request + '.signed', request)
        return request, key


@pytest.fixture(scope='session')
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp('ca'))


@pytest.fixture(scope='session')
def server_cert(authority):
    return authority.issue('server', rsa=2048)


@pytest.fixture(scope='session')
def client_cert(authority):
    return authority.issue('client', '/O=people/CN=a client',
                           usage='clientAuth')


@pytest.fixture(scope='session')
def stranger_cert(tmp_path_factory):
    """Of another CA, which nobody here knows."""
    return Authority(tmp_path_factory.mktemp('other')).issue(
        'stranger', '/CN=a stranger', usage='clientAuth')


@pytest.fixture(scope='session')
def huge_client_cert(authority):
    """Of 8676 bits, by two primes of Mersenne's."""
    key = os.path.join(authority.directory, 'huge.key')
    write_rsa_key(key, 2 ** 4423 - 1, 2 ** 4253 - 1)
    return authority.issue('huge', usage='clientAuth', key=key)


@pytest.fixture(scope='session')
def huge_exponent_cert(authority):
    """Of 4096 bits and more, whose public exponent is as long."""
    key = os.path.join(authority.directory, 'exponent.key')
    write_rsa_key(key, 2 ** 2203 - 1, 2 ** 2281 - 1, 2 ** 63 + 9)
    return authority.issue('exponent', usage='clientAuth', key=key)
