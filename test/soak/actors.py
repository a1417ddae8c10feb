"""The clients of a soak: producers, consumers, and those that break the rules.

An actor is a thread that has one session after the other. What a session does follows from the
seed, the actor's name and the session's number; what it meets does not. So a seed repeats the
commands of each session, but not how those of all actors interleave, nor how many sessions fit
into the time. What a consumer does with a message follows from the seed, the message and its
attempt.
"""

import collections
import http.client
import json
import ssl
import struct
import threading
import time
import traceback
import zlib

from journal import INF, Delivery, Session, now
from layers import Tls
from nsq import ERROR, HEARTBEAT, MESSAGE, RESPONSE, SCALE, Client, Message, mpub_body, quote
from stacks import STACKS, context, upgrade
from world import HANDSHAKE, PATIENCE, body, id_of

# How a connection ends that the daemon has closed, in whatever layer that is noticed. (The helpers
# of the functional tests use assert for answers that are not as expected.)
ENDINGS = (EOFError, OSError, ssl.SSLError, zlib.error, struct.error, AssertionError,
           http.client.HTTPException)
UNKNOWN_ID = b'0123456789abcdef'


class Topics:
    """Which topics and channels there are, and what may be done to them."""

    KEPT = {'kept': ('x', 'y', 'z'), 'kept.one': ('x',), 'kept.stored': ('s',)}
    EMPTIED = {'emptied': ('x', 'y')}
    DELETED = {'deleted': ('x', 'y'), 'deleted.often': ('x',)}
    FLEETING = {'fleeting#ephemeral': ('x', 'y#ephemeral')}
    # Nobody consumes from it before the end: what a kill may take from it is only what memory had.
    UNREAD = 'kept.stored'

    FIXED = {**KEPT, **EMPTIED}
    ALL = {**FIXED, **DELETED, **FLEETING}

    @classmethod
    def to_publish(cls, rng):
        return rng.choice(['kept'] * 5 + ['kept.one'] * 3 + ['kept.stored'] * 2 + ['emptied'] * 2
                          + ['deleted'] * 2 + ['deleted.often', 'fleeting#ephemeral'])

    @classmethod
    def to_consume(cls, rng):
        topic = rng.choice(['kept'] * 6 + ['kept.one'] * 2 + ['emptied'] * 2 + ['deleted'] * 2
                           + ['deleted.often', 'fleeting#ephemeral'])
        channels = cls.ALL[topic]
        if topic == 'kept' and rng.random() < 0.1:
            return topic, 'e#ephemeral'
        return topic, rng.choice(channels)


class Actor(threading.Thread):
    """Has sessions until the round is over."""

    def __init__(self, world, name):
        super().__init__(name=name, daemon=True)
        self.world, self.journal = world, world.journal
        self.sessions = 0
        self.messages = 0
        self.count = collections.Counter()

    def run(self):
        while True:
            life = self.world.await_life()
            if life is None:
                return
            rng = self.world.rng(self.name, self.sessions)
            try:
                self.session(rng, life)
            except Exception:  # pylint: disable=broad-except
                self.journal.problem('the soak itself failed, in %s:\n%s' % (
                    self.name, traceback.format_exc()))
                return
            self.sessions += 1

    def session(self, rng, life):
        raise NotImplementedError

    def sleep(self, seconds):
        """Not beyond the end of the round."""
        self.world.over.wait(seconds)

    def new_pub(self, rng, topic, kind, life, delay=0.0):
        size = rng.choice([10, 100, 100, 300, 1000, 1000, 5000])
        if rng.random() < 0.004:
            size = rng.choice([20000, 70000, 300000])
        self.messages += 1
        return self.world.pub('%s.%d.%d' % (self.name, self.sessions, self.messages), topic, size,
                              kind, delay, life)

    def ended(self, life, what, error, excused=False):
        """The daemon has ended a connection, or refused it."""
        self.count['ended by the daemon'] += 1
        if not excused:
            self.journal.problem('%s: %s: %s' % (self.name, what, repr(error)[:300]), life)

    def connect(self, life, stack, **identify):
        """A connection to that life's daemon, or None if it is gone."""
        client, since = None, now()
        try:
            client = Client(self.world.daemon.tcp_port)
            if self.world.life is not life:
                client.close()      # it may be to the next one
                return None
            if stack != 'plain' or identify:
                upgrade(client, stack, **identify)
            return client
        except ENDINGS as error:
            if client:
                client.close()
            self.ended(life, 'no connection by %s' % stack, error,
                       'tls' in stack and now() - since > HANDSHAKE)
            return None


