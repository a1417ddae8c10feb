"""TLS on the TCP port: negotiation, every flag and policy, ends."""

import json
import socket
import ssl
import threading
import time
import warnings

import pytest

from certs import *  # pylint: disable=wildcard-import,unused-wildcard-import
from layers import Deflate, Pending, Snappy, Tls, push
from nsq import (DEADLINE, ERROR, MESSAGE, OK, RESPONSE, SCALE, Message, Nsqd,
                 frame, mpub_body, wait_until)
from test_auth import authd, authds  # noqa: F401, pylint: disable=unused-import
from test_bad_input import check_exit_without_readers
from test_transports import consume, negotiated

VERSIONS = {'tls1.0': ssl.TLSVersion.TLSv1, 'tls1.1': ssl.TLSVersion.TLSv1_1,
            'tls1.2': ssl.TLSVersion.TLSv1_2, 'tls1.3': ssl.TLSVersion.TLSv1_3}
ORDER = list(VERSIONS)

# RFC 8446, 4.1.3: a record's head, a message's head, the version, and the random. By its random a
# server tells that it asks for another key share.
TLS_HANDSHAKE, TLS_SERVER_HELLO, SERVER_RANDOM = 22, 2, slice(11, 43)
RETRY_RANDOM = bytes.fromhex('cf21ad74e59a6111be1d8c021e65b891'
                             'c2a211167abb8c5e079e09e2c8a8339c')


def flags(pair, *more):
    return ['--tls-cert=' + pair[0], '--tls-key=' + pair[1],
            '--https-address=127.0.0.1:0', *more]


def context(cert=None, ca=None, version=None, ciphers='DEFAULT'):
    """A client's; without a CA it takes any server."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if ca:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(ca)
    if cert:
        made.load_cert_chain(*cert)
    # Old versions are not secure enough for OpenSSL's default.
    made.set_ciphers(ciphers + ':@SECLEVEL=0')
    # Else Python 3.10 and newer take the end of the socket for a close-notify.
    made.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
    with warnings.catch_warnings():
        # Of TLS 1.0 and 1.1, which is what the daemon is asked for.
        warnings.filterwarnings('ignore', r'ssl\.TLSVersion\.',
                                DeprecationWarning)
        made.minimum_version = VERSIONS[version or 'tls1.0']
        if version:
            made.maximum_version = VERSIONS[version]
    return made


def ask(client, **identify):
    """IDENTIFY that asks for TLS, and gets it promised."""
    assert client.identify(tls_v1=True, **identify)['tls_v1'] is True
    return client


def upgrade(client, ctx=None, **identify):
    """IDENTIFY with TLS, and whatever goes on top of that."""
    ask(client, **identify)
    push(client, Tls, ctx or context())
    client.expect_ok()
    for name, layer in (('snappy', Snappy), ('deflate', Deflate)):
        if identify.get(name):
            push(client, layer)
            client.expect_ok()
    return client


@pytest.fixture(scope='module')
def shared_nsqd(tmp_path_factory, server_cert):
    daemon = Nsqd(str(tmp_path_factory.mktemp('tls')),
                  flags(server_cert, '--snappy=true', '--deflate=true'))
    daemon.start()
    yield daemon
    daemon.close()


# -- negotiation

def test_it_is_answered_byte_for_byte_as_by_stock(client):
    body = {'tls_v1': True, 'feature_negotiation': True}
    client.command('IDENTIFY', body=json.dumps(body).encode())
    client.expect_response(negotiated(tls_v1=True))
    push(client, Tls, context())
    client.expect_ok()
    client.expect_usable()


def test_it_is_offered_not_forced(client):
    assert client.identify()['tls_v1'] is False
    client.expect_usable()


def test_without_a_certificate_there_is_none(new_nsqd):
    with new_nsqd().connect() as client:
        assert client.identify(tls_v1=True)['tls_v1'] is False
        client.expect_usable()


@pytest.mark.ours(reason='it loses what comes with the IDENTIFY')
def test_a_client_need_not_wait_for_the_response(client):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    body = json.dumps({'tls_v1': True, 'feature_negotiation': True}).encode()
    client.send(b'IDENTIFY\n' + len(body).to_bytes(4, 'big') + body
                + outgoing.read())
    kind, _ = client.frame()
    assert kind == RESPONSE
    below = Pending(client.socket, client.buffer)
    client.buffer = b''
    layer = Tls.__new__(Tls)
    layer.below, layer.closed = below, False
    layer.settimeout, layer.close = below.settimeout, below.close
    layer.incoming, layer.outgoing, layer.ssl = incoming, outgoing, session
    layer._until_done(session.do_handshake)
    client.socket = layer
    client.expect_ok()
    client.expect_usable()


@pytest.mark.ours(reason='it starts over on the bare socket')
def test_a_second_identify_changes_nothing(client):
    upgrade(client)
    assert client.identify(tls_v1=True)['tls_v1'] is False
    client.expect_usable()


@pytest.mark.parametrize('stack', [{}, {'snappy': True}, {'deflate': True}])
def test_messages_of_all_sizes_both_ways(nsqd, stack):
    topic = nsqd.topic()
    bodies = [bytes([65 + i % 26]) * size for i, size in enumerate(
        [1, 16383, 16384, 16385, 65536, 70000, 1 << 20, 200, 3])]
    with nsqd.connect() as publisher, nsqd.connect() as consumer:
        upgrade(publisher, **stack)
        upgrade(consumer, **stack)
        consumer.sub(topic, 'ch')
        consumer.rdy(100)
        for body in bodies:
            publisher.pub(topic, body)
        assert sorted(consume(consumer, len(bodies))) == sorted(bodies)
        # Near the maximum of a body, in one command.
        parts = [b'm' * 1000] * 5200
        publisher.command('MPUB', topic, body=mpub_body(parts))
        publisher.expect_ok()
        assert consume(consumer, len(parts)) == parts


def test_commands_of_one_byte_a_record(nsqd, client):
    upgrade(client)
    for byte in b'PUB %s\n\0\0\0\2ab' % nsqd.topic().encode():
        client.send(bytes([byte]))
    client.expect_ok()


@pytest.mark.parametrize('version', ORDER)
def test_empty_records_between_the_commands(nsqd, client, version):
    """OpenSSL's defence of old versions: before each record one without data."""
    topic = nsqd.topic()
    # For TLS 1.0 it does that by itself; a client that asks for it may have AES-CBC only.
    ciphers = 'ECDHE-RSA-AES128-SHA' if version < 'tls1.3' else 'DEFAULT'
    upgrade(client, context(version=version, ciphers=ciphers))
    sent, held = client.socket.below, []
    client.socket.below = type('Hold', (), {'sendall': held.append})
    for _ in range(200):
        client.command('PUB', topic, body=b'x')
    client.socket.below = sent
    # As few reads as can be.
    sent.sendall(b''.join(held))
    for _ in range(200):
        client.expect_ok()
    nsqd.wait_topic(topic, depth=200)


