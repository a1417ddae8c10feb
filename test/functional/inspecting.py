"""What operators see of messages that wait, and do with one of them."""

import base64
import json

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