class Conversation:
    """A connection by TCP, with what was sent and waits for an answer, in order."""

    def __init__(self, actor, life, client):
        self.actor, self.life, self.client = actor, life, client
        self.waiting = collections.deque()
        self.last_error = None

    def send(self, *words, body=None):
        self.client.command(*words, body=body)

    def publish(self, rng, topic, kind):
        """Send one command that publishes; its answer is taken later."""
        if kind == 'mpub':
            pubs = [self.actor.new_pub(rng, topic, kind, self.life)
                    for _ in range(rng.choice([1, 2, 5, 20, 60]))]
            self.waiting.append(pubs)
            self.send('MPUB', topic, body=mpub_body([body(pub) for pub in pubs]))
        elif kind == 'dpub':
            delay = rng.choice([0, 1, 50, 300, 1500])
            pub = self.actor.new_pub(rng, topic, kind, self.life, delay / 1000)
            self.waiting.append([pub])
            self.send('DPUB', topic, delay, body=body(pub))
        else:
            pub = self.actor.new_pub(rng, topic, kind, self.life)
            self.waiting.append([pub])
            self.send('PUB', topic, body=body(pub))

    def take(self, seconds):
        """Take frames for so long, or until one is awaited that has come."""
        kind, data = self.client.frame(seconds / SCALE)
        if kind == MESSAGE:
            self.message(Message(data))
        elif kind == RESPONSE and data == HEARTBEAT:
            self.send('NOP')
        elif kind == RESPONSE:
            self.response(data)
        elif kind == ERROR:
            self.error(data)
        return kind, data

    def response(self, data):
        if not self.waiting:
            self.actor.journal.problem('%s: an answer to nothing: %r' % (
                self.actor.name, data), self.life)
            return
        for pub in self.waiting.popleft():
            pub.answered('acked')

    def error(self, data):
        """Of the first command that waits; the daemon closes after it."""
        self.last_error = data
        if data.startswith((b'E_FIN_FAILED', b'E_REQ_FAILED', b'E_TOUCH_FAILED')):
            return
        for pub in self.waiting.popleft() if self.waiting else ():
            pub.answered('refused', data.decode('latin-1'))

    def message(self, message):
        self.actor.journal.problem('%s: a message without SUB: %r' % (
            self.actor.name, message), self.life)

    def take_answers(self, left=0):
        """Until no more than so many commands wait for theirs."""
        deadline = now() + PATIENCE
        while len(self.waiting) > left:
            try:
                self.take(deadline - now())
            except TimeoutError:
                self.actor.journal.problem('%s: no answer for %d s' % (
                    self.actor.name, PATIENCE), self.life)
                raise EOFError('no answer') from None

    def topics_waiting(self):
        return {pub.topic for pubs in self.waiting for pub in pubs}


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
            self.ended(life, 'a producer by %s' % stack, talk.last_error or error, excused)
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
            self.expect_end(talk)
        elif end == 'answers':
            talk.take_answers()
        elif end == 'invalid':
            talk.take_answers()
            client.send(rng.choice([b'PUB\n', b'NONSENSE\n', b'PUB kept/\n', b'SUB kept\n',
                                    b'MPUB kept\n\0\0\0\4\0\0\0\0', b'DPUB kept x\n\0\0\0\1y',
                                    b'PUB kept\n\xff\xff\xff\xff', b'TOUCH\n', b'RDY 1\n',
                                    b'FIN 0123456789abcdef\n', b'IDENTIFY\n\0\0\0\1x']))
            self.expect_end(talk)

    def expect_end(self, talk):
        """The daemon closes, after whatever it has to say."""
        deadline = now() + PATIENCE
        try:
            while True:
                talk.take(deadline - now())
        except TimeoutError:
            self.journal.problem('%s: the daemon does not close' % self.name, talk.life)
        except ENDINGS:
            pass


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
            connection = http.client.HTTPConnection(
                '127.0.0.1', daemon.http_port, timeout=PATIENCE)
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