def test_a_heartbeat_comes_through(client):
    upgrade(client, heartbeat_interval=1000)
    assert client.frame() == (RESPONSE, b'_heartbeat_')


# -- versions, ciphers and what statistics say of them

@pytest.mark.parametrize('version, ciphers, shown', [
    ('tls1.0', 'ECDHE-RSA-AES128-SHA', 'TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA'),
    ('tls1.1', 'ECDHE-RSA-AES256-SHA', 'TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA'),
    ('tls1.2', 'ECDHE-RSA-AES128-GCM-SHA256',
     'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'),
    ('tls1.2', 'ECDHE-RSA-AES256-GCM-SHA384', 'Unknown 49200'),
    ('tls1.2', 'ECDHE-RSA-CHACHA20-POLY1305', 'Unknown 52392'),
    ('tls1.2', 'DEFAULT', 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'),
    ('tls1.3', 'DEFAULT', 'Unknown 4865')])
def test_version_and_cipher_are_shown(nsqd, version, ciphers, shown):
    topic = nsqd.topic()
    with nsqd.connect() as client:
        upgrade(client, context(version=version, ciphers=ciphers))
        client.sub(topic, 'ch')
        stats = nsqd.channel_stats(topic, 'ch')['clients'][0]
        assert [stats[key] for key in (
            'tls', 'tls_cipher_suite', 'tls_version',
            'tls_negotiated_protocol', 'tls_negotiated_protocol_is_mutual')
        ] == [True, shown, version.upper(), '', True]


def test_the_key_share_that_clients_send_is_taken(client):
    """Without a HelloRetryRequest, which costs a round trip. Clients send a share of X25519, and
    offer other groups as well."""
    ask(client)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context(version='tls1.3').wrap_bio(incoming, outgoing).do_handshake()
    client.send(outgoing.read())
    hello = client.read(SERVER_RANDOM.stop)
    assert hello[0] == TLS_HANDSHAKE and hello[5] == TLS_SERVER_HELLO
    assert hello[SERVER_RANDOM] != RETRY_RANDOM


@pytest.mark.parametrize('minimum', ORDER)
def test_the_lowest_version_is_a_flag(new_nsqd, server_cert, minimum):
    nsqd = new_nsqd(*flags(server_cert, '--tls-min-version=' + minimum))
    for version in ORDER:
        with nsqd.connect() as client:
            ask(client)
            if ORDER.index(version) >= ORDER.index(minimum):
                push(client, Tls, context(version=version))
                client.expect_ok()
                continue
            with pytest.raises(ssl.SSLError):
                push(client, Tls, context(version=version))
            nsqd.wait_log(r'E_IDENTIFY_FAILED IDENTIFY failed tls: client '
                          'offered only unsupported versions')


@pytest.mark.ours(reason='Go has all versions built in')
@pytest.mark.parametrize('version', ORDER[:-1])
def test_a_version_that_the_library_refuses_ends_the_start(
        new_nsqd, server_cert, tmp_path, monkeypatch, version):
    system = tmp_path / 'gnutls.conf'
    system.write_text('[overrides]\n' + ''.join(
        'disabled-version = %s\n' % v for v in ORDER[:-1]))
    monkeypatch.setenv('GNUTLS_SYSTEM_PRIORITY_FILE', str(system))
    nsqd = new_nsqd(*flags(server_cert, '--tls-min-version=' + version),
                    start=False)
    assert ('failed to build TLS config - --tls-min-version %s: this version '
            'is refused by GnuTLS' % version) in nsqd.start_fails()
    nsqd = new_nsqd(*flags(server_cert, '--tls-min-version=tls1.3'))
    with nsqd.connect() as client:
        upgrade(client)


# -- the server's certificate

def test_the_client_can_verify_the_server(nsqd, authority):
    with nsqd.connect() as client:
        upgrade(client, context(ca=authority.cert))


@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
def test_a_key_on_an_elliptic_curve(new_nsqd, authority, version):
    nsqd = new_nsqd(*flags(authority.issue('elliptic')))
    with nsqd.connect() as client:
        upgrade(client, context(ca=authority.cert, version=version))
        client.expect_usable()


def test_a_big_key(new_nsqd, authority):
    """The stack of a connection's thread is big enough for its numbers."""
    nsqd = new_nsqd(*flags(authority.issue('big', rsa=4096),
                           '--tls-client-auth-policy=require-verify',
                           '--tls-root-ca-file=' + authority.cert))
    cert = authority.issue('bigclient', usage='clientAuth', rsa=4096)
    for version in ('tls1.2', 'tls1.3'):
        with nsqd.connect() as client:
            upgrade(client, context(cert, authority.cert, version))
            client.expect_usable()


@pytest.mark.parametrize('cert, key, text', [
    ('none', 'key', 'open {dir}/none: no such file or directory'),
    ('cert', 'none', 'open {dir}/none: no such file or directory'),
    ('', 'key', 'open : no such file or directory'),
    ('cert', '', 'open : no such file or directory')])
def test_a_missing_file_ends_the_start(
        new_nsqd, server_cert, tmp_path, cert, key, text):
    (tmp_path / 'cert').write_bytes(open(server_cert[0], 'rb').read())
    (tmp_path / 'key').write_bytes(open(server_cert[1], 'rb').read())
    cert, key = (str(tmp_path / name) if name else '' for name in (cert, key))
    nsqd = new_nsqd(*flags((cert, key)), start=False)
    assert (' FATAL: failed to instantiate nsqd - failed to build TLS config '
            '- ' + text.format(dir=tmp_path)) in nsqd.start_fails()


@pytest.mark.ours(reason='its texts do not name the file')
@pytest.mark.parametrize('cert, key, text', [
    ('text', 'key', '--tls-cert {dir}/text: '),
    ('cert', 'text', '--tls-key {dir}/text: '),
    ('cert', 'other', 'tls: private key does not match public key')])
def test_a_file_that_cannot_be_used_ends_the_start(
        new_nsqd, server_cert, client_cert, tmp_path, cert, key, text):
    (tmp_path / 'cert').write_bytes(open(server_cert[0], 'rb').read())
    (tmp_path / 'key').write_bytes(open(server_cert[1], 'rb').read())
    (tmp_path / 'other').write_bytes(open(client_cert[1], 'rb').read())
    (tmp_path / 'text').write_text('no certificate and no key')
    nsqd = new_nsqd(*flags((str(tmp_path / cert), str(tmp_path / key))),
                    start=False)
    log = nsqd.start_fails()
    assert 'failed to build TLS config - ' in log
    assert text.format(dir=tmp_path) in log


@pytest.mark.parametrize('content, text', [
    (None, 'no such file or directory'),
    ('no certificate', 'failed to append certificate to pool')])
def test_a_root_ca_that_cannot_be_used_ends_the_start(
        new_nsqd, server_cert, tmp_path, content, text):
    path = tmp_path / 'ca.pem'
    if content is not None:
        path.write_text(content)
    nsqd = new_nsqd(*flags(server_cert, '--tls-root-ca-file=%s' % path),
                    start=False)
    log = nsqd.start_fails()
    assert 'failed to build TLS config - ' in log and text in log


# -- clients' certificates

def test_of_the_root_cas_those_count_that_can_be_read(
        tmp_path, new_nsqd, authority, server_cert, client_cert,
        stranger_cert):
    """A bundle that holds other things, too; one CA is enough."""
    with open(authority.cert, encoding='utf-8') as f:
        good = f.read()
    with open(server_cert[1], encoding='utf-8') as f:
        key = f.read()
    bad = ('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    bundle = tmp_path / 'bundle.pem'
    bundle.write_text('Some CA\n=======\n' + bad + key + good + good
                      + 'the last one\n' + bad)
    nsqd = new_nsqd(*flags(
        server_cert, '--tls-client-auth-policy=require-verify',
        '--tls-root-ca-file=%s' % bundle))
    with nsqd.connect() as client:
        upgrade(client, context(client_cert))
        client.expect_usable()
    refused(nsqd, context(stranger_cert), 'tls: failed to verify certificate: '
            'x509: certificate signed by unknown authority')


def refused(nsqd, ctx, text):
    """The handshake fails: the client is told so, and the log says why."""
    with nsqd.connect() as client:
        ask(client)
        with pytest.raises((ssl.SSLError, EOFError, AssertionError)):
            push(client, Tls, ctx)
            client.expect_ok()
    nsqd.wait_log('E_IDENTIFY_FAILED IDENTIFY failed ' + text)


@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
@pytest.mark.parametrize('with_ca', [False, True])
def test_require_takes_any_certificate(
        new_nsqd, authority, server_cert, client_cert, stranger_cert, version,
        with_ca):
    more = ['--tls-root-ca-file=' + authority.cert] if with_ca else []
    nsqd = new_nsqd(*flags(
        server_cert, '--tls-client-auth-policy=require', *more))
    for cert in (client_cert, stranger_cert):
        with nsqd.connect() as client:
            upgrade(client, context(cert, version=version))
            client.expect_usable()
    refused(nsqd, context(version=version),
            "tls: client didn't provide a certificate")


@pytest.mark.parametrize('policy', ['require', 'require-verify'])
def test_a_key_of_more_than_8192_bits_is_refused(
        new_nsqd, authority, server_cert, huge_client_cert, policy):
    """What is done with a key takes time and stack that grow with it."""
    nsqd = new_nsqd(*flags(server_cert, '--tls-client-auth-policy=' + policy,
                           '--tls-root-ca-file=' + authority.cert))
    for version in ('tls1.2', 'tls1.3'):
        refused(nsqd, context(huge_client_cert, version=version),
                'tls: client sent certificate containing RSA key larger than 8192 bits')


def test_a_public_exponent_of_more_than_31_bits_is_refused(
        new_nsqd, authority, server_cert, huge_exponent_cert):
    nsqd = new_nsqd(*flags(server_cert, '--tls-client-auth-policy=require',
                           '--tls-root-ca-file=' + authority.cert))
    for version in ('tls1.2', 'tls1.3'):
        refused(nsqd, context(huge_exponent_cert, version=version),
                'tls: failed to parse client certificate: ')


@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
def test_require_verify_takes_those_of_our_ca(
        new_nsqd, authority, server_cert, client_cert, stranger_cert, version):
    nsqd = new_nsqd(*flags(
        server_cert, '--tls-client-auth-policy=require-verify',
        '--tls-root-ca-file=' + authority.cert))
    with nsqd.connect() as client:
        upgrade(client, context(client_cert, version=version))
        client.expect_usable()
    refused(nsqd, context(version=version),
            "tls: client didn't provide a certificate")
    refused(nsqd, context(stranger_cert, version=version),
            'tls: failed to verify certificate: x509: certificate signed by '
            'unknown authority')
    # A server's certificate is none of a client's.
    refused(nsqd, context(server_cert, version=version),
            'tls: failed to verify certificate: x509: certificate specifies '
            'an incompatible key usage')


def test_require_verify_refuses_what_has_expired(
        new_nsqd, authority, server_cert):
    nsqd = new_nsqd(*flags(
        server_cert, '--tls-client-auth-policy=require-verify',
        '--tls-root-ca-file=' + authority.cert))
    expired = authority.issue('expired', usage='clientAuth', days='-1')
    refused(nsqd, context(expired), 'tls: failed to verify certificate: x509: '
            'certificate has expired or is not yet valid')


def test_require_verify_without_a_root_ca_file_knows_the_system_s_only(
        new_nsqd, server_cert, client_cert):
    nsqd = new_nsqd(*flags(
        server_cert, '--tls-client-auth-policy=require-verify'))
    refused(nsqd, context(client_cert),
            'tls: failed to verify certificate: x509: certificate signed by '
            'unknown authority')


@pytest.mark.parametrize('policy', ['', 'Require', 'verify'])
def test_other_policies_ask_for_no_certificate(
        new_nsqd, server_cert, stranger_cert, policy):
    nsqd = new_nsqd(*flags(
        server_cert, '--tls-client-auth-policy=' + policy))
    for cert in (None, stranger_cert):
        with nsqd.connect() as client:
            upgrade(client, context(cert))
            client.expect_usable()
    # But whatever it is, it implies --tls-required.
    with nsqd.connect() as client:
        client.command('NOP')
        if policy:
            client.expect_fatal(
                b'E_INVALID cannot NOP in current state (TLS required)')
        else:
            client.expect_usable()


# -- --tls-required

@pytest.mark.parametrize('required, http', [
    ('--tls-required', 403), ('--tls-required=true', 403),
    ('--tls-required=tcp-https', 200)])
def test_only_identify_is_allowed_before(
        new_nsqd, server_cert, required, http):
    nsqd = new_nsqd(*flags(server_cert, required))
    assert nsqd.get('/ping').status == http
    for command in [b'NOP', b'SUB t c', b'PUB t', b'MPUB t', b'DPUB t 1',
                    b'FIN x', b'RDY 1', b'REQ x 1', b'TOUCH x', b'CLS',
                    b'AUTH', b'what', b'', b'identify x', b'a\xffb']:
        with nsqd.connect() as client:
            client.send(command + b'\n')
            client.expect_fatal(
                b'E_INVALID cannot %s in current state (TLS required)'
                % command.split(b' ')[0])
    with nsqd.connect() as client:
        assert client.identify()['tls_v1'] is False
        client.command('NOP')
        client.expect_fatal(
            b'E_INVALID cannot NOP in current state (TLS required)')
    with nsqd.connect() as client:
        client.command('IDENTIFY', body=b'{}')
        client.expect_ok()
        client.command('PUB', 't', body=b'x')
        client.expect_fatal(
            b'E_INVALID cannot PUB in current state (TLS required)')
    with nsqd.connect() as client:
        upgrade(client)
        client.expect_usable()


@pytest.mark.parametrize('value', ['false', '0'])
def test_not_required(new_nsqd, server_cert, value):
    nsqd = new_nsqd(*flags(server_cert, '--tls-required=' + value))
    with nsqd.connect() as client:
        client.expect_usable()


@pytest.mark.parametrize('flag', ['--tls-required', '--tls-required=tcp-https',
                                  '--tls-client-auth-policy=require'])
def test_it_cannot_be_required_without_a_certificate(new_nsqd, flag):
    assert ('cannot require TLS client connections without TLS key and cert'
            in new_nsqd(flag, start=False).start_fails())


# -- auth

@pytest.mark.parametrize('policy, with_cert, name', [
    ('', False, ''), ('', True, ''), ('require', True, 'a client')])
def test_the_auth_server_is_told(
        new_nsqd, authds, server_cert, client_cert, policy, with_cert, name):
    server = authds()
    nsqd = new_nsqd(*flags(
        server_cert, '--auth-http-address=' + server.address,
        '--tls-client-auth-policy=' + policy))
    with nsqd.connect() as client:
        upgrade(client, context(client_cert if with_cert else None))
        client.command('AUTH', body=b'secret')
        assert client.frame()[0] == RESPONSE
    path = str(server.requests[0])
    assert 'tls=true' in path
    assert 'common_name=%s&' % name.replace(' ', '+') in path


# -- handshakes that fail

def test_what_is_no_tls_is_refused_in_the_clear(client):
    ask(client)
    client.command('NOP')
    client.socket.sendall(b'x' * 100)
    kind, data = client.frame()
    assert (kind, data) == (ERROR, b'E_IDENTIFY_FAILED IDENTIFY failed tls: '
                            b'first record does not look like a TLS handshake')
    client.expect_closed()


def test_a_client_that_leaves(client, nsqd):
    ask(client)
    client.half_close()
    client.expect(frame(ERROR, b'E_IDENTIFY_FAILED IDENTIFY failed EOF'))
    client.expect_closed()


def test_a_handshake_has_5_seconds(client):
    ask(client)
    client.send(b'\x16\x03')
    start = time.monotonic()
    kind, data = client.frame(20)
    assert time.monotonic() - start > 4.5
    assert kind == ERROR
    assert data.startswith(b'E_IDENTIFY_FAILED IDENTIFY failed ')
    assert data.endswith(b'i/o timeout')
    client.expect_closed()


@pytest.mark.ours(reason='the alert and the order differ')
def test_a_client_without_a_common_cipher_is_told(client):
    ask(client)
    with pytest.raises(ssl.SSLError, match='HANDSHAKE_FAILURE|handshake fail'):
        push(client, Tls, context(version='tls1.2', ciphers='AES128-SHA'))


def test_others_are_served_while_some_never_shake_hands(nsqd):
    silent = [nsqd.connect() for _ in range(50)]
    try:
        for client in silent:
            ask(client)
        with nsqd.connect() as client:
            upgrade(client)
            client.expect_usable()
        # Statistics do not wait for them, either.
        start = time.monotonic()
        nsqd.stats()
        assert time.monotonic() - start < 4 * SCALE
    finally:
        for client in silent:
            client.close()


# -- ends

def read_all(client):
    """What comes until the end, and whether that was announced."""
    data, client.buffer = client.buffer, b''
    client.socket.settimeout(DEADLINE)
    while True:
        more = client.socket.recv(65536)
        if not more:
            break
        data += more
    layer = client.socket
    while not isinstance(layer, Tls):
        layer = layer.below
    return data, layer.closed


CLOSES = pytest.mark.ours(reason='it closes without a close-notify')


@CLOSES
@pytest.mark.parametrize('version', ORDER)
@pytest.mark.parametrize('stack', [{}, {'snappy': True}])
def test_the_exit_announces_the_end(new_nsqd, server_cert, version, stack):
    nsqd = new_nsqd(*flags(server_cert, '--snappy=true'))
    with nsqd.connect() as idle, nsqd.connect() as consumer:
        upgrade(idle, context(version=version), **stack)
        upgrade(consumer, context(version=version), **stack)
        consumer.sub('t', 'ch')
        consumer.rdy(10)
        idle.pub('t', 'x')
        assert consumer.message().body == b'x'
        nsqd.stop()     # which has a deadline
        assert read_all(idle) == (b'', True)
        assert read_all(consumer) == (b'', True)


@CLOSES
def test_the_end_of_a_connection_is_announced(nsqd):
    with nsqd.connect() as client:
        upgrade(client)
        client.command('what')
        assert read_all(client) == (
            frame(ERROR, b'E_INVALID invalid command what'), True)
    topic = nsqd.topic()
    with nsqd.connect() as client:
        upgrade(client)
        client.sub(topic, 'ch')
        nsqd.post('/channel/delete?topic=%s&channel=ch' % topic)
        assert read_all(client) == (b'', True)
    with nsqd.connect() as client:
        upgrade(client)
        client.socket.close_notify()
        assert read_all(client) == (b'', True)


@CLOSES
@pytest.mark.parametrize('secure', [False, True])
def test_at_the_exit_what_was_published_is_answered(
        new_nsqd, server_cert, secure):
    """As many OKs as there are messages, whole, and then the end."""
    nsqd = new_nsqd(*flags(server_cert))
    counts = []

    def publish():
        with nsqd.connect() as client:
            if secure:
                upgrade(client)
            while True:
                try:
                    client.command('PUB', 'full', body=b'y')
                    data = client.read(len(OK))
                    assert data == OK, data
                    counts.append(1)
                except EOFError as error:
                    # Nothing but whole frames.
                    assert "b''" in str(error), error
                    break
                except OSError:
                    break
    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(counts) > 200, lambda: 'some are published')
    nsqd.stop()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    nsqd.start()
    assert nsqd.topic_stats('full')['depth'] == len(counts)


def test_who_does_not_read_does_not_hold_up_the_exit(new_nsqd, server_cert):
    check_exit_without_readers(new_nsqd(*flags(server_cert)), upgrade)


def test_handshakes_do_not_hold_up_the_exit(new_nsqd, server_cert):
    nsqd = new_nsqd(*flags(server_cert))
    clients = [nsqd.connect() for _ in range(20)]
    for client in clients:
        ask(client)
    start = time.monotonic()
    nsqd.stop()
    assert time.monotonic() - start < 4 * SCALE
    for client in clients:
        client.close()


def test_publishers_that_never_stop_do_not_hold_up_the_exit(
        new_nsqd, server_cert):
    nsqd = new_nsqd(*flags(server_cert))
    stopping = threading.Event()

    def flood():
        with nsqd.connect() as client:
            try:
                upgrade(client)
                while not stopping.is_set():
                    client.send(b'PUB full#ephemeral\n\0\0\0\1x' * 500)
                    client.read(500 * len(OK))
            except (OSError, EOFError, TimeoutError, AssertionError):
                pass    # also in the middle of the handshake
    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: nsqd.topic_stats('full#ephemeral'),
               lambda: 'they publish')
    nsqd.stop()     # which has a deadline
    stopping.set()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.mark.parametrize('version', ['tls1.2', 'tls1.3'])
