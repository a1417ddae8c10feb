/* SPDX-License-Identifier: MIT */
/* Functions of diskqueue.c for tests alone: a queue with other system calls, and a barrier. */
#ifndef NSQD_DISKQUEUE_FOR_TESTS_H
#define NSQD_DISKQUEUE_FOR_TESTS_H

#include "nsqd/disk/diskqueue_internal.h"

struct diskqueue_opts; /* diskqueue.h */

/* As diskqueue_new, with other system calls; io is borrowed, and outlives the queue. */
struct backend_queue *diskqueue_new_with_io(
	const struct diskqueue_opts *opts, const struct dq_io *io, struct err *err);
/* Blocks until dq_io_loop has dealt with all that happened before, and has counted. Any thread. */
void diskqueue_barrier(struct backend_queue *q);

#endif
