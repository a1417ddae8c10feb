/* SPDX-License-Identifier: MIT */
/*
 * What is put into a queue over a log: into memory, or left to the reader. No Go file: stock has no
 * log. lq_kept runs in the thread that writes the log, lq_put_messages in any.
 *
 * A message that was sent to memory may be freed at once by its receiver. So all that is to be known
 * of it is looked at before.
 */
#include "nsqd/log/log_queue.h"

#include <limits.h>
#include <string.h>

#include "common/check.h"
#include "nsqd/log/log_queue_internal.h"

/* How many messages are offered to memory at once. */
#define SEND_BATCH 256

/* From m on the messages are left to the reader. */
static void fall_behind_locked(struct log_queue *q, const struct message *m)
{
	if (q->behind)
		return;
	q->behind = q->poke = true;
	q->drained = !q->memory;
	q->next = q->hint = m->seq;
	q->hint_offset = m->offset;
}

/* --- a channel's ---------------------------------------------------------------------------------- */

void lq_pass_over_locked(struct log_queue *q, uint64_t upto)
{
	if (upto <= q->to)
		return;
	for (uint64_t seq = cursor_next_wanted(q->cursor, q->to); seq < upto;
		seq = cursor_next_wanted(q->cursor, seq + 1)) {
		if (cursor_wants(q->cursor, seq))
			cursor_finished(q->cursor, seq);
	}
	q->to = upto;
	if (!q->behind)
		q->next = upto;
}

/*
 * Those in the middle that are not for memory make the queue fall behind there. A topic that was emptied
 * may still have some in its hand that were passed over: these are gone.
 */
static size_t put_new_locked(
	struct log_queue *q, struct chan *memory, struct message *const *msgs, size_t n)
{
	size_t run = 0, sent = 0;
	bool runs = memory && !q->behind;
	uint64_t begin = q->to;
	for (size_t i = 0; i < n; i++) {
		lq_pass_over_locked(q, msgs[i]->seq);
		if (msgs[i]->seq >= q->to)
			q->to = msgs[i]->seq + 1;
		runs = runs && msgs[i]->seq >= begin && lq_due_of_locked(q, msgs[i]) == 0 &&
		       cursor_wants(q->cursor, msgs[i]->seq);
		if (!runs)
			continue;
		uint16_t attempts = cursor_attempts(q->cursor, msgs[i]->seq);
		if (attempts > msgs[i]->attempts)
			msgs[i]->attempts = attempts;
		run++;
	}
	if (run > 0)
		sent = chan_try_send_n(memory, msgs, run);
	for (size_t i = sent; i < n; i++) {
		const struct message *m = msgs[i];
		if (m->seq < begin || !cursor_wants(q->cursor, m->seq))
			continue; /* before the last crash it was finished, or began to wait */
		int64_t due = lq_due_of_locked(q, m);
		if (due > 0) {
			lq_wait_locked(q, m, due);
			continue;
		}
		fall_behind_locked(q, m);
		lq_count(q, (struct lq_change){.unread = 1, .unread_bytes = m->body->len});
	}
	if (!q->behind)
		q->next = q->to;
	return sent;
}

static size_t put_back_locked(
	struct log_queue *q, struct chan *memory, struct message *const *msgs, size_t n)
{
	size_t run = 0;
	/* Those that were emptied, while somebody had them in hand, are gone. */
	while (run < n && !cursor_is_finished(q->cursor, lq_number_locked(q, msgs[run]->seq, NULL)))
		run++;
	size_t sent = memory && !q->behind ? chan_try_send_n(memory, msgs, run) : 0;
	for (size_t i = sent; i < n; i++)
		lq_wait_locked(q, msgs[i], 0);
	return sent;
}

static size_t put_to_channel(
	struct log_queue *q, struct chan *memory, struct message *const *msgs, size_t n, bool fresh)
{
	bool start = false;
	mutex_lock(q->lock);
	size_t sent =
		fresh ? put_new_locked(q, memory, msgs, n) : put_back_locked(q, memory, msgs, n);
	if (sent < n)
		start = lq_wake_locked(q);
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	lq_touch(q);
	return sent;
}

size_t lq_put_messages(struct backend_queue *base, struct chan *memory, struct message *const *msgs,
	size_t n, bool fresh)
{
	struct log_queue *q = log_queue_of(base);
	CHECK(!memory || memory == q->memory);
	/* What a topic has is in the log from its handed place on. */
	if (n == 0 || lq_is_topic(q))
		return 0;
	for (size_t i = 0; i < n; i++)
		CHECK(msgs[i]->seq > 0);
	return put_to_channel(q, memory, msgs, n, fresh);
}

