/* SPDX-License-Identifier: MIT */
/*
 * Which messages of a queue in memory and one on disk are to be dropped, since they are too many:
 * the oldest ones. For the pump of a topic or channel. (No Go file.)
 */
#ifndef NSQD_DROP_PLAN_H
#define NSQD_DROP_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/chan.h"
#include "common/clock.h"
#include "nsqd/disk/backend_queue.h"

/* What to drop next, and from where. */
struct drop_plan {
	size_t n; /* at most; 0: nothing */
	bool memory;
	bool both; /* memory is to be open as well: a log offers nothing before it sees that empty */
	bool again; /* not known: something is on its way, or the disk reads. See drop_retry_ns */
};
/*
 * How long a pump waits before it looks again. looks: so often that was needed in a row; counted
 * here. From 0.1 ms to 0.1 s: what is on its way is there soon, and a disk may fail for long.
 */
int64_t drop_retry_ns(unsigned *looks);
/* So long at most one who puts waits for a pump that drops what is too much: the disk is slow. */
#define DROP_PATIENCE_NS (200 * NSEC_PER_MSEC)
/* The bytes of the bodies in a memory queue. NULL: 0. Takes the chan's lock, for all of them. */
int64_t chan_body_bytes(struct chan *memory);
/*
 * The oldest of a memory queue (NULL: none) and a backend, as many as are too many, by messages or
 * by bytes. Of both heads the older one goes first. Takes the chan's lock.
 */
struct drop_plan drop_plan_make(
	struct chan *memory, struct backend_queue *q, int64_t too_many, int64_t too_many_bytes);

/* The most of a plan. */
#define DROP_BATCH 256

#endif
