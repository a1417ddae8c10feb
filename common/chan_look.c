/* SPDX-License-Identifier: MIT */
/*
 * Looking into the buffer of a chan, and taking a value out of its middle. Go has no such thing: it
 * is for operators, who want to see what waits without receiving it. Any thread.
 *
 * The lock is held over as many values as the caller says. A value is often a pointer, and what it
 * points to may have to come from memory: some 100 ns each.
 */
#include <string.h>

#include "common/chan.h"
#include "common/chan_internal.h"
#include "common/check.h"

/* Where the i-th oldest value is, i < count. */
static char *slot_locked(struct chan *c, size_t i)
{
	chan_assert_locked(c);
	size_t at = c->head + i;
	return c->ring + (at >= c->cap ? at - c->cap : at) * c->elem_size;
}

size_t chan_look(struct chan *c, size_t skip, size_t max, void (*see)(void *arg, const void *value),
	void *arg)
{
	chan_assert_valid(c, "look");
	chan_lock(c);
	size_t behind = c->count > skip ? c->count - skip : 0;
	size_t n = behind < max ? behind : max;
	for (size_t i = 0; i < n; i++)
		see(arg, slot_locked(c, skip + i));
	chan_unlock(c);
	return n;
}

/* n values that begin in slot `from` move one slot on. The end of the ring may lie among them. */
static void move_on_locked(struct chan *c, size_t from, size_t n)
{
	char *ring = c->ring;
	size_t e = c->elem_size, upper = c->cap - from;
	chan_assert_locked(c);
	if (n >= upper) {
		memmove(ring + e, ring, (n - upper) * e);
		memcpy(ring, ring + (c->cap - 1) * e, e);
		n = upper - 1;
	}
	memmove(ring + (from + 1) * e, ring + from * e, n * e);
}

/* n > 0 values that begin in slot `from` move one slot back. Likewise. */
static void move_back_locked(struct chan *c, size_t from, size_t n)
{
	char *ring = c->ring;
	size_t e = c->elem_size, upper = c->cap - from < n ? c->cap - from : n;
	chan_assert_locked(c);
	if (from > 0) {
		memmove(ring + (from - 1) * e, ring + from * e, upper * e);
		n -= upper;
	}
	if (n > 0) {
		memcpy(ring + (c->cap - 1) * e, ring, e);
		memmove(ring, ring + e, (n - 1) * e);
	}
}

/* Removes the i-th oldest value. The values on its shorter side move up. */
static void close_gap_locked(struct chan *c, size_t i)
{
	size_t newer = c->count - 1 - i, next = c->head + i + 1;
	if (i < newer) {
		move_on_locked(c, c->head, i);
		c->head = c->head + 1 == c->cap ? 0 : c->head + 1;
	} else if (newer > 0) {
		move_back_locked(c, next >= c->cap ? next - c->cap : next, newer);
	}
	if (--c->count == 0)
		c->head = 0;
}

enum chan_found chan_take_out(struct chan *c, size_t *passed, size_t max,
	bool (*wanted)(void *arg, const void *value), void *arg, void *v)
{
	struct wake_list wakes = {NULL, NULL, 0};
	enum chan_found found = CHAN_ON;
	chan_assert_valid(c, "take out");
	CHECK(max > 0);
	chan_lock(c);
	for (size_t k = 0; k < max && found == CHAN_ON; k++, ++*passed) {
		if (*passed >= c->count) {
			found = CHAN_NONE;
			break;
		}
		size_t i = c->count - 1 - *passed;
		if (!wanted(arg, slot_locked(c, i)))
			continue;
		memcpy(v, slot_locked(c, i), c->elem_size);
		close_gap_locked(c, i);
		chan_refill_locked(c, &wakes);
		found = CHAN_FOUND;
	}
	chan_unlock(c);
	wake_list_wake(&wakes);
	return found;
}
