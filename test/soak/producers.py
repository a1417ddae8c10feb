"""The producers of a soak: PUB, MPUB and DPUB by TCP; /pub and /mpub by HTTP and HTTPS."""

import http.client
import struct

from actors import ENDINGS, Actor, Conversation
from journal import now
from nsq import mpub_body, quote
from stacks import STACKS, context
from topics import Topics
from world import HANDSHAKE, PATIENCE, body


class Producer(Actor):
    """PUB, MPUB and DPUB over TCP, pipelined or not, and often cut off."""

    def session(self, rng, life):
        stack = rng.choice(STACKS)
        commands = [(Topics.to_publish(rng), rng.choice(['pub'] * 6 + ['mpub', 'dpub']),
                     rng.choice([0, 0, 0, 3, 20]), rng.random() * 0.06)
                    for _ in range(rng.choice([1, 5, 20, 40]))]
        end = rng.choice(['answers'] * 3 + ['cut', 'rst', 'half_close', 'half', 'invalid'])
        client = self.connect(life, stack)
        if client is None:
            return self.sleep(0.05)
        talk = Conversation(self, life, client)
        topics = {topic for topic, _, _, _ in commands}
        try:
            for topic, kind, pipeline, pause in commands:
                if self.world.over.is_set():
                    break
                talk.publish(rng, topic, kind)
                self.count[kind] += 1
                talk.take_answers(pipeline)
                self.sleep(pause)
            self.finish(rng, talk, end)
        except ENDINGS as error:
            # A topic that is being deleted refuses, and then the connection is over.
            excused = not topics <= set(Topics.FIXED) or end == 'invalid' and not talk.waiting
            self.ended(life, 'a producer by %s' % stack, talk.why(error), excused)
        finally:
            client.close()
        return None

    def finish(self, rng, talk, end):
        self.count['end: ' + end] += 1
        client = talk.client
        if end == 'rst':
            client.reset()
        elif end == 'half':
            pub = self.new_pub(rng, 'kept', 'half', talk.life)
            pub.state = 'half'
            whole = body(pub)
            client.send(b'PUB kept\n' + struct.pack('>i', len(whole)) + whole[:len(whole) // 2])
            if rng.random() < 0.5:
                client.reset()
        elif end == 'half_close':
            client.half_close()
            talk.take_answers()
            talk.await_end(self.name)
        elif end == 'answers':
            talk.take_answers()
        elif end == 'invalid':
            talk.take_answers()
            client.send(rng.choice([b'PUB\n', b'NONSENSE\n', b'PUB kept/\n', b'SUB kept\n',
                                    b'MPUB kept\n\0\0\0\4\0\0\0\0', b'DPUB kept x\n\0\0\0\1y',
                                    b'PUB kept\n\xff\xff\xff\xff', b'TOUCH\n', b'RDY 1\n',
                                    b'FIN 0123456789abcdef\n', b'IDENTIFY\n\0\0\0\1x']))
            talk.await_end(self.name)


class HttpProducer(Actor):
    """/pub, /mpub and /pub?defer= by HTTP or HTTPS, many on one connection."""

    def session(self, rng, life):
        secure = rng.random() < 0.4
        requests = [(Topics.to_publish(rng), rng.choice(['pub', 'pub', 'mpub', 'binary', 'defer']),
                     rng.random() * 0.1) for _ in range(rng.choice([1, 3, 15]))]
        daemon = self.world.daemon
        if secure:
            connection = http.client.HTTPSConnection(
                '127.0.0.1', daemon.https_port, timeout=PATIENCE, context=context())
        else:
            connection = daemon.http_connection(PATIENCE)
        since = connected = now()
        try:
            connection.connect()
            connected = now()
            if self.world.life is not life:
                return
            for topic, kind, pause in requests:
                if self.world.over.is_set():
                    break
                self.request(rng, connection, topic, kind, life)
                self.count['http ' + kind] += 1
                self.sleep(pause)
        except ENDINGS as error:
            self.ended(life, 'a request by HTTP', error,
                       secure and connected == since and now() - since > HANDSHAKE)
            self.sleep(0.05)
        finally:
            connection.close()

    def request(self, rng, connection, topic, kind, life):
        path = '/mpub' if kind in ('mpub', 'binary') else '/pub'
        path += '?topic=' + quote(topic)
        delay = 0
        if kind == 'defer':
            delay = rng.choice([1, 100, 1000])
            path += '&defer=%d' % delay
        n = rng.choice([1, 3, 20]) if 'mpub' in path else 1
        pubs = [self.new_pub(rng, topic, kind, life, delay / 1000) for _ in range(n)]
        bodies = [body(pub) for pub in pubs]
        if kind == 'binary':
            path += '&binary=true'
            data = mpub_body(bodies)
        else:
            data = b'\n'.join(bodies)
        connection.request('POST', path, data)
        response = connection.getresponse()
        answer = response.read()
        for pub in pubs:
            pub.answered('acked' if response.status == 200 else 'refused',
                         '%d %r' % (response.status, answer[:100]))
        if response.status != 200 and topic in Topics.FIXED:
            self.journal.problem('%s: %d %r to %s' % (
                self.name, response.status, answer[:100], path), life)
