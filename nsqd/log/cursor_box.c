/* SPDX-License-Identifier: MIT */
/*
 * 65,536 message numbers, of which some are in a set. No Go file: stock has no log. Any thread, under
 * the lock of the set's owner.
 */
#include "nsqd/log/cursor_box.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

#define WORDS (SEQ_BOX_SIZE / 64)
/*
 * Longer lists become bits; where fewer are missing, bits become a list. What is missing may stay so
 * for long, and bits for it are 8 bytes each then, at most.
 */
#define FEW_MAX 256
#define MOST_MAX 1024
#define FIRST_CAP 4

static uint64_t bit(unsigned i)
{
	return UINT64_C(1) << i;
}

static unsigned count_bits(uint64_t v)
{
	return (unsigned)__builtin_popcountll(v);
}

static size_t box_bytes(enum seq_box_kind kind, unsigned cap)
{
	return sizeof(struct seq_box) +
	       (kind == SEQ_BOX_BITS ? WORDS * sizeof(uint64_t) : cap * sizeof(uint16_t));
}

static struct seq_box *new_of_kind(size_t *memory, enum seq_box_kind kind, unsigned cap)
{
	struct seq_box *b = xcalloc(1, box_bytes(kind, cap));
	b->kind = kind;
	b->cap = kind == SEQ_BOX_BITS ? 0 : (uint16_t)cap;
	*memory += box_bytes(kind, cap);
	return b;
}

struct seq_box *seq_box_new(size_t *memory)
{
	return new_of_kind(memory, SEQ_BOX_FEW, FIRST_CAP);
}

void seq_box_free(size_t *memory, struct seq_box *b)
{
	*memory -= box_bytes(b->kind, b->cap);
	free(b);
}

/* Another one in its place. */
static struct seq_box *box_replace(size_t *memory, struct seq_box **slot, struct seq_box *by)
{
	by->n = (*slot)->n;
	seq_box_free(memory, *slot);
	return *slot = by;
}

static unsigned list_len(const struct seq_box *b)
{
	return b->kind == SEQ_BOX_FEW ? b->n - b->start : SEQ_BOX_SIZE - b->n;
}

