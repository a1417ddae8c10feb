/* SPDX-License-Identifier: MIT */
/* What is left in memory at the exit goes to disk, with some patience. */
#ifndef NSQD_BACKEND_FLUSH_H
#define NSQD_BACKEND_FLUSH_H

#include "nsqd/core/context.h"
#include "nsqd/core/message.h"
#include "nsqd/disk/backend_queue.h"

/*
 * The body of flush: stores n messages, and tries again for a moment what the disk refuses
 * (ctx->flush_patience). Unrefs all; returns how many are lost. Logs each refusal. May block on the
 * disk, and so is called without a lock. Any thread of the exit.
 */
size_t backend_flush_messages(
	struct context *ctx, struct backend_queue *q, struct message *const *take_msgs, size_t n);

#endif
