/* SPDX-License-Identifier: MIT */
/*
 * The backend queue of a topic that has a log, and of its channels: its interface, and its thread. No
 * Go file: stock has no log. lq_loop is the thread "lq:NAME"; the other functions run in their
 * callers' threads.
 */
#include "nsqd/log/log_queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/log/log_format.h"
#include "nsqd/log/log_queue_internal.h"

#define MAGIC 0x4c4f4751u
/* Without anything to read for this long the thread ends, or gives its memory back. */
#define IDLE_NS (2 * NSEC_PER_SEC)
/* How often a thread that waits for lq:NAME looks whether that could be started. */
#define LOOK_NS (50 * NSEC_PER_MSEC)
/* When to try again to start a thread. */
#define START_NS NSEC_PER_SEC

struct log_queue *log_queue_of(struct backend_queue *base)
{
	struct log_queue *q = (struct log_queue *)base;
	CHECK(q->magic == MAGIC);
	return q;
}

void lq_count(struct log_queue *q, struct lq_change by)
{
	mutex_lock(&q->count_lock);
	q->counts.unread += by.unread;
	q->counts.unread_bytes += by.unread_bytes;
	q->counts.back += by.back;
	q->counts.hand += by.hand;
	q->counts.waiting_bytes += by.waiting_bytes;
	/* It is an estimate, and what is in hand may have been cleared. */
	if (q->counts.waiting_bytes < 0)
		q->counts.waiting_bytes = 0;
	mutex_unlock(&q->count_lock);
}

static struct log_queue_counts counts_of(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	mutex_lock(&q->count_lock);
	struct log_queue_counts c = q->counts;
	mutex_unlock(&q->count_lock);
	return c;
}

/* --- lq:NAME -------------------------------------------------------------------------------------- */

/* Shows whether the batch is offered, where that has changed. */
static void show_offer(struct log_queue *q, bool offer)
{
	if (q->offered == offer)
		return;
	q->offered = offer;
	mutex_lock(&q->count_lock);
	q->counts.offered = offer;
	mutex_unlock(&q->count_lock);
}

/* Estimates, and the bytes of what was lost: none of that is left where nothing is. */
static void clear_counts_locked(struct log_queue *q, bool caught_up)
{
	bool nothing_waits = q->at == q->n && !lq_is_topic(q) && cursor_waiting(q->cursor) == 0;
	if (!caught_up && !nothing_waits)
		return;
	mutex_lock(&q->count_lock);
	if (caught_up)
		q->counts.unread = q->counts.unread_bytes = 0;
	if (nothing_waits && q->counts.hand == 0)
		q->counts.back = q->counts.waiting_bytes = 0;
	mutex_unlock(&q->count_lock);
}

/*
 * The batch is empty and all is read: the queue has caught up. Or something was left to the reader
 * after it had looked, and nobody pokes a queue that is behind: then it looks again at once. (Not
 * where the disk cannot be read: that waits.) Returns whether to offer the batch.
 */
static bool settle(struct log_queue *q)
{
	bool caught_up = false;
	mutex_lock(q->lock);
	if (q->behind && q->at == q->n && !q->more) {
		caught_up = q->next >= q->to;
		q->behind = !caught_up;
		q->more = !caught_up && q->to != q->seen && q->retry.next_ns == 0;
	}
	/* What is in memory is older, and nothing is added to it. */
	if (q->behind && !q->drained && chan_len(q->memory) == 0)
		q->drained = true;
	bool offer = q->at < q->n && (q->waited || q->drained);
	clear_counts_locked(q, caught_up);
	mutex_unlock(q->lock);
	show_offer(q, offer);
	return offer;
}

