"""docs/troubleshooting.md: symptoms that can be made here are made, and looked up on the page.

`make docs` compares the texts with the code (test/docs/troubles.py). Here each cause of a row is
brought about, and what is then seen must have the row's text.
"""

import json
import os
import re
import resource
import signal
import subprocess

import pytest

from nsq import binary, dead_address, wait_until
from pages import DOCS

pytestmark = pytest.mark.ours(reason='the page is about this daemon')


def first_column():
    """The texts in backquotes of the page's symptoms, as patterns: {text: pattern}."""
    with open(os.path.join(DOCS, 'troubleshooting.md'), encoding='utf-8') as f:
        cells = [line.split('|')[1] for line in f if line.startswith('|')]
    texts = [t for cell in cells for t in re.findall(r'`([^`]+)`', cell)]
    return {t: re.compile('.*'.join(map(re.escape, t.split('...')))) for t in texts}


PATTERNS = first_column()


def assert_seen(symptom, text):
    assert symptom in PATTERNS, 'the page has no such symptom'
    assert PATTERNS[symptom].search(text), '%r is not in %s' % (symptom, text[-3000:])


def wait_seen(symptom, daemon):
    assert symptom in PATTERNS, 'the page has no such symptom'
    wait_until(lambda: PATTERNS[symptom].search(daemon.log()), lambda: '%s: %s' % (
        symptom, daemon.log()[-3000:]))


def failed_start(*flags, directory):
    done = subprocess.run(
        [binary(), '--tcp-address=127.0.0.1:0', '--http-address=127.0.0.1:0', *flags],
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode != 0
    return done.stdout


# -- it does not start

def test_a_data_path_in_use(new_nsqd, tmp_path):
    daemon = new_nsqd()
    assert_seen('cannot flock directory ... (possibly in use by another instance of nsqd)',
                failed_start('--data-path=' + daemon.data_path, directory=tmp_path))


def test_a_port_in_use(new_nsqd, tmp_path):
    daemon = new_nsqd()
    assert_seen('listen (...) failed - ', failed_start(
        '--data-path=%s' % tmp_path, '--tcp-address=127.0.0.1:%d' % daemon.tcp_port,
        directory=tmp_path))


@pytest.mark.parametrize('symptom, flags', [
    ('failed to lock data-path: ...', ['--data-path=/nowhere']),
    ('failed to load config file ...', ['--config=broken.cfg']),
    ('flag provided but not defined: ...', ['--max-rdy-cuont=5']),
    ('failed to build TLS config - ', ['--tls-cert=no.pem', '--tls-key=no.pem']),
    ('cannot require TLS client connections without TLS key and cert', ['--tls-required']),
    ('failed to parse metadata in ... - invalid JSON', ['--data-path=broken']),
])
def test_a_start_that_fails(symptom, flags, tmp_path):
    (tmp_path / 'broken.cfg').write_text('data_path = \n', encoding='utf-8')
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'nsqd.dat').write_text('{', encoding='utf-8')
    assert_seen(symptom, failed_start(*flags, directory=tmp_path))


# -- errors

def test_a_disk_that_refuses(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    # The log, which is a file as well, is shorter than that.
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (500000, 1 << 20))
    large = b'x' * 600000
    with daemon.connect() as client:
        client.command('PUB', 't', body=large)
        assert_seen('E_PUB_FAILED', client.answer()[1].decode())
    assert daemon.post('/pub?topic=t', large).status == 503
    wait_seen('failed to write message to backend - ...', daemon)
    ping = daemon.get('/ping')
    assert ping.status == 500
    assert_seen('NOK - ...', ping.body.decode())
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20,) * 2)
    assert daemon.post('/pub?topic=t', b'x').status == 200
    assert daemon.get('/ping').status == 200


