/* SPDX-License-Identifier: MIT */
/*
 * A binary heap: of many elements, which has the least key? (container/heap.) It is intrusive: each
 * element contains a struct heap_node, which remembers its place. So an element in the middle can
 * be removed, or get another key, in O(log n).
 *
 * The array holds the keys beside the pointers: a step through the heap reads the array only, and
 * writes the places. The elements are the caller's: the heap neither makes nor frees them. An
 * element gets from its node to itself by a small function of its own:
 *
 *     static struct message *message_of(struct heap_node *n)
 *     {
 *             return (struct message *)((char *)n - offsetof(struct message, heap_node));
 *     }
 *
 * Elements with equal keys come in any order. Not thread-safe: the owner's lock guards the heap and
 * the nodes in it. Nothing here blocks. Without memory the process ends (xalloc.h).
 */
#ifndef COMMON_HEAP_H
#define COMMON_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* Part of an element; written by this module only. Zeroed or not before it is pushed. */
struct heap_node {
	uint32_t index; /* its place in heap.v while it is in the heap; 0: the first */
};

struct heap_entry {
	int64_t key;
	struct heap_node *node; /* borrowed; v[i].node->index == i */
};

/* All zeros is an empty heap. v may be read, but only this module changes it. */
struct heap {
	struct heap_entry *v; /* v[(i - 1) / 2].key <= v[i].key; owned */
	size_t len;           /* how many elements are in it */
	size_t cap;           /* for how many there is memory */
};

/* Adds n, which is in no heap. */
void heap_push(struct heap *h, struct heap_node *n, int64_t key);
/* Takes n, which is in h, out of it. */
void heap_remove(struct heap *h, struct heap_node *n);
/* Gives n, which is in h, this key. */
void heap_fix(struct heap *h, struct heap_node *n, int64_t key);
/* Takes n out of h and adds by with this key, in one step. by is in no heap, or is n. */
void heap_replace(struct heap *h, struct heap_node *n, struct heap_node *by, int64_t key);
/* Halves the array while three quarters or more of it are unused; keeps a little. */
void heap_trim(struct heap *h);
/* Empties the heap and frees its array. It can be used again. */
void heap_free(struct heap *h);

/* The element with the least key, still in the heap; NULL if there is none. */
static inline struct heap_node *heap_peek(const struct heap *h)
{
	return h->len > 0 ? h->v[0].node : NULL;
}

/* The least key; INT64_MAX if the heap is empty. */
static inline int64_t heap_least(const struct heap *h)
{
	return h->len > 0 ? h->v[0].key : INT64_MAX;
}

#endif