/* All that was put goes, and the batch. */
static void throw_away(struct log_queue *q)
{
	mutex_lock(q->lock);
	if (lq_is_topic(q)) {
		topic_log_handed_locked(q->tl, q->to);
	} else {
		if (cursor_floor(q->cursor) < q->to)
			cursor_finished_range(q->cursor, cursor_floor(q->cursor), q->to);
		/* And what was for this channel alone, wherever it is. */
		cursor_finished_held(q->cursor, q->to);
	}
	entries_free(&q->aliases);
	q->zero = 0;
	q->behind = q->reads_due = false;
	q->next = q->to;
	if (!lq_is_topic(q))
		lq_tell_due_locked(q);
	mutex_lock(&q->count_lock);
	q->counts.unread = q->counts.unread_bytes = q->counts.waiting_bytes = 0;
	/* The threads that took them put them somewhere, and say so. */
	q->counts.back = q->counts.hand;
	mutex_unlock(&q->count_lock);
	mutex_unlock(q->lock);
	lq_drop_batch(q);
	ticker_stop(&q->retry);
}

/* --- the rest ------------------------------------------------------------------------------------- */

void log_queue_on_rest(struct backend_queue *base, void (*fn)(void *arg), void *arg)
{
	struct log_queue *q = log_queue_of(base);
	CHECK(!lq_is_topic(q));
	mutex_lock(q->lock);
	q->on_rest = fn;
	q->on_rest_arg = arg;
	mutex_unlock(q->lock);
}

/* Nothing is left to be read, and memory has room. What is there is older. */
static bool rest_fits_locked(const struct log_queue *q)
{
	size_t n = q->n - q->at;
	if (!q->memory || q->more || q->reads_due || (q->behind && q->next < q->to))
		return false;
	return chan_len(q->memory) + n <= chan_cap(q->memory);
}

void log_queue_give_rest(struct backend_queue *base,
	void (*into)(void *arg, struct message *const *msgs, size_t n), void *arg)
{
	struct log_queue *q = log_queue_of(base);
	mutex_lock(q->lock);
	if (rest_fits_locked(q)) {
		int64_t n = (int64_t)(q->n - q->at), bytes = 0;
		for (size_t i = q->at; i < q->n; i++)
			bytes += q->lens[i];
		into(arg, q->msgs + q->at, q->n - q->at);
		CHECK(chan_try_send_n(q->memory, q->msgs + q->at, q->n - q->at) == (size_t)n);
		q->n = q->at = 0;
		if (q->waited)
			lq_count(q, (struct lq_change){.back = -n, .waiting_bytes = -bytes});
		else
			lq_count(q, (struct lq_change){.unread = -n, .unread_bytes = -bytes});
		bool caught_up = q->behind;
		q->behind = false;
		q->next = q->to;
		clear_counts_locked(q, caught_up);
		lq_show(q);
	}
	mutex_unlock(q->lock);
}

/* Nobody has taken the batch for a while. Where the owner might take it, that is tried again. */
static void hold_on(struct log_queue *q)
{
	mutex_lock(q->lock);
	void (*fn)(void *arg) = q->on_rest;
	bool fits = fn && rest_fits_locked(q);
	mutex_unlock(q->lock);
	if (fits)
		fn(q->on_rest_arg);
	lq_rest_readers(q);
	if (fits)
		q->used_ns = clock_mono_ns();
}

/* Is there anything to do for lq:NAME? */
static bool is_wanted_locked(const struct log_queue *q)
{
	return q->behind || q->reads_due || q->pending > 0;
}

/* Nothing was read for a while, and nothing is to be read now. True: the thread ends. */
static bool retire(struct log_queue *q)
{
	bool done = false;
	if (q->used_ns != 0 && clock_mono_ns() - q->used_ns < IDLE_NS)
		return false;
	lq_close_readers(q);
	lq_free_batch(q);
	mutex_lock(q->lock);
	if (!is_wanted_locked(q) && chan_len(q->wake_chan) == 0) {
		q->running = false;
		done = true;
	}
	mutex_unlock(q->lock);
	return done;
}

