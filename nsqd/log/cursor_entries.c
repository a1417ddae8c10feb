/* SPDX-License-Identifier: MIT */
/*
 * The entries of a cursor: an array in pieces, which is a heap, or has an index by number. No Go
 * file: stock has no log. Any thread, under the lock of the cursor's owner.
 */
#include "nsqd/log/cursor_entries.h"

#include <stdlib.h>

#include "common/xalloc.h"

/* The first piece begins so small: most channels have few entries. */
#define FIRST 8

/* --- the array --------------------------------------------------------------------------------- */

/* Room for one more at the end. */
static void reserve(struct cursor_entries *t)
{
	if (t->len < t->first_cap)
		return;
	if (t->first_cap < ENTRIES_PIECE) {
		if (t->n_pieces == 0)
			t->pieces = xcalloc(t->n_pieces = 1, sizeof(*t->pieces));
		t->first_cap = t->first_cap > 0 ? t->first_cap * 2 : FIRST;
		t->pieces[0] = xreallocarray(t->pieces[0], t->first_cap, sizeof(**t->pieces));
		return;
	}
	if (t->len < t->n_pieces * ENTRIES_PIECE)
		return;
	t->pieces = xreallocarray(t->pieces, t->n_pieces + 1, sizeof(*t->pieces));
	t->pieces[t->n_pieces++] = xreallocarray(NULL, ENTRIES_PIECE, sizeof(**t->pieces));
}

/* Gives pieces back; half of one stays, so that one entry that comes and goes costs nothing. */
static void trim(struct cursor_entries *t)
{
	if (t->len == 0 && t->first_cap > 8 * FIRST) {
		entries_free(t);
		return;
	}
	while (t->n_pieces > 1 && t->len + ENTRIES_PIECE / 2 <= (t->n_pieces - 1) * ENTRIES_PIECE)
		free(t->pieces[--t->n_pieces]);
}

static void drop_index(struct cursor_entries *t)
{
	free(t->index);
	t->index = NULL;
	t->index_cap = 0;
}

size_t entries_memory(const struct cursor_entries *t)
{
	size_t n = t->n_pieces;
	size_t entries = n > 0 ? t->first_cap + (n - 1) * ENTRIES_PIECE : 0;
	return n * sizeof(*t->pieces) + entries * sizeof(**t->pieces) +
	       t->index_cap * sizeof(*t->index);
}

void entries_free(struct cursor_entries *t)
{
	for (size_t i = 0; i < t->n_pieces; i++)
		free(t->pieces[i]);
	free(t->pieces);
	free(t->index);
	*t = (struct cursor_entries){0};
}

/* --- the index --------------------------------------------------------------------------------- */

