/* SPDX-License-Identifier: MIT */
/*
 * A set of message numbers. No Go file: stock has no log. Any thread, under the lock of the set's
 * owner.
 *
 * The last 16 bits of a number are its place in a box, which is one of three: a sorted list of the
 * places that are there, one bit for each place, or a list of those that are missing. (Roaring
 * bitmaps do so.) A list of the first kind has a start: all places before it are there, and not in
 * the list. So what comes in order costs nothing. Each group of 64 boxes has a node, each group of 64 nodes has one, and so on. A
 * node has two bits for each child: it is full, or it is mixed. Only a mixed child is a piece of
 * memory. So a hundred million numbers in a row are a few bits, wherever they begin.
 */
#include "nsqd/log/cursor_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

#define BOX_BITS 16
#define BOX_SIZE (1u << BOX_BITS)
#define NODE_BITS 6
#define CHILDREN (1u << NODE_BITS)
#define WORDS (BOX_SIZE / 64)
/*
 * Longer lists become bits; where fewer are missing, bits become a list. What is missing may stay so
 * for long, and bits for it are 8 bytes each then, at most.
 */
#define FEW_MAX 256
#define MOST_MAX 1024
#define FIRST 4

enum box_kind { FEW, BITS, MOST };

struct seq_box {
	uint32_t n;     /* numbers in it */
	uint32_t start; /* FEW: so many of these come first, and are not in the list; else 0 */
	uint16_t kind;  /* enum box_kind */
	uint16_t cap;   /* of the list */
	union {
		uint16_t list[0]; /* FEW: of the places that are in it; MOST: that are not */
		uint64_t bits[0];
	};
};

struct seq_node {
	uint64_t full, mixed; /* of each child */
	void *children[];     /* the mixed ones; nodes, or on level 0 boxes; owned */
};

/* The numbers of a child of a node: 1 << shift. */
static unsigned shift_of(int level)
{
	return BOX_BITS + NODE_BITS * (unsigned)level;
}

static unsigned child_of(int level, uint64_t seq)
{
	return (unsigned)(seq >> shift_of(level)) & (CHILDREN - 1);
}

/* The first number of the i-th child of the node in which seq is. */
static uint64_t first_of(int level, uint64_t seq, unsigned i)
{
	unsigned shift = shift_of(level);
	return ((seq >> shift >> NODE_BITS << NODE_BITS) + i) << shift;
}

static uint64_t bit(unsigned i)
{
	return UINT64_C(1) << i;
}

static unsigned count_bits(uint64_t v)
{
	return (unsigned)__builtin_popcountll(v);
}

/* Where a mixed child stands, or would. */
static unsigned rank(const struct seq_node *n, unsigned i)
{
	return count_bits(n->mixed & (bit(i) - 1));
}

/* --- boxes -------------------------------------------------------------------------------------- */

static size_t box_bytes(enum box_kind kind, unsigned cap)
{
	return sizeof(struct seq_box) +
	       (kind == BITS ? WORDS * sizeof(uint64_t) : cap * sizeof(uint16_t));
}

static struct seq_box *box_new(struct seq_set *s, enum box_kind kind, unsigned cap)
{
	struct seq_box *b = xcalloc(1, box_bytes(kind, cap));
	b->kind = kind;
	b->cap = kind == BITS ? 0 : (uint16_t)cap;
	s->memory += box_bytes(kind, cap);
	return b;
}

static void box_free(struct seq_set *s, struct seq_box *b)
{
	s->memory -= box_bytes(b->kind, b->cap);
	s->box = NULL;
	free(b);
}

/* Another one in its place. */
static struct seq_box *box_replace(struct seq_set *s, struct seq_box **slot, struct seq_box *by)
{
	by->n = (*slot)->n;
	box_free(s, *slot);
	return *slot = by;
}

