/* SPDX-License-Identifier: MIT */
/*
 * What a queue over a log reads: the log from its place on, and what has waited. No Go file: stock
 * has no log. Runs in lq:NAME; blocks on the disk, without locks.
 */
#include "nsqd/log/log_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/xalloc.h"
#include "nsqd/log/log_queue_internal.h"

/* When a place is tried again that could not be read. */
#define RETRY_NS NSEC_PER_SEC
/* So often; then it is given up, if the disk says that it is bad. */
#define TRIES 10
/* So many records per batch are looked at. */
#define LOOK_MAX 2048
/* Further than this the reader does not read on to pass records over, but looks for the place. */
#define FAR 100000

/* --- the batch ------------------------------------------------------------------------------------ */

void lq_show(struct log_queue *q)
{
	size_t n = q->n - q->at;
	mutex_lock(&q->count_lock);
	q->counts.ahead = n;
	q->counts.first = n > 0 ? q->msgs[q->at]->timestamp : 0;
	q->counts.last = n > 0 ? q->msgs[q->n - 1]->timestamp : 0;
	q->counts.batch_seq = n > 0 && !q->waited ? q->msgs[q->at]->seq : 0;
	q->counts.batch_offset = n > 0 ? q->msgs[q->at]->offset : 0;
	mutex_unlock(&q->count_lock);
}

void lq_drop_batch(struct log_queue *q)
{
	message_unref_all(q->msgs + q->at, q->n - q->at);
	q->n = q->at = 0;
	q->more = false;
	lq_show(q);
}

static void take_out_of_batch(struct log_queue *q, size_t i)
{
	size_t behind = --q->n - i;
	int64_t len = q->lens[i];
	memmove(q->msgs + i, q->msgs + i + 1, behind * sizeof(struct message *));
	memmove(q->lens + i, q->lens + i + 1, behind * sizeof(*q->lens));
	if (q->waited)
		lq_count(q, (struct lq_change){.back = -1, .waiting_bytes = -len});
	else
		lq_count(q, (struct lq_change){.unread = -1, .unread_bytes = -len});
	lq_show(q);
}

/* What was read of the log is seen by lq_look. */
void lq_serve(struct log_queue *q, struct lq_visit *v)
{
	v->taken = NULL;
	for (size_t i = q->at; i < q->n && !v->taken; i++) {
		if (v->see && q->waited)
			lq_see(message_ref(q->msgs[i]), v->see);
		if (v->see || !message_id_equal(q->msgs[i]->id, v->id))
			continue;
		v->taken = q->msgs[i];
		take_out_of_batch(q, i);
	}
}

/* They may be gone already: their sizes were noted. */
void lq_received(struct log_queue *q, size_t n)
{
	int64_t bytes = 0;
	for (size_t i = q->at; i < q->at + n; i++)
		bytes += q->lens[i];
	q->at += n;
	/* At one moment: what is known as received must not count as waiting any more. */
	mutex_lock(&q->count_lock);
	q->counts.received += (int64_t)n;
	q->counts.received_bytes += bytes;
	*(q->waited ? &q->counts.back : &q->counts.unread) -= (int64_t)n;
	*(q->waited ? &q->counts.waiting_bytes : &q->counts.unread_bytes) -= bytes;
	mutex_unlock(&q->count_lock);
	lq_show(q);
}

/* Takes m over. */
static void add(struct log_queue *q, struct message *take_m)
{
	if (!q->msgs) {
		q->msgs = xcalloc(LQ_BATCH, sizeof(struct message *));
		q->lens = xcalloc(LQ_BATCH, sizeof(*q->lens));
	}
	CHECK(q->n < LQ_BATCH);
	q->lens[q->n] = take_m->body->len;
	q->msgs[q->n++] = take_m;
}

void lq_close_readers(struct log_queue *q)
{
	log_reader_close(q->reader);
	log_reader_close(q->at_reader);
	q->reader = q->at_reader = NULL;
	q->used_ns = 0;
}

