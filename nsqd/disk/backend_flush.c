/* SPDX-License-Identifier: MIT */
/*
 * Messages that an exit writes to a backend queue. Mirrors what flush of topic.go and of channel.go
 * have in common. Runs in the threads that close topics.
 */
#include "nsqd/disk/backend_flush.h"

#include "nsqd/disk/backend_queue.h"

size_t backend_flush_messages(
	struct context *ctx, struct backend_queue *q, struct message *const *take_msgs, size_t n)
{
	struct err err;
	int64_t pause_ns = 0;
	size_t stored = backend_queue_put_messages(q, take_msgs, n, &err);
	while (stored < n) {
		nsqd_logf(ctx, LG_ERROR, "failed to write message to backend - %s", err.msg);
		if (!patience_wait(&ctx->flush_patience, &pause_ns))
			break;
		stored += backend_queue_put_messages(q, take_msgs + stored, n - stored, &err);
	}
	message_unref_all(take_msgs, n);
	return n - stored;
}
