"""docs/SECURITY.md: its recipes are followed, and what it says is exposed is looked up."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from nsq import binary, dead_address, die_with_parent, wait_until
from pages import Page
from tools import Server, stock_binary

pytestmark = pytest.mark.ours(reason='the page is about this daemon')

PAGE = 'SECURITY.md'


def page_for(service, tmp_path, **instead):
    (tmp_path / 'here').mkdir()
    tools = os.path.dirname(stock_binary('nsq_tail'))
    return Page(PAGE, tmp_path / 'here', {
        'build/nsqd': binary(), '/etc/nsq': service.etc, '127.0.0.1:4150': service.tcp_address,
        '127.0.0.1:4151': service.http_address, '127.0.0.1:4152': dead_address(), **instead},
        [service.shims, tools])


def check_nsqadmin(service, directory):
    """It is told the port of HTTPS by the answer to plain HTTP."""
    def pem(name):
        return os.path.join(service.etc, name)
    admin = Server(directory, 'nsqadmin', '--http-address=127.0.0.1:0',
                   '--nsqd-http-address=' + service.http_address,
                   '--http-client-tls-root-ca-file=' + pem('ca.pem'),
                   '--http-client-tls-cert=' + pem('client.pem'),
                   '--http-client-tls-key=' + pem('client.key'))
    try:
        assert admin.get('/api/topics')['topics'] == ['orders']
    finally:
        admin.close()


def test_the_recipe_for_tls(service, tmp_path):
    page = page_for(service, tmp_path)
    page.run('systemctl start nsqd')
    said = page.follow('TLS')
    assert 'nsqd would start' in said
    assert re.search(r'^OK$', said, re.M)
    assert re.search(r'^hello$', said, re.M)
    assert 'TLS_REQUIRED' in said
    check_nsqadmin(service, str(tmp_path / 'here'))
    # A new certificate by the same recipe, and the signal.
    page.follow('TLS', only=0)
    page.run('systemctl reload nsqd')
    service.daemon.wait_log('certificate and key have been read again')
    page.follow('TLS', only=2)
    # Plain HTTP for those that speak nothing else.
    with open(service.config, 'a', encoding='utf-8') as f:
        f.write('tls_required = "tcp-https"\n')
    assert 'TLS_REQUIRED' in page.run('curl -s http://%s/stats' % service.http_address)
    page.run('systemctl restart nsqd')
    wait_until(lambda: 'OK' in page.run('curl -s http://%s/ping || true' % service.http_address),
               service.daemon.log)


def test_the_recipe_for_auth(service, tmp_path):
    port = dead_address().rpartition(':')[2]
    page = page_for(service, tmp_path, **{'4181': port})
    page.follow('Auth', only=0)
    authd = subprocess.Popen([sys.executable, 'authd.py'], cwd=tmp_path / 'here',
                             preexec_fn=die_with_parent)
    try:
        def answers():
            with socket.socket() as s:
                return s.connect_ex(('127.0.0.1', int(port))) == 0
        wait_until(answers, 'the auth server listens')
        said = page.follow('Auth', only=1)
    finally:
        authd.send_signal(signal.SIGKILL)
        authd.wait()
    assert re.search(r'^hello$', said, re.M)
    assert 'E_UNAUTHORIZED' in said
    assert 'Auth Required' in said      # go-nsq's word for a node that asks for a secret
    assert 'secret' not in service.daemon.log()


def test_all_recipes_are_tried():
    assert Page(PAGE, '/', {}).left == ['TLS', 'Auth']


def listeners(pid):
    """Local ports of TCP sockets that listen, and the number of UDP sockets, of a process."""
    inodes = set()
    for fd in os.listdir('/proc/%d/fd' % pid):
        name = os.readlink('/proc/%d/fd/%s' % (pid, fd))
        if name.startswith('socket:'):
            inodes.add(name[8:-1])
    ports, udp = set(), 0
    for kind in 'tcp', 'tcp6', 'udp', 'udp6':
        with open('/proc/net/' + kind, encoding='ascii') as f:
            for words in map(str.split, f.readlines()[1:]):
                if words[9] in inodes:
                    if kind.startswith('udp'):
                        udp += 1
                    elif words[3] == '0A':
                        ports.add(int(words[1].rpartition(':')[2], 16))
    return ports, udp


def test_it_listens_nowhere_else(new_nsqd):
    daemon = new_nsqd()
    daemon.pub('t', 'x')
    assert listeners(daemon.process.pid) == ({daemon.tcp_port, daemon.http_port}, 0)


def test_files_are_the_daemons_alone(new_nsqd):
    daemon = new_nsqd('--mem-queue-size=0')
    daemon.pub('t', 'x')
    files = os.listdir(daemon.data_path)
    assert len(files) >= 2
    for name in files:
        # nsqd.dat's temporary file may have got its name meanwhile.
        with contextlib.suppress(FileNotFoundError):
            assert os.stat(os.path.join(daemon.data_path, name)).st_mode & 0o077 == 0, name


def test_auth_is_not_asked_for_by_http(new_nsqd):
    """As in stock; the page warns of it."""
    daemon = new_nsqd('--auth-http-address=' + dead_address())
    assert daemon.post('/pub?topic=t', b'x').status == 200
