"""The command line of the operator: --check-config, --inspect-data, --version=long."""

import ctypes
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess

import pytest

from certs import authority, server_cert    # noqa: F401 (fixtures)
from nsq import DEADLINE, SANITIZER, SCALE, binary, not_tested, wait_until

pytestmark = pytest.mark.ours(reason='stock has no such flags')


def nsqd_says(*flags, cwd=None, code=None):
    """Run nsqd with these flags to its end. Returns its output, its errors and its code."""
    run = subprocess.run([binary(), *flags], capture_output=True, cwd=cwd,
                         timeout=DEADLINE * 3, check=False)
    out, err = run.stdout.decode(), run.stderr.decode(errors='replace')
    assert not SANITIZER.search(err), err
    if code is not None:
        assert run.returncode == code, out + err
    return out, err, run.returncode


def check_config(*flags, code, cwd=None):
    out, err, _ = nsqd_says('--check-config', *flags, code=code, cwd=cwd)
    return out + err


def inspect(path, *flags, code=0):
    """What --inspect-data says as JSON."""
    out, _, _ = nsqd_says('--inspect-data', '--format=json', '--data-path=' + str(path), *flags,
                          code=code)
    return json.loads(out)


def queues(answer):
    return {q['queue']: q for q in answer['queues']}


def snapshot(path):
    """All that can be seen of a directory, but for the times of access."""
    found = {}
    for name in [''] + sorted(os.listdir(path)):
        st = os.lstat(os.path.join(path, name))
        found[name] = (st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino)
    return found


# -- version

def test_version_is_one_line_and_long_begins_with_it():
    out, err, _ = nsqd_says('--version', code=0)
    assert re.fullmatch(r'nsqd v1\.3\.0 \(built w/.+\)\n', out) and err == ''
    more, err, _ = nsqd_says('--version=long', code=0)
    assert more.startswith(out) and err == ''
    assert re.search(r'^compiler: .+$', more, re.M) and re.search(r'^flags: .*-O', more, re.M)
    assert os.path.dirname(os.path.dirname(binary())) not in more


# -- check-config

def test_what_would_start_is_said_in_one_line_and_nothing_is_written(tmp_path):
    before = snapshot(tmp_path)
    out, err, _ = nsqd_says('--check-config', '--data-path=%s' % tmp_path, code=0)
    assert out == 'nsqd would start (config file: none, data path: %s)\n' % tmp_path
    assert err == ''
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize('flags', [
    ['--node-id=1024'],
    ['--max-deflate-level=0'],
    ['--mem-queue-size=-1'],
    ['--tls-required'],
    ['--tls-cert=nope.pem', '--tls-key=nope.key'],
    ['--tls-root-ca-file=nope.pem'],
    ['--http-address=127.0.0.1:99999'],
    ['--http-address=127.0.0.1:nosuchservice'],
    ['--tcp-address=nope/nsqd.sock'],
    ['--tcp-address=' + 'x' * 200],
    ['--data-path=nope'],
    ['--data-path=/dev/null'],
    ['--config=nope.cfg'],
    ['--auth-http-request-method=put'],
    ['--e2e-processing-latency-percentile=2'],
], ids=lambda flags: ' '.join(flags)[:60])
def test_what_it_says_is_what_the_start_says(new_nsqd, flags):
    daemon = new_nsqd(*flags, start=False)
    said = check_config(*daemon.command()[1:], code=1, cwd=daemon.directory)
    log = daemon.start_fails()
    reason = re.search(r' FATAL: (?:failed to instantiate nsqd - )?(.*)$', log, re.M)[1]
    if 'address' in flags[0]:
        # Which flag it is, a start leaves to the reader.
        assert reason in said
    else:
        assert reason in said.replace('error: ', ''), (reason, said)


def test_all_errors_are_named_at_once(tmp_path):
    (tmp_path / 'nsqd.dat').write_text('{')
    said = check_config('--node-id=-1', '--tls-cert=nope', '--tls-key=nope', '--data-path=.',
                        '--https-address=/a/path', '--http-address=:99999',
                        '--tls-root-ca-file=nope', code=1, cwd=tmp_path)
    errors = re.findall(r'^error: (.*)$', said, re.M)
    assert len(errors) == 6, said
    assert 'nsqd would not start: 6 errors ' in said


