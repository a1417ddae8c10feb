"""What all actors of a soak have: their thread, their sessions, their connections.

An actor is a thread that has one session after the other. What a session does follows from the
seed, the actor's name and the session's number; what it meets does not. So a seed repeats the
commands of each session, but not how those of all actors interleave, nor how many sessions fit
into the time.
"""

import collections
import http.client
import ssl
import struct
import threading
import traceback
import zlib

from duplex import Duplex
from journal import now
from nsq import ERROR, HEARTBEAT, MESSAGE, RESPONSE, SCALE, Client, Message, mpub_body
from stacks import upgrade
from world import HANDSHAKE, PATIENCE, body

# How a connection ends that the daemon has closed, in whatever layer that is noticed. (The helpers
# of the functional tests use assert for answers that are not as expected.)
ENDINGS = (EOFError, OSError, ssl.SSLError, zlib.error, struct.error, AssertionError,
           http.client.HTTPException)


def authenticate(client, life):
    """Before anything but IDENTIFY, where the daemon has an auth server."""
    if life.settings['auth']:
        kind, data = client.command('AUTH', body=b'secret').answer(PATIENCE / SCALE)
        assert kind == RESPONSE, data


def dial(world):
    """A connection to the daemon, which reads while it cannot send."""
    client = Client(world.daemon.tcp_address)
    client.socket = Duplex(client.socket)
    return client


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
            self.messages = 0
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
            client = dial(self.world)
            if self.world.life is not life:
                client.close()      # it may be to the next one
                return None
            if stack != 'plain' or identify:
                upgrade(client, stack, **identify)
            authenticate(client, life)
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

    def why(self, error):
        """How it has ended: by this exception, after the last error that the daemon has sent."""
        return (self.last_error, error) if self.last_error else error

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

    def await_end(self, name):
        """The daemon closes, after whatever it has to say."""
        deadline = now() + PATIENCE
        try:
            while True:
                self.take(deadline - now())
        except TimeoutError:
            self.actor.journal.problem('%s: the daemon does not close' % name, self.life)
        except ENDINGS:
            pass
