/* SPDX-License-Identifier: MIT */
/*
 * What a channel's queue knows of its copies: messages that were appended to the log again, so that
 * their old segment may go. No Go file: stock has no log. The functions of topic_log_member_ops run in
 * the threads that topic_log.h names, all else in the callers' threads, with the owner's lock held.
 *
 * A message in memory keeps its old number when it is copied. An alias says which number that is now.
 * There is one for each such message, until it is finished or waits.
 */
#include "nsqd/log/log_queue.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/xalloc.h"
#include "nsqd/log/log_queue_internal.h"

/* --- numbers -------------------------------------------------------------------------------------- */

uint64_t lq_number_locked(const struct log_queue *q, uint64_t seq, uint32_t *offset)
{
	const struct cursor_entry *e = q->aliases.len > 0 ? entries_find(&q->aliases, seq) : NULL;
	mutex_assert_held(q->lock);
	if (!e)
		return seq;
	if (offset)
		*offset = e->offset;
	return (uint64_t)e->due;
}

void lq_drop_alias_locked(struct log_queue *q, uint64_t seq)
{
	if (q->aliases.len > 0)
		entries_remove(&q->aliases, seq);
}

/* --- copies that are not passed over -------------------------------------------------------------- */

void lq_note_copies_locked(struct log_queue *q, uint64_t from, uint64_t to)
{
	size_t n = 0;
	uint64_t passed = q->next;
	mutex_assert_held(q->lock);
	for (size_t i = 0; i < q->n_copies; i++)
		if (q->copies[i].to > passed)
			q->copies[n++] = q->copies[i];
	q->n_copies = n;
	if (to <= passed)
		return;
	if (n > 0 && q->copies[n - 1].to == from) {
		q->copies[n - 1].to = to;
		return;
	}
	if (n == q->copies_cap) {
		q->copies_cap = n > 0 ? 2 * n : 4;
		q->copies = xreallocarray(q->copies, q->copies_cap, sizeof(*q->copies));
	}
	q->copies[q->n_copies++] = (struct seq_range){from, to};
}

bool lq_is_copy_locked(const struct log_queue *q, uint64_t seq)
{
	mutex_assert_held(q->lock);
	for (size_t i = 0; i < q->n_copies; i++)
		if (q->copies[i].from <= seq && seq < q->copies[i].to)
			return true;
	return false;
}

void lq_free_copies(struct log_queue *q)
{
	entries_free(&q->aliases);
	free(q->copies);
	q->copies = NULL;
	q->n_copies = q->copies_cap = 0;
}

/* --- what the topic_log asks and tells ------------------------------------------------------------ */

static struct topic_log_settled settled(void *arg, uint64_t log_end)
{
	struct log_queue *q = arg;
	struct topic_log_settled out;
	uint64_t begin, end;
	topic_log_found(q->tl, &begin, &end);
	mutex_lock(q->lock);
	struct cursor *c = q->member.cursor;
	out.floor = cursor_floor(c);
	out.settled = cursor_next_unseen(c, out.floor);
	out.unfinished = cursor_unfinished(c, log_end);
	/* What was handed out by an earlier process and is still to be read comes in its turn. */
	if (q->behind && q->next < out.settled)
		out.settled = q->next;
	/* Until all is known that such a process has written: there may be a copy already. */
	if (q->member.old && out.settled < end)
		out.settled = out.floor;
	mutex_unlock(q->lock);
	return out;
}