class Consuming(Conversation):
    """A consumer's connection: what it has received, and what it is yet to do with it."""

    def __init__(self, actor, life, client, session, rng):
        super().__init__(actor, life, client)
        self.session, self.rng = session, rng
        self.by_message_id = collections.defaultdict(list)
        self.unconfirmed = []       # FINs sent since a command was answered
        self.later = []             # (when, delivery, what)
        self.outstanding = 0
        self.counts_rdy = True
        self.closed_by_cls = False
        self.before_cls = []        # FINs that were sent before

    # -- what comes

    def response(self, data):
        if data == b'CLOSE_WAIT':
            self.closed_by_cls = True
            self.confirm(self.before_cls)
            return
        if self.waiting:
            self.confirm(getattr(self.waiting[0], 'fins', ()))
        super().response(data)

    def confirm(self, deliveries):
        at = now()
        for d in deliveries:
            if d.fin == 'sent':
                d.fin, d.answered_at = 'confirmed', at

    def error(self, data):
        words = data.split()
        if words[0] == b'E_FIN_FAILED' and len(words) > 2 and words[2] != UNKNOWN_ID:
            sent = [d for d in self.by_message_id[words[2]] if d.fin]
            for d in sent:
                if d.fin == 'sent':
                    d.fin, d.answered_at = 'failed' if len(sent) == 1 else 'maybe', now()
        super().error(data)

    def message(self, message):
        name = id_of(message.body)
        pub = self.actor.journal.pubs.get(name)
        if pub is not None and message.body != body(pub):
            self.actor.journal.problem('%r: a body of %d bytes is not as it was sent: %s' % (
                self.session, len(message.body), name))
        d = Delivery(name or repr(message.body[:60]), message.id, self.session, message.attempts)
        for before in self.by_message_id[message.id]:
            if before.fin == 'sent':
                before.fin = 'maybe'    # it may have ended this delivery instead
            elif before.fate is None:
                self.outstanding -= 1   # its time was over
        self.by_message_id[message.id].append(d)
        self.actor.journal.deliver(d)
        self.outstanding += 1
        if (self.outstanding > self.session.max_rdy and self.counts_rdy
                and self.session.topic in Topics.KEPT
                and d.at - self.session.begin < self.session.timeout):
            self.actor.journal.problem('%r: %d messages are in flight, RDY was never more than %d'
                                       % (self.session, self.outstanding, self.session.max_rdy))
        self.decide(d)

    # -- what it does with it

    def decide(self, d):
        dice = zlib.crc32(b'%s %s %s %d' % (
            str(self.actor.world.seed).encode(), self.session.channel.encode(), d.id.encode(),
            d.attempts)) % 1000
        if dice < 780:
            self.fin(d)
        elif dice < 840:
            self.req(d, 0)
        elif dice < 870:
            self.req(d, dice % 7 * 250)
        elif dice < 920:
            self.later.append((now() + 0.05 + dice % 10 * 0.05, d, 'fin'))
        elif dice < 960:
            self.send('TOUCH', d.message_id)
            self.later.append((now() + 0.05 + dice % 10 * 0.15, d, 'touch'))
        elif dice < 970:
            self.fin(d)
            self.send('FIN', d.message_id)      # which is not in flight any more
            if d.fin == 'sent':
                d.fin = 'maybe'
        # else it is left to its time-out, or to the end

    def fin(self, d):
        d.fate, d.fate_at, d.fin = 'fin', now(), 'sent'
        self.unconfirmed.append(d)
        self.send('FIN', d.message_id)
        self.outstanding -= 1

    def req(self, d, delay):
        d.fate, d.fate_at, d.delay = 'req', now(), delay / 1000
        self.send('REQ', d.message_id, delay)
        self.outstanding -= 1

    def do_later(self):
        at = now()
        due = [entry for entry in self.later if entry[0] <= at]
        self.later = [entry for entry in self.later if entry[0] > at]
        for _, d, what in due:
            if what == 'touch':
                self.send('TOUCH', d.message_id)
            self.fin(d)

    def sync(self, topic):
        """Publish; the answer says that the daemon has heard of all before it."""
        self.publish(self.rng, topic, 'pub')
        pubs = self.waiting.pop()
        self.waiting.append(WithFins(pubs))
        self.waiting[-1].fins, self.unconfirmed = self.unconfirmed, []

    def cls(self):
        """CLS, and all that still comes before its answer."""
        self.before_cls, self.unconfirmed = self.unconfirmed, []
        self.send('CLS')
        deadline = now() + PATIENCE
        while not self.closed_by_cls:
            try:
                self.take(deadline - now())
            except TimeoutError:
                self.actor.journal.problem('%r: no CLOSE_WAIT' % self.session, self.life)
                return

    def rdy(self, n):
        self.session.max_rdy = max(self.session.max_rdy, n)
        self.send('RDY', n)

    def listen(self, seconds):
        until = now() + seconds
        while True:
            left = until - now()
            if left <= 0 or self.actor.world.over.is_set():
                return
            try:
                self.take(min(left, 0.1))
            except TimeoutError:
                pass
            self.do_later()


class WithFins(list):
    """The messages of a command, and the FINs that its answer confirms."""
    fins = ()