void lq_rest_readers(struct log_queue *q)
{
	if (q->reader)
		log_reader_rest(q->reader);
	log_reader_close(q->at_reader);
	q->at_reader = NULL;
	q->used_ns = 0;
}

void lq_free_batch(struct log_queue *q)
{
	CHECK(q->at == q->n);
	free(q->msgs);
	free(q->lens);
	q->msgs = NULL;
	q->lens = NULL;
}

/* Says so once, until something can be read again: *failing is noted for that. */
static void failed(const struct log_queue *q, const struct err *err, bool *failing)
{
	if (*failing)
		return;
	*failing = true;
	topic_log_logf(q->tl, LG_ERROR, "LOG(%s): failed to read for %s - %s",
		topic_log_name(q->tl), q->name, err->msg);
}

static void succeeded(const struct log_queue *q, bool *failing)
{
	if (!*failing)
		return;
	*failing = false;
	topic_log_logf(
		q->tl, LG_INFO, "LOG(%s): reads again for %s", topic_log_name(q->tl), q->name);
}

/* --- what has waited ------------------------------------------------------------------------------ */

/* The entry waits again, as it did; or false: it has the same number as when it was taken out. */
static bool put_first_back(struct log_queue *q, struct cursor_entry *e, bool only_moved)
{
	bool start = false;
	mutex_lock(q->lock);
	bool back = !only_moved || lq_number_locked(q, e->seq, NULL) != e->seq;
	if (back && lq_wait_again_locked(q, e, e->due)) {
		lq_count(q, (struct lq_change){.back = e->due == 0});
		start = lq_wake_locked(q);
	}
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	return back;
}

static void finish_lost(struct log_queue *q, const struct cursor_entry *e)
{
	mutex_lock(q->lock);
	(void)cursor_finished(q->cursor, e->seq);
	mutex_unlock(q->lock);
	topic_log_logf(q->tl, LG_ERROR, "LOG(%s): message %llu is lost for %s",
		topic_log_name(q->tl), (unsigned long long)e->seq, q->name);
}

/* The first one that waits, whenever it is due. */
static bool pop_first(struct log_queue *q, struct cursor_entry *e)
{
	mutex_lock(q->lock);
	bool is = cursor_pop_due(q->cursor, INT64_MAX, e, 1) == 1;
	if (is && e->due == 0) {
		q->zero--;
		lq_count(q, (struct lq_change){.back = -1});
	}
	if (is)
		lq_tell_due_locked(q);
	mutex_unlock(q->lock);
	return is;
}

size_t log_queue_take_first(struct backend_queue *base, struct message **msgs, size_t max,
	int64_t wanted, int64_t wanted_bytes)
{
	struct log_queue *q = log_queue_of(base);
	struct cursor_entry e;
	struct log_item item;
	struct err err = {0};
	size_t n = 0;
	bool failing = false;
	enum log_read what = LOG_READ_MESSAGE;
	struct log_reader *r = log_reader_open(q->log, 1, 0);
	while (n < max && ((int64_t)n < wanted || wanted_bytes > 0) && what != LOG_READ_ERROR &&
		pop_first(q, &e)) {
		what = log_read_at(r, e.seq, e.offset, &item, &err);
		if (what == LOG_READ_ERROR) {
			(void)put_first_back(q, &e, false);
			failed(q, &err, &failing);
			continue;
		}
		if (what != LOG_READ_MESSAGE) {
			if (!put_first_back(q, &e, true))
				finish_lost(q, &e);
			continue;
		}
		if (e.attempts > item.msg->attempts)
			item.msg->attempts = e.attempts;
		wanted_bytes -= item.msg->body->len;
		lq_count(q, (struct lq_change){.waiting_bytes = -(int64_t)item.msg->body->len});
		msgs[n++] = item.msg;
	}
	log_reader_close(r);
	return n;
}