@pytest.mark.parametrize('symptoms, words, body', [
    (['E_BAD_MESSAGE'], ['PUB', 't'], b'x' * 11),
    (['E_BAD_BODY'], ['MPUB', 't'], b'x' * 21),
    (['E_BAD_TOPIC'], ['PUB', 'no!'], b'x'),
    (['E_INVALID', 'RDY count ... out of range'], ['RDY', '2501'], None),
    (['E_SUB_FAILED'], ['SUB', 't', 'full'], None),
])
def test_errors_of_the_protocol(new_nsqd, symptoms, words, body):
    daemon = new_nsqd('--max-msg-size=10', '--max-body-size=20', '--max-channel-consumers=1')
    with daemon.subscribe('t', 'full'), daemon.connect() as client:
        if words[0] == 'RDY':
            client.sub('t', 'ch')
        client.command(*words, body=body)
        text = client.answer()[1].decode()
    for symptom in symptoms:
        assert_seen(symptom, text)


@pytest.mark.parametrize('symptom, path, body', [
    ('MSG_TOO_BIG', '/pub?topic=t', b'x' * 11),
    ('BODY_TOO_BIG', '/mpub?topic=t', b'x' * 21),
    ('INVALID_TOPIC', '/pub?topic=no!', b'x'),
])
def test_errors_by_http(new_nsqd, symptom, path, body):
    daemon = new_nsqd('--max-msg-size=10', '--max-body-size=20')
    assert_seen(symptom, daemon.post(path, body).body.decode())


def configure(daemon, **settings):
    answer = daemon.http('PUT', '/topic/config?topic=t', json.dumps(settings))
    assert answer.status == 200, answer