def test_each_key_of_the_config_file_is_looked_at(tmp_path):
    config = tmp_path / 'nsqd.cfg'
    config.write_text('max_rdy_count = "x"\nunknown = 5\nmsg_timeout = true\nsnappy = true\n')
    said = check_config('--config=%s' % config, '--data-path=%s' % tmp_path, code=1)
    assert 'line 1: invalid value for max_rdy_count' in said
    assert 'line 3: invalid value for msg_timeout' in said
    config.write_text('unknown = 5\nsnappy = true\n')
    said = check_config('--config=%s' % config, '--data-path=%s' % tmp_path, code=0)
    assert 'unknown key unknown is ignored' in said
    assert 'nsqd would start (config file: %s,' % config in said


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{"topics": 5}', b'\0' * 100,
                                     b'{"topics": [{"name": 5}]}'])
def test_an_nsqd_dat_that_ends_the_start_is_an_error(tmp_path, content):
    (tmp_path / 'nsqd.dat').write_bytes(content)
    said = check_config('--data-path=%s' % tmp_path, code=1)
    assert 'error: failed to load metadata - failed to parse metadata in ' in said
    answer = inspect(tmp_path, code=1)
    assert answer['nsqd_dat'] == 'unusable'


def test_one_address_for_two_listeners_is_an_error(tmp_path):
    path = '--data-path=%s' % tmp_path
    said = check_config(path, '--tcp-address=:4150', '--http-address=:4150', code=1)
    assert '--tcp-address and --http-address are one address: :4150' in said
    check_config(path, '--tcp-address=:0', '--http-address=:0', code=0)
    check_config(path, '--tcp-address=', '--http-address=', code=0)


def test_certificates_are_read_and_dates_are_warned_of(
        tmp_path, server_cert, authority):    # noqa: F811
    path = '--data-path=%s' % tmp_path
    cert, key = server_cert
    said = check_config(path, '--tls-cert=' + cert, '--tls-key=' + key, '--tls-required', code=0)
    assert 'warning: --tls-cert %s: certificate 1 expires within 30 days\n' % cert in said
    other_key = authority.issue('another', rsa=2048)[1]
    said = check_config(path, '--tls-cert=' + cert, '--tls-key=' + other_key, code=1)
    assert 'private key does not match public key' in said
    old, key = authority.issue('old', days='-1')
    said = check_config(path, '--tls-cert=' + old, '--tls-key=' + key, code=0)
    assert 'warning: --tls-cert %s: certificate 1 has expired\n' % old in said