class Consumer(Actor):
    """SUB, RDY, FIN, REQ, TOUCH, CLS; stalls; ends of all kinds."""

    def session(self, rng, life):
        topic, channel = Topics.to_consume(rng)
        stack = rng.choice(STACKS)
        identify, timeout, fragile = self.options(rng, life)
        steps = [rng.choice(['listen'] * 6 + ['rdy', 'nop', 'sync', 'sync', 'stall', 'bad fin'])
                 for _ in range(rng.choice([2, 6, 12, 20]))]
        end = rng.choice(['cls', 'cls', 'cut', 'rst', 'half_close', 'invalid', 'half'])
        if topic not in Topics.FIXED or channel not in Topics.FIXED[topic]:
            fragile = True      # its channel may be deleted, also by the end of another consumer
        client = self.connect(life, stack, **identify)
        if client is None:
            return self.sleep(0.05)
        session = Session('%s.%d' % (self.name, self.sessions), topic, channel, life, timeout,
                          fragile)
        self.journal.sessions.append(session)
        talk = Consuming(self, life, client, session, rng)
        try:
            self.subscribe(talk)
            talk.rdy(rng.choice([1, 2, 10, 50, 200]))
            for step in steps:
                if self.world.over.is_set():
                    break
                self.step(rng, talk, step)
            self.count['end: ' + end] += 1
            self.finish(rng, talk, end)
        except ENDINGS as error:
            if session.end == INF:
                session.ended_by_daemon = now()
                self.ended(life, '%r by %s' % (session, stack), talk.last_error or error, fragile)
        finally:
            session.end = min(session.end, now())
            client.close()
        return None

    @staticmethod
    def options(rng, life):
        identify = {}
        timeout = float(life.settings['msg-timeout'][:-1])
        fragile = False
        kind = rng.random()
        if kind < 0.3:
            identify['msg_timeout'] = rng.choice([1000, 2000])
        elif kind < 0.7:
            identify['msg_timeout'] = 10000
        if 'msg_timeout' in identify:
            timeout = identify['msg_timeout'] / 1000
        if rng.random() < 0.2:
            identify['heartbeat_interval'] = 1000
            fragile = True      # it stalls for longer than that
        if rng.random() < 0.3:
            identify['output_buffer_timeout'] = rng.choice([-1, 25, 100])
        if rng.random() < 0.2:
            identify['output_buffer_size'] = rng.choice([-1, 64, 16384])
        return identify, timeout, fragile

    def subscribe(self, talk):
        s = talk.session
        event = self.world.event('create', s.topic, s.channel, talk.life)
        talk.send('SUB', s.topic, s.channel)
        talk.waiting.append([])
        talk.take_answers()
        if talk.last_error is None:
            s.subscribed = event.end = now()

    def step(self, rng, talk, step):
        self.count[step] += 1
        if step == 'listen':
            talk.listen(0.05 + rng.random() * 0.4)
        elif step == 'rdy':
            talk.rdy(rng.choice([0, 1, 5, 20, 100]))
        elif step == 'nop':
            talk.send('NOP')
        elif step == 'sync':
            talk.sync(rng.choice(['kept', 'kept', 'emptied', 'kept.one']))
            talk.take_answers()
        elif step == 'stall':
            self.sleep(0.1 + rng.random() * 1.5)
        elif step == 'bad fin':
            talk.send('FIN', UNKNOWN_ID)

    def finish(self, rng, talk, end):
        client, session = talk.client, talk.session
        if end == 'cls':
            talk.cls()
            session.end = now()
            return
        session.end = now()
        if end == 'rst':
            client.reset()
        elif end == 'half_close':
            client.half_close()
            self.expect_end(talk)
        elif end == 'invalid':
            client.send(rng.choice([b'RDY -1\n', b'FIN x\n', b'SUB kept x\n', b'REQ\n', b'\n',
                                    b'RDY 1000000\n', b'CLS x\n\n', b'TOUCH 1\n']))
            self.expect_end(talk)
        elif end == 'half':
            pub = self.new_pub(rng, 'kept', 'half', talk.life)
            pub.state = 'half'
            whole = body(pub)
            client.send(b'PUB kept\n' + struct.pack('>i', len(whole)) + whole[:-1])
            client.reset()

    def expect_end(self, talk):
        """The daemon closes; what comes before that is received, but nothing answers it."""
        deadline = now() + PATIENCE
        talk.decide = lambda d: None
        talk.counts_rdy = False
        try:
            while True:
                talk.take(deadline - now())
        except TimeoutError:
            self.journal.problem('%r: the daemon does not close' % talk.session, talk.life)
        except ENDINGS:
            pass


