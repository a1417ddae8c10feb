/* SPDX-License-Identifier: MIT */
/*
 * The mover of a topic's log. No Go file: stock has no log. log_mover_tick runs in the flusher of the
 * topic_log, log_mover_kept in the writer of the log. move is the thread "mv:TOPIC", which exists while
 * there is something to copy.
 *
 * The thread never holds topic_log_members.lock while it blocks. So the channel that it works for may
 * be gone when it comes back; then nobody is told of the copies.
 */
#include "nsqd/log/log_mover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/gothread.h"
#include "common/xalloc.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_read.h"

/* So many of the newest segments are left alone. */
#define BEHIND 4
/* What is wanted of a beginning is at most one part in so many, or it stays. */
#define WORTH 4
/* For so many bytes that were there, or are published, one may be copied. */
#define PRICE 2
/* Messages of one append, and their bytes. */
#ifndef LM_BATCH
#define LM_BATCH 4096
#endif
#define LM_BATCH_BYTES (1 << 20)
/* How long it is until there is another look, if anything has happened since; after a failure. */
#define AGAIN_NS (NSEC_PER_SEC / 4)
#define RETRY_NS NSEC_PER_SEC

struct log_mover {
	/* immutable */
	struct log_mover_opts o;
	int64_t begin_bytes; /* of the log when it was opened */
	struct wait_group wait_group;

	/* guarded by topic_log_members.lock */
	bool ends;
	bool done;                    /* the last pass has come to its end: look again at once */
	bool failed;                  /* it has not, because of the disk */
	uint64_t upto;                /* what is before is to be copied */
	struct topic_log_moves stats; /* running: the thread is there */
	struct topic_log_member
		*member;             /* whose messages are copied; NULL: nobody's, it has left */
	struct message *const *msgs; /* what is being appended; NULL: nothing */
	struct cursor_move *moves;   /* of these */
	/* The first number of what was picked, and not told of yet; UINT64_MAX: there is none. */
	uint64_t picked;
	uint64_t held; /* the least of these since log_mover_begin_flush */

	/* the thread's */
	bool failing; /* that is logged */

	/* the flusher's */
	uint64_t sum, seen; /* of what has happened, by now and at the last look */
	int64_t again_ns;   /* when the next look may be (monotonic) */
};

/* One beginning of the log. The thread's. */
struct pass {
	uint64_t upto;
	struct log_reader *reader;
	struct cursor_entry *entries; /* LM_BATCH of each */
	struct message **msgs;
	struct cursor_move *moves;
	char channel[LOG_NAME_MAX + 1];
	uint64_t messages, bytes;
};

/* --- life ----------------------------------------------------------------------------------------- */

