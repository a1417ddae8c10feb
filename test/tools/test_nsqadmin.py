"""Stock's nsqadmin over our daemons: what it shows, and what it does."""

import re

import pytest

from nsq import wait_until
from tools import Server, discover, give_up, http, with_lookupds


@pytest.fixture(scope='module')
def cluster(lookupds, tmp_path_factory):
    """nsqadmin with the two nsqlookupds."""
    server = Server(str(tmp_path_factory.mktemp('nsqadmin')), 'nsqadmin',
                    '--http-address=127.0.0.1:0', *discover(lookupds))
    yield server
    server.close()


@pytest.fixture
def admin(cluster):
    return cluster


@pytest.fixture
def daemon(new_nsqd, lookupds):
    started = new_nsqd(*with_lookupds(lookupds))
    # It asks them for the channels of a topic that is new, if it knows whom to ask.
    for lookupd in lookupds:
        started.wait_log(re.escape('LOOKUPD(%s): peer info {'
                                   % lookupd.tcp_address))
    return started


def known(lookupds, topic, count=1):
    """Wait until every nsqlookupd names that many daemons for the topic."""
    for lookupd in lookupds:
        wait_until(lambda: len(lookupd.ports(topic)) == count,
                   lambda: '%d daemons have %s: %r' % (
                       count, topic, lookupd.ports(topic)))


def test_the_nodes_are_1_3_0_and_not_out_of_date(
        admin, daemon, stock_nsqd, lookupds):
    both = [daemon, stock_nsqd(*with_lookupds(lookupds))]
    for one in both:
        one.create('nodes')
    known(lookupds, 'nodes', 2)
    nodes = {node['tcp_port']: node
             for node in admin.get('/api/nodes')['nodes']}
    for one in both:
        node = nodes[one.tcp_port]
        assert node['version'] == '1.3.0' and node['out_of_date'] is False
        assert node['http_port'] == one.http_port
        assert node['broadcast_address'] == '127.0.0.1'
        assert len(node['remote_addresses']) == 2
        assert 'nodes' in [t['topic'] for t in node['topics']]


@pytest.mark.parametrize('page', [
    '/', '/topics', '/topics/t', '/topics/t/ch', '/nodes', '/counter',
    '/lookup'])
def test_pages(admin, page):
    status, body = admin.request('GET', page)
    assert status == 200 and b'<title>nsqadmin</title>' in body


def test_what_it_shows(admin, daemon, lookupds):
    daemon.create('shown', 'ch')
    daemon.pub('shown', 'a', 'b', 'c')
    daemon.wait_channel('shown', 'ch', depth=3)
    known(lookupds, 'shown')
    node = '/api/nodes/' + http(daemon)
    with daemon.subscribe('shown', 'ch', rdy=1, client_id='me',
                          hostname='here', user_agent='test/1') as client:
        client.fin(client.message())
        daemon.wait_channel('shown', 'ch', depth=1, in_flight_count=1)
        topic = admin.get('/api/topics/shown')
        assert (topic['message_count'], topic['channels'][0]['depth'],
                topic['nodes'][0]['node']) == (3, 1, http(daemon))
        channel = admin.get('/api/topics/shown/ch')
        assert (channel['depth'], channel['in_flight_count'],
                channel['client_count'], channel['paused']) == (1, 1, 1, False)
        shown = channel['clients'][0]
        assert (shown['client_id'], shown['hostname'], shown['user_agent'],
                shown['ready_count'], shown['finish_count'],
                shown['message_count']) == ('me', 'here', 'test/1', 1, 1, 2)
        stats = admin.get(node)
        assert stats['total_messages'] == 3 and stats['total_clients'] == 1
    assert admin.get('/api/counter')['stats']['shown:ch:' + http(daemon)][
        'message_count'] == 3
    assert 'shown' in admin.get('/api/topics')['topics']


