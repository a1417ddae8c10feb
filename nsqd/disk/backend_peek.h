/* SPDX-License-Identifier: MIT */
/* Looking at what a backend queue has stored, from outside of its owner's lock. */
#ifndef NSQD_BACKEND_PEEK_H
#define NSQD_BACKEND_PEEK_H

#include "common/lock.h"
#include "nsqd/disk/backend_queue.h"

/*
 * Adds the first messages of *q to out, as far as there is room. *q is read under lock, held for
 * reading for a moment, and may be NULL: there is no queue any more. The disk is read without it. 0,
 * or -1 with err set: there may be more. Blocks on the disk. Any thread.
 */
int backend_peek(struct rwlock *lock, struct backend_queue *const *q, struct message_views *out,
	struct err *err);

#endif