@pytest.mark.parametrize('sent, alert', [
    (b'PUB t\n', 'PROTOCOL_VERSION'), (b'\x16\x03\x01\0\x08', 'PROTOCOL_VERSION'),
    (b'\x17\x03\x03\x48\x48', 'RECORD_OVERFLOW')])
def test_a_client_that_goes_on_without_tls_is_told_at_once(nsqd, version, sent, alert):
    """Not when all that a record would have has come in, which may be never."""
    with nsqd.connect() as client:
        upgrade(client, context(version=version))
        client.socket.below.sendall(sent)
        with pytest.raises(ssl.SSLError, match=alert):
            client.socket.recv(1)


def test_a_record_of_garbage_ends_the_connection(nsqd):
    with nsqd.connect() as client:
        upgrade(client, context(version='tls1.2'))
        client.socket.below.sendall(b'\x16\x03\x03\x00\x20' + b'x' * 32)
        with pytest.raises(ssl.SSLError, match='(?i)bad.record.mac'):
            client.socket.recv(100)
    with nsqd.connect() as client:
        client.expect_usable()


# -- under load

def test_consumers_under_load(new_nsqd, server_cert):
    """Both threads of a connection at once; ThreadSanitizer looks on."""
    nsqd = new_nsqd(*flags(server_cert, '--snappy=true'))
    nsqd.create('load', 'ch')
    total, got, lock = int(20000 / SCALE), set(), threading.Lock()
    errors = []

    def consumer():
        try:
            with nsqd.connect() as client:
                upgrade(client, snappy=True)
                client.sub('load', 'ch')
                client.rdy(500)
                while True:
                    with lock:
                        if len(got) >= total:
                            return
                    try:
                        kind, data = client.answer(1)
                    except TimeoutError:
                        continue
                    if kind == MESSAGE:
                        message = Message(data)
                        client.fin(message)
                        with lock:
                            got.add(message.body)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    def publisher(which):
        try:
            with nsqd.connect() as client:
                upgrade(client, snappy=True)
                for at in range(which, total, 200):
                    bodies = [b'%d ' % i + b'z' * (i % 900)
                              for i in range(at, min(at + 100, total))]
                    client.command('MPUB', 'load', body=mpub_body(bodies))
                    client.expect_ok()
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=consumer) for _ in range(3)]
    threads += [threading.Thread(target=publisher, args=(i * 100,))
                for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * DEADLINE)
        assert not thread.is_alive(), len(got)
    assert not errors, errors
    assert len(got) == total
