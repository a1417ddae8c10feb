"""The accounts of a soak: acknowledged = finished + present + explained, for each channel.

After a round everything that the daemon still had has been drained, so what was present has been
received and finished, too. So each acknowledged message must have been finished in each channel,
unless an event of the journal explains its loss. docs/durability.md says what may be lost:

* nothing by a clean stop;
* by kill -9 what was in memory, in flight or deferred. How much that can be is bounded by the
  settings of that life, so a loss that is larger is not explained. With --durability it is nothing;
* what an operator has emptied or deleted, and what is in an ephemeral channel.

A message that comes twice needs a cause as well: a REQ, a time-out that can have passed, or the
end of the daemon. With --durability more is remembered through a kill: what was finished, tried or
put off before one of the last writes of the channel's cursor (Life.written) is so afterwards.
Where the clients' clocks cannot tell which of two things came first, each rule errs on the daemon's
side. So what it finds is a fault.
"""

import collections

from journal import INF

# Of the daemon's bounds (docs/architecture.md).
TOPIC_BATCH = CHANNEL_BATCH = 256


# A delay is counted by the daemon's wall clock, and measured by ours.
CLOCK_SLACK = 0.05


def is_ephemeral(name):
    return name.endswith('#ephemeral')


def has_log(topic, life):
    """An ephemeral topic has none. Its channels have disk queues, but for ephemeral ones."""
    return life.settings.get('durability', 'none') != 'none' and not is_ephemeral(topic)


