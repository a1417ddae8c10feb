#!/usr/bin/env python3
"""Faults that a soak must find: each is put into a copy of the daemon, and soaked.

faults.py DIR [WORD...]: all, or those whose rule has one of the words. A fault changes one place
of one file; `old` must be there exactly once. It is found when a soak of the copy fails with one of
the words of `says`; three seeds are tried. One that is not found fails this script.
"""

import os
import shutil
import subprocess
import sys
from collections import namedtuple

# round: 0 is steady, 1 has clean stops, 2 kills. durable: of a soak with logs.
Fault = namedtuple('Fault', 'rule file old new round says durable', defaults=[False])

IN_FLIGHT = 'nsqd/queue/channel_in_flight.c'
CHANNEL_EXIT = 'nsqd/queue/channel_exit.c'
CONSUME = 'nsqd/client/protocol_v2_consume.c'
READY = '	client_v2_set_ready_count(l->client, count);'
SOME = "(m->id.hex[15] == '5' && (m->id.hex[14] & 3) == 1)"

FAULTS = [
    Fault('a message that is requeued is not lost', IN_FLIGHT,
          '		if (delay_ns == 0 || channel_has_had_it_locked(c, m))\n'
          '			channel_come_back_locked(c, &m, 1, delay_ns == 0);',
          '		if %s\n			message_unref(m);\n		else if (delay_ns == 0 || channel_has_had_it_locked(c, m))\n'
          '			channel_come_back_locked(c, &m, 1, delay_ns == 0);' % SOME,
          0, ['are lost']),
    Fault('a deferred message is not lost', 'nsqd/queue/channel_due.c',
          '	if (n > 0)\n		put_deferred_back_locked(c, msgs, n, bytes);\n'
          '	rwlock_unlock(&c->exit_lock);\n	return n > 0;',
          '	if (n > 1)\n		message_unref(msgs[--n]);\n	if (n > 0)\n		put_deferred_back_locked(c, msgs, n, bytes);\n'
          '	rwlock_unlock(&c->exit_lock);\n	return n > 0;',
          0, ['are lost']),
    Fault('an exit flushes what is in flight', CHANNEL_EXIT,
          '	lost += flush_pqueue(c, &c->in_flight_lock, &c->in_flight, msgs);',
          '	in_flight_pqueue_clear(&c->in_flight);',
          1, ['are lost']),
    Fault('an exit flushes what is in memory', CHANNEL_EXIT,
          '		lost += flush_messages(c, msgs, n);\n	lost += flush_kept',
          '		lost += flush_messages(c, msgs, n - (n > 1));\n	lost += flush_kept',
          1, ['are lost']),
    Fault('after a crash the records behind the metadata count', 'nsqd/disk/diskqueue_meta.c',
          '	if (wr_size > m->wr.pos)\n		dq_logf(d, LG_WARN,',
          '	if (wr_size > m->wr.pos && truncate(path, m->wr.pos) == 0) {\n'
          '		d->rd = m->rd;\n		d->wr = m->wr;\n		free(path);\n		free(files);\n'
          '		return 0;\n	}\n	if (wr_size > m->wr.pos)\n		dq_logf(d, LG_WARN,',
          2, ['are lost', 'data loss']),
    Fault('a message is in a channel once', IN_FLIGHT,
          '		if (delay_ns == 0 || channel_has_had_it_locked(c, m))\n'
          '			channel_come_back_locked(c, &m, 1, delay_ns == 0);',
          '		if %s\n			channel_put_back_locked(c, (struct message *[]){message_copy(m)}, 1);\n'
          '		if (delay_ns == 0 || channel_has_had_it_locked(c, m))\n'
          '			channel_come_back_locked(c, &m, 1, delay_ns == 0);' % SOME,
          0, ['came again without a cause']),
    Fault('a FIN ends its message', IN_FLIGHT,
          '		if (!m)\n			continue;\n'
          '		latency_add(&c->deliver_to_finish',
          '		if (!m || (m->attempts == 1 && %s))\n			continue;\n'
          '		latency_add(&c->deliver_to_finish' % SOME,
          0, ['came again without a cause']),
    Fault('a message times out when it is due', IN_FLIGHT,
          '		m->due_ns = deadline;\n		if (m->attempts <= 1)',
          '		m->due_ns = now + (deadline - now) / 4;\n		if (m->attempts <= 1)',
          0, ['came again without a cause', 'were refused']),
    Fault('each attempt counts', 'nsqd/client/protocol_v2_send.c',
          '		m->attempts++;',
          '		m->attempts += m->attempts != 1;',
          0, ['came again without a cause']),
    Fault('at most RDY in flight', 'nsqd/client/client_v2.c',
          '	return ready > in_flight ? ready - in_flight : 0;',
          '	return ready > in_flight ? ready - in_flight + 1 : 0;',
          0, ['are in flight, RDY']),
    Fault('a topic that is deleted leaves nothing', CHANNEL_EXIT,
          '	int rc = deleted ? q->ops->delete (q, err) : q->ops->close(q, err);',
          '	int rc = q->ops->close(q, err);',
          1, ['came back after', 'files are left', 'never sent']),
    Fault('a topic that is paused hands out nothing', 'nsqd/queue/topic_pump.c',
          '	bool flowing = p->n_channels > 0 && !topic_is_paused(t) && !stuck;',
          '	bool flowing = p->n_channels > 0 && !stuck;',
          0, ['came during pause']),
    Fault('message_count counts', 'nsqd/queue/topic_put.c',
          '	atomic_fetch_add_explicit(&t->message_count, done, memory_order_relaxed);',
          '	atomic_fetch_add_explicit(\n'
          '		&t->message_count, done - (done > 40), memory_order_relaxed);',
          0, ['message_count']),
    Fault('a daemon that dies was not killed', IN_FLIGHT,
          '		if (delay_ns == 0 || channel_has_had_it_locked(c, m))\n'
          '			channel_come_back_locked(c, &m, 1, delay_ns == 0);',
          '		if %s\n			abort();\n		if (delay_ns == 0 || channel_has_had_it_locked(c, m))\n'
          '			channel_come_back_locked(c, &m, 1, delay_ns == 0);' % SOME,
          2, ['nsqd died']),
    Fault('a client closes its descriptor', 'protocol/stream_sock.c',
          '	close(s->fd);\n	free(s->kept);',
          '	static _Atomic int n;\n	if (n++ % 200 != 150)\n		close(s->fd);\n	free(s->kept);',
          0, ['descriptors']),
    Fault('a client gives its memory back', 'nsqd/client/client_v2.c',
          '	wait_group_destroy(&c->wait_group);\n	free(c);',
          '	wait_group_destroy(&c->wait_group);\n	static void *_Atomic last;\n'
          '	last = realloc(c, sizeof(*c) + 8192);\n	if (!last)\n		abort();',
          0, ['malloc:']),
    Fault('a thread that is not used ends', 'common/gothread.c',
          '_Atomic int64_t gothread_kept_ns = GOTHREAD_KEPT_NS;',
          '_Atomic int64_t gothread_kept_ns = GOTHREAD_KEPT_NS * 100000;',
          0, ['more threads']),
    Fault('a connection ends with a cause', CONSUME,
          READY,
          '	static _Atomic int n;\n	if (++n % 40 == 30)\n'
          '		return fatal_client_err(&l->error, NULL, "E_INVALID", "no cause");\n' + READY,
          0, ['E_INVALID no cause']),
    Fault('a body is what was sent', 'nsqd/queue/topic_put.c',
          '	m->deferred_ns = deferred_ns;',
          '	if (m->body->len > 200)\n'
          '		((char *)m->body->data)[m->body->len - 1] ^= 1;\n'
          '	m->deferred_ns = deferred_ns;',
          0, ['is not as it was sent']),
    Fault('a warning has a cause', CONSUME,
          READY,
          '	static _Atomic int n;\n	if (++n == 30)\n'
          '		nsqd_logf(l->ctx, LG_WARN, "no cause");\n' + READY,
          0, ['in the log: ']),
    Fault('a topic that is deleted leaves nothing, also after kills', CHANNEL_EXIT,
          '	int rc = deleted ? q->ops->delete (q, err) : q->ops->close(q, err);',
          '	int rc = q->ops->close(q, err);',
          2, ['files are left']),
    Fault('nsqlookupd is told of what is deleted', 'nsqd/cluster/lookup.c',
          '	if (e->gone || !there)\n		tell_all(loop, "UNREGISTER", e->name);',
          '	if (e->gone && there)\n		tell_all(loop, "UNREGISTER", e->name);',
          0, ['nsqlookupd has']),
    Fault('with a log an attempt counts in the next life', 'nsqd/log/cursor.c',
          '		tell_range(c, CURSOR_TAKEN, seq, n);\n', '',
          2, ['came again without a cause'], True),
    Fault('with a log what is finished stays so in the next life', 'nsqd/log/cursor.c',
          '	tell_range(c, CURSOR_FINISHED, seq, 1);',
          '	if (seq % 8 != 5)\n		tell_range(c, CURSOR_FINISHED, seq, 1);',
          2, ['came again without a cause'], True),
    Fault('with a log a delay is one', 'nsqd/log/log_queue_due.c',
          '	size_t n = cursor_pop_due(q->cursor, lq_now_locked(q), out, max);',
          '	size_t n = cursor_pop_due(q->cursor, lq_now_locked(q) + NSEC_PER_SEC, out, max);',
          0, ['before their time'], True),
    Fault('with a log a delay is one in the next life', 'nsqd/log/cursor_open.c',
          '	seq_set_add(&c->seen, e->seq);\n	entries_remove(&c->tried, e->seq);\n'
          '	entries_put(&c->waiting, e);',
          '	seq_set_add(&c->seen, e->seq);\n	entries_remove(&c->tried, e->seq);\n'
          '	struct cursor_entry at_once = *e;\n	at_once.due = 0;\n'
          '	entries_put(&c->waiting, &at_once);',
          1, ['before their time'], True),
    Fault('with a log the topic has handed out what its cursor says', 'nsqd/log/topic_log_flush.c',
          '		cursor_finished_range(tl->handed, floor, tl->handed_to);',
          '		cursor_finished_range(tl->handed, floor, tl->handed_to + 8);',
          2, ['are lost'], True),
    Fault('with a log what is put back waits', 'nsqd/log/log_queue_put.c',
          '	for (size_t i = sent; i < n; i++)\n		lq_wait_locked(q, msgs[i], 0);',
          '	for (size_t i = sent; i < n; i++)\n		if (msgs[i]->attempts != 2)\n'
          '			lq_wait_locked(q, msgs[i], 0);',
          0, ['are lost'], True),
]


