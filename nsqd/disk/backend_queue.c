/* SPDX-License-Identifier: MIT */
/*
 * Messages as records of a backend queue. Mirrors writeMessageToBackend of nsqd/message.go, for
 * many at once. Runs in any thread that queues messages.
 */
#include "nsqd/disk/backend_queue.h"

#include <stdlib.h>

#include "common/compiler.h"
#include "common/runnext.h"
#include "common/xalloc.h"

/* So few records are built on the stack, which every publisher's thread has. */
#define FEW_RECORDS 64
/* Records per call: each costs a hand-off to the queue's thread and back. */
#define RECORDS_PER_PUT 1024

static size_t put_records(struct backend_queue *q, struct message *const *msgs, size_t n,
	struct backend_record *recs, unsigned char (*heads)[MSG_HEADER_LENGTH], struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct message *m = msgs[i];
		message_write_header(m, heads[i]);
		recs[i] = (struct backend_record){
			.head = heads[i],
			.head_len = MSG_HEADER_LENGTH,
			.body = m->body->data,
			.body_len = m->body->len,
		};
	}
	return q->ops->put(q, recs, n, err);
}

static size_t put_few(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err)
{
	unsigned char heads[FEW_RECORDS][MSG_HEADER_LENGTH] UNINITIALIZED;
	struct backend_record recs[FEW_RECORDS] UNINITIALIZED;
	return put_records(q, msgs, n, recs, heads, err);
}

static size_t put_many(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err)
{
	size_t stored = 0;
	size_t room = n < RECORDS_PER_PUT ? n : RECORDS_PER_PUT;
	struct backend_record *recs = xreallocarray(NULL, room, sizeof(*recs));
	unsigned char(*heads)[MSG_HEADER_LENGTH] = xreallocarray(NULL, room, sizeof(*heads));
	while (stored < n) {
		size_t k = n - stored < room ? n - stored : room;
		size_t put = put_records(q, msgs + stored, k, recs, heads, err);
		stored += put;
		if (put < k)
			break;
	}
	free(recs);
	free(heads);
	return stored;
}

static size_t put_to_disk(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err)
{
	runnext_handoff(); /* the disk may take its time */
	return n <= FEW_RECORDS ? put_few(q, msgs, n, err) : put_many(q, msgs, n, err);
}

static bool is_logged(const struct backend_queue *q, const struct message *m)
{
	return q->ops->put_messages && m->seq > 0;
}

/* How many of n > 0 messages, the first ones, are in a log as the first one is, or not. */
static size_t count_alike(const struct backend_queue *q, struct message *const *msgs, size_t n)
{
	size_t k = q->ops->put_messages ? 1 : n;
	while (k < n && is_logged(q, msgs[k]) == is_logged(q, msgs[0]))
		k++;
	return k;
}

size_t backend_queue_put_messages(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err)
{
	size_t done = 0;
	while (done < n) {
		size_t k = count_alike(q, msgs + done, n - done), put = k;
		if (is_logged(q, msgs[done]))
			q->ops->put_messages(q, NULL, msgs + done, k, false);
		else
			put = put_to_disk(q, msgs + done, k, err);
		done += put;
		if (put < k)
			break;
	}
	return done;
}