void lq_alone(void *arg, bool mine, struct message *const *msgs, size_t n)
{
	struct log_queue *q = arg;
	mutex_lock(q->lock);
	/* What the cursor knows is there already, or over. */
	for (size_t i = 0; i < n; i++) {
		if (!cursor_wants(q->cursor, msgs[i]->seq))
			continue;
		if (mine)
			lq_wait_locked(q, msgs[i], 0);
		else
			cursor_finished(q->cursor, msgs[i]->seq);
	}
	bool start = lq_wake_locked(q);
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
}

int log_queue_append_alone(
	struct backend_queue *base, struct message *const *msgs, size_t n, struct err *err)
{
	struct log_queue *q = log_queue_of(base);
	CHECK(!lq_is_topic(q));
	return topic_log_append_alone(q->tl, q->channel, msgs, n, err);
}

void log_queue_put_back(struct backend_queue *base, const struct log_queue_place *places, size_t n)
{
	struct log_queue *q = log_queue_of(base);
	mutex_lock(q->lock);
	for (size_t i = 0; i < n; i++) {
		struct cursor_entry e = {.seq = places[i].seq,
			.offset = places[i].offset,
			.attempts = places[i].attempts};
		lq_wait_entry_locked(q, &e, places[i].len);
	}
	bool start = lq_wake_locked(q);
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	lq_touch(q);
}

void log_queue_taken_locked(struct backend_queue *base, struct message *const *msgs, size_t n)
{
	struct log_queue *q = log_queue_of(base);
	mutex_assert_held(q->lock);
	for (size_t i = 0, k; i < n; i += k) {
		k = 1;
		if (msgs[i]->seq == 0)
			continue; /* it is in no log */
		uint64_t seq = lq_number_locked(q, msgs[i]->seq, NULL);
		while (i + k < n && q->aliases.len == 0 && msgs[i + k]->seq == msgs[i]->seq + k &&
			msgs[i + k]->attempts == msgs[i]->attempts)
			k++;
		cursor_taken(q->cursor, seq, k, msgs[i]->attempts);
	}
}

void log_queue_finished_locked(struct backend_queue *base, const struct message *m)
{
	struct log_queue *q = log_queue_of(base);
	mutex_assert_held(q->lock);
	if (m->seq == 0)
		return; /* it is in no log */
	cursor_finished(q->cursor, lq_number_locked(q, m->seq, NULL));
	lq_drop_alias_locked(q, m->seq);
}

void log_queue_hold(struct backend_queue *base, bool hold)
{
	struct log_queue *q = log_queue_of(base);
	CHECK(lq_is_topic(q));
	mutex_lock(q->lock);
	q->held = hold;
	mutex_unlock(q->lock);
}

/* --- a topic's ------------------------------------------------------------------------------------ */

/* The messages keep their publisher's reference. */
static size_t send_some_locked(struct log_queue *q, struct message *const *msgs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		message_ref(msgs[i]);
	size_t sent = chan_try_send_n(q->memory, msgs, n);
	message_unref_all(msgs + sent, n - sent);
	return sent;
}

/* In parts: a large MPUB mostly has no room, and its messages need no second reference then. */
static size_t send_locked(struct log_queue *q, struct message *const *msgs, size_t n)
{
	size_t sent = 0, part, k;
	do {
		part = n - sent < SEND_BATCH ? n - sent : SEND_BATCH;
		k = send_some_locked(q, msgs + sent, part);
		sent += k;
	} while (k == part && sent < n);
	return sent;
}

size_t lq_kept(void *arg, const char *channel, bool moved, struct message *const *msgs, size_t n)
{
	struct log_queue *q = arg;
	(void)moved;
	bool start = false;
	mutex_lock(q->lock);
	/* What the reader has seen already. */
	size_t i = 0, sent = 0;
	while (i < n && msgs[i]->seq < q->to)
		i++;
	if (i < n)
		q->to = msgs[n - 1]->seq + 1;
	/* Copies are their channel's business; the reader passes over them. */
	if (channel && i < n && q->behind)
		lq_note_copies_locked(q, msgs[i]->seq, msgs[n - 1]->seq + 1);
	if (channel) {
		cursor_finished_range(q->cursor, msgs[0]->seq, msgs[n - 1]->seq + 1);
		topic_log_handed_locked(q->tl, 0);
		i = n;
	}
	/* The reader has seen none, or it is behind. */
	if (i == 0 && !q->behind && q->memory && !q->held)
		i = sent = send_locked(q, msgs, n);
	if (i < n) {
		int64_t bytes = 0;
		for (size_t k = i; k < n; k++)
			bytes += msgs[k]->body->len;
		fall_behind_locked(q, msgs[i]);
		lq_count(q, (struct lq_change){.unread = (int64_t)(n - i), .unread_bytes = bytes});
		start = lq_wake_locked(q);
	}
	if (!q->behind)
		q->next = q->to;
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	return sent;
}