def test_it_runs_beside_the_daemon(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.create('t', 'ch')
    flags = ['--data-path=' + daemon.data_path,
             '--tcp-address=127.0.0.1:%d' % daemon.tcp_port,
             '--http-address=127.0.0.1:%d' % daemon.http_port]
    wait_until(lambda: 't' in daemon.metadata(), 'nsqd.dat has the topic')
    for _ in range(5):
        assert 'nsqd would start' in check_config(*flags, code=0)
        answer = inspect(daemon.data_path)
        assert answer['in_use'] is True and 't' in queues(answer)
    daemon.pub('t', 'x')
    daemon.wait_channel('t', 'ch', depth=1)


# -- inspect-data

@pytest.mark.parametrize('crash', [False, True])
def test_depths_are_those_that_the_next_start_shows(new_nsqd, crash):
    daemon = new_nsqd('--mem-queue-size=0', '--max-bytes-per-file=1000')
    daemon.create('lonely')
    daemon.pub('lonely', *['x' * i for i in range(1, 60)])
    # After a crash a topic may hand out again what its channels have already.
    channels = [] if crash else ['ch', 'other']
    if channels:
        daemon.create('t', *channels)
        daemon.pub('t', *['x' * i for i in range(1, 60)])
        daemon.wait_channel('t', 'other', depth=59)
        with daemon.subscribe('t', 'ch', 1) as client:
            for _ in range(7):
                client.fin(client.message())
            daemon.wait_channel('t', 'ch', depth=51, in_flight_count=1)
    wait_until(lambda: len(daemon.metadata()) == (1 if crash else 2), 'nsqd.dat has all')
    if crash:
        daemon.process.kill()
        daemon.process.wait()
    else:
        daemon.stop()
    answer = inspect(daemon.data_path, '--max-bytes-per-file=1000')
    assert answer['in_use'] is False and answer['nsqd_dat'] == 'ok'
    found = queues(answer)
    assert len(found) == (1 if crash else 4)
    daemon.start()
    assert found['lonely']['depth'] == found['lonely']['messages'] == 59
    assert daemon.topic_stats('lonely')['depth'] == 59
    for channel in channels:
        depth = daemon.channel_stats('t', channel)['depth']
        entry = found['t:' + channel]
        assert entry['depth'] == entry['messages'] == depth == (52 if channel == 'ch' else 59)
        assert (entry['topic_name'], entry['channel_name']) == ('t', channel)


def test_paused_stray_bad_and_other_files(tmp_path):
    record = struct.pack('>IqH16s', 27, 1700000000 * 10**9, 1, b'0123456789abcdef') + b'x'
    (tmp_path / 'nsqd.dat').write_text(json.dumps({'version': '1.3.0', 'topics': [
        {'name': 't', 'paused': True, 'channels': [{'name': 'c', 'paused': False},
                                                   {'name': 'not valid'}]},
        {'name': 'no name!'}, {'name': 'e#ephemeral'}, {'name': 't'}]}))
    (tmp_path / 't.diskqueue.000000.dat').write_bytes(record * 3)
    (tmp_path / 't.diskqueue.meta.dat').write_text('3\n0,0\n0,%d\n' % (3 * len(record)))
    (tmp_path / 't.diskqueue.000009.dat').write_bytes(record)
    (tmp_path / 'old:c.diskqueue.000004.dat').write_bytes(record * 2)
    (tmp_path / 't.diskqueue.000001.dat.bad').write_bytes(b'x' * 10)
    (tmp_path / 't:c.diskqueue.meta.dat.0.tmp').write_bytes(b'')
    (tmp_path / 'nsqd.dat.5.tmp').write_bytes(b'')
    (tmp_path / 'a b"\n.diskqueue.000000.dat').write_bytes(b'')
    (tmp_path / 'directory').mkdir()
    before = snapshot(tmp_path)
    answer = inspect(tmp_path)
    found = queues(answer)
    assert list(found) == ['t', 't:c', 'e#ephemeral']
    assert found['t']['paused'] and not found['t:c']['paused']
    assert found['t']['depth'] == 3 and found['t:c']['depth'] == 0
    assert [q['queue'] for q in answer['stray_queues']] == ['old:c']
    assert answer['stray_queues'][0]['messages'] == 2
    kinds = {f['name']: f['kind'] for f in answer['strange_files']}
    assert kinds == {'t.diskqueue.000009.dat': 'stray', 't.diskqueue.000001.dat.bad': 'bad',
                     't:c.diskqueue.meta.dat.0.tmp': 'temporary', 'nsqd.dat.5.tmp': 'temporary',
                     'a b"\n.diskqueue.000000.dat': 'other', 'directory': 'other'}
    totals = answer['totals']
    assert (totals['topics'], totals['channels'], totals['stray_queues']) == (2, 1, 1)
    assert totals['depth'] == 5 and totals['bad_files'] == 1 and totals['strange_files'] == 6
    text, err, _ = nsqd_says('--inspect-data', '--data-path=%s' % tmp_path, code=0)
    assert 'topic t (paused): depth 3, 3 messages in %d bytes of 1 files' % (3 * len(record)) \
        in text
    assert 'stray queue old:c: depth 2' in text
    assert '"no name!"' in err and '"not valid"' in err
    assert snapshot(tmp_path) == before


def test_what_cannot_be_looked_at_is_an_error(tmp_path):
    for path in tmp_path / 'nope', '/dev/null':
        out, err, _ = nsqd_says('--inspect-data', '--data-path=%s' % path, code=1)
        assert 'nsqd: cannot inspect the data path: open %s: ' % path in err
    os.mkfifo(tmp_path / 'fifo')
    nsqd_says('--inspect-data', '--data-path=%s/fifo' % tmp_path, code=1)
    os.mkfifo(tmp_path / 'nsqd.dat')
    assert inspect(tmp_path, code=1)['nsqd_dat'] == 'unusable'
    os.unlink(tmp_path / 'nsqd.dat')
    os.mkfifo(tmp_path / 't.diskqueue.meta.dat')
    (tmp_path / 'nsqd.dat').write_text('{"topics":[{"name":"t"}]}')
    answer = inspect(tmp_path, code=1)
    assert 'not a regular file' in queues(answer)['t']['error']
    assert answer['totals']['unreadable_queues'] == 1


def test_a_data_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / 'nsqd.dat').write_text('{"topics":[{"name":"t"}]}')
    (tmp_path / 't.diskqueue.meta.dat').write_text('5\n0,0\n1,0\n')
    (tmp_path / 't.diskqueue.000000.dat').mkdir()
    answer = inspect(tmp_path, code=1)
    assert answer['totals']['unreadable_files'] == queues(answer)['t']['unreadable_files'] == 1
    _, err, _ = nsqd_says('--inspect-data', '--data-path=%s' % tmp_path, code=1)
    assert 'nsqd: data files that cannot be read: 1\n' in err


