"""What the actors of a soak write down: what they sent, got, finished, and what happened meanwhile.

Times are seconds of the monotonic clock. An event has two, as it happened somewhere between them:
before the request was sent, and after the answer was read. Records are only ever appended, each by
the one thread that owns them, and are read when all threads have ended.
"""

import collections
import time

INF = float('inf')
now = time.monotonic


class Life:
    """One process of the daemon."""

    def __init__(self, number, epoch, settings):
        self.number = number
        self.epoch = epoch          # how many lives before it ended by kill -9
        self.settings = settings    # what differs from start to start, for instance {'mem': 10}
        self.after_kill = False     # the one before it was killed
        self.log_from = 0           # where its part of the log begins
        self.born = now()
        self.up = None              # when it listened
        self.end_begin = INF        # before the signal that ends it was sent
        self.end = INF              # when the process was gone
        self.how = None             # 'term' or 'kill'
        self.suspensions = []       # (from, until)
        # With a log, after a kill. (topic, channel): what was heard before is in its cursor's file.
        self.written = {}

    def __repr__(self):
        return 'life %d (epoch %d, %s, ended by %s)' % (
            self.number, self.epoch,
            ' '.join('%s=%s' % item for item in sorted(self.settings.items())), self.how)


class Pub:
    """A message that was sent, or begun to be sent."""

    __slots__ = ('id', 'topic', 'size', 'kind', 'delay', 'life', 'begin', 'end', 'state', 'why')

    def __init__(self, name, topic, size, kind, delay, life):
        self.id, self.topic, self.size, self.kind, self.delay = name, topic, size, kind, delay
        self.life = life
        self.begin = now()
        self.end = INF              # when the answer was read
        # 'unknown': no answer; 'acked'; 'refused': an error; 'half': never sent to its end
        self.state = 'unknown'
        self.why = ''

    def answered(self, state, why=''):
        self.end, self.state, self.why = now(), state, why


class Delivery:
    """A message that a consumer has received, and what the consumer did with it."""

    __slots__ = ('id', 'message_id', 'session', 'attempts', 'at', 'fate', 'fate_at', 'delay',
                 'fin', 'answered_at', 'refused')

    def __init__(self, name, message_id, session, attempts):
        self.id, self.message_id = name, message_id
        self.session, self.attempts = session, attempts
        self.at = now()
        self.fate = None            # 'fin' or 'req': the last command that ends it
        self.fate_at = INF
        self.delay = 0.0            # of a REQ
        self.refused = False        # the daemon refused a REQ
        # Of a FIN: 'sent', at first. 'confirmed' when a later command of the connection was answered
        # and no error came. 'failed' when the daemon refused it. 'maybe' when that cannot be told.
        self.fin = None
        self.answered_at = INF      # when that was read; of a REQ likewise, if it was not refused


class Session:
    """A consumer's connection."""

    def __init__(self, name, topic, channel, life, timeout, fragile):
        self.name, self.topic, self.channel, self.life = name, topic, channel, life
        self.timeout = timeout      # of its messages, in seconds
        self.fragile = fragile      # the daemon may close it: it beats quickly, or breaks rules
        self.begin = now()
        self.subscribed = INF
        self.max_rdy = 0
        self.end = INF              # before the client began to end it
        self.ended_by_daemon = INF  # when the client noticed that the daemon had

    def __repr__(self):
        return '%s of %s/%s in life %d' % (self.name, self.topic, self.channel, self.life.number)


class Event:
    """An operator's request: create, delete, empty, pause, unpause."""

    def __init__(self, kind, topic, channel, life):
        self.kind, self.topic, self.channel, self.life = kind, topic, channel, life
        self.begin = now()
        self.end = None             # when it was answered with 200
        self.missed = False         # there was no such topic or channel

    def certain_end(self):
        """When it was over, at the latest. The daemon does nothing after its end."""
        return self.life.end if self.end is None else self.end

    def __repr__(self):
        return '%s %s/%s' % (self.kind, self.topic, self.channel or '')


class Journal:
    def __init__(self):
        self.lives = []
        self.pubs = {}                                      # id: Pub
        self.deliveries = collections.defaultdict(list)     # (topic, channel): [Delivery]
        self.sessions = []
        self.events = []
        self.problems = []                                  # (when, text, life)

    def deliver(self, delivery):
        self.deliveries[delivery.session.topic, delivery.session.channel].append(delivery)

    def problem(self, text, life=None):
        """Something went wrong that has no cause, unless the life was being ended by then."""
        self.problems.append((now(), text, life))

    def noted(self):
        """The problems that the end of a life does not explain."""
        return [text for at, text, life in list(self.problems)
                if life is None or at < life.end_begin]

    def history(self, name):
        """Everything that is known of one message, by time, as lines."""
        pub = self.pubs.get(name)
        lines = []
        if pub:
            lines.append((pub.begin, '%s to %s in life %d, %d bytes, delay %g s' % (
                pub.kind, pub.topic, pub.life.number, pub.size, pub.delay)))
            if pub.end < INF:
                lines.append((pub.end, 'the answer: %s %s' % (pub.state, pub.why)))
        topic = pub.topic if pub else None
        for (its_topic, channel), deliveries in list(self.deliveries.items()):
            for d in deliveries:
                if d.id != name:
                    continue
                topic = topic or its_topic
                lines.append((d.at, '%s/%s: received by %s, attempt %d, as %s, timeout %g s' % (
                    its_topic, channel, d.session.name, d.attempts, d.message_id.decode(),
                    d.session.timeout)))
                if d.fate:
                    lines.append((d.fate_at, '%s/%s: %s by %s%s' % (
                        its_topic, channel, d.fate.upper(), d.session.name,
                        '' if d.fin else ', delay %g s' % d.delay)))
                if d.answered_at < INF:
                    lines.append((d.answered_at, '%s/%s: that %s: %s' % (
                        its_topic, channel, d.fate.upper(), d.fin or 'heard')))
                ended = min(d.session.end, d.session.ended_by_daemon)
                if ended < INF:
                    lines.append((ended, '%s/%s: %s ends%s' % (
                        its_topic, channel, d.session.name,
                        '' if d.session.end < INF else ' (the daemon closed it)')))
        since = pub.begin if pub else 0
        for life in self.lives:
            if life.end >= since:
                lines.append((life.born, '-- %r begins' % life))
                lines += [(at, '-- suspended until %.3f' % (until - self.lives[0].born))
                          for at, until in life.suspensions]
                if life.end < INF:
                    lines.append((life.end_begin, '-- life %d: %s' % (life.number, life.how)))
                lines += [(at, '-- life %d: what %s/%s heard before was in its file' % (
                    (life.number,) + key)) for key, at in life.written.items()
                    if key[0] == topic and at > since]
        for e in self.events:
            if e.topic == topic and e.begin >= since and e.kind in ('empty', 'delete'):
                lines.append((e.begin, '-- %r (%s)' % (
                    e, 'not answered' if e.end is None else 'answered after %.3f s' % (
                        e.end - e.begin))))
        start = self.lives[0].born if self.lives else 0
        return ['%9.3f  %s' % (at - start, text) for at, text in sorted(set(lines))]