def test_it_creates_pauses_empties_and_deletes(admin, daemon, lookupds):
    # A topic made here exists at the nsqlookupds only, until somebody
    # publishes; a channel of a topic that a daemon has is made there at once.
    admin.ask('POST', '/api/topics', {'topic': 'made', 'channel': 'first'})
    daemon.pub('made', 'x', 'y')
    daemon.wait_channel('made', 'first', depth=2)
    known(lookupds, 'made')
    admin.ask('POST', '/api/topics', {'topic': 'made', 'channel': 'second'})
    daemon.wait_channel('made', 'second', depth=0)

    for what, stats in (
            ('/api/topics/made', daemon.topic_stats),
            ('/api/topics/made/first', daemon.channel_stats)):
        names = what.split('/')[3:]
        admin.ask('POST', what, {'action': 'pause'})
        assert stats(*names)['paused'] is True
        assert daemon.metadata()['made'][0] is True
        assert admin.get(what)['paused'] is True
    assert daemon.metadata()['made'][1] == {'first': True, 'second': False}
    for what, stats in (
            ('/api/topics/made', daemon.topic_stats),
            ('/api/topics/made/first', daemon.channel_stats)):
        admin.ask('POST', what, {'action': 'unpause'})
        assert stats(*what.split('/')[3:])['paused'] is False

    admin.ask('POST', '/api/topics/made/first', {'action': 'empty'})
    daemon.wait_channel('made', 'first', depth=0, message_count=2)
    admin.ask('POST', '/api/topics/made', {'action': 'pause'})
    daemon.pub('made', 'z')
    daemon.wait_topic('made', depth=1)
    admin.ask('POST', '/api/topics/made', {'action': 'empty'})
    daemon.wait_topic('made', depth=0)

    admin.ask('DELETE', '/api/topics/made/first')
    assert daemon.channel_stats('made', 'first') is None
    assert daemon.channel_stats('made', 'second') is not None
    admin.ask('DELETE', '/api/topics/made')
    assert daemon.topic_stats('made') is None
    for lookupd in lookupds:
        assert 'made' not in lookupd.get('/topics')['topics']


@pytest.mark.ours(reason='it has no dead letters')
def test_dead_letters_are_a_topic_as_any_other(admin, daemon, lookupds):
    give_up(daemon, 'mail', 'a', 'b', 'c')
    # Nobody but the daemon has made that topic.
    known(lookupds, 'mail.dead')
    assert 'mail.dead' in admin.get('/api/topics')['topics']
    dead = '/api/topics/mail.dead'
    topic = admin.get(dead)
    assert (topic['depth'], topic['message_count']) == (3, 3)
    admin.ask('POST', '/api/topics', {'topic': 'mail.dead', 'channel': 'look'})
    daemon.wait_channel('mail.dead', 'look', depth=3)
    assert admin.get(dead + '/look')['depth'] == 3
    for page in '/topics/mail.dead', '/topics/mail.dead/look':
        assert admin.request('GET', page)[0] == 200

    admin.ask('POST', dead + '/look', {'action': 'empty'})
    daemon.wait_channel('mail.dead', 'look', depth=0, message_count=3)
    give_up(daemon, 'mail', 'd')
    daemon.wait_channel('mail.dead', 'look', depth=1)
    admin.ask('DELETE', dead + '/look')
    admin.ask('DELETE', dead)
    assert daemon.topic_stats('mail.dead') is None
    for lookupd in lookupds:
        assert 'mail.dead' not in lookupd.get('/topics')['topics']
    give_up(daemon, 'mail', 'e')
    daemon.wait_topic('mail.dead', depth=1)


def test_a_tombstone(admin, daemon, stock_nsqd, lookupds):
    both = [daemon, stock_nsqd(*with_lookupds(lookupds))]
    for one in both:
        one.create('buried')
    known(lookupds, 'buried', 2)
    admin.ask('DELETE', '/api/nodes/' + http(daemon), {'topic': 'buried'})
    # Consumers do not find it there any more, and its topic is gone.
    for lookupd in lookupds:
        assert lookupd.ports('buried') == [both[1].tcp_port]
    assert daemon.topic_stats('buried') is None
