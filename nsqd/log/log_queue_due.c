/* SPDX-License-Identifier: MIT */
/*
 * What waits in a channel's queue over a log, until it is due. No Go file: stock has no log, and
 * keeps what is deferred in memory. Runs in the threads that put and requeue, in those of the scan
 * loop that take what is due, and in lq:NAME.
 *
 * A message that waits is an entry of the cursor: its number, its place, when it is due. No thread
 * waits for it: the queue tells its owner when the first one is due (log_queue_on_due), and the
 * owner asks for it then. Where there is no room in memory, lq:NAME sees to it (reads_due).
 *
 * An entry says when it is due by the wall clock, which still counts in the next process. While this
 * one runs, the clock is the monotonic one plus offset_ns. So a delay is what was asked for, whatever
 * the wall clock is set to meanwhile. Where it was set, lq_check_clock moves the entries by as much.
 */
#include "nsqd/log/log_queue.h"

#include <errno.h>

#include "common/check.h"
#include "common/clock.h"
#include "nsqd/log/log_queue_internal.h"

/* When to try again what has failed: to read, to start a thread. */
#define RETRY_NS NSEC_PER_SEC
/* So often; then a message is given up of which the disk says that it is bad. */
#define TRIES 10
/* By less the wall clock has not been set: it was only looked at late. */
#define STEP_NS (2 * NSEC_PER_MSEC)

/* --- clocks --------------------------------------------------------------------------------------- */

static int64_t add(int64_t a, int64_t b)
{
	int64_t sum;
	if (!__builtin_add_overflow(a, b, &sum))
		return sum;
	return b > 0 ? INT64_MAX : INT64_MIN;
}

int64_t lq_now_locked(const struct log_queue *q)
{
	return clock_mono_ns() + q->offset_ns;
}

int64_t lq_due_of_locked(const struct log_queue *q, const struct message *m)
{
	if (m->deferred_ns <= 0)
		return 0;
	/* It has waited before: it was due, or an operator has requeued it. */
	if (cursor_next_unseen(q->cursor, m->seq) != m->seq)
		return 0;
	/* At most so much is left: the wall clock may have been set since it was published. */
	int64_t left = add(m->timestamp, m->deferred_ns);
	left = left < INT64_MAX ? left - clock_wall_ns() : left;
	return left > 0 ? add(lq_now_locked(q), left) : 0;
}

void lq_check_clock(struct log_queue *q)
{
	int64_t offset;
	if (!clock_offset_ns(&offset))
		return;
	mutex_lock(q->lock);
	int64_t by = offset - q->offset_ns;
	if (by > STEP_NS || by < -STEP_NS) {
		q->offset_ns = offset;
		cursor_clock_set(q->cursor, by);
		lq_tell_due_locked(q);
	}
	mutex_unlock(q->lock);
}

/* --- when ----------------------------------------------------------------------------------------- */

void lq_tell_due_locked(struct log_queue *q)
{
	mutex_assert_held(q->lock);
	int64_t at = q->start_ns < q->touch_ns ? q->start_ns : q->touch_ns;
	int64_t due = cursor_next_due(q->cursor);
	if (!q->reads_due && due < INT64_MAX) {
		due = due - q->offset_ns;
		at = due < at ? due : at;
	}
	if (at == q->told_ns || !q->on_due)
		return;
	q->told_ns = at;
	q->on_due(q->on_due_arg, at);
}

void lq_due_begins_locked(struct log_queue *q)
{
	(void)clock_offset_ns(&q->offset_ns);
	q->start_ns = q->touch_ns = q->told_ns = INT64_MAX;
}

void log_queue_on_due(struct backend_queue *base, void (*fn)(void *arg, int64_t at_ns), void *arg)
{
	struct log_queue *q = log_queue_of(base);
	CHECK(!lq_is_topic(q));
	mutex_lock(q->lock);
	q->on_due = fn;
	q->on_due_arg = arg;
	lq_tell_due_locked(q);
	mutex_unlock(q->lock);
}

/* It waits: lq:NAME reads it at once, or the owner is told. */
static void waits_locked(struct log_queue *q, int64_t due)
{
	if (due == 0) {
		q->reads_due = q->poke = true;
		q->zero++;
	}
	lq_tell_due_locked(q);
}

/* By the number that it has now. False: it is finished. */
static bool put_entry_locked(struct log_queue *q, struct cursor_entry *e)
{
	uint64_t held = e->seq;
	e->seq = lq_number_locked(q, held, &e->offset);
	lq_drop_alias_locked(q, held);
	return cursor_wait(q->cursor, e);
}