class Accounts:
    """Works out what is wrong with a journal: problems() has a (text, ids) for each."""

    def __init__(self, journal, kept, emptied=()):
        """kept, emptied: topics whose channels were there before the first message, and stay.

        From the kept ones nothing is ever taken away. All others may be deleted.
        """
        self.j = journal
        self.kept, self.emptied = set(kept), set(emptied)
        self.kills = [life for life in journal.lives if life.how == 'kill']
        self.found = []
        self.explained = collections.Counter()
        self.finished = 0
        # (The consumers of the drain may still be at work.)
        self.deliveries = {key: list(deliveries)
                           for key, deliveries in list(journal.deliveries.items())}
        self.by_channel = {key: self._by_id(deliveries)
                           for key, deliveries in self.deliveries.items()}

    @staticmethod
    def _by_id(deliveries):
        by_id = collections.defaultdict(list)
        for d in deliveries:
            by_id[d.id].append(d)
        for ds in by_id.values():
            ds.sort(key=lambda d: (d.session.life.epoch, d.attempts, d.at))
        return by_id

    def channels(self):
        """Every (topic, channel) that keeps messages and has ever been created."""
        return sorted({(e.topic, e.channel) for e in self.j.events
                       if e.kind == 'create' and e.channel
                       and not is_ephemeral(e.channel) and not is_ephemeral(e.topic)})

    def problems(self):
        self._noted()
        self._invented()
        for topic, channel in self.channels():
            self._losses(topic, channel)
        for (topic, channel), by_id in sorted(self.by_channel.items()):
            self._repeats(topic, channel, by_id)
            self._early(topic, channel, by_id)
        self._resurrections()
        self._pauses()
        self._refused_fins()
        return self.found

    def _find(self, text, ids=()):
        self.found.append((text, list(ids)))

    # -- what the actors have seen themselves

    def _noted(self):
        for text in self.j.noted():
            self._find(text)

    # -- nothing is received that was never sent

    def _invented(self):
        for (topic, channel), by_id in sorted(self.by_channel.items()):
            strange = [name for name in by_id if name not in self.j.pubs
                       or self.j.pubs[name].topic != topic
                       or self.j.pubs[name].state == 'half']
            if strange:
                self._find('%s/%s: received, but never sent there' % (topic, channel), strange)

    # -- losses

    def _created(self, topic, channel):
        """When the channel certainly was there: [(from, nothing was taken away since)]."""
        removals = [e for e in self.j.events if e.kind == 'delete' and e.topic == topic
                    and e.channel in (None, channel) and not e.missed]
        last = max([e.certain_end() for e in removals], default=-INF)
        if topic not in self.kept and topic not in self.emptied:
            # nsqd.dat may not have had it yet. (A log has its channels' cursors beside it.)
            last = max([last] + [life.end for life in self.kills if not has_log(topic, life)])
        return min([e.end for e in self.j.events
                    if e.kind == 'create' and (e.topic, e.channel) == (topic, channel)
                    and e.end is not None and e.begin > last], default=INF)

    def _losses(self, topic, channel):
        since = self._created(topic, channel)
        by_id = self.by_channel.get((topic, channel), {})
        emptied = [e.certain_end() for e in self.j.events if e.kind == 'empty'
                   and e.topic == topic and e.channel in (None, channel)]
        last_emptied = max(emptied, default=-INF)
        exposed = []
        for pub in self.j.pubs.values():
            if pub.topic != topic or pub.state != 'acked':
                continue
            deliveries = by_id.get(pub.id, ())
            if self._is_finished(deliveries) or (
                    deliveries and self._has_copies(pub, deliveries[-1].at)
                    and any(d.fin for d in deliveries)):
                self.finished += 1
            elif pub.begin <= since:
                self.explained['deleted'] += 1
            elif pub.begin <= last_emptied:
                self.explained['emptied'] += 1
            else:
                exposed.append(pub)
        self._lost_by_kills(topic, channel, exposed)

    @staticmethod
    def _is_finished(deliveries):
        """A FIN was sent that may have been heard in time.

        It need not be that of the last delivery. The consumer of the first may have the message
        for the third time, in a buffer, when it says FIN to the first. But with a log, one that
        comes again in a later life had not been finished before.
        """
        last = max((d.session.life.number for d in deliveries
                    if has_log(d.session.topic, d.session.life)), default=-1)
        return any(d.fin in ('sent', 'confirmed', 'maybe') for d in deliveries
                   if d.session.life.number >= last)

    def _has_copies(self, pub, until):
        """A kill makes copies: the topic's queue and the channel's may both have it afterwards."""
        return any(pub.begin <= life.end <= until for life in self.kills
                   if not has_log(pub.topic, life))

    def _lost_by_kills(self, topic, channel, lost):
        """Which of them no kill explains: each takes as many as its life may have exposed."""
        lost.sort(key=lambda pub: pub.begin)
        left, at = [], 0
        for life in self.kills:
            while at < len(lost) and lost[at].begin < life.end:
                left.append(lost[at])
                at += 1
            room = self.exposed(life, topic, channel)
            self.explained['kill -9'] += min(room, len(left))
            left = left[room:]
        left += lost[at:]
        if left:
            self._find('%s/%s: %d acknowledged messages are lost, of %d that were not finished' % (
                topic, channel, len(left), len(lost)), [pub.id for pub in left])

    def exposed(self, life, topic, channel):
        """How many messages of a channel the end of that life may have lost, at most."""
        if has_log(topic, life):
            return 0
        memory = life.settings['mem']
        sessions = [s for s in self.j.sessions if s.life is life
                    and (s.topic, s.channel) == (topic, channel)]
        deferred = sum(pub.delay > 0 for pub in self.j.pubs.values()
                       if pub.topic == topic and pub.life is life)
        deferred += sum(d.fate == 'req' and d.delay > 0
                        for d in self.deliveries.get((topic, channel), ())
                        if d.session.life is life)
        room = deferred + memory
        if memory > 0:
            room += memory + TOPIC_BATCH
        if sessions:
            room += CHANNEL_BATCH + sum(s.max_rdy for s in sessions)
        return room

    # -- what comes twice

    def _repeats(self, topic, channel, by_id):
        uncaused = []
        for name, ds in by_id.items():
            pub = self.j.pubs.get(name)
            if pub is None or len(ds) < 2:
                continue
            if self._has_copies(pub, ds[-1].at):
                self.explained['again after kill -9'] += 1
                continue
            for i, (first, then) in enumerate(zip(ds, ds[1:])):
                killed = first.session.life.epoch < then.session.life.epoch
                may = self._may_come_again(pub, first, then) if killed else self._may_repeat(
                    pub, first, then, ds[:i], ds[i + 1:])
                if not may:
                    uncaused.append(name)
                    break
        if uncaused:
            self._find('%s/%s: messages came again without a cause' % (topic, channel), uncaused)

    @staticmethod
    def _may_repeat(pub, first, then, earlier, later):
        if first.attempts == then.attempts:
            return False
        s = first.session
        # Its time was not over when the FIN was heard, so this delivery is what it ended.
        if (first.fin == 'confirmed' and first.answered_at < max(d.at for d in later)
                and first.answered_at - max(pub.begin, s.begin) < s.timeout):
            return False
        # (A consumer that has gone is no cause: what it had in flight waits for its time-out.)
        return (first.fate == 'req'
                # The REQ may have come when its consumer had the message for the second time.
                or any(d.fate == 'req' and d.session is s for d in earlier)
                # The daemon has gone.
                or s.life.end_begin <= then.at
                # Its time may have been over. It went out after it came in, and after the SUB.
                or then.at - max(pub.begin, s.begin) >= s.timeout)

    def _written(self, delivery):
        """What happened before was in the cursor's file when the delivery's life ended."""
        life, session = delivery.session.life, delivery.session
        if life.how == 'term':
            return life.end_begin
        return life.written.get((session.topic, session.channel), -INF)

    def _may_come_again(self, pub, first, then):
        """After a kill, with a log: as far as the cursor's file said."""
        if first.at < self._written(first) and then.attempts <= first.attempts:
            return False
        return not (first.fin == 'confirmed' and first.answered_at < self._written(first)
                    and self._in_time(pub, first))

    @staticmethod
    def _in_time(pub, delivery):
        """Was its FIN or REQ heard before its time was over?"""
        s = delivery.session
        return delivery.answered_at - max(pub.begin, s.begin) < s.timeout

    # -- delays

    def _early(self, topic, channel, by_id):
        """What comes before its delay is over."""
        early = []
        for name, ds in by_id.items():
            pub = self.j.pubs.get(name)
            if pub is None or any(self._has_copies(pub, d.at) for d in ds):
                continue
            # Without a log a delay is forgotten where the topic's memory is full: as in stock.
            if pub.delay > 0 and has_log(topic, pub.life) and any(
                    d.at + CLOCK_SLACK < pub.begin + pub.delay for d in ds):
                early.append(name)
            early += [name for first, then in zip(ds, ds[1:])
                      if self._comes_early(pub, first, then, ds)]
        if early:
            self._find('%s/%s: messages came before their time' % (topic, channel), early)

    def _comes_early(self, pub, first, then, deliveries):
        """After a REQ that was heard in time, and written if a kill came."""
        s = first.session
        if (first.fate != 'req' or first.answered_at == INF or not self._in_time(pub, first)
                or then.at + CLOCK_SLACK >= first.fate_at + first.delay
                or not (s.life is then.session.life or has_log(s.topic, s.life))
                # Another delivery to that consumer is one that the REQ may have met instead.
                or sum(d.session is s for d in deliveries) > 1):
            return False
        return s.life is then.session.life or first.answered_at < self._written(first)

    # -- what comes back from the dead

    def _resurrections(self):
        """A topic that has been deleted takes its messages along.

        (A channel of an ephemeral topic need not be ephemeral. An exit writes what it has to its
        disk queue, and forgets the topic, as stock does. The next topic of that name has it again.)
        """
        for topic in {e.topic for e in self.j.events if e.kind == 'delete' and e.channel is None
                      and not is_ephemeral(e.topic)}:
            deaths = [(e.begin, e.end) for e in self.j.events
                      if e.kind == 'delete' and e.topic == topic and e.channel is None
                      and e.end is not None and not e.missed]
            for channel in [c for t, c in self.by_channel if t == topic]:
                back = [name for name, ds in self.by_channel[topic, channel].items()
                        if self._is_back(name, ds, deaths)]
                if back:
                    self._find('%s/%s: messages came back after their topic was deleted' % (
                        topic, channel), back)

    def _is_back(self, name, deliveries, deaths):
        pub = self.j.pubs.get(name)
        return pub is not None and any(
            pub.end < begin and end < d.session.begin
            for d in deliveries for begin, end in deaths)

    # -- pauses

    def _pauses(self):
        """What is published after a pause does not come before its end."""
        for pause in self.j.events:
            if pause.kind != 'pause' or pause.end is None:
                continue
            until = self._end_of(pause)
            for (topic, channel), deliveries in self.deliveries.items():
                if topic != pause.topic or pause.channel not in (None, channel):
                    continue
                ids = [d.id for d in deliveries if d.id in self.j.pubs
                       and pause.end < self.j.pubs[d.id].begin and d.at < until]
                if ids:
                    self._find('%s/%s: messages came during %r' % (topic, channel, pause), ids)

    def _end_of(self, pause):
        """Before anything began that may have ended it. (nsqd.dat may not have it at a kill.)"""
        ends = [e.begin for e in self.j.events if e.topic == pause.topic
                and (e.kind == 'delete' and e.channel in (None, pause.channel)
                     or e.kind == 'unpause' and e.channel == pause.channel)
                and e.certain_end() > pause.begin]
        ends += [life.end_begin for life in self.kills if life.end > pause.begin]
        if is_ephemeral(pause.topic) or is_ephemeral(pause.channel or ''):
            ends.append(pause.end)      # it may go at any moment
        return min(ends, default=INF)

    # -- FINs that fail

    def _refused_fins(self):
        """A FIN fails if the message's time is over. It cannot be before its answer came."""
        for (topic, channel), deliveries in sorted(self.deliveries.items()):
            if topic not in self.kept or is_ephemeral(channel):
                continue
            seen = collections.Counter((d.session, d.message_id) for d in deliveries)
            ids = [d.id for d in deliveries if d.fin == 'failed'
                   and not self._has_copies(self.j.pubs[d.id], d.at)
                   and seen[d.session, d.message_id] == 1
                   and d.answered_at - max(self.j.pubs[d.id].begin, d.session.begin)
                   < d.session.timeout]
            if ids:
                self._find('%s/%s: FINs of messages in flight were refused' % (topic, channel), ids)

    # -- counts

    def published(self, topic, life):
        """(least, most) messages that the topic has counted in that life."""
        pubs = [p for p in self.j.pubs.values() if p.topic == topic and p.life is life]
        return (sum(p.state == 'acked' for p in pubs),
                sum(p.state != 'half' for p in pubs))

    def _remembered(self):
        """How many deliveries and FINs a kill must not have undone, where there are logs."""
        ds = [d for deliveries in self.deliveries.values() for d in deliveries
              if d.session.life.how == 'kill' and has_log(d.session.topic, d.session.life)]
        return ds and ' (before a kill %d of %d deliveries were written, and %d FINs)' % (
            sum(d.at < self._written(d) for d in ds), len(ds),
            sum(d.answered_at < self._written(d) for d in ds if d.fin == 'confirmed')) or ''

    def summary(self):
        states = collections.Counter(p.state for p in self.j.pubs.values())
        received = sum(map(len, self.deliveries.values()))
        return ('%d acknowledged, %d not answered, %d refused; %d deliveries; in all channels '
                '%d finished%s, %s' % (
                    states['acked'], states['unknown'], states['refused'], received, self.finished,
                    self._remembered(),
                    ', '.join('%d %s' % (n, why)
                              for why, n in sorted(self.explained.items())) or '0 explained'))
