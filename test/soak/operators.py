"""The operators of a soak: they change topics and channels, and look at the daemon."""

import json

from actors import ENDINGS, Actor
from journal import now
from nsq import quote
from topics import Topics


class Operator(Actor):
    """Creates, pauses, unpauses, empties and deletes; looks at the daemon; silences nsqlookupd."""

    def session(self, rng, life):
        try:
            for _ in range(rng.choice([1, 4, 10])):
                if self.world.over.is_set() or self.world.life is not life:
                    return
                self.operate(rng, life)
                self.sleep(rng.random() * 0.3)
        except ENDINGS as error:
            self.ended(life, 'an operator', error)
            self.sleep(0.05)

    def operate(self, rng, life):
        topic = rng.choice(sorted(Topics.ALL))
        channel = rng.choice(Topics.ALL[topic])
        kinds = ['look'] * 4 + ['pause', 'unpause', 'unpause', 'create', 'silence']
        if topic in Topics.EMPTIED:
            kinds += ['empty']
        elif topic not in Topics.FIXED:
            kinds += ['empty', 'create', 'create', 'delete']
        kind = rng.choice(kinds)
        if rng.random() < 0.5:
            channel = None
        self.count[kind] += 1
        if kind == 'look':
            self.look(rng, life)
        elif kind == 'silence':
            self.world.cluster.silence(self.sleep, rng)
        elif kind == 'pause':
            self.do('pause', topic, channel, life)
            self.sleep(rng.random() * 0.5)
            self.do('unpause', topic, channel, life)
        else:
            self.do(kind, topic, channel, life)

    def do(self, kind, topic, channel, life):
        event = self.world.event(kind, topic, channel, life)
        what, path = ('channel', '&channel=' + quote(channel)) if channel else ('topic', '')
        try:
            response = self.world.daemon.post('/%s/%s?topic=%s%s' % (
                what, kind, quote(topic), path))
        except ENDINGS:
            event.life = self.world.life    # it may have been the next one that did it
            raise
        if response.status == 200:
            event.end = now()
        elif response.status == 404:
            event.missed = True
            if topic in Topics.FIXED:
                self.journal.problem('%r: %r' % (event, response), life)
        elif kind == 'create' and topic not in Topics.FIXED:
            self.count['create, refused'] += 1      # it was being deleted
        else:
            self.journal.problem('%r: %r' % (event, response), life)

    def look(self, rng, life):
        path = rng.choice(['/ping', '/info', '/debug/', '/stats', '/stats?format=json',
                           '/stats?format=json&topic=kept', '/stats?format=json&include_clients=0',
                           '/stats?format=json&topic=kept&channel=x', '/config/log_level',
                           '/debug/pprof/heap'])
        if rng.random() < 0.1:
            path = '/config/log_level'
            response = self.world.daemon.http('PUT', path, rng.choice([b'info', b'debug']))
        else:
            response = self.world.daemon.get(path)
        if response.status != (501 if 'pprof' in path else 200):
            self.journal.problem('%s: %r' % (path, response), life)
        if 'json' in path and response.status == 200:
            json.loads(response.body)