def test_a_topic_that_is_full(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t')
    configure(daemon, no_channel='reject')
    with daemon.connect() as client:
        client.command('PUB', 't', body=b'x')
        assert_seen('no channel', client.answer()[1].decode())
        client.expect_closed()
    assert_seen('NO_CHANNEL', daemon.post('/pub?topic=t', b'x').body.decode())
    with daemon.connect() as client:
        configure(daemon, no_channel=None, max_depth=1)
        client.pub('t', b'x')
        client.command('PUB', 't', body=b'x')
        text = client.answer()[1].decode()
        assert_seen('E_PUB_FAILED', text)
        assert_seen('... is full: ...', text)
    assert_seen('TOPIC_FULL', daemon.post('/pub?topic=t', b'x').body.decode())
    daemon.create('t', 'ch')
    daemon.wait_channel('t', 'ch', depth=1)
    assert_seen('CHANNEL_FULL', daemon.post('/pub?topic=t', b'x').body.decode())


@pytest.mark.parametrize('flag, symptom', [('--max-memory-bytes=1', 'MEMORY_FULL'),
                                           ('--min-free-disk=100%', 'DISK_FULL')])
def test_a_host_that_is_full(new_nsqd, flag, symptom):
    daemon = new_nsqd(flag)
    with daemon.connect() as client:
        client.command('PUB', 't', body=b'xx')
        assert_seen('... is full: --...', client.answer()[1].decode())
    assert_seen(symptom, daemon.post('/pub?topic=t', b'xx').body.decode())
    wait_seen('NSQ: --... is reached: publishers are refused', daemon)


def test_dead_letters_that_wait_and_a_channel_that_goes(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    os.mkdir(os.path.join(daemon.data_path, 'dead.dead-letters.dat'))
    configure(daemon, max_attempts=1, dead_letter_topic='dead')
    with daemon.subscribe('t', 'ch', 1) as client:
        daemon.pub('t', 'x')
        client.req(client.message())
        wait_seen('CHANNEL(...): ... dead letters wait, since topic(...) refuses them - ...', daemon)
    configure(daemon, channel_expire='1ms')
    wait_seen('CHANNEL(...): expired, no consumer for ... (channel_expire)', daemon)


def test_settings_that_cannot_be_read(tmp_path):
    config = tmp_path / 'nsqd.cfg'
    config.write_text('[[policy]]\nmatch = "*"\nmax_deep = 1\n', encoding='utf-8')
    said = failed_start('--config=%s' % config, '--data-path=%s' % tmp_path, directory=tmp_path)
    assert_seen('failed to load config file ...', said)
    assert_seen('there is no setting ...', said)
    (tmp_path / 'nsqd.settings.json').write_text('{', encoding='utf-8')
    assert_seen('failed to read settings from ...',
                failed_start('--data-path=%s' % tmp_path, directory=tmp_path))


def test_a_drain(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'ch')
    daemon.pub('t', 'x')
    assert daemon.http('PUT', '/config/drain', b'true').status == 200
    with daemon.connect() as client:
        client.command('PUB', 't', body=b'x')
        text = client.answer()[1].decode()
    assert_seen('PUB failed ...', text)
    assert_seen('draining', text)
    assert_seen('DRAINING', daemon.post('/pub?topic=t', b'x').body.decode())


def test_auth(new_nsqd):
    daemon = new_nsqd('--auth-http-address=' + dead_address())
    with daemon.connect() as client:
        client.command('PUB', 't', body=b'x')
        assert_seen('E_AUTH_FIRST', client.answer()[1].decode())
    with daemon.connect() as client:
        client.command('AUTH', body=b'x')
        assert_seen('E_AUTH_FAILED', client.answer()[1].decode())
    daemon.wait_log('failed to auth against')


@pytest.mark.parametrize('command', ['FIN', 'REQ', 'TOUCH'])
def test_a_message_that_somebody_else_has(new_nsqd, command):
    daemon = new_nsqd(scanned=1)
    topic = daemon.scanned_topic()
    with daemon.subscribe(topic, 'ch', rdy=1, msg_timeout=1000) as client:
        daemon.pub(topic, 'x')
        message = client.message()
        client.rdy(0)
        stats = daemon.wait_channel(topic, 'ch', timeout_count=1)
        assert_seen('timeout_count', json.dumps(stats))
        words = [command, message.id] + ([0] if command == 'REQ' else [])
        client.command(*words)
        assert_seen('E_%s_FAILED' % command, client.answer()[1].decode())


# -- the log

def test_a_lookupd_that_is_not_there(new_nsqd):
    wait_seen('LOOKUPD(...): connecting - ...', new_nsqd('--lookupd-tcp-address=' + dead_address()))


def test_somebody_who_speaks_no_nsq(new_nsqd):
    daemon = new_nsqd()
    with daemon.connect(magic=b'GET / HTTP/1.0\r\n\r\n') as client:
        client.answer()
    wait_seen('bad protocol magic', daemon)


def test_damage_on_the_disk(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t')
    daemon.pub('t', *[b'%d.' % i * 100 for i in range(10)])
    daemon.wait_topic('t', depth=10)
    daemon.stop()
    path = os.path.join(daemon.data_path, 't.diskqueue.000000.dat')
    with open(path, 'r+b') as f:
        f.seek(3 * 230)
        f.write(b'\xff' * 30)
    daemon.start()
    with daemon.subscribe('t', 'ch', rdy=20) as client:
        for _ in range(9):
            client.fin(client.message())
        wait_seen('DISKQUEUE(...) reading at ... of ... - ..., skipping ... bytes', daemon)
        assert_seen('damaged record', daemon.log())
        wait_seen('DISKQUEUE(...) jump to next file and saving bad file as ...', daemon)
    assert os.path.exists(path + '.bad')


def test_metadata_that_are_older_than_the_data(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t')
    daemon.pub('t', *['x'] * 10)
    daemon.wait_topic('t', depth=10)
    daemon.stop()
    path = os.path.join(daemon.data_path, 't.diskqueue.meta.dat')
    for depth, symptom in ((0, 'metadata writePos ... < file size of ..., recovering'),
                           (5, 'does not fit the data files, counting them')):
        with open(path, 'w', encoding='ascii') as f:
            f.write('%d\n0,0\n0,0\n' % depth)
        daemon.start()
        wait_seen(symptom, daemon)
        daemon.wait_topic('t', depth=10)
        daemon.stop()
    daemon.start()


def test_a_reload_that_fails(new_nsqd, tmp_path):
    config = tmp_path / 'cfg'
    config.write_text('', encoding='utf-8')
    daemon = new_nsqd('--config=%s' % config)
    config.write_text('nonsense', encoding='utf-8')
    daemon.process.send_signal(signal.SIGHUP)
    wait_seen('NSQ: failed to reload, nothing has changed - ...', daemon)


def test_descriptors_that_run_out(new_nsqd):
    daemon = new_nsqd()
    used = daemon.descriptors()
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (used + 20, 20000))
    clients = [daemon.connect() for _ in range(25)]
    wait_seen('closing new client(...), the last of ... descriptors are for others', daemon)
    for client in clients:
        client.close()
    assert daemon.get('/ping').body == b'OK'
