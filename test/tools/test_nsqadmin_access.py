"""docs/access.md: its recipe is followed, from that of SECURITY.md on, and nsqadmin works with it."""

import os
import re
import shutil

import pytest

from nsq import binary, dead_address
from pages import Page
from tools import Server, stock_binary

pytestmark = pytest.mark.ours(reason='the page is about this daemon')


def topics_of_nsqadmin(service, directory, name, delete=None):
    """What nsqadmin sees of the node with that client certificate, before it deletes one."""
    def pem(file):
        return os.path.join(service.etc, file)
    admin = Server(directory, 'nsqadmin', '--http-address=127.0.0.1:0',
                   '--nsqd-http-address=' + service.http_address,
                   '--http-client-tls-root-ca-file=' + pem('ca.pem'),
                   '--http-client-tls-cert=' + pem(name + '.pem'),
                   '--http-client-tls-key=' + pem(name + '.key'))
    try:
        topics = admin.get('/api/topics')['topics']
        if delete:
            admin.ask('POST', '/api/topics/' + delete, {'action': 'pause'})
            admin.ask('DELETE', '/api/topics/' + delete)
        return topics
    finally:
        admin.close()


def test_the_recipe_for_nsqadmin(service, tmp_path):
    here = tmp_path / 'here'
    here.mkdir()
    tools = os.path.dirname(stock_binary('nsq_tail'))
    instead = {'build/nsqd': binary(), '/etc/nsq': service.etc,
               '127.0.0.1:4150': service.tcp_address, '127.0.0.1:4151': service.http_address,
               '127.0.0.1:4152': dead_address(), '127.0.0.1:4153': dead_address()}
    tls, page = (Page(name, here, instead, [service.bin, service.shims, tools])
                 for name in ('SECURITY.md', 'access.md'))
    page.run('systemctl start nsqd')
    tls.follow('TLS')
    said = page.follow('nsqadmin')
    page.all_followed()
    assert 'warning: --http-auth-file' not in said
    for words in ('nsqd would start', 'UNAUTHORIZED', 'FORBIDDEN', 'Health: OK'):
        assert words in said
    assert re.search(r'^OK$', said, re.M) and re.search(r'^nsqd_build_info', said, re.M)
    with open(os.path.join(service.etc, 'http.tokens'), encoding='ascii') as f:
        token = f.read().split()[0]
    assert len(token) == 32 and token not in service.daemon.log()
    assert topics_of_nsqadmin(service, str(here), 'nsqadmin', delete='orders') == ['orders']
    for path in ('pause', 'delete'):
        service.daemon.wait_log(r' INFO: 200 POST /topic/%s\?topic=orders ' % path)
    # Another certificate of the same CA has no line in the file.
    shutil.rmtree(here)
    here.mkdir()
    with pytest.raises(AssertionError):
        topics_of_nsqadmin(service, str(here), 'client')
    service.daemon.wait_log(r' INFO: 401 GET /stats\?')
