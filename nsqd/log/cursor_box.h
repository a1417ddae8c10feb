/* SPDX-License-Identifier: MIT */
/*
 * A box: the part of a set of message numbers (cursor_set.c) for 65,536 numbers in a row, which begin
 * with a multiple of that. In a box a number is its place, from 0 on. Numbers are only ever added.
 *
 * A box is one of three. It is a sorted list of the places that are there; or one bit for each place; or
 * a list of those that are missing. (Roaring bitmaps do so.) A list of the first kind has a start: all places
 * before it are there, and not in the list. So what comes in order costs nothing.
 *
 * Not thread-safe: the owner's lock guards it. Nothing here blocks. memory counts the bytes that are
 * allocated.
 */
#ifndef NSQD_CURSOR_BOX_H
#define NSQD_CURSOR_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQ_BOX_SHIFT 16
#define SEQ_BOX_SIZE (1u << SEQ_BOX_SHIFT)

enum seq_box_kind { SEQ_BOX_FEW, SEQ_BOX_BITS, SEQ_BOX_MOST };

struct seq_box {
	uint32_t n;     /* numbers in it */
	uint32_t start; /* few: so many of these come first, and are not in the list; else 0 */
	uint16_t kind;  /* enum seq_box_kind */
	uint16_t cap;   /* of the list */
	union {
		uint16_t list[0]; /* few: of the places that are in it; most: that are not */
		uint64_t bits[0];
	};
};

/* An empty box: the caller's. */
struct seq_box *seq_box_new(size_t *memory);
/* With what is in it. */
void seq_box_free(size_t *memory, struct seq_box *b);
/*
 * Adds places first to last. Puts another box in the place of *slot where that suits what is in it
 * now. Returns how many are new.
 */
unsigned seq_box_add(size_t *memory, struct seq_box **slot, unsigned first, unsigned last);
/*
 * Adds one place, if the box stays what it is. 1: it is new. 0: it was there. -1: nothing has changed,
 * and seq_box_add is to be called.
 */
int seq_box_add_one(struct seq_box *b, unsigned x);
/* Is place x in it? */
bool seq_box_has(const struct seq_box *b, unsigned x);
/* The first place from x on that is in it (present), or is not; SEQ_BOX_SIZE: there is none. */
unsigned seq_box_next(const struct seq_box *b, unsigned x, bool present);
/* How many places before x are in it. */
unsigned seq_box_count_below(const struct seq_box *b, unsigned x);

/*
 * The usual case: places first to end - 1 come in order, and the box has nothing else. False: it is not
 * that case, or the box would be full, and nothing has changed.
 */
static inline bool seq_box_go_on(struct seq_box *b, unsigned first, unsigned end)
{
	if (b->kind != SEQ_BOX_FEW || b->n != b->start || first != b->start || end == SEQ_BOX_SIZE)
		return false;
	b->n = b->start = end;
	return true;
}

#endif
