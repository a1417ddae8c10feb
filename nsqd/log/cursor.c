/* SPDX-License-Identifier: MIT */
/*
 * The cursor of a channel: what happens to messages, and what is asked about them. No Go file: stock
 * has no log. Any thread, under the lock of the cursor's owner. Nothing here blocks.
 *
 * Lessons in docs/course/: 23-log.
 */
#include "nsqd/log/cursor.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/xalloc.h"
#include "nsqd/log/cursor_internal.h"

/* --- what is to be written ---------------------------------------------------------------------- */

/* There is a file, and the next snapshot would not say it anyway. */
static bool gathers(const struct cursor *c)
{
	return c->file.name && !c->overflow;
}

static void gathered(struct cursor *c)
{
	if (events_size(&c->pending) <= c->pending_max)
		return;
	events_free(&c->pending);
	c->overflow = true;
}

static void tell_range(struct cursor *c, enum cursor_op op, uint64_t seq, uint64_t n)
{
	if (!gathers(c))
		return;
	events_add_range(&c->pending, op, seq, n);
	gathered(c);
}

static void tell(struct cursor *c, enum cursor_op op, const struct cursor_entry *e)
{
	if (!gathers(c))
		return;
	events_add(&c->pending, op, e);
	gathered(c);
}

/* --- what happens ------------------------------------------------------------------------------- */

/* Its attempts are 1 from now on, or it is finished. */
static void forget_tried(struct cursor *c, uint64_t from, uint64_t to)
{
	if (c->tried.len == 0)
		return;
	if (to - from <= c->tried.len) {
		for (uint64_t seq = from; seq < to; seq++)
			entries_remove(&c->tried, seq);
	} else {
		entries_remove_range(&c->tried, from, to);
	}
}

static void see(struct cursor *c, uint64_t seq, uint64_t n)
{
	seq_set_add_range(&c->held, seq, seq + n);
	seq_set_add_range(&c->seen, seq, seq + n);
}

void cursor_taken(struct cursor *c, uint64_t seq, uint64_t n, uint16_t attempts)
{
	CHECK(n <= SEQ_END && seq <= SEQ_END - n);
	see(c, seq, n);
	if (attempts == 1) {
		forget_tried(c, seq, seq + n);
		tell_range(c, CURSOR_TAKEN, seq, n);
		return;
	}
	for (uint64_t i = seq; i < seq + n; i++) {
		struct cursor_entry e = {.seq = i, .attempts = attempts};
		if (seq_set_has(&c->finished, i))
			continue;
		entries_put(&c->tried, &e);
		tell(c, CURSOR_TRIED, &e);
	}
}

bool cursor_finished(struct cursor *c, uint64_t seq)
{
	CHECK(seq < SEQ_END);
	if (!seq_set_add(&c->finished, seq))
		return false;
	/* (It may be another channel's, and so was not seen.) */
	if (seq_set_add(&c->held, seq))
		seq_set_add(&c->seen, seq);
	forget_tried(c, seq, seq + 1);
	tell_range(c, CURSOR_FINISHED, seq, 1);
	return true;
}

/* What waits is held. Before it is said that these are, too. */
static void forget_waiting(struct cursor *c, uint64_t from, uint64_t to)
{
	if (c->waiting.len == 0 || seq_set_next_present(&c->held, from) >= to ||
		!entries_remove_range(&c->waiting, from, to))
		return;
	entries_heapify(&c->waiting);
	/* They have moved: what of them is in a snapshot is not known any more. */
	if (c->phase == CURSOR_SNAPSHOT_WAITING)
		c->left = c->waiting.len;
}

uint64_t cursor_finished_range(struct cursor *c, uint64_t from, uint64_t to)
{
	CHECK(to <= SEQ_END);
	uint64_t n = from < to ? seq_set_add_range(&c->finished, from, to) : 0;
	if (n == 0)
		return 0;
	forget_tried(c, from, to);
	forget_waiting(c, from, to);
	see(c, from, to - from);
	tell_range(c, CURSOR_FINISHED, from, to - from);
	return n;
}