static void mover_logf(const struct log_mover *mv, enum lg_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void mover_logf(const struct log_mover *mv, enum lg_level level, const char *fmt, ...)
{
	va_list ap;
	if (!mv->o.lg)
		return;
	va_start(ap, fmt);
	lg_vlogf(mv->o.lg, level, fmt, ap);
	va_end(ap);
}

struct log_mover *log_mover_new(const struct log_mover_opts *o)
{
	struct log_mover *mv = xcalloc(1, sizeof(*mv));
	struct log_stats s;
	mv->o = *o;
	if (mv->o.behind == 0)
		mv->o.behind = BEHIND;
	mv->picked = mv->held = UINT64_MAX;
	log_get_stats(o->log, &s);
	mv->begin_bytes = s.bytes;
	wait_group_init(&mv->wait_group);
	return mv;
}

void log_mover_end(struct log_mover *mv)
{
	mutex_lock(&mv->o.members->lock);
	mv->ends = true;
	mutex_unlock(&mv->o.members->lock);
}

void log_mover_wait(struct log_mover *mv)
{
	wait_group_wait(&mv->wait_group);
}

void log_mover_free(struct log_mover *mv)
{
	log_mover_end(mv);
	log_mover_wait(mv);
	wait_group_destroy(&mv->wait_group);
	free(mv);
}

void log_mover_get_stats(struct log_mover *mv, struct topic_log_moves *out)
{
	mutex_lock(&mv->o.members->lock);
	*out = mv->stats;
	mutex_unlock(&mv->o.members->lock);
}

void log_mover_left_locked(struct log_mover *mv, const struct topic_log_member *m)
{
	mutex_assert_held(&mv->o.members->lock);
	if (mv->member == m)
		mv->member = NULL;
}

/* --- the writer of the log ------------------------------------------------------------------------ */

void log_mover_kept(struct log_mover *mv, struct message *const *msgs, size_t n)
{
	mutex_lock(&mv->o.members->lock);
	if (msgs == mv->msgs && mv->member) {
		for (size_t i = 0; i < n; i++) {
			mv->moves[i].to = msgs[i]->seq;
			mv->moves[i].offset = msgs[i]->offset;
		}
		mv->member->ops->moved(mv->member->arg, mv->moves, n);
	}
	mutex_unlock(&mv->o.members->lock);
}

/* --- mv:TOPIC ------------------------------------------------------------------------------------- */

/* So many bytes may still be copied. */
static int64_t credit(const struct log_mover *mv, const struct log_stats *s, uint64_t moved)
{
	int64_t published = (int64_t)(s->written_bytes - moved);
	return (mv->begin_bytes + published) / PRICE - (int64_t)moved;
}

static bool may_go_on(struct log_mover *mv)
{
	struct log_stats s;
	struct topic_log_moves moves;
	log_get_stats(mv->o.log, &s);
	log_mover_get_stats(mv, &moves);
	return credit(mv, &s, moves.bytes) > 0;
}

/* Some messages of a channel that has any below upto: their number; 0: there are no more. */
static size_t pick(struct log_mover *mv, struct pass *p)
{
	size_t n = 0;
	mutex_lock(&mv->o.members->lock);
	struct topic_log_member *m = mv->o.members->first;
	for (; m && !mv->ends && n == 0; m = m->next) {
		n = m->ops->list(m->arg, &m->move_from, p->upto, p->entries, LM_BATCH);
		mv->member = m;
		snprintf(p->channel, sizeof(p->channel), "%s", m->channel);
	}
	mv->picked = n > 0 ? p->entries[0].seq : UINT64_MAX;
	if (mv->picked < mv->held)
		mv->held = mv->picked;
	mutex_unlock(&mv->o.members->lock);
	return n;
}

/* The channel goes on with seq. */
static void go_on_at(struct log_mover *mv, uint64_t seq)
{
	mutex_lock(&mv->o.members->lock);
	if (mv->member)
		mv->member->move_from = seq;
	mutex_unlock(&mv->o.members->lock);
}

/* It cannot be had. What somebody holds in memory stays as it is; what waits would never come. */
static void lose(struct log_mover *mv, const struct pass *p, uint64_t seq)
{
	bool lost = false;
	mutex_lock(&mv->o.members->lock);
	if (mv->member)
		lost = mv->member->ops->lost(mv->member->arg, seq);
	mv->stats.lost += lost;
	mutex_unlock(&mv->o.members->lock);
	if (lost)
		mover_logf(mv, LG_ERROR, "LOG(%s): message %llu is lost for %s", mv->o.topic,
			(unsigned long long)seq, p->channel);
}

/* As the cursor knows it. */
static void adjust(struct message *m, const struct cursor_entry *e)
{
	if (e->attempts > m->attempts)
		m->attempts = e->attempts;
	if (e->due <= 0)
		m->deferred_ns = 0;
	else if (__builtin_sub_overflow(e->due, m->timestamp, &m->deferred_ns))
		m->deferred_ns = INT64_MAX;
}

/* Reads the first of the n messages that were picked: *k of them. -1 with err set. */
static int read_some(struct log_mover *mv, struct pass *p, size_t n, size_t *k, struct err *err)
{
	uint64_t bytes = 0;
	*k = 0;
	for (size_t i = 0; i < n; i++) {
		const struct cursor_entry *e = &p->entries[i];
		struct log_item item;
		if (bytes >= LM_BATCH_BYTES) {
			go_on_at(mv, e->seq);
			return 0;
		}
		switch (log_read_at(p->reader, e->seq, e->offset, &item, err)) {
		case LOG_READ_ERROR:
			return -1;
		case LOG_READ_MESSAGE:
			adjust(item.msg, e);
			bytes += LOG_RECORD_HEAD + item.msg->body->len;
			p->moves[*k] = (struct cursor_move){.from = e->seq};
			p->msgs[(*k)++] = item.msg;
			break;
		default:
			lose(mv, p, e->seq);
		}
	}
	return 0;
}

/* Appends the k messages; their channel is told by log_mover_kept. */
static int append(struct log_mover *mv, struct pass *p, size_t k, struct err *err)
{
	struct mutex *lock = &mv->o.members->lock;
	uint64_t bytes = 0;
	for (size_t i = 0; i < k; i++)
		bytes += LOG_RECORD_HEAD + LOG_COPY_PREFIX_MAX + p->msgs[i]->body->len;
	mutex_lock(lock);
	mv->msgs = p->msgs;
	mv->moves = p->moves;
	mutex_unlock(lock);
	int rc = log_append_copies(mv->o.log, p->channel, p->msgs, k, err);
	mutex_lock(lock);
	mv->msgs = NULL;
	if (rc == 0) {
		mv->stats.messages += k;
		mv->stats.bytes += bytes;
		p->messages += k;
		p->bytes += bytes;
	}
	mutex_unlock(lock);
	return rc;
}

/* 1: go on. 0: all is copied that is to be had, or the end has come. -1 with err set. */
static int copy_some(struct log_mover *mv, struct pass *p, struct err *err)
{
	size_t k, n = pick(mv, p);
	if (n == 0)
		return 0;
	int rc = read_some(mv, p, n, &k, err);
	if (rc == 0 && k > 0)
		rc = append(mv, p, k, err);
	message_unref_all(p->msgs, k);
	mutex_lock(&mv->o.members->lock);
	mv->picked = UINT64_MAX;
	mutex_unlock(&mv->o.members->lock);
	return rc == 0 ? 1 : -1;
}

static void report(struct log_mover *mv, const struct pass *p, int rc, const struct err *err)
{
	const char *name = mv->o.topic;
	if (p->messages > 0)
		mover_logf(mv, LG_INFO,
			"LOG(%s): copied %llu old messages (%llu bytes), so that segments may go",
			name, (unsigned long long)p->messages, (unsigned long long)p->bytes);
	if (rc < 0 && !mv->failing)
		mover_logf(
			mv, LG_ERROR, "LOG(%s): failed to copy old messages - %s", name, err->msg);
	mv->failing = rc < 0;
}

static void free_pass(struct pass *p)
{
	log_reader_close(p->reader);
	free(p->entries);
	free(p->msgs);
	free(p->moves);
}

static void move(void *arg)
{
	struct log_mover *mv = arg;
	struct mutex *lock = &mv->o.members->lock;
	struct err err;
	int rc = 1;
	struct pass p = {.reader = log_reader_open(mv->o.log, 1, 0),
		.entries = xcalloc(LM_BATCH, sizeof(*p.entries)),
		.msgs = xcalloc(LM_BATCH, sizeof(*p.msgs)),
		.moves = xcalloc(LM_BATCH, sizeof(*p.moves))};
	mutex_lock(lock);
	p.upto = mv->upto;
	for (struct topic_log_member *m = mv->o.members->first; m; m = m->next)
		m->move_from = 0;
	mutex_unlock(lock);
	while (rc > 0 && may_go_on(mv))
		rc = copy_some(mv, &p, &err);
	report(mv, &p, rc, &err);
	free_pass(&p);
	mutex_lock(lock);
	mv->member = NULL;
	mv->done = rc == 0 && p.messages > 0;
	mv->failed = rc < 0;
	mv->stats.running = false;
	mutex_unlock(lock);
	/* The cursors are to be written, and the segments may go. */
	mv->o.touch(mv->o.arg);
}

/* --- the flusher ---------------------------------------------------------------------------------- */

void log_mover_begin_flush(struct log_mover *mv)
{
	mutex_lock(&mv->o.members->lock);
	mv->held = mv->picked;
	mutex_unlock(&mv->o.members->lock);
}

uint64_t log_mover_held(struct log_mover *mv)
{
	mutex_lock(&mv->o.members->lock);
	uint64_t held = mv->held;
	mutex_unlock(&mv->o.members->lock);
	return held;
}

/*
 * All channels have begun with what is before *settled. mv->sum says whether anything has happened.
 * False: there is no channel.
 */
static bool settled_locked(struct log_mover *mv, uint64_t next, uint64_t *settled)
{
	struct topic_log_member *m = mv->o.members->first;
	mv->sum = *settled;
	if (!m)
		return false;
	for (; m; m = m->next) {
		struct topic_log_settled own = m->ops->settled(m->arg, next);
		*settled = own.settled < *settled ? own.settled : *settled;
		m->floor = own.floor;
		mv->sum += own.settled + own.unfinished;
	}
	return true;
}

/* How many messages of these numbers are to be copied, for all channels. */
static uint64_t count_locked(struct log_mover *mv, uint64_t from, uint64_t to)
{
	uint64_t n = 0;
	for (struct topic_log_member *m = mv->o.members->first; m; m = m->next) {
		if (m->floor >= to)
			continue; /* as most channels, and so without a lock */
		mutex_lock(m->lock);
		n += cursor_unfinished(m->cursor, to) - cursor_unfinished(m->cursor, from);
		mutex_unlock(m->lock);
	}
	return n;
}

/*
 * The shortest beginning below settled that is worth it: all before *upto. *price: the bytes that
 * are to be copied, about.
 */
static bool find_beginning_locked(
	struct log_mover *mv, uint64_t settled, uint64_t *upto, double *price)
{
	uint64_t first, end, beyond;
	int64_t bytes, ignored;
	double all = 0;
	*price = 0;
	for (size_t i = 0; log_get_segment(mv->o.log, i + mv->o.behind, &beyond, &ignored); i++) {
		if (!log_get_segment(mv->o.log, i, &first, &bytes) ||
			!log_get_segment(mv->o.log, i + 1, &end, &ignored) || end > settled)
			return false;
		all += (double)bytes;
		*price += (double)bytes * (double)count_locked(mv, first, end) /
			  (double)(end - first);
		*upto = end;
		if (*price * WORTH <= all)
			return true;
	}
	return false;
}

static void start(struct log_mover *mv)
{
	char name[GOTHREAD_NAME_SIZE];
	struct err err;
	snprintf(name, sizeof(name), "mv:%s", mv->o.topic);
	if (mv->o.io->start(&mv->wait_group, name, move, mv, &err) == 0)
		return;
	mutex_lock(&mv->o.members->lock);
	mv->stats.running = false;
	mutex_unlock(&mv->o.members->lock);
	mover_logf(mv, LG_ERROR, "LOG(%s): %s: %s", mv->o.topic, name, err.msg);
}

/* Where something is to be copied: all before *upto. Each look costs, so there is one at a time. */
static bool look_locked(
	struct log_mover *mv, uint64_t settled, const struct log_stats *s, uint64_t *upto)
{
	double price;
	mv->again_ns = clock_mono_ns() + (mv->failed ? RETRY_NS : AGAIN_NS);
	mv->seen = mv->sum;
	mv->done = mv->failed = false;
	return find_beginning_locked(mv, settled, upto, &price) &&
	       price <= (double)credit(mv, s, mv->stats.bytes);
}

bool log_mover_tick(struct log_mover *mv, uint64_t handed)
{
	struct log_stats s;
	uint64_t last, settled = handed, upto = 0;
	int64_t bytes;
	bool begins = false;
	/* (The topic has met the copies of earlier processes.) */
	if (handed < mv->o.end || !log_get_segment(mv->o.log, mv->o.behind, &last, &bytes))
		return false;
	log_get_stats(mv->o.log, &s);
	if (!log_get_segment(mv->o.log, s.segments - 1, &last, &bytes) || handed < last)
		return false;
	mutex_lock(&mv->o.members->lock);
	bool may = !mv->stats.running && !mv->ends && settled_locked(mv, s.next, &settled);
	mv->stats.pending = may && (mv->done || mv->failed || mv->sum != mv->seen);
	if (mv->stats.pending && (mv->done || clock_mono_ns() >= mv->again_ns)) {
		begins = look_locked(mv, settled, &s, &upto);
		mv->stats.pending = false;
	}
	if (begins) {
		mv->upto = upto;
		mv->stats.running = true;
		mv->stats.passes++;
	}
	bool again = mv->stats.pending;
	mutex_unlock(&mv->o.members->lock);
	if (begins)
		start(mv);
	return again;
}
