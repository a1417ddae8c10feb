/* SPDX-License-Identifier: MIT */
/*
 * Stock's disk queue, and a queue over the log behind it. No Go file: stock has no log. Runs in the
 * threads of its callers; read_chan, in the pump that receives.
 */
#include "nsqd/log/stock_first.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/lock.h"
#include "common/xalloc.h"
#include "nsqd/log/log_queue.h"

#define MAGIC 0x53544f46u

/* So many messages were received from one of the two. */
struct run {
	bool of_disk;
	size_t n;
};

struct stock_first {
	struct backend_queue base; /* the first */
	/* immutable */
	uint32_t magic;
	struct backend_queue *disk, *log; /* owned */
	bool held; /* of a topic, its pump's: nothing of the log is in memory */

	struct mutex lock; /* a leaf */
	/* guarded by lock: what was received, and is not done; owned */
	struct run *runs;
	size_t n_runs, cap;
};

static const struct backend_queue_ops stock_first_ops;

static struct stock_first *of(struct backend_queue *base)
{
	struct stock_first *q = (struct stock_first *)base;
	CHECK(q->magic == MAGIC);
	return q;
}

bool is_stock_first(const struct backend_queue *q)
{
	return q->ops == &stock_first_ops;
}

/* --- what goes in and out ------------------------------------------------------------------------- */

static size_t put(
	struct backend_queue *base, const struct backend_record *recs, size_t n, struct err *err)
{
	struct stock_first *q = of(base);
	return q->disk->ops->put(q->disk, recs, n, err);
}

static size_t put_messages(struct backend_queue *base, struct chan *memory,
	struct message *const *msgs, size_t n, bool fresh)
{
	struct stock_first *q = of(base);
	if (!diskqueue_is_empty(q->disk))
		memory = NULL;
	return q->log->ops->put_messages(q->log, memory, msgs, n, fresh);
}

/*
 * The receiver is a pump, which asks anew when it is told that the disk queue has changed. A topic's
 * has dealt out all that it has got from there.
 */
static struct chan *read_chan(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	if (!diskqueue_is_empty(q->disk))
		return q->disk->ops->read_chan(q->disk);
	if (q->held)
		log_queue_hold(q->log, false);
	q->held = false;
	return q->log->ops->read_chan(q->log);
}

static void took(struct backend_queue *base, struct message *const *msgs, size_t n)
{
	struct stock_first *q = of(base);
	bool of_disk = msgs[0]->seq == 0;
	mutex_lock(&q->lock);
	if (q->n_runs > 0 && q->runs[q->n_runs - 1].of_disk == of_disk) {
		q->runs[q->n_runs - 1].n += n;
	} else {
		if (q->n_runs == q->cap) {
			q->cap = q->cap ? 2 * q->cap : 4;
			q->runs = xreallocarray(q->runs, q->cap, sizeof(*q->runs));
		}
		q->runs[q->n_runs++] = (struct run){of_disk, n};
	}
	mutex_unlock(&q->lock);
}

/* Takes up to n of the oldest run away; returns how many, and whose they are. */
static size_t shift_run(struct stock_first *q, size_t n, bool *of_disk)
{
	mutex_lock(&q->lock);
	CHECK(q->n_runs > 0);
	struct run *r = &q->runs[0];
	*of_disk = r->of_disk;
	n = n < r->n ? n : r->n;
	r->n -= n;
	if (r->n == 0) {
		q->n_runs--;
		for (size_t i = 0; i < q->n_runs; i++)
			q->runs[i] = q->runs[i + 1];
	}
	mutex_unlock(&q->lock);
	return n;
}

static void done(struct backend_queue *base, size_t n)
{
	struct stock_first *q = of(base);
	bool of_disk;
	for (size_t k; n > 0; n -= k) {
		k = shift_run(q, n, &of_disk);
		struct backend_queue *whose = of_disk ? q->disk : q->log;
		whose->ops->done(whose, k);
	}
}

static void forget(struct backend_queue *base, bool at_once)
{
	struct stock_first *q = of(base);
	q->disk->ops->forget(q->disk, at_once);
	q->log->ops->forget(q->log, at_once);
}

/* --- the end --------------------------------------------------------------------------------------- */

/* Ends both, and keeps the first reason why one could not. */
static int end(struct stock_first *q, bool remove, struct err *err)
{
	struct backend_queue *queues[] = {q->disk, q->log};
	struct err why = {0}, first = {0};
	int rc = 0;
	for (int i = 0; i < 2; i++) {
		const struct backend_queue_ops *ops = queues[i]->ops;
		int one = remove ? ops->delete (queues[i], &why) : ops->close(queues[i], &why);
		if (one != 0 && rc == 0)
			first = why;
		rc |= one;
	}
	if (rc != 0 && err)
		*err = first;
	mutex_destroy(&q->lock);
	free(q->runs);
	q->magic = 0;
	free(q);
	return rc;
}

static int close_both(struct backend_queue *base, struct err *err)
{
	return end(of(base), false, err);
}