void lq_wait_entry_locked(struct log_queue *q, struct cursor_entry *e, uint32_t len)
{
	/* False: the channel was emptied meanwhile. */
	if (!put_entry_locked(q, e))
		return;
	lq_count(q, (struct lq_change){.back = e->due == 0, .waiting_bytes = len});
	waits_locked(q, e->due);
}

bool lq_wait_again_locked(struct log_queue *q, struct cursor_entry *e, int64_t due)
{
	e->due = due;
	if (!put_entry_locked(q, e))
		return false;
	waits_locked(q, due);
	return true;
}

void lq_wait_locked(struct log_queue *q, const struct message *m, int64_t due)
{
	struct cursor_entry e = {
		.due = due, .seq = m->seq, .offset = m->offset, .attempts = m->attempts};
	lq_wait_entry_locked(q, &e, m->body->len);
}

void log_queue_wait_for(struct backend_queue *base, const struct message *m, int64_t delay_ns)
{
	struct log_queue *q = log_queue_of(base);
	CHECK(!lq_is_topic(q) && m->seq > 0);
	mutex_lock(q->lock);
	lq_wait_locked(q, m, delay_ns > 0 ? add(lq_now_locked(q), delay_ns) : 0);
	bool start = lq_wake_locked(q);
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	lq_touch(q);
}

/* --- what is to be written ------------------------------------------------------------------------ */

void lq_touch(struct log_queue *q)
{
	if (topic_log_touch(q->tl) == 0 || lq_is_topic(q))
		return;
	mutex_lock(q->lock);
	q->touch_ns = clock_mono_ns() + RETRY_NS;
	lq_tell_due_locked(q);
	mutex_unlock(q->lock);
}

void log_queue_touch(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	mutex_assert_held(q->lock);
	/* Not MAX: somebody will, or it has just failed. */
	if (topic_log_touch_running(q->tl) || q->touch_ns != INT64_MAX)
		return;
	q->touch_ns = 0;
	lq_tell_due_locked(q);
}

void log_queue_try_again(struct backend_queue *base)
{
	if (topic_log_has_failed(log_queue_of(base)->tl))
		log_queue_touch(base);
}

/* --- reading -------------------------------------------------------------------------------------- */

/* They are tried again later. */
static void later(struct log_queue *q, struct cursor_entry *e, size_t n)
{
	mutex_lock(q->lock);
	for (size_t i = 0; i < n; i++)
		(void)lq_wait_again_locked(q, &e[i], lq_now_locked(q) + RETRY_NS);
	lq_count(q, (struct lq_change){.back = -(int64_t)n});
	mutex_unlock(q->lock);
}

/* It was copied meanwhile, so its segment may be gone; then the copy is to be read. */
static bool has_moved(struct log_queue *q, struct cursor_entry *e)
{
	bool start = false;
	mutex_lock(q->lock);
	bool moved = lq_number_locked(q, e->seq, NULL) != e->seq;
	/* (It goes on counting as one that came back.) */
	if (moved && lq_wait_again_locked(q, e, 0))
		start = lq_wake_locked(q);
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	return moved;
}

/* len: of its body, if that is known. */
static void lose(struct log_queue *q, const struct cursor_entry *e, int64_t len, const char *why)
{
	mutex_lock(q->lock);
	cursor_finished(q->cursor, lq_number_locked(q, e->seq, NULL));
	lq_drop_alias_locked(q, e->seq);
	lq_count(q, (struct lq_change){.back = -1, .waiting_bytes = -len});
	mutex_unlock(q->lock);
	topic_log_logf(q->tl, LG_ERROR,
		"LOG(%s): message %llu, which has waited in %s, is lost%s%s", topic_log_name(q->tl),
		(unsigned long long)e->seq, q->name, *why ? " - " : "", why);
}

/* Says so once, until it works again. */
static void say(struct log_queue *q, bool fails, const struct err *err)
{
	mutex_lock(q->lock);
	bool news = q->due_fails != fails;
	q->due_fails = fails;
	mutex_unlock(q->lock);
	if (news && fails)
		topic_log_logf(q->tl, LG_ERROR,
			"LOG(%s): failed to read what has waited in %s, trying again - %s",
			topic_log_name(q->tl), q->name, err->msg);
	else if (news)
		topic_log_logf(q->tl, LG_INFO, "LOG(%s): what has waited in %s is read again",
			topic_log_name(q->tl), q->name);
}

/* The disk has said so often that this message is bad. Of several, one after the other is given up. */
static bool is_hopeless(struct log_queue *q, uint64_t seq, const struct err *err)
{
	bool hopeless = false;
	mutex_lock(q->lock);
	if (err->code == EIO && (q->bad_seq == 0 || q->bad_seq == seq)) {
		q->bad_seq = seq;
		hopeless = ++q->bad_tries >= TRIES;
		if (hopeless)
			q->bad_seq = 0, q->bad_tries = 0;
	}
	mutex_unlock(q->lock);
	return hopeless;
}

