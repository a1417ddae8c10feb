/* SPDX-License-Identifier: MIT */
/*
 * A set of message numbers. No Go file: stock has no log. Any thread, under the lock of the set's
 * owner.
 *
 * The last 16 bits of a number are its place in a box (cursor_box.h). Each group of 64 boxes has a node,
 * each group of 64 nodes has one, and so on. A node has two bits for each child: it is full, or it is
 * mixed. Only a mixed child is a piece of memory. So a hundred million numbers in a row are a few bits,
 * wherever they begin.
 */
#include "nsqd/log/cursor_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "nsqd/log/cursor_box.h"

#define NODE_BITS 6
#define CHILDREN (1u << NODE_BITS)

struct seq_node {
	uint64_t full, mixed; /* of each child */
	void *children[];     /* the mixed ones; nodes, or on level 0 boxes; owned */
};

static unsigned place(uint64_t seq)
{
	return (unsigned)seq & (SEQ_BOX_SIZE - 1);
}

/* The numbers of a child of a node: 1 << shift. */
static unsigned shift_of(int level)
{
	return SEQ_BOX_SHIFT + NODE_BITS * (unsigned)level;
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
			seq_box_free(&s->memory, n->children[i]);
	}
	s->memory -= node_bytes(len);
	free(n);
}

static void free_child(struct seq_set *s, void *child, int level)
{
	if (level > 0)
		node_free(s, child, level - 1);
	else
		seq_box_free(&s->memory, child);
}

static void insert_child(struct seq_set *s, struct seq_node **slot, int level, unsigned i)
{
	struct seq_node *n = *slot;
	unsigned len = count_bits(n->mixed), at = rank(n, i);
	*slot = n = xrealloc(n, node_bytes(len + 1));
	s->memory += sizeof(void *);
	memmove(n->children + at + 1, n->children + at, (len - at) * sizeof(void *));
	n->children[at] = level > 0 ? (void *)node_new(s) : (void *)seq_box_new(&s->memory);
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
				  : seq_box_count_below(child, (unsigned)(seq - first)));
}

static bool child_is_full(const void *child, int level)
{
	return level > 0 ? ((const struct seq_node *)child)->full == UINT64_MAX
			 : ((const struct seq_box *)child)->n == SEQ_BOX_SIZE;
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
				   : seq_box_add(&s->memory, (struct seq_box **)child,
					     (unsigned)(a - from), (unsigned)(b - from));
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
			unsigned x = seq_box_next(child, (unsigned)(seq - first), present);
			*out = first + x;
			if (x < SEQ_BOX_SIZE)
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
	if (!s->box || s->box_key != seq >> SEQ_BOX_SHIFT) {
		s->box = find_box(s, seq, &full);
		s->box_key = seq >> SEQ_BOX_SHIFT;
	}
	return full;
}

uint64_t seq_set_add_range(struct seq_set *s, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	if (s->box && from >> SEQ_BOX_SHIFT == s->box_key &&
		(to - 1) >> SEQ_BOX_SHIFT == s->box_key &&
		seq_box_go_on(s->box, place(from), place(to - 1) + 1)) {
		s->count += to - from;
		return to - from;
	}
	/* It may get another box. */
	s->box = NULL;
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
	int added = s->box ? seq_box_add_one(s->box, place(seq)) : -1;
	if (added < 0)
		return seq_set_add_range(s, seq, seq + 1) == 1;
	s->count += (uint64_t)added;
	return added;
}

bool seq_set_has(const struct seq_set *s, uint64_t seq)
{
	bool full = false;
	const struct seq_box *b = s->box;
	if (!b || s->box_key != seq >> SEQ_BOX_SHIFT)
		b = find_box(s, seq, &full);
	return b ? seq_box_has(b, place(seq)) : full;
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