static void lq_loop(void *arg)
{
	enum { READ, DRAINED, WAKE, EMPTY, VISIT, RETRY, LOOK, EXIT, N_CASES };
	struct log_queue *q = arg;
	struct chan *answer;
	struct lq_visit *visit;
	for (;;) {
		struct ticker look = {0};
		lq_fill(q);
		bool offer = settle(q), holds = q->at < q->n;
		if (!holds || q->used_ns != 0)
			ticker_after(&look, !holds && q->more ? 0 : IDLE_NS);
		struct chan_case cases[N_CASES] = {
			[READ] = chan_case_send_n(offer ? q->read_chan : NULL,
				holds ? q->msgs + q->at : NULL, q->n - q->at),
			[DRAINED] = chan_case_demand(holds && !offer ? q->memory : NULL),
			[WAKE] = chan_case_recv(q->wake_chan, NULL),
			[EMPTY] = chan_case_recv(q->empty_chan, &answer),
			[VISIT] = chan_case_recv(q->visit_chan, &visit),
			[RETRY] = chan_case_tick(&q->retry),
			[LOOK] = chan_case_tick(&look),
			[EXIT] = chan_case_recv(q->exit_chan, NULL),
		};
		switch (chan_select(cases, N_CASES)) {
		case READ:
			lq_received(q, cases[READ].n);
			break;
		case EMPTY:
			throw_away(q);
			chan_send(answer, NULL);
			break;
		case VISIT:
			lq_serve(q, visit);
			chan_send(visit->done_chan, NULL);
			break;
		case LOOK:
			if (holds)
				hold_on(q);
			else if (!q->more && retire(q))
				return;
			break;
		case EXIT:
			return;
		}
	}
}

bool lq_wake_locked(struct log_queue *q)
{
	bool poke = q->poke;
	q->poke = false;
	if (!q->running)
		return q->running = is_wanted_locked(q);
	if (poke)
		chan_signal(q->wake_chan);
	return false;
}

int lq_start(struct log_queue *q)
{
	char name[GOTHREAD_NAME_SIZE];
	struct err err;
	snprintf(name, sizeof(name), "lq:%s", q->name);
	int rc = topic_log_io(q->tl)->start(&q->wait_group, name, lq_loop, q, &err);
	mutex_lock(q->lock);
	bool news = rc != 0 && !q->start_fails;
	q->start_fails = rc != 0;
	if (rc != 0) {
		q->running = false;
		q->start_ns = clock_mono_ns() + START_NS;
		if (!lq_is_topic(q))
			lq_tell_due_locked(q);
	}
	mutex_unlock(q->lock);
	if (news)
		topic_log_logf(q->tl, LG_ERROR, "LOG(%s): %s, trying again: %s",
			topic_log_name(q->tl), name, err.msg);
	if (rc != 0)
		(void)topic_log_touch(q->tl); /* for tick */
	return rc;
}

/* Starts a thread that could not be started before, and sees whether the clock was set. */
static bool tick(void *arg)
{
	struct log_queue *q = arg;
	mutex_lock(q->lock);
	bool is_made = q->cursor;
	mutex_unlock(q->lock);
	if (!is_made)
		return false;
	if (!lq_is_topic(q))
		lq_check_clock(q);
	mutex_lock(q->lock);
	bool start = !q->running && is_wanted_locked(q);
	if (start)
		q->running = true;
	mutex_unlock(q->lock);
	return start && lq_start(q) != 0;
}

/* --- the interface -------------------------------------------------------------------------------- */

static size_t lq_put(
	struct backend_queue *base, const struct backend_record *recs, size_t n, struct err *err)
{
	(void)base;
	(void)recs;
	(void)n;
	err_set(err, 0, "a log keeps messages, and no records");
	return 0;
}

static struct chan *lq_read_chan(struct backend_queue *base)
{
	return log_queue_of(base)->read_chan;
}