class Vandal(Actor):
    """Connections that are no clients: garbage, silence, half handshakes, half requests."""

    TCP = [b'', b'  V', b'  V1', b'GET / HTTP/1.0\r\n\r\n', b'\x16\x03\x01\x02\x00\x01',
           b'  V2', b'  V2\n', b'  V2PUB', b'  V2PUB kept', b'  V2PUB kept\n\0\0\1\0half',
           b'  V2MPUB kept\n\0\0\0\x20\0\0\0\2\0\0\0\4abcd', b'  V2IDENTIFY\n\0\0\0\2{}',
           b'  V2IDENTIFY\n\0\0\0\2{}IDENTIFY\n\0\0\0\2{}', b'  V2IDENTIFY\n\x7f\xff\xff\xff',
           b'  V2SUB kept x', b'  V2SUB kept x\nSUB kept x\n', b'  V2NOP\nNOP\nNOP\n',
           b'  V2' + b'x' * 20000]
    HTTP = [b'', b'GET', b'GET /stats', b'GET /stats HTTP/1.1\r\nHost: x\r\n', b'\0\1\2\3\r\n\r\n',
            b'POST /pub?topic=kept HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf',
            b'POST /mpub?topic=kept&binary=true HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n'
            b'\0\0\0\2\0\0\0\1',
            b'POST /pub?topic=kept HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
            b'5\r\nab']

    def session(self, rng, life):
        daemon = self.world.daemon
        port, what = rng.choice([
            (daemon.tcp_port, rng.choice(self.TCP)), (daemon.http_port, rng.choice(self.HTTP)),
            (daemon.https_port, rng.choice(self.HTTP))])
        upgraded = rng.random() < 0.2
        garbage = rng.randbytes(rng.choice([1, 10, 200])).replace(b'\n', b'')
        pause, reset = rng.random() * 0.3, rng.random() < 0.5
        try:
            if upgraded:
                self.after_upgrade(rng, life, garbage)
            else:
                self.plain(port, what, pause, reset)
        except ENDINGS:
            self.count['ended by the daemon'] += 1
        self.sleep(rng.random() * 0.3)

    def plain(self, port, what, pause, reset):
        self.count['vandal'] += 1
        client = Client(port, magic=None)
        try:
            client.send(what)
            self.sleep(pause)
            if reset:
                client.reset()
        finally:
            client.close()

    def after_upgrade(self, rng, life, garbage):
        """Garbage instead of a record of TLS, a chunk of snappy, a block of deflate."""
        self.count['vandal after an upgrade'] += 1
        stack = rng.choice(STACKS[1:])
        client = self.connect(life, stack)
        if client is None:
            return
        below = client.socket
        try:
            if rng.random() < 0.5:
                client.command('SUB', 'kept', 'vandal#ephemeral').expect_ok()
            while hasattr(below, 'below') and not (isinstance(below, Tls) and rng.random() < 0.5):
                below = below.below
            below.sendall(garbage)
            self.sleep(rng.random() * 0.2)
        finally:
            client.close()


class Operator(Actor):
    """Creates, pauses, unpauses, empties and deletes; looks at /stats, /ping, /info, /debug/."""

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
        kinds = ['look'] * 4 + ['pause', 'unpause', 'unpause', 'create']
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


def cast(world):
    """All actors of a round."""
    kinds = [(Producer, 6), (HttpProducer, 2), (Consumer, 9), (Vandal, 1), (Operator, 2)]
    return [kind(world, '%s%d' % (kind.__name__.lower(), i))
            for kind, n in kinds for i in range(n)]


class Drain(Actor):
    """The patient consumer of one channel: it finishes everything, until it is told to end."""

    def __init__(self, world, topic, channel):
        super().__init__(world, 'drain %s/%s' % (topic, channel))
        self.topic, self.channel = topic, channel
        self.ready_to_end = threading.Event()

    def run(self):
        life = self.world.life
        session = Session(self.name, self.topic, self.channel, life, 60.0, False)
        self.journal.sessions.append(session)
        try:
            client = Client(self.world.daemon.tcp_port)
            client.identify(msg_timeout=60000, output_buffer_timeout=25)
            talk = Consuming(self, life, client, session, self.world.rng(self.name))
            talk.decide = talk.fin
            talk.send('SUB', self.topic, self.channel)
            talk.waiting.append([])
            talk.take_answers()
            session.subscribed = now()
            talk.rdy(200)
            while not self.ready_to_end.is_set():
                try:
                    talk.take(0.05)
                except TimeoutError:
                    pass
            talk.cls()
            session.end = now()
            client.close()
        except Exception:  # pylint: disable=broad-except
            self.journal.problem('%s failed:\n%s' % (self.name, traceback.format_exc()))
