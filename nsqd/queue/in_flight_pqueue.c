/* SPDX-License-Identifier: MIT */
/*
 * The messages that wait for a deadline, by deadline and by id. Mirrors nsqd/in_flight_pqueue.go
 * and internal/pqueue, and the two maps beside them in nsqd/channel.go. Any thread: the caller
 * holds channel.in_flight_lock or channel.deferred_lock.
 *
 * Note on runs. A message is put in flight with now + timeout, so it is due after the one before
 * it, unless their timeouts differ. Hence messages form runs, lists in which none is due before its
 * predecessor, and the heap is one of runs, by the first of each. A message that is not due before
 * the last that came joins its run; else it begins one. With one timeout for all there is one run.
 * Then a FIN, which nearly always comes long before the deadline, unlinks its message from a list;
 * each step through a heap of messages would touch another message. At worst each message is a run
 * of its own, and the heap is stock's.
 *
 * Differences: heap and map change in one step, so that a FIN cannot come between them. Two
 * messages of one id live side by side, where stock loses track of one. (Only a damaged or copied
 * data directory can bring such.)
 */
#include "nsqd/queue/in_flight_pqueue.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/xalloc.h"

#define MIN_CAP 16

/* --- the table ------------------------------------------------------------------------------ */

/*
 * Ids that follow each other differ in their last digits only, which are the upper bytes of the
 * second half here: so they are shifted down and mixed (the finaliser of MurmurHash3) before the
 * bucket is cut out.
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

/* Makes the table n buckets wide and files everything in it anew. */
static void table_resize(struct in_flight_pqueue *q, size_t n)
{
	struct message **old = q->table;
	size_t n_old = q->n_buckets;
	q->table = xcalloc(n, sizeof(*q->table));
	q->n_buckets = n;
	for (size_t i = 0; i < n_old; i++) {
		for (struct message *m = old[i], *next; m; m = next) {
			next = m->hash_next;
			table_insert(q, m);
		}
	}
	free(old);
}

/* --- the runs ------------------------------------------------------------------------------- */

static struct message *message_of(struct heap_node *n)
{
	return (struct message *)((char *)n - offsetof(struct message, heap_node));
}

/* Puts m at the end of the run that the last message is the end of, or begins another. */
static void run_push(struct in_flight_pqueue *q, struct message *m)
{
	struct message *last = q->last;
	m->run_next = NULL;
	if (last && last->due_ns <= m->due_ns) {
		m->run_prev = last;
		last->run_next = m;
	} else {
		m->run_prev = NULL;
		heap_push(&q->runs, &m->heap_node, m->due_ns);
	}
	q->last = m;
}

/* Does not look at due_ns of m, which may have changed. */
static void run_remove(struct in_flight_pqueue *q, struct message *m)
{
	struct message *prev = m->run_prev, *next = m->run_next;
	if (q->last == m)
		q->last = prev;
	if (next)
		next->run_prev = prev;
	if (prev) {
		CHECK(prev->run_next == m);
		prev->run_next = next;
		return;
	}
	if (next)
		heap_replace(&q->runs, &m->heap_node, &next->heap_node, next->due_ns);
	else
		heap_remove(&q->runs, &m->heap_node);
}

/* --- the interface -------------------------------------------------------------------------- */

void in_flight_pqueue_init(struct in_flight_pqueue *q)
{
	*q = (struct in_flight_pqueue){0};
}

void in_flight_pqueue_clear(struct in_flight_pqueue *q)
{
	for (size_t i = 0; i < q->runs.len; i++) {
		for (struct message *m = message_of(q->runs.v[i].node), *next; m; m = next) {
			next = m->run_next;
			message_unref(m);
		}
	}
	heap_free(&q->runs);
	free(q->table);
	in_flight_pqueue_init(q);
}

void in_flight_pqueue_push(struct in_flight_pqueue *q, struct message *m)
{
	if (q->len == q->n_buckets)
		table_resize(q, q->n_buckets ? 2 * q->n_buckets : MIN_CAP);
	q->body_bytes += m->body->len;
	if (++q->len > q->peak)
		q->peak = q->len;
	run_push(q, m);
	table_insert(q, m);
}

struct message *in_flight_pqueue_find(const struct in_flight_pqueue *q, struct message_id id)
{
	if (q->len == 0)
		return NULL;
	struct message *m = q->table[bucket_of(q, id)];
	while (m && !message_id_equal(m->id, id))
		m = m->hash_next;
	return m;
}