static int by_number(const void *a, const void *b)
{
	const struct cursor_entry *x = a, *y = b;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Those of the n entries that wait say until when. */
static void fill_waiting(struct cursor *c, struct cursor_entry *out, size_t n)
{
	struct cursor_entry some[64];
	size_t at = 0, k;
	if (n == 0)
		return;
	while ((k = cursor_list_waiting(c, &at, out[0].seq, out[n - 1].seq + 1, some, 64)) > 0) {
		for (size_t i = 0; i < k; i++) {
			struct cursor_entry *e = bsearch(&some[i], out, n, sizeof(*out), by_number);
			if (e)
				*e = some[i];
		}
	}
}

static size_t list(void *arg, uint64_t *from, uint64_t to, struct cursor_entry *out, size_t max)
{
	struct log_queue *q = arg;
	uint64_t numbers[64];
	size_t n = 0, k;
	mutex_lock(q->lock);
	struct cursor *c = q->member.cursor;
	while (n < max) {
		k = cursor_list_unfinished(c, from, to, numbers, max - n < 64 ? max - n : 64);
		for (size_t i = 0; i < k; i++)
			out[n++] = (struct cursor_entry){
				.seq = numbers[i], .attempts = cursor_attempts(c, numbers[i])};
		if (k == 0)
			break;
	}
	fill_waiting(c, out, n);
	mutex_unlock(q->lock);
	return n;
}

static struct cursor_move *find_move(struct cursor_move *moves, size_t n, uint64_t from)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (moves[mid].from < from)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && moves[lo].from == from ? &moves[lo] : NULL;
}

/* What was a copy already when it was copied keeps its oldest name. */
static void rename_locked(struct log_queue *q, struct cursor_move *moves, size_t n)
{
	for (size_t i = 0; i < q->aliases.len; i++) {
		struct cursor_entry *e = entries_at(&q->aliases, i);
		struct cursor_move *m = find_move(moves, n, (uint64_t)e->due);
		if (!m)
			continue;
		e->due = (int64_t)m->to;
		e->offset = m->offset;
		m->waited = true; /* nobody calls it by this number */
	}
	for (size_t i = 0; i < n; i++) {
		const struct cursor_move *m = &moves[i];
		struct cursor_entry e = {
			.seq = m->from, .due = (int64_t)m->to, .offset = m->offset};
		if (!m->waited && !cursor_is_finished(q->member.cursor, m->to))
			entries_put(&q->aliases, &e);
	}
}

static void moved(void *arg, struct cursor_move *moves, size_t n)
{
	struct log_queue *q = arg;
	mutex_lock(q->lock);
	cursor_moved(q->member.cursor, moves, n);
	rename_locked(q, moves, n);
	mutex_unlock(q->lock);
	lq_touch(q);
}

static bool lost(void *arg, uint64_t seq)
{
	struct log_queue *q = arg;
	struct cursor_entry e;
	size_t at = 0;
	mutex_lock(q->lock);
	struct cursor *c = q->member.cursor;
	bool waits = cursor_list_waiting(c, &at, seq, seq + 1, &e, 1) == 1;
	if (waits)
		cursor_finished_range(c, seq, seq + 1);
	if (waits && e.due == 0) {
		q->zero--;
		lq_count(q, (struct lq_change){.back = -1});
	}
	mutex_unlock(q->lock);
	return waits;
}

bool lq_copy_counts_locked(const struct log_queue *q, const struct log_item *item)
{
	uint64_t begin, end;
	mutex_assert_held(q->lock);
	topic_log_found(q->tl, &begin, &end);
	/* Its cursor knows it: it counts. Else its old number does, if its fate is known. */
	return cursor_next_unseen(q->member.cursor, item->seq) != item->seq || item->origin < begin;
}

static void met(void *arg, const struct log_item *item)
{
	struct log_queue *q = arg;
	struct message *m = item->msg;
	bool start = false;
	mutex_lock(q->lock);
	struct cursor *c = q->member.cursor;
	if (cursor_wants(c, m->seq) && !lq_copy_counts_locked(q, item)) {
		cursor_finished(c, m->seq);
	} else if (cursor_wants(c, m->seq)) {
		uint16_t attempts = cursor_attempts(c, m->seq);
		if (attempts > m->attempts)
			m->attempts = attempts;
		lq_wait_locked(q, m, lq_due_of_locked(q, m));
		start = lq_wake_locked(q);
	}
	mutex_unlock(q->lock);
	if (start)
		(void)lq_start(q);
	lq_touch(q);
}

const struct topic_log_member_ops lq_member_ops = {.settled = settled,
	.list = list,
	.moved = moved,
	.lost = lost,
	.met = met,
	.alone = lq_alone};