static size_t home(const struct cursor_entries *t, uint64_t seq)
{
	return (size_t)((seq * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (t->index_cap - 1);
}

/* The slot that has seq, or the free one where it would be. */
static size_t slot_of(const struct cursor_entries *t, uint64_t seq)
{
	size_t i = home(t, seq);
	while (t->index[i] != 0 && entries_at(t, t->index[i] - 1)->seq != seq)
		i = (i + 1) & (t->index_cap - 1);
	return i;
}

static void make_index(struct cursor_entries *t, size_t cap)
{
	free(t->index);
	t->index = xcalloc(cap, sizeof(*t->index));
	t->index_cap = cap;
	for (size_t i = 0; i < t->len; i++)
		t->index[slot_of(t, entries_at(t, i)->seq)] = (uint32_t)i + 1;
}

/* Frees a slot, and moves those behind it that would not be found any more. */
static void free_slot(struct cursor_entries *t, size_t hole)
{
	size_t mask = t->index_cap - 1;
	for (size_t i = (hole + 1) & mask; t->index[i] != 0; i = (i + 1) & mask) {
		size_t at = home(t, entries_at(t, t->index[i] - 1)->seq);
		if (((i - at) & mask) >= ((i - hole) & mask)) {
			t->index[hole] = t->index[i];
			hole = i;
		}
	}
	t->index[hole] = 0;
}

struct cursor_entry *entries_find(const struct cursor_entries *t, uint64_t seq)
{
	if (t->len == 0)
		return NULL;
	uint32_t place = t->index[slot_of(t, seq)];
	return place > 0 ? entries_at(t, place - 1) : NULL;
}

void entries_put(struct cursor_entries *t, const struct cursor_entry *e)
{
	/* At most two thirds are used. */
	if ((t->len + 1) * 3 > t->index_cap * 2)
		make_index(t, t->index_cap > 0 ? t->index_cap * 2 : 2 * FIRST);
	size_t slot = slot_of(t, e->seq);
	if (t->index[slot] == 0) {
		reserve(t);
		t->index[slot] = (uint32_t)++t->len;
	}
	*entries_at(t, t->index[slot] - 1) = *e;
}

bool entries_remove(struct cursor_entries *t, uint64_t seq)
{
	if (t->len == 0)
		return false;
	size_t slot = slot_of(t, seq);
	if (t->index[slot] == 0)
		return false;
	struct cursor_entry *last = entries_at(t, t->len - 1);
	if (last->seq != seq) {
		t->index[slot_of(t, last->seq)] = t->index[slot];
		/* The slot to be freed is found by its entry once more: free_slot reads keys. */
		*entries_at(t, t->index[slot] - 1) = *last;
	}
	free_slot(t, slot);
	t->len--;
	trim(t);
	if (t->len == 0)
		drop_index(t);
	else if (t->index_cap > 64 && t->len * 8 < t->index_cap)
		make_index(t, t->index_cap / 4);
	return true;
}

bool entries_remove_range(struct cursor_entries *t, uint64_t from, uint64_t to)
{
	size_t kept = 0;
	for (size_t i = 0; i < t->len; i++) {
		struct cursor_entry *e = entries_at(t, i);
		if (e->seq >= from && e->seq < to)
			continue;
		if (kept != i)
			*entries_at(t, kept) = *e;
		kept++;
	}
	if (kept == t->len)
		return false;
	t->len = kept;
	trim(t);
	if (kept == 0)
		drop_index(t);
	else if (t->index)
		make_index(t, t->index_cap);
	return true;
}

/* --- the heap ---------------------------------------------------------------------------------- */

/* What was published first comes first, of those that are due at the same time. */
static bool before(const struct cursor_entry *a, const struct cursor_entry *b)
{
	return a->due < b->due || (a->due == b->due && a->seq < b->seq);
}

void entries_sink(struct cursor_entries *t, size_t i)
{
	struct cursor_entry e = *entries_at(t, i);
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= t->len)
			break;
		if (child + 1 < t->len && before(entries_at(t, child + 1), entries_at(t, child)))
			child++;
		if (!before(entries_at(t, child), &e))
			break;
		*entries_at(t, i) = *entries_at(t, child);
		i = child;
	}
	*entries_at(t, i) = e;
}

void entries_heapify(struct cursor_entries *t)
{
	drop_index(t);
	for (size_t i = t->len / 2; i-- > 0;)
		entries_sink(t, i);
}

/* The entry at i may belong further to the front. */
static void rise(struct cursor_entries *t, size_t i)
{
	struct cursor_entry e = *entries_at(t, i);
	for (; i > 0 && before(&e, entries_at(t, (i - 1) / 2)); i = (i - 1) / 2)
		*entries_at(t, i) = *entries_at(t, (i - 1) / 2);
	*entries_at(t, i) = e;
}

void entries_take(struct cursor_entries *t, size_t i, struct cursor_entry *out)
{
	*out = *entries_at(t, i);
	if (i < --t->len) {
		*entries_at(t, i) = *entries_at(t, t->len);
		rise(t, i);
		entries_sink(t, i);
	}
	trim(t);
}

bool entries_push(struct cursor_entries *t, const struct cursor_entry *e, size_t watch,
	struct cursor_entry *crossed)
{
	bool has_crossed = false;
	reserve(t);
	size_t i = t->len++;
	while (i > 0) {
		size_t parent = (i - 1) / 2;
		if (!before(e, entries_at(t, parent)))
			break;
		*entries_at(t, i) = *entries_at(t, parent);
		if (parent < watch && watch <= i) {
			*crossed = *entries_at(t, i);
			has_crossed = true;
		}
		i = parent;
	}
	*entries_at(t, i) = *e;
	return has_crossed;
}

void entries_pop(struct cursor_entries *t, struct cursor_entry *out)
{
	*out = *entries_at(t, 0);
	if (--t->len > 0) {
		*entries_at(t, 0) = *entries_at(t, t->len);
		entries_sink(t, 0);
	}
	trim(t);
}