static void fill_waited(struct log_queue *q)
{
	struct cursor_entry due[LQ_DUE_BATCH];
	struct message *msgs[LQ_DUE_BATCH];
	if (lq_is_topic(q))
		return;
	mutex_lock(q->lock);
	size_t n = lq_pop_due_locked(q, due, LQ_DUE_BATCH);
	/* With less than a batch nothing is due any more: the next one is the owner's business. */
	q->reads_due = n == LQ_DUE_BATCH;
	lq_tell_due_locked(q);
	mutex_unlock(q->lock);
	if (n == 0)
		return;
	if (!q->at_reader) {
		q->at_reader = log_reader_open(q->log, due[0].seq, due[0].offset);
		log_reader_few(q->at_reader);
	}
	n = lq_read_waited(q, q->at_reader, due, n, msgs);
	for (size_t i = 0; i < n; i++)
		add(q, msgs[i]);
	q->waited = true;
}

/* --- the log -------------------------------------------------------------------------------------- */

/* What the reader is to read now: false: nothing. Then: numbers from *from to *to - 1. */
static bool next_range(struct log_queue *q, uint64_t *from, uint64_t *to, uint32_t *offset)
{
	mutex_lock(q->lock);
	q->seen = q->to;
	if (q->behind && !lq_is_topic(q)) {
		q->next = cursor_next_wanted(q->cursor, q->next);
		if (q->next > q->to)
			q->next = q->to;
	}
	bool is = q->behind && (lq_is_topic(q) || q->next < q->to);
	*from = q->next;
	*to = lq_is_topic(q) ? UINT64_MAX : q->to;
	*offset = q->hint == q->next ? q->hint_offset : 0;
	mutex_unlock(q->lock);
	return is;
}

static void find_place(struct log_queue *q, uint64_t from, uint32_t offset)
{
	if (!q->reader) {
		q->reader = log_reader_open(q->log, from, offset);
		return;
	}
	uint64_t at = log_reader_seq(q->reader);
	if (at > from || from - at > FAR || (at < from && offset != 0))
		log_reader_seek(q->reader, from, offset);
}

/* Numbers that cannot be had. */
static void lose(struct log_queue *q, uint64_t from, uint64_t to)
{
	int64_t n = 0;
	mutex_lock(q->lock);
	if (lq_is_topic(q))
		n = (int64_t)(to - from);
	for (uint64_t seq = from; !lq_is_topic(q) && seq < to; seq++) {
		seq = cursor_next_wanted(q->cursor, seq);
		if (seq < to && cursor_wants(q->cursor, seq))
			n += cursor_finished(q->cursor, seq);
	}
	mutex_unlock(q->lock);
	lq_count(q, (struct lq_change){.unread = -n});
	if (n > 0)
		topic_log_logf(q->tl, LG_ERROR, "LOG(%s): %lld messages are lost for %s",
			topic_log_name(q->tl), (long long)n, q->name);
}

/* A topic's: a message with a delay is as it would be if it had been published now. */
static void use_of_topic(struct log_queue *q, const struct log_item *item, int64_t now)
{
	struct message *m = item->msg;
	if (item->channel) {
		topic_log_met(q->tl, item);
		mutex_lock(q->lock);
		if (!lq_is_copy_locked(q, item->seq))
			lq_count(q, (struct lq_change){
					    .unread = -1, .unread_bytes = -(int64_t)m->body->len});
		cursor_finished(q->cursor, item->seq);
		topic_log_handed_locked(q->tl, 0);
		mutex_unlock(q->lock);
		message_unref(m);
		return;
	}
	if (m->deferred_ns > 0 && now - m->timestamp >= m->deferred_ns)
		m->deferred_ns = 0;
	add(q, m);
}

