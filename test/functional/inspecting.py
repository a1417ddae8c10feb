"""What operators see of messages that wait, and do with one of them."""

import base64
import json
import threading

from nsq import wait_until

# What a look says of a disk whose files are consumed faster than it can open them.
GONE = 'its files go while they are looked at'


def peek(daemon, topic, channel='ch', may_go=False, **args):
    path = '/channel/peek?topic=%s&channel=%s' % (topic, channel)
    if channel is None:
        path = '/topic/peek?topic=%s' % topic
    response = daemon.get(path + ''.join('&%s=%s' % a for a in args.items()))
    assert response.status == 200, response.body
    assert response.headers['Content-Type'] == 'application/json; charset=utf-8'
    answer = json.loads(response.body)
    assert 'disk_error' not in answer or (may_go and answer['disk_error'] == GONE), answer
    for m in answer['messages']:
        m['data'] = base64.b64decode(m['body'], validate=True)
    return answer['messages']


def bodies(messages):
    return [m['data'] for m in messages]


def by_id(daemon, what, topic, message_id, channel='ch', **args):
    response = daemon.post('/channel/message/%s?topic=%s&channel=%s&id=%s%s' % (
        what, topic, channel, message_id, ''.join('&%s=%s' % a for a in args.items())))
    return response.status, response.body


DONE = (200, b'')
NOT_FOUND = (404, b'{"message":"MESSAGE_NOT_FOUND"}')
ON_DISK = (409, b'{"message":"MESSAGE_IS_ON_DISK"}')


class Load:
    """Threads that go on until stop is set. What goes wrong in them is told by end()."""

    def __init__(self):
        self.stop, self.failures, self.threads = threading.Event(), [], []

    def guarded(self, f, *args):
        try:
            f(*args)
        except BaseException as error:      # told below, by the test's own thread
            self.failures.append(error)

    def start(self, *calls):
        """Each is a function and its arguments. Returns when the first one has come to its end."""
        self.threads = [threading.Thread(target=self.guarded, args=call) for call in calls]
        for thread in self.threads:
            thread.start()
        self.threads[0].join()

    def wait(self, condition, what):
        wait_until(lambda: self.failures or condition(), what, 60)

    def wait_done(self, daemon, topic, channel='ch'):
        self.wait(lambda: all(daemon.channel_stats(topic, channel)[k] == 0 for k in (
            'depth', 'in_flight_count', 'deferred_count')), 'all of them are done')

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def operate(self, daemon, topic, seed, n, every, finish):
        """An operator looks at n messages in each state, and finishes or requeues one in so many
        of them. finish(body): that one is finished."""
        turn = seed
        while not self.stop.is_set():
            for state in ('ready', 'in_flight', 'deferred'):
                seen = peek(daemon, topic, state=state, n=n, may_go=True)
                assert len({m['id'] for m in seen}) == len(seen)
                for m in seen[::every]:
                    turn += 1
                    what, args = (('requeue', {}), ('finish', {}),
                                  ('requeue', {'delay': '20ms'}))[turn % 3]
                    status, body = by_id(daemon, what, topic, m['id'], **args)
                    assert status in (200, 404, 409), body
                    if (status, what) == (200, 'finish'):
                        finish(m['data'])
