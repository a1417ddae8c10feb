"""nsqd.dat: what is written, when, and what a daemon makes of it."""

import json
import os
import stat

import pytest

from nsq import wait_until

EMPTY = b'{"topics":null,"version":"1.3.0"}'


def topics_of(daemon):
    return {t['topic_name']: sorted(c['channel_name'] for c in t['channels'])
            for t in daemon.stats()['topics']}


# -- what is written

def test_a_fresh_daemon_writes_an_empty_list(new_nsqd):
    daemon = new_nsqd()
    assert daemon.read_metadata() == EMPTY
    daemon.stop()
    assert daemon.read_metadata() == EMPTY


def test_a_topic_without_channels_has_null(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t')
    daemon.stop()
    assert daemon.read_metadata() == (
        b'{"topics":[{"name":"t","paused":false,"channels":null}],'
        b'"version":"1.3.0"}')


def test_a_topic_with_a_channel_is_byte_for_byte_as_in_stock(new_nsqd):
    daemon = new_nsqd()
    daemon.create('a.b-c_D', 'ch')
    daemon.stop()
    assert daemon.read_metadata() == (
        b'{"topics":[{"name":"a.b-c_D","paused":false,"channels":'
        b'[{"name":"ch","paused":false}]}],"version":"1.3.0"}')


def test_several_topics_and_channels_are_all_written(new_nsqd):
    daemon = new_nsqd()
    expected = {}
    for i in range(5):
        names = ['ch%d' % j for j in range(i)]
        daemon.create('topic%d' % i, *names)
        expected['topic%d' % i] = (False, dict.fromkeys(names, False))
    daemon.stop()
    assert daemon.metadata() == expected


@pytest.mark.parametrize('create', [
    lambda daemon: daemon.pub('t', 'x'),
    lambda daemon: daemon.post('/topic/create?topic=t'),
    lambda daemon: daemon.post('/pub?topic=t', b'x')],
    ids=['pub', 'create', 'http'])
def test_a_new_topic_is_written_without_waiting_for_the_exit(
        new_nsqd, create):
    daemon = new_nsqd()
    create(daemon)
    wait_until(lambda: daemon.metadata() == {'t': (False, {})},
               daemon.read_metadata)


def test_a_new_channel_is_written_without_waiting_for_the_exit(new_nsqd):
    daemon = new_nsqd()
    with daemon.subscribe('t', 'ch'):
        wait_until(lambda: daemon.metadata() == {'t': (False, {'ch': False})},
                   daemon.read_metadata)


def test_the_file_is_readable_by_its_owner_alone(new_nsqd):
    daemon = new_nsqd()
    mode = os.stat(daemon.metadata_path).st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_no_temporary_file_is_left(new_nsqd):
    daemon = new_nsqd()
    for i in range(20):
        daemon.create('topic%d' % i)
    daemon.stop()
    assert [n for n in os.listdir(daemon.data_path) if n.endswith('.tmp')] \
        == []


def test_the_file_is_replaced_and_not_overwritten(new_nsqd):
    daemon = new_nsqd()
    with open(daemon.metadata_path, 'rb') as old:
        daemon.create('t')
        wait_until(lambda: 't' in daemon.metadata(), daemon.read_metadata)
        assert old.read() == EMPTY


# -- what is read

def test_topics_and_channels_are_back_after_a_restart(new_nsqd):
    daemon = new_nsqd()
    daemon.create('t', 'one', 'two')
    daemon.create('u')
    daemon.restart()
    assert topics_of(daemon) == {'t': ['one', 'two'], 'u': []}
    daemon.pub('t', 'x')
    daemon.wait_channel('t', 'one', depth=1)
    daemon.wait_channel('t', 'two', depth=1)


@pytest.mark.parametrize('content, topics', [
    (b'{}', {}), (b'null', {}), (EMPTY, {}), (b' {"topics":[]}\n', {}),
    (b'{"topics":[{"name":"t"}]}', {'t': []}),
    (b'{"topics":[{"name":"t","channels":[{"name":"c"}]}]}', {'t': ['c']}),
    (b'{"topics":[{"name":"t","channels":null,"paused":null}]}', {'t': []}),
    (b'{"TOPICS":[{"Name":"t","CHANNELS":[{"NAME":"c"}]}]}', {'t': ['c']}),
    (b'{"unknown":[1,{"a":null}],"topics":[{"name":"t","x":{}}]}',
     {'t': []}),
    (b'{"topics":[{"name":"t"},{"name":"t","channels":[{"name":"c"}]}]}',
     {'t': ['c']}),
    (b'{"topics":[{"name":"\\u0074"}]}', {'t': []}),
    (b'{"version":"9.9.9","topics":[{"name":"t"}]}', {'t': []})])
def test_a_file_that_stock_reads_is_read(new_nsqd, content, topics):
    daemon = new_nsqd(start=False)
    daemon.write_metadata(content)
    daemon.start()
    assert topics_of(daemon) == topics
    # It is written anew at once.
    assert set(daemon.metadata()) == set(topics)
    assert json.loads(daemon.read_metadata())['version'] == '1.3.0'


def test_invalid_names_are_skipped_with_a_warning(new_nsqd):
    daemon = new_nsqd(start=False)
    daemon.write_metadata({'topics': [
        {'name': 'bad$topic', 'channels': [{'name': 'lost'}]},
        {'name': ''}, {'name': 'x' * 65},
        {'name': 'good', 'channels': [
            {'name': 'bad channel'}, {'name': ''}, {'name': 'fine'}]}]})
    daemon.start()
    assert topics_of(daemon) == {'good': ['fine']}
    log = daemon.log()
    for text in ('topic bad$topic', 'topic ', 'topic ' + 'x' * 65,
                 'channel bad channel', 'channel '):
        assert ' WARNING: skipping creation of invalid %s\n' % text in log
    assert daemon.metadata() == {'good': (False, {'fine': False})}


def test_ephemeral_names_are_read_but_not_written_again(new_nsqd):
    daemon = new_nsqd(start=False)
    daemon.write_metadata({'topics': [
        {'name': 't#ephemeral', 'channels': [{'name': 'c'}]},
        {'name': 'u', 'channels': [{'name': 'c#ephemeral'}]}]})
    daemon.start()
    assert topics_of(daemon) == {'t#ephemeral': ['c'], 'u': ['c#ephemeral']}
    assert daemon.metadata() == {'u': (False, {})}


@pytest.mark.parametrize('paused', [True, False])
def test_paused_in_the_file_is_paused_in_the_daemon(new_nsqd, paused):
    daemon = new_nsqd(start=False)
    daemon.write_metadata({'topics': [
        {'name': 't', 'paused': paused, 'channels': [
            {'name': 'c', 'paused': not paused}]}]})
    daemon.start()
    assert daemon.topic_stats('t')['paused'] is paused
    assert daemon.channel_stats('t', 'c')['paused'] is not paused
    assert daemon.metadata() == {'t': (paused, {'c': not paused})}


@pytest.mark.parametrize('content', [
    b'', b' ', b'{', b'garbage', b'{"topics":[{"name":"t"}]', b'[]', b'"x"',
    b'{"topics":{}}', b'{"topics":"t"}', b'{"topics":["t"]}',
    b'{"topics":[{"name":1}]}', b'{"topics":[{"name":"t","paused":1}]}',
    b'{"topics":[{"name":"t","channels":{}}]}',
    b'{"topics":[{"name":"t","channels":[{"name":"c","paused":"no"}]}]}',
    b'{"version":1}', b'{}{}', b'{"topics":[{"name":"t"},]}'])
def test_a_broken_file_stops_the_start_and_is_left_alone(new_nsqd, content):
    daemon = new_nsqd(start=False)
    daemon.write_metadata(content)
    daemon.spawn()
    assert daemon.wait_exit() == 1
    assert (' FATAL: failed to load metadata - failed to parse metadata in %s '
            '- ' % daemon.metadata_path) in daemon.log()
    assert daemon.read_metadata() == content
    assert os.listdir(daemon.data_path) == ['nsqd.dat']


def test_a_file_that_cannot_be_read_stops_the_start(new_nsqd):
    daemon = new_nsqd(start=False)
    os.mkdir(daemon.metadata_path)
    daemon.spawn()
    assert daemon.wait_exit() == 1
    assert (' FATAL: failed to load metadata - failed to read metadata from '
            '%s - ' % daemon.metadata_path) in daemon.log()


@pytest.mark.parametrize('make', [os.mkfifo, lambda path: open(path, 'w').close()],
                         ids=['fifo', 'file'])
def test_a_data_path_that_is_no_directory_stops_the_start(new_nsqd, make):
    daemon = new_nsqd('--data-path=odd', start=False)
    make(os.path.join(daemon.directory, 'odd'))
    daemon.spawn()
    assert daemon.wait_exit() == 1
    assert daemon.log().splitlines()[-1].endswith(
        'failed to load metadata - failed to read metadata from odd/nsqd.dat '
        '- open odd/nsqd.dat: not a directory'), daemon.log()


def test_an_empty_data_path_is_the_working_directory(new_nsqd):
    daemon = new_nsqd('--data-path=', start=False)
    daemon.start()
    daemon.create('t')
    daemon.stop()
    with open(os.path.join(daemon.directory, 'nsqd.dat'), 'rb') as f:
        assert json.loads(f.read())['topics'][0]['name'] == 't'
    assert os.listdir(daemon.data_path) == []


def test_a_data_path_may_end_with_a_slash(new_nsqd):
    daemon = new_nsqd(start=False)
    daemon.data_path += '/'
    daemon.start()
    # Go's path.Join leaves out the second slash.
    assert (' INFO: NSQ: persisting topic/channel metadata to %s\n'
            % os.path.normpath(daemon.metadata_path)) in daemon.log()
