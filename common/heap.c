/* SPDX-License-Identifier: MIT */
/*
 * A binary heap by an int64 key. Mirrors container/heap. Any thread that holds the lock that guards
 * the heap. An entry that moves up or down leaves its place empty. Others move into the empty place
 * one by one, and the entry is put where that ends. So each step writes one entry, where a swap
 * writes two.
 */
#include "common/heap.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/xalloc.h"

#define MIN_CAP 16

static void put(struct heap *h, size_t i, struct heap_entry e)
{
	h->v[i] = e;
	e.node->index = (uint32_t)i;
}

/* The place i is empty. Puts e there, or nearer to the top. */
static void up(struct heap *h, size_t i, struct heap_entry e)
{
	while (i > 0 && e.key < h->v[(i - 1) / 2].key) {
		put(h, i, h->v[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(h, i, e);
}

/* The same, but there or farther from the top. */
static void down(struct heap *h, size_t i, struct heap_entry e)
{
	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < h->len && h->v[child + 1].key < h->v[child].key)
			child++;
		if (child >= h->len || h->v[child].key >= e.key)
			break;
		put(h, i, h->v[child]);
		i = child;
	}
	put(h, i, e);
}

/* The same, in the direction that e has to go. */
static void settle(struct heap *h, size_t i, struct heap_entry e)
{
	if (i > 0 && e.key < h->v[(i - 1) / 2].key)
		up(h, i, e);
	else
		down(h, i, e);
}

/* The place of n. */
static size_t place_of(const struct heap *h, const struct heap_node *n)
{
	CHECK(n->index < h->len && h->v[n->index].node == n);
	return n->index;
}

static void resize(struct heap *h, size_t cap)
{
	CHECK(cap <= UINT32_MAX);
	h->v = xreallocarray(h->v, cap, sizeof(*h->v));
	h->cap = cap;
}

void heap_push(struct heap *h, struct heap_node *n, int64_t key)
{
	if (h->len == h->cap)
		resize(h, h->cap != 0 ? 2 * h->cap : MIN_CAP);
	h->len++;
	up(h, h->len - 1, (struct heap_entry){key, n});
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	size_t i = place_of(h, n);
	h->len--;
	if (i < h->len)
		settle(h, i, h->v[h->len]);
}

void heap_fix(struct heap *h, struct heap_node *n, int64_t key)
{
	heap_replace(h, n, n, key);
}

void heap_replace(struct heap *h, struct heap_node *n, struct heap_node *by, int64_t key)
{
	settle(h, place_of(h, n), (struct heap_entry){key, by});
}

void heap_trim(struct heap *h)
{
	size_t cap = h->cap;
	while (cap > MIN_CAP && h->len <= cap / 4)
		cap /= 2;
	if (cap < h->cap)
		resize(h, cap);
}

void heap_free(struct heap *h)
{
	free(h->v);
	*h = (struct heap){0};
}