/* The snapshot goes through the heap from its end: what moves there would be left out. */
static void push_waiting(struct cursor *c, const struct cursor_entry *e)
{
	struct cursor_entry crossed;
	size_t watch = c->phase == CURSOR_SNAPSHOT_WAITING ? c->left : 0;
	if (entries_push(&c->waiting, e, watch, &crossed))
		tell(c, CURSOR_WAITING, &crossed);
	tell(c, CURSOR_WAITING, e);
}

bool cursor_wait(struct cursor *c, const struct cursor_entry *e)
{
	CHECK(e->seq < SEQ_END);
	if (seq_set_has(&c->finished, e->seq))
		return false;
	see(c, e->seq, 1);
	forget_tried(c, e->seq, e->seq + 1);
	push_waiting(c, e);
	return true;
}

size_t cursor_pop_due(struct cursor *c, int64_t now, struct cursor_entry *out, size_t max)
{
	size_t n = 0;
	while (n < max && cursor_next_due(c) <= now && c->waiting.len > 0) {
		entries_pop(&c->waiting, &out[n]);
		if (seq_set_has(&c->finished, out[n].seq))
			continue;
		/*
		 * Nothing is told: to the file it goes on waiting, and after a crash it is due at
		 * once. A snapshot has it among those that wait, or among these here.
		 */
		if (out[n].attempts != 1)
			entries_put(&c->tried, &out[n]);
		n++;
	}
	return n;
}

int cursor_take_waiting(
	struct cursor *c, size_t *at, size_t steps, uint64_t seq, struct cursor_entry *out)
{
	/* What waits is held. */
	int found = cursor_wants(c, seq) ? -1 : cursor_find_waiting(c, at, steps, seq, out);
	if (found <= 0)
		return found;
	entries_take(&c->waiting, *at, out);
	/* Others have moved towards the end: what of them is in a snapshot is not known any more. */
	if (c->phase == CURSOR_SNAPSHOT_WAITING)
		c->left = c->waiting.len;
	/* Nothing is told, as above. */
	if (out->attempts != 1)
		entries_put(&c->tried, out);
	return 1;
}

static int64_t shifted(int64_t due, int64_t by)
{
	int64_t sum;
	/* At once is at once, and never is never. */
	if (due == 0 || due == INT64_MAX)
		return due;
	if (__builtin_add_overflow(due, by, &sum))
		return by > 0 ? INT64_MAX : 1;
	return sum > 0 ? sum : 1;
}

void cursor_clock_set(struct cursor *c, int64_t by_ns)
{
	bool any = false;
	for (size_t i = 0; i < c->waiting.len; i++) {
		struct cursor_entry *e = entries_at(&c->waiting, i);
		int64_t due = shifted(e->due, by_ns);
		any |= due != e->due;
		e->due = due;
	}
	if (!any)
		return;
	/* Some may be due at the same time now. */
	entries_heapify(&c->waiting);
	/* The file has other times than these, and so has what is pending. */
	if (c->file.name) {
		events_free(&c->pending);
		c->overflow = true;
	}
}

/* --- moves -------------------------------------------------------------------------------------- */