/* The first entry that is x or more. */
static unsigned list_find(const struct seq_box *b, unsigned x)
{
	unsigned lo = 0, hi = list_len(b);
	/* In order is the usual case. */
	if (hi > 0 && b->list[hi - 1] < x)
		return hi;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (b->list[mid] < x)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The list with another capacity, which is enough. */
static void list_resize(size_t *memory, struct seq_box **slot, unsigned cap)
{
	struct seq_box *b = new_of_kind(memory, (*slot)->kind, cap);
	b->start = (*slot)->start;
	memcpy(b->list, (*slot)->list, list_len(*slot) * sizeof(*b->list));
	box_replace(memory, slot, b);
}

static void box_to_most(size_t *memory, struct seq_box **slot)
{
	unsigned n = 0;
	struct seq_box *b = new_of_kind(memory, SEQ_BOX_MOST, SEQ_BOX_SIZE - (*slot)->n);
	for (unsigned w = 0; w < WORDS; w++)
		for (uint64_t open = ~(*slot)->bits[w]; open; open &= open - 1)
			b->list[n++] = (uint16_t)(w * 64 + (unsigned)__builtin_ctzll(open));
	box_replace(memory, slot, b);
}

/* The bits of word w that are places from first to last. */
static uint64_t word_mask(unsigned w, unsigned first, unsigned last)
{
	uint64_t mask = UINT64_MAX;
	if (w == first / 64)
		mask &= UINT64_MAX << first % 64;
	if (w == last / 64)
		mask &= UINT64_MAX >> (63 - last % 64);
	return mask;
}

static unsigned bits_add(struct seq_box *b, unsigned first, unsigned last)
{
	unsigned added = 0;
	for (unsigned w = first / 64; w <= last / 64; w++) {
		uint64_t mask = word_mask(w, first, last);
		added += count_bits(mask & ~b->bits[w]);
		b->bits[w] |= mask;
	}
	b->n += added;
	return added;
}

static void box_to_bits(size_t *memory, struct seq_box **slot)
{
	struct seq_box *b = new_of_kind(memory, SEQ_BOX_BITS, 0);
	unsigned len = list_len(*slot);
	if ((*slot)->start > 0)
		bits_add(b, 0, (*slot)->start - 1);
	for (unsigned i = 0; i < len; i++)
		b->bits[(*slot)->list[i] / 64] |= bit((*slot)->list[i] % 64);
	box_replace(memory, slot, b);
}

/* Drops the first k of the list. */
static void list_shift(struct seq_box *b, unsigned k, unsigned len)
{
	memmove(b->list, b->list + k, (len - k) * sizeof(*b->list));
}

/* Places from the start on. */
static unsigned few_add_start(struct seq_box *b, unsigned last)
{
	unsigned had = b->n, len = list_len(b), i = 0;
	b->start = last + 1;
	while (i < len && b->list[i] <= b->start)
		b->start += b->list[i++] == b->start;
	list_shift(b, i, len);
	b->n = b->start + len - i;
	return b->n - had;
}

/* There is room. */
static unsigned few_add(struct seq_box *b, unsigned first, unsigned last)
{
	if (last < b->start)
		return 0;
	if (first <= b->start)
		return few_add_start(b, last);
	unsigned n = last - first + 1, len = list_len(b), i = list_find(b, first), j = i;
	while (j < len && b->list[j] <= last)
		j++;
	memmove(b->list + i + n, b->list + j, (len - j) * sizeof(*b->list));
	for (unsigned k = 0; k < n; k++)
		b->list[i + k] = (uint16_t)(first + k);
	b->n += n - (j - i);
	return n - (j - i);
}

/* The list has much more room than it needs. */
static bool is_slack(const struct seq_box *b)
{
	return b->cap > 8 * FIRST_CAP && list_len(b) * 4 < b->cap;
}

static unsigned most_add(struct seq_box *b, unsigned first, unsigned last)
{
	unsigned len = list_len(b), i = list_find(b, first), j = i;
	while (j < len && b->list[j] <= last)
		j++;
	memmove(b->list + i, b->list + j, (len - j) * sizeof(*b->list));
	b->n += j - i;
	return j - i;
}

/* Less would be in a list of those that are missing. */
static bool is_worse(const struct seq_box *b)
{
	return b->n < SEQ_BOX_SIZE && SEQ_BOX_SIZE - b->n < list_len(b);
}

/* Adds places first to last, and makes the box what suits it. Returns how many are new. */
unsigned seq_box_add(size_t *memory, struct seq_box **slot, unsigned first, unsigned last)
{
	unsigned added, n = last - first + 1;
	unsigned len = list_len(*slot) + (first > (*slot)->start ? n : 0);
	if ((*slot)->kind == SEQ_BOX_FEW && len > FEW_MAX)
		box_to_bits(memory, slot);
	if ((*slot)->kind == SEQ_BOX_FEW) {
		unsigned cap = (*slot)->cap;
		while (cap < len)
			cap += cap / 2 + FIRST_CAP;
		if (cap > (*slot)->cap)
			list_resize(memory, slot, cap < FEW_MAX ? cap : FEW_MAX);
		added = few_add(*slot, first, last);
		if (is_worse(*slot)) {
			box_to_bits(memory, slot);
			box_to_most(memory, slot);
		} else if (is_slack(*slot)) {
			list_resize(memory, slot, list_len(*slot) + FIRST_CAP);
		}
		return added;
	}
	if ((*slot)->kind == SEQ_BOX_BITS) {
		added = bits_add(*slot, first, last);
		if ((*slot)->n < SEQ_BOX_SIZE && SEQ_BOX_SIZE - (*slot)->n <= MOST_MAX)
			box_to_most(memory, slot);
		return added;
	}
	added = most_add(*slot, first, last);
	n = list_len(*slot);
	if (n > 0 && n * 2 <= (*slot)->cap && (*slot)->cap > FIRST_CAP)
		list_resize(memory, slot, n);
	return added;
}

/*
 * One place, where the box stays what it is. 1: it is new; 0: it was there; -1: not so, nothing has
 * changed.
 */
int seq_box_add_one(struct seq_box *b, unsigned x)
{
	unsigned i, len;
	switch (b->kind) {
	case SEQ_BOX_BITS:
		if (b->bits[x / 64] & bit(x % 64))
			return 0;
		if (SEQ_BOX_SIZE - b->n - 1 <= MOST_MAX)
			return -1;
		b->bits[x / 64] |= bit(x % 64);
		b->n++;
		return 1;
	case SEQ_BOX_FEW:
		if (x < b->start)
			return 0;
		if (x == b->start) {
			if (b->n + 1 == SEQ_BOX_SIZE || is_slack(b) || is_worse(b))
				return -1;
			few_add_start(b, x);
			return 1;
		}
		i = list_find(b, x);
		len = list_len(b);
		if (i < len && b->list[i] == x)
			return 0;
		if (len == b->cap || b->n + 1 == SEQ_BOX_SIZE || is_worse(b))
			return -1;
		memmove(b->list + i + 1, b->list + i, (len - i) * sizeof(*b->list));
		b->list[i] = (uint16_t)x;
		b->n++;
		return 1;
	default:
		len = list_len(b);
		i = list_find(b, x);
		if (i == len || b->list[i] != x)
			return 0;
		if (len == 1 || (len - 1) * 2 <= b->cap)
			return -1;
		memmove(b->list + i, b->list + i + 1, (len - i - 1) * sizeof(*b->list));
		b->n++;
		return 1;
	}
}

bool seq_box_has(const struct seq_box *b, unsigned x)
{
	if (b->kind == SEQ_BOX_BITS)
		return b->bits[x / 64] & bit(x % 64);
	if (x < b->start)
		return true;
	unsigned i = list_find(b, x);
	return (i < list_len(b) && b->list[i] == x) == (b->kind == SEQ_BOX_FEW);
}

/* The first place from x on that is in it (present), or is not; SEQ_BOX_SIZE: there is none. */
unsigned seq_box_next(const struct seq_box *b, unsigned x, bool present)
{
	if (b->kind == SEQ_BOX_BITS) {
		uint64_t flip = present ? 0 : UINT64_MAX;
		for (unsigned w = x / 64; w < WORDS; w++) {
			uint64_t v = b->bits[w] ^ flip;
			if (w == x / 64)
				v &= UINT64_MAX << x % 64;
			if (v)
				return w * 64 + (unsigned)__builtin_ctzll(v);
		}
		return SEQ_BOX_SIZE;
	}
	if (x < b->start) {
		if (present)
			return x;
		x = b->start;
	}
	unsigned i = list_find(b, x), len = list_len(b);
	if (present == (b->kind == SEQ_BOX_FEW))
		return i < len ? b->list[i] : SEQ_BOX_SIZE;
	for (; i < len && b->list[i] == x; i++)
		x++;
	return x;
}

unsigned seq_box_count_below(const struct seq_box *b, unsigned x)
{
	unsigned n = 0;
	if (b->kind == SEQ_BOX_FEW)
		return x <= b->start ? x : b->start + list_find(b, x);
	if (b->kind == SEQ_BOX_MOST)
		return x - list_find(b, x);
	for (unsigned w = 0; w < x / 64; w++)
		n += count_bits(b->bits[w]);
	return n + (x % 64 ? count_bits(b->bits[x / 64] & (bit(x % 64) - 1)) : 0);
}
