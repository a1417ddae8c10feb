/* SPDX-License-Identifier: MIT */
/*
 * Messages as records of a backend queue. Mirrors writeMessageToBackend of
 * nsqd/message.go, for many at once. Runs in whatever thread queues messages.
 */
#include "nsqd/backend_queue.h"

/* Records per call: enough to make the call's cost vanish, few enough for the stack. */
#define RECORDS_PER_PUT 256

size_t backend_queue_put_messages(
	struct backend_queue *q, struct message *const *msgs, size_t n, struct err *err)
{
	unsigned char heads[RECORDS_PER_PUT][MSG_HEADER_LENGTH];
	struct backend_record recs[RECORDS_PER_PUT];
	size_t stored = 0;
	while (stored < n) {
		size_t k = n - stored < RECORDS_PER_PUT ? n - stored : RECORDS_PER_PUT;
		for (size_t i = 0; i < k; i++) {
			const struct message *m = msgs[stored + i];
			message_write_header(m, heads[i]);
			recs[i] = (struct backend_record){
				.head = heads[i],
				.head_len = MSG_HEADER_LENGTH,
				.body = m->body->data,
				.body_len = m->body->len,
			};
		}
		size_t put = q->ops->put(q, recs, k, err);
		stored += put;
		if (put < k)
			break;
	}
	return stored;
}