/* The topic says topic_log_handed; a channel, what has become of each message. */
static void lq_done(struct backend_queue *base, size_t n)
{
	struct log_queue *q = log_queue_of(base);
	if (!lq_is_topic(q))
		return;
	mutex_lock(&q->count_lock);
	q->counts.done += (int64_t)n;
	mutex_unlock(&q->count_lock);
}

static void lq_forget(struct backend_queue *base, bool at_once)
{
	(void)base;
	(void)at_once;
}

static int64_t lq_depth(struct backend_queue *base)
{
	struct log_queue_counts c = counts_of(base);
	int64_t n = (c.unread > 0 ? c.unread : 0) + (c.back > 0 ? c.back : 0);
	return n;
}

/* Those that wait for their time are among them: they are in the log as well. */
static int64_t lq_body_bytes(struct backend_queue *base)
{
	struct log_queue_counts c = counts_of(base);
	int64_t bytes = c.unread_bytes + c.waiting_bytes;
	return bytes > 0 ? bytes : 0;
}

/* A channel's cursor knows what has become of each. */
static int64_t lq_undone(struct backend_queue *base)
{
	struct log_queue_counts c = counts_of(base);
	return lq_is_topic(log_queue_of(base)) ? c.received - c.done : 0;
}

static int64_t lq_received_all(struct backend_queue *base)
{
	return counts_of(base).received;
}

static int64_t lq_received_bytes(struct backend_queue *base)
{
	return counts_of(base).received_bytes;
}

static size_t lq_ahead(struct backend_queue *base, int64_t *first, int64_t *last)
{
	struct log_queue_counts c = counts_of(base);
	*first = c.offered ? c.first : 0;
	*last = c.offered ? c.last : 0;
	return c.offered ? c.ahead : 0;
}

static int64_t lq_first_timestamp(struct backend_queue *base)
{
	return counts_of(base).first;
}

/*
 * Has lq:NAME throw all away. It may have to be started; another thread may be about to do that. Not
 * until the next flush is that safe from kill -9.
 */
static int lq_empty(struct backend_queue *base, struct err *err)
{
	struct log_queue *q = log_queue_of(base);
	struct chan *answer = chan_new(0, 1);
	struct ticker look;
	bool sent = false;
	int rc = 0;
	mutex_lock(q->lock);
	q->pending++;
	mutex_unlock(q->lock);
	while (rc == 0 && !sent) {
		mutex_lock(q->lock);
		bool start = lq_wake_locked(q);
		mutex_unlock(q->lock);
		if (start && lq_start(q) != 0)
			rc = err_set(err, 0, "no thread to empty %s", q->name);
		ticker_after(&look, LOOK_NS);
		struct chan_case cases[] = {
			chan_case_send(q->empty_chan, &answer), chan_case_tick(&look)};
		if (rc == 0)
			sent = chan_select(cases, 2) == 0;
	}
	if (sent)
		chan_recv(answer, NULL);
	chan_free(answer);
	mutex_lock(q->lock);
	q->pending--;
	mutex_unlock(q->lock);
	lq_touch(q);
	return rc;
}

static void stop(struct log_queue *q)
{
	mutex_lock(q->lock);
	CHECK(q->pending == 0);
	mutex_unlock(q->lock);
	chan_close(q->exit_chan);
	wait_group_wait(&q->wait_group);
	if (q->msgs)
		lq_drop_batch(q);
	lq_close_readers(q);
	lq_free_batch(q);
}

static void free_queue(struct log_queue *q)
{
	chan_free(q->read_chan);
	chan_free(q->wake_chan);
	chan_free(q->empty_chan);
	chan_free(q->visit_chan);
	chan_free(q->exit_chan);
	wait_group_destroy(&q->wait_group);
	mutex_destroy(&q->count_lock);
	lq_free_copies(q);
	free(q->name);
	free(q->channel);
	q->magic = 0;
	free(q);
}

/*
 * Its channel could not be made: nobody has been told of it, and nothing was put. A file that was there
 * before stays.
 */