def test_sizes_that_a_start_refuses_are_refused(tmp_path):
    for size in '0', '-1', '2147483647', '3000000000':
        out, err, _ = nsqd_says('--inspect-data', '--data-path=%s' % tmp_path,
                                '--max-msg-size=' + size, code=1)
        assert out == '' and '--max-msg-size must be [1,' in err


IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED, IN_CREATE, IN_DELETE = \
    0x2, 0x4, 0x8, 0xc0, 0x100, 0x200


def damaged_directory(path, seed):
    """A data path with anything in it."""
    rng = random.Random(seed)
    names = ['t', 't:c', 't:d', 'u', 'stray', 'stray:c']
    record = struct.pack('>IqH16s', 46, 1700000000 * 10**9, 1, b'0123456789abcdef') + b'x' * 20

    def junk(size):
        return rng.choice([rng.randbytes(size), b'\0' * size, b'\xff' * size,
                           bytes(rng.choices(b'0123456789abcdef,\n-', k=size))])
    for _ in range(rng.randrange(30)):
        name = '%s.diskqueue.%s' % (rng.choice(names), rng.choice(
            ['meta.dat', '%06d.dat' % rng.randrange(4), '%06d.dat' % rng.randrange(10**9),
             '000001.dat.bad', 'meta.dat.0.tmp', 'x']))
        content = bytearray(record * rng.randrange(50))
        if rng.random() < 0.7 and content:
            at = rng.randrange(len(content))
            content[at:at + rng.randrange(80)] = junk(rng.randrange(80))
        if 'meta' in name:
            content = rng.choice([
                junk(rng.randrange(100)),
                b'%d\n%d,%d\n%d,%d\n' % tuple(rng.choice([-1, 0, 1, 2, 50, 1500, 10**6, 10**15,
                                                          2**63 - 1]) for _ in range(5))])
        (path / name).write_bytes(content)
    metadata = json.dumps({'topics': [{'name': 't', 'channels': [{'name': 'c'}, {'name': 'd'}]},
                                      {'name': 'u'}]}).encode()
    if rng.random() < 0.3:
        at = rng.randrange(len(metadata))
        metadata = metadata[:at] + junk(rng.randrange(20)) + metadata[at:]
    (path / 'nsqd.dat').write_bytes(metadata)


@pytest.mark.parametrize('seed', range(30))
def test_nothing_is_written_whatever_the_files_hold(tmp_path, seed):
    path = tmp_path / 'data'
    path.mkdir()
    damaged_directory(path, seed)
    before = snapshot(path)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0
    try:
        assert libc.inotify_add_watch(
            fd, bytes(path),
            IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED | IN_CREATE | IN_DELETE) >= 0
        out, _, code = nsqd_says('--inspect-data', '--format=json', '--data-path=%s' % path)
        text, _, code_of_text = nsqd_says('--inspect-data', '--data-path=%s' % path)
        check_code = nsqd_says('--check-config', '--data-path=%s' % path)[2]
        with pytest.raises(BlockingIOError):
            os.read(fd, 4096)
        # The watch works.
        os.utime(path / 'nsqd.dat')
        assert os.read(fd, 4096)
    finally:
        os.close(fd)
    after = snapshot(path)
    del before['nsqd.dat'], after['nsqd.dat']
    assert after == before
    answer = json.loads(out)
    assert code == code_of_text == check_code == (0 if answer['nsqd_dat'] == 'ok' else 1)
    assert 'in all: %d topics' % answer['totals']['topics'] in text