void in_flight_pqueue_fetch_ahead(
	const struct in_flight_pqueue *q, const struct message_id *ids, size_t n, size_t i)
{
	enum { RECORD_AHEAD = 4, BUCKET_AHEAD = 2 * RECORD_AHEAD, LINE = 64 };
	if (q->len == 0)
		return;
	if (i + BUCKET_AHEAD < n)
		__builtin_prefetch(&q->table[bucket_of(q, ids[i + BUCKET_AHEAD])], 1);
	if (i + RECORD_AHEAD < n) {
		const char *record = (const char *)q->table[bucket_of(q, ids[i + RECORD_AHEAD])];
		if (record) {
			__builtin_prefetch(record, 1);
			__builtin_prefetch(record + LINE, 1);
		}
	}
}

void in_flight_pqueue_remove(struct in_flight_pqueue *q, struct message *m)
{
	q->len--;
	q->body_bytes -= m->body->len;
	/* Or deferred_ns: its delay is over, and where it comes next it has none. */
	m->delivery_ns = 0;
	run_remove(q, m);
	table_remove(q, m);
}

/* One of the bucket that is with that client, or NULL. */
static struct message *of_client(const struct in_flight_pqueue *q, size_t bucket, int64_t client_id)
{
	struct message *m = q->table[bucket];
	while (m && m->client_id != client_id)
		m = m->hash_next;
	return m;
}

size_t in_flight_pqueue_take_of_client(struct in_flight_pqueue *q, int64_t client_id, size_t *at,
	size_t n_buckets, struct message **msgs, size_t max)
{
	size_t n = 0, left = q->n_buckets > *at ? q->n_buckets - *at : 0;
	size_t end = *at + (left < n_buckets ? left : n_buckets);
	while (*at < end && n < max) {
		struct message *m = of_client(q, *at, client_id);
		if (!m) {
			++*at;
			continue;
		}
		in_flight_pqueue_remove(q, m);
		msgs[n++] = m;
	}
	return n;
}

void in_flight_pqueue_fix(struct in_flight_pqueue *q, struct message *m)
{
	run_remove(q, m);
	run_push(q, m);
}

struct message *in_flight_pqueue_peek_and_shift(struct in_flight_pqueue *q, int64_t max)
{
	if (in_flight_pqueue_next(q) > max || q->len == 0)
		return NULL;
	struct message *m = message_of(heap_peek(&q->runs));
	in_flight_pqueue_remove(q, m);
	return m;
}

size_t in_flight_pqueue_take_due(
	struct in_flight_pqueue *q, int64_t now_ns, struct message **msgs, size_t max)
{
	size_t n = 0;
	while (n < max && (msgs[n] = in_flight_pqueue_peek_and_shift(q, now_ns)) != NULL)
		n++;
	return n;
}

/* m does not begin a run. */
#define NOT_FIRST SIZE_MAX

/* The messages that may come next in in_flight_pqueue_look. */
struct in_flight_look {
	const struct in_flight_pqueue *q;
	struct heap next;
	struct in_flight_step *steps;
	size_t n_steps;
};

static void add_step(struct in_flight_look *l, struct message *m, size_t run)
{
	struct in_flight_step *s = &l->steps[l->n_steps++];
	s->m = m;
	s->run = run;
	heap_push(&l->next, &s->node, m->due_ns);
}

static void add_run(struct in_flight_look *l, size_t run)
{
	if (run < l->q->runs.len)
		add_step(l, message_of(l->q->runs.v[run].node), run);
}

/*
 * After a message comes the next of its run; after the first of a run, too, those that stand below
 * it in the heap. So the least of these is always the next of all.
 */
size_t in_flight_pqueue_look(const struct in_flight_pqueue *q, struct message **msgs, size_t max,
	struct in_flight_step *steps)
{
	struct in_flight_look l = {.q = q, .steps = steps};
	struct in_flight_step *s;
	size_t n = 0;
	if (max > 0)
		add_run(&l, 0);
	while (n < max && (s = (struct in_flight_step *)heap_peek(&l.next)) != NULL) {
		heap_remove(&l.next, &s->node);
		msgs[n++] = s->m;
		if (s->m->run_next)
			add_step(&l, s->m->run_next, NOT_FIRST);
		if (s->run != NOT_FIRST) {
			add_run(&l, 2 * s->run + 1);
			add_run(&l, 2 * s->run + 2);
		}
	}
	heap_free(&l.next);
	return n;
}

int64_t in_flight_pqueue_next(const struct in_flight_pqueue *q)
{
	return heap_least(&q->runs);
}

/* size, less a part of what n have left unused: without all of that the next one would grow it. */
static size_t trimmed(size_t size, size_t n)
{
	while (size > MIN_CAP && n <= size / 4)
		size /= 2;
	return size;
}

void in_flight_pqueue_trim(struct in_flight_pqueue *q)
{
	if (q->peak == 0) {
		in_flight_pqueue_clear(q);
		return;
	}
	heap_trim(&q->runs);
	size_t n_buckets = trimmed(q->n_buckets, q->peak);
	if (n_buckets < q->n_buckets)
		table_resize(q, n_buckets);
	q->peak = q->len;
}