static bool never_was_locked(const struct log_queue *q)
{
	return !q->on_due && !q->member.old;
}

/*
 * First it is no member any more: then no tick starts the thread again. A batch that was not received
 * is new to the cursor, or was taken: so it comes again after the next start.
 */
static int end(struct backend_queue *base, bool remove, struct err *err)
{
	struct log_queue *q = log_queue_of(base);
	struct err own;
	int rc = 0;
	if (lq_is_topic(q)) {
		topic_log_unset_queue(q->tl);
		stop(q);
	} else {
		topic_log_mute(q->tl, &q->member);
		stop(q);
		mutex_lock(q->lock);
		remove = remove || never_was_locked(q);
		mutex_unlock(q->lock);
		rc = topic_log_leave(q->tl, &q->member, remove, err ? err : &own);
	}
	free_queue(q);
	return rc;
}

static int lq_close(struct backend_queue *base, struct err *err)
{
	return end(base, false, err);
}

static int lq_delete(struct backend_queue *base, struct err *err)
{
	return end(base, true, err);
}

static const struct backend_queue_ops log_queue_ops = {
	.put = lq_put,
	.read_chan = lq_read_chan,
	.done = lq_done,
	.forget = lq_forget,
	.close = lq_close,
	.delete = lq_delete,
	.depth = lq_depth,
	.body_bytes = lq_body_bytes,
	.undone = lq_undone,
	.received = lq_received_all,
	.received_bytes = lq_received_bytes,
	.ahead = lq_ahead,
	.empty = lq_empty,
	.look = lq_look,
	.first_timestamp = lq_first_timestamp,
	.put_messages = lq_put_messages,
};

/* --- making one ----------------------------------------------------------------------------------- */

static struct log_queue *make(
	struct topic_log *tl, const char *channel, struct mutex *lock, struct chan *memory)
{
	struct log_queue *q = xcalloc(1, sizeof(*q));
	q->base.ops = &log_queue_ops;
	q->magic = MAGIC;
	q->tl = tl;
	q->log = topic_log_log(tl);
	q->name = channel ? xasprintf("%s:%s", topic_log_name(tl), channel)
			  : xstrdup(topic_log_name(tl));
	q->channel = channel ? xstrdup(channel) : NULL;
	q->lock = lock;
	q->memory = memory;
	q->read_chan = chan_new(sizeof(struct message *), 0);
	q->wake_chan = chan_new(0, 1);
	q->empty_chan = chan_new(sizeof(struct chan *), 0);
	q->visit_chan = chan_new(sizeof(struct lq_visit *), 0);
	q->exit_chan = chan_new(0, 0);
	wait_group_init(&q->wait_group);
	mutex_init(&q->count_lock, RANK_LEAF);
	return q;
}

/* How long the body of a message in the log is, on average. */
static double mean_body(const struct log_stats *s)
{
	int64_t n = (int64_t)(s->next - s->first);
	int64_t bytes = s->bytes - (int64_t)s->segments * LOG_HEAD_SIZE - n * LOG_RECORD_HEAD;
	return n > 0 && bytes > 0 ? (double)bytes / (double)n : 0;
}

/*
 * The queue goes on at next, and has so many messages to read before `to`. Their size is that of all,
 * on average.
 */
static void go_on_locked(struct log_queue *q, uint64_t next, uint64_t to, uint64_t unread)
{
	struct log_stats s;
	log_get_stats(q->log, &s);
	double body = mean_body(&s);
	size_t waiting = lq_is_topic(q) ? 0 : cursor_waiting(q->cursor);
	mutex_lock(&q->count_lock);
	q->counts.unread = (int64_t)unread;
	q->counts.unread_bytes = (int64_t)(body * (double)unread);
	q->counts.back = (int64_t)q->zero;
	q->counts.waiting_bytes = (int64_t)(body * (double)waiting);
	mutex_unlock(&q->count_lock);
	q->to = to;
	q->behind = unread > 0;
	q->next = q->behind ? next : to;
	q->drained = q->poke = true;
}