def test_a_backlog_of_any_size_is_read_with_little_memory(tmp_path):
    record = struct.pack('>IqH16s', 1026, 1700000000 * 10**9, 1, b'0123456789abcdef') \
        + b'x' * 1000
    (tmp_path / 'nsqd.dat').write_text('{"topics":[{"name":"t"},{"name":"hole"}]}')
    with open(tmp_path / 't.diskqueue.000000.dat', 'wb') as f:
        for _ in range(100):
            f.write(record * 640)
    with open(tmp_path / 'hole.diskqueue.000000.dat', 'wb') as f:
        f.truncate(1 << 36)
    # A sanitizer's own memory is another matter.
    limit = 'ulimit -d 40960; ' if SCALE == 1 else ''
    done = subprocess.run(
        ['sh', '-c', limit + 'exec "$@"', 'sh', binary(), '--inspect-data', '--format=json',
         '--data-path=%s' % tmp_path], stdout=subprocess.PIPE, check=True)
    answer = json.loads(done.stdout)
    assert queues(answer)['t']['messages'] == 64000
    assert queues(answer)['hole']['damaged_bytes'] == 1 << 36


def test_a_signal_ends_it(tmp_path):
    """Ctrl-C is not kept for a daemon that never comes."""
    os.mkfifo(tmp_path / 'key')
    child = subprocess.Popen([binary(), '--check-config', '--data-path=%s' % tmp_path,
                              '--tls-cert=key', '--tls-key=key'], cwd=tmp_path,
                             stderr=subprocess.DEVNULL)
    # It waits for the other end of the FIFO, and would do so for ever.
    fd = wait_until(lambda: open_for_writing(tmp_path / 'key'), 'it reads')
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == -signal.SIGTERM
    os.close(fd)


def open_for_writing(path):
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_reader_that_goes_away_is_no_trouble(tmp_path):
    for i in range(2000):
        (tmp_path / ('file%d' % i)).touch()
    run = subprocess.run('%s --inspect-data --data-path=%s | head -1; exit ${PIPESTATUS[0]}'
                         % (binary(), tmp_path), shell=True, executable='/bin/bash',
                         capture_output=True, timeout=DEADLINE, check=False)
    assert run.stdout == b'data path %s\n' % bytes(tmp_path)
    assert run.returncode in (0, 1, 128 + signal.SIGPIPE)
    out, err, _ = nsqd_says('--inspect-data', '--data-path=%s' % tmp_path, code=0)
    assert out.count('other file ') == 1000 and 'more than 1000 such files' in err
    assert 'files that a start does not use: 2000, ' in out


def test_a_full_disk_is_no_success(tmp_path):
    with open('/dev/full', 'wb') as full:
        run = subprocess.run([binary(), '--inspect-data', '--data-path=%s' % tmp_path],
                             stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, check=False)
    assert run.returncode == 1 and b'cannot write the answer' in run.stderr


# -- what docs/generate.awk makes of the table of flags and of its page

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ['common/version.h', 'nsqd/core/nsqd_flags.c', 'docs/configuration.md',
           'docs/settings.md']


def generate(what, root=ROOT, code=0):
    run = subprocess.run(['awk', '-v', 'what=' + what, '-f', ROOT + '/docs/generate.awk',
                          *SOURCES], cwd=root, capture_output=True, text=True, timeout=DEADLINE,
                         check=False)
    assert run.returncode == code, run.stderr
    return run.stdout if code == 0 else run.stderr


def page_of_flags():
    """{flag: (config key, default)} of docs/configuration.md."""
    with open(ROOT + '/docs/configuration.md', encoding='utf-8') as f:
        rows = re.findall(r'^\| `--([a-z0-9-]+)` \| ([^|]*) \| ([^|]*) \|', f.read(), re.M)
    return {flag: (key.strip('` '), default[1:-1] if default.startswith('`') else default)
            for flag, key, default in rows}


def flags_of_help():
    """{flag: default} as the daemon prints them; '': it shows none."""
    _, text, _ = nsqd_says('--help', code=0)
    found = {}
    for flag, usage in re.findall(r'^  -([a-z0-9-]+).*\n    \t(.*)$', text, re.M):
        default = re.search(r' \(default ("?)(.*)\1\)$', usage)
        found[flag] = default[2] if default else ''
    return found


# Defaults that are no fixed value; and one that --help writes in capitals, as stock does.
NOT_FIXED = {'node-id', 'broadcast-address', 'broadcast-tcp-port', 'broadcast-http-port',
             'log-level', 'max-channel-consumers'}


