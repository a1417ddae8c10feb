/* SPDX-License-Identifier: MIT */
/*
 * The messages that wait for a deadline, by deadline and by id. Mirrors
 * nsqd/in_flight_pqueue.go and internal/pqueue, and the two maps beside them in
 * nsqd/channel.go. Runs under the lock of the channel's queue that it is.
 *
 * Differences: heap and map change in one step, so that a FIN cannot come
 * between them; two messages of one id (which only a damaged or copied data
 * directory can bring) live side by side, where stock loses track of one.
 */
#include "nsqd/in_flight_pqueue.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/xalloc.h"

#define MIN_CAP 16

/* --- the table ------------------------------------------------------------------------------ */

/*
 * Ids that follow each other differ in their last digits only, which are the
 * upper bytes of the second half here: so they are shifted down and mixed
 * (the finaliser of MurmurHash3) before the bucket is cut out.
 */
static size_t bucket_of(const struct in_flight_pqueue *q, struct message_id id)
{
	uint64_t half[2];
	memcpy(half, id.hex, sizeof(half));
	uint64_t h = half[0] ^ half[1];
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64_C(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return (size_t)h & (q->n_buckets - 1);
}

static bool id_equal(struct message_id a, struct message_id b)
{
	return memcmp(a.hex, b.hex, MSG_ID_LENGTH) == 0;
}

static void table_insert(struct in_flight_pqueue *q, struct message *m)
{
	struct message **bucket = &q->table[bucket_of(q, m->id)];
	m->hash_next = *bucket;
	*bucket = m;
}

static void table_remove(struct in_flight_pqueue *q, struct message *m)
{
	struct message **p = &q->table[bucket_of(q, m->id)];
	while (*p != m) {
		CHECK(*p != NULL);
		p = &(*p)->hash_next;
	}
	*p = m->hash_next;
	m->hash_next = NULL;
}

/* Makes the table n buckets wide and files everything in the heap anew. */
static void table_resize(struct in_flight_pqueue *q, size_t n)
{
	free(q->table);
	q->table = xcalloc(n, sizeof(*q->table));
	q->n_buckets = n;
	for (size_t i = 0; i < q->len; i++)
		table_insert(q, q->heap[i]);
}

/* --- the heap ------------------------------------------------------------------------------- */

static void place(struct in_flight_pqueue *q, size_t i, struct message *m)
{
	q->heap[i] = m;
	m->index = i;
}

static void up(struct in_flight_pqueue *q, size_t i)
{
	struct message *m = q->heap[i];
	while (i > 0) {
		size_t parent = (i - 1) / 2;
		if (q->heap[parent]->pri <= m->pri)
			break;
		place(q, i, q->heap[parent]);
		i = parent;
	}
	place(q, i, m);
}

static void down(struct in_flight_pqueue *q, size_t i)
{
	struct message *m = q->heap[i];
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= q->len)
			break;
		if (child + 1 < q->len && q->heap[child + 1]->pri < q->heap[child]->pri)
			child++;
		if (q->heap[child]->pri >= m->pri)
			break;
		place(q, i, q->heap[child]);
		i = child;
	}
	place(q, i, m);
}

/* Room for one more; heap and table grow together, so that buckets stay short. */
static void grow(struct in_flight_pqueue *q)
{
	if (q->len < q->cap)
		return;
	q->cap = q->cap ? 2 * q->cap : MIN_CAP;
	q->heap = xreallocarray(q->heap, q->cap, sizeof(*q->heap));
	table_resize(q, q->cap);
}

/* Gives memory back once three quarters are unused: a burst must not cost for ever. */
static void shrink(struct in_flight_pqueue *q)
{
	if (q->cap <= MIN_CAP || q->len > q->cap / 4)
		return;
	q->cap /= 2;
	q->heap = xreallocarray(q->heap, q->cap, sizeof(*q->heap));
	table_resize(q, q->cap);
}

/* --- the interface -------------------------------------------------------------------------- */

void in_flight_pqueue_init(struct in_flight_pqueue *q)
{
	*q = (struct in_flight_pqueue){0};
}

void in_flight_pqueue_clear(struct in_flight_pqueue *q)
{
	for (size_t i = 0; i < q->len; i++)
		message_unref(q->heap[i]);
	free(q->heap);
	free(q->table);
	in_flight_pqueue_init(q);
}

void in_flight_pqueue_push(struct in_flight_pqueue *q, struct message *m)
{
	grow(q);
	q->heap[q->len] = m;
	up(q, q->len++);
	table_insert(q, m);
}

struct message *in_flight_pqueue_find(const struct in_flight_pqueue *q, struct message_id id)
{
	if (q->len == 0)
		return NULL;
	struct message *m = q->table[bucket_of(q, id)];
	while (m && !id_equal(m->id, id))
		m = m->hash_next;
	return m;
}

void in_flight_pqueue_remove(struct in_flight_pqueue *q, struct message *m)
{
	CHECK(m->index < q->len && q->heap[m->index] == m);
	size_t i = m->index;
	struct message *last = q->heap[--q->len];
	if (last != m) {
		place(q, i, last);
		in_flight_pqueue_fix(q, last);
	}
	table_remove(q, m);
	shrink(q);
}

void in_flight_pqueue_fix(struct in_flight_pqueue *q, struct message *m)
{
	size_t i = m->index;
	down(q, i);
	if (m->index == i)
		up(q, i);
}

struct message *in_flight_pqueue_peek_and_shift(struct in_flight_pqueue *q, int64_t max)
{
	if (q->len == 0 || q->heap[0]->pri > max)
		return NULL;
	struct message *m = q->heap[0];
	in_flight_pqueue_remove(q, m);
	return m;
}

int64_t in_flight_pqueue_next(const struct in_flight_pqueue *q)
{
	return q->len ? q->heap[0]->pri : INT64_MAX;
}
