/* SPDX-License-Identifier: MIT */
/*
 * What is dropped first. Mirrors no Go file. Runs in the pumps of topics and channels.
 */
#include "nsqd/queue/drop_plan.h"

static void add_body_len(void *arg, const void *value)
{
	*(int64_t *)arg += (*(struct message *const *)value)->body->len;
}

int64_t chan_body_bytes(struct chan *memory)
{
	int64_t sum = 0;
	if (memory)
		chan_look(memory, 0, SIZE_MAX, add_body_len, &sum);
	return sum;
}

/* The head of a memory queue. */
struct head {
	int64_t too_many, too_many_bytes;
	int64_t before; /* messages that are newer than this are not wanted */
	size_t n;
	int64_t bytes;
	bool ends;
};

static void see_head(void *arg, const void *value)
{
	struct head *h = arg;
	const struct message *m = *(struct message *const *)value;
	h->ends = h->ends || m->timestamp > h->before ||
		  ((int64_t)h->n >= h->too_many && h->bytes >= h->too_many_bytes);
	if (h->ends)
		return;
	h->n++;
	h->bytes += m->body->len;
}

static void see_timestamp(void *arg, const void *value)
{
	*(int64_t *)arg = (*(struct message *const *)value)->timestamp;
}

/* The timestamp of the first message; INT64_MAX: there is none. */
static int64_t first_in(struct chan *memory)
{
	int64_t timestamp = INT64_MAX;
	chan_look(memory, 0, 1, see_timestamp, &timestamp);
	return timestamp;
}

int64_t drop_retry_ns(unsigned *looks)
{
	enum { MOST = 10 };
	int64_t ns = 100 * NSEC_PER_USEC << *looks;
	*looks += *looks < MOST;
	return ns;
}

struct drop_plan drop_plan_make(
	struct chan *memory, struct backend_queue *q, int64_t too_many, int64_t too_many_bytes)
{
	struct head h = {.too_many = too_many, .too_many_bytes = too_many_bytes};
	int64_t on_disk = q->ops->depth(q), first, last;
	size_t ahead = q->ops->ahead(q, &first, &last);
	if (too_many <= 0 && too_many_bytes <= 0)
		return (struct drop_plan){0};
	/* A log offers nothing before memory is empty, but for what has waited: what it holds is younger. */
	bool holds = ahead == 0 && q->ops->put_messages;
	/* The disk has not read its head yet. It will in a moment, and then it is known which is older. */
	if (on_disk > 0 && ahead == 0 && !holds && memory && chan_len(memory) > 0)
		return (struct drop_plan){.again = true};
	h.before = on_disk > 0 && !holds ? first : INT64_MAX;
	if (memory && h.before != 0)
		chan_look(memory, 0, DROP_BATCH, see_head, &h);
	if (h.n > 0)
		return (struct drop_plan){.n = h.n, .memory = true};
	if (on_disk == 0)
		return (struct drop_plan){0};
	/* Behind the first one, the head of the memory queue may be older. */
	if (memory && first_in(memory) <= last)
		ahead = 1;
	size_t n = too_many <= 0 ? 1 : (size_t)too_many;
	if (n > DROP_BATCH)
		n = DROP_BATCH;
	return (struct drop_plan){.n = n < ahead ? n : ahead > 0 ? ahead : 1, .both = holds};
}