def test_the_page_has_the_flags_and_the_defaults_of_the_daemon():
    page, shown = page_of_flags(), flags_of_help()
    assert set(page) == set(shown) and len(page) > 50
    for flag, (_, default) in page.items():
        if flag not in NOT_FIXED:
            # Which Go's usage leaves out; 0 only of some types.
            zero = default in ('false', '0s') or (default == '0' and not shown[flag])
            assert shown[flag] == ('' if zero else default), flag


def config_lines(text):
    """Those of the options: the [[policy]] behind them has no flags."""
    return re.findall(r'^# ([a-z0-9_]+) = (.*)$', text.split('# [[policy]]')[0], re.M)


def test_the_example_has_each_key_and_starts_as_it_is(new_nsqd, tmp_path):
    text = generate('config')
    assert [key for key, _ in config_lines(text)] == [
        key for key, _ in page_of_flags().values() if key]
    config = tmp_path / 'nsqd.cfg'
    config.write_text(text)
    daemon = new_nsqd('--config=%s' % config)
    assert daemon.get('/ping').body == b'OK'
    assert 'WARNING' not in daemon.log()


# What differs between a daemon of the example and one without: these are given by the tests, or
# are not fixed.
NOT_COMPARED = {'id', 'broadcast_address', 'broadcast_tcp_port', 'broadcast_http_port',
                'data_path', 'tcp_address', 'http_address', 'snappy', 'deflate', 'statsd_prefix'}


def test_each_line_of_the_example_is_the_default(new_nsqd, tmp_path):
    config = tmp_path / 'nsqd.cfg'
    text = generate('config')
    config.write_text(re.sub(r'^# ', '', text, flags=re.M))
    assert len(config.read_text().splitlines()) == len(text.splitlines())
    out, err, _ = nsqd_says('--check-config', '--config=%s' % config,
                            '--data-path=%s' % tmp_path, code=0)
    assert err == '', err
    plain = new_nsqd('--https-address=127.0.0.1:0')
    daemon = new_nsqd('--https-address=127.0.0.1:0', '--config=%s' % config)
    for key, _ in config_lines(text):
        if key not in NOT_COMPARED:
            assert daemon.get('/config/' + key).body == plain.get('/config/' + key).body, key
    for key, value in config_lines(text):
        if key in ('snappy', 'deflate'):
            assert value == 'true'
        if key == 'statsd_prefix':      # The daemon shows what became of it.
            assert value == '"nsq.%s"'


def test_the_man_page_has_each_flag_and_no_fault(tmp_path):
    text = generate('man')
    page = tmp_path / 'nsqd.1'
    page.write_text(text)
    for flag, (key, _) in page_of_flags().items():
        assert r'\fB\-\-' + flag.replace('-', r'\-') + r'\fR' in text
        assert not key or r'\fB' + key + r'\fR' in text
    for command in (['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z'],
                    ['mandoc', '-Tlint']):
        if not shutil.which(command[0]):
            continue
        run = subprocess.run([*command, str(page)], capture_output=True, text=True,
                             timeout=DEADLINE, check=False)
        said = run.stderr if command[0] == 'man' else run.stdout + run.stderr
        # It has no date: two builds of one source are alike.
        faults = [line for line in said.splitlines() if 'missing date' not in line]
        assert not faults, faults
    if not shutil.which('man'):
        not_tested('no man: its warnings are not looked at')


def complete(*words, cwd=None):
    """What bash offers for the last word; = breaks words there."""
    script = generate('bash') + '''
compopt() { :; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_nsqd nsqd
printf '%s\\n' "${COMPREPLY[@]}"
complete -p nsqd
'''
    run = subprocess.run(['bash', '-uc', script, 'bash', 'nsqd', *words], cwd=cwd, text=True,
                         capture_output=True, timeout=DEADLINE, check=False)
    assert run.returncode == 0 and run.stderr == '', run.stderr
    *offers, last = run.stdout.splitlines()
    assert last == 'complete -F _nsqd nsqd'
    return [offer for offer in offers if offer]


