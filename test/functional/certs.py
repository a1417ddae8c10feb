"""Certificates for the tests of TLS, made with openssl where they are needed."""

import os
import subprocess

import pytest


def _run(*args):
    subprocess.run(['openssl', *args], check=True, capture_output=True)


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
              days='2'):
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