def make_copy(directory):
    """The sources and objects of the plain build, elsewhere: a fault compiles one file."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(os.path.join(directory, 'build'))
    for name in ('common', 'protocol', 'nsqd', 'test', 'Makefile'):
        subprocess.run(['cp', '-a', name, directory], check=True)
    subprocess.run(['cp', '-a', 'build/obj', os.path.join(directory, 'build')], check=True)


def build(directory):
    subprocess.run(['make', '--no-print-directory', '-s', '-C', directory, 'CFLAGS=-O2 -g', 'build/nsqd'],
                   check=True)


def soak(directory, fault, seed):
    run = subprocess.run(
        [sys.executable, os.path.join('test', 'soak', 'soak.py'),
         '--nsqd', os.path.join(directory, 'build', 'nsqd'),
         '--directory', os.path.join(directory, 'soak'), '--minutes', '0.5',
         '--seed', str(seed), '--round', str(fault.round)] + ['--durable'] * fault.durable,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = [line for line in run.stdout.splitlines() if line.startswith(('* ', 'nsqd died'))]
    return run.returncode != 0, lines or run.stdout.splitlines()[-3:]


def try_fault(directory, fault):
    """The line that found it, or None."""
    path = os.path.join(directory, fault.file)
    with open(path, encoding='utf-8') as f:
        text = f.read()
    if text.count(fault.old) != 1:
        raise SystemExit('%s: its place is %d times in %s' % (
            fault.rule, text.count(fault.old), fault.file))
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text.replace(fault.old, fault.new))
    try:
        build(directory)
        for seed in (1, 2, 3):
            failed, lines = soak(directory, fault, seed)
            said = [line for line in lines if any(word in line for word in fault.says)]
            if failed and said:
                return 'seed %d: %s' % (seed, said[0])
            if failed:
                print('     %s: it says something else: %s' % (fault.rule, lines[:3]), flush=True)
    finally:
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
    return None


def main():
    directory, words = os.path.abspath(sys.argv[1]), sys.argv[2:]
    make_copy(directory)
    found = missed = 0
    for fault in FAULTS:
        if words and not any(word in fault.rule for word in words):
            continue
        said = try_fault(directory, fault)
        print('%s %s (%s)' % ('ok  ' if said else 'MISSED', fault.rule, said), flush=True)
        found += said is not None
        missed += said is None
    figure = os.path.join('test', 'proof', 'figure.sh')
    subprocess.run([figure, 'soak-faults', str(found), 'faults'], check=True)
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
