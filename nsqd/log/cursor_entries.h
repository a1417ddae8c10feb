/* SPDX-License-Identifier: MIT */
/*
 * Messages of which a cursor knows more than that they are there. Some wait until they are due: a heap,
 * whose entry 0 is the first one due. Others have attempts, and are found by their number. An entry has
 * 24 bytes. They are in pieces, so that all grows without copying and without slack.
 *
 * Not thread-safe: the owner's lock guards it. Nothing here blocks.
 */
#ifndef NSQD_CURSOR_ENTRIES_H
#define NSQD_CURSOR_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor_entry {
	int64_t due;       /* wall clock, ns; 0: at once */
	uint64_t seq;      /* the message's number */
	uint32_t offset;   /* of its record in its segment */
	uint16_t attempts; /* how often it has been handed out */
};

/* Entries per piece. */
#define ENTRIES_PIECE 1024

/* All zeros is an empty table. */
struct cursor_entries {
	struct cursor_entry **pieces; /* owned; the first one may be shorter */
	size_t n_pieces;
	size_t first_cap; /* of the first piece */
	size_t len;
	uint32_t *index;  /* NULL: there is none; else by number, place + 1, 0: free; owned */
	size_t index_cap; /* a power of two */
};

static inline struct cursor_entry *entries_at(const struct cursor_entries *t, size_t i)
{
	return &t->pieces[i / ENTRIES_PIECE][i % ENTRIES_PIECE];
}

/* --- in any order, found by number ------------------------------------------------------------- */

/* The entry of that number, with an index; NULL: there is none. Valid until the next change. */
struct cursor_entry *entries_find(const struct cursor_entries *t, uint64_t seq);
/* Sets the entry of e's number: changes it, or adds it at the end. Makes an index if need be. */
void entries_put(struct cursor_entries *t, const struct cursor_entry *e);
/* False: there is none. Moves the last entry to its place. */
bool entries_remove(struct cursor_entries *t, uint64_t seq);
/*
 * Removes all entries with numbers from from to to - 1, and moves others to the front. False: there
 * are none.
 */
bool entries_remove_range(struct cursor_entries *t, uint64_t from, uint64_t to);

/* --- as a heap, without an index --------------------------------------------------------------- */

/* Makes a heap of it, and drops the index. */
void entries_heapify(struct cursor_entries *t);
/*
 * Adds an entry. It moves others towards the end. Where one of them crosses `watch` (it was at a
 * lower place, and is there or behind now), *crossed is it. Returns whether there is one.
 */
bool entries_push(struct cursor_entries *t, const struct cursor_entry *e, size_t watch,
	struct cursor_entry *crossed);
/* Takes the first one out; there must be one. Moves others to the front, and the last anywhere. */
void entries_pop(struct cursor_entries *t, struct cursor_entry *out);
/* Likewise the one at i. Others move in both directions. */
void entries_take(struct cursor_entries *t, size_t i, struct cursor_entry *out);
/* The entry at i has become due later, or its number larger. All behind i are in order. */
void entries_sink(struct cursor_entries *t, size_t i);

/* --- both ---------------------------------------------------------------------------------------- */

/* Bytes allocated. */
size_t entries_memory(const struct cursor_entries *t);
/* Empties it. */
void entries_free(struct cursor_entries *t);

#endif