static unsigned list_len(const struct seq_box *b)
{
	return b->kind == FEW ? b->n - b->start : BOX_SIZE - b->n;
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
static void list_resize(struct seq_set *s, struct seq_box **slot, unsigned cap)
{
	struct seq_box *b = box_new(s, (*slot)->kind, cap);
	b->start = (*slot)->start;
	memcpy(b->list, (*slot)->list, list_len(*slot) * sizeof(*b->list));
	box_replace(s, slot, b);
}

static void box_to_most(struct seq_set *s, struct seq_box **slot)
{
	unsigned n = 0;
	struct seq_box *b = box_new(s, MOST, BOX_SIZE - (*slot)->n);
	for (unsigned w = 0; w < WORDS; w++)
		for (uint64_t open = ~(*slot)->bits[w]; open; open &= open - 1)
			b->list[n++] = (uint16_t)(w * 64 + (unsigned)__builtin_ctzll(open));
	box_replace(s, slot, b);
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

static void box_to_bits(struct seq_set *s, struct seq_box **slot)
{
	struct seq_box *b = box_new(s, BITS, 0);
	unsigned len = list_len(*slot);
	if ((*slot)->start > 0)
		bits_add(b, 0, (*slot)->start - 1);
	for (unsigned i = 0; i < len; i++)
		b->bits[(*slot)->list[i] / 64] |= bit((*slot)->list[i] % 64);
	box_replace(s, slot, b);
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
	return b->cap > 8 * FIRST && list_len(b) * 4 < b->cap;
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
	return b->n < BOX_SIZE && BOX_SIZE - b->n < list_len(b);
}

/* Adds places first to last, and makes the box what suits it. Returns how many are new. */
static unsigned box_add(struct seq_set *s, struct seq_box **slot, unsigned first, unsigned last)
{
	unsigned added, n = last - first + 1;
	unsigned len = list_len(*slot) + (first > (*slot)->start ? n : 0);
	if ((*slot)->kind == FEW && len > FEW_MAX)
		box_to_bits(s, slot);
	if ((*slot)->kind == FEW) {
		unsigned cap = (*slot)->cap;
		while (cap < len)
			cap += cap / 2 + FIRST;
		if (cap > (*slot)->cap)
			list_resize(s, slot, cap < FEW_MAX ? cap : FEW_MAX);
		added = few_add(*slot, first, last);
		if (is_worse(*slot)) {
			box_to_bits(s, slot);
			box_to_most(s, slot);
		} else if (is_slack(*slot)) {
			list_resize(s, slot, list_len(*slot) + FIRST);
		}
		return added;
	}
	if ((*slot)->kind == BITS) {
		added = bits_add(*slot, first, last);
		if ((*slot)->n < BOX_SIZE && BOX_SIZE - (*slot)->n <= MOST_MAX)
			box_to_most(s, slot);
		return added;
	}
	added = most_add(*slot, first, last);
	n = list_len(*slot);
	if (n > 0 && n * 2 <= (*slot)->cap && (*slot)->cap > FIRST)
		list_resize(s, slot, n);
	return added;
}

/*
 * One place, where the box stays what it is. 1: it is new; 0: it was there; -1: not so, nothing has
 * changed.
 */
static int box_add_one(struct seq_box *b, unsigned x)
{
	unsigned i, len;
	switch (b->kind) {
	case BITS:
		if (b->bits[x / 64] & bit(x % 64))
			return 0;
		if (BOX_SIZE - b->n - 1 <= MOST_MAX)
			return -1;
		b->bits[x / 64] |= bit(x % 64);
		b->n++;
		return 1;
	case FEW:
		if (x < b->start)
			return 0;
		if (x == b->start) {
			if (b->n + 1 == BOX_SIZE || is_slack(b) || is_worse(b))
				return -1;
			few_add_start(b, x);
			return 1;
		}
		i = list_find(b, x);
		len = list_len(b);
		if (i < len && b->list[i] == x)
			return 0;
		if (len == b->cap || b->n + 1 == BOX_SIZE || is_worse(b))
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

static bool box_has(const struct seq_box *b, unsigned x)
{
	if (b->kind == BITS)
		return b->bits[x / 64] & bit(x % 64);
	if (x < b->start)
		return true;
	unsigned i = list_find(b, x);
	return (i < list_len(b) && b->list[i] == x) == (b->kind == FEW);
}

/* The first place from x on that is in it (present), or is not; BOX_SIZE: there is none. */
static unsigned box_next(const struct seq_box *b, unsigned x, bool present)
{
	if (b->kind == BITS) {
		uint64_t flip = present ? 0 : UINT64_MAX;
		for (unsigned w = x / 64; w < WORDS; w++) {
			uint64_t v = b->bits[w] ^ flip;
			if (w == x / 64)
				v &= UINT64_MAX << x % 64;
			if (v)
				return w * 64 + (unsigned)__builtin_ctzll(v);
		}
		return BOX_SIZE;
	}
	if (x < b->start) {
		if (present)
			return x;
		x = b->start;
	}
	unsigned i = list_find(b, x), len = list_len(b);
	if (present == (b->kind == FEW))
		return i < len ? b->list[i] : BOX_SIZE;
	for (; i < len && b->list[i] == x; i++)
		x++;
	return x;
}

static unsigned box_count_below(const struct seq_box *b, unsigned x)
{
	unsigned n = 0;
	if (b->kind == FEW)
		return x <= b->start ? x : b->start + list_find(b, x);
	if (b->kind == MOST)
		return x - list_find(b, x);
	for (unsigned w = 0; w < x / 64; w++)
		n += count_bits(b->bits[w]);
	return n + (x % 64 ? count_bits(b->bits[x / 64] & (bit(x % 64) - 1)) : 0);
}

/* --- nodes -------------------------------------------------------------------------------------- */

static size_t node_bytes(unsigned children)
{
	return sizeof(struct seq_node) + children * sizeof(void *);
}

static struct seq_node *node_new(struct seq_set *s)
{
	s->memory += node_bytes(0);
	return xcalloc(1, node_bytes(0));
}

static void node_free(struct seq_set *s, struct seq_node *n, int level)
{
	unsigned len = count_bits(n->mixed);
	for (unsigned i = 0; i < len; i++) {
		if (level > 0)
			node_free(s, n->children[i], level - 1);
		else
			box_free(s, n->children[i]);
	}
	s->memory -= node_bytes(len);
	free(n);
}

static void free_child(struct seq_set *s, void *child, int level)
{
	if (level > 0)
		node_free(s, child, level - 1);
	else
		box_free(s, child);
}

static void insert_child(struct seq_set *s, struct seq_node **slot, int level, unsigned i)
{
	struct seq_node *n = *slot;
	unsigned len = count_bits(n->mixed), at = rank(n, i);
	*slot = n = xrealloc(n, node_bytes(len + 1));
	s->memory += sizeof(void *);
	memmove(n->children + at + 1, n->children + at, (len - at) * sizeof(void *));
	n->children[at] = level > 0 ? (void *)node_new(s) : (void *)box_new(s, FEW, FIRST);
	n->mixed |= bit(i);
}

/* The child i, which is mixed, is full. */
static void fill_child(struct seq_set *s, struct seq_node **slot, int level, unsigned i)
{
	struct seq_node *n = *slot;
	unsigned len = count_bits(n->mixed), at = rank(n, i);
	free_child(s, n->children[at], level);
	memmove(n->children + at, n->children + at + 1, (len - at - 1) * sizeof(void *));
	n->mixed &= ~bit(i);
	n->full |= bit(i);
	*slot = xrealloc(n, node_bytes(len - 1));
	s->memory -= sizeof(void *);
}

/* All of its numbers that are there. */
static uint64_t node_count(const struct seq_node *n, int level)
{
	uint64_t count = (uint64_t)count_bits(n->full) << shift_of(level);
	unsigned len = count_bits(n->mixed);
	for (unsigned i = 0; i < len; i++)
		count += level > 0 ? node_count(n->children[i], level - 1)
				   : ((const struct seq_box *)n->children[i])->n;
	return count;
}

static uint64_t child_count(const struct seq_node *n, int level, unsigned i)
{
	if (n->full & bit(i))
		return bit(shift_of(level));
	if (!(n->mixed & bit(i)))
		return 0;
	const void *child = n->children[rank(n, i)];
	return level > 0 ? node_count(child, level - 1) : ((const struct seq_box *)child)->n;
}

/* How many of its numbers before seq, which is one of them, are there. */
static uint64_t node_count_below(const struct seq_node *n, int level, uint64_t seq)
{
	uint64_t count = 0;
	unsigned last = child_of(level, seq);
	for (unsigned i = 0; i < last; i++)
		count += child_count(n, level, i);
	uint64_t first = first_of(level, seq, last);
	if (n->full & bit(last))
		return count + (seq - first);
	if (!(n->mixed & bit(last)))
		return count;
	const void *child = n->children[rank(n, last)];
	return count + (level > 0 ? node_count_below(child, level - 1, seq)
				  : box_count_below(child, (unsigned)(seq - first)));
}

static bool child_is_full(const void *child, int level)
{
	return level > 0 ? ((const struct seq_node *)child)->full == UINT64_MAX
			 : ((const struct seq_box *)child)->n == BOX_SIZE;
}

/* Adds first to last, which are of this node. Returns how many are new. */
static uint64_t node_add(
	struct seq_set *s, struct seq_node **slot, int level, uint64_t first, uint64_t last)
{
	uint64_t added = 0, size = bit(shift_of(level));
	for (unsigned i = child_of(level, first); i <= child_of(level, last); i++) {
		uint64_t from = first_of(level, first, i), to = from + size - 1;
		if ((*slot)->full & bit(i))
			continue;
		if (first <= from && to <= last && !((*slot)->mixed & bit(i))) {
			(*slot)->full |= bit(i);
			added += size;
			continue;
		}
		if (!((*slot)->mixed & bit(i)))
			insert_child(s, slot, level, i);
		void **child = &(*slot)->children[rank(*slot, i)];
		if (first <= from && to <= last) {
			added += size - child_count(*slot, level, i);
			fill_child(s, slot, level, i);
			continue;
		}
		uint64_t a = first > from ? first : from, b = last < to ? last : to;
		added += level > 0 ? node_add(s, (struct seq_node **)child, level - 1, a, b)
				   : box_add(s, (struct seq_box **)child, (unsigned)(a - from),
					     (unsigned)(b - from));
		if (child_is_full(*child, level))
			fill_child(s, slot, level, i);
	}
	return added;
}

/* The first number from seq on that is in it (present), or is not. False: there is none. */
static bool node_next(
	const struct seq_node *n, int level, uint64_t seq, bool present, uint64_t *out)
{
	uint64_t some = present ? n->full | n->mixed : ~n->full;
	uint64_t sure = present ? n->full : ~n->mixed;
	for (unsigned i = child_of(level, seq); i < CHILDREN; i++) {
		uint64_t left = some & (UINT64_MAX << i);
		if (!left)
			return false;
		unsigned j = (unsigned)__builtin_ctzll(left);
		uint64_t first = first_of(level, seq, j);
		if (j > i || seq < first)
			seq = first;
		i = j;
		if (sure & bit(i)) {
			*out = seq;
			return true;
		}
		const void *child = n->children[rank(n, i)];
		if (level > 0) {
			if (node_next(child, level - 1, seq, present, out))
				return true;
		} else {
			unsigned x = box_next(child, (unsigned)(seq - first), present);
			*out = first + x;
			if (x < BOX_SIZE)
				return true;
		}
	}
	return false;
}

/* --- sets --------------------------------------------------------------------------------------- */

/* Is seq beyond what root can have? */
static bool is_beyond(const struct seq_set *s, uint64_t seq)
{
	return !s->root || seq >> shift_of(s->level + 1) != 0;
}

static void grow(struct seq_set *s, uint64_t seq)
{
	if (!s->root)
		s->root = node_new(s);
	for (; is_beyond(s, seq); s->level++) {
		struct seq_node *up = node_new(s);
		if (s->root->full == UINT64_MAX || (s->root->full | s->root->mixed) == 0) {
			up->full = s->root->full & 1;
			node_free(s, s->root, s->level);
		} else {
			up = xrealloc(up, node_bytes(1));
			s->memory += sizeof(void *);
			up->mixed = 1;
			up->children[0] = s->root;
		}
		s->root = up;
	}
}

/* NULL: it has no box, since all of its neighbours are there or none is (*full says which). */
static struct seq_box *find_box(const struct seq_set *s, uint64_t seq, bool *full)
{
	*full = false;
	if (is_beyond(s, seq))
		return NULL;
	const struct seq_node *n = s->root;
	for (int level = s->level;; level--) {
		unsigned i = child_of(level, seq);
		*full = n->full & bit(i);
		if (!(n->mixed & bit(i)))
			return NULL;
		void *child = n->children[rank(n, i)];
		if (level == 0)
			return child;
		n = child;
	}
}

/* So that what comes next is faster. True: it has none, since all of its neighbours are there. */
static bool use_box(struct seq_set *s, uint64_t seq)
{
	bool full = false;
	if (!s->box || s->box_key != seq >> BOX_BITS) {
		s->box = find_box(s, seq, &full);
		s->box_key = seq >> BOX_BITS;
	}
	return full;
}

uint64_t seq_set_add_range(struct seq_set *s, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	struct seq_box *b = s->box;
	if (b && b->kind == FEW && from >> BOX_BITS == s->box_key &&
		(to - 1) >> BOX_BITS == s->box_key && (from & (BOX_SIZE - 1)) == b->start &&
		(to & (BOX_SIZE - 1)) != 0 && list_len(b) == 0) {
		/* The usual case: in order, and not the last ones of a box. */
		b->n = b->start = to & (BOX_SIZE - 1);
		s->count += to - from;
		return to - from;
	}
	grow(s, to - 1);
	uint64_t added = node_add(s, &s->root, s->level, from, to - 1);
	s->count += added;
	use_box(s, to - 1);
	return added;
}

bool seq_set_add(struct seq_set *s, uint64_t seq)
{
	if (use_box(s, seq))
		return false;
	int added = s->box ? box_add_one(s->box, seq & (BOX_SIZE - 1)) : -1;
	if (added < 0)
		return seq_set_add_range(s, seq, seq + 1) == 1;
	s->count += (uint64_t)added;
	return added;
}

bool seq_set_has(const struct seq_set *s, uint64_t seq)
{
	bool full = false;
	const struct seq_box *b = s->box;
	if (!b || s->box_key != seq >> BOX_BITS)
		b = find_box(s, seq, &full);
	return b ? box_has(b, seq & (BOX_SIZE - 1)) : full;
}

uint64_t seq_set_next_absent(const struct seq_set *s, uint64_t seq)
{
	uint64_t out;
	if (is_beyond(s, seq) || node_next(s->root, s->level, seq, false, &out))
		return is_beyond(s, seq) ? seq : out;
	return bit(shift_of(s->level + 1));
}

uint64_t seq_set_next_present(const struct seq_set *s, uint64_t seq)
{
	uint64_t out;
	if (is_beyond(s, seq) || !node_next(s->root, s->level, seq, true, &out))
		return SEQ_END;
	return out;
}

uint64_t seq_set_count_below(const struct seq_set *s, uint64_t seq)
{
	if (is_beyond(s, seq) || seq_set_next_present(s, seq) == SEQ_END)
		return s->count;
	return node_count_below(s->root, s->level, seq);
}

size_t seq_set_memory(const struct seq_set *s)
{
	return s->memory;
}

void seq_set_free(struct seq_set *s)
{
	if (s->root)
		node_free(s, s->root, s->level);
	*s = (struct seq_set){0};
}