static int delete_both(struct backend_queue *base, struct err *err)
{
	return end(of(base), true, err);
}

static int empty(struct backend_queue *base, struct err *err)
{
	struct stock_first *q = of(base);
	struct err own;
	int rc = q->disk->ops->empty(q->disk, err);
	if (q->log->ops->empty(q->log, rc == 0 ? err : &own) != 0)
		rc = -1;
	return rc;
}

/* --- what is there --------------------------------------------------------------------------------- */

static int64_t depth(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	return q->disk->ops->depth(q->disk) + q->log->ops->depth(q->log);
}

static int64_t body_bytes(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	return q->disk->ops->body_bytes(q->disk) + q->log->ops->body_bytes(q->log);
}

static int64_t undone(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	return q->disk->ops->undone(q->disk) + q->log->ops->undone(q->log);
}

static int64_t received(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	return q->disk->ops->received(q->disk) + q->log->ops->received(q->log);
}

static int64_t received_bytes(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	return q->disk->ops->received_bytes(q->disk) + q->log->ops->received_bytes(q->log);
}

static struct backend_queue *current(struct stock_first *q)
{
	return diskqueue_is_empty(q->disk) ? q->log : q->disk;
}

static size_t ahead(struct backend_queue *base, int64_t *first, int64_t *last)
{
	struct backend_queue *q = current(of(base));
	return q->ops->ahead(q, first, last);
}

static int64_t first_timestamp(struct backend_queue *base)
{
	struct backend_queue *q = current(of(base));
	return q->ops->first_timestamp(q);
}

int64_t stock_first_waiting(struct backend_queue *base, struct backend_queue *log, int64_t *bytes)
{
	int64_t n = log_queue_waiting(log, bytes);
	if (!is_stock_first(base))
		return n;
	struct stock_first *q = of(base);
	*bytes += q->disk->ops->body_bytes(q->disk);
	return n + q->disk->ops->depth(q->disk);
}

struct look {
	struct backend_look base;
	struct backend_look *parts[2]; /* NULL: nothing is there */
};

static int look_read(struct backend_look *base, struct message_views *out, struct err *err)
{
	struct look *l = (struct look *)base;
	int rc = 0;
	for (int i = 0; i < 2 && rc == 0; i++) {
		if (l->parts[i] && message_views_room(out) > 0)
			rc = l->parts[i]->read(l->parts[i], out, err);
	}
	return rc;
}

static void look_free(struct backend_look *base)
{
	struct look *l = (struct look *)base;
	for (int i = 0; i < 2; i++) {
		if (l->parts[i])
			l->parts[i]->free(l->parts[i]);
	}
	free(l);
}

static struct backend_look *look(struct backend_queue *base)
{
	struct stock_first *q = of(base);
	struct look *l = xcalloc(1, sizeof(*l));
	l->base = (struct backend_look){.read = look_read, .free = look_free};
	l->parts[0] = q->disk->ops->look(q->disk);
	l->parts[1] = q->log->ops->look(q->log);
	return &l->base;
}

static const struct backend_queue_ops stock_first_ops = {
	.put = put,
	.read_chan = read_chan,
	.took = took,
	.done = done,
	.forget = forget,
	.close = close_both,
	.delete = delete_both,
	.depth = depth,
	.body_bytes = body_bytes,
	.undone = undone,
	.received = received,
	.received_bytes = received_bytes,
	.ahead = ahead,
	.empty = empty,
	.look = look,
	.first_timestamp = first_timestamp,
	.put_messages = put_messages,
};

/* NULL with *rc: 0: there is nothing in it; -1 with err set. */
static struct backend_queue *open_disk(
	const struct diskqueue_opts *opts, bool always, int *rc, struct err *err)
{
	*rc = 0;
	if (!always && !diskqueue_has_files(opts))
		return NULL;
	struct backend_queue *disk = diskqueue_new(opts, err);
	*rc = disk ? 0 : -1;
	if (!disk || always || !diskqueue_is_empty(disk))
		return disk;
	/* Else they would be left, when the topic or channel is deleted. */
	disk->ops->delete (disk, NULL);
	return NULL;
}

struct backend_queue *stock_first_new(const struct diskqueue_opts *opts, bool always, bool of_topic,
	struct backend_queue *take_log_queue, struct err *err)
{
	int rc;
	struct backend_queue *disk = open_disk(opts, always, &rc, err);
	if (rc != 0)
		take_log_queue->ops->close(take_log_queue, NULL);
	if (!disk)
		return rc == 0 ? take_log_queue : NULL;
	struct stock_first *q = xcalloc(1, sizeof(*q));
	q->base.ops = &stock_first_ops;
	q->magic = MAGIC;
	q->disk = disk;
	q->log = take_log_queue;
	q->held = of_topic;
	if (of_topic)
		log_queue_hold(q->log, true);
	mutex_init(&q->lock, RANK_LEAF);
	return &q->base;
}
