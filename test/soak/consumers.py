"""The consumers of a soak: those that do everything at random, and the patient ones of the drain.

What a consumer does with a message follows from the seed, the message and its attempt.
"""

import collections
import struct
import threading
import traceback
import zlib

from actors import ENDINGS, Actor, Conversation, authenticate, dial
from journal import INF, Delivery, Session, now
from stacks import STACKS
from topics import Topics
from world import PATIENCE, body, id_of

UNKNOWN_ID = b'0123456789abcdef'


class Consuming(Conversation):
    """A consumer's connection: what it has received, and what it is yet to do with it."""

    def __init__(self, actor, life, client, session, rng):
        super().__init__(actor, life, client)
        self.session, self.rng = session, rng
        self.by_message_id = collections.defaultdict(list)
        self.unconfirmed = []       # FINs and REQs sent since a command was answered
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
            elif d.fin is None and not d.refused:
                d.answered_at = at

    def error(self, data):
        words = data.split()
        if words[0] == b'E_FIN_FAILED' and len(words) > 2 and words[2] != UNKNOWN_ID:
            sent = [d for d in self.by_message_id[words[2]] if d.fin]
            for d in sent:
                if d.fin == 'sent':
                    d.fin, d.answered_at = 'failed' if len(sent) == 1 else 'maybe', now()
        if words[0] == b'E_REQ_FAILED' and len(words) > 2:
            for d in self.by_message_id[words[2]]:
                d.refused = True
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
        self.unconfirmed.append(d)
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

    def await_end(self, name):
        """What comes before the end is received, but nothing answers it."""
        self.decide = lambda d: None
        self.counts_rdy = False
        super().await_end(name)

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
                self.ended(life, '%r by %s' % (session, stack), talk.why(error), fragile)
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
            talk.await_end(repr(session))
        elif end == 'invalid':
            client.send(rng.choice([b'RDY -1\n', b'FIN x\n', b'SUB kept x\n', b'REQ\n', b'\n',
                                    b'RDY 1000000\n', b'CLS x\n\n', b'TOUCH 1\n']))
            talk.await_end(repr(session))
        elif end == 'half':
            pub = self.new_pub(rng, 'kept', 'half', talk.life)
            pub.state = 'half'
            whole = body(pub)
            client.send(b'PUB kept\n' + struct.pack('>i', len(whole)) + whole[:-1])
            client.reset()


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
            client = dial(self.world)
            client.identify(msg_timeout=60000, output_buffer_timeout=25)
            authenticate(client, life)
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