def test_bash_completes_flags_and_values(tmp_path):
    flags = {offer.rstrip('= ').lstrip('-') for offer in complete('--')}
    assert flags == set(page_of_flags()) == {o.rstrip('= ').lstrip('-') for o in complete('')}
    assert complete('--max-rd') == ['--max-rdy-count=']
    assert complete('-max-rd') == ['-max-rdy-count=']
    assert complete('--snap') == ['--snappy ']
    assert complete('--nothing') == []
    assert complete('--log-level', '=', 'f') == ['fatal']
    assert complete('--log-level', '=') == ['debug', 'info', 'warn', 'error', 'fatal']
    assert complete('--log-level', 'w') == ['warn']
    assert complete('-log-level', 'w') == ['warn']
    assert complete('--version', '=', 'l') == ['long']
    assert complete('--snappy', '=') == ['true', 'false']
    # A boolean takes no word: what follows is the next flag.
    assert complete('--snappy', '--snap') == ['--snappy ']
    assert complete('--max-rdy-count', '=', '5') == []
    assert complete('--max-rdy-count', '5', '--max-msg-s') == ['--max-msg-size=']
    (tmp_path / 'a cert.pem').touch()
    (tmp_path / 'a directory').mkdir()
    assert sorted(complete('--tls-cert', '=', 'a ', cwd=tmp_path)) == [
        'a cert.pem', 'a directory']
    assert complete('--data-path', '=', 'a', cwd=tmp_path) == ['a directory']
    for hostile in '$(touch x)', '`touch x`', '*', '"', "'", '\\', ';':
        complete(hostile, cwd=tmp_path)
        complete('--tls-cert', '=', hostile, cwd=tmp_path)
        complete('--log-level', '=', hostile, cwd=tmp_path)
    assert not (tmp_path / 'x').exists()


def test_what_bash_offers_as_a_value_is_taken(tmp_path, server_cert):    # noqa: F811
    path, (cert, key) = '--data-path=%s' % tmp_path, server_cert
    tried = 0
    for flag in page_of_flags():
        if flag in ('version', 'config', 'inspect-data', 'export-stock') or flag.startswith('tls-cert'):
            continue
        for value in complete('--' + flag, '=', cwd=tmp_path):
            _, err, code = nsqd_says('--check-config', '--tls-cert=' + cert, '--tls-key=' + key,
                                     path, '--%s=%s' % (flag, value))
            # --check-config=false would be a start; it comes with no value here but true.
            assert code == 0 and ' WARNING: ' not in re.sub('.*--format has.*', '', err), err
            tried += 1
            if flag == 'check-config':
                break
    assert tried > 20


def test_zsh_takes_its_completion(tmp_path):
    text = generate('zsh')
    assert text.startswith('#compdef nsqd\n')
    assert [flag for flag in re.findall(r"^    '\*?--([a-z0-9-]+)=", text, re.M)] \
        == list(page_of_flags())
    if not shutil.which('zsh'):
        not_tested('no zsh: the syntax of its completion is not looked at')
    (tmp_path / '_nsqd').write_text(text)
    run = subprocess.run(['zsh', '-f', '-n', str(tmp_path / '_nsqd')], capture_output=True,
                         timeout=DEADLINE, check=False)
    assert run.returncode == 0 and run.stderr == b''


@pytest.mark.parametrize('file, old, new, complaint', [
    ('docs/configuration.md', '| `--snappy` |', '| `--snapy` |', 'which is no flag'),
    ('docs/configuration.md', '| `--snappy` | `snappy` |', '| `--snappy` | `snap` |', 'the key of'),
    ('docs/configuration.md', '| `--snappy` |', '| --snappy |', 'does not have --snappy'),
    ('docs/configuration.md', '| `--snappy` | `snappy` | true |', '| `--snappy` | `snappy` | yes |',
     'neither true nor false'),
    ('nsqd/core/nsqd_flags.c', 'OPT("snappy"', 'OPT("snappier"', 'which is no flag'),
    ('nsqd/core/nsqd_flags.c', 'OPT("tls-cert"', 'OPT("tls-crt"', 'which is no flag'),
    ('docs/settings.md', '| `max_depth` | topic', '| `max_depth` | topic | topic', 'five cells'),
])
def test_tables_that_differ_are_refused(tmp_path, file, old, new, complaint):
    for source in SOURCES:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        with open(os.path.join(ROOT, source), encoding='utf-8') as f:
            text = f.read()
        if source == file:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / source).write_text(text, encoding='utf-8')
    assert complaint in generate('config', tmp_path, 1)