size_t lq_read_waited(struct log_queue *q, struct log_reader *r, struct cursor_entry *e, size_t n,
	struct message **msgs)
{
	struct err err = {0};
	size_t done = 0;
	bool fails = false;
	for (size_t i = 0; i < n; i++) {
		struct log_item item;
		enum log_read what = log_read_at(r, e[i].seq, e[i].offset, &item, &err);
		if (what == LOG_READ_MESSAGE && lq_is_mine(q, &item)) {
			if (e[i].attempts > item.msg->attempts)
				item.msg->attempts = e[i].attempts;
			msgs[done++] = item.msg;
			continue;
		}
		int64_t len = what == LOG_READ_MESSAGE ? item.msg->body->len : 0;
		if (what == LOG_READ_MESSAGE)
			message_unref(item.msg);
		if (what != LOG_READ_ERROR) {
			if (what == LOG_READ_MESSAGE || !has_moved(q, &e[i]))
				lose(q, &e[i], len, "");
			continue;
		}
		fails = true;
		if (is_hopeless(q, e[i].seq, &err)) {
			lose(q, &e[i], 0, err.msg);
			continue;
		}
		/* A bad place is one message's. What else is wrong, such as no descriptor, all feel. */
		size_t some = err.code == EIO ? 1 : n - i;
		later(q, &e[i], some);
		i += some - 1;
	}
	if (fails || done == n)
		say(q, fails, &err);
	return done;
}

size_t lq_pop_due_locked(struct log_queue *q, struct cursor_entry *out, size_t max)
{
	size_t zero = 0;
	size_t n = cursor_pop_due(q->cursor, lq_now_locked(q), out, max);
	for (size_t i = 0; i < n; i++)
		zero += out[i].due == 0;
	q->zero -= zero;
	/* At one moment: a drain must see each as deferred or as one that is back. */
	lq_count(q, (struct lq_change){.back = (int64_t)(n - zero)});
	return n;
}

/* How many messages may go to memory without lq:NAME. */
static size_t room_locked(const struct log_queue *q)
{
	if (!q->memory || q->behind)
		return 0;
	size_t cap = chan_cap(q->memory), len = chan_len(q->memory);
	return len < cap ? cap - len : 0;
}

/* What is due goes to the caller, or is lq:NAME's. */
static size_t share_out_locked(struct log_queue *q, struct cursor_entry *due, size_t max)
{
	if (q->reads_due || cursor_next_due(q->cursor) > lq_now_locked(q))
		return 0;
	size_t room = room_locked(q);
	if (room == 0) {
		q->reads_due = q->poke = true;
		return 0;
	}
	max = max < LQ_DUE_BATCH ? max : LQ_DUE_BATCH;
	size_t n = lq_pop_due_locked(q, due, room < max ? room : max);
	lq_count(q, (struct lq_change){.hand = (int64_t)n});
	return n;
}

size_t log_queue_take_due(struct backend_queue *base, struct message **msgs, size_t max)
{
	struct cursor_entry due[LQ_DUE_BATCH];
	struct log_queue *q = log_queue_of(base);
	mutex_lock(q->lock);
	int64_t now = clock_mono_ns();
	bool touch = now >= q->touch_ns;
	if (touch)
		q->touch_ns = INT64_MAX;
	if (now >= q->start_ns)
		q->start_ns = INT64_MAX;
	size_t n = share_out_locked(q, due, max);
	bool start = q->start_ns == INT64_MAX && lq_wake_locked(q);
	lq_tell_due_locked(q);
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	if (touch)
		lq_touch(q);
	if (n == 0)
		return 0;
	struct log_reader *r = log_reader_open(q->log, due[0].seq, due[0].offset);
	log_reader_few(r);
	size_t got = lq_read_waited(q, r, due, n, msgs);
	log_reader_close(r);
	lq_count(q, (struct lq_change){.hand = (int64_t)got - (int64_t)n});
	return got;
}

void log_queue_leave_due(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	bool start = false;
	mutex_lock(q->lock);
	if (!q->reads_due && cursor_next_due(q->cursor) <= lq_now_locked(q)) {
		q->reads_due = q->poke = true;
		start = lq_wake_locked(q);
		lq_tell_due_locked(q);
	}
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
}

void log_queue_due_done(struct backend_queue *base, size_t n, int64_t bytes)
{
	lq_count(log_queue_of(base),
		(struct lq_change){
			.back = -(int64_t)n, .hand = -(int64_t)n, .waiting_bytes = -bytes});
}