struct backend_queue *log_queue_new_topic(struct topic_log *tl, struct chan *memory)
{
	struct log_queue *q = make(tl, NULL, topic_log_lock(tl), memory);
	struct log_stats s;
	log_get_stats(q->log, &s);
	topic_log_set_queue(tl, lq_kept, tick, q);
	mutex_lock(q->lock);
	q->cursor = topic_log_cursor(tl);
	uint64_t handed = cursor_floor(q->cursor);
	/* lq:NAME is started by tick, when the channels are there. */
	go_on_locked(q, handed, s.next, s.next - handed);
	mutex_unlock(q->lock);
	return &q->base;
}

/* How many wait before `to`; q->zero is how many of all are due at once. */
static uint64_t count_waiting_locked(struct log_queue *q, uint64_t to)
{
	struct cursor_entry some[64];
	size_t at = 0, n;
	uint64_t before = 0;
	while ((n = cursor_list_waiting(q->cursor, &at, 0, UINT64_MAX, some, 64)) > 0) {
		for (size_t i = 0; i < n; i++) {
			before += some[i].seq < to;
			q->zero += some[i].due == 0;
		}
	}
	return before;
}

struct backend_queue *log_queue_new_channel(struct topic_log *tl, const char *channel,
	struct mutex *lock, struct chan *memory, struct err *err)
{
	struct log_queue *q = make(tl, channel, lock, memory);
	uint64_t handed;
	q->member = (struct topic_log_member){
		.lock = lock, .channel = q->channel, .ops = &lq_member_ops, .tick = tick, .arg = q};
	if (topic_log_join(tl, channel, &q->member, &handed, err) != 0) {
		free_queue(q);
		return NULL;
	}
	mutex_lock(lock);
	q->cursor = q->member.cursor;
	uint64_t waiting = count_waiting_locked(q, handed);
	lq_due_begins_locked(q);
	uint64_t unread = cursor_unfinished(q->cursor, handed) - waiting;
	go_on_locked(q, cursor_floor(q->cursor), handed, unread);
	bool start = is_wanted_locked(q) && lq_wake_locked(q);
	mutex_unlock(lock);
	topic_log_listen(tl, &q->member);
	if (start)
		(void)lq_start(q);
	return &q->base;
}

/* --- a channel's cursor --------------------------------------------------------------------------- */

size_t log_queue_deferred(struct backend_queue *base)
{
	struct log_queue *q = log_queue_of(base);
	mutex_lock(q->lock);
	size_t n = cursor_waiting(q->cursor) - q->zero;
	mutex_unlock(q->lock);
	return n;
}

int64_t log_queue_waiting(struct backend_queue *base, int64_t *bytes)
{
	struct log_queue *q = log_queue_of(base);
	mutex_lock(q->lock);
	int64_t deferred = (int64_t)(cursor_waiting(q->cursor) - q->zero);
	int64_t depth = lq_depth(base);
	*bytes = lq_body_bytes(base);
	mutex_unlock(q->lock);
	return deferred + depth;
}

void log_queue_pass_over(struct backend_queue *base, uint64_t upto)
{
	struct log_queue *q = log_queue_of(base);
	mutex_lock(q->lock);
	lq_pass_over_locked(q, upto);
	mutex_unlock(q->lock);
	topic_log_touch(q->tl);
}

void log_queue_stats_locked(struct backend_queue *base, struct topic_log_cursor_stats *out)
{
	struct log_queue *q = log_queue_of(base);
	mutex_assert_held(q->lock);
	topic_log_cursor_stats_locked(
		q->log, q->cursor, cursor_floor(q->cursor), &q->member.mark, out);
}

struct cursor *log_queue_cursor(struct backend_queue *base)
{
	return log_queue_of(base)->cursor;
}
