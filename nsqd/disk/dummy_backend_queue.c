/* SPDX-License-Identifier: MIT */
/*
 * A backend that keeps nothing. Mirrors nsqd/dummy_backend_queue.go. It has no thread; its
 * functions run in their callers' threads. Its read chan exists, as in Go, and nothing is ever sent
 * on it.
 */
#include "nsqd/disk/dummy_backend_queue.h"

#include <stdlib.h>

#include "common/xalloc.h"

struct dummy_backend_queue {
	struct backend_queue base; /* immutable */
	struct chan *read_chan;    /* immutable; owned; of struct message *, never sent on */
};

static size_t dummy_put(
	struct backend_queue *q, const struct backend_record *recs, size_t n, struct err *err)
{
	(void)q;
	(void)recs;
	(void)err;
	return n;
}

static struct chan *dummy_read_chan(struct backend_queue *q)
{
	return ((struct dummy_backend_queue *)q)->read_chan;
}

static void dummy_done(struct backend_queue *q, size_t n)
{
	(void)q;
	(void)n;
}

static int dummy_close(struct backend_queue *q, struct err *err)
{
	struct dummy_backend_queue *d = (struct dummy_backend_queue *)q;
	(void)err;
	chan_free(d->read_chan);
	free(d);
	return 0;
}

static int64_t dummy_depth(struct backend_queue *q)
{
	(void)q;
	return 0;
}

static int dummy_empty(struct backend_queue *q, struct err *err)
{
	(void)q;
	(void)err;
	return 0;
}

static struct backend_look *dummy_look(struct backend_queue *q)
{
	(void)q;
	return NULL;
}

static void dummy_forget(struct backend_queue *q, bool at_once)
{
	(void)q;
	(void)at_once;
}

static size_t dummy_ahead(struct backend_queue *q, int64_t *first, int64_t *last)
{
	(void)q;
	*first = *last = 0;
	return 0;
}

static const struct backend_queue_ops dummy_ops = {
	.put = dummy_put,
	.read_chan = dummy_read_chan,
	.done = dummy_done,
	.forget = dummy_forget,
	.close = dummy_close,
	.delete = dummy_close,
	.depth = dummy_depth,
	.body_bytes = dummy_depth,
	.undone = dummy_depth,
	.received = dummy_depth,
	.received_bytes = dummy_depth,
	.ahead = dummy_ahead,
	.empty = dummy_empty,
	.look = dummy_look,
	.first_timestamp = dummy_depth,
};

struct backend_queue *dummy_backend_queue_new(void)
{
	struct dummy_backend_queue *d = xmalloc(sizeof(*d));
	d->base.ops = &dummy_ops;
	d->read_chan = chan_new(sizeof(struct message *), 0);
	return &d->base;
}