static struct cursor_move *find_move(struct cursor_move *moves, size_t n, uint64_t seq)
{
	size_t lo = 0, hi = n;
	/* They are of one segment. */
	if (seq < moves[0].from || seq > moves[n - 1].from)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (moves[mid].from < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && moves[lo].from == seq ? &moves[lo] : NULL;
}

/* From the end, so that what is behind an entry that sinks is in order. */
static void move_waiting(struct cursor *c, struct cursor_move *moves, size_t n)
{
	for (size_t i = c->waiting.len; i-- > 0;) {
		struct cursor_entry *e = entries_at(&c->waiting, i);
		struct cursor_move *m = find_move(moves, n, e->seq);
		if (!m || seq_set_has(&c->finished, m->from))
			continue;
		m->waited = true;
		e->seq = m->to;
		e->offset = m->offset;
		see(c, m->to, 1);
		tell(c, CURSOR_WAITING, e);
		entries_sink(&c->waiting, i);
		cursor_finished(c, m->from);
	}
}

void cursor_moved(struct cursor *c, struct cursor_move *moves, size_t n)
{
	for (size_t i = 0; i < n; i++)
		moves[i].waited = false;
	if (n > 0 && c->waiting.len > 0)
		move_waiting(c, moves, n);
	for (size_t i = 0; i < n; i++) {
		const struct cursor_move *m = &moves[i];
		CHECK(m->from < SEQ_END && m->to < SEQ_END);
		if (m->waited)
			continue;
		if (seq_set_has(&c->finished, m->from)) {
			cursor_finished(c, m->to);
			continue;
		}
		struct cursor_entry e = {.seq = m->to, .attempts = cursor_attempts(c, m->from)};
		see(c, m->to, 1);
		if (e.attempts != 1)
			entries_put(&c->tried, &e);
		tell(c, CURSOR_TRIED, &e);
		cursor_finished(c, m->from);
	}
}

void cursor_finished_held(struct cursor *c, uint64_t from)
{
	uint64_t seq, to;
	for (seq = seq_set_next_present(&c->held, from); seq < SEQ_END;
		seq = seq_set_next_present(&c->held, to)) {
		to = seq_set_next_absent(&c->held, seq);
		cursor_finished_range(c, seq, to);
	}
}

/* --- what is ------------------------------------------------------------------------------------ */

uint64_t cursor_floor(struct cursor *c)
{
	return c->floor = seq_set_next_absent(&c->finished, c->floor);
}

bool cursor_is_finished(const struct cursor *c, uint64_t seq)
{
	return seq_set_has(&c->finished, seq);
}

bool cursor_wants(const struct cursor *c, uint64_t seq)
{
	return !seq_set_has(&c->held, seq);
}

uint64_t cursor_next_wanted(const struct cursor *c, uint64_t from)
{
	return seq_set_next_absent(&c->held, from);
}

uint64_t cursor_next_unseen(const struct cursor *c, uint64_t from)
{
	return seq_set_next_absent(&c->seen, from);
}

uint64_t cursor_next_seen(const struct cursor *c, uint64_t from)
{
	return seq_set_next_present(&c->seen, from);
}

uint16_t cursor_attempts(const struct cursor *c, uint64_t seq)
{
	const struct cursor_entry *e = entries_find(&c->tried, seq);
	return e ? e->attempts : seq_set_has(&c->seen, seq);
}

size_t cursor_waiting(const struct cursor *c)
{
	return c->waiting.len;
}

int64_t cursor_next_due(const struct cursor *c)
{
	return c->waiting.len > 0 ? entries_at(&c->waiting, 0)->due : INT64_MAX;
}

uint64_t cursor_unfinished(const struct cursor *c, uint64_t end)
{
	return end - seq_set_count_below(&c->finished, end);
}

size_t cursor_list_unfinished(
	const struct cursor *c, uint64_t *from, uint64_t to, uint64_t *out, size_t max)
{
	size_t n = 0;
	uint64_t seq = *from;
	while (n < max && (seq = seq_set_next_absent(&c->finished, seq)) < to)
		out[n++] = seq++;
	*from = seq < to ? seq : to;
	return n;
}

size_t cursor_list_waiting(const struct cursor *c, size_t *at, uint64_t from, uint64_t to,
	struct cursor_entry *out, size_t max)
{
	size_t n = 0;
	for (; n < max && *at < c->waiting.len; ++*at) {
		const struct cursor_entry *e = entries_at(&c->waiting, *at);
		if (e->seq >= from && e->seq < to && !seq_set_has(&c->finished, e->seq))
			out[n++] = *e;
	}
	return n;
}

int cursor_find_waiting(
	const struct cursor *c, size_t *at, size_t steps, uint64_t seq, struct cursor_entry *out)
{
	if (seq_set_has(&c->finished, seq))
		return -1;
	for (; steps > 0 && *at < c->waiting.len; steps--, ++*at) {
		const struct cursor_entry *e = entries_at(&c->waiting, *at);
		if (e->seq != seq)
			continue;
		*out = *e;
		return 1;
	}
	return *at < c->waiting.len ? 0 : -1;
}

size_t cursor_memory(const struct cursor *c)
{
	return sizeof(*c) + seq_set_memory(&c->finished) + seq_set_memory(&c->held) +
	       seq_set_memory(&c->seen) + entries_memory(&c->waiting) + entries_memory(&c->tried) +
	       c->pending.bytes.cap;
}

size_t cursor_pending(const struct cursor *c)
{
	return events_size(&c->pending);
}