/* A channel's: delivered, or it waits; or it is not for this channel. */
static void use_of_channel(struct log_queue *q, const struct log_item *item)
{
	struct message *m = item->msg;
	bool deliver = false;
	int64_t len = m->body->len;
	mutex_lock(q->lock);
	if (cursor_wants(q->cursor, m->seq)) {
		uint16_t attempts = cursor_attempts(q->cursor, m->seq);
		if (attempts > m->attempts)
			m->attempts = attempts;
		int64_t due = lq_due_of_locked(q, m);
		q->read_to = m->seq + 1;
		bool own =
			lq_is_mine(q, item) && (!item->channel || lq_copy_counts_locked(q, item));
		if (!own)
			cursor_finished(q->cursor, m->seq);
		else if (due > 0)
			lq_wait_locked(q, m, due);
		else
			deliver = true;
		if (!deliver)
			lq_count(q, (struct lq_change){.unread = -1, .unread_bytes = -len});
	}
	mutex_unlock(q->lock);
	if (deliver)
		add(q, m);
	else
		message_unref(m);
}

/* The disk could not be read: later. What it says is bad is given up after some time. */
static void try_later(struct log_queue *q, const struct err *err)
{
	failed(q, err, &q->failing);
	if (++q->tries >= TRIES && err->code == EIO) {
		log_reader_skip(q->reader);
		q->tries = 0;
	}
	ticker_after(&q->retry, RETRY_NS);
}

/* One record. False: there is no more for now. */
static bool read_one(struct log_queue *q, uint64_t from, uint64_t to, int64_t now)
{
	struct log_item item;
	struct err err = {0};
	if (log_reader_seq(q->reader) >= to)
		return false;
	switch (log_reader_next(q->reader, &item, &err)) {
	case LOG_READ_END:
		return false;
	case LOG_READ_ERROR:
		try_later(q, &err);
		return false;
	case LOG_READ_GAP:
		lose(q, item.seq < from ? from : item.seq,
			item.seq + item.n < to ? item.seq + item.n : to);
		break;
	case LOG_READ_MESSAGE:
		if (item.seq < from)
			message_unref(item.msg);
		else if (lq_is_topic(q))
			use_of_topic(q, &item, now);
		else
			use_of_channel(q, &item);
		break;
	}
	q->tries = 0;
	succeeded(q, &q->failing);
	return true;
}

/* The reader has come to seq. */
static void advance(struct log_queue *q, uint64_t from, uint64_t seq)
{
	uint64_t news = 0;
	mutex_lock(q->lock);
	if (seq > from)
		q->next = seq;
	/* Kept, and not told of yet: log_opts.kept will find that it is known. */
	if (lq_is_topic(q) && seq > q->to) {
		news = seq - q->to;
		q->to = seq;
	}
	if (q->next > q->to)
		q->next = q->to;
	mutex_unlock(q->lock);
	lq_count(q, (struct lq_change){.unread = (int64_t)news});
}

static void fill_from_log(struct log_queue *q)
{
	uint64_t from, to;
	uint32_t offset;
	size_t looked = 0, bytes = 0;
	bool goes_on = true;
	if (q->retry.next_ns != 0 || !next_range(q, &from, &to, &offset))
		return;
	int64_t now = clock_wall_ns();
	find_place(q, from, offset);
	while (goes_on && q->n < LQ_BATCH && bytes < LQ_BATCH_BYTES && looked++ < LOOK_MAX) {
		size_t n = q->n;
		goes_on = read_one(q, from, to, now);
		if (q->n > n)
			bytes += q->msgs[n]->body->len;
	}
	q->more = goes_on;
	q->waited = false;
	/* First, so that a look sees them there, or still in the log. */
	if (q->n > 0)
		lq_show(q);
	advance(q, from, log_reader_seq(q->reader));
}

void lq_fill(struct log_queue *q)
{
	if (q->at < q->n)
		return;
	q->n = q->at = 0;
	q->more = false;
	/* In turns, so that what always comes back does not keep the log from being read. */
	if (!q->was_waited)
		fill_waited(q);
	if (q->n == 0)
		fill_from_log(q);
	if (q->n == 0 && q->was_waited)
		fill_waited(q);
	q->was_waited = q->n > 0 && q->waited;
	if (q->n > 0)
		q->used_ns = clock_mono_ns();
	if (q->n > 0)
		lq_show(q);
}
